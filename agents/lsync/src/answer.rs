//! The hook that the rsync daemon runs before it serves the control module: it writes the answer to the question that is being
//! asked for into the file that the daemon then sends. What each question makes this node do is told at [`Ask`].

use crate::control::{Answer, Ask, Question};
use crate::core::{self, Generation, Own, Standing, Tree};
use crate::keys::{Key, replace};
use crate::settings::{Place, Settings, TREE_MARKER};
use crate::{ask, own, receiver, saved, standing, tree};
use ocf::{Failure, Log, StateFile};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long a claim is looked up for in the cluster: its record may still be on the way here.
const CLAIM: Duration = Duration::from_secs(3);
/// Pause after the first look; each further one is twice as long.
const TICK: Duration = Duration::from_millis(100);
/// An answer has been fetched long before.
const STALE: Duration = Duration::from_secs(120);
/// What is kept of the time that the asker waits, for the answer's way.
const RESERVE: Duration = Duration::from_secs(1);

/// What this node can do about a question: ask the cluster, and tell it.
pub(crate) trait Cluster {
    /// Reads the cluster's record and learns from it ([`standing::learn`]): one tool, for somebody waits to send.
    fn learn(&self) -> Result<Own, Failure>;
    /// The same, and tells how this node stands ([`standing::refresh`]).
    fn refresh(&self) -> Result<Own, Failure>;
}

/// The hook: `answer DATASET`, with the request in `RSYNC_REQUEST`. The exit code is the daemon's to know whether to go on;
/// what went wrong is for this node's log, not for the asker.
pub(crate) fn answer(arguments: &[OsString]) -> u8 {
    let dataset = arguments.first().and_then(|it| it.to_str()).unwrap_or("");
    let facility = std::env::var("HA_LOGFACILITY").ok();
    let log = Log::new(format!("lsync({dataset})[{}]", std::process::id()), facility.as_deref(), false, None);
    let request = std::env::var("RSYNC_REQUEST").unwrap_or_default();
    // A name that could lead out of the directory is none of a dataset.
    if dataset.is_empty() || dataset.contains('/') || dataset.starts_with('.') {
        log.error("answer: no dataset was named");
        return 1;
    }
    let place = Place::of(dataset);
    let settings: Settings = match StateFile::new(place.settings()).load() {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            log.error(format_args!("a question for {dataset}, which is not started here"));
            return 1;
        }
        Err(failure) => {
            log.error(failure.reason);
            return 1;
        }
    };
    let deadline = Instant::now() + settings.question_timeout().saturating_sub(RESERVE);
    let cluster = Pacemaker { place: &place, settings: &settings, deadline, log: &log };
    receiver::trim_log(&place, settings.port);
    match respond(&place, &settings, &request, deadline, &log, &cluster) {
        Ok(()) => 0,
        Err(failure) => {
            log.error(failure.reason);
            1
        }
    }
}

struct Pacemaker<'a> {
    place: &'a Place,
    settings: &'a Settings,
    deadline: Instant,
    log: &'a Log,
}

impl Cluster for Pacemaker<'_> {
    fn learn(&self) -> Result<Own, Failure> {
        standing::learn(self.place, self.settings, self.deadline, self.log)
    }

    fn refresh(&self) -> Result<Own, Failure> {
        standing::refresh(self.place, self.settings, self.deadline, self.log)
    }
}

/// Does what the request asks for, and writes the answer.
///
/// # Errors
/// The request is no question, or the answer cannot be written. Whatever else goes wrong is part of the answer.
pub(crate) fn respond(
    place: &Place,
    settings: &Settings,
    request: &str,
    deadline: Instant,
    log: &Log,
    cluster: &impl Cluster,
) -> Result<(), Failure> {
    let module = settings.control_module();
    let asked = request.strip_prefix(module.as_str()).and_then(|rest| rest.strip_prefix('/'));
    let question: Question = asked
        .unwrap_or(request)
        .parse()
        .map_err(|why: String| Failure::generic(format!("refused: {why}")))?;
    ask::remove_stale(&place.answers(), STALE);
    let own = act(place, settings, &question.what, deadline, log, cluster)?;
    let mut answer = how_it_stands(place, settings, own);
    if let Ask::Complete(generation) = &question.what
        && !was_claimed(place, generation)
    {
        let started = format!("{} has started anew since the pass began", settings.node);
        answer.refuses.get_or_insert(started);
    }
    // It may be taken for an acknowledgement: what a power cut here would take back must not be in it.
    if matches!(question.what, Ask::State | Ask::Look)
        && let Err(failure) = make_durable(&settings.source)
    {
        answer.canary = None;
        answer.refuses.get_or_insert(failure.reason);
    }
    if let (Ask::Claim(_), Some(why)) = (&question.what, &answer.refuses) {
        log.warning(format_args!("no pass is let in: {why}"));
    }
    let file = place.answers().join(question.to_string());
    replace(&file, &serde_json::to_vec(&answer)?, 0o600)
        .map_err(|error| Failure::generic(format!("writing {}: {error}", file.display())))?;
    Ok(())
}

/// What the question makes this node do; what it knows afterwards.
fn act(
    place: &Place,
    settings: &Settings,
    what: &Ask,
    deadline: Instant,
    log: &Log,
    cluster: &impl Cluster,
) -> Result<Own, Failure> {
    match what {
        Ask::State => own::load(place),
        Ask::Look => or_known(place, log, cluster.refresh()),
        Ask::Claim(generation) => {
            let until = deadline.min(Instant::now() + CLAIM);
            let mut own = own::load(place)?;
            if own.accepts(generation) {
                // Known already; the module may not be open to it yet.
                own = own::update(place, settings, deadline, Own::clone)?;
            } else {
                own = or_known(place, log, cluster.learn())?;
            }
            let mut pause = TICK;
            loop {
                let newer = own.generation().is_some_and(|it| it.number > generation.number);
                if newer || own.generation() == Some(generation) || Instant::now() + pause >= until {
                    break;
                }
                std::thread::sleep(pause);
                pause *= 2;
                // Why the cluster cannot be asked has been told once.
                own = cluster.learn().unwrap_or(own);
            }
            if own.accepts(generation) && refusal(place, settings, &own, 0).is_none() {
                // Who is about to send is the only one who may, and does not yet: what is being received is of one that was killed,
                // and would come to lie over what is newer.
                receiver::end_transfers(place, settings, deadline)?;
                tree::prepare(&settings.source)?;
                fs::write(place.claimed(), Key::user(generation))?;
            }
            Ok(own)
        }
        Ask::Complete(generation) => {
            let before = own::load(place)?;
            if !before.accepts(generation) || !was_claimed(place, generation) {
                return Ok(before);
            }
            make_durable(&settings.source)?;
            tree::note_marked(place)?;
            // Not the whole time: what is not put away now stays where it is, safe, and is the next call's.
            let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
            saved::put_away_or_later(place, settings, Some(generation), half, log);
            // Nobody is told yet: it counts when the cluster's record names this node, and then its source asks to look.
            own::update(place, settings, deadline, |own| core::completed(own, generation))
        }
    }
}

/// Whether this generation has claimed this node since it started. What was received before that may have gone with a power cut, before
/// it was on the disk.
fn was_claimed(place: &Place, generation: &Generation) -> bool {
    fs::read_to_string(place.claimed()).is_ok_and(|claimed| claimed == Key::user(generation))
}

/// What is known after a look at the cluster; what was known before if it cannot be asked.
fn or_known(place: &Place, log: &Log, looked: Result<Own, Failure>) -> Result<Own, Failure> {
    match looked {
        Ok(own) => Ok(own),
        Err(failure) => {
            log.warning(format_args!("the cluster cannot be asked: {}", failure.reason));
            own::load(place)
        }
    }
}

/// Everything that was received is on the disk when this returns.
pub(crate) fn make_durable(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::generic(format!("syncing {}: {error}", path.display()));
    let directory = fs::File::open(path).map_err(failed)?;
    nix::unistd::syncfs(&directory).map_err(|error| failed(error.into()))
}

fn how_it_stands(place: &Place, settings: &Settings, own: Own) -> Answer {
    let (tree, gone) = match tree::look(&settings.source) {
        Ok(tree) => (tree, None),
        Err(failure) => (Tree::Empty, Some(failure.reason)),
    };
    let (away, waiting) = (saved::measure(&settings.saved_dir), saved::waiting(&settings.source));
    let refuses = gone.or_else(|| refusal(place, settings, &own, away.1 + waiting.1));
    Answer {
        said: own.said(tree),
        canary: tree::canary(&settings.source),
        saved: away.0 + waiting.0,
        refuses,
        own,
    }
}

/// Why no pass is to come, though its generation may be right.
fn refusal(place: &Place, settings: &Settings, own: &Own, set_aside: u64) -> Option<String> {
    let source = settings.source.display();
    if place.promoted().exists() {
        return Some(format!(
            "{} has not been demoted yet, what runs there may still write to its tree",
            settings.node
        ));
    }
    let unmarked = match tree::marker(&settings.source) {
        Ok(marker) => marker.is_none(),
        Err(failure) => return Some(failure.reason),
    };
    if let Err(other) = tree::same_place(place, settings) {
        return Some(format!("{}: {other}", settings.node));
    }
    if (own.standing == Standing::InSync || place.marked().exists()) && unmarked {
        return Some(format!(
            "{source} on {} lacks its marker {TREE_MARKER}: it is not mounted, or was emptied",
            settings.node
        ));
    }
    let limit = settings.saved_limit.filter(|limit| core::sets_aside(own) && set_aside > *limit)?;
    Some(format!(
        "{set_aside} bytes lie set aside in {} on {}, more than saved_limit={limit}, and this pass may add to them: look through them \
         and remove what is not wanted, or raise the limit",
        settings.saved_dir.display(),
        settings.node
    ))
}
