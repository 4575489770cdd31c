//! What csync2 takes as a group's key, without ever printing it.

use std::fmt;

/// The key of a group. Neither printed nor compared in a way that could end in a log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(…)")
    }
}

impl Key {
    /// The bytes that every node of the group must hold.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why csync2 refuses a key file: every run that reads the configuration ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// There is nothing in the file.
    Empty,
    /// The first line has a character other than letters, digits, `.` and `_`. Where, from 1 (not which: it is secret).
    Character {
        /// Its column, from 1.
        column: usize,
    },
    /// The first line has fewer than 32 characters.
    Short {
        /// How many it has.
        length: usize,
    },
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the key file is empty: make one with `csync2 -k FILE`"),
            Self::Character { column } => write!(
                f,
                "character {column} of the key is none of A-Z a-z 0-9 . _ (a carriage return of another system?): \
                 make a key with `csync2 -k FILE` and copy it unchanged"
            ),
            Self::Short { length } => {
                write!(
                    f,
                    "the key has {length} characters, csync2 wants 32 at least: make one with `csync2 -k FILE`"
                )
            }
        }
    }
}

/// csync2 reads one line of at most this many bytes.
const LINE: usize = 1023;

/// The key in a key file's contents, by csync2's own rules: the first line, at most 1023 bytes of it.
///
/// # Errors
/// What csync2 would refuse.
pub fn key(contents: &[u8]) -> Result<Key, KeyProblem> {
    if contents.is_empty() {
        return Err(KeyProblem::Empty);
    }
    let line = contents.get(..LINE).unwrap_or(contents);
    let line = line.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default();
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
    if let Some(at) = line.iter().position(|byte| !fits(byte)) {
        return Err(KeyProblem::Character { column: at + 1 });
    }
    if line.len() < 32 {
        return Err(KeyProblem::Short { length: line.len() });
    }
    Ok(Key(line.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_judged_as_csync2_does() {
        let good = b"abcdefghijklmnopqrstuvwxyz._012345";
        assert_eq!(key(good).unwrap().bytes(), good);
        assert_eq!(key(&[&good[..], b"\nanything else"].concat()).unwrap().bytes(), good);
        assert_eq!(key(b""), Err(KeyProblem::Empty));
        assert_eq!(key(b"\n"), Err(KeyProblem::Short { length: 0 }));
        assert_eq!(key(&good[..31]), Err(KeyProblem::Short { length: 31 }));
        assert_eq!(key(&[&good[..], b"\r\n"].concat()), Err(KeyProblem::Character { column: 35 }));
        assert_eq!(key(&[b'a'; 2000]).unwrap().bytes().len(), 1023);
        assert_eq!(format!("{:?}", key(good).unwrap()), "Key(…)");
    }
}
