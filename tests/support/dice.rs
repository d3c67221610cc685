//! Chance that is the same in every run, and cases by the million on all processors.

use std::ops::Range;
use std::thread;

pub use pushloop::testing::Dice;

/// Has each processor take a part of `0..cases`, and gives how many cases were counted in all.
pub fn in_parallel(cases: u64, run: impl Fn(Range<u64>) -> u64 + Sync) -> u64 {
    let parts = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let bound = |part: u64| (u128::from(cases) * u128::from(part) / u128::from(parts)) as u64;
    thread::scope(|scope| {
        let run = &run;
        let part = |part| scope.spawn(move || run(bound(part)..bound(part + 1)));
        let threads: Vec<_> = (0..parts).map(part).collect();
        threads.into_iter().map(|thread| thread.join().expect("no case fails")).sum()
    })
}
