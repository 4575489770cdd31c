//! What has happened in a random schedule, for people who look for what went wrong; and how such a schedule is asked for.

// The story of a test is told where tests tell theirs.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

/// Lines with the time since the beginning.
#[derive(Debug)]
pub struct Story {
    begun: Instant,
    lines: String,
}

impl Default for Story {
    fn default() -> Self {
        Self { begun: Instant::now(), lines: String::new() }
    }
}

impl Story {
    /// Adds a line, with seconds since the beginning.
    pub fn add(&mut self, what: &str) -> &str {
        let begin = self.lines.len();
        self.lines.push_str(&format!("{:7.1} {what}\n", self.begun.elapsed().as_secs_f64()));
        self.lines[begin..].trim_end_matches('\n')
    }

    /// The same with the clock of the applications' logs in brackets, and prints it.
    pub fn note(&mut self, what: &str) {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map(Duration::from)
            .unwrap_or_default();
        println!("{}", self.add(&format!("{what} [{:.2}]", now.as_secs_f64())));
    }

    /// All of it.
    #[must_use]
    pub fn told(&self) -> &str {
        &self.lines
    }
}

/// The seed of the schedule: `BASCULE_SEED`, or this.
///
/// # Panics
/// The variable is no number.
#[must_use]
pub fn seed(usual: u64) -> u64 {
    asked("BASCULE_SEED").unwrap_or(usual)
}

/// How long all tests of a file together last: `BASCULE_MINUTES`, or this.
///
/// # Panics
/// The variable is no number.
#[must_use]
pub fn minutes(usual: f64) -> f64 {
    asked("BASCULE_MINUTES").unwrap_or(usual)
}

fn asked<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number is expected")))
}
