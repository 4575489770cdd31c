//! The fence of `ocf:bascule:lsync`: a source that was left behind changes nothing on those who know a newer generation, with no fencing
//! device, no cluster manager, and wrong clocks.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use lab::lsync::Mirror;
use lab::trees::{Kind, make};
use lab::{Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// Sends the old source's tree with nothing but rsync, by what lsyncd's pushes log in with; its exit code.
fn push_by_hand(lab: &Lab, user: &str, to: &str, options: &str) -> i32 {
    let secret = "--password-file=/run/bascule/lsync/site5.d/push.secret";
    let tree = "--filter='- /.bascule/*' /site/site5/";
    lab.node("n1")
        .sh(&format!("timeout 20 rsync -rt --delete {options} {secret} {tree} rsync://{user}@{to}/site5/"))
        .code
}

#[test]
fn a_source_that_was_left_behind_changes_nothing() {
    // Without quorum a node goes on with what it runs, as in a cluster that nobody fences.
    let options = Options::nodes(3).label("lsync-fence").property("no-quorum-policy", "freeze");
    let lab = Lab::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let mirror = Mirror::new(&lab, "site5");
    make(&lab.node("n1"), "/site/site5/plain", Kind::Plain(100));
    mirror.at("n1", "echo first >page; echo keep >kept");
    // lsyncd of the old source never gives up.
    let mirror = mirror.create("lost_after=3600");
    let old = mirror.wait_in_sync(SOON);
    assert_eq!(old, "n1");
    let users =
        "sed -n 's/^auth users = \\(g1-.*\\)/\\1/p' /run/bascule/lsync/rsyncd-873/modules.d/site5.conf";
    let user = lab.node("n2").run(users).trim().to_owned();
    for to in ["n2", "n3"] {
        assert_eq!(push_by_hand(&lab, &user, to, "--dry-run"), 0, "the present source is let in at {to}");
    }

    lab.partition(&[&["n1"], &["n2", "n3"]]);
    let new = mirror.wait_source_other_than("n1", SOON);
    let replica = if new == "n2" { "n3" } else { "n2" };
    // Both go on; the old one's clock is years ahead for what it writes.
    mirror.at(&new, "echo newer >page; echo new >new");
    mirror.at("n1", "echo diverged >page; echo only here >unsent; rm kept; touch -d 2037-01-01 page unsent");
    mirror.wait("the replica follows the new source", SOON, |it| {
        it.lab().node(replica).sh("grep -q newer /site/site5/page && test -f /site/site5/new").ok()
    });
    let (generation, view) = (mirror.generation(&new), lab.node("n1").view());
    let still = view.map(|view| view.in_role("site5", "Promoted")).unwrap_or_default();
    assert!(still.contains(&"n1".to_owned()), "n1 still takes itself for the source: {still:?}");

    // No cluster manager is left on either, and the network is whole again.
    for node in ["n1", replica] {
        lab.node(node)
            .run("kill -9 $(pgrep '^pacemaker'); while pgrep '^pacemaker' >/dev/null; do sleep 0.05; done");
    }
    let before = mirror.snapshot(replica);
    let at_new = mirror.snapshot(&new);
    lab.heal_all();
    mirror.at(
        "n1",
        "for i in $(seq 20); do echo diverged $i >late-$i; done; rm -rf plain/d000; echo again >>page",
    );
    for to in [replica, &new] {
        mirror.wait(&format!("lsyncd's pushes are refused by {to}"), SOON, |_| {
            let state = lab.node("n1").run(&format!("cat /run/bascule/lsync/site5.d/peers/{to}.json"));
            state.contains("does not take generation 1 ") || state.contains("not let in")
        });
        for options in ["", "--dry-run", "--inplace", "--ignore-times --max-delete=1000"] {
            assert_ne!(push_by_hand(&lab, &user, to, options), 0, "{to} lets an old token in");
        }
    }
    // By hand too: both ways by which lsyncd sends.
    let agent = "/usr/lib/ocf/resource.d/bascule/lsync";
    let list = format!("printf '/page\\0/kept\\0/late-1\\0' | timeout 20 {agent} push list {replica} site5");
    for push in [list, format!("timeout 20 {agent} push full {replica} site5")] {
        let _any_code = lab.node("n1").sh(&push);
    }
    before.assert_same(&mirror.snapshot(replica), "the replica, after what the old source sent");
    at_new.assert_same(&mirror.snapshot(&new), "the new source");
    // lsyncd did not die of it.
    assert!(lab.node("n1").sh("pgrep -x lsyncd").ok());

    // Everything comes back: the newer data won, and the old source has kept what only it had.
    for node in ["n1", replica] {
        lab.crash(node);
    }
    lab.boot(replica);
    lab.boot("n1");
    lab.wait_online(SOON);
    let source = mirror.wait_in_sync(SOON);
    assert_ne!(source, "n1");
    assert!(mirror.generation(&source) >= generation);
    mirror.acknowledged(SOON);
    let tree = mirror.assert_same();
    assert!(tree.has("kept") && tree.has("new") && tree.has("plain/d000/f00000"));
    assert!(!tree.has("unsent") && !tree.has("late-1"));
    assert_eq!(mirror.at("n1", "cat page"), "newer\n");
    let mut aside: Vec<String> = (1..=20).map(|number| format!("late-{number}")).collect();
    aside.extend(["page".to_owned(), "unsent".to_owned()]);
    aside.sort();
    assert_eq!(mirror.saved_files("n1"), aside);
    assert_eq!(mirror.saved_text("n1", "page"), "diverged\nagain\n");
    mirror.wait("n1 tells what it has set aside", SOON, |it| it.saved("n1") == 22);
    assert_eq!(mirror.saved_files(replica), [""; 0]);
}
