//! The csync2 daemon of a resource: started, found again, ended. And how csync2 is called.

use crate::look;
use crate::settings::{Place, Settings};
use crate::strays::{self, What};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use ocf::{Failure, StateFile};
use process::{Daemon, Identity, Tool};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Until the daemon says that it listens.
const LISTENING: Duration = Duration::from_secs(10);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(20);
/// Longest to wait for others who are sending: one of them may be silent.
const ARRIVING: Duration = Duration::from_millis(700);
/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_millis(500);
/// What it says when it listens.
const READY: &str = "Listening on";
/// Names that are longer than this csync2 cuts for the file by way of which it receives.
const LONGEST_NAME: usize = 240;
/// The daemon's log is cut when it is longer than this.
const LONGEST_LOG: u64 = 4 << 20;

/// csync2 with what all calls have in common.
pub(crate) fn csync2(place: &Place, settings: &Settings) -> Tool {
    Tool::new(&settings.csync2).env("CSYNC2_SYSTEM_DIR", place.system()).args(common(settings))
}

fn common(settings: &Settings) -> Vec<String> {
    let mut arguments = vec![
        "-D".to_owned(),
        settings.database.to_string_lossy().into_owned(),
        "-p".to_owned(),
        settings.port.to_string(),
    ];
    if !settings.has_interface {
        arguments.extend(["-N".to_owned(), settings.host.clone()]);
    }
    if let Some(config) = &settings.config {
        arguments.extend(["-C".to_owned(), config.clone()]);
    }
    arguments
}

fn file(place: &Place) -> StateFile {
    StateFile::new(place.daemon())
}

/// The daemon, if it was started and is alive.
pub(crate) fn running(place: &Place) -> Option<Identity> {
    file(place).load::<Identity>().ok().flatten().filter(Identity::is_alive)
}

/// The connections that the daemon serves: a process for each.
fn connections(daemon: &Identity) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.pid()));
    let pids = children.unwrap_or_default();
    // One that has ended is there until the daemon takes notice, which is long if it is halted.
    let serves = |pid: &i32| stat(*pid).is_some_and(|fields| !fields.starts_with('Z'));
    pids.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(serves).collect()
}

/// What the kernel says of a process, from its state on: before it is its name, in brackets, which may have any in it.
fn stat(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().to_owned())
}

/// Waits a little while somebody is sending to the daemon. What arrives gets its owner, mode and time last: a check in between could take it for
/// changed here. `true` if somebody is sending still.
pub(crate) fn let_arrive(place: &Place) -> bool {
    let Some(daemon) = running(place) else { return false };
    let until = Instant::now() + ARRIVING;
    while !connections(&daemon).is_empty() {
        if Instant::now() >= until {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}

/// Ends what serves a connection for longer than any peer would wait: csync2 has no bound of its own, and hangs when it is to remove a pipe, say.
pub(crate) fn end_hung(place: &Place, longest: Duration) -> usize {
    let Some(daemon) = running(place) else { return 0 };
    let is_hung = |pid: &i32| age(*pid).is_some_and(|age| age > longest);
    let hung: Vec<i32> = connections(&daemon).into_iter().filter(is_hung).collect();
    // Nobody else can have such a number while its parent, the daemon, has not taken notice of its end.
    hung.into_iter().filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok()).count()
}

/// Ends those connections through which a file is just coming to one of these places, which were changed here: csync2 looked before it began to
/// receive, does not look again, and would overwrite that change, or apply what it was sent to it. How many; the sender tries again and is told.
///
/// `is_its_own` says whether a change was made by csync2: what is no file it removes before it receives one.
pub(crate) fn refuse(
    place: &Place,
    changed: &BTreeSet<PathBuf>,
    is_its_own: impl Fn(&Path) -> bool,
) -> usize {
    let Some(daemon) = running(place) else { return 0 };
    let mut ended = 0;
    for pid in connections(&daemon) {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let open: Vec<PathBuf> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        let comes = |file: &PathBuf| changed.iter().any(|place| is_for(file, place) && !is_its_own(place));
        // As above: nobody else can have its number.
        if open.iter().any(comes) && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
            ended += 1;
        }
    }
    ended
}

/// Whether an open file, as /proc names it, is what csync2 receives to a place by way of: `.NAME.XXXXXX`, mostly removed already. A long name is cut there.
fn is_for(file: &Path, place: &Path) -> bool {
    let (file, wanted) =
        (file.file_name().unwrap_or_default().as_bytes(), place.file_name().unwrap_or_default().as_bytes());
    let wanted = wanted.strip_prefix(b".").unwrap_or(wanted);
    let Some(name) = look::received_as(file.strip_suffix(b" (deleted)").unwrap_or(file)) else {
        return false;
    };
    let is_cut = wanted.len() > LONGEST_NAME && wanted.starts_with(name) && name.len() >= LONGEST_NAME;
    name == wanted || is_cut
}

/// How long ago a process was started.
fn age(pid: i32) -> Option<Duration> {
    // The state is field 3, the start 22.
    let started: f64 = stat(pid)?.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten()?;
    let seconds = uptime - started / f64::from(i32::try_from(ticks).ok()?);
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

/// Starts the daemon, if it does not run, and waits until it listens.
///
/// # Errors
/// It does not come to listen; why, in its own words.
pub(crate) fn start(place: &Place, settings: &Settings, deadline: Instant) -> Result<(), Failure> {
    if running(place).is_some() {
        return Ok(());
    }
    stop(place, deadline)?;
    // Of a worker that was killed before it could note it; it has the port.
    strays::end(place, &settings.resource, &[What::Daemon], deadline)?;
    let log = place.daemon_log();
    let _may_not_be_there = fs::rename(&log, log.with_extension("log.old"));
    let daemon = Daemon::new(&settings.csync2)
        .env("CSYNC2_SYSTEM_DIR", place.system())
        .args(common(settings))
        .args(["-ii", "-v", "-B"])
        .log(&log)
        .start()?;
    if let Err(failure) = file(place).save(&daemon) {
        // Nobody would find it.
        daemon.stop(Duration::ZERO, deadline)?;
        return Err(failure);
    }
    let until = deadline.min(Instant::now() + LISTENING);
    loop {
        let said = fs::read_to_string(&log).unwrap_or_default();
        if said.contains(READY) {
            return Ok(());
        }
        if !daemon.is_alive() || Instant::now() >= until {
            stop(place, deadline)?;
            return Err(Failure::generic(why_not(settings, &said)));
        }
        std::thread::sleep(LOOK);
    }
}

/// Why it does not listen.
fn why_not(settings: &Settings, said: &str) -> String {
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let port = settings.port;
    if said.contains("in use") {
        return format!(
            "the csync2 daemon cannot listen on port {port}, which is taken: stop what listens there (a csync2 of inetd or systemd? \
             systemctl disable --now csync2.socket), or give another port"
        );
    }
    format!("the csync2 daemon does not come up on port {port}: {last}")
}

/// Ends the daemon and what it has forked for connections.
///
/// # Errors
/// It is alive still.
pub(crate) fn stop(place: &Place, deadline: Instant) -> Result<(), Failure> {
    // A file that is spoilt says nothing.
    if let Ok(Some(daemon)) = file(place).load::<Identity>() {
        daemon.stop(GRACE, deadline)?;
    }
    file(place).remove()
}

/// Keeps the log from growing for ever.
pub(crate) fn trim_log(log: &Path) {
    if fs::metadata(log).is_ok_and(|found| found.len() > LONGEST_LOG) {
        // It is written with O_APPEND: what comes next is at the beginning.
        let _next_time = fs::copy(log, log.with_extension("log.old"));
        let _next_time = fs::OpenOptions::new().write(true).open(log).and_then(|file| file.set_len(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_received_is_known_by_its_name() {
        let is_for = |file: &str, place: &str| is_for(Path::new(file), Path::new(place));
        assert!(is_for("/srv/site/.big.a0Xy9z (deleted)", "/srv/site/big"));
        assert!(is_for("/srv/site/.z w.a0Xy9z", "/srv/site/z w"));
        assert!(is_for("/srv/site/.hidden.a0Xy9z", "/srv/site/.hidden"));
        assert!(is_for("/tmp/.big.a0Xy9z", "/srv/site/big"), "csync2.cfg may name another directory");
        assert!(!is_for("/srv/site/.bigger.a0Xy9z", "/srv/site/big"));
        assert!(!is_for("/srv/site/big", "/srv/site/big"));
        assert!(!is_for("/srv/site/.big.a0-y9z", "/srv/site/big"));
        assert!(!is_for("socket:[12]", "/srv/site/big"));
        assert!(!is_for("/", "/"));
        let long = "n".repeat(255);
        assert!(is_for(&format!("/srv/.{}.a0Xy9z", &long[..247]), &format!("/srv/{long}")));
        assert!(!is_for(&format!("/srv/.{}.a0Xy9z", &long[..100]), &format!("/srv/{long}")));
    }

    #[test]
    fn a_process_is_as_old_as_it_is() {
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = nix::unistd::getppid().as_raw();
        assert!(
            age(own).unwrap() <= age(parent).unwrap()
                && age(parent).unwrap() < Duration::from_secs(86_400 * 365)
        );
        assert_eq!(age(i32::MAX), None);
    }
}
