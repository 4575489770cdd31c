//! The contract for promotable agents, and what else `vip` has no occasion to show, on the lab's own agent `stateful`.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};
use lab::{Lab, Options};
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_stateful");

fn stateful(sandbox: &Sandbox) -> Agent {
    sandbox.agent_at(PROGRAM)
}

#[test]
fn the_role_is_told_by_the_exit_code() {
    let sandbox = Sandbox::enter();
    let agent = stateful(&sandbox);
    agent.expect("monitor", 7);
    agent.expect("start", 0);
    agent.expect("monitor", 0);
    for _ in 0..2 {
        agent.expect("promote", 0);
        agent.expect("monitor", 8);
    }
    for _ in 0..2 {
        agent.expect("demote", 0);
        agent.expect("monitor", 0);
    }
    agent.expect("stop", 0);
    agent.expect("monitor", 7);
}

#[test]
fn degraded_and_failed_states_have_their_codes_and_reasons() {
    let sandbox = Sandbox::enter();
    let agent = stateful(&sandbox);
    agent.expect("start", 0);
    let degraded = agent.clone().set("fault", "degraded");
    assert_eq!(degraded.expect("monitor", 190).reason(), Some("a peer is missing"));
    agent.expect("promote", 0);
    assert_eq!(degraded.expect("monitor", 191).reason(), Some("a peer is missing"));
    // An action that came this far has succeeded, degraded or not.
    degraded.expect("promote", 0);
    let failed = agent.clone().set("fault", "failed").interval(10_000).expect("monitor", 9);
    assert_eq!(failed.reason(), Some("the quorum is lost"));
}

#[test]
fn a_missing_tool_is_not_installed_but_on_a_probe_not_running() {
    let sandbox = Sandbox::enter();
    let agent = stateful(&sandbox).set("tool", "no-such-tool");
    assert_eq!(agent.expect("monitor", 5).reason(), Some("no-such-tool is not installed"));
    agent.clone().interval(0).expect("monitor", 7);
    let hidden = stateful(&sandbox).set("tool", "ls").env("OCF_TESTER_FAIL_HAVE_BINARY", "1");
    hidden.expect("monitor", 5);
    hidden.without("OCF_TESTER_FAIL_HAVE_BINARY").expect("monitor", 7);
}

#[test]
fn passing_trouble_in_a_recurring_monitor_is_never_a_ban_everywhere() {
    let sandbox = Sandbox::enter();
    let agent = stateful(&sandbox);
    agent.expect("start", 0);
    let odd = agent.set("fault", "configured");
    assert_eq!(odd.clone().interval(10_000).expect("monitor", 1).reason(), Some("the peers disagree"));
    odd.expect("monitor", 6);
}

#[test]
fn a_start_that_only_says_so_is_a_failure() {
    let sandbox = Sandbox::enter();
    let agent = stateful(&sandbox);
    let lie = agent.clone().set("fault", "lie").expect("start", 1);
    assert!(lie.reason().unwrap().contains("after start the resource is found not running"), "{lie}");
    agent.expect("start", 0);
    let lie = agent.clone().set("fault", "lie").expect("stop", 1);
    assert!(lie.reason().unwrap().contains("after stop the resource is found running"), "{lie}");
}

#[test]
fn a_panic_is_a_reason_and_a_plain_failure() {
    let sandbox = Sandbox::enter();
    let ran = stateful(&sandbox).set("fault", "panic").expect("start", 1);
    let reason = ran.reason().unwrap();
    assert!(reason.contains("internal error, please report it") && reason.contains("stateful.rs"), "{ran}");
    assert!(!ran.stderr.contains("stack backtrace"), "{ran}");
}

#[test]
fn a_wait_ends_before_the_timeout_and_says_for_what() {
    let sandbox = Sandbox::enter();
    let hang = stateful(&sandbox).set("fault", "hang").env("OCF_RESKEY_CRM_meta_timeout", "300");
    let ran = hang.expect("start", 1);
    assert!(ran.reason().unwrap().contains("gave up waiting for what never comes"), "{ran}");
}

#[test]
fn a_secret_is_in_no_log_and_no_document() {
    let sandbox = Sandbox::enter();
    let agent = stateful(&sandbox).set("password", "hunter2").env("HA_debug", "1").set("trace_ra", "1");
    let ran = agent.set("trace_file", "/run/trace").expect("start", 6);
    assert!(ran.reason().unwrap().contains("password=(hidden)"), "{ran}");
    assert!(!ran.stderr.contains("hunter2") && !sandbox.sh("cat /run/trace").contains("hunter2"));
}

#[test]
fn notify_variables_arrive_as_data_in_both_vocabularies() {
    let sandbox = Sandbox::enter();
    for (promoted, unpromoted) in [("promoted", "unpromoted"), ("master", "slave")] {
        let meta = |name: &str| format!("OCF_RESKEY_CRM_meta_notify_{name}");
        stateful(&sandbox)
            .env(meta("type"), "post")
            .env(meta("operation"), "promote")
            .env(meta("promote_uname"), "n2")
            .env(meta("promote_resource"), "r:1")
            .env(meta(&format!("{promoted}_uname")), "n1")
            .env(meta(&format!("{promoted}_resource")), "r:0")
            .env(meta(&format!("{unpromoted}_uname")), "n2 n3")
            .env(meta(&format!("{unpromoted}_resource")), "r:1 r:2")
            .env(meta("active_uname"), " ")
            .expect("notify", 0);
        let told = std::fs::read_to_string("/run/bascule/stateful/Post-Promote.json").unwrap();
        assert_eq!(told, r#"[["n2"],["n1"],[]]"#);
    }
    // Without the variables there is nothing to hear, and nothing to complain of.
    stateful(&sandbox).expect("notify", 0);
}

#[test]
fn ocf_tester_promotes_and_demotes_without_a_cluster() {
    let sandbox = Sandbox::enter();
    sandbox.sh("mkdir -p /run/ocf");
    std::fs::copy(PROGRAM, "/run/ocf/stateful").unwrap();
    let ran = Ran::of(Command::new("/usr/sbin/ocf-tester").args(["-n", "tested", "/run/ocf/stateful"]));
    assert!(ran.code == 0 && ran.stdout.contains("passed all tests"), "{ran}");
    assert!(!ran.stdout.contains("does not support the promote action"), "{ran}");
}

#[test]
fn a_cluster_promotes_by_score_and_notifies() {
    let lab =
        Lab::start(Options::nodes(2).label("promotable").stock_agents().agent("stateful", PROGRAM)).unwrap();
    lab.pcs("resource create s ocf:bascule:stateful promotable notify=true promoted-max=1");
    let bound = Duration::from_secs(60);
    lab.wait("one of the two is promoted", bound, |lab| lab.promoted("s").len() == 1);
    let promoted = lab.promoted("s")[0].clone();
    let score = lab.node_attribute(&promoted, "master-s");
    assert_eq!(
        score.as_deref(),
        Some("10"),
        "the score is the resource's, whatever the instance: {}",
        lab.logs()
    );
    let other = lab.nodes().iter().find(|node| **node != promoted).unwrap().clone();
    let told = "/run/bascule/stateful/Post-Promote.json";
    lab.wait("the other was told", bound, |lab| lab.node(&other).sh(&format!("test -s {told}")).ok());
    let told = lab.node(&other).run(&format!("cat {told}"));
    assert!(told.starts_with(&format!("[[\"{promoted}\"]")), "{told}");

    lab.pcs(&format!("node standby {promoted}"));
    lab.wait("the other is promoted", bound, |lab| lab.promoted("s") == [other.clone()]);
    // A reloadable parameter takes effect without a restart.
    let restarts = || {
        let log = "/var/log/pacemaker/pacemaker.log";
        lab.node(&other).run(&format!("grep -E 'executing - rsc:s action:(stop|start|demote) ' {log}"))
    };
    let before = restarts();
    lab.pcs("resource update s score=77");
    lab.wait("the score is 77", bound, |lab| lab.node_attribute(&other, "master-s").as_deref() == Some("77"));
    // Pacemaker forgets the role with a reload, and promotes what is promoted once more.
    lab.wait("it is promoted as before", bound, |lab| lab.promoted("s") == [other.clone()]);
    assert_eq!(restarts(), before);
}
