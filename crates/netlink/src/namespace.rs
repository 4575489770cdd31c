//! Network namespaces by name, as `ip netns` keeps them, or by path.

use crate::error::Error;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Moves this thread into a network namespace; `false` if there is none of that name.
///
/// # Errors
/// It is there, but cannot be entered.
pub fn enter(name: &str) -> Result<bool, Error> {
    let what = || format!("entering network namespace {name}");
    let path = if name.starts_with('/') { PathBuf::from(name) } else { Path::new("/run/netns").join(name) };
    let failed = |errno| Error::new(what(), errno, None);
    // A file that is no namespace (a FIFO, say) must not hold us up.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(error) => {
            // Whatever else is there (a socket, a path through a file) is no namespace; only where we could not look,
            // there may be one.
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            let unseen =
                [Errno::EACCES, Errno::EPERM, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::EIO];
            return if unseen.contains(&errno) { Err(failed(errno)) } else { Ok(false) };
        }
    };
    match setns(file, CloneFlags::CLONE_NEWNET) {
        // The file is there, but no namespace is mounted on it any more.
        Err(Errno::EINVAL) => Ok(false),
        entered => entered.map(|()| true).map_err(failed),
    }
}
