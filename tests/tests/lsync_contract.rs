//! The contract (DESIGN 5) on `lsync-agent`, without a cluster: what is refused, with which code, and in which words.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SOURCE: &str = "/run/site";

/// The sandboxes share the machine's processes, and their daemons look alike to each other: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A node with a tree and a secret, and a call of the agent as Pacemaker makes it for a promotable clone.
fn node() -> (Sandbox, Agent, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sandbox = Sandbox::enter();
    sandbox.sh(&format!(
        "mount -t tmpfs none /var/lib; mkdir {SOURCE}; echo data >{SOURCE}/file; (umask 077; echo a key of more than sixteen bytes >/run/secret)"
    ));
    let clone = [
        ("clone_max", "3"),
        ("promotable", "true"),
        ("promoted_max", "1"),
        ("notify", "true"),
        ("on_node", "n1"),
    ];
    let agent = sandbox
        .agent("lsync")
        .set("source", SOURCE)
        .set("secret_file", "/run/secret")
        .set("peers", "n2=127.0.0.2");
    let agent =
        clone.iter().fold(agent, |agent, (name, value)| agent.set(&format!("CRM_meta_{name}"), value));
    (sandbox, agent, alone)
}

#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    let reason = ran.reason().unwrap_or_else(|| panic!("no exit reason: {ran}"));
    for part in parts {
        assert!(reason.contains(part), "{part} in {ran}");
    }
}

#[test]
fn a_wrong_parameter_is_wrong_everywhere() {
    let (_sandbox, agent, _alone) = node();
    for (name, value, parts) in [
        ("source", "site", &["source=\"site\"", "absolute path"][..]),
        ("source", "/", &["source=/"]),
        ("source", "/a/../b", &["source=", "absolute path"]),
        ("source", "/a\nb", &["source="]),
        ("peers", "a b/c", &["peers=", "NAME=ADDRESS"]),
        ("port", "0", &["port=\"0\"", "1 to 65535"]),
        ("bind_address", "here", &["bind_address", "IPv4 or IPv6"]),
        ("saved_dir", "/run/site/old", &["saved_dir=", "outside the tree"]),
        ("saved_limit", "much", &["saved_limit=\"much\"", "500M"]),
        ("max_delete_percent", "101", &["max_delete_percent", "0 to 100"]),
        ("config", "/etc/lsyncd.conf", &["source and config exclude each other"]),
        ("CRM_meta_promoted_max", "2", &["promoted-max=2"]),
    ] {
        let wrong = agent.clone().set(name, value);
        for action in ["start", "validate-all", "promote"] {
            says(&wrong.expect(action, 6), parts);
        }
        // Whatever is wrong, nothing runs, and a stop says so.
        wrong.expect("stop", 0);
    }
    says(&agent.clone().without("OCF_RESKEY_source").expect("validate-all", 6), &["source is missing"]);
    let plain = agent.clone().without("OCF_RESKEY_CRM_meta_clone_max");
    says(&plain.expect("start", 6), &["promotable clone", "pcs resource create"]);
    // pcs gives no clone options when it has parameters judged.
    plain.expect("validate-all", 0);
}

#[test]
fn what_is_missing_here_leaves_the_others_to_be_tried() {
    let (_sandbox, agent, _alone) = node();
    fs::set_permissions("/run/secret", fs::Permissions::from_mode(0o600)).unwrap();
    fs::write("/run/open", "key").unwrap();
    fs::write("/run/short", "key").unwrap();
    fs::set_permissions("/run/short", fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions("/run/open", fs::Permissions::from_mode(0o644)).unwrap();
    for (name, value, parts) in [
        ("source", "/run/nowhere", &["/run/nowhere", "make the directory"][..]),
        ("source", "/run/secret", &["not a directory"]),
        ("secret_file", "/run/nothing", &["secret_file", "/run/nothing"]),
        ("secret_file", "/run/open", &["/run/open", "chmod"]),
        ("secret_file", "/run/short", &["/run/short", "at least 16"]),
        ("lsyncd", "no-lsyncd", &["no-lsyncd", "install"]),
        ("rsync", "/run/no-rsync", &["/run/no-rsync", "install"]),
    ] {
        let wrong = agent.clone().set(name, value);
        says(&wrong.expect("start", 5), parts);
        says(&wrong.clone().env("OCF_CHECK_LEVEL", "10").expect("validate-all", 5), parts);
        wrong.expect("validate-all", 0);
        wrong.clone().interval(0).expect("monitor", 7);
        wrong.expect("stop", 0);
    }
    agent.clone().env("OCF_TESTER_FAIL_HAVE_BINARY", "1").interval(0).expect("monitor", 7);
    let nowhere = agent.without("OCF_RESKEY_source").set("config", "/run/no.conf");
    says(&nowhere.expect("start", 5), &["/run/no.conf"]);
}

#[test]
fn a_replica_starts_without_a_cluster_and_nothing_comes_in() {
    let (sandbox, agent, _alone) = node();
    agent.expect("start", 0);
    agent.expect("start", 0);
    agent.clone().interval(10000).expect("monitor", 0);
    agent.clone().interval(0).expect("monitor", 0);
    agent.clone().env("OCF_CHECK_LEVEL", "10").interval(10000).expect("monitor", 0);
    assert!(!sandbox.processes("rsync").is_empty());
    // No generation is known: there is no module for the tree, whatever key is shown.
    let push = Ran::of(Command::new("rsync").args(["-r", "/etc/hostname", "rsync://x@127.0.0.1/test/"]));
    assert!(push.stderr.contains("Unknown module"), "{push}");
    // No cluster says that this node may lead.
    let ran = agent.expect("promote", 1);
    says(&ran, &["cluster"]);
    agent.expect("demote", 0);
    agent.expect("notify", 0);
    agent.expect("reload-agent", 0);
    // Secrets are for root, and in no command line.
    for file in sandbox.sh("find /run/bascule -name '*secret*' -type f").lines() {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    agent.expect("stop", 0);
    agent.expect("stop", 0);
    agent.clone().interval(10000).expect("monitor", 7);
    sandbox.until_ended("rsync");
    assert_eq!(fs::read_to_string(format!("{SOURCE}/file")).unwrap(), "data\n");
}

#[test]
fn a_stop_ends_what_was_started_whatever_became_of_the_parameters_and_the_files() {
    let (sandbox, agent, _alone) = node();
    for spoil in
        ["true", "rm /run/bascule/lsync/test.d/settings.json", "echo x >/run/bascule/lsync/test.json"]
    {
        agent.expect("start", 0);
        sandbox.sh(spoil);
        let ran = agent.clone().without("OCF_RESKEY_source").expect("stop", 0);
        assert!(!ran.stderr.contains("panick"), "{ran}");
        sandbox.until_ended("rsync");
        agent.expect("start", 0);
        agent.expect("stop", 0);
        sandbox.until_ended("rsync");
    }
}

#[test]
fn documents_and_roots_rights() {
    let (_sandbox, agent, _alone) = node();
    let copy = "/run/lsync-agent";
    fs::copy(agent.program(), copy).unwrap();
    for (argument, part) in [
        ("meta-data", "<resource-agent name=\"lsync\""),
        ("--help", "Parameters:"),
        ("--version", "0."),
        ("--manual", ".TH OCF_BASCULE_LSYNC 7"),
    ] {
        let ran = Ran::of(Command::new(copy).arg(argument).env_clear().uid(65534).gid(65534));
        assert!(ran.code == 0 && ran.stdout.contains(part), "{argument}: {ran}");
    }
    for action in ["start", "stop", "monitor", "promote", "demote", "notify"] {
        let ran = Ran::of(
            Command::new(copy).arg(action).env_clear().env("OCF_RESKEY_source", SOURCE).uid(65534).gid(65534),
        );
        assert_eq!(ran.code, 4, "{action}: {ran}");
    }
    agent.run(&["migrate_to"]);
    assert_eq!(agent.run(&["migrate_to"]).code, 3);
    // The faces for lsyncd and the daemon say nothing to whoever else calls them, and do nothing.
    for job in
        [&["push"][..], &["push", "list"], &["push", "full", "n2", "../x"], &["answer"], &["answer", "../x"]]
    {
        let ran = agent.run(job);
        assert!(ran.code != 0 && ran.code != 100, "{job:?}: {ran}");
        assert!(!ran.stderr.contains("internal error"), "{job:?}: {ran}");
    }
}

#[test]
fn no_tree_lies_in_another() {
    let (sandbox, agent, _alone) = node();
    agent.expect("start", 0);
    sandbox.sh("mkdir -p /run/site/inner /run/apart");
    let other = |source: &str| agent.clone().env("OCF_RESOURCE_INSTANCE", "other").set("source", source);
    for (source, part) in [("/run/site/inner", "lies in"), ("/run/site", "is the tree"), ("/run", "holds")] {
        for action in ["start", "promote"] {
            says(&other(source).expect(action, 2), &[part, "/run/site", "of test"]);
        }
    }
    other("/run/apart").expect("start", 0);
    other("/run/apart").expect("stop", 0);
    // Nothing is in the way of one that is stopped.
    agent.expect("stop", 0);
    other("/run/site/inner").expect("start", 0);
    says(&agent.expect("start", 2), &["holds the tree /run/site/inner of other", "exclude"]);
    let apart = agent.clone().set("exclude", "/inner/");
    apart.expect("start", 0);
    apart.expect("stop", 0);
    other("/run/site/inner").expect("stop", 0);
    sandbox.until_ended("rsync");
}

#[test]
fn an_lsyncd_whose_start_was_broken_off_is_found() {
    let (sandbox, agent, _alone) = node();
    let config = "/run/own.conf";
    fs::write(config, "settings { nodaemon = true }\nsync { default.rsync, source = '/run/site', target = '/run/target' }\n").unwrap();
    let plain = [
        "source",
        "peers",
        "secret_file",
        "CRM_meta_clone_max",
        "CRM_meta_promotable",
        "CRM_meta_promoted_max",
    ]
    .iter()
    .fold(agent, |agent, name| agent.without(&format!("OCF_RESKEY_{name}")))
    .set("config", config);
    let broken_off = || {
        plain.expect("start", 0);
        plain.clone().interval(10000).expect("monitor", 0);
        fs::remove_file("/run/bascule/lsync/test.json").unwrap();
        let [pid] = sandbox.processes("lsyncd")[..] else { panic!("{:?}", sandbox.processes("lsyncd")) };
        pid
    };
    let first = broken_off();
    says(&plain.clone().interval(0).expect("monitor", 1), &["start was broken off"]);
    // Another resource's is none of ours.
    plain.clone().env("OCF_RESOURCE_INSTANCE", "other").interval(0).expect("monitor", 7);
    plain.clone().env("OCF_RESOURCE_INSTANCE", "other").expect("stop", 0);
    assert_eq!(sandbox.processes("lsyncd"), [first]);
    let second = broken_off();
    assert_ne!(first, second, "never two");
    plain.expect("stop", 0);
    assert!(sandbox.processes("lsyncd").is_empty());
    plain.interval(0).expect("monitor", 7);
}
