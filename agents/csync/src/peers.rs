//! What this node knows of each peer, and when it tries again. Pure.

use csync2::Text;
use csync2::messages::PeerTrouble;
use std::time::{Duration, Instant};

/// The first pause after a run that came to nothing.
const SOON: Duration = Duration::from_secs(2);
/// The longest.
const LATE: Duration = Duration::from_secs(60);

/// A peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// A run towards it is under way.
    pub(crate) busy: bool,
    /// Why it got nothing last time, if so.
    pub(crate) trouble: Option<PeerTrouble>,
    /// Since when.
    pub(crate) failing_since: Option<Instant>,
    /// When it is tried again, if not at once.
    pub(crate) again: Option<Instant>,
    /// The last pause.
    pause: Option<Duration>,
    /// When files that it has refused are tried again, and the pause before that.
    refused: Option<(Instant, Duration)>,
}

impl Peer {
    /// Whether a run towards it may begin now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.busy && self.again.is_none_or(|again| again <= now)
    }

    /// A run towards it has ended well, though it may not have taken every file.
    pub(crate) fn well(&mut self) {
        *self = Peer { refused: self.refused, ..Peer::default() };
    }

    /// Whether it has refused files in the run that has ended: those wait, and keep nothing else waiting.
    pub(crate) fn has_refused(&mut self, some: bool, now: Instant) {
        let pause = self.refused.map_or(SOON, |(_, pause)| (pause * 2).min(LATE));
        self.refused = some.then_some((now + pause, pause));
    }

    /// Whether such files are tried again now.
    pub(crate) fn tries_refused(&self, now: Instant) -> bool {
        self.refused.is_none_or(|(again, _)| again <= now)
    }

    /// A run towards it has come to nothing: pauses grow to a minute.
    pub(crate) fn failed(&mut self, trouble: PeerTrouble, now: Instant) {
        let pause = self.pause.map_or(SOON, |pause| (pause * 2).min(LATE));
        (self.busy, self.pause, self.again) = (false, Some(pause), Some(now + pause));
        self.failing_since.get_or_insert(now);
        self.refused = None;
        self.trouble = Some(trouble);
    }

    /// Something says that it may be well again.
    pub(crate) fn try_now(&mut self) {
        (self.again, self.pause, self.refused) = (None, None, None);
    }
}

/// The earliest moment at which a peer that waits is tried again.
pub(crate) fn next<'a>(peers: impl Iterator<Item = (&'a Text, &'a Peer)>) -> Option<Instant> {
    let idle = peers.filter(|(_, peer)| !peer.busy);
    idle.flat_map(|(_, peer)| [peer.again, peer.refused.map(|(again, _)| again)]).flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_end_when_it_is_well() {
        let now = Instant::now();
        let mut peer = Peer::default();
        assert!(peer.is_due(now));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            peer.failed(PeerTrouble::Refused, now);
            pauses.push(peer.again.map(|again| (again - now).as_secs()));
            assert!(!peer.is_due(now) && peer.is_due(now + LATE));
        }
        let seconds = [2, 4, 8, 16, 32, 60, 60, 60].map(Some);
        assert_eq!(pauses, seconds);
        assert_eq!(peer.failing_since, Some(now));
        peer.try_now();
        assert!(peer.is_due(now));
        peer.failed(PeerTrouble::Refused, now);
        assert_eq!(peer.again, Some(now + SOON));
        peer.well();
        assert!(peer.is_due(now) && peer.trouble.is_none() && peer.failing_since.is_none());
        peer.has_refused(true, now);
        assert!(peer.is_due(now) && !peer.tries_refused(now) && peer.tries_refused(now + SOON));
        assert_eq!(next([(&Text::from("n2"), &peer)].into_iter()), Some(now + SOON));
        peer.well();
        peer.has_refused(true, now);
        assert!(!peer.tries_refused(now + SOON) && peer.tries_refused(now + 2 * SOON));
        peer.has_refused(false, now);
        assert!(peer.tries_refused(now));
        peer.busy = true;
        assert!(!peer.is_due(now + LATE));
    }
}
