//! Keys and certificates with safe modes: `csync-agent keygen FILE` and `csync-agent keygen --tls [DIRECTORY]`.

use crate::configuration::{CERTIFICATE, CERTIFICATE_KEY};
use process::Tool;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a key is made of: csync2 takes these, 64 of them.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
/// So many letters: 384 bits.
const LENGTH: usize = 64;
/// Longest for making a certificate.
const LONGEST: Duration = Duration::from_secs(120);
/// How long a certificate is good for, in days. csync2 looks at no date; it remembers the certificate itself.
const DAYS: &str = "36500";

/// The face of the program that people call. Never replaces a file.
pub(crate) fn keygen(arguments: &[OsString]) -> u8 {
    let outcome = match arguments {
        [word] if word == "--tls" => pair(Path::new("/etc")),
        [word, directory] if word == "--tls" => pair(Path::new(directory)),
        [file] if !file.to_string_lossy().starts_with('-') => group_key(Path::new(file)),
        _ => Err("usage: csync-agent keygen FILE           makes the key of a group\n       csync-agent keygen --tls [DIRECTORY]  makes this node's certificate and its key (in /etc)".to_owned()),
    };
    let (text, code) = match outcome {
        Ok(text) => (text, 0),
        Err(text) => (text, 1),
    };
    let _closed = writeln!(std::io::stderr(), "{text}");
    code
}

/// Makes the key of a group.
fn group_key(file: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut random = [0; LENGTH];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random)).map_err(failed)?;
    // 64 letters: each byte gives one, and all are as likely.
    let key: Vec<u8> =
        random.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 64)).copied()).collect();
    let mut new = new_file(file)?;
    new.write_all(&key).and_then(|()| new.write_all(b"\n")).and_then(|()| new.sync_all()).map_err(failed)?;
    Ok(format!("{} is made: copy it, as it is, to every node of the group", file.display()))
}

/// A file that was not there, for root only.
fn new_file(file: &Path) -> Result<File, String> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{} exists: nothing is replaced; remove it first if it is not needed", file.display())
        }
        _ => format!("{}: {error}", file.display()),
    })
}

/// Makes a certificate and its key. The subject is the same on every node: GnuTLS shows a certificate only to a server that names its issuer, and
/// csync2 names its own.
fn pair(directory: &Path) -> Result<String, String> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(CERTIFICATE_KEY));
    if fs::symlink_metadata(&certificate).is_ok() {
        return Err(format!(
            "{} exists: nothing is replaced; remove it first if it is not needed",
            certificate.display()
        ));
    }
    // It has its mode before anything is in it.
    drop(new_file(&key)?);
    let made = Tool::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", DAYS, "-subj", "/O=csync2"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .run(Instant::now() + LONGEST)
        .map_err(|error| error.to_string())
        .and_then(|output| output.ok().map_err(|error| error.to_string()));
    let outcome = made.and_then(|_| {
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&key, mode).map_err(|error| format!("{}: {error}", key.display()))
    });
    if let Err(why) = outcome {
        for file in [&key, &certificate] {
            let _may_not_be_there = fs::remove_file(file);
        }
        return Err(format!("the certificate is not made: {why} (the package openssl is needed)"));
    }
    let names = |file: &PathBuf| file.display().to_string();
    Ok(format!("{} and {} are made, for this node alone", names(&certificate), names(&key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_key_is_for_root_only_one_that_csync2_takes_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        assert_eq!(keygen(&[file.clone().into()]), 0);
        let key = fs::read(&file).unwrap();
        assert_eq!(csync2::key::key(&key).unwrap().bytes().len(), LENGTH);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(keygen(&[file.clone().into()]), 1);
        assert_eq!(fs::read(&file).unwrap(), key);
        let other = directory.path().join("other");
        assert_eq!(keygen(&[other.clone().into()]), 0);
        assert_ne!(fs::read(&other).unwrap(), key);
        assert_eq!(keygen(&[]), 1);
        assert_eq!(keygen(&["--help".into()]), 1);
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(keygen(&["--tls".into(), directory.path().into()]), 0);
        let (certificate, key) = (directory.path().join(CERTIFICATE), directory.path().join(CERTIFICATE_KEY));
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o7777, 0o600);
        let text = fs::read_to_string(&certificate).unwrap();
        assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
        assert_eq!(keygen(&["--tls".into(), directory.path().into()]), 1);
        assert_eq!(fs::read_to_string(&certificate).unwrap(), text);
        assert_eq!(keygen(&["--tls".into(), directory.path().join("none").into()]), 1);
    }
}
