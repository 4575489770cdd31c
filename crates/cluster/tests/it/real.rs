//! A real Corosync and Pacemaker, one node in namespaces of its own (`tests/node.sh`).

use std::process::{Child, Command, Stdio};

use cluster::{Cluster, Member, Written};
use process::Process;

use crate::{ample, inside, run_inside, until};

/// The node; killed with all that is in it when dropped, or when this test's thread ends in any other way.
struct Node {
    unshare: Child,
    first: String,
}

impl Node {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node.sh");
        let unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--uts", "--ipc"])
            .args(["--fork", "--kill-child=KILL", "--", "sh", script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut node = Self { unshare, first: String::new() };
        until("the node's first process", || {
            let parent = node.unshare.id() as i32;
            let first = Process::all().into_iter().find(|it| it.parent == parent);
            node.first = first.map(|it| it.pid.to_string()).unwrap_or_default();
            !node.first.is_empty()
        });
        node
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

#[test]
fn told_and_asked() {
    let Some(_) = inside() else {
        let node = Node::start();
        let place = ["nsenter", "--target", &node.first, "--net", "--mount", "--pid", "--uts", "--ipc", "--"];
        return run_inside(&place, "real::told_and_asked", "", &[]);
    };
    let directory = tempfile::tempdir_in("/run").unwrap();
    let cluster = || Cluster::new(ample()).remembering(directory.path());
    until("the cluster", || {
        cluster().status().is_ok_and(|status| status.quorum && status.members.iter().any(|it| it.online))
    });
    assert_eq!(cluster().node_name().unwrap(), "n1");
    let member = Member { name: "n1".into(), id: "1".into(), online: true, remote: false };
    assert_eq!(cluster().status().unwrap().members, [member]);

    // Attributes, with values that a shell or a parser could trip over.
    let here = |value: &str| Ok(vec![("n1".to_owned(), value.to_owned())]);
    for value in ["4", "-5", "a \"quoted\" host=\"n9\" <x> & 'y' $(z)"] {
        assert_eq!(cluster().attribute_set("bascule-test", value), Written::Written);
        assert_eq!(cluster().attribute_set("bascule-test", value), Written::Unchanged);
        assert_eq!(cluster().attribute_everywhere("bascule-test"), here(value));
        until("it in crm_mon", || cluster().status().unwrap().attribute("n1", "bascule-test") == Some(value));
    }
    assert_eq!(cluster().attribute_clear("bascule-test"), Written::Written);
    assert_eq!(cluster().attribute_everywhere("bascule-test"), Ok(vec![]));
    assert_eq!(cluster().attribute_everywhere("bascule-never-set"), Ok(vec![]));
    assert_eq!(cluster().attribute_clear("bascule-never-set"), Written::Written);

    // The promotion score.
    assert_eq!(cluster().promotion_score_set("db:0", 10_000), Written::Written);
    assert_eq!(cluster().promotion_score_set("db", 10_000), Written::Unchanged);
    assert_eq!(cluster().attribute_everywhere("master-db"), here("10000"));
    assert_eq!(cluster().promotion_score_set("db", -5), Written::Written);
    assert_eq!(cluster().attribute_everywhere("master-db"), here("-5"));
    assert_eq!(cluster().promotion_forbid("db:1"), Written::Written);
    assert_eq!(cluster().promotion_forbid("db"), Written::Unchanged);
    assert_eq!(cluster().attribute_everywhere("master-db"), here("-INFINITY"));
    assert_eq!(cluster().on("n1").promotion_score_set("db:1", 7), Written::Written);
    assert_eq!(cluster().attribute_everywhere("master-db"), here("7"));
    assert_eq!(cluster().on("n1").promotion_score_clear("db"), Written::Written);
    assert_eq!(cluster().attribute_everywhere("master-db"), Ok(vec![]));

    // The daemon dies and is started again, and has forgotten everything: so do we.
    assert_eq!(cluster().attribute_set("bascule-test", "kept?"), Written::Written);
    let daemon = || Process::all().into_iter().find(|it| it.name == "pacemaker-attrd" && it.is_running());
    let before = daemon().unwrap();
    assert!(Command::new("kill").args(["-9", &before.pid.to_string()]).status().unwrap().success());
    until("a new daemon that answers", || {
        daemon().is_some_and(|it| it.pid != before.pid)
            && cluster().attribute_set("bascule-test", "kept?") == Written::Written
    });
    assert_eq!(cluster().attribute_everywhere("bascule-test"), here("kept?"));
    assert_eq!(cluster().attribute_set("bascule-test", "kept?"), Written::Unchanged);

    // Options, and lasting values of our own.
    assert_eq!(cluster().option("stonith-enabled"), Ok(Some("false".into())));
    assert_eq!(cluster().option("bascule-generation"), Ok(None));
    for value in ["7 0a1b n1", "-5", "<\"&'>"] {
        assert_eq!(cluster().property_set("bascule-generation", value), Ok(()));
        assert_eq!(cluster().option("bascule-generation"), Ok(Some(value.into())));
    }
    assert_eq!(cluster().property_clear("bascule-generation"), Ok(()));
    assert_eq!(cluster().property_clear("bascule-generation"), Ok(()));
    assert_eq!(cluster().option("bascule-generation"), Ok(None));

    // Compare-and-swap: on what is not there, what is, and what is no longer so.
    let swap = |old: Option<&str>, new: &str| cluster().property_swap("bascule-generation", old, new);
    let now = || cluster().option("bascule-generation").unwrap();
    assert_eq!(swap(Some("6"), "7"), Ok(false));
    assert_eq!(now(), None);
    assert_eq!((swap(None, "7 it's"), now().as_deref()), (Ok(true), Some("7 it's")));
    assert_eq!((swap(None, "8"), now().as_deref()), (Ok(false), Some("7 it's")));
    for (old, new) in [("7 it's", "8 \"<&"), ("8 \"<&", "9' or \"x\"='9"), ("stonith-enabled", "8")] {
        let expected = old != "stonith-enabled";
        assert_eq!(swap(Some(old), new), Ok(expected));
        assert_eq!(now().as_deref() == Some(new), expected);
        assert_eq!(swap(Some(old), "10"), Ok(false), "{old} is no more");
    }
    for (old, new) in [("9' or \"x\"='9", "10"), ("9", "10\n"), ("9\t", "10")] {
        assert!(swap(Some(old), new).is_err(), "{old:?}");
    }
    assert_eq!(now().as_deref(), Some("9' or \"x\"='9"));
    // What was set is swapped, and what was swapped is set and cleared.
    assert_eq!(cluster().property_set("bascule-generation", "11"), Ok(()));
    assert_eq!((swap(Some("11"), "12"), swap(Some("12"), "12")), (Ok(true), Ok(true)));
    assert_eq!(cluster().property_clear("bascule-generation"), Ok(()));
    assert_eq!((now(), swap(Some("12"), "13")), (None, Ok(false)));

    // Four writers at once count to ten each, as the record is changed: none of their steps is lost.
    assert_eq!(swap(None, "0"), Ok(true));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut done = 0;
                while done < 10 {
                    let old = now().unwrap();
                    let new = old.parse::<u32>().unwrap() + 1;
                    done += u32::from(swap(Some(&old), &new.to_string()).unwrap());
                }
            });
        }
    });
    assert_eq!(now().as_deref(), Some("40"));
    // Of four that make it one succeeds.
    for _ in 0..5 {
        assert_eq!(cluster().property_clear("bascule-generation"), Ok(()));
        let made: Vec<String> = std::thread::scope(|scope| {
            let writers: Vec<_> =
                ["a", "b", "c", "d"].map(|it| scope.spawn(move || (it, swap(None, it)))).into();
            let ended = writers.into_iter().map(|writer| writer.join().unwrap());
            ended.filter(|(_, swapped)| swapped == &Ok(true)).map(|(it, _)| it.to_owned()).collect()
        });
        assert_eq!((made.len(), now().as_ref()), (1, made.first()));
    }
    // Where no option has been set at all.
    let all = ["--delete", "--xpath", "//cluster_property_set[@id='cib-bootstrap-options']"];
    assert!(Command::new("cibadmin").args(all).status().unwrap().success());
    assert_eq!((swap(None, "14"), now().as_deref()), (Ok(true), Some("14")));
}
