//! Commands run to their end within a deadline.
//!
//! A tool gets a process group of its own, so that it is ended with all its children; pipes are read while it runs, so that
//! neither side waits for the other; memory is bounded whatever it writes. Nothing here waits without end: not for a child
//! that the kernel does not let go, not for a grandchild that keeps a pipe open.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::error::{Ended, Error};
use crate::facts::Process;
use crate::invocation::Invocation;
use crate::{sys, text};

/// How long a killed child may take to vanish before it counts as stuck in the kernel.
const KILL_WAIT: Duration = Duration::from_millis(250);
/// How long the pipes are read on when the child has ended and another process still holds them.
const PIPE_WAIT: Duration = Duration::from_millis(100);
/// Pause between two looks at a child on a kernel without pidfds.
const TICK: Duration = Duration::from_millis(10);
/// How much of the end of stderr is kept.
const STDERR_TAIL: usize = 4096;

/// A command to be run to its end.
///
/// It gets `/dev/null` (or the bytes given) as standard input, the locale C, a PATH with the system's directories, the
/// environment of this process without the resource's parameters (`OCF_RESKEY_*`), and dies with the thread that runs it.
#[derive(Debug, Clone)]
pub struct Tool {
    invocation: Invocation,
    input: Option<Vec<u8>>,
    stdout: Keep,
    stderr_limit: usize,
    term_grace: Duration,
}

/// What a command that ended in time left behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// What it wrote to standard output, up to the limit; or the last whole lines of it ([`Tool::stdout_tail`]).
    pub stdout: Vec<u8>,
    /// Whether it wrote more than the limit; the rest was read and dropped.
    pub truncated: bool,
    /// The last 4 KiB of its standard error, or as many as were asked for.
    pub stderr: Vec<u8>,
    command: String,
}

impl Tool {
    /// A command, found as [`find_tool`](crate::find_tool) does.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            invocation: Invocation::new(program),
            input: None,
            stdout: Keep::First(8 << 20),
            stderr_limit: STDERR_TAIL,
            term_grace: Duration::from_millis(250),
        }
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

    /// Sets a variable in the command's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.invocation.env(name, value);
        self
    }

    /// Gives the command these bytes to read. It need not read them.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Keeps at most so many bytes of standard output; 8 MiB if not said.
    #[must_use]
    pub fn stdout_limit(mut self, bytes: usize) -> Self {
        self.stdout = Keep::First(bytes);
        self
    }

    /// Keeps the last lines of standard output instead of the first: at most so many bytes.
    #[must_use]
    pub fn stdout_tail(mut self, bytes: usize) -> Self {
        self.stdout = Keep::Last(bytes);
        self
    }

    /// Keeps at most so many bytes of the end of standard error; 4 KiB if not said.
    #[must_use]
    pub fn stderr_limit(mut self, bytes: usize) -> Self {
        self.stderr_limit = bytes;
        self
    }

    /// How long the command's group may take between SIGTERM (sent at the deadline) and SIGKILL; 250 ms if not said.
    #[must_use]
    pub fn term_grace(mut self, grace: Duration) -> Self {
        self.term_grace = grace;
        self
    }

    /// Runs the command to its end, whatever its exit code: some tools say much by it ([`Output::ok`] for the others).
    ///
    /// At the deadline its whole group gets SIGTERM, after the grace SIGKILL; so this returns no later than the grace and
    /// 250 ms past the deadline. With the deadline passed already nothing is started. A command that ends in time leaves
    /// its background children, if any, alone; they get SIGPIPE when they write on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Spawn`], [`Error::TimedOut`], [`Error::Stuck`], [`Error::Io`].
    pub fn run(&self, deadline: Instant) -> Result<Output, Error> {
        let mut command = self.invocation.command()?;
        let begun = Instant::now();
        if begun >= deadline {
            let command = self.invocation.to_string();
            let (said, stderr) = (String::new(), Vec::new());
            return Err(Error::TimedOut { command, after: Duration::ZERO, said, stderr });
        }
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        sys::die_with_parent(&mut command);
        sys::keep_exit_codes();
        let mut child = command
            .spawn()
            .map_err(|source| Error::Spawn { command: self.invocation.to_string(), source })?;
        let pid = child.id() as i32;
        let mut talk = Talk::with(&mut child, self);
        let outcome = self.supervise(pid, &mut talk, deadline);
        let said = || match text::last_line(&talk.stderr.bytes) {
            line if line.is_empty() => text::last_line(&talk.stdout.bytes),
            line => line,
        };
        let outcome = outcome.map_err(|source| {
            // Without poll the child cannot be watched: end it, and leave nothing behind.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            Error::io(format!("waiting for {}", self.invocation), source)
        })?;
        let late = |stuck: bool| {
            let (command, after, said) = (self.invocation.to_string(), begun.elapsed(), said());
            match stuck {
                false => Error::TimedOut { command, after, said, stderr: talk.stderr.bytes.clone() },
                true => {
                    let state = Process::of(pid).map_or('?', |process| process.state);
                    Error::Stuck { command, pid, state, after, said }
                }
            }
        };
        match outcome {
            Outcome::Stuck => Err(late(true)),
            Outcome::Late => {
                // The leader is an unreaped zombie: the group's number is still its own.
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                let _ = child.try_wait();
                Err(late(false))
            }
            Outcome::Ended => {
                let status = child
                    .wait()
                    .map_err(|source| Error::io(format!("waiting for {}", self.invocation), source))?;
                Ok(Output {
                    ended: ended(status),
                    truncated: talk.stdout.is_cut(),
                    stdout: talk.stdout.lines(),
                    stderr: talk.stderr.tail(),
                    command: self.invocation.to_string(),
                })
            }
        }
    }

    /// Reads and writes until the child has ended (it stays a zombie), killing its group when time is up.
    fn supervise(&self, pid: i32, talk: &mut Talk, deadline: Instant) -> io::Result<Outcome> {
        let pidfd = sys::pidfd_open(pid).ok();
        let group = Pid::from_raw(pid);
        let mut phase = Phase::Running;
        let mut limit = deadline;
        let mut exited = false;
        loop {
            if !exited && has_exited(pid)? {
                exited = true;
                // What the child wrote is in the pipes now; only another holder could add to it.
                limit = Instant::now() + PIPE_WAIT;
            }
            talk.exchange();
            let now = Instant::now();
            if exited {
                if talk.is_over() || now >= limit {
                    return Ok(if phase == Phase::Running { Outcome::Ended } else { Outcome::Late });
                }
            } else if now >= limit {
                phase = match phase {
                    Phase::Running => {
                        let _ = killpg(group, Signal::SIGTERM);
                        limit = now + self.term_grace;
                        Phase::Terminated
                    }
                    Phase::Terminated => {
                        let _ = killpg(group, Signal::SIGKILL);
                        limit = now + KILL_WAIT;
                        Phase::Killed
                    }
                    Phase::Killed => return Ok(Outcome::Stuck),
                };
            }
            let mut descriptors = talk.interests();
            if !exited && let Some(pidfd) = &pidfd {
                descriptors.push(PollFd::new(pidfd.as_fd(), PollFlags::POLLIN));
            }
            let until = if exited || pidfd.is_some() { limit } else { limit.min(now + TICK) };
            sys::wait(&mut descriptors, until)?;
        }
    }
}

impl Output {
    /// Whether it exited with code 0.
    pub fn is_success(&self) -> bool {
        self.ended == Ended::Code(0)
    }

    /// Standard output as text.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// The last line of standard error, or of standard output if there is none; fit for a message.
    pub fn last_words(&self) -> String {
        match text::last_line(&self.stderr) {
            line if line.is_empty() => text::last_line(&self.stdout),
            line => line,
        }
    }

    /// The output of a command that succeeded.
    ///
    /// # Errors
    /// [`Error::Failed`] with any exit code but 0, or a signal.
    pub fn ok(self) -> Result<Self, Error> {
        match self.is_success() {
            true => Ok(self),
            false => Err(self.failure()),
        }
    }

    /// This end told as an error, for exit codes that the caller knows to be one.
    pub fn failure(&self) -> Error {
        Error::Failed { command: self.command.clone(), ended: self.ended, said: self.last_words() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Terminated,
    Killed,
}

enum Outcome {
    Ended,
    Late,
    Stuck,
}

/// The three streams of a running child.
struct Talk {
    stdin: Option<(ChildStdin, Vec<u8>, usize)>,
    stdout: Stream,
    stderr: Stream,
}

/// One stream that is read, and what is kept of it.
struct Stream {
    pipe: Option<File>,
    bytes: Vec<u8>,
    keep: Keep,
    truncated: bool,
}

#[derive(Clone, Copy, Debug)]
enum Keep {
    First(usize),
    Last(usize),
}

impl Talk {
    fn with(child: &mut Child, tool: &Tool) -> Self {
        let stdin = child.stdin.take().map(|pipe| {
            unblock(&pipe);
            (pipe, tool.input.clone().unwrap_or_default(), 0)
        });
        Self {
            stdin,
            stdout: Stream::new(child.stdout.take().map(OwnedFd::from), tool.stdout),
            stderr: Stream::new(child.stderr.take().map(OwnedFd::from), Keep::Last(tool.stderr_limit)),
        }
    }

    /// Moves what can be moved without waiting, a bounded amount each time: a child that writes without end must not keep
    /// us from looking at the clock.
    fn exchange(&mut self) {
        if let Some((pipe, bytes, written)) = &mut self.stdin {
            match pipe.write(&bytes[*written..]) {
                Ok(n) => *written += n,
                Err(error) if passing(&error) => {}
                Err(_) => *written = bytes.len(), // nobody reads any more
            }
            if *written == bytes.len() {
                self.stdin = None;
            }
        }
        self.stdout.read();
        self.stderr.read();
    }

    fn is_over(&self) -> bool {
        self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }

    fn interests(&self) -> Vec<PollFd<'_>> {
        let stdin = self.stdin.iter().map(|(pipe, ..)| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT));
        let read = [&self.stdout, &self.stderr].into_iter().filter_map(|stream| stream.pipe.as_ref());
        stdin.chain(read.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))).collect()
    }
}

impl Stream {
    fn new(pipe: Option<OwnedFd>, keep: Keep) -> Self {
        let pipe = pipe.map(|pipe| {
            unblock(&pipe);
            File::from(pipe)
        });
        Self { pipe, bytes: Vec::new(), keep, truncated: false }
    }

    /// Reads once, if there is something.
    fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut buffer = [0; 16384];
        match pipe.read(&mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(n) => self.keep(&buffer[..n]),
            Err(error) if passing(&error) => {}
            Err(_) => self.pipe = None,
        }
    }

    fn keep(&mut self, new: &[u8]) {
        match self.keep {
            Keep::First(limit) => {
                let room = limit.saturating_sub(self.bytes.len()).min(new.len());
                self.bytes.extend_from_slice(&new[..room]);
                self.truncated |= room < new.len();
            }
            Keep::Last(limit) => {
                self.bytes.extend_from_slice(new);
                if self.bytes.len() > limit.saturating_mul(2) {
                    self.truncated = true;
                    self.bytes.drain(..self.bytes.len() - limit);
                }
            }
        }
    }

    /// Whether not all is kept.
    fn is_cut(&self) -> bool {
        self.truncated || matches!(self.keep, Keep::Last(limit) if self.bytes.len() > limit)
    }

    /// What is kept, without the part of a line that it may begin with.
    fn lines(self) -> Vec<u8> {
        let part = self.is_cut() && matches!(self.keep, Keep::Last(_));
        let mut bytes = self.tail();
        if part {
            let whole = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
            bytes.drain(..whole);
        }
        bytes
    }

    fn tail(mut self) -> Vec<u8> {
        if let Keep::Last(limit) = self.keep {
            self.bytes.drain(..self.bytes.len().saturating_sub(limit));
        }
        self.bytes
    }
}

/// Our end of a pipe does not block; the child's end is not touched. That this fails on a fresh pipe cannot happen, and would
/// show as a deadline missed.
fn unblock(pipe: &impl AsFd) {
    let _ = fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
}

fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Whether our child has ended. It is not reaped: its pid and group number stay its own.
fn has_exited(pid: i32) -> io::Result<bool> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(Pid::from_raw(pid)), flags)? != WaitStatus::StillAlive)
}

fn ended(status: ExitStatus) -> Ended {
    match status.code() {
        Some(code) => Ended::Code(code),
        None => Ended::Signal(status.signal().unwrap_or_default()),
    }
}
