//! `csync-agent`, the resource agent `ocf:bascule:csync`: configuration kept equal over the cluster with csync2.
//!
//! Follow an action from [`csync`]. What it starts is csync2's own daemon ([`daemon`]) and a [`worker`], another face of this program, which
//! notices changes and has csync2 send them. What may be removed and who wins a conflict is decided by the crate `csync2`, purely.

mod choose;
mod configuration;
mod csync;
mod daemon;
mod deep;
mod effective;
mod fingerprint;
mod kept;
mod keygen;
mod look;
mod memory;
mod parameters;
mod peers;
mod report;
mod runs;
mod scan;
mod settings;
mod settling;
mod standing;
mod strays;
mod values;
mod watch;
mod worker;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ocf::Arena = ocf::Arena::new();

fn main() -> ExitCode {
    ocf::run_with_jobs::<csync::Csync>(&[
        ("work", worker::work),
        ("keygen", keygen::keygen),
        ("choose", choose::choose),
    ])
}
