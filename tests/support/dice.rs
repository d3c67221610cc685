//! Chance that is the same in every run, and cases by the million on all processors.

use std::ops::Range;
use std::thread;

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

/// Random numbers that are the same in every run (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
