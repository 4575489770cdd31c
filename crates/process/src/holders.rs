//! Who keeps a device or a tree in use: what an administrator would ask `fuser` and `findmnt`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::facts::{Process, pids};

/// How a process holds a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// It has this file open.
    Open(PathBuf),
    /// Its current directory is there.
    WorkingDirectory(PathBuf),
    /// Its root directory is there.
    Root(PathBuf),
    /// It runs or has mapped this file.
    Mapped(PathBuf),
    /// The device is mounted here, as that process sees it. It may be one of many: the mount itself is the holder.
    Mounted(PathBuf),
}

/// A process that holds a path, and how; one entry for each way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its pid.
    pub pid: i32,
    /// Its name.
    pub name: String,
    /// How it holds the path.
    pub how: How,
}

/// Who holds this path: for a block device those that have it open and where it is mounted (in any mount namespace
/// that can be seen), for a file or directory those that use it or something below. This process does not count. Swap and devices stacked
/// upon the device (`/sys/block/*/holders`) are not looked at.
///
/// Reads all of `/proc`: for the message after a failure, not for a monitor. It touches no file but block devices below
/// `/dev`, so a dead network mount does not stop it.
///
/// # Errors
/// [`Error::Io`] if there is no such path.
pub fn holders(path: &Path) -> Result<Vec<Holder>, Error> {
    let failed = |source| Error::io(path.display().to_string(), source);
    let path = fs::canonicalize(path).map_err(failed)?;
    let metadata = fs::metadata(&path).map_err(failed)?;
    let target = if metadata.file_type().is_block_device() {
        Target::Device(metadata.rdev())
    } else {
        Target::Tree(path)
    };
    let mut holders = Vec::new();
    let mut namespaces = BTreeSet::new();
    let me = std::process::id() as i32;
    for pid in pids().into_iter().filter(|pid| *pid != me) {
        let mut ways = ways(pid, &target);
        if let Target::Device(device) = target
            && let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt"))
            && namespaces.insert(namespace)
        {
            ways.extend(mounts(pid, device));
        }
        let name = Process::of(pid).map(|process| process.name).unwrap_or_default();
        holders.extend(ways.into_iter().map(|how| Holder { pid, name: name.clone(), how }));
    }
    Ok(holders)
}

enum Target {
    Device(u64),
    Tree(PathBuf),
}

impl Target {
    fn is_at(&self, path: &Path) -> bool {
        match self {
            Self::Tree(tree) => path.starts_with(tree),
            // Only there: a look at any other path could wait for a server.
            Self::Device(device) => {
                path.starts_with("/dev")
                    && fs::metadata(path)
                        .is_ok_and(|it| it.file_type().is_block_device() && it.rdev() == *device)
            }
        }
    }
}

/// A process that ends meanwhile, or that we may not look into, holds nothing that we could tell.
fn ways(pid: i32, target: &Target) -> BTreeSet<How> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let mut ways = BTreeSet::new();
    let link = |name: &str| fs::read_link(directory.join(name)).ok().filter(|path| target.is_at(path));
    ways.extend(link("cwd").map(How::WorkingDirectory));
    ways.extend(link("root").map(How::Root));
    ways.extend(link("exe").map(How::Mapped));
    ways.extend(links(&directory.join("fd")).into_iter().filter(|path| target.is_at(path)).map(How::Open));
    if matches!(target, Target::Tree(_)) {
        let mapped = fs::read_to_string(directory.join("maps")).unwrap_or_default();
        // address permissions offset device inode path
        let paths = mapped.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
        ways.extend(paths.filter(|path| target.is_at(path)).map(|path| How::Mapped(path.to_owned())));
    }
    ways
}

fn links(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
}

fn mounts(pid: i32, device: u64) -> Vec<How> {
    let table: io::Result<String> = fs::read_to_string(format!("/proc/{pid}/mountinfo"));
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    mounted_at(&table.unwrap_or_default(), &number).into_iter().map(How::Mounted).collect()
}

/// The mount points of a device (`major:minor`) in a mountinfo table: `id parent major:minor root mountpoint …`.
fn mounted_at(mountinfo: &str, number: &str) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(2);
        (words.next()? == number).then(|| words.nth(1))?
    });
    // The kernel writes blanks and backslashes of a path in octal.
    let plain = |point: &str| {
        point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
    };
    points.map(|point| PathBuf::from(plain(point))).collect()
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Mounted(path) => write!(f, "mounted on {}", path.display()),
            how => write!(f, "{} ({}, {how})", self.name, self.pid),
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, path) = match self {
            Self::Open(path) => ("has open", path),
            Self::WorkingDirectory(path) => ("works in", path),
            Self::Root(path) => ("has its root in", path),
            Self::Mapped(path) => ("runs or maps", path),
            Self::Mounted(path) => ("mounted on", path),
        };
        write!(f, "{what} {}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_a_device() {
        let table = "25 1 147:0 / /srv/a\\040b rw,relatime shared:1 - ext4 /dev/drbd0 rw\n\
                     26 1 147:1 / /mnt rw - ext4 /dev/drbd1 rw\n\
                     27 25 147:0 /sub /sub rw - ext4 /dev/drbd0 rw\n\
                     torn line";
        assert_eq!(mounted_at(table, "147:0"), [PathBuf::from("/srv/a b"), PathBuf::from("/sub")]);
        assert!(mounted_at(table, "147:2").is_empty());
    }
}
