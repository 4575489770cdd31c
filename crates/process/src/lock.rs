//! A lock that lives in the kernel, bound to its holder's life: a killed process leaves none behind, and whoever finds it
//! taken learns by whom.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};

use crate::error::Error;

/// Pause between two tries while waiting for a lock: one system call each.
const TICK: Duration = Duration::from_millis(5);

/// The files locked by this process. POSIX drops a process's lock on a file as soon as the process closes *any*
/// descriptor of it; so a file that is in here is not opened again.
static HELD: Mutex<Vec<Lock>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, PartialEq, Eq)]
struct Lock {
    device: u64,
    inode: u64,
    /// A forked child inherits the list, and none of the locks.
    owner: u32,
}

/// An exclusive lock on a file, a POSIX record lock: it ends with its holder whatever way that ends, and the kernel knows the
/// holder's pid. The file is empty and stays where it is; to remove it would make two locks of one.
///
/// Not inherited by fork: a forked job takes its own. Excludes threads of one process too.
#[derive(Debug, Clone)]
pub struct PidLock {
    path: PathBuf,
}

/// The lock while it is held; given back when dropped.
#[derive(Debug)]
pub struct Guard {
    /// Always there, until the drop takes it.
    file: Option<File>,
}

impl PidLock {
    /// The lock on this file. The file (mode 0600) and its directories (0755) are made when it is first taken.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// [`Error::Held`] with the holder's pid; [`Error::Io`] if the file cannot be made, is a symbolic link or no file.
    pub fn try_lock(&self) -> Result<Guard, Error> {
        let mut held = registry();
        // Again if the holder left between two calls, or if the file was removed under us: a few rounds, not for ever.
        for _ in 0..100 {
            if let Ok(metadata) = fs::metadata(&self.path)
                && held.contains(&Lock::on(&metadata))
            {
                return Err(self.held_by(std::process::id() as i32));
            }
            let file = self.open().map_err(|source| self.failed(source))?;
            if fcntl(&file, FcntlArg::F_SETLK(&whole_file())).is_err() {
                match holder_of(&file).map_err(|source| self.failed(source))? {
                    Some(pid) => return Err(self.held_by(pid)),
                    None => continue,
                }
            }
            let metadata = file.metadata().map_err(|source| self.failed(source))?;
            let there = fs::metadata(&self.path).ok();
            if there.is_some_and(|there| Lock::on(&there) == Lock::on(&metadata)) {
                held.push(Lock::on(&metadata));
                return Ok(Guard { file: Some(file) });
            }
        }
        Err(self.failed(io::Error::other("is being replaced all the time")))
    }

    /// Takes the lock, waiting for its holder until the deadline.
    ///
    /// # Errors
    /// As [`PidLock::try_lock`], [`Error::Held`] once the deadline has passed.
    pub fn lock_until(&self, deadline: Instant) -> Result<Guard, Error> {
        loop {
            match self.try_lock() {
                Err(Error::Held { .. }) if Instant::now() < deadline => std::thread::sleep(TICK),
                result => return result,
            }
        }
    }

    /// The pid of the process that holds the lock now; 0 if that lives in a pid namespace that cannot be seen from here.
    ///
    /// # Errors
    /// [`Error::Io`] if the file is there and cannot be read.
    pub fn holder(&self) -> Result<Option<i32>, Error> {
        let held = registry();
        if !held.is_empty()
            && let Ok(metadata) = fs::metadata(&self.path)
            && held.contains(&Lock::on(&metadata))
        {
            return Ok(Some(std::process::id() as i32));
        }
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&self.path);
        match file {
            Ok(file) => holder_of(&file).map_err(|source| self.failed(source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn open(&self) -> io::Result<File> {
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&self.path)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = self.path.parent().unwrap_or(Path::new("/"));
                DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
                open()?
            }
            result => result?,
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is not a file")) }
    }

    fn held_by(&self, pid: i32) -> Error {
        Error::Held { path: self.path.clone(), by: pid }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::io(format!("lock {}", self.path.display()), source)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let mut held = registry();
        if let Ok(metadata) = file.metadata() {
            let ours = Lock::on(&metadata);
            held.retain(|lock| *lock != ours);
        }
        // Closing gives the lock back. While the registry is locked: a thread that took the lock before this descriptor is
        // closed would lose it again.
        drop(file);
    }
}

impl Lock {
    fn on(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino(), owner: std::process::id() }
    }
}

fn registry() -> MutexGuard<'static, Vec<Lock>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Who would be in the way of a lock on this file.
fn holder_of(file: &File) -> io::Result<Option<i32>> {
    let mut found = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut found))?;
    // -1: a lock of an open file description, which is no process's and none of ours. It must never reach kill(2).
    Ok((i32::from(found.l_type) != libc::F_UNLCK).then_some(found.l_pid.max(0)))
}
