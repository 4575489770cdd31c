//! A planned switchover by Pacemaker, while an application writes.

use crate::measure::Series;
use crate::site::Site;
use crate::table::Row;
use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::lsync::{Mirror, Noted};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

const ROUNDS: usize = 10;
const BOUND: Duration = Duration::from_secs(90);
const NAME: &str = "switched";
/// How often is looked whether the application writes on the new source: as exactly is the pause known.
const LOOK: Duration = Duration::from_millis(10);

/// Measures it.
pub(crate) fn measure(site: &Site<'_>) -> Result<Vec<Row>> {
    let lab = site.lab;
    let mirror = Mirror::new(lab, NAME).create(&format!("delay={}", super::DELAY));
    let mut source = mirror.wait_in_sync(BOUND);
    mirror.create_writer();
    let (mut whole, mut refused) = (Series::default(), Series::default());
    let (mut demote, mut promote) = (Series::default(), Series::default());
    let lines = |node: &str| mirror.writer_log(node).lines().count();
    for round in 0..ROUNDS {
        let had = lines(&source);
        // Some of it was sent, the last of it was not.
        lab.wait("files are made", BOUND, |_| lines(&source) > had + 60);
        let others: Vec<&String> = lab.nodes().iter().filter(|node| **node != source).collect();
        let target = others.get(round % others.len()).context("one node more")?.to_string();
        let had = lines(&target);
        let begun = (Instant::now(), SystemTime::now());
        lab.run(&format!("crm_resource --resource {NAME}-clone --move --promoted --node {target}"));
        while lines(&target) == had {
            ensure!(begun.0.elapsed() < BOUND, "the application does not write on {target}\n{}", lab.logs());
            sleep(LOOK);
        }
        let first = SystemTime::now();
        let last = site.written(&source, "/var/log/writer.log")?;
        let pause = first.duration_since(last).context("the application wrote on both")?;
        let (drained, opened) = (executed(lab, &source, "demote")?, executed(lab, &target, "promote")?);
        let took = begun.0.elapsed().as_secs_f64() * 1e3;
        eprintln!(
            "  {source} to {target}: {took:.0} ms; nothing written for {:.0} ms; demote {drained:.0} ms, promote {opened:.0} ms",
            pause.as_secs_f64() * 1e3
        );
        whole.push(first.duration_since(begun.1).unwrap_or_default().as_secs_f64() * 1e6);
        refused.push(pause.as_secs_f64() * 1e6);
        demote.push(drained * 1e3);
        promote.push(opened * 1e3);
        lab.run(&format!("crm_resource --resource {NAME}-clone --clear"));
        source = mirror.wait_in_sync(BOUND);
        ensure!(source == target, "{target} was to be the source, {source} is");
    }
    let (made, lost, set_aside) = account(lab, &mirror);
    lab.pcs("resource delete writer --force");
    lab.pcs(&format!("resource delete {NAME} --force"));
    let mut kept = Row::new(format!("planned switchover, {ROUNDS} rounds: files made; lost; set aside"))
        .target("none lost", lost == 0);
    kept.ours = format!("{made}; {lost}; {set_aside}");
    Ok(vec![
        kept,
        Row::new("planned switchover: from the command to the first write on the new source").ours(&whole),
        Row::new("– nothing written: from the last on the old source to that").ours(&refused),
        Row::new("– demote, with its last pass, as Pacemaker counts it").ours(&demote),
        Row::new("– promote, as Pacemaker counts it").ours(&promote),
    ])
}

/// Files that the application made and did not delete; those of them that are missing on any node; those that lie set aside.
fn account(lab: &Lab, mirror: &Mirror<'_>) -> (usize, usize, usize) {
    lab.pcs("resource disable writer");
    lab.settle(BOUND);
    mirror.wait_in_sync(BOUND);
    mirror.acknowledged(BOUND);
    let mut noted = Noted::default();
    lab.nodes().iter().for_each(|node| noted.add(&mirror.writer_log(node)));
    let kept: Vec<&String> = noted.made.difference(&noted.doomed).collect();
    let missing = lab.nodes().iter().map(|node| {
        let there = mirror.written(node);
        let right = |name: &String| there.get(name).is_some_and(|text| *text == format!("content of {name}"));
        kept.iter().filter(|name| !right(name)).count()
    });
    let missing = missing.sum();
    let set_aside = lab.nodes().iter().map(|node| mirror.saved_files(node).len()).sum();
    (kept.len(), missing, set_aside)
}

/// How long the last run of an action took on a node, by Pacemaker's record of it, in milliseconds.
fn executed(lab: &Lab, node: &str, action: &str) -> Result<f64> {
    let path = format!(
        "//node_state[@uname='{node}']//lrm_resource[@id='{NAME}']/lrm_rsc_op[@operation='{action}']"
    );
    let mut answer = String::new();
    lab.wait("the result on record", BOUND, |lab| {
        answer = lab.node(node).sh(&format!("cibadmin --query --xpath \"{path}\"")).stdout;
        answer.contains("exec-time=\"")
    });
    let time = answer.split("exec-time=\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(time.context("no exec-time")?.parse()?)
}
