//! `make bench`: the agents beside what they replace and beside the least that a program can be. vip beside
//! `ocf:heartbeat:IPaddr2`, lsync beside lsyncd and rsync set up by hand, csync beside csync2 run by hand. The tables are printed;
//! when all of an agent was measured, its section of `docs/benchmarks.md` is written. `bench vip`, `bench lsync` and `bench csync`
//! measure one agent, `bench calls`, `bench start`, `bench failover`, `bench passes`, `bench changes`, … a part.

// A program for people, whose output is a table.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod calls;
mod child;
mod csync;
mod failover;
mod lsync;
mod machine;
mod measure;
mod page;
mod site;
mod start;
mod table;
mod wire;
mod within;

use anyhow::{Result, bail};
use calls::wanted;
use lab::sandbox::Sandbox;
use page::Section;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::thread::spawn;
use table::Row;

/// The parts of vip that can be asked for.
const PARTS: [&str; 3] = ["calls", "start", "failover"];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let result = match arguments.split_first() {
        Some((word, rest)) if word == within::IN_NODE => within::in_node(rest).map(|text| {
            print!("{text}");
            true
        }),
        _ => run(&arguments),
    };
    match result {
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
fn run(words: &[OsString]) -> Result<bool> {
    let known = || PARTS.into_iter().chain(lsync::PARTS).chain(csync::PARTS).chain(["vip", "lsync", "csync"]);
    if let Some(odd) = words.iter().find(|word| !known().any(|part| word.as_os_str() == OsStr::new(part))) {
        bail!("{odd:?}: the parts are {}", known().collect::<Vec<_>>().join(", "));
    }
    let (floor, floor_name) = machine::floor(&lab::agents_dir().join("vip-agent"))?;
    let mut reached = true;
    let agents: [(Section, &[&str]); 3] =
        [(Section::Vip, &PARTS), (Section::Lsync, &lsync::PARTS), (Section::Csync, &csync::PARTS)];
    for (section, parts) in agents {
        let all = wanted(words, section.name());
        let asked: Vec<OsString> =
            words.iter().filter(|word| parts.iter().any(|part| *word == part)).cloned().collect();
        if !all && asked.is_empty() {
            continue;
        }
        let asked = if all { Vec::new() } else { asked };
        let facts = machine::facts();
        let rows = match section {
            Section::Vip => vip(&asked, &floor)?,
            Section::Lsync => lsync::measure(&asked, &floor)?,
            Section::Csync => csync::measure(&asked, &floor)?,
        };
        let (ours, stock) = section.compared();
        let table = table::markdown(&rows, ours, stock);
        println!("{table}");
        if all {
            page::write(section, &facts, floor_name, &table)?;
        }
        reached &= rows.iter().all(|row| row.reached != Some(false));
    }
    Ok(reached)
}

/// Measures vip.
fn vip(parts: &[OsString], floor: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let (calls, start) = (wanted(parts, "calls"), wanted(parts, "start"));
    if calls || start {
        let floor = floor.to_owned();
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
    if wanted(parts, "failover") {
        eprintln!("failover");
        rows.extend(failover::measure()?);
    }
    Ok(rows)
}
