//! Whole passes: to empty replicas, and to replicas that lack one file of many.

use super::bare::{self, Bare};
use super::site::{Dataset, Load, REPLICAS, SOURCE};
use crate::measure::{Series, digits};
use crate::site::{Site, Wanted, between};
use crate::table::Row;
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// How often each load is sent.
const SMALL: u64 = 7;
const LARGE: u64 = 5;
const EQUAL: u64 = 7;
/// Pause before a pass, in which nothing else goes on.
const SETTLED: Duration = Duration::from_millis(1500);

/// What was measured of one load.
#[derive(Default)]
struct Measured {
    running: Series,
    in_sync: Series,
    promoted: Series,
    bare: Series,
}

/// When the agent's pass begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// lsyncd is started again by a source that leads already, as after its death.
    Running,
    /// With the promotion, while the cluster is told of the new generation.
    Promoted,
}

/// Measures them.
pub(crate) fn measure(site: &Site<'_>) -> Result<Vec<Row>> {
    let bare = Bare::start(site)?;
    let mut rows = Vec::new();
    for (load, rounds) in [(Load::Small, SMALL), (Load::Large, LARGE)] {
        site.run(SOURCE, "rm -rf /site/data; mkdir -p /site")?;
        let wanted = load.make(&site.root(SOURCE)?.join("site/data"), 1)?;
        let measured = race(site, &bare, &wanted, rounds, false)?;
        rows.extend(rows_of(&format!("whole pass to three empty replicas, {}", load.text()), &measured));
        if matches!(load, Load::Small) {
            let measured = race(site, &bare, &wanted, EQUAL, true)?;
            rows.extend(rows_of("whole pass to three replicas that lack 1 of 10,000 small files", &measured));
        }
    }
    site.run(SOURCE, "rm -rf /site/data")?;
    Ok(rows)
}

fn rows_of(what: &str, measured: &Measured) -> Vec<Row> {
    let ratio = measured.running.median() / measured.bare.median();
    let mut promoted = Row::new("– the same with a promotion, of which the cluster is told meanwhile")
        .ours(&measured.promoted);
    promoted.ratio = format!("{} × by hand", digits(measured.promoted.median() / measured.bare.median()));
    vec![
        Row::new(what).ours(&measured.running).stock(&measured.bare).at_most(ratio, 1.1, "by hand"),
        Row::new("– until the cluster's record has all three in sync").ours(&measured.in_sync),
        promoted,
    ]
}

/// All in turn.
fn race(site: &Site<'_>, bare: &Bare<'_>, wanted: &[Wanted], rounds: u64, equal: bool) -> Result<Measured> {
    let mut measured = Measured::default();
    for round in 0..rounds {
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => {
                    let (there, in_sync) = ours(site, wanted, equal, When::Running)?;
                    measured.running.push(there);
                    measured.in_sync.push(in_sync);
                }
                1 => measured.promoted.push(ours(site, wanted, equal, When::Promoted)?.0),
                _ => by_hand(site, bare, wanted, equal, &mut measured)?,
            }
        }
    }
    Ok(measured)
}

/// The file that equal trees lack.
fn odd() -> Wanted {
    (PathBuf::from("d099/zz"), 4)
}

const MAKE_ODD: &str = "printf odd. >d099/zz";

/// A pass of the agent: microseconds until everything is there, and until all are in sync.
fn ours(site: &Site<'_>, wanted: &[Wanted], equal: bool, when: When) -> Result<(f64, f64)> {
    let data = Dataset::new(site, "passes", &[]);
    let tree = data.tree();
    site.run_on_all(&format!("rm -rf {tree}; mkdir -p {tree}"))?;
    site.run(SOURCE, &format!("rmdir {tree}; mv /site/data {tree}"))?;
    if !equal && when == When::Running {
        // Nobody gets anything yet.
        data.call(SOURCE, "start")?;
        data.call(SOURCE, "promote")?;
        data.end_lsyncd()?;
        site.at_once(&REPLICAS, |node| data.call(node, "start").map(drop))?;
    } else {
        data.start()?;
    }
    if equal {
        data.call(SOURCE, "promote")?;
        data.wait_following()?;
        if when == When::Running {
            data.end_lsyncd()?;
        } else {
            data.call(SOURCE, "demote")?;
        }
        site.run(SOURCE, &format!("cd {tree} && {MAKE_ODD}"))?;
    }
    // What the cluster had to be told it was told; written anew, the configuration tells when lsyncd was started.
    sleep(SETTLED);
    site.run(SOURCE, &format!("rm -f {}", data.kept("lsyncd.conf")))?;
    let (action, code) = if when == When::Running { ("monitor", 8) } else { ("promote", 0) };
    let call = data.begin(SOURCE, action);
    let wanted = if equal { vec![odd()] } else { wanted.to_vec() };
    let there = site.wait_on(&REPLICAS, &tree, &wanted)?;
    let in_sync = data.wait_following()?;
    let call = call.wait(Duration::from_secs(60))?;
    ensure!(call.code == code, "{action}: {} {}", call.code, call.stderr);
    let begun = site.written(SOURCE, &data.kept("lsyncd.conf"))?;
    let times = (between(begun, there), between(begun, in_sync));
    eprintln!("  lsync, {action}: {:.0} ms, in sync {:.0} ms", times.0 / 1e3, times.1 / 1e3);
    data.end()?;
    site.run(SOURCE, &format!("mv {tree} /site/data; rm -rf /site/data/.bascule /site/data/d099/zz"))?;
    site.at_once(&REPLICAS, |node| site.run(node, &format!("rm -rf {tree}")).map(drop))?;
    Ok(times)
}

fn by_hand(
    site: &Site<'_>,
    bare: &Bare<'_>,
    wanted: &[Wanted],
    equal: bool,
    measured: &mut Measured,
) -> Result<()> {
    let tree = format!("{}/passes", bare::TREES);
    if equal {
        let before = bare.mirror("/site/data", "passes")?;
        site.wait_on(&REPLICAS, &tree, wanted)?;
        // The daemons set the directories' times yet.
        sleep(Duration::from_millis(500));
        drop(before);
        site.run(SOURCE, &format!("cd /site/data && {MAKE_ODD}"))?;
    }
    sleep(SETTLED);
    let lsyncd = bare.mirror("/site/data", "passes")?;
    let wanted = if equal { vec![odd()] } else { wanted.to_vec() };
    let there = site.wait_on(&REPLICAS, &tree, &wanted)?;
    let begun = site.written(SOURCE, bare::CONFIGURATION)?;
    eprintln!("  by hand {:.0} ms", between(begun, there) / 1e3);
    measured.bare.push(between(begun, there));
    drop(lsyncd);
    site.run(SOURCE, "rm -f /site/data/d099/zz")?;
    site.at_once(&REPLICAS, |node| site.run(node, &format!("rm -rf {tree}")).map(drop))
}
