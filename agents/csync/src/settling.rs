//! How nodes that have changed the same file come to the same decision: each tells its versions in a node attribute, reads the other's, and decides
//! by the same facts ([`csync2::decide::settle`]).

use crate::look;
use csync2::Text;
use csync2::database::{decode, encode};
use csync2::decide::{Conflict, Descent, Version};
use csync2::meaning::Meaning;
use std::collections::BTreeMap;

/// So many files are told of at once; the others wait until these are settled.
pub(crate) const MOST: usize = 20;

/// So many versions that a file had before are told.
pub(crate) const BEFORE: usize = 5;

/// What a node tells: its name for csync2, whether it is promoted, and its versions of files in conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The node's name for csync2.
    pub(crate) host: Text,
    /// It has the promoted role.
    pub(crate) promoted: bool,
    /// By file, in order.
    pub(crate) versions: BTreeMap<Text, Copy>,
    /// What those files were there before, since all others had them: regular files.
    pub(crate) before: BTreeMap<Text, Vec<Copy>>,
}

/// A node's version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// What is decided by.
    pub(crate) version: Version,
    /// Its size in bytes, if it is there: two changes of one second are told apart.
    pub(crate) size: u64,
}

/// This node's addresses in the configuration, by which its peers know it, as one name with commas: mostly its name alone.
pub(crate) fn own_name(meaning: &Meaning<'_>) -> Text {
    let mut addresses: Vec<&[u8]> =
        meaning.memberships().map(|membership| membership.address.bytes()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Text::from(addresses.join(b",".as_slice()))
}

/// One of the addresses of such a name.
pub(crate) fn an_address(name: &Text) -> Text {
    Text::from(name.bytes().split(|byte| *byte == b',').next().unwrap_or_default())
}

/// Whether a peer's address is one of this name's.
pub(crate) fn is_called(name: &Text, peer: &Text) -> bool {
    name.bytes().split(|byte| *byte == b',').any(|address| address == peer.bytes())
}

/// A name in ASCII, with neither spaces nor `=`: [`decode`] reads it.
pub(crate) fn plain(name: &Text) -> String {
    let letter = |byte: u8| match byte {
        b'=' | 0x80.. => format!("%{byte:02X}"),
        byte => char::from(byte).to_string(),
    };
    encode(name).into_iter().map(letter).collect()
}

impl Told {
    /// As the attribute has it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} {}", plain(&self.host), if self.promoted { "promoted" } else { "-" });
        for (name, Copy { version, size }) in self.versions.iter().take(MOST) {
            let version = match version {
                Version::Removed => "removed".to_owned(),
                Version::Unknown => continue,
                Version::There { directory: true, .. } => "directory".to_owned(),
                Version::There { modified: None, .. } => "there".to_owned(),
                Version::There { modified: Some(time), .. } => format!("{time}/{size}"),
            };
            text.push_str(&format!(" {}={version}", plain(name)));
            for copy in self.before.get(name).into_iter().flatten() {
                if let Version::There { modified: Some(time), directory: false } = copy.version {
                    text.push_str(&format!("<{time}/{}", copy.size));
                }
            }
        }
        text
    }

    /// Reads that; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let host = decode(words.next()?.as_bytes())?;
        let promoted = words.next()? == "promoted";
        let (mut versions, mut before) = (BTreeMap::new(), BTreeMap::new());
        for word in words {
            let (name, told) = word.split_once('=')?;
            let mut told = told.split('<');
            let version = told.next()?;
            let there =
                |modified, directory, size| Copy { version: Version::There { modified, directory }, size };
            let copy = match version.split_once('/') {
                Some((time, size)) => there(Some(time.parse().ok()?), false, size.parse().ok()?),
                None if version == "directory" => there(None, true, 0),
                None if version == "there" => there(None, false, 0),
                None if version == "removed" => Copy { version: Version::Removed, size: 0 },
                None => return None,
            };
            let name = decode(name.as_bytes())?;
            let earlier: Option<Vec<Copy>> = told
                .map(|text| {
                    let (time, size) = text.split_once('/')?;
                    Some(there(Some(time.parse().ok()?), false, size.parse().ok()?))
                })
                .collect();
            let earlier = earlier?;
            if !earlier.is_empty() {
                before.insert(name.clone(), earlier);
            }
            versions.insert(name, copy);
        }
        Some(Told { host, promoted, versions, before })
    }
}

/// The facts of a conflict, from what both have told.
pub(crate) fn conflict(
    name: &Text,
    peer: &Text,
    own: &Told,
    others: &[Told],
    may_push: bool,
    may_pull: bool,
) -> Conflict {
    let version = |told: &Told| told.versions.get(name).map_or(Version::Unknown, |copy| copy.version);
    let other = others.iter().find(|told| is_called(&told.host, peer));
    let promoted = std::iter::once(own).chain(others).find(|told| told.promoted);
    // Who has had the version that the other one has now.
    let had = |told: &Told, now: &Told| {
        let (before, now) = (told.before.get(name), now.versions.get(name));
        before.zip(now).is_some_and(|(before, now)| before.contains(now))
    };
    let descent = match other.map(|other| (had(own, other), had(other, own))) {
        Some((true, false)) => Descent::OwnOnTop,
        Some((false, true)) => Descent::PeerOnTop,
        _ => Descent::Unknown,
    };
    Conflict {
        descent,
        name: name.clone(),
        host: own.host.clone(),
        peer: other.map_or(peer, |told| &told.host).clone(),
        own: version(own),
        other: other.map_or(Version::Unknown, version),
        promoted: promoted.map(|told| told.host.clone()),
        may_push,
        may_pull,
    }
}

/// Files in conflict between two others of which this node, promoted, has a version: that one wins. Not those that both have removed or that
/// this node has not, nor what the others have as it is here by now.
pub(crate) fn of_others(
    own: &Told,
    others: &[Told],
    meaning: &Meaning<'_>,
    wins: &dyn Fn(&Text) -> bool,
) -> Vec<Text> {
    let mut names: Vec<Text> = Vec::new();
    for (name, copy) in others.iter().flat_map(|told| &told.versions) {
        let mine = meaning.groups_of(name).next().is_some() && wins(name) && !own.versions.contains_key(name);
        let here = look::copy(meaning, name);
        // A directory against a file is for people, as between two.
        let there = matches!(
            (here.version, copy.version),
            (Version::There { directory: here, .. }, Version::There { directory: there, .. }) if here == there
        );
        if mine && there && here != *copy && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use csync2::decide::{Policy, Settle, Unsettled, settle};
    use proptest::prelude::*;

    fn there(modified: i64) -> Version {
        Version::There { modified: Some(modified), directory: false }
    }

    fn told(host: &str, promoted: bool, version: Version) -> Told {
        let versions = BTreeMap::from([(Text::from("/f"), Copy { version, size: 7 })]);
        Told { host: Text::from(host), promoted, versions, before: BTreeMap::new() }
    }

    fn with_before(told: Told, before: &[i64]) -> Told {
        let before = before.iter().map(|time| Copy { version: there(*time), size: 7 }).collect();
        Told { before: BTreeMap::from([(Text::from("/f"), before)]), ..told }
    }

    #[test]
    fn what_was_made_on_top_of_the_others_version_is_known() {
        let descent = |own: &Told, other: &Told| {
            conflict(&Text::from("/f"), &other.host, own, std::slice::from_ref(other), true, true).descent
        };
        let one = with_before(told("n1", false, there(5)), &[1, 2]);
        let two = with_before(told("n2", false, there(9)), &[2, 5, 7]);
        assert_eq!((descent(&one, &two), descent(&two, &one)), (Descent::PeerOnTop, Descent::OwnOnTop));
        // Changed since it was passed on.
        let changed = with_before(told("n1", false, there(6)), &[1, 2, 5]);
        assert_eq!((descent(&changed, &two), descent(&two, &changed)), (Descent::Unknown, Descent::Unknown));
        // Each has what the other one had.
        let back = with_before(told("n1", false, there(7)), &[9]);
        assert_eq!((descent(&back, &two), descent(&two, &back)), (Descent::Unknown, Descent::Unknown));
        assert_eq!(descent(&told("n1", false, there(5)), &told("n2", false, there(9))), Descent::Unknown);
        let other_size = Told {
            versions: BTreeMap::from([(Text::from("/f"), Copy { version: there(5), size: 8 })]),
            ..one
        };
        assert_eq!(descent(&two, &other_size), Descent::Unknown);
    }

    #[test]
    fn both_decide_alike_and_at_most_one_forces() {
        let versions = [Version::Removed, Version::Unknown, there(5), there(9)];
        for policy in Policy::ALL.map(|(policy, _)| policy) {
            for (a, b) in versions.iter().flat_map(|a| versions.iter().map(move |b| (*a, *b))) {
                for (first, second) in [(false, false), (true, false), (false, true)] {
                    let (n1, n2) = (told("n1", first, a), told("n2", second, b));
                    let name = Text::from("/f");
                    let one = settle(
                        policy,
                        &conflict(&name, &n2.host, &n1, std::slice::from_ref(&n2), true, true),
                    );
                    let two = settle(
                        policy,
                        &conflict(&name, &n1.host, &n2, std::slice::from_ref(&n1), true, true),
                    );
                    let matches = match one {
                        Settle::ForceOwn => two == Settle::YieldToPeer,
                        Settle::YieldToPeer => two == Settle::ForceOwn,
                        Settle::Agreed => two == Settle::Agreed,
                        Settle::Report(_) => matches!(two, Settle::Report(_)),
                    };
                    assert!(matches, "{policy} {a:?} {b:?}: {one:?} {two:?}");
                }
            }
        }
    }

    #[test]
    fn a_node_is_called_by_its_addresses() {
        let name = Text::from("n1-a,n1-b");
        let called = ["n1-a", "n1-b", "n1", "n1-a,n1-b"].map(|peer| is_called(&name, &Text::from(peer)));
        assert_eq!(called, [true, true, false, false]);
        let own = told("n2", false, there(5));
        let other = Told { host: name.clone(), ..told("", false, there(9)) };
        let found = conflict(&Text::from("/f"), &Text::from("n1-b"), &own, &[other], true, true);
        assert_eq!((found.peer, found.other), (name, there(9)));
    }

    #[test]
    fn nothing_is_decided_before_the_other_has_told() {
        let own = told("n1", true, there(5));
        let alone = conflict(&Text::from("/f"), &Text::from("n2"), &own, &[], true, true);
        assert_eq!(settle(Policy::PromotedWins, &alone), Settle::Report(Unsettled::NotAsked));
    }

    proptest! {
        #[test]
        fn what_is_told_is_read(names in prop::collection::vec(prop::collection::vec(1u8..=255, 1..40), 0..MOST), promoted: bool, time: i64) {
            let kinds = [
                Copy { version: Version::Removed, size: 0 },
                Copy { version: there(time), size: 1 << 40 },
                Copy { version: Version::There { modified: None, directory: true }, size: 0 },
            ];
            let versions: BTreeMap<Text, Copy> = names.into_iter().zip(kinds.into_iter().cycle()).map(|(name, kind)| (Text::from(name), kind)).collect();
            let before = versions.keys().enumerate().filter(|(at, _)| at % 3 > 0);
            let before = before.map(|(at, name)| (name.clone(), vec![Copy { version: there(time), size: 9 }; at % 3])).collect();
            let told = Told { host: Text::from("n=1 x"), promoted, versions, before };
            prop_assert_eq!(Told::parse(&told.text()), Some(told));
        }
    }
}
