//! Nodes that differ though nothing waits to be sent. csync2 may forget a change that is made while it replaces that very file, or while it sends it,
//! and then finds it never again. So in full rounds each node that has nothing waiting tells a sum of what it knows, for each group; where
//! two of these stay different, their databases are compared, and what differs is a conflict like others.

use super::Worker;
use crate::settling::is_called;
use crate::standing;
use csync2::Text;
use csync2::database::{File, decode, encode};
use csync2::meaning::Meaning;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// For so long two nodes have to be different: one may not have looked yet, or not be known to have.
const PATIENCE: Duration = Duration::from_secs(3);
/// So much of a sum is told.
const BYTES: usize = 8;
/// How csync2 writes that a file is a socket: it sends none.
const SOCKET: &[u8] = b":type=sock";

/// A node's name for csync2, and a sum for each group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    host: Text,
    groups: BTreeMap<Text, String>,
}

impl Sums {
    /// Of what the database has.
    pub(super) fn of(host: &Text, files: &[File], meaning: &Meaning<'_>) -> Self {
        let mut rows: Vec<&File> = files.iter().filter(|file| !file.text.bytes().ends_with(SOCKET)).collect();
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        let mut groups: BTreeMap<Text, Sha256> = BTreeMap::new();
        for membership in meaning.memberships() {
            groups.insert(membership.group.name.clone(), Sha256::new());
        }
        for row in rows {
            for group in meaning.groups_of(&row.name) {
                let sum = groups.entry(group.group.name.clone()).or_default();
                sum.update(row.name.bytes());
                sum.update([0]);
                sum.update(row.text.bytes());
                sum.update([0]);
            }
        }
        let shown =
            |sum: Sha256| sum.finalize().iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect();
        Sums {
            host: host.clone(),
            groups: groups.into_iter().map(|(group, sum)| (group, shown(sum))).collect(),
        }
    }

    /// As the attribute has it.
    fn text(&self) -> String {
        let word = |text: &Text| String::from_utf8_lossy(&encode(text)).replace('=', "%3D");
        let groups = self.groups.iter().map(|(group, sum)| format!(" {}={sum}", word(group)));
        format!("{}{}", word(&self.host), groups.collect::<String>())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let host = decode(words.next()?.as_bytes())?;
        let group = |word: &str| {
            let (group, sum) = word.split_once('=')?;
            Some((decode(group.as_bytes())?, sum.to_owned()))
        };
        Some(Sums { host, groups: words.map(group).collect::<Option<_>>()? })
    }

    /// Whether a group that both are in is not the same.
    fn differs(&self, other: &Sums) -> bool {
        self.groups.iter().any(|(group, sum)| other.groups.get(group).is_some_and(|theirs| theirs != sum))
    }
}

impl Worker {
    /// Whether nothing waits, nothing is under way, and nothing is amiss.
    pub(super) fn is_quiet(&self) -> bool {
        self.memory.dirty == 0
            && self.memory.held.is_empty()
            && self.memory.conflicts().is_empty()
            && self.peers.values().all(|peer| !peer.busy && peer.trouble.is_none())
    }

    /// In each round: as soon as something waits, the sums say nothing any more.
    pub(super) fn withdraw_sums(&mut self) {
        if !self.is_quiet() {
            self.unlike.clear();
            let attribute = format!("csync-{}-files", self.settings.resource);
            let _told_again = standing::cluster(&self.place).attribute_clear(&attribute);
        }
    }

    /// Tells the own sums, and finds the peers whose sums stay different from them.
    pub(super) fn look_for_drift(&mut self, sums: &Sums) {
        let attribute = format!("csync-{}-files", self.settings.resource);
        let cluster = standing::cluster(&self.place);
        let _told_again = cluster.attribute_set(&attribute, &sums.text());
        let Ok(all) = cluster.attribute_everywhere(&attribute) else { return };
        let others = all.iter().filter_map(|(_, text)| Sums::parse(text));
        let now = Instant::now();
        let since = |other: &Sums| {
            let before = self.unlike.iter().find(|(own, theirs, _)| own == sums && theirs == other);
            before.map_or(now, |(_, _, since)| *since)
        };
        let unlike: Vec<(Sums, Sums, Instant)> = others
            .filter(|other| other.host != sums.host && sums.differs(other))
            .map(|other| (sums.clone(), other.clone(), since(&other)))
            .collect();
        let lasting = unlike.iter().filter(|(_, _, since)| now.duration_since(*since) >= PATIENCE);
        let lasting: Vec<Text> = lasting.map(|(_, other, _)| other.host.clone()).collect();
        let is_lasting = |peer: &&Text| lasting.iter().any(|host| is_called(host, peer));
        let lasting: BTreeSet<Text> = self.peers.keys().filter(is_lasting).cloned().collect();
        self.unlike = unlike;
        for peer in &lasting {
            self.log.warning(format_args!(
                "{peer} has other files, and nothing waits to be sent: csync2 has missed a change; both are compared"
            ));
        }
        self.anew.extend(lasting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use csync2::config;

    #[test]
    fn sums_tell_whether_groups_in_common_are_the_same() {
        let configuration = "group g { host n1 n2 n3; key k; include /srv; } group h=1 { host n1 n2; key k; include /etc/h; }";
        let parsed = config::parse(&Text::from("c"), &mut |_| Ok(configuration.as_bytes().to_vec()));
        let meaning = Meaning::new(&parsed.config, &Text::from("n1"));
        let row = |name: &str, text: &str| File { name: Text::from(name), text: Text::from(text) };
        let sums = |host: &str, rows: &[File]| Sums::of(&Text::from(host), rows, &meaning);
        let (a, b) = (row("/srv/a", "v1:mtime=1"), row("/srv/b", "v1:mtime=2"));
        let own = sums("n1", &[a.clone(), b.clone()]);
        assert!(!own.differs(&sums("n2", &[b.clone(), a.clone()])), "the order is of no matter");
        assert!(own.differs(&sums("n2", std::slice::from_ref(&a))));
        assert!(own.differs(&sums("n2", &[a.clone(), row("/srv/b", "v1:mtime=3")])));
        let socket = row("/srv/s", "v1:mtime=1:mode=1:uid=0:gid=0:type=sock");
        assert!(!own.differs(&sums("n2", &[a, b, socket])));
        assert_eq!(Sums::parse(&own.text()), Some(own.clone()));
        assert!(!own.differs(&Sums::parse("n9").unwrap()), "no group in common");
        assert_eq!(Sums::parse("n1 broken"), None);
    }
}
