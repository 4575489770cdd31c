//! Whole passes: to empty replicas, and to replicas that lack one file of many.

use super::bare::{self, Bare};
use super::site::{Dataset, Load, REPLICAS, SOURCE, Site, Wanted, between};
use crate::measure::Series;
use crate::table::Row;
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::time::Duration;

/// How often each load is sent.
const SMALL: u64 = 7;
const LARGE: u64 = 3;
const EQUAL: u64 = 7;

/// What was measured of one load.
#[derive(Default)]
struct Measured {
    ours: Series,
    bare: Series,
    in_sync: Series,
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
    let ratio = measured.ours.median() / measured.bare.median();
    vec![
        Row::new(what).ours(&measured.ours).stock(&measured.bare).at_most(ratio, 1.1, "by hand"),
        Row::new("– until the cluster's record has all three in sync").ours(&measured.in_sync),
    ]
}

/// Both in turn.
fn race(site: &Site<'_>, bare: &Bare<'_>, wanted: &[Wanted], rounds: u64, equal: bool) -> Result<Measured> {
    let mut measured = Measured::default();
    for round in 0..rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                ours(site, wanted, equal, &mut measured)?;
            } else {
                by_hand(site, bare, wanted, equal, &mut measured)?;
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

fn ours(site: &Site<'_>, wanted: &[Wanted], equal: bool, measured: &mut Measured) -> Result<()> {
    let data = Dataset::new(site, "passes", &[]);
    let tree = data.tree();
    site.run_on_all(&format!("rm -rf {tree}; mkdir -p {tree}"))?;
    site.run(SOURCE, &format!("rmdir {tree}; mv /site/data {tree}"))?;
    data.start()?;
    if equal {
        data.call(SOURCE, "promote")?;
        data.wait_following()?;
        data.call(SOURCE, "demote")?;
        // Written anew, it tells when lsyncd was started.
        site.run(SOURCE, &format!("rm {}; cd {tree} && {MAKE_ODD}", data.kept("lsyncd.conf")))?;
    }
    let promotion = data.begin(SOURCE, "promote");
    let wanted = if equal { vec![odd()] } else { wanted.to_vec() };
    let there = site.wait_on_replicas(&tree, &wanted)?;
    let in_sync = data.wait_following()?;
    let promotion = promotion.wait(Duration::from_secs(60))?;
    ensure!(promotion.ok(), "promote: {}", promotion.stderr);
    let begun = site.written(SOURCE, &data.kept("lsyncd.conf"))?;
    eprintln!(
        "  lsync {:.0} ms, in sync {:.0} ms",
        between(begun, there) / 1e3,
        between(begun, in_sync) / 1e3
    );
    if std::env::var_os("BENCH_DEBUG").is_some() {
        eprintln!("begun {begun:?} there {there:?}");
        for (node, command) in [
            (
                SOURCE,
                "cat /run/bascule/lsync/*.d/lsyncd.log; ls -l -t -r --full-time /run/bascule/lsync/*.d/ /run/bascule/lsync/*.d/*/ || true",
            ),
            (
                "n2",
                "cat /run/bascule/lsync/rsyncd-*/*log*; ls -l -t -r --full-time /var/lib/bascule/lsync/*/ /run/bascule/lsync/ /run/bascule/lsync/rsyncd*/ /run/bascule/lsync/*.d/ || true",
            ),
        ] {
            eprintln!("{}", site.run(node, command)?);
            eprintln!("{}", site.lab.node(node).syslog());
        }
    }
    measured.ours.push(between(begun, there));
    measured.in_sync.push(between(begun, in_sync));
    data.end()?;
    site.run(SOURCE, &format!("mv {tree} /site/data; rm -rf /site/data/.bascule /site/data/d099/zz"))?;
    site.at_once(&REPLICAS, |node| site.run(node, &format!("rm -rf {tree}")).map(drop))
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
        site.wait_on_replicas(&tree, wanted)?;
        // The daemons set the directories' times yet.
        std::thread::sleep(Duration::from_millis(500));
        drop(before);
        site.run(SOURCE, &format!("cd /site/data && {MAKE_ODD}"))?;
    }
    let lsyncd = bare.mirror("/site/data", "passes")?;
    let wanted = if equal { vec![odd()] } else { wanted.to_vec() };
    let there = site.wait_on_replicas(&tree, &wanted)?;
    let begun = site.written(SOURCE, bare::CONFIGURATION)?;
    eprintln!("  by hand {:.0} ms", between(begun, there) / 1e3);
    measured.bare.push(between(begun, there));
    drop(lsyncd);
    site.run(SOURCE, "rm -f /site/data/d099/zz")?;
    site.at_once(&REPLICAS, |node| site.run(node, &format!("rm -rf {tree}")).map(drop))
}
