//! What may be checked and deleted: tables of the cases that matter, and what must hold for all others.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use csync2::Text;
use csync2::config;
use csync2::database::{Dirty, File};
use csync2::decide::{Guard, Held, Input, Known, Limits, Look, Release, Root, Seen, guard, roots};
use csync2::meaning::Meaning;
use proptest::prelude::*;

fn t(text: &str) -> Text {
    Text::from(text)
}

fn file(name: &str) -> File {
    let kind = if name.ends_with('/') { "type=dir" } else { "mtime=1:mode=33188:type=reg:size=1" };
    File { name: t(name.trim_end_matches('/')), text: t(&format!("v1:{kind}")) }
}

fn dirty(name: &str) -> Dirty {
    Dirty { name: t(name), forced: false, own: t("a"), peer: t("b") }
}

fn root(path: &str) -> Root {
    Root { path: t(path), names: vec![t(path)], groups: vec![t("g")] }
}

const THERE: Seen = Seen::There { empty: false, volume: None, marker: None };
const EMPTY: Seen = Seen::There { empty: true, volume: None, marker: None };
const LIMITS: Limits = Limits { max_delete: 3, max_delete_percent: 50, few: 0 };

/// A case: what is known, what of it is on the disk, how each root was found.
#[derive(Debug)]
struct Case {
    files: Vec<File>,
    dirty: Vec<Dirty>,
    roots: Vec<(Root, Seen, Known)>,
    limits: Limits,
    releases: Vec<Release>,
    looks: BTreeMap<Text, Look>,
    foreign: BTreeSet<Text>,
}

impl Case {
    /// Ten files in `/w` and its directory, all there.
    fn new() -> Self {
        let mut files = vec![file("/w/")];
        files.extend((0..10).map(|number| file(&format!("/w/{number}"))));
        Self {
            files,
            dirty: Vec::new(),
            roots: vec![(root("/w"), THERE, Known::default())],
            limits: LIMITS,
            releases: Vec::new(),
            looks: BTreeMap::new(),
            foreign: BTreeSet::new(),
        }
    }

    fn gone(mut self, names: &[&str]) -> Self {
        self.looks.extend(names.iter().map(|name| (t(name), Look::Gone)));
        self
    }

    fn seen(mut self, seen: Seen, known: Known) -> Self {
        self.roots[0].1 = seen;
        self.roots[0].2 = known;
        self
    }

    fn release(mut self, root: &str, at_most: u64) -> Self {
        self.releases.push(Release { root: t(root), at_most });
        self
    }

    fn decide(&self) -> Guard {
        let input = Input {
            files: &self.files,
            dirty: &self.dirty,
            roots: &self.roots,
            limits: self.limits,
            releases: &self.releases,
        };
        let mut look = |name: &Text| self.looks.get(name).cloned().unwrap_or(Look::There);
        guard(&input, &mut look, &|name| !self.foreign.contains(name))
    }

    fn held(&self) -> Vec<Option<Held>> {
        self.decide().decisions.into_iter().map(|decision| decision.held).collect()
    }
}

const ALL: &[&str] = &["/w", "/w/0", "/w/1", "/w/2", "/w/3", "/w/4", "/w/5", "/w/6", "/w/7", "/w/8", "/w/9"];

#[test]
fn what_looks_like_an_accident_is_held_back() {
    let volume = |name: &str| Known { volume: Some(t(name)), marker: None };
    let marker = |name: &str| Known { volume: None, marker: Some(t(name)) };
    let on = |volume: Option<&str>| Seen::There { empty: false, volume: volume.map(t), marker: Some(t("m")) };
    let held: Vec<(&str, Case, Option<Held>)> = vec![
        ("all is there", Case::new(), None),
        ("few are gone", Case::new().gone(&["/w/1", "/w/2", "/w/3"]), None),
        (
            "more than the limit",
            Case::new().gone(&["/w/1", "/w/2", "/w/3", "/w/4"]),
            Some(Held::TooMany { gone: 4, limit: 3 }),
        ),
        ("unmounted", Case::new().gone(ALL).seen(Seen::Missing, Known::default()), Some(Held::Missing)),
        ("emptied", Case::new().gone(&ALL[1..]).seen(EMPTY, Known::default()), Some(Held::Empty)),
        (
            "another file system, with the same files",
            Case::new().seen(on(Some("new")), volume("old")),
            Some(Held::OtherVolume { known: t("old"), seen: Some(t("new")) }),
        ),
        (
            "no file system that could be told",
            Case::new().seen(on(None), volume("old")),
            Some(Held::OtherVolume { known: t("old"), seen: None }),
        ),
        ("the same file system", Case::new().seen(on(Some("old")), volume("old")), None),
        (
            "another marker",
            Case::new().seen(on(Some("old")), marker("n")),
            Some(Held::OtherMarker { known: t("n"), seen: Some(t("m")) }),
        ),
        (
            "no marker",
            Case::new().seen(THERE, marker("n")),
            Some(Held::OtherMarker { known: t("n"), seen: None }),
        ),
        ("the same marker", Case::new().seen(on(None), marker("m")), None),
        (
            "never anything in it",
            {
                let mut case = Case::new().seen(EMPTY, Known::default());
                case.files.clear();
                case
            },
            None,
        ),
        (
            "never there",
            {
                let mut case = Case::new().seen(Seen::Missing, Known::default());
                case.files.clear();
                case
            },
            None,
        ),
    ];
    for (what, case, expected) in held {
        assert_eq!(case.held(), [expected], "{what}");
    }
}

#[test]
fn the_percentage_counts_for_each_root() {
    let mut case = Case::new().gone(&["/w/1", "/w/2"]);
    case.files.truncate(4);
    // Half of four is not more than half.
    assert_eq!(case.held(), [None]);
    case.files.truncate(3);
    assert_eq!(case.held(), [None], "one of the two that are gone is not known any more");
    case.files = vec![file("/w/"), file("/w/1"), file("/w/2")];
    assert_eq!(case.held(), [Some(Held::TooMuch { percent: 50 })]);
    case.limits.max_delete_percent = 100;
    assert_eq!(case.held(), [None]);
    case.limits.max_delete_percent = 0;
    assert_eq!(case.held(), [Some(Held::TooMuch { percent: 0 })]);
    case.limits.max_delete_percent = 255;
    assert_eq!(case.held(), [None]);
    // In a small directory a share means nothing.
    case.limits = Limits { max_delete: 10, max_delete_percent: 50, few: 2 };
    assert_eq!(case.held(), [None]);
    case.limits.few = 1;
    assert_eq!(case.held(), [Some(Held::TooMuch { percent: 50 })]);
    case.limits = Limits { max_delete: 10, max_delete_percent: 0, few: 2 };
    assert_eq!(case.held(), [Some(Held::TooMuch { percent: 0 })]);
}

#[test]
fn what_cannot_be_looked_at_is_never_let_through() {
    let mut case = Case::new().release("/w", 1000);
    case.looks.insert(t("/w/5"), Look::Unclear(t("Input/output error")));
    let unclear = Held::Unclear { name: t("/w/5"), why: t("Input/output error") };
    assert_eq!(case.held(), [Some(unclear)]);
    let case = Case::new().release("/w", 1000).seen(Seen::Unclear(t("Permission denied")), Known::default());
    let unclear = Held::Unclear { name: t("/w"), why: t("Permission denied") };
    assert_eq!(case.held(), [Some(unclear)]);
}

#[test]
fn a_release_lets_through_what_was_shown_and_no_more() {
    let missing = || Case::new().gone(ALL).seen(Seen::Missing, Known::default());
    assert_eq!(missing().release("/w", 11).held(), [None]);
    assert_eq!(missing().release("/w", 10).held(), [Some(Held::Missing)]);
    assert_eq!(missing().release("/other", 11).held(), [Some(Held::Missing)]);
    let emptied = Case::new().gone(&ALL[1..]).seen(EMPTY, Known::default()).release("/w", 10);
    assert_eq!(emptied.held(), [None]);
    // Another file system is accepted by recording it, not by a release.
    let seen = Seen::There { empty: false, volume: Some(t("new")), marker: None };
    let known = Known { volume: Some(t("old")), marker: None };
    let moved = Case::new().seen(seen, known).release("/w", 1000);
    assert!(matches!(moved.held()[..], [Some(Held::OtherVolume { .. })]));
}

#[test]
fn limits_count_over_all_roots_so_that_nothing_passes_in_slices() {
    let mut case = Case::new();
    for other in ["/x", "/y"] {
        case.files.extend((0..10).map(|number| file(&format!("{other}/{number}"))));
        case.roots.push((root(other), THERE, Known::default()));
    }
    let case = case.gone(&["/w/1", "/w/2", "/x/1", "/x/2"]);
    let too_many = Some(Held::TooMany { gone: 4, limit: 3 });
    assert_eq!(case.held(), [too_many.clone(), too_many, None]);
    // What is released does not count for the others.
    let case = case.release("/x", 2);
    assert_eq!(case.held(), [None, None, None]);
    let guard = case.decide();
    assert_eq!(guard.checked().collect::<Vec<_>>(), [&t("/w"), &t("/x"), &t("/y")]);
    assert_eq!(guard.gone.len(), 4);
    // Nor does it lift the limit for the others.
    let case = case.gone(&["/w/3", "/w/4"]);
    assert_eq!(case.held(), [Some(Held::TooMany { gone: 4, limit: 3 }), None, None]);
}

#[test]
fn a_root_is_held_back_for_what_lies_in_it() {
    let mut case = Case::new();
    case.roots.insert(0, (root("/"), THERE, Known::default()));
    case.roots.push((root("/w2"), THERE, Known::default()));
    case.roots[1].1 = Seen::Missing;
    case.limits.max_delete = 100;
    case.limits.max_delete_percent = 100;
    let case = case.gone(ALL);
    assert_eq!(case.held(), [Some(Held::Below { root: t("/w") }), Some(Held::Missing), None]);
    let guard = case.decide();
    assert!(guard.may_push(&t("/other")) && !guard.may_push(&t("/w/1")));
    assert_eq!(guard.checked().collect::<Vec<_>>(), [&t("/w2")]);
    assert_eq!(
        guard.held().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "/ of g is held back: /w in it is held back; 11 of 11 are gone, /w first",
            "/w of g is held back: it is missing: mount it, or make it; 11 of 11 are gone, /w first",
        ]
    );
}

#[test]
fn a_single_file_that_is_included_may_go_like_any_other() {
    let mut case = Case::new().gone(&["/etc/motd"]);
    case.files = vec![file("/etc/motd")];
    case.roots = vec![(root("/etc/motd"), Seen::Missing, Known::default())];
    case.limits.max_delete_percent = 100;
    assert_eq!(case.held(), [None]);
    case.limits.max_delete = 0;
    assert_eq!(case.held(), [Some(Held::TooMany { gone: 1, limit: 0 })]);
    // Not if it is known with something in it as well: it was a directory in between.
    case.limits.max_delete = 100;
    case.files.push(file("/etc/motd/x"));
    assert_eq!(case.held(), [Some(Held::Missing)]);
}

#[test]
fn a_removal_that_was_noticed_already_counts_and_is_not_pushed() {
    let mut case = Case::new().gone(&["/w/a", "/w/b", "/w/c", "/w/d"]);
    case.dirty = ["/w/a", "/w/b", "/w/c", "/w/d", "/w/1"].map(dirty).to_vec();
    assert_eq!(case.held(), [Some(Held::TooMany { gone: 4, limit: 3 })]);
    let guard = case.decide();
    assert_eq!(guard.decisions[0].known, 11);
    assert!(guard.may_push(&t("/w/1")), "it is there: a change");
    assert!(!guard.may_push(&t("/w/a")));
    assert!(!guard.may_push_all(&case.dirty));
    let case = case.release("/w", 4);
    assert!(case.decide().may_push_all(&case.dirty));
    // Of what is known only as gone, all is gone.
    let mut case = Case::new().gone(&["/w/a", "/w/b"]);
    case.dirty = ["/w/a", "/w/b"].map(dirty).to_vec();
    case.files.clear();
    assert_eq!(case.held(), [Some(Held::TooMuch { percent: 50 })]);
    case.limits.max_delete_percent = 100;
    assert_eq!(case.held(), [None]);
    // Below no root: nobody vouches for it.
    let mut case = Case::new().gone(&["/elsewhere"]);
    case.dirty = vec![dirty("/elsewhere")];
    assert_eq!(case.held(), [None]);
    assert!(!case.decide().may_push(&t("/elsewhere")));
    assert!(case.decide().may_push(&t("/elsewhere-but-there")));
}

#[test]
fn nothing_is_pushed_from_another_file_system() {
    let seen = Seen::There { empty: false, volume: Some(t("new")), marker: None };
    let case = Case::new().seen(seen, Known { volume: Some(t("old")), marker: None });
    assert!(!case.decide().may_push(&t("/w/1")), "it is there, and it may be what the mount hides");
}

#[test]
fn rows_that_no_group_has_any_more_are_not_removals() {
    let mut case = Case::new().gone(ALL);
    case.foreign = ALL.iter().map(|name| t(name)).collect();
    assert_eq!(case.held(), [None]);
    assert!(case.decide().gone.is_empty());
}

#[test]
fn roots_are_the_fixed_parts_of_includes() {
    let text = "
        group g { host a b; key k; include /etc/*.conf; include /srv/w; include %p%; exclude /srv/w/x; include *.c; }
        group h { host a b; key k; include /srv/w; include /home/*/f; include /*; include /o\\d/x; include %p%/s/a?; }
        group i { host b c; key k; include /not/mine; }
        prefix p { on a: /data; } prefix q { on b: /q; }
        group j { host a b; key k; include %q%; }";
    let parsed = config::parse(&t("csync2.cfg"), &mut |_| Ok(text.as_bytes().to_vec()));
    assert!(parsed.is_accepted(), "{:?}", parsed.problems);
    let found: Vec<String> = roots(&Meaning::new(&parsed.config, &t("a")))
        .iter()
        .map(|root| {
            let names = |all: &[Text]| all.iter().map(Text::to_string).collect::<Vec<_>>().join(" ");
            format!("{} | {} | {}", root.path, names(&root.names), names(&root.groups))
        })
        .collect();
    assert_eq!(
        found,
        [
            "/ | / | h",
            "/data | /data %p% | g",
            "/data/s | /data/s %p%/s | h",
            "/etc | /etc | g",
            "/home | /home | h",
            "/srv/w | /srv/w | g h",
        ]
    );
    assert!(root("/srv/w").has(&t("/srv/w")) && root("/srv/w").has(&t("/srv/w/x")));
    assert!(!root("/srv/w").has(&t("/srv/ww")) && root("/").has(&t("/srv")));
}

/// Names in a small tree, so that roots contain each other and files are below several.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn seen() -> impl Strategy<Value = Seen> {
    let volume = || prop::option::of(prop::sample::select(vec!["v", "w"]).prop_map(t));
    prop_oneof![
        1 => Just(Seen::Missing),
        1 => Just(Seen::Unclear(t("why"))),
        6 => (any::<bool>(), volume(), volume()).prop_map(|(empty, volume, marker)| Seen::There { empty, volume, marker }),
    ]
}

fn known() -> impl Strategy<Value = Known> {
    let text = || prop::option::weighted(0.2, prop::sample::select(vec!["v", "w"]).prop_map(t));
    (text(), text()).prop_map(|(volume, marker)| Known { volume, marker })
}

prop_compose! {
    fn case()(
        files in prop::collection::btree_set(name(), 0..20),
        marked in prop::collection::btree_set(name(), 0..4),
        places in prop::collection::btree_map(name(), (seen(), known()), 0..4),
        gone in prop::collection::btree_set(name(), 0..20),
        unclear in prop::collection::btree_set(name(), 0..2),
        foreign in prop::collection::btree_set(name(), 0..3),
        max_delete in 0..6_u64,
        max_delete_percent in 0..=100_u8,
        releases in prop::collection::vec((any::<prop::sample::Index>(), name(), 0..12_u64), 0..3),
    ) -> Case {
        // Mostly of roots that there are.
        let paths: Vec<String> = places.keys().cloned().collect();
        let releases = releases.into_iter().map(|(pick, other, at_most)| {
            let root = paths.get(pick.index(paths.len() + 1)).cloned().unwrap_or(other);
            Release { root: t(&root), at_most }
        });
        let releases = releases.collect();
        let mut looks: BTreeMap<Text, Look> = gone.iter().map(|name| (t(name), Look::Gone)).collect();
        looks.extend(unclear.iter().map(|name| (t(name), Look::Unclear(t("why")))));
        Case {
            files: files.iter().map(|name| file(name)).collect(),
            dirty: marked.iter().map(|name| dirty(name)).collect(),
            roots: places.into_iter().map(|(path, (seen, known))| (root(&path), seen, known)).collect(),
            limits: Limits { max_delete, max_delete_percent, few: 0 },
            releases,
            looks,
            foreign: foreign.iter().map(|name| t(name)).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_beyond_the_limits_goes_without_a_release(case in case()) {
        let guard = case.decide();
        let names: BTreeSet<&Text> =
            case.files.iter().map(|file| &file.name).chain(case.dirty.iter().map(|row| &row.name)).collect();
        // What csync2 would remove, if what is let through is checked and pushed.
        let removed = |name: &Text| {
            let unseen = case.looks.contains_key(name);
            let checked = guard.checked().any(|path| root(&path.to_string()).has(name))
                && case.files.iter().any(|file| file.name == *name)
                && !case.foreign.contains(name);
            let marked = case.dirty.iter().any(|row| row.name == *name);
            unseen && (checked || marked) && guard.may_push(name)
        };
        let removed: BTreeSet<&Text> = names.into_iter().filter(|name| removed(name)).collect();
        let released = |name: &&&Text| {
            case.releases.iter().any(|release| {
                let below = |gone: &&Text| root(&release.root.to_string()).has(gone);
                let gone = guard.gone.iter().filter(below).count();
                let known = case.roots.iter().any(|(root, _, _)| root.path == release.root);
                known && gone as u64 <= release.at_most && below(name)
            })
        };
        let alone: Vec<&&Text> = removed.iter().filter(|name| !released(name)).collect();
        prop_assert!(alone.len() as u64 <= case.limits.max_delete, "{:?} of {:?}", alone, guard);
        prop_assert!(removed.iter().all(|name| case.looks.get(*name) == Some(&Look::Gone)));
        for (decision, (_, seen, known)) in guard.decisions.iter().zip(&case.roots) {
            let release = case.releases.iter().any(|release| {
                release.root == decision.root.path && decision.gone <= release.at_most
            });
            if decision.held.is_none() {
                prop_assert!(!matches!(seen, Seen::Unclear(_)));
                if let Seen::There { volume, marker, .. } = seen {
                    prop_assert!(known.volume.is_none() || known.volume == *volume);
                    prop_assert!(known.marker.is_none() || known.marker == *marker);
                }
                if !release && decision.gone > 0 {
                    let emptied = matches!(seen, Seen::There { empty: true, .. });
                    prop_assert!(!emptied);
                    let share = decision.gone * 100;
                    prop_assert!(share <= decision.known.max(decision.gone) * u64::from(case.limits.max_delete_percent));
                }
            } else {
                // Whatever contains it is held as well.
                for outer in &guard.decisions {
                    prop_assert!(outer.held.is_some() || !outer.root.has(&decision.root.path));
                }
            }
        }
    }

    #[test]
    fn where_nothing_is_gone_nothing_is_held(case in case()) {
        let case = Case {
            looks: BTreeMap::new(),
            roots: case.roots.into_iter().map(|(root, _, _)| (root, THERE, Known::default())).collect(),
            ..case
        };
        let guard = case.decide();
        prop_assert_eq!(guard.held().count(), 0);
        prop_assert!(guard.may_push_all(&case.dirty));
    }
}
