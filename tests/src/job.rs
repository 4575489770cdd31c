//! Commands that run in a machine, with their output and a bound in time.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How often a running command is looked at.
const POLL: Duration = Duration::from_millis(5);

/// What a command that has ended left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code, or 128 and the signal that ended it, as in a shell.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the command exited with 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == 0
    }
}

/// A command that runs. It is killed, with its children, when this is dropped.
pub struct Job {
    command: String,
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Job {
    /// Starts `command`, which is called `name` in errors, in a process group of its own.
    pub(crate) fn start(name: &str, mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let stdout = Stream::read(child.stdout.take());
        let stderr = Stream::read(child.stderr.take());
        Ok(Self { command: name.to_owned(), child, stdout, stderr })
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end within `bound`; it is killed then.
    pub fn wait(mut self, bound: Duration) -> Result<Output> {
        let started = Instant::now();
        loop {
            if let Some(status) =
                self.child.try_wait().with_context(|| format!("cannot wait for {}", self.command))?
            {
                return Ok(self.output(status));
            }
            if started.elapsed() >= bound {
                let command = self.command.clone();
                let left = self.stop();
                bail!(
                    "{command} did not end within {bound:?}; stdout: {} stderr: {}",
                    left.stdout,
                    left.stderr
                );
            }
            sleep(POLL);
        }
    }

    /// Kills it, with its children, and returns what it has written.
    #[must_use]
    pub fn stop(mut self) -> Output {
        self.kill();
        let status = self.child.wait().unwrap_or_default();
        self.output(status)
    }

    fn kill(&self) {
        // Not yet waited for, so the number is still its own. Both errors mean that it is gone.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }

    fn output(&mut self, status: ExitStatus) -> Output {
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Output { code, stdout: self.stdout.finish(), stderr: self.stderr.finish() }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// What comes out of a pipe, gathered by a thread so that the writer never waits.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn read<R: Read + Send + 'static>(pipe: Option<R>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = pipe.map(|mut pipe| {
            spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                    let read = buffer.get(..length).unwrap_or_default();
                    sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(read);
                }
            })
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// All of it. A daemon that kept the pipe open is not waited for longer than a moment.
    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let started = Instant::now();
            while !reader.is_finished() && started.elapsed() < Duration::from_millis(500) {
                sleep(Duration::from_millis(1));
            }
        }
        self.text()
    }
}
