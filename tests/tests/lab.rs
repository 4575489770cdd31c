//! The lab itself: what it says happens, happens; and nothing of it stays.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::{Fencing, Lab, Options};

/// The bound of what should take a few seconds.
const SOON: Duration = Duration::from_secs(40);
const TICK: Duration = Duration::from_millis(20);

fn start(options: Options) -> Lab {
    Lab::start(options.stock_agents()).unwrap_or_else(|error| panic!("{error:#}"))
}

fn create_vip(lab: &Lab) -> String {
    lab.pcs(
        "resource create vip ocf:heartbeat:IPaddr2 ip=10.77.0.100 cidr_netmask=24 op monitor interval=10s",
    );
    lab.settle(SOON);
    lab.resource_location("vip").unwrap()
}

fn moves_away(lab: &Lab, resource: &str, from: &str) -> String {
    lab.wait(&format!("{resource} leaves {from}"), SOON, |lab| {
        lab.resource_location(resource).is_some_and(|node| node != from)
    });
    lab.resource_location(resource).unwrap()
}

#[test]
fn resources_fail_over_on_a_crash_and_on_a_reboot() {
    let lab = start(Options::nodes(3));
    assert_eq!(lab.running(), ["n1", "n2", "n3"]);
    let first = create_vip(&lab);
    lab.pcs("resource create tree ocf:pacemaker:Stateful promotable op monitor interval=10s op monitor interval=9s role=Promoted");
    lab.settle(SOON);
    assert_eq!(lab.promoted("tree").len(), 1);
    lab.node(&first).run("attrd_updater -n colour -U 'dark red'");
    lab.wait("the attribute arrives", SOON, |lab| {
        lab.node_attribute(&first, "colour").as_deref() == Some("dark red")
    });
    assert_eq!(lab.node_attribute(&first, "no-such"), None);

    lab.node(&first).run("echo kept >/root/kept; echo lost >/run/lost");
    let pid_namespace = lab.node(&first).run("readlink /proc/self/ns/pid");
    let ping = lab.client().ping_every(TICK, "10.77.0.100");
    sleep(Duration::from_millis(500));
    lab.crash(&first);
    assert!(!lab.node(&first).is_on());
    assert!(
        !processes().values().any(|namespace| *namespace == pid_namespace.trim()),
        "a dead node runs nothing"
    );
    let second = moves_away(&lab, "vip", &first);
    lab.wait("the client is served", SOON, |_| ping.report().outages().iter().any(|outage| outage.over));
    let seen = ping.finish();
    assert_eq!(seen.outages().len(), 1, "{seen}");
    let holders: Vec<_> = seen.holders().into_iter().filter_map(|holder| holder.node).collect();
    assert_eq!(holders, [first.as_str(), second.as_str()], "{seen}");
    seen.assert_never_served_twice();

    lab.boot(&first);
    lab.wait_online(SOON);
    assert_eq!(lab.node(&first).run("cat /root/kept"), "kept\n");
    assert!(!lab.node(&first).sh("cat /run/lost").ok(), "/run does not survive");

    lab.reboot(&second);
    lab.wait_online(SOON);
    lab.settle(SOON);
    assert_ne!(lab.resource_location("vip"), Some(second.clone()), "it was moved before the node went down");
    assert!(
        lab.node(&second)
            .read("/var/log/pacemaker/pacemaker.log")
            .unwrap()
            .contains("Shutting down Pacemaker")
    );
    assert!(lab.fenced().is_empty());
}

#[test]
fn a_cut_node_is_killed_before_another_takes_over() {
    let lab = start(Options::nodes(3).fencing(Fencing::Off));
    let owner = create_vip(&lab);
    let ping = lab.client().ping_every(TICK, "10.77.0.100");
    sleep(Duration::from_millis(500));
    lab.cut(&owner);
    let heir = moves_away(&lab, "vip", &owner);
    let fenced = lab.fenced();
    assert_eq!(fenced.iter().map(|fenced| fenced.node.as_str()).collect::<Vec<_>>(), [owner.as_str()]);
    assert!(!lab.running().contains(&owner));
    lab.wait("the client is served", SOON, |_| ping.report().outages().iter().any(|outage| outage.over));
    let seen = ping.finish();
    seen.assert_never_served_twice();
    assert_eq!(seen.holders().last().unwrap().node, Some(heir), "{seen}");

    lab.heal(&owner);
    lab.boot(&owner);
    lab.wait_online(SOON);
    assert_eq!(lab.run("cat /etc/corosync/corosync.conf | grep -c ring0_addr"), "3\n");
}

#[test]
fn two_nodes_that_lose_each_other_leave_one_and_the_other_returns_by_itself() {
    let lab = start(Options::nodes(2).fencing(Fencing::Reboot).power_cycle(Duration::from_secs(1)));
    lab.partition(&[&["n1"], &["n2"]]);
    lab.wait("one is fenced", SOON, |lab| !lab.fenced().is_empty());
    lab.heal_all();
    lab.wait_online(SOON);
    let fenced = lab.fenced();
    assert_eq!(fenced.len(), 1, "both were fenced, or one twice: {fenced:?}");
    assert_eq!(fenced[0].action, "reboot");
}

#[test]
fn networks_split_lose_and_heal() {
    let lab = start(Options::nodes(3).networks(2));
    let node = |name| lab.node(name);
    for network in 0..2 {
        for address in [node("n2").ipv4(network).to_string(), node("n2").ipv6(network).to_string()] {
            node("n1").run(&format!("ping -c 1 -W 2 {address}"));
            lab.client().run(&format!("ping -c 1 -W 2 {address}"));
        }
    }

    // Loss is one-way: n1 hears n2's questions, but its answers do not arrive.
    lab.lose("n1", "n2");
    let questions = lab.node("n1").spawn("exec tcpdump -nn -l --immediate-mode -i eth0 'icmp[0] == 8'");
    lab.wait("tcpdump listens", SOON, |_| questions.stderr().contains("listening on"));
    let ping = format!("ping -c 3 -i 0.1 -W 1 {}", node("n1").ipv4(0));
    assert!(!node("n2").sh(&ping).ok());
    lab.wait("n1 hears", SOON, |_| questions.stdout().contains("10.77.0.2 > 10.77.0.1: ICMP echo request"));
    lab.client().run(&ping);
    lab.restore("n1", "n2");
    node("n2").run(&ping);
    lab.wait_online(SOON);

    // One network of two is enough, and a pulled cable is pulled for good, even through a crash.
    lab.cut_network("n3", 1);
    assert!(lab.node("n3").run("cat /sys/class/net/eth1/operstate").contains("down"));
    lab.crash("n3");
    lab.boot("n3");
    lab.wait_online(SOON);
    assert!(lab.node("n3").run("cat /sys/class/net/eth1/operstate").contains("down"));
    assert!(lab.node("n3").run("cat /sys/class/net/eth0/operstate").contains("up"));
    lab.heal("n3");

    lab.pcs("resource create dummy ocf:pacemaker:Dummy op monitor interval=10s");
    lab.settle(SOON);
    let owner = lab.resource_location("dummy").unwrap();
    let others: Vec<&str> = ["n1", "n2", "n3"].into_iter().filter(|node| *node != owner).collect();
    lab.partition(&[&[&owner], &others]);
    moves_away(&lab, "dummy", &owner);
    lab.wait("the lonely node knows it", SOON, |lab| {
        lab.node(&owner).view().is_some_and(|view| !view.quorum)
    });
    // The client is in no group.
    lab.client().run(&format!("ping -c 1 -W 2 {}", node(&owner).ipv4(0)));
    lab.heal_all();
    lab.wait_online(SOON);
}

#[test]
fn two_labs_do_not_meet_and_a_double_address_is_seen() {
    let host = host_state();
    let one = start(Options::nodes(1));
    let other = start(Options::nodes(2).beside(&one));
    one.node("n1").run("echo one >/root/name; echo one >/dev/shm/name");
    assert!(!other.node("n1").sh("cat /root/name").ok());
    assert!(!other.node("n1").sh("cat /dev/shm/name").ok());
    assert!(!fs::exists("/dev/shm/name").unwrap());
    assert_eq!(one.view().unwrap().nodes.len(), 1);
    assert_eq!(other.view().unwrap().nodes.len(), 2);
    one.node("n1").run("ip address add 10.77.0.100/24 dev eth0");
    assert!(!other.client().sh("ping -c 1 -W 1 10.77.0.100").ok());
    one.crash("n1");
    assert_eq!(other.running(), ["n1", "n2"]);
    drop(one);
    other.wait_online(SOON);

    for (address, mask) in [("10.77.0.100", 24), ("fd77::64", 64)] {
        for node in ["n1", "n2"] {
            let nodad = if mask == 64 { "nodad" } else { "" };
            other.node(node).run(&format!("ip address add {address}/{mask} dev eth0 {nodad}"));
        }
        let ping = other.client().ping_every(TICK, address);
        let seen_twice = catch_unwind(AssertUnwindSafe(|| {
            other.wait("both answer", Duration::from_secs(5), |_| ping.report().overlaps().len() > 3);
        }));
        assert!(seen_twice.is_ok(), "{}", ping.finish());
        other.node("n2").run(&format!("ip address delete {address}/{mask} dev eth0"));
        let ping = other.client().ping_every(TICK, address);
        sleep(Duration::from_millis(500));
        let seen = ping.finish();
        seen.assert_never_served_twice();
        assert!(!seen.holders().is_empty(), "{seen}");
    }
    let arps = other.client().capture("eth0", "arp");
    other.node("n1").run("arping -q -c 1 -U -I eth0 10.77.0.100");
    other.wait("the announcement is captured", SOON, |_| arps.stdout().contains("10.77.0.100"));
    drop(arps);
    drop(other);
    assert_eq!(host_state(), host);
}

#[test]
fn failures_tell_the_logs_of_that_moment() {
    let error = match Lab::start(Options::nodes(1).stock_agents().start_within(Duration::ZERO)) {
        Ok(_) => panic!("no cluster starts in no time"),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains("not up after 0ns") && error.contains("n1 (on)"), "{error}");

    let lab = start(Options::nodes(1));
    lab.node("n1").run("logger -t teller told by syslog");
    let panic = catch_unwind(AssertUnwindSafe(|| {
        lab.wait("pigs to fly", Duration::from_millis(100), |_| false);
    }));
    let message = panic.unwrap_err().downcast::<String>().unwrap();
    for expected in [
        "not within 100ms: pigs to fly",
        "Node n1: online",
        "pacemaker-controld",
        "[TOTEM ]",
        "told by syslog",
    ] {
        assert!(message.contains(expected), "{expected:?} is not in {message}");
    }
    let panic = catch_unwind(AssertUnwindSafe(|| lab.node("n1").run("echo hello; echo ouch >&2; exit 3")));
    let message = panic.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.starts_with("n1# echo hello; echo ouch >&2; exit 3\nexited with 3\nhello\nouch\n"),
        "{message}"
    );
    let started = Instant::now();
    let hung =
        catch_unwind(AssertUnwindSafe(|| lab.node("n1").sh_within("sleep 600", Duration::from_millis(200))));
    assert!(hung.is_err() && started.elapsed() < SOON);
    assert!(!lab.node("n1").run("ps -eo args").contains("sleep 600"), "what does not end is ended");
}

/// The demo is a process with a lab; here it dies without a chance to clean up.
#[test]
fn a_killed_process_leaves_nothing() {
    let host = host_state();
    let agents = fs::canonicalize(env!("CARGO_MANIFEST_DIR")).unwrap().join("src/scripts");
    // A temporary directory of its own, but the lock of all.
    let temporary = tempfile::tempdir().unwrap();
    let lock = std::env::temp_dir().join("bascule-lab.lock");
    fs::OpenOptions::new().append(true).create(true).open(&lock).unwrap();
    fs::hard_link(&lock, temporary.path().join("bascule-lab.lock")).unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"))
        .env("TMPDIR", temporary.path())
        .env("BASCULE_AGENTS_DIR", agents)
        .env("DEMO_LABEL", "killed")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains("resource create")),
        "the cluster is up when resources are made"
    );
    let family = descendants(demo.id());
    assert!(family.len() > 20, "a switch, a client, three nodes with their daemons: {family:?}");
    demo.kill().unwrap();
    demo.wait().unwrap();
    let started = Instant::now();
    let alive = || -> Vec<(u32, String)> {
        let now = starts();
        family
            .iter()
            .filter(|(pid, start)| now.get(pid).is_some_and(|(_, begun)| begun == *start))
            .map(|(pid, start)| (*pid, start.clone()))
            .collect()
    };
    while !alive().is_empty() {
        assert!(started.elapsed() < SOON, "still there: {:?}", alive());
        sleep(TICK);
    }
    assert_eq!(host_state(), host);
    assert_eq!(listing(&temporary.path().display().to_string()), ["bascule-lab.lock"]);
}

/// What a lab must not change: the host's links, mounts and directories.
fn host_state() -> String {
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut state = format!("{}{mounts}", String::from_utf8_lossy(&links));
    for directory in [
        "/mnt",
        "/run/lab",
        "/run/bascule",
        "/run/bascule-lab",
        "/var/lib/pacemaker/cib",
        "/etc/corosync",
        "/etc/lab",
    ] {
        state += &format!("{directory}: {:?}\n", listing(directory));
    }
    state
}

fn listing(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return vec!["absent".to_owned()] };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The pid namespace of every process.
fn processes() -> BTreeMap<u32, String> {
    let namespace = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    pids().filter_map(|pid| Some((pid, namespace(&pid)?.display().to_string()))).collect()
}

/// Parent and start time of every process: a number alone may be used again.
fn starts() -> BTreeMap<u32, (u32, String)> {
    let stat = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some((pid, (fields[1].parse().ok()?, fields[19].to_owned())))
    };
    pids().filter_map(stat).collect()
}

/// The children of a process and theirs, with their start times.
fn descendants(root: u32) -> BTreeMap<u32, String> {
    let all = starts();
    let mut family = BTreeMap::from([(root, all[&root].1.clone())]);
    loop {
        let known = family.len();
        for (pid, (parent, start)) in &all {
            if family.contains_key(parent) {
                family.insert(*pid, start.clone());
            }
        }
        if family.len() == known {
            return family;
        }
    }
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
