//! The unpromoted role: this node's tree may be received into, by the source of the latest generation alone.

use crate::core::{Own, Standing, Tree};
use crate::settings::{Place, Settings};
use crate::{own, receiver, saved, source, standing, tree};
use ocf::{Call, Code, Failure, Notification, Status, When};

/// Makes this node a replica: looks at what the cluster knows before anything may be received.
///
/// # Errors
/// The daemon does not serve, or the tree is not what this node knows it to be.
pub(crate) fn start(call: &Call, place: &Place, settings: &Settings) -> Result<(), Failure> {
    let deadline = call.deadline.instant();
    own_tree(place, settings, &own::load(place)?)?;
    tree::note_place(place, settings)?;
    tree::prepare(&settings.source)?;
    if !source::is_started(place) {
        source::role_ended(place)?;
    }
    // What was received by a pass that is still under way may have been cut off by whatever made this start necessary.
    let _may_not_be_there = std::fs::remove_file(place.claimed());
    // Whatever was told before, the cluster may have forgotten.
    let _may_not_be_there = std::fs::remove_dir_all(place.attributes());
    let half = std::time::Instant::now() + call.deadline.remaining() / 2;
    saved::put_away_or_later(place, settings, own::load(place)?.generation(), half, &call.log);
    receiver::serve(place, settings, deadline)?;
    match standing::look(place, &settings.dataset, deadline) {
        Ok(sight) => {
            if let Some(record) = &sight.record {
                belongs(settings, record.dataset)?;
            }
            standing::refresh_with(place, settings, &sight, deadline, &call.log)?;
        }
        Err(failure) => {
            call.log.warning(format_args!("nothing is known of the cluster: {}", failure.reason));
            // Not without its word: it may know of a newer generation than this node does.
            receiver::admit(place, settings, &Own::default(), deadline)?;
        }
    }
    Ok(())
}

/// A tree without its marker, where this node had everything: its file system is not mounted, or somebody emptied it.
fn own_tree(place: &Place, settings: &Settings, own: &Own) -> Result<(), Failure> {
    let had_marker = own.standing != Standing::Behind || place.marked().exists();
    let Some(record) = own.latest.as_ref().filter(|_| had_marker) else { return Ok(()) };
    let source = settings.source.display();
    match tree::marker(&settings.source)? {
        Some(marker) if marker.dataset == record.dataset => Ok(()),
        Some(_) => belongs(settings, record.dataset),
        None => Err(Failure::new(
            Code::Installed,
            format!(
                "{source} lacks its marker {}, which it had: is its file system mounted? If the directory is really new, remove \
                     {} and {}, and the source will fill it",
                crate::settings::TREE_MARKER,
                place.own().display(),
                place.marked().display()
            ),
        )),
    }
}

/// A tree that bears another dataset's marker is somebody else's data.
fn belongs(settings: &Settings, dataset: u64) -> Result<(), Failure> {
    match tree::marker(&settings.source)? {
        Some(marker) if marker.dataset != dataset => {
            let (source, file) = (settings.source.display(), crate::settings::TREE_MARKER);
            Err(Failure::new(
                Code::Installed,
                format!(
                    "{source} is the tree of another dataset, by its marker {file}: expected {dataset:016x}, found {:016x}; mount the \
                     right one, or remove the marker if this data may be replaced (it will be set aside)",
                    marker.dataset
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Ends it: nothing can be received any more when this returns.
///
/// # Errors
/// A transfer or the daemon could not be ended.
pub(crate) fn stop(call: &Call, place: &Place, settings: &Settings) -> Result<(), Failure> {
    let deadline = call.deadline.instant();
    receiver::withdraw(place, settings, deadline)?;
    standing::withdraw(place, settings, deadline, &call.log);
    Ok(())
}

/// What is left where no start is known of.
///
/// # Errors
/// Something of it is active.
pub(crate) fn remains(place: &Place) -> Result<Status, Failure> {
    if source::running(place)?.is_some_and(|it| it.alive) {
        return Err(Failure::generic(
            "lsyncd runs for this resource, and nothing is known of its start: stop it",
        ));
    }
    Ok(Status::Stopped)
}

/// Looks whether the tree can be received into, and whether the cluster has news.
///
/// # Errors
/// It cannot be received into.
pub(crate) fn monitor(call: &Call, place: &Place, settings: &Settings) -> Result<Status, Failure> {
    if !receiver::is_serving(place, settings.port) {
        return Err(Failure::generic(format!(
            "the rsync daemon on port {} has ended by itself: nothing can be received here",
            settings.port
        )));
    }
    if place.promoted().exists() {
        // A monitor or promotion that found so has ended the source already; only a demotion ends the role.
        let reason = "this node has the promoted role, and is not the source any more: it has to be demoted";
        return Err(Failure::new(Code::FailedPromoted, reason));
    }
    let mut own = own::load(place)?;
    tree::same_place(place, settings).map_err(Failure::generic)?;
    own_tree(place, settings, &own).map_err(|failure| Failure::generic(failure.reason))?;
    let stopping = call.is_probe() || call.action != ocf::Action::Monitor;
    if !stopping {
        receiver::trim_log(place, settings.port);
        saved::go_on(place, settings, own.generation(), &call.log);
    }
    let news = || {
        own.latest.is_none()
            || standing::cib_changed(place)
            || standing::may_be_forgotten(place, settings, call.deadline.instant())
    };
    if !stopping && (call.check_level >= 10 || news()) {
        match standing::refresh(place, settings, standing::soon(&call.deadline), &call.log) {
            Ok(seen) => own = seen,
            Err(failure) => {
                call.log.warning(format_args!("nothing is known of the cluster: {}", failure.reason))
            }
        }
    }
    if call.check_level >= 10 {
        receiver::greets(settings, call.deadline.instant())?;
        let tree = tree::look(&settings.source).unwrap_or(Tree::Empty);
        standing::tell_people(place, settings, &own, tree, call.deadline.instant(), &call.log);
    }
    let in_sync = own.standing != Standing::Behind
        && own.latest.as_ref().is_some_and(|record| record.in_sync.contains(&settings.node));
    if settings.report_degraded && !in_sync {
        return Ok(Status::DegradedRunning(match own.generation() {
            Some(generation) => format!("not in sync with generation {generation}"),
            None => "there has been no source yet".to_owned(),
        }));
    }
    Ok(Status::Running)
}

/// Hears that nodes start, or that another one leads: looks at the cluster at once instead of at the next monitor.
///
/// # Errors
/// The cluster cannot be asked.
pub(crate) fn notify(
    call: &Call,
    place: &Place,
    settings: &Settings,
    notification: &Notification,
) -> Result<(), Failure> {
    if notification.when == When::Post {
        standing::refresh(place, settings, call.deadline.instant(), &call.log)?;
    }
    Ok(())
}
