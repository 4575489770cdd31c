//! Whole checks of many files: with nothing changed, and with one file that nobody has told of.

use super::setup::{CSYNC2, Resource};
use crate::child::Program;
use crate::measure::{Series, digits, time};
use crate::site::{BOUND, between};
use crate::table::Row;
use crate::within::{command, line, series};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Checks with nothing changed.
const ROUNDS: usize = 20;
/// Checks with one change.
const CHANGES: usize = 7;
/// The node that checks.
const NODE: &str = "n1";
/// How often is looked for the end of a check.
const LOOK: Duration = Duration::from_millis(1);
/// Pause before a check.
const SETTLED: Duration = Duration::from_millis(500);
/// The same before the agent's: the status file tells seconds, and is written only if it tells something else than before.
const TOLD: Duration = Duration::from_millis(1100);

/// Measures them.
pub(crate) fn measure(many: &Resource<'_>) -> Result<Vec<Row>> {
    let mut rows = nothing_changed(many)?;
    rows.extend(one_changed(many)?);
    let (_, worker) = many.worker(NODE)?;
    let status = fs::read_to_string(worker.join("status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let peak: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    let mut row = Row::new(format!("peak memory of the worker with {} files", files(many)));
    row.ours = format!("{} MB", digits(peak * 1024.0 / 1e6));
    rows.push(row);
    Ok(rows)
}

fn files(many: &Resource<'_>) -> String {
    let number = many.group.files();
    format!("{},{:03}", number / 1000, number % 1000)
}

fn nothing_changed(many: &Resource<'_>) -> Result<Vec<Row>> {
    let (worker, _) = many.worker(NODE)?;
    let words = format!("checks {} {worker} {}", many.kept("status"), many.group.csync2(NODE, "-x"));
    let text = many.site.run(NODE, &command(&words))?;
    let (ours, stock, stock_cpu) =
        (series(&text, "wall")?, series(&text, "stock")?, series(&text, "stock-cpu")?);
    let cpu: f64 = line(&text, "cpu")?.parse()?;
    let status = fs::read_to_string(many.kept_here(NODE, "status")?)?;
    ensure!(!status.contains("HELD") && !status.contains("KO "), "{status}");
    let what = format!("whole check of {} files, nothing changed", files(many));
    let mut costs = Row::new("– CPU time (mean)").at_most(cpu / stock_cpu.mean(), 1.1, "csync2 -x");
    (costs.ours, costs.stock) = (time(cpu), time(stock_cpu.mean()));
    Ok(vec![
        Row::new(what).ours(&ours).stock(&stock).at_most(ours.median() / stock.median(), 1.1, "csync2 -x"),
        costs,
    ])
}

/// In the node: the agent's checks in turn with csync2's, which is this command.
pub(crate) fn in_node(status: &str, worker: u32, stock: &Command) -> Result<String> {
    let status = Path::new(status);
    let nudge = status.with_file_name("nudge");
    let stock = Program::new(stock)?;
    let process = format!("/proc/{worker}");
    let written = || fs::metadata(status).map(|found| (found.ino(), found.mtime(), found.mtime_nsec()));
    let (mut ours, mut theirs, mut theirs_cpu) = (Vec::new(), Vec::new(), Vec::new());
    let before = cpu(Path::new(&process))?;
    for round in 0..ROUNDS {
        for turn in 0..2 {
            let own = (round + turn) % 2 == 0;
            sleep(if own { TOLD } else { SETTLED });
            if own {
                let last = written()?;
                let begun = Instant::now();
                fs::write(&nudge, "")?;
                while written()? == last {
                    ensure!(begun.elapsed() < BOUND, "no check within {BOUND:?}");
                    sleep(LOOK);
                }
                ours.push(begun.elapsed().as_secs_f64() * 1e6);
                ensure!(fs::read_to_string(status)?.contains("CHECKED "), "no check is told of");
            } else {
                let cost = stock.run()?;
                theirs.push(cost.wall);
                theirs_cpu.push(cost.cpu);
            }
        }
    }
    // What it does after it has written that.
    sleep(SETTLED);
    let cpu = (cpu(Path::new(&process))? - before) / ROUNDS as f64;
    let text = |numbers: &[f64]| numbers.iter().map(|it| format!(" {it:.1}")).collect::<String>();
    Ok(format!("wall{}\nstock{}\nstock-cpu{}\ncpu {cpu}\n", text(&ours), text(&theirs), text(&theirs_cpu)))
}

/// User and system time of a process and of its children that have ended, in microseconds.
fn cpu(process: &Path) -> Result<f64> {
    let text = fs::read_to_string(process.join("stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("a process has a name")?;
    let ticks = fields.split(' ').skip(11).take(4).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    // A tick is always 10 ms as the kernel tells it.
    Ok(ticks * 1e4)
}

fn one_changed(many: &Resource<'_>) -> Result<Vec<Row>> {
    let (mut ours, mut stock, mut stock_cpu) = (Series::default(), Series::default(), Series::default());
    let (_, worker) = many.worker(NODE)?;
    let mut ours_cpu = Series::default();
    for round in 0..CHANGES {
        for turn in 0..2 {
            many.quiet()?;
            let file = many.group.file(1000 + 2 * round + turn);
            let size = many.change(NODE, &many.behind_tree(), &file)?;
            sleep(SETTLED);
            let others = many.others(NODE);
            let there =
                many.site.root(others[0])?.join(many.group.tree().trim_start_matches('/')).join(&file);
            ensure!(fs::metadata(there)?.len() != size, "the change was noticed without a check");
            let wanted = [(file, size)];
            if (round + turn) % 2 == 0 {
                let before = cpu(&worker)?;
                let begun = SystemTime::now();
                fs::write(many.kept_here(NODE, "nudge")?, "")?;
                let there = many.site.wait_on(&others, &many.group.tree(), &wanted)?;
                ours.push(between(begun, there));
                many.quiet()?;
                ours_cpu.push(cpu(&worker)? - before);
            } else {
                let words = command(&format!("run {}", many.group.csync2(NODE, "-x")));
                let job = many.site.lab.node(NODE).spawn(&words);
                let there = many.site.wait_on(&others, &many.group.tree(), &wanted)?;
                let ended = job.wait(BOUND)?;
                ensure!(ended.ok(), "{CSYNC2} -x: {}{}", ended.stdout, ended.stderr);
                let begun = UNIX_EPOCH + Duration::from_nanos(line(&ended.stdout, "begun")?.parse()?);
                stock.push(between(begun, there));
                stock_cpu.push(line(&ended.stdout, "cpu")?.parse()?);
            }
        }
    }
    let ratio = |ours: f64, stock: f64| format!("{} × csync2 -x", digits(ours / stock));
    let what = format!("the same with 1 of {} files changed: until it is on three other nodes", files(many));
    let mut row = Row::new(what).ours(&ours).stock(&stock);
    row.ratio = ratio(ours.median(), stock.median());
    let mut costs = Row::new("– CPU time (mean)");
    (costs.ours, costs.stock) = (time(ours_cpu.mean()), time(stock_cpu.mean()));
    costs.ratio = ratio(ours_cpu.mean(), stock_cpu.mean());
    Ok(vec![row, costs])
}
