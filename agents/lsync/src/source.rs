//! The source's life on this node: lsyncd, and the passes that go on in the background. What runs, and for which generation, is in
//! one file, so that any later action finds it; when [`stop`] has returned, nothing sends any more.

use crate::core::Generation;
use crate::peer_files;
use crate::peers::Phase;
use crate::settings::{Peer, Place, Settings};
use crate::{lsyncd, watches};
use ocf::{Code, Failure, Log, StateFile};
use process::{Daemon, Identity, PidLock, Process, command_line};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long lsyncd has to be alive to count as started: what it dislikes in its configuration it says at once.
const SETTLED: Duration = Duration::from_millis(200);
/// How long a job waits to see itself written down, without which a stop would not find it.
const NOTED: Duration = Duration::from_secs(5);
/// The same after it ended for lack of watches: it has to reach the last directory first.
const SETTLED_WITH_DOUBT: Duration = Duration::from_secs(3);
/// How much of the end of a log is read for a reason.
const LOG_TAIL: u64 = 16384;

/// What is on file of it.
#[derive(Debug, Serialize, Deserialize)]
struct OnFile {
    generation: Generation,
    device: u64,
    lsyncd: Identity,
    /// Those that lsyncd was told to serve.
    #[serde(default)]
    peers: Vec<Peer>,
}

/// A source that was started here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// The generation that it was started for.
    pub(crate) generation: Generation,
    /// The device that its tree was on.
    pub(crate) device: u64,
    /// Whether lsyncd still runs.
    pub(crate) alive: bool,
    /// Those that it serves.
    pub(crate) peers: Vec<Peer>,
}

fn file(place: &Place) -> StateFile {
    StateFile::new(place.run.join("source.json"))
}

/// What the last one was, after its end: the drain still has to know the device.
fn last_file(place: &Place) -> StateFile {
    StateFile::new(place.run.join("source-ended.json"))
}

/// What was started here and not stopped. Starts no process.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn running(place: &Place) -> Result<Option<Running>, Failure> {
    let found = file(place).load::<OnFile>()?;
    Ok(found.map(|it| Running {
        alive: it.lsyncd.is_alive(),
        generation: it.generation,
        device: it.device,
        peers: it.peers,
    }))
}

/// Whether something was started here and not stopped, dead or alive.
pub(crate) fn is_started(place: &Place) -> bool {
    file(place).load::<OnFile>().is_ok_and(|it| it.is_some())
}

/// The promoted role begins: what runs on this node may write to the tree from now on, so nothing is to be received into it.
///
/// # Errors
/// It cannot be noted.
pub(crate) fn role_begins(place: &Place) -> Result<(), Failure> {
    let file = place.promoted();
    fs::write(&file, "").map_err(|error| Failure::generic(format!("{}: {error}", file.display())))
}

/// The promoted role has ended, and with it whatever wrote to the tree here.
///
/// # Errors
/// It cannot be noted.
pub(crate) fn role_ended(place: &Place) -> Result<(), Failure> {
    let file = place.promoted();
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::generic(format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

/// The device that the tree was on when this generation's source was started, also after its end.
pub(crate) fn known_device(place: &Place, generation: &Generation) -> Option<u64> {
    let on_file = |file: StateFile| file.load::<OnFile>().ok().flatten();
    let known = on_file(file(place)).or_else(|| on_file(last_file(place)));
    known.filter(|it| it.generation == *generation).map(|it| it.device)
}

/// Starts lsyncd for a generation, with a whole pass to every peer at first.
///
/// # Errors
/// It cannot be configured or started, or ended at once; the reason is what it said, or the kernel's limit that it ran into.
pub(crate) fn start(
    place: &Place,
    settings: &Settings,
    generation: &Generation,
    device: u64,
    deadline: Instant,
) -> Result<(), Failure> {
    let text = lsyncd::configuration(settings, place).map_err(|reason| Failure::new(Code::Args, reason))?;
    let settled = match ended_for_lack(place, settings) {
        None => SETTLED,
        Some(Lack { certain: true, reason }) => return Err(Failure::generic(reason)),
        Some(Lack { .. }) => SETTLED_WITH_DOUBT,
    };
    for peer in &settings.peers {
        let mut state = peer_files::of_generation(place, &peer.name, generation.number);
        // Until its whole pass, which lsyncd calls for first.
        state.phase = Phase::Syncing;
        // What changed while no lsyncd ran was told to nobody.
        state.behind_since.get_or_insert(peer_files::boot_seconds());
        state.failing_since = None;
        peer_files::end_waiting(place, &peer.name);
        peer_files::save(place, &peer.name, &state)?;
    }
    let conf = place.lsyncd("conf");
    crate::keys::replace(&conf, text.as_bytes(), 0o600)
        .map_err(|error| Failure::generic(format!("writing {}: {error}", conf.display())))?;
    for name in ["log", "out"] {
        let log = place.lsyncd(name);
        let _may_not_be_there = fs::rename(&log, log.with_extension(format!("{name}.old")));
    }
    let lsyncd =
        Daemon::new(settings.lsyncd.as_str()).arg("-nodaemon").arg(&conf).log(place.lsyncd("out")).start()?;
    let on_file = OnFile { generation: generation.clone(), device, lsyncd, peers: settings.peers.clone() };
    let noted = file(place).save(&on_file);
    if let Err(failure) = noted {
        // Nobody would find it.
        on_file.lsyncd.stop(Duration::ZERO, deadline)?;
        return Err(failure);
    }
    let until = (Instant::now() + settled).min(deadline);
    while on_file.lsyncd.is_alive() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    if on_file.lsyncd.is_alive() {
        return Ok(());
    }
    let reason = why_ended(place, settings);
    stop(place, deadline)?;
    Err(Failure::generic(reason))
}

/// Why lsyncd has ended, from its log.
pub(crate) fn why_ended(place: &Place, settings: &Settings) -> String {
    let log = logs(place);
    if let Some(reason) = watches::shortage(&log, &settings.source) {
        return reason;
    }
    let said = log
        .lines()
        .rev()
        .find(|line| line.contains("Error"))
        .or_else(|| log.lines().last())
        .unwrap_or_default();
    let said = said.trim();
    let said = if said.is_empty() { "it said nothing" } else { said };
    format!("lsyncd has ended: {said} (see {})", place.lsyncd("log").display())
}

struct Lack {
    reason: String,
    certain: bool,
}

/// Whether the last lsyncd ended because inotify does not allow what the tree needs, and whether it still does not.
fn ended_for_lack(place: &Place, settings: &Settings) -> Option<Lack> {
    let reason = watches::shortage(&logs(place), &settings.source)?;
    Some(Lack { certain: watches::too_few(&settings.source), reason })
}

fn logs(place: &Place) -> String {
    tail(&place.lsyncd("log")) + &tail(&place.lsyncd("out"))
}

fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// Ends lsyncd, its pushes, all passes and their rsyncs, and returns when they are gone. Idempotent.
///
/// # Errors
/// Something of it cannot be ended.
pub(crate) fn stop(place: &Place, deadline: Instant) -> Result<(), Failure> {
    // Not asked to end: lsyncd would wait for its children, and what they have not sent is sent by a pass.
    let now = Duration::ZERO;
    // A file that cannot be read names nobody; what runs is found below.
    let on_file = file(place).load::<OnFile>().unwrap_or_default();
    if let Some(on_file) = &on_file {
        on_file.lsyncd.stop(now, deadline)?;
    }
    // One whose starter was killed before it could write down whom it had started.
    let conf = place.lsyncd("conf");
    for process in
        Process::all().iter().filter(|it| it.name.starts_with("lsyncd") && it.is_of_our_namespace())
    {
        if command_line(process.pid).is_some_and(|line| line.ends_with(&*conf.to_string_lossy()))
            && let Some(identity) = Identity::of(process.pid)
        {
            identity.stop(now, deadline)?;
        }
    }
    end_jobs(place, deadline)?;
    // In one step, which takes no room: a full /run is no reason to be fenced.
    match fs::rename(file(place).path(), last_file(place).path()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => file(place).remove(),
        _ => Ok(()),
    }
}

/// The file with the identity of the pass that goes on in the background for a peer.
pub(crate) fn job_file(place: &Place, peer: &str) -> StateFile {
    StateFile::new(place.run.join("jobs").join(format!("{}.json", ocf::file_name(peer))))
}

/// Goes on with some work in the background, as a job that does nothing before it is on file and can be found. The work gets a log of its own:
/// the parent's has lost its connection.
///
/// # Errors
/// A process cannot be made, or not be put on file.
pub(crate) fn job(
    place: &Place,
    dataset: &str,
    name: &str,
    work: impl FnOnce(&Log),
) -> Result<Identity, Failure> {
    let file = job_file(place, name);
    file.remove()?;
    let identity = process::detach("lsync-job", &[], || {
        let me = std::process::id() as i32;
        let given_up = Instant::now() + NOTED;
        let noted = || file.load::<Identity>().is_ok_and(|it| it.is_some_and(|it| it.pid() == me));
        while !noted() {
            if Instant::now() > given_up {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        work(&job_log(dataset));
    })?;
    file.save(&identity)?;
    Ok(identity)
}

/// The log of what runs without Pacemaker: syslog, as Pacemaker has it.
pub(crate) fn job_log(dataset: &str) -> Log {
    let facility = ["HA_LOGFACILITY", "PCMK_logfacility"].iter().find_map(|name| std::env::var(name).ok());
    let tag = format!("lsync({dataset})[{}]", std::process::id());
    Log::new(tag, Some(facility.as_deref().unwrap_or("daemon")), false, None)
}

/// Ends the passes in the background, and whoever else holds a peer's lock.
///
/// # Errors
/// Something of it cannot be ended.
pub(crate) fn end_jobs(place: &Place, deadline: Instant) -> Result<(), Failure> {
    for path in files_in(&place.run.join("jobs"), "json") {
        let job = StateFile::new(path);
        if let Ok(Some(identity)) = job.load::<Identity>() {
            identity.stop(Duration::ZERO, deadline)?;
        }
        job.remove()?;
    }
    let me = std::process::id() as i32;
    for path in files_in(&place.run.join("peers"), "lock") {
        if let Some(pid) = PidLock::at(path).holder()?
            && pid > 0
            && pid != me
            && let Some(identity) = Identity::of(pid)
        {
            identity.stop(Duration::ZERO, deadline)?;
        }
    }
    Ok(())
}

fn files_in(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect()
}

/// For tests: as if lsyncd, played by the calling process, had been started.
#[cfg(test)]
pub(crate) fn pretend(place: &Place, generation: &Generation, device: u64) {
    let lsyncd = Identity::of(std::process::id() as i32).unwrap();
    file(place).save(&OnFile { generation: generation.clone(), device, lsyncd, peers: Vec::new() }).unwrap();
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
