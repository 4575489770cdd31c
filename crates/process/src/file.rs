//! Small files and directories looked at with few system calls. An agent's monitor does little else, hundreds of times a minute, and std
//! asks more often than it needs to: for the size, which `/proc` does not tell, and for the end, again.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::sys;

/// More than the files of an agent usually hold.
const ROOM: usize = 1024;
/// Room for some thirty names, and for the longest.
const ENTRIES: usize = 1024;
/// Of an entry as getdents64(2) writes it: inode and offset (8 bytes each), its length (2), its kind (1). The name follows.
const NAME_AT: usize = 19;

/// Opens a file for reading.
///
/// # Errors
/// As [`File::open`].
pub fn open_file(path: &Path) -> io::Result<File> {
    // openat is taken for what it is; the C library has `open` followed by a second call, for kernels of long ago.
    Ok(openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)?)
}

/// Reads an open file from where it stands to its end: with one call what is shorter than 1 KiB. Only for regular files of this machine and those of `/proc`,
/// where a call that brings less than there is room for has seen the end.
///
/// # Errors
/// As [`Read::read`](std::io::Read::read).
pub fn read_open(mut file: &File) -> io::Result<Vec<u8>> {
    let mut room = [0; ROOM];
    let mut bytes = Vec::new();
    loop {
        match file.read(&mut room) {
            Ok(count) => {
                bytes.extend_from_slice(&room[..count]);
                if count < room.len() {
                    return Ok(bytes);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a file with three system calls, if it is small: see [`read_open`] for what it may be.
///
/// # Errors
/// As [`std::fs::read`].
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_open(&open_file(path)?)
}

/// Whether a directory has an entry with another name than these. Ends at the first.
///
/// # Errors
/// It is not there, is no directory or cannot be read.
pub fn holds_other_than(directory: &Path, names: &[&str]) -> io::Result<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = openat(AT_FDCWD, directory, flags, Mode::empty())?;
    let mut entries = Entries([0; ENTRIES]);
    loop {
        let length = sys::entries(directory.as_fd(), &mut entries.0)?;
        if length == 0 {
            return Ok(false);
        }
        let mut rest = &entries.0[..length];
        while !rest.is_empty() {
            let (name, after) = first_name(rest).ok_or(ErrorKind::InvalidData)?;
            let is = |other: &str| name == other.as_bytes();
            if !is(".") && !is("..") && !names.iter().any(|other| is(other)) {
                return Ok(true);
            }
            rest = after;
        }
    }
}

/// The kernel writes numbers into it.
#[repr(align(8))]
struct Entries([u8; ENTRIES]);

/// The name of the first entry, and the entries after it.
fn first_name(entries: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes([*entries.get(16)?, *entries.get(17)?]));
    let name = entries.get(NAME_AT..length)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    Some((&name[..end], &entries[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn files_of_any_length_are_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert_eq!(read_file(&path).unwrap_err().kind(), ErrorKind::NotFound);
        for length in [0, 1, ROOM - 1, ROOM, ROOM + 1, 5 * ROOM, 5 * ROOM + 7] {
            let content: Vec<u8> = (0..length).map(|n| n as u8).collect();
            fs::write(&path, &content).unwrap();
            assert_eq!(read_file(&path).unwrap(), content, "{length}");
        }
        assert!(read_file(directory.path()).is_err(), "a directory");
    }

    #[test]
    fn what_proc_tells_is_read_as_std_reads_it() {
        // One that is short, one that is longer than the room; neither changes.
        for path in ["/proc/sys/kernel/random/boot_id", "/proc/kallsyms", "/proc/filesystems"] {
            let (ours, theirs) = (read_file(Path::new(path)), fs::read(path));
            assert_eq!(ours.unwrap(), theirs.unwrap(), "{path}");
        }
    }

    #[test]
    fn a_directory_with_other_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let holds = |names: &[&str]| holds_other_than(path, names).unwrap();
        assert!(!holds(&[]));
        fs::write(path.join("own"), "").unwrap();
        assert!(holds(&[]) && holds(&["ow", "ownx"]) && !holds(&["x", "own"]));
        assert_eq!(holds_other_than(&path.join("none"), &[]).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(holds_other_than(&path.join("own"), &[]).is_err(), "a file");
        // More than are read at a time, and the odd one may be any of them.
        let many: Vec<String> = (0..500).map(|n| format!("{n:0>100}")).collect();
        for name in &many {
            fs::write(path.join(name), "").unwrap();
        }
        let mut names: Vec<&str> = many.iter().map(String::as_str).chain(["own"]).collect();
        assert!(!holds(&names));
        let odd = names.remove(250);
        assert!(holds(&names), "{odd}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_entries_or_refused(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while let Some((_, after)) = first_name(rest) {
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
