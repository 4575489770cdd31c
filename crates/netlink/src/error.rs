//! Why the kernel would not do or tell something.

use nix::errno::Errno;
use std::fmt;

/// A request that failed: what was asked, and what the kernel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    what: String,
    errno: Errno,
    words: Option<String>,
}

impl Error {
    pub(crate) fn new(what: impl Into<String>, errno: Errno, words: Option<String>) -> Self {
        Error { what: what.into(), errno, words }
    }

    /// The error number.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// What was to be added is there already.
    pub fn is_exists(&self) -> bool {
        self.errno == Errno::EEXIST
    }

    /// What was asked for, or the link that it was on, is not there.
    pub fn is_gone(&self) -> bool {
        matches!(
            self.errno,
            Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT | Errno::ENXIO
        )
    }

    /// The deadline passed.
    pub fn timed_out(&self) -> bool {
        self.errno == Errno::ETIMEDOUT
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.errno.desc())?;
        match &self.words {
            Some(words) => write!(f, " ({words})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
