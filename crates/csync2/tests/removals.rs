//! The deletion guard beside the real csync2: what it counts before a check is what csync2 then takes for removed, and what it
//! holds back csync2 does not notice.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod real;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csync2::Text;
use csync2::config;
use csync2::database::Database;
use csync2::decide::{Guard, Held, Input, Known, Limits, Look, Seen, guard, roots};
use csync2::meaning::Meaning;
use csync2::messages::{Run, Source, read};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Directories end in a slash.
const TREE: &[&str] = &[
    "one/",
    "one/a",
    "one/b.bak",
    "one/sub/",
    "one/sub/deep/",
    "one/sub/deep/c",
    "one/sub/d",
    "one/inner/",
    "one/inner/e",
    "one/inner/new\nline",
    "two/",
    "two/x.c",
    "two/y.c",
    "two/z.d",
    "data/",
    "data/f",
    "data/g/",
    "data/g/h",
    "single",
];

/// `/R` is where the tree is.
const CONFIGURATION: &str = "nossl * *; group g { host a b; key k; include /R/one; include /R/two/*.c; include /R/single; \
    exclude *.bak; } group h { host a b; key k; include /R/one/inner; include %p%; } prefix p { on a: /R/data; }";

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    /// It is moved aside, and a symbolic link leads there.
    Linked,
    Changes,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![8 => Just(Fate::Stays), 3 => Just(Fate::Goes), 1 => Just(Fate::Linked), 1 => Just(Fate::Changes)]
}

/// What csync2 sees: everything below a symbolic link is gone.
fn look(path: &Text, within: &Path) -> Look {
    let path = PathBuf::from(OsStr::from_bytes(path.bytes()));
    let is_link = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let mut above = path.ancestors().skip(1).take_while(|above| above.starts_with(within));
    if path.symlink_metadata().is_err() || above.any(is_link) { Look::Gone } else { Look::There }
}

fn carry_out(root: &Path, fates: &[Fate]) {
    for (number, (name, fate)) in TREE.iter().zip(fates).enumerate() {
        let path = root.join(name.trim_end_matches('/'));
        // It may have gone with what it was in.
        if path.symlink_metadata().is_err() {
            continue;
        }
        let aside = root.join(format!("aside{number}"));
        match fate {
            Fate::Stays => {}
            Fate::Goes if name.ends_with('/') => std::fs::remove_dir_all(&path).unwrap(),
            Fate::Goes => std::fs::remove_file(&path).unwrap(),
            Fate::Linked => {
                std::fs::rename(&path, &aside).unwrap();
                std::os::unix::fs::symlink(&aside, &path).unwrap();
            }
            Fate::Changes if name.ends_with('/') => std::fs::write(path.join("added"), "new").unwrap(),
            Fate::Changes => std::fs::write(&path, "changed in length").unwrap(),
        }
    }
}

/// Makes the tree, lets csync2 see it, lets things happen to it, decides, and checks what may be checked. Returns what was held
/// back and how many removals csync2 has noticed.
fn try_out(fates: &[Fate], limits: Limits) -> (Vec<Held>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("R");
    std::fs::create_dir(&root).unwrap();
    for name in TREE {
        let path = root.join(name);
        if name.ends_with('/') {
            std::fs::create_dir(path).unwrap();
        } else {
            std::fs::write(path, "x").unwrap();
        }
    }
    std::fs::write(directory.path().join("k"), real::KEY).unwrap();
    let text = CONFIGURATION.replace("/R", root.to_str().unwrap());
    std::fs::write(directory.path().join("csync2.cfg"), &text).unwrap();
    let parsed = config::parse(&Text::from("csync2.cfg"), &mut |_| Ok(text.clone().into_bytes()));
    assert!(parsed.is_accepted(), "{:?}", parsed.problems);
    let meaning = Meaning::new(&parsed.config, &Text::from("a"));
    let csync2 = |arguments: &[&str]| {
        let output = real::csync2(directory.path(), "a", arguments);
        assert_eq!(output.status.code(), Some(0), "{}", real::text(&output));
        let run = Run::of(&read(&output.stderr, Source::Client));
        assert!(run.unknown.is_empty(), "{:?}", run.unknown);
        run
    };
    csync2(&["-cIr", "/"]);
    carry_out(&root, fates);

    let database = || Database::open(&directory.path().join("a.db3"), Duration::from_secs(5)).unwrap();
    let (files, dirty) = (database().files().unwrap(), database().dirty().unwrap());
    assert_eq!(dirty, [], "an initial check marks nothing");
    let see = |name: &Text| look(&meaning.path(name).unwrap(), &root);
    let found = |path: &Text| match std::fs::read_dir(OsStr::from_bytes(path.bytes())) {
        _ if see(path) == Look::Gone => Seen::Missing,
        Ok(mut entries) => Seen::There { empty: entries.next().is_none(), volume: None, marker: None },
        Err(_) => Seen::There { empty: false, volume: None, marker: None },
    };
    let places = roots(&meaning);
    assert_eq!(places.len(), 5, "{places:?}");
    let places: Vec<_> = places
        .into_iter()
        .map(|place| (found(&place.path), place))
        .map(|(seen, place)| (place, seen, Known::default()))
        .collect();
    let input = Input { files: &files, dirty: &dirty, roots: &places, limits, releases: &[] };
    let decided: Guard =
        guard(&input, &mut |name| see(name), &|name| meaning.groups_of(name).next().is_some());

    let mut removed = BTreeSet::new();
    for path in decided.checked() {
        let run =
            csync2(&["-crv", path.bytes().iter().map(|byte| char::from(*byte)).collect::<String>().as_str()]);
        removed.extend(run.marked.into_iter().filter(|name| see(name) == Look::Gone));
    }
    let below =
        |name: &Text| decided.decisions.iter().filter(|decision| decision.root.has(name)).collect::<Vec<_>>();
    let let_through = |name: &&Text| below(name).iter().any(|decision| decision.held.is_none());
    let expected: BTreeSet<Text> = decided.gone.iter().filter(let_through).cloned().collect();
    assert_eq!(removed, expected, "{fates:?} {decided:?}");
    // Nothing of what is held back was noticed: the next push leaves it alone.
    let marked = database().dirty().unwrap();
    let marked: BTreeSet<&Text> = marked.iter().map(|row| &row.name).collect();
    assert!(
        marked.iter().all(|name| see(name) == Look::There || expected.contains(*name)),
        "{marked:?} {decided:?}"
    );
    assert!(expected.len() as u64 <= limits.max_delete);
    (decided.held().filter_map(|decision| decision.held.clone()).collect(), removed.len())
}

#[test]
fn what_is_counted_is_what_csync2_removes() {
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let fates = prop::collection::vec(fate(), TREE.len());
    let limits = (prop_oneof![Just(1000_u64), 0..6_u64], prop_oneof![Just(100_u8), 0..=100_u8])
        .prop_map(|(max_delete, max_delete_percent)| Limits { max_delete, max_delete_percent, few: 0 });
    let outcome = runner.run(&(fates, limits), |(fates, limits)| {
        try_out(&fates, limits);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn an_include_that_is_gone_or_empty_stays_unnoticed_whatever_the_limits() {
    let limits = Limits { max_delete: 1000, max_delete_percent: 100, few: 0 };
    let all_of = |directory: &str| {
        let fate = |name: &&str| if name.starts_with(directory) { Fate::Goes } else { Fate::Stays };
        TREE.iter().map(fate).collect::<Vec<_>>()
    };
    // `one` has `one/inner` in it, which is another include.
    for (directory, held) in [("one/", 2), ("two/", 1), ("data/", 1)] {
        assert_eq!(try_out(&all_of(directory), limits), (vec![Held::Missing; held], 0), "{directory}");
        // Emptied: the directory itself stays.
        let mut fates = all_of(directory);
        fates[TREE.iter().position(|name| *name == directory).unwrap()] = Fate::Stays;
        let (mut why, removed) = try_out(&fates, limits);
        why.retain(|held| *held != Held::Missing);
        assert_eq!((why, removed), (vec![Held::Empty], 0), "{directory}");
    }
    // While a few that are gone from each are a matter of course.
    let few = ["one/a", "one/inner/e", "two/x.c", "data/f", "single"];
    let fates: Vec<Fate> =
        TREE.iter().map(|name| if few.contains(name) { Fate::Goes } else { Fate::Stays }).collect();
    assert_eq!(try_out(&fates, limits), (vec![], few.len()));
}
