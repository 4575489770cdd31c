//! What the worker remembers between rounds: conflicts, what is held back, with whom the database has been compared. Pure but for loading and
//! saving the part that outlives it.

use crate::configuration::path;
use crate::fingerprint::{Fingerprints, Told};
use crate::settings::Place;
use crate::settling::is_called;
use csync2::Text;
use csync2::database::Dirty;
use csync2::meaning::Meaning;
use csync2::messages::table::{Difference, Differs};
use csync2::messages::{Outcome, PeerRun, PeerTrouble, Run};
use ocf::{Log, StateFile};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What is known of the data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Names in conflict, each with the peers that have another version.
    conflicts: BTreeMap<Text, BTreeSet<Text>>,
    /// Files that a peer refused for another reason, with the reason.
    pub(crate) refused: BTreeMap<(Text, Text), String>,
    /// Those at which a run broke off: the peer has no room for it, say.
    broken_off: BTreeSet<(Text, Text)>,
    /// Found by a comparison, nothing marked: names with the peers whose version differs.
    differing: BTreeMap<Text, BTreeSet<Text>>,
    /// Found by a comparison: names that these peers have not.
    only_here: BTreeMap<Text, BTreeSet<Text>>,
    /// Found by a comparison: names that only these peers have.
    only_there: BTreeMap<Text, BTreeSet<Text>>,
    /// The peers that have been compared with: with which database of theirs, and which own. Theirs is empty if it was not known.
    compared: BTreeMap<Text, (String, String)>,
    /// This node's database, and what others tell of theirs: another text, another database.
    pub(crate) own_database: String,
    pub(crate) others: Vec<Told>,
    /// What is held back, in words.
    pub(crate) held: Vec<String>,
    /// The same: each root, and how much of it is gone.
    pub(crate) held_roots: Vec<(Text, u64)>,
    /// The root for whose sake nothing is received.
    pub(crate) suspended: Option<String>,
    /// What of other nodes is not as it is here: their configuration, their keys.
    pub(crate) unlike: Vec<String>,
    /// Why the changed configuration is not taken up.
    pub(crate) configuration: Option<String>,
    /// Why the daemon does not run.
    pub(crate) daemon: Option<String>,
    /// Rows of `dirty`.
    pub(crate) dirty: usize,
}

/// Ends what is told of a database that took the place of one that was lost. What only one side has may then be new there, or removed on the other:
/// it is neither sent nor deleted, but shown as a conflict.
pub(crate) const LOST: &str = "+lost";

/// Ends what is told of a database that is new. What only this node has may then be a stale copy of what others have removed: where these have had
/// their databases for longer, it is shown as a conflict. Nodes that are all new have everything that any of them has.
pub(crate) const NEW: &str = "+new";

/// What is told of a database, without what it ends with.
pub(crate) fn whole(told: &str) -> &str {
    told.trim_end_matches(LOST).trim_end_matches(NEW)
}

/// Whether two texts are about the same database.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    whole(one) == whole(other)
}

/// How a peer's system says that something can be in no directory.
const NO_DIRECTORY: &str = "Not a directory";

/// Why a file was not taken at which a run broke off.
const BROKEN_OFF: &str = "the peer broke off in the middle of it: has it no room? Its own csync2 says more";

fn pairs(of: &BTreeMap<Text, BTreeSet<Text>>) -> impl Iterator<Item = (&Text, &Text)> {
    of.iter().flat_map(|(name, peers)| peers.iter().map(move |peer| (name, peer)))
}

/// What outlives the worker.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// Peers, as bytes, with their database and the own one.
    compared: Vec<(Vec<u8>, String, String)>,
}

impl Memory {
    /// What an earlier worker has kept.
    pub(crate) fn load(place: &Place, log: &Log) -> Self {
        let kept: Kept = match StateFile::new(place.compared()).load() {
            Ok(kept) => kept.unwrap_or_default(),
            Err(failure) => {
                // Then all are compared again, which overwrites nothing.
                log.warning(failure.reason);
                Kept::default()
            }
        };
        let compared = kept.compared.into_iter().map(|(name, theirs, own)| (Text::from(name), (theirs, own)));
        Memory { compared: compared.collect(), ..Memory::default() }
    }

    /// Keeps that.
    pub(crate) fn save(&self, place: &Place, log: &Log) {
        let pair = |(name, (theirs, own)): (&Text, &(String, String))| {
            (name.bytes().to_vec(), theirs.clone(), own.clone())
        };
        // What differs is found again by another comparison, before anything is sent.
        let clear = |(peer, _): &(&Text, &(String, String))| !self.differs_from(peer);
        let kept = Kept { compared: self.compared.iter().filter(clear).map(pair).collect() };
        if let Err(failure) = StateFile::new(place.compared()).save_durably(&kept) {
            log.warning(failure.reason);
        }
    }

    fn told_by(&self, peer: &Text) -> Option<&Told> {
        self.others.iter().find(|told| is_called(&told.host, peer))
    }

    /// Whether anything may be sent to a peer: nothing before its version of everything is known, as far as its database goes that it has now.
    pub(crate) fn may_send_to(&self, peer: &Text) -> bool {
        let Some((theirs, own)) = self.compared.get(peer) else { return false };
        let now = self.told_by(peer).map(|told| told.database.as_str()).filter(|now| !now.is_empty());
        is_same(own, &self.own_database) && (theirs.is_empty() || now.is_none_or(|now| is_same(now, theirs)))
    }

    /// Whether this node or the peer has lost a database, and that is not sorted out.
    fn is_doubtful(&self, peer: &Text) -> bool {
        self.own_database.ends_with(LOST)
            || self.told_by(peer).is_some_and(|told| told.database.ends_with(LOST))
    }

    /// Whether this node is new, and the peer is not.
    fn has_come_to(&self, peer: &Text) -> bool {
        let is_whole = |told: &Told| !told.database.is_empty() && whole(&told.database) == told.database;
        self.own_database.ends_with(NEW) && self.told_by(peer).is_some_and(is_whole)
    }

    /// Whether the peer is new, and this node is not.
    fn is_joined_by(&self, peer: &Text) -> bool {
        let is_new = |told: &Told| told.database.ends_with(NEW);
        whole(&self.own_database) == self.own_database && self.told_by(peer).is_some_and(is_new)
    }

    /// What a comparison has found that is for people to decide: the file, and the peer.
    fn differences(&self) -> impl Iterator<Item = (&Text, &Text)> {
        let here =
            pairs(&self.only_here).filter(|(_, peer)| self.is_doubtful(peer) || self.has_come_to(peer));
        let there =
            pairs(&self.only_there).filter(|(_, peer)| self.is_doubtful(peer) || self.is_joined_by(peer));
        pairs(&self.differing).chain(here).chain(there)
    }

    fn differs_from(&self, peer: &Text) -> bool {
        self.differences().any(|(_, other)| other == peer)
    }

    /// Whether all peers have been compared with, and nothing is left to be decided.
    pub(crate) fn is_sorted_out<'a>(&self, mut peers: impl Iterator<Item = &'a Text>) -> bool {
        // What others have comes by itself, and is not yet sorted out before it is here.
        let is_coming = self.own_database.ends_with(NEW) && !self.only_there.is_empty();
        !is_coming && peers.all(|peer| self.may_send_to(peer) && !self.differs_from(peer))
    }

    /// Peers whose version of something differed when it was compared, where that may be over: in a full round, or when the file has
    /// changed here.
    pub(crate) fn differing_now(
        &self,
        changed: &BTreeSet<PathBuf>,
        full: bool,
        meaning: &Meaning<'_>,
    ) -> BTreeSet<Text> {
        let is_changed = |name: &Text| meaning.path(name).is_some_and(|place| changed.contains(path(&place)));
        let coming = pairs(&self.only_there).filter(|_| self.own_database.ends_with(NEW));
        let names = self.differences().chain(coming).filter(|(name, _)| full || is_changed(name));
        names.map(|(_, peer)| peer.clone()).collect()
    }

    /// Whether a file that is not forced may be sent to a peer. One in conflict is not sent to third ones, who would get now this version
    /// and now that; it is tried again with the peer that it is in conflict with, in every full round. One that was found to differ there
    /// goes nowhere: csync2 would see no conflict.
    pub(crate) fn may_send(&self, name: &Text, peer: &Text, full: bool) -> bool {
        !self.differing.contains_key(name)
            && self.conflicts.get(name).is_none_or(|peers| full && peers.contains(peer))
    }

    /// Whether a peer has refused a file the last time, for another reason than a conflict.
    pub(crate) fn is_refused(&self, name: &Text, peer: &Text) -> bool {
        self.refused.contains_key(&(name.clone(), peer.clone()))
    }

    /// Files that peers refuse to remove since what they should lie in is no directory there: they are gone there anyhow.
    pub(crate) fn gone_there(&self) -> BTreeSet<Text> {
        let found = self.refused.iter().filter(|(_, why)| why.ends_with(NO_DIRECTORY));
        found.map(|((name, _), _)| name.clone()).collect()
    }

    /// Whether a run broke off at a file.
    pub(crate) fn is_broken_off(&self, name: &Text, peer: &Text) -> bool {
        self.broken_off.contains(&(name.clone(), peer.clone()))
    }

    /// Learns at which file a run broke off; `false` if at none.
    pub(crate) fn learn_end(&mut self, peer: &Text, run: &Run, log: &Log) -> bool {
        let interrupted = |it: &&PeerRun| it.trouble == Some(PeerTrouble::Interrupted);
        let last = run.peers.iter().find(interrupted).and_then(|it| it.files.last());
        let at = last.filter(|it| match &it.outcome {
            Outcome::Failed(trouble) => !trouble.is_conflict(),
            outcome => *outcome == Outcome::Unfinished,
        });
        let Some(pushed) = at else { return false };
        let key = (pushed.name.clone(), peer.clone());
        if self.broken_off.insert(key.clone()) {
            log.warning(format_args!("{} towards {peer}: {BROKEN_OFF}", pushed.name));
        }
        self.refused.insert(key, BROKEN_OFF.to_owned());
        true
    }

    /// Learns from a run towards a peer.
    pub(crate) fn learn(&mut self, peer: &Text, run: &Run, log: &Log) {
        for (_, pushed, trouble) in run.failed() {
            let name = &pushed.name;
            if trouble.is_conflict() {
                if self.conflicts.entry(name.clone()).or_default().insert(peer.clone()) {
                    log.warning(format_args!("conflict: {name} was changed here and on {peer}: {trouble}"));
                }
                continue;
            }
            let key = (name.clone(), peer.clone());
            if self.broken_off.contains(&key) {
                continue;
            }
            let why = trouble.to_string();
            if self.refused.get(&key) != Some(&why) {
                log.warning(format_args!("{name} towards {peer}: {why}"));
                self.refused.insert(key, why);
            }
        }
    }

    /// Forgets what is settled: nothing of it is dirty any more.
    pub(crate) fn settled(&mut self, dirty: &[Dirty]) {
        let still: BTreeSet<(&Text, &Text)> = dirty.iter().map(|row| (&row.name, &row.peer)).collect();
        for (name, peers) in &mut self.conflicts {
            peers.retain(|peer| still.contains(&(name, peer)));
        }
        self.conflicts.retain(|_, peers| !peers.is_empty());
        self.refused.retain(|(name, peer), _| still.contains(&(name, peer)));
        self.broken_off.retain(|(name, peer)| still.contains(&(name, peer)));
    }

    /// Takes up what a comparison with a peer has found.
    pub(crate) fn compared_with(
        &mut self,
        peer: &Text,
        found: &[Difference],
        dirty: &[Dirty],
        meaning: &Meaning<'_>,
    ) {
        for of in [&mut self.differing, &mut self.only_here, &mut self.only_there] {
            for peers in of.values_mut() {
                peers.remove(peer);
            }
        }
        // What is on its way anyhow is new here, or was removed here. After a loss everything may be.
        let on_its_way: BTreeSet<&Text> =
            dirty.iter().filter(|row| row.peer == *peer).map(|row| &row.name).collect();
        let (lost, doubtful) = (self.own_database.ends_with(LOST), self.is_doubtful(peer));
        for difference in found.iter().filter(|it| it.peer == *peer) {
            let explained = on_its_way.contains(&difference.name);
            let place = match difference.differs {
                Differs::Contents if doubtful || !explained => &mut self.differing,
                Differs::OnlyHere if meaning.may_push(&difference.name, peer) && (lost || !explained) => {
                    &mut self.only_here
                }
                Differs::OnlyThere if !explained => &mut self.only_there,
                Differs::Contents | Differs::OnlyHere | Differs::OnlyThere => continue,
            };
            place.entry(difference.name.clone()).or_default().insert(peer.clone());
        }
        for of in [&mut self.differing, &mut self.only_here, &mut self.only_there] {
            of.retain(|_, peers| !peers.is_empty());
        }
        let theirs = self.told_by(peer).map(|told| told.database.clone()).unwrap_or_default();
        self.compared.insert(peer.clone(), (theirs, self.own_database.clone()));
    }

    /// What only this node has and may be sent: all its peers have been compared with, and none has another version. Not to one that
    /// may have another key: to it, it would show as if it had nothing.
    pub(crate) fn only_here(&self, meaning: &Meaning<'_>, own: &Fingerprints) -> Vec<Text> {
        let asked = |name: &Text| meaning.peers_of(name).iter().all(|peer| self.may_send_to(peer.address));
        let same_key = |name: &Text, peer: &Text| {
            let told = self.told_by(peer);
            let mut groups =
                meaning.groups_of(name).filter(|it| it.peers.iter().any(|host| host.address == *peer));
            told.is_some_and(|told| groups.all(|it| own.has_same_key(&told.prints, &it.group.name)))
        };
        let found = self.only_here.iter();
        let may = found.filter(|(name, peers)| {
            !self.differing.contains_key(*name)
                && asked(name)
                && peers
                    .iter()
                    .all(|peer| same_key(name, peer) && !self.is_doubtful(peer) && !self.has_come_to(peer))
        });
        may.map(|(name, _)| name.clone()).collect()
    }

    /// They are on their way.
    pub(crate) fn marked(&mut self, names: &[Text]) {
        names.iter().for_each(|name| {
            self.only_here.remove(name);
        });
    }

    /// The own version of these files is going to win: what differed does not any more, once it has.
    pub(crate) fn decided(&mut self, names: &[Text]) {
        for of in [&mut self.differing, &mut self.only_here, &mut self.only_there] {
            names.iter().for_each(|name| drop(of.remove(name)));
        }
    }

    /// Every conflict: the file, and a peer with another version.
    pub(crate) fn conflicts(&self) -> Vec<(Text, Text)> {
        let all = pairs(&self.conflicts);
        let mut pairs: Vec<(Text, Text)> =
            all.chain(self.differences()).map(|(name, peer)| (name.clone(), peer.clone())).collect();
        pairs.sort();
        pairs.dedup();
        pairs
    }

    /// Whether csync2 has met a conflict about a file: not only a comparison.
    pub(crate) fn has_met(&self, name: &Text) -> bool {
        self.conflicts.contains_key(name)
    }

    /// The files of these.
    pub(crate) fn names_in_conflict(&self) -> BTreeSet<Text> {
        self.conflicts().into_iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use csync2::config;
    use csync2::messages::{Source, read};

    const CONFIG: &str = "group g { host n1 n2 n3; key k; include /srv; }";

    fn with_meaning(test: impl FnOnce(&Meaning<'_>)) {
        let parsed = config::parse(&Text::from("c"), &mut |_| Ok(CONFIG.as_bytes().to_vec()));
        test(&Meaning::new(&parsed.config, &Text::from("n1")));
    }

    fn text(text: &str) -> Text {
        Text::from(text)
    }

    fn dirty(name: &str, peer: &str) -> Dirty {
        Dirty { name: text(name), forced: false, own: text("n1"), peer: text(peer) }
    }

    fn difference(name: &str, peer: &str, differs: Differs) -> Difference {
        Difference { name: text(name), own: text("n1"), peer: text(peer), differs }
    }

    /// A run that meets a conflict, as csync2 tells it at -vvv (recorded: `crates/csync2/fixtures/conflict-vvv.txt`).
    fn conflict() -> Run {
        let recorded = include_bytes!("../../../crates/csync2/fixtures/conflict-vvv.txt");
        let recorded = String::from_utf8_lossy(recorded);
        let run =
            recorded.split("--- rc=").find(|part| part.contains("also marked dirty")).unwrap_or_default();
        let (_, said) = run.split_once("-uvvv").unwrap();
        Run::of(&read(said.split_once('\n').unwrap().1.as_bytes(), Source::Client))
    }

    #[test]
    fn a_file_in_conflict_goes_to_nobody_but_the_other_side_now_and_then() {
        let log = Log::new("test".to_owned(), None, false, None);
        let mut memory = Memory::default();
        let run = conflict();
        let (peer, name) = {
            let (peer, pushed, _) = run.conflicts().next().expect("the recording has one");
            (peer.clone(), pushed.name.clone())
        };
        memory.learn(&peer, &run, &log);
        let third = text("n3");
        assert!(!memory.may_send(&name, &peer, false) && memory.may_send(&name, &peer, true));
        assert!(!memory.may_send(&name, &third, false) && !memory.may_send(&name, &third, true));
        assert!(memory.may_send(&text("/srv/other"), &third, false));
        assert_eq!(memory.conflicts(), [(name.clone(), peer.clone())]);
        // It stands as long as the change waits for that peer.
        let name_text = name.to_string();
        memory.settled(&[dirty(&name_text, &peer.to_string()), dirty(&name_text, "n3")]);
        assert_eq!(memory.conflicts().len(), 1);
        memory.settled(&[dirty(&name_text, "n3")]);
        assert_eq!(memory.conflicts(), []);
        assert!(memory.may_send(&name, &third, false));
    }

    fn told(host: &str, database: &str, key: u8) -> Told {
        Told { host: text(host), database: database.to_owned(), prints: prints(key) }
    }

    fn prints(key: u8) -> Fingerprints {
        let key = csync2::key::key(&[key; 40]).unwrap();
        Fingerprints::of(b"c", [(&text("g"), &key)].into_iter())
    }

    #[test]
    fn nobody_is_sent_anything_before_its_database_was_compared_with() {
        with_meaning(|meaning| {
            let mut memory = Memory { own_database: "1".to_owned(), ..Memory::default() };
            memory.others = vec![told("n2", "2", b'a'), told("n3", "3", b'a')];
            assert!(!memory.may_send_to(&text("n2")));
            let found = [
                difference("/srv/only", "n2", Differs::OnlyHere),
                difference("/srv/other", "n2", Differs::Contents),
                difference("/srv/theirs", "n2", Differs::OnlyThere),
                difference("/srv/elsewhere", "n3", Differs::Contents),
            ];
            let own = prints(b'a');
            memory.compared_with(&text("n2"), &found, &[], meaning);
            assert!(memory.may_send_to(&text("n2")));
            assert_eq!(memory.conflicts(), [(text("/srv/other"), text("n2"))], "of n2 alone was asked");
            assert_eq!(memory.only_here(meaning, &own), [""; 0], "n3 may have another version");
            let of_n3 = [difference("/srv/only", "n3", Differs::OnlyHere)];
            let mut agreed = memory.clone();
            agreed.compared_with(&text("n3"), &of_n3, &[], meaning);
            assert_eq!(agreed.only_here(meaning, &own), [text("/srv/only")]);
            assert_eq!(
                agreed.only_here(meaning, &prints(b'b')),
                [""; 0],
                "with another key all seems to be only here"
            );
            agreed.marked(&[text("/srv/only")]);
            assert_eq!(agreed.only_here(meaning, &own), [""; 0]);
            // n3 has another version: it is a conflict, and goes nowhere.
            memory.compared_with(
                &text("n3"),
                &[difference("/srv/only", "n3", Differs::Contents)],
                &[],
                meaning,
            );
            assert_eq!(memory.only_here(meaning, &own), [""; 0]);
            assert_eq!(memory.conflicts().len(), 2);
            memory.decided(&[text("/srv/only"), text("/srv/other")]);
            assert_eq!(memory.conflicts(), []);
        });
    }

    #[test]
    fn a_new_database_on_either_side_is_compared_with_anew() {
        with_meaning(|meaning| {
            let mut memory = Memory { own_database: "1".to_owned(), ..Memory::default() };
            memory.others = vec![told("n2", "2", b'a')];
            memory.compared_with(&text("n2"), &[], &[], meaning);
            assert!(memory.may_send_to(&text("n2")));
            memory.others = vec![told("n2", "4", b'a')];
            assert!(!memory.may_send_to(&text("n2")));
            memory.others = vec![told("n2", "", b'a')];
            assert!(memory.may_send_to(&text("n2")), "it has not said yet");
            memory.others.clear();
            assert!(memory.may_send_to(&text("n2")));
            memory.own_database = "5".to_owned();
            assert!(!memory.may_send_to(&text("n2")));
        });
    }

    #[test]
    fn what_differed_is_compared_anew_when_it_changes_and_now_and_then() {
        with_meaning(|meaning| {
            let mut memory = Memory::default();
            memory.compared_with(&text("n2"), &[difference("/srv/f", "n2", Differs::Contents)], &[], meaning);
            let now = |changed: &str, full| {
                memory.differing_now(&BTreeSet::from([PathBuf::from(changed)]), full, meaning)
            };
            assert_eq!(now("/srv/f", false), BTreeSet::from([text("n2")]));
            assert_eq!(now("/srv/g", false), BTreeSet::new());
            assert_eq!(now("/srv/g", true), BTreeSet::from([text("n2")]));
        });
    }

    #[test]
    fn after_a_loss_nothing_is_guessed() {
        with_meaning(|meaning| {
            let found = [
                difference("/srv/here", "n2", Differs::OnlyHere),
                difference("/srv/there", "n2", Differs::OnlyThere),
                difference("/srv/changed", "n2", Differs::Contents),
            ];
            let of_n3 = [difference("/srv/here", "n3", Differs::OnlyHere)];
            let after = |own: &str, theirs: &str, dirty: &[Dirty]| {
                let mut memory = Memory { own_database: own.to_owned(), ..Memory::default() };
                memory.others = vec![told("n2", theirs, b'a'), told("n3", "3", b'a')];
                memory.compared_with(&text("n2"), &found, dirty, meaning);
                memory.compared_with(&text("n3"), &of_n3, dirty, meaning);
                let conflicts: Vec<String> =
                    memory.conflicts().iter().map(|(name, peer)| format!("{name} {peer}")).collect();
                (conflicts.join(", "), memory.only_here(meaning, &prints(b'a')).len())
            };
            assert_eq!(after("1", "2", &[]), ("/srv/changed n2".to_owned(), 1));
            let all = "/srv/changed n2, /srv/here n2, /srv/here n3, /srv/there n2".to_owned();
            assert_eq!(after("1+lost", "2", &[]), (all, 0));
            let with_n2 = "/srv/changed n2, /srv/here n2, /srv/there n2".to_owned();
            assert_eq!(after("1", "2+lost", &[]), (with_n2, 0));
            // What waits for the peer is new here, or was removed here; after a loss here only the latter is sure.
            let waits = ["/srv/here", "/srv/there", "/srv/changed"].map(|name| dirty(name, "n2"));
            assert_eq!(after("1", "2", &waits).0, "");
            assert_eq!(after("1", "2+lost", &waits).0, "/srv/changed n2");
            assert_eq!(after("1+lost", "2", &waits).0, "/srv/changed n2, /srv/here n2, /srv/here n3");
            // The same database, once that is sorted out.
            let mut memory = Memory { own_database: "1+lost".to_owned(), ..Memory::default() };
            memory.compared_with(&text("n2"), &found, &[], meaning);
            assert!(
                !memory.is_sorted_out([text("n2")].iter())
                    && !memory.may_send(&text("/srv/changed"), &text("n3"), true)
            );
            memory.compared_with(&text("n2"), &[], &[], meaning);
            assert!(memory.is_sorted_out([text("n2")].iter()));
            memory.own_database = "1".to_owned();
            assert!(memory.may_send_to(&text("n2")));
        });
    }

    #[test]
    fn what_only_a_newcomer_has_may_be_stale_and_where_all_are_new_all_get_it() {
        with_meaning(|meaning| {
            let found = [
                difference("/srv/here", "n2", Differs::OnlyHere),
                difference("/srv/there", "n2", Differs::OnlyThere),
            ];
            let of_n3 = [difference("/srv/here", "n3", Differs::OnlyHere)];
            let between = |own: &str, theirs: &str| {
                let mut memory = Memory { own_database: own.to_owned(), ..Memory::default() };
                memory.others = vec![told("n2", theirs, b'a'), told("n3", theirs, b'a')];
                memory.compared_with(&text("n2"), &found, &[], meaning);
                memory.compared_with(&text("n3"), &of_n3, &[], meaning);
                let conflicts: Vec<String> =
                    memory.conflicts().iter().map(|(name, peer)| format!("{name} {peer}")).collect();
                let sent = memory.only_here(meaning, &prints(b'a')).len();
                let sorted = memory.is_sorted_out([text("n2"), text("n3")].iter());
                (conflicts.join(", "), sent, sorted)
            };
            assert_eq!(between("1", "2"), (String::new(), 1, true));
            assert_eq!(between("1+new", "2+new"), (String::new(), 1, false));
            assert_eq!(between("1+new", "2"), ("/srv/here n2, /srv/here n3".to_owned(), 0, false));
            assert_eq!(between("1", "2+new"), ("/srv/there n2".to_owned(), 1, false));
        });
    }

    #[test]
    fn with_whom_it_was_compared_outlives_the_worker() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::below(directory.path(), directory.path(), "conf");
        let log = Log::new("test".to_owned(), None, false, None);
        assert_eq!(Memory::load(&place, &log).compared, BTreeMap::new());
        let compared = BTreeMap::from([(text("n2"), ("2".to_owned(), "1".to_owned()))]);
        let memory = Memory { compared, ..Memory::default() };
        memory.save(&place, &log);
        assert_eq!(Memory::load(&place, &log).compared, memory.compared);
        std::fs::write(place.compared(), "damaged").unwrap();
        assert_eq!(Memory::load(&place, &log).compared, BTreeMap::new(), "all are compared again");
    }
}
