//! The steps of the modelled cluster: each action, run through the core.

use super::*;
use crate::core::{self, Said, Standing, Tree};

impl Cluster {
    pub(super) fn decide(&self, state: &mut State, i: usize, record: Option<Record>) -> Option<()> {
        let base = state.nodes[i].cib.clone();
        state.nodes[i].decided = Some(Arc::new(Decided { base, record: Arc::new(record?) }));
        Some(())
    }

    pub(super) fn change(&self, state: &mut State, i: usize, record: Option<Record>) -> Option<()> {
        state.changes += 1;
        if self.rules.disk_first {
            let own = core::changing(&state.nodes[i].own, record.as_ref()?);
            state.set_own(i, own);
        }
        self.decide(state, i, record)
    }

    pub(super) fn promote(&self, state: &mut State, i: usize) -> Option<()> {
        let view = state.view(i, self);
        let own = state.nodes[i].own.clone();
        state.generations += 1;
        state.promotions += 1;
        let id = u64::from(state.generations);
        let mut record = match core::promote(&own, &view, id, id) {
            Ok(record) => record,
            Err(_) if !self.rules.refusals => Record {
                generation: Generation {
                    number: view
                        .record
                        .as_ref()
                        .map_or(0, |record| record.generation.number)
                        .max(state.nodes[i].number())
                        + 1,
                    id,
                    origin: view.me.clone(),
                },
                upon: None,
                change: 0,
                shared: 0,
                dataset: 7,
                filled: true,
                in_sync: BTreeSet::from([view.me.clone()]),
            },
            Err(_) => return None,
        };
        if let Some(upon) = record.upon.as_mut().filter(|_| !self.rules.says_upon) {
            upon.change = u64::MAX;
        }
        if state.acked & !state.nodes[i].tree != 0 {
            state.broken |= PROMOTED_LACKS;
        }
        let data_elsewhere = state.nodes.iter().any(|node| node.tree != 0);
        if record.generation.number == 1 && state.nodes[i].tree == 0 && data_elsewhere {
            state.broken |= EMPTY_WINS;
        }
        let own = core::opening(&own, view.record.as_ref(), &record);
        state.set_own(i, own);
        self.decide(state, i, Some(record))
    }

    /// The decided change is written to the cluster: to this partition's copy, as it is now.
    pub(super) fn store(&self, state: &mut State, i: usize) -> Option<()> {
        let decided = state.nodes[i].decided.take()?;
        let opening = decided.record.change == 0;
        // The promote holds what it knows locked, and gives up when that has changed.
        if opening && state.nodes[i].own.latest.as_ref() != Some(&*decided.record) {
            return Some(());
        }
        if state.nodes[i].cib == decided.base {
            state.store(i, Some(&decided.record));
            state.nodes[i].opening = opening;
        }
        Some(())
    }

    /// Reads the cluster after a write of its own.
    pub(super) fn look(&self, state: &mut State, i: usize) -> Option<()> {
        let node = &state.nodes[i];
        let (own, cib) = (node.own.clone(), node.cib.clone());
        if node.opening {
            let own = core::opened(&own, cib.as_deref());
            let source = own.is_source();
            state.set_own(i, own);
            let node = &mut state.nodes[i];
            node.opening = false;
            if source {
                node.forget();
                node.role = true;
            }
            return Some(());
        }
        let after = core::confirmed(&own, cib.as_deref()?);
        let confirmed =
            after.standing == (Standing::Source { confirmed: true }) && after.standing != own.standing;
        if confirmed && node.number() > state.set.0.into() && state.acked & !node.tree != 0 {
            state.broken |= CONFLICT;
        }
        if !(state.leads(i) && state.set_own(i, after)) {
            return None;
        }
        if state.quorum(i) {
            state.governed(i);
        }
        Some(())
    }

    pub(super) fn acknowledge(&self, state: &mut State, i: usize) -> Option<()> {
        let node = &state.nodes[i];
        let view = state.view(i, self);
        let record = view.record.as_ref()?;
        let set = (0..N).filter(|j| *j != i && (!self.rules.whole_set || record.in_sync.contains(NAMES[*j])));
        let mut writes = node.tree;
        let mut have = Vec::new();
        for j in set {
            let peer = &node.peers[j];
            if self.rules.whole_set {
                writes &= peer.has;
            }
            let (number, id, change) = peer.said;
            let said =
                Said { number: number.into(), id: id.into(), change: change.into(), tree: Tree::Filled };
            if peer.in_sync {
                have.push((NAMES[j].to_owned(), said));
            }
        }
        if !self.rules.whole_set {
            writes &= node.peers.iter().fold(0, |all, peer| all | peer.has);
        }
        let may = !self.rules.whole_set || core::acknowledged(&node.own, &view, &have, 1);
        if writes & !state.acked == 0 && writes & !node.acked == 0 || !may {
            return None;
        }
        let number = node.number();
        if state
            .nodes
            .iter()
            .any(|other| other.binds() && other.number() > number && writes & !other.tree != 0)
        {
            state.broken |= CONFLICT;
        }
        state.nodes[i].acked |= writes;
        state.governed(i);
        state.acked |= writes;
        Some(())
    }

    /// Ends the role after a drain: a last whole pass to each of those in sync. One that does not take it has to leave first.
    pub(super) fn demote(&self, state: &mut State, i: usize) -> Option<()> {
        let record = state.nodes[i].own.latest.clone()?;
        let governs = state.nodes[i].cib.as_deref() == Some(&record) && state.quorum(i);
        if !state.leads(i) || self.rules.drain && !governs {
            return None;
        }
        let tree = state.nodes[i].tree;
        let members = || (0..N).filter(|j| *j != i && record.in_sync.contains(NAMES[*j]));
        let generation = Arc::new(record.generation.clone());
        for j in members().filter(|_| self.rules.drain) {
            let push = Push { to: j, generation: generation.clone(), what: What::Pass(tree) };
            if !state.connected(i, j) || !state.arrive(&push, false, &self.rules) {
                return None;
            }
        }
        if members().any(|j| state.blank & 1 << j == 0 && tree & !state.nodes[j].tree != 0) {
            state.broken |= DRAIN;
        }
        let own = core::demoted(&state.nodes[i].own);
        state.set_own(i, own);
        state.nodes[i].forget();
        state.demotions += 1;
        Some(())
    }

    pub(super) fn act(&self, state: &mut State, action: &Action) -> Option<()> {
        match *action {
            Action::Write(i) => {
                state.nodes[i].tree |= 1 << state.writes;
                state.writes += 1;
            }
            Action::Push(i, j, kind) | Action::PushLate(i, j, kind) => {
                let what = state.what(i, j, kind)?;
                let generation = Arc::new(state.nodes[i].own.generation()?.clone());
                // One at a time from a source to a peer: the one before has been given up.
                state.late.retain(|push| push.to != j || push.generation != generation);
                let push = Push { to: j, generation, what };
                if matches!(action, Action::PushLate(..)) {
                    state.lates += 1;
                    state.late.push(push);
                    state.late.sort();
                    return Some(());
                }
                if !state.arrive(&push, false, &self.rules) {
                    return None;
                }
                state.nodes[j].passed &= !state.nodes[i].peers[j].complete;
                let said = state.nodes[j].said();
                let in_sync = state.nodes[j].own.standing == Standing::InSync;
                let peer = &mut state.nodes[i].peers[j];
                (peer.said, peer.in_sync) = (said, in_sync);
                match what {
                    What::List(writes) => peer.has |= writes,
                    What::Pass(tree) => peer.has = tree,
                    What::Complete => peer.complete = true,
                }
            }
            Action::Deliver(k) | Action::DeliverHalf(k) => {
                let push = state.late.remove(k);
                let half = matches!(action, Action::DeliverHalf(_));
                if !state.arrive(&push, half, &self.rules) {
                    return None;
                }
            }
            Action::Learn(i) => {
                let own = core::learn(&state.nodes[i].own, state.nodes[i].cib.as_deref());
                if !state.set_own(i, own) {
                    return None;
                }
            }
            Action::Ask(i, j) => {
                let said = state.nodes[j].said();
                let in_sync = state.nodes[j].own.standing == Standing::InSync;
                let peer = &mut state.nodes[i].peers[j];
                if (peer.said, peer.in_sync) == (said, in_sync) {
                    return None;
                }
                (peer.said, peer.in_sync) = (said, in_sync);
            }
            Action::Promote(i) => self.promote(state, i)?,
            Action::Join(i, j) => {
                let node = &state.nodes[i];
                let peer = &node.peers[j];
                let ready = peer.complete && (!self.rules.join_late || node.acked & !peer.has == 0);
                let record = core::joined(&node.own, &state.view(i, self), NAMES[j]).filter(|_| ready);
                self.change(state, i, record)?;
            }
            Action::Leave(i, j) => {
                let record = core::left(&state.nodes[i].own, &state.view(i, self), NAMES[j]);
                state.nodes[i].peers[j] = Peer::default();
                self.change(state, i, record)?;
            }
            Action::Restore(i) => {
                let record = core::restored(&state.nodes[i].own, &state.view(i, self));
                self.change(state, i, record)?;
            }
            Action::Store(i) => self.store(state, i)?,
            Action::Look(i) => self.look(state, i)?,
            Action::Ack(i) => self.acknowledge(state, i)?,
            Action::Demote(i) => self.demote(state, i)?,
            Action::Stop(i) => state.nodes[i].forget(),
            Action::Crash(i) => {
                state.crash(i);
                state.crashes += 1;
            }
            Action::CrashWithDisk(i) => {
                state.crash(i);
                state.disks += 1;
                let node = &mut state.nodes[i];
                let had = node.tree | node.aside;
                (node.tree, node.aside, node.fence) = (0, 0, 0);
                (node.own, node.cib) = (Arc::new(Own::default()), None);
                state.blank |= 1 << i;
                state.lost |= had & !state.held();
            }
            Action::Start(i, theirs) => {
                let others: Vec<usize> = (0..N)
                    .filter(|j| {
                        *j != i && state.nodes[*j].up && state.cut.is_none_or(|cut| cut != i && cut != *j)
                    })
                    .collect();
                let blank = state.nodes[i].own.latest.is_none()
                    && state.nodes[i].cib.is_none()
                    && state.generations > 0;
                if blank && self.rules.blank_to_all && others.len() < N - 1
                    || blank && !theirs && !others.is_empty()
                {
                    return None;
                }
                state.nodes[i].up = true;
                match others.first() {
                    None if theirs => return None,
                    None => {}
                    Some(other) => self.meet(state, i, *other, theirs, blank)?,
                }
            }
            Action::Cut(i) => {
                state.cut = Some(i);
                state.nets += 1;
            }
            Action::Heal(cut_wins) => {
                let cut = state.cut.take()?;
                state.nets += 1;
                let other = (0..N).find(|j| *j != cut && state.nodes[*j].up);
                match other.filter(|_| state.nodes[cut].up) {
                    None if cut_wins => return None,
                    None => {}
                    Some(other) => self.meet(state, cut, other, !cut_wins, false)?,
                }
            }
        }
        Some(())
    }

    /// Two partitions become one.
    pub(super) fn meet(
        &self,
        state: &mut State,
        one: usize,
        other: usize,
        others_win: bool,
        blank: bool,
    ) -> Option<()> {
        let winner = if others_win { other } else { one };
        let loser = if others_win { one } else { other };
        let age =
            |i: usize| state.nodes[i].cib.as_ref().map(|record| (record.generation.number, record.change));
        if state.nodes[one].cib == state.nodes[other].cib {
            // One choice is enough.
            if !others_win {
                return None;
            }
        } else if age(winner) < age(loser) && !blank {
            if state.rollbacks >= self.bounds.rollbacks {
                return None;
            }
            state.rollbacks += 1;
        }
        state.merge(winner, one);
        Some(())
    }
}
