//! What `ocf:bascule:lsync` must survive on the nodes of a cluster: a peer that accepts and never answers, a port that is taken, a disk
//! that is full, tools that are missing. One node's trouble is never another's.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use lab::lsync::Mirror;
use lab::trees::{Kind, make};
use lab::{Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// Accepts, and never answers.
const SILENT: &str = "exec -a silent-listener python3 -c 'import socket, time
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); s.bind((\"::\", 873)); s.listen(50)
held = []
while True: held.append(s.accept())'";

/// Waits until `crm_mon` shows all of these in one line.
#[track_caller]
fn crm_mon_tells(lab: &Lab, words: &[&str]) {
    lab.wait(&format!("crm_mon shows {words:?}"), SOON, |lab| {
        lab.run("crm_mon -1").lines().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

/// Waits until these are in sync with the source, whatever the others are.
#[track_caller]
fn wait_replicas(mirror: &Mirror<'_>, source: &str, replicas: &[&str]) {
    mirror.wait(&format!("{replicas:?} alone are in sync with {source}"), SOON, |it| {
        let standing = it.standing(source);
        let set = standing.split_once("in sync:").map(|(_, set)| set.split_whitespace().collect::<Vec<_>>());
        set.is_some_and(|set| set == replicas)
    });
}

#[test]
fn one_nodes_trouble_is_its_own() {
    let lab =
        Lab::start(Options::nodes(3).label("lsync-survives")).unwrap_or_else(|error| panic!("{error:#}"));

    // The port is taken on n2, by one who accepts and never answers.
    let silent = lab.node("n2").spawn(&format!("bash -c {}", lab::trees::quoted(SILENT)));
    let mirror = Mirror::new(&lab, "site5");
    make(&lab.node("n1"), "/site/site5/plain", Kind::Plain(50));
    let mirror = mirror.create("io_timeout=5 lost_after=4 initial_source=n1");
    crm_mon_tells(&lab, &["site5", "start on n2 returned", "873"]);
    wait_replicas(&mirror, "n1", &["n3"]);
    for round in 0..5 {
        mirror.at("n1", &format!("echo {round} >round-{round}"));
        mirror.acknowledged(SOON);
        assert!(mirror.snapshot("n3").has(&format!("round-{round}")));
    }
    assert_eq!(lab.node("n2").run("ls /site/site5"), "");
    let _said_nothing = silent.stop();
    lab.pcs("resource cleanup site5");
    assert_eq!(mirror.wait_in_sync(SOON), "n1");
    assert!(mirror.assert_same().has("round-4"));
    // Later it is the daemon of a replica that goes silent.
    let daemon = "pgrep -o -f '[r]sync --daemon'";
    lab.node("n2").run(&format!("kill -STOP $({daemon})"));
    mirror.at("n1", "echo silent >silent");
    wait_replicas(&mirror, "n1", &["n3"]);
    mirror.acknowledged(SOON);
    assert!(mirror.snapshot("n3").has("silent") && !mirror.snapshot("n2").has("silent"));
    lab.node("n2").run(&format!("kill -CONT $({daemon}) || true"));
    mirror.wait_in_sync(SOON);
    assert!(mirror.assert_same().has("silent"));

    // n3 has little room. The other dataset on the same port is not disturbed.
    lab.node("n3").run("mkdir -p /site/small && mount -t tmpfs -o size=6m small /site/small");
    let small = Mirror::new(&lab, "small");
    small.at("n1", "echo begin >begin");
    let small = small.create("lost_after=4");
    let source = small.wait_in_sync(SOON);
    assert_eq!(source, "n1");
    small.at("n1", "head -c 20000000 /dev/urandom >big; echo after >after");
    wait_replicas(&small, "n1", &["n2"]);
    small.acknowledged(SOON);
    let state = small.peers("n1").get("n3").map(|peer| peer.state.clone()).unwrap_or_default();
    assert!(["failing", "syncing", "unreachable"].contains(&state.as_str()), "{state}");
    let status = lab.node("n1").run("cat /run/bascule/lsync/small.d/status");
    assert!(status.contains("No space left on device"), "{status}");
    assert!(lab.node("n3").run("cat /site/small/begin").contains("begin"), "what it has stays");
    mirror.at("n1", "echo beside >beside");
    mirror.acknowledged(SOON);
    assert!(mirror.assert_same().has("beside"));
    small.at("n1", "rm big");
    small.wait_in_sync(SOON);
    small.acknowledged(SOON);
    assert!(small.assert_same().has("after"));

    // n3 lacks a tool: a reason there, and a mirror elsewhere. Nobody is banned everywhere.
    for tool in ["rsync", "lsyncd"] {
        lab.node("n3").run(&format!("mv /usr/bin/{tool} /root/"));
        let lacks = Mirror::new(&lab, "lacks");
        lacks.at("n1", "echo data >data");
        let lacks = lacks.create("initial_source=n1");
        crm_mon_tells(&lab, &["lacks", "start on n3 returned 'not installed'", tool]);
        wait_replicas(&lacks, "n1", &["n2"]);
        lacks.acknowledged(SOON);
        lab.node("n3").run(&format!("mv /root/{tool} /usr/bin/"));
        lab.pcs("resource cleanup lacks");
        lacks.wait_in_sync(SOON);
        lab.pcs("resource delete lacks");
        lab.settle(SOON);
        lab.run("crm_attribute --type crm_config --name bascule-lsync-lacks --delete");
        for node in lab.nodes() {
            lab.node(node).run("rm -rf /site/lacks /var/lib/bascule/lsync/lacks");
        }
    }
}
