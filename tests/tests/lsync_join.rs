//! How replicas of `ocf:bascule:lsync` come to count as in sync: not before they have everything that was acknowledged without them, and not by a
//! source that the cluster holds for another.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::thread::sleep;
use std::time::Duration;

use lab::lsync::{Mirror, clone_environment};
use lab::{Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(90);

fn lab(label: &str) -> Lab {
    Lab::start(Options::nodes(3).label(label)).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn who_joins_has_what_was_acknowledged_during_its_pass() {
    let lab = lab("lsync-join");
    // Slow enough that something can happen during a pass.
    let mirror = Mirror::new(&lab, "site5").create("bwlimit=2000");
    let source = mirror.wait_in_sync(SOON);
    let late = if source == "n3" { "n2" } else { "n3" };
    lab.pcs(&format!("node standby {late}"));
    mirror.at(&source, "head -c 30000000 /dev/urandom >large");
    mirror.wait("the others go on without it", SOON, |it| !it.standing(&source).contains(late));
    mirror.acknowledged(SOON);

    lab.pcs(&format!("node unstandby {late}"));
    let phase =
        |phase: &str| format!("grep -q '\"phase\":\"{phase}\"' /run/bascule/lsync/site5.d/peers/{late}.json");
    // It has looked at the tree: some of the large file has arrived.
    let some = "[ $(du -sk /site/site5 | cut -f 1) -gt 1000 ]";
    mirror.wait("a pass to it is under way", SOON, |_| {
        lab.node(&source).sh(&phase("Syncing")).ok() && lab.node(late).sh(some).ok()
    });
    mirror.at(&source, "echo late >late");
    // What has changed waits for the end of the pass. As if the machine were busy: it does not come to its turn.
    let waiting = format!("pgrep -f '[p]ush list {late} site5'");
    mirror.wait("the change waits", SOON, |_| lab.node(&source).sh(&waiting).ok());
    lab.node(&source).run(&format!("kill -STOP $({waiting})"));
    assert!(lab.node(&source).sh(&phase("Syncing")).ok(), "the pass has ended too soon for this test");
    assert_eq!(mirror.monitor(&source, 10).code, 8, "the two others have it");

    mirror.wait("the pass is complete", SOON, |_| lab.node(&source).sh(&phase("Following")).ok());
    // Some monitors.
    sleep(Duration::from_secs(8));
    assert!(!lab.node(late).sh("test -e /site/site5/late").ok(), "the pass had it: no test");
    assert!(
        !mirror.standing(&source).contains(late),
        "it lacks what was acknowledged: {}",
        mirror.standing(&source)
    );
    assert_eq!(mirror.peers(&source).get(late).map(|peer| peer.state.as_str()), Some("syncing"));

    lab.node(&source).run(&format!("kill -CONT $({waiting})"));
    mirror.wait_in_sync(SOON);
    assert_eq!(mirror.at(late, "cat late"), "late\n");
    mirror.acknowledged(SOON);
    mirror.assert_same();
}

#[test]
fn a_source_that_the_cluster_holds_for_another_makes_way() {
    let lab = lab("lsync-other");
    let mirror = Mirror::new(&lab, "site5").create("");
    let source = mirror.wait_in_sync(SOON);
    mirror.at(&source, "echo all >file");
    mirror.acknowledged(SOON);
    let generation = mirror.generation(&source).unwrap();
    // As after a partition whose other side opened a generation without any of those in sync, and whose configuration won.
    let record = mirror.record().unwrap();
    let dataset = record.split(' ').find(|word| word.starts_with("dataset=")).unwrap();
    let node = if source == "n3" { "n2" } else { "n3" };
    let number = generation + 1;
    let other = format!(
        "generation={number} id=00c0ffee00c0ffee origin={node} upon=none change=0 shared=0 {dataset} filled=yes in-sync={node}"
    );
    lab.run(&format!("crm_attribute --type crm_config --name bascule-lsync-site5 --update '{other}'"));
    mirror.wait("a newer generation", SOON, |it| {
        let newest = it.promoted().and_then(|node| it.generation(&node));
        newest.is_some_and(|newest| newest > generation + 1)
    });
    mirror.wait_in_sync(SOON);
    mirror.acknowledged(SOON);
    assert!(mirror.assert_same().has("file"));
}

#[test]
fn what_leads_is_reloaded_and_promoted_once_more_and_stays_as_it_is() {
    let lab = Lab::start(Options::nodes(2).label("lsync-reload")).unwrap_or_else(|error| panic!("{error:#}"));
    let mirror = Mirror::new(&lab, "site5").create("");
    let source = mirror.wait_in_sync(SOON);
    let before = mirror.standing(&source);
    let lsyncd = || lab.node(&source).run("pgrep -x lsyncd");
    let process = lsyncd();
    lab.pcs("resource update site5 min_peers=2");
    let settled = "grep -q '\"min_peers\":2' /run/bascule/lsync/site5.d/settings.json";
    mirror.wait("the parameter is reloaded", SOON, |_| lab.node(&source).sh(settled).ok());
    // Pacemaker forgets the role with a reload: if something else changes just then, it promotes what is promoted.
    let environment = clone_environment("site5", "/site/site5", &source, 2, 0, Duration::from_secs(20));
    lab.node(&source).run(&format!("env {environment} /usr/lib/ocf/resource.d/bascule/lsync promote"));
    mirror.wait("it is the source", SOON, |it| it.promoted().as_ref() == Some(&source));
    assert_eq!(mirror.standing(&source), before);
    assert_eq!(lsyncd(), process);
}
