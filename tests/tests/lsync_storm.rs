//! `ocf:bascule:lsync` in a storm: a seeded schedule of crashes, partitions, killed daemons, full disks, unmounted trees and switchovers, while
//! an application writes wherever the source is. When all is healed: every tree is the same; what was acknowledged is
//! there; all else that was written is there or set aside; nothing else has appeared.
//!
//! `BASCULE_STORM_SEED` plays another schedule, `BASCULE_STORM_SECONDS` a longer one. Clocks are not set: machines of the lab share theirs
//! with the host.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use lab::lsync::{Mirror, Noted, WRITER};
use lab::trees::{Kind, make};
use lab::{Fencing, Lab, Options};

/// The bound of what takes seconds on an idle machine, after a storm.
const SOON: Duration = Duration::from_secs(120);
/// How long one acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_secs(6);

/// Numbers by chance, the same for the same seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn one_of<'a>(&mut self, all: &'a [String]) -> Option<&'a String> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The nodes that take themselves for promoted.
fn promoted(lab: &Lab) -> Vec<String> {
    let is = |node: &String| {
        let view = lab.machines().is_on(node).then(|| lab.node(node).view()).flatten();
        view.is_some_and(|view| view.in_role("site5", "Promoted").contains(node))
    };
    lab.nodes().iter().filter(|node| is(node)).cloned().collect()
}

/// Runs a command in a node that may be dying meanwhile.
fn try_run(lab: &Lab, node: &str, command: &str) -> Option<String> {
    let output = lab.machines().exec(node, command, Duration::from_secs(30)).ok()?;
    output.ok().then_some(output.stdout)
}

/// What is broken at the moment.
#[derive(Default)]
struct Broken {
    partition: bool,
    full: BTreeSet<String>,
    shadowed: BTreeSet<String>,
    standby: Option<String>,
}

/// One event, told in a few words.
fn event(lab: &Lab, chance: &mut Chance, broken: &mut Broken) -> String {
    let running = lab.running();
    let down: Vec<String> = lab.nodes().iter().filter(|node| !running.contains(node)).cloned().collect();
    let pick = |chance: &mut Chance| match promoted(lab).first() {
        Some(source) if chance.below(2) == 0 => source.clone(),
        _ => chance.one_of(&running).cloned().unwrap_or_else(|| "n1".into()),
    };
    match chance.below(16) {
        0 | 1 if down.len() < 2 => {
            let node = pick(chance);
            lab.crash(&node);
            format!("crash {node}")
        }
        2..=4 if !down.is_empty() => {
            let node = chance.one_of(&down).cloned().unwrap_or_default();
            lab.boot(&node);
            broken.full.remove(&node);
            broken.shadowed.remove(&node);
            format!("boot {node}")
        }
        5 if !broken.partition => {
            let lonely = pick(chance);
            let others: Vec<&str> =
                lab.nodes().iter().map(String::as_str).filter(|it| *it != lonely).collect();
            lab.partition(&[&[&lonely], &others]);
            broken.partition = true;
            format!("cut {lonely} off")
        }
        6 if !broken.partition => {
            let (from, to) = (pick(chance), pick(chance));
            if from == to {
                return "nothing".into();
            }
            lab.lose(&from, &to);
            broken.partition = true;
            format!("lose what {from} sends to {to}")
        }
        5..=8 if broken.partition => {
            lab.heal_all();
            broken.partition = false;
            "heal the network".into()
        }
        9 | 10 => {
            let (node, what) = (
                pick(chance),
                ["[l]syncd ", "[r]sync --daemon", "[r]sync .*rsync://", "[l]sync-agent|[b]ascule/lsync push"],
            );
            let what = what[chance.below(what.len())];
            let _may_have_ended = try_run(lab, &node, &format!("kill -9 $(pgrep -f '{what}')"));
            format!("kill {what} on {node}")
        }
        11 => {
            let node = pick(chance);
            // No room to receive anything.
            let full = "mount -t tmpfs -o size=4k,nr_inodes=1 full /site/site5/.bascule/local/tmp";
            if broken.full.insert(node.clone()) && try_run(lab, &node, full).is_some() {
                return format!("fill the disk of {node}");
            }
            let _may_be_down = try_run(lab, &node, "umount -l /site/site5/.bascule/local/tmp");
            broken.full.remove(&node);
            format!("free the disk of {node}")
        }
        12 => {
            let node = pick(chance);
            if broken.shadowed.insert(node.clone())
                && try_run(lab, &node, "mount -t tmpfs none /site/site5").is_some()
            {
                return format!("hide the tree of {node}");
            }
            let _may_be_down = try_run(lab, &node, "umount -l /site/site5");
            broken.shadowed.remove(&node);
            format!("show the tree of {node}")
        }
        13 | 14 => {
            let Some(node) = running.first() else { return "nothing".into() };
            match broken.standby.take() {
                Some(idle) => {
                    let _may_fail = try_run(lab, node, &format!("crm_attribute -N {idle} -n standby -D"));
                    format!("{idle} back from standby")
                }
                None => {
                    let idle = pick(chance);
                    let _may_fail = try_run(lab, node, &format!("crm_attribute -N {idle} -n standby -v on"));
                    broken.standby = Some(idle.clone());
                    format!("standby {idle}")
                }
            }
        }
        _ => {
            let clean = running.first().and_then(|node| try_run(lab, node, "crm_resource --cleanup"));
            if clean.is_some() { "clean up".into() } else { "nothing".into() }
        }
    }
}

/// Asks the sources whether they acknowledge, again and again; adds what they do.
fn acknowledge(mirror: &Mirror<'_>, until: &AtomicBool, acknowledged: &Mutex<BTreeMap<String, String>>) {
    while !until.load(Ordering::Relaxed) {
        for node in promoted(mirror.lab()) {
            // Noted before the question: done before it.
            let log = mirror.writer_log(&node);
            if mirror.try_monitor(&node, 10, PATIENCE) == Some(8) {
                acknowledged.lock().unwrap().insert(node, log);
            }
        }
        sleep(Duration::from_millis(300));
    }
}

fn storm(label: &str, fencing: Fencing, seed: u64, length: Duration) {
    // Without fencing and quorum each part goes on with what it has: the worst that an administrator can configure.
    let freeze = if fencing == Fencing::None { "freeze" } else { "stop" };
    let options = Options::nodes(3).label(label).fencing(fencing).property("no-quorum-policy", freeze);
    let lab = Lab::start(options.agent("writer", WRITER)).unwrap_or_else(|error| panic!("{error:#}"));
    let mirror = Mirror::new(&lab, "site5");
    make(&lab.node("n1"), "/site/site5/plain", Kind::Plain(300));
    let mirror = mirror.create("lost_after=5 io_timeout=5 max_delete_percent=100");
    mirror.wait_in_sync(SOON);
    mirror.create_writer();

    let (mut chance, mut broken, mut told) =
        (Chance(seed.max(1) * 0x9e37_79b9_7f4a_7c15), Broken::default(), Vec::new());
    let (over, acknowledged) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    let begun = Instant::now();
    scope(|scope| {
        scope.spawn(|| acknowledge(&mirror, &over, &acknowledged));
        while begun.elapsed() < length {
            let what = event(&lab, &mut chance, &mut broken);
            told.push(format!("{:6.1} {what}", begun.elapsed().as_secs_f32()));
            sleep(Duration::from_millis(300 + u64::try_from(chance.below(4000)).unwrap()));
        }
        over.store(true, Ordering::Relaxed);
    });
    let schedule = format!("seed {seed}:\n{}", told.join("\n"));
    println!("{schedule}");

    // All is healed, by the hands of an administrator.
    lab.heal_all();
    for node in lab.nodes() {
        lab.boot(node);
        let _may_not_be_mounted =
            try_run(&lab, node, "umount -l /site/site5/.bascule/local/tmp; umount -l /site/site5; true");
    }
    lab.wait_online(SOON);
    for node in lab.nodes() {
        lab.run(&format!("crm_attribute -N {node} -n standby -D"));
    }
    lab.run("crm_resource --cleanup");
    mirror.wait_in_sync(SOON);
    lab.pcs("resource disable writer");
    lab.settle(SOON);
    let source = mirror.wait_in_sync(SOON);
    mirror.acknowledged(SOON);
    let tree = mirror.assert_same();

    let (mut noted, mut held) = (Noted::default(), Noted::default());
    lab.nodes().iter().for_each(|node| noted.add(&mirror.writer_log(node)));
    acknowledged.lock().unwrap().values().for_each(|log| held.add(log));
    let found = mirror.written(&source);
    let aside: BTreeSet<String> = lab.nodes().iter().flat_map(|node| mirror.saved_files(node)).collect();
    println!(
        "{} files made, {} acknowledged, {} there, {} set aside; generation {:?}",
        noted.made.len(),
        held.made.len(),
        found.len(),
        aside.len(),
        mirror.generation(&source)
    );
    let mut faults = Vec::new();
    for name in held.made.difference(&noted.doomed).filter(|name| !found.contains_key(*name)) {
        faults.push(format!("{name} was acknowledged and is lost (set aside: {})", aside.contains(name)));
    }
    for name in held.deleted.iter().filter(|name| found.contains_key(*name)) {
        faults.push(format!("the deletion of {name} was acknowledged and is undone"));
    }
    for name in noted.made.difference(&noted.doomed) {
        if !found.contains_key(name) && !aside.contains(name) {
            faults.push(format!("{name} was written and is neither there nor set aside"));
        }
    }
    for (name, text) in &found {
        let whole = *text == format!("content of {name}");
        if !noted.tried.contains(name) || noted.made.contains(name) && !whole {
            faults.push(format!("{name} holds {text:?}"));
        }
    }
    let foreign = |name: &&String| {
        !["new/", "plain"].iter().any(|it| name.starts_with(it)) && !["last", "."].contains(&name.as_str())
    };
    faults.extend(
        tree.entries
            .keys()
            .filter(foreign)
            .filter(|name| *name != "new")
            .map(|name| format!("{name} has appeared")),
    );
    if tree.entries.keys().filter(|name| name.starts_with("plain")).count() != 304 {
        faults.push("the files that nobody touched are not all there".into());
    }
    assert!(!held.made.is_empty(), "nothing was ever acknowledged\n{schedule}");
    if !faults.is_empty() {
        let shown = faults.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        mirror.fail(&format!("{} faults:\n{shown}\n{schedule}", faults.len()));
    }
}

fn length() -> Duration {
    Duration::from_secs(number("BASCULE_STORM_SECONDS", 100))
}

#[test]
fn nothing_is_lost_in_a_storm_without_fencing() {
    storm("lsync-storm", Fencing::None, number("BASCULE_STORM_SEED", 1), length());
}

#[test]
fn nothing_is_lost_in_a_storm_with_fencing() {
    storm("lsync-storm", Fencing::Reboot, number("BASCULE_STORM_SEED", 2), length());
}
