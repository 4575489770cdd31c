//! `ocf:bascule:lsync` from its first start on: whose data wins when no generation is known, and that a tree of any kind is the
//! same on every node, after the first pass and live.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::thread::sleep;
use std::time::Duration;

use lab::lsync::Mirror;
use lab::trees::{Kind, make};
use lab::{Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn the_first_source_is_one_with_data_and_any_tree_is_mirrored() {
    let lab = Lab::start(Options::nodes(3).label("lsync-first")).unwrap_or_else(|error| panic!("{error:#}"));

    // One node has data: it wins whatever the others are.
    let mirror = Mirror::new(&lab, "site5");
    let n2 = lab.node("n2");
    for (place, kind) in [("plain", Kind::Plain(300)), ("hostile", Kind::Hostile), ("special", Kind::Special)]
    {
        make(&n2, &format!("/site/site5/{place}"), kind);
    }
    let given = mirror.snapshot("n2");
    assert!(given.entries.len() > 500 && given.has("special/hole"), "{:?}", given.entries.keys());
    let mirror = mirror.create("hard_links=true sparse=true max_delete_percent=100");
    assert_eq!(mirror.wait_in_sync(SOON), "n2");
    given.assert_same(&mirror.assert_same(), "the first pass");
    mirror.acknowledged(SOON);
    given.assert_same(&mirror.assert_same(), "the pass and the canary");
    for node in lab.nodes() {
        assert_eq!(
            (mirror.saved(node), mirror.saved_files(node).len()),
            (0, 0),
            "{node} had nothing to set aside"
        );
        let secrets =
            lab.node(node).run("ls -l /var/lib/bascule/lsync/site5 /run/bascule/lsync/site5.d; ps -ef");
        let key = lab.node(node).run("head -c 16 /etc/corosync/authkey | od -An -tx1 | tr -d ' \\n'");
        assert!(!secrets.contains(key.trim()), "{secrets}");
    }

    // The same live, and changed, and gone again.
    for (place, kind) in
        [("live/plain", Kind::Plain(300)), ("live/hostile", Kind::Hostile), ("live/special", Kind::Special)]
    {
        make(&n2, &format!("/site/site5/{place}"), kind);
    }
    mirror.acknowledged(SOON);
    assert!(mirror.assert_same().has("live/special/link-out"));
    mirror.at(
        "n2",
        "cd live && for name in hostile/*; do [ -f \"$name\" ] && echo more >>\"$name\"; done; \
         mv plain/d000 'moved\nhere'; rm -rf hostile/in plain/d001; rm special/text; ln -sfn elsewhere special/link-out; \
         chmod 0640 special/random; chown 7:8 special/nothing; rm special/fifo; mkdir special/fifo; touch special/fifo/inner; \
         rm -r special/directory; echo file >special/directory; truncate -s 5 special/sparse; \
         touch -d '2001-02-03 04:05:06.789' special/random",
    );
    mirror.acknowledged(SOON);
    let changed = mirror.assert_same();
    assert!(changed.has("live/special/fifo/inner") && !changed.has("live/hostile/in"));
    mirror.at("n2", "rm -rf live");
    mirror.acknowledged(SOON);
    given.assert_same(&mirror.assert_same(), "what came live is gone");
    for node in lab.nodes() {
        let pwned = lab.node(node).run("find / -xdev -name pwned; find /site /run /tmp -name pwned");
        assert_eq!(pwned, "", "a name was run on {node}");
    }

    // Two nodes have data: the administrator chooses, and the other's is kept.
    let choice = Mirror::new(&lab, "choice");
    for node in ["n1", "n3"] {
        choice.at(node, &format!("echo {node} >owner; echo {node} >only-{node}"));
    }
    let choice = choice.create("");
    choice.wait("all say that there is no generation yet", SOON, |it| {
        lab.nodes().iter().all(|node| it.standing(node).starts_with("no generation yet"))
    });
    // Several rounds of all monitors.
    sleep(Duration::from_secs(9));
    assert_eq!((choice.promoted(), choice.record()), (None, None), "nobody is promoted by chance");
    assert_eq!(choice.standing("n1"), "no generation yet, tree with data");
    assert_eq!(choice.standing("n2"), "no generation yet, empty tree");
    lab.pcs("resource update choice initial_source=n3");
    assert_eq!(choice.wait_in_sync(SOON), "n3");
    let chosen = choice.assert_same();
    assert!(chosen.has("only-n3") && !chosen.has("only-n1"));
    assert_eq!(choice.saved_files("n1"), ["only-n1", "owner"]);
    assert_eq!(choice.saved_text("n1", "owner"), "n1\n");
    choice.wait("n1 tells what it has set aside", SOON, |it| it.saved("n1") == 2);
    assert_eq!((choice.saved("n2"), choice.saved("n3")), (0, 0));

    // All are empty: any will do, and content comes later.
    let empty = Mirror::new(&lab, "empty").create("");
    let source = empty.wait_in_sync(SOON);
    empty.at(&source, "echo first >first");
    empty.acknowledged(SOON);
    assert!(empty.assert_same().has("first"));
    // The daemon and the first dataset were not disturbed.
    assert_eq!(mirror.wait_in_sync(SOON), "n2");

    // Gone without a trace, but for data and what was set aside.
    for mirror in ["site5", "choice", "empty"] {
        lab.pcs(&format!("resource delete {mirror}"));
    }
    lab.settle(SOON);
    for node in lab.nodes() {
        let left = lab
            .node(node)
            .run("ps -eo args | grep -E '[l]syncd|[r]sync' || true; ls /site/site5 | head -n 3");
        assert_eq!(left, "hostile\nplain\nspecial\n", "{node}");
    }
    assert_eq!(choice.saved_files("n1"), ["only-n1", "owner"]);
}
