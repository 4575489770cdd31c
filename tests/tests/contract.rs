//! The contract of `crates/ocf` (DESIGN 5), row by row, on the real binary.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

fn vip(sandbox: &Sandbox) -> Agent {
    sandbox.agent("vip").set("ip", "192.0.2.10").set("cidr_netmask", "24").set("nic", "eth0")
}

#[track_caller]
fn reason(ran: &Ran) -> &str {
    ran.reason().unwrap_or_else(|| panic!("no exit reason: {ran}"))
}

#[test]
fn an_unknown_action_is_not_implemented() {
    let sandbox = Sandbox::enter();
    for word in ["no_cmd", "migrate_to", "", "Start", "reload"] {
        let ran = vip(&sandbox).run(&[word]);
        assert_eq!(ran.code, 3, "{word}: {ran}");
        assert!(ran.stderr.contains("usage: vip-agent {start|stop|monitor"), "{ran}");
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(vip(&sandbox).run(&[]).code, 3);
    // Known to the protocol, but not an action of this agent.
    for action in ["promote", "demote", "notify"] {
        let ran = vip(&sandbox).expect(action, 3);
        assert!(reason(&ran).contains(action), "{ran}");
    }
}

#[test]
fn documents_need_neither_root_nor_environment() {
    let sandbox = Sandbox::enter();
    let agent = vip(&sandbox);
    // Nobody may not look into the directory of the checkout, so hand over the program by another path.
    let copy = "/run/vip-agent";
    std::fs::copy(agent.program(), copy).unwrap();
    for (argument, part) in [
        ("meta-data", "<resource-agent name=\"vip\""),
        ("usage", "usage: vip-agent"),
        ("--help", "Parameters:"),
        ("--version", "0."),
        ("--manual", ".TH OCF_BASCULE_VIP 7"),
    ] {
        let mut command = Command::new(copy);
        command.arg(argument).env_clear().uid(65534).gid(65534);
        let ran = Ran::of(&mut command);
        assert_eq!(ran.code, 0, "{argument}: {ran}");
        assert!(ran.stdout.contains(part), "{argument}: {ran}");
        assert_eq!(ran.stderr, "", "{argument}");
        let odd = agent.clone().set("ip", "nonsense").env("OCF_RA_VERSION_MAJOR", "9").run(&[argument]);
        assert_eq!(odd.code, 0, "{argument}: {odd}");
    }
}

#[test]
fn a_wrong_parameter_is_named_with_its_value_and_what_is_accepted() {
    let sandbox = Sandbox::with_peer();
    for (name, value, parts) in [
        ("ip", "", &["ip", "required"][..]),
        ("ip", "x.300", &["ip=\"x.300\"", "IPv4 or IPv6 address"]),
        ("cidr_netmask", "33", &["cidr_netmask", "32"]),
        ("cidr_netmask", "not_netmask", &["cidr_netmask=\"not_netmask\"", "prefix length"]),
        ("arp_count", "many", &["arp_count=\"many\"", "1 to 1000"]),
        ("nodad", "ture", &["nodad=\"ture\"", "true or false"]),
        ("clusterip_hash", "sourceip", &["clusterip_hash", "load sharing", "unique_clone_address"]),
    ] {
        for action in ["start", "monitor", "validate-all"] {
            let ran = vip(&sandbox).set(name, value).expect(action, 6);
            for part in parts {
                assert!(reason(&ran).contains(part), "{name}={value} {action}: {part} in {ran}");
            }
        }
    }
    let two = vip(&sandbox).set("ip", "x").set("arp_count", "y").expect("validate-all", 6);
    assert!(reason(&two).contains("ip=") && reason(&two).contains("arp_count="), "all at once: {two}");
}

#[test]
fn a_value_that_only_this_node_cannot_fulfil_leaves_the_others_to_be_tried() {
    let sandbox = Sandbox::with_peer();
    let ran = vip(&sandbox).set("nic", "eth7").expect("start", 5);
    assert!(reason(&ran).contains("eth7"), "{ran}");
    let ran = vip(&sandbox).without("OCF_RESKEY_nic").set("ip", "203.0.113.9").expect("start", 5);
    assert!(reason(&ran).contains("set nic"), "{ran}");
    let ran = vip(&sandbox).set("network_namespace", "blue").expect("start", 5);
    assert!(reason(&ran).contains("blue"), "{ran}");
    // A route that is missing may be back in a moment (a bounced link, DHCP): no reason to ban the node.
    let ran = vip(&sandbox).set("source_for", "198.51.100.0/24").expect("start", 1);
    assert!(reason(&ran).contains("198.51.100.0/24"), "{ran}");
    let everything = vip(&sandbox).set("source_for", "198.51.100.0/24").env("OCF_CHECK_LEVEL", "10");
    everything.expect("validate-all", 2);
    assert_eq!(sandbox.places("192.0.2.10"), [""; 0]);
    // Judging the parameters alone is fine anywhere, judging the node too is not.
    vip(&sandbox).set("nic", "eth7").expect("validate-all", 0);
    vip(&sandbox).set("nic", "eth7").env("OCF_CHECK_LEVEL", "10").expect("validate-all", 5);
    vip(&sandbox).env("OCF_CHECK_LEVEL", "10").expect("validate-all", 0);
}

#[test]
fn a_probe_of_a_node_that_is_not_set_up_says_not_running() {
    let sandbox = Sandbox::enter();
    for agent in [
        vip(&sandbox),
        vip(&sandbox).without("OCF_RESKEY_nic"),
        vip(&sandbox).set("network_namespace", "blue"),
        vip(&sandbox).env("PATH", ""),
        vip(&sandbox).env("OCF_TESTER_FAIL_HAVE_BINARY", "1"),
    ] {
        agent.interval(0).expect("monitor", 7);
    }
}

#[test]
fn without_root_nothing_is_tried() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox);
    let copy = "/run/vip-agent";
    std::fs::copy(agent.program(), copy).unwrap();
    for action in ["start", "stop", "monitor", "reload-agent"] {
        let mut command = Command::new(copy);
        command.arg(action).env_clear().env("OCF_RESKEY_ip", "192.0.2.10").uid(65534).gid(65534);
        let ran = Ran::of(&mut command);
        assert_eq!(ran.code, 4, "{action}: {ran}");
        assert!(reason(&ran).contains("root"), "{ran}");
    }
}

#[test]
fn start_monitor_and_stop_may_be_repeated() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox);
    agent.expect("monitor", 7);
    agent.expect("stop", 0);
    for _ in 0..2 {
        agent.expect("start", 0);
        agent.expect("monitor", 0);
        agent.clone().interval(0).expect("monitor", 0);
        agent.clone().interval(10_000).expect("monitor", 0);
    }
    assert_eq!(sandbox.places("192.0.2.10"), ["eth0"]);
    for _ in 0..2 {
        agent.expect("stop", 0);
        agent.expect("monitor", 7);
    }
}

#[test]
fn a_good_monitor_prints_nothing() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox);
    agent.expect("start", 0);
    let ran = agent.clone().interval(10_000).expect("monitor", 0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    agent.expect("stop", 0);
}

#[test]
fn a_monitor_remembers_what_runs_without_a_start() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip address add 192.0.2.10/24 dev eth0");
    let agent = vip(&sandbox);
    agent.clone().interval(0).expect("monitor", 0);
    assert!(!sandbox.holds("test -e /run/bascule/vip/test.json"), "a probe only looks");
    agent.clone().interval(10_000).expect("monitor", 0);
    assert!(sandbox.sh("cat /run/bascule/vip/test.json").contains("192.0.2.10"));
    agent.clone().interval(10_000).expect("monitor", 0);
    agent.expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), [""; 0]);
}

#[test]
fn stop_with_unreadable_parameters_ends_what_was_started() {
    let sandbox = Sandbox::with_peer();
    vip(&sandbox).expect("start", 0);
    let ran = vip(&sandbox).set("ip", "garbage").expect("stop", 0);
    assert!(ran.stderr.contains("garbage"), "it warns: {ran}");
    assert_eq!(sandbox.places("192.0.2.10"), [""; 0]);
    // Nothing is known of a start any more: a warning, and no fencing.
    let ran = vip(&sandbox).without("OCF_RESKEY_ip").expect("stop", 0);
    assert!(ran.stderr.contains("WARNING"), "{ran}");
}

#[test]
fn what_runs_but_is_broken_has_not_cleanly_stopped() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox);
    agent.expect("start", 0);
    sandbox.sh("ip link set eth0 down");
    let ran = agent.clone().interval(10_000).expect("monitor", 1);
    assert!(reason(&ran).contains("eth0 is down"), "{ran}");
    sandbox.sh("ip link set eth0 up; ip -n peer link set eth0 down");
    sandbox.until("ip link show eth0 | grep -q NO-CARRIER");
    let ran = agent.clone().interval(10_000).expect("monitor", 1);
    assert!(reason(&ran).contains("no carrier"), "{ran}");
    let ran = agent.clone().set("check_link_status", "degraded").interval(10_000).expect("monitor", 190);
    assert!(reason(&ran).contains("no carrier"), "{ran}");
    agent.clone().set("check_link_status", "false").expect("monitor", 0);
    agent.expect("stop", 0);
}

#[test]
fn an_unset_interval_is_no_probe() {
    let sandbox = Sandbox::enter();
    let vanished = vip(&sandbox).set("nic", "eth7");
    vanished.expect("monitor", 1);
    vanished.clone().interval(10_000).expect("monitor", 1);
    vanished.interval(0).expect("monitor", 7);
}

#[test]
fn an_operation_that_hangs_gives_up_before_it_is_killed_and_says_what_it_waited_for() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox).env("OCF_RESKEY_CRM_meta_timeout", "1000");
    agent.expect("start", 0);
    // Another process holds the lock of the resource, as a hanging operation would.
    let mut holder = Command::new("python3")
        .args([
            "-c",
            "import fcntl,sys,time; f=open('/run/bascule/vip/test.lock','r+'); fcntl.lockf(f,fcntl.LOCK_EX); \
               print('held',flush=True); time.sleep(60)",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    let ran = agent.run(&["stop"]);
    let held = holder.id();
    // A killed process leaves no lock behind.
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(ran.code, 1, "{ran}");
    assert!(reason(&ran).contains("another operation") && reason(&ran).contains(&held.to_string()), "{ran}");
    agent.expect("stop", 0);
}

#[test]
fn a_version_of_the_protocol_that_is_not_understood_is_an_error() {
    let sandbox = Sandbox::with_peer();
    let ran = vip(&sandbox).env("OCF_RA_VERSION_MAJOR", "2").expect("start", 2);
    assert!(reason(&ran).contains("OCF_RA_VERSION_MAJOR=2"), "{ran}");
    // Ending what runs may not be refused for it, nor for a missing name.
    vip(&sandbox).expect("start", 0);
    vip(&sandbox).env("OCF_RA_VERSION_MAJOR", "2").expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), [""; 0]);
    vip(&sandbox).expect("start", 0);
    vip(&sandbox).without("OCF_RESOURCE_INSTANCE").expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), [""; 0]);
}

#[test]
fn a_resource_without_a_name_is_told_apart_by_its_address() {
    let sandbox = Sandbox::with_peer();
    let nameless = |ip| {
        let agent = vip(&sandbox).without("OCF_RESOURCE_INSTANCE");
        agent.without("OCF_RA_VERSION_MAJOR").set("ip", ip)
    };
    nameless("192.0.2.10").expect("start", 0);
    nameless("192.0.2.11").expect("start", 0);
    nameless("192.0.2.10").expect("stop", 0);
    nameless("192.0.2.11").expect("monitor", 0);
    nameless("192.0.2.11").expect("stop", 0);
    vip(&sandbox).without("OCF_RESOURCE_INSTANCE").expect("monitor", 2);
}

#[test]
fn unknown_parameters_are_ignored_and_traces_are_written() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox).set("colour", "blue").set("trace_ra", "1").set("trace_dir", "/run/trace");
    agent.expect("start", 0);
    let trace = sandbox.sh("cat /run/trace/test.start.*");
    assert!(trace.contains("adding 192.0.2.10/24 to eth0"), "{trace}");
    agent.clone().set("trace_file", "/run/one").expect("stop", 0);
    assert!(sandbox.sh("cat /run/one").contains("removing 192.0.2.10/24 from eth0"));
}

#[test]
fn syslog_gets_the_lines_with_the_facility_of_the_cluster() {
    let sandbox = Sandbox::with_peer();
    // /dev is shared with the host: a private one with only the log in it.
    sandbox.sh("mount -t tmpfs none /dev; mknod /dev/null c 1 3; chmod 666 /dev/null");
    let log = std::os::unix::net::UnixDatagram::bind("/dev/log").unwrap();
    vip(&sandbox).env("HA_LOGFACILITY", "local3").expect("start", 0);
    let mut line = [0; 1000];
    let length = log.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..length]);
    assert!(line.starts_with("<158>vip(test)[") && line.contains("adding 192.0.2.10/24"), "{line}");
    // A log that is full or gone holds nothing up.
    drop(log);
    vip(&sandbox).env("HA_LOGFACILITY", "local3").expect("stop", 0);
}

#[test]
fn a_closed_pipe_or_a_missing_descriptor_is_no_reason_to_fail() {
    let sandbox = Sandbox::with_peer();
    let program = vip(&sandbox).program().display().to_string();
    assert!(sandbox.holds(&format!("{program} meta-data | true")));
    let environment = "OCF_RESKEY_ip=192.0.2.10 OCF_RESKEY_nic=eth0 OCF_RESOURCE_INSTANCE=test";
    assert!(sandbox.holds(&format!("env {environment} {program} start >&- 2>&- <&-")));
    assert_eq!(sandbox.places("192.0.2.10"), ["eth0"]);
    assert!(sandbox.holds(&format!("env {environment} {program} stop >&- 2>&- <&-")));
}

#[test]
fn a_lock_that_is_nobodys_neither_kills_nor_stops_anything() {
    let sandbox = Sandbox::with_peer();
    vip(&sandbox).expect("start", 0);
    // A lock of an open file description has no process: asked who holds it, the kernel says -1.
    let mut holder = Command::new("python3")
        .args([
            "-c",
            "import fcntl,struct,time; f=open('/run/bascule/vip/test.announcer','a+'); \
             fcntl.fcntl(f, 38, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0)); \
             print('held',flush=True); time.sleep(60)",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    let ran = vip(&sandbox).run(&["stop"]);
    assert!(holder.try_wait().unwrap().is_none(), "it was killed");
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!((ran.code, sandbox.places("192.0.2.10").len()), (0, 0), "{ran}");
    assert!(ran.stderr.contains("announcements"), "it says so: {ran}");
}

#[test]
fn a_detached_announcer_keeps_nobody_waiting() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox).set("arp_count", "1000").set("arp_interval", "60000");
    // `output()` reads the pipes to their end: it would wait for hours if the announcer had kept one.
    agent.expect("start", 0);
    let pid = announcer().expect("the announcer runs");
    let session = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = session.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    assert_eq!(fields[3], pid.to_string(), "a session of its own");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
    for descriptor in 0..3 {
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    agent.expect("stop", 0);
    assert_eq!(announcer(), None, "stop ends it");
}

/// The process that announces, by the lock that it holds.
fn announcer() -> Option<i32> {
    process::PidLock::at("/run/bascule/vip/test.announcer").holder().unwrap()
}

#[test]
fn a_call_by_hand_takes_parameters_as_options_and_tells_its_result_in_words() {
    let sandbox = Sandbox::with_peer();
    let program = sandbox.agent("vip").without("OCF_RA_VERSION_MAJOR").without("OCF_RESOURCE_INSTANCE");
    let by_hand = |action| program.run(&["-o", "ip=192.0.2.10", "-o", "nic=eth0", action]);
    let ran = by_hand("monitor");
    assert_eq!((ran.code, ran.stderr.contains("not running (7)")), (7, true), "{ran}");
    assert_eq!(by_hand("start").code, 0);
    assert_eq!(program.run(&["monitor", "-o", "ip=192.0.2.10", "-o", "nic=eth0", "--probe"]).code, 0);
    assert_eq!(by_hand("stop").code, 0);
    let ran = program.run(&["-o", "ip", "monitor"]);
    assert_eq!((ran.code, ran.stderr.contains("NAME=VALUE")), (2, true), "{ran}");
    assert_eq!(program.run(&["--nonsense"]).code, 2);
    // The protocol's own calls have further arguments ignored.
    assert_eq!(vip(&sandbox).run(&["monitor", "extra"]).code, 7);
    assert_eq!(vip(&sandbox).run(&["stop", "--extra"]).code, 0);
}
