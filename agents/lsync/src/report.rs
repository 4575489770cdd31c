//! What the cluster and people are shown of a dataset: the texts of node attributes and of the status file. Pure.

use crate::core::{Own, Record, Said, Standing, Tree};
use crate::peers::{PeerState, Phase};
use std::str::FromStr;

/// The attribute in `crm_mon -A` that says how this node stands.
pub(crate) fn standing(own: &Own, node: &str, is_source: bool, tree: Tree) -> String {
    let Some(record) = &own.latest else {
        let tree = if tree == Tree::Filled { "tree with data" } else { "empty tree" };
        return format!("no generation yet, {tree}");
    };
    let number = record.generation.number;
    if is_source {
        let others: Vec<&str> =
            record.in_sync.iter().map(String::as_str).filter(|name| *name != node).collect();
        let others = if others.is_empty() { "nobody yet".to_owned() } else { others.join(" ") };
        return format!("source, generation {number}, in sync: {others}");
    }
    let stands = match own.standing {
        Standing::Behind => "behind",
        _ if record.in_sync.contains(node) => "in sync",
        _ => "behind",
    };
    format!("replica, generation {number}, {stands}")
}

/// The source's attribute on its peers: `n1:ok:0 n3:syncing:10 n4:unreachable:300`, states and lags in seconds, in steps.
pub(crate) fn peers(states: &[(String, PeerState)], now: u64) -> String {
    let words =
        states.iter().map(|(name, state)| format!("{name}:{}:{}", word(state), in_steps(lag(state, now))));
    words.collect::<Vec<_>>().join(" ")
}

/// The state of a peer in a word.
pub(crate) fn word(state: &PeerState) -> &'static str {
    match state.phase {
        _ if state.held.is_some() => "held",
        Phase::Syncing => "syncing",
        Phase::Lost => "unreachable",
        Phase::Following if state.failing_since.is_some() => "failing",
        Phase::Following if state.joining => "syncing",
        Phase::Following => "ok",
    }
}

/// For how many seconds it has not had what the source has.
pub(crate) fn lag(state: &PeerState, now: u64) -> u64 {
    let since = match state.phase {
        Phase::Following => state.behind_since,
        Phase::Lost | Phase::Syncing => state.behind_since.or(state.failing_since).or(state.last_success),
    };
    since.map_or(0, |since| now.saturating_sub(since))
}

/// Whether a peer lacks something for so long that it does not count as in sync any more. One that takes what is sent, but is slow with it, is given
/// longer.
pub(crate) fn straggles(state: &PeerState, now: u64, lost_after: u64) -> bool {
    let Some(since) = state.behind_since else { return false };
    let behind = now.saturating_sub(since);
    match state.phase {
        Phase::Lost => true,
        Phase::Syncing => behind > lost_after,
        Phase::Following if state.held.is_some() || state.failing_since.is_some() => behind > lost_after,
        Phase::Following => behind > lost_after.saturating_mul(6),
    }
}

/// A lag as it is shown in an attribute: in steps, for each change there is one of the whole cluster's business.
fn in_steps(lag: u64) -> u64 {
    const STEPS: [u64; 10] = [5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600];
    STEPS.into_iter().rev().find(|step| *step <= lag).unwrap_or(0)
}

/// The status file: a line for each peer, OK or KO as in the status files that people write with lsyncd, then what is known.
pub(crate) fn status_file(dataset: &str, own: &Own, states: &[(String, PeerState)], now: u64) -> String {
    let mut text = String::new();
    for (name, state) in states {
        let in_sync = own.latest.as_ref().is_some_and(|record| record.in_sync.contains(name));
        let good = in_sync && word(state) == "ok";
        let trouble = state.trouble.as_deref().filter(|_| !good).unwrap_or("");
        text.push_str(&format!(
            "{} {name} {}, lag {} s{}{trouble}\n",
            if good { "OK" } else { "KO" },
            if in_sync { "in sync" } else { "not in sync" },
            lag(state, now),
            if trouble.is_empty() { "" } else { ": " },
        ));
    }
    if let Some(Record { generation, .. }) = &own.latest {
        text.push_str(&format!("# {dataset}: generation {generation}\n"));
    }
    text
}

/// [`Said`] as it stands in an attribute: `7 00c0ffee00c0ffee 3 data`.
pub(crate) fn said(said: &Said) -> String {
    let tree = if said.tree == Tree::Filled { "data" } else { "empty" };
    format!("{} {:016x} {} {tree}", said.number, said.id, said.change)
}

impl FromStr for Said {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not what a node says of itself");
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or_else(wrong);
        let said = Said {
            number: word()?.parse().map_err(|_| wrong())?,
            id: u64::from_str_radix(word()?, 16).map_err(|_| wrong())?,
            change: word()?.parse().map_err(|_| wrong())?,
            tree: match word()? {
                "data" => Tree::Filled,
                "empty" => Tree::Empty,
                _ => return Err(wrong()),
            },
        };
        if words.next().is_none() { Ok(said) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Generation;
    use proptest::prelude::*;

    fn own(standing: Standing) -> Own {
        let generation = Generation { number: 7, id: 1, origin: "n2".into() };
        let in_sync = ["n1".to_owned(), "n2".to_owned()].into();
        let record =
            Record { generation, upon: None, change: 1, shared: 1, dataset: 2, filled: true, in_sync };
        Own { latest: Some(record), standing }
    }

    #[test]
    fn how_a_node_stands() {
        let none = Own::default();
        assert_eq!(standing(&none, "n1", false, Tree::Empty), "no generation yet, empty tree");
        assert_eq!(standing(&none, "n1", false, Tree::Filled), "no generation yet, tree with data");
        let source = own(Standing::Source { confirmed: true });
        assert_eq!(standing(&source, "n2", true, Tree::Filled), "source, generation 7, in sync: n1");
        let replica = own(Standing::InSync);
        assert_eq!(standing(&replica, "n1", false, Tree::Filled), "replica, generation 7, in sync");
        assert_eq!(standing(&replica, "n3", false, Tree::Filled), "replica, generation 7, behind");
        assert_eq!(
            standing(&own(Standing::Behind), "n1", false, Tree::Filled),
            "replica, generation 7, behind"
        );
    }

    #[test]
    fn how_peers_stand() {
        let following = PeerState { phase: Phase::Following, ..PeerState::default() };
        let states = [
            ("n1".to_owned(), following.clone()),
            (
                "n3".to_owned(),
                PeerState { phase: Phase::Syncing, behind_since: Some(88), ..PeerState::default() },
            ),
            (
                "n4".to_owned(),
                PeerState {
                    last_success: Some(60),
                    trouble: Some("no route".into()),
                    ..PeerState::default()
                },
            ),
            (
                "n5".to_owned(),
                PeerState { failing_since: Some(99), behind_since: Some(98), ..following.clone() },
            ),
            ("n6".to_owned(), PeerState { held: Some(9), ..following }),
        ];
        assert_eq!(peers(&states, 100), "n1:ok:0 n3:syncing:10 n4:unreachable:30 n5:failing:0 n6:held:0");
        let text = status_file("site5", &own(Standing::Source { confirmed: true }), &states, 100);
        assert!(text.starts_with(
            "OK n1 in sync, lag 0 s\nKO n3 not in sync, lag 12 s\nKO n4 not in sync, lag 40 s: no route\n"
        ));
    }

    #[test]
    fn who_straggles() {
        let state = |phase, behind_since| PeerState { phase, behind_since, ..PeerState::default() };
        let failing = PeerState { failing_since: Some(95), ..state(Phase::Following, Some(80)) };
        let held = PeerState { held: Some(9), ..state(Phase::Following, Some(80)) };
        for (state, straggles) in [
            (state(Phase::Following, None), false),
            (state(Phase::Following, Some(80)), false),
            (state(Phase::Following, Some(39)), true),
            (state(Phase::Lost, None), false),
            (state(Phase::Lost, Some(100)), true),
            (state(Phase::Syncing, Some(90)), false),
            (state(Phase::Syncing, Some(89)), true),
            (failing, true),
            (held, true),
        ] {
            assert_eq!(super::straggles(&state, 100, 10), straggles, "{state:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_node_says_is_heard(number: u64, id: u64, change: u64, filled: bool) {
            let it = Said { number, id, change, tree: if filled { Tree::Filled } else { Tree::Empty } };
            prop_assert_eq!(said(&it).parse(), Ok(it));
        }

        #[test]
        fn any_text_is_heard_or_refused(text: String) {
            let _ = text.parse::<Said>();
        }
    }
}
