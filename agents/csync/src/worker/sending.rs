//! What the worker does towards each peer: compares with it, sends to it in a run of its own, and learns from what came of it.

use super::{Occasion, Worker};
use crate::configuration::path;
use crate::look;
use crate::peers::Peer;
use crate::runs::{self, Nothing, Pushing};
use csync2::Text;
use csync2::database::Dirty;
use csync2::decide::Guard;
use csync2::meaning::Meaning;
use csync2::messages::table::Difference;
use csync2::messages::{Outcome, PeerTrouble, Run};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What something that was done with a peer came to.
pub(crate) enum Came {
    /// A run that sends.
    /// And the files that were changed meanwhile.
    Pushed(Result<Vec<Run>, (Vec<Run>, Pushing)>, Vec<Text>),
    /// A comparison of databases: the own one that it began with, and what was found.
    Compared(String, Result<Vec<Difference>, (PeerTrouble, String)>),
}

impl Worker {
    /// Begins to compare with peers with whose database this one has not been compared yet, and again where something differed.
    pub(super) fn begin_to_compare(&mut self, occasion: &Occasion, meaning: &Meaning<'_>) {
        let now = Instant::now();
        self.anew.extend(self.memory.differing_now(&occasion.changed, occasion.full, meaning));
        let wanted = |name: &Text, peer: &Peer| {
            let is_new = !self.memory.may_send_to(name) && (occasion.full || peer.is_due(now));
            // Where a run is under way, it comes after that.
            !peer.busy && (is_new || self.anew.contains(name))
        };
        let peers = self.peers.iter().filter(|(name, peer)| wanted(name, peer));
        let wanted: Vec<Text> = peers.map(|(name, _)| name.clone()).collect();
        for peer in wanted {
            self.anew.remove(&peer);
            let (place, settings) = (self.place.clone(), self.settings.clone());
            let (config, host) = (Arc::clone(&self.config), self.host.clone());
            let own = self.memory.own_database.clone();
            self.begin(peer, move |peer| {
                Came::Compared(own, runs::compare(&place, &settings, &Meaning::new(&config, &host), peer))
            });
        }
    }

    /// What comparisons have found: what only this node has is sent, what differs is a conflict.
    pub(super) fn take_comparisons(&mut self, dirty: &[Dirty], meaning: &Meaning<'_>) -> Result<(), String> {
        let found = std::mem::take(&mut self.found);
        if found.is_empty() {
            return Ok(());
        }
        for (peer, differences) in found {
            self.memory.compared_with(&peer, &differences, dirty, meaning);
        }
        let mut only_here = self.memory.only_here(meaning, &self.prints);
        only_here.retain(|name| dirty.iter().all(|row| row.name != *name));
        if !only_here.is_empty() {
            self.log.info(format_args!("{} files that other nodes have not are sent there", only_here.len()));
            runs::mark(&self.place, &self.settings, &only_here).map_err(|nothing| nothing.to_string())?;
            self.memory.marked(&only_here);
        }
        self.recognize_as_whole()?;
        self.memory.save(&self.place, &self.log);
        Ok(())
    }

    /// Does something with a peer that may take its time: a peer that is silent delays nobody.
    fn begin(&mut self, name: Text, job: impl FnOnce(&Text) -> Came + Send + 'static) {
        if let Some(peer) = self.peers.get_mut(&name) {
            peer.busy = true;
        }
        let (tell, wake) = (self.tell_end.clone(), self.senses.wake.try_clone());
        std::thread::spawn(move || {
            let came = job(&name);
            let _worker_has_ended = tell.send((name, came));
            if let Ok(mut wake) = wake {
                let _worker_has_ended = wake.write_all(&[0]);
            }
        });
    }

    /// Begins the runs towards peers that have something to get.
    pub(super) fn send(&mut self, dirty: &[Dirty], guard: &Guard, full: bool, meaning: &Meaning<'_>) {
        let now = Instant::now();
        let due = self.peers.iter().filter(|(name, peer)| peer.is_due(now) && self.memory.may_send_to(name));
        let due: Vec<Text> = due.map(|(name, _)| name.clone()).collect();
        let retried: BTreeSet<Text> = due
            .iter()
            .filter(|name| full || self.peers.get(*name).is_some_and(|peer| peer.tries_refused(now)))
            .cloned()
            .collect();
        let again = |peer: &Text| retried.contains(peer);
        for name in due {
            let names: Vec<Text> = dirty
                .iter()
                .filter(|row| row.peer == name && guard.may_push(&row.name))
                .filter(|row| !meaning.path(&row.name).is_some_and(|place| look::is_arriving(path(&place))))
                .filter(|row| again(&name) || !self.memory.is_refused(&row.name, &name))
                .filter(|row| self.may_force(row) || self.memory.may_send(&row.name, &name, full))
                .map(|row| row.name.clone())
                .collect();
            if names.is_empty() {
                if let Some(peer) = self.peers.get_mut(&name) {
                    if again(&name) {
                        peer.has_refused(false, now);
                    }
                    if peer.trouble.is_some() {
                        // There is nothing by which it could show whether it is well.
                        peer.well();
                    }
                }
                continue;
            }
            let (place, settings) = (self.place.clone(), self.settings.clone());
            let (apart, names): (Vec<Text>, Vec<Text>) =
                names.into_iter().partition(|it| self.memory.is_broken_off(it, &name));
            let before: Vec<(Text, PathBuf, Option<Stamp>)> = names
                .iter()
                .filter_map(|name| {
                    let place = path(&meaning.path(name)?).to_owned();
                    let stamp = stamp(&place);
                    Some((name.clone(), place, stamp))
                })
                .collect();
            self.begin(name, move |name| {
                let result = runs::push(&place, &settings, name, &names, &apart);
                let moved = before.into_iter().filter(|(_, place, before)| stamp(place) != *before);
                Came::Pushed(result, moved.map(|(name, ..)| name).collect())
            });
        }
    }

    /// What a run towards a peer came to.
    pub(super) fn take(&mut self, name: &Text, came: Came) {
        let now = Instant::now();
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.busy = false;
        let (result, moved) = match came {
            Came::Pushed(result, moved) => (result, moved),
            Came::Compared(own, Ok(found)) => {
                peer.well();
                if own == self.memory.own_database {
                    self.found.push((name.clone(), found));
                }
                return;
            }
            Came::Compared(_, Err((trouble, why))) => {
                if peer.trouble.as_ref() != Some(&trouble) {
                    self.log.warning(format_args!("not compared with {name}: {why}"));
                }
                return peer.failed(trouble, now);
            }
        };
        let (runs, pushing) = match result {
            Ok(runs) => (runs, None),
            Err((runs, pushing)) => (runs, Some(pushing)),
        };
        // csync2 forgets that a file was changed when it has been sent, even if it was changed again meanwhile.
        let sent = runs.iter().flat_map(|run| &run.peers).flat_map(|peer| &peer.files);
        let sent = sent.filter(|it| !matches!(it.outcome, Outcome::Failed(_))).map(|it| &it.name);
        self.moved.extend(sent.filter(|name| moved.contains(name)).cloned());
        let ends: Vec<bool> = runs.iter().map(|run| self.memory.learn_end(name, run, &self.log)).collect();
        let broken_off = ends.contains(&true);
        let refused =
            broken_off || runs.iter().flat_map(Run::failed).any(|(_, _, trouble)| !trouble.is_conflict());
        peer.has_refused(refused, now);
        match pushing {
            None => peer.well(),
            // It waits by itself; what comes after it is sent now.
            Some(Pushing::Peer(PeerTrouble::Interrupted)) if broken_off => peer.well(),
            Some(Pushing::Peer(trouble)) => {
                if peer.trouble.as_ref() != Some(&trouble) {
                    self.log.warning(format_args!("{name}: {trouble}"));
                }
                peer.failed(trouble, now);
            }
            Some(Pushing::Here(nothing)) => {
                self.log.warning(format_args!("towards {name}: {nothing}"));
                let trouble = match nothing {
                    Nothing::Failed(_) => PeerTrouble::Interrupted,
                    Nothing::Not(_) => PeerTrouble::Failed,
                };
                peer.failed(trouble, now);
            }
        }
        for run in &runs {
            self.memory.learn(name, run, &self.log);
        }
    }

    /// Has those count as changed again that were changed while they were sent.
    pub(super) fn mark_moved(&mut self) -> Result<(), String> {
        if self.moved.is_empty() {
            return Ok(());
        }
        let names: Vec<Text> = self.moved.iter().cloned().collect();
        runs::mark(&self.place, &self.settings, &names).map_err(|nothing| nothing.to_string())?;
        self.moved.clear();
        Ok(())
    }
}

/// By what a file is known to be as it was: its number, its size, when it was modified and changed. Of a directory its mode: what lies in it is
/// of no matter to it.
type Stamp = (u64, u64, [i64; 4]);

fn stamp(place: &Path) -> Option<Stamp> {
    let found = fs::symlink_metadata(place).ok()?;
    Some(if found.is_dir() {
        (found.ino(), u64::from(found.mode()), [0; 4])
    } else {
        (found.ino(), found.size(), [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()])
    })
}
