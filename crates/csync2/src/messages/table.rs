//! The lists that csync2 prints to its stdout: `-M`, `-L`, `-T`, `-H` and what a dry run (`-d`) would do.
//!
//! A name with line ends is put together again; one with a whole row of such a list after a line end is taken for two: where it
//! matters, the database is read instead ([`crate::database`]).

use std::fmt;

use super::Change;
use crate::Text;
use crate::database::{Checked, Dirty, File, Hint};

/// A row that csync2 does not print in this list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow(Text);

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "csync2 printed a row that is not understood: {}", self.0)
    }
}

impl std::error::Error for BadRow {}

/// Where a file stands, by the databases of both (not by their disks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Differs {
    /// Only this host has it.
    OnlyHere,
    /// Only the peer has it.
    OnlyThere,
    /// They have different versions of it.
    Contents,
}

/// A row of `-T`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file.
    pub name: Text,
    /// What this host calls itself towards the peer.
    pub own: Text,
    /// The peer.
    pub peer: Text,
    /// How they differ.
    pub differs: Differs,
}

/// A row of a dry run. It is not free of effects: what was noticed stays marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The file.
    pub name: Text,
    /// The peer.
    pub peer: Text,
    /// What would be done; nothing if the peer has it already.
    pub change: Option<Change>,
    /// It would be, whatever the peer has (`-f`).
    pub forced: bool,
}

/// Splits off what is before the tab.
fn cell(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let tab = row.iter().position(|byte| *byte == b'\t')?;
    Some((row.get(..tab)?, row.get(tab + 1..)?))
}

fn is_name(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(b'/' | b'%'))
}

/// The rows of a list, each with its name last: what does not begin a row goes on with the name.
fn rows<T>(
    output: &[u8],
    row: impl Fn(&[u8]) -> Option<(T, &[u8])>,
    make: impl Fn(T, Text) -> T,
) -> Result<Vec<T>, BadRow> {
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    let mut all = Vec::new();
    let mut open: Option<(T, Vec<u8>)> = None;
    let mut close = |open: Option<(T, Vec<u8>)>| {
        all.extend(open.map(|(begun, name)| make(begun, Text::from(name))));
    };
    for line in output.split(|byte| *byte == b'\n').filter(|_| !output.is_empty()) {
        match (row(line), &mut open) {
            (Some((begun, name)), _) => close(open.replace((begun, name.to_vec()))),
            (None, Some((_, name))) => {
                name.push(b'\n');
                name.extend_from_slice(line);
            }
            (None, None) => return Err(BadRow(Text::from(line))),
        }
    }
    close(open);
    Ok(all)
}

/// `-M`: what peers have not got.
///
/// # Errors
/// It is not such a list.
pub fn dirty(output: &[u8]) -> Result<Vec<Dirty>, BadRow> {
    let row = |line: &'_ [u8]| -> Option<(Dirty, usize)> {
        let (forced, rest) = cell(line)?;
        let forced = match forced {
            b"force" => true,
            b"chary" => false,
            _ => return None,
        };
        let (own, rest) = cell(rest)?;
        let (peer, name) = cell(rest)?;
        let begun = Dirty { name: Text::default(), forced, own: Text::from(own), peer: Text::from(peer) };
        is_name(name).then_some((begun, line.len() - name.len()))
    };
    rows(output, |line| at(line, row(line)), |begun, name| Dirty { name, ..begun })
}

/// The row, and the rest of the line from there.
fn at<T>(line: &[u8], row: Option<(T, usize)>) -> Option<(T, &[u8])> {
    let (row, start) = row?;
    Some((row, line.get(start..)?))
}

/// `-L` and `-S`: what csync2 knows of, as it last saw it.
///
/// # Errors
/// It is not such a list.
pub fn files(output: &[u8]) -> Result<Vec<File>, BadRow> {
    let row = |line: &'_ [u8]| -> Option<(File, usize)> {
        let (checked, name) = cell(line)?;
        let text = Text::from(checked);
        Checked::parse(&text).ok()?;
        is_name(name).then(|| (File { name: Text::default(), text }, line.len() - name.len()))
    };
    rows(output, |line| at(line, row(line)), |begun, name| File { name, ..begun })
}

/// `-T`: in what the databases of this host and its peers differ.
///
/// # Errors
/// It is not such a list.
pub fn differences(output: &[u8]) -> Result<Vec<Difference>, BadRow> {
    let row = |line: &'_ [u8]| -> Option<(Difference, usize)> {
        let (differs, rest) = cell(line)?;
        let differs = match differs {
            b"L" => Differs::OnlyHere,
            b"R" => Differs::OnlyThere,
            b"X" => Differs::Contents,
            _ => return None,
        };
        let (own, rest) = cell(rest)?;
        let (peer, name) = cell(rest)?;
        let begun =
            Difference { name: Text::default(), own: Text::from(own), peer: Text::from(peer), differs };
        is_name(name).then_some((begun, line.len() - name.len()))
    };
    rows(output, |line| at(line, row(line)), |begun, name| Difference { name, ..begun })
}

/// `-H`: what the next `-c` looks at.
///
/// # Errors
/// It is not such a list.
pub fn hints(output: &[u8]) -> Result<Vec<Hint>, BadRow> {
    let row = |line: &'_ [u8]| -> Option<(Hint, usize)> {
        let (recursive, name) = cell(line)?;
        let recursive = match recursive {
            b"0" => false,
            b"1" => true,
            _ => return None,
        };
        is_name(name).then(|| (Hint { name: Text::default(), recursive }, line.len() - name.len()))
    };
    rows(output, |line| at(line, row(line)), |begun, name| Hint { name, ..begun })
}

/// `-d`: what would be done.
///
/// # Errors
/// It is not such a list.
pub fn planned(output: &[u8]) -> Result<Vec<Planned>, BadRow> {
    let row = |line: &'_ [u8]| -> Option<(Planned, usize)> {
        let (forced, change) = match line.get(..4)? {
            b"?S: " => (false, None),
            b"?M: " => (false, Some(Change::Update)),
            b"?D: " => (false, Some(Change::Remove)),
            b"!M: " => (true, Some(Change::Update)),
            b"!D: " => (true, Some(Change::Remove)),
            _ => return None,
        };
        let rest = line.get(4..)?;
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let (peer, rest) = rest.split_at_checked(space)?;
        let padding = rest.iter().take_while(|byte| **byte == b' ').count();
        let name = rest.get(padding..)?;
        let begun = Planned { name: Text::default(), peer: Text::from(peer), change, forced };
        is_name(name).then_some((begun, line.len() - name.len()))
    };
    rows(output, |line| at(line, row(line)), |begun, name| Planned { name, ..begun })
}
