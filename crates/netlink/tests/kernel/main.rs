//! The crate against the real kernel. Each test moves its own thread into a fresh network namespace before it touches
//! anything, so nothing outside is seen or changed, and the kernel removes all of it when the thread ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests say what they expect by panicking.

mod addresses;
mod connections;
mod links;
mod lookups;
mod routes;

use netlink::Netlink;
use nix::sched::{CloneFlags, unshare};
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// Moves this thread into a new network namespace with `lo` up.
fn fresh_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root, for a network namespace of their own");
    ip("link set lo up");
}

/// The same with a pair of links, `v0` and `v1`, tied to each other and up.
fn with_veth() {
    fresh_namespace();
    for link in ["v0", "v1"] {
        // Link-local addresses and their duplicate detection would only be noise.
        if link == "v0" {
            ip("link add v0 type veth peer name v1");
        }
        ip(&format!("link set {link} addrgenmode none"));
        ip(&format!("link set {link} up"));
    }
}

/// Runs `ip` in the namespace of this thread.
fn ip(arguments: &str) -> String {
    run(&format!("ip {arguments}"))
}

/// Runs a command in the namespaces of this thread, and returns what it printed.
fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a batch of `ip` commands, one a line.
fn ip_batch(lines: &str) {
    use std::io::Write;
    let mut child =
        Command::new("ip").args(["-batch", "-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip -batch");
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn open() -> Netlink {
    Netlink::new(soon())
}

fn index(name: &str) -> u32 {
    open().link_by_name(name).unwrap().unwrap_or_else(|| panic!("no {name}")).index
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn sysctl(path: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{path}"), value).unwrap();
}
