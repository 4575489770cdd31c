//! Exit codes of the protocol, and the failure that carries one together with its reason.

use std::fmt;

/// Exit codes of OCF RA API 1.1 (section "Exit Status Codes"), errors only: success and states are [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// 1: failed here and now; Pacemaker recovers and counts it against `migration-threshold`.
    Generic = 1,
    /// 2: a value that cannot work on this node; Pacemaker tries the others.
    Args = 2,
    /// 3: the action is not supported.
    Unimplemented = 3,
    /// 4: not permitted, usually not root.
    Perm = 4,
    /// 5: a tool, file, module or device is missing on this node; Pacemaker tries the others.
    Installed = 5,
    /// 6: the parameters are wrong whatever the node; Pacemaker stops the resource everywhere.
    Configured = 6,
    /// 7: nothing runs here that could be promoted or demoted. (What a monitor sees is [`Status::Stopped`].)
    NotRunning = 7,
    /// 9: running in the promoted role, and failed.
    FailedPromoted = 9,
}

/// What `monitor` saw.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Status {
    /// Nothing of the resource is active here (7).
    Stopped,
    /// Running; for a promotable resource, in the unpromoted role (0).
    Running,
    /// Running in the promoted role (8).
    Promoted,
    /// Running, but with something that an administrator should look at (190, Pacemaker 2.1 and later).
    DegradedRunning(String),
    /// The same in the promoted role (191).
    DegradedPromoted(String),
}

impl Status {
    /// The exit code of `monitor` for this state.
    pub fn exit_code(&self) -> u8 {
        match self {
            Status::Stopped => 7,
            Status::Running => 0,
            Status::Promoted => 8,
            Status::DegradedRunning(_) => 190,
            Status::DegradedPromoted(_) => 191,
        }
    }

    /// Whether anything is active.
    pub fn is_active(&self) -> bool {
        *self != Status::Stopped
    }

    /// Whether the resource is in the promoted role.
    pub fn is_promoted(&self) -> bool {
        matches!(self, Status::Promoted | Status::DegradedPromoted(_))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Stopped => f.write_str("not running"),
            Status::Running => f.write_str("running"),
            Status::Promoted => f.write_str("running (promoted)"),
            Status::DegradedRunning(why) => write!(f, "running, degraded: {why}"),
            Status::DegradedPromoted(why) => write!(f, "running (promoted), degraded: {why}"),
        }
    }
}

/// An action that did not succeed: the exit code and the reason an administrator reads.
///
/// `?` makes one of any error, with [`Code::Generic`], or [`Code::Installed`] if a tool was missing; where the code is known better, use [`OrCode::or_code`]
/// or [`Failure::new`]. The reason says what was found, what was expected and what to do.
/// (It deliberately does not implement [`std::error::Error`]: that is what allows the blanket `From`.)
#[derive(Debug)]
pub struct Failure {
    /// What Pacemaker is told.
    pub code: Code,
    /// What the administrator is told, through the OCF exit reason.
    pub reason: String,
}

impl Failure {
    /// A failure with its reason.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Failure { code, reason: reason.into() }
    }

    /// A passing or local failure ([`Code::Generic`]).
    pub fn generic(reason: impl Into<String>) -> Self {
        Failure::new(Code::Generic, reason)
    }

    /// The same failure, with words on what was being done put before its reason.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.reason = format!("{doing}: {}", self.reason);
        self
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let missing = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<process::Error>().is_some_and(process::Error::is_not_found)
        };
        let code = if error.chain().any(missing) { Code::Installed } else { Code::Generic };
        Failure::new(code, format!("{error:#}"))
    }
}

/// Chooses the exit code of an error at the place that knows it.
pub trait OrCode<T> {
    /// The value, or a [`Failure`] with this code and the error's text as its reason.
    fn or_code(self, code: Code) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> OrCode<T> for Result<T, E> {
    fn or_code(self, code: Code) -> Result<T, Failure> {
        self.map_err(|error| Failure { code, ..error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_becomes_a_generic_failure_with_its_whole_chain() {
        fn fails() -> Result<(), Failure> {
            let error = anyhow::anyhow!("no such file").context("reading /x");
            Err(error)?;
            Ok(())
        }
        let failure = fails().unwrap_err();
        assert_eq!((failure.code, failure.reason.as_str()), (Code::Generic, "reading /x: no such file"));
    }

    #[test]
    fn a_missing_tool_is_known_for_what_it_is() {
        fn fails() -> Result<(), Failure> {
            process::Tool::new("no-such-tool-of-any-kind").run(std::time::Instant::now())?;
            Ok(())
        }
        let failure = fails().unwrap_err();
        assert_eq!(failure.code, Code::Installed, "{}", failure.reason);
    }

    #[test]
    fn or_code_keeps_the_reason() {
        let failure =
            Err::<(), _>(anyhow::anyhow!("drbdadm is missing")).or_code(Code::Installed).unwrap_err();
        assert_eq!((failure.code as u8, failure.reason.as_str()), (5, "drbdadm is missing"));
    }
}
