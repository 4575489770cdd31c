//! The known bugs of today's agents (`ocf:heartbeat:IPaddr2`, `IPsrcaddr`), each as a test that shows ours right. Where
//! IPaddr2's stop returns 0 with the address still there, the same script is run against it, so that the difference is
//! seen: those assertions document the behaviour of resource-agents 4.12 (Debian 12), and fail if a later one is better.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};

const NOWHERE: [&str; 0] = [];

fn vip(sandbox: &Sandbox) -> Agent {
    sandbox.agent("vip").set("ip", "192.0.2.10").set("cidr_netmask", "24").set("nic", "eth0")
}

fn set(agent: Agent, parameters: &[(&str, &str)]) -> Agent {
    parameters.iter().fold(agent, |agent, (name, value)| agent.set(name, value))
}

#[track_caller]
fn reason(ran: &Ran) -> &str {
    ran.reason().unwrap_or_else(|| panic!("no exit reason: {ran}"))
}

/// A story: an agent starts, something happens on the node, it stops. Where its address is then.
fn after_stop(
    agent: impl Fn(&Sandbox) -> Agent,
    parameters: &[(&str, &str)],
    happening: &str,
) -> Vec<String> {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip address add 10.1.0.1/16 dev eth0");
    let agent = set(agent(&sandbox), parameters);
    agent.expect("start", 0);
    let ip = parameters[0].1;
    assert_eq!(sandbox.places(ip), ["eth0"]);
    sandbox.sh(happening);
    agent.expect("stop", 0);
    sandbox.places(ip)
}

fn ours(sandbox: &Sandbox) -> Agent {
    sandbox.agent("vip")
}

fn stock(sandbox: &Sandbox) -> Agent {
    sandbox.stock_agent("heartbeat/IPaddr2").set("arp_count", "1")
}

#[test]
fn a_prefix_that_would_be_detected_anew_does_not_hide_the_address() {
    // The prefix was taken from the /16; then the interface gets a network of its own for the same address.
    let more_specific = "ip address add 10.1.2.1/24 dev eth0";
    assert_eq!(after_stop(ours, &[("ip", "10.1.2.3")], more_specific), NOWHERE);
    assert_eq!(after_stop(stock, &[("ip", "10.1.2.3")], more_specific), ["eth0"], "IPaddr2 has got better");
}

#[test]
fn a_monitor_is_not_misled_by_a_more_specific_network_either() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip address add 10.1.0.1/16 dev eth0");
    let agent = sandbox.agent("vip").set("ip", "10.1.2.3");
    agent.expect("start", 0);
    sandbox.sh("ip address add 10.1.2.1/24 dev eth0");
    agent.clone().interval(10_000).expect("monitor", 0);
    agent.expect("start", 0);
    assert!(sandbox.sh("ip -o address show").contains("10.1.2.3/16"), "it stays as it was");
    agent.expect("stop", 0);
}

#[test]
fn an_interface_that_was_taken_down_does_not_hide_the_address() {
    let down = "ip link set eth0 down";
    let (ip, nic, mask) = (("ip", "192.0.2.10"), ("nic", "eth0"), ("cidr_netmask", "24"));
    for parameters in [&[ip][..], &[ip, nic], &[ip, mask], &[ip, nic, mask]] {
        assert_eq!(after_stop(ours, parameters, down), NOWHERE, "{parameters:?}");
    }
    // When the interface comes back, two nodes have the address: the one where it was started next, and this one.
    for parameters in [&[ip][..], &[ip, nic], &[ip, mask]] {
        assert_eq!(after_stop(stock, parameters, down), ["eth0"], "{parameters:?}: IPaddr2 has got better");
    }
}

#[test]
fn an_address_with_another_prefix_is_no_other_address() {
    let other_prefix = "ip address del 192.0.2.10/24 dev eth0; ip address add 192.0.2.10/16 dev eth0";
    let parameters = [("ip", "192.0.2.10"), ("nic", "eth0"), ("cidr_netmask", "24")];
    assert_eq!(after_stop(ours, &parameters, other_prefix), NOWHERE);
    assert_eq!(after_stop(stock, &parameters, other_prefix), ["eth0"], "IPaddr2 has got better");

    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip address add 192.0.2.10/16 dev eth0");
    let ran = vip(&sandbox).interval(10_000).expect("monitor", 1);
    assert!(reason(&ran).contains("192.0.2.10 has prefix length 16 on eth0, not 24"), "{ran}");
    // It is this node's: a probe must not call it free.
    vip(&sandbox).interval(0).expect("monitor", 1);
    let ran = set(stock(&sandbox), &parameters).interval(10_000).run(&["monitor"]);
    assert_eq!(ran.code, 7, "IPaddr2 has got better: {ran}");
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip -n peer link set eth0 down");
    sandbox.until("ip link show eth0 | grep -q NO-CARRIER");
    let before = sandbox.everything();
    let ran = vip(&sandbox).expect("start", 1);
    assert!(reason(&ran).contains("eth0 has no carrier"), "{ran}");
    // Half of what is wanted cannot be had: the other half is not taken, or is given back.
    for (ip, source) in [("192.0.2.10", "203.0.113.0/24"), ("192.0.2.10/24 203.0.113.9", "")] {
        let agent = vip(&sandbox).without("OCF_RESKEY_cidr_netmask").set("check_link_status", "false");
        let ran = agent.set("ip", ip).set("source_for", source).run(&["start"]);
        assert!([1, 5].contains(&ran.code), "{ran}");
    }
    assert_eq!(sandbox.everything(), before);
    assert!(!sandbox.holds("ls /run/bascule/vip/*.json"));
}

#[test]
fn a_primary_address_that_goes_keeps_its_secondaries() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("sysctl -qw net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.eth0.promote_secondaries=0");
    let agent = vip(&sandbox).set("ip", "10.9.0.1");
    agent.expect("start", 0);
    sandbox.sh("ip address add 10.9.0.2/24 dev eth0; ip address add 10.9.0.3/24 dev eth0 label eth0:x");
    assert!(
        sandbox
            .sh("ip address show dev eth0 10.9.0.2 2>&1 || ip address show dev eth0")
            .contains("secondary")
    );
    agent.expect("stop", 0);
    assert_eq!(sandbox.places("10.9.0.1"), NOWHERE);
    for kept in ["10.9.0.2", "10.9.0.3"] {
        assert_eq!(sandbox.places(kept), ["eth0"]);
    }
    assert!(
        sandbox.holds("ip route show | grep -q '^10.9.0.0/24 .* src 10.9.0.2'"),
        "the network stays reachable"
    );
    assert_eq!(sandbox.sh("sysctl -n net.ipv4.conf.eth0.promote_secondaries").trim(), "0", "as it was");
}

#[test]
fn two_default_routes_and_several_primary_addresses_are_no_hindrance() {
    // IPsrcaddr fails at start, monitor and stop with the former, and at stop (which means fencing) with the latter.
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip address add 10.1.0.1/16 dev eth0; ip address add 10.2.0.1/16 dev eth0
        ip route add default via 192.0.2.2 metric 100; ip route add default via 10.1.0.9 metric 200");
    let before = sandbox.everything();
    let agent = vip(&sandbox).set("source_for", "default");
    agent.expect("start", 0);
    agent.clone().interval(10_000).expect("monitor", 0);
    assert_eq!(sandbox.sh("ip route show default").matches("src 192.0.2.10").count(), 2);
    assert!(sandbox.sh("ip route get 198.51.100.7").contains("src 192.0.2.10"));
    agent.expect("stop", 0);
    assert_eq!(sandbox.everything(), before);
    let peer = sandbox.stock_agent("heartbeat/IPsrcaddr").set("ipaddress", "192.0.2.1").run(&["start"]);
    assert_ne!(peer.code, 0, "IPsrcaddr has got better: {peer}");
}

#[test]
fn an_address_that_cannot_be_used_yet_does_not_run() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox).set("ip", "2001:db8::10").set("cidr_netmask", "64");
    // Duplicate address detection that takes its time.
    sandbox.sh("sysctl -qw net.ipv6.conf.eth0.dad_transmits=60; ip address add 2001:db8::10/64 dev eth0");
    let ran = agent.clone().interval(10_000).expect("monitor", 1);
    assert!(reason(&ran).contains("duplicate address detection has not ended"), "{ran}");
    sandbox.sh("ip address del 2001:db8::10/64 dev eth0; sysctl -qw net.ipv6.conf.eth0.dad_transmits=1");
    // And one that failed.
    sandbox
        .sh("ip -n peer address add 2001:db8::10/64 dev eth0 nodad; ip address add 2001:db8::10/64 dev eth0");
    sandbox.until("ip address show dev eth0 | grep -q dadfailed");
    let ran = agent.clone().interval(10_000).expect("monitor", 1);
    assert!(reason(&ran).contains("belongs to another host"), "{ran}");
    agent.expect("stop", 0);
    assert_eq!(sandbox.places("2001:db8::10"), NOWHERE);
}

#[test]
fn addresses_that_look_alike_are_told_apart() {
    let sandbox = Sandbox::with_peer();
    // Longer, shorter, with the same digits, with a label that reads like the address: what a pattern would match.
    let others =
        ["10.0.0.10/24", "10.0.0.11/24", "110.0.0.1/24", "10.0.0.0/31", "1.0.0.1/24", "10.10.0.1/24"];
    for other in others {
        sandbox.sh(&format!("ip address add {other} dev eth0 label eth0:10x0.0.1"));
    }
    sandbox.sh(
        "ip address add 2001:db8::100/64 dev eth0 nodad; ip address add 2001:db8:0:1::10/64 dev eth0 nodad",
    );
    let before = sandbox.everything();
    for (ip, mask) in [("10.0.0.1", "24"), ("10.0.0.1", "2"), ("2001:db8::10", "64"), ("2001:db8::1:0", "6")]
    {
        let agent = vip(&sandbox).set("ip", ip).set("cidr_netmask", mask).set("nodad", "true");
        agent.expect("monitor", 7);
        agent.expect("stop", 0);
        assert_eq!(sandbox.everything(), before, "nothing of it was ours");
        agent.expect("start", 0);
        assert!(sandbox.sh("ip -o address show").contains(&format!(" {ip}/{mask} ")));
        agent.expect("monitor", 0);
        agent.expect("stop", 0);
        assert_eq!(sandbox.everything(), before);
    }
}

#[test]
fn an_ipv6_address_is_the_same_however_it_is_written_and_whether_or_not_it_can_be_reached() {
    let sandbox = Sandbox::with_peer();
    let agent = sandbox.agent("vip").set("nic", "eth0").set("cidr_netmask", "64").set("nodad", "true");
    agent.clone().set("ip", "2001:0DB8:0:9:0:0:0:00A1").expect("start", 0);
    for written in ["2001:db8:0:9::a1", "2001:DB8::9:0:0:0:A1", "2001:db8:0:9::0.0.0.161"] {
        agent.clone().set("ip", written).expect("monitor", 0);
    }
    sandbox.sh("ip -6 route flush table main");
    agent.clone().set("ip", "2001:db8:0:9::A1").expect("monitor", 0);
    agent.set("ip", "2001:DB8:0:9::a1").expect("stop", 0);
    assert_eq!(sandbox.places("2001:db8:0:9::a1"), NOWHERE);
}

#[test]
fn ipv6_that_is_switched_off_is_said() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1");
    let agent = vip(&sandbox).without("OCF_RESKEY_cidr_netmask").set("ip", "192.0.2.10/24 2001:db8::10/64");
    let ran = agent.expect("start", 5);
    assert!(reason(&ran).contains("net.ipv6.conf.eth0.disable_ipv6"), "{ran}");
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE, "all or none");
    agent.clone().interval(0).expect("monitor", 7);
    agent.expect("stop", 0);
}

#[test]
fn links_that_have_no_carrier_by_nature_and_links_upon_links() {
    let sandbox = Sandbox::with_peer();
    let on_lo = vip(&sandbox).set("nic", "lo").set("cidr_netmask", "32");
    on_lo.expect("start", 0);
    on_lo.clone().interval(10_000).expect("monitor", 0);
    on_lo.expect("stop", 0);
    // An interface made on another one has no carrier when that one is down.
    sandbox.sh("ip link add upper link eth0 type macvlan mode bridge; ip link set upper up");
    let upper = vip(&sandbox).set("nic", "upper").set("ip", "203.0.113.10");
    sandbox.until("ip link show upper | grep -q 'state UP'");
    upper.expect("start", 0);
    sandbox.sh("ip link set eth0 down");
    sandbox.until("ip link show upper | grep -q NO-CARRIER");
    let ran = upper.clone().interval(10_000).expect("monitor", 1);
    assert!(reason(&ran).contains("interface upper"), "{ran}");
    upper.expect("stop", 0);
    assert_eq!(sandbox.places("203.0.113.10"), NOWHERE);
    // A bridge whose port has no carrier.
    sandbox.sh("ip link add bridge type bridge; ip link set bridge up
        ip link add port type veth peer name beyond; ip link set port master bridge; ip link set port up");
    sandbox.until("ip link show bridge | grep -q NO-CARRIER");
    let ran = vip(&sandbox).set("nic", "bridge").expect("start", 1);
    assert!(reason(&ran).contains("bridge has no carrier"), "{ran}");
}

#[test]
fn stop_needs_no_tool_and_no_configuration() {
    let sandbox = Sandbox::with_peer();
    vip(&sandbox).expect("start", 0);
    let without_tools = vip(&sandbox).env("PATH", "/nonexistent");
    without_tools.clone().interval(10_000).expect("monitor", 0);
    without_tools.set("cidr_netmask", "nonsense").expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
}

#[test]
fn nothing_is_announced_after_stop() {
    let sandbox = Sandbox::with_peer();
    let peer = sandbox.listen();
    for (ip, mask) in [("192.0.2.10", "24"), ("2001:db8::10", "64")] {
        let agent = vip(&sandbox).set("ip", ip).set("cidr_netmask", mask).set("nodad", "true");
        let agent = agent.set("arp_count", "1000").set("arp_interval", "10");
        for _ in 0..15 {
            agent.expect("start", 0);
            agent.expect("stop", 0);
            let until_stop = peer.heard(ip).len();
            assert!(until_stop > 0, "it was announced");
            assert_eq!(sandbox.processes("vip-announce"), [0; 0]);
            assert_eq!(peer.heard(ip).len(), until_stop, "{ip} was announced after stop");
        }
        // One that is in full swing.
        agent.expect("start", 0);
        let begun = peer.heard(ip).len();
        while peer.so_far(ip).len() < begun + 6 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        agent.expect("stop", 0);
        let until_stop = peer.heard(ip).len();
        assert_eq!(sandbox.processes("vip-announce"), [0; 0]);
        // Several intervals' worth of the peer's attention.
        sandbox.sh("ip netns exec peer ping -q -c 10 -i 0.02 192.0.2.1");
        assert_eq!(peer.heard(ip).len(), until_stop, "{ip} was announced after stop");
    }
}
