//! The lab: real Corosync and Pacemaker clusters on one machine, for tests that say in one line what happens.
//!
//! ```no_run
//! use lab::{Fencing, Lab, Options};
//! use std::time::Duration;
//!
//! let lab = Lab::start(Options::nodes(3).fencing(Fencing::Off)).unwrap();
//! lab.pcs("resource create vip ocf:bascule:vip ip=10.77.0.100 cidr_netmask=24 op monitor interval=10s");
//! lab.settle(Duration::from_secs(20));
//! let owner = lab.resource_location("vip").unwrap();
//!
//! let ping = lab.client().ping_every(Duration::from_millis(20), "10.77.0.100");
//! lab.cut(&owner);
//! lab.wait("vip moves", Duration::from_secs(20), |lab| lab.resource_location("vip").is_some_and(|node| node != owner));
//!
//! assert_eq!(lab.running().len(), 2, "the cut node was fenced");
//! let seen = ping.finish();
//! seen.assert_never_served_twice();
//! assert!(seen.longest_outage() < Duration::from_secs(10), "{seen}");
//!
//! lab.heal(&owner);
//! lab.boot(&owner);
//! lab.wait_online(Duration::from_secs(30));
//! ```
//!
//! # What there is
//! * [`Options`]: nodes, networks, token, fencing, cluster properties.
//! * [`Lab`]: events ([`crash`](Lab::crash), [`boot`](Lab::boot), [`reboot`](Lab::reboot), [`cut`](Lab::cut),
//!   [`heal`](Lab::heal), [`partition`](Lab::partition), [`lose`](Lab::lose)), questions
//!   ([`resource_location`](Lab::resource_location), [`promoted`](Lab::promoted), [`view`](Lab::view)), and
//!   [`wait`](Lab::wait), which fails with the logs of all nodes of that moment, as every call that fails does.
//! * [`Node`]: commands in a node, with its file system, its network, its processes.
//! * [`Client`]: commands outside the cluster; [`Ping`] and its [`Report`] of outages and of who answered.
//! * [`Machines`]: what the lab asks of whoever provides the machines. Here they are namespaces.
//! * [`trees`]: trees of files, made and compared. [`lsync`]: a mirrored directory on a lab.
//! * [`sandbox`]: a network for one agent without a cluster.
//!
//! # The plan
//! Nodes are `n1`, `n2`, …; network *k* (from 0) is `eth`*k*, 10.77.*k*.0/24 and fd77:0:0:*k*::/64, on which node *i* has
//! the host number *i* and the client 250. Tests take their addresses from 100 up. Names are in `/etc/hosts`.
//!
//! A node's root is an overlay over the host's: its packages are simply there, what it writes is its own and survives a
//! crash, except in `/run`, `/tmp` and `/dev/shm`. The agents of this workspace are installed as `ocf:bascule:*`.
//!
//! # What it leaves behind
//! Nothing. Everything is inside namespaces that end with the process that started the lab, however it ends. Only the
//! lock by which labs take turns (`bascule-lab.lock` in the temporary directory) stays.
//!
//! Needed: root, and the packages pacemaker, corosync, pcs, resource-agents, iproute2, nftables, tcpdump, util-linux.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used)]

mod agents;
mod attach;
mod chance;
mod client;
mod cluster;
pub mod csync;
mod disk;
mod job;
pub mod lsync;
mod machines;
mod namespaces;
mod node;
mod options;
mod plan;
mod power;
mod report;
pub mod sandbox;
pub mod story;
pub mod trees;
mod turn;
mod view;
mod wire;

pub use agents::agents_dir;
pub use attach::{enter, find};
pub use chance::Chance;
pub use client::{Client, Ping};
pub use cluster::Lab;
pub use job::{Job, Output};
pub use machines::Machines;
pub use node::Node;
pub use options::{Fencing, Options};
pub use power::Fenced;
pub use report::{Holder, Outage, Report};
pub use turn::busy;
pub use view::{NodeView, ResourceView, View};
