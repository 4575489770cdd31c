//! Tests of datasets that share a daemon: none may do harm to another.

use super::tests::*;
use super::*;
use crate::core::Standing;
use std::io::Write as _;
use std::process::Command;

fn signal(daemon: &Identity, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.pid()), signal).unwrap();
}

#[test]
fn a_slow_greeting_ends_nobodys_transfer() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    let (other_place, other) = bench.serving("site6");
    learns(&other_place, &other, &knows(1, Standing::Behind));
    let mut bystander = bench.endless(&other, &generation(1));
    let daemon = bench.daemon();
    // Whoever is accepted reads the modules first, and waits for somebody to write this one.
    let slow = Files::of(&place, settings.port).modules().join("slow.conf");
    let slowly = || assert!(Command::new("mkfifo").arg(&slow).status().unwrap().success());
    slowly();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Longer than one answer is waited for.
            std::thread::sleep(GREETING + GREETING / 2);
            let mut pipe = fs::OpenOptions::new().write(true).open(&slow).unwrap();
            fs::remove_file(&slow).unwrap();
            pipe.write_all(b"\n").unwrap();
        });
        serve(&place, &settings, soon()).unwrap();
    });
    assert!(bystander.goes_on());
    assert_eq!(bench.daemon(), daemon);
    // For ever is a failure, and no more.
    slowly();
    let refused = serve(&place, &settings, soon()).unwrap_err().reason;
    assert!(refused.contains("does not answer") && refused.contains("serves site6"), "{refused}");
    assert!(bystander.goes_on() && daemon.is_alive());
    fs::remove_file(&slow).unwrap();
}

#[test]
fn a_shared_daemon_that_is_deaf_is_replaced() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    bench.serving("site6");
    let deaf = bench.daemon();
    signal(&deaf, nix::sys::signal::Signal::SIGSTOP);
    serve(&place, &settings, soon()).unwrap();
    assert!(!deaf.is_alive());
    greets(&settings, soon()).unwrap();
}

#[test]
fn names_that_rsync_takes_for_the_same_are_refused() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    for name in ["site5.control", "SITE5", "Site5.Control"] {
        let (clash_place, clash) = bench.dataset(name);
        let refused = serve(&clash_place, &clash, soon()).unwrap_err().reason;
        assert!(refused.contains(name) && refused.contains("and site5 cannot share"), "{refused}");
        withdraw(&clash_place, &clash, soon()).unwrap();
    }
    bench.serving("site5.controls");
    withdraw(&place, &settings, soon()).unwrap();
    let (place, settings) = bench.dataset("SITE5");
    serve(&place, &settings, soon()).unwrap();
}
