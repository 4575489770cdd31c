//! The bound of a call: everything that may block ends before Pacemaker would kill it.

use crate::Failure;
use std::time::{Duration, Instant};

/// The instant by which a call has to be over, and what it was derived from.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// The deadline of a call that began at `begin` and is killed `timeout` later: less a tenth, at most a second,
    /// kept for saying what was waited for.
    pub fn new(begin: Instant, timeout: Duration) -> Self {
        let margin = (timeout / 10).min(Duration::from_secs(1));
        Deadline { at: begin + (timeout - margin), timeout }
    }

    /// The instant.
    pub fn instant(&self) -> Instant {
        self.at
    }

    /// The operation's whole timeout.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What is left; zero when it is over.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Calls `check` until it gives a value, with pauses of `pause` between.
    ///
    /// # Errors
    /// What `check` fails with, or after the deadline that `what` did not come about in time.
    pub fn wait_for<T>(
        &self,
        what: &str,
        pause: Duration,
        mut check: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        loop {
            if let Some(value) = check()? {
                return Ok(value);
            }
            let left = self.remaining();
            if left.is_zero() {
                return Err(self.missed(what));
            }
            std::thread::sleep(pause.min(left));
        }
    }

    /// The failure of a wait that took too long.
    pub fn missed(&self, what: &str) -> Failure {
        Failure::generic(format!(
            "gave up waiting for {what}: the operation's timeout of {:?} is nearly over",
            self.timeout
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_a_tenth_and_at_most_a_second() {
        let begin = Instant::now();
        let left = |seconds| Deadline::new(begin, Duration::from_millis(seconds)).instant() - begin;
        assert_eq!(left(20_000), Duration::from_secs(19));
        assert_eq!(left(1_000), Duration::from_millis(900));
        assert_eq!(left(0), Duration::ZERO);
    }

    #[test]
    fn a_wait_that_takes_too_long_names_what_it_waited_for() {
        let deadline = Deadline::new(Instant::now(), Duration::ZERO);
        let failure = deadline.wait_for("the peer", Duration::ZERO, || Ok(None::<()>)).unwrap_err();
        assert!(failure.reason.contains("waiting for the peer"), "{}", failure.reason);
    }

    #[test]
    fn a_wait_ends_with_the_first_value() {
        let deadline = Deadline::new(Instant::now(), Duration::from_secs(60));
        let mut calls = 0;
        let value = deadline.wait_for("it", Duration::ZERO, || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);
    }
}
