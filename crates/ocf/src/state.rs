//! What a resource remembers on this node between its actions: one small JSON file under `/run/bascule`, gone with a
//! reboot as the resource itself is, and replaced as a whole, so that a process killed at any instant leaves the old or
//! the new one.

use crate::Failure;
use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The volatile state of all agents.
pub const RUN_DIRECTORY: &str = "/run/bascule";

/// The lasting state of all agents.
pub const LASTING_DIRECTORY: &str = "/var/lib/bascule";

/// A name as it may stand in a file name: all but plain characters percent-encoded, and never too long.
pub fn file_name(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte);
    let mut name = String::new();
    for (at, byte) in text.bytes().enumerate() {
        if plain(byte) && !(at == 0 && byte == b'.') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.len() > 200 {
        name.truncate(200);
        name.push_str(&format!("%{:016x}", fnv1a(text.as_bytes())));
    }
    name
}

/// FNV-1a, 64 bits: tells names apart, promises nothing more.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The state file of one resource.
#[derive(Clone, Debug)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// The file at this path.
    pub fn new(path: PathBuf) -> Self {
        StateFile(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn new_path(&self) -> PathBuf {
        self.0.with_extension("new")
    }

    /// What it holds; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read or makes no sense (another version's, say): the reason names the file.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let bytes = match process::read_file(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", self.0.display()))?,
        };
        let state = serde_json::from_slice(&bytes);
        Ok(Some(state.with_context(|| format!("{} is no state of this agent", self.0.display()))?))
    }

    /// Replaces what it holds: whoever reads it sees the old or the new content, also after a crash of the process.
    ///
    /// # Errors
    /// It cannot be written; the reason names the file.
    pub fn save<T: Serialize>(&self, state: &T) -> Result<(), Failure> {
        Ok(self.write(state, false).with_context(|| format!("writing {}", self.0.display()))?)
    }

    /// The same, and it is on the disk when this returns: for files that outlive a power cut.
    ///
    /// # Errors
    /// As for [`StateFile::save`].
    pub fn save_durably<T: Serialize>(&self, state: &T) -> Result<(), Failure> {
        Ok(self.write(state, true).with_context(|| format!("writing {}", self.0.display()))?)
    }

    fn write<T: Serialize>(&self, state: &T, durably: bool) -> anyhow::Result<()> {
        let directory = self.0.parent().unwrap_or(Path::new("/"));
        make_directory(directory)?;
        let new = self.new_path();
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(state)?)?;
        if durably {
            file.sync_all()?;
        }
        fs::rename(&new, &self.0)?;
        if durably {
            // The name, too, has to reach the disk.
            fs::File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// Forgets it.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn remove(&self) -> Result<(), Failure> {
        // One that was being written when its writer was killed.
        let _may_not_be_there = fs::remove_file(self.new_path());
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.0.display()))?
            }
            _ => Ok(()),
        }
    }
}

/// Makes a directory for state with its parents. What is in it is for root alone (the files have mode 0600).
pub(crate) fn make_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_names_stay_and_others_cannot_leave_the_directory() {
        assert_eq!(file_name("web-vip_1:0"), "web-vip_1:0");
        assert_eq!(file_name("../../etc"), "%2E.%2F..%2Fetc");
    }

    #[test]
    fn state_comes_back_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path().join("vip/web.json"));
        assert_eq!(file.load::<Vec<u32>>().unwrap(), None);
        file.save(&vec![1]).unwrap();
        file.save_durably(&vec![1, 2]).unwrap();
        assert_eq!(file.load::<Vec<u32>>().unwrap(), Some(vec![1, 2]));
        assert!(file.load::<String>().unwrap_err().reason.contains("web.json"));
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.load::<Vec<u32>>().unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_name_makes_one_harmless_file_name(name in ".*") {
            let file = file_name(&name);
            prop_assert!(!file.contains('/') && file.len() < 255 && !file.starts_with('.'));
        }
    }
}
