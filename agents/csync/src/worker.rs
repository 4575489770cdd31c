//! The worker: one process for each resource, which notices changes, has csync2 take note of them, and sends them to every peer.
//!
//! It sleeps until something happens: a change below an include, a run that has ended, an action that nudges, or the time of a full check
//! or of another try. Then it makes a round ([`Worker::round`]). Runs towards peers are threads, so that one that hangs delays nobody.

mod ahead;
mod database;
mod drift;
pub(crate) mod insist;
mod keeping;
mod refresh;
mod round;
mod sending;
mod senses;
mod settle;

use crate::fingerprint::Fingerprints;
use crate::look::Roots;
use crate::memory::Memory;
use crate::peers::{self, Peer};
use crate::settings::{Place, Settings};
use crate::settling::Copy;
use crate::standing::Standing;
use crate::watch::Watched;
use crate::{configuration, daemon, look, report};
use csync2::Text;
use csync2::config::Config;
use csync2::database::{Database, File, Type};
use csync2::decide::Policies;
use csync2::meaning::Meaning;
use csync2::messages::table::Difference;
use ocf::{Failure, Log, StateFile};
use senses::Senses;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What happens within so short a time is looked at together.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a reader waits for csync2 to let go of the database.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first pause before another look at what other nodes tell of conflicts, and the longest.
const SOON: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_secs(60);
/// So many full rounds look for themselves, and the next has csync2 look at everything: should both ever not be of one mind.
const THOROUGH: u32 = 100;
/// Pause before another look, while nodes are not alike.
const UNLIKE: Duration = Duration::from_secs(10);
/// Pause before another look at what was put off.
const PUT_OFF: Duration = Duration::from_millis(500);
/// Pause after a round that came to nothing.
const AGAIN: Duration = Duration::from_secs(5);

/// What a run towards a peer came to.
type Ended = (Text, sending::Came);

/// The worker's state.
pub(crate) struct Worker {
    place: Place,
    settings: Settings,
    config: Arc<Config>,
    host: Text,
    log: Log,
    senses: Senses,
    ended: Receiver<Ended>,
    tell_end: Sender<Ended>,
    peers: BTreeMap<Text, Peer>,
    /// With whom to compare once more, as something differed that may not any longer.
    anew: BTreeSet<Text>,
    /// Comparisons that have ended: the peer, and what was found.
    found: Vec<(Text, Vec<Difference>)>,
    memory: Memory,
    /// Files that may just be arriving, and since when they are left alone for it.
    put_off: BTreeMap<PathBuf, Instant>,
    /// Files that were changed while they were sent.
    moved: BTreeSet<Text>,
    /// The own sums and those of peers that were not the same in the last full round, and since when.
    unlike: Vec<(drift::Sums, drift::Sums, Instant)>,
    roots: Roots,
    /// Removals that were let through and wait for a peer.
    let_through: BTreeSet<Text>,
    full_at: Instant,
    /// Full rounds until csync2 itself looks at everything.
    until_thorough: u32,
    /// The daemon was started, and is to run.
    daemon_is_up: bool,
    /// The administrator's configuration that is in use.
    source: Vec<u8>,
    watched: Watched,
    /// Whether what is watched has to be looked for anew.
    stale: bool,
    failed: Option<String>,
    /// Why conflicts could not be settled.
    unsettled: Option<String>,
    /// When everything was looked at, and how long that took.
    checked: Option<(u64, Duration)>,
    told: Option<Standing>,
    /// What is noted as in conflict.
    in_conflict: BTreeSet<Text>,
    /// What the status file has.
    shown: (Option<Standing>, Option<(u64, Duration)>),
    /// How conflicts are settled.
    policies: Policies,
    /// When what other nodes tell of conflicts is looked at again, and the pause before that.
    settle_at: Option<Instant>,
    settle_pause: Duration,
    /// What files that wait for a peer were before, the oldest first: a peer that still has one of those has changed nothing.
    before: BTreeMap<Text, Vec<Copy>>,
    /// Files whose version here was made on top of these peers', and is forced on them.
    ahead: BTreeMap<Text, BTreeSet<Text>>,
    /// Since when a file's version is told to the others.
    telling: BTreeMap<Text, Instant>,
    /// Versions that were kept already.
    kept: BTreeSet<(Text, look::VersionId)>,
    /// What is the same on all nodes.
    prints: Fingerprints,
}

/// What a round is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Occasion {
    /// Paths at which something has happened.
    changed: BTreeSet<PathBuf>,
    /// Everything is looked at.
    full: bool,
    /// And by csync2 itself.
    thorough: bool,
}

/// The face of the program that runs as the worker: `work RESOURCE`.
pub(crate) fn work(arguments: &[OsString]) -> u8 {
    let Some(resource) = arguments.first().and_then(|word| word.to_str()) else { return 2 };
    let log = || Log::new(format!("csync({resource})"), Some("daemon"), false, None);
    match Worker::new(Place::of(resource), log()) {
        Ok(mut worker) => worker.go_on(),
        Err(failure) => {
            log().error(failure.reason);
            1
        }
    }
}

impl Worker {
    fn new(place: Place, log: Log) -> Result<Self, Failure> {
        let settings: Settings = StateFile::new(place.settings())
            .load()?
            .ok_or_else(|| Failure::generic(format!("{} is gone", place.settings().display())))?;
        let config = configuration::made(&place, &settings)?;
        let senses = Senses::new(&place, &settings)?;
        let roots = StateFile::new(place.roots()).load()?.unwrap_or_default();
        let let_through: Vec<Vec<u8>> = StateFile::new(place.let_through()).load()?.unwrap_or_default();
        let memory = Memory::load(&place, &log);
        let (tell_end, ended) = channel();
        Ok(Worker {
            host: settings.host_text(),
            place,
            settings,
            config: Arc::new(config),
            source: Vec::new(),
            log,
            senses,
            ended,
            tell_end,
            // The first round takes the configuration up, with them.
            peers: BTreeMap::new(),
            anew: BTreeSet::new(),
            found: Vec::new(),
            policies: Policies::default(),
            prints: Fingerprints::default(),
            memory,
            put_off: BTreeMap::new(),
            moved: BTreeSet::new(),
            unlike: Vec::new(),
            roots,
            let_through: let_through.into_iter().map(Text::from).collect(),
            full_at: Instant::now(),
            until_thorough: 0,
            daemon_is_up: false,
            watched: Watched::default(),
            stale: true,
            failed: None,
            unsettled: None,
            checked: None,
            told: None,
            in_conflict: BTreeSet::new(),
            shown: (None, None),
            settle_at: None,
            settle_pause: SOON,
            before: BTreeMap::new(),
            ahead: BTreeMap::new(),
            telling: BTreeMap::new(),
            kept: BTreeSet::new(),
        })
    }

    /// Until it is ended.
    fn go_on(&mut self) -> u8 {
        let mut occasion = Occasion { full: true, ..Occasion::default() };
        loop {
            self.round(&occasion);
            occasion = self.wait();
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self) -> Occasion {
        let put_off = (!self.put_off.is_empty()).then(|| Instant::now() + PUT_OFF);
        let due = [Some(self.full_at), peers::next(self.peers.iter()), self.settle_at, put_off];
        let until = due.into_iter().flatten().min().unwrap_or(self.full_at);
        // What has failed is not tried over and over.
        let until = if self.failed.is_some() { until.max(Instant::now() + AGAIN) } else { until };
        let asks = [self.place.nudge(), self.place.release(), self.settings.config_file()];
        let is_asked = |name: &OsString| asks.iter().any(|place| place.file_name() == Some(name));
        let (sensed, asked) = loop {
            let pause = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            let sensed = self.senses.wait(pause);
            let asked = sensed.called.iter().any(is_asked);
            // Its own files are written in the same directory.
            if asked || sensed.watched || sensed.otherwise || Instant::now() >= until {
                break (sensed, asked);
            }
        };
        let mut occasion = Occasion { full: Instant::now() >= self.full_at, ..Occasion::default() };
        if asked {
            occasion.full = true;
            self.peers.values_mut().for_each(Peer::try_now);
        }
        if sensed.watched {
            self.notice(&mut occasion);
            std::thread::sleep(SETTLE);
            self.notice(&mut occasion);
        }
        occasion.changed.extend(self.put_off.keys().cloned());
        occasion
    }

    /// Takes what was noticed, and sees to it that nothing comes over it that is on its way.
    fn notice(&mut self, occasion: &mut Occasion) {
        let config = Arc::clone(&self.config);
        let host = self.host.clone();
        let meaning = Meaning::new(&config, &host);
        let noticed = self.senses.watch.noticed(&meaning);
        self.keep_changed(&noticed.paths, &meaning);
        let refused = daemon::refuse(&self.place, &noticed.paths, |place| self.makes_way(place, &meaning));
        if refused > 0 {
            self.log.info(
                "a file was changed here while another node's version was arriving: that is refused for now",
            );
        }
        occasion.full |= noticed.everything;
        self.stale |= noticed.everything;
        occasion.changed.extend(noticed.paths);
    }

    /// Whether something is gone that was no regular file: csync2 removes it when a file is to come there.
    fn makes_way(&self, place: &Path, meaning: &Meaning<'_>) -> bool {
        let is_file =
            |file: File| matches!(file.checked().map(|checked| checked.kind), Ok(Type::File { .. }));
        let was_file = || {
            let database = Database::open(&self.settings.database_file(), PATIENCE).ok()?;
            let names = meaning.names(&configuration::text(place));
            Some(names.iter().any(|name| database.file(name).ok().flatten().is_some_and(is_file)))
        };
        // What is gone cannot be overwritten: where it is not known what it was, it goes on.
        std::fs::symlink_metadata(place).is_err() && was_file() != Some(true)
    }

    /// Looks, has csync2 take note, sends, and tells.
    fn round(&mut self, occasion: &Occasion) {
        while let Ok((peer, came)) = self.ended.try_recv() {
            self.take(&peer, came);
        }
        let thorough = occasion.full && self.until_thorough == 0;
        let begun = Instant::now();
        let outcome = self.try_round(&Occasion { thorough, ..occasion.clone() });
        if occasion.full && outcome.is_ok() {
            self.until_thorough = if thorough { THOROUGH } else { self.until_thorough - 1 };
            self.checked = Some((seconds(), begun.elapsed()));
        }
        if occasion.full {
            let pause = if outcome.is_ok() { self.settings.check_interval } else { AGAIN.as_secs() };
            self.full_at = Instant::now() + Duration::from_secs(pause);
        } else if outcome.is_err() {
            // What changed is looked at again with everything else.
            self.full_at = self.full_at.min(Instant::now() + AGAIN);
        }
        if !self.memory.unlike.is_empty() {
            // Somebody is on it.
            self.full_at = self.full_at.min(Instant::now() + UNLIKE);
        }
        if outcome.is_err() {
            self.look_for_damage();
        }
        match outcome {
            // What failed may not have been tried again by a round that was about less.
            Ok(()) if !occasion.full => {}
            Ok(()) => self.failed = None,
            Err(why) => {
                if self.failed.as_ref() != Some(&why) {
                    self.log.warning(&why);
                }
                self.failed = Some(why);
            }
        }
        self.tell(occasion.full);
    }

    /// Tells how it stands, if that is news, and now and then: the cluster may have forgotten.
    fn tell(&mut self, again: bool) {
        let standing = report::standing(&self.peers, &self.memory, self.failed.as_deref(), Instant::now());
        if again || self.told.as_ref() != Some(&standing) {
            standing.tell(&self.place, &self.settings, &self.log);
            self.told = Some(standing.clone());
        }
        let conflicts = self.memory.names_in_conflict();
        if conflicts != self.in_conflict {
            let names: Vec<&[u8]> = conflicts.iter().map(Text::bytes).collect();
            if let Err(failure) = StateFile::new(self.place.conflicts()).save(&names) {
                self.log.warning(failure.reason);
            }
            self.in_conflict = conflicts;
        }
        if self.shown != (Some(standing.clone()), self.checked) {
            if let Err(failure) =
                configuration::replace(&self.place.status(), report::page(&standing, self.checked).as_bytes())
            {
                self.log.warning(failure.reason);
            }
            self.shown = (Some(standing), self.checked);
        }
    }
}

/// Now, in seconds since 1970.
fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
