//! Network namespaces by name, as `ip netns` keeps them, or by path.

use crate::error::Error;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Moves this thread into a network namespace; `false` if there is none of that name.
///
/// # Errors
/// It is there, but cannot be entered.
pub fn enter(name: &str) -> Result<bool, Error> {
    let what = || format!("entering network namespace {name}");
    let path = if name.starts_with('/') { PathBuf::from(name) } else { Path::new("/run/netns").join(name) };
    let failed = |errno| Error::new(what(), errno, None);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(Errno::from_raw(error.raw_os_error().unwrap_or(0)))),
    };
    match setns(file, CloneFlags::CLONE_NEWNET) {
        // The file is there, but no namespace is mounted on it any more.
        Err(Errno::EINVAL) => Ok(false),
        entered => entered.map(|()| true).map_err(failed),
    }
}
