//! What the monitors of `ocf:bascule:lsync` say and do at each level on a cluster: degraded where it is asked for, what acknowledges and what does
//! not, drift that is repaired, access lists and extended attributes with it.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use lab::lsync::Mirror;
use lab::trees::quoted;
use lab::{Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// `running, degraded` and `promoted, degraded` (OCF 1.1).
const DEGRADED: i32 = 190;
const DEGRADED_PROMOTED: i32 = 191;

fn start(label: &str) -> Lab {
    Lab::start(Options::nodes(3).label(label)).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Runs Python in the tree of a node, and returns what it prints.
#[track_caller]
fn python(mirror: &Mirror<'_>, node: &str, program: &str) -> String {
    let set = format!("import os, struct\nACL = 'system.posix_acl_access'\n{program}");
    mirror.at(node, &format!("python3 -c {}", quoted(&set)))
}

/// A list that also lets the user 1234 read: version 2, then tag, permissions and id of each entry (acl(5), `linux/posix_acl_xattr.h`).
const LET_IN: &str =
    "os.setxattr('listed', ACL, struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in
    [(1, 6, 2**32 - 1), (2, 4, 1234), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]))";

const SHOW_LIST: &str = "print(ACL in os.listxattr('listed') and os.getxattr('listed', ACL).hex())";

const SHOW_NOTE: &str =
    "print('user.note' in os.listxattr('noted') and os.getxattr('noted', 'user.note').decode())";

#[test]
fn drift_is_found_set_aside_and_repaired() {
    let lab = start("lsync-drift");
    let mirror = Mirror::new(&lab, "site5");
    mirror
        .at("n1", "echo right >drifts; echo kept >vanishes; chmod 640 drifts; echo a >listed; echo b >noted");
    python(&mirror, "n1", LET_IN);
    python(&mirror, "n1", "os.setxattr('noted', 'user.note', b'of the source')");
    let list = python(&mirror, "n1", SHOW_LIST);
    let mirror = mirror.create("acls=true xattrs=true initial_source=n1");
    assert_eq!(mirror.wait_in_sync(SOON), "n1");
    mirror.acknowledged(SOON);
    for replica in ["n2", "n3"] {
        assert_eq!(python(&mirror, replica, SHOW_LIST), list, "{replica}");
        assert_eq!(python(&mirror, replica, SHOW_NOTE), "of the source\n", "{replica}");
    }
    // Of a change that is seen live, too.
    python(&mirror, "n1", "os.setxattr('noted', 'user.note', b'changed')");
    mirror.wait("the change arrives", SOON, |it| python(it, "n2", SHOW_NOTE) == "changed\n");
    mirror.acknowledged(SOON);
    let none = mirror.monitor("n1", 20);
    assert!(none.code == 8 && none.stderr.contains("n2 has no drift"), "{}", none.stderr);

    // What has just changed on the source may be on its way, and is no drift.
    let old = "[ -z \"$(find . -path ./.bascule -prune -o -newerct '62 seconds ago' -print)\" ]";
    mirror.wait("nothing is newer than a minute", 2 * SOON, |it| {
        it.lab().node("n1").sh(&format!("cd /site/site5 && {old}")).ok()
    });

    // Of the same size and with the same time: nothing but a comparison of contents finds it.
    mirror.at("n2", "echo wrong >new; touch -r drifts new; cat new >drifts; touch -r new drifts; rm new vanishes; echo own >extra");
    python(&mirror, "n2", "os.setxattr('noted', 'user.note', b'of the replica')");
    let level_10 = mirror.monitor("n1", 10);
    assert_eq!(
        (level_10.code, mirror.at("n2", "cat drifts").as_str()),
        (8, "wrong\n"),
        "it compares nothing"
    );
    let found = mirror.monitor("n1", 20);
    assert_eq!(found.code, 8, "{}", found.stderr);
    let report = found.stderr.lines().find(|line| line.contains("n2 had drifted")).unwrap_or_default();
    for name in ["drifts", "vanishes", "extra", "noted"] {
        assert!(report.contains(name), "{name}: {}", found.stderr);
    }
    assert!(found.stderr.contains("n3 has no drift"), "{}", found.stderr);
    assert!(!mirror.assert_same().has("extra"));
    assert_eq!(mirror.at("n2", "cat drifts vanishes; stat -c %a drifts"), "right\nkept\n640\n");
    assert_eq!(python(&mirror, "n2", SHOW_NOTE), "changed\n");
    assert_eq!(
        (mirror.saved_text("n2", "drifts"), mirror.saved_text("n2", "extra")),
        ("wrong\n".into(), "own\n".into())
    );
    mirror.wait("crm_mon tells how many were set aside", SOON, |it| it.saved("n2") >= 2);
    let again = mirror.monitor("n1", 20);
    assert!(again.code == 8 && again.stderr.contains("n2 has no drift"), "{}", again.stderr);

    // Switched off, they are not sent.
    lab.pcs("resource update site5 xattrs=false");
    lab.settle(SOON);
    python(&mirror, "n1", "os.setxattr('noted', 'user.note', b'again')");
    mirror.at("n1", "echo more >>noted");
    mirror.wait_there("n2", "grep -q more noted", SOON);
    assert_ne!(python(&mirror, "n2", SHOW_NOTE), "again\n");
}

#[test]
fn degraded_is_said_where_asked_for_and_what_too_few_have_is_not_acknowledged() {
    let lab = start("lsync-degraded");
    // n3 has little room.
    lab.node("n3").run("mkdir -p /site/site5 && mount -t tmpfs -o size=6m small /site/site5");
    let options = "report_degraded=true min_peers=2 lost_after=4 initial_source=n1";
    let mirror = Mirror::new(&lab, "site5").create(options);
    assert_eq!(mirror.wait_in_sync(SOON), "n1");
    mirror.acknowledged(SOON);
    assert_eq!((mirror.monitor("n1", 0).code, mirror.monitor("n3", 0).code), (8, 0));

    mirror.at("n1", "head -c 20000000 /dev/urandom >big");
    mirror.wait("n3 is not in sync", SOON, |it| it.standing("n3").ends_with("behind"));
    let said = mirror.monitor("n1", 0);
    assert_eq!(said.code, DEGRADED_PROMOTED, "{}", said.stderr);
    assert!(said.stderr.contains("1 replicas in sync, expected at least 2"), "{}", said.stderr);
    let said = mirror.monitor("n3", 0);
    assert_eq!(said.code, DEGRADED, "{}", said.stderr);
    assert!(said.stderr.contains("not in sync with generation 1"), "{}", said.stderr);
    assert_eq!(mirror.monitor("n2", 0).code, 0);
    // To people it is told; the cluster moves nothing for it.
    mirror.wait("crm_mon shows it", SOON, |it| {
        let shown = it.lab().run("crm_mon -1").to_lowercase();
        [("n1", "1 replicas in sync, expected at least 2"), ("n3", "not in sync with generation 1")]
            .iter()
            .all(|(node, why)| {
                let returned = format!("monitor on {node} returned");
                let told =
                    |line: &str| [returned.as_str(), "degraded", why].iter().all(|word| line.contains(word));
                shown.lines().any(told)
            })
    });
    assert_eq!((mirror.source().as_str(), mirror.generation("n1")), ("n1", Some(1)));
    // What too few have is not acknowledged.
    let refused = lab.node("n1").sh("crm_resource -r site5 --force-check=10 2>&1");
    assert!(refused.code != 8 && refused.stdout.contains("nothing is acknowledged"), "{}", refused.stdout);
    // It is, where one copy is enough; by n2 alone, and by nobody but the source.
    lab.pcs("resource update site5 min_peers=0");
    lab.settle(SOON);
    let check = || lab.node("n1").sh("crm_resource -r site5 --force-check=10 2>&1");
    mirror.wait("n2 is enough", SOON, |_| check().code == 8);
    lab.pcs("node standby n2 n3");
    lab.settle(SOON);
    mirror.at("n1", "echo alone >alone; rm big");
    mirror.wait("nobody is enough", SOON, |_| check().code == 8);
    lab.pcs("node unstandby n2 n3");
    mirror.wait_in_sync(SOON);
    mirror.wait("all is well again", SOON, |it| it.monitor("n3", 0).code == 0);
    assert!(mirror.assert_same().has("alone"));
}

#[test]
fn a_backup_put_over_the_source_acknowledges_nothing_by_its_old_number() {
    let lab = start("lsync-backup");
    let mirror = Mirror::new(&lab, "site5").create("initial_source=n1");
    assert_eq!(mirror.wait_in_sync(SOON), "n1");
    mirror.at("n1", "echo old >file");
    mirror.acknowledged(SOON);
    mirror.at("n1", "cp -a . /root/backup");
    for round in 0..5 {
        mirror.at("n1", &format!("echo {round} >file"));
        mirror.acknowledged(SOON);
    }
    // Nothing leaves the source while it is put back, the number that follows the tree with it.
    let lsyncd = lab.node("n1").run("pgrep -of '[l]syncd.*lsyncd.conf'");
    lab.node("n1").run(&format!("kill -STOP {lsyncd}"));
    mirror.at("n1", "cp -a /root/backup/. . && echo after >after");
    for _ in 0..3 {
        let code = mirror.try_monitor("n1", 10, Duration::from_secs(6));
        assert_ne!(code, Some(8), "it acknowledges what nobody has");
    }
    assert!(!mirror.snapshot("n2").has("after"));
    lab.node("n1").run(&format!("kill -CONT {lsyncd}"));
    mirror.wait_in_sync(SOON);
    mirror.acknowledged(SOON);
    let tree = mirror.assert_same();
    assert!(tree.has("after") && mirror.at("n3", "cat file") == "old\n", "the backup is what counts");

    // Put back once more, and replicas still join by what they have.
    mirror.at("n1", "cp -a /root/backup/. .");
    lab.pcs("node standby n3");
    mirror.wait("n3 is gone", SOON, |it| !it.standing("n1").contains("n3"));
    mirror.at("n1", "echo without >without");
    mirror.acknowledged(SOON);
    mirror.at("n1", "cp -a /root/backup/. .");
    lab.pcs("node unstandby n3");
    mirror.wait_in_sync(SOON);
    mirror.acknowledged(SOON);
    assert!(mirror.assert_same().has("without"));
}
