//! csync2 as a model: what its configuration says, what that means for a host, what its database holds, and what it
//! prints, each as typed facts on which an agent can decide.
//!
//! - [`config::parse`] reads the whole grammar of `csync2.cfg` as csync2 2.0 does, and finds every problem at once.
//! - [`meaning::Meaning`] says what a configuration means for one host.
//! - [`database::Database`] reads csync2's sqlite file without ever writing to it.
//! - [`messages`] turns what csync2 prints into facts.
//! - [`decide`] is what to do about removals and conflicts.
//!
//! All of it but [`database::Database`] is pure: text in, facts out. File names and patterns are bytes ([`Text`]), as they
//! are for csync2, which runs in the C locale.

pub mod config;
pub mod database;
pub mod decide;
pub mod key;
pub mod meaning;
pub mod messages;
pub mod pattern;
mod place;
mod text;

pub use place::{At, Problem, Severity};
pub use text::Text;
