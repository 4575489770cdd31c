//! What this node knows, kept on its disk. Every change goes through [`update`], so that none is made from what was read
//! before another one, and none becomes true for others before it is durable here.

use crate::core::Own;
use crate::receiver;
use crate::settings::{Place, Settings};
use ocf::{Failure, StateFile};
use process::PidLock;
use std::time::Instant;

/// What this node knows; nothing if there is no file yet.
///
/// # Errors
/// The file cannot be read or makes no sense; the reason names it.
pub(crate) fn load(place: &Place) -> Result<Own, Failure> {
    Ok(StateFile::new(place.own()).load()?.unwrap_or_default())
}

/// Changes what this node knows: reads it, lets `change` decide, makes the result durable, and then has the receiver act
/// on it (old transfers are dead when this returns). Whoever changes the same dataset meanwhile waits.
///
/// Durable first, then the module, then the kill: a process killed between two of them leaves no state in which an older
/// generation is let in although a newer one was on record.
///
/// # Errors
/// The lock was not to be had by the deadline, the file cannot be read or written, or the receiver could not be brought to where
/// it has to be (it then refuses, and the next call tries again).
pub(crate) fn update(
    place: &Place,
    settings: &Settings,
    deadline: Instant,
    change: impl FnOnce(&Own) -> Own,
) -> Result<Own, Failure> {
    let _lock = PidLock::at(place.own_lock()).lock_until(deadline)?;
    let written = || -> Result<Own, Failure> {
        let before = load(place)?;
        let after = change(&before);
        if after != before {
            StateFile::new(place.own()).save_durably(&after)?;
        }
        Ok(after)
    };
    let after = match written() {
        Ok(after) => after,
        // What cannot be written down is not safe from being forgotten: nothing is let in until it can.
        Err(failure) => {
            receiver::admit_locked(place, settings, &Own::default(), deadline)?;
            return Err(failure);
        }
    };
    receiver::admit_locked(place, settings, &after, deadline)?;
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Standing;
    use crate::receiver::tests::{Bench, generation, knows, soon};

    #[test]
    fn changes_made_at_a_time_are_made_one_after_the_other() {
        let bench = Bench::new();
        let (place, settings) = bench.dataset("site5");
        update(&place, &settings, soon(), |_| knows(1, Standing::Behind)).unwrap();
        let (place, settings) = (&place, &settings);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let changed = update(place, settings, soon(), |own| {
                            let mut own = own.clone();
                            own.latest.as_mut().unwrap().change += 1;
                            own
                        });
                        changed.unwrap();
                    }
                });
            }
        });
        assert_eq!(load(place).unwrap().latest.unwrap().change, 20);
    }

    #[test]
    fn what_makes_no_sense_is_told_and_nothing_is_let_in() {
        let bench = Bench::new();
        let (place, settings) = bench.serving("site5");
        update(&place, &settings, soon(), |_| knows(1, Standing::Behind)).unwrap();
        std::fs::write(place.own(), "{").unwrap();
        let file = place.own().display().to_string();
        assert!(load(&place).unwrap_err().reason.contains(&file));
        let refused = update(&place, &settings, soon(), |_| knows(2, Standing::Behind)).unwrap_err();
        assert!(refused.reason.contains(&file), "{}", refused.reason);
        assert!(receiver::admit(&place, &settings, &knows(2, Standing::Behind), soon()).is_err());
        assert_eq!(bench.push(&settings, &generation(1), &bench.content("from", &["a"])), 5);
    }
}
