//! A cluster whose node dies: how long the client is without the address, for either agent.
//!
//! Both addresses are on the same node and die with it, so that each crash measures both: what differs from crash to crash
//! (when the token was last seen, how long fencing takes) is the same for both, and what is left is the agents' own share.
//! Half way their names are exchanged, so that neither is always the first to be started.

use crate::measure::Series;
use crate::table::Row;
use anyhow::{Context, Result, bail};
use lab::{Fencing, Lab, Options};
use std::thread::sleep;
use std::time::Duration;

const ROUNDS: usize = 10;
const INTERVAL: Duration = Duration::from_millis(20);
/// The longest that the cluster may take for anything here.
const BOUND: Duration = Duration::from_secs(60);
const OURS: &str = "10.77.0.100";
const STOCK: &str = "10.77.0.101";

/// Measures the outages.
pub(crate) fn measure() -> Result<Vec<Row>> {
    let lab = Lab::start(Options::nodes(3).fencing(Fencing::Off).label("bench"))?;
    let (mut ours, mut stock, mut sooner) = (Series::default(), Series::default(), Series::default());
    for round in 0..ROUNDS {
        match round {
            0 => create(&lab, "a", "b"),
            5 => {
                lab.pcs("resource delete a");
                lab.pcs("resource delete b");
                lab.settle(BOUND);
                create(&lab, "b", "a");
            }
            _ => {}
        }
        let [one, other] = crash(&lab)?;
        eprintln!("  round {}: vip {one:?}, IPaddr2 {other:?}", round + 1);
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
        ours.push(microseconds(one));
        stock.push(microseconds(other));
        sooner.push(microseconds(other) - microseconds(one));
    }
    let row = Row::new(format!("failover, node killed ({ROUNDS} rounds): outage seen by the client"))
        .ours(&ours)
        .stock(&stock)
        .at_most(ours.median() / stock.median(), 1.0, "IPaddr2");
    let mut paired = Row::new("failover: sooner than IPaddr2 in the same crash (median)");
    paired.ours = format!("{:.0} ms", sooner.median() / 1000.0);
    Ok(vec![row, paired])
}

/// Makes both resources, with the same settings, on the same node.
fn create(lab: &Lab, ours: &str, stock: &str) {
    let settings = "cidr_netmask=24 nic=eth0 op monitor interval=10s timeout=20s op start timeout=20s op stop timeout=20s";
    lab.pcs(&format!("resource create {ours} ocf:bascule:vip ip={OURS} {settings}"));
    lab.pcs(&format!("resource create {stock} ocf:heartbeat:IPaddr2 ip={STOCK} {settings}"));
    lab.pcs("constraint colocation add a with b INFINITY");
    lab.settle(BOUND);
}

/// Kills the node that has both addresses, and brings it back: the outages of ours and of IPaddr2's.
fn crash(lab: &Lab) -> Result<[Duration; 2]> {
    let owner = lab.resource_location("a").context("the addresses run nowhere")?;
    if lab.resource_location("b").as_ref() != Some(&owner) {
        bail!("the addresses are not on the same node\n{}", lab.logs());
    }
    let pings = [OURS, STOCK].map(|ip| lab.client().ping_every(INTERVAL, ip));
    sleep(Duration::from_secs(1));
    lab.crash(&owner);
    lab.wait("both addresses answer again", BOUND, |_| {
        pings.iter().all(|ping| ping.report().outages().iter().any(|outage| outage.over))
    });
    sleep(Duration::from_millis(500));
    let outages = pings.map(|ping| ping.finish().longest_outage());
    lab.settle(BOUND);
    lab.boot(&owner);
    lab.wait_online(BOUND);
    lab.settle(BOUND);
    Ok(outages)
}
