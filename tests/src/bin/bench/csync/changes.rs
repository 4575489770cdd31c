//! One change on one node, until the three others have it.

use super::setup::{HAND, Resource};
use crate::measure::{Series, time};
use crate::site::{BOUND, between};
use crate::table::Row;
use anyhow::{Result, ensure};
use lab::Job;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

const ROUNDS: usize = 20;
const LIMIT: f64 = 2e6;

/// Measures it, in turn with csync2 by hand.
pub(crate) fn measure(few: &Resource<'_>) -> Result<Vec<Row>> {
    let hand = Resource { site: few.site, group: &HAND };
    let _daemons = by_hand(&hand)?;
    let (mut ours, mut bare, mut worst) = (Series::default(), Series::default(), 0.0_f64);
    for round in 0..ROUNDS {
        for turn in 0..2 {
            // At different moments of the second, and of the worker's and the cluster's pauses.
            sleep(Duration::from_millis(700 + (round as u64) * 137 % 500));
            if (round + turn) % 2 == 0 {
                let took = change(few, round)?;
                worst = worst.max(took);
                ours.push(took);
            } else {
                bare.push(change_by_hand(&hand, round)?);
            }
        }
    }
    let row = Row::new("one change: until it is on three other nodes")
        .ours(&ours)
        .stock(&bare)
        .target(&format!("≤ {} each time", time(LIMIT)), worst <= LIMIT);
    let mut slowest = Row::new("– the slowest of them");
    slowest.ours = time(worst);
    Ok(vec![row, slowest])
}

/// A change that the agent has to notice.
fn change(few: &Resource<'_>, round: usize) -> Result<f64> {
    let (node, file) = (node(few, round), few.group.file(round));
    let begun = SystemTime::now();
    let size = few.change(&node, &few.group.tree(), &file)?;
    let there = few.site.wait_on(&few.others(&node), &few.group.tree(), &[(file, size)])?;
    Ok(between(begun, there))
}

/// A change that is followed by `csync2 -x`.
fn change_by_hand(hand: &Resource<'_>, round: usize) -> Result<f64> {
    let (node, file) = (node(hand, round), hand.group.file(round));
    let tree = hand.group.tree();
    let size =
        std::fs::metadata(hand.site.root(&node)?.join(tree.trim_start_matches('/')).join(&file))?.len();
    let path = format!("{tree}/{}", file.display());
    let command = format!("echo changed >>{path}; exec {}", hand.group.csync2(&node, "-x"));
    let job = hand.site.lab.node(&node).spawn(&command);
    let there = hand.site.wait_on(&hand.others(&node), &tree, &[(file, size + 8)])?;
    let ended = job.wait(BOUND)?;
    ensure!(ended.ok(), "csync2 -x on {node}: {}{}", ended.stdout, ended.stderr);
    Ok(between(hand.site.written(&node, &path)?, there))
}

fn node(resource: &Resource<'_>, round: usize) -> String {
    let nodes = resource.site.lab.nodes();
    nodes[round % nodes.len()].clone()
}

/// csync2 set up by hand: its first run and its daemon on each node. They end when what is returned is dropped.
fn by_hand(hand: &Resource<'_>) -> Result<Vec<Job>> {
    let site = hand.site;
    hand.group.make(site)?;
    site.at_once(site.lab.nodes(), |node| site.run(node, &hand.group.csync2(node, "-cIr /")).map(drop))?;
    let nodes = site.lab.nodes().iter();
    let daemons = nodes
        .map(|node| site.lab.node(node).spawn(&format!("exec {} 2>&1", hand.group.csync2(node, "-ii -v"))));
    let daemons: Vec<Job> = daemons.collect();
    let begun = Instant::now();
    while let Some(job) = daemons.iter().find(|job| !(job.stdout() + &job.stderr()).contains("Listening")) {
        ensure!(begun.elapsed() < BOUND, "a daemon does not listen: {}", job.stdout());
        sleep(Duration::from_millis(20));
    }
    // Each learns the certificates of the others.
    for round in ROUNDS..ROUNDS + site.lab.nodes().len() {
        change_by_hand(hand, round)?;
    }
    Ok(daemons)
}
