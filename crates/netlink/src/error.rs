//! Why the kernel would not do or tell something.

use nix::errno::Errno;
use std::fmt;

/// `ENOTSUPP`, the kernel's inner "not supported": it is no errno of user space, but some operations let it out.
const ENOTSUPP: i32 = 524;

/// A request that failed: what was asked, and what the kernel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    what: String,
    errno: Errno,
    words: Option<String>,
}

impl Error {
    /// What the kernel answered to a request, by its number.
    pub(crate) fn told(what: &str, errno: i32, words: Option<String>) -> Self {
        let errno = if errno == ENOTSUPP { Errno::EOPNOTSUPP } else { Errno::from_raw(errno) };
        Error::new(what, errno, words)
    }

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

    /// This kernel does not have what was asked for.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno, Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_asked_and_what_the_kernel_said() {
        let error = Error::told("adding 10.0.0.9/24", libc::EEXIST, Some("Address already assigned".into()));
        assert_eq!(error.to_string(), "adding 10.0.0.9/24: File exists (Address already assigned)");
        assert!(error.is_exists() && !error.is_gone());
    }

    #[test]
    fn both_ways_of_not_supported_are_known() {
        for errno in [ENOTSUPP, libc::EOPNOTSUPP] {
            let error = Error::told("resetting", errno, None);
            assert!(error.is_unsupported(), "{error}");
            assert!(error.to_string().contains("not supported"), "{error}");
        }
        assert!(!Error::told("resetting", libc::EINVAL, None).is_unsupported());
    }
}
