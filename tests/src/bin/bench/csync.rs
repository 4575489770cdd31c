//! `ocf:bascule:csync` beside csync2 run by hand, on four nodes of a lab that all have the same files.

mod changes;
mod checks;
mod rest;
mod setup;

pub(crate) use checks::in_node as checks_in_node;

use crate::calls::wanted;
use crate::site::{LABEL, Site};
use crate::table::Row;
use crate::within::monitor_rows;
use anyhow::Result;
use lab::{Lab, Options};
use setup::{FEW, MANY, Resource};
use std::ffi::OsString;
use std::path::Path;

/// The parts that can be asked for one by one.
pub(crate) const PARTS: [&str; 4] = ["changes", "checks", "watching", "rest"];

/// Measures the parts that are wanted, all in one lab.
pub(crate) fn measure(parts: &[OsString], floor: &Path) -> Result<Vec<Row>> {
    let here = std::env::current_exe()?;
    let options = Options::nodes(4)
        .label(LABEL)
        .agent("bench", &here.to_string_lossy())
        .agent("floor", &floor.to_string_lossy());
    let lab = Lab::start(options)?;
    let site = Site::new(&lab)?;
    setup::keys(&site)?;
    let mut rows = Vec::new();
    if ["changes", "watching", "rest"].into_iter().any(|part| wanted(parts, part)) {
        let few = Resource::create(&site, &FEW)?;
        if wanted(parts, "changes") {
            eprintln!("csync: single changes");
            rows.extend(changes::measure(&few)?);
        }
        if wanted(parts, "watching") {
            eprintln!("csync: monitor");
            let environment = few.environment("n2", 10_000);
            rows.extend(monitor_rows(&site, "n2", &environment, ("csync", 0), "one of four nodes", 3.0)?);
        }
        if wanted(parts, "rest") {
            eprintln!("csync: nothing changes");
            rows.push(rest::measure(&few)?);
        }
        few.delete()?;
    }
    if wanted(parts, "checks") {
        eprintln!("csync: whole checks");
        let many = Resource::create(&site, &MANY)?;
        rows.extend(checks::measure(&many)?);
    }
    rows.push(size()?);
    Ok(rows)
}

fn size() -> Result<Row> {
    let mut row = Row::new("binary, stripped");
    row.ours = format!("{} bytes", std::fs::metadata(lab::agents_dir().join("csync-agent"))?.len());
    Ok(row)
}

/// How it was measured, for the page.
pub(crate) fn notes() -> String {
    format!(
        "- Four nodes in one group, encrypted as csync2 is by default. The agent is a clone that Pacemaker monitors every 10 s, all
  four nodes and all that they run on the same cores. Trees are on tmpfs below an overlay, so that what is measured is work and not a disk.
- One change: a line is added to one of {} files, on another node each time, until the last of the three others has it, as seen from
  outside by one observer. The agent has to notice it. csync2 by hand (its own daemons, database and tree) cannot: there `csync2 -x` is
  typed at once, by somebody who knows that something was changed.
- Whole check of {} files: the agent is nudged (`touch nudge`, by which it does what it does each `check_interval`), until its status
  file has a new time of a check, in turn with `csync2 -x`, with the same configuration and the same database, until it has ended; each turn
  begins with the other one. The loop runs in the node. CPU time is the mean: of the worker with all its children, which have ended, from
  `/proc/PID/stat`; of `csync2 -x` as `wait4` tells. One check in a hundred the agent has csync2 make, beside its own: none of these
  is among them.
- One changed file: it is changed by another name outside of the tree, a hard link, so that inotify does not tell and only a check can
  find it. From the nudge, or the start of `csync2 -x`, until the last of three nodes has it; CPU time is that of the sending node.
- The monitor is called in the node as Pacemaker makes its calls, by `posix_spawn` and `wait4`, in turn with the floor.
- Nothing changes: voluntary and other context switches of all threads of the four nodes' workers together, which Pacemaker's monitors
  do not wake, with `check_interval=3600`.
",
        FEW.files(),
        MANY.files()
    )
}
