//! `lsync-agent`, the resource agent `ocf:bascule:lsync`: directories mirrored to every node.
//!
//! Follow an action from [`lsync`] to its role, [`leader`] or [`replica`]. What may happen to whose data is decided in [`core`], a pure
//! state machine that the model checker of `model.rs` runs too. The program has two further faces: lsyncd calls it for every push
//! ([`push`]), and the rsync daemon for every question of another node ([`answer`]).

mod answer;
mod ask;
mod config;
mod control;
mod core;
#[cfg(test)]
mod core_tests;
mod excludes;
mod hold;
mod keys;
mod leader;
mod lsync;
mod lsyncd;
#[cfg(test)]
mod model;
mod neighbours;
mod own;
mod parameters;
mod pass;
mod paths;
mod peer_files;
mod peers;
mod plain;
mod push;
mod receiver;
mod replica;
mod report;
mod rsyncd;
mod saved;
mod settings;
mod source;
mod standing;
#[cfg(test)]
mod test_port;
mod transfer;
mod tree;
mod trouble;
mod values;
mod watches;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ocf::Arena = ocf::Arena::new();

fn main() -> ExitCode {
    ocf::run_with_jobs::<lsync::Lsync>(&[("push", push::push), ("answer", answer::answer)])
}
