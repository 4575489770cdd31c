//! What is on the disk: the includes as places, and the files that the database knows.

use crate::configuration::path;
use crate::settling::Copy;
use csync2::Text;
use csync2::decide::{Known, Look, Root, Seen, Version};
use csync2::meaning::Meaning;
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the include is on a file system of its own; where it is on that of its parent directory.
const MOUNTED: &str = "a file system of its own";
const NOT_MOUNTED: &str = "the file system of its parent directory";

/// What the includes were like when all was well, by their path: kept over reboots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roots(BTreeMap<String, String>);

impl Roots {
    /// What is known of one.
    pub(crate) fn known(&self, root: &Root) -> Known {
        let volume = self.0.get(&root.path.to_string()).map(|volume| Text::from(volume.as_str()));
        // That something was mounted which was not before, is no loss.
        let volume = volume.filter(|volume| *volume == MOUNTED);
        Known { volume, marker: None }
    }

    /// File systems that are mounted below these roots, as roots of their own.
    pub(crate) fn inner(&self, outer: &[Root], meaning: &Meaning<'_>) -> Vec<Root> {
        let mounted = self.0.iter().filter(|(_, volume)| *volume == MOUNTED).map(|(place, _)| place.as_str());
        let found = mounted.filter_map(|place| {
            let place = Text::from(place);
            let above = outer.iter().find(|root| path(&place).starts_with(path(&root.path)))?;
            let itself = outer.iter().any(|root| root.path == place);
            (!itself).then(|| Root {
                names: meaning.names(&place),
                groups: above.groups.clone(),
                path: place.clone(),
            })
        });
        found.collect()
    }

    /// Notes that something is mounted there.
    pub(crate) fn note_mount(&mut self, place: &Text) {
        self.0.insert(place.to_string(), MOUNTED.to_owned());
    }

    /// What is mounted there does not matter any more.
    pub(crate) fn forget(&mut self, place: &Text) {
        self.0.remove(&place.to_string());
    }

    /// Notes how it is now. `true` if that is news.
    pub(crate) fn note(&mut self, root: &Root, seen: &Seen) -> bool {
        let Seen::There { volume: Some(volume), .. } = seen else { return false };
        let volume = volume.to_string();
        self.0.insert(root.path.to_string(), volume.clone()) != Some(volume)
    }
}

/// How a root is now.
pub(crate) fn root(root: &Root) -> Seen {
    let place = path(&root.path);
    let found = match fs::symlink_metadata(place) {
        Ok(found) => found,
        Err(error) if is_absence(&error) => return Seen::Missing,
        Err(error) => return Seen::Unclear(Text::from(error.to_string().as_str())),
    };
    if let Some(link) = link_on_the_way(place) {
        let why = format!(
            "the way to it leads over the symbolic link {}, over which csync2 does not go",
            link.display()
        );
        return Seen::Unclear(Text::from(why.as_str()));
    }
    let mut empty = false;
    if found.is_dir() {
        match fs::read_dir(place) {
            Ok(mut entries) => empty = entries.next().is_none(),
            Err(error) => return Seen::Unclear(Text::from(error.to_string().as_str())),
        }
        // A file system that is gone under a directory that looks alive (a network's, an ejected disk's).
        if let Err(error) = statvfs(place) {
            return Seen::Unclear(Text::from(error.desc()));
        }
    }
    let above = place.parent().and_then(|above| fs::symlink_metadata(above).ok());
    let own = above.is_some_and(|above| above.dev() != found.dev());
    let volume = if own { MOUNTED } else { NOT_MOUNTED };
    Seen::There { empty, volume: Some(Text::from(volume)), marker: None }
}

/// The symbolic link above a place, or which it is itself if that leads to a directory: csync2 takes all that is known below one for removed.
fn link_on_the_way(place: &Path) -> Option<&Path> {
    if is_link(place) && place.is_dir() {
        return Some(place);
    }
    place.ancestors().skip(1).find(|above| is_link(above))
}

/// This node's version of a file.
pub(crate) fn copy(meaning: &Meaning<'_>, name: &Text) -> Copy {
    let without = |version| Copy { version, size: 0 };
    let Some(place) = meaning.path(name) else { return without(Version::Unknown) };
    match fs::symlink_metadata(path(&place)) {
        Ok(found) => Copy {
            version: Version::There {
                modified: found.is_file().then(|| found.mtime()),
                directory: found.is_dir(),
            },
            size: if found.is_file() { found.len() } else { 0 },
        },
        Err(error) if is_absence(&error) => without(Version::Removed),
        Err(_) => without(Version::Unknown),
    }
}

/// Whether a file was changed, in whatever way, a moment ago, or is gone.
pub(crate) fn is_fresh(place: &Path) -> bool {
    let Ok(found) = fs::symlink_metadata(place) else { return true };
    let changed = u64::try_from(found.ctime()).unwrap_or(0);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    now.saturating_sub(changed) <= FRESH
}

/// Whether a file is for root alone, as what arrives is before it gets its owner and mode.
pub(crate) fn is_private(place: &Path) -> bool {
    fs::symlink_metadata(place)
        .is_ok_and(|found| found.is_file() && found.mode() & 0o7777 == 0o600 && found.uid() == 0)
}

/// What no two versions of a file have in common: the inode, its size, when it was modified, to the nanosecond.
pub(crate) type VersionId = (u64, u64, i64, i64);

/// That of what is there now.
pub(crate) fn version(place: &Path) -> Option<VersionId> {
    let found = fs::symlink_metadata(place).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Seconds within which what is arriving is complete.
const FRESH: u64 = 2;

/// For so long a file may be arriving.
const ARRIVING: Duration = Duration::from_secs(600);

/// Of what csync2's daemon calls a file while it receives it, `.NAME.XXXXXX`, the name.
pub(crate) fn received_as(file: &[u8]) -> Option<&[u8]> {
    let rest = file.strip_prefix(b".")?;
    let (name, end) = rest.split_at_checked(rest.len().checked_sub(7)?)?;
    let random = end.strip_prefix(b".")?;
    (!name.is_empty() && random.iter().all(u8::is_ascii_alphanumeric)).then_some(name)
}

/// Whether it looks like a file that csync2's daemon is receiving: `.NAME.XXXXXX`, for root alone, renamed when it is whole. Where the disk is full it
/// is left behind. Another file that looks like it is only late.
pub(crate) fn is_arriving(place: &Path) -> bool {
    received_as(place.file_name().unwrap_or_default().as_bytes()).is_some()
        && fs::symlink_metadata(place).is_ok_and(|found| {
            let age = found.modified().ok().and_then(|modified| modified.elapsed().ok());
            found.is_file() && found.mode() & 0o7777 == 0o600 && age.is_none_or(|age| age < ARRIVING)
        })
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Looks for files as csync2 does: what lies below a symbolic link is gone. Each directory is looked at once.
pub(crate) struct Files<'a> {
    meaning: &'a Meaning<'a>,
    links: HashMap<PathBuf, bool>,
}

impl<'a> Files<'a> {
    /// With nothing looked at yet.
    pub(crate) fn new(meaning: &'a Meaning<'a>) -> Self {
        Files { meaning, links: HashMap::new() }
    }

    /// Whether a name that the database knows is there.
    pub(crate) fn look(&mut self, name: &Text) -> Look {
        let Some(place) = self.meaning.path(name) else {
            return Look::Unclear(Text::from("its prefix is nowhere on this node"));
        };
        let place = path(&place);
        match fs::symlink_metadata(place) {
            Ok(_) if place.parent().is_some_and(|above| self.is_link(above)) => Look::Gone,
            Ok(_) => Look::There,
            Err(error) if is_absence(&error) => Look::Gone,
            Err(error) => Look::Unclear(Text::from(error.to_string().as_str())),
        }
    }

    /// Whether a directory is, or lies below, a link.
    fn is_link(&mut self, directory: &Path) -> bool {
        if let Some(known) = self.links.get(directory) {
            return *known;
        }
        let link = is_link(directory);
        let answer = link || directory.parent().is_some_and(|above| self.is_link(above));
        self.links.insert(directory.to_owned(), answer);
        answer
    }
}

fn is_link(place: &Path) -> bool {
    fs::symlink_metadata(place).is_ok_and(|found| found.is_symlink())
}

/// Whether a directory is, or lies below, a link: csync2 does not look there.
pub(crate) fn is_below_link(directory: &Path) -> bool {
    directory.ancestors().any(is_link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::text;
    use csync2::config;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    fn at(place: &Path) -> Root {
        Root { path: text(place), names: vec![text(place)], groups: vec![Text::from("g")] }
    }

    #[test]
    fn roots_are_seen_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("root");
        assert_eq!(root(&at(&place)), Seen::Missing);
        fs::create_dir(&place).unwrap();
        let beside = |empty| Seen::There { empty, volume: Some(Text::from(NOT_MOUNTED)), marker: None };
        assert_eq!(root(&at(&place)), beside(true));
        fs::write(place.join("file"), "x").unwrap();
        assert_eq!(root(&at(&place)), beside(false));
        assert_eq!(root(&at(&place.join("file"))), beside(false));
        assert_eq!(root(&at(&place.join("file/below"))), Seen::Missing);
        // csync2 takes what lies beyond a link for removed.
        std::os::unix::fs::symlink(directory.path(), directory.path().join("link")).unwrap();
        std::os::unix::fs::symlink("root/file", directory.path().join("link-to-file")).unwrap();
        for beyond in ["link", "link/root", "link/root/file"] {
            let seen = root(&at(&directory.path().join(beyond)));
            assert!(matches!(&seen, Seen::Unclear(why) if why.to_string().contains("/link,")), "{seen:?}");
        }
        assert_eq!(root(&at(&directory.path().join("link-to-file"))), beside(false));
        let own = Seen::There { empty: false, volume: Some(Text::from(MOUNTED)), marker: None };
        assert_eq!(root(&at(Path::new("/proc"))), own);
    }

    #[test]
    fn what_is_being_received_is_left_alone_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, mode: u32, age: u64| {
            let place = directory.path().join(name);
            fs::write(&place, "x").unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
            let file = fs::File::options().write(true).open(&place).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            is_arriving(&place)
        };
        assert!(write(".motd.aB3xYz", 0o600, 0) && write(".a.b.123456", 0o600, 100));
        for (name, mode, age) in [
            (".motd.aB3xYz", 0o600, 700),
            (".motd.aB3xYz", 0o644, 0),
            ("motd.aB3xYz", 0o600, 0),
            (".motd.aB3xY", 0o600, 0),
            (".motd.aB3x-z", 0o600, 0),
            (".aB3xYz", 0o600, 0),
        ] {
            assert!(!write(name, mode, age), "{name} {mode:o} {age}");
        }
        assert!(!is_arriving(&directory.path().join(".none.aB3xYz")));
    }

    #[test]
    fn only_what_was_mounted_has_to_be_mounted_again() {
        let mut roots = Roots::default();
        let (proc, etc) = (at(Path::new("/proc")), at(Path::new("/etc")));
        assert!(roots.note(&proc, &root(&proc)) && roots.note(&etc, &root(&etc)));
        assert!(!roots.note(&proc, &root(&proc)) && !roots.note(&etc, &Seen::Missing));
        assert_eq!(roots.known(&proc).volume, Some(Text::from(MOUNTED)));
        assert_eq!(roots.known(&etc).volume, None);
    }

    #[test]
    fn what_lies_below_a_link_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        fs::create_dir_all(place.join("real/deep")).unwrap();
        fs::write(place.join("real/deep/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", place.join("link")).unwrap();
        let parsed = config::parse(&Text::from("c"), &mut |_| Ok(Vec::new()));
        let meaning = Meaning::new(&parsed.config, &Text::from("h"));
        let mut files = Files::new(&meaning);
        let mut look = |name: &str| files.look(&text(&place.join(name)));
        assert_eq!(look("real/deep/file"), Look::There);
        assert_eq!(look("link/deep/file"), Look::Gone);
        assert_eq!(look("link"), Look::There);
        assert_eq!(look("real/none"), Look::Gone);
        assert_eq!(look("real/deep/file/x"), Look::Gone);
        assert!(matches!(files.look(&Text::from("%p%/x")), Look::Unclear(_)));
    }
}
