//! Notices changes below the includes, with inotify. It sees a change at once; what it misses (a queue that overflows, a directory
//! that comes and goes) asks for a full check.

use crate::configuration::path;
use csync2::Text;
use csync2::meaning::Meaning;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// All that csync2 could notice.
fn interesting() -> AddWatchFlags {
    AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_UNMOUNT
}

/// Directories that are watched.
pub(crate) struct Watch {
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, PathBuf>,
}

/// Which directories lie at the roots: something else may be mounted there later, and nobody says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched(Vec<Option<(u64, u64)>>);

impl Watched {
    /// As they are now.
    pub(crate) fn of(roots: &[Text]) -> Self {
        let place =
            |root: &Text| fs::symlink_metadata(path(root)).ok().map(|found| (found.dev(), found.ino()));
        Watched(roots.iter().map(place).collect())
    }
}

/// What was noticed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Noticed {
    /// Paths at which something happened.
    pub(crate) paths: BTreeSet<PathBuf>,
    /// Not all is known: everything has to be looked at, and watched anew.
    pub(crate) everything: bool,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The user has too many of them (`fs.inotify.max_user_instances`).
    pub(crate) fn new() -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Watch { inotify, directories: HashMap::new() })
    }

    /// Readable when something was noticed.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches one directory (or what a file that is included by its name lies in).
    ///
    /// # Errors
    /// There are too many watches (`fs.inotify.max_user_watches`), or it is not there.
    pub(crate) fn directory(&mut self, place: &Path) -> Result<(), Errno> {
        let flags = interesting() | AddWatchFlags::IN_ONLYDIR | AddWatchFlags::IN_DONT_FOLLOW;
        let watch = self.inotify.add_watch(place, flags)?;
        self.directories.insert(watch, place.to_owned());
        Ok(())
    }

    /// Watches a directory and those in it that a check looks into. How many could not be, for want of watches.
    pub(crate) fn tree(&mut self, root: &Path, meaning: &Meaning<'_>) -> u64 {
        let entered = |place: &Path| {
            let name = Text::from(place.as_os_str().as_bytes());
            meaning.names(&name).iter().any(|name| meaning.is_entered(name))
        };
        let mut lacking = 0;
        // What a file that is included by its name happens to is seen from its directory.
        if let Some(above) = root.parent() {
            lacking += u64::from(self.directory(above) == Err(Errno::ENOSPC));
        }
        let walk = WalkDir::new(root).follow_links(false).into_iter();
        for entry in walk
            .filter_entry(|entry| entry.depth() == 0 || !entry.file_type().is_dir() || entered(entry.path()))
        {
            if let Ok(entry) = entry
                && entry.file_type().is_dir()
            {
                lacking += u64::from(self.directory(entry.path()) == Err(Errno::ENOSPC));
            }
        }
        lacking
    }

    /// What was noticed since the last call. Directories that are new are watched, and what is in them counts as changed.
    pub(crate) fn noticed(&mut self, meaning: &Meaning<'_>) -> Noticed {
        let mut noticed = Noticed::default();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return noticed,
                Err(Errno::EINTR) => continue,
                Err(_) => {
                    noticed.everything = true;
                    return noticed;
                }
            };
            for event in events {
                let lost =
                    AddWatchFlags::IN_Q_OVERFLOW | AddWatchFlags::IN_UNMOUNT | AddWatchFlags::IN_MOVE_SELF;
                noticed.everything |= event.mask.intersects(lost);
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.directories.remove(&event.wd);
                    continue;
                }
                let Some(directory) = self.directories.get(&event.wd) else { continue };
                let place =
                    event.name.as_ref().map_or_else(|| directory.clone(), |name| directory.join(name));
                let arrived = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
                if event.mask.contains(AddWatchFlags::IN_ISDIR) && event.mask.intersects(arrived) {
                    noticed.everything |= self.tree(&place, meaning) > 0;
                }
                noticed.paths.insert(place);
            }
        }
    }

    /// Watches what is included, and nothing else any more. How many directories could not be watched, for want of watches.
    ///
    /// # Errors
    /// As for [`Watch::new`].
    pub(crate) fn anew(&mut self, roots: &[Text], meaning: &Meaning<'_>) -> Result<u64, Errno> {
        *self = Watch::new()?;
        Ok(roots.iter().map(|root| self.tree(path(root), meaning)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::text;
    use csync2::config;

    #[test]
    fn changes_are_noticed_wherever_a_check_looks() {
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path().join("site");
        fs::create_dir_all(site.join("deep/er")).unwrap();
        fs::create_dir_all(site.join("skipped/x")).unwrap();
        let configuration =
            format!("group g {{ host h p; key k; include {0}; exclude {0}/skipped; }}", site.display());
        let parsed = config::parse(&Text::from("c"), &mut |_| Ok(configuration.clone().into_bytes()));
        assert!(parsed.is_accepted(), "{:?}", parsed.problems);
        let meaning = Meaning::new(&parsed.config, &Text::from("h"));
        let mut watch = Watch::new().unwrap();
        assert_eq!(watch.anew(&[text(&site)], &meaning), Ok(0));
        assert_eq!(watch.noticed(&meaning), Noticed::default());

        let changed = |paths: &[&str]| Noticed {
            paths: paths.iter().map(|name| site.join(name)).collect(),
            everything: false,
        };
        fs::write(site.join("deep/er/file"), "x").unwrap();
        assert_eq!(watch.noticed(&meaning), changed(&["deep/er/file"]));
        fs::write(site.join("skipped/x/file"), "x").unwrap();
        assert_eq!(watch.noticed(&meaning), Noticed::default());
        fs::remove_file(site.join("deep/er/file")).unwrap();
        assert_eq!(watch.noticed(&meaning), changed(&["deep/er/file"]));
        // A directory that is new is looked into.
        fs::create_dir(site.join("new")).unwrap();
        assert_eq!(watch.noticed(&meaning), changed(&["new"]));
        fs::write(site.join("new/file"), "x").unwrap();
        assert_eq!(watch.noticed(&meaning), changed(&["new/file"]));
        fs::rename(site.join("new"), site.join("newer")).unwrap();
        assert!(watch.noticed(&meaning).everything, "paths of what it held have changed");
        assert_eq!(watch.anew(&[text(&site)], &meaning), Ok(0));
        fs::write(site.join("newer/file"), "y").unwrap();
        assert_eq!(watch.noticed(&meaning), changed(&["newer/file"]));
    }
}
