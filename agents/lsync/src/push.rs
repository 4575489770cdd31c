//! The two faces that lsyncd calls, once for each peer at a time: `push full PEER DATASET` when it begins, then `push list PEER
//! DATASET` for what has changed. The exit code is [`SUCCESS`] or a reason for lsyncd to try again, with what changed meanwhile.
//!
//! **What a peer is known to have.** After a list with real changes has arrived a number is written into the tree, as the name of
//! a file: its event comes after theirs. The list that tells of it tells of everything before it, or lists before that one did; when it has
//! arrived, the number is sent, and the peer is known to have all that was there when it was written. (A number read from a file's content proves nothing:
//! the file may be newer than the list.)

use crate::core::Generation;
use crate::excludes::Excludes;
use crate::keys::Key;
use crate::lsyncd::SUCCESS;
use crate::pass::{self, Mode, Pass};
use crate::peers::{PeerState, Phase};
use crate::settings::{Peer, Place, Settings};
use crate::transfer::{self, Changes, Route};
use crate::trouble::{Kind, Trouble};
use crate::{hold, paths, peer_files, source, standing, tree};
use nix::sys::{prctl, signal::Signal};
use ocf::{Log, StateFile};
use process::PidLock;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// lsyncd tries again.
const AGAIN: u8 = 1;
/// A push is bounded by what rsync's own timeouts bound, and by this.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Longest for telling the cluster that a peer is lost.
const TELLING: Duration = Duration::from_secs(20);
/// Pause before lsyncd tries again what cannot have changed by itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// How exact the kernel's time stamps of files are, amply.
const GRAIN: Duration = Duration::from_millis(50);

/// Called by lsyncd. `arguments`: `full` or `list`, the peer, the dataset.
pub(crate) fn push(arguments: &[OsString]) -> u8 {
    // It, and rsync with it, dies with lsyncd: what nobody looks after any more must not send.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || nix::unistd::getppid().as_raw() == 1 {
        return AGAIN;
    }
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let [face @ ("full" | "list"), peer, dataset] = words[..] else {
        source::job_log("?").error("expected: push full|list PEER DATASET");
        return 2;
    };
    let log = source::job_log(dataset);
    let mut list = Vec::new();
    if face == "list"
        && let Err(error) = std::io::stdin().lock().read_to_end(&mut list)
    {
        log.error(format_args!("reading what has changed: {error}"));
        return AGAIN;
    }
    let place = Place::of(dataset);
    match face {
        "full" => full(&place, peer, &log),
        _ => changed(&place, peer, &list, &log),
    }
}

/// What a push needs to know; `None` if this is no push of a source that was started here.
fn known(place: &Place, peer: &str, log: &Log) -> Option<(Settings, Peer, Generation)> {
    let settings = match StateFile::new(place.settings()).load::<Settings>() {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            log.error(format_args!("{} is gone", place.settings().display()));
            return None;
        }
        Err(failure) => {
            log.error(failure.reason);
            return None;
        }
    };
    let peer = settings.peer(peer).cloned()?;
    let running = source::running(place).ok().flatten()?;
    Some((settings, peer, running.generation))
}

/// The whole tree, before lsyncd tells this peer of changes. With a peer that does not take it, its changes are not waited for: it is lost until
/// the monitor brings it back.
pub(crate) fn full(place: &Place, peer: &str, log: &Log) -> u8 {
    let Some((settings, peer, generation)) = known(place, peer, log) else { return retry() };
    let deadline = Instant::now() + LONGEST;
    let whole = Pass {
        place,
        settings: &settings,
        peer: &peer,
        generation: &generation,
        mode: Mode::Whole,
        deadline,
    };
    match whole.run(log) {
        Ok(passed) => {
            log.info(format_args!(
                "{} has the whole tree: {} entries, {} sent",
                peer.name, passed.entries, passed.transferred
            ));
            SUCCESS
        }
        Err(Trouble { kind: Kind::Here, .. }) => retry(),
        Err(_) if gives_up(place, &settings, &peer, log) => SUCCESS,
        Err(_) => retry(),
    }
}

/// Not at once: the reason is not one that goes away in a moment.
fn retry() -> u8 {
    std::thread::sleep(PATIENCE);
    AGAIN
}

/// Takes a peer out of those in sync, since changes will not be kept for it. Until that is on record nothing may be dropped.
fn gives_up(place: &Place, settings: &Settings, peer: &Peer, log: &Log) -> bool {
    match standing::leave(place, settings, &[&peer.name], Instant::now() + TELLING, log) {
        Ok(()) => true,
        Err(failure) => {
            log.warning(failure.reason);
            false
        }
    }
}

/// How often what changes while it is sent is sent again at once.
const ROUNDS: u32 = 3;

/// What has changed since the last call.
pub(crate) fn changed(place: &Place, peer: &str, list: &[u8], log: &Log) -> u8 {
    let Some((settings, peer, generation)) = known(place, peer, log) else { return retry() };
    let deadline = Instant::now() + LONGEST;
    let changes = Changes::read(list, &Excludes::new(&settings.exclude));
    let real = !changes.paths.is_empty();
    if real && PidLock::at(place.peer_lock(&peer.name)).holder().is_ok_and(|holder| holder.is_some()) {
        peer_files::note_waiting(place, &peer.name);
    }
    let _lock = match pass::wait_for_lock(place, &peer.name, deadline) {
        Ok(lock) => lock,
        Err(trouble) => {
            log.error(trouble);
            return AGAIN;
        }
    };
    let waited_since = peer_files::waiting_since(place, &peer.name);
    peer_files::end_waiting(place, &peer.name);
    let mut state = peer_files::of_generation(place, &peer.name, generation.number);
    let now = peer_files::boot_seconds();
    if real {
        state.behind_since.get_or_insert(waited_since.unwrap_or(now));
    }
    if state.phase != Phase::Following || peer_files::has_returned(place, &peer.name) {
        // Whoever brings it back sends these changes too: a pass looks at the tree after it has this lock.
        state.phase = Phase::Lost;
        return save(place, &peer, &state, SUCCESS, log);
    }
    if !real && changes.canary.is_none() {
        return SUCCESS;
    }
    let push = Push { place, settings: &settings, peer: &peer, generation: &generation, deadline };
    let begun = push.begin(&mut state);
    match begun.and_then(|()| push.send(&changes, &state)) {
        Ok((made, deleted)) => {
            state.sending = false;
            state.entries = (state.entries + made).saturating_sub(deleted);
            state.last_success = Some(peer_files::boot_seconds());
            if state.held.is_some() {
                hold::used(place, &peer.name);
            }
            (state.failing_since, state.trouble, state.held) = (None, None, None);
            let before = state.canary;
            push.account(&mut state, real, changes.canary, now, log);
            push.join(&mut state, before, log);
            save(place, &peer, &state, SUCCESS, log)
        }
        Err(trouble) => {
            let told = state.trouble.as_ref() == Some(&trouble.text);
            if !told {
                log.warning(format_args!("{}: {trouble}", peer.name));
            }
            state.trouble = Some(trouble.text.clone());
            push.failed(state, &trouble, log)
        }
    }
}

fn save(place: &Place, peer: &Peer, state: &PeerState, code: u8, log: &Log) -> u8 {
    match peer_files::save(place, &peer.name, state) {
        Ok(()) => code,
        Err(failure) => {
            log.error(failure.reason);
            AGAIN
        }
    }
}

/// One push of changes.
struct Push<'a> {
    place: &'a Place,
    settings: &'a Settings,
    peer: &'a Peer,
    generation: &'a Generation,
    deadline: Instant,
}

impl Push<'_> {
    /// Sees to it that no receiver of a push that broke off, or was killed here, goes on writing beside this one.
    fn begin(&self, state: &mut PeerState) -> Result<(), Trouble> {
        if state.sending {
            pass::claim(self.place, self.settings, self.peer, self.generation, self.deadline)?;
        }
        state.sending = true;
        Ok(peer_files::save(self.place, &self.peer.name, state)?)
    }

    /// Sends them, and then the canary's number if they tell of one; tells how many files were made and deleted.
    fn send(&self, changes: &Changes, state: &PeerState) -> Result<(u64, u64), Trouble> {
        let (place, settings) = (self.place, self.settings);
        let (own, held) = pass::may_send(place, settings, self.generation)?;
        let user = Key::user(self.generation);
        let secret = pass::token(place, settings, self.generation)?;
        let route = Route { settings, peer: self.peer, user: &user, secret: &secret, from: held.path() };
        let sent = if changes.paths.is_empty() { (0, 0) } else { self.send_list(&route, changes, state)? };
        if let Some(number) = changes.canary {
            let dataset = own.latest.as_ref().map_or(0, |record| record.dataset);
            pass::marks(place, &route, dataset, number.max(state.canary), self.deadline)?;
        }
        Ok(sent)
    }

    fn send_list(
        &self,
        route: &Route<'_>,
        changes: &Changes,
        state: &PeerState,
    ) -> Result<(u64, u64), Trouble> {
        let (place, settings) = (self.place, self.settings);
        let released = hold::released(place, settings, &self.peer.name, state)?;
        let excludes = Excludes::new(&settings.exclude);
        let mut resolved = paths::resolve(route.from, &changes.paths, &excludes);
        let (mut made, mut deleted) = (0, 0);
        for _ in 0..ROUNDS {
            let list = transfer::listed_with(&resolved.paths, &resolved.directories);
            let span = Span::of(place, &self.peer.name);
            let again = resolved.times.iter().any(|time| span.covers(*time));
            let begun = SystemTime::now();
            let result = pass::guarded(
                settings,
                released,
                |max_delete| route.list(max_delete, again),
                Some(&list),
                |report| state.entries.saturating_sub(report.skipped.unwrap_or(0)),
                self.deadline,
            );
            Span { begun, ended: SystemTime::now() }.note(place, &self.peer.name);
            let (report, _) = result?;
            (made, deleted) = (made + report.created, deleted + report.deleted);
            let now = paths::resolve(route.from, &changes.paths, &excludes);
            if (&now.paths, &now.directories) == (&resolved.paths, &resolved.directories) {
                return Ok((made, deleted));
            }
            // What came or went meanwhile was not sent as what it is now.
            resolved = now;
        }
        Err(Trouble::here("what has changed changes faster than it can be sent"))
    }

    /// What the peer is known to have, after a push that arrived and began at `begun`.
    fn account(&self, state: &mut PeerState, real: bool, told: Option<u64>, begun: u64, log: &Log) {
        if let Some(number) = told {
            state.canary = state.canary.max(number);
        }
        // One that no list has told of yet: its event comes after those of this list.
        let beat = tree::latest_beat(&self.settings.source);
        let there = tree::canary(&self.settings.source).unwrap_or(0);
        // Where the number itself has gone back, by a restored backup, the event was long ago.
        let coming = beat > state.canary && there >= beat;
        if told.is_some() {
            // Everything before it has arrived. What came with it has too, but that is known with the next; and what was
            // written later is behind since about now.
            state.behind_since = (real || coming).then_some(begun);
        }
        let next = standing::next_number(self.place, self.settings, self.generation).max(state.canary + 1);
        if real
            && !coming
            && let Err(failure) = tree::write_canary(&self.settings.source, next)
        {
            log.warning(failure.reason);
        }
    }

    /// A peer that was still to get what had been acknowledged joins when it has it. Tried once here; the monitor goes on with it.
    fn join(&self, state: &mut PeerState, before: u64, log: &Log) {
        let wanted = standing::acknowledged(self.place, self.generation);
        if !state.joining || wanted <= before || wanted > state.canary {
            return;
        }
        let until = Instant::now() + TELLING;
        pass::join_late(self.place, self.settings, self.peer, state, until, log);
    }

    /// What follows from a push that did not arrive.
    fn failed(&self, mut state: PeerState, trouble: &Trouble, log: &Log) -> u8 {
        let (place, settings, peer) = (self.place, self.settings, self.peer);
        match trouble.kind {
            Kind::Held(n) => {
                if state.held.is_none()
                    && let Err(failure) = hold::begin(place, settings, &peer.name)
                {
                    log.error(failure.reason);
                    return retry();
                }
                let text = hold::explain(place, settings, n);
                if state.held.is_none() {
                    log.warning(format_args!("{}: {text}", peer.name));
                }
                state.held = Some(n);
                state.sending = false;
                state.trouble = Some(text);
                // The rest has arrived.
                state.failing_since = None;
                state.last_success = Some(peer_files::boot_seconds());
                save(place, peer, &state, AGAIN, log);
                retry()
            }
            // It says nothing of the peer.
            Kind::Here => {
                save(place, peer, &state, AGAIN, log);
                retry()
            }
            Kind::Unreachable | Kind::Refused | Kind::Failed => {
                let now = peer_files::boot_seconds();
                let since = *state.failing_since.get_or_insert(now);
                if now.saturating_sub(since) < settings.lost_after || !gives_up(place, settings, peer, log) {
                    return save(place, peer, &state, AGAIN, log);
                }
                log.warning(format_args!(
                    "{} took nothing for {} s: it gets nothing until it takes a whole pass",
                    peer.name,
                    now.saturating_sub(since)
                ));
                state.phase = Phase::Lost;
                save(place, peer, &state, SUCCESS, log)
            }
        }
    }
}

/// When something was last sent to a peer, by the clock that also stamps files. A file that was written within it, of the same size and
/// with the same time as what was sent, may still be another one: the kernel's stamps are no finer than its tick.
struct Span {
    begun: SystemTime,
    ended: SystemTime,
}

impl Span {
    fn file(place: &Place, peer: &str) -> PathBuf {
        place.peer(peer).with_extension("span")
    }

    fn of(place: &Place, peer: &str) -> Span {
        let times = fs::metadata(Span::file(place, peer)).and_then(|it| Ok((it.accessed()?, it.modified()?)));
        let (begun, ended) = times.unwrap_or((SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH));
        Span { begun, ended }
    }

    fn covers(&self, time: SystemTime) -> bool {
        time + GRAIN >= self.begun && time <= self.ended + GRAIN
    }

    fn note(&self, place: &Place, peer: &str) {
        let times = fs::FileTimes::new().set_accessed(self.begun).set_modified(self.ended);
        // Not noted means compared by time alone.
        let _ = fs::File::create(Span::file(place, peer)).and_then(|file| file.set_times(times));
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
