//! What was measured, as rows and ratios.

use std::time::Duration;

use pocketvm_stick::Counters;

use crate::measure::{SIDES, Side};
use crate::side::Took;
use crate::workload::{MIB, Workload};

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    wall: Duration,
    counters: Counters,
    peak: u64,
}

impl Figures {
    pub fn new(took: Took, counters: Counters) -> Self {
        Figures { wall: took.wall, counters, peak: took.peak }
    }
}

/// The middle one, and the least and the most.
#[derive(Debug, Clone, Copy)]
pub struct Spread<T> {
    pub median: T,
    pub least: T,
    pub most: T,
}

/// Of at least one value.
pub fn spread<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Spread<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    Spread { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
}

pub fn heading() {
    let columns = ["written, MiB", "flash, MiB", "requests", "flushes", "peak, MiB"];
    let [written, flash, requests, flushes, peak] = columns;
    let (workload, side, wall, ratio) = ("workload", "side", "wall, s", "commit / merge: wall, flash");
    println!(
        "{workload:<11} {side:<12} {wall:>22} {written:>12} {flash:>12} {requests:>9} {flushes:>8} {peak:>9}   {ratio}"
    );
}

fn name(side: Side) -> String {
    match side {
        Side::Commit(cluster) => format!("commit {}K", cluster / 1024),
        Side::Merge(cluster) => format!("merge {}K", cluster / 1024),
        Side::Verified(cluster) => format!("verified {}K", cluster / 1024),
        Side::Copy => "plain copy".to_owned(),
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

/// A row for each side; those of the merge with what they are to the commit on the same base.
pub fn rows(workload: Workload, changed: u64, found: &[Vec<Figures>]) {
    let wall = |at: usize| spread(found[at].iter().map(|run| run.wall));
    let count =
        |at: usize, of: fn(&Counters) -> u64| spread(found[at].iter().map(|run| of(&run.counters))).median;
    for (at, side) in SIDES.into_iter().enumerate() {
        let time = wall(at);
        let ratio = match side {
            Side::Merge(cluster) | Side::Verified(cluster) => {
                let peer = SIDES.iter().position(|other| *other == Side::Commit(cluster)).expect("its peer");
                let flash = |at| count(at, |counters| counters.flash).max(1) as f64;
                format!(
                    "{:5.2}x {:6.2}x",
                    wall(peer).median.as_secs_f64() / time.median.as_secs_f64(),
                    flash(peer) / flash(at)
                )
            }
            Side::Copy => format!("{:.1} MiB changed", mib(changed)),
            Side::Commit(_) => String::new(),
        };
        println!(
            "{:<11} {:<12} {:>7.2} ({:>5.2}-{:>6.2}) {:>12.1} {:>12.1} {:>9} {:>8} {:>9.1}   {ratio}",
            workload.name(),
            name(side),
            time.median.as_secs_f64(),
            time.least.as_secs_f64(),
            time.most.as_secs_f64(),
            mib(count(at, |counters| counters.written)),
            mib(count(at, |counters| counters.flash)),
            count(at, |counters| counters.requests),
            count(at, |counters| counters.flushes),
            spread(found[at].iter().map(|run| run.peak)).median as f64 / 1024.0,
        );
    }
}
