//! The compare-and-swap of values in the CIB among nodes: what keeps two from changing a dataset's record at a time.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use cluster::Cluster;
use lab::{Lab, Options};

const NAME: &str = "bascule-lsync-race";
/// Steps that each node takes.
const STEPS: u32 = 20;

/// Takes its steps on the node where it runs: each adds one to what the record holds. Prints how often another was quicker.
fn race(node: &str) -> u32 {
    let cluster = || Cluster::new(Instant::now() + Duration::from_secs(50));
    let mut lost = 0;
    for step in 0..STEPS {
        loop {
            let old = cluster().option(NAME).unwrap();
            let sum: u32 = old.as_deref().map_or(0, |old| old.split(' ').next().unwrap().parse().unwrap());
            let new = format!("{} {node}'s step {step}", sum + 1);
            if cluster().property_swap(NAME, old.as_deref(), &new).unwrap() {
                break;
            }
            lost += 1;
        }
    }
    lost
}

#[test]
fn of_nodes_that_race_one_wins_each_round() {
    if let Ok(node) = std::env::var("RACER") {
        return println!("lost {} rounds", race(&node));
    }
    // Installed as an agent, because a node does not see the host's /tmp.
    let program = std::env::current_exe().unwrap();
    let options = Options::nodes(3).label("record").stock_agents().agent("race", program.to_str().unwrap());
    let lab = Lab::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let racers: Vec<_> = lab
        .nodes()
        .iter()
        .map(|node| {
            lab.node(node).spawn(&format!(
                "RACER={node} /usr/lib/ocf/resource.d/bascule/race --exact of_nodes_that_race_one_wins_each_round --nocapture"
            ))
        })
        .collect();
    let mut lost = 0;
    for racer in racers {
        let output = racer.wait(Duration::from_secs(120)).unwrap();
        assert!(output.ok(), "{}{}", output.stdout, output.stderr);
        let told = output.stdout.split("lost ").nth(1).unwrap();
        lost += told.split(' ').next().unwrap().parse::<u32>().unwrap();
    }
    let record = lab.run(&format!("crm_attribute --type crm_config --name {NAME} --query --quiet"));
    assert!(record.starts_with(&format!("{} ", 3 * STEPS)), "{record}");
    assert!(lost > 0, "nobody raced");
}
