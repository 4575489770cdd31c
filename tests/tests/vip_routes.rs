//! `source_for` on the kernel's own routes: whatever they look like, stop puts them back exactly as they were.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};

/// A node with two links, each with a neighbour that could be a gateway.
fn node() -> Sandbox {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip link add eth1 type veth peer name eth1 netns peer; ip link set eth1 up; ip -n peer link set eth1 up
        ip address add 198.51.100.1/24 dev eth1; ip address add 2001:db8:1::1/64 dev eth1 nodad");
    sandbox.until("ip link show eth1 | grep -q 'state UP' && ip link show eth0 | grep -q 'state UP'");
    sandbox
}

fn vip(sandbox: &Sandbox, parameters: &str) -> Agent {
    let agent = sandbox.agent("vip").set("nic", "eth0").set("nodad", "true");
    let agent = agent.set("ip", "192.0.2.10/24 2001:db8::10/64").set("source_for", "default");
    parameters.split(' ').filter(|word| !word.is_empty()).fold(agent, |agent, word| {
        let (name, value) = word.split_once('=').unwrap();
        // The values of a list are written with commas here.
        agent.set(name, value)
    })
}

fn recurring(agent: &Agent) -> Agent {
    agent.clone().interval(10_000)
}

#[track_caller]
fn reason(ran: &Ran) -> &str {
    ran.reason().unwrap_or_else(|| panic!("no exit reason: {ran}"))
}

/// The routes, and how many of them get the address as their source.
const ROUTES: [(&str, &str, usize); 27] = [
    ("ip route add default via 192.0.2.2", "", 1),
    ("ip route add default via 192.0.2.2 metric 500 proto static", "", 1),
    ("ip route add default dev eth0 scope link", "", 1),
    ("ip route add default via 192.0.2.2 src 192.0.2.1", "", 1),
    ("ip route add default via 203.0.113.9 dev eth0 onlink", "", 1),
    ("ip route add default via 192.0.2.2 mtu lock 1400 advmss 1360 initcwnd 20 initrwnd 30 rto_min 300ms quickack 1", "", 1),
    ("ip route add default via 192.0.2.2 realm 7 window 40000 ssthresh 10 hoplimit 9", "", 1),
    // Several: those through the own link, whatever their metric; if none is, all.
    ("ip route add default via 192.0.2.2 metric 1; ip route add default via 198.51.100.2 metric 2", "", 1),
    ("ip route add default via 198.51.100.2 metric 1; ip route add default via 198.51.100.3 metric 2", "", 2),
    ("ip route add default via 192.0.2.2 metric 1; ip route add default via 192.0.2.3 metric 2", "source_metric=2", 1),
    // In one place: the first is used, and has to stay the first.
    ("ip route add default via 198.51.100.2; ip route append default via 192.0.2.2; ip route append default via 198.51.100.3;
      ip route append default via 192.0.2.3", "", 2),
    ("ip route add default via 192.0.2.2 tos 0x10; ip route add default via 192.0.2.3", "", 2),
    // Several nexthops.
    ("ip route add default mtu 1400 nexthop via 192.0.2.2 weight 2 nexthop via 198.51.100.2 dev eth1 weight 5 onlink", "", 1),
    ("ip route add default nexthop via 192.0.2.2 nexthop via 198.51.100.2; ip -n peer link set eth1 down;
      until ip route show default | grep -q linkdown; do sleep 0.01; done", "", 1),
    ("ip nexthop add id 7 via 192.0.2.2 dev eth0; ip route add default nhid 7 mtu 1300", "", 1),
    ("ip nexthop add id 7 via 192.0.2.2 dev eth0; ip nexthop add id 8 via 198.51.100.2 dev eth1;
      ip nexthop add id 9 group 7,3/8,5; ip route add default nhid 9", "", 1),
    // Other destinations and tables.
    ("ip route add 203.0.113.0/24 via 192.0.2.2; ip route add default via 192.0.2.2",
     "source_for=203.0.113.0/24", 1),
    ("ip route add 203.0.113.0/24 via 192.0.2.2; ip -6 route add 2001:db8:9::/48 via 2001:db8::2",
     "source_for=203.0.113.0/24,2001:db8:9::/48", 2),
    ("ip route add default via 192.0.2.2 table 100; ip route add default via 192.0.2.3;
      ip rule add from 192.0.2.10 table 100 pref 99", "source_table=100", 1),
    ("true", "source_for=192.0.2.0/24", 1),
    ("ip route add blackhole default metric 9; ip route add default via 192.0.2.2", "", 1),
    // IPv6.
    ("ip -6 route add default via 2001:db8::2 pref high metric 7", "", 1),
    ("ip -6 route add default via 2001:db8::2 expires 1000 mtu 1300", "", 1),
    ("ip -6 route add default via 2001:db8::2; ip -6 route append default via 2001:db8:1::2 dev eth1", "", 1),
    ("ip -6 route add default via 2001:db8::2 metric 3; ip -6 route add default via 2001:db8:1::2 metric 4 dev eth1", "", 1),
    ("ip -6 route add default via 2001:db8:7::1 dev eth0 onlink; ip -6 route append default dev eth1 metric 1024", "", 1),
    ("ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2", "", 2),
];

#[test]
fn whatever_a_route_looks_like_it_comes_back_exactly() {
    for (setup, parameters, taken) in ROUTES {
        let sandbox = node();
        sandbox.sh(setup);
        let before = sandbox.everything();
        let agent = vip(&sandbox, parameters);
        for _ in 0..2 {
            let ran = agent.run(&["start"]);
            assert_eq!(ran.code, 0, "{setup}: {ran}");
            let now = sandbox.everything();
            let ours = |line: &&str| line.contains("src 192.0.2.10 ") || line.contains("src 2001:db8::10 ");
            let sources = now.lines().filter(|line| !line.contains("table local")).filter(ours).count();
            assert_eq!(sources, taken, "{setup}: {now}");
            recurring(&agent).expect("monitor", 0);
        }
        agent.expect("stop", 0);
        sandbox.assert_unchanged(&before, setup);
        agent.expect("stop", 0);
        sandbox.assert_unchanged(&before, setup);
    }
}

#[test]
fn ipv6_gets_its_source_after_duplicate_address_detection() {
    let sandbox = node();
    sandbox.sh("ip -6 route add default via 2001:db8::2");
    let before = sandbox.everything();
    let agent = vip(&sandbox, "nodad=false");
    agent.expect("start", 0);
    assert!(sandbox.sh("ip -6 route show default").contains("src 2001:db8::10 "));
    agent.expect("stop", 0);
    sandbox.assert_unchanged(&before, "stop");
}

#[test]
fn outgoing_connections_come_from_the_address() {
    let sandbox = node();
    sandbox.sh("ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2");
    let agent = vip(&sandbox, "");
    agent.expect("start", 0);
    for (destination, source) in [("203.0.113.1", "192.0.2.10"), ("2001:db8:ffff::1", "2001:db8::10")] {
        let socket =
            std::net::UdpSocket::bind(if source.contains(':') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
        socket.connect((destination.parse::<std::net::IpAddr>().unwrap(), 9)).unwrap();
        assert_eq!(socket.local_addr().unwrap().ip().to_string(), source);
    }
    agent.expect("stop", 0);
}

#[test]
fn what_becomes_of_routes_that_somebody_changes_meanwhile() {
    for (setup, happening, broken, expected) in [
        // Flushed, or gone with a link that went down for a moment: put back.
        (
            "ip route add default via 192.0.2.2 mtu 1400",
            "ip route flush exact default",
            true,
            "ip route add default via 192.0.2.2 mtu 1400",
        ),
        (
            "ip route add default via 192.0.2.2",
            "ip link set eth0 down; ip link set eth0 up",
            true,
            "ip route add default via 192.0.2.2",
        ),
        // The address was removed by hand, and the kernel took the route along.
        (
            "ip route add default via 192.0.2.2",
            "ip address del 192.0.2.10/24 dev eth0",
            true,
            "ip route add default via 192.0.2.2",
        ),
        // Somebody took the source away: that is as it was before.
        (
            "ip route add default via 192.0.2.2",
            "ip route replace default via 192.0.2.2",
            true,
            "ip route add default via 192.0.2.2",
        ),
        // Somebody changed the gateway, with or without the source: that stays, without the source.
        (
            "ip route add default via 192.0.2.2",
            "ip route replace default via 192.0.2.3",
            true,
            "ip route add default via 192.0.2.3",
        ),
        (
            "ip route add default via 192.0.2.2",
            "ip route replace default via 192.0.2.3 src 192.0.2.10",
            false,
            "ip route add default via 192.0.2.3",
        ),
        // Another one was added, and one was made to point to the address.
        (
            "ip route add default via 192.0.2.2",
            "ip route add default via 192.0.2.3 metric 9",
            true,
            "ip route add default via 192.0.2.2; ip route add default via 192.0.2.3 metric 9",
        ),
        (
            "ip route add default via 192.0.2.2",
            "ip route add 203.0.113.0/24 via 192.0.2.3 src 192.0.2.10",
            false,
            "ip route add default via 192.0.2.2; ip route add 203.0.113.0/24 via 192.0.2.3",
        ),
        (
            "ip route add default via 192.0.2.2",
            "ip route append default via 198.51.100.2",
            false,
            "ip route add default via 192.0.2.2; ip route append default via 198.51.100.2",
        ),
        // The gateway cannot be reached any more: there is nothing to put back, and nothing to be fenced for.
        ("ip route add default via 198.51.100.2", "ip address del 198.51.100.1/24 dev eth1", true, "true"),
        (
            "ip -6 route add default via 2001:db8::2",
            "ip -6 route flush exact default",
            true,
            "ip -6 route add default via 2001:db8::2",
        ),
    ] {
        let sandbox = node();
        sandbox.sh(setup);
        let agent = vip(&sandbox, "");
        agent.expect("start", 0);
        sandbox.sh(happening);
        sandbox.until("ip link show eth0 | grep -q 'state UP'");
        let ran = recurring(&agent).run(&["monitor"]);
        assert_eq!(ran.code, i32::from(broken), "{happening}: {ran}");
        agent.expect("stop", 0);
        assert_eq!(sandbox.places("192.0.2.10"), [""; 0]);
        let defaults =
            "ip -d route show default; ip -d route show 203.0.113.0/24; ip -6 -d route show default";
        let now = sandbox.sh(defaults);
        sandbox.sh(
            "ip route flush exact default; ip -6 route flush exact default; ip route flush 203.0.113.0/24",
        );
        sandbox.sh(expected);
        assert_eq!(now, sandbox.sh(defaults), "{setup}; {happening}");
    }
}

#[test]
fn a_route_that_lost_its_source_is_told_and_mended_by_start() {
    let sandbox = node();
    sandbox.sh("ip route add default via 192.0.2.2");
    let before = sandbox.everything();
    let agent = vip(&sandbox, "");
    agent.expect("start", 0);
    sandbox.sh("ip route replace default via 192.0.2.2");
    let ran = recurring(&agent).expect("monitor", 1);
    assert!(reason(&ran).contains("the source of route default via 192.0.2.2 is not 192.0.2.10"), "{ran}");
    agent.expect("start", 0);
    recurring(&agent).expect("monitor", 0);
    agent.expect("stop", 0);
    sandbox.assert_unchanged(&before, "stop");
}

#[test]
fn a_route_that_pointed_to_the_address_already_outlives_it() {
    let sandbox = node();
    sandbox.sh("ip address add 192.0.2.10/24 dev eth0; ip route add default via 192.0.2.2 src 192.0.2.10");
    let agent = vip(&sandbox, "ip=192.0.2.10/24");
    agent.expect("start", 0);
    agent.expect("stop", 0);
    assert_eq!(sandbox.sh("ip route show default").trim(), "default via 192.0.2.2 dev eth0");
}

#[test]
fn a_route_that_is_not_there_is_said_and_nothing_is_left() {
    let sandbox = node();
    sandbox.sh("ip route add default via 192.0.2.2");
    let before = sandbox.everything();
    for (parameters, says) in [
        ("source_for=203.0.113.0/24", "no route to 203.0.113.0/24"),
        ("source_for=default,203.0.113.0/24", "no route to 203.0.113.0/24"),
        ("source_table=100", "in routing table 100"),
        ("source_metric=5", "source_for"),
        ("ip=2001:db8::10/64", "source_for"),
    ] {
        let agent = vip(&sandbox, parameters);
        let ran = agent.expect("start", 1);
        assert!(reason(&ran).contains(says), "{ran}");
        sandbox.assert_unchanged(&before, parameters);
        agent.clone().interval(0).expect("monitor", 7);
        agent.expect("stop", 0);
    }
}
