//! A round: look, have csync2 take note, send. What may be sent is decided by the guard ([`csync2::decide::guard`]) before csync2 looks, and
//! again for what it has noticed.

use super::drift::Sums;
use super::{Occasion, Worker};
use crate::configuration::{path, text};
use crate::look::{self, Files};
use crate::scan::Scan;
use crate::standing::Standing;
use crate::watch::Watched;
use crate::{daemon, runs, settling};
use csync2::Text;
use csync2::config::Config;
use csync2::database::{Database, Dirty, Error, File};
use csync2::decide::{Decision, Guard, Held, Input, Known, Limits, Look, Release, Root, Seen, guard, roots};
use csync2::meaning::Meaning;
use ocf::StateFile;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest that a file is left alone because it may be arriving; and one that is for root alone, as what arrives is at first.
const ARRIVAL: Duration = Duration::from_secs(1);
const LONGEST_ARRIVAL: Duration = Duration::from_secs(10);
/// So many removals are not held back for their share: it means nothing in a small directory.
const FEW: u64 = 10;
/// Longest for starting and ending the daemon.
pub(super) const DAEMON: Duration = Duration::from_secs(20);

impl Worker {
    pub(super) fn try_round(&mut self, occasion: &Occasion) -> Result<(), String> {
        if occasion.full {
            self.refresh();
        }
        let config = Arc::clone(&self.config);
        let host = self.host.clone();
        let meaning = Meaning::new(&config, &host);
        let database = self.database()?;
        if occasion.full {
            // Before the daemon runs: the others must know with which database they speak.
            self.compare_nodes(&meaning);
        }
        let seen = self.see(&meaning);
        // What happened before it was watched is only found by a full look.
        let full = self.watch_anew(&seen, &meaning) || occasion.full;
        let changed = worth_a_look(&occasion.changed, &database, &meaning)?;
        let occasion = &Occasion { full, changed, ..occasion.clone() };
        if self.memory.held_roots.is_empty() && self.is_released() {
            // It is not for an accident that is still to come.
            let _may_not_be_there = fs::remove_file(self.place.release());
            self.log.warning("release-deletions: nothing is held back; it is removed");
        }
        self.mark_moved()?;
        self.collect_overwritten();
        if occasion.thorough {
            self.forget_overwritten();
        }
        if occasion.full {
            self.end_hung();
        }
        if self.place.chosen().exists() {
            self.insist(&rows(database.dirty())?, &meaning)?;
        }
        let (guard, files) = if self.is_plain(occasion, &seen, &rows(database.dirty())?, &meaning) {
            (self.note_some(occasion, &seen, &database, &meaning)?, None)
        } else {
            self.note_all(occasion, &seen, &database, &config, &meaning)?
        };
        let dirty = rows(database.dirty())?;
        self.memory.settled(&dirty);
        self.end_ahead(&dirty)?;
        self.take_comparisons(&dirty, &meaning)?;
        if occasion.full {
            self.force_gone(&meaning)?;
        }
        let settled = self.settle(occasion, &meaning);
        if let Err(why) = &settled
            && self.unsettled.as_ref() != Some(why)
        {
            // What has nothing to do with it goes on.
            self.log.warning(format_args!("conflicts are not settled now: {why}"));
        }
        self.unsettled = settled.err();
        let dirty = rows(database.dirty())?;
        self.send(&dirty, &guard, occasion.full, &meaning);
        // Not what is for a peer that csync2.cfg does not name any more.
        self.memory.dirty = dirty.iter().filter(|row| self.peers.contains_key(&row.peer)).count();
        self.withdraw_sums();
        if let Some(files) = files.filter(|_| occasion.full && self.is_quiet()) {
            self.look_for_drift(&Sums::of(&settling::own_name(&meaning), &files, &meaning));
        }
        self.begin_to_compare(occasion, &meaning);
        Ok(())
    }

    /// The includes, and what is mounted below them, as they are now.
    fn see(&self, meaning: &Meaning<'_>) -> Vec<(Root, Seen)> {
        let mut places = roots(meaning);
        places.extend(self.roots.inner(&places, meaning));
        let see = |root: Root| {
            let seen = look::root(&root);
            (root, seen)
        };
        places.into_iter().map(see).collect()
    }

    /// Watches what is there now, if that is something else than before; `true` if so.
    fn watch_anew(&mut self, seen: &[(Root, Seen)], meaning: &Meaning<'_>) -> bool {
        let there: Vec<Text> = seen.iter().map(|(root, _)| root.path.clone()).collect();
        // Something else may have been mounted there, of which nothing is said.
        let places = Watched::of(&there);
        if !self.stale && self.watched == places {
            return false;
        }
        match self.senses.watch.anew(&there, meaning) {
            Ok(0) => {}
            Ok(lacking) => self.log.warning(format_args!(
                "{lacking} directories cannot be watched, their changes wait for the next full check: raise fs.inotify.max_user_watches"
            )),
            Err(error) => self.log.warning(format_args!("nothing can be watched: {error}")),
        }
        self.stale = false;
        self.watched = places;
        true
    }

    /// Whether nothing is gone but what was let through: then there is nothing for the guard to count.
    fn is_plain(
        &self,
        occasion: &Occasion,
        seen: &[(Root, Seen)],
        dirty: &[Dirty],
        meaning: &Meaning<'_>,
    ) -> bool {
        let well = |(root, seen): &(Root, Seen)| {
            let Seen::There { empty: false, volume, .. } = seen else { return false };
            self.roots.known(root).volume.is_none_or(|known| volume.as_ref() == Some(&known))
        };
        let mut files = Files::new(meaning);
        !occasion.full
            && self.memory.held.is_empty()
            && seen.iter().all(well)
            && occasion.changed.iter().all(|place| files.look(&text(place)) == Look::There)
            && self.none_is_gone(dirty, meaning)
    }

    fn none_is_gone(&self, dirty: &[Dirty], meaning: &Meaning<'_>) -> bool {
        let mut files = Files::new(meaning);
        let mut rows = dirty.iter().filter(|row| !row.forced && !self.let_through.contains(&row.name));
        rows.all(|row| files.look(&row.name) == Look::There)
    }

    /// Has csync2 take note of what has changed, where nothing is gone.
    fn note_some(
        &mut self,
        occasion: &Occasion,
        seen: &[(Root, Seen)],
        database: &Database,
        meaning: &Meaning<'_>,
    ) -> Result<Guard, String> {
        self.suspend_or_resume(None)?;
        let names: Vec<Text> =
            occasion.changed.iter().map(|place| text(place)).filter(|name| is_known(name, meaning)).collect();
        let (names, _) = self.put_off(names, meaning);
        if !names.is_empty() {
            self.note_before(&names, database, meaning)?;
            runs::check(&self.place, &self.settings, &names).map_err(|nothing| nothing.to_string())?;
        }
        let dirty = rows(database.dirty())?;
        if !self.none_is_gone(&dirty, meaning) {
            // It went just now, perhaps with all that is mounted there.
            let seen = self.see(meaning);
            let files = rows(database.files())?;
            let mut there = Files::new(meaning);
            let guard = self.judge(meaning, &seen, &files, &dirty, &[], &mut |name| there.look(name));
            self.remember(&seen, &guard, &dirty, meaning);
            return Ok(guard);
        }
        self.let_through.retain(|name| dirty.iter().any(|row| row.name == *name));
        let free = |(root, _): &(Root, Seen)| Decision {
            root: root.clone(),
            known: 0,
            gone: 0,
            first: None,
            held: None,
        };
        Ok(Guard {
            decisions: seen.iter().map(free).collect(),
            gone: self.let_through.clone(),
            unclear: BTreeSet::new(),
        })
    }

    /// The same where everything is looked at. With what csync2 knows, unless there was something to take note of.
    fn note_all(
        &mut self,
        occasion: &Occasion,
        seen: &[(Root, Seen)],
        database: &Database,
        config: &Config,
        meaning: &Meaning<'_>,
    ) -> Result<(Guard, Option<Vec<File>>), String> {
        let files = rows(database.files())?;
        let dirty = rows(database.dirty())?;
        let mut scan = Scan::of(seen.iter().map(|(root, _)| &root.path), &files, config, meaning);
        // What somebody's act lets through is looked at in whole.
        let releases = if occasion.full { self.releases() } else { Vec::new() };
        // Just mounted, it is for the next look to be missed.
        self.note_mounts(scan.mounts());
        let before = self.judge(meaning, seen, &files, &dirty, &releases, &mut |name| scan.look(name));
        if is_absent(&before).is_some() {
            self.suspend_or_resume(Some(&before))?;
        }
        let gone: Vec<Text> = before.gone.iter().filter(|name| scan.is_known(name)).cloned().collect();
        self.check(occasion, &before, &[scan.changed(), &gone].concat(), database, meaning)?;
        // Not before: in its first round csync2 looks at everything, and nothing should arrive meanwhile.
        self.suspend_or_resume(Some(&before))?;
        // What went between that look and the check was taken note of, but is not sent.
        let noticed = rows(database.dirty())?;
        let seen = self.see(meaning);
        let is_same = noticed == dirty;
        let after = if is_same {
            before
        } else {
            let known: BTreeSet<&Text> = dirty.iter().map(|row| &row.name).collect();
            let fresh: BTreeSet<&Text> =
                noticed.iter().map(|row| &row.name).filter(|name| !known.contains(name)).collect();
            let mut now = Files::new(meaning);
            let mut look = |name: &Text| if fresh.contains(name) { now.look(name) } else { scan.look(name) };
            self.judge(meaning, &seen, &files, &noticed, &releases, &mut look)
        };
        self.remember(&seen, &after, &noticed, meaning);
        if !releases.is_empty() {
            let _may_not_be_there = fs::remove_file(self.place.release());
        }
        drop(scan);
        Ok((after, is_same.then_some(files)))
    }

    /// Has csync2 look at what may be looked at: what has changed, or everything.
    fn check(
        &mut self,
        occasion: &Occasion,
        guard: &Guard,
        changed: &[Text],
        database: &Database,
        meaning: &Meaning<'_>,
    ) -> Result<(), String> {
        let held: Vec<&Text> = guard.held().map(|decision| &decision.root.path).collect();
        let may = |name: &Text| {
            let place = meaning.path(name);
            place.is_some_and(|place| {
                !held.iter().any(|root| path(&place).starts_with(path(root)))
                    && !look::is_arriving(path(&place))
            })
        };
        let noticed = occasion.changed.iter().map(|place| text(place)).filter(|name| is_known(name, meaning));
        let names: BTreeSet<Text> = if occasion.full {
            noticed.chain(changed.iter().cloned()).filter(may).collect()
        } else {
            noticed.filter(may).collect()
        };
        let many = names.len() > runs::NAMES;
        let (names, arriving) = self.put_off(names.into_iter().collect(), meaning);
        let failed = |nothing: runs::Nothing| nothing.to_string();
        if !arriving && (occasion.thorough || many) {
            return runs::check_all(&self.place, &self.settings, &outermost(guard)).map_err(failed);
        }
        if names.is_empty() {
            return Ok(());
        }
        self.note_before(&names, database, meaning)?;
        runs::check(&self.place, &self.settings, &names).map_err(failed)
    }

    /// Lets those wait that may just be arriving: csync2's daemon puts a file in its place before it notes it, and then once more for its owner, its mode
    /// and its time. Returns the others, and whether somebody is sending to this node.
    fn put_off(&mut self, names: Vec<Text>, meaning: &Meaning<'_>) -> (Vec<Text>, bool) {
        let arriving = (!names.is_empty() || !self.put_off.is_empty()) && daemon::let_arrive(&self.place);
        let now = Instant::now();
        let mut later = BTreeMap::new();
        let may = |name: &Text| {
            let Some(place) = meaning.path(name).map(|place| path(&place).to_owned()) else { return true };
            let since = self.put_off.get(&place).copied().unwrap_or(now);
            // What is changed here is not to wait for long: until it is noted, another node's version may take its place.
            let longest = if look::is_private(&place) { LONGEST_ARRIVAL } else { ARRIVAL };
            let waits = arriving && now.duration_since(since) < longest && look::is_fresh(&place);
            if waits {
                later.insert(place, since);
            }
            !waits
        };
        let names = names.into_iter().filter(may).collect();
        self.put_off = later;
        (names, arriving)
    }

    fn judge(
        &self,
        meaning: &Meaning<'_>,
        seen: &[(Root, Seen)],
        files: &[File],
        dirty: &[Dirty],
        releases: &[Release],
        look: &mut dyn FnMut(&Text) -> Look,
    ) -> Guard {
        let places: Vec<(Root, Seen, Known)> =
            seen.iter().map(|(root, seen)| (root.clone(), seen.clone(), self.roots.known(root))).collect();
        // What was chosen by somebody was released by that.
        let is_fresh = |row: &&Dirty| !row.forced && !self.let_through.contains(&row.name);
        let fresh: Vec<Dirty> = dirty.iter().filter(is_fresh).cloned().collect();
        let limits = Limits {
            max_delete: self.settings.max_delete,
            max_delete_percent: self.settings.max_delete_percent,
            few: FEW,
        };
        let input = Input { files, dirty: &fresh, roots: &places, limits, releases };
        guard(&input, look, &|name| meaning.groups_of(name).next().is_some())
    }

    /// What an administrator has released: what was held back when they were told, and no more. Where something else was mounted, it
    /// is not expected any more.
    fn releases(&mut self) -> Vec<Release> {
        if !self.is_released() {
            return Vec::new();
        }
        let held = self.memory.held_roots.iter();
        held.clone().for_each(|(root, _)| self.roots.forget(root));
        held.map(|(root, gone)| Release { root: root.clone(), at_most: *gone }).collect()
    }

    fn is_released(&self) -> bool {
        self.place.release().exists()
    }

    /// The monitor is not to take it for dead.
    pub(super) fn announce_suspension(&mut self) {
        let standing = Standing { suspended: true, ..self.told.clone().unwrap_or_default() };
        if let Err(failure) = StateFile::new(self.place.standing()).save(&standing) {
            self.log.warning(failure.reason);
        }
        // What is told at the end of the round replaces it.
        self.told = Some(standing);
    }

    /// While an include is not what it was, nothing is received either: it would land below the mount point.
    fn suspend_or_resume(&mut self, guard: Option<&Guard>) -> Result<(), String> {
        let until = Instant::now() + DAEMON;
        let absent = guard.and_then(is_absent);
        let failed = if absent.is_some() {
            if daemon::running(&self.place).is_some() {
                self.announce_suspension();
            }
            self.daemon_is_up = false;
            daemon::stop(&self.place, until).err()
        } else if self.daemon_is_up {
            // That it has ended by itself is for the monitor to find, and for the cluster to mend.
            None
        } else {
            let outcome = daemon::start(&self.place, &self.settings, until).err();
            self.daemon_is_up = outcome.is_none();
            outcome
        };
        self.memory.suspended = absent.map(|decision| decision.root.path.to_string());
        self.memory.daemon = failed.map(|failure| failure.reason);
        daemon::trim_log(&self.place.daemon_log());
        daemon::trim_log(&self.place.worker_log());
        self.memory.daemon.clone().map_or(Ok(()), Err)
    }

    /// What the guard has found, for the next rounds and for people.
    fn remember(&mut self, seen: &[(Root, Seen)], guard: &Guard, dirty: &[Dirty], meaning: &Meaning<'_>) {
        self.note_roots(seen, guard);
        // What is held back for what lies in it is not what an administrator has to look at.
        let held: Vec<&Decision> =
            guard.held().filter(|it| !matches!(it.held, Some(Held::Below { .. }))).collect();
        self.memory.held = held.iter().map(ToString::to_string).collect();
        self.memory.held_roots = held.iter().map(|it| (it.root.path.clone(), it.gone)).collect();
        let mut files = Files::new(meaning);
        let mut let_through = |name: &Text| {
            // One that came back, and goes again, counts again.
            let before = self.let_through.contains(name) && files.look(name) == Look::Gone;
            before || (guard.gone.contains(name) && guard.may_push(name))
        };
        let names = dirty.iter().map(|row| &row.name);
        let removed: BTreeSet<Text> = names.filter(|name| let_through(name)).cloned().collect();
        if removed != self.let_through {
            let names: Vec<&[u8]> = removed.iter().map(Text::bytes).collect();
            if let Err(failure) = StateFile::new(self.place.let_through()).save_durably(&names) {
                self.log.warning(failure.reason);
            }
            self.let_through = removed;
        }
    }

    fn note_mounts(&mut self, mounts: &[Text]) {
        let before = self.roots.clone();
        mounts.iter().for_each(|place| self.roots.note_mount(place));
        if self.roots != before {
            self.save_roots();
        }
    }

    fn save_roots(&self) {
        if let Err(failure) = StateFile::new(self.place.roots()).save_durably(&self.roots) {
            self.log.warning(failure.reason);
        }
    }

    fn note_roots(&mut self, seen: &[(Root, Seen)], guard: &Guard) {
        let well = |root: &Root| {
            guard.decisions.iter().any(|decision| decision.root == *root && decision.held.is_none())
        };
        let mut news = false;
        for (root, seen) in seen.iter().filter(|(root, _)| well(root)) {
            news |= self.roots.note(root, seen);
        }
        if news {
            self.save_roots();
        }
    }
}

/// The first of what is held back because it, or all that was in it, is not there.
fn is_absent(guard: &Guard) -> Option<&Decision> {
    guard.held().find(|it| matches!(it.held, Some(Held::Missing | Held::Empty | Held::OtherVolume { .. })))
}

fn rows<T>(answer: Result<T, Error>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())
}

/// Without what came and went, and csync2 never knew: files that editors, and csync2 itself, make for a moment beside others.
fn worth_a_look(
    changed: &BTreeSet<PathBuf>,
    database: &Database,
    meaning: &Meaning<'_>,
) -> Result<BTreeSet<PathBuf>, String> {
    let mut worth = BTreeSet::new();
    for place in changed {
        let is_there = fs::symlink_metadata(place).is_ok();
        let mut known = is_there;
        for name in meaning.names(&text(place)) {
            known = known || rows(database.knows(&name))?;
        }
        if known {
            worth.insert(place.clone());
        }
    }
    Ok(worth)
}

/// Whether csync2 has anything to do with a path.
fn is_known(place: &Text, meaning: &Meaning<'_>) -> bool {
    !look::is_arriving(path(place))
        && meaning.names(place).iter().any(|name| meaning.groups_of(name).next().is_some())
}

/// The roots that may be checked and lie in no other such.
fn outermost(guard: &Guard) -> Vec<Text> {
    let all: Vec<&Text> = guard.checked().collect();
    let inner = |one: &Text| all.iter().any(|other| *other != one && path(one).starts_with(path(other)));
    all.iter().filter(|one| !inner(one)).map(|one| (*one).clone()).collect()
}
