//! The crate against no cluster, against stand-ins of the tools that count their calls, hang or fail, and against a real
//! Pacemaker. Each runs in namespaces of its own (`unshare`), so that no cluster of this machine is seen or touched; that takes
//! root, and for the last the packages corosync and pacemaker.
#![cfg(test)]

mod none;
mod real;
mod standin;

use std::process::Command;
use std::time::{Duration, Instant};

fn ample() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Runs one test (`module::name`) of this binary again where `place` says, with `INSIDE` set to what it is told; fails with
/// what it printed.
#[track_caller]
fn run_inside(place: &[&str], test: &str, told: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new(place[0]);
    command.args(&place[1..]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env("INSIDE", told).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn inside() -> Option<String> {
    std::env::var("INSIDE").ok()
}

/// Processes and sockets of its own; ends with who runs it.
const APART: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "--"];

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = ample();
    while !holds() {
        assert!(Instant::now() < end, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
