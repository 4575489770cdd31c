//! Monitors: of one address, and of one among thousands, beside those of IPaddr2 and the floor.

use crate::child::{Census, Program, census};
use crate::measure::{Series, digits};
use crate::table::Row;
use anyhow::{Context, Result};
use lab::sandbox::{Agent, Sandbox};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

/// How often each of the quick programs is run; IPaddr2 is run in every tenth turn.
const TURNS: usize = 1000;
const SLOW: usize = 10;
/// Among thousands of addresses IPaddr2 takes longer still.
const SLOWER: usize = 100;
/// Addresses on the interface of the crowd.
const CROWD: u32 = 5000;

/// The two that are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    Stock,
}

/// A call of either agent for one address, of which each has its own.
pub(crate) fn agent(sandbox: &Sandbox, who: Who, v6: bool, instance: &str) -> Agent {
    let (agent, last) = match who {
        Who::Ours => (sandbox.agent("vip"), 100),
        Who::Stock => (sandbox.stock_agent("heartbeat/IPaddr2"), 101),
    };
    let (ip, prefix) =
        if v6 { (format!("2001:db8::{last}"), "64") } else { (format!("192.0.2.{last}"), "24") };
    let agent = agent.set("ip", ip).set("cidr_netmask", prefix).set("nic", "eth0");
    let agent = if v6 { agent.set("nodad", "true") } else { agent };
    agent.env("OCF_RESOURCE_INSTANCE", format!("{instance}-{}", if v6 { "v6" } else { "v4" }))
}

/// One program in the race.
struct Runner<'a> {
    program: Program,
    every: usize,
    namespace: &'a File,
    wall: Series,
    cpu: Series,
}

impl<'a> Runner<'a> {
    fn new(program: Program, every: usize, namespace: &'a File) -> Self {
        Runner { program, every, namespace, wall: Series::default(), cpu: Series::default() }
    }
}

/// Runs all of them in turn, so that whatever disturbs the machine disturbs all alike; each turn begins with another.
fn race(runners: &mut [Runner<'_>]) -> Result<()> {
    let count = runners.len();
    for turn in 0..TURNS {
        for place in 0..count {
            let runner = &mut runners[(turn + place) % count];
            if turn % runner.every == 0 {
                setns(runner.namespace, CloneFlags::CLONE_NEWNET)?;
                let cost = runner.program.run()?;
                runner.wall.push(cost.wall);
                runner.cpu.push(cost.cpu);
            }
        }
    }
    Ok(())
}

/// Measures the monitors, in a sandbox of its own.
pub(crate) fn measure(sandbox: &Sandbox, floor: &Path) -> Result<Vec<Row>> {
    let home = File::open("/proc/thread-self/ns/net").context("the namespace of the sandbox")?;
    sandbox.sh("ip netns add crowd; ip link add eth0 netns crowd type veth peer name far netns crowd
        ip -n crowd link set lo up; ip -n crowd link set far up; ip -n crowd link set eth0 up");
    fs::write("/run/crowd", crowd())?;
    sandbox.sh("ip -n crowd -batch /run/crowd");
    let crowd = File::open("/run/netns/crowd").context("the namespace of the crowd")?;

    let mut runners =
        vec![Runner::new(Program::new(std::process::Command::new(floor).env_clear())?, 1, &home)];
    let mut counted = Vec::new();
    for (namespace, name, slow) in [(&home, "one", SLOW), (&crowd, "crowd", SLOWER)] {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        for v6 in [false, true] {
            for who in [Who::Ours, Who::Stock] {
                let agent = agent(sandbox, who, v6, name);
                agent.expect("start", 0);
                let monitor = agent.interval(10_000).command(&["monitor"]);
                let every = if who == Who::Ours { 1 } else { slow };
                runners.push(Runner::new(Program::new(&monitor)?, every, namespace));
                counted.push(census(monitor)?);
            }
        }
    }
    race(&mut runners)?;
    setns(&home, CloneFlags::CLONE_NEWNET)?;
    for (who, v6) in [(Who::Ours, false), (Who::Stock, false), (Who::Ours, true), (Who::Stock, true)] {
        agent(sandbox, who, v6, "one").expect("stop", 0);
    }
    let [floor, four, stock_four, six, stock_six, far_four, far_stock_four, far_six, far_stock_six] =
        &runners[..]
    else {
        anyhow::bail!("nine runners were in the race");
    };
    let mut rows = Vec::new();
    for (family, ours, stock) in [("IPv4", four, stock_four), ("IPv6", six, stock_six)] {
        rows.push(
            Row::new(format!("monitor, {family}: time"))
                .ours(&ours.wall)
                .stock(&stock.wall)
                .floor(&floor.wall)
                .at_most(ours.wall.median() / floor.wall.median(), 2.0, "floor"),
        );
        let less = stock.cpu.median() / ours.cpu.median();
        let mut row = Row::new(format!("monitor, {family}: CPU time"))
            .ours(&ours.cpu)
            .stock(&stock.cpu)
            .floor(&floor.cpu)
            .target("40 × less than IPaddr2", less >= 40.0);
        row.ratio = format!("{} × less", digits(less));
        rows.push(row);
    }
    for (family, ours, one, stock) in
        [("IPv4", far_four, four, far_stock_four), ("IPv6", far_six, six, far_stock_six)]
    {
        rows.push(
            Row::new(format!("monitor, {family}, one of {CROWD} addresses on the interface: time"))
                .ours(&ours.wall)
                .stock(&stock.wall)
                .at_most(ours.wall.median() / one.wall.median(), 1.3, "one address"),
        );
    }
    let counts = |census: &Census| {
        format!("{} children, {} programs, {} system calls", census.children, census.executed, census.calls)
    };
    for (place, family) in [(0, "IPv4"), (2, "IPv6")] {
        let (ours, stock) = (&counted[place], &counted[place + 1]);
        let mut row =
            Row::new(format!("monitor, {family}: what it does")).target("no child", ours.children == 0);
        (row.ours, row.stock) = (counts(ours), counts(stock));
        rows.push(row);
    }
    rows.push(load(&four.cpu, &stock_four.cpu));
    Ok(rows)
}

/// 500 addresses monitored every 10 s. For a sum the mean counts, not the median.
fn load(ours: &Series, stock: &Series) -> Row {
    let share = |cpu: &Series| cpu.mean() * 50.0 / 1e6 * 100.0;
    let mut row =
        Row::new("500 addresses monitored every 10 s: share of one core").target("< 1 %", share(ours) < 1.0);
    (row.ours, row.stock) = (format!("{} %", digits(share(ours))), format!("{} %", digits(share(stock))));
    row
}

/// The size of the binary, and the most memory of any action.
pub(crate) fn size(sandbox: &Sandbox) -> Result<Vec<Row>> {
    let program = sandbox.agent("vip").program().clone();
    let bytes = fs::metadata(&program)?.len();
    let mut size = Row::new("binary, stripped").target("≤ 1000000 bytes", bytes <= 1_000_000);
    size.ours = format!("{bytes} bytes");
    size.stock =
        fs::metadata("/bin/sh").map(|sh| format!("(/bin/sh: {} bytes)", sh.len())).unwrap_or_default();
    let mut most = [0, 0];
    for (place, who) in [(0, Who::Ours), (1, Who::Stock)] {
        for v6 in [false, true] {
            let agent = agent(sandbox, who, v6, "size");
            for action in ["start", "monitor", "stop"] {
                most[place] = most[place].max(census(agent.command(&[action]))?.peak);
            }
        }
    }
    let mut memory =
        Row::new("peak memory of start, monitor, stop").target("≤ 4 MB", most[0] * 1024 <= 4_000_000);
    [memory.ours, memory.stock] = most.map(|kib| format!("{} MB", digits(kib as f64 * 1024.0 / 1e6)));
    Ok(vec![size, memory])
}

/// Commands for `ip -batch`: the addresses of the crowd, of both families.
fn crowd() -> String {
    let mut lines =
        String::from("address add 192.0.2.1/24 dev eth0\naddress add 2001:db8::1/64 dev eth0 nodad\n");
    for number in 0..CROWD {
        let (high, low) = (number >> 8, number & 0xff);
        lines += &format!("address add 10.1.{high}.{low}/16 dev eth0\n");
        lines += &format!("address add 2001:db8:1::{number:x}/64 dev eth0 nodad\n");
    }
    lines
}

/// Whether a word is among the arguments, or none is.
pub(crate) fn wanted(arguments: &[std::ffi::OsString], part: &str) -> bool {
    arguments.is_empty() || arguments.iter().any(|word| word == OsStr::new(part))
}
