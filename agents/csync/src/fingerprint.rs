//! Whether all nodes have the same configuration and the same keys, without a key ever being shown: each node tells short fingerprints, and compares
//! those of the others with its own. Pure.

use crate::settling::plain;
use csync2::Text;
use csync2::database::decode;
use csync2::key::Key;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The word for the configuration; no group can be called so, it has a space.
const CONFIGURATION: &str = "the configuration";
/// Bytes of a hash that are told: enough to tell two apart, and of a key of 32 letters no help to guess it.
const BYTES: usize = 6;

/// What a node has: the fingerprint of its configuration, and of each group's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprints(BTreeMap<String, String>);

/// What a node tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its name for csync2.
    pub(crate) host: Text,
    /// Which database it has: another text, another database. Empty where it has none yet.
    pub(crate) database: String,
    /// What should be the same everywhere.
    pub(crate) prints: Fingerprints,
}

impl Told {
    /// As the attribute has it: `HOST DATABASE 3f… g1=ab… g2=…`.
    pub(crate) fn text(&self) -> String {
        let database = if self.database.is_empty() { "-" } else { &self.database };
        format!("{} {database} {}", plain(&self.host), self.prints.text())
    }

    /// Reads that; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let host = decode(words.next()?.as_bytes())?;
        let database = words.next().filter(|word| *word != "-").unwrap_or_default().to_owned();
        Some(Told { host, database, prints: Fingerprints::parse(words.next().unwrap_or_default()) })
    }
}

/// A group's name as a word.
fn key_name(group: &Text) -> String {
    group.to_string().replace([' ', '='], "_")
}

fn fingerprint(what: &str, name: &[u8], contents: &[u8]) -> String {
    let mut hasher = Sha256::new();
    for part in [b"bascule csync".as_slice(), what.as_bytes(), name, contents] {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect()
}

impl Fingerprints {
    /// Of a configuration as csync2 reads it (comments and layout do not count), and of the keys of this node's groups.
    pub(crate) fn of<'a>(configuration: &[u8], keys: impl Iterator<Item = (&'a Text, &'a Key)>) -> Self {
        let configuration = (CONFIGURATION.to_owned(), fingerprint("configuration", b"", configuration));
        let key =
            |(group, key): (&Text, &Key)| (key_name(group), fingerprint("key", group.bytes(), key.bytes()));
        Fingerprints(std::iter::once(configuration).chain(keys.map(key)).collect())
    }

    /// As words: `3f… g1=ab… g2=…`.
    fn text(&self) -> String {
        let words =
            self.0.iter().map(
                |(name, print)| {
                    if name == CONFIGURATION { print.clone() } else { format!("{name}={print}") }
                },
            );
        words.collect::<Vec<_>>().join(" ")
    }

    /// Reads that.
    fn parse(text: &str) -> Self {
        let word = |word: &str| match word.split_once('=') {
            Some((name, print)) => (name.to_owned(), print.to_owned()),
            None => (CONFIGURATION.to_owned(), word.to_owned()),
        };
        Fingerprints(text.split_whitespace().map(word).collect())
    }

    /// Whether the other has the same key of a group.
    pub(crate) fn has_same_key(&self, other: &Fingerprints, group: &Text) -> bool {
        let name = key_name(group);
        self.0.get(&name).is_some_and(|own| other.0.get(&name) == Some(own))
    }

    /// What of the other's is not the same, in words.
    pub(crate) fn differences(&self, node: &str, other: &Fingerprints) -> Vec<String> {
        let differs = |(name, own): (&String, &String)| {
            let there = other.0.get(name).filter(|there| *there != own)?;
            let _not_shown = there;
            Some(if name == CONFIGURATION {
                format!("{node} has another csync2.cfg: make them the same")
            } else {
                format!("{node} has another key of the group {name}: copy it from one node to the others")
            })
        };
        self.0.iter().filter_map(differs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use csync2::key::key;

    fn of(configuration: &str, keys: &[(&str, u8)]) -> Fingerprints {
        let keys: Vec<(Text, Key)> =
            keys.iter().map(|(group, letter)| (Text::from(*group), key(&[*letter; 40]).unwrap())).collect();
        Fingerprints::of(configuration.as_bytes(), keys.iter().map(|(group, key)| (group, key)))
    }

    #[test]
    fn what_differs_is_named_and_nothing_is_shown() {
        let own = of("c", &[("g1", b'a'), ("g 2", b'b')]);
        assert_eq!(Fingerprints::parse(&own.text()), own);
        assert!(!own.text().contains("aaaa"));
        assert_eq!(own.differences("n2", &own), [""; 0]);
        // It is in no group of this node's that it does not tell of.
        assert_eq!(own.differences("n2", &of("c", &[("g3", b'x')])), [""; 0]);
        let other = own.differences("n2", &of("d", &[("g1", b'x'), ("g 2", b'b')]));
        assert!(
            other.len() == 2 && other[0].contains("key of the group g1") && other[1].contains("csync2.cfg"),
            "{other:?}"
        );
        assert_eq!(own.differences("n2", &Fingerprints::parse("")), [""; 0]);
    }

    #[test]
    fn what_a_node_tells_is_read() {
        let prints = of("c", &[("g1", b'a')]);
        for (host, database) in [("n1", "12.34"), ("n 1=", "")] {
            let told = Told { host: Text::from(host), database: database.to_owned(), prints: prints.clone() };
            assert_eq!(Told::parse(&told.text()), Some(told));
        }
        assert!(prints.has_same_key(&of("d", &[("g1", b'a')]), &Text::from("g1")));
        assert!(!prints.has_same_key(&of("c", &[("g1", b'b')]), &Text::from("g1")));
        assert!(!prints.has_same_key(&of("c", &[]), &Text::from("g1")));
        assert!(!prints.has_same_key(&prints, &Text::from("g2")));
    }

    #[test]
    fn the_same_key_has_another_fingerprint_in_another_group() {
        let prints = of("c", &[("g1", b'a'), ("g2", b'a')]);
        let words: Vec<String> = prints.text().split(' ').map(str::to_owned).collect();
        assert_ne!(words[0].trim_start_matches("g1="), words[1].trim_start_matches("g2="));
    }
}
