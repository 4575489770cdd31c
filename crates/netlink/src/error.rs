//! What can go wrong with a request, told so that a person can act on it. Pure.

use std::{fmt, io};

use crate::message::Malformed;

/// `ENOTSUPP`: the kernel's inner "not supported", which leaks out of some netlink operations and no C library names.
const ENOTSUPP: i32 = 524;

/// A request that did not succeed: what was asked, why not, and the kernel's own words where it had any.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    doing: String,
    cause: Cause,
    kernel: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// The kernel, or a system call, returned this error number.
    Errno(i32),
    /// No answer before the deadline.
    Timeout,
    /// The state kept changing while it was read, this many times in a row.
    Unsteady(u32),
    /// The answer cannot be read.
    Malformed(&'static str),
}

impl Error {
    pub(crate) fn new(doing: fmt::Arguments<'_>, cause: Cause, kernel: Option<String>) -> Self {
        Self { doing: doing.to_string(), cause, kernel }
    }

    /// The error number, if the kernel or a system call gave one.
    pub fn errno(&self) -> Option<i32> {
        match self.cause {
            Cause::Errno(errno) => Some(errno),
            _ => None,
        }
    }

    /// What the kernel said beside the number (extended acknowledgement).
    pub fn kernel_says(&self) -> Option<&str> {
        self.kernel.as_deref()
    }

    /// It is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// The link, address, route or namespace that was asked for is not there (any more).
    pub fn is_gone(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENODEV | libc::ENXIO | libc::EADDRNOTAVAIL | libc::ESRCH | libc::ENOENT)
        )
    }

    /// This kernel cannot do it (`EOPNOTSUPP` and the like, or `ENOTSUPP` of its inner layers).
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno(), Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | ENOTSUPP))
    }

    /// No permission: not root, or without `CAP_NET_ADMIN`.
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }

    /// No answer came before the deadline.
    pub fn timed_out(&self) -> bool {
        self.cause == Cause::Timeout
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.doing)?;
        match &self.cause {
            Cause::Errno(ENOTSUPP) => write!(f, "Operation not supported (kernel error {ENOTSUPP})")?,
            Cause::Errno(errno) => write!(f, "{}", io::Error::from_raw_os_error(*errno))?,
            Cause::Timeout => f.write_str("the kernel did not answer in time")?,
            Cause::Unsteady(times) => write!(f, "it changed during each of {times} readings")?,
            Cause::Malformed(what) => write!(f, "the kernel's answer has {what}")?,
        }
        match &self.kernel {
            Some(text) => write!(f, ": kernel says {text:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<nix::Error> for Cause {
    fn from(errno: nix::Error) -> Self {
        Cause::Errno(errno as i32)
    }
}

impl From<Malformed> for Cause {
    fn from(Malformed(what): Malformed) -> Self {
        Cause::Malformed(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: Cause, kernel: Option<&str>) -> Error {
        Error::new(format_args!("adding 10.0.0.9/24 to link 2"), cause, kernel.map(str::to_owned))
    }

    #[test]
    fn says_what_was_asked_and_what_the_kernel_said() {
        let told = error(Cause::Errno(libc::EEXIST), Some("Address already assigned")).to_string();
        assert_eq!(
            told,
            "adding 10.0.0.9/24 to link 2: File exists (os error 17): kernel says \"Address already assigned\""
        );
        let told = error(Cause::Timeout, None).to_string();
        assert_eq!(told, "adding 10.0.0.9/24 to link 2: the kernel did not answer in time");
    }

    #[test]
    fn kinds_are_told_apart() {
        assert!(error(Cause::Errno(libc::EEXIST), None).is_exists());
        for gone in [libc::ENODEV, libc::EADDRNOTAVAIL, libc::ESRCH, libc::ENOENT] {
            assert!(error(Cause::Errno(gone), None).is_gone());
        }
        assert!(error(Cause::Errno(ENOTSUPP), None).is_unsupported());
        assert!(error(Cause::Errno(libc::EOPNOTSUPP), None).is_unsupported());
        assert!(!error(Cause::Errno(libc::EINVAL), None).is_unsupported());
        assert!(error(Cause::Timeout, None).timed_out());
    }
}
