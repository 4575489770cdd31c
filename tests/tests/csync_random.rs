//! `ocf:bascule:csync` under a random schedule, with real csync2: on three nodes people write, replace, rename and remove the same few files, while
//! machines crash, networks part, daemons are killed or halted, and an include is emptied. Then everything is healed, and judged.
//!
//! What has to hold then, whatever happened:
//! * Every path is the same on all nodes (kind, mode, owner, contents), or it, what it lies in or what lies in it is named in a node's status:
//!   as a conflict, or as refused by another node. Where csync2 itself has missed a change (it forgets one that is made in the instant
//!   in which it replaces or sends that file) that is found when no other conflict stands any more: so it is asked for once all are settled.
//! * Every version of a file that was made is found: in a node's tree, or among what the agent keeps (`kept`, `overwritten`). But for those that
//!   somebody replaced or removed on a node *where they were*: whoever does that has seen them. Nobody else may lose them, so a change made
//!   on two nodes at once, and one that arrives where something else was put meanwhile, is still there twice. The exception is csync2's: what had
//!   stood for less than a second when it put a winner's directory or link there, for which it makes no backup and asks nobody.
//! * Every conflict can be settled as `docs/csync.md` says, by having one node's version win; then all is well everywhere, and still
//!   nothing is lost.
//!
//! `BASCULE_SEED` chooses the schedule, which is printed; `BASCULE_MINUTES` makes all tests together last longer than 3 minutes; `BASCULE_KEEP`
//! names a directory for the logs of a run that fails. The schedule is the same for the same seed, but what the daemons are doing at that
//! moment is not. The clock of the machine is not touched, since all nodes share it: files get times that are hours wrong.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "csync_random/faults.rs"]
mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::sleep;
use std::time::{Duration, Instant};

use faults::{Event, Hand};
use lab::csync::{RUN, choose, site_of, state, told};
use lab::story::{minutes, seed};
use lab::{Chance, Lab, Options};

/// The applications, on each node.
pub(crate) const WRITER: &str = "/usr/lib/ocf/resource.d/bascule/writer";
/// The mean pause between two acts of a node, in seconds.
pub(crate) const PACE: &str = "0.25";
/// The schedule in CI.
const SEED: u64 = 20_261_121;
/// How long all tests together last unless said otherwise.
const MINUTES: f64 = 3.0;
/// A round: this long things break; then all is healed and judged.
const ROUND: Duration = Duration::from_secs(20);
/// The bound of what takes seconds on an idle machine, after a storm.
const SOON: Duration = Duration::from_secs(180);

/// A line of a status: the file, and the nodes that have different versions of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reported {
    file: String,
    nodes: [String; 2],
}

fn reported(node: &str, status: &str) -> Vec<Reported> {
    let pair = |file: &str, peer: &str| Reported {
        file: file.to_owned(),
        nodes: [node.to_owned(), peer.to_owned()],
    };
    let lines = status.lines().filter_map(|line| {
        if let Some(rest) = line.strip_prefix("CONFLICT ") {
            return rest.rsplit_once(" with ").map(|(file, peer)| pair(file, peer));
        }
        let (file, rest) = line.strip_prefix("REFUSED ")?.split_once(" by ")?;
        Some(pair(file, rest.split(':').next()?))
    });
    lines.collect()
}

/// What is found on the nodes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    /// By path, by node.
    paths: BTreeMap<String, BTreeMap<String, String>>,
    tokens: BTreeSet<String>,
    statuses: BTreeMap<String, String>,
}

impl Found {
    fn reported(&self) -> BTreeSet<Reported> {
        self.statuses.iter().flat_map(|(node, status)| reported(node, status)).collect()
    }

    /// Paths that are not the same everywhere and not told of.
    fn unequal(&self, nodes: usize) -> Vec<String> {
        let reported = self.reported();
        let below = |one: &str, other: &str| {
            one == other || one.strip_prefix(other).is_some_and(|it| it.starts_with('/'))
        };
        let is_told = |path: &str| reported.iter().any(|it| below(path, &it.file) || below(&it.file, path));
        let same = |there: &BTreeMap<String, String>| {
            there.len() == nodes && there.values().collect::<BTreeSet<_>>().len() == 1
        };
        let wrong = self.paths.iter().filter(|(path, there)| !same(there) && !is_told(path));
        wrong.map(|(path, there)| format!("{path} differs, and nobody says so: {there:?}")).collect()
    }
}

struct Run<'a> {
    lab: &'a Lab,
    hand: Hand<'a>,
    chance: Chance,
}

impl Run<'_> {
    /// Lets things break for a round.
    fn storm(&mut self, events: &[Event]) {
        self.hand.pace(PACE);
        let begun = Instant::now();
        for event in events {
            while begun.elapsed() < event.at {
                self.hand.undo_due();
                sleep(Duration::from_millis(50));
            }
            self.hand.act(event);
        }
        while begun.elapsed() < ROUND {
            self.hand.undo_due();
            sleep(Duration::from_millis(50));
        }
        self.hand.heal();
        self.hand.note("all is healed");
    }

    /// Waits until nobody writes, every node runs, and nothing is under way any more.
    fn quiet(&mut self) -> Found {
        for node in self.lab.nodes() {
            self.lab.node(node).sh("rm -f /run/writer.idle");
        }
        self.hand.pace("quiet");
        let cleanup = "pcs resource cleanup";
        let _may_have_nothing_to_do =
            self.lab.machines().exec(&self.lab.nodes()[0], cleanup, Duration::from_secs(30));
        let end = Instant::now() + SOON;
        let mut before = Err(String::new());
        let mut since = Instant::now();
        loop {
            let found = self.look();
            if found.is_err() || found != before {
                if let Err(why) = &found
                    && found != before
                {
                    self.hand.note(&format!("waiting: {why}"));
                }
                since = Instant::now();
                before = found;
            } else if since.elapsed() > Duration::from_secs(8) {
                self.hand.note("all is quiet");
                return before.unwrap_or_default();
            }
            assert!(Instant::now() < end, "no quiet within {SOON:?}\n{}", state(self.lab));
            sleep(Duration::from_millis(1500));
        }
    }

    /// What there is, unless something is still to be waited for.
    fn look(&self) -> Result<Found, String> {
        let mut found = Found::default();
        let nudge = format!(
            "test -e /run/writer.idle && pgrep -f '[c]sync2 .*-ii' >/dev/null && pgrep -f '[c]sync work' >/dev/null && \
             touch {RUN}/nudge && cat {RUN}/status"
        );
        for name in self.lab.nodes() {
            let status = self.lab.machines().exec(name, &nudge, Duration::from_secs(10));
            let status =
                status.ok().filter(|it| it.ok()).ok_or_else(|| format!("{name} does not run"))?.stdout;
            if let Some(line) = status.lines().find(|line| line.starts_with("KO ")) {
                return Err(format!("{name}: {line}"));
            }
            if let Some(line) = status.lines().find(|line| line.starts_with("HELD ")) {
                // What was emptied and came back in part is for people to judge: here they let it through.
                self.lab.node(name).run(&format!("touch {RUN}/release-deletions"));
                return Err(format!("{name}: {line}"));
            }
            let lasting = status.lines().filter(|line| !line.starts_with("CHECKED "));
            found.statuses.insert(name.clone(), lasting.map(|line| format!("{line}\n")).collect());
        }
        for name in self.lab.nodes() {
            for line in self.lab.node(name).run(&format!("{WRITER} scan")).lines() {
                match line.split(' ').collect::<Vec<_>>().as_slice() {
                    ["T", path, what] => {
                        let path = path.replace("%20", " ").replace("%25", "%");
                        found.paths.entry(path).or_default().insert(name.clone(), (*what).to_owned());
                    }
                    ["K", token] => drop(found.tokens.insert((*token).to_owned())),
                    _ => panic!("{name}: {line}"),
                }
            }
        }
        Ok(found)
    }

    /// Judges what is found now, and says how many versions there were.
    fn judge(&mut self, found: &Found) -> usize {
        let (mut made, mut gone) = (BTreeMap::new(), BTreeSet::new());
        for name in self.lab.nodes() {
            let node = self.lab.node(name);
            assert_eq!(node.read("/var/log/writer.err").unwrap_or_default(), "", "the application on {name}");
            for line in node.read("/var/log/writer.log").unwrap_or_default().lines() {
                match line.split(' ').collect::<Vec<_>>().as_slice() {
                    ["M", token, path, time] => {
                        drop(made.insert((*token).to_owned(), format!("{path} at {time}")))
                    }
                    ["G", token, ..] => drop(gone.insert((*token).to_owned())),
                    // Of a machine that died.
                    _ => {}
                }
            }
        }
        let lost = made.iter().filter(|(token, _)| !gone.contains(*token) && !found.tokens.contains(*token));
        let mut faults: Vec<String> =
            lost.map(|(token, made)| format!("{token} of {made} is lost")).collect();
        if found.reported().is_empty() {
            faults.extend(found.unequal(self.lab.nodes().len()));
        }
        for unequal in found.unequal(self.lab.nodes().len()) {
            self.hand.note(&unequal);
        }
        self.hand.note(&format!(
            "{} versions made, {} replaced by people; {} paths, {} reported",
            made.len(),
            gone.len(),
            found.paths.len(),
            found.reported().len()
        ));
        assert!(faults.is_empty(), "{} faults:\n{}\n{}", faults.len(), faults.join("\n"), state(self.lab));
        made.len()
    }

    /// Has one of the two versions of all that is in conflict win, as an administrator does. Below one directory it is the same node's.
    fn choose(&mut self, found: &Found) {
        let mut sides: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for Reported { file, nodes } in found.reported() {
            sides.entry(file).or_default().extend(nodes);
        }
        let mut winners: BTreeMap<String, String> = BTreeMap::new();
        let mut chosen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, nodes) in sides {
            let top = file.split('/').nth(3).unwrap_or_default().to_owned();
            let there = |node: &&String| found.paths.get(&file).is_some_and(|it| it.contains_key(*node));
            let mut candidates: Vec<&String> = nodes.iter().filter(there).collect();
            if candidates.is_empty() {
                candidates = nodes.iter().collect();
            }
            let winner = winners.entry(top).or_insert_with(|| self.chance.pick(&candidates).clone());
            let winner = if nodes.contains(winner) { winner.clone() } else { candidates[0].clone() };
            chosen.entry(winner).or_default().insert(file);
        }
        for (node, files) in &chosen {
            self.hand.note(&format!("{node} wins {files:?}"));
            for file in files {
                // That of the directory may have settled it already.
                self.lab.node(node).sh(&choose(&format!("'{file}'")));
            }
        }
    }
}

/// Leaves what an investigation needs where `BASCULE_KEEP` says.
fn keep(lab: &Lab, label: &str, told: &str) {
    let Ok(directory) = std::env::var("BASCULE_KEEP") else { return };
    let directory = format!("{directory}/{label}-{}", seed(SEED));
    std::fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, text: &str| std::fs::write(format!("{directory}/{name}"), text);
    let _ = write("told", told);
    for name in lab.nodes() {
        let node = lab.node(name);
        let _ = write(&format!("{name}-writer.log"), &node.read("/var/log/writer.log").unwrap_or_default());
        let _ = write(&format!("{name}-syslog"), &node.syslog());
        let script = format!(
            "ps -ef; cat {RUN}/status; csync2 -N {name} -M; cat {RUN}/*.log*; find /srv /var/lib/bascule -ls | head -n 3000; \
             {WRITER} scan; crm_mon -1Arf"
        );
        let state = lab.machines().exec(name, &script, Duration::from_secs(20));
        let _ = write(&format!("{name}-state"), &state.map(|output| output.stdout).unwrap_or_default());
    }
}

fn random(label: &str, parameters: &str, clone: &str) {
    let seed = seed(SEED);
    let rounds = (minutes(MINUTES) * 60.0 / 3.0 / (ROUND.as_secs_f64() + 35.0)).round().max(1.0);
    println!("BASCULE_SEED={seed}, {rounds} rounds");
    let own = label.bytes().fold(seed, |number, byte| number.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let options = Options::nodes(3)
        .label(label)
        // Each part goes on by itself, so that there is something to settle.
        .property("no-quorum-policy", "ignore")
        .agent("writer", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/csync_random/writer.py"));
    let parameters = format!("check_interval=5 peer_timeout=8 max_delete_percent=60 {parameters}");
    let lab = site_of(options, &parameters, clone, |_| {});
    let mut run = Run { lab: &lab, hand: Hand::new(&lab), chance: Chance::new(own) };
    let ended = catch_unwind(AssertUnwindSafe(|| {
        run.hand.pace("quiet");
        for (place, node) in lab.nodes().iter().enumerate() {
            lab.node(node).write("/etc/lab/seed", &own.to_string());
            run.hand.boot(place);
        }
        let mut versions = 0;
        for round in 1.. {
            run.hand.note(&format!("──── round {round} ────"));
            let events = faults::schedule(&mut run.chance, ROUND);
            run.storm(&events);
            let mut found = run.quiet();
            versions = run.judge(&found);
            for _ in 0..6 {
                if found.reported().is_empty() {
                    break;
                }
                run.choose(&found);
                found = run.quiet();
                run.judge(&found);
            }
            for node in lab.nodes() {
                assert_eq!(told(&lab, node), "ok", "{node} after all was settled\n{}", state(&lab));
            }
            if f64::from(round) >= rounds {
                break;
            }
        }
        assert!(versions > 0, "nothing was ever written");
    }));
    let told = run.hand.told();
    if let Err(reason) = ended {
        let text =
            reason.downcast_ref::<String>().map(String::as_str).or(reason.downcast_ref::<&str>().copied());
        let told = format!("BASCULE_SEED={seed} {label}:\n{told}\n{}", text.unwrap_or_default());
        keep(&lab, label, &told);
        panic!("{told}");
    }
}

#[test]
fn nothing_is_lost_and_nothing_differs_silently_when_people_settle() {
    random("csync-random-report", "conflict_policy=report", "clone");
}

#[test]
fn nothing_is_lost_and_nothing_differs_silently_when_the_newest_wins() {
    random("csync-random-newest", "conflict_policy=newest", "clone");
}

#[test]
fn nothing_is_lost_and_nothing_differs_silently_when_the_promoted_node_wins() {
    random("csync-random-promoted", "conflict_policy=promoted-wins", "promotable promoted-max=1");
}
