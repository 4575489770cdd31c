//! What the network sees of vip: who else has the address, announcements, connections that are cut, LVS.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

const NOWHERE: [&str; 0] = [];

fn vip(sandbox: &Sandbox) -> Agent {
    sandbox.agent("vip").set("ip", "192.0.2.10").set("cidr_netmask", "24").set("nic", "eth0")
}

fn vip6(sandbox: &Sandbox) -> Agent {
    vip(sandbox).set("ip", "2001:db8::10").set("cidr_netmask", "64").set("nodad", "true")
}

fn recurring(agent: &Agent) -> Agent {
    agent.clone().interval(10_000)
}

#[track_caller]
fn reason(ran: &Ran) -> &str {
    ran.reason().unwrap_or_else(|| panic!("no exit reason: {ran}"))
}

/// The hardware address of the peer, after it has taken both addresses.
fn rival(sandbox: &Sandbox) -> String {
    sandbox.sh("ip -n peer address add 192.0.2.10/24 dev eth0; ip -n peer address add 2001:db8::10/64 dev eth0 nodad");
    sandbox.until("ip -n peer -6 route show table local | grep -q '2001:db8::10 '");
    sandbox.sh("ip netns exec peer cat /sys/class/net/eth0/address").trim().to_owned()
}

#[test]
fn an_address_that_another_host_has_is_not_taken() {
    let sandbox = Sandbox::with_peer();
    let mac = rival(&sandbox);
    let before = sandbox.everything();
    for agent in [
        vip(&sandbox).set("conflict_check", "2000"),
        vip(&sandbox).set("run_arping", "true"),
        vip6(&sandbox).set("conflict_check", "2000"),
    ] {
        let begin = Instant::now();
        let ran = agent.expect("start", 1);
        assert!(reason(&ran).contains("is already in use by") && reason(&ran).contains(&mac), "{ran}");
        assert!(begin.elapsed() < Duration::from_millis(900), "the answer ends the wait");
        sandbox.assert_unchanged(&before, "a start that was refused");
        assert!(!sandbox.holds("ls /run/bascule/vip/*.json"));
        agent.expect("stop", 0);
        // It is taken once nobody has it.
        sandbox.sh("ip -n peer address flush dev eth0; ip -n peer address add 192.0.2.2/24 dev eth0");
        let agent = agent.set("conflict_check", "50").set("run_arping", "false");
        agent.expect("start", 0);
        agent.expect("stop", 0);
        rival(&sandbox);
    }
}

#[test]
fn several_addresses_start_all_or_none() {
    let sandbox = Sandbox::with_peer();
    rival(&sandbox);
    sandbox.sh("ip -n peer address del 192.0.2.10/24 dev eth0; sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0");
    let before = sandbox.everything();
    let agent = vip(&sandbox).without("OCF_RESKEY_cidr_netmask").set("ip", "192.0.2.10/24 2001:db8::10/64");
    // The second is asked for before the first is taken; or it is found out by the kernel after.
    let ran = agent.clone().set("conflict_check", "500").expect("start", 1);
    assert!(reason(&ran).contains("2001:db8::10 is already in use"), "{ran}");
    sandbox.assert_unchanged(&before, "conflict_check");
    let ran = agent.expect("start", 1);
    assert!(reason(&ran).contains("another host has 2001:db8::10"), "{ran}");
    sandbox.assert_unchanged(&before, "duplicate address detection");
    assert!(!sandbox.holds("ls /run/bascule/vip/*.json"));
    agent.clone().interval(0).expect("monitor", 7);
}

#[test]
fn a_duplicate_that_comes_later_is_found_by_a_deep_monitor() {
    let sandbox = Sandbox::with_peer();
    for agent in [vip(&sandbox), vip6(&sandbox)] {
        agent.expect("start", 0);
        let deep = recurring(&agent).env("OCF_CHECK_LEVEL", "10");
        deep.expect("monitor", 0);
        let mac = rival(&sandbox);
        recurring(&agent).expect("monitor", 0);
        let ran = deep.expect("monitor", 1);
        assert!(reason(&ran).contains(&mac), "{ran}");
        sandbox.sh(
            "ip -n peer address del 192.0.2.10/24 dev eth0; ip -n peer address del 2001:db8::10/64 dev eth0",
        );
        deep.expect("monitor", 0);
        agent.expect("stop", 0);
    }
}

/// How often an address was announced: requests and replies of ARP, advertisements.
fn announced(lines: &[String]) -> [usize; 3] {
    let of = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    // Newer versions of tcpdump have a word for it.
    let requests = of("tell 192.0.2.10,") + of("Announcement 192.0.2.10,");
    [requests, of("192.0.2.10 is-at"), of("neighbor advertisement, tgt is 2001:db8::10")]
}

#[test]
fn announcements_are_as_many_as_asked_for_in_both_forms() {
    let sandbox = Sandbox::with_peer();
    let peer = sandbox.listen();
    let mut seen = [0; 3];
    let agents = [vip(&sandbox), vip6(&sandbox)];
    let mut counts = |peer: &lab::sandbox::Listener| {
        let now = announced(&[peer.heard("192.0.2.10"), peer.heard("2001:db8::10")].concat());
        let new = [now[0] - seen[0], now[1] - seen[1], now[2] - seen[2]];
        seen = now;
        new
    };
    for (agent, of_this) in agents.iter().zip([[1, 1, 0], [0, 0, 1]]) {
        for (count, interval, background) in [(1, 200, ""), (4, 10, "true"), (4, 10, "false"), (3, 1, "")] {
            let agent = agent.clone().set("arp_count", count.to_string());
            let agent = agent.set("arp_interval", interval.to_string()).set("arp_bg", background);
            agent.expect("start", 0);
            if background == "false" {
                assert_eq!(sandbox.processes("vip-announce"), [0; 0]);
            }
            sandbox.until_ended("vip-announce");
            let what = format!("arp_count={count} arp_interval={interval} arp_bg={background}");
            assert_eq!(counts(&peer), of_this.map(|each| each * count), "{what}");
            // A start that changes nothing announces nothing, a plain monitor neither.
            agent.expect("start", 0);
            recurring(&agent).expect("monitor", 0);
            assert_eq!(counts(&peer), [0; 3], "{what}");
            agent.expect("stop", 0);
            assert_eq!(counts(&peer), [0; 3], "{what}");
        }
    }
}

#[test]
fn the_first_announcement_has_left_when_start_returns_and_the_others_keep_their_interval() {
    let sandbox = Sandbox::with_peer();
    let peer = sandbox.listen();
    let agent = vip(&sandbox).set("arp_count", "3").set("arp_interval", "300");
    agent.expect("start", 0);
    assert_eq!(announced(&peer.heard("192.0.2.10")), [1, 1, 0]);
    let begin = Instant::now();
    while peer.so_far("192.0.2.10 is-at").len() < 3 {
        assert!(begin.elapsed() < Duration::from_secs(10), "the others never come");
        std::thread::sleep(Duration::from_millis(2));
    }
    let times: Vec<f64> = peer
        .so_far("192.0.2.10 is-at")
        .iter()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] > 0.299, "an interval is never shorter than asked for: {times:?}");
    }
    agent.expect("stop", 0);
}

#[test]
fn announcements_in_the_foreground_do_not_outlast_the_operation() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox).set("arp_bg", "false").set("arp_interval", "60000").set("arp_count", "2");
    let ran = agent.set("CRM_meta_timeout", "5000").expect("start", 0);
    assert!(ran.stderr.contains("arp_bg=false") && ran.stderr.contains("in the background"), "{ran}");
    assert_eq!(sandbox.processes("vip-announce").len(), 1);
    vip(&sandbox).expect("stop", 0);
    assert_eq!(sandbox.processes("vip-announce"), [0; 0]);
}

#[test]
fn recurring_monitors_announce_again_where_that_is_asked_for() {
    let sandbox = Sandbox::with_peer();
    for (agent, ip, each) in [(vip(&sandbox), "192.0.2.10", 2), (vip6(&sandbox), "2001:db8::10", 1)] {
        let agent = agent.set("arp_count", "1").set("arp_count_refresh", "2").set("arp_interval", "10");
        agent.expect("start", 0);
        let peer = sandbox.listen();
        agent.clone().interval(0).expect("monitor", 0);
        agent.clone().without("OCF_RESKEY_CRM_meta_interval").expect("monitor", 0);
        assert_eq!(peer.heard(ip), NOWHERE, "neither a probe nor a monitor by hand");
        for round in 1..=3 {
            recurring(&agent).expect("monitor", 0);
            sandbox.until_ended("vip-announce");
            assert_eq!(peer.heard(ip).len(), 2 * each * round);
        }
        // With the new value from the next monitor on.
        let agent = agent.set("arp_count_refresh", "0");
        agent.expect("reload-agent", 0);
        recurring(&agent).expect("monitor", 0);
        assert_eq!(peer.heard(ip).len(), 6 * each);
        agent.expect("stop", 0);
        let ran = agent.expect("reload-agent", 1);
        assert!(reason(&ran).contains("does not run"), "{ran}");
    }
}

#[test]
fn neighbours_learn_at_once_where_the_address_is_now() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip -n peer neighbour replace 192.0.2.10 lladdr 02:00:00:00:00:99 dev eth0 nud stale
        ip -n peer neighbour replace 2001:db8::10 lladdr 02:00:00:00:00:99 dev eth0 nud stale
        ip netns exec peer sysctl -qw net.ipv4.neigh.eth0.locktime=0");
    let ours = sandbox.sh("cat /sys/class/net/eth0/address");
    let agent = vip(&sandbox).without("OCF_RESKEY_cidr_netmask").set("arp_count", "1").set("nodad", "true");
    agent.set("ip", "192.0.2.10/24 2001:db8::10/64").expect("start", 0);
    for ip in ["192.0.2.10", "2001:db8::10"] {
        sandbox.until(&format!("ip -n peer neighbour show {ip} | grep -q {ours}"));
    }
}

#[test]
fn connections_are_cut_when_the_address_goes() {
    let sandbox = Sandbox::with_peer();
    for (agent, ip) in [(vip(&sandbox), "192.0.2.10"), (vip6(&sandbox), "2001:db8::10")] {
        let agent = agent.set("cut_connections", "true");
        agent.expect("start", 0);
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // A client that waits for an answer, as one would wait for hours at a server that has vanished.
        let script = format!(
            "import socket\ns = socket.create_connection(('{ip}', {port}))\ns.sendall(b'question')\n\
             try:\n    print('answer', s.recv(10))\nexcept ConnectionResetError:\n    print('reset')"
        );
        let mut client = std::process::Command::new("ip")
            .args(["netns", "exec", "peer", "timeout", "20", "python3", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.read_exact(&mut [0; 8]).unwrap();
        let elsewhere = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut other = std::net::TcpStream::connect(elsewhere.local_addr().unwrap()).unwrap();
        let begin = Instant::now();
        agent.expect("stop", 0);
        let mut said = String::new();
        client.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        client.wait().unwrap();
        assert_eq!(said, "reset\n", "{ip}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{ip}: at once, not by a timeout");
        assert!(server.read(&mut [0]).is_err(), "{ip}: our end knows too");
        other.write_all(b"alive").unwrap();
        assert_eq!(sandbox.places(ip), NOWHERE);
    }
}

#[test]
fn without_being_asked_connections_are_left_alone() {
    let sandbox = Sandbox::with_peer();
    let agent = vip(&sandbox);
    agent.expect("start", 0);
    let listener = TcpListener::bind(("192.0.2.10", 0)).unwrap();
    let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    agent.expect("stop", 0);
    server.set_nonblocking(true).unwrap();
    let waiting = (&server).read(&mut [0]).unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn lvs_moves_the_address_from_lo_and_back() {
    let sandbox = Sandbox::with_peer();
    sandbox.sh("ip address add 192.0.2.10/32 dev lo");
    let before = sandbox.everything();
    let agent = vip(&sandbox).set("lvs_support", "true");
    for monitor in [agent.clone().interval(0), recurring(&agent)] {
        monitor.expect("monitor", 7);
    }
    agent.expect("stop", 0);
    sandbox.assert_unchanged(&before, "a stop of what does not run");
    for _ in 0..2 {
        agent.expect("start", 0);
        assert_eq!(sandbox.places("192.0.2.10"), ["eth0"]);
        recurring(&agent).expect("monitor", 0);
        agent.expect("start", 0);
        agent.expect("stop", 0);
        sandbox.assert_unchanged(&before, "stop");
    }
    // Without lvs_support it must be nowhere.
    vip(&sandbox).expect("stop", 0);
    assert_eq!(sandbox.places("192.0.2.10"), NOWHERE);
}

#[test]
fn clones_have_addresses_of_their_own() {
    let sandbox = Sandbox::with_peer();
    let instance = |n: u32, ip: &str| {
        let agent = vip(&sandbox).set("ip", ip).without("OCF_RESKEY_cidr_netmask").set("nodad", "true");
        agent
            .env("OCF_RESOURCE_INSTANCE", format!("test:{n}"))
            .set("unique_clone_address", "true")
            .set("CRM_meta_clone", n.to_string())
            .set("CRM_meta_clone_max", "3")
            .set("CRM_meta_globally_unique", "true")
    };
    let both = "192.0.2.10/24 2001:db8::10/64";
    (0..3).for_each(|n| drop(instance(n, both).expect("start", 0)));
    for (v4, v6) in
        [("192.0.2.10", "2001:db8::10"), ("192.0.2.11", "2001:db8::11"), ("192.0.2.12", "2001:db8::12")]
    {
        assert_eq!((sandbox.places(v4), sandbox.places(v6)), (vec!["eth0".into()], vec!["eth0".into()]));
    }
    instance(1, both).expect("stop", 0);
    instance(1, both).interval(0).expect("monitor", 7);
    for n in [0, 2] {
        recurring(&instance(n, both)).expect("monitor", 0);
        instance(n, both).expect("stop", 0);
    }
    let ran = instance(2, "255.255.255.253").expect("start", 6);
    assert!(reason(&ran).contains("ip"), "{ran}");
}
