//! `ocf:bascule:csync` when things break: peers that are down, silent or not alike, databases that are busy or damaged, processes that are killed,
//! disks that are full. Nothing is lost or overwritten, the others get their changes, it is told, and it recovers by itself.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use lab::Lab;
use lab::csync::{KEY, RUN, SOON, all_is_well, choose, site, soon, state, told, until};

/// The csync2 daemon of a node, as an argument of kill.
const DAEMON: &str = "$(pgrep -of '[c]sync2.*-ii')";
/// The worker.
const WORKER: &str = "$(pgrep -of '[c]sync work')";

/// What the attribute about peers says.
fn peers(lab: &Lab, node: &str) -> String {
    lab.node_attribute(node, "csync-conf-peers").unwrap_or_default()
}

#[track_caller]
fn peers_say(lab: &Lab, node: &str, text: &str) {
    until(lab, &format!("{node} says {text}"), |lab| peers(lab, node).contains(text));
}

#[track_caller]
fn status_says(lab: &Lab, node: &str, text: &str) {
    soon(lab, node, &format!("grep -qF '{text}' {RUN}/status"));
}

/// A change on one node, which has to be on others.
#[track_caller]
fn change(lab: &Lab, on: &str, word: &str, others: &[&str]) {
    lab.node(on).run(&format!("echo {word} >/srv/site/deep/{word}"));
    for other in others {
        soon(lab, other, &format!("grep -q {word} /srv/site/deep/{word}"));
    }
}

/// All that a tree holds: names, modes, times, contents.
fn tree(lab: &Lab, node: &str) -> String {
    lab.node(node).run("cd /srv/site; find . -type d -printf '%p %m\\n' | sort; find . -type f -printf '%p %m %Ts\\n' | sort; find . -type f | sort | xargs -d '\\n' sha256sum")
}

#[track_caller]
fn all_the_same(lab: &Lab) {
    all_is_well(lab);
    let unlike = |lab: &Lab| {
        let trees = ["n1", "n2", "n3"].map(|node| tree(lab, node));
        let lines =
            trees.iter().enumerate().flat_map(|(at, tree)| tree.lines().map(move |line| (at + 1, line)));
        let lonely = |line: &str| !trees.iter().all(|tree| tree.lines().any(|other| other == line));
        lines
            .filter(|(_, line)| lonely(line))
            .map(|(node, line)| format!("n{node}: {line}\n"))
            .collect::<String>()
    };
    let end = std::time::Instant::now() + SOON;
    let mut left = unlike(lab);
    while !left.is_empty() {
        assert!(std::time::Instant::now() < end, "the trees differ:\n{left}{}", state(lab));
        std::thread::sleep(Duration::from_millis(200));
        left = unlike(lab);
    }
}

/// Settles what is shown as a conflict, until nothing is: the versions of the first node that shows some win.
#[track_caller]
fn by_hand(lab: &Lab, directory: &str) {
    until(lab, "all is settled", |lab| {
        let shown = lab.nodes().iter().find(|node| told(lab, node).contains("conflicts"));
        if let Some(node) = shown {
            lab.node(node).sh(&choose(directory));
        }
        std::thread::sleep(Duration::from_secs(2));
        lab.nodes().iter().all(|node| told(lab, node) == "ok")
    });
}

/// No key is in anything that is written or told.
#[track_caller]
fn no_key_is_shown(lab: &Lab, keys: &[&str]) {
    for node in lab.running() {
        let shown = lab.node(&node).sh(&format!(
            "cat {RUN}/status {RUN}/*.log {RUN}/*.json {RUN}/attributes/* /var/log/pacemaker/*.log; cibadmin -Q; crm_mon -1A"
        ));
        let everything = shown.stdout + &lab.node(&node).syslog();
        for key in keys {
            assert!(!everything.contains(key), "{node} shows a key");
        }
    }
}

#[test]
fn peers_that_are_down_silent_or_not_alike_keep_nothing_from_the_others() {
    let lab = site("csync-peers", "check_interval=10 peer_timeout=5", "clone");

    // Silent: it takes connections, and never says a word.
    lab.node("n2").run(&format!("kill -STOP {DAEMON}"));
    change(&lab, "n1", "silent", &["n3"]);
    peers_say(&lab, "n1", "n2:silent n3:ok");
    status_says(&lab, "n1", "KO n2: it took the connection and then said nothing");
    lab.node("n2").run(&format!("kill -CONT {DAEMON}"));
    soon(&lab, "n2", "grep -q silent /srv/site/deep/silent");
    all_the_same(&lab);

    // Down: first only its resource, then all of it.
    lab.pcs("resource ban conf-clone n2");
    soon(&lab, "n2", "! pgrep -f '[c]sync2.*-ii'");
    change(&lab, "n1", "stopped", &["n3"]);
    peers_say(&lab, "n1", "n2:down n3:ok");
    lab.crash("n3");
    lab.node("n1").run("echo off >/srv/site/deep/off");
    peers_say(&lab, "n1", "n3:");
    until(&lab, "both are in error", |lab| told(lab, "n1").contains("peers in error: n2 down, n3"));
    lab.boot("n3");
    lab.wait_online(SOON);
    lab.pcs("resource clear conf-clone");
    for node in ["n2", "n3"] {
        soon(&lab, node, "grep -q off /srv/site/deep/off && grep -q stopped /srv/site/deep/stopped");
    }
    all_the_same(&lab);

    // Another key of the group.
    let other = "ANOTHER.key.of.the.group.0123456789.0123456789";
    lab.node("n2").run(&format!("umask 077; echo {other} >/etc/csync2.key_site; touch {RUN}/nudge"));
    change(&lab, "n1", "key", &["n3"]);
    until(&lab, "the key is told", |lab| {
        told(lab, "n1").contains("n2 has another key of the group site")
            || told(lab, "n2").contains("has another key of the group site")
    });
    status_says(
        &lab,
        "n1",
        "REFUSED /srv/site/deep/key by n2: permission denied: the key of the group must be the same",
    );
    // What is refused is tried again now and then, not all the time.
    let tries = || lab.node("n2").run("grep -c 'New connection' /run/bascule/csync/conf.d/daemon.log");
    let before: u32 = tries().trim().parse().unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let now: u32 = tries().trim().parse().unwrap();
    assert!(now - before < 20, "{} connections in five seconds", now - before);
    no_key_is_shown(&lab, &[KEY, other]);
    lab.node("n2").run(&format!("umask 077; echo {KEY} >/etc/csync2.key_site; touch {RUN}/nudge"));
    soon(&lab, "n2", "grep -q key /srv/site/deep/key");
    all_the_same(&lab);

    // Another configuration: it is taken up where it was changed, and told everywhere; what both still have in common goes on.
    lab.node("n2")
        .run("sed -i 's,include /srv/site;,include /srv/site; exclude /srv/site/own;,' /etc/csync2.cfg");
    until(&lab, "the configuration is told", |lab| {
        ["n1", "n3"].iter().all(|node| told(lab, node).contains("n2 has another csync2.cfg"))
    });
    change(&lab, "n1", "configuration", &["n2", "n3"]);
    lab.node("n2").run("sed -i 's, exclude /srv/site/own;,,' /etc/csync2.cfg");
    all_the_same(&lab);

    // A broken one is not taken up.
    lab.node("n2").run("cp /etc/csync2.cfg /root/good; echo 'group {' >>/etc/csync2.cfg");
    status_says(
        &lab,
        "n2",
        "CONFIGURATION csync2.cfg is not taken up, the one from before is used: /etc/csync2.cfg:",
    );
    change(&lab, "n2", "broken", &["n1", "n3"]);
    lab.node("n2").run("cp /root/good /etc/csync2.cfg");
    all_the_same(&lab);
}

#[test]
fn a_certificate_that_changed_is_told_and_keeps_nothing_from_the_others() {
    let lab = lab::csync::site_with("csync-tls", "check_interval=10 peer_timeout=5", "clone", |node| {
        node.run("sed -i '/nossl/d' /etc/csync2.cfg; /usr/lib/ocf/resource.d/bascule/csync keygen --tls 2>/dev/null");
    });
    change(&lab, "n1", "encrypted", &["n2", "n3"]);
    change(&lab, "n2", "back", &["n1", "n3"]);
    lab.node("n2")
        .run("rm /etc/csync2_ssl_*; /usr/lib/ocf/resource.d/bascule/csync keygen --tls 2>/dev/null");
    change(&lab, "n1", "certificate", &["n3"]);
    peers_say(&lab, "n1", "n2:certificate n3:ok");
    status_says(&lab, "n1", "KO n2: it shows another certificate than before");
    // As the status says.
    for node in ["n1", "n3"] {
        lab.node(node).run(&format!(
            "python3 -c \"import sqlite3; d = sqlite3.connect('/var/lib/csync2/{node}.db3', timeout=20); d.execute(\\\"delete from x509_cert where peername = 'n2'\\\"); d.commit()\"; touch {RUN}/nudge"
        ));
    }
    soon(&lab, "n2", "grep -q certificate /srv/site/deep/certificate");
    change(&lab, "n2", "again", &["n1", "n3"]);
    all_the_same(&lab);
    no_key_is_shown(&lab, &[KEY, "PRIVATE KEY"]);
}

/// A lock on the database of n1, for so many seconds.
fn lock(seconds: u32) -> String {
    format!(
        "import sqlite3, time; d = sqlite3.connect('/var/lib/csync2/n1.db3', timeout=30, isolation_level=None); d.execute('begin exclusive'); print('locked', flush=True); time.sleep({seconds})"
    )
}

#[test]
fn a_database_that_is_busy_or_damaged_loses_nothing_and_overwrites_nothing() {
    let lab = site("csync-database", "check_interval=10 peer_timeout=30", "clone");
    change(&lab, "n1", "before", &["n2", "n3"]);

    // Busy for longer than csync2 waits.
    let holder = lab.node("n1").spawn(&format!("exec python3 -c \"{}\"", lock(25)));
    lab.wait("it is locked", SOON, |_| holder.stdout().contains("locked"));
    lab.node("n1").run("echo busy >/srv/site/deep/busy");
    change(&lab, "n2", "meanwhile", &["n3"]);
    until(&lab, "it is told", |lab| {
        let said = told(lab, "n1");
        said.contains("failed: ")
            && (said.contains("locked by a writer") || said.contains("held csync2's database"))
    });
    holder.wait(SOON).unwrap();
    for node in ["n2", "n3"] {
        soon(&lab, node, "grep -q busy /srv/site/deep/busy");
    }
    soon(&lab, "n1", "grep -q meanwhile /srv/site/deep/meanwhile");
    all_the_same(&lab);

    // Damaged while it runs: nothing differs, so there is no conflict.
    let damage = "head -c 50000 /dev/urandom >/var/lib/csync2/n1.db3";
    let made_anew = |count: u32| {
        soon(&lab, "n1", &format!("[ $(ls /var/lib/csync2/ | grep -c 'db3.damaged-[^-]*$') = {count} ]"));
    };
    lab.node("n1").run(damage);
    made_anew(1);
    all_the_same(&lab);
    change(&lab, "n1", "anew", &["n2", "n3"]);
    change(&lab, "n3", "anew-there", &["n1", "n2"]);
    all_the_same(&lab);
    let log = lab.node("n1").syslog();
    assert!(log.contains("csync2's database is damaged") && log.contains("none is overwritten"), "{log}");
    assert!(!log.contains("conflict: "), "{log}");

    // n3 is off when a file is removed and another one changed, and damaged while that is still to be sent.
    lab.crash("n3");
    lab.node("n1").run("rm /srv/site/deep/before; echo newer >/srv/site/deep/anew");
    soon(&lab, "n2", "[ ! -e /srv/site/deep/before ] && grep -q newer /srv/site/deep/anew");
    lab.pcs("resource ban conf-clone n1");
    soon(&lab, "n1", "! pgrep -f '[c]sync2.*-ii'");
    // While it is stopped: damage, a new file, a changed one, and one that the others get.
    lab.node("n1")
        .run(&format!("{damage}; echo mine >/srv/site/deep/mine; echo longer-here >/srv/site/same"));
    lab.node("n2").run("echo theirs >/srv/site/deep/theirs; rm /srv/site/deep/meanwhile");
    lab.boot("n3");
    lab.wait_online(SOON);
    soon(&lab, "n3", "grep -q theirs /srv/site/deep/theirs");
    lab.pcs("resource clear conf-clone");
    made_anew(2);
    soon(&lab, "n1", "grep -q theirs /srv/site/deep/theirs");
    // A removal that waits stays one.
    soon(&lab, "n3", "[ ! -e /srv/site/deep/before ]");
    soon(&lab, "n1", "[ ! -e /srv/site/deep/meanwhile ]");
    until(&lab, "what differs is shown", |lab| told(lab, "n1").contains("conflicts"));
    for conflict in ["/srv/site/same with n2", "/srv/site/same with n3", "/srv/site/deep/mine with n2"] {
        status_says(&lab, "n1", &format!("CONFLICT {conflict}"));
    }
    std::thread::sleep(Duration::from_secs(12));
    for (node, same) in [("n1", "longer-here"), ("n2", "same"), ("n3", "same")] {
        let node = lab.node(node);
        assert_eq!(node.run("cat /srv/site/same").trim(), same, "{}\n{}", node.name(), state(&lab));
        assert!(
            node.sh("[ ! -e /srv/site/deep/before ] && [ ! -e /srv/site/deep/meanwhile ]").ok(),
            "{}",
            node.name()
        );
        assert_eq!(node.sh("[ -e /srv/site/deep/mine ]").ok(), node.name() == "n1");
    }
    // Settled by hand, it is as before.
    lab.node("n1").run(&choose("/srv/site/same /srv/site/deep/mine"));
    for node in ["n2", "n3"] {
        soon(&lab, node, "grep -q longer-here /srv/site/same && grep -q mine /srv/site/deep/mine");
    }
    if lab.node("n3").run("cat /srv/site/deep/anew").trim() != "newer" {
        lab.node("n1").run(&choose("/srv/site/deep/anew"));
    }
    all_the_same(&lab);
    assert_eq!(lab.node("n3").run("cat /srv/site/deep/anew").trim(), "newer");
}

/// So many files.
const MANY: u32 = 1000;

#[test]
fn processes_that_are_killed_come_back_and_nothing_is_missed() {
    let lab = site("csync-killed", "check_interval=10 peer_timeout=30", "clone");
    lab.node("n2").run(&format!("kill -KILL {DAEMON}"));
    lab.node("n1").run("echo daemon >/srv/site/deep/daemon");
    soon(&lab, "n2", "grep -q daemon /srv/site/deep/daemon");
    assert!(lab.node("n2").syslog().contains("the csync2 daemon has ended by itself"), "{}", state(&lab));

    // A start that is killed is tried again.
    lab.pcs("property set start-failure-is-fatal=false");
    let seed = std::process::id();
    println!("seed {seed}");
    let mut random = u64::from(seed) | 1;
    lab.node("n1").run("mkdir /srv/site/many");
    for round in 0..3_u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = (random >> 33) % 3000;
        lab.node("n1").run(&format!(
            "cd /srv/site/many; for file in $(seq {MANY}); do echo {round} $file >$file; done; rm -f {}; sleep $(({pause} / 1000)).$(({pause} % 1000 / 100))",
            round + 1
        ));
        soon(&lab, "n1", &format!("kill -KILL {WORKER} 2>/dev/null"));
        // What it had begun ends with it: two runs never meet.
        soon(
            &lab,
            "n1",
            "for pid in $(pgrep -f '[c]sync2.* -(uB|cB|cr|m|T) '); do [ $(ps -o ppid= $pid) != 1 ] || exit 1; done",
        );
    }
    // A file in whose midst a run was killed may have come in part: the receiver takes that for a change of its own.
    by_hand(&lab, "/srv/site/many");
    all_the_same(&lab);
    lab.node("n3").run(&format!(
        "[ $(ls /srv/site/many | wc -l) = {} ] && grep -q '^2 {MANY}$' /srv/site/many/{MANY}",
        MANY - 1
    ));
    lab.pcs("resource disable conf");
    lab.settle(SOON);
    for node in lab.nodes() {
        assert_eq!(lab.node(node).run("pgrep -f '[c]sync2 .*-ii|[c]sync work' || true"), "");
    }
}

#[test]
fn full_disks_are_told_and_lose_nothing() {
    let lab = lab::csync::site_with("csync-full", "check_interval=10 peer_timeout=10", "clone", |node| {
        if node.name() == "n2" {
            node.run("mkdir -p /srv/copy; cp -a /srv/site/. /srv/copy; mount -t tmpfs -o size=400k,mode=755 site /srv/site; cp -a /srv/copy/. /srv/site");
        }
        if node.name() == "n3" {
            node.run("mount -t tmpfs -o size=300k base /var/lib/csync2");
        }
    });
    // No room for the file.
    lab.node("n1").run("head -c 1000000 /dev/urandom >/srv/site/big; echo small >/srv/site/deep/small");
    soon(&lab, "n3", "[ $(stat -c %s /srv/site/big) = 1000000 ]");
    until(&lab, "it is told", |lab| {
        lab.node("n1").sh(&format!("grep -E 'REFUSED /srv/site/big by n2|KO n2' {RUN}/status")).ok()
    });
    assert_ne!(told(&lab, "n1"), "ok");
    soon(&lab, "n2", "grep -q small /srv/site/deep/small");
    lab.node("n2").run("mount -o remount,size=40m /srv/site");
    soon(&lab, "n2", "[ $(stat -c %s /srv/site/big) = 1000000 ]");
    all_the_same(&lab);

    // No room for the database: what was changed there waits, and so does what is for it.
    lab.node("n3").run("dd if=/dev/zero of=/var/lib/csync2/ballast bs=1k 2>/dev/null || true");
    lab.node("n3").run(
        "cd /srv/site/deep; for file in $(seq 1000); do echo $file >many-files-with-long-names-$file; done",
    );
    until(&lab, "it is told", |lab| {
        let said = told(lab, "n3");
        said.contains("failed: ") && said.contains("no room")
    });
    change(&lab, "n1", "others", &["n2"]);
    lab.node("n3").run("rm /var/lib/csync2/ballast; mount -o remount,size=8m /var/lib/csync2");
    soon(&lab, "n1", "grep -q 1000 /srv/site/deep/many-files-with-long-names-1000");
    soon(&lab, "n3", "grep -q others /srv/site/deep/others");
    // What came while it could not be noted looks like a change there.
    by_hand(&lab, "/srv/site/deep");
    all_the_same(&lab);
}

/// Before it receives a file csync2 looks whether it was changed here, and not again: what is put there while the connection hangs it overwrites.
#[test]
fn what_is_written_where_a_file_is_arriving_is_kept() {
    let lab = site("csync-arriving", "check_interval=10 peer_timeout=30", "clone");
    let node = lab.node("n2");
    for (round, write) in [
        "echo mine-in-place >/srv/site/big",
        "echo mine-renamed >/srv/site/new; mv /srv/site/new /srv/site/big",
        "rm /srv/site/big; echo mine-anew >/srv/site/big",
        "rm /srv/site/big",
    ]
    .into_iter()
    .enumerate()
    {
        // Until something of it has come, and is somewhere beside it; then nothing more does.
        let hang = "until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q '/srv/site/[.]big'; do :; done
            echo 'table inet hang { chain drops { type filter hook input priority 0; tcp sport 30865 drop; tcp dport 30865 drop; }; }' | nft -f - &&
            ls -l /proc/[0-9]*/fd 2>/dev/null | grep '/srv/site/[.]big'";
        let hung = node.spawn(hang);
        lab.node("n1").run("head -c 60000000 /dev/urandom >/srv/site/big");
        let seen = hung.wait(SOON).unwrap();
        assert!(seen.ok(), "round {round}: it had arrived before it could be held up: {}", seen.stderr);
        node.run(write);
        // As long as the worker may take to notice; csync2's connection hangs for longer.
        std::thread::sleep(Duration::from_secs(2));
        node.run("nft delete table inet hang");
        soon(&lab, "n2", "! ls -l /proc/[0-9]*/fd 2>/dev/null | grep '/srv/site/[.]big'");
        let said = write.split_whitespace().find(|word| word.starts_with("mine"));
        if let Some(said) = said {
            soon(&lab, "n2", &format!("grep -rqx {said} /srv/site /var/lib/bascule/csync/conf/kept"));
        }
        until(&lab, "it is shown", |lab| lab.nodes().iter().any(|node| told(lab, node).contains("conflict")));
        assert!(said.is_some() || node.sh("[ ! -e /srv/site/big ]").ok(), "it is brought back");
        by_hand(&lab, "/srv/site/big");
        all_the_same(&lab);
    }
}
