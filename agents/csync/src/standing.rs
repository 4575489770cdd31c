//! How the node stands: what the worker last saw, for the monitor, for the cluster and for people.

use crate::settings::{Place, Settings};
use cluster::{Cluster, Written};
use csync2::decide::Status;
use ocf::{Failure, Log, StateFile};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Longest for telling the cluster.
const TELLING: Duration = Duration::from_secs(20);

/// Promotion scores: of a node that may be the authority, and of one where an include is held back, which may lack what it is to decide on.
const WELL: i32 = 100;
const HELD: i32 = 5;

/// What the worker saw at the end of its last round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// On one line, as in the attribute; `ok` if all is well.
    pub(crate) text: String,
    /// Why that is worse than passing trouble, if it is.
    pub(crate) degraded: Option<String>,
    /// Peers with their troubles, a word each.
    pub(crate) peers: String,
    /// Whether an include is held back.
    pub(crate) held: bool,
    /// Whether the daemon is down on purpose.
    #[serde(default)]
    pub(crate) suspended: bool,
    /// Why the daemon does not run, if that is not on purpose.
    pub(crate) daemon: Option<String>,
    /// The lines of the status file.
    pub(crate) lines: Vec<String>,
}

impl Standing {
    /// What the worker last wrote down.
    pub(crate) fn load(place: &Place) -> Result<Option<Self>, Failure> {
        StateFile::new(place.standing()).load()
    }

    /// Of a status, with lines for people.
    pub(crate) fn of(status: &Status, peers: String, lines: Vec<String>, degraded: Option<String>) -> Self {
        Standing {
            text: status.text(),
            degraded,
            peers,
            held: !status.held.is_empty(),
            suspended: false,
            daemon: None,
            lines,
        }
    }

    /// Writes it down, and tells the cluster and people what has changed.
    pub(crate) fn tell(&self, place: &Place, settings: &Settings, log: &Log) {
        if let Err(failure) = StateFile::new(place.standing()).save(self) {
            log.warning(failure.reason);
        }
        let cluster = cluster(place).on(&settings.node);
        let name = &settings.resource;
        if settings.promotable {
            // Not by conflicts: the authority would move just when it is to settle one.
            warn(log, cluster.promotion_score_set(name, if self.held { HELD } else { WELL }));
        }
        warn(log, cluster.attribute_set(&format!("csync-{name}"), &self.text));
        warn(log, cluster.attribute_set(&format!("csync-{name}-peers"), &self.peers));
    }
}

/// The cluster's tools, with a memory of what was written.
pub(crate) fn cluster(place: &Place) -> Cluster {
    Cluster::new(Instant::now() + TELLING).remembering(place.attributes())
}

/// Takes away what this node told.
pub(crate) fn withdraw(place: &Place, settings: &Settings, log: &Log, deadline: Instant) {
    let until = deadline.min(Instant::now() + TELLING);
    let cluster = Cluster::new(until).remembering(place.attributes()).on(&settings.node);
    let resource = &settings.resource;
    if settings.promotable {
        warn(log, cluster.promotion_score_clear(resource));
    }
    for name in ["", "-peers", "-versions", "-same", "-files"] {
        warn(log, cluster.attribute_clear(&format!("csync-{resource}{name}")));
    }
}

fn warn(log: &Log, written: Written) {
    if let Written::NoCluster(reason) = written {
        log.warning(format_args!("the cluster is not told: {reason}"));
    }
}
