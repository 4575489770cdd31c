//! Who a background process is, so that it is found again by another call of the agent minutes or weeks later, and ended with
//! all that it started.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::facts::{Process, pids};
use crate::file::read_file;
use crate::sys;

/// The variable by which the processes of a daemon are known when their session's leader is gone.
pub(crate) const MARK: &str = "BASCULE_DAEMON";
/// What is kept of the time before the deadline for SIGKILL to take effect.
const KILL_RESERVE: Duration = Duration::from_millis(500);
/// Longest pause between two looks at a daemon's processes: one that was born meanwhile is not waited for by its pidfd.
const LOOK: Duration = Duration::from_millis(50);

/// A process for good: its pid, when it started, and in which boot. Written to a state file by the action that starts the
/// process, read by those that look for it. An identity never means a later process that was given the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pid: i32,
    start_time: u64,
    boot_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
}

/// What [`Identity::stop`] had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing of it ran any more.
    WasNotRunning,
    /// All of it ended on SIGTERM.
    Terminated,
    /// Some of it needed SIGKILL.
    Killed,
}

impl Identity {
    /// The process that has this pid now; `None` if there is none, or only its zombie.
    pub fn of(pid: i32) -> Option<Self> {
        let process = Process::of(pid).filter(Process::is_running)?;
        Some(Self { pid, start_time: process.start_time, boot_id: boot_id()?.to_owned(), mark: None })
    }

    pub(crate) fn known(pid: i32, start_time: u64, mark: Option<String>) -> Option<Self> {
        Some(Self { pid, start_time, boot_id: boot_id()?.to_owned(), mark })
    }

    /// Its process id, for messages.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it runs: the very process, not another with its pid, and not its zombie.
    pub fn is_alive(&self) -> bool {
        self.is_of_this_boot()
            && Process::of(self.pid).is_some_and(|it| it.start_time == self.start_time && it.is_running())
    }

    /// The process and all others of its session that run: children that outlived it too, where [`Daemon`](crate::Daemon)
    /// started it.
    ///
    /// A child that has made a session of its own (setsid) is no longer found. While a member of a session is left, the
    /// kernel gives the session's number to no new process; so what bears it is ours as long as the leader is. Once
    /// the leader is gone the number may have gone round: then only processes that carry the daemon's mark in their
    /// environment count.
    pub fn processes(&self) -> Vec<Process> {
        self.processes_and(&[])
    }

    /// The same, and those known from an earlier look to belong here.
    fn processes_and(&self, known: &[Process]) -> Vec<Process> {
        if !self.is_of_this_boot() {
            return Vec::new();
        }
        let leader = Process::of(self.pid);
        let reused = leader.as_ref().is_some_and(|leader| leader.start_time != self.start_time);
        let all = pids().into_iter().filter_map(Process::of).filter(Process::is_running);
        all.filter(|it| {
            let same = |other: &Process| other.pid == it.pid && other.start_time == it.start_time;
            if it.pid == self.pid {
                return it.start_time == self.start_time;
            }
            known.iter().any(same)
                || (it.session == self.pid && !reused && (leader.is_some() || self.has_marked(it.pid)))
        })
        .collect()
    }

    /// Ends the process with its whole session: SIGTERM to each member, SIGKILL to those left after the grace (and at
    /// the latest half a second before the deadline), and returns when none of them runs any more.
    ///
    /// # Errors
    /// [`Error::Left`] names those that outlived SIGKILL until the deadline.
    pub fn stop(&self, term_grace: Duration, deadline: Instant) -> Result<Stopped, Error> {
        let begun = Instant::now();
        let kill_at = (begun + term_grace).min(deadline.checked_sub(KILL_RESERVE).unwrap_or(begun));
        let mut terminated: Vec<Process> = Vec::new();
        let mut outcome = Stopped::WasNotRunning;
        loop {
            let members = self.processes_and(&terminated);
            if members.is_empty() {
                return Ok(outcome);
            }
            let now = Instant::now();
            let mut waited: Vec<OwnedFd> = Vec::new();
            for member in &members {
                let fresh = !terminated.iter().any(|it| it.pid == member.pid);
                let signals: &[Signal] = match (now >= kill_at, fresh) {
                    (true, _) => &[Signal::SIGKILL],
                    // One that is stopped takes its SIGTERM only when it goes on.
                    (false, true) => &[Signal::SIGTERM, Signal::SIGCONT],
                    (false, false) => &[],
                };
                waited.extend(send(member, signals));
                if fresh {
                    terminated.push(member.clone());
                }
            }
            if now >= kill_at {
                outcome = Stopped::Killed;
            } else if outcome == Stopped::WasNotRunning {
                outcome = Stopped::Terminated;
            }
            // A last look is taken after the last SIGKILL, however late this began.
            if now >= deadline.max(begun + LOOK) {
                return Err(Error::Left { left: members });
            }
            let mut descriptors: Vec<PollFd<'_>> =
                waited.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
            let next = if now < kill_at { kill_at } else { deadline };
            sys::wait(&mut descriptors, next.min(now + LOOK).max(now + Duration::from_millis(1)))
                .map_err(|source| Error::io(format!("waiting for the end of pid {}", self.pid), source))?;
        }
    }

    fn is_of_this_boot(&self) -> bool {
        boot_id().is_some_and(|boot| boot == self.boot_id)
    }

    /// Whether a process carries the mark that this daemon's children inherit.
    fn has_marked(&self, pid: i32) -> bool {
        let Some(mark) = &self.mark else { return false };
        let wanted = format!("{MARK}={mark}");
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|it| it == wanted.as_bytes()))
    }
}

/// Sends signals to a process that was seen, and to no other: with a pidfd, taken before the start time is compared again.
/// Gives the pidfd, by which its end can be waited for.
fn send(process: &Process, signals: &[Signal]) -> Option<OwnedFd> {
    let pidfd = sys::pidfd_open(process.pid).ok();
    if Process::of(process.pid).is_none_or(|it| it.start_time != process.start_time) {
        return None;
    }
    for signal in signals {
        // The only failure that matters, of a process that does not go away, is seen at the next look.
        let _ = match &pidfd {
            Some(pidfd) => sys::pidfd_signal(pidfd, *signal).is_ok(),
            None => kill(Pid::from_raw(process.pid), *signal).is_ok(),
        };
    }
    pidfd
}

/// Read once: no process outlives its boot.
fn boot_id() -> Option<&'static str> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Some(known);
    }
    let id = String::from_utf8(read_file(Path::new("/proc/sys/kernel/random/boot_id")).ok()?).ok()?;
    Some(KNOWN.get_or_init(|| id.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Identity {
        Identity::of(std::process::id() as i32).unwrap()
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        assert!(me().is_alive());
        let before = Identity { start_time: me().start_time - 1, ..me() };
        assert!(!before.is_alive());
        assert_eq!(before.processes(), []);
        assert_eq!(before.stop(Duration::ZERO, Instant::now()).unwrap(), Stopped::WasNotRunning);
    }

    #[test]
    fn nothing_survives_a_boot() {
        let before = Identity { boot_id: "00000000-0000-0000-0000-000000000000".into(), ..me() };
        assert!(!before.is_alive());
        assert_eq!(before.processes(), []);
        assert_eq!(before.stop(Duration::ZERO, Instant::now()).unwrap(), Stopped::WasNotRunning);
    }

    #[test]
    fn it_is_kept_in_a_file() {
        let json = serde_json::to_string(&me()).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), me());
    }
}
