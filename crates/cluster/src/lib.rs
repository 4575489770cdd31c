//! What an agent tells the cluster and asks of it: node attributes, promotion score, cluster options, members.
//!
//! All through Pacemaker's own command-line tools, each call with a deadline. None of it is ever fatal by itself: an agent works under
//! `ocf-tester`, or from an administrator's shell, where no cluster is. So a write returns [`Written`], which cannot be
//! taken for an error by `?`, and a question returns [`NoCluster`] for the caller to judge.
//!
//! A tool costs some 15 ms, thirty times a monitor. Attributes are therefore written only when they change; `memory.rs`
//! says how that stays true when the cluster forgets.

mod attributes;
mod memory;
mod options;
mod status;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use process::{Error, Output, Tool};

use memory::Memory;
pub use status::{Location, Member, Role, Status};

/// Longest that one tool is waited for. Each is done in milliseconds, unless its daemon hangs: then the rest of the action's
/// time is worth more.
const LONGEST: Duration = Duration::from_secs(10);

/// The cluster as seen by one action of an agent.
#[derive(Debug)]
pub struct Cluster {
    deadline: Instant,
    memory: Option<Memory>,
    node: Option<String>,
}

/// What became of an attribute that was to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an attribute that is not written should at least be logged"]
pub enum Written {
    /// It was handed to this node's attribute daemon, which passes it on to the others and to the CIB.
    Written,
    /// It has this value already; no tool was run.
    Unchanged,
    /// It could not be written. Worth a warning; the action's own result stands.
    NoCluster(NoCluster),
}

/// Why the cluster gave no answer: it does not run here, its tools are missing, it did not answer in time or refused. The text is one
/// line that names the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCluster(String);

impl Cluster {
    /// The cluster for an action that is to end by this deadline. Without a memory attributes are always written.
    pub fn new(deadline: Instant) -> Self {
        Self { deadline, memory: None, node: None }
    }

    /// Remembers in this directory (one for each resource, below `/run`) which attributes were written, so that the same value is not
    /// written again.
    #[must_use]
    pub fn remembering(mut self, directory: impl Into<PathBuf>) -> Self {
        self.memory = Some(Memory::new(directory.into()));
        self
    }

    /// Says which node this is, if that is known (not empty): else the tool that sets a promotion score asks the controller, and that
    /// takes a second or two on the node that is busy with what has just changed in the configuration (seen on 2.1.5, on the DC).
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.node = Some(node).filter(|node| !node.is_empty()).map(str::to_owned);
        self
    }

    /// Believes nothing remembered, and remembers anew. For probes and starts: after a restart of the cluster, the re-join of a
    /// remote node or a clean-up they come first, and they are rare.
    #[must_use]
    pub fn afresh(mut self) -> Self {
        if let Some(memory) = &mut self.memory {
            memory.doubt();
        }
        self
    }

    /// The name by which the cluster knows this node; it need not be the host name.
    ///
    /// # Errors
    /// [`NoCluster`], also if the answer is no name.
    pub fn node_name(&self) -> Result<String, NoCluster> {
        let output = self.ask(&Tool::new("crm_node").arg("--name"))?;
        match output.text().trim() {
            "" | "(null)" => Err(NoCluster("crm_node --name: no name given".into())),
            name => Ok(name.to_owned()),
        }
    }

    /// Members, quorum, attributes and where resources run: one call for all.
    ///
    /// This is what the CIB says: attributes arrive there a moment after they were written
    /// ([`Cluster::attribute_everywhere`] is ahead of it).
    ///
    /// # Errors
    /// [`NoCluster`], also if the answer cannot be read.
    pub fn status(&self) -> Result<Status, NoCluster> {
        let output = self.ask(&Tool::new("crm_mon").args(["--one-shot", "--output-as=xml"]))?;
        Status::parse(&output.text()).map_err(|reason| NoCluster(format!("crm_mon: {reason}")))
    }

    /// Runs a tool that must succeed.
    fn ask(&self, tool: &Tool) -> Result<Output, NoCluster> {
        Ok(self.run(tool)?.ok()?)
    }

    /// Runs a tool whose exit code says something.
    fn run(&self, tool: &Tool) -> Result<Output, NoCluster> {
        let output = tool.run(self.deadline.min(Instant::now() + LONGEST));
        if let Some(memory) = &self.memory {
            memory.look_again();
        }
        Ok(output?)
    }
}

impl From<Error> for NoCluster {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for NoCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoCluster {}
