//! Beside the real csync2: on trees that are changed at random, both notice the same.

use super::*;
use csync2::config;
use csync2::database::Database;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// `/R` is the root of the tree.
const CONFIGURATIONS: &[&str] = &[
    "group g { host a b; key k; include /R; }",
    "group g { host a b; key k; include /R/d1 /R/f1; exclude /R/d1/d2; }",
    "group g { host a b; key k; include /R; exclude *.bak d2; }",
    "group g { host a b; key k; include /R/*/f1; } group h { host a; key k; include /R/d1; } ignore mod;",
    "group g { host a b; key k; include /R; } group h { host b c; key k; include /R/d1; } ignore uid gid;",
    "group g { host a b; key k; include /R/d1 /R/d1/d2; compare /R/d1/f1; }",
    "group g { host a b; key k; include %p%; } prefix p { on *: /R/d1; }",
    "group g { host a b; key k; include /R %p%; } prefix p { on a: /R/d1/d2; }",
];

struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new(text: &str) -> (Self, Config) {
        let world = World { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(world.root()).unwrap();
        fs::write(world.directory.path().join("k"), "a".repeat(40)).unwrap();
        let text = text.replace("/R", world.root().to_str().unwrap());
        fs::write(world.directory.path().join("csync2.cfg"), &text).unwrap();
        let parsed = config::parse(&Text::from("c"), &mut |_| Ok(text.clone().into_bytes()));
        assert!(parsed.is_accepted(), "{:?}", parsed.problems);
        (world, parsed.config)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn csync2(&self, arguments: &[&str]) {
        let output = Command::new("csync2")
            .args(["-D", self.directory.path().to_str().unwrap(), "-N", "a"])
            .args(arguments)
            .env("CSYNC2_SYSTEM_DIR", self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    }

    fn rows(&self) -> Vec<File> {
        let database = Database::open(&self.directory.path().join("a.db3"), Duration::from_secs(5)).unwrap();
        database.files().unwrap()
    }
}

const NAMES: [&str; 6] = ["f1", "x.bak", "d1", "d2", "a b%\n", "\u{e9}"];

/// One change at a path of up to three of these names.
fn change(root: &Path, names: &[usize], what: u8) {
    let mut place = root.to_owned();
    names.iter().for_each(|name| place.push(NAMES[*name]));
    let clear = || {
        let _may_not_be_there = fs::remove_file(&place);
        let _may_be_another = fs::remove_dir_all(&place);
    };
    if fs::symlink_metadata(place.parent().unwrap()).is_ok_and(|above| above.is_dir()) {
        match what % 7 {
            0 | 1 => {
                clear();
                fs::create_dir(&place).unwrap();
            }
            2 => {
                clear();
                fs::write(&place, "x".repeat(usize::from(what))).unwrap();
            }
            3 => {
                clear();
                symlink(format!("to {what}"), &place).unwrap();
            }
            4 => clear(),
            5 if place.is_file() => {
                fs::set_permissions(&place, fs::Permissions::from_mode(0o600 + u32::from(what % 8))).unwrap();
            }
            _ if place.is_file() => {
                let time = std::time::UNIX_EPOCH + Duration::from_secs(u64::from(what));
                fs::File::options().write(true).open(&place).unwrap().set_modified(time).unwrap();
            }
            _ => {}
        }
    }
}

fn both_notice_the_same(
    text: &str,
    before: &[(Vec<usize>, u8)],
    after: &[(Vec<usize>, u8)],
) -> Result<(), TestCaseError> {
    let (world, config) = World::new(text);
    let root = world.root();
    before.iter().for_each(|(names, what)| change(&root, names, *what));
    world.csync2(&["-cIr", "/"]);
    after.iter().for_each(|(names, what)| change(&root, names, *what));
    let known = world.rows();
    let host = Text::from("a");
    let meaning = Meaning::new(&config, &host);
    let roots = csync2::decide::roots(&meaning);
    let mut scan = Scan::of(roots.iter().map(|root| &root.path), &known, &config, &meaning);
    let gone: Vec<&Text> = known
        .iter()
        .map(|row| &row.name)
        .filter(|name| scan.look(name) == Look::Gone && meaning.groups_of(name).next().is_some())
        .collect();
    let ours: BTreeSet<Text> = scan.changed().iter().chain(gone).cloned().collect();

    for root in &roots {
        world.csync2(&["-cr", &root.path.to_string()]);
    }
    let pairs = |rows: Vec<File>| rows.into_iter().map(|row| (row.name, row.text)).collect::<BTreeSet<_>>();
    let (known, now) = (pairs(known), pairs(world.rows()));
    let theirs: BTreeSet<Text> = known.symmetric_difference(&now).map(|(name, _)| name.clone()).collect();
    prop_assert_eq!(ours, theirs, "{}", text);
    Ok(())
}

fn changes() -> impl Strategy<Value = Vec<(Vec<usize>, u8)>> {
    prop::collection::vec((prop::collection::vec(0..NAMES.len(), 1..4), any::<u8>()), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn beside_the_real_one(text in prop::sample::select(CONFIGURATIONS), before in changes(), after in changes()) {
        both_notice_the_same(text, &before, &after)?;
    }
}

#[test]
fn below_a_link_nothing_is_there() {
    let (world, config) = World::new("group g { host a b; key k; include /R/d1/d2; }");
    let root = world.root();
    fs::create_dir_all(root.join("d1/d2")).unwrap();
    fs::write(root.join("d1/d2/f1"), "x").unwrap();
    world.csync2(&["-cIr", "/"]);
    let known = world.rows();
    let host = Text::from("a");
    let meaning = Meaning::new(&config, &host);
    let roots = csync2::decide::roots(&meaning);
    let changed = |known: &[File]| {
        let mut scan = Scan::of(roots.iter().map(|root| &root.path), known, &config, &meaning);
        let there = known.iter().filter(|row| scan.look(&row.name) == Look::There).count();
        (there, scan.changed().len())
    };
    assert_eq!(changed(&known), (2, 0));
    fs::rename(root.join("d1"), root.join("d3")).unwrap();
    symlink("d3", root.join("d1")).unwrap();
    assert_eq!(changed(&known), (0, 0));
    assert_eq!(changed(&[]), (0, 0));
}
