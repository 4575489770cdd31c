//! What the workers do while nothing changes and no check is due: nothing.

use super::setup::Resource;
use crate::table::Row;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const WATCHED: Duration = Duration::from_secs(30);

/// Counts the context switches of all nodes' workers.
pub(crate) fn measure(few: &Resource<'_>) -> Result<Row> {
    few.quiet()?;
    let mut workers = Vec::new();
    for node in few.site.lab.nodes() {
        let (_, place) = few.worker(node)?;
        let before = switches(&place)?;
        ensure!(before > 0, "a worker that has started was switched to");
        workers.push((place, before));
    }
    sleep(WATCHED);
    let mut all = 0;
    for (place, before) in &workers {
        let now = switches(place)?;
        ensure!(now >= *before, "another worker is at {}", place.display());
        all += now - before;
    }
    let mut row = Row::new("nothing changes: context switches of the four workers").target("none", all == 0);
    row.ours = format!("{all} in {} s", WATCHED.as_secs());
    Ok(row)
}

/// How often the threads of a process have been switched to and from.
fn switches(process: &Path) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(process.join("task"))? {
        let text = fs::read_to_string(thread?.path().join("status"))?;
        let counts = text.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
        let mut kinds = 0;
        for (_, count) in counts {
            sum += count.trim().parse::<u64>().context("a count")?;
            kinds += 1;
        }
        ensure!(kinds == 2, "voluntary and other ones are expected");
    }
    Ok(sum)
}
