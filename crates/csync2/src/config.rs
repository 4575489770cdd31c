//! `csync2.cfg`: the whole grammar of csync2 2.0, as a tree in which every node knows its file and line.
//!
//! What csync2 accepts is accepted and what it refuses is refused (`tests/grammar.rs` asks both about the same files), but where csync2 stops
//! at "Near line 4: syntax error" this finds everything at once. Two things are refused that csync2 would take: a NUL
//! byte, and more than a thousand inclusions. What depends on the machine is not looked at here: key files are
//! [`crate::key::key`]'s, membership of a host is [`crate::meaning`]'s.

mod lexer;
mod parser;
mod print;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::{At, Problem, Severity, Text};

/// A word of the file: what it says, without its quotes, and where it stands.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Word {
    /// What it says.
    pub text: Text,
    /// Where.
    pub at: At,
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.text, self.at)
    }
}

/// A whole configuration, with what `config` included in its place. Statements that csync2 keeps in an order are in the
/// order of the file; of those that it keeps once, the one that counts is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `group`. csync2 asks them from the last to the first.
    pub groups: Vec<Group>,
    /// `prefix`. csync2 asks them from the last to the first.
    pub prefixes: Vec<Prefix>,
    /// `nossl`. Any of them counts.
    pub nossl: Vec<NoSsl>,
    /// `database`: the first one counts (and `-D` before it).
    pub database: Option<Word>,
    /// `tempdir`: the last one counts.
    pub tempdir: Option<Word>,
    /// `lock-timeout`, in seconds: the last one counts; 12 without.
    pub lock_timeout: Option<Number>,
    /// `ignore uid`, where it was said.
    pub ignore_uid: Option<At>,
    /// `ignore gid`.
    pub ignore_gid: Option<At>,
    /// `ignore mod`.
    pub ignore_mod: Option<At>,
    /// Every file that was read, the configuration itself first, each once.
    pub files: Vec<Arc<str>>,
}

/// A number, read as C's `atoi` does: what is none counts as 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its value.
    pub value: i32,
    /// Where.
    pub at: At,
}

/// `group NAME { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name; csync2 calls nameless ones `group_1`, `group_2`, …
    pub name: Text,
    /// Where it begins.
    pub at: At,
    /// `host`, in the order of the file (`auto left` goes by it).
    pub hosts: Vec<Host>,
    /// `include`, `exclude`, `compare`, in the order of the file: the last one that matches decides.
    pub patterns: Vec<Pattern>,
    /// `key`: a file, relative to the directory of the configuration. Never missing in what csync2 accepts.
    pub key: Option<Word>,
    /// `auto`.
    pub auto: Option<(Auto, At)>,
    /// `backup-directory`: the last one counts.
    pub backup_directory: Option<Word>,
    /// `backup-generations`: the last one counts; 3 without. Below 2 nothing is kept.
    pub backup_generations: Option<Number>,
    /// `action`.
    pub actions: Vec<Action>,
}

/// A host of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name that the host itself goes by (`hostname` or `-N`), in small letters.
    pub name: Text,
    /// The name that its peers connect to and know it by: what follows the `@`, else the same.
    pub address: Text,
    /// In parentheses: it takes, and is not taken from.
    pub slave: bool,
    /// Where.
    pub at: At,
}

/// What a pattern does to what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Synchronised.
    Include,
    /// Not synchronised.
    Exclude,
    /// Only listed by `-o` and shown by `-TT`.
    Compare,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
            Self::Compare => "compare",
        })
    }
}

/// A pattern of a group, without slashes at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What it does.
    pub kind: Kind,
    /// The pattern: of paths if it begins with `/` or `%`, else of the last component.
    pub text: Text,
    /// Where.
    pub at: At,
}

/// How csync2 itself settles a conflict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Auto {
    /// Not at all.
    #[default]
    None,
    /// Who comes first wins.
    First,
    /// The later modification time wins.
    Younger,
    /// The earlier modification time wins.
    Older,
    /// The larger file wins.
    Bigger,
    /// The smaller file wins.
    Smaller,
    /// The host further to the left in the list wins.
    Left,
    /// The host further to the right in the list wins.
    Right,
}

impl Auto {
    /// Every method with its word in the configuration.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::None, "none"),
        (Self::First, "first"),
        (Self::Younger, "younger"),
        (Self::Older, "older"),
        (Self::Bigger, "bigger"),
        (Self::Smaller, "smaller"),
        (Self::Left, "left"),
        (Self::Right, "right"),
    ];
}

impl fmt::Display for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(method, _)| method == self).map_or("none", |(_, word)| word);
        f.write_str(word)
    }
}

/// `action { … }`: commands to run when a file that matches was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Where it begins.
    pub at: At,
    /// `pattern`; without any, every file of the group.
    pub patterns: Vec<Word>,
    /// `exec`; `%%` in it stands for the files.
    pub commands: Vec<Word>,
    /// `logfile`: the last one counts; `/dev/null` without.
    pub logfile: Option<Word>,
    /// Where it runs.
    pub runs: Runs,
}

/// Where an action runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Runs {
    /// Where a change is received.
    #[default]
    Receiving,
    /// `do-local`: where a change is received, and where it was noticed.
    Both,
    /// `do-local-only`: where it was noticed.
    Noticing,
}

/// `prefix NAME { on HOSTS: PATH; … }`: where `%NAME%` in patterns is, on which host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Its name.
    pub name: Word,
    /// `on`: the first one whose pattern matches the host counts.
    pub places: Vec<PrefixPlace>,
}

/// `on HOSTS: PATH;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixPlace {
    /// A pattern of host names.
    pub hosts: Word,
    /// An absolute path, without slashes at its end.
    pub path: Word,
}

/// `nossl FROM TO;`: two patterns of host names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSsl {
    /// Of this host.
    pub from: Word,
    /// Of the peer.
    pub to: Word,
}

/// What parsing gave: a tree of all that could be understood, and everything that is wrong.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The tree. Whole if there is no error.
    pub config: Config,
    /// In the order in which they were found.
    pub problems: Vec<Problem>,
}

impl Parsed {
    /// Would csync2 take it, if its key files are good?
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.errors().next().is_none()
    }

    /// What csync2 would refuse.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// What csync2 would take, hardly as it was meant.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Warning)
    }
}

/// Parses the configuration `path`. `read` gives the contents of a file, this one and those it includes, or says why it
/// cannot; relative names are csync2's own: relative to the directory it is started in.
pub fn parse(path: &Text, read: &mut dyn FnMut(&Text) -> Result<Vec<u8>, String>) -> Parsed {
    let lexed = lexer::lex(path, read);
    let (config, problems) = parser::parse(lexed);
    Parsed { config, problems }
}
