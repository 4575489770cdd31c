//! Why a pass or push did not succeed.

use crate::ask::Silence;
use ocf::Failure;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a pass or push did not succeed, for an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// What kind.
    pub(crate) kind: Kind,
    /// What was found and what to do.
    pub(crate) text: String,
}

/// The kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// So many deletions are held back; all else was sent.
    Held(u64),
    /// The peer does not answer.
    Unreachable,
    /// The peer does not take it.
    Refused,
    /// The fault is here: nothing was sent.
    Here,
    /// Anything else.
    Failed,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Trouble {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Trouble { kind, text: text.into() }
    }

    pub(crate) fn here(text: impl Into<String>) -> Self {
        Trouble::new(Kind::Here, text)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::new(Kind::Failed, failure.reason)
    }
}

impl From<Silence> for Trouble {
    fn from(silence: Silence) -> Self {
        let kind = match silence {
            Silence::Unreachable(_) => Kind::Unreachable,
            Silence::Refused(_) => Kind::Refused,
            Silence::Nonsense(_) => Kind::Failed,
        };
        Trouble::new(kind, silence.to_string())
    }
}
