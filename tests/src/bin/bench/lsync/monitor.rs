//! The monitor at level 0, on a replica and on the source, beside the floor. The loop runs in the node: the program is called
//! there again, as `bench in-node`.

use super::site::{AGENTS, Dataset, SOURCE, Site};
use crate::child::{Program, census};
use crate::measure::Series;
use crate::table::Row;
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::process::Command;

/// The word by which the program knows that it is called in a node.
pub(crate) const IN_NODE: &str = "in-node";
/// How often the monitor and the floor are run.
const TURNS: usize = 1000;

/// What the loop found.
struct Loop {
    agent: Series,
    floor: Series,
    cpu: Series,
    does: String,
    children: u32,
}

/// In the node: runs the monitor with this program's environment and prints what it costs. `arguments`: the exit code that it has to have.
pub(crate) fn in_node(arguments: &[OsString]) -> Result<String> {
    let code = arguments.first().and_then(|it| it.to_str()).and_then(|it| it.parse().ok());
    let code: i32 = code.context("expected an exit code")?;
    let command = || {
        let mut command = Command::new(format!("{AGENTS}/lsync"));
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

/// Measures them, with three replicas in sync.
pub(crate) fn measure(site: &Site<'_>) -> Result<Vec<Row>> {
    let data = Dataset::new(site, "levels", &[]);
    site.run_on_all("mkdir -p /site/levels")?;
    site.run(SOURCE, "for n in 1 2 3 4 5 6 7 8 9; do echo $n >/site/levels/$n; done")?;
    data.start()?;
    data.call(SOURCE, "promote")?;
    data.wait_following()?;
    std::thread::sleep(std::time::Duration::from_secs(5));
    let mut rows = Vec::new();
    for (name, node, code, limit) in
        [("a replica", "n2", 0, 3.0), ("the source with three replicas", SOURCE, 8, 5.0)]
    {
        // What is to be written to the cluster was, and what was lost has been found.
        site.lab.node(node).sh(&format!("env -i {} {AGENTS}/lsync monitor", data.environment(node, 10_000)));
        let found = run(site, &data, node, code)?;
        let ratio = found.agent.median() / found.floor.median();
        rows.push(
            Row::new(format!("monitor, {name}: time"))
                .ours(&found.agent)
                .floor(&found.floor)
                .at_most(ratio, limit, "floor"),
        );
        rows.push(Row::new(format!("monitor, {name}: CPU time")).ours(&found.cpu));
        let mut does =
            Row::new(format!("monitor, {name}: what it does")).target("no child", found.children == 0);
        does.ours = found.does;
        rows.push(does);
    }
    data.end()?;
    site.run_on_all("rm -rf /site/levels")?;
    Ok(rows)
}

fn run(site: &Site<'_>, data: &Dataset<'_>, node: &str, code: i32) -> Result<Loop> {
    let text = site
        .run(node, &format!("env -i {} {AGENTS}/bench {IN_NODE} {code}", data.environment(node, 10_000)))?;
    let line = |name: &str| -> Result<&str> {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.with_context(|| format!("no line {name:?} in {text}"))
    };
    let series = |name: &str| -> Result<Series> {
        let mut series = Series::default();
        for word in line(name)?.split(' ') {
            series.push(word.parse()?);
        }
        ensure!(series.count() == TURNS, "{} turns of {name}", series.count());
        Ok(series)
    };
    Ok(Loop {
        agent: series("agent")?,
        floor: series("floor")?,
        cpu: series("cpu")?,
        does: line("does")?.to_owned(),
        children: line("children")?.parse()?,
    })
}
