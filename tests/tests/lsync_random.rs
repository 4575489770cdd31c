//! `ocf:bascule:lsync` under a random schedule, with real daemons: an application writes wherever a node believes to be the source, in every
//! way that applications do, while machines crash, networks part, disks fill up, trees are unmounted and daemons are
//! killed, or halted for a while. After each round everything is healed, and a ledger of every version of every file
//! says what has to be found: see `lsync_random/ledger.rs`.
//!
//! `BASCULE_SEED` chooses the schedule, which is printed; `BASCULE_MINUTES` makes both tests together last longer than 5 minutes;
//! `BASCULE_KEEP` names a directory for the logs of a run that fails. The schedule is the same for the same seed, but what the
//! daemons are doing at that moment is not.
//!
//! The clock of the machine is not touched: namespaces share it, and faketime is not among the tools. Instead the
//! application's files get times that are hours wrong, which is what mirroring could be misled by.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "lsync_random/faults.rs"]
mod faults;
#[path = "lsync_random/ledger.rs"]
mod ledger;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::sleep;
use std::time::{Duration, Instant};

use faults::{Event, Hand};
use lab::lsync::Mirror;
use lab::story::{minutes, seed};
use lab::{Chance, Fencing, Lab, Options, enter, find};
use ledger::{Found, Log, judge};

/// The application, an agent of its own.
const WRITER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lsync_random/writer.py");
/// The schedule in CI.
const SEED: u64 = 20_260_521;
/// How long both tests together last unless said otherwise.
const MINUTES: f64 = 5.0;
/// A round: this long things break; then all is healed and judged.
const ROUND: Duration = Duration::from_secs(35);
/// The bound of what takes seconds on an idle machine, after a storm.
const SOON: Duration = Duration::from_secs(120);

/// Gives each node a disk of its own for the tree: a file system of 64 MiB that survives a crash, mounted before the node boots.
fn disks(lab: &Lab, label: &str) {
    let switch = find(label, "switch").expect("the lab's switch");
    for node in lab.nodes() {
        lab.node(node).run("mkdir -p /srv/disk /site/site5 /etc/lab");
        lab.crash(node);
        let root = format!("/mnt/{node}/root");
        let mount = format!(
            "mount -t tmpfs -o size=64m,mode=755 disk {root}/srv/disk && mkdir {root}/srv/disk/tree && \
             mount --bind {root}/srv/disk/tree {root}/site/site5"
        );
        let output = enter(switch).args(["sh", "-c", &mount]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for node in lab.nodes() {
        lab.boot(node);
    }
    lab.wait_online(SOON);
}

struct Run<'a> {
    lab: &'a Lab,
    mirror: Mirror<'a>,
    hand: Hand<'a>,
}

impl Run<'_> {
    /// Lets things break for a round.
    fn round(&mut self, number: usize, events: &[Event]) {
        self.hand.note(&format!("──── round {number} ────"));
        self.pace("0.04 0");
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
        self.hand.note("all is healed");
        self.hand.heal();
        self.wait_whole();
        let mut commands =
            vec!["pcs resource cleanup".to_owned(), "crm_resource --resource site5-clone --clear".to_owned()];
        commands.extend(self.lab.nodes().iter().map(|node| format!("crm_attribute -N {node} -n standby -D")));
        for command in commands {
            let node = &self.lab.nodes()[0];
            let _may_have_nothing_to_do = self.lab.machines().exec(node, &command, Duration::from_secs(30));
        }
        // The application goes on while the trees become the same, and writes on what is the same then.
        self.mirror.wait_in_sync(SOON);
        self.hand.note("all are in sync");
        sleep(Duration::from_secs(3));
        self.quiet();
        self.mirror.wait_in_sync(SOON);
        self.mirror.acknowledged(SOON);
        self.hand.note("all is acknowledged");
    }

    /// Waits until all nodes are on and in one cluster, as an administrator does who boots those that were fenced once more.
    fn wait_whole(&self) {
        self.lab.wait("all nodes are online", SOON, |lab| {
            lab.nodes().iter().all(|name| {
                if !lab.machines().is_on(name) {
                    lab.boot(name);
                    return false;
                }
                lab.node(name).view().is_some_and(|view| {
                    view.quorum
                        && lab
                            .nodes()
                            .iter()
                            .all(|it| view.node(it).is_some_and(|it| it.online && !it.pending))
                })
            })
        });
    }

    /// Tells the applications how quickly to write, or not to.
    fn pace(&self, pace: &str) {
        for node in self.lab.nodes() {
            self.lab.node(node).write("/etc/lab/pace", pace);
        }
    }

    /// Makes the applications wait, and waits until they do.
    fn quiet(&self) {
        for node in self.lab.nodes() {
            self.lab.node(node).sh("rm -f /run/writer.idle");
        }
        self.pace("quiet");
        self.mirror.wait("the application where the source is waits, there is no other", SOON, |it| {
            let source = it.promoted().unwrap_or_default();
            self.lab.nodes().iter().all(|node| {
                let state = self
                    .lab
                    .node(node)
                    .sh("[ -e /run/writer.idle ] && echo waits; pgrep -f '[w]riter start' | wc -l");
                if *node == source {
                    state.stdout.starts_with("waits")
                } else {
                    state.stdout.trim() == "0" || state.stdout.starts_with("waits")
                }
            })
        });
    }

    /// Judges what is found now.
    fn judge(&mut self) -> usize {
        let source = self.mirror.source();
        let number = self.mirror.generation(&source).unwrap_or_default();
        let (mut logs, mut found) = (Vec::new(), BTreeMap::new());
        for name in self.lab.nodes() {
            let node = self.lab.node(name);
            let log = node.read("/var/log/writer.log").unwrap_or_default();
            logs.push(Log::read(name, &log).unwrap_or_else(|wrong| self.mirror.fail(&wrong)));
            let text = node.run("/usr/lib/ocf/resource.d/bascule/writer scan site5");
            found.insert(name.clone(), Found::read(&text).unwrap_or_else(|wrong| self.mirror.fail(&wrong)));
            let wrong = node.read("/var/log/writer.err").unwrap_or_default();
            assert_eq!(wrong, "", "the application on {name}");
        }
        let verdict = judge(&logs, &found, number);
        self.hand.note(&format!("generation {number} of {source}: {}", verdict.told));
        if !verdict.faults.is_empty() {
            let shown: String = verdict.faults.iter().take(25).map(|fault| format!("{fault}\n")).collect();
            self.mirror.fail(&format!("{} faults:\n{shown}", verdict.faults.len()));
        }
        // Modes, owners, times too.
        self.mirror.assert_same();
        verdict.acknowledged
    }
}

/// Leaves what an investigation needs where `BASCULE_KEEP` says.
fn keep(lab: &Lab, label: &str, told: &str) {
    let Ok(directory) = std::env::var("BASCULE_KEEP") else { return };
    let directory = format!("{directory}/{label}-{}", seed(SEED));
    let write = |name: &str, text: &str| std::fs::write(format!("{directory}/{name}"), text);
    std::fs::create_dir_all(&directory).unwrap();
    let _ = write("told", told);
    for name in lab.nodes() {
        let node = lab.node(name);
        for file in [
            "/var/log/writer.log",
            "/var/log/pacemaker/pacemaker.log",
            "/var/lib/bascule/lsync/site5/generation.json",
        ] {
            let base = file.rsplit('/').next().unwrap();
            let _ = write(&format!("{name}-{base}"), &node.read(file).unwrap_or_default());
        }
        let _ = write(&format!("{name}-syslog"), &node.syslog());
        let script = "ps -ef; cd /run/bascule/lsync; tail -n 500 site5.d/* site5.d/peers/* rsyncd-*/*log* rsyncd-*/modules.d/*; \
                      find /site/site5 /var/lib/bascule/lsync | head -n 2000; df /srv/disk; crm_mon -1Arf";
        let state = lab.machines().exec(name, script, Duration::from_secs(20));
        let _ = write(&format!("{name}-state"), &state.map(|output| output.stdout).unwrap_or_default());
    }
}

fn random(label: &str, fencing: Fencing) {
    let seed = seed(SEED);
    let rounds = (minutes(MINUTES) * 60.0 / 2.0 / (ROUND.as_secs_f64() + 25.0)).round().max(1.0);
    println!("BASCULE_SEED={seed}, {rounds} rounds");
    let mut chance = Chance::new(seed ^ u64::from(fencing == Fencing::None));
    // Without fencing and quorum each part goes on with what it has, or gives up: an administrator may say so.
    let quorum = if fencing == Fencing::None && chance.below(3) > 0 { "freeze" } else { "stop" };
    let options = Options::nodes(3)
        .label(label)
        .fencing(fencing)
        .property("no-quorum-policy", quorum)
        .property("cluster-recheck-interval", "15s")
        .agent("writer", WRITER);
    let lab = Lab::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    disks(&lab, label);
    for node in lab.nodes() {
        lab.node(node).write("/etc/lab/pace", "0.04 0");
        lab.node(node).write("/etc/lab/seed", &seed.to_string());
    }
    lab.pcs("resource defaults update failure-timeout=10s");
    let mirror = Mirror::new(&lab, "site5").create("lost_after=4 io_timeout=6 max_delete_percent=100");
    let mut run = Run { lab: &lab, mirror, hand: Hand::new(&lab, fencing) };
    let ended = catch_unwind(AssertUnwindSafe(|| {
        run.hand.note(&format!("no-quorum-policy={quorum}"));
        run.mirror.wait_in_sync(SOON);
        run.mirror.create_writer();
        let mut acknowledged = 0;
        for round in 1.. {
            run.round(round, &faults::schedule(&mut chance, ROUND, fencing));
            acknowledged = run.judge();
            if round as f64 >= rounds {
                break;
            }
        }
        assert!(acknowledged > 0, "nothing was ever acknowledged");
    }));
    let told = run.hand.told();
    match ended {
        Ok(()) => println!("{told}"),
        Err(reason) => {
            let text = reason
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(reason.downcast_ref::<&str>().copied());
            let told = format!("BASCULE_SEED={seed} {label}:\n{told}\n{}", text.unwrap_or_default());
            keep(&lab, label, &told);
            panic!("{told}");
        }
    }
}

#[test]
fn with_fencing_nothing_is_lost_whatever_happens() {
    random("lsync-random-fenced", Fencing::Reboot);
}

#[test]
fn without_fencing_nothing_is_lost_whatever_happens() {
    random("lsync-random-hope", Fencing::None);
}
