//! `ocf:bascule:csync` as an administrator meets it: files are equal soon, conflicts are shown and wait, what is not mounted empties nobody.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use lab::csync::{RUN, SOON, all_is_well, apart, choose, prepare, soon, told, until};
use lab::{Lab, Options};

#[test]
fn changes_arrive_conflicts_wait_and_nothing_is_emptied() {
    let lab = Lab::start(Options::nodes(3).label("csync-first")).unwrap_or_else(|error| panic!("{error:#}"));
    lab.nodes().iter().for_each(|node| prepare(&lab.node(node)));
    // As the page has it: with the operations that the agent asks for.
    lab.pcs("resource create conf ocf:bascule:csync clone notify=true");
    all_is_well(&lab);

    lab.node("n1").run("echo one >/srv/site/deep/one; mkdir /srv/site/new; echo two >/srv/site/new/two");
    for node in ["n2", "n3"] {
        soon(&lab, node, "grep -q one /srv/site/deep/one && grep -q two /srv/site/new/two");
    }
    // csync2 counts a file as changed until it has noted that all have it: what comes back before is a conflict.
    all_is_well(&lab);
    lab.node("n2").run("echo changed >/srv/site/deep/one; rm /srv/site/new/two");
    for node in ["n1", "n3"] {
        soon(&lab, node, "grep -q changed /srv/site/deep/one && [ ! -e /srv/site/new/two ]");
    }

    // Changed on two nodes while they cannot talk to each other: both keep theirs, and it is told.
    apart(&lab, &[("n1", "echo from n1 >/srv/site/same"), ("n2", "echo from n2, longer >/srv/site/same")]);
    until(&lab, "the conflict is told", |lab| {
        ["n1", "n2"].iter().any(|node| told(lab, node).contains("conflicts 1: /srv/site/same with"))
    });
    assert_eq!(lab.node("n1").run("cat /srv/site/same"), "from n1\n");
    assert_eq!(lab.node("n2").run("cat /srv/site/same"), "from n2, longer\n");
    // Settled by hand, as with csync2 alone.
    lab.node("n1").run(&choose("/srv/site/same"));
    soon(&lab, "n2", "grep -q 'from n1' /srv/site/same");
    soon(&lab, "n3", "grep -q 'from n1' /srv/site/same");
    all_is_well(&lab);

    // Emptied on n3: nobody loses a file, until somebody says so.
    lab.node("n3").run("rm -r /srv/site/*");
    until(&lab, "it is held back", |lab| told(lab, "n3").starts_with("held back: /srv/site"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(lab.node("n1").run("cat /srv/site/deep/one"), "changed\n");
    lab.node("n3").run("touch /run/bascule/csync/conf.d/release-deletions");
    soon(&lab, "n1", "[ ! -e /srv/site/deep/one ]");
    all_is_well(&lab);
    // Its monitor finds a daemon that has ended.
    lab.node("n2").run(&format!("kill -9 $(grep -o '\"pid\":[0-9]*' {RUN}/daemon.json | cut -d: -f2)"));
    until(&lab, "the cluster has noticed", |lab| lab.run("crm_mon -1f").contains("fail-count=1"));
    lab.node("n1").run("echo again >/srv/site/again");
    soon(&lab, "n2", "grep -q again /srv/site/again");
    lab.pcs("resource disable conf");
    lab.settle(SOON);
    for node in lab.nodes() {
        assert_eq!(lab.node(node).run("pgrep -f '[c]sync2 .*-ii|[c]sync work' || true"), "");
    }
}
