//! Secrets: everything that authenticates one node to another is derived from one file that all nodes have alike. A
//! token proves that its bearer was told which generation it speaks for by a node of this cluster.

use crate::core::Generation;
use hmac::{Hmac, KeyInit, Mac};
use ocf::{Code, Failure};
use sha2::Sha256;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Fewer bytes than this are no secret.
const SHORTEST: usize = 16;
/// More than this is not a key but a mistake (a device, a log).
const LONGEST: u64 = 1 << 20;

/// The secret that the nodes share. It has no `Debug`: nothing is to show it.
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Reads it from the file that `secret_file` names (corosync's authkey, if nothing else was said).
    ///
    /// # Errors
    /// The file is missing, holds too little, or others than its owner may read it: the code is "not installed", since another
    /// node may well have it, and the reason names the parameter and the command that puts it right.
    pub(crate) fn read(path: &Path) -> Result<Key, Failure> {
        let shown = path.display();
        let wrong = |what: String| Failure::new(Code::Installed, format!("secret_file={shown}: {what}"));
        // Not blocking: a FIFO in its place must not hold us up.
        let opened =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
        let mut file = opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => wrong(
                "no such file; copy the same one to every node (corosync-keygen makes one that serves corosync too)"
                    .to_owned(),
            ),
            _ => wrong(error.to_string()),
        })?;
        let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
        if !metadata.is_file() {
            return Err(wrong("is not a regular file".to_owned()));
        }
        if metadata.mode() & 0o077 != 0 {
            let mode = metadata.mode() & 0o7777;
            return Err(wrong(format!("mode {mode:04o} lets others read the secret; chmod 0400 {shown}")));
        }
        if metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(wrong(format!(
                "belongs to user {}, not to root; chown root {shown}",
                metadata.uid()
            )));
        }
        if metadata.len() > LONGEST {
            return Err(wrong(format!("{} bytes are no key", metadata.len())));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
        if bytes.len() < SHORTEST {
            return Err(wrong(format!("{} bytes, expected at least {SHORTEST} random ones", bytes.len())));
        }
        Ok(Key(bytes))
    }

    /// What a push of this generation proves itself with.
    pub(crate) fn token(&self, dataset: &str, generation: &Generation) -> String {
        let number = generation.number.to_string();
        let id = format!("{:016x}", generation.id);
        self.derive(&["bascule lsync push", dataset, &number, &id, &generation.origin])
    }

    /// What a question proves itself with.
    pub(crate) fn control(&self, dataset: &str) -> String {
        self.derive(&["bascule lsync control", dataset])
    }

    /// The name under which a push of this generation logs in.
    pub(crate) fn user(generation: &Generation) -> String {
        format!("g{}-{:016x}", generation.number, generation.id)
    }

    /// HMAC-SHA256 over the words, which no byte 0 can be part of, with one between each two.
    fn derive(&self, words: &[&str]) -> String {
        // An HMAC takes a key of any length: the error cannot occur, and its text would match nothing.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        for (n, word) in words.iter().enumerate() {
            if n > 0 {
                mac.update(&[0]);
            }
            mac.update(word.as_bytes());
        }
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The name under which questions log in.
pub(crate) const CONTROL_USER: &str = "control";

/// Puts a secret into a file of mode 0600, as a whole or not at all. A file that holds it already is left as it is.
///
/// # Errors
/// It cannot be written; the reason names the file, never the secret.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    replace(path, text.as_bytes(), 0o600)
        .map(|_changed| ())
        .map_err(|error| Failure::generic(format!("writing {}: {error}", path.display())))
}

/// Replaces a file so that whoever reads it sees all of the old or all of the new content, and tells whether that was needed.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    if let Ok(there) = fs::symlink_metadata(path)
        && there.is_file()
        && there.mode() & 0o7777 == mode
        && fs::read(path).is_ok_and(|old| old == content)
    {
        return Ok(false);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    // Two processes may write the same file at once: each has its own new one. `.new` keeps it from being read as
    // anything.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = directory.join(format!(".{name}.{}.new", std::process::id()));
    let _left_by_a_killed_one = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _best_effort = fs::remove_file(&new);
    }
    written.map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64, id: u64, origin: &str) -> Generation {
        Generation { number, id, origin: origin.to_owned() }
    }

    fn key(directory: &Path, mode: u32, bytes: &[u8]) -> Result<Key, Failure> {
        let path = directory.join("authkey");
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Key::read(&path)
    }

    #[test]
    fn tokens_are_hmac_sha256_of_exactly_these_words() {
        let directory = tempfile::tempdir().unwrap();
        let key = key(directory.path(), 0o400, &[7; 32]).unwrap();
        // printf 'bascule lsync push\0site5\0003\000000000000000002a\0n1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…
        let input = "bascule lsync push\0site5\x003\x00000000000000002a\0n1";
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
        mac.update(input.as_bytes());
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(key.token("site5", &generation(3, 42, "n1")), expected);
        assert_eq!(expected.len(), 64);
        assert_eq!(Key::user(&generation(3, 42, "n1")), "g3-000000000000002a");
    }

    #[test]
    fn nothing_that_differs_has_one_token() {
        let directory = tempfile::tempdir().unwrap();
        let key = key(directory.path(), 0o600, &[7; 32]).unwrap();
        let all = [
            key.token("a", &generation(1, 1, "n1")),
            key.token("b", &generation(1, 1, "n1")),
            key.token("a", &generation(2, 1, "n1")),
            key.token("a", &generation(1, 2, "n1")),
            key.token("a", &generation(1, 1, "n2")),
            key.control("a"),
            key.control("b"),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_key_that_is_no_secret_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Key::read(&directory.path().join("none")).err().unwrap();
        assert_eq!(missing.code, Code::Installed);
        assert!(missing.reason.contains("secret_file=") && missing.reason.contains("corosync-keygen"));
        for mode in [0o440, 0o404, 0o620, 0o601] {
            let refused = key(directory.path(), mode, &[7; 32]).err().unwrap();
            assert_eq!(refused.code, Code::Installed);
            assert!(refused.reason.contains("chmod 0400"), "{}", refused.reason);
        }
        assert!(key(directory.path(), 0o600, &[7; 15]).err().unwrap().reason.contains("15 bytes"));
        assert!(Key::read(directory.path()).err().unwrap().reason.contains("regular file"));
        key(directory.path(), 0o400, &[7; 128]).unwrap();
    }

    #[test]
    fn secrets_are_for_root_alone_from_the_first_instant() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/x.secret");
        write_secret(&path, "one\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let before = fs::metadata(&path).unwrap().ino();
        write_secret(&path, "one\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before, "left as it is");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_secret(&path, "one\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        write_secret(&path, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        let others = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(others, 1, "nothing is left beside it");
    }

    #[test]
    fn a_link_in_place_of_a_secret_is_replaced_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let path = directory.path().join("x.secret");
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        write_secret(&path, "secret").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }
}
