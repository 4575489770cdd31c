//! `ocf:bascule:lsync` when things break while it runs: daemons that are killed, a source that loses its tree, deletions by mistake, an
//! administrator who insists on the wrong node.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use lab::lsync::Mirror;
use lab::trees::{Kind, make};
use lab::{Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);

fn start(label: &str) -> Lab {
    Lab::start(Options::nodes(3).label(label)).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The two other nodes.
fn others<'a>(lab: &'a Lab, node: &str) -> Vec<&'a str> {
    lab.nodes().iter().map(String::as_str).filter(|other| *other != node).collect()
}

/// Waits for one that answers to this name on a node, kills it, and says which it was.
#[track_caller]
fn kill(mirror: &Mirror<'_>, node: &str, pattern: &str) {
    mirror.wait(&format!("{pattern} runs on {node}"), SOON, |it| {
        it.lab().node(node).sh(&format!("pid=$(pgrep -f -o '{pattern}') && kill -9 $pid")).ok()
    });
}

#[test]
fn daemons_that_are_killed_come_back_and_nothing_is_missed() {
    let lab = start("lsync-killed");
    let mirror = Mirror::new(&lab, "site5");
    make(&lab.node("n1"), "/site/site5/plain", Kind::Plain(200));
    let mirror = mirror.create("bwlimit=20000");
    let mut source = mirror.wait_in_sync(SOON);
    for (round, (what, on_source)) in
        [("[r]sync --daemon", false), ("[l]syncd.*lsyncd.conf", true), ("[r]sync --daemon", true)]
            .into_iter()
            .enumerate()
    {
        let victim = if on_source { source.clone() } else { others(&lab, &source)[0].to_owned() };
        mirror.at(&source, &format!("echo before >before-{round}"));
        kill(&mirror, &victim, what);
        mirror.at(&source, &format!("echo after >after-{round}; rm -f plain/d000/f0000{round}"));
        source = mirror.wait_in_sync(SOON);
        mirror.acknowledged(SOON);
        let tree = mirror.assert_same();
        assert!(tree.has(&format!("before-{round}")) && tree.has(&format!("after-{round}")), "{what}");
        assert!(!tree.has(&format!("plain/d000/f0000{round}")), "{what}");
    }
    // A transfer that is killed on either side, in the midst of a big file.
    for (round, side) in ["sender", "receiver"].into_iter().enumerate() {
        let replica = others(&lab, &source)[1].to_owned();
        mirror.at(&source, &format!("head -c 50000000 /dev/urandom >big-{round}"));
        mirror.wait("half of it has arrived", SOON, |it| {
            let half = "find /site/site5/.bascule -name 'big-*' -size +1000k | grep -q .";
            it.lab().node(&replica).sh(half).ok()
        });
        if side == "sender" {
            // The client, whose last argument names the peer's daemon.
            kill(&mirror, &source, "[r]sync .*rsync://");
        } else {
            // The daemon's newest child.
            lab.node(&replica).run("kill -9 $(pgrep -n -f '[r]sync --daemon')");
        }
        mirror.acknowledged(SOON);
        source = mirror.wait_in_sync(SOON);
        let tree = mirror.assert_same();
        assert!(tree.has(&format!("big-{round}")), "{side}");
        let left = lab.node(&replica).run("find /site/site5 -name '*big-*.*' ! -path '*/.bascule/*'");
        assert_eq!(left, "", "a half-received file is in the tree");
    }
    for node in lab.nodes() {
        assert_eq!(mirror.saved_files(node), [""; 0], "nothing had diverged");
    }
}

#[test]
fn a_source_that_loses_its_tree_deletes_nothing() {
    let lab = start("lsync-unmounted");
    let mirror = Mirror::new(&lab, "site5");
    lab.node("n1")
        .run("mkdir -p /srv/disk && mount -t tmpfs disk /srv/disk && mount --bind /srv/disk /site/site5");
    make(&lab.node("n1"), "/site/site5/plain", Kind::Plain(200));
    let mirror = mirror.create("");
    assert_eq!(mirror.wait_in_sync(SOON), "n1");
    let whole = mirror.assert_same();
    let nothing_is_deleted = |when: &str| {
        for node in ["n2", "n3"] {
            let now = mirror.snapshot(node);
            for name in whole.entries.keys() {
                assert!(now.has(name), "{when}: {node} has lost {name}");
            }
        }
    };

    // Unmounted: another node takes over, this one takes nothing into the empty mount point.
    lab.node("n1").run("umount -l /site/site5");
    let second = mirror.wait_source_other_than("n1", SOON);
    nothing_is_deleted("unmounted");
    mirror.at(&second, "echo since >since");
    mirror.acknowledged(SOON);
    assert_eq!(lab.node("n1").run("ls -A /site/site5").trim(), "", "nothing is sent into a mount point");
    nothing_is_deleted("unmounted");
    lab.node("n1").run("mount --bind /srv/disk /site/site5");
    lab.pcs("resource cleanup site5");
    mirror.wait_in_sync(SOON);
    assert!(mirror.assert_same().has("since"));

    // Emptied: the directory is exchanged for an empty one. Then only the marker goes.
    for (what, loss, repair) in [
        (
            "emptied",
            "mv /site/site5 /site/gone && mkdir /site/site5",
            "rmdir /site/site5; mv /site/gone /site/site5",
        ),
        (
            "without its marker",
            "mv /site/site5/.bascule/dataset /root/",
            "mv /root/dataset /site/site5/.bascule/",
        ),
    ] {
        let source = mirror.source();
        if source == "n1" {
            lab.run("crm_resource --resource site5-clone --ban --promoted --node n1");
            mirror.wait_source_other_than("n1", SOON);
            lab.run("crm_resource --resource site5-clone --clear");
            mirror.wait_in_sync(SOON);
        }
        let source = mirror.source();
        lab.node(&source).run(loss);
        let heir = mirror.wait_source_other_than(&source, SOON);
        let now = mirror.snapshot(&heir);
        for name in whole.entries.keys() {
            assert!(now.has(name), "{what}: {heir} has lost {name}");
        }
        mirror.at(&heir, &format!("echo x >'{what}'"));
        lab.node(&source).run(repair);
        lab.pcs("resource cleanup site5");
        mirror.wait_in_sync(SOON);
        mirror.acknowledged(SOON);
        assert!(mirror.assert_same().has(what), "{what}");
    }
    nothing_is_deleted("in the end");
}

#[test]
fn deletions_by_mistake_wait_for_a_word_and_a_node_behind_is_not_promoted_by_force() {
    let lab = start("lsync-guard");
    let mirror = Mirror::new(&lab, "site5");
    make(&lab.node("n1"), "/site/site5/plain", Kind::Plain(200));
    let mirror = mirror.create("lost_after=4");
    assert_eq!(mirror.wait_in_sync(SOON), "n1");
    let before = mirror.assert_same();

    // Half of the tree goes at once.
    mirror.at("n1", "mv plain/d000 /root/");
    mirror.at("n1", "echo new >new");
    mirror.wait("both replicas are held", SOON, |it| {
        let peers = it.peers("n1");
        ["n2", "n3"].iter().all(|node| peers.get(*node).is_some_and(|peer| peer.state == "held"))
    });
    for node in ["n2", "n3"] {
        mirror.wait_there(node, "[ -f new ]", SOON);
        let now = mirror.snapshot(node);
        before.entries.keys().for_each(|name| assert!(now.has(name), "{node} has lost {name}"));
    }
    let refused = mirror.monitor("n1", 10);
    assert_ne!(refused.code, 8, "what is held back is not acknowledged: {}", refused.stderr);
    let status = lab.node("n1").run("cat /run/bascule/lsync/site5.d/status");
    assert!(status.contains("release-deletions"), "{status}");
    lab.node("n1").run("touch /run/bascule/lsync/site5.d/release-deletions");
    mirror.acknowledged(SOON);
    mirror.wait_in_sync(SOON);
    let after = mirror.assert_same();
    assert!(!after.has("plain/d000/f00000") && after.has("plain/d001/f00100"));
    assert!(
        !lab.node("n1").sh("test -e /run/bascule/lsync/site5.d/release-deletions").ok(),
        "it counts once"
    );

    // n3 takes nothing, and is behind when something changes.
    lab.node("n3").run(
        "nft add table inet wall; nft add chain inet wall in '{ type filter hook input priority 0; }'
        nft add rule inet wall in tcp dport 873 drop",
    );
    mirror.at("n1", "echo missed by n3 >missed");
    mirror.wait("n3 is not in sync", SOON, |it| it.standing("n3").ends_with("behind"));
    mirror.wait("the source tells that n3 is unreachable", SOON, |it| {
        it.peers("n1").get("n3").is_some_and(|peer| peer.state == "unreachable" && peer.lag >= 4)
    });
    assert_eq!(lab.node_attribute("n3", "master-site5").as_deref(), Some("-INFINITY"));
    mirror.acknowledged(SOON);
    // No constraint takes the role from the node that has the data, and gives it to one that has not.
    let generation = mirror.generation("n1");
    for score in ["1000", "INFINITY"] {
        lab.pcs(&format!(
            "constraint location site5-clone rule id=force role=Promoted score={score} '#uname' eq n3"
        ));
        lab.settle(SOON);
        assert_eq!((mirror.source().as_str(), mirror.generation("n1")), ("n1", generation));
        lab.pcs("constraint delete force");
    }
    // By hand it refuses, and says why.
    let refused = lab.node("n3").sh("crm_resource --resource site5 --force-promote");
    let said = refused.stdout + &refused.stderr;
    assert!(refused.code != 0 && said.contains("n3 is not to be the source of site5"), "{said}");
    assert!(said.contains("not in sync with generation"), "{said}");
    assert_eq!((mirror.source().as_str(), mirror.generation("n1")), ("n1", generation));
    assert!(!mirror.snapshot("n3").has("missed"));
    // It gets a whole pass when it can be reached again.
    lab.node("n3").run("nft delete table inet wall");
    mirror.wait_in_sync(SOON);
    mirror.acknowledged(SOON);
    assert!(mirror.assert_same().has("missed"));
}
