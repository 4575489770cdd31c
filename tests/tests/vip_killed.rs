//! vip killed by SIGKILL, as Pacemaker does at a timeout: whatever the instant, the next stop leaves nothing behind, and
//! the next start works.

// Test code: what goes wrong fails the test, there and then.
// The seed is printed, and shown where a test fails.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used, clippy::print_stdout)]

use lab::sandbox::{Agent, Sandbox};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Random numbers that can be had again (xorshift64): `BASCULE_SEED` takes a printed seed.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let given = std::env::var("BASCULE_SEED").ok().map(|seed| seed.parse().expect("BASCULE_SEED"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(std::process::id())).max(1);
        println!("BASCULE_SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Runs an action and kills it after a while, unless it has ended by then. Whether it was killed.
fn kill(agent: &Agent, action: &str, after: Duration) -> bool {
    let begin = Instant::now();
    let mut child = agent.command(&[action]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Sleeping is too coarse for instants within two milliseconds.
    while begin.elapsed() < after {
        std::hint::spin_loop();
    }
    let _it_may_have_ended = child.kill();
    child.wait().unwrap().signal() == Some(9)
}

/// A resource that changes all that can be changed, on a node with something to be changed.
fn everything_at_once(sandbox: &Sandbox) -> Agent {
    sandbox.sh("sysctl -qw net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.eth0.promote_secondaries=0
        ip link add eth1 type veth peer name eth1 netns peer; ip link set eth1 up; ip -n peer link set eth1 up
        ip address add 198.51.100.1/24 dev eth1; ip address add 192.0.2.10/32 dev lo
        ip route add default via 192.0.2.2 mtu 1400 initcwnd 20
        ip route append default via 192.0.2.3; ip route append default via 198.51.100.2
        ip route add default via 192.0.2.2 metric 50
        ip -6 route add default via 2001:db8::2 pref high; ip -6 route add default via 2001:db8::3 metric 9");
    sandbox.until("! ip address show | grep -q tentative");
    let agent = sandbox.agent("vip").set("ip", "192.0.2.10/24 2001:db8::10/64").set("nic", "eth0");
    let agent = agent.set("source_for", "default").set("iflabel", "web").set("nodad", "true");
    let agent = agent.set("lvs_support", "true").set("lvs_ipv6_addrlabel", "true");
    agent.set("arp_count", "4").set("arp_interval", "10")
}

/// Kills `action` again and again, each time in the state that `before` makes, and looks what a stop makes of it.
fn killed(sandbox: &Sandbox, agent: &Agent, action: &str, times: u32) {
    let clean = sandbox.everything();
    let mut random = Random::new();
    // How long it takes when nobody kills it, for instants that are spread over all of it.
    let uncut = (0..5).map(|_| {
        agent.expect(if action == "stop" { "start" } else { "stop" }, 0);
        let begin = Instant::now();
        agent.expect(action, 0);
        begin.elapsed()
    });
    let longest = u64::try_from(uncut.max().unwrap().as_micros()).unwrap();
    let mut done = 0;
    for round in 0..times * 5 {
        if action == "stop" {
            agent.expect("start", 0);
        } else {
            agent.expect("stop", 0);
        }
        let after = Duration::from_micros(random.below(longest));
        done += u32::from(kill(agent, action, after));
        // Twice in a row, as a killed stop that is tried again.
        if random.below(4) == 0 {
            kill(agent, "stop", Duration::from_micros(random.below(longest)));
        }
        let state = std::fs::read_to_string("/run/bascule/vip/test.json").unwrap_or_default();
        let stopped = agent.expect("stop", 0);
        let when = format!("round {round}, {action} killed after {after:?}; it knew {state}; {stopped}");
        sandbox.assert_unchanged(&clean, when);
        // One that was forked in the instant of the kill sees by itself that there is nothing to announce.
        sandbox.until_ended("vip-announce");
        let files = sandbox.sh("ls /run/bascule/vip | grep -v 'lock$\\|announcer$' || true");
        assert_eq!(files, "", "round {round}");
        agent.expect("monitor", 7);
        if round % 10 == 0 {
            agent.expect("start", 0);
            agent.clone().interval(10_000).expect("monitor", 0);
            agent.expect("stop", 0);
        }
        if done == times {
            return;
        }
    }
    panic!("{action} was killed {done} times only: it ends too soon");
}

#[test]
fn a_start_killed_at_any_instant_is_undone_by_stop() {
    let sandbox = Sandbox::with_peer();
    let agent = everything_at_once(&sandbox);
    killed(&sandbox, &agent, "start", 120);
}

#[test]
fn a_stop_killed_at_any_instant_is_finished_by_the_next() {
    let sandbox = Sandbox::with_peer();
    let agent = everything_at_once(&sandbox);
    killed(&sandbox, &agent, "stop", 120);
}

#[test]
fn a_start_killed_at_any_instant_is_finished_by_the_next() {
    let sandbox = Sandbox::with_peer();
    let agent = everything_at_once(&sandbox);
    // Of routes in one place, a start that goes on with another's work may leave the order to the stop.
    sandbox.sh("ip route del default via 192.0.2.3; ip route del default via 198.51.100.2");
    let clean = sandbox.everything();
    // The kernel makes the route for a new IPv6 address a moment later.
    let started = || {
        agent.expect("start", 0);
        sandbox.until("ip -6 route show table local | grep -q '^local 2001:db8::10 '");
    };
    started();
    let up = sandbox.everything();
    agent.expect("stop", 0);
    let mut random = Random::new();
    for round in 0..30 {
        let after = Duration::from_micros(random.below(3000));
        kill(&agent, "start", after);
        started();
        sandbox.assert_unchanged(&up, format!("round {round}, killed after {after:?}"));
        agent.clone().interval(10_000).expect("monitor", 0);
        agent.expect("stop", 0);
        sandbox.assert_unchanged(&clean, format!("round {round}, killed after {after:?}"));
    }
}
