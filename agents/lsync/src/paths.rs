//! What lsyncd told of, as it is on the disk now: rsync would follow a symbolic link in a path, and passes over what is missing with its
//! directory. And all names of a file that has several, for the change of one is told by one.

use crate::excludes::Excludes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use walkdir::{DirEntryExt as _, WalkDir};

/// Paths that can be given to rsync.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Each is there itself, or missing itself; all directories above it are real ones.
    pub(crate) paths: BTreeSet<PathBuf>,
    /// Those that are directories now. lsyncd does not tell what was in one that was moved away or deleted, and made anew: what is
    /// directly in these has to be looked at as a whole.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// When the files among them were last written.
    pub(crate) times: Vec<SystemTime>,
}

/// Brings paths below a root into such a form.
pub(crate) fn resolve(root: &Path, told: &BTreeSet<PathBuf>, excludes: &Excludes) -> Resolved {
    let mut resolved = Resolved::default();
    let mut directories: BTreeMap<PathBuf, bool> = BTreeMap::new();
    let mut several: BTreeMap<u64, u64> = BTreeMap::new();
    for path in told {
        let mut above: Vec<&Path> =
            path.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()).collect();
        above.reverse();
        // The first directory that is none any more stands for all below it.
        let mut real = |directory: &Path| {
            *directories
                .entry(directory.to_owned())
                .or_insert_with(|| fs::symlink_metadata(root.join(directory)).is_ok_and(|it| it.is_dir()))
        };
        let path = above.into_iter().find(|directory| !real(directory)).unwrap_or(path);
        if let Ok(found) = fs::symlink_metadata(root.join(path)) {
            if found.is_file() {
                resolved.times.extend(found.modified());
            }
            if found.is_dir() {
                resolved.directories.insert(path.to_owned());
            }
            if !found.is_dir() && found.nlink() > 1 {
                several.insert(found.ino(), found.nlink());
            }
        }
        resolved.paths.insert(path.to_owned());
    }
    if !several.is_empty() {
        resolved.paths.extend(names(root, several, excludes));
    }
    resolved
}

/// All names of these inodes (each with its number of links). Walks the tree, without a look at each file, until they are found.
fn names(root: &Path, mut wanted: BTreeMap<u64, u64>, excludes: &Excludes) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let walk = WalkDir::new(root).min_depth(1).into_iter();
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let entered = |entry: &walkdir::DirEntry| {
        let path = relative(entry.path());
        !path.starts_with(".bascule") && !excludes.cover(&path, entry.file_type().is_dir())
    };
    for entry in walk.filter_entry(entered).flatten().filter(|entry| !entry.file_type().is_dir()) {
        if let Some(left) = wanted.get_mut(&entry.ino()) {
            found.push(relative(entry.path()));
            *left -= 1;
            if *left == 0 {
                wanted.remove(&entry.ino());
            }
            if wanted.is_empty() {
                break;
            }
        }
    }
    found
}
