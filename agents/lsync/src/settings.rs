//! What the agent's other faces (lsyncd's pushes, the daemon's questions) need to know, which Pacemaker tells only to its
//! actions: written by them, read by those. And where everything of a dataset is kept.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the parameters mean for one dataset on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The dataset: the resource's name, fit for file and module names.
    pub(crate) dataset: String,
    /// This node's name in the cluster.
    pub(crate) node: String,
    /// The tree.
    pub(crate) source: PathBuf,
    /// All nodes of the dataset but this one.
    pub(crate) peers: Vec<Peer>,
    /// The port of the rsync daemons.
    pub(crate) port: u16,
    /// The address that the daemon listens on; all if none.
    pub(crate) bind_address: Option<String>,
    /// The file from which all keys are derived.
    pub(crate) secret_file: PathBuf,
    /// Seconds for which lsyncd gathers changes.
    pub(crate) delay: u64,
    /// Seconds that a connection may take to come about.
    pub(crate) connect_timeout: u64,
    /// Seconds for which a transfer may stand still.
    pub(crate) io_timeout: u64,
    /// Seconds after which a peer that takes nothing is given up, until it gets a whole pass.
    pub(crate) lost_after: u64,
    /// How much one pass or push may delete.
    pub(crate) max_delete: MaxDelete,
    /// Patterns of rsync for what is not mirrored.
    pub(crate) exclude: Vec<String>,
    /// Whether hard links stay links.
    pub(crate) hard_links: bool,
    /// Whether access control lists are mirrored.
    pub(crate) acls: bool,
    /// Whether extended attributes are mirrored.
    pub(crate) xattrs: bool,
    /// Whether files with holes keep them.
    pub(crate) sparse: bool,
    /// KiB a second for each peer; no limit if none.
    pub(crate) bwlimit: Option<u64>,
    /// Where what diverged is set aside.
    pub(crate) saved_dir: PathBuf,
    /// Bytes in there beyond which no further pass is let in that would set something aside; no limit if none.
    pub(crate) saved_limit: Option<u64>,
    /// Replicas that have to be in sync.
    pub(crate) min_peers: usize,
    /// The node named as the first source.
    pub(crate) initial_source: Option<String>,
    /// Whether too few in sync is shown as degraded.
    pub(crate) report_degraded: bool,
    /// The program rsync.
    pub(crate) rsync: String,
    /// The program lsyncd.
    pub(crate) lsyncd: String,
    /// This program.
    pub(crate) agent: PathBuf,
}

/// Another node of the dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Its name in the cluster.
    pub(crate) name: String,
    /// The address, or name to be resolved, where its daemon listens.
    pub(crate) address: String,
}

/// How much may be deleted at once: more than either is held back until an administrator releases it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MaxDelete {
    /// Files and directories.
    pub(crate) count: u64,
    /// Percent of the files and directories of the tree. Below [`MaxDelete::FLOOR`] it does not count.
    pub(crate) percent: u64,
}

impl MaxDelete {
    /// In a small tree a few files are many percent.
    pub(crate) const FLOOR: u64 = 20;

    /// Whether so many deletions in a tree that keeps `remaining` entries are to be held back.
    pub(crate) fn holds_back(self, deletions: u64, remaining: u64) -> bool {
        let total = u128::from(deletions) + u128::from(remaining);
        deletions > self.count
            || deletions > Self::FLOOR && u128::from(deletions) * 100 > total * u128::from(self.percent)
    }
}

/// In the agent's own directory at the root of the tree: the tree's identity ([`Marker`](crate::tree::Marker)).
pub(crate) const TREE_MARKER: &str = ".bascule/dataset";
/// Beside it: the number that the source writes there, by which the replicas are seen to follow.
pub(crate) const TREE_CANARY: &str = ".bascule/canary";
/// Beside it: what is never mirrored, each node's own: `.bascule/local/saved` (replaced files on their way to `saved_dir`). Mode 0700.
pub(crate) const TREE_PRIVATE: &str = ".bascule/local";

/// Where everything of a dataset is kept on this node.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `/run/bascule/lsync/NAME.d`: volatile.
    pub(crate) run: PathBuf,
    /// `/var/lib/bascule/lsync/NAME`: lasting.
    pub(crate) lasting: PathBuf,
    /// `/run/bascule/lsync/rsyncd-PORT`: of the daemon that all datasets of a port share.
    daemons: PathBuf,
}

impl Place {
    /// The places of a dataset, named as [`Settings::dataset`].
    pub(crate) fn of(dataset: &str) -> Self {
        let run = Path::new(ocf::RUN_DIRECTORY).join("lsync");
        Place {
            lasting: Path::new(ocf::LASTING_DIRECTORY).join("lsync").join(dataset),
            daemons: run.clone(),
            run: run.join(format!("{dataset}.d")),
        }
    }

    /// For tests: everything below one directory.
    #[cfg(test)]
    pub(crate) fn below(directory: &Path, dataset: &str) -> Self {
        let run = directory.join("run/bascule/lsync");
        Place {
            lasting: directory.join("var/lib/bascule/lsync").join(dataset),
            daemons: run.clone(),
            run: run.join(format!("{dataset}.d")),
        }
    }

    /// [`Settings`].
    pub(crate) fn settings(&self) -> PathBuf {
        self.run.join("settings.json")
    }

    /// Bears the time of the CIB's file when the cluster was last asked.
    pub(crate) fn cib_seen(&self) -> PathBuf {
        self.run.join("cib-seen")
    }

    /// Which directory the tree was at the start.
    pub(crate) fn tree(&self) -> PathBuf {
        self.run.join("tree.json")
    }

    /// There once the tree on this node has had its marker.
    pub(crate) fn marked(&self) -> PathBuf {
        self.lasting.join("marked")
    }

    /// What was written to the cluster, so that it is not written again.
    pub(crate) fn attributes(&self) -> PathBuf {
        self.run.join("attributes")
    }

    /// [`Own`](crate::core::Own).
    pub(crate) fn own(&self) -> PathBuf {
        self.lasting.join("generation.json")
    }

    /// Held while that is read, decided upon and replaced.
    pub(crate) fn own_lock(&self) -> PathBuf {
        self.run.join("generation.lock")
    }

    /// Held while the cluster's record is read, decided upon and replaced.
    pub(crate) fn record_lock(&self) -> PathBuf {
        self.run.join("record.lock")
    }

    /// The number up to which this source has acknowledged what was written.
    pub(crate) fn acknowledged(&self) -> PathBuf {
        self.run.join("acknowledged.json")
    }

    /// There while this node has the promoted role: what runs here may write to the tree.
    pub(crate) fn promoted(&self) -> PathBuf {
        self.run.join("promoted")
    }

    /// On a replica: the generation that has claimed it since it started.
    pub(crate) fn claimed(&self) -> PathBuf {
        self.run.join("claimed")
    }

    /// [`PeerState`](crate::peers::PeerState) of a peer, on the source.
    pub(crate) fn peer(&self, name: &str) -> PathBuf {
        self.run.join("peers").join(format!("{}.json", ocf::file_name(name)))
    }

    /// Held while something is sent to a peer.
    pub(crate) fn peer_lock(&self, name: &str) -> PathBuf {
        self.run.join("peers").join(format!("{}.lock", ocf::file_name(name)))
    }

    /// The generated configuration of lsyncd; its log and status are beside it.
    pub(crate) fn lsyncd(&self, extension: &str) -> PathBuf {
        self.run.join(format!("lsyncd.{extension}"))
    }

    /// For people: one line for each peer, OK or KO.
    pub(crate) fn status(&self) -> PathBuf {
        self.run.join("status")
    }

    /// Made by an administrator to let held-back deletions through, once.
    pub(crate) fn release(&self) -> PathBuf {
        self.run.join("release-deletions")
    }

    /// Secrets for the tools, each in a file of mode 0600.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.run.join(format!("{name}.secret"))
    }

    /// Answers to other nodes' questions, served by the daemon.
    pub(crate) fn answers(&self) -> PathBuf {
        self.run.join("answers")
    }

    /// The directory of the rsync daemon on this port.
    pub(crate) fn daemon(&self, port: u16) -> PathBuf {
        self.daemons.join(format!("rsyncd-{port}"))
    }
}

impl Settings {
    /// The name of the daemon's module through which the tree is received.
    pub(crate) fn module(&self) -> String {
        self.dataset.clone()
    }

    /// The name of the module through which questions are asked.
    pub(crate) fn control_module(&self) -> String {
        crate::rsyncd::control_module(&self.dataset)
    }

    /// A peer by its name.
    pub(crate) fn peer(&self, name: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// Longest that one question to a peer may take.
    pub(crate) fn question_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout + self.io_timeout.min(15))
    }
}

impl Settings {
    /// What is enough to end a dataset that was started, when nothing else of it can be read.
    pub(crate) fn to_stop(dataset: &str, source: &Path, port: u16) -> Self {
        Settings {
            dataset: dataset.to_owned(),
            node: String::new(),
            source: source.to_owned(),
            peers: Vec::new(),
            port,
            bind_address: None,
            secret_file: PathBuf::new(),
            delay: 1,
            connect_timeout: 3,
            io_timeout: 60,
            lost_after: 10,
            max_delete: MaxDelete { count: 10_000, percent: 30 },
            exclude: Vec::new(),
            hard_links: false,
            acls: false,
            xattrs: false,
            sparse: false,
            bwlimit: None,
            saved_dir: Place::of(dataset).lasting.join("saved"),
            saved_limit: None,
            min_peers: 1,
            initial_source: None,
            report_degraded: false,
            rsync: "rsync".into(),
            lsyncd: "lsyncd".into(),
            agent: PathBuf::new(),
        }
    }

    /// For tests: a dataset `site5` of node `n1` with one peer `n2` at 127.0.0.1.
    #[cfg(test)]
    pub(crate) fn example(source: &Path) -> Self {
        Settings {
            node: "n1".into(),
            peers: vec![Peer { name: "n2".into(), address: "127.0.0.1".into() }],
            secret_file: "/etc/corosync/authkey".into(),
            agent: "/usr/lib/ocf/resource.d/bascule/lsync".into(),
            ..Settings::to_stop("site5", source, 873)
        }
    }
}
