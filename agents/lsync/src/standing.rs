//! How this node stands in the cluster: what it sees there, what it writes down of it, and what it tells. The decisions are those of
//! [`core`]; here is the edge to Pacemaker's tools.

use crate::core::{self, Generation, Own, Record, Refusal, Said, Tree, View};
use crate::peer_files;
use crate::peers::{PeerState, Phase};
use crate::settings::{Place, Settings};
use crate::{own, report, source, tree};
use cluster::{Cluster, Status, Written};
use ocf::{Failure, Log, StateFile};
use process::{PidLock, read_file};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The CIB as the cluster manager keeps it on every full member: whatever is written to the cluster for good changes this file.
const CIB: &str = "/var/lib/pacemaker/cib/cib.xml";

/// The cluster at one moment.
pub(crate) struct Sight {
    /// Members, quorum, attributes.
    pub(crate) status: Status,
    /// The dataset's record.
    pub(crate) record: Option<Record>,
    said: BTreeMap<String, String>,
}

/// The name of the record among the cluster's properties.
pub(crate) fn record_name(dataset: &str) -> String {
    format!("bascule-lsync-{dataset}")
}

/// The cluster's tools, with a memory of what was written.
pub(crate) fn cluster(place: &Place, deadline: Instant) -> Cluster {
    Cluster::new(deadline).remembering(place.attributes())
}

/// Asks the cluster.
///
/// # Errors
/// It gives no answer, or keeps something under the record's name that is none: that is not "no record".
pub(crate) fn look(place: &Place, dataset: &str, deadline: Instant) -> Result<Sight, Failure> {
    let cluster = cluster(place, deadline);
    // The stamp is taken first: what changes while we ask is asked for again. It is noted last: what was not learned, too.
    let stamp = fs::metadata(CIB).and_then(|it| it.modified()).ok();
    let record = record(&cluster, dataset)?;
    let status = cluster.status()?;
    let said = cluster.attribute_everywhere(&format!("lsync-{dataset}-said"))?;
    if let Some(time) = stamp {
        // Not noted means asked once more.
        let _ = fs::File::create(place.cib_seen()).and_then(|file| file.set_modified(time));
    }
    Ok(Sight { status, record, said: said.into_iter().collect() })
}

fn record(cluster: &Cluster, dataset: &str) -> Result<Option<Record>, Failure> {
    let name = record_name(dataset);
    let Some(text) = cluster.option(&name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let record = text.parse::<Record>();
    record.map(Some).map_err(|wrong| {
        Failure::generic(format!("the cluster property {name} was changed by somebody else: {wrong}"))
    })
}

impl Sight {
    /// The record and quorum as they are now; what nodes say of themselves as it was.
    fn again(self, cluster: &Cluster, dataset: &str) -> Result<Self, Failure> {
        Ok(Sight { record: record(cluster, dataset)?, status: cluster.status()?, said: self.said })
    }

    /// What the decisions are made upon.
    pub(crate) fn view(&self, settings: &Settings, tree: Tree) -> View {
        let online = |name: &str| self.status.members.iter().any(|it| it.name == name && it.online);
        let said = |name: &str| -> Option<Said> { self.said.get(name)?.parse().ok() };
        let others = settings.peers.iter().map(|peer| {
            (peer.name.clone(), Some(&peer.name).filter(|name| online(name)).and_then(|name| said(name)))
        });
        let adopt = self.status.attribute(&settings.node, &format!("lsync-{}-adopt", settings.dataset));
        View {
            me: settings.node.clone(),
            quorum: self.status.quorum,
            record: self.record.clone(),
            others: others.collect(),
            tree,
            initial_source: settings.initial_source.clone(),
            adopt: adopt.and_then(|number| number.parse().ok()),
        }
    }
}

/// Looks at the cluster, writes down what is new (a newer generation shuts the older out), and tells how this node stands.
///
/// # Errors
/// The cluster gives no answer, or what is known cannot be written down.
pub(crate) fn refresh(
    place: &Place,
    settings: &Settings,
    deadline: Instant,
    log: &Log,
) -> Result<Own, Failure> {
    let sight = look(place, &settings.dataset, deadline)?;
    refresh_with(place, settings, &sight, deadline, log)
}

/// The same with a look that was taken already.
///
/// # Errors
/// What is known cannot be written down.
pub(crate) fn refresh_with(
    place: &Place,
    settings: &Settings,
    sight: &Sight,
    deadline: Instant,
    log: &Log,
) -> Result<Own, Failure> {
    let own = learn_from(place, settings, sight.record.as_ref(), deadline, log)?;
    tell(place, settings, &own, sight, deadline, log);
    Ok(own)
}

/// Looks at the cluster's record alone and writes down what is new: what somebody who waits needs.
///
/// # Errors
/// The cluster gives no answer, or what is known cannot be written down.
pub(crate) fn learn(
    place: &Place,
    settings: &Settings,
    deadline: Instant,
    log: &Log,
) -> Result<Own, Failure> {
    let record = record(&cluster(place, deadline), &settings.dataset)?;
    learn_from(place, settings, record.as_ref(), deadline, log)
}

fn learn_from(
    place: &Place,
    settings: &Settings,
    record: Option<&Record>,
    deadline: Instant,
    log: &Log,
) -> Result<Own, Failure> {
    let before = own::load(place)?;
    let own = own::update(place, settings, deadline, |own| core::learn(own, record))?;
    if own.generation() != before.generation()
        && let Some(generation) = own.generation()
    {
        log.info(format_args!("generation {generation} is the newest known now"));
    }
    Ok(own)
}

/// Tells how this node stands, after a look at the cluster. Trouble with that is a line in the log.
pub(crate) fn publish(place: &Place, settings: &Settings, own: &Own, deadline: Instant, log: &Log) {
    match look(place, &settings.dataset, deadline) {
        Ok(sight) => tell(place, settings, own, &sight, deadline, log),
        Err(failure) => log.warning(format_args!("the cluster is not told: {}", failure.reason)),
    }
}

/// Tells how this node stands, by a look that was taken already.
pub(crate) fn tell(
    place: &Place,
    settings: &Settings,
    own: &Own,
    sight: &Sight,
    deadline: Instant,
    log: &Log,
) {
    let tree = tree::look(&settings.source).unwrap_or(Tree::Empty);
    let view = sight.view(settings, tree);
    let score = if fit_to_lead(place, settings, own) { core::score(own, &view) } else { None };
    let cluster = cluster(place, deadline).on(&settings.node);
    let name = &settings.dataset;
    warn(
        log,
        match score {
            Some(score) => cluster.promotion_score_set(name, score),
            // Not merely no score: a constraint that prefers this node would have it promoted, and the source demoted for that.
            None => cluster.promotion_forbid(name),
        },
    );
    warn(log, cluster.attribute_set(&format!("lsync-{name}-said"), &report::said(&own.said(tree))));
    tell_people(place, settings, own, tree, deadline, log);
}

/// The attributes and the status file that people read: asks the cluster nothing, and writes only what has changed.
pub(crate) fn tell_people(
    place: &Place,
    settings: &Settings,
    own: &Own,
    tree: Tree,
    deadline: Instant,
    log: &Log,
) {
    let cluster = cluster(place, deadline);
    let name = &settings.dataset;
    let is_source = own.is_source() && source::is_started(place);
    let text = report::standing(own, &settings.node, is_source, tree);
    warn(log, cluster.attribute_set(&format!("lsync-{name}"), &text));
    let peers = format!("lsync-{name}-peers");
    if is_source {
        let (states, now) = (peer_states(place, settings, own), peer_files::boot_seconds());
        warn(log, cluster.attribute_set(&peers, &report::peers(&states, now)));
        let status = report::status_file(name, own, &states, now);
        if let Err(error) = replace_text(&place.status(), &status) {
            log.warning(format_args!("writing {}: {error}", place.status().display()));
        }
    } else {
        warn(log, cluster.attribute_clear(&peers));
        // Gone with the role: it would tell of peers that this node does not serve.
        let _may_not_be_there = fs::remove_file(place.status());
    }
    // What is still to be put away lies set aside too.
    let saved = crate::saved::measure(&settings.saved_dir).0 + crate::saved::waiting(&settings.source).0;
    warn(
        log,
        match saved {
            0 => cluster.attribute_clear(&format!("lsync-{name}-saved")),
            files => cluster.attribute_set(&format!("lsync-{name}-saved"), &files.to_string()),
        },
    );
}

/// The source's attributes after something has changed with its peers.
pub(crate) fn tell_of_peers(place: &Place, settings: &Settings, deadline: Instant, log: &Log) {
    if let (Ok(own), Ok(tree)) = (own::load(place), tree::look(&settings.source)) {
        tell_people(place, settings, &own, tree, deadline, log);
    }
}

/// What the source knows of its peers in this generation.
pub(crate) fn peer_states(place: &Place, settings: &Settings, own: &Own) -> Vec<(String, PeerState)> {
    let number = own.generation().map_or(0, |generation| generation.number);
    let state = |name: &str| {
        let mut state = peer_files::of_generation(place, name, number);
        state.behind_since =
            [state.behind_since, peer_files::waiting_since(place, name)].into_iter().flatten().min();
        if peer_files::has_returned(place, name) {
            // What it had not yet written to its disk may be gone.
            state.phase = Phase::Lost;
            state.behind_since.get_or_insert(peer_files::boot_seconds());
        }
        state
    };
    settings.peers.iter().map(|peer| (peer.name.clone(), state(&peer.name))).collect()
}

/// Takes away what this node told, when the resource stops here.
pub(crate) fn withdraw(place: &Place, settings: &Settings, deadline: Instant, log: &Log) {
    let cluster = cluster(place, deadline).on(&settings.node);
    let dataset = &settings.dataset;
    warn(log, cluster.promotion_score_clear(dataset));
    for name in ["", "-said", "-peers", "-saved"] {
        warn(log, cluster.attribute_clear(&format!("lsync-{dataset}{name}")));
    }
    let _may_not_be_there = fs::remove_file(place.status());
}

fn warn(log: &Log, written: Written) {
    if let Written::NoCluster(reason) = written {
        log.warning(format_args!("the cluster is not told: {reason}"));
    }
}

/// Whether this node's tree is one that a source could have: else it has no score, whatever it knows.
pub(crate) fn fit_to_lead(place: &Place, settings: &Settings, own: &Own) -> bool {
    if tree::same_place(place, settings).is_err() {
        return false;
    }
    match &own.latest {
        Some(record) => tree::check_source(&settings.source, record.dataset, record.filled, None).is_ok(),
        None => tree::look(&settings.source).is_ok(),
    }
}

/// Opens a generation with this node as its source: decided, written to the disk, written to the cluster, seen there.
///
/// # Errors
/// It may not ([`Refusal`]), or the cluster did not take the record.
pub(crate) fn open(
    place: &Place,
    settings: &Settings,
    deadline: Instant,
    log: &Log,
) -> Result<(Own, Sight), Failure> {
    let _lock = PidLock::at(place.record_lock()).lock_until(deadline)?;
    let sight = look(place, &settings.dataset, deadline)
        .map_err(|failure| failure.context("no generation can be opened without the cluster"))?;
    let own = learn_from(place, settings, sight.record.as_ref(), deadline, log)?;
    let tree = tree::look(&settings.source)?;
    let view = sight.view(settings, tree);
    let record = core::promote(&own, &view, random()?, random()?).map_err(|refusal| {
        tell(place, settings, &own, &sight, deadline, log);
        refused(settings, &refusal)
    })?;
    if let Some(base) = &own.latest {
        tree::check_source(&settings.source, base.dataset, base.filled, None).map_err(|trouble| {
            Failure::generic(format!("{trouble}; this node does not become the source"))
        })?;
    }
    log.info(format_args!("opening generation {}", record.generation));
    own::update(place, settings, deadline, |own| core::opening(own, view.record.as_ref(), &record))?;
    tree::same_place(place, settings).map_err(Failure::generic)?;
    tree::write_marker(&settings.source, record.dataset, &settings.dataset)?;
    tree::note_marked(place)?;
    let cluster = cluster(place, deadline);
    let old = view.record.as_ref().map(ToString::to_string);
    let taken =
        cluster.property_swap(&record_name(&settings.dataset), old.as_deref(), &record.to_string())?;
    let seen = sight.again(&cluster, &settings.dataset)?;
    let own = own::update(place, settings, deadline, |own| core::opened(own, seen.record.as_ref()))?;
    let quorum = seen.status.quorum;
    if own.is_source() && quorum {
        return Ok((own, seen));
    }
    Err(Failure::generic(match (taken, quorum) {
        (false, _) => "another node changed the record of this dataset at the same time".to_owned(),
        (true, false) => Refusal::NoQuorum.to_string(),
        (true, true) => {
            "the cluster took the record and then held another: a partition has just ended".to_owned()
        }
    }))
}

fn refused(settings: &Settings, refusal: &Refusal) -> Failure {
    Failure::generic(format!("{} is not to be the source of {}: {refusal}", settings.node, settings.dataset))
}

/// 64 bits that nobody can guess.
///
/// # Errors
/// The kernel gives none.
pub(crate) fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Adds a replica that has had its whole pass, and everything up to the number `canary`, to those in sync. `false` if more than that was
/// acknowledged meanwhile: it has to get that first.
///
/// # Errors
/// The cluster cannot be asked, or did not take it: the replica stays out, and is tried again.
pub(crate) fn join(
    place: &Place,
    settings: &Settings,
    peer: &str,
    canary: u64,
    deadline: Instant,
    log: &Log,
) -> Result<bool, Failure> {
    let lags = Cell::new(false);
    let changed = change(place, settings, deadline, log, |own, view| {
        let joined = core::joined(own, view, peer)?;
        // Under the record's lock, which whoever acknowledges has too: nothing comes between this look and the write.
        lags.set(acknowledged(place, &joined.generation) > canary);
        (!lags.get()).then_some(joined)
    })?;
    if changed.own.latest.is_some_and(|record| record.in_sync.contains(peer)) {
        return Ok(true);
    }
    if lags.get() {
        return Ok(false);
    }
    Err(Failure::generic(format!(
        "{peer} has everything, but this node may not say so: no quorum, or no longer the source"
    )))
}

/// Takes replicas that did not get everything out of those in sync.
///
/// # Errors
/// The cluster cannot be asked, or this node may not say so: nothing counts as acknowledged until it can.
pub(crate) fn leave(
    place: &Place,
    settings: &Settings,
    peers: &[&str],
    deadline: Instant,
    log: &Log,
) -> Result<(), Failure> {
    for peer in peers {
        let changed = change(place, settings, deadline, log, |own, view| core::left(own, view, peer))?;
        if changed.own.latest.is_some_and(|record| record.in_sync.contains(*peer)) {
            return Err(Failure::generic(format!(
                "{peer} lacks changes, but this node may not say so: no quorum, or no longer the source"
            )));
        }
    }
    Ok(())
}

/// The number up to which what was written in this generation was acknowledged: whoever joins those in sync has to have it.
pub(crate) fn acknowledged(place: &Place, generation: &Generation) -> u64 {
    match StateFile::new(place.acknowledged()).load::<(Generation, u64)>() {
        Ok(Some((noted, number))) if noted == *generation => number,
        Ok(_) => 0,
        // What cannot be read may be anything.
        Err(_) => u64::MAX,
    }
}

/// A number above all that were ever written, sent or acknowledged in this generation. Not by the file in the tree alone: whoever restores a backup
/// over the tree sets that back.
pub(crate) fn next_number(place: &Place, settings: &Settings, generation: &Generation) -> u64 {
    let sent = settings
        .peers
        .iter()
        .map(|peer| peer_files::of_generation(place, &peer.name, generation.number).canary)
        .max();
    // Of what cannot be read nothing follows here; nobody joins by it.
    let acknowledged = Some(acknowledged(place, generation)).filter(|number| *number < u64::MAX);
    let there = tree::canary(&settings.source);
    let told = tree::latest_beat(&settings.source);
    [sent, acknowledged, there].into_iter().flatten().fold(told, u64::max) + 1
}

/// Notes that everything before this number is acknowledged, if it may be said of what these replicas have. `false` if not: who is in sync has
/// changed meanwhile.
///
/// # Errors
/// There is no quorum, the cluster cannot be asked, or it cannot be noted.
pub(crate) fn acknowledge(
    place: &Place,
    settings: &Settings,
    have: &[(String, Said)],
    number: u64,
    deadline: Instant,
) -> Result<bool, Failure> {
    let _lock = PidLock::at(place.record_lock()).lock_until(deadline)?;
    let sight = look(place, &settings.dataset, deadline)?;
    let own = own::update(place, settings, deadline, |own| core::learn(own, sight.record.as_ref()))?;
    let view = sight.view(settings, Tree::Filled);
    if !view.quorum {
        return Err(Failure::generic(
            "the replicas have everything, but there is no quorum: nothing is acknowledged",
        ));
    }
    let Some(record) = &own.latest else { return Ok(false) };
    let alone = settings.min_peers == 0 && record.in_sync.iter().all(|name| *name == settings.node);
    let may = if alone {
        own.is_source() && own.latest == sight.record
    } else {
        core::acknowledged(&own, &view, have, settings.min_peers)
    };
    if may {
        let before = acknowledged(place, &record.generation);
        if before == u64::MAX {
            return Err(Failure::generic(format!(
                "{} cannot be read: remove it",
                place.acknowledged().display()
            )));
        }
        let number = number.max(before);
        StateFile::new(place.acknowledged()).save(&(&record.generation, number))?;
    }
    Ok(may)
}

/// Writes the cluster's record again if it has gone back behind what this node, its source, knows.
///
/// # Errors
/// The cluster cannot be asked.
pub(crate) fn restore(
    place: &Place,
    settings: &Settings,
    deadline: Instant,
    log: &Log,
) -> Result<Changed, Failure> {
    change(place, settings, deadline, log, |own, view| {
        let record = core::restored(own, view);
        if record.is_some() {
            log.warning("the cluster's record had gone back behind this source's: writing it again");
        }
        record
    })
}

/// What is known after the cluster's record was looked at, to change it.
pub(crate) struct Changed {
    /// What this node knows.
    pub(crate) own: Own,
    /// The cluster's record.
    pub(crate) record: Option<Record>,
}

/// Changes the cluster's record by a rule of the core: read, decided, swapped, read again, written down.
fn change(
    place: &Place,
    settings: &Settings,
    deadline: Instant,
    log: &Log,
    rule: impl Fn(&Own, &View) -> Option<Record>,
) -> Result<Changed, Failure> {
    let _lock = PidLock::at(place.record_lock()).lock_until(deadline)?;
    let tree = tree::look(&settings.source)?;
    let sight = look(place, &settings.dataset, deadline)?;
    let own = own::update(place, settings, deadline, |own| core::learn(own, sight.record.as_ref()))?;
    let view = sight.view(settings, tree);
    // What was decided before, and did not arrive or was lost again, goes first.
    let Some(record) = core::restored(&own, &view).or_else(|| rule(&own, &view)) else {
        return Ok(Changed { own, record: sight.record });
    };
    log.info(format_args!(
        "in sync: {}",
        record.in_sync.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    ));
    // On this disk first: whenever the write arrives, nothing is acknowledged any more by what it replaces.
    own::update(place, settings, deadline, |own| core::changing(own, &record))?;
    forget_cib(place);
    let old = view.record.as_ref().map(ToString::to_string);
    let cluster = cluster(place, deadline);
    cluster.property_swap(&record_name(&settings.dataset), old.as_deref(), &record.to_string())?;
    let seen = Sight { record: self::record(&cluster, &settings.dataset)?, ..sight };
    let own = own::update(place, settings, deadline, |own| match &seen.record {
        Some(cluster) => core::confirmed(own, cluster),
        None => own.clone(),
    })?;
    if own.latest != seen.record {
        forget_cib(place);
    }
    tell(place, settings, &own, &seen, deadline, log);
    Ok(Changed { own, record: seen.record })
}

/// The next monitor asks the cluster again, whether or not anything is written to it until then.
pub(crate) fn forget_cib(place: &Place) {
    let _may_not_be_there = fs::remove_file(place.cib_seen());
}

/// Whether the CIB was written since the cluster was last asked, so that there may be a newer record. Costs two system calls. `true` too
/// on a node without a CIB of its own (a remote node).
pub(crate) fn cib_changed(place: &Place) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    let cib = time(Path::new(CIB));
    cib.is_none() || cib != time(&place.cib_seen())
}

/// Replaces a file for people to read.
fn replace_text(path: &Path, text: &str) -> std::io::Result<()> {
    if read_file(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    fs::rename(new, path)
}

/// The nodes that the set names and that have lacked something for too long: they have to leave it before anything is acknowledged.
pub(crate) fn stragglers(
    settings: &Settings,
    own: &Own,
    states: &[(String, PeerState)],
    now: u64,
) -> Vec<String> {
    let Some(record) = &own.latest else { return Vec::new() };
    let straggles = |name: &str| match states.iter().find(|(known, _)| known == name) {
        Some((_, state)) => report::straggles(state, now, settings.lost_after),
        // One that is not served any more.
        None => true,
    };
    record.in_sync.iter().filter(|name| **name != settings.node && straggles(name)).cloned().collect()
}

/// Whether the cluster may have forgotten what this node told: its attribute daemon is another one, or it was long ago.
pub(crate) fn may_be_forgotten(place: &Place, settings: &Settings, deadline: Instant) -> bool {
    !cluster(place, deadline).remembers(&format!("master-{}", settings.dataset))
}

/// How long one look at the cluster from a monitor may take: what is left of its time is for telling of it.
pub(crate) fn soon(deadline: &ocf::Deadline) -> Instant {
    Instant::now() + deadline.remaining().mul_f32(0.8).min(Duration::from_secs(20))
}
