//! Deletions that are held back, and their release: an administrator makes one file, once, and every peer for which deletions were held
//! back by then gets them through, once. No clock is asked what came first.

use crate::peer_files;
use crate::peers::PeerState;
use crate::settings::{Place, Settings};
use ocf::Failure;
use std::fs;
use std::path::PathBuf;

fn granted_file(place: &Place, peer: &str) -> PathBuf {
    place.peer(peer).with_extension("released")
}

/// Turns the administrator's file into one for each peer that is held back now.
fn distribute(place: &Place, settings: &Settings) -> Result<(), Failure> {
    let release = place.release();
    if fs::symlink_metadata(&release).is_err() {
        return Ok(());
    }
    for peer in &settings.peers {
        if peer_files::load(place, &peer.name).is_ok_and(|state| state.held.is_some()) {
            fs::write(granted_file(place, &peer.name), "")?;
        }
    }
    // Another push may have been quicker.
    let _may_be_gone = fs::remove_file(release);
    Ok(())
}

/// Whether the deletions that are held back for this peer may go through.
///
/// # Errors
/// It cannot be written down for the other peers.
fn is_released(place: &Place, settings: &Settings, peer: &str) -> Result<bool, Failure> {
    distribute(place, settings)?;
    Ok(granted_file(place, peer).exists())
}

/// Whether there is a release that was not used yet.
pub(crate) fn is_asked_for(place: &Place, peer: &str) -> bool {
    place.release().exists() || granted_file(place, peer).exists()
}

/// How many deletions may go through because so many were held back and then released.
///
/// # Errors
/// As [`is_released`].
pub(crate) fn released(
    place: &Place,
    settings: &Settings,
    peer: &str,
    state: &PeerState,
) -> Result<Option<u64>, Failure> {
    let Some(held) = state.held else { return Ok(None) };
    Ok(is_released(place, settings, peer)?.then_some(held))
}

/// To be called before deletions are newly held back: what was released earlier does not count for them.
///
/// # Errors
/// As [`is_released`].
pub(crate) fn begin(place: &Place, settings: &Settings, peer: &str) -> Result<(), Failure> {
    distribute(place, settings)?;
    used(place, peer);
    Ok(())
}

/// The release has been used.
pub(crate) fn used(place: &Place, peer: &str) {
    let _may_not_be_there = fs::remove_file(granted_file(place, peer));
}

/// What the administrator is told.
pub(crate) fn explain(place: &Place, settings: &Settings, deletions: u64) -> String {
    format!(
        "{deletions} deletions or more are held back, max_delete allows {} at once and {} %: if they are meant, touch {}",
        settings.max_delete.count,
        settings.max_delete.percent,
        place.release().display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Peer;

    #[test]
    fn a_release_is_for_those_held_back_by_then_and_for_once() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::below(directory.path(), "d");
        let mut settings = crate::transfer::tests::settings(directory.path());
        settings.peers = ["n2", "n3"].map(|name| Peer { name: name.into(), address: name.into() }).to_vec();
        let hold = |peer: &str| {
            begin(&place, &settings, peer).unwrap();
            let state = PeerState { held: Some(9), ..PeerState::default() };
            peer_files::save(&place, peer, &state).unwrap();
        };
        let released = |peer: &str| is_released(&place, &settings, peer).unwrap();
        fs::create_dir_all(&place.run).unwrap();
        fs::write(place.release(), "").unwrap();
        hold("n2");
        assert!(!released("n2"), "made before anything was held back");
        fs::write(place.release(), "").unwrap();
        hold("n3");
        assert!(released("n2") && !released("n3"), "n3 was held back later");
        used(&place, "n2");
        assert!(!released("n2"), "once");
        fs::write(place.release(), "").unwrap();
        assert!(released("n3") && released("n2") && !place.release().exists());
    }
}
