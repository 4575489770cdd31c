//! The promoted role: this node's tree is the source, lsyncd runs, and the agent keeps account of who has what.

use crate::control::Ask;
use crate::core::{self, Generation, Own, Said, Tree};
use crate::pass::{self, Mode, Pass};
use crate::peers::{PeerState, Phase};
use crate::settings::{Peer, Place, Settings};
use crate::source::Running;
use crate::{answer, ask, own, peer_files, receiver, report, source, standing, tree};
use ocf::{Call, Code, Failure, Notification, Operation, Status, When};
use process::PidLock;
use std::time::{Duration, Instant};

/// For so many seconds after its start lsyncd is left to begin with the whole passes by itself.
const FIRST: u64 = 15;
/// Pause between two looks at what the peers have.
const LOOK: Duration = Duration::from_millis(50);

/// Opens a generation and starts lsyncd for it.
///
/// # Errors
/// This node may not be the source, or lsyncd does not run; what was opened stays this node's.
pub(crate) fn promote(call: &Call, place: &Place, settings: &Settings) -> Result<(), Failure> {
    if let Some(running) = source::running(place)?
        && running.alive
        && own::load(place)?.is_source()
    {
        // Somebody may have called start by hand, on what leads.
        return source::role_begins(place);
    }
    if settings.peers.is_empty() {
        let reason = "there is no other node to mirror to: expected one in the cluster, or in peers";
        return Err(Failure::generic(reason));
    }
    let deadline = call.deadline.instant();
    source::stop(place, deadline)?;
    tree::prepare(&settings.source)?;
    source::role_begins(place)?;
    let (own, sight) = match standing::open(place, settings, deadline, &call.log) {
        Ok(opened) => opened,
        Err(failure) => {
            source::role_ended(place)?;
            return Err(failure);
        }
    };
    let generation = own.generation().ok_or_else(|| Failure::generic("no generation was opened"))?;
    let device = tree::device(&settings.source)?;
    source::start(place, settings, generation, device, deadline)?;
    standing::tell(place, settings, &own, &sight, deadline, &call.log);
    Ok(())
}

/// Ends the role: lsyncd first, then a last whole pass to every replica in sync; one that does not get it is no longer in sync.
///
/// # Errors
/// lsyncd or one of its transfers could not be ended.
pub(crate) fn demote(call: &Call, place: &Place, settings: &Settings) -> Result<(), Failure> {
    let deadline = call.deadline.instant();
    source::stop(place, deadline)?;
    let own = own::load(place)?;
    if own.is_source() {
        drain(call, place, settings, &own);
    }
    source::role_ended(place)?;
    let own = own::update(place, settings, deadline, core::demoted)?;
    // Whatever a monitor may have begun meanwhile.
    source::end_jobs(place, deadline)?;
    receiver::serve(place, settings, deadline)?;
    standing::publish(place, settings, &own, deadline, &call.log);
    Ok(())
}

/// Sends what lsyncd had not sent yet. Never keeps the role from ending: a replica that cannot be reached loses its place among those in
/// sync, or if even that cannot be written, this node alone knows; nothing was acknowledged without it.
fn drain(call: &Call, place: &Place, settings: &Settings, own: &Own) {
    let Some(record) = &own.latest else { return };
    if let Err(trouble) = tree::check_source(&settings.source, record.dataset, record.filled, None) {
        call.log.error(format_args!("nothing is sent any more: {trouble}"));
        return;
    }
    let in_sync = |peer: &&Peer| record.in_sync.contains(&peer.name);
    let mut peers: Vec<&Peer> = settings.peers.iter().filter(in_sync).collect();
    if peers.is_empty() {
        // Nobody else could take over: any that can be reached and gets a whole pass now may.
        peers = settings.peers.iter().collect();
    }
    let until = Instant::now() + call.deadline.remaining().mul_f32(0.7);
    let results = pass::drain(place, settings, &peers, &record.generation, until, &call.log);
    let failed: Vec<&str> =
        results.iter().filter(|(_, result)| result.is_err()).map(|(name, _)| name.as_str()).collect();
    for (name, result) in &results {
        match result {
            Ok(passed) => {
                call.log.info(format_args!("{name} has everything; {} were sent last", passed.transferred))
            }
            Err(trouble) => call.log.warning(format_args!("{name} did not get the last changes: {trouble}")),
        }
    }
    let unserved = record.in_sync.iter().map(String::as_str);
    let unserved = unserved.filter(|name| *name != settings.node && settings.peer(name).is_none());
    let lost: Vec<&str> =
        failed.into_iter().filter(|name| record.in_sync.contains(*name)).chain(unserved).collect();
    if !lost.is_empty()
        && let Err(failure) = standing::leave(place, settings, &lost, call.deadline.instant(), &call.log)
    {
        call.log.error(failure.reason);
    }
}

/// Looks after lsyncd and the peers.
///
/// # Errors
/// This node is not fit to be the source any more.
pub(crate) fn monitor(
    call: &Call,
    place: &Place,
    settings: &Settings,
    running: Running,
) -> Result<Status, Failure> {
    let failed = |reason: String| Failure::new(Code::FailedPromoted, reason);
    let deadline = call.deadline.instant();
    let mut own = own::load(place)?;
    let observing = call.action == ocf::Action::Monitor && !call.is_probe();
    let mut superseded = None;
    let forgotten = observing && standing::may_be_forgotten(place, settings, deadline);
    if observing && (forgotten || standing::cib_changed(place)) {
        match standing::restore(place, settings, standing::soon(&call.deadline), &call.log) {
            Ok(seen) => {
                own = seen.own;
                superseded = seen.record.filter(|record| core::superseded(&own, Some(record)));
            }
            Err(failure) => call.log.warning(failure.reason),
        }
    }
    if forgotten {
        standing::publish(place, settings, &own, standing::soon(&call.deadline), &call.log);
    }
    let leads = own.is_source() && own.generation() == Some(&running.generation);
    if !leads {
        source::stop(place, deadline)?;
        let newest = own.generation().map_or_else(|| "none".to_owned(), ToString::to_string);
        return Err(failed(format!(
            "generation {newest} was opened since this node opened {}: it is not the source any more",
            running.generation.number
        )));
    }
    if let Some(record) = superseded {
        // Seen anew by the next monitor too, if anything keeps this one's word from being heeded.
        standing::forget_cib(place);
        return Err(failed(format!(
            "the cluster holds generation {} for the latest, and this node leads {}: one of the two has to be left for a new one",
            record.generation, running.generation
        )));
    }
    if let Some(record) = &own.latest {
        tree::check_source(&settings.source, record.dataset, record.filled, Some(running.device))
            .map_err(|trouble| failed(format!("{trouble}; nothing is sent from here")))?;
    }
    if call.action != ocf::Action::Monitor {
        return Ok(Status::Promoted);
    }
    if !observing {
        return if running.alive {
            Ok(Status::Promoted)
        } else {
            Err(failed(source::why_ended(place, settings)))
        };
    }
    receiver::trim_log(place, settings.port);
    // A demotion that has begun meanwhile is not to find lsyncd started anew; nor has a monitor to wait for it.
    if let Ok(_alone) = PidLock::at(call.run_file("lock")).try_lock() {
        look_after_daemons(call, place, settings, &running).map_err(|failure| failed(failure.reason))?;
        look_after_peers(call, place, settings, &mut own);
    }
    let degraded = judge(settings, &own);
    match call.check_level {
        0 => {}
        1..20 => end_to_end(call, place, settings).map_err(|failure| failed(failure.reason))?,
        _ => verify(call, place, settings, &own),
    }
    Ok(degraded.map_or(Status::Promoted, Status::DegradedPromoted))
}

/// Starts again what has ended, and lsyncd for other peers than it was started for.
fn look_after_daemons(
    call: &Call,
    place: &Place,
    settings: &Settings,
    running: &Running,
) -> Result<(), Failure> {
    if source::running(place)?.as_ref() != Some(running) {
        // Another action was quicker.
        return Ok(());
    }
    if !running.alive {
        call.log.warning(format_args!("{}: starting it again", source::why_ended(place, settings)));
        restart(place, settings, running, call.deadline.instant())?;
    } else if running.peers != settings.peers {
        call.log.info("other nodes are to be served than lsyncd was started for: starting it anew");
        restart(place, settings, running, call.deadline.instant())?;
    }
    if !receiver::is_serving(place, settings.port) {
        call.log.warning("the rsync daemon has ended by itself: starting it again");
        if let Err(failure) = receiver::serve(place, settings, call.deadline.instant()) {
            // Nothing is received where the source is.
            call.log.warning(failure.reason);
        }
    }
    Ok(())
}

/// Starts lsyncd anew in the same generation, which begins with a whole pass to every peer: what was told to the old one only is in it.
fn restart(place: &Place, settings: &Settings, running: &Running, deadline: Instant) -> Result<(), Failure> {
    source::stop(place, deadline)?;
    source::start(place, settings, &running.generation, running.device, deadline)
}

/// Peers that get nothing are taken out of those in sync, and tried again; what changed is told.
fn look_after_peers(call: &Call, place: &Place, settings: &Settings, own: &mut Own) {
    let Some(generation) = own.generation().cloned() else { return };
    let states = standing::peer_states(place, settings, own);
    let now = peer_files::boot_seconds();
    let stragglers = standing::stragglers(settings, own, &states, now);
    if !stragglers.is_empty() {
        let names: Vec<&str> = stragglers.iter().map(String::as_str).collect();
        if let Err(failure) =
            standing::leave(place, settings, &names, standing::soon(&call.deadline), &call.log)
        {
            call.log.warning(failure.reason);
        }
        if let Ok(seen) = own::load(place) {
            *own = seen;
        }
    }
    let in_sync = |name: &str| own.latest.as_ref().is_some_and(|record| record.in_sync.contains(name));
    for (name, state) in &states {
        if waits_to_join(state) && !in_sync(name) && !report::straggles(state, now, settings.lost_after) {
            join_late(call, place, settings, name, &generation);
            continue;
        }
        // A whole pass is the only way back. One that is due comes by lsyncd first.
        let due =
            state.phase == Phase::Syncing && state.failing_since.is_none() && report::lag(state, now) < FIRST;
        if (state.phase != Phase::Following || !in_sync(name))
            && !due
            && let Some(peer) = settings.peer(name)
        {
            pass::revive(place, settings, peer, &generation, &call.log);
        }
    }
    let tree = tree::look(&settings.source).unwrap_or(Tree::Empty);
    standing::tell_people(place, settings, own, tree, call.deadline.instant(), &call.log);
}

fn waits_to_join(state: &PeerState) -> bool {
    state.phase == Phase::Following && state.joining
}

/// A peer that is still to get what had been acknowledged; nothing while something is sent to it, which has it join by itself.
fn join_late(call: &Call, place: &Place, settings: &Settings, name: &str, generation: &Generation) {
    let Some(peer) = settings.peer(name) else { return };
    let Ok(_lock) = PidLock::at(place.peer_lock(name)).try_lock() else { return };
    let mut state = peer_files::of_generation(place, name, generation.number);
    if waits_to_join(&state) && !peer_files::has_returned(place, name) {
        pass::join_late(place, settings, peer, &mut state, standing::soon(&call.deadline), &call.log);
    }
}

/// Why this source counts as degraded, if that is asked for.
fn judge(settings: &Settings, own: &Own) -> Option<String> {
    let record = own.latest.as_ref()?;
    let replicas = record.in_sync.iter().filter(|name| **name != settings.node).count();
    (settings.report_degraded && replicas < settings.min_peers)
        .then(|| format!("{replicas} replicas in sync, expected at least {}", settings.min_peers))
}

/// Level 10: a number is written into the tree and seen on every replica in sync. Success means that everything written before is there,
/// and stays whichever of them takes over. Begins anew with those who are left when one is taken out of the set meanwhile.
fn end_to_end(call: &Call, place: &Place, settings: &Settings) -> Result<(), Failure> {
    // What a power cut here takes back must not have been acknowledged.
    answer::make_durable(&settings.source)?;
    loop {
        let own = own::load(place)?;
        let Some(record) = own.latest.as_ref().filter(|_| own.is_source()) else {
            return Err(Failure::generic("this node is not the source any more: nothing is acknowledged"));
        };
        let number = standing::next_number(place, settings, &record.generation);
        tree::write_canary(&settings.source, number)?;
        let in_sync = |peer: &&Peer| record.in_sync.contains(&peer.name);
        let peers: Vec<&Peer> = settings.peers.iter().filter(in_sync).collect();
        if peers.len() < settings.min_peers {
            return Err(Failure::generic(format!(
                "{} replicas in sync, expected at least {}: nothing is acknowledged",
                peers.len(),
                settings.min_peers
            )));
        }
        let waited = call.deadline.wait_for("every replica in sync to get what was written", LOOK, || {
            let has =
                |peer: &&Peer| peer_files::load(place, &peer.name).is_ok_and(|state| state.canary >= number);
            let all = peers.iter().all(has).then_some(true);
            let same = || Ok::<_, Failure>(own::load(place)?.latest.as_ref() == Some(record));
            Ok(if all.is_none() && !same()? { Some(false) } else { all })
        });
        if waited? {
            let mut have: Vec<(String, Said)> = Vec::new();
            for peer in &peers {
                have.extend(
                    arrived(call, place, settings, peer, record, number)
                        .map(|said| (peer.name.clone(), said)),
                );
            }
            if have.len() == peers.len()
                && standing::acknowledge(place, settings, &have, number, call.deadline.instant())?
            {
                return Ok(());
            }
        }
        if call.deadline.is_over() {
            return Err(call.deadline.missed(
                "what was written to be seen on the same replicas that the cluster holds to be in sync",
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// Reads the canary back from a replica, with the record by which the replica knows that it is in sync: `None` if it does not know that yet, or
/// does not answer.
fn arrived(
    call: &Call,
    place: &Place,
    settings: &Settings,
    peer: &Peer,
    record: &core::Record,
    number: u64,
) -> Option<Said> {
    // It may not have seen the record's last change; then it is asked to look.
    for what in [Ask::State, Ask::Look] {
        let answer = match ask::ask(place, settings, peer, what, call.deadline.instant()) {
            Ok(answer) => answer,
            Err(silence) => {
                call.log.info(format_args!("nothing is acknowledged yet: {silence}"));
                return None;
            }
        };
        let knows = answer.own.standing == core::Standing::InSync
            && answer.said.id == record.generation.id
            && answer.said.change >= record.change;
        if answer.canary.is_some_and(|canary| canary >= number) && knows {
            return Some(answer.said);
        }
    }
    None
}

/// Level 20: every replica in sync is compared by content, and what differs is repaired and reported.
fn verify(call: &Call, place: &Place, settings: &Settings, own: &Own) {
    let Some(record) = &own.latest else { return };
    for peer in settings.peers.iter().filter(|peer| record.in_sync.contains(&peer.name)) {
        let (generation, deadline) = (&record.generation, call.deadline.instant());
        let verify = Pass { place, settings, peer, generation, mode: Mode::Verify, deadline };
        match verify.run(&call.log) {
            Ok(passed) if passed.repaired.is_empty() => {
                call.log.info(format_args!("{} has no drift", peer.name))
            }
            Ok(passed) => call.log.warning(format_args!(
                "{} had drifted, and was repaired (what it held is set aside there): {}",
                peer.name,
                passed.repaired.join(", ")
            )),
            // Its trouble is its own, and its state tells of it.
            Err(trouble) => {
                call.log.warning(format_args!("{} could not be compared: {trouble}", peer.name));
            }
        }
    }
}

/// Hears that replicas have started: they get a whole pass at once.
///
/// # Errors
/// The cluster cannot be asked.
pub(crate) fn notify(
    call: &Call,
    place: &Place,
    settings: &Settings,
    running: &Running,
    notification: &Notification,
) -> Result<(), Failure> {
    if (notification.when, notification.operation) != (When::Post, Operation::Start) {
        return Ok(());
    }
    if running.peers != settings.peers {
        call.log.info("other nodes are to be served than lsyncd was started for: starting it anew");
        restart(place, settings, running, call.deadline.instant())?;
    }
    for started in notification.start.iter().filter(|started| started.node != settings.node) {
        let Some(peer) = settings.peer(&started.node) else {
            call.log
                .warning(format_args!("{} is not among the nodes in peers: it gets nothing", started.node));
            continue;
        };
        call.log.info(format_args!("{} has started: it is in sync again after a whole pass", peer.name));
        peer_files::note_returned(place, &peer.name)?;
    }
    let mut own = own::load(place)?;
    look_after_peers(call, place, settings, &mut own);
    standing::refresh(place, settings, call.deadline.instant(), &call.log).map(drop)
}
