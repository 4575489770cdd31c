//! The state of the modelled cluster: what it begins with, what can be asked of it, and what a push does to it.

use super::*;
use crate::core::{self, Standing, Tree, View};

impl State {
    pub(super) fn connected(&self, i: usize, j: usize) -> bool {
        self.nodes[i].up && self.nodes[j].up && (i == j || self.cut.is_none_or(|cut| cut != i && cut != j))
    }

    pub(super) fn group(&self, i: usize) -> impl Iterator<Item = usize> + '_ {
        (0..N).filter(move |j| self.connected(i, *j))
    }

    pub(super) fn quorum(&self, i: usize) -> bool {
        self.group(i).count() * 2 > N
    }

    pub(super) fn view(&self, i: usize, cluster: &Cluster) -> View {
        let tree = |i: usize| if self.nodes[i].tree == 0 { Tree::Empty } else { Tree::Filled };
        let others = (0..N).filter(|j| *j != i).map(|j| {
            let said = self.connected(i, j).then(|| self.nodes[j].own.said(tree(j)));
            (NAMES[j].to_owned(), said)
        });
        View {
            me: NAMES[i].to_owned(),
            quorum: self.quorum(i) || !cluster.rules.quorum,
            record: self.nodes[i].cib.as_deref().cloned(),
            others: others.collect(),
            tree: tree(i),
            initial_source: match cluster.begin {
                Begin::Fresh { initial: Some(initial), .. } => Some(NAMES[initial].to_owned()),
                _ => None,
            },
            adopt: None,
        }
    }

    pub(super) fn store(&mut self, i: usize, record: Option<&Arc<Record>>) {
        let group: Vec<usize> = self.group(i).collect();
        for j in group {
            self.nodes[j].cib = record.cloned();
        }
    }

    /// Merging: these nodes have one copy from now on.
    pub(super) fn merge(&mut self, winner: usize, i: usize) {
        let record = self.nodes[winner].cib.clone();
        self.store(i, record.as_ref());
    }

    pub(super) fn set_own(&mut self, i: usize, own: Own) -> bool {
        let changed = *self.nodes[i].own != own;
        if changed {
            if let Some(generation) = own.generation()
                && !matches!(own.standing, Standing::Opening { .. })
            {
                let node = &mut self.nodes[i];
                node.fence = node.fence.max(generation.number as u8);
            }
            self.nodes[i].own = Arc::new(own);
        }
        changed
    }

    pub(super) fn leads(&self, i: usize) -> bool {
        self.nodes[i].role && self.nodes[i].own.is_source()
    }

    pub(super) fn what(&self, i: usize, j: usize, kind: Kind) -> Option<What> {
        let (node, peer) = (&self.nodes[i], &self.nodes[i].peers[j]);
        let differs = node.tree != self.nodes[j].tree;
        let lacks = node.tree & !peer.has;
        match kind {
            Kind::List => (peer.complete && lacks != 0).then_some(What::List(lacks)),
            // One that would change nothing is left out.
            Kind::Pass => (differs || !peer.complete && peer.has == 0).then_some(What::Pass(node.tree)),
            Kind::Complete => (!peer.complete && peer.has != 0).then_some(What::Complete),
        }
    }

    /// What a push does to the tree of its receiver; whether it was taken.
    pub(super) fn arrive(&mut self, push: &Push, half: bool, rules: &Rules) -> bool {
        let node = &self.nodes[push.to];
        let taken = node.own.accepts(&push.generation) && !(rules.closed && node.role);
        if !node.up || rules.fence && !taken {
            return false;
        }
        let (before, aside) = (node.tree, core::sets_aside(&node.own) && rules.aside);
        let (number, fence) = (push.generation.number as u8, node.fence);
        let completed = core::completed(&node.own, &push.generation);
        let node = &mut self.nodes[push.to];
        match push.what {
            What::List(writes) => node.tree |= writes,
            What::Pass(tree) => {
                if aside {
                    node.aside |= node.tree & !tree;
                }
                node.tree = if half { node.tree & tree } else { tree };
                node.passed = !half;
            }
            What::Complete if rules.same_pass && !node.passed => return false,
            What::Complete => {
                node.passed = false;
                self.blank &= !(1 << push.to);
                self.set_own(push.to, completed);
            }
        }
        if self.nodes[push.to].tree != before && number < fence {
            self.broken |= OLD_PUSH;
        }
        true
    }

    pub(super) fn crash(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        node.up = false;
        node.forget();
        self.late.retain(|push| push.to != i);
    }

    /// The record that this source knows is in force.
    pub(super) fn governed(&mut self, i: usize) {
        if let (Some(record), Standing::Source { confirmed: true }) =
            (&self.nodes[i].own.latest, &self.nodes[i].own.standing)
        {
            let members =
                (0..N).filter(|j| record.in_sync.contains(NAMES[*j])).fold(0, |all, j| all | 1 << j);
            let (number, change) = (record.generation.number as u8, record.change as u8);
            if (number, change) > (self.set.0, self.set.1) {
                self.set = (number, change, members);
            }
        }
    }

    /// What somebody holds.
    pub(super) fn held(&self) -> u8 {
        self.nodes.iter().fold(0, |held, node| held | node.tree | node.aside)
    }

    pub(super) fn written(&self) -> u8 {
        ((1u16 << self.writes) - 1) as u8
    }
}

impl Node {
    /// What it had in memory.
    pub(super) fn forget(&mut self) {
        self.role = false;
        self.opening = false;
        self.decided = None;
        self.peers = Default::default();
        self.acked = 0;
        self.passed = false;
    }

    pub(super) fn said(&self) -> (u8, u8, u8) {
        let said = self.own.said(Tree::Filled);
        (said.number as u8, said.id as u8, said.change as u8)
    }

    /// Whether something may have been acknowledged by the generation that it knows: an opening that nobody joined may be passed over.
    pub(super) fn binds(&self) -> bool {
        let joined = self.own.latest.as_ref().is_some_and(|record| record.shared > 0);
        joined && matches!(self.own.standing, Standing::InSync | Standing::Source { confirmed: true })
    }

    pub(super) fn number(&self) -> u64 {
        self.own.generation().map_or(0, |it| it.number)
    }
}

impl Cluster {
    pub(super) fn established() -> State {
        let names: BTreeSet<String> = NAMES.iter().map(|it| (*it).to_owned()).collect();
        let generation = Generation { number: 1, id: 1, origin: NAMES[0].to_owned() };
        let record =
            Record { generation, upon: None, change: 2, shared: 2, dataset: 7, filled: true, in_sync: names };
        let mut state = Self::fresh([1; N]);
        let said = (1, 1, 2);
        for (i, node) in state.nodes.iter_mut().enumerate() {
            let standing = if i == 0 { Standing::Source { confirmed: true } } else { Standing::InSync };
            node.own = Arc::new(Own { latest: Some(record.clone()), standing });
            node.cib = Some(Arc::new(record.clone()));
            node.role = i == 0;
            node.fence = 1;
        }
        state.nodes[0].peers = [
            Peer::default(),
            Peer { has: 1, complete: true, said, in_sync: true },
            Peer { has: 1, complete: true, said, in_sync: true },
        ];
        state.nodes[0].acked = 1;
        (state.acked, state.generations, state.set) = (1, 1, (1, 2, 7));
        state
    }

    pub(super) fn two_in_sync() -> State {
        let mut state = Self::established();
        let mut own = Own::clone(&state.nodes[0].own);
        if let Some(record) = &mut own.latest {
            record.in_sync.remove(NAMES[2]);
            (record.change, record.shared) = (3, 3);
        }
        let record = own.latest.clone().map(Arc::new);
        for node in &mut state.nodes[..2] {
            node.cib = record.clone();
        }
        state.nodes[2].up = false;
        state.nodes[1].own = Arc::new(Own { standing: Standing::InSync, ..own.clone() });
        state.nodes[0].own = Arc::new(own);
        state.nodes[0].peers[1].said.2 = 3;
        state.nodes[0].peers[2] = Peer::default();
        state.set = (1, 3, 3);
        state
    }

    pub(super) fn fresh(trees: [u8; N]) -> State {
        let node = |tree| Node {
            up: true,
            own: Arc::new(Own::default()),
            tree,
            aside: 0,
            cib: None,
            role: false,
            opening: false,
            decided: None,
            peers: Default::default(),
            acked: 0,
            passed: false,
            fence: 0,
        };
        State {
            nodes: trees.map(node),
            cut: None,
            late: Vec::new(),
            writes: (8 - trees.iter().fold(0, |all, tree| all | tree).leading_zeros()) as u8,
            acked: 0,
            lost: 0,
            generations: 0,
            promotions: 0,
            nets: 0,
            crashes: 0,
            disks: 0,
            changes: 0,
            lates: 0,
            rollbacks: 0,
            demotions: 0,
            broken: 0,
            set: (0, 0, 0),
            blank: 0,
        }
    }
}
