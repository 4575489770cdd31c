//! What an agent said, as the exit code that makes Pacemaker do the right thing: the contract of DESIGN 5, pure.

use crate::{Action, Code, Failure, Status};
use std::time::Duration;

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The process's exit code.
    pub(crate) code: u8,
    /// The OCF exit reason.
    pub(crate) reason: Option<String>,
    /// Something for the log only.
    pub(crate) note: Option<String>,
}

impl Outcome {
    pub(crate) fn failed(code: Code, reason: String) -> Self {
        Outcome { code: code as u8, reason: Some(reason), note: None }
    }

    /// The result in a few words, for a person.
    pub(crate) fn summary(&self) -> String {
        let words = match self.code {
            0 => "ok",
            1 => "failed",
            2 => "cannot work on this node",
            3 => "not supported",
            4 => "not permitted",
            5 => "something is missing on this node",
            6 => "wrong parameters",
            7 => "not running",
            8 => "ok, promoted",
            9 => "promoted, and failed",
            190 => "ok, degraded",
            191 => "ok, promoted, degraded",
            _ => "unknown",
        };
        format!("{words} ({})", self.code)
    }
}

/// Applies the rules that hold for all agents.
pub(crate) fn verdict(
    action: Action,
    probe: bool,
    interval: Option<Duration>,
    done: Result<Status, Failure>,
) -> Outcome {
    let failure = match done {
        Ok(status) => {
            // Only a monitor tells states; any other action that came this far has done what was asked.
            let code = if action == Action::Monitor { status.exit_code() } else { 0 };
            let reason = match status {
                Status::DegradedRunning(why) | Status::DegradedPromoted(why) if action == Action::Monitor => {
                    Some(why)
                }
                _ => None,
            };
            return Outcome { code, reason, note: None };
        }
        Err(failure) => failure,
    };
    let recurring = action == Action::Monitor && interval.is_some_and(|interval| !interval.is_zero());
    let code = match (action, failure.code) {
        // A node that is not set up for the resource does not run it: that is all a probe asks.
        (_, Code::Installed | Code::Args) if probe => {
            return Outcome { code: Status::Stopped.exit_code(), reason: None, note: Some(failure.reason) };
        }
        // Wrong parameters would have kept it from starting: by now it is passing trouble of this node.
        (Action::Monitor, Code::Configured) if recurring => Code::Generic,
        // A stop fails in one way: the resource is active still.
        (
            Action::Stop,
            Code::Args | Code::Installed | Code::Configured | Code::NotRunning | Code::FailedPromoted,
        ) => Code::Generic,
        (_, code) => code,
    };
    Outcome::failed(code, failure.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: [Code; 8] = [
        Code::Generic,
        Code::Args,
        Code::Unimplemented,
        Code::Perm,
        Code::Installed,
        Code::Configured,
        Code::NotRunning,
        Code::FailedPromoted,
    ];

    fn failed(action: Action, interval: Option<u64>, code: Code) -> Outcome {
        let probe = action == Action::Monitor && interval == Some(0);
        verdict(action, probe, interval.map(Duration::from_secs), Err(Failure::new(code, "why")))
    }

    #[test]
    fn a_probe_on_a_node_that_is_not_set_up_says_not_running() {
        for code in [Code::Installed, Code::Args] {
            let outcome = failed(Action::Monitor, Some(0), code);
            assert_eq!((outcome.code, outcome.reason, outcome.note.as_deref()), (7, None, Some("why")));
        }
        assert_eq!(failed(Action::Monitor, Some(0), Code::Configured).code, 6);
        assert_eq!(failed(Action::Monitor, None, Code::Installed).code, 5);
    }

    #[test]
    fn a_recurring_monitor_never_bans_the_resource_everywhere() {
        for code in CODES {
            assert_ne!(failed(Action::Monitor, Some(10), code).code, 6);
        }
    }

    #[test]
    fn a_stop_ends_with_0_1_3_or_4() {
        for code in CODES {
            assert!([1, 3, 4].contains(&failed(Action::Stop, None, code).code), "{code:?}");
        }
    }

    #[test]
    fn only_a_monitor_tells_states() {
        let degraded = || Ok(Status::DegradedPromoted("half".into()));
        assert_eq!(verdict(Action::Promote, false, None, degraded()).code, 0);
        let monitor = verdict(Action::Monitor, false, None, degraded());
        assert_eq!((monitor.code, monitor.reason.as_deref()), (191, Some("half")));
        assert_eq!(verdict(Action::Monitor, false, None, Ok(Status::Stopped)).code, 7);
        assert_eq!(verdict(Action::Stop, false, None, Ok(Status::Stopped)).code, 0);
    }
}
