//! Guarantees of the crate, tested on real processes.
//!
//! Some need a program of their own, that is forked or killed: [`again`] runs a single test of this binary once more in a
//! process where nothing else goes on, and [`inside`] tells it what it was given.
#![cfg(test)]

mod daemon;
mod detach;
mod holders;
mod lock;
mod tool;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Time that is never used up unless something hangs.
fn ample() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// This binary again, to run one test (`module::name`) alone.
fn again(test: &str, told: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("INSIDE", told);
    command.stdin(Stdio::null());
    command
}

/// What [`again`] was told; `None` in the test as the harness runs it.
fn inside() -> Option<String> {
    std::env::var("INSIDE").ok()
}

/// Waits until something holds, and fails if it never does.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = ample();
    while !holds() {
        assert!(Instant::now() < end, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn runs(pid: i32) -> bool {
    process::Process::of(pid).is_some_and(|process| process.is_running())
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}
