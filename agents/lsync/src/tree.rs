//! The tree itself, as the agent looks at it: whether it is there, whose it is, whether anything is in it. Nothing here walks it.
//!
//! All that belongs to the agent is in `.bascule` at its root, reached from the open root without following a link: whoever may write into
//! the tree could make one that leads out of it.

use crate::core::Tree;
use crate::saved;
use crate::settings::{Place, Settings};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use ocf::{Code, Failure, StateFile};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Names at the root that are no content: the agent's directory, and what mkfs makes.
const NO_CONTENT: [&str; 2] = [".bascule", "lost+found"];
/// The directory's name, and of the files in it.
const DIRECTORY: &str = ".bascule";
const MARKER: &str = "dataset";
const CANARY: &str = "canary";
const PRIVATE: &str = "local";
/// Before the number in the name of the file whose event tells of it.
const BEAT: &str = "beat.";
/// Longest that a file of the agent can be.
const LONGEST: u64 = 4096;
/// Longer than they are.
const ROOM: usize = 512;

/// What says whose tree it is. Mirrored with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The dataset's identity, as in [`Record::dataset`](crate::core::Record::dataset).
    pub(crate) dataset: u64,
}

/// Whether there is anything in the tree. Reads its root until the first entry that counts.
///
/// # Errors
/// It is not there or cannot be read.
pub(crate) fn look(root: &Path) -> Result<Tree, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(Code::Installed, format!("{}: {error}", root.display()));
    let filled = process::holds_other_than(root, &NO_CONTENT).map_err(unreadable)?;
    Ok(if filled { Tree::Filled } else { Tree::Empty })
}

/// The number of the file system that the tree's root is on, which tells a mounted one from the empty directory below it.
///
/// # Errors
/// There is no such directory.
pub(crate) fn device(root: &Path) -> Result<u64, Failure> {
    let found =
        fs::metadata(root).map_err(|error| Failure::generic(format!("{}: {error}", root.display())))?;
    Ok(found.dev())
}

/// Whose tree it is; `None` if it bears no marker.
///
/// # Errors
/// The marker is there and cannot be read, or says nothing that this agent understands.
pub(crate) fn marker(root: &Path) -> Result<Option<Marker>, Failure> {
    let Some(text) = read(root, MARKER)? else { return Ok(None) };
    match dataset_of(&text) {
        Some(dataset) => Ok(Some(Marker { dataset })),
        None => Err(Failure::generic(format!(
            "{}/{DIRECTORY}/{MARKER} was changed: expected a line dataset=, then 16 hexadecimal digits",
            root.display()
        ))),
    }
}

fn dataset_of(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("dataset="))?;
    let word = value.split_whitespace().next()?;
    if word.len() != 16 || !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(word, 16).ok()
}

/// Says whose tree it is. A marker that says so already is left as it is.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_marker(root: &Path, dataset: u64, name: &str) -> Result<(), Failure> {
    if marker(root).is_ok_and(|found| found == Some(Marker { dataset })) {
        return Ok(());
    }
    prepare(root)?;
    write(root, MARKER, &marker_text(dataset, name))
}

/// The marker's text. The name is for people, and on one line whatever it holds.
pub(crate) fn marker_text(dataset: u64, name: &str) -> String {
    let name = ocf::file_name(name);
    format!(
        "# Made by ocf:bascule:lsync: by this file the agent knows this directory to be the tree of its dataset, and not an\n\
         # empty mount point or another one. Without it the tree is no source, so leave it here.\n\
         dataset={dataset:016x} name={name}\n"
    )
}

/// The number in the canary file; `None` if there is none, or no number in it.
pub(crate) fn canary(root: &Path) -> Option<u64> {
    read(root, CANARY).ok()??.trim().parse().ok()
}

/// Writes a number into the canary file, and makes a file that bears it in its name: of that one's event it is known which number it
/// stands for, however late it is read. Numbers only grow; one that is there already needs nothing more.
///
/// # Errors
/// It cannot be written; least of all into a tree that was never made ready, an empty mount point for one.
pub(crate) fn write_canary(root: &Path, number: u64) -> Result<(), Failure> {
    let failed = |error: Errno| Failure::generic(format!("{}/{DIRECTORY}/{CANARY}: {error}", root.display()));
    let own = own_directory(root).map_err(failed)?.ok_or_else(|| failed(Errno::ENOENT))?;
    let local = directory_in(&own, PRIVATE).map_err(failed)?;
    // Pushes to several peers and monitors write at the same time. A directory that only root can open.
    let _lock = Flock::lock(local, FlockArg::LockExclusive).map_err(|(_, error)| failed(error))?;
    if canary(root).is_some_and(|there| there >= number) {
        return Ok(());
    }
    // First the number: whoever reads it knows that everything before it was written before.
    put_canary(root, number)?;
    write(root, &format!("{BEAT}{number}"), "")?;
    for older in beats(root).filter(|beat| *beat < number) {
        // Only lest there be many.
        let _may_stay = unlinkat(&own, format!("{BEAT}{older}").as_str(), UnlinkatFlags::NoRemoveDir);
    }
    Ok(())
}

/// Writes a number into the canary file as it is: for a copy that is to be sent.
///
/// # Errors
/// It cannot be written.
pub(crate) fn put_canary(root: &Path, number: u64) -> Result<(), Failure> {
    write(root, CANARY, &format!("{number}\n"))
}

/// The number that a path (relative to the tree) stands for, if it is that of a file made by [`write_canary`].
pub(crate) fn beat(path: &Path) -> Option<u64> {
    let number = path.to_str()?.strip_prefix(DIRECTORY)?.strip_prefix('/')?.strip_prefix(BEAT)?;
    number.parse().ok().filter(|it: &u64| it.to_string() == number)
}

/// The newest number of which there is, or will be, an event; 0 if there is none.
pub(crate) fn latest_beat(root: &Path) -> u64 {
    beats(root).max().unwrap_or(0)
}

fn beats(root: &Path) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(root.join(DIRECTORY)).into_iter().flatten().flatten();
    entries.filter_map(|entry| beat(&Path::new(DIRECTORY).join(entry.file_name())))
}

/// Notes which directory the tree is, for as long as the resource runs here: a file system that is mounted over it later, or exchanged below
/// the resource, is another tree, whatever its marker says.
///
/// # Errors
/// It is not there, or that cannot be written.
pub(crate) fn note_place(place: &Place, settings: &Settings) -> Result<(), Failure> {
    let found = fs::metadata(&settings.source)?;
    StateFile::new(place.tree()).save(&(found.dev(), found.ino()))
}

/// Whether the tree is the directory that it was when the resource started.
///
/// # Errors
/// It is another one, or gone: in a sentence.
pub(crate) fn same_place(place: &Place, settings: &Settings) -> Result<(), String> {
    let noted = StateFile::new(place.tree()).load::<(u64, u64)>().map_err(|failure| failure.reason)?;
    let source = settings.source.display();
    let found = fs::metadata(&settings.source).map_err(|error| format!("{source}: {error}"))?;
    match noted {
        Some(noted) if noted != (found.dev(), found.ino()) => Err(format!(
            "{source} is another directory than at the start: a file system was mounted, unmounted or exchanged; restart the resource here"
        )),
        _ => Ok(()),
    }
}

/// Notes, for good, that the tree on this node bears its marker: without it, it is not the tree.
///
/// # Errors
/// That cannot be written.
pub(crate) fn note_marked(place: &Place) -> Result<(), Failure> {
    if place.marked().exists() {
        return Ok(());
    }
    Ok(fs::create_dir_all(&place.lasting).and_then(|()| fs::write(place.marked(), ""))?)
}

/// Makes the agent's directories in the tree, and removes what killed transfers left there. Only while nothing is received.
///
/// # Errors
/// The tree is not there, a directory cannot be made, or something else bears its name.
pub(crate) fn prepare(root: &Path) -> Result<(), Failure> {
    let failed = |what: &str, error: Errno| Failure::generic(format!("{}/{what}: {error}", root.display()));
    let root_fd = openat(AT_FDCWD, root, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|error| Failure::new(Code::Installed, format!("{}: {error}", root.display())))?;
    let make = |above: &OwnedFd, name: &str, mode: Mode, shown: &str| -> Result<OwnedFd, Failure> {
        match mkdirat(above, name, mode) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(failed(shown, error)),
        }
        let directory = directory_in(above, name).map_err(|error| failed(shown, error))?;
        let found = fstat(&directory).map_err(|error| failed(shown, error))?;
        if found.st_mode & 0o7777 != mode.bits() {
            fchmod(&directory, mode).map_err(|error| failed(shown, error))?;
        }
        Ok(directory)
    };
    let (open_to_all, private) = (Mode::from_bits_truncate(0o755), Mode::from_bits_truncate(0o700));
    let own = make(&root_fd, DIRECTORY, open_to_all, DIRECTORY)?;
    let local = make(&own, PRIVATE, private, crate::settings::TREE_PRIVATE)?;
    // rsync makes it when it has something to set aside. While it is not there, a monitor knows at once that nothing waits.
    let _not_empty = unlinkat(&local, saved::SAVED, UnlinkatFlags::RemoveDir);
    let mut own = Dir::from_fd(own).map_err(|error| failed(DIRECTORY, error))?;
    // What rsync had begun to receive: the name of the file and six characters. Only the agent's own names have none of these.
    let names: Vec<_> = own.iter().flatten().map(|entry| entry.file_name().to_owned()).collect();
    let ours = [MARKER, CANARY, PRIVATE, ".", ".."].map(str::as_bytes);
    for name in names.iter().filter(|name| !ours.contains(&name.to_bytes())) {
        // A directory is none of rsync's, and in nobody's way.
        let _may_stay = unlinkat(own.as_fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir);
    }
    Ok(())
}

/// Whether the tree is fit to be sent from: the one that is known, on the device that is known, and with content if it had some. Each fault is a
/// sentence of its own.
///
/// # Errors
/// Why it is not.
pub(crate) fn check_source(
    root: &Path,
    dataset: u64,
    filled: bool,
    known_device: Option<u64>,
) -> Result<(), String> {
    let shown = root.display();
    let found = match fs::symlink_metadata(root) {
        Ok(found) => found,
        Err(error) => {
            return Err(format!(
                "{shown} is missing ({error}); mount its file system or restore the directory"
            ));
        }
    };
    if !found.is_dir() {
        return Err(format!("{shown} is not a directory: expected the tree itself"));
    }
    if let Some(known) = known_device
        && known != found.dev()
    {
        let (major, minor) = (libc::major(found.dev()), libc::minor(found.dev()));
        return Err(format!(
            "{shown} is on another file system than when this node became the source (now device {major}:{minor}, then {}:{}): was it \
             unmounted, or something else mounted over it?",
            libc::major(known),
            libc::minor(known)
        ));
    }
    match marker(root) {
        Ok(Some(marker)) if marker.dataset == dataset => {}
        Ok(Some(marker)) => {
            return Err(format!(
                "{shown} is the tree of another dataset by its marker {DIRECTORY}/{MARKER}: expected {dataset:016x}, found {:016x}",
                marker.dataset
            ));
        }
        Ok(None) => {
            return Err(format!(
                "{shown} lacks its marker {DIRECTORY}/{MARKER}: expected the tree of dataset {dataset:016x}; is its file system mounted?"
            ));
        }
        Err(failure) => return Err(failure.reason),
    }
    match look(root) {
        Ok(Tree::Empty) if filled => Err(format!(
            "{shown} is empty, though its dataset has had content: mount its file system, or restore the content; if it is really to be \
             empty, leave one file in it"
        )),
        Ok(_) => Ok(()),
        Err(failure) => Err(failure.reason),
    }
}

/// A tree that is held open, and a path that leads to it as it is held: also when it is unmounted lazily, renamed or covered meanwhile, which
/// the path that it had would not, and to a sender a tree that has vanished looks like one in which all was deleted.
#[derive(Debug)]
pub(crate) struct Held {
    _root: File,
    path: PathBuf,
}

impl Held {
    /// The path, for as long as this is held, to this process and its children.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Holds the tree open, if it is still the one on this device.
///
/// # Errors
/// It is not.
pub(crate) fn hold(root: &Path, known_device: Option<u64>) -> Result<Held, String> {
    let shown = root.display();
    let held = File::open(root).map_err(|error| format!("{shown} is missing ({error})"))?;
    let same = held.metadata().is_ok_and(|it| known_device.is_none_or(|known| known == it.dev()));
    if !same {
        return Err(format!("{shown} is on another file system than when this node became the source"));
    }
    let path = PathBuf::from(format!("/proc/{}/fd/{}/.", std::process::id(), held.as_raw_fd()));
    Ok(Held { _root: held, path })
}

/// A directory by its name alone, which must not be a link.
fn directory_in(above: &OwnedFd, name: &str) -> nix::Result<OwnedFd> {
    openat(above, name, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// The agent's directory; `None` if there is none. (A link in its place is an error: ENOTDIR.)
fn own_directory(root: &Path) -> nix::Result<Option<OwnedFd>> {
    let root = openat(AT_FDCWD, root, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    match directory_in(&root, DIRECTORY) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(root: &Path, name: &str) -> Result<Option<String>, Failure> {
    let failed =
        |error: std::io::Error| Failure::generic(format!("{}/{DIRECTORY}/{name}: {error}", root.display()));
    let Some(directory) = own_directory(root).map_err(|error| failed(error.into()))? else { return Ok(None) };
    // Not blocking: a FIFO in its place must not hold us up.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = match openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(failed(ErrorKind::InvalidInput.into()));
    }
    // One call, usually, and no second for the end. More than the length that was told, lest half of what has grown since be read.
    let (mut room, mut bytes) = ([0; ROOM], Vec::new());
    loop {
        match file.read(&mut room) {
            Ok(count) => {
                bytes.extend_from_slice(&room[..count]);
                if count == 0 || bytes.len() as u64 >= found.len().min(LONGEST) {
                    return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// In place: what is shorter than a block is never seen half-written by those who matter, and a rename would be two events.
fn write(root: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::generic(format!("{}/{DIRECTORY}/{name}: {error}", root.display()));
    let own = own_directory(root).map_err(|error| failed(error.into()))?;
    let directory = own.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&directory, name, flags, Mode::from_bits_truncate(0o644));
    let mut file = File::from(file.map_err(|error| failed(error.into()))?);
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.set_len(text.len() as u64).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn content_is_what_is_not_the_agents_own() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(look(root.path()).unwrap(), Tree::Empty);
        prepare(root.path()).unwrap();
        write_canary(root.path(), 7).unwrap();
        fs::create_dir(root.path().join("lost+found")).unwrap();
        assert_eq!(look(root.path()).unwrap(), Tree::Empty);
        fs::write(root.path().join(".hidden"), "").unwrap();
        assert_eq!(look(root.path()).unwrap(), Tree::Filled);
        assert!(look(&root.path().join("none")).unwrap_err().reason.contains("none"));
    }

    #[test]
    fn the_directories_are_made_with_their_modes_and_swept() {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path()).unwrap();
        let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o7777;
        fs::set_permissions(root.path().join(".bascule/local"), fs::Permissions::from_mode(0o777)).unwrap();
        let left = root.path().join(".bascule/big.x7Ab21");
        fs::write(&left, "half").unwrap();
        write_canary(root.path(), 3).unwrap();
        let saved = root.path().join(".bascule/local/saved/precious");
        fs::create_dir(saved.parent().unwrap()).unwrap();
        fs::write(&saved, "old").unwrap();
        prepare(root.path()).unwrap();
        assert_eq!([".bascule", ".bascule/local"].map(mode), [0o755, 0o700]);
        assert!(!left.exists() && saved.exists());
        fs::remove_file(&saved).unwrap();
        prepare(root.path()).unwrap();
        assert!(!saved.parent().unwrap().exists(), "only while something is in it");
        assert_eq!(canary(root.path()), Some(3));
    }

    #[test]
    fn marker_and_canary_come_back() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(marker(root.path()).unwrap(), None);
        assert_eq!(canary(root.path()), None);
        write_canary(root.path(), 1).unwrap_err();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        write_marker(root.path(), 0xc0ffee, "a\nname=b dataset=1").unwrap();
        assert_eq!(marker(root.path()).unwrap(), Some(Marker { dataset: 0xc0ffee }));
        write_canary(root.path(), 1000).unwrap();
        put_canary(root.path(), 9).unwrap();
        assert_eq!(canary(root.path()), Some(9), "the longer one is gone");
        fs::write(root.path().join(".bascule/dataset"), "dataset=+000000000000001\n").unwrap();
        assert!(marker(root.path()).unwrap_err().reason.contains("was changed"));
    }

    #[test]
    fn numbers_grow_and_are_told_by_name() {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path()).unwrap();
        assert_eq!(latest_beat(root.path()), 0);
        for (write, expected) in [(5, 5), (6, 6), (4, 6), (6, 6), (100, 100)] {
            write_canary(root.path(), write).unwrap();
            assert_eq!((canary(root.path()), latest_beat(root.path())), (Some(expected), expected));
        }
        assert!(
            root.path().join(".bascule/beat.100").exists() && !root.path().join(".bascule/beat.6").exists()
        );
        for (path, number) in [
            (".bascule/beat.17", Some(17)),
            (".bascule/beat.017", None),
            (".bascule/beat.x", None),
            ("beat.1", None),
        ] {
            assert_eq!(beat(Path::new(path)), number, "{path}");
        }
    }

    #[test]
    fn writers_at_the_same_time_never_set_it_back() {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path()).unwrap();
        std::thread::scope(|scope| {
            for first in 0..4u64 {
                let path = root.path();
                scope.spawn(move || {
                    for number in 0..200u64 {
                        write_canary(path, number * 4 + first).unwrap();
                        assert!(canary(path).unwrap() >= number * 4 + first);
                    }
                });
            }
        });
        assert_eq!((canary(root.path()), latest_beat(root.path())), (Some(799), 799));
    }

    #[test]
    fn a_link_out_of_the_tree_is_not_followed() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), root.path().join(".bascule")).unwrap();
        prepare(root.path()).unwrap_err();
        write_canary(root.path(), 1).unwrap_err();
        marker(root.path()).unwrap_err();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        fs::remove_file(root.path().join(".bascule")).unwrap();
        prepare(root.path()).unwrap();
        let victim = outside.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, root.path().join(".bascule/canary")).unwrap();
        write_canary(root.path(), 1).unwrap_err();
        assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
    }

    #[test]
    fn what_is_held_stays_the_tree_whatever_becomes_of_its_path() {
        let root = tempfile::tempdir().unwrap();
        let (tree, away) = (root.path().join("tree"), root.path().join("away"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), "x").unwrap();
        let held = hold(&tree, Some(device(&tree).unwrap())).unwrap();
        fs::rename(&tree, &away).unwrap();
        fs::create_dir(&tree).unwrap();
        assert_eq!((look(held.path()).unwrap(), look(&tree).unwrap()), (Tree::Filled, Tree::Empty));
        assert!(hold(&tree, Some(device(&tree).unwrap() + 1)).is_err());
    }

    #[test]
    fn a_tree_that_is_no_source_says_why() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        let wrong = |dataset, filled, device| check_source(path, dataset, filled, device).unwrap_err();
        assert!(wrong(1, false, None).contains("lacks its marker"));
        write_marker(path, 1, "x").unwrap();
        check_source(path, 1, false, None).unwrap();
        assert!(wrong(2, false, None).contains("another dataset"));
        assert!(wrong(1, true, None).contains("is empty"));
        fs::write(path.join("file"), "").unwrap();
        let here = device(path).unwrap();
        check_source(path, 1, true, Some(here)).unwrap();
        assert!(wrong(1, true, Some(here + 1)).contains("another file system"));
        hold(path, Some(here + 1)).unwrap_err();
        let gone = check_source(&path.join("gone"), 1, true, None).unwrap_err();
        assert!(gone.contains("is missing"), "{gone}");
    }
}
