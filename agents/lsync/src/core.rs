//! Who may be the source of a dataset, whose data a replica takes, and what is known to be in sync: the pure state machine
//! at the heart of the agent. The model checker (`model.rs`) runs this very code.
//!
//! **Words.** Every promotion opens a new [`Generation`]. The cluster keeps one [`Record`] of the latest: its source and the nodes that
//! are in sync with it. Each node keeps on its disk what it knows ([`Own`]): the newest record it has seen, and how its own tree
//! stands to that generation ([`Standing`]).
//!
//! **Two keepers, because either alone can lie.** The cluster's record can go back (when partitions meet, one configuration wins as a
//! whole; a write can be lost with its partition). A disk can be old (its node was away). So nothing is opened unless both
//! agree, no node that can be asked knows better, and the partition has quorum.
//!
//! **Who is in sync.** As with the replicas of a log: a replica is in the record's set from the complete pass that it got until
//! the source takes it out, which it does before it acknowledges anything that the replica did not get. A write is acknowledged when
//! every node of the set has it. So what is acknowledged is on every node that may become the next source.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

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

/// What the cluster knows of a dataset; kept in the CIB, and a copy on every node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The latest generation.
    pub(crate) generation: Generation,
    /// Which change of this generation's record it is: two copies tell by it which is newer.
    pub(crate) change: u64,
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
    /// This node is about to write this generation to the cluster; what it knew before, should that never have arrived.
    Opening {
        /// The record that it was opened upon.
        upon: Option<Box<Record>>,
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
    /// The change of the record that it knows.
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
        matches!(self.standing, Standing::Behind | Standing::InSync)
            && self.generation() == Some(pushed)
    }

    /// What this node says of itself to others.
    pub(crate) fn said(&self, tree: Tree) -> Said {
        // A generation that is not open yet is nothing that others should wait for.
        let record = match &self.standing {
            Standing::Opening { upon } => upon.as_deref(),
            _ => self.latest.as_ref(),
        };
        let generation = record.map(|record| &record.generation);
        Said {
            number: generation.map_or(0, |it| it.number),
            id: generation.map_or(0, |it| it.id),
            change: record.map_or(0, |it| it.change),
            tree,
        }
    }
}

/// What this node knows once it has seen the cluster's record. It never goes back to an older generation, and a
/// replica that moves to a newer one does not hold its data yet.
#[must_use]
pub(crate) fn learn(own: &Own, cluster: Option<&Record>) -> Own {
    let Some(cluster) = cluster else { return own.clone() };
    let Some(latest) = &own.latest else {
        return Own { latest: Some(cluster.clone()), standing: Standing::Behind };
    };
    let taken = || Own { latest: Some(cluster.clone()), standing: Standing::Behind };
    if cluster.generation == latest.generation {
        let newest = if cluster.change > latest.change { cluster } else { latest };
        let standing = match &own.standing {
            // It did arrive, though its writer did not live to see it.
            Standing::Opening { .. } => Standing::Source { confirmed: false },
            other => other.clone(),
        };
        return Own { latest: Some(newest.clone()), standing };
    }
    match cluster.generation.number.cmp(&latest.generation.number) {
        std::cmp::Ordering::Greater => taken(),
        std::cmp::Ordering::Less => own.clone(),
        // Opened twice. What data was taken in, or acknowledged, is not given up for a name; the other side has
        // none of that, or its source will write its record again.
        std::cmp::Ordering::Equal => match &own.standing {
            Standing::InSync | Standing::Source { confirmed: true } => own.clone(),
            Standing::Behind | Standing::Opening { .. } | Standing::Source { confirmed: false } => taken(),
        },
    }
}

/// What this node knows when the source tells it that a complete pass of this generation has arrived.
#[must_use]
pub(crate) fn completed(own: &Own, pushed: &Generation) -> Own {
    if own.accepts(pushed) {
        Own { standing: Standing::InSync, ..own.clone() }
    } else {
        own.clone()
    }
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
    let (upon, own_says) = match (&own.standing, &view.record) {
        // An opening that never arrived: as it was before.
        (Standing::Opening { upon }, record) if upon.as_deref() == record.as_ref() => {
            (upon.as_deref().cloned(), true)
        }
        _ => (own.latest.clone(), own.standing != Standing::Behind),
    };
    let known = upon.as_ref().map_or(0, |record| record.generation.number);
    let adopted = |generation: &Generation| {
        view.adopt == Some(generation.number) && view.others.iter().flat_map(|(_, said)| said).all(|it| it.number <= generation.number)
    };
    let base = match (&view.record, upon) {
        (None, None) => {
            first(view)?;
            None
        }
        // The cluster was made anew. Only the node that led last is sure to have all.
        (None, Some(latest)) => {
            let leads = own.is_source() || latest.generation.origin == view.me && own_says;
            if !leads && !adopted(&latest.generation) {
                return Err(Refusal::RecordLost(latest.generation));
            }
            newest(view, known, latest.generation.id, latest.change, &latest.generation)?;
            Some(latest)
        }
        (Some(record), latest) => {
            let knows_newer = latest.as_ref().is_some_and(|latest| {
                latest.generation.number > record.generation.number
                    || latest.generation == record.generation && latest.change > record.change
            });
            if knows_newer {
                return Err(Refusal::NewerElsewhere { node: view.me.clone(), number: known });
            }
            let in_sync = latest.is_some_and(|latest| latest.generation == record.generation)
                && own_says
                && record.in_sync.contains(&view.me);
            if !in_sync && !adopted(&record.generation) {
                return Err(Refusal::NotInSync(record.generation.clone()));
            }
            newest(view, record.generation.number, record.generation.id, record.change, &record.generation)?;
            Some(record.clone())
        }
    };
    if base.as_ref().is_some_and(|base| base.filled) && view.tree == Tree::Empty {
        return Err(Refusal::EmptyTree);
    }
    let number = base.as_ref().map_or(0, |base| base.generation.number) + 1;
    Ok(Record {
        generation: Generation { number, id, origin: view.me.clone() },
        change: 0,
        dataset: base.as_ref().map_or(dataset, |base| base.dataset),
        filled: view.tree == Tree::Filled || base.is_some_and(|base| base.filled),
        in_sync: BTreeSet::from([view.me.clone()]),
    })
}

/// No node that can be heard knows a newer record.
fn newest(view: &View, number: u64, id: u64, change: u64, of: &Generation) -> Result<(), Refusal> {
    let newer = |said: &Said| said.number > number || said.number == number && said.id == id && said.change > change;
    let ahead = view.others.iter().find(|(_, said)| said.as_ref().is_some_and(newer));
    match ahead {
        Some((node, Some(said))) if view.adopt != Some(of.number) || said.number > number => {
            Err(Refusal::NewerElsewhere { node: node.clone(), number: said.number })
        }
        _ => Ok(()),
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
    let named = view.initial_source.is_some();
    let said = |wanted: fn(&Option<Said>) -> bool| -> Vec<String> {
        view.others.iter().filter(|(_, said)| wanted(said)).map(|(node, _)| node.clone()).collect()
    };
    let known = said(|said| said.as_ref().is_some_and(|it| it.number > 0));
    if let Some(node) = known.first() {
        let number = view.others.iter().flat_map(|(_, said)| said).map(|said| said.number).max().unwrap_or(0);
        return Err(Refusal::NewerElsewhere { node: node.clone(), number });
    }
    let with_data = said(|said| said.as_ref().is_some_and(|it| it.tree == Tree::Filled));
    if !with_data.is_empty() && !(named && view.tree == Tree::Filled) {
        return Err(Refusal::DataElsewhere(with_data));
    }
    let silent = said(Option::is_none);
    if !silent.is_empty() && !(named && view.tree == Tree::Filled) {
        return Err(Refusal::Waiting(silent));
    }
    Ok(())
}

/// This node before it writes the record of [`promote`] to the cluster.
#[must_use]
pub(crate) fn opening(own: &Own, record: &Record) -> Own {
    let upon = match &own.standing {
        Standing::Opening { upon } => upon.clone(),
        _ => own.latest.clone().map(Box::new),
    };
    Own { latest: Some(record.clone()), standing: Standing::Opening { upon } }
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
    (!record.in_sync.contains(peer)).then(|| changed(record, |set| {
        set.insert(peer.to_owned());
    }))
}

/// The record without a replica that did not get something; conditions as for [`joined`]. Until it is written nothing is acknowledged.
pub(crate) fn left(own: &Own, view: &View, peer: &str) -> Option<Record> {
    let record = governs(own, view)?;
    (record.in_sync.contains(peer) && peer != view.me).then(|| changed(record, |set| {
        set.remove(peer);
    }))
}

/// The record to be written because the cluster's has gone back behind what this node, its source, knows. Not while another
/// node knows a newer generation.
pub(crate) fn restored(own: &Own, view: &View) -> Option<Record> {
    let latest = own.latest.as_ref()?;
    let behind = view.record.as_ref().is_none_or(|record| {
        record.generation.number < latest.generation.number
            || record.generation.number == latest.generation.number && record.generation.id != latest.generation.id
            || record.generation == latest.generation && record.change < latest.change
    });
    let newer = view.others.iter().flat_map(|(_, said)| said).any(|said| said.number > latest.generation.number);
    (own.standing == Standing::Source { confirmed: true } && view.quorum && behind && !newer)
        .then(|| Record { change: latest.change + 1, ..latest.clone() })
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
    if own.is_source() && view.record.as_ref().is_none_or(|record| Some(&record.generation) == own.generation()) {
        return Some(100);
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
    record
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (of {})", self.number, self.origin)
    }
}

/// As it stands in the CIB: `generation=7 id=00c0ffee00c0ffee origin=sv2 change=3 dataset=0123456789abcdef filled=yes in-sync=sv1,sv2`.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Generation { number, id, origin } = &self.generation;
        let set: Vec<&str> = self.in_sync.iter().map(String::as_str).collect();
        let filled = if self.filled { "yes" } else { "no" };
        write!(
            f,
            "generation={number} id={id:016x} origin={origin} change={} dataset={:016x} filled={filled} in-sync={}",
            self.change,
            self.dataset,
            set.join(",")
        )
    }
}

impl FromStr for Record {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no record of a dataset");
        let field = |name: &str| -> Result<&str, String> {
            text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).ok_or_else(wrong)
        };
        let number = |name: &str| field(name)?.parse::<u64>().map_err(|_| wrong());
        let hex = |name: &str| u64::from_str_radix(field(name)?, 16).map_err(|_| wrong());
        let record = Record {
            generation: Generation {
                number: number("generation")?,
                id: hex("id")?,
                origin: field("origin")?.to_owned(),
            },
            change: number("change")?,
            dataset: hex("dataset")?,
            filled: field("filled")? == "yes",
            in_sync: field("in-sync")?.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        };
        // Whatever else is in there would be lost by the next who writes it.
        if record.to_string() == text { Ok(record) } else { Err(wrong()) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoQuorum => f.write_str("this part of the cluster has no quorum: another part may have a source already"),
            Refusal::EmptyTree => f.write_str(
                "the tree is empty, its dataset is not: mount its file system, or let this node be filled by another source",
            ),
            Refusal::NotInSync(generation) => write!(
                f,
                "this node is not in sync with generation {generation}, which is the newest data; if its nodes are lost for good, \
                 allow this one by the node attribute that docs/lsync.md names (adopt={})",
                generation.number
            ),
            Refusal::NewerElsewhere { node, number } => write!(
                f,
                "{node} knows generation {number} or a change of it that the cluster's record lacks: its source has to write it again"
            ),
            Refusal::RecordLost(generation) => write!(
                f,
                "the cluster has lost its record of this dataset, and generation {generation} was opened by {}: only that node is \
                 sure to hold the newest data (or adopt={}, see docs/lsync.md)",
                generation.origin, generation.number
            ),
            Refusal::NotInitial(node) => write!(f, "initial_source={node} is to be the first source"),
            Refusal::Waiting(nodes) => write!(
                f,
                "first start: {} did not say yet whether they hold data; start them, or name the node with the data in initial_source",
                nodes.join(", ")
            ),
            Refusal::DataElsewhere(nodes) => write!(
                f,
                "first start: {} hold data too; name the node whose data counts in initial_source",
                nodes.join(", ")
            ),
        }
    }
}
