//! Announcements and probes between real network namespaces: the kernel on the other side of a veth pair is the
//! neighbour that must believe us, or the owner that must be found. Needs root, iproute2 and iputils-arping.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../src/announce.rs"]
mod announce;
#[path = "../src/arp.rs"]
mod arp;
#[path = "../src/conflict.rs"]
mod conflict;
#[path = "../src/frame.rs"]
mod frame;
#[path = "../src/ndp.rs"]
mod ndp;
#[path = "../src/wire.rs"]
mod wire;

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getpid, gettid};

use announce::{Announcer, Claim, Schedule, Silent};
use conflict::{Conflict, Evidence, Prober, Question, Verdict};
use frame::{Frame, Mac, Port, Protocol, Received};
use wire::Socket;

const NEAR: &str = "02:00:00:00:00:0a";
const FAR: &str = "02:00:00:00:00:0b";
/// What the neighbour believes before the announcement.
const FORMER: &str = "02:00:00:00:00:99";
/// Long enough for any answer on a busy machine: tests that expect one return at once when it comes.
const LONG: Duration = Duration::from_secs(10);
/// For tests in which nothing may come.
const SHORT: Duration = Duration::from_millis(300);

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, which goes away with it.
struct Namespace {
    path: String,
    jobs: mpsc::Sender<Job>,
}

impl Namespace {
    fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("the tests need root");
            ready.send(format!("/proc/{}/task/{}/ns/net", getpid(), gettid())).unwrap();
            queue.iter().for_each(|job| job());
        });
        let namespace = Self { path: started.recv().unwrap(), jobs };
        // Duplicate address detection of the kernel's own addresses would only make noise and delay.
        namespace.run(|| std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs something in the namespace.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        self.jobs.send(Box::new(move || done.send(job()).unwrap())).unwrap();
        result.recv().expect("the job in the namespace panicked")
    }

    fn command(&self, program: &'static str, arguments: &str) -> (bool, String) {
        let arguments: Vec<String> = arguments.split(' ').map(String::from).collect();
        let output = self.run(move || Command::new(program).args(arguments).output().unwrap());
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    fn ip(&self, arguments: &str) -> String {
        let (success, text) = self.command("ip", arguments);
        assert!(success, "ip {arguments}: {text}");
        text
    }

    /// Adds an address that is usable at once.
    fn add(&self, address: &str, device: &str) {
        self.ip(&format!(
            "address add {address} dev {device}{}",
            if address.contains(':') { " nodad" } else { "" }
        ));
    }

    fn port(&self, name: &'static str, mac: &str) -> Port {
        Port {
            index: self.run(move || if_nametoindex(name).unwrap()),
            name: name.into(),
            hardware_type: 1,
            mac: parse_mac(mac).0,
            broadcast_mac: vec![0xff; 6],
            loopback: false,
            point_to_point: false,
            no_arp: false,
        }
    }

    fn probe(
        &self,
        questions: Vec<Question>,
        ours: Vec<Mac>,
        wait: Duration,
    ) -> Result<Verdict, wire::Error> {
        self.run(move || Prober::open(&questions, ours)?.run(wait))
    }

    fn announce(&self, claim: Claim) {
        self.run(|| Announcer::open(vec![claim]).unwrap().send_once().unwrap());
    }

    fn send(&self, port: &Port, frame: Frame) {
        let port = port.clone();
        self.run(move || Socket::open().unwrap().send(&port, &frame).unwrap());
    }

    /// Waits until the kernel here knows `address` at the hardware address `mac`.
    fn expect_neighbour(&self, address: &str, mac: &str) {
        let show = || self.ip(&format!("neighbour show {address}"));
        eventually(&format!("{address} to be known at {mac}"), || show().contains(mac));
    }
}

/// Two namespaces with a cable between them.
fn pair() -> (Namespace, Namespace) {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.ip(&format!(
        "link add eth0 address {NEAR} type veth peer name eth0 address {FAR} netns {}",
        far.path
    ));
    near.ip("link set eth0 up");
    far.ip("link set eth0 up");
    // What is sent before the kernel has seen the carrier is lost.
    for end in [&near, &far] {
        eventually("a carrier", || end.ip("link show eth0").contains("state UP"));
    }
    (near, far)
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn parse_mac(text: &str) -> Mac {
    Mac(text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn question(port: &Port, text: &str) -> Question {
    Question { port: port.clone(), address: address(text) }
}

fn owner(text: &str, mac: &str, evidence: Evidence) -> Result<Verdict, wire::Error> {
    let conflict =
        Conflict { address: address(text), interface: "eth0".into(), mac: parse_mac(mac), evidence };
    Ok(Verdict::Owner(conflict))
}

/// A socket that keeps what arrives on `eth0`, to be read later.
fn listen(namespace: &Namespace, port: &Port, protocol: Protocol) -> Socket {
    let port = port.clone();
    namespace.run(move || {
        let socket = Socket::open().unwrap();
        socket.listen(&port, protocol).unwrap();
        socket
    })
}

/// Reads until `last` has come.
fn receive_until(socket: &Socket, port: &Port, last: impl Fn(&Received) -> bool) -> Vec<Received> {
    let give_up = Instant::now() + LONG;
    let mut all: Vec<Received> = Vec::new();
    while !all.last().is_some_and(&last) {
        assert!(Instant::now() < give_up, "only this arrived: {all:?}");
        wire::wait([socket].into_iter(), give_up).unwrap();
        all.extend(socket.receive(port).unwrap());
    }
    all
}

/// Both forms of gratuitous ARP are believed, each for itself.
#[test]
fn each_form_of_gratuitous_arp_moves_an_ipv4_address() {
    let (near, far) = pair();
    far.add("192.0.2.1/24", "eth0");
    let port = near.port("eth0", NEAR);
    let moved = "192.0.2.9".parse().unwrap();
    for packet in
        [arp::Packet::announce_by_request(&port, moved), arp::Packet::announce_by_reply(&port, moved)]
    {
        far.ip(&format!("neighbour replace 192.0.2.9 lladdr {FORMER} dev eth0 nud stale"));
        far.expect_neighbour("192.0.2.9", FORMER);
        let destination = port.broadcast_mac.clone();
        near.send(&port, Frame { protocol: Protocol::Arp, destination, payload: packet.encode() });
        far.expect_neighbour("192.0.2.9", NEAR);
    }
}

#[test]
fn announcements_move_addresses_of_both_families() {
    let (near, far) = pair();
    far.add("192.0.2.1/24", "eth0");
    far.add("2001:db8::1/64", "eth0");
    let port = near.port("eth0", NEAR);
    for moved in ["192.0.2.9", "2001:db8::9"] {
        far.ip(&format!("neighbour replace {moved} lladdr {FORMER} dev eth0 nud reachable"));
        near.announce(Claim::new(&port, address(moved), false).unwrap());
        far.expect_neighbour(moved, NEAR);
    }
}

#[test]
fn announcements_pass_through_a_bridge() {
    let (near, far) = pair();
    far.add("192.0.2.1/24", "eth0");
    near.ip("link add name br0 address 02:00:00:00:00:1a type bridge forward_delay 0");
    near.ip("link set eth0 master br0");
    near.ip("link set br0 up");
    far.ip(&format!("neighbour replace 192.0.2.9 lladdr {FORMER} dev eth0 nud stale"));
    let claim = Claim::new(&near.port("br0", "02:00:00:00:00:1a"), address("192.0.2.9"), false).unwrap();
    // The bridge port forwards a moment after it has come up.
    near.run(move || {
        let rest = Schedule::new(100, Duration::from_millis(10));
        Announcer::open(vec![claim]).unwrap().rest(rest, || true)
    });
    far.expect_neighbour("192.0.2.9", "02:00:00:00:00:1a");
}

#[test]
fn later_announcements_end_when_the_address_is_gone() {
    let (near, far) = pair();
    let (port, far_port) = (near.port("eth0", NEAR), far.port("eth0", FAR));
    let heard = listen(&far, &far_port, Protocol::Arp);
    let claim = Claim::new(&port, address("192.0.2.9"), false).unwrap();
    let outcome = near.run(move || {
        let announcer = Announcer::open(vec![claim]).unwrap();
        announcer.send_once().unwrap();
        let mut asked = 0;
        announcer.rest(Schedule::new(50, Duration::ZERO), move || {
            asked += 1;
            asked <= 2
        })
    });
    assert_eq!((outcome.sent, outcome.completed, outcome.error), (2, false, None));

    let end = arp::Packet::probe(&port, "192.0.2.250".parse().unwrap());
    let payload = end.encode();
    near.send(&port, Frame { protocol: Protocol::Arp, destination: port.broadcast_mac.clone(), payload });
    let parse = |received: &Received| arp::Packet::parse(&received.payload);
    let frames = receive_until(&heard, &far_port, |received| parse(received) == Some(end.clone()));
    // Three rounds of two forms.
    assert_eq!(frames.len(), 3 * 2 + 1, "{frames:?}");
    assert!(frames.iter().all(|received| received.source == parse_mac(NEAR)));
}

#[test]
fn a_link_that_is_down_does_not_end_later_announcements() {
    let (near, _far) = pair();
    let claim = Claim::new(&near.port("eth0", NEAR), address("192.0.2.9"), false).unwrap();
    let outcome = near.run(move || {
        let run =
            |arguments: &[&str]| assert!(Command::new("ip").args(arguments).status().unwrap().success());
        run(&["link", "set", "eth0", "down"]);
        let mut asked = 0;
        Announcer::open(vec![claim]).unwrap().rest(Schedule::new(3, Duration::ZERO), || {
            asked += 1;
            if asked == 3 {
                run(&["link", "set", "eth0", "up"]);
            }
            true
        })
    });
    assert_eq!((outcome.sent, outcome.completed), (1, true));
    assert_eq!(outcome.error.unwrap().to_string(), "cannot send on eth0: the link is down");
}

#[test]
fn the_owner_of_an_address_is_found_and_named() {
    let (near, far) = pair();
    let port = near.port("eth0", NEAR);
    for owned in ["192.0.2.1", "2001:db8::1"] {
        far.add(&format!("{owned}/{}", if owned.contains(':') { 64 } else { 24 }), "eth0");
        assert_eq!(near.probe(vec![question(&port, owned)], vec![], LONG), owner(owned, FAR, Evidence::Uses));
    }
}

#[test]
fn of_several_addresses_the_taken_one_is_named() {
    let (near, far) = pair();
    far.add("192.0.2.3/24", "eth0");
    let port = near.port("eth0", NEAR);
    let ask = |all: &[&str]| all.iter().map(|one| question(&port, one)).collect();
    let questions = ask(&["192.0.2.2", "2001:db8::2", "192.0.2.3", "2001:db8::3"]);
    assert_eq!(near.probe(questions, vec![], LONG), owner("192.0.2.3", FAR, Evidence::Uses));
    far.ip("address flush dev eth0 scope global");
    far.add("2001:db8::2/64", "eth0");
    let questions = ask(&["192.0.2.2", "2001:db8::2", "192.0.2.3", "2001:db8::3"]);
    assert_eq!(near.probe(questions, vec![], LONG), owner("2001:db8::2", FAR, Evidence::Uses));
}

#[test]
fn an_address_that_nobody_has_is_free() {
    let (near, far) = pair();
    far.add("192.0.2.1/24", "eth0");
    far.add("2001:db8::1/64", "eth0");
    let port = near.port("eth0", NEAR);
    let questions = vec![question(&port, "192.0.2.2"), question(&port, "2001:db8::2")];
    assert_eq!(near.probe(questions, vec![], SHORT), Ok(Verdict::Free));
}

#[test]
fn links_with_nobody_to_ask_are_left_out() {
    let (near, _far) = pair();
    let loopback = Port { hardware_type: 772, loopback: true, ..near.port("lo", "00:00:00:00:00:00") };
    assert_eq!(Claim::new(&loopback, address("192.0.2.1"), false), Err(Silent::Loopback));
    // An hour is not waited for.
    let hour = Duration::from_secs(3600);
    assert_eq!(near.probe(vec![question(&loopback, "192.0.2.1")], vec![], hour), Ok(Verdict::Free));
}

#[test]
fn a_link_that_is_down_or_gone_is_an_error() {
    let (near, _far) = pair();
    let port = near.port("eth0", NEAR);
    let reason = || near.probe(vec![question(&port, "192.0.2.1")], vec![], LONG).unwrap_err().to_string();
    near.ip("link set eth0 down");
    assert_eq!(reason(), "cannot send on eth0: the link is down");
    let claim = Claim::new(&port, address("2001:db8::1"), false).unwrap();
    let error = near.run(|| Announcer::open(vec![claim]).unwrap().send_once().unwrap_err());
    assert_eq!(error.to_string(), "cannot send on eth0: the link is down");
    near.ip("link delete eth0");
    assert_eq!(reason(), "cannot listen on eth0: there is no such link any more");
}

/// The one that listens already hears the other's probes, whatever the order in which they run.
#[test]
fn two_that_probe_at_the_same_time_notice() {
    for wanted in ["192.0.2.9", "2001:db8::9"] {
        let (near, far) = pair();
        let questions = vec![question(&near.port("eth0", NEAR), wanted)];
        let prober = near.run(move || Prober::open(&questions, []).unwrap());
        let other = far.port("eth0", FAR);
        assert_eq!(far.probe(vec![question(&other, wanted)], vec![], SHORT), Ok(Verdict::Free));
        assert_eq!(prober.run(LONG), owner(wanted, FAR, Evidence::Probes));
    }
}

#[test]
fn the_probes_of_other_programs_are_noticed() {
    let (near, far) = pair();
    let port = near.port("eth0", NEAR);
    let open = |questions: Vec<Question>| near.run(move || Prober::open(&questions, []).unwrap());

    let prober = open(vec![question(&port, "192.0.2.9")]);
    let (free, text) = far.command("arping", "-D -c 1 -w 1 -I eth0 192.0.2.9");
    assert!(free, "{text}");
    assert_eq!(prober.run(LONG), owner("192.0.2.9", FAR, Evidence::Probes));

    // The kernel probes for an address that is added.
    let prober = open(vec![question(&port, "2001:db8::9")]);
    far.run(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "1").unwrap());
    far.ip("address add 2001:db8::9/64 dev eth0");
    eventually("the end of the detection", || !far.ip("address show dev eth0").contains("tentative"));
    assert_eq!(prober.run(LONG), owner("2001:db8::9", FAR, Evidence::Probes));
}

/// Interfaces let through only the groups that somebody joined; veth lets all through, so the list must tell.
#[test]
fn groups_are_joined_while_probing() {
    let (near, _far) = pair();
    near.run(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").unwrap());
    let groups = || near.run(|| std::fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap());
    let joined = |group| groups().lines().any(|line| line.contains("eth0") && line.ends_with(group));
    let questions = vec![question(&near.port("eth0", NEAR), "2001:db8::12:3456")];
    let prober = near.run(move || Prober::open(&questions, []).unwrap());
    assert!(joined("333300000001") && joined("3333ff123456"), "{}", groups());
    drop(prober);
    assert!(!joined("333300000001") && !joined("3333ff123456"), "{}", groups());
}

/// Marked by the kernel as those of a foreign VLAN are.
#[test]
fn packets_for_other_stations_are_no_evidence() {
    let (near, far) = pair();
    let questions = vec![question(&near.port("eth0", NEAR), "192.0.2.9")];
    let prober = near.run(move || Prober::open(&questions, []).unwrap());
    let far_port = far.port("eth0", FAR);
    let payload = arp::Packet::announce_by_reply(&far_port, "192.0.2.9".parse().unwrap()).encode();
    let to = |destination| Frame { protocol: Protocol::Arp, destination, payload: payload.clone() };
    far.send(&far_port, to(parse_mac(FORMER).0));
    assert_eq!(prober.run(SHORT), Ok(Verdict::Free));
    far.send(&far_port, to(parse_mac(NEAR).0));
    assert_eq!(prober.run(LONG), owner("192.0.2.9", FAR, Evidence::Uses));
}

/// Two of our interfaces are plugged into one switch, and the address is on the second one already.
#[test]
fn our_own_second_interface_is_no_foreign_owner() {
    const SECOND: &str = "02:00:00:00:00:1a";
    let (near, switch) = pair();
    near.ip(&format!("link add eth1 address {SECOND} type veth peer name eth1 netns {}", switch.path));
    switch.ip("link add name br0 type bridge forward_delay 0");
    for device in ["eth0", "eth1"] {
        switch.ip(&format!("link set {device} master br0 up"));
    }
    switch.ip("link set br0 up");
    near.ip("link set eth1 up");
    near.add("192.0.2.1/24", "eth1");
    // Only the interface that has the address answers.
    near.run(|| std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").unwrap());
    let ask = || vec![question(&near.port("eth0", NEAR), "192.0.2.1")];
    assert_eq!(near.probe(ask(), vec![], LONG), owner("192.0.2.1", SECOND, Evidence::Uses));
    let ours = vec![parse_mac(SECOND), Mac::default()];
    assert_eq!(near.probe(ask(), ours, SHORT), Ok(Verdict::Free));
}

#[test]
fn of_ipv6_only_neighbour_discovery_is_let_through() {
    let (near, far) = pair();
    far.add("2001:db8::1/64", "eth0");
    near.add("2001:db8::2/64", "eth0");
    let port = near.port("eth0", NEAR);
    let socket = listen(&near, &port, Protocol::Ipv6);
    // Resolves the address of the receiver first, then sends what must not get through.
    far.run(|| {
        let datagrams = UdpSocket::bind("[2001:db8::1]:0").unwrap();
        datagrams.send_to(b"not for us", "[2001:db8::2]:9").unwrap();
    });
    far.expect_neighbour("2001:db8::2", NEAR);
    let far_port = far.port("eth0", FAR);
    far.announce(Claim::new(&far_port, address("2001:db8::77"), false).unwrap());
    let last = |received: &Received| {
        ndp::Packet::parse(&received.payload)
            .is_some_and(|packet| IpAddr::V6(packet.target) == address("2001:db8::77"))
    };
    let frames = receive_until(&socket, &port, last);
    assert!(frames.len() >= 2, "the solicitation and the announcement: {frames:?}");
    assert!(frames.iter().all(|received| ndp::Packet::parse(&received.payload).is_some()), "{frames:?}");
}
