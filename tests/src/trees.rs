//! Trees of files on a node: made, hostile and special ones too, and compared as a whole, with what differs in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::node::Node;

const TREES: &str = include_str!("scripts/trees.py");
const SNAPSHOT: &str = include_str!("scripts/snapshot.py");
/// The bound of making or reading a tree.
const BOUND: Duration = Duration::from_secs(120);
/// How many differences are shown.
const SHOWN: usize = 20;

/// A kind of tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// So many small files, a hundred in each directory.
    Plain(u32),
    /// Names that a shell, Lua, a configuration file or a file list could take for something else.
    Hostile,
    /// Links of both kinds (out of the tree, too), devices, a fifo, sparse files, owners, modes, times.
    Special,
}

/// Makes a tree in a directory of a node, which is made if it is not there.
///
/// # Panics
/// If it cannot be made.
#[track_caller]
pub fn make(node: &Node<'_>, directory: &str, kind: Kind) {
    let arguments = match kind {
        Kind::Plain(count) => format!("plain {count}"),
        Kind::Hostile => "hostile".to_owned(),
        Kind::Special => "special".to_owned(),
    };
    python(node, TREES, &format!("{} {arguments}", quoted(directory)));
}

/// All that is in a tree at one moment: names, and for each what a mirror has to keep of it (kind, content, size, mode, owner,
/// time, which names are hard links of one file). The agent's own directory `.bascule` is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By name, with the escapes of Python for what is not printable ASCII; `.` is the tree itself.
    pub entries: BTreeMap<String, String>,
}

impl Snapshot {
    /// Of the tree in this directory of a node.
    ///
    /// # Panics
    /// If it cannot be read.
    #[track_caller]
    #[must_use]
    pub fn take(node: &Node<'_>, directory: &str) -> Self {
        Self::read(&python(node, SNAPSHOT, &quoted(directory)))
    }

    fn read(text: &str) -> Self {
        let entries = text.lines().filter_map(|line| line.split_once('\t'));
        Self { entries: entries.map(|(name, what)| (name.to_owned(), what.to_owned())).collect() }
    }

    /// Whether there is an entry of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// What is different in `other`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Differences {
        let missing = self.entries.iter().filter(|(name, _)| !other.has(name));
        let mut lines: Vec<String> = missing.map(|(name, what)| format!("- {name}: {what}")).collect();
        for (name, theirs) in &other.entries {
            match self.entries.get(name) {
                None => lines.push(format!("+ {name}: {theirs}")),
                Some(ours) if ours != theirs => lines.push(format!("! {name}: {ours}\n  {name}: {theirs}")),
                Some(_) => {}
            }
        }
        Differences { lines, entries: (self.entries.len(), other.entries.len()) }
    }

    /// Fails unless `other` is the same.
    ///
    /// # Panics
    /// If it is not, with what differs.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        let differences = self.compare(other);
        assert!(differences.none(), "{what}: {differences}");
    }
}

/// What is different in a second tree: `-` lacks, `+` has more, `!` has otherwise (its own in the line after).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differences {
    lines: Vec<String>,
    entries: (usize, usize),
}

impl Differences {
    /// Whether there are none.
    #[must_use]
    pub fn none(&self) -> bool {
        self.lines.is_empty()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, theirs) = self.entries;
        writeln!(f, "{} differences between {ours} and {theirs} entries", self.lines.len())?;
        self.lines.iter().take(SHOWN).try_for_each(|line| writeln!(f, "{line}"))?;
        if self.lines.len() > SHOWN { writeln!(f, "…") } else { Ok(()) }
    }
}

/// A word of a shell command.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[track_caller]
fn python(node: &Node<'_>, script: &str, arguments: &str) -> String {
    let command = format!("python3 - {arguments} <<'END_OF_SCRIPT'\n{script}END_OF_SCRIPT");
    let output = node.sh_within(&command, BOUND);
    if !output.ok() {
        node.lab().fail(&format!("{}: python3 {arguments}: {}", node.name(), output.stderr));
    }
    output.stdout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_in_words() {
        let first = Snapshot::read("a\tfile, 1\nb\tfile, 2\nc\\n\tfifo\n");
        let second = Snapshot::read("a\tfile, 1\nb\tfile, 3\nd\tfifo\n");
        first.assert_same(&first.clone(), "the same");
        let differences = first.compare(&second);
        assert!(!differences.none());
        let text =
            "3 differences between 3 and 3 entries\n- c\\n: fifo\n! b: file, 2\n  b: file, 3\n+ d: fifo\n";
        assert_eq!(differences.to_string(), text);
    }

    #[test]
    fn a_word_for_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
