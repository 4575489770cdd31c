//! Changes while the mirror runs: many small files, and a few large ones.

use super::bare::{self, Bare};
use super::site::{Dataset, Load, REPLICAS, SOURCE};
use crate::measure::Series;
use crate::site::{Site, Wanted, between};
use crate::table::Row;
use anyhow::Result;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

const SMALL: u64 = 5;
const LARGE: u64 = 5;

/// Both mirrors, following.
pub(crate) struct Both<'a> {
    pub(crate) data: Dataset<'a>,
    site: &'a Site<'a>,
    _bare: Bare<'a>,
    _lsyncd: lab::Job,
}

impl<'a> Both<'a> {
    pub(crate) fn start(site: &'a Site<'a>) -> Result<Self> {
        let data = Dataset::new(site, "live", &[("max_delete", "1000000"), ("max_delete_percent", "100")]);
        site.run_on_all("mkdir -p /site/live")?;
        site.run(SOURCE, "mkdir -p /site/bare; echo first >/site/bare/first; echo first >/site/live/first")?;
        let bare = Bare::start(site)?;
        let lsyncd = bare.mirror("/site/bare", "live")?;
        data.start()?;
        data.call(SOURCE, "promote")?;
        data.wait_following()?;
        let both = Both { data, site, _bare: bare, _lsyncd: lsyncd };
        let first = [(PathBuf::from("first"), 6)];
        site.wait_on(&REPLICAS, &both.replica(true), &first)?;
        site.wait_on(&REPLICAS, &both.replica(false), &first)?;
        // Canary and directory times.
        sleep(Duration::from_secs(3));
        Ok(both)
    }

    /// The source's tree.
    pub(crate) fn source(&self, ours: bool) -> Result<PathBuf> {
        Ok(self.site.root(SOURCE)?.join(if ours { "site/live" } else { "site/bare" }))
    }

    /// The replicas'.
    pub(crate) fn replica(&self, ours: bool) -> String {
        if ours { self.data.tree() } else { format!("{}/live", bare::TREES) }
    }

    /// Ends both and removes the trees.
    pub(crate) fn end(self) -> Result<()> {
        self.data.end()?;
        let (ours, bare, site) = (self.replica(true), self.replica(false), self.site);
        drop(self);
        site.run_on_all(&format!("rm -rf {ours} {bare} /site/bare"))
    }
}

/// Measures them.
pub(crate) fn measure(site: &Site<'_>) -> Result<Vec<Row>> {
    let both = Both::start(site)?;
    let mut rows = Vec::new();
    for (load, rounds) in [(Load::Small, SMALL), (Load::Large, LARGE)] {
        let mut times = [Series::default(), Series::default()];
        for round in 0..rounds {
            for turn in 0..2 {
                let ours = (round + turn) % 2 == 0;
                let time = once(site, &both, load, ours, round)?;
                eprintln!("  {} {:.0} ms", if ours { "lsync" } else { "by hand" }, time / 1e3);
                times[usize::from(!ours)].push(time);
            }
        }
        let [ours, bare] = times;
        rows.push(
            Row::new(format!("live, {} written: until all are on three replicas", load.text()))
                .ours(&ours)
                .stock(&bare)
                .at_most(ours.median() / bare.median(), 1.1, "by hand"),
        );
    }
    both.end()?;
    Ok(rows)
}

fn once(site: &Site<'_>, both: &Both<'_>, load: Load, ours: bool, round: u64) -> Result<f64> {
    let directory = both.source(ours)?.join("new");
    let begun = SystemTime::now();
    let wanted: Vec<Wanted> = load
        .make(&directory, round + 2)?
        .into_iter()
        .map(|(path, size)| (PathBuf::from("new").join(path), size))
        .collect();
    let there = site.wait_on(&REPLICAS, &both.replica(ours), &wanted)?;
    // What is still under way: times of directories, events that came twice, the canary.
    sleep(Duration::from_secs(4));
    // It is gone from the replicas before the other one has its turn.
    std::fs::remove_dir_all(&directory)?;
    let gone = format!("[ ! -e {}/new ]", both.replica(ours));
    for node in REPLICAS {
        site.lab.wait("the deletions to arrive", crate::site::BOUND, |lab| lab.node(node).sh(&gone).ok());
    }
    sleep(Duration::from_secs(3));
    Ok(between(begun, there))
}
