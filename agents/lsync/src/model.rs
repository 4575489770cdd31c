//! The decision core under an explicit-state checker: this very `core.rs`, run by three nodes in a cluster that does everything to
//! them that it may do. What the product's edge has to guarantee for it is in [`Rules`].
//!
//! A tree is a set of writes (bits). Pacemaker promotes wherever the core allows it, at any time that no connected node has the role; the
//! cluster's record is a copy per node, one partition takes writes with and without quorum, and when two meet either's copy
//! may win as a whole; a write decided with quorum may land after it is gone; pushes arrive late or never; nodes crash
//! between any two steps, and one may come back without its disk.

mod checks;
mod state;
mod steps;

use crate::core::{Generation, Own, Record};
use stateright::{Model, Property};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many nodes there are.
pub(crate) const N: usize = 3;
const NAMES: [&str; N] = ["a", "b", "c"];

/// What the edge of the product guarantees; with one of them broken the checker has to find a counterexample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Quorum is asked for at all.
    pub(crate) quorum: bool,
    /// A replica refuses tokens that `accepts` refuses.
    pub(crate) fence: bool,
    /// What a pass replaces is set aside when `sets_aside` says so.
    pub(crate) aside: bool,
    /// A peer joins only when it has everything that was acknowledged since its pass began.
    pub(crate) join_late: bool,
    /// A node whose role has not ended takes no push.
    pub(crate) closed: bool,
    /// An acknowledgement asks `acknowledged`, and not only whether any replica has it.
    pub(crate) whole_set: bool,
    /// Demotion waits for the replicas in sync.
    pub(crate) drain: bool,
    /// A node that lost its disk comes back only to the two others.
    pub(crate) blank_to_all: bool,
    /// The core's refusal to be the source is heeded.
    pub(crate) refusals: bool,
    /// A record says upon what knowledge it was opened.
    pub(crate) says_upon: bool,
    /// A replica that has crashed since its pass is not told that it was complete.
    pub(crate) same_pass: bool,
    /// A change of the record is on the source's disk before it is in the cluster.
    pub(crate) disk_first: bool,
}

impl Rules {
    /// All kept.
    pub(crate) const KEPT: Self = Self {
        quorum: true,
        fence: true,
        aside: true,
        join_late: true,
        closed: true,
        whole_set: true,
        drain: true,
        blank_to_all: true,
        refusals: true,
        disk_first: true,
        same_pass: true,
        says_upon: true,
    };
}

/// How much may happen in one run, each counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) writes: u8,
    pub(crate) promotions: u8,
    /// Partitions that begin or end.
    pub(crate) nets: u8,
    pub(crate) crashes: u8,
    /// Crashes that take the disk along.
    pub(crate) disks: u8,
    /// Changes of the record that a source decides.
    pub(crate) changes: u8,
    /// Pushes that arrive later than they were sent, by which the source never hears of it.
    pub(crate) late: u8,
    /// Times that a merge takes another copy of the record than the newer one.
    pub(crate) rollbacks: u8,
    pub(crate) demotions: u8,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Node 0 is the source, the two others are in sync.
    Established,
    /// Node 0 is the source; node 2 is down, has been taken out of those in sync, and does not know it.
    TwoInSync,
    /// Nothing is known anywhere; these are the trees, and the node named as first source.
    Fresh { trees: [u8; N], initial: Option<usize> },
}

/// One configuration to check.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) begin: Begin,
    pub(crate) bounds: Bounds,
    pub(crate) rules: Rules,
}

/// What the source remembers of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    has: u8,
    complete: bool,
    /// Number, id and change that it said.
    said: (u8, u8, u8),
    /// Whether it said that it had a complete pass.
    in_sync: bool,
}

/// A change of the cluster's record that was decided and is not written yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Decided {
    base: Option<Arc<Record>>,
    record: Arc<Record>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    up: bool,
    /// On its disk.
    own: Arc<Own>,
    tree: u8,
    aside: u8,
    /// Its copy of the cluster's record.
    cib: Option<Arc<Record>>,
    /// Pacemaker has promoted it: applications write here.
    role: bool,
    /// A promote that has written to the cluster, and has not looked yet.
    opening: bool,
    decided: Option<Arc<Decided>>,
    peers: [Peer; N],
    /// What it acknowledged as this generation's source.
    acked: u8,
    /// It got a whole pass since it started.
    passed: bool,
    /// The newest generation whose push or record it has ever taken.
    fence: u8,
}

/// A push on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Push {
    to: usize,
    generation: Arc<Generation>,
    what: What,
}

/// What a push carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum What {
    List(u8),
    Pass(u8),
    Complete,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    nodes: [Node; N],
    /// The node that is cut off from the two others.
    cut: Option<usize>,
    late: Vec<Push>,
    writes: u8,
    acked: u8,
    lost: u8,
    generations: u8,
    promotions: u8,
    nets: u8,
    crashes: u8,
    disks: u8,
    changes: u8,
    lates: u8,
    rollbacks: u8,
    demotions: u8,
    /// Which properties an event has broken.
    broken: u8,
    /// The newest record by which a source has acknowledged or has seen a change of its own: number, change, and who is in sync.
    set: (u8, u8, u8),
    /// The nodes that lost their disk and have had no complete pass since.
    blank: u8,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Write(usize),
    Push(usize, usize, Kind),
    PushLate(usize, usize, Kind),
    Deliver(usize),
    DeliverHalf(usize),
    Learn(usize),
    Ask(usize, usize),
    Promote(usize),
    Join(usize, usize),
    Leave(usize, usize),
    Restore(usize),
    Store(usize),
    Look(usize),
    Ack(usize),
    Demote(usize),
    Stop(usize),
    Crash(usize),
    CrashWithDisk(usize),
    /// Whether the other side's record wins.
    Start(usize, bool),
    Cut(usize),
    /// Whether the record of the one that was cut off wins.
    Heal(bool),
}

/// The kinds of pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    List,
    Pass,
    Complete,
}

const PROMOTED_LACKS: u8 = 1;
const CONFLICT: u8 = 2;
const OLD_PUSH: u8 = 4;
const DRAIN: u8 = 8;
const EMPTY_WINS: u8 = 16;

pub(crate) const SOURCE_HAS_ALL: &str = "1 a new source holds every acknowledged write";
pub(crate) const ONE_REIGN: &str = "1 nothing is acknowledged that a newer generation lacks";
pub(crate) const FENCED: &str = "2 no push of an older generation changes a tree";
pub(crate) const SET_HAS_ALL: &str = "3 the nodes in sync hold every acknowledged write";
pub(crate) const NOTHING_LOST: &str = "4 every write is in a tree or set aside";
pub(crate) const DRAINED: &str = "5 after a drain the nodes in sync hold everything";
pub(crate) const DATA_FIRST: &str = "6 an empty tree never wins the first start over data";
impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![match self.begin {
            Begin::Established => Self::established(),
            Begin::TwoInSync => Self::two_in_sync(),
            Begin::Fresh { trees, .. } => Self::fresh(trees),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let bounds = &self.bounds;
        for i in 0..N {
            let node = &state.nodes[i];
            if !node.up {
                actions.extend([Action::Start(i, true), Action::Start(i, false)]);
                continue;
            }
            actions.push(Action::Learn(i));
            if state.crashes < bounds.crashes {
                actions.push(Action::Crash(i));
            }
            if state.disks < bounds.disks {
                actions.push(Action::CrashWithDisk(i));
            }
            if node.decided.is_some() {
                actions.push(Action::Store(i));
                continue;
            }
            if node.opening {
                actions.push(Action::Look(i));
                continue;
            }
            if !node.role {
                let other = |j: usize| {
                    state.nodes[j].role || state.nodes[j].opening || state.nodes[j].decided.is_some()
                };
                if state.promotions < bounds.promotions && !state.group(i).any(other) {
                    actions.push(Action::Promote(i));
                }
                continue;
            }
            if state.writes < bounds.writes {
                actions.push(Action::Write(i));
            }
            if state.demotions < bounds.demotions {
                actions.push(Action::Demote(i));
            }
            actions.push(Action::Stop(i));
            if !state.leads(i) {
                continue;
            }
            actions.extend([Action::Look(i), Action::Ack(i)]);
            if state.changes < bounds.changes {
                actions.push(Action::Restore(i));
            }
            for j in (0..N).filter(|j| *j != i) {
                if state.changes < bounds.changes {
                    actions.extend([Action::Join(i, j), Action::Leave(i, j)]);
                }
                if !state.connected(i, j) {
                    continue;
                }
                actions.push(Action::Ask(i, j));
                for kind in [Kind::List, Kind::Pass, Kind::Complete] {
                    actions.push(Action::Push(i, j, kind));
                    if state.lates < bounds.late {
                        actions.push(Action::PushLate(i, j, kind));
                    }
                }
            }
        }
        for k in 0..state.late.len() {
            actions.push(Action::Deliver(k));
            if matches!(state.late[k].what, What::Pass(_)) {
                actions.push(Action::DeliverHalf(k));
            }
        }
        if state.nets < bounds.nets {
            match state.cut {
                None => actions.extend((0..N).map(Action::Cut)),
                Some(_) => actions.extend([Action::Heal(true), Action::Heal(false)]),
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.act(&mut state, &action)?;
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SOURCE_HAS_ALL, |_, state: &State| state.broken & PROMOTED_LACKS == 0),
            Property::always(ONE_REIGN, |_, state: &State| state.broken & CONFLICT == 0),
            Property::always(FENCED, |_, state: &State| state.broken & OLD_PUSH == 0),
            Property::always(SET_HAS_ALL, |_, state: &State| {
                (0..N)
                    .filter(|i| state.set.2 & !state.blank & 1 << *i != 0)
                    .all(|i| state.acked & !state.nodes[i].tree == 0)
            }),
            Property::always(NOTHING_LOST, |_, state: &State| {
                state.written() & !state.lost & !state.held() == 0
            }),
            Property::always(DRAINED, |_, state: &State| state.broken & DRAIN == 0),
            Property::always(DATA_FIRST, |_, state: &State| state.broken & EMPTY_WINS == 0),
        ]
    }
}
