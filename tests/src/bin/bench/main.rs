//! `make bench`: vip beside `ocf:heartbeat:IPaddr2` and beside the least that a program can be, in one run; the table is
//! printed and, when all of it was measured, written to `docs/benchmarks.md`. `bench calls`, `bench start` and
//! `bench failover` measure a part.

// A program for people, whose output is a table.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod calls;
mod child;
mod failover;
mod machine;
mod measure;
mod start;
mod table;
mod wire;

use anyhow::{Context, Result, bail};
use calls::wanted;
use lab::sandbox::Sandbox;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::thread::spawn;

/// The parts that can be asked for.
const PARTS: [&str; 3] = ["calls", "start", "failover"];

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("not every target was reached");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what is wanted; whether all targets were reached.
fn run(parts: Vec<OsString>) -> Result<bool> {
    if let Some(odd) = parts.iter().find(|part| !PARTS.iter().any(|known| part.as_os_str() == *known)) {
        bail!("{odd:?}: the parts are {}", PARTS.join(", "));
    }
    let facts = machine::facts();
    let mut rows = Vec::new();
    let mut floor_name = "";
    if wanted(&parts, "calls") || wanted(&parts, "start") {
        let agent = lab::agents_dir().join("vip-agent");
        let (floor, name) = machine::floor(&agent)?;
        floor_name = name;
        let (calls, start) = (wanted(&parts, "calls"), wanted(&parts, "start"));
        // A thread of its own enters the namespaces, and they end with it.
        rows = spawn(move || -> Result<_> {
            let sandbox = Sandbox::with_peer();
            let mut rows = Vec::new();
            if calls {
                eprintln!("monitors");
                rows.extend(calls::measure(&sandbox, &floor)?);
            }
            if start {
                eprintln!("starts and stops");
                rows.extend(start::measure(&sandbox)?);
            }
            rows.extend(calls::size(&sandbox)?);
            Ok(rows)
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the measurement panicked"))??;
    }
    if wanted(&parts, "failover") {
        eprintln!("failover");
        rows.extend(failover::measure()?);
    }
    let table = table::markdown(&rows);
    println!("{table}");
    if parts.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
        std::fs::write(&path, document(&facts, floor_name, &table)).context("writing docs/benchmarks.md")?;
    }
    Ok(rows.iter().all(|row| row.reached != Some(false)))
}

fn document(facts: &str, floor: &str, table: &str) -> String {
    format!(
        "# Benchmarks

`ocf:bascule:vip` beside `ocf:heartbeat:IPaddr2`, measured in one run. This page is written by `make bench`; nothing in it is
written by hand. Judge by the ratios: the times are those of this machine, and of whatever else it did.

{facts}
{table}
Times are medians, with the tenth percentile (the run that was least disturbed) in parentheses.

- *Floor*: `int main(void) {{ return 0; }}`, built by `{floor}`, with the C library that the agent has.
- Calls are made as Pacemaker makes them, by `posix_spawn` and `wait4`, all programs in turn in a private network namespace,
  so that noise hits them alike; time is from before the fork until the exit code is there, CPU time is what `wait4` tells,
  children included. What a call does is counted under `ptrace`.
- Announcements are stamped by the kernel at the other end of a veth; at the first one an echo request is sent to the address.
- Failover: three nodes and a client in network namespaces, Corosync's token 1000 ms, fencing on. Both addresses are on the
  node that is killed, so that each crash measures both and what differs between crashes is the same for both; half way
  their names are exchanged. The client pings each every 20 ms. Some 2.2 s of an outage Corosync waits to be sure.
"
    )
}
