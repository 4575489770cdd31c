//! What the demo plays. A further agent brings a scene of its own.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::{Lab, Report};

use crate::screen::Screen;

/// A part of the demo.
pub(crate) struct Scene {
    /// Its heading.
    pub(crate) title: &'static str,
    /// What is going to happen.
    pub(crate) about: &'static str,
    /// Plays it.
    pub(crate) play: fn(&Screen, &Lab) -> Result<()>,
}

/// All of it, in order.
pub(crate) const SCENES: &[Scene] = &[
    Scene {
        title: "A virtual IP address",
        about: "One command makes it; Pacemaker starts it on one of the nodes and looks after it.",
        play: create_vip,
    },
    Scene {
        title: "The node that holds it loses its power",
        about: "The client pings the address every 20 ms, and asks all the time who has it.",
        play: fail_over,
    },
    Scene {
        title: "The node comes back",
        about: "It joins the others again. The address stays where it is: no second interruption.",
        play: come_back,
    },
];

const ADDRESS: &str = "10.77.0.100";
const INTERVAL: Duration = Duration::from_millis(20);
/// One mark of the client's course.
const STEP: Duration = Duration::from_millis(60);
/// The longest that the cluster may take for anything here.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

fn create_vip(screen: &Screen, lab: &Lab) -> Result<()> {
    typed(
        screen,
        lab,
        "n1",
        &format!(
            "pcs resource create vip ocf:bascule:vip ip={ADDRESS} cidr_netmask=24 op monitor interval=10s"
        ),
    )?;
    lab.settle(BOUND);
    typed(screen, lab, "n1", "crm_mon -1")?;
    typed(screen, lab, "client", &format!("ping -c 3 -i 0.2 -q {ADDRESS}"))
}

fn fail_over(screen: &Screen, lab: &Lab) -> Result<()> {
    let owner = holder(lab)?;
    let ping = lab.client().ping_every(INTERVAL, ADDRESS);
    sleep(Duration::from_secs(1));
    screen.event(&format!("{owner} is switched off"));
    lab.crash(&owner);

    let started = Instant::now();
    loop {
        let report = ping.report();
        screen.course(&report, STEP, true);
        if report.outages().iter().any(|outage| outage.over) {
            break;
        }
        if started.elapsed() > BOUND {
            bail!("the address did not come back within {} s\n{}", BOUND.as_secs(), lab.logs());
        }
        sleep(STEP);
    }
    // Some of the good times, too.
    sleep(Duration::from_millis(900));
    let report = ping.finish();
    screen.course(&report, STEP, false);

    lab.settle(BOUND);
    let heir = holder(lab)?;
    screen.result(&verdict(&report, &owner, &heir));
    let first_running = lab.running().first().cloned().context("no node is on")?;
    typed(screen, lab, &first_running, "crm_mon -1")
}

fn come_back(screen: &Screen, lab: &Lab) -> Result<()> {
    let lost = lab.nodes().iter().find(|node| !lab.node(node).is_on()).cloned().context("no node is off")?;
    let before = holder(lab)?;
    screen.event(&format!("{lost} is switched on"));
    lab.boot(&lost);
    let joined = lab.wait_online(BOUND);
    lab.settle(BOUND);
    let after = holder(lab)?;
    let place = if before == after { "is still" } else { "is now" };
    let seconds = joined.as_secs_f64();
    screen.result(&format!("{lost} is a member again after {seconds:.1} s; the address {place} on {after}."));
    typed(screen, lab, "n1", "crm_mon -1 --include=none,nodes,resources")
}

/// Runs a command on a machine and shows it as a person would see it.
pub(crate) fn typed(screen: &Screen, lab: &Lab, machine: &str, command: &str) -> Result<()> {
    screen.prompt(machine, command);
    let output = lab.machines().exec(machine, command, BOUND)?;
    screen.output(&output.stdout);
    screen.output(&output.stderr);
    if !output.ok() {
        bail!("`{command}` exited with {}\n{}", output.code, lab.logs());
    }
    Ok(())
}

fn holder(lab: &Lab) -> Result<String> {
    lab.resource_location("vip").with_context(|| format!("the address runs nowhere\n{}", lab.logs()))
}

/// What the client saw, in words.
fn verdict(report: &Report, owner: &str, heir: &str) -> String {
    let outage = report.longest_outage().as_millis();
    let together = match report.overlaps().as_slice() {
        [] => "never from both at a time".to_owned(),
        overlaps => format!("from both at a time {} times", overlaps.len()),
    };
    format!(
        "The client was without its address for {outage} ms: then {heir} answered in place of {owner}, {together}. \
         About 2200 ms of it Corosync waited to be sure that {owner} was lost (token 1000 ms, consensus 1200 ms); \
         then {owner} was fenced."
    )
}
