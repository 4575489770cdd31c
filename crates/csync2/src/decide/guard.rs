//! The deletion guard: which includes may be checked now, and which are held back because what is missing looks like an accident.
//!
//! csync2 takes whatever it cannot `lstat` for removed: an include that is not mounted is deleted on all peers, with exit code 0.
//! So every run is preceded by this: the rows of the database that are not on the disk any more are counted for each
//! include, before csync2 looks. Only what is let through is then checked, with `csync2 -cr PATH`: never `-x`, which looks everywhere.
//!
//! The limits count for all includes together, and hold all includes with removals when they are exceeded: else a disaster
//! would pass in slices. What is held back is released by somebody's act only, and no further than what they were shown.

use std::collections::BTreeSet;
use std::fmt;

use crate::Text;
use crate::config::Kind;
use crate::database::{Dirty, File};
use crate::meaning::Meaning;

/// A place on the disk where included files are, and nothing above it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The path on this host, without wildcards.
    pub path: Text,
    /// What csync2 calls it: the path, and a name for every prefix that it lies in.
    pub names: Vec<Text>,
    /// The groups that include something there.
    pub groups: Vec<Text>,
}

/// The includes of this host, as places on its disk: the part of each pattern before its first wildcard. Sorted by path.
#[must_use]
pub fn roots(meaning: &Meaning<'_>) -> Vec<Root> {
    let mut roots: Vec<Root> = Vec::new();
    for membership in meaning.memberships() {
        let group = membership.group;
        for pattern in group.patterns.iter().filter(|pattern| pattern.kind == Kind::Include) {
            if !matches!(pattern.text.bytes().first(), Some(b'/' | b'%')) {
                continue;
            }
            let Some(path) = meaning.path(&fixed_part(&pattern.text)) else { continue };
            let place = roots.iter().position(|root| root.path == path);
            let place = place.unwrap_or_else(|| {
                roots.push(Root { names: meaning.names(&path), path, groups: Vec::new() });
                roots.len() - 1
            });
            if let Some(root) = roots.get_mut(place)
                && !root.groups.contains(&group.name)
            {
                root.groups.push(group.name.clone());
            }
        }
    }
    roots.sort_by(|one, other| one.path.cmp(&other.path));
    roots
}

/// The directories of a pattern before the first that has a wildcard.
fn fixed_part(pattern: &Text) -> Text {
    let bytes = pattern.bytes();
    let Some(wildcard) = bytes.iter().position(|byte| b"*?[\\".contains(byte)) else {
        return pattern.clone();
    };
    let before = bytes.get(..wildcard).unwrap_or_default();
    let slash = before.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let directory = before.get(..slash).unwrap_or_default();
    if directory.is_empty() { Text::from("/") } else { Text::from(directory) }
}

/// What is on the disk where a file is expected, seen as csync2 sees it: a file below a symbolic link is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is there.
    There,
    /// It is not.
    Gone,
    /// That cannot be told: in the system's words. csync2 would take it for removed.
    Unclear(Text),
}

/// How a root was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is not there.
    Missing,
    /// That cannot be told: in the system's words.
    Unclear(Text),
    /// It is there.
    There {
        /// It is a directory with nothing in it.
        empty: bool,
        /// What its file system is: whatever tells it from another and outlives a reboot.
        volume: Option<Text>,
        /// What is in its marker file.
        marker: Option<Text>,
    },
}

/// What a root was like when all was well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// [`Seen::There::volume`]; not compared if it was not recorded.
    pub volume: Option<Text>,
    /// [`Seen::There::marker`]; not compared if it was not recorded.
    pub marker: Option<Text>,
}

/// How much may go without anybody's act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many files and directories at once, over all roots.
    pub max_delete: u64,
    /// So much of what is known below a root, in percent. 100 means no such limit.
    pub max_delete_percent: u8,
    /// So many are not held back for the percentage, which means nothing in a small directory; but for 0 percent.
    pub few: u64,
}

/// Somebody's act: what is held back below this root may go. Used up by the run that it lets through. It does not stand for another
/// file system or marker: those are accepted by recording them ([`Known`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// [`Root::path`].
    pub root: Text,
    /// As long as it is no more than this: what they were shown.
    pub at_most: u64,
}

/// What is decided on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The rows of `file`.
    pub files: &'a [File],
    /// The rows of `dirty`: a removal that was noticed already stands only here, and the next `-u` carries it out. Without those
    /// that an earlier decision has let through: they wait for a peer, and would count again and again.
    pub dirty: &'a [Dirty],
    /// The includes ([`roots`]), each with how it was found and what it was like.
    pub roots: &'a [(Root, Seen, Known)],
    /// The limits.
    pub limits: Limits,
    /// What was released.
    pub releases: &'a [Release],
}

/// Why a root is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// It is not there, and something in it is known.
    Missing,
    /// Nothing is in it, and something was.
    Empty,
    /// It is on another file system than it was.
    OtherVolume {
        /// The one it was on.
        known: Text,
        /// The one it is on.
        seen: Option<Text>,
    },
    /// Its marker is another, or gone.
    OtherMarker {
        /// What it was.
        known: Text,
        /// What it is.
        seen: Option<Text>,
    },
    /// It, or something in it, cannot be looked at. This is never released: it has to be put right.
    Unclear {
        /// What.
        name: Text,
        /// In the system's words.
        why: Text,
    },
    /// More is gone, over all roots, than [`Limits::max_delete`].
    TooMany {
        /// How much, over all roots that are not released.
        gone: u64,
        /// The limit.
        limit: u64,
    },
    /// More of it is gone than [`Limits::max_delete_percent`].
    TooMuch {
        /// The limit.
        percent: u8,
    },
    /// Checking it would check this one, which is held back.
    Below {
        /// Its path.
        root: Text,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &Option<Text>| text.as_ref().map_or("none".to_owned(), Text::to_string);
        match self {
            Self::Missing => write!(f, "it is missing: mount it, or make it"),
            Self::Empty => write!(f, "it is empty: mount it, or bring back what was in it"),
            Self::OtherVolume { known, seen } => {
                write!(
                    f,
                    "it is on another file system ({}) than before ({known}): mount the right one",
                    or_none(seen)
                )
            }
            Self::OtherMarker { known, seen } => {
                write!(f, "its marker is {} and was {known}: mount the right file system", or_none(seen))
            }
            Self::Unclear { name, why } => write!(f, "{name} cannot be looked at ({why})"),
            Self::TooMany { gone, limit } => {
                write!(f, "{gone} removals over all includes are more than {limit}")
            }
            Self::TooMuch { percent } => write!(f, "more than {percent} percent of it are gone"),
            Self::Below { root } => write!(f, "{root} in it is held back"),
        }
    }
}

/// What is decided about a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The root.
    pub root: Root,
    /// How many rows of `file` are below it.
    pub known: u64,
    /// How many files and directories below it are gone, noticed or not.
    pub gone: u64,
    /// The first of them.
    pub first: Option<Text>,
    /// Why nothing below it may be checked or removed; `None`: it may.
    pub held: Option<Held>,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.root.path;
        match &self.held {
            None => write!(f, "{path} may be checked: {} of {} are gone", self.gone, self.known),
            Some(held) => {
                let groups: Vec<String> = self.root.groups.iter().map(Text::to_string).collect();
                write!(
                    f,
                    "{path} of {} is held back: {held}; {} of {} are gone",
                    groups.join(" "),
                    self.gone,
                    self.known
                )?;
                if let Some(first) = &self.first {
                    write!(f, ", {first} first")?;
                }
                Ok(())
            }
        }
    }
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// About each root, in the order in which they were given.
    pub decisions: Vec<Decision>,
    /// Everything that is gone, below whichever root, in order.
    pub gone: BTreeSet<Text>,
    /// Everything that could not be looked at.
    pub unclear: BTreeSet<Text>,
}

impl Guard {
    /// The paths that may be checked with `csync2 -cr`.
    pub fn checked(&self) -> impl Iterator<Item = &Text> {
        self.decisions.iter().filter(|decision| decision.held.is_none()).map(|decision| &decision.root.path)
    }

    /// What is held back.
    pub fn held(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| decision.held.is_some())
    }

    /// May this name be pushed (`csync2 -u FILE`)? Not if it is gone and below a root that is held back, or below none; and not
    /// if what is there now may be another file system's.
    #[must_use]
    pub fn may_push(&self, name: &Text) -> bool {
        // csync2 would take it for removed.
        if self.unclear.contains(name) {
            return false;
        }
        let mut below = self.decisions.iter().filter(|decision| decision.root.has(name)).peekable();
        if below.peek().is_none() {
            return !self.gone.contains(name);
        }
        below.all(|decision| match &decision.held {
            None => true,
            Some(Held::OtherVolume { .. } | Held::OtherMarker { .. } | Held::Missing) => false,
            // What is held back for what lies deeper in it does not hold this.
            Some(Held::Below { .. }) => true,
            Some(_) => !self.gone.contains(name),
        })
    }

    /// May everything that is marked be pushed at once (`csync2 -u`)?
    #[must_use]
    pub fn may_push_all(&self, dirty: &[Dirty]) -> bool {
        dirty.iter().all(|row| self.may_push(&row.name))
    }
}

impl Root {
    /// Is the name the root, or below it?
    #[must_use]
    pub fn has(&self, name: &Text) -> bool {
        self.names.iter().any(|root| is_below(name.bytes(), root.bytes()))
    }
}

fn is_below(name: &[u8], directory: &[u8]) -> bool {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    name.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

/// What of a root was counted.
#[derive(Default)]
struct Count {
    known: u64,
    gone: BTreeSet<Text>,
    unclear: Option<(Text, Text)>,
    /// The root itself is known as something that is no directory.
    is_file: bool,
}

/// Decides. `look` says what is on the disk under a name, and is asked once about each; `synced` says whether some group of
/// this host has the name ([`Meaning::groups_of`]): csync2 leaves other rows alone.
pub fn guard(
    input: &Input<'_>,
    look: &mut dyn FnMut(&Text) -> Look,
    synced: &dyn Fn(&Text) -> bool,
) -> Guard {
    let mut counts: Vec<Count> = input.roots.iter().map(|_| Count::default()).collect();
    let (mut gone, mut unclear) = (BTreeSet::new(), BTreeSet::new());
    let mut asked: BTreeSet<&Text> = BTreeSet::new();
    let noticed: BTreeSet<&Text> = input.dirty.iter().map(|row| &row.name).collect();
    let rows = input.files.iter().map(|file| (&file.name, Some(file)));
    let marked = input.dirty.iter().map(|row| (&row.name, None));
    for (name, row) in rows.chain(marked) {
        if !asked.insert(name) {
            continue;
        }
        let mut below: Vec<&mut Count> = input
            .roots
            .iter()
            .zip(&mut counts)
            .filter(|((root, _, _), _)| root.has(name))
            .map(|((root, _, _), count)| {
                count.known += u64::from(row.is_some());
                count.is_file |= row.is_some_and(|row| !row.is_directory()) && root.names.contains(name);
                count
            })
            .collect();
        match look(name) {
            Look::There => {}
            // A row that no group has is not looked at by csync2. What was noticed counts in any case.
            Look::Gone if noticed.contains(name) || synced(name) => {
                gone.insert(name.clone());
                below.iter_mut().for_each(|count| {
                    count.gone.insert(name.clone());
                });
            }
            Look::Gone => {}
            Look::Unclear(why) => {
                unclear.insert(name.clone());
                below.iter_mut().for_each(|count| {
                    count.unclear.get_or_insert_with(|| (name.clone(), why.clone()));
                });
            }
        }
    }
    let decisions = decide(input, &counts, &gone);
    Guard { decisions, gone, unclear }
}

fn decide(input: &Input<'_>, counts: &[Count], gone: &BTreeSet<Text>) -> Vec<Decision> {
    let number = |names: &BTreeSet<Text>| u64::try_from(names.len()).unwrap_or(u64::MAX);
    let released = |root: &Root, count: &Count| {
        input
            .releases
            .iter()
            .any(|release| release.root == root.path && number(&count.gone) <= release.at_most)
    };
    // What was released does not use up the limit for the rest.
    let mut counted = gone.clone();
    for ((root, _, _), count) in input.roots.iter().zip(counts) {
        if released(root, count) {
            counted.retain(|name| !count.gone.contains(name));
        }
    }
    let total = number(&counted);
    let mut decisions: Vec<Decision> = Vec::new();
    for ((root, seen, known), count) in input.roots.iter().zip(counts) {
        let unclear = match (seen, &count.unclear) {
            (Seen::Unclear(why), _) => Some((root.path.clone(), why.clone())),
            (_, found) => found.clone(),
        };
        let held = if let Some((name, why)) = unclear {
            Some(Held::Unclear { name, why })
        } else if let Some(other) = identity(seen, known) {
            Some(other)
        } else if released(root, count) {
            None
        } else {
            presence(seen, count).or_else(|| limits(input.limits, count, total))
        };
        decisions.push(Decision {
            root: root.clone(),
            known: count.known,
            gone: number(&count.gone),
            first: count.gone.first().cloned(),
            held,
        });
    }
    hold_above(&mut decisions);
    decisions
}

/// Is it what it was?
fn identity(seen: &Seen, known: &Known) -> Option<Held> {
    let Seen::There { volume, marker, .. } = seen else { return None };
    if let Some(known) = known.volume.as_ref().filter(|known| volume.as_ref() != Some(known)) {
        return Some(Held::OtherVolume { known: known.clone(), seen: volume.clone() });
    }
    let known = known.marker.as_ref().filter(|known| marker.as_ref() != Some(known))?;
    Some(Held::OtherMarker { known: known.clone(), seen: marker.clone() })
}

/// Is it there, with something in it?
fn presence(seen: &Seen, count: &Count) -> Option<Held> {
    if count.gone.is_empty() {
        return None;
    }
    match seen {
        // A single file that is gone is a removal like any other.
        Seen::Missing if count.is_file && count.known <= 1 => None,
        Seen::Missing | Seen::Unclear(_) => Some(Held::Missing),
        Seen::There { empty, .. } => empty.then_some(Held::Empty),
    }
}

/// What is gone of it.
fn limits(limits: Limits, count: &Count, total: u64) -> Option<Held> {
    let gone = u64::try_from(count.gone.len()).unwrap_or(u64::MAX);
    if gone == 0 {
        return None;
    }
    if total > limits.max_delete {
        return Some(Held::TooMany { gone: total, limit: limits.max_delete });
    }
    let percent = limits.max_delete_percent.min(100);
    if gone <= limits.few && percent > 0 {
        return None;
    }
    // Of what was known before the first of it was noticed.
    let known = u128::from(count.known.max(gone));
    (u128::from(gone) * 100 > known * u128::from(percent)).then_some(Held::TooMuch { percent })
}

/// A root that others lie in is checked with them.
fn hold_above(decisions: &mut [Decision]) {
    let held: Vec<Text> = decisions
        .iter()
        .filter(|decision| decision.held.is_some())
        .map(|decision| decision.root.path.clone())
        .collect();
    for decision in decisions.iter_mut().filter(|decision| decision.held.is_none()) {
        let own = &decision.root.path;
        let inner = held.iter().find(|path| *path != own && is_below(path.bytes(), own.bytes()));
        decision.held = inner.map(|root| Held::Below { root: root.clone() });
    }
}
