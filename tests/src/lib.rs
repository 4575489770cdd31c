//! lab
// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used)]
mod agents;
mod client;
mod cluster;
mod disk;
mod job;
mod machines;
mod namespaces;
mod node;
mod options;
mod plan;
mod power;
mod report;
pub mod sandbox;
mod turn;
mod view;
mod wire;

pub use agents::agents_dir;
pub use client::{Client, Ping};
pub use cluster::Lab;
pub use job::{Job, Output};
pub use machines::Machines;
pub use node::Node;
pub use options::{Fencing, Options};
pub use power::Fenced;
pub use report::{Holder, Outage, Report};
pub use view::{NodeView, ResourceView, View};
