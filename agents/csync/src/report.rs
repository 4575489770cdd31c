//! What is shown of the worker's state: pure.

use crate::memory::Memory;
use crate::peers::Peer;
use crate::standing::Standing;
use csync2::Text;
use csync2::decide::Status;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For so long a peer may be in error before the node counts as degraded.
const PATIENCE: Duration = Duration::from_secs(300);
/// So many lines of a kind are in the status file.
const LINES: usize = 200;

/// How the node stands.
pub(crate) fn standing(
    peers: &BTreeMap<Text, Peer>,
    memory: &Memory,
    failed: Option<&str>,
    now: Instant,
) -> Standing {
    let conflicts = memory.conflicts();
    let in_error = |(name, peer): (&Text, &Peer)| Some((name.clone(), peer.trouble.clone()?));
    let mut failed = failed.map(str::to_owned);
    if let Some(root) = &memory.suspended {
        failed = Some(format!("nothing is received until {root} is back"));
    }
    let failed = failed.or_else(|| memory.configuration.clone()).or_else(|| memory.unlike.first().cloned());
    let status = Status {
        dirty: u64::try_from(memory.dirty).unwrap_or(u64::MAX),
        conflicts: conflicts.clone(),
        peers: peers.iter().filter_map(in_error).collect(),
        held: memory.held_roots.clone(),
        failed,
    };
    let words = peers.iter().map(|(name, peer)| {
        format!("{name}:{}", peer.trouble.as_ref().map_or("ok", |trouble| trouble.word()))
    });
    let long = |peer: &Peer| peer.failing_since.is_some_and(|since| now.duration_since(since) >= PATIENCE);
    let late =
        peers.iter().find(|(_, peer)| long(peer)).map(|(name, _)| format!("{name} has got nothing for long"));
    let degraded = (!memory.held.is_empty() || !conflicts.is_empty() || !memory.unlike.is_empty())
        .then(|| status.text())
        .or(late);
    let mut lines = Vec::new();
    for (name, peer) in peers {
        lines.push(match &peer.trouble {
            None => format!("OK {name}"),
            Some(trouble) => format!("KO {name}: {trouble}"),
        });
    }
    lines.extend(memory.configuration.iter().map(|trouble| format!("CONFIGURATION {trouble}")));
    lines.extend(memory.held.iter().map(|held| format!("HELD {held}")));
    lines.extend(memory.unlike.iter().map(|unlike| format!("UNLIKE {unlike}")));
    lines.extend(conflicts.iter().take(LINES).map(|(name, peer)| format!("CONFLICT {name} with {peer}")));
    let refused = memory.refused.iter().take(LINES);
    lines.extend(refused.map(|((name, peer), why)| format!("REFUSED {name} by {peer}: {why}")));
    let standing = Standing::of(&status, words.collect::<Vec<_>>().join(" "), lines, degraded);
    Standing { daemon: memory.daemon.clone(), suspended: memory.suspended.is_some(), ..standing }
}

/// The status file: for people.
pub(crate) fn page(standing: &Standing, checked: Option<(u64, Duration)>) -> String {
    let mut text: String = standing.lines.iter().flat_map(|line| [line, "\n"]).collect();
    if let Some((at, took)) = checked {
        text.push_str(&format!("CHECKED {} in {} ms\n", ocf::stamp(at), took.as_millis()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use csync2::messages::PeerTrouble;

    #[test]
    fn all_that_is_not_well_is_shown_the_worst_first() {
        let now = Instant::now();
        let mut peers =
            BTreeMap::from([(Text::from("n2"), Peer::default()), (Text::from("n3"), Peer::default())]);
        let mut memory = Memory::default();
        let well = standing(&peers, &memory, None, now);
        assert_eq!(
            (well.text.as_str(), well.peers.as_str(), well.degraded.as_deref()),
            ("ok", "n2:ok n3:ok", None)
        );
        assert_eq!(well.lines, ["OK n2", "OK n3"]);

        if let Some(peer) = peers.get_mut(&Text::from("n3")) {
            peer.failed(PeerTrouble::Silent, now);
        }
        memory.dirty = 3;
        let silent = standing(&peers, &memory, None, now);
        assert_eq!(silent.text, "dirty 3; peers in error: n3 silent");
        assert_eq!((silent.peers.as_str(), silent.degraded), ("n2:ok n3:silent", None));
        assert!(
            standing(&peers, &memory, None, now + PATIENCE).degraded.is_some_and(|why| why.contains("n3"))
        );

        memory.held_roots = vec![(Text::from("/srv/www"), 812)];
        memory.held = vec!["/srv/www of g is held back: it is missing".to_owned()];
        memory.suspended = Some("/srv/www".to_owned());
        memory.unlike = vec!["n2 has another csync2.cfg".to_owned()];
        let held = standing(&peers, &memory, Some("csync2 is not there"), now);
        assert!(held.text.starts_with("held back: /srv/www, 812 gone; dirty 3"), "{}", held.text);
        assert!(held.text.ends_with("failed: nothing is received until /srv/www is back"), "{}", held.text);
        assert!(held.held && held.degraded.is_some());
        assert!(held.lines.iter().any(|line| line == "UNLIKE n2 has another csync2.cfg"), "{:?}", held.lines);
        assert!(held.lines.iter().any(|line| line.starts_with("HELD /srv/www of g")), "{:?}", held.lines);
    }
}
