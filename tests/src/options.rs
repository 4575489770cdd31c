//! What a lab is made of, said before it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Lab;
use crate::turn::Turn;

/// What the cluster does with a node that it has lost sight of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// `stonith-enabled=false`: it hopes.
    None,
    /// The node's power is cut and stays cut until [`Lab::boot`](crate::Lab::boot): crisp timing for tests.
    Off,
    /// The node's power is cut and comes back after [`Options::power_cycle`].
    Reboot,
}

/// The plan of a [`Lab`]. Made with [`Options::nodes`], refined by the methods, given to
/// [`Lab::start`](crate::Lab::start).
#[derive(Clone)]
pub struct Options {
    pub(crate) nodes: Vec<String>,
    pub(crate) networks: usize,
    pub(crate) fencing: Fencing,
    pub(crate) token: Duration,
    pub(crate) power_cycle: Duration,
    pub(crate) start_within: Duration,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) agents: bool,
    pub(crate) further_agents: Vec<(String, PathBuf)>,
    pub(crate) label: String,
    pub(crate) turn: Option<Arc<Turn>>,
}

impl Options {
    /// A cluster of `count` nodes (at most 9) called `n1`, `n2`, …, on one network, without fencing, with Corosync's
    /// own token of a second.
    #[must_use]
    pub fn nodes(count: usize) -> Self {
        Self {
            nodes: (1..=count).map(|number| format!("n{number}")).collect(),
            networks: 1,
            fencing: Fencing::None,
            token: Duration::from_millis(1000),
            power_cycle: Duration::from_secs(5),
            start_within: Duration::from_secs(60),
            properties: Vec::new(),
            agents: true,
            further_agents: Vec::new(),
            label: "test".to_owned(),
            turn: None,
        }
    }

    /// How many networks link the nodes and the client (at most 8): each is an interface `eth0`, `eth1`, … and a
    /// Corosync link of its own.
    #[must_use]
    pub fn networks(mut self, count: usize) -> Self {
        self.networks = count.max(1);
        self
    }

    /// What is done with lost nodes; sets `stonith-enabled` and, unless [`Fencing::None`], makes the resource `fencing`.
    #[must_use]
    pub fn fencing(mut self, fencing: Fencing) -> Self {
        self.fencing = fencing;
        self
    }

    /// Corosync's token timeout: the time after which a silent node is thought lost (consensus adds 1.2 times as much).
    #[must_use]
    pub fn token(mut self, token: Duration) -> Self {
        self.token = token;
        self
    }

    /// How long a node that was fenced with [`Fencing::Reboot`] stays off: the time that a real machine needs to boot.
    #[must_use]
    pub fn power_cycle(mut self, off: Duration) -> Self {
        self.power_cycle = off;
        self
    }

    /// How long the cluster may take to come up before [`Lab::start`](crate::Lab::start) gives up.
    #[must_use]
    pub fn start_within(mut self, bound: Duration) -> Self {
        self.start_within = bound;
        self
    }

    /// A cluster property, set before the first start.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Nodes without the agents of this workspace, which then need not be built.
    #[must_use]
    pub fn stock_agents(mut self) -> Self {
        self.agents = false;
        self
    }

    /// Installs the program at `path` on the nodes too, as `ocf:bascule:NAME`.
    #[must_use]
    pub fn agent(mut self, name: &str, path: &str) -> Self {
        self.further_agents.push((name.to_owned(), path.into()));
        self
    }

    /// The name under which the lab's processes are listed (`bascule-lab:LABEL:n1`).
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }

    /// Lets the lab run while `other` does. Without this it waits until no other lab runs on this machine, in this or in
    /// another process: clusters are heavy, and Pacemaker slows down under load.
    #[must_use]
    pub fn beside(mut self, other: &Lab) -> Self {
        self.turn = other.turn();
        self
    }
}
