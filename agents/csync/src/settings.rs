//! What the worker needs to know, which Pacemaker tells only to the actions: written by them, read by it. And where everything of a
//! resource is kept.

use crate::values::Policy;
use csync2::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the parameters mean on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The resource's name.
    pub(crate) resource: String,
    /// This node's name in the cluster.
    pub(crate) node: String,
    /// Its name for csync2.
    pub(crate) host: String,
    /// The configuration gives this node an address of its own (`host NAME@ADDRESS`): csync2 then finds its name by itself and listens at all
    /// addresses, else it is told the name, and listens at that one.
    #[serde(default)]
    pub(crate) has_interface: bool,
    /// Which of several configurations (`-C`).
    pub(crate) config: Option<String>,
    /// Where the administrator's configuration is.
    pub(crate) directory: PathBuf,
    /// The port at which every node listens.
    pub(crate) port: u16,
    /// The directory of csync2's database.
    pub(crate) database: PathBuf,
    /// Seconds between two full checks.
    pub(crate) check_interval: u64,
    /// Seconds that a run towards one peer may take.
    pub(crate) peer_timeout: u64,
    /// What settles conflicts.
    pub(crate) policy: Policy,
    /// The same for single groups.
    pub(crate) group_policy: BTreeMap<String, Policy>,
    /// Where versions that lose are kept.
    pub(crate) backup_dir: PathBuf,
    /// How many removals may go at once.
    pub(crate) max_delete: u64,
    /// How many percent of an include may go at once.
    pub(crate) max_delete_percent: u8,
    /// Whether trouble is shown as degraded.
    pub(crate) report_degraded: bool,
    /// Whether one node is to be promoted.
    pub(crate) promotable: bool,
    /// The program csync2.
    pub(crate) csync2: String,
}

/// Where everything of a resource is kept.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Until the next boot.
    run: PathBuf,
    /// For ever.
    lasting: PathBuf,
}

impl Settings {
    /// The file name of the configuration, the administrator's and the one that csync2 is run with.
    pub(crate) fn config_name(&self) -> String {
        self.config.as_ref().map_or_else(|| "csync2.cfg".to_owned(), |name| format!("csync2_{name}.cfg"))
    }

    /// The administrator's configuration.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.join(self.config_name())
    }

    /// csync2's database.
    pub(crate) fn database_file(&self) -> PathBuf {
        let host = self.host.to_lowercase();
        let name = self.config.as_ref().map_or_else(|| host.clone(), |config| format!("{host}_{config}"));
        self.database.join(format!("{name}.db3"))
    }

    /// This node's name for csync2, as its configuration has it.
    pub(crate) fn host_text(&self) -> Text {
        Text::from(self.host.to_lowercase().as_str())
    }

    /// Longest that a run towards one peer may take.
    pub(crate) fn for_one_peer(&self) -> Duration {
        Duration::from_secs(self.peer_timeout)
    }
}

impl Place {
    /// Of a resource by its name.
    pub(crate) fn of(resource: &str) -> Self {
        Place::below(Path::new(ocf::RUN_DIRECTORY), Path::new(ocf::LASTING_DIRECTORY), resource)
    }

    /// The same below other directories.
    pub(crate) fn below(run: &Path, lasting: &Path, resource: &str) -> Self {
        let name = ocf::file_name(resource);
        Place { run: run.join("csync").join(format!("{name}.d")), lasting: lasting.join("csync").join(name) }
    }

    /// [`Settings`].
    pub(crate) fn settings(&self) -> PathBuf {
        self.run.join("settings.json")
    }

    /// The directory that csync2 takes for its own: the configuration that it is run with is there.
    pub(crate) fn system(&self) -> PathBuf {
        self.run.join("system")
    }

    /// The daemon's process.
    pub(crate) fn daemon(&self) -> PathBuf {
        self.run.join("daemon.json")
    }

    /// What the daemon says.
    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.run.join("daemon.log")
    }

    /// The worker's process.
    pub(crate) fn worker(&self) -> PathBuf {
        self.run.join("worker.json")
    }

    /// What the worker says that nobody asked for.
    pub(crate) fn worker_log(&self) -> PathBuf {
        self.run.join("worker.log")
    }

    /// How the node stands, as the worker last saw it.
    pub(crate) fn standing(&self) -> PathBuf {
        self.run.join("standing.json")
    }

    /// For people: one line for each peer, conflict and held-back include.
    pub(crate) fn status(&self) -> PathBuf {
        self.run.join("status")
    }

    /// There while this node has the promoted role.
    pub(crate) fn promoted(&self) -> PathBuf {
        self.run.join("promoted")
    }

    /// Made by an administrator to let held-back removals through, once.
    pub(crate) fn release(&self) -> PathBuf {
        self.run.join("release-deletions")
    }

    /// Touched by an action that wants the worker to look at once.
    pub(crate) fn nudge(&self) -> PathBuf {
        self.run.join("nudge")
    }

    /// What was written to the cluster, so that it is not written again.
    pub(crate) fn attributes(&self) -> PathBuf {
        self.run.join("attributes")
    }

    /// What the includes were like when all was well.
    pub(crate) fn roots(&self) -> PathBuf {
        self.lasting.join("roots.json")
    }

    /// Names in conflict, for an administrator who chooses a directory.
    pub(crate) fn conflicts(&self) -> PathBuf {
        self.run.join("conflicts.json")
    }

    /// There while the database is made: one that is found then is not whole.
    pub(crate) fn first_run(&self) -> PathBuf {
        self.lasting.join("first-run")
    }

    /// What was chosen by hand, and has not reached everybody.
    pub(crate) fn chosen(&self) -> PathBuf {
        self.lasting.join("chosen.json")
    }

    /// Removals that were let through, and wait for a peer.
    pub(crate) fn let_through(&self) -> PathBuf {
        self.lasting.join("let-through.json")
    }

    /// Which database of csync2's this node had last.
    pub(crate) fn database(&self) -> PathBuf {
        self.lasting.join("database.json")
    }

    /// With whom the database has been compared since it was made.
    pub(crate) fn compared(&self) -> PathBuf {
        self.lasting.join("compared.json")
    }

    /// Contents of files by their hash, as the last deep check saw them.
    pub(crate) fn hashes(&self) -> PathBuf {
        self.lasting.join("hashes.json")
    }

    /// Where versions that lose are kept, unless said otherwise.
    pub(crate) fn kept(&self) -> PathBuf {
        self.lasting.join("kept")
    }

    /// Where csync2 puts what it overwrites, of groups without a directory of their own.
    pub(crate) fn overwritten(&self) -> PathBuf {
        self.lasting.join("overwritten")
    }
}
