//! What the worker does about conflicts, and about nodes that are not alike: both by node attributes.

use super::{LATE, Occasion, SOON, Worker, seconds};
use crate::configuration::path;
use crate::runs::{self, Nothing};
use crate::settings::Settings;
use crate::settling::{self, Copy, Told};
use crate::{fingerprint, kept, look, standing};
use csync2::Text;
use csync2::decide::{Conflict, Descent, Policies, Policy, Settle, Unsettled, Version, settle};
use csync2::meaning::Meaning;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// So many own versions of a file in conflict are kept beforehand; what csync2 overwrites later is kept in any case.
const VERSIONS: usize = 20;
/// So long is waited for all that have another version to tell it.
const STEADY: Duration = Duration::from_secs(3);

impl Worker {
    /// Settles conflicts, where that is not left to people: tells the own versions, reads those of the others, decides as they do.
    pub(super) fn settle(&mut self, occasion: &Occasion, meaning: &Meaning<'_>) -> Result<(), String> {
        // Before anything is told of them: whoever reads it may send its own version at once.
        self.keep_conflicts(meaning);
        let policies = self.policies.clone();
        let policy = |name: &Text| {
            let groups: Vec<&Text> = meaning.groups_of(name).map(|it| &it.group.name).collect();
            policies.of(groups)
        };
        let pairs = self.memory.conflicts();
        let wanted: Vec<&(Text, Text)> = pairs
            .iter()
            .filter(|(name, _)| policy(name) != Policy::Report || self.memory.has_met(name))
            .take(settling::MOST)
            .collect();
        let promoted = self.place.promoted().exists();
        let authority = promoted && wins(&self.policies);
        let attribute = format!("csync-{}-versions", self.settings.resource);
        let now = Instant::now();
        if authority && !occasion.changed.is_empty() {
            // What was changed on two others has just come here from both.
            (self.settle_at, self.settle_pause) = (Some(now + SOON), SOON);
        }
        if wanted.is_empty() && !(authority && (occasion.full || self.settle_at.is_some_and(|at| at <= now)))
        {
            if !authority {
                (self.settle_at, self.settle_pause) = (None, SOON);
            }
            let _told_again = standing::cluster(&self.place).attribute_clear(&attribute);
            return Ok(());
        }
        // Whatever comes of it, it is tried again after a while.
        self.settle_at = Some(now + self.settle_pause);
        let versions: BTreeMap<Text, Copy> =
            wanted.iter().map(|(name, _)| (name.clone(), look::copy(meaning, name))).collect();
        let before =
            self.before.iter().filter(|(name, before)| versions.contains_key(*name) && !before.is_empty());
        let before = before.map(|(name, before)| (name.clone(), before.clone())).collect();
        let own = Told { host: settling::own_name(meaning), promoted, versions, before };
        let cluster = standing::cluster(&self.place);
        let _told_again = cluster.attribute_set(&attribute, &own.text());
        let all = cluster.attribute_everywhere(&attribute).map_err(|reason| reason.to_string())?;
        let others: Vec<Told> = all
            .iter()
            .filter_map(|(_, text)| Told::parse(text))
            .filter(|told| told.host != own.host)
            .collect();
        let names: BTreeSet<&Text> = wanted.iter().map(|(name, _)| name).collect();
        self.telling.retain(|name, _| names.contains(name));
        let mut force: BTreeSet<Text> = BTreeSet::new();
        let mut ahead: BTreeMap<Text, BTreeSet<Text>> = BTreeMap::new();
        let mut yielded: Vec<Text> = Vec::new();
        let mut waits = false;
        for name in names {
            let since = *self.telling.entry(name.clone()).or_insert(now);
            // With whom it is known to be in conflict, and who else tells of it.
            let known = wanted.iter().filter(|(it, _)| it == name).map(|(_, peer)| peer.clone());
            let tell = others.iter().filter(|told| told.versions.contains_key(name));
            let peers: BTreeSet<Text> =
                known.chain(tell.map(|told| settling::an_address(&told.host))).collect();
            let conflict = |peer: &Text| {
                settling::conflict(name, peer, &own, &others, meaning.may_push(name, peer), true)
            };
            let conflicts: Vec<Conflict> = peers.iter().map(conflict).collect();
            let outcomes: Vec<Settle> =
                conflicts.iter().map(|conflict| settle(policy(name), conflict)).collect();
            let wins = |outcome: &Settle| matches!(outcome, Settle::ForceOwn | Settle::Agreed);
            let yields = |outcome: &Settle| {
                // A third one may be the one whose version wins.
                matches!(outcome, Settle::YieldToPeer | Settle::Report(Unsettled::OtherPromoted))
            };
            if outcomes.iter().any(yields) {
                yielded.push(name.clone());
            } else if outcomes.contains(&Settle::ForceOwn) && outcomes.iter().all(wins) {
                // To force it is to force it on all: one that has changed it as well may not have told yet.
                let steady = now.duration_since(since) >= STEADY;
                waits |= !steady;
                force.extend(steady.then(|| name.clone()));
                if steady && conflicts.iter().all(|conflict| conflict.descent == Descent::OwnOnTop) {
                    ahead.insert(name.clone(), peers);
                }
            }
        }
        if authority {
            force.extend(settling::of_others(&own, &others, meaning, &|name| {
                policy(name) == Policy::PromotedWins
            }));
        }
        for name in yielded {
            self.keep(&name, meaning)?;
        }
        let force: Vec<Text> = force.into_iter().collect();
        if !force.is_empty() {
            let names: Vec<String> = force.iter().map(Text::to_string).collect();
            self.log.info(format_args!("the version of this node wins: {}", names.join(" ")));
            let failed = |nothing: Nothing| nothing.to_string();
            runs::mark(&self.place, &self.settings, &force).map_err(failed)?;
            runs::force(&self.place, &self.settings, &force).map_err(failed)?;
            self.memory.decided(&force);
            self.ahead.retain(|name, _| !force.contains(name));
            self.ahead.extend(ahead);
        }
        if waits {
            self.settle_at = Some(now + STEADY / 2);
        } else {
            self.settle_at = Some(now + self.settle_pause);
            self.settle_pause = (self.settle_pause * 2).min(LATE);
        }
        Ok(())
    }

    /// Keeps the own version of a file that another one's may replace, once.
    pub(super) fn keep(&mut self, name: &Text, meaning: &Meaning<'_>) -> Result<(), String> {
        let Version::There { directory: false, .. } = look::copy(meaning, name).version else {
            return Ok(());
        };
        let (Some(file), Some(group)) = (meaning.path(name), meaning.groups_of(name).next()) else {
            return Ok(());
        };
        let Some(version) = look::version(path(&file)) else { return Ok(()) };
        let before = self.kept.iter().filter(|(it, _)| it == name).count();
        if before >= VERSIONS || !self.kept.insert((name.clone(), version)) {
            return Ok(());
        }
        let time = ocf::stamp(seconds());
        let kept = kept::keep(path(&file), &self.settings.backup_dir, &time, &self.host, &group.group.name);
        let place = kept.map_err(|failure| {
            self.kept.remove(&(name.clone(), version));
            failure.reason
        })?;
        self.log.info(format_args!("{name} is in conflict: this version is kept as {}", place.display()));
        Ok(())
    }

    /// Tells which configuration, keys and database this node has, and compares with those of the others.
    pub(super) fn compare_nodes(&mut self, meaning: &Meaning<'_>) {
        let attribute = format!("csync-{}-same", self.settings.resource);
        let cluster = standing::cluster(&self.place);
        let own = fingerprint::Told {
            host: settling::own_name(meaning),
            database: self.memory.own_database.clone(),
            prints: self.prints.clone(),
        };
        if let cluster::Written::NoCluster(reason) = cluster.attribute_set(&attribute, &own.text()) {
            self.log.debug(format_args!("the cluster is not told: {reason}"));
            return;
        }
        let Ok(all) = cluster.attribute_everywhere(&attribute) else { return };
        let told = all.iter().filter(|(node, _)| *node != self.settings.node);
        let others: Vec<(&String, fingerprint::Told)> =
            told.filter_map(|(node, text)| Some((node, fingerprint::Told::parse(text)?))).collect();
        let differences: Vec<String> =
            others.iter().flat_map(|(node, told)| self.prints.differences(node, &told.prints)).collect();
        for new in differences.iter().filter(|it| !self.memory.unlike.contains(it)) {
            self.log.warning(new);
        }
        self.memory.unlike = differences;
        self.memory.others = others.into_iter().map(|(_, told)| told).collect();
    }
}

/// What the settings say of conflicts.
pub(super) fn policies(settings: &Settings) -> Policies {
    let groups = settings.group_policy.iter();
    Policies {
        default: settings.policy.into(),
        groups: groups.map(|(group, policy)| (Text::from(group.as_str()), (*policy).into())).collect(),
    }
}

/// Whether the promoted node's version wins in any group.
fn wins(policies: &Policies) -> bool {
    std::iter::once(&policies.default)
        .chain(policies.groups.values())
        .any(|policy| *policy == Policy::PromotedWins)
}
