//! What can go wrong with a process. Each text names the command or file and what was seen, on one line, so that it can
//! be an exit reason as it stands.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::facts::{self, Process};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited by itself, with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// Why a process could not be run, ended or locked out.
#[derive(Debug)]
pub enum Error {
    /// There is no such command on this node; nothing was started.
    NotFound {
        /// The command as it was asked for.
        tool: String,
    },
    /// The command is there, and did not start.
    Spawn {
        /// Command line.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// The command ran and failed ([`Output::ok`](crate::Output::ok)).
    Failed {
        /// Command line.
        command: String,
        /// Its exit code or signal.
        ended: Ended,
        /// The last line it wrote.
        said: String,
    },
    /// The command did not end in time and was killed with its whole process group.
    TimedOut {
        /// Command line.
        command: String,
        /// How long it ran.
        after: Duration,
        /// The last line it wrote.
        said: String,
        /// What it had written to standard error, as far as [`Tool::stderr_limit`](crate::Tool::stderr_limit) goes.
        stderr: Vec<u8>,
    },
    /// The command did not end in time, nor when it was killed: the kernel holds it (state D), until a device or a
    /// server answers. It is left as it is.
    Stuck {
        /// Command line.
        command: String,
        /// Its process id.
        pid: i32,
        /// Its state as in `/proc/PID/stat`; `?` where it cannot be read.
        state: char,
        /// How long it was waited for.
        after: Duration,
        /// The last line it wrote.
        said: String,
    },
    /// Processes of a daemon outlived SIGKILL until the deadline.
    Left {
        /// Those that are still there.
        left: Vec<Process>,
    },
    /// The lock is held by another process.
    Held {
        /// The lock's file.
        path: PathBuf,
        /// Its holder; 0 where the holder lives in a pid namespace that cannot be seen from here.
        by: i32,
    },
    /// A system call failed.
    Io {
        /// What was being done, with its object.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Tells whether the command is missing on this node (OCF: not installed; on a probe: not running).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(known) => write!(f, "killed by {known}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { tool } => write!(f, "{tool}: command not found"),
            Self::Spawn { command, source } => write!(f, "{command}: cannot be started: {source}"),
            Self::Failed { command, ended, said } => {
                write!(f, "{command}: {ended}")?;
                if said.is_empty() { Ok(()) } else { write!(f, ": {said}") }
            }
            Self::TimedOut { command, after, said, .. } if after.is_zero() => {
                write!(f, "{command}: not started, no time left{}", last(said))
            }
            Self::TimedOut { command, after, said, .. } => {
                write!(f, "{command}: not done after {:.1} s, killed{}", after.as_secs_f64(), last(said))
            }
            Self::Stuck { command, pid, state, after, said } => write!(
                f,
                "{command}: not done after {:.1} s and cannot be killed (pid {pid}, state {}){}",
                after.as_secs_f64(),
                facts::state_in_words(*state),
                last(said)
            ),
            Self::Left { left } => {
                f.write_str("cannot be killed:")?;
                for (n, process) in left.iter().enumerate() {
                    write!(f, "{} {process}", if n == 0 { "" } else { ";" })?;
                }
                Ok(())
            }
            Self::Held { path, by: 0 } => {
                write!(f, "{} is locked by a process of another pid namespace", path.display())
            }
            Self::Held { path, by } => {
                write!(f, "{} is locked by pid {by}", path.display())?;
                match Process::of(*by) {
                    Some(holder) => write!(f, " ({})", holder.name),
                    None => Ok(()),
                }
            }
            Self::Io { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

/// `; last said: …`, or nothing.
fn last(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; last said: {said}") }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The texts above hold their cause already; a chain that printed it twice would be no help.
        None
    }
}
