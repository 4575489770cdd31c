//! Who may be the source of a dataset, whose data a replica takes, and what is known to be in sync: the pure state machine
//! at the heart of the agent. The model checker (`model.rs`) runs this very code.
//!
//! **Words.** Every promotion opens a new [`Generation`]. The cluster keeps one [`Record`] of the latest: its source and the nodes that
//! are in sync with it. Each node keeps on its disk what it knows ([`Own`]): the newest record it has seen, and how its own tree
//! stands to that generation ([`Standing`]).
//!
//! **Two keepers, because either alone can lie.** The cluster's record can go back (when partitions meet, one configuration wins as a
//! whole; a write can be lost with its partition). A disk can be old (its node was away). So nothing is opened unless both
//! agree, no node that can be asked knows better, and the partition has quorum. And since quorum may be gone when a write lands, and
//! the copy that it landed in may win: a generation that was opened in ignorance of what may have been acknowledged is passed over by
//! whoever knows better, until somebody has joined it ([`Record::upon`]).
//!
//! **Who is in sync.** As with the replicas of a log: a replica is in the record's set from the complete pass that it got until
//! the source takes it out, which it does before it acknowledges anything that the replica did not get. A write is acknowledged when
//! every node of the set has it. So what is acknowledged is on every node that may become the next source.

mod text;

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One reign of one source, from its promotion on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Generation {
    /// Counts promotions: a generation opened later in the same cluster has a higher number.
    pub(crate) number: u64,
    /// Random: tells two apart that were opened with one number in two partitions.
    pub(crate) id: u64,
    /// The node that opened it.
    pub(crate) origin: String,
}

/// How far a node's knowledge goes: of which generation, and which change of its record (see [`Record::shared`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Reach {
    /// Number of the generation.
    pub(crate) number: u64,
    /// Its id.
    pub(crate) id: u64,
    /// The last change of its record by which something may have been acknowledged.
    pub(crate) change: u64,
}

/// What the cluster knows of a dataset; kept in the CIB, and a copy on every node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The latest generation.
    pub(crate) generation: Generation,
    /// What its source knew when it opened it: who knows better does not follow, unless another replica has.
    pub(crate) upon: Option<Reach>,
    /// Which change of this generation's record it is: two copies tell by it which is newer.
    pub(crate) change: u64,
    /// The last change by which another node than the source was in sync: what is acknowledged was so by that one or before.
    pub(crate) shared: u64,
    /// The tree's own identity, as in its marker; random, made with the first generation.
    pub(crate) dataset: u64,
    /// Whether the tree has had content: an empty one is then no source.
    pub(crate) filled: bool,
    /// The nodes whose tree has everything that was acknowledged, the source among them.
    pub(crate) in_sync: BTreeSet<String>,
}

/// How this node's tree stands to the generation that it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// It may lack data of this generation, and hold data that nobody else has: what a pass replaces is to be set aside.
    #[default]
    Behind,
    /// It got a complete pass in this generation (or was its source): whatever it holds came from there.
    InSync,
    /// This node is about to write this generation to the cluster.
    Opening {
        /// What it knew before, should that never arrive.
        before: Box<Own>,
        /// The cluster's record that it is to replace.
        replaces: Option<Box<Record>>,
    },
    /// This node is the source of this generation.
    Source {
        /// Whether the cluster has been seen to hold a change that was made after the opening: no other generation of the same number
        /// can have been taken for the latest then.
        confirmed: bool,
    },
}

/// What a node keeps on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Own {
    /// The newest record that it has seen.
    pub(crate) latest: Option<Record>,
    /// How its tree stands to that record's generation.
    pub(crate) standing: Standing,
}

/// What a tree looks like from its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Tree {
    /// Nothing in it but what belongs to the agent.
    Empty,
    /// Something is in it.
    Filled,
}

/// What another node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Number of the generation that it knows; 0 if it knows none.
    pub(crate) number: u64,
    /// Id of that generation.
    pub(crate) id: u64,
    /// How far its record goes ([`Record::shared`]).
    pub(crate) change: u64,
    /// Its tree.
    pub(crate) tree: Tree,
}

/// What a node sees of the cluster when it is to decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// This node's name.
    pub(crate) me: String,
    /// Whether this partition has quorum.
    pub(crate) quorum: bool,
    /// The cluster's record, as this node's copy of the CIB has it.
    pub(crate) record: Option<Record>,
    /// All nodes of the dataset but this one, and what those that can be heard say.
    pub(crate) others: Vec<(String, Option<Said>)>,
    /// This node's tree.
    pub(crate) tree: Tree,
    /// The node that the administrator named as the first source.
    pub(crate) initial_source: Option<String>,
    /// The generation for which the administrator allowed this node to take over although it is not in sync with it.
    pub(crate) adopt: Option<u64>,
}

/// Why a node is not to be the source. The text is for the administrator: what was found and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// This partition has no quorum.
    NoQuorum,
    /// The tree has no content though its dataset has.
    EmptyTree,
    /// No pass of the latest generation was completed here, or the source has taken this node out of the set since.
    NotInSync(Generation),
    /// A node knows a newer record than the cluster does.
    NewerElsewhere {
        /// The node; this one too.
        node: String,
        /// The number it knows.
        number: u64,
    },
    /// The cluster has lost its record, and this node did not write it.
    RecordLost(Generation),
    /// First start: another node has been named.
    NotInitial(String),
    /// First start: these nodes did not say yet what they hold.
    Waiting(Vec<String>),
    /// First start: these nodes have data too, or alone.
    DataElsewhere(Vec<String>),
}

impl Own {
    /// The generation that this node knows.
    pub(crate) fn generation(&self) -> Option<&Generation> {
        self.latest.as_ref().map(|record| &record.generation)
    }

    /// Whether this node is the source of what it knows.
    pub(crate) fn is_source(&self) -> bool {
        matches!(self.standing, Standing::Source { .. })
    }

    /// Whether a push that carries this generation's token may change the tree here. Nothing else ever may.
    pub(crate) fn accepts(&self, pushed: &Generation) -> bool {
        matches!(self.standing, Standing::Behind | Standing::InSync) && self.generation() == Some(pushed)
    }

    /// What this node says of itself to others.
    pub(crate) fn said(&self, tree: Tree) -> Said {
        // A generation that is not open yet is nothing that others should wait for.
        let reach = self.settled().latest.as_ref().map(Record::reach);
        Said {
            number: reach.map_or(0, |it| it.number),
            id: reach.map_or(0, |it| it.id),
            change: reach.map_or(0, |it| it.change),
            tree,
        }
    }

    /// What it knows for sure: without a generation that is not open yet.
    fn settled(&self) -> &Own {
        match &self.standing {
            Standing::Opening { before, .. } => before,
            _ => self,
        }
    }

    /// Whether something may have been acknowledged because this node had it, under the record that it knows.
    fn has_stake(&self) -> bool {
        matches!(self.standing, Standing::InSync | Standing::Source { confirmed: true })
            && self.latest.as_ref().is_some_and(|record| record.shared > 0)
    }

    /// Whether this record was opened by a node that did not know what this one knows, and no other has joined it: it is passed over.
    fn passes_over(&self, record: &Record) -> bool {
        let overlooked = self.latest.as_ref().is_some_and(|latest| record.overlooks(&latest.reach()));
        overlooked && self.has_stake()
    }
}

impl Record {
    fn reach(&self) -> Reach {
        Reach { number: self.generation.number, id: self.generation.id, change: self.shared }
    }

    /// Whether it was opened in ignorance of this, and nobody but its source has taken it up since.
    fn overlooks(&self, known: &Reach) -> bool {
        self.change == 0
            && known.number <= self.generation.number
            && (known.number, known.id) != (self.generation.number, self.generation.id)
            && self.upon.is_none_or(|upon| known.beyond(&upon))
    }
}

impl Record {
    /// Whether this is the same story further on.
    fn goes_on_from(&self, older: &Record) -> bool {
        if self.generation == older.generation {
            return self.change > older.change;
        }
        self.generation.number > older.generation.number && !self.overlooks(&older.reach())
    }
}

impl Reach {
    /// Whether a node with this knowledge knows something that one with the other's lacks.
    fn beyond(&self, other: &Reach) -> bool {
        self.number > other.number
            || self.number == other.number && (self.id != other.id || self.change > other.change)
    }
}

impl Said {
    fn reach(&self) -> Reach {
        Reach { number: self.number, id: self.id, change: self.change }
    }
}

/// What this node knows once it has seen the cluster's record. It never goes back to an older generation, and a
/// replica that moves to a newer one does not hold its data yet.
#[must_use]
pub(crate) fn learn(own: &Own, cluster: Option<&Record>) -> Own {
    let Some(cluster) = cluster else { return own.clone() };
    let taken = || Own { latest: Some(cluster.clone()), standing: Standing::Behind };
    let Some(latest) = &own.latest else { return taken() };
    if latest.dataset != cluster.dataset {
        // The administrator began anew: what is known of the other tree says nothing of this one.
        return taken();
    }
    if let Standing::Opening { before, replaces } = &own.standing {
        // It did arrive, this one or one tried before, though its writer did not live to see it.
        let mine = cluster.generation.origin == latest.generation.origin
            && cluster.generation.number == latest.generation.number
            && cluster.upon == latest.upon
            && cluster.change == 0;
        if mine {
            return Own { latest: Some(cluster.clone()), standing: Standing::Source { confirmed: false } };
        }
        // It may arrive yet only while what it is to replace is there.
        return if replaces.as_deref() == Some(cluster) { own.clone() } else { learn(before, Some(cluster)) };
    }
    if cluster.generation == latest.generation {
        let newest = if cluster.change > latest.change { cluster } else { latest };
        return Own { latest: Some(newest.clone()), standing: own.standing.clone() };
    }
    match cluster.generation.number.cmp(&latest.generation.number) {
        std::cmp::Ordering::Less => own.clone(),
        std::cmp::Ordering::Greater if own.passes_over(cluster) => own.clone(),
        // Opened twice, in two partitions. What may have been acknowledged is not given up for a name.
        std::cmp::Ordering::Equal if own.has_stake() => own.clone(),
        std::cmp::Ordering::Greater | std::cmp::Ordering::Equal => taken(),
    }
}

/// What this node knows when the source tells it that a complete pass of this generation has arrived.
#[must_use]
pub(crate) fn completed(own: &Own, pushed: &Generation) -> Own {
    if own.accepts(pushed) { Own { standing: Standing::InSync, ..own.clone() } } else { own.clone() }
}

/// Whether what a pass replaces and deletes here has to be set aside: it may exist nowhere else.
pub(crate) fn sets_aside(own: &Own) -> bool {
    own.standing == Standing::Behind
}

/// Whether this node may open a new generation, and its record if so. It is written to this node's disk (standing `Opening`), then to the
/// cluster in place of `view.record`, and only then is the node the source ([`opened`]).
pub(crate) fn promote(own: &Own, view: &View, id: u64, dataset: u64) -> Result<Record, Refusal> {
    if !view.quorum {
        return Err(Refusal::NoQuorum);
    }
    let own = own.settled();
    let holds = own.standing != Standing::Behind;
    let heard = || view.others.iter().flat_map(|(_, said)| said);
    let adopted = |generation: &Generation| {
        let known = own.latest.as_ref().map_or(0, |latest| latest.generation.number);
        view.adopt == Some(generation.number)
            && heard().map(|said| said.number).all(|number| number <= generation.number)
            && known <= generation.number
    };
    let base = match (&view.record, &own.latest) {
        (None, None) => {
            first(view)?;
            None
        }
        // The cluster was made anew. Only the node that led last is sure to have all.
        (None, Some(latest)) => {
            let leads = own.is_source() || latest.generation.origin == view.me && holds;
            if !leads && !adopted(&latest.generation) {
                return Err(Refusal::RecordLost(latest.generation.clone()));
            }
            Some(latest)
        }
        (Some(record), latest) => {
            // Where the cluster's record has gone back, or was opened in ignorance, what this node knows counts.
            let newest =
                latest.as_ref().filter(|latest| own.passes_over(record) || latest.goes_on_from(record));
            let newest = newest.unwrap_or(record);
            let in_sync = latest.as_ref().is_some_and(|latest| latest.generation == newest.generation)
                && holds
                && newest.in_sync.contains(&view.me);
            if !in_sync && !adopted(&newest.generation) {
                return Err(Refusal::NotInSync(newest.generation.clone()));
            }
            Some(newest)
        }
    };
    if let Some(base) = base {
        newest(view, own, base)?;
    }
    if base.is_some_and(|base| base.filled) && view.tree == Tree::Empty {
        return Err(Refusal::EmptyTree);
    }
    let number = |record: Option<&Record>| record.map_or(0, |record| record.generation.number);
    let upon = base.and_then(|base| match base.change {
        _ if view.adopt == Some(base.generation.number) => Some(Reach { change: u64::MAX, ..base.reach() }),
        // Nobody has joined it: it bears witness to no more than what it was opened upon.
        0 => base.upon,
        _ => Some(base.reach()),
    });
    Ok(Record {
        generation: Generation {
            number: number(base).max(number(view.record.as_ref())) + 1,
            id,
            origin: view.me.clone(),
        },
        upon,
        change: 0,
        shared: 0,
        dataset: base.map_or(dataset, |base| base.dataset),
        filled: view.tree == Tree::Filled || base.is_some_and(|base| base.filled),
        in_sync: BTreeSet::from([view.me.clone()]),
    })
}

/// No node that can be heard knows a newer record.
fn newest(view: &View, own: &Own, base: &Record) -> Result<(), Refusal> {
    // Its source is heard with it, and those who have looked at it without knowing better.
    let passed_over = view.record.as_ref().filter(|record| own.passes_over(record)).map(Record::reach);
    let adopted = view.adopt == Some(base.generation.number);
    let newer = |said: &Said| {
        said.number > 0
            && (said.reach().beyond(&base.reach()) && said.number >= base.generation.number
                || base.overlooks(&said.reach()))
            && Some(said.reach()) != passed_over
            && !(adopted && said.number == base.generation.number)
    };
    match view
        .others
        .iter()
        .find_map(|(node, said)| said.as_ref().filter(|said| newer(said)).map(|said| (node, said)))
    {
        Some((node, said)) => Err(Refusal::NewerElsewhere { node: node.clone(), number: said.number }),
        None => Ok(()),
    }
}

/// The first generation of all: an empty tree never wins over one with data, and of two with data the administrator
/// chooses.
fn first(view: &View) -> Result<(), Refusal> {
    if let Some(initial) = &view.initial_source
        && *initial != view.me
    {
        return Err(Refusal::NotInitial(initial.clone()));
    }
    let said = |wanted: fn(&Option<Said>) -> bool| -> Vec<String> {
        view.others.iter().filter(|(_, said)| wanted(said)).map(|(node, _)| node.clone()).collect()
    };
    let known = said(|said| said.as_ref().is_some_and(|it| it.number > 0));
    if let Some(node) = known.first() {
        let number = view.others.iter().flat_map(|(_, said)| said).map(|said| said.number).max().unwrap_or(0);
        return Err(Refusal::NewerElsewhere { node: node.clone(), number });
    }
    let with_data = said(|said| said.as_ref().is_some_and(|it| it.tree == Tree::Filled));
    let named_with_data = view.initial_source.is_some() && view.tree == Tree::Filled;
    if !with_data.is_empty() && !named_with_data {
        return Err(Refusal::DataElsewhere(with_data));
    }
    let silent = said(Option::is_none);
    if !silent.is_empty() && !named_with_data {
        return Err(Refusal::Waiting(silent));
    }
    Ok(())
}

/// This node before it writes the record of [`promote`] to the cluster, in place of `replaces`.
#[must_use]
pub(crate) fn opening(own: &Own, replaces: Option<&Record>, record: &Record) -> Own {
    let before = Box::new(own.settled().clone());
    let replaces = replaces.cloned().map(Box::new);
    Own { latest: Some(record.clone()), standing: Standing::Opening { before, replaces } }
}

/// This node once the cluster was seen to hold the record that it opened. `cluster` is what was read after the write.
#[must_use]
pub(crate) fn opened(own: &Own, cluster: Option<&Record>) -> Own {
    learn(own, cluster)
}

/// The record with a replica that has completed a pass, if this node may say so: it is the source, the cluster still holds its record,
/// and the partition has quorum. To be written in place of the cluster's.
pub(crate) fn joined(own: &Own, view: &View, peer: &str) -> Option<Record> {
    let record = governs(own, view)?;
    (!record.in_sync.contains(peer)).then(|| {
        changed(record, |set| {
            set.insert(peer.to_owned());
        })
    })
}

/// The record without a replica that did not get something; conditions as for [`joined`]. Until it is written nothing is acknowledged.
pub(crate) fn left(own: &Own, view: &View, peer: &str) -> Option<Record> {
    let record = governs(own, view)?;
    (record.in_sync.contains(peer) && peer != view.me).then(|| {
        changed(record, |set| {
            set.remove(peer);
        })
    })
}

/// This node before it writes the record of [`joined`] or [`left`] to the cluster. From then on nothing is acknowledged by the older
/// one, whether or not the write arrives, and whenever.
#[must_use]
pub(crate) fn changing(own: &Own, record: &Record) -> Own {
    let next = own
        .latest
        .as_ref()
        .is_some_and(|latest| latest.generation == record.generation && latest.change < record.change);
    if own.is_source() && next { Own { latest: Some(record.clone()), ..own.clone() } } else { own.clone() }
}

/// The record to be written because the cluster's has gone back behind what this node knows, whatever its role. Not while another node
/// is heard to know better.
pub(crate) fn restored(own: &Own, view: &View) -> Option<Record> {
    let latest = own.latest.as_ref().filter(|_| !matches!(own.standing, Standing::Opening { .. }))?;
    let behind = view.record.as_ref().is_none_or(|record| latest.goes_on_from(record));
    let mut heard = view.others.iter().flat_map(|(_, said)| said);
    let better = heard.any(|said| said.reach().beyond(&latest.reach()));
    (view.quorum && behind && !better).then(|| latest.clone())
}

/// Whether the cluster's record is another generation's, and not one that [`restored`] is to replace: this source can have nobody
/// join or leave, and acknowledges nothing, until somebody opens a generation upon what either of the two knows.
pub(crate) fn superseded(own: &Own, cluster: Option<&Record>) -> bool {
    let Some((latest, cluster)) = own.latest.as_ref().zip(cluster) else { return false };
    own.is_source() && latest.generation != cluster.generation && !latest.goes_on_from(cluster)
}

/// This node, the source, once the cluster was seen to hold a changed record of its generation.
#[must_use]
pub(crate) fn confirmed(own: &Own, cluster: &Record) -> Own {
    let own = learn(own, Some(cluster));
    match own.standing {
        Standing::Source { .. } if own.latest.as_ref() == Some(cluster) && cluster.change > 0 => {
            Own { standing: Standing::Source { confirmed: true }, ..own }
        }
        _ => own,
    }
}

/// The node that was the source, after its drain: whatever it holds is of its generation.
#[must_use]
pub(crate) fn demoted(own: &Own) -> Own {
    match own.standing {
        Standing::Source { .. } => Own { standing: Standing::InSync, ..own.clone() },
        _ => own.clone(),
    }
}

/// Whether what every node in `have` holds (the source not counted) may be called acknowledged: all of the set have it, they are at least
/// `replicas`, and they know the record by which they are the set.
pub(crate) fn acknowledged(own: &Own, view: &View, have: &[(String, Said)], replicas: usize) -> bool {
    let Some(record) = governs(own, view) else { return false };
    if own.standing != (Standing::Source { confirmed: true }) {
        return false;
    }
    let knows = |node: &String| {
        have.iter().any(|(name, said)| {
            name == node
                && said.number == record.generation.number
                && said.id == record.generation.id
                && said.change >= record.change
        })
    };
    let others = || record.in_sync.iter().filter(|node| **node != view.me);
    others().count() >= replicas.max(1) && others().all(knows)
}

/// The promotion score of this node: the source keeps its role, a replica in sync may take it, no other may.
pub(crate) fn score(own: &Own, view: &View) -> Option<i32> {
    if own.is_source()
        && view.record.as_ref().is_none_or(|record| Some(&record.generation) == own.generation())
    {
        // Where others do not follow because they know better, one of them has to lead.
        let heard = view.others.iter().flat_map(|(_, said)| said);
        let refused = |it: &Said| own.latest.as_ref().is_some_and(|latest| latest.overlooks(&it.reach()));
        return (!heard.filter(|said| said.number > 0).any(refused)).then_some(100);
    }
    promote(own, view, 0, 0).ok().map(|record| if record.filled { 50 } else { 5 })
}

/// The cluster's record, where this node is its source and may change it.
fn governs<'a>(own: &Own, view: &'a View) -> Option<&'a Record> {
    let record = view.record.as_ref()?;
    let mine = own.is_source() && own.latest.as_ref() == Some(record) && view.quorum;
    mine.then_some(record)
}

fn changed(record: &Record, change: impl FnOnce(&mut BTreeSet<String>)) -> Record {
    let mut record = Record { change: record.change + 1, ..record.clone() };
    change(&mut record.in_sync);
    if record.in_sync.len() > 1 {
        record.shared = record.change;
    }
    record
}
