//! Where something stands in a configuration, and what is wrong there.

use std::fmt;
use std::sync::Arc;

/// A line of a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// The file, as it was named to the parser or by `config`.
    pub file: Arc<str>,
    /// From 1. (csync2 itself counts the lines of included files as well, so its "Near line N" is another number.)
    pub line: u32,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// csync2 takes it, but hardly as it was meant.
    Warning,
    /// csync2 refuses the configuration.
    Error,
}

/// Something wrong in a configuration: where, and what, in words for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: At,
    /// How bad.
    pub severity: Severity,
    /// What was found and what to do.
    pub text: String,
}

impl Problem {
    /// csync2 refuses the configuration.
    #[must_use]
    pub fn error(at: &At, text: impl Into<String>) -> Self {
        Self { at: at.clone(), severity: Severity::Error, text: text.into() }
    }

    /// csync2 takes it, but hardly as it was meant.
    #[must_use]
    pub fn warning(at: &At, text: impl Into<String>) -> Self {
        Self { at: at.clone(), severity: Severity::Warning, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Warning => "warning: ",
            Severity::Error => "",
        };
        write!(f, "{}: {kind}{}", self.at, self.text)
    }
}
