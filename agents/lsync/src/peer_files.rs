//! What the source knows of its peers, as files; and the clock by which it is told.

use crate::peers::PeerState;
use crate::settings::Place;
use nix::time::{ClockId, clock_gettime};
use ocf::{Failure, StateFile};
use process::read_file;
use std::fs;

/// What is known of a peer; as of one that nothing was ever sent to if there is no file.
///
/// # Errors
/// The file cannot be read or makes no sense; the reason names it.
pub(crate) fn load(place: &Place, peer: &str) -> Result<PeerState, Failure> {
    Ok(StateFile::new(place.peer(peer)).load()?.unwrap_or_default())
}

/// What is known of a peer in this generation: what was noted under another one means nothing, and neither does a file that cannot
/// be understood.
pub(crate) fn of_generation(place: &Place, peer: &str, number: u64) -> PeerState {
    match load(place, peer) {
        Ok(state) if state.generation == number => state,
        _ => PeerState { generation: number, ..PeerState::default() },
    }
}

/// Replaces what is known of a peer. Only for whoever holds the peer's lock, or before anybody could.
///
/// # Errors
/// It cannot be written; the reason names the file.
pub(crate) fn save(place: &Place, peer: &str, state: &PeerState) -> Result<(), Failure> {
    StateFile::new(place.peer(peer)).save(state)
}

/// Seconds of the boot clock, which no administrator sets and which counts while the machine sleeps. 0 if it cannot be read.
pub(crate) fn boot_seconds() -> u64 {
    boot_hundredths() / 100
}

/// The same in hundredths of a second: tells two passes apart.
pub(crate) fn boot_hundredths() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME) else { return 0 };
    let [seconds, nanoseconds] = [now.tv_sec(), now.tv_nsec()].map(|it| u64::try_from(it).unwrap_or(0));
    seconds * 100 + nanoseconds / 10_000_000
}

/// Notes that a peer has started anew: whatever is on file of it, it needs a whole pass. A file of its own, for somebody may be sending to the
/// peer now, who will replace the other.
pub(crate) fn note_returned(place: &Place, peer: &str) -> Result<(), Failure> {
    let file = place.peer(peer).with_extension("returned");
    Ok(fs::create_dir_all(place.run.join("peers")).and_then(|()| fs::write(&file, ""))?)
}

/// Its whole pass begins.
pub(crate) fn end_returned(place: &Place, peer: &str) {
    let _may_not_be_there = fs::remove_file(place.peer(peer).with_extension("returned"));
}

/// Whether it has started anew and had no pass since.
pub(crate) fn has_returned(place: &Place, peer: &str) -> bool {
    place.peer(peer).with_extension("returned").exists()
}

/// Notes that changes for a peer wait for somebody who sends to it now, who may not know of them: since when, by the boot clock.
pub(crate) fn note_waiting(place: &Place, peer: &str) {
    let file = waiting_file(place, peer);
    if !file.exists() {
        // Not noted, they are still sent, and only the lag is shown too short.
        let _not_noted = fs::write(file, boot_seconds().to_string());
    }
}

/// Nothing waits any more.
pub(crate) fn end_waiting(place: &Place, peer: &str) {
    let _may_not_be_there = fs::remove_file(waiting_file(place, peer));
}

/// Since when changes wait.
pub(crate) fn waiting_since(place: &Place, peer: &str) -> Option<u64> {
    String::from_utf8(read_file(&waiting_file(place, peer)).ok()?).ok()?.parse().ok()
}

fn waiting_file(place: &Place, peer: &str) -> std::path::PathBuf {
    place.peer(peer).with_extension("waiting")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Phase;

    #[test]
    fn the_boot_clock_runs() {
        // `/proc/uptime` is the same clock as `seconds.hundredths`.
        let uptime = || -> u64 {
            let text = fs::read_to_string("/proc/uptime").unwrap();
            text.split_whitespace().next().unwrap().replace('.', "").parse().unwrap()
        };
        let (before, now, after) = (uptime(), boot_hundredths(), uptime());
        assert!(before <= now && now <= after, "{before} {now} {after}");
    }

    #[test]
    fn what_was_noted_under_another_generation_means_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::below(directory.path(), "d");
        assert_eq!(load(&place, "n1").unwrap(), PeerState::default());
        let state = PeerState { generation: 3, phase: Phase::Following, canary: 7, ..PeerState::default() };
        save(&place, "n1", &state).unwrap();
        assert_eq!(of_generation(&place, "n1", 3), state);
        let fresh = of_generation(&place, "n1", 4);
        assert_eq!((fresh.generation, fresh.phase, fresh.canary), (4, Phase::Lost, 0));
        fs::write(place.peer("n1"), "{").unwrap();
        assert_eq!(of_generation(&place, "n1", 3).phase, Phase::Lost);
    }
}
