//! Start and stop: when the first announcement is on the wire, whether the address answers then, and how long it all takes.

use crate::calls::{Who, agent};
use crate::child::Program;
use crate::measure::{Series, time};
use crate::table::Row;
use crate::wire::{Wire, now};
use anyhow::{Context, Result};
use lab::sandbox::Sandbox;
use std::net::IpAddr;
use std::thread::{scope, sleep};
use std::time::Duration;

/// A kind of start, and how often it is measured.
struct Kind {
    name: &'static str,
    v6: bool,
    /// With the kernel's duplicate address detection.
    dad: bool,
    turns: usize,
}

const KINDS: [Kind; 3] = [
    Kind { name: "IPv4", v6: false, dad: false, turns: 40 },
    Kind { name: "IPv6, nodad", v6: true, dad: false, turns: 15 },
    Kind { name: "IPv6 with duplicate address detection", v6: true, dad: true, turns: 7 },
];

/// How long an announcement is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// An announcer that has nothing more to send is gone by then.
const SETTLED: Duration = Duration::from_millis(80);

/// What was measured of one agent.
#[derive(Default)]
struct Measured {
    announced: Series,
    answered: Series,
    silent: usize,
    start: Series,
    stop: Series,
}

/// Measures starts and stops.
pub(crate) fn measure(sandbox: &Sandbox) -> Result<Vec<Row>> {
    let wire = Wire::open()?;
    // The link-local addresses of both ends are still being checked for duplicates.
    sleep(Duration::from_secs(3));
    let mut rows = Vec::new();
    for kind in &KINDS {
        let [ours, stock] = both(sandbox, &wire, kind)?;
        rows.extend(rows_of(kind, &ours, &stock));
    }
    let ([ours, stock], monitor) = quiet_stops(sandbox)?;
    let ratio = ours.median() / monitor.median();
    rows.push(Row::new("monitor, IPv4, as rarely as a stop: time").ours(&monitor));
    rows.push(Row::new("stop, IPv4: time").ours(&ours).stock(&stock).at_most(ratio, 3.0, "monitor"));
    Ok(rows)
}

/// Starts and stops both agents in turn.
fn both(sandbox: &Sandbox, wire: &Wire, kind: &Kind) -> Result<[Measured; 2]> {
    let mut measured = [Measured::default(), Measured::default()];
    for _ in 0..kind.turns {
        for (who, measured) in [Who::Ours, Who::Stock].into_iter().zip(&mut measured) {
            one(sandbox, wire, kind, who, measured)?;
        }
    }
    Ok(measured)
}

fn one(sandbox: &Sandbox, wire: &Wire, kind: &Kind, who: Who, measured: &mut Measured) -> Result<()> {
    let agent = agent(sandbox, who, kind.v6, "start");
    let agent = if kind.dad { agent.set("nodad", "false") } else { agent };
    let ip = if kind.v6 { format!("2001:db8::{}", last(who)) } else { format!("192.0.2.{}", last(who)) };
    let ip: IpAddr = ip.parse()?;
    let (start, stop) = (Program::new(&agent.command(&["start"]))?, Program::new(&agent.command(&["stop"]))?);
    wire.drain();
    let (seen, cost, begun) = scope(|scope| -> Result<_> {
        let watcher = scope.spawn(|| wire.watch(ip, PATIENCE));
        let begun = now();
        let cost = start.run().context("start")?;
        let seen = watcher.join().ok().flatten();
        Ok((seen, cost, begun))
    })?;
    measured.start.push(cost.wall);
    match seen {
        Some(seen) => {
            measured.announced.push(seen.announced.saturating_sub(begun).as_secs_f64() * 1e6);
            match seen.answered {
                Some(after) => measured.answered.push(after.as_secs_f64() * 1e6),
                None => measured.silent += 1,
            }
        }
        None => measured.silent += 1,
    }
    measured.stop.push(stop.run().context("stop")?.wall);
    Ok(())
}

fn last(who: Who) -> u8 {
    if who == Who::Ours { 100 } else { 101 }
}

fn rows_of(kind: &Kind, ours: &Measured, stock: &Measured) -> Vec<Row> {
    let name = kind.name;
    let announced = Row::new(format!("start, {name}: until the first announcement is on the wire"))
        .ours(&ours.announced)
        .stock(&stock.announced);
    let mut usable = Row::new(format!("start, {name}: the address answers from then on, after"))
        .ours(&ours.answered)
        .stock(&stock.answered);
    for (cell, measured) in [(&mut usable.ours, ours), (&mut usable.stock, stock)] {
        if measured.silent > 0 {
            *cell += &format!(", {} of {} times not", measured.silent, kind.turns);
        }
    }
    let start = Row::new(format!("start, {name}: time")).ours(&ours.start).stock(&stock.start);
    let stop = Row::new(format!("stop, {name}, while announcements still leave: time"))
        .ours(&ours.stop)
        .stock(&stock.stop);
    if kind.dad {
        return vec![announced, start];
    }
    let early = ours.announced.median() <= 5000.0 && ours.announced.count() == kind.turns;
    let all = ours.silent == 0;
    vec![
        announced.target(&format!("≤ {}", time(5000.0)), early),
        usable.target("every time", all),
        start,
        stop,
    ]
}

/// Stops when nothing is going on any more, as in the usual life of an address; and monitors under the same conditions,
/// since a call after a pause finds the machine's caches cold and costs more than one of a thousand in a row.
fn quiet_stops(sandbox: &Sandbox) -> Result<([Series; 2], Series)> {
    let (mut stops, mut monitors) = ([Series::default(), Series::default()], Series::default());
    for _ in 0..40 {
        for (who, stops) in [Who::Ours, Who::Stock].into_iter().zip(&mut stops) {
            let agent = agent(sandbox, who, false, "quiet").set("arp_count", "1");
            agent.expect("start", 0);
            sleep(SETTLED);
            if who == Who::Ours {
                monitors.push(Program::new(&agent.command(&["monitor"]))?.run().context("monitor")?.wall);
                sleep(SETTLED);
            }
            stops.push(Program::new(&agent.command(&["stop"]))?.run().context("stop")?.wall);
        }
    }
    Ok((stops, monitors))
}
