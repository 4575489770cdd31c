//! Which version of a file in conflict wins, and what a node attribute says: a table of the cases, and what must hold for all.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use std::collections::BTreeMap;

use csync2::Text;
use csync2::config::Auto;
use csync2::decide::{
    Conflict, Descent, Policies, Policy, Settle, Status, Unsettled, Version, contradicts, settle,
};
use csync2::messages::PeerTrouble;
use proptest::prelude::*;

fn t(text: &str) -> Text {
    Text::from(text)
}

const FILE: fn(i64) -> Version = |modified| Version::There { modified: Some(modified), directory: false };
const TIMELESS: Version = Version::There { modified: None, directory: false };
const DIRECTORY: Version = Version::There { modified: None, directory: true };

fn conflict(own: Version, other: Version, promoted: Option<&str>) -> Conflict {
    Conflict {
        name: t("/f"),
        host: t("a"),
        peer: t("b"),
        own,
        other,
        descent: Descent::Unknown,
        promoted: promoted.map(t),
        may_push: true,
        may_pull: true,
    }
}

#[test]
fn conflicts_are_settled_as_the_policy_says() {
    use Policy::{Newest, Oldest, PromotedWins};
    use Settle::{Agreed, ForceOwn, YieldToPeer};
    use Version::{Removed, Unknown};
    let (old, new) = (FILE(1), FILE(2));
    let report = Settle::Report;
    let table = [
        (PromotedWins, old, new, Some("a"), ForceOwn),
        (PromotedWins, old, new, Some("b"), YieldToPeer),
        (PromotedWins, old, new, Some("c"), report(Unsettled::OtherPromoted)),
        (PromotedWins, old, new, None, report(Unsettled::NobodyPromoted)),
        (PromotedWins, TIMELESS, TIMELESS, Some("a"), ForceOwn),
        (PromotedWins, DIRECTORY, DIRECTORY, Some("b"), YieldToPeer),
        (PromotedWins, DIRECTORY, old, Some("a"), report(Unsettled::Kinds)),
        (PromotedWins, old, DIRECTORY, Some("a"), report(Unsettled::Kinds)),
        (PromotedWins, Removed, new, Some("a"), report(Unsettled::RemovedHere)),
        (PromotedWins, Removed, new, Some("b"), report(Unsettled::RemovedHere)),
        (PromotedWins, old, Removed, Some("a"), report(Unsettled::RemovedThere)),
        (PromotedWins, old, Unknown, Some("a"), report(Unsettled::NotAsked)),
        (PromotedWins, Unknown, new, Some("b"), report(Unsettled::NotAsked)),
        (PromotedWins, Removed, Removed, Some("a"), Agreed),
        (Newest, old, new, None, YieldToPeer),
        (Newest, new, old, None, ForceOwn),
        (Newest, new, old, Some("b"), ForceOwn),
        (Newest, new, new, Some("a"), report(Unsettled::SameTime)),
        (Newest, new, TIMELESS, Some("a"), report(Unsettled::NoTimes)),
        (Newest, TIMELESS, new, Some("a"), report(Unsettled::NoTimes)),
        (Newest, Removed, new, None, report(Unsettled::RemovedHere)),
        (Newest, new, Removed, None, report(Unsettled::RemovedThere)),
        (Oldest, old, new, None, ForceOwn),
        (Oldest, new, old, None, YieldToPeer),
        (Oldest, old, old, None, report(Unsettled::SameTime)),
        (Oldest, Removed, Unknown, None, report(Unsettled::NotAsked)),
        (Policy::Report, old, new, Some("a"), report(Unsettled::Policy)),
        (Policy::Report, Removed, new, Some("a"), report(Unsettled::Policy)),
        (Policy::Report, Removed, Removed, None, Agreed),
    ];
    for (policy, own, other, promoted, expected) in table {
        let conflict = conflict(own, other, promoted);
        assert_eq!(settle(policy, &conflict), expected, "{policy} {conflict:?}");
    }
    // What was made on top of the other's wins, whatever the policy: it is no conflict.
    for (policy, _) in Policy::ALL {
        let on_top =
            |descent, own, other| settle(policy, &Conflict { descent, ..conflict(own, other, Some("c")) });
        for (one, other) in [(old, new), (new, old), (new, new), (TIMELESS, new)] {
            assert_eq!(on_top(Descent::OwnOnTop, one, other), ForceOwn, "{policy}");
            assert_eq!(on_top(Descent::PeerOnTop, one, other), YieldToPeer, "{policy}");
        }
        for (one, other) in
            [(Removed, new), (new, Removed), (DIRECTORY, new), (DIRECTORY, DIRECTORY), (new, Unknown)]
        {
            for descent in [Descent::OwnOnTop, Descent::PeerOnTop] {
                assert_eq!(on_top(descent, one, other), on_top(Descent::Unknown, one, other), "{policy}");
            }
        }
        let of_slave = Conflict { descent: Descent::OwnOnTop, may_push: false, ..conflict(new, old, None) };
        assert!(settle(policy, &of_slave) != ForceOwn);
    }
    // A slave cannot win.
    let slave = Conflict { may_push: false, ..conflict(new, old, None) };
    assert_eq!(settle(Newest, &slave), report(Unsettled::Slave));
    assert_eq!(settle(Oldest, &slave), YieldToPeer);
    let of_slave = Conflict { may_pull: false, ..conflict(new, old, None) };
    assert_eq!(settle(Oldest, &of_slave), report(Unsettled::Slave));
    assert_eq!(settle(Newest, &of_slave), ForceOwn);
}

#[test]
fn groups_have_policies_of_their_own() {
    let groups = BTreeMap::from([(t("g1"), Policy::Newest), (t("g2"), Policy::PromotedWins)]);
    let policies = Policies { default: Policy::Oldest, groups };
    let of = |groups: &[&str]| policies.of(groups.iter().map(|group| t(group)).collect::<Vec<_>>().iter());
    assert_eq!(of(&["g1"]), Policy::Newest);
    assert_eq!(of(&["other"]), Policy::Oldest);
    assert_eq!(of(&["g1", "g1"]), Policy::Newest);
    assert_eq!(of(&["g1", "g2"]), Policy::Report, "they do not agree");
    assert_eq!(of(&["g1", "other"]), Policy::Report);
    assert_eq!(of(&[]), Policy::Report);
    assert_eq!(Policies::default().of([&t("g1")]), Policy::Report);
    for (policy, word) in Policy::ALL {
        assert_eq!(word.parse(), Ok(policy));
        assert_eq!(policy.to_string(), word);
    }
    assert_eq!(
        "first".parse::<Policy>().unwrap_err(),
        "`first` is none of report, promoted-wins, newest, oldest"
    );
}

#[test]
fn auto_works_against_every_policy() {
    for (policy, _) in Policy::ALL {
        for (auto, word) in Auto::ALL {
            let said = contradicts(policy, auto);
            assert_eq!(said.is_some(), auto != Auto::None);
            assert!(said.is_none_or(|said| said.contains(&format!("`auto {word}`")) && said.contains("auto none")));
        }
    }
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        Just(Version::Removed),
        Just(Version::Unknown),
        (prop::option::of(0..3_i64), any::<bool>())
            .prop_map(|(modified, directory)| Version::There { modified, directory }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_most_one_side_of_a_conflict_forces(
        own in version(), other in version(), promoted in prop::option::of(prop::sample::select(vec!["a", "b", "c"])),
        may_push in any::<bool>(), may_pull in any::<bool>(), policy in prop::sample::select(Policy::ALL.to_vec()),
        descent in prop::sample::select(vec![Descent::Unknown, Descent::OwnOnTop, Descent::PeerOnTop]),
    ) {
        let (policy, _) = policy;
        let here = Conflict { may_push, may_pull, descent, ..conflict(own, other, promoted) };
        let seen_there = match descent {
            Descent::Unknown => Descent::Unknown,
            Descent::OwnOnTop => Descent::PeerOnTop,
            Descent::PeerOnTop => Descent::OwnOnTop,
        };
        let there = Conflict {
            descent: seen_there,
            host: here.peer.clone(), peer: here.host.clone(), own: other, other: own,
            may_push: may_pull, may_pull: may_push, ..here.clone()
        };
        let (here, there) = (settle(policy, &here), settle(policy, &there));
        prop_assert!(here != Settle::ForceOwn || there == Settle::YieldToPeer);
        prop_assert!(there != Settle::ForceOwn || here == Settle::YieldToPeer);
        prop_assert_eq!(here == Settle::YieldToPeer, there == Settle::ForceOwn);
        let overwrites = matches!(here, Settle::ForceOwn | Settle::YieldToPeer);
        prop_assert!(!overwrites || policy != Policy::Report || descent != Descent::Unknown);
        // A removal neither wins nor loses.
        prop_assert!(!overwrites || (own != Version::Removed && other != Version::Removed));
        prop_assert!(!overwrites || (own != Version::Unknown && other != Version::Unknown));
    }
}

#[test]
fn the_attribute_says_the_worst_first_on_one_line() {
    let mut status = Status::default();
    assert_eq!(status.text(), "ok");
    status.dirty = 3;
    assert_eq!(status.text(), "dirty 3");
    status.peers = vec![(t("d"), PeerTrouble::Silent), (t("c"), PeerTrouble::Down { why: t("x") })];
    status.conflicts = vec![(t("/etc/motd"), t("b")), (t("/a\nb"), t("c")), (t("/etc/motd"), t("b"))];
    status.held = vec![(t("/w"), 20_000)];
    assert_eq!(
        status.text(),
        "held back: /w, 20000 gone; conflicts 2: /a\\nb with c and 1 more; dirty 3; peers in error: c down, d silent"
    );
    let mut turned = status.clone();
    turned.peers.reverse();
    turned.conflicts.reverse();
    assert_eq!(turned.text(), status.text());
    status.failed = Some("line\nline".repeat(100));
    status.conflicts = vec![(t(&format!("/{}/end", "x".repeat(500))), t("b"))];
    let text = status.text();
    assert!(text.contains("x/end with b;"), "{text}");
    assert!(text.len() < 500 && !text.contains('\n'), "{text}");
}
