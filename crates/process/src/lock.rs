//! A lock that lives in the kernel, bound to its holder's life: a killed process leaves none behind, and whoever finds it
//! taken learns by whom.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::error::Error;

/// Pause between two tries while waiting for a lock: one system call each.
const TICK: Duration = Duration::from_millis(5);

/// Never through a link, and never held up by what is no file.
const PLAIN: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

/// The files locked by this process. POSIX drops a process's lock on a file as soon as the process closes *any*
/// descriptor of it; so a file that is in here is not opened again.
static HELD: Mutex<Vec<Lock>> = Mutex::new(Vec::new());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    file: Option<OwnedFd>,
    lock: Lock,
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
            if !held.is_empty()
                && let Ok(metadata) = fs::metadata(&self.path)
                && held.contains(&Lock::on(&metadata))
            {
                return Err(self.held_by(std::process::id() as i32));
            }
            let (file, lock) = self.open().map_err(|source| self.failed(source))?;
            if fcntl(&file, FcntlArg::F_SETLK(&whole_file())).is_err() {
                match holder_of(&file).map_err(|source| self.failed(source))? {
                    Some(pid) => return Err(self.held_by(pid)),
                    None => continue,
                }
            }
            let there = fs::metadata(&self.path).ok();
            if there.is_some_and(|there| Lock::on(&there) == lock) {
                held.push(lock);
                return Ok(Guard { file: Some(file), lock });
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
        match openat(AT_FDCWD, &self.path, OFlag::O_RDONLY | PLAIN, Mode::empty()) {
            Ok(file) => holder_of(&file).map_err(|source| self.failed(source)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(self.failed(error.into())),
        }
    }

    fn open(&self) -> io::Result<(OwnedFd, Lock)> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | PLAIN;
        let open = || openat(AT_FDCWD, &self.path, flags, Mode::from_bits_truncate(0o600));
        let file = match open() {
            Err(Errno::ENOENT) => {
                let directory = self.path.parent().unwrap_or(Path::new("/"));
                DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
                open()?
            }
            result => result?,
        };
        let found = fstat(&file)?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(io::Error::other("is not a file"));
        }
        let lock = Lock { device: found.st_dev, inode: found.st_ino, owner: std::process::id() };
        Ok((file, lock))
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
        held.retain(|lock| *lock != self.lock);
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
fn holder_of(file: &OwnedFd) -> io::Result<Option<i32>> {
    let mut found = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut found))?;
    // -1: a lock of an open file description, which is no process's and none of ours. It must never reach kill(2).
    Ok((i32::from(found.l_type) != libc::F_UNLCK).then_some(found.l_pid.max(0)))
}
