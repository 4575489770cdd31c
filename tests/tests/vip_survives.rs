//! What vip must survive on a node: interfaces and namespaces that come and go, addresses that somebody else put there,
//! state that is lost or spoilt, a full `/run`, and many actions at a time.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};
use std::process::Stdio;

const NOWHERE: [&str; 0] = [];
const STATE: &str = "/run/bascule/vip/test.json";

fn vip(sandbox: &Sandbox) -> Agent {
    sandbox.agent("vip").set("ip", "192.0.2.10").set("cidr_netmask", "24").set("nic", "eth0")
}

fn recurring(agent: &Agent) -> Agent {
    agent.clone().interval(10_000)
}

#[track_caller]
fn reason(ran: &Ran) -> &str {
    ran.reason().unwrap_or_else(|| panic!("no exit reason: {ran}"))
}

/// An interface with this name, as a driver that is loaded again makes it: another one, with the same addresses.
fn make(sandbox: &Sandbox, nic: &str) {
    sandbox.sh(&format!(
        "ip link add {nic} type veth peer name far_{nic} netns peer; ip link set {nic} up
         ip -n peer link set far_{nic} up
         ip address add 192.0.2.1/24 dev {nic}"
    ));
    sandbox.until(&format!("ip link show {nic} | grep -q 'state UP'"));
}

#[test]
fn an_interface_that_goes_down_and_comes_up_again() {
    let sandbox = Sandbox::with_peer();
    let before = sandbox.everything();
    let agent = vip(&sandbox);
    agent.expect("start", 0);
    sandbox.sh("ip link set eth0 down");
    recurring(&agent).expect("monitor", 1);
    agent.clone().interval(0).expect("monitor", 1);
    let ran = agent.expect("start", 1);
    assert!(reason(&ran).contains("eth0 is down"), "{ran}");
    sandbox.sh("ip link set eth0 up");
    sandbox.until("ip link show eth0 | grep -q 'state UP'");
    recurring(&agent).expect("monitor", 0);
    sandbox.sh("ip link set eth0 down");
    agent.expect("stop", 0);
    sandbox.sh("ip link set eth0 up");
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE, "it does not come back with the link");
    // IPv6 addresses go with the link, unless the kernel is told otherwise.
    sandbox.sh("ip address replace 2001:db8::1/64 dev eth0 nodad");
    sandbox.until("ip link show eth0 | grep -q 'state UP'");
    sandbox.assert_unchanged(&before, "after all of it");
}

#[test]
fn an_interface_that_is_renamed() {
    let sandbox = Sandbox::with_peer();
    let rename = |from: &str, to: &str| {
        sandbox.sh(&format!("ip link set {from} down; ip link set {from} name {to}; ip link set {to} up"));
        sandbox.until(&format!("ip link show {to} | grep -q 'state UP'"));
    };
    let named = vip(&sandbox);
    named.expect("start", 0);
    rename("eth0", "lan0");
    let ran = recurring(&named).expect("monitor", 1);
    assert!(reason(&ran).contains("192.0.2.10 is on lan0, and there is no interface eth0"), "{ran}");
    named.expect("start", 5);
    named.expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
    // Where the interface was found by the address, its name does not matter.
    let found = named.without("OCF_RESKEY_nic").set("iflabel", "web");
    found.expect("start", 0);
    rename("lan0", "eth0");
    recurring(&found).expect("monitor", 0);
    found.expect("start", 0);
    found.expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
    // Another interface has got the name: the address is on the wrong one, and start moves it.
    let agent = vip(&sandbox);
    agent.expect("start", 0);
    rename("eth0", "lan0");
    make(&sandbox, "eth0");
    let ran = recurring(&agent).expect("monitor", 1);
    assert!(reason(&ran).contains("192.0.2.10 is on lan0, not on eth0"), "{ran}");
    agent.expect("start", 0);
    assert_eq!(sandbox.places("192.0.2.10"), ["eth0"]);
    agent.expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
}

#[test]
fn an_interface_with_other_names() {
    let sandbox = Sandbox::with_peer();
    let before = sandbox.everything();
    sandbox.sh("ip link property add dev eth0 altname wan altname a-name-that-is-longer-than-others");
    for name in ["wan", "a-name-that-is-longer-than-others"] {
        let agent = vip(&sandbox).set("nic", name).set("iflabel", "web");
        agent.expect("start", 0);
        assert!(
            sandbox.sh("ip -o address show").contains("eth0:web"),
            "the label is made of the kernel's name"
        );
        recurring(&agent).expect("monitor", 0);
        recurring(&agent).set("nic", "eth0").expect("monitor", 0);
        agent.expect("stop", 0);
        sandbox.assert_unchanged(&before, name);
    }
    // It gets the name for its own, and the other way round.
    let agent = vip(&sandbox).set("nic", "wan");
    agent.expect("start", 0);
    sandbox.sh("ip link property del dev eth0 altname wan; ip link set eth0 down; ip link set eth0 name wan
        ip link property add dev wan altname eth0; ip link set wan up");
    sandbox.until("ip link show wan | grep -q 'state UP'");
    recurring(&agent).expect("monitor", 0);
    vip(&sandbox).expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
}

#[test]
fn a_trace_that_nobody_reads_holds_nothing_up() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("mkfifo /run/fifo");
    for file in ["/run/fifo", "/dev/full", "/run", "/no/such/directory/file"] {
        let agent = vip(&sandbox).set("trace_ra", "1").set("trace_file", file);
        agent.expect("start", 0);
        agent.expect("stop", 0);
    }
}

#[test]
fn an_interface_that_is_deleted_and_made_again() {
    for nic in [Some("eth0"), None] {
        let sandbox = Sandbox::with_peer();
        let agent = match nic {
            Some(_) => vip(&sandbox),
            None => vip(&sandbox).without("OCF_RESKEY_nic"),
        };
        for stop_first in [true, false] {
            agent.expect("start", 0);
            sandbox.sh("ip link delete eth0");
            let code = recurring(&agent).run(&["monitor"]).code;
            assert_eq!(code, if nic.is_some() { 1 } else { 7 });
            agent.clone().interval(0).expect("monitor", 7);
            agent.expect("start", 5);
            if stop_first {
                agent.expect("stop", 0);
            }
            make(&sandbox, "eth0");
            agent.clone().interval(0).expect("monitor", 7);
            agent.expect("start", 0);
            recurring(&agent).expect("monitor", 0);
            agent.expect("stop", 0);
            assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
        }
    }
}

#[test]
fn a_namespace_that_goes() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox).set("network_namespace", "blue").set("arp_count", "1");
    for by_path in [false, true] {
        let agent =
            if by_path { agent.clone().set("network_namespace", "/run/netns/blue") } else { agent.clone() };
        sandbox.sh(&format!(
            "ip netns add blue; ip link add eth0 netns blue type veth peer name far_{by_path} netns peer
             ip -n blue link set eth0 up; ip -n peer link set far_{by_path} up"
        ));
        sandbox.until("ip -n blue link show eth0 | grep -q 'state UP'");
        agent.expect("start", 0);
        recurring(&agent).expect("monitor", 0);
        assert!(sandbox.sh("ip -n blue -o address show").contains("192.0.2.10/24"));
        assert_eq!(sandbox.places("192.0.2.10"), NOWHERE, "not in ours");
        sandbox.sh("ip netns delete blue");
        let ran = recurring(&agent).expect("monitor", 1);
        assert!(reason(&ran).contains("blue"), "{ran}");
        agent.clone().interval(0).expect("monitor", 7);
        agent.expect("start", 5);
        agent.expect("stop", 0);
        agent.expect("stop", 0);
    }
    // The parameter was changed while the address was up: both namespaces are looked at.
    let here = vip(&sandbox);
    here.expect("start", 0);
    here.clone().set("network_namespace", "peer").expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
    here.clone().set("network_namespace", "peer").expect("start", 0);
    here.expect("stop", 0);
    assert!(!sandbox.sh("ip -n peer -o address show").contains("192.0.2.10/"));
    // What is no namespace is none, and holds nobody up.
    sandbox.sh("mkfifo /run/fifo; ip netns add gone; umount /run/netns/gone");
    for odd in ["/run/fifo", "/run", "/etc/passwd", "/dev/null", "/run/netns/gone", "gone", "/no/such/place"]
    {
        let agent = here.clone().set("network_namespace", odd);
        agent.expect("start", 5);
        agent.clone().interval(0).expect("monitor", 7);
        agent.expect("stop", 0);
    }
}

#[test]
fn an_address_that_somebody_put_there_by_hand() {
    let sandbox = Sandbox::with_peer();
    make(&sandbox, "eth1");
    sandbox.sh("ip address del 192.0.2.1/24 dev eth1");
    let agent = vip(&sandbox);
    // Where it belongs: it runs already, and start makes it the resource's own.
    sandbox.sh("ip address add 192.0.2.10/24 dev eth0");
    agent.clone().interval(0).expect("monitor", 0);
    let ran = agent.expect("start", 0);
    assert!(ran.stderr.contains("was on eth0 already"), "{ran}");
    recurring(&agent).expect("monitor", 0);
    agent.expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
    // Elsewhere, or with another prefix: it is not overwritten, but stop leaves it on no link.
    for (address, says) in [
        ("192.0.2.10/24 dev eth1", "192.0.2.10 is on eth1, not on eth0"),
        ("192.0.2.10/32 dev lo", "192.0.2.10 is on lo, not on eth0"),
        ("192.0.2.10/16 dev eth0", "192.0.2.10 has prefix length 16 on eth0, not 24"),
    ] {
        sandbox.sh(&format!("ip address add {address}"));
        let before = sandbox.everything();
        for monitor in [agent.clone().interval(0), recurring(&agent)] {
            let ran = monitor.expect("monitor", 1);
            assert!(reason(&ran).contains(says), "{ran}");
        }
        let ran = agent.expect("start", 1);
        assert!(reason(&ran).contains(says) && reason(&ran).contains("did not put it there"), "{ran}");
        sandbox.assert_unchanged(&before, "a start that was refused");
        let ran = agent.expect("stop", 0);
        assert!(ran.stderr.contains("where this resource did not put it"), "{ran}");
        assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
    }
    // On several links, with several prefixes: all of them.
    sandbox.sh("ip address add 192.0.2.10/24 dev eth0; ip address add 192.0.2.10/32 dev eth0
        ip address add 192.0.2.10/24 dev eth1; ip address add 192.0.2.10/8 dev lo");
    agent.expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
}

#[test]
fn an_address_that_somebody_moves_while_it_is_up() {
    let sandbox = Sandbox::with_peer();
    make(&sandbox, "eth1");
    let agent =
        vip(&sandbox).set("iflabel", "web").set("ip", "192.0.2.10/24 2001:db8::10/64").set("nodad", "true");
    let agent = agent.without("OCF_RESKEY_cidr_netmask");
    let before = sandbox.everything();
    for (happening, says) in [
        ("ip address del 192.0.2.10/24 dev eth0", "192.0.2.10 is missing"),
        ("ip address del 2001:db8::10/64 dev eth0", "2001:db8::10 is missing"),
        (
            "ip address del 192.0.2.10/24 dev eth0; ip address add 192.0.2.10/24 dev eth1",
            "192.0.2.10 is on eth1, not on eth0",
        ),
        (
            "ip address del 192.0.2.10/24 dev eth0; ip address add 192.0.2.10/25 dev eth0",
            "192.0.2.10 has prefix length 25 on eth0, not 24",
        ),
        (
            "ip address del 192.0.2.10/24 dev eth0; ip address add 192.0.2.10/24 dev eth0 label eth0:x",
            "192.0.2.10 has the label eth0:x on eth0, not eth0:web",
        ),
        (
            "ip address del 2001:db8::10/64 dev eth0; ip address add 2001:db8::10/128 dev eth0 nodad",
            "2001:db8::10 has prefix length 128 on eth0, not 64",
        ),
    ] {
        agent.expect("start", 0);
        sandbox.sh(happening);
        let ran = recurring(&agent).expect("monitor", 1);
        assert!(reason(&ran).contains(says), "{happening}: {ran}");
        // Start mends it, without a stop.
        agent.expect("start", 0);
        recurring(&agent).expect("monitor", 0);
        assert_eq!(sandbox.places("192.0.2.10"), ["eth0"], "{happening}");
        sandbox.sh(happening);
        agent.expect("stop", 0);
        sandbox.assert_unchanged(&before, happening);
    }
}

#[test]
fn state_that_is_lost_or_spoilt() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip route add default via 192.0.2.2");
    let before = sandbox.everything();
    let agent = vip(&sandbox).set("source_for", "default").set("iflabel", "web");
    let agent = agent.without("OCF_RESKEY_cidr_netmask").set("ip", "192.0.2.10/24 2001:db8::10/64");
    let agent = agent.set("nodad", "true").set("lvs_ipv6_addrlabel", "true");
    agent.expect("start", 0);
    let good = std::fs::read_to_string(STATE).unwrap();
    agent.expect("stop", 0);
    let (half, foreign) =
        (&good[..good.len() / 2], good.replace("eth0", "eth9").replace("\"index\":2", "\"index\":77"));
    for state in
        [None, Some(""), Some(half), Some("\0\u{1}garbage"), Some("null"), Some("[]"), Some(&foreign)]
    {
        for action in ["stop", "start"] {
            agent.expect("start", 0);
            match state {
                Some(state) => std::fs::write(STATE, state).unwrap(),
                None => std::fs::remove_file(STATE).unwrap(),
            }
            recurring(&agent).expect("monitor", 0);
            agent.expect(action, 0);
            recurring(&agent).expect("monitor", if action == "stop" { 7 } else { 0 });
            agent.expect("stop", 0);
            sandbox.assert_unchanged(&before, format!("{action} with the state {state:?}"));
        }
    }
    // Something that is no file at all.
    agent.expect("start", 0);
    sandbox.sh(&format!("rm {STATE}; mkdir {STATE}"));
    recurring(&agent).expect("monitor", 0);
    agent.expect("stop", 0);
    sandbox.assert_unchanged(&before, "stop with a directory for a state file");
    let ran = agent.expect("start", 1);
    assert!(reason(&ran).contains(STATE), "{ran}");
    sandbox.assert_unchanged(&before, "start with a directory for a state file");
}

#[test]
fn a_full_run_directory() {
    let sandbox = Sandbox::with_peer();
    let before = sandbox.everything();
    let agent = vip(&sandbox);
    sandbox.sh("mkdir /run/bascule");
    for (options, fill) in [
        ("size=4k,nr_inodes=100", "head -c 4096 /dev/zero >/run/bascule/filled"),
        ("size=4k,nr_inodes=1", "true"),
        ("ro", "true"),
    ] {
        sandbox.sh(&format!("mount -t tmpfs -o {options} tmpfs /run/bascule; {fill}"));
        agent.clone().interval(0).expect("monitor", 7);
        let ran = agent.expect("start", 1);
        assert!(reason(&ran).contains("/run/bascule/vip/test"), "{options}: {ran}");
        sandbox.assert_unchanged(&before, format!("start with {options}"));
        // What cannot be written down can be taken away: a stop that fails gets the node fenced.
        for ip in ["192.0.2.10", "nonsense"] {
            agent.clone().set("ip", ip).expect("stop", 0);
        }
        sandbox.sh("ip address add 192.0.2.10/24 dev eth0");
        recurring(&agent).expect("monitor", 0);
        agent.expect("stop", 0);
        sandbox.assert_unchanged(&before, format!("stop with {options}"));
        sandbox.sh("umount /run/bascule");
    }
    // It fills up while the address is there.
    sandbox.sh("mount -t tmpfs -o size=16k,nr_inodes=100 tmpfs /run/bascule");
    agent.expect("start", 0);
    sandbox.sh("cat /dev/zero >/run/bascule/filled 2>/dev/null || true");
    recurring(&agent).expect("monitor", 0);
    agent.expect("start", 0);
    agent.expect("stop", 0);
    sandbox.assert_unchanged(&before, "stop on a directory that filled up");
}

#[test]
fn many_actions_at_a_time() {
    let sandbox = Sandbox::with_peer();
    let before = sandbox.everything();
    let all = |calls: Vec<(Agent, &'static str)>| {
        let begun = calls.into_iter().map(|(agent, action)| {
            let mut command = agent.command(&[action]);
            (action, command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        });
        let begun: Vec<_> = begun.collect();
        let ended = begun.into_iter().map(|(action, mut child)| (action, child.wait().unwrap().code()));
        ended.collect::<Vec<_>>()
    };
    let agent = vip(&sandbox);
    // One resource: operations wait for each other, and a monitor sees either state but no half one.
    let starts: Vec<_> =
        (0..50).map(|n| (recurring(&agent), if n % 2 == 0 { "start" } else { "monitor" })).collect();
    for (action, code) in all(starts) {
        assert!(code == Some(0) || action == "monitor" && code == Some(7), "{action}: {code:?}");
    }
    recurring(&agent).expect("monitor", 0);
    let stops: Vec<_> =
        (0..50).map(|n| (recurring(&agent), if n % 2 == 0 { "stop" } else { "monitor" })).collect();
    for (action, code) in all(stops) {
        assert!(code == Some(0) || action == "monitor" && code == Some(7), "{action}: {code:?}");
    }
    sandbox.assert_unchanged(&before, "one resource");
    // Fifty resources.
    let resource = |n: u32| {
        let agent = vip(&sandbox).env("OCF_RESOURCE_INSTANCE", format!("vip{n}"));
        agent
            .set("ip", format!("192.0.2.{} 2001:db8::1:{n}", 100 + n))
            .set("nodad", "true")
            .without("OCF_RESKEY_cidr_netmask")
    };
    for action in ["start", "monitor", "stop"] {
        let calls: Vec<_> = (0..50).map(|n| (resource(n), action)).collect();
        for (n, (_, code)) in all(calls).into_iter().enumerate() {
            assert_eq!(code, Some(0), "{action} of vip{n}");
        }
    }
    sandbox.assert_unchanged(&before, "fifty resources");
}

#[test]
fn addresses_of_one_network_that_go_at_the_same_time_do_not_take_others_along() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("sysctl -qw net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.eth0.promote_secondaries=0");
    let resource = |n: u32| {
        let agent = vip(&sandbox).env("OCF_RESOURCE_INSTANCE", format!("vip{n}"));
        agent.set("ip", format!("10.9.{}.{n}", n % 2))
    };
    for round in 0..8 {
        (1..=20).for_each(|n| drop(resource(n).expect("start", 0)));
        sandbox.sh("ip address add 10.9.0.200/24 dev eth0; ip address add 10.9.1.200/24 dev eth0");
        let mut stops: Vec<_> =
            (1..=18).map(|n| resource(n).command(&["stop"]).stderr(Stdio::null()).spawn().unwrap()).collect();
        stops.iter_mut().for_each(|stop| assert!(stop.wait().unwrap().success()));
        for kept in ["10.9.0.200", "10.9.1.200", "10.9.1.19", "10.9.0.20"] {
            assert_eq!(sandbox.places(kept), ["eth0"], "round {round}: {kept}");
        }
        assert_eq!(sandbox.sh("sysctl -n net.ipv4.conf.eth0.promote_secondaries").trim(), "0");
        (19..=20).for_each(|n| drop(resource(n).expect("stop", 0)));
        sandbox.sh("ip address del 10.9.0.200/24 dev eth0; ip address del 10.9.1.200/24 dev eth0");
    }
}
