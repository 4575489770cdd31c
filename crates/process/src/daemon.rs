//! Daemons: commands that go on when the agent has ended.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::error::Error;
use crate::facts::Process;
use crate::identity::{Identity, MARK};
use crate::invocation::Invocation;
use crate::sys;

/// A command to be started in the background. Give it the option that keeps it in the foreground (`--no-detach`,
/// `-nodaemon`): what daemonizes by itself leaves the session by which it is found again.
#[derive(Debug, Clone)]
pub struct Daemon {
    invocation: Invocation,
    log: Option<PathBuf>,
}

impl Daemon {
    /// A command, found as [`find_tool`](crate::find_tool) does.
    pub fn new(program: impl Into<String>) -> Self {
        Self { invocation: Invocation::new(program), log: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.invocation.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        for arg in args {
            self.invocation.arg(arg);
        }
        self
    }

    /// Sets a variable in the daemon's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.invocation.env(name, value);
        self
    }

    /// Appends standard output and standard error to this file, made with mode 0600; else they go to `/dev/null`.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Starts it: as a grandchild, so that it is never a zombie of ours or of Pacemaker's, leading a session of its own, in
    /// `/`, with umask 022, default signals, `/dev/null` to read from and no descriptor but its three streams. Locale,
    /// PATH and environment are those of a [`Tool`](crate::Tool); priority and OOM score are inherited.
    ///
    /// Success means that the command was executed. Whether it then serves is for the caller to see: a daemon that
    /// dislikes its configuration ends a moment later.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Spawn`], [`Error::Io`] for the log file.
    pub fn start(&self) -> Result<Identity, Error> {
        let mut command = self.invocation.command()?;
        let mark = new_mark();
        command.env(MARK, &mark).current_dir("/").stdin(Stdio::null());
        match &self.log {
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
            Some(path) => {
                let log = open_log(path)
                    .map_err(|source| Error::io(format!("log file {}", path.display()), source))?;
                let twin = log
                    .try_clone()
                    .map_err(|source| Error::io(format!("log file {}", path.display()), source))?;
                command.stdout(log).stderr(twin);
            }
        }
        let failed = |source| Error::Spawn { command: self.invocation.to_string(), source };
        let (told, tell) = pipe2(OFlag::O_CLOEXEC).map_err(|error| failed(error.into()))?;
        sys::keep_exit_codes();
        sys::detach_at_start(&mut command, tell.as_fd());
        // std waits here until the grandchild has executed the command, or has failed to.
        let mut between = command.spawn().map_err(failed)?;
        drop(tell);
        between.wait().map_err(failed)?;
        let mut pid = [0; size_of::<i32>()];
        File::from(told).read_exact(&mut pid).map_err(failed)?;
        let pid = i32::from_ne_bytes(pid);
        let gone = || failed(std::io::Error::other("it ended at once"));
        let started = Process::of(pid).ok_or_else(gone)?;
        Identity::known(pid, started.start_time, Some(mark)).ok_or_else(gone)
    }
}

/// Something that no other daemon of this boot bears: this process's own identity and a count.
fn new_mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id() as i32;
    let start_time = Process::of(pid).map_or(0, |process| process.start_time);
    format!("{pid}.{start_time}.{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}
