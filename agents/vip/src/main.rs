//! `vip-agent`, the resource agent `ocf:bascule:vip`: virtual IP addresses.
//!
//! Follow an action from [`vip`]: observe (`node`), decide (`plan`, `source`: pure), act (`node`), observe again.

mod announce;
mod announcing;
mod arp;
mod change;
mod config;
mod conflict;
mod facts;
mod frame;
mod ndp;
mod node;
mod parameters;
mod plan;
mod promote;
mod record;
mod source;
mod values;
mod vip;
mod wire;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ocf::Arena = ocf::Arena::new();

fn main() -> ExitCode {
    ocf::run::<vip::Vip>()
}
