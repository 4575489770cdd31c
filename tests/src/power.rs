//! The power control: fence agents in the nodes ask through a FIFO, and machines die.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::machines::Machines;

/// How often the thread looks whether it is still wanted.
const TICK: u16 = 20;

/// A machine that the cluster has fenced.
#[derive(Clone, Debug)]
pub struct Fenced {
    /// The machine.
    pub node: String,
    /// When nothing of it ran any more.
    pub at: SystemTime,
    /// `off` or `reboot`.
    pub action: String,
}

/// The thread that answers the fence agents. It ends when this is dropped.
pub(crate) struct PowerControl {
    wanted: Arc<AtomicBool>,
    fenced: Arc<Mutex<Vec<Fenced>>>,
    thread: Option<JoinHandle<()>>,
}

impl PowerControl {
    /// Answers what comes through the FIFO `requests`. Machines that are rebooted stay off for `power_cycle`.
    pub(crate) fn start(
        machines: Arc<dyn Machines>,
        requests: PathBuf,
        power_cycle: Duration,
    ) -> Result<Self> {
        // Open for writing too, so that it never reaches its end.
        let fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&requests)
            .with_context(|| format!("cannot open {}", requests.display()))?;
        let wanted = Arc::new(AtomicBool::new(true));
        let fenced = Arc::new(Mutex::new(Vec::new()));
        let mut desk = Desk {
            machines,
            fifo,
            directory: requests.parent().map(Path::to_owned).unwrap_or_default(),
            power_cycle,
            fenced: Arc::clone(&fenced),
            boots: Vec::new(),
        };
        let thread = spawn({
            let wanted = Arc::clone(&wanted);
            move || {
                while wanted.load(Ordering::Relaxed) {
                    desk.turn();
                }
            }
        });
        Ok(Self { wanted, fenced, thread: Some(thread) })
    }

    /// Whom the cluster has fenced, in order.
    pub(crate) fn fenced(&self) -> Vec<Fenced> {
        self.fenced.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for PowerControl {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Desk {
    machines: Arc<dyn Machines>,
    fifo: File,
    directory: PathBuf,
    power_cycle: Duration,
    fenced: Arc<Mutex<Vec<Fenced>>>,
    /// Machines to boot, and when.
    boots: Vec<(Instant, String)>,
}

impl Desk {
    fn turn(&mut self) {
        let mut ready = [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::from(TICK));
        // Requests are short enough to arrive whole.
        let mut buffer = [0; 4096];
        let length = self.fifo.read(&mut buffer).unwrap_or_default();
        for request in String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).lines() {
            self.answer(request);
        }
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.boots).into_iter().partition(|(when, _)| *when <= now);
        self.boots = later;
        let due: Vec<(Instant, String)> = due;
        for (_, machine) in due {
            // A machine that does not come up is what the test then sees and reports.
            let _ = self.machines.power_on(&machine);
        }
    }

    fn answer(&mut self, request: &str) {
        let mut words = request.split(' ');
        let (Some(action), Some(machine), Some(reply)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let answer = match self.act(action, machine) {
            Ok(()) => "ok\n".to_owned(),
            Err(error) => format!("{error:#}\n"),
        };
        // The agent that asked may have been killed since.
        let path = self.directory.join(reply);
        for _ in 0..500 {
            let open = OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
            match open {
                Ok(mut fifo) => {
                    let _ = fifo.write_all(answer.as_bytes());
                    return;
                }
                Err(_) => sleep(Duration::from_millis(2)),
            }
        }
    }

    fn act(&mut self, action: &str, machine: &str) -> Result<()> {
        if !matches!(action, "off" | "reboot") {
            bail!("unknown action {action}");
        }
        self.machines.power_off(machine)?;
        let fenced = Fenced { node: machine.to_owned(), at: SystemTime::now(), action: action.to_owned() };
        self.fenced.lock().unwrap_or_else(PoisonError::into_inner).push(fenced);
        if action == "reboot" {
            self.boots.push((Instant::now() + self.power_cycle, machine.to_owned()));
        }
        Ok(())
    }
}
