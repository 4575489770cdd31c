//! vip beside `ocf:heartbeat:IPaddr2`: after a start with the same parameters the kernel has the same addresses and
//! routes, property by property.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Sandbox};

/// Sets of parameters.
const SAME: [&str; 19] = [
    "ip=192.0.2.10",
    "ip=192.0.2.10 nic=eth0",
    "ip=192.0.2.10 cidr_netmask=24",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=24",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=255.255.255.0",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=25 broadcast=192.0.2.127",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=24 broadcast=192.0.2.9",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=16 broadcast=+",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=24 broadcast=-",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=24 iflabel=web",
    "ip=192.0.2.10 nic=eth0:web cidr_netmask=24",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=24 iflabel=1234567890",
    "ip=192.0.2.10 nic=eth0 cidr_netmask=24 noprefixroute=true",
    "ip=203.0.113.10 nic=eth0 cidr_netmask=24 noprefixroute=true iflabel=x broadcast=+",
    "ip=192.0.2.10 nic=lo cidr_netmask=32",
    "ip=2001:db8::10 nic=eth0 cidr_netmask=64 nodad=true",
    "ip=2001:db8::10 cidr_netmask=128 nic=eth0 nodad=true noprefixroute=true",
    "ip=2001:db8::10 nic=eth0 cidr_netmask=64 nodad=true preferred_lft=0",
    "ip=2001:db8::10 nic=eth0 cidr_netmask=64 nodad=true lvs_ipv6_addrlabel=true",
];

/// Where ours differs on purpose: in words of `ip address`, IPaddr2's and ours. IPaddr2 takes the broadcast address from the
/// interface's first network even if the address is in another one, and applies `preferred_lft` to IPv6 only.
const DIFFERENT: [(&str, &str, &str); 6] = [
    ("ip=192.0.2.10 nic=eth0 cidr_netmask=32", "/32 brd 192.0.2.255", "/32"),
    ("ip=192.0.2.10 nic=eth0 cidr_netmask=31", "/31 brd 192.0.2.255", "/31"),
    ("ip=192.0.2.10 nic=eth0 cidr_netmask=25", "/25 brd 192.0.2.255", "/25 brd 192.0.2.127"),
    ("ip=192.0.2.10 nic=eth0 cidr_netmask=16", "/16 scope", "/16 brd 192.0.255.255 scope"),
    ("ip=203.0.113.10 nic=eth0 cidr_netmask=24", "/24 scope", "/24 brd 203.0.113.255 scope"),
    ("ip=192.0.2.10 nic=eth0 cidr_netmask=24 preferred_lft=0", "secondary eth0", "secondary deprecated eth0"),
];

fn with(agent: Agent, parameters: &str) -> Agent {
    let agent = agent.set("arp_count", "1").set("arp_interval", "10");
    parameters.split(' ').fold(agent, |agent, word| {
        let (name, value) = word.split_once('=').unwrap();
        agent.set(name, value)
    })
}

/// What an agent makes of a node with these parameters.
fn made(agent: fn(&Sandbox) -> Agent, parameters: &str) -> String {
    let sandbox = Sandbox::with_peer();
    // As an installer configures it.
    sandbox.sh("ip address del 192.0.2.1/24 dev eth0; ip address add 192.0.2.1/24 brd + dev eth0");
    let agent = with(agent(&sandbox), parameters);
    agent.expect("start", 0);
    if parameters.contains("2001:") {
        sandbox.until("ip -6 route show table local | grep -q '^local 2001:db8::10 '");
    }
    agent.expect("monitor", 0);
    let all = sandbox.everything();
    agent.expect("stop", 0);
    all
}

fn both(parameters: &str) -> (String, String) {
    let theirs = made(|sandbox| sandbox.stock_agent("heartbeat/IPaddr2"), parameters);
    (theirs, made(|sandbox| sandbox.agent("vip"), parameters))
}

fn only<'a>(here: &'a str, not_there: &str) -> Vec<&'a str> {
    here.lines().filter(|line| !not_there.lines().any(|other| other == *line)).collect()
}

#[test]
fn the_same_parameters_make_the_same_addresses_and_routes() {
    for parameters in SAME {
        let (theirs, ours) = both(parameters);
        assert_eq!(only(&theirs, &ours), only(&ours, &theirs), "{parameters}: IPaddr2, vip");
        assert_eq!(theirs, ours, "{parameters}: in another order");
    }
}

#[test]
fn what_differs_from_ipaddr2_differs_on_purpose() {
    for (parameters, their_words, our_words) in DIFFERENT {
        let (theirs, ours) = both(parameters);
        let addresses =
            |all: &str| all.lines().filter(|line| line.contains(" inet")).collect::<Vec<_>>().join("\n");
        assert_eq!(addresses(&theirs).replace(their_words, our_words), addresses(&ours), "{parameters}");
        assert_ne!(addresses(&theirs), addresses(&ours), "{parameters}: no difference any more");
    }
}
