//! promote and demote, with few and with many files: neither walks the tree, but for the drain.

use super::site::{Dataset, SOURCE};
use crate::measure::Series;
use crate::site::Site;
use crate::table::Row;
use anyhow::{Context, Result};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const FEW: u32 = 200;
const MANY: u32 = 200_000;

/// rsync, which notes when it walked a tree.
const WALKS: &str = "/run/walks";
const WRAPPER: &str = "/usr/sbin/rsync-noted";
const SCRIPT: &str = r#"#!/bin/bash
# rsync. A run that walks the tree is noted in /run/walks with begin and end, in seconds since 1970.
[[ " $* " = *" --recursive "* ]] || exec rsync "$@"
begin=$EPOCHREALTIME
rsync "$@"
code=$?
echo "$begin $EPOCHREALTIME" >>/run/walks
exit $code
"#;

/// What was measured of one tree.
#[derive(Default)]
struct Measured {
    promote: Series,
    demote: Series,
    drain: Series,
}

/// Measures them.
pub(crate) fn measure(site: &Site<'_>) -> Result<Vec<Row>> {
    for node in site.lab.nodes() {
        site.lab.node(node).write(WRAPPER, SCRIPT);
    }
    site.run_on_all(&format!("chmod 755 {WRAPPER}; mkdir -p /site/few /site/many"))?;
    let mut trees = Vec::new();
    for (name, count) in [("few", FEW), ("many", MANY)] {
        let data = Dataset::new(site, name, &[("rsync", "rsync-noted")]);
        let root = site.root(SOURCE)?.join(format!("site/{name}"));
        for number in 0..count {
            let directory = root.join(format!("d{:04}", number / 100));
            if number % 100 == 0 {
                fs::create_dir_all(&directory)?;
            }
            fs::write(directory.join(format!("f{number:06}")), b"")?;
        }
        data.start()?;
        data.call(SOURCE, "promote")?;
        data.wait_following()?;
        trees.push((data, Measured::default()));
    }
    for _ in 0..ROUNDS {
        for (data, measured) in &mut trees {
            once(site, data, measured)?;
        }
    }
    for (data, _) in &trees {
        data.end()?;
    }
    site.run_on_all("rm -rf /site/few /site/many")?;
    let [(_, few), (_, many)] = &trees[..] else { anyhow::bail!("two trees") };
    let row = |what: &str, few: &Series, many: &Series| {
        let mut row = Row::new(format!("{what}: with 200,000 files; with 200")).ours(many).at_most(
            many.median() / few.median(),
            1.5,
            "with 200",
        );
        row.stock = format!("(lsync, 200 files: {})", few.text());
        row
    };
    let mut drain = Row::new("– its last pass over the tree").ours(&many.drain);
    drain.stock = format!("(lsync, 200 files: {})", few.drain.text());
    Ok(vec![
        row("promote", &few.promote, &many.promote),
        row("demote without its last pass over the tree", &few.demote, &many.demote),
        drain,
    ])
}

fn once(site: &Site<'_>, data: &Dataset<'_>, measured: &mut Measured) -> Result<()> {
    // Lists and the canary of the last turn.
    sleep(Duration::from_secs(3));
    site.run(SOURCE, &format!(": >{WALKS}"))?;
    let begun = Instant::now();
    data.call(SOURCE, "demote")?;
    let demote = begun.elapsed().as_secs_f64() * 1e6;
    let drain = walked(&site.run(SOURCE, &format!("cat {WALKS}"))?)?;
    sleep(Duration::from_secs(1));
    let begun = Instant::now();
    data.call(SOURCE, "promote")?;
    let promote = begun.elapsed().as_secs_f64() * 1e6;
    data.wait_following()?;
    eprintln!(
        "  {}: demote {:.0} ms, {:.0} ms of it the pass; promote {:.0} ms",
        data.name,
        demote / 1e3,
        drain / 1e3,
        promote / 1e3
    );
    measured.demote.push(demote - drain);
    measured.drain.push(drain);
    measured.promote.push(promote);
    Ok(())
}

/// The time during which at least one of these runs went on, in microseconds.
fn walked(text: &str) -> Result<f64> {
    let mut spans = Vec::new();
    for line in text.lines() {
        let (begin, end) = line.split_once(' ').context("begin and end")?;
        spans.push((begin.parse::<f64>()?, end.parse::<f64>()?));
    }
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut until) = (0.0, f64::MIN);
    for (begin, end) in spans {
        sum += (end - begin.max(until)).max(0.0);
        until = until.max(end);
    }
    Ok(sum * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_side_by_side_count_once() {
        assert_eq!(walked("1.0 2.0\n1.5 2.5\n4.0 4.5\n").unwrap(), 2e6);
        assert_eq!(walked("").unwrap(), 0.0);
    }
}
