//! No include that is not mounted, missing or emptied costs another node a file, with the real csync2 and real mounts; and what is held back is
//! released by an act, no further than what was shown.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::thread::sleep;
use std::time::Duration;

use lab::Lab;
use lab::csync::{RUN, SOON, all_is_well, site, soon, told, until};

const RELEASE: &str = "touch /run/bascule/csync/conf.d/release-deletions";

/// Every node looks at everything, twice, and sends what it finds.
fn look(lab: &Lab) {
    for _ in 0..2 {
        for node in lab.running() {
            lab.node(&node).run(&format!("touch {RUN}/nudge"));
        }
        sleep(Duration::from_secs(2));
    }
}

fn files(lab: &Lab, node: &str) -> String {
    lab.node(node).run("cd /srv/site && find . -type f | sort | xargs -r cat")
}

/// `/srv/site` of n2 is a file system of its own, with the same in it as on the others.
fn mounted(label: &str) -> Lab {
    let lab = site(label, "check_interval=5", "clone");
    lab.pcs("resource disable conf");
    lab.settle(SOON);
    lab.node("n2").run(
        "mkdir /tmp/keep /srv/disk && cp -a /srv/site/. /tmp/keep && rm -r /srv/site/* && mount -t tmpfs disk /srv/disk && \
         mount --bind /srv/disk /srv/site && cp -a /tmp/keep/. /srv/site",
    );
    lab.pcs("resource enable conf");
    lab.settle(SOON);
    all_is_well(&lab);
    lab.node("n1").run("for n in 1 2 3 4 5 6 7; do echo $n >/srv/site/deep/f$n; done");
    for node in ["n2", "n3"] {
        soon(&lab, node, "[ -s /srv/site/deep/f7 ]");
    }
    all_is_well(&lab);
    lab
}

#[test]
fn what_is_unmounted_missing_or_emptied_empties_nobody() {
    let lab = mounted("csync-mount");
    let all = files(&lab, "n1");

    // Unmounted: what was below the mount point is nothing.
    lab.node("n2").run("umount /srv/site");
    until(&lab, "it is held back", |lab| told(lab, "n2").starts_with("held back: /srv/site"));
    // Nothing is received either: it would land below the mount point, and be hidden.
    lab.node("n1").run("echo meanwhile >/srv/site/meanwhile");
    soon(&lab, "n3", "grep -q meanwhile /srv/site/meanwhile");
    look(&lab);
    assert_eq!(lab.node("n2").run("ls /srv/site"), "");
    assert_eq!(files(&lab, "n1"), all.replace("same\n", "meanwhile\nsame\n"));
    assert!(!lab.run("crm_mon -1").contains("Failed"), "{}", lab.run("crm_mon -1"));

    // Not even after a restart of the resource, or with something else there.
    lab.node("n2").run("echo stray >/srv/site/stray");
    lab.pcs("resource restart conf");
    lab.settle(SOON);
    until(&lab, "it is held back", |lab| told(lab, "n2").starts_with("held back: /srv/site"));
    look(&lab);
    assert!(lab.node("n1").sh("[ -s /srv/site/deep/f7 ] && [ ! -e /srv/site/stray ]").ok());
    lab.node("n2").run("rm /srv/site/stray");

    // Mounted again, all goes on by itself.
    lab.node("n2").run("mount --bind /srv/disk /srv/site");
    soon(&lab, "n2", "grep -q meanwhile /srv/site/meanwhile");
    all_is_well(&lab);
    lab.node("n2").run("echo back >/srv/site/back");
    soon(&lab, "n1", "grep -q back /srv/site/back");
    all_is_well(&lab);
    let all = files(&lab, "n1");

    // Emptied, and missing.
    lab.node("n3").run("mv /srv/site /srv/away");
    until(&lab, "it is held back", |lab| told(lab, "n3").starts_with("held back: /srv/site"));
    look(&lab);
    assert_eq!(files(&lab, "n1"), all);
    lab.node("n3").run("mkdir /srv/site");
    look(&lab);
    assert_eq!(files(&lab, "n1"), all);
    assert!(told(&lab, "n3").starts_with("held back: /srv/site"), "{}", told(&lab, "n3"));
    lab.node("n3").run("rmdir /srv/site; mv /srv/away /srv/site");
    all_is_well(&lab);

    // Not mounted on purpose: it is released, and then is what it is.
    lab.node("n2").run("umount /srv/site && cp -a /tmp/keep/. /srv/site");
    until(&lab, "it is held back", |lab| told(lab, "n2").starts_with("held back: /srv/site"));
    assert_eq!(files(&lab, "n1"), all);
    lab.node("n2").run(RELEASE);
    soon(&lab, "n1", "[ ! -e /srv/site/deep/f7 ] && [ -e /srv/site/same ]");
    soon(&lab, "n3", "[ ! -e /srv/site/deep/f7 ] && [ -e /srv/site/same ]");
    all_is_well(&lab);
    assert!(!lab.node("n2").sh("[ -e /run/bascule/csync/conf.d/release-deletions ]").ok(), "it is used up");
}

#[test]
fn a_mount_inside_an_include_is_guarded_and_a_release_goes_no_further_than_what_was_shown() {
    let lab = site("csync-inner", "check_interval=5 max_delete=6", "clone");
    let n2 = lab.node("n2");
    n2.run(
        "mkdir /srv/site/disk /srv/disk && mount -t tmpfs disk /srv/disk && mount --bind /srv/disk /srv/site/disk && for n in 1 2 3; do echo $n >/srv/site/disk/f$n; done",
    );
    for node in ["n1", "n3"] {
        soon(&lab, node, "[ -s /srv/site/disk/f3 ]");
    }
    all_is_well(&lab);
    look(&lab);
    // Three files are within every limit; but they have not been removed.
    n2.run("umount /srv/site/disk");
    until(&lab, "it is held back", |lab| told(lab, "n2").starts_with("held back: /srv/site/disk"));
    look(&lab);
    assert_eq!(lab.node("n1").run("cat /srv/site/disk/*"), "1\n2\n3\n");
    n2.run("mount --bind /srv/disk /srv/site/disk");
    all_is_well(&lab);
    n2.run("rm /srv/site/disk/f1");
    soon(&lab, "n1", "[ ! -e /srv/site/disk/f1 ]");
    all_is_well(&lab);

    // A release is for what is held back now, not for what is still to come.
    lab.node("n3").run(RELEASE);
    soon(&lab, "n3", "[ ! -e /run/bascule/csync/conf.d/release-deletions ]");

    // Too many: released, and more goes meanwhile.
    lab.node("n1").run("for n in 1 2 3 4 5 6 7 8 9; do echo $n >/srv/site/deep/f$n; done");
    soon(&lab, "n3", "[ -s /srv/site/deep/f9 ]");
    all_is_well(&lab);
    lab.node("n3").run("rm /srv/site/deep/f[1-7]");
    until(&lab, "it is held back", |lab| told(lab, "n3").starts_with("held back: /srv/site, 7 gone"));
    // What is held back here is no reason to receive nothing: a daemon that has ended is noticed.
    let before = lab.node("n3").run(&format!("cat {RUN}/daemon.json"));
    lab.node("n3").run(&format!("kill -9 $(grep -o '\"pid\":[0-9]*' {RUN}/daemon.json | cut -d: -f2)"));
    until(&lab, "the cluster has started it again", |lab| {
        let now = lab.node("n3").sh(&format!("cat {RUN}/worker.json >/dev/null && cat {RUN}/daemon.json"));
        now.ok() && now.stdout != before
    });
    until(&lab, "it is held back", |lab| told(lab, "n3").starts_with("held back: /srv/site, 7 gone"));
    let halted =
        format!("kill -STOP $(grep -o '\"pid\":[0-9]*' {RUN}/worker.json | head -n 1 | cut -d: -f2)");
    lab.node("n3").run(&halted);
    lab.node("n3").run(&format!("rm /srv/site/deep/f8; {RELEASE}"));
    lab.node("n3").run(&halted.replace("STOP", "CONT"));
    until(&lab, "it is held back anew", |lab| told(lab, "n3").starts_with("held back: /srv/site, 8 gone"));
    look(&lab);
    assert_eq!(lab.node("n1").run("cd /srv/site/deep; echo f*"), "f1 f2 f3 f4 f5 f6 f7 f8 f9\n");
    lab.node("n3").run(RELEASE);
    soon(&lab, "n1", "[ \"$(cd /srv/site/deep; echo f*)\" = f9 ]");
    all_is_well(&lab);
}
