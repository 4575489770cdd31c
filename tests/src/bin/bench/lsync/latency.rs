//! One change, until it is on all replicas.

use super::DELAY;
use super::live::Both;
use super::site::REPLICAS;
use crate::measure::{Series, time};
use crate::site::{Site, between};
use crate::table::Row;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

const ROUNDS: u64 = 15;

/// Measures it, at different moments of lsyncd's seconds.
pub(crate) fn measure(site: &Site<'_>) -> Result<Vec<Row>> {
    let both = Both::start(site)?;
    let (mut ours, mut bare, mut worst) = (Series::default(), Series::default(), 0.0_f64);
    for round in 0..ROUNDS {
        for mirror in [true, false] {
            sleep(Duration::from_millis(2200 + round * 137 % 1000));
            let name = PathBuf::from(format!("one{round}"));
            let begun = SystemTime::now();
            fs::write(both.source(mirror)?.join(&name), "one change")?;
            let there = site.wait_on(&REPLICAS, &both.replica(mirror), &[(name, 10)])?;
            let took = between(begun, there);
            if mirror {
                ours.push(took);
                worst = worst.max(took);
            } else {
                bare.push(took);
            }
        }
    }
    both.end()?;
    let limit = f64::from(DELAY + 1) * 1e6;
    let row = Row::new(format!("one change, delay = {DELAY} s: until it is on three replicas"))
        .ours(&ours)
        .stock(&bare)
        .target(&format!("≤ {} each time", time(limit)), worst <= limit);
    let mut slowest = Row::new("– the slowest of them");
    slowest.ours = time(worst);
    Ok(vec![row, slowest])
}
