//! A whole pass: everything that differs on a peer is sent, from the claim of the generation to the peer's word that it is
//! complete. The only way in which a peer comes to be in sync.

use crate::ask;
use crate::control::{Answer, Ask};
use crate::core::{self, Generation, Own, Standing, Tree};
use crate::keys::{self, Key};
use crate::peers::{PeerState, Phase};
use crate::settings::{Peer, Place, Settings};
use crate::transfer::{self, Fault, Guard, Outcome, Report, Route, Whole};
use crate::trouble::{Kind, Trouble};
use crate::{hold, own, peer_files, source, standing, tree};
use ocf::{Failure, Log, StateFile};
use process::{Error, Identity, PidLock, Tool};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Pause between two looks at a lock or a job that others end.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for passes to others that are about to end.
const MOMENT: Duration = Duration::from_millis(300);
/// A pass in the background is bounded by what rsync's own timeouts bound, and by this.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Longest for telling the cluster that a peer has everything.
const JOINING: Duration = Duration::from_secs(30);
/// Pause between two passes in the background to a peer whose deletions are held back: nothing else is the matter with it.
const HELD: Duration = Duration::from_secs(60);
/// What changed so shortly before contents are compared may still be on its way, and is no drift.
const FRESH: Duration = Duration::from_secs(60);
/// How often a drain goes over a tree in which something vanishes each time.
const ROUNDS: u32 = 3;
/// What is kept of a drain's time for ending what has not ended.
const ENDING: Duration = Duration::from_millis(700);
/// Bytes that are kept of the end of what rsync says: the numbers, and that deletions were stopped, come last.
const SAID: usize = 8 << 20;
/// The same of its complaints, each of which may hold a path that is too long.
const COMPLAINTS: usize = 64 << 10;

/// What kind of pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sizes and times are compared; what changes meanwhile is sent by the lists that follow.
    Whole,
    /// Contents are compared, what differs is set aside and told.
    Verify,
    /// No lists follow: what vanished while it ran is looked for again.
    Last,
}

/// A pass that is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// Files and directories of the tree.
    pub(crate) entries: u64,
    /// Files whose content was sent.
    pub(crate) transferred: u64,
    /// Files and directories deleted on the peer.
    pub(crate) deleted: u64,
    /// Files that lie set aside on the peer now.
    pub(crate) saved: u64,
    /// What differed, the first few, where contents were compared.
    pub(crate) repaired: Vec<String>,
}

/// A pass that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    /// Where everything of the dataset is.
    pub(crate) place: &'a Place,
    /// What its parameters mean here.
    pub(crate) settings: &'a Settings,
    /// To whom.
    pub(crate) peer: &'a Peer,
    /// Of which generation, whose source this node is.
    pub(crate) generation: &'a Generation,
    /// What kind.
    pub(crate) mode: Mode,
    /// When it is ended at the latest.
    pub(crate) deadline: Instant,
}

impl Pass<'_> {
    /// Sends everything that differs, and sees to it that peer and cluster know that it is complete.
    ///
    /// # Errors
    /// What kept it from being complete. What was sent until then stays; the next pass goes on from there.
    pub(crate) fn run(&self, log: &Log) -> Result<Passed, Trouble> {
        let Pass { place, settings, peer, generation, mode, deadline } = *self;
        let lock = wait_for_lock(place, &peer.name, deadline)?;
        let mut state = peer_files::of_generation(place, &peer.name, generation.number);
        let followed = state.phase == Phase::Following && mode != Mode::Whole;
        let saved_before = state.saved;
        let begun = peer_files::boot_seconds();
        peer_files::end_returned(place, &peer.name);
        state.sending = true;
        if !followed {
            state.phase = Phase::Syncing;
        }
        peer_files::save(place, &peer.name, &state)?;
        let sent = self.exchange(&state);
        let attempt = sent.and_then(|sent| {
            if mode == Mode::Whole {
                state.sending = false;
                peer_files::save(place, &peer.name, &state)?;
                let_others_end(place, settings, peer, generation, deadline);
            }
            // Bounded by itself: the pass may have ages, a cluster that does not answer has not.
            let until = deadline.min(Instant::now() + JOINING);
            let joined = standing::join(place, settings, &peer.name, sent.1, until, log)?;
            if !joined && mode == Mode::Last {
                let text =
                    format!("{} lacks what was acknowledged while everything was sent to it", peer.name);
                return Err(Trouble::new(Kind::Failed, text));
            }
            Ok((sent, joined))
        });
        match &attempt {
            Ok(((passed, canary), joined)) => {
                state.phase = Phase::Following;
                state.last_success = Some(peer_files::boot_seconds());
                (state.failing_since, state.trouble, state.held) = (None, None, None);
                state.behind_since = (!joined).then_some(begun);
                state.joining = !joined;
                state.sending = false;
                state.canary = *canary;
                state.saved = passed.saved;
                state.entries = passed.entries;
                hold::used(place, &peer.name);
            }
            Err(trouble) => {
                if let Kind::Held(n) = trouble.kind {
                    if state.held.is_none() {
                        hold::begin(place, settings, &peer.name)?;
                    }
                    state.held = Some(n);
                }
                if !followed {
                    state.phase = Phase::Lost;
                }
                if !matches!(trouble.kind, Kind::Held(_)) {
                    state.failing_since.get_or_insert(begun);
                }
                if state.trouble.as_ref() != Some(&trouble.text) {
                    log.warning(format_args!("whole pass to {}: {trouble}", peer.name));
                }
                state.trouble = Some(trouble.text.clone());
            }
        }
        peer_files::save(place, &peer.name, &state)?;
        drop(lock);
        if attempt.is_ok() && (!followed || state.saved != saved_before) {
            tell_of_joining(place, settings, peer, deadline, log);
        }
        attempt.map(|((passed, _), _)| passed)
    }

    /// The pass itself, between the two nodes. Gives the canary's number from before it began, too.
    fn exchange(&self, state: &PeerState) -> Result<(Passed, u64), Trouble> {
        let Pass { place, settings, peer, generation, mode, deadline } = *self;
        let begun = SystemTime::now();
        let (own, held) = may_send(place, settings, generation)?;
        let user = Key::user(generation);
        let secret = token(place, settings, generation)?;
        let route = Route { settings, peer, user: &user, secret: &secret, from: held.path() };
        let claimed = claim(place, settings, peer, generation, deadline)?;
        // An empty tree has nothing that could be set aside; to ask for every file whether it has costs time.
        let aside =
            claimed.said.tree == Tree::Filled && (core::sets_aside(&claimed.own) || mode == Mode::Verify);
        let name = format!("{}-{:016x}-{}", generation.number, generation.id, peer_files::boot_hundredths());
        let whole = Whole { verify: mode == Mode::Verify, aside: aside.then_some(name), max_delete: None };
        let highest = standing::next_number(place, settings, generation) - 1;
        if tree::canary(held.path()).is_none_or(|there| there < highest) && highest > 0 {
            // A restored backup has set it back.
            tree::write_canary(&settings.source, highest + 1)?;
        }
        // What is written later than this may be missed by the pass, so no later number may be taken for its proof.
        let canary = tree::canary(held.path()).unwrap_or(0);
        let released = hold::released(place, settings, &peer.name, state)?;
        let (mut rounds, runs) = (0, Cell::new(0));
        let report = loop {
            let run = guarded(
                settings,
                released,
                |max_delete| {
                    // Each run has a directory of its own: in that of an earlier one it would overwrite what that has set aside.
                    runs.set(runs.get() + 1);
                    let aside = whole.aside.as_ref().map(|name| format!("{name}-{}", runs.get()));
                    route.whole(&Whole { max_delete, aside, ..whole.clone() })
                },
                None,
                |report| report.files,
                deadline,
            );
            let (report, vanished) = match run {
                Err(Trouble { kind: Kind::Held(n), .. }) => {
                    return Err(Trouble::new(Kind::Held(n), hold::explain(place, settings, n)));
                }
                other => other?,
            };
            // Nothing tells of changes any more: what vanished may have been renamed. A tree in which something vanishes all the time
            // is as complete after a few rounds as it will be.
            rounds += 1;
            if !(vanished && mode == Mode::Last && rounds < ROUNDS) {
                break report;
            }
        };
        marks(place, &route, own.latest.as_ref().map_or(0, |record| record.dataset), canary, deadline)?;
        let complete = ask(place, settings, peer, Ask::Complete(generation.clone()), deadline)?;
        let arrived = complete.own.generation() == Some(generation);
        if !arrived || complete.own.standing != Standing::InSync || complete.refuses.is_some() {
            let why = complete.refuses.unwrap_or_else(|| "it does not hold itself to be in sync".to_owned());
            return Err(refused(peer, format!("had everything sent to it, but {why}")));
        }
        let passed = Passed {
            entries: report.files,
            transferred: report.transferred,
            deleted: report.deleted,
            saved: complete.saved,
            repaired: if mode == Mode::Verify { drift(settings, report.changes, begun) } else { Vec::new() },
        };
        Ok((passed, canary))
    }

    /// The same as a job of its own, which does nothing before it is on file and can be found.
    fn launch(&self) -> Result<Identity, Failure> {
        let Pass { place, settings, peer, .. } = *self;
        result_file(place, &peer.name).remove()?;
        source::job(place, &settings.dataset, &peer.name, |log| {
            let _nobody_to_tell = result_file(place, &peer.name).save(&self.run(log));
        })
    }
}

/// Tries to add a peer that has had its whole pass to those in sync, if it has by now what was acknowledged during that. Trouble is a line in
/// the log, for it is tried again. Only for whoever holds the peer's lock.
pub(crate) fn join_late(
    place: &Place,
    settings: &Settings,
    peer: &Peer,
    state: &mut PeerState,
    deadline: Instant,
    log: &Log,
) {
    match standing::join(place, settings, &peer.name, state.canary, deadline, log) {
        Ok(false) => {}
        Ok(true) => {
            state.joining = false;
            log.info(format_args!("{} has what was acknowledged while it got the whole tree", peer.name));
            if let Err(failure) = peer_files::save(place, &peer.name, state) {
                log.warning(failure.reason);
            }
            tell_of_joining(place, settings, peer, deadline, log);
        }
        Err(failure) => log.warning(failure.reason),
    }
}

/// Has a peer look at the cluster's record and tell how it stands, so that it can be promoted from now on, and not from its next monitor on.
fn tell_of_joining(place: &Place, settings: &Settings, peer: &Peer, deadline: Instant, log: &Log) {
    if let Err(trouble) = ask(place, settings, peer, Ask::Look, deadline) {
        log.info(format_args!("{} hears of it at its next monitor: {trouble}", peer.name));
    }
    standing::tell_of_peers(place, settings, deadline, log);
}

/// Waits a moment for whole passes to other peers that are about to end: to tell the cluster costs as much as thousands of small files, which these
/// would wait for.
fn let_others_end(
    place: &Place,
    settings: &Settings,
    peer: &Peer,
    generation: &Generation,
    deadline: Instant,
) {
    let until = deadline.min(Instant::now() + MOMENT);
    let mut others: Vec<&Peer> = settings.peers.iter().filter(|other| other.name != peer.name).collect();
    loop {
        others.retain(|other| {
            let state = peer_files::of_generation(place, &other.name, generation.number);
            state.phase == Phase::Syncing && state.sending
        });
        if others.is_empty() || Instant::now() >= until {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits for whoever sends to the peer now. (Longer steps than the lock's own: a pass may take hours.)
pub(crate) fn wait_for_lock(place: &Place, peer: &str, deadline: Instant) -> Result<process::Guard, Trouble> {
    let lock = PidLock::at(place.peer_lock(peer));
    loop {
        match lock.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(Error::Held { .. }) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(error) => return Err(Trouble::here(error.to_string())),
        }
    }
}

/// What allows this node to send: it is the source of this generation by its own disk, and the tree is the one it was then. The open root keeps
/// the tree from being unmounted meanwhile.
///
/// # Errors
/// Why it may not.
pub(crate) fn may_send(
    place: &Place,
    settings: &Settings,
    generation: &Generation,
) -> Result<(Own, tree::Held), Trouble> {
    let own = own::load(place).map_err(|failure| Trouble::here(failure.reason))?;
    let Some(record) =
        own.latest.as_ref().filter(|record| own.is_source() && record.generation == *generation)
    else {
        return Err(Trouble::here(format!(
            "this node is not the source of generation {generation} any more"
        )));
    };
    let device = source::known_device(place, generation);
    let held = tree::hold(&settings.source, device).map_err(Trouble::here)?;
    // By the way that it is sent, too.
    tree::check_source(held.path(), record.dataset, record.filled, device).map_err(|trouble| {
        let (held, source) = (held.path().display().to_string(), settings.source.display().to_string());
        Trouble::here(trouble.replace(&held, &source))
    })?;
    Ok((own, held))
}

/// The file with the token of this generation, for rsync.
///
/// # Errors
/// The secret cannot be read, or its file not be written.
pub(crate) fn token(place: &Place, settings: &Settings, generation: &Generation) -> Result<PathBuf, Trouble> {
    let here = |failure: Failure| Trouble::here(failure.reason);
    let key = Key::read(&settings.secret_file).map_err(here)?;
    let secret = place.secret("push");
    keys::write_secret(&secret, &format!("{}\n", key.token(&settings.dataset, generation))).map_err(here)?;
    Ok(secret)
}

/// Of what differed, that which has not changed here of late.
fn drift(settings: &Settings, names: Vec<String>, begun: SystemTime) -> Vec<String> {
    let fresh = |path: &Path| {
        let found = fs::symlink_metadata(path);
        let time =
            |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        found.map(|it| time(it.ctime()) + FRESH > begun)
    };
    let on_its_way = |name: &String| {
        let path = settings.source.join(transfer::shown_path(name));
        // What is gone here changed the directory that it was in.
        let above = || path.ancestors().skip(1).find_map(|it| fresh(it).ok());
        fresh(&path).ok().or_else(above).unwrap_or(false)
    };
    names.into_iter().filter(|name| !on_its_way(name)).collect()
}

/// Claims the peer for this generation: when it has answered, no earlier transfer of anybody's writes there any more.
///
/// # Errors
/// It does not answer, or takes nothing from here; why.
pub(crate) fn claim(
    place: &Place,
    settings: &Settings,
    peer: &Peer,
    generation: &Generation,
    deadline: Instant,
) -> Result<Answer, Trouble> {
    let claimed = ask(place, settings, peer, Ask::Claim(generation.clone()), deadline)?;
    if !claimed.own.accepts(generation) {
        let knows = claimed.own.generation().map_or_else(|| "none".to_owned(), ToString::to_string);
        let why = format!("does not take generation {generation}, the newest that it knows is {knows}");
        return Err(refused(peer, why));
    }
    match &claimed.refuses {
        Some(reason) => Err(refused(peer, reason.clone())),
        None => Ok(claimed),
    }
}

fn refused(peer: &Peer, why: String) -> Trouble {
    Trouble::new(Kind::Refused, format!("{} ({}): {why}", peer.name, peer.address))
}

fn ask(
    place: &Place,
    settings: &Settings,
    peer: &Peer,
    what: Ask,
    deadline: Instant,
) -> Result<Answer, Trouble> {
    let until = deadline.min(Instant::now() + settings.question_timeout());
    Ok(ask::ask(place, settings, peer, what, until)?)
}

/// Sends the marker, and the canary with this number, not as it may be by now.
///
/// # Errors
/// They did not arrive.
pub(crate) fn marks(
    place: &Place,
    route: &Route<'_>,
    dataset: u64,
    canary: u64,
    deadline: Instant,
) -> Result<(), Trouble> {
    let stage = place.run.join("marks").join(ocf::file_name(&route.peer.name));
    fs::create_dir_all(&stage).map_err(|error| Trouble::here(format!("{}: {error}", stage.display())))?;
    tree::write_marker(&stage, dataset, &route.settings.dataset)?;
    tree::put_canary(&stage, canary)?;
    let list = transfer::listed([".bascule/dataset", ".bascule/canary"].map(OsStr::new));
    let tool = rsync(route.settings).args(route.marks(&stage)).input(list);
    match run(&tool, deadline)? {
        (_, Outcome::Fault(fault)) => Err(fault.into()),
        _ => Ok(()),
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreachable(text) => Trouble::new(Kind::Unreachable, text),
            Fault::Refused(text) => Trouble::new(Kind::Refused, text),
            Fault::Failed(text) => Trouble::new(Kind::Failed, text),
        }
    }
}

/// rsync, by the way that it is told and no other.
fn rsync(settings: &Settings) -> Tool {
    Tool::new(settings.rsync.as_str()).env("RSYNC_PROXY", "").stdout_tail(SAID).stderr_limit(COMPLAINTS)
}

fn run(tool: &Tool, deadline: Instant) -> Result<(Report, Outcome), Trouble> {
    let output = tool.run(deadline).map_err(|error| match error {
        Error::TimedOut { .. } | Error::Stuck { .. } => Trouble::new(Kind::Failed, error.to_string()),
        other => Trouble::here(other.to_string()),
    })?;
    Ok((Report::read(&output.stdout, &output.stderr), transfer::outcome(output.ended, &output.stderr)))
}

/// Runs rsync without deletions; if some are due and may happen, once more with them. Tells whether something vanished
/// meanwhile.
///
/// # Errors
/// Something did not arrive; or deletions are held back ([`Kind::Held`], its text is the caller's).
pub(crate) fn guarded(
    settings: &Settings,
    released: Option<u64>,
    arguments: impl Fn(Option<u64>) -> Vec<OsString>,
    input: Option<&[u8]>,
    remaining: impl Fn(&Report) -> u64,
    deadline: Instant,
) -> Result<(Report, bool), Trouble> {
    let tool = |max_delete| {
        let tool = rsync(settings).args(arguments(max_delete));
        if let Some(input) = input { tool.input(input) } else { tool }
    };
    let (first, outcome) = run(&tool(Some(0)), deadline)?;
    let verdict = |report: Report, outcome: Outcome| match outcome {
        Outcome::Done => Ok((report, false)),
        Outcome::Vanished => Ok((report, true)),
        Outcome::Fault(fault) => Err(Trouble::from(fault)),
    };
    // A connection that broke leaves no count to judge.
    if let Outcome::Fault(fault @ (Fault::Unreachable(_) | Fault::Refused(_))) = outcome {
        return Err(fault.into());
    }
    let held = |n: u64| Err(Trouble::new(Kind::Held(n), String::new()));
    match transfer::guard(settings.max_delete, first.skipped, remaining(&first), released) {
        Guard::Clear => verdict(first, outcome),
        Guard::Hold(n) => held(n),
        Guard::Delete(limit) => {
            // What was in the way of a file failed the first time: only the second run tells.
            let (second, outcome) = run(&tool(limit), deadline)?;
            if let Some(n) = second.skipped {
                return held(n);
            }
            verdict(first.and(second), outcome)
        }
    }
}

/// Starts a pass to a peer in the background, unless something is sent to it anyhow. Trouble is on file for the peer, and in
/// the log.
pub(crate) fn revive(place: &Place, settings: &Settings, peer: &Peer, generation: &Generation, log: &Log) {
    if !matches!(PidLock::at(place.peer_lock(&peer.name)).holder(), Ok(None)) {
        return;
    }
    let under_way = source::job_file(place, &peer.name).load::<Identity>();
    if under_way.is_ok_and(|job| job.is_some_and(|job| job.is_alive())) {
        return;
    }
    let state = peer_files::of_generation(place, &peer.name, generation.number);
    let age = fs::metadata(result_file(place, &peer.name).path()).and_then(|it| it.modified());
    let recent = age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < HELD));
    if state.held.is_some() && recent && !hold::is_asked_for(place, &peer.name) {
        return;
    }
    let deadline = Instant::now() + LONGEST;
    let whole = Pass { place, settings, peer, generation, mode: Mode::Whole, deadline };
    if let Err(failure) = whole.launch() {
        log.warning(format_args!("a pass to {} cannot be started: {}", peer.name, failure.reason));
    }
}

fn result_file(place: &Place, peer: &str) -> StateFile {
    StateFile::new(place.run.join("jobs").join(format!("{}.result", ocf::file_name(peer))))
}

/// Passes to several peers at the same time, each to its end or to the deadline; all are gone when this returns.
pub(crate) fn drain(
    place: &Place,
    settings: &Settings,
    peers: &[&Peer],
    generation: &Generation,
    deadline: Instant,
    log: &Log,
) -> Vec<(String, Result<Passed, Trouble>)> {
    let until = deadline.checked_sub(ENDING).unwrap_or(deadline);
    let started: Vec<(&Peer, Result<Identity, Failure>)> = peers
        .iter()
        .map(|peer| {
            let last = Pass { place, settings, peer, generation, mode: Mode::Last, deadline: until };
            (*peer, last.launch())
        })
        .collect();
    let running = || started.iter().any(|(_, job)| job.as_ref().is_ok_and(Identity::is_alive));
    while running() && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    let end = |(peer, job): (&Peer, Result<Identity, Failure>)| {
        let outcome = job.map_err(Trouble::from).and_then(|job| {
            let late = job.is_alive();
            if let Err(error) = job.stop(Duration::ZERO, deadline) {
                log.error(format_args!("the last pass to {}: {error}", peer.name));
                return Err(Trouble::new(Kind::Failed, error.to_string()));
            }
            let file = result_file(place, &peer.name);
            let told = file.load::<Result<Passed, Trouble>>();
            let _may_stay = source::job_file(place, &peer.name).remove();
            match told {
                Ok(Some(result)) => result,
                _ if late => {
                    Err(Trouble::new(Kind::Failed, "not everything was sent in time, the pass was ended"))
                }
                _ => Err(Trouble::new(Kind::Failed, "the pass was ended by somebody else")),
            }
        });
        (peer.name.clone(), outcome)
    };
    started.into_iter().map(end).collect()
}

#[cfg(test)]
#[path = "pass_tests.rs"]
pub(crate) mod tests;
