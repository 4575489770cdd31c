//! What runs in a node of a lab: the program is called there again, as `bench in-node`, so that its loops and clocks have no
//! way into the node between them and what they measure.

use crate::child::{Program, census};
use crate::csync;
use crate::measure::Series;
use crate::site::{AGENTS, Site};
use crate::table::Row;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The word by which the program knows that it is called in a node.
pub(crate) const IN_NODE: &str = "in-node";
/// How often the monitor and the floor are run.
const TURNS: usize = 1000;

/// In the node: does what the words say, and returns what is to be printed.
pub(crate) fn in_node(arguments: &[OsString]) -> Result<String> {
    let words: Option<Vec<&str>> = arguments.iter().map(|word| word.to_str()).collect();
    match words.context("words are text")?.as_slice() {
        ["monitor", agent, code] => monitor(agent, code.parse().context("expected an exit code")?),
        ["run", program, arguments @ ..] => run(Command::new(program).args(arguments)),
        ["checks", status, worker, program, arguments @ ..] => {
            csync::checks_in_node(status, worker.parse()?, Command::new(program).args(arguments))
        }
        other => bail!("{other:?}: unknown in a node"),
    }
}

/// A command that [`in_node`] runs, found on a node.
pub(crate) fn command(words: &str) -> String {
    format!("{AGENTS}/bench {IN_NODE} {words}")
}

/// Runs a program once: when it began, in nanoseconds since 1970, and what it cost, in microseconds.
fn run(command: &mut Command) -> Result<String> {
    let program = Program::new(command.env_clear())?;
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let cost = program.run()?;
    Ok(format!("begun {}\nwall {}\ncpu {}\n", begun.as_nanos(), cost.wall, cost.cpu))
}

/// Runs an agent's monitor with this program's environment, in turn with the floor.
fn monitor(agent: &str, code: i32) -> Result<String> {
    let command = || {
        let mut command = Command::new(format!("{AGENTS}/{agent}"));
        command.arg("monitor").env_clear().envs(std::env::vars_os());
        command
    };
    let monitor = Program::new(&command())?.expecting(code);
    let floor = Program::new(Command::new(format!("{AGENTS}/floor")).env_clear())?;
    let mut lines = [String::from("agent"), String::from("floor"), String::from("cpu")];
    let mut note = |place: usize, number: f64| lines[place] += &format!(" {number:.1}");
    for turn in 0..TURNS {
        for place in [turn % 2, (turn + 1) % 2] {
            let cost = if place == 0 { monitor.run()? } else { floor.run()? };
            note(place, cost.wall);
            if place == 0 {
                note(2, cost.cpu);
            }
        }
    }
    let census = census(command())?;
    let does = format!(
        "does {} children, {} programs, {} system calls",
        census.children, census.executed, census.calls
    );
    Ok(format!("{}\nchildren {}\n{does}\n", lines.join("\n"), census.children))
}

/// Rows of an agent's monitor on a node, called with this environment. `what` is who is monitored, `limit` how many floors it may take.
pub(crate) fn monitor_rows(
    site: &Site<'_>,
    node: &str,
    environment: &str,
    agent: (&str, i32),
    what: &str,
    limit: f64,
) -> Result<Vec<Row>> {
    let (name, code) = agent;
    let text =
        site.run(node, &format!("env -i {environment} {}", command(&format!("monitor {name} {code}"))))?;
    let (ours, floor, cpu) = (series(&text, "agent")?, series(&text, "floor")?, series(&text, "cpu")?);
    for series in [&ours, &floor, &cpu] {
        ensure!(series.count() == TURNS, "{} turns of {TURNS}", series.count());
    }
    let children: u32 = line(&text, "children")?.parse()?;
    let mut does = Row::new(format!("monitor, {what}: what it does")).target("no child", children == 0);
    does.ours = line(&text, "does")?.to_owned();
    Ok(vec![
        Row::new(format!("monitor, {what}: time")).ours(&ours).floor(&floor).at_most(
            ours.median() / floor.median(),
            limit,
            "floor",
        ),
        Row::new(format!("monitor, {what}: CPU time")).ours(&cpu),
        does,
    ])
}

/// The rest of the line that begins with this word.
pub(crate) fn line<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.with_context(|| format!("no line {name:?} in {text}"))
}

/// The numbers on that line.
pub(crate) fn series(text: &str, name: &str) -> Result<Series> {
    let mut series = Series::default();
    for word in line(text, name)?.split(' ') {
        series.push(word.parse()?);
    }
    Ok(series)
}
