//! Which processes serve a connection for which tree, and their end.
//!
//! The rsync daemon forks for every connection, and the child reads the configuration, lets its client log in and changes its
//! root to the module's directory before it touches a file. So by its root a process tells what it may write to; one whose root
//! is the daemon's own has not come so far, and may have read any configuration that there was since it began.

use process::{Error, Process};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What `/proc/PID/root` is compared with: the inode, and the path for a tree that is no longer mounted where it was.
#[derive(Clone, Debug)]
pub(super) struct Root {
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl Root {
    /// The directory as it is now; its path alone if it is not there.
    pub(super) fn of(path: &Path) -> Self {
        Root {
            path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            inode: fs::metadata(path).ok().map(|it| (it.dev(), it.ino())),
        }
    }

    fn is(&self, path: Option<&Path>, inode: Option<(u64, u64)>) -> bool {
        let moved = || {
            let mut deleted = self.path.as_os_str().as_bytes().to_vec();
            deleted.extend_from_slice(b" (deleted)");
            path.is_some_and(|path| path == self.path || path.as_os_str().as_bytes() == deleted)
        };
        self.inode.is_some() && self.inode == inode || moved()
    }
}

/// The daemon, of whatever start, that serves this configuration, and all that it has forked. Known by the command line, which
/// a fork copies and only an exec changes; so they are found also when the listener or its state file is gone.
pub(super) struct Daemon<'a> {
    /// Its configuration file.
    pub(super) config: &'a Path,
}

impl Daemon<'_> {
    /// Those of its processes that run.
    pub(super) fn processes(&self) -> Vec<Process> {
        Process::all().into_iter().filter(|it| it.is_running() && self.is_part(it)).collect()
    }

    /// Those that write to one of these roots, or may be on their way there. Not the listener; nor one that has been forked to
    /// wait for a hook's end: it never serves, and the hook may be what asks.
    pub(super) fn connections(&self, roots: &[Root]) -> Vec<Process> {
        let all = Process::all();
        let (parts, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| self.is_part(it));
        let waits: BTreeSet<i32> = others.iter().map(|it| it.parent).collect();
        // It has made a session of its own; what it forks has not.
        let (listeners, forked): (Vec<_>, Vec<_>) = parts.into_iter().partition(|it| it.session == it.pid);
        let mut own = vec![Root::of(Path::new("/"))];
        own.extend(listeners.iter().map(|it| Root { path: "/".into(), inode: root_of(it.pid) }));
        let concerned = |it: &Process| {
            let (path, inode) = (fs::read_link(format!("/proc/{}/root", it.pid)).ok(), root_of(it.pid));
            if inode.is_none() && path.is_none() {
                // Gone meanwhile, or hidden from us: then it is not known to be harmless.
                return true;
            }
            let at = |root: &Root| root.is(path.as_deref(), inode);
            roots.iter().any(at) || own.iter().any(at) && !waits.contains(&it.pid)
        };
        forked.into_iter().filter(|it| it.is_running() && concerned(it)).collect()
    }

    fn is_part(&self, process: &Process) -> bool {
        let Ok(line) = fs::read(format!("/proc/{}/cmdline", process.pid)) else { return false };
        let mut wanted = b"--config=".to_vec();
        wanted.extend_from_slice(self.config.as_os_str().as_bytes());
        let has = |word: &[u8]| line.split(|byte| *byte == 0).any(|it| it == word);
        has(&wanted) && has(b"--daemon") && process.is_of_our_namespace()
    }
}

/// The hooks that answer into this directory, with all that they run: rsync tells them the path of their module.
pub(super) fn hooks(answers: &Path) -> Vec<Process> {
    let mut wanted = b"RSYNC_MODULE_PATH=".to_vec();
    wanted.extend_from_slice(answers.as_os_str().as_bytes());
    let me = std::process::id() as i32;
    let hook = |it: &Process| {
        fs::read(format!("/proc/{}/environ", it.pid))
            .is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == wanted))
    };
    Process::all()
        .into_iter()
        .filter(|it| it.pid != me && it.is_running() && hook(it) && it.is_of_our_namespace())
        .collect()
}

fn root_of(pid: i32) -> Option<(u64, u64)> {
    fs::metadata(format!("/proc/{pid}/root")).ok().map(|it| (it.dev(), it.ino()))
}

/// Kills what is found until nothing is found any more: twice, for a look at `/proc` can miss what a dying process forked while
/// it was taken. Returns how many there were.
///
/// # Errors
/// [`Error::Left`] with those that outlive SIGKILL until the deadline.
pub(super) fn kill_all(find: impl Fn() -> Vec<Process>, deadline: Instant) -> Result<usize, Error> {
    // However late it is, a killed process is given an instant to be gone.
    let deadline = deadline.max(Instant::now() + Duration::from_millis(200));
    let mut killed = BTreeSet::new();
    let (mut empty, mut pause) = (0, Duration::from_millis(1));
    loop {
        let found = find();
        if found.is_empty() {
            empty += 1;
            if empty == 2 {
                return Ok(killed.len());
            }
            continue;
        }
        empty = 0;
        if Instant::now() >= deadline {
            return Err(Error::Left { left: found });
        }
        for process in &found {
            kill(process)?;
            killed.insert((process.pid, process.start_time));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Kills the very process that was seen, not another with its pid.
fn kill(process: &Process) -> Result<(), Error> {
    if Process::of(process.pid).is_none_or(|it| it.start_time != process.start_time) {
        return Ok(());
    }
    let pid = nix::unistd::Pid::from_raw(process.pid);
    match nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL) {
        Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
        Err(error) => Err(Error::Io { what: format!("killing {process}"), source: io::Error::from(error) }),
    }
}
