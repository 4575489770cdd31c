//! The monitor at level 0, on a replica and on the source, beside the floor.

use super::site::{Dataset, SOURCE};
use crate::site::{AGENTS, Site};
use crate::table::Row;
use crate::within::monitor_rows;
use anyhow::Result;

/// Measures them, with three replicas in sync.
pub(crate) fn measure(site: &Site<'_>) -> Result<Vec<Row>> {
    let data = Dataset::new(site, "levels", &[]);
    site.run_on_all("mkdir -p /site/levels")?;
    site.run(SOURCE, "for n in 1 2 3 4 5 6 7 8 9; do echo $n >/site/levels/$n; done")?;
    data.start()?;
    data.call(SOURCE, "promote")?;
    data.wait_following()?;
    std::thread::sleep(std::time::Duration::from_secs(5));
    let mut rows = Vec::new();
    for (name, node, code, limit) in
        [("a replica", "n2", 0, 3.0), ("the source with three replicas", SOURCE, 8, 5.0)]
    {
        let environment = data.environment(node, 10_000);
        // What is to be written to the cluster was, and what was lost has been found.
        site.lab.node(node).sh(&format!("env -i {environment} {AGENTS}/lsync monitor"));
        rows.extend(monitor_rows(site, node, &environment, ("lsync", code), name, limit)?);
    }
    data.end()?;
    site.run_on_all("rm -rf /site/levels")?;
    Ok(rows)
}
