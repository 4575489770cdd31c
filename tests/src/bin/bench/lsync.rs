//! `ocf:bascule:lsync` beside lsyncd and rsync set up by hand, on four nodes of a lab: one source, three replicas.

mod bare;
mod latency;
mod live;
mod monitor;
mod passes;
mod roles;
mod site;
mod switchover;

use crate::calls::wanted;
use crate::site::{LABEL, Site};
use crate::table::Row;
use anyhow::Result;
use lab::{Lab, Options, lsync};
use std::ffi::OsString;
use std::path::Path;

/// The parts that can be asked for one by one.
pub(crate) const PARTS: [&str; 6] = ["passes", "live", "latency", "levels", "roles", "switchover"];

/// Seconds for which both sides gather changes.
pub(crate) const DELAY: u32 = 1;

/// Measures the parts that are wanted, all in one lab.
pub(crate) fn measure(parts: &[OsString], floor: &Path) -> Result<Vec<Row>> {
    let here = std::env::current_exe()?;
    let options = Options::nodes(4)
        .label(LABEL)
        .agent("writer", lsync::WRITER)
        .agent("bench", &here.to_string_lossy())
        .agent("floor", &floor.to_string_lossy());
    let lab = Lab::start(options)?;
    let site = Site::new(&lab)?;
    let mut rows = Vec::new();
    if wanted(parts, "passes") {
        eprintln!("lsync: whole passes");
        rows.extend(passes::measure(&site)?);
    }
    if wanted(parts, "live") {
        eprintln!("lsync: live changes");
        rows.extend(live::measure(&site)?);
    }
    if wanted(parts, "latency") {
        eprintln!("lsync: single changes");
        rows.extend(latency::measure(&site)?);
    }
    if wanted(parts, "levels") {
        eprintln!("lsync: monitors");
        rows.extend(monitor::measure(&site)?);
    }
    if wanted(parts, "roles") {
        eprintln!("lsync: promote and demote");
        rows.extend(roles::measure(&site)?);
    }
    if wanted(parts, "switchover") {
        eprintln!("lsync: planned switchover");
        rows.extend(switchover::measure(&site)?);
    }
    Ok(rows)
}

/// How it was measured, for the page.
pub(crate) fn notes() -> String {
    format!(
        "- *By hand*: rsync daemons with one module each, and lsyncd with `default.rsync` and `rsync = {{ perms, owner, group }}`
  towards three of them, as in a guide that the agent replaces; `delay = {DELAY}` as the agent has it. Both sides mirror the same
  files from the same node to the same three nodes, in turn; each turn begins with the other one. Trees are on tmpfs below an
  overlay, so that what is measured is work and not a disk.
- Whole pass: from the moment at which lsyncd is started (its configuration is written then) until everything that was missing is on
  all three replicas, as seen from outside by the same observer. The agent's source leads already, and lsyncd is started again
  by its monitor; in the other line lsyncd is started by a promotion, while Pacemaker's daemons of all four nodes are told of the new
  generation, on the same cores. *In sync*: until all three have said that they have it and the cluster's record names them, which
  nothing does for a mirror set up by hand.
- Live: from the first write until everything is on all three replicas. Both mirrors run; one of them has something to do.
- Calls of monitor are made in the node as Pacemaker makes them, by `posix_spawn` and `wait4`, in turn with the floor.
- promote and demote: the source of a tree of 200 and of one of 200,000 files is demoted and promoted in turn, with three replicas
  in sync. demote ends with a last pass, which has to look at the tree; the time during which an rsync walks it (the runs with
  `--recursive`, as a wrapper around rsync notes them) is taken off.
- Switchover: `pcs resource move` by Pacemaker, while an application (a resource that is started after promote and stopped before
  demote) makes and overwrites files all the time. Nothing is written from the stop of the application until it is started again:
  demote with its last pass, promote, and what Pacemaker does between them. Set aside is what the new source has overwritten before
  a replica had its first pass from it.
"
    )
}
