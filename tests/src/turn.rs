//! One lab at a time on this machine: clusters are heavy, and two at once would measure each other.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The longest that a lab waits for the others on this machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// The right to run, held until dropped. The kernel takes it back from a process that dies.
pub(crate) struct Turn {
    _lock: Flock<File>,
}

impl Turn {
    /// Waits for the right to run.
    pub(crate) fn wait() -> Result<Arc<Self>> {
        let (path, mut file) = open()?;
        let started = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Arc::new(Self { _lock: lock })),
                Err((back, Errno::EWOULDBLOCK)) => file = back,
                Err((_, errno)) => bail!("cannot lock {}: {errno}", path.display()),
            }
            if started.elapsed() > PATIENCE {
                bail!("another lab has been running on this machine for {} s", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(100));
        }
    }
}

/// Whether another lab runs on this machine, so that one started now would wait.
#[must_use]
pub fn busy() -> bool {
    open().is_ok_and(|(_, file)| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err())
}

fn open() -> Result<(PathBuf, File)> {
    let path = std::env::temp_dir().join("bascule-lab.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot open the lock {}", path.display()))?;
    Ok((path, file))
}
