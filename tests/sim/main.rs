//! The server of production in simulated worlds: the network, the clock, the peers and the
//! application are all driven by one source of choices, so that whatever happens happens again.
//!
//! ```sh
//! cargo sim                                # 300 worlds
//! SIM_SEED=17 cargo sim                    # the one that failed, with its last steps
//! SIM_SEEDS=1000000 cargo sim --release    # a campaign
//! SIM_BYTES=FILE cargo sim                 # what a fuzzer found: see tests/fuzz/
//! ```
//!
//! `cost` has worlds of another kind, of which the cost is counted. Worlds run on all processors, and
//! `cargo sim` is about them alone: so they are a crate of their own.

#[allow(dead_code, reason = "`exhaustive` needs all of it")]
#[path = "../oracle/mod.rs"]
mod oracle;
#[allow(dead_code, unused_imports, reason = "`it` needs all of it")]
#[path = "../support/mod.rs"]
mod support;

mod cost;
mod layers;
mod loops;
mod small;
mod worlds;

use std::cell::RefCell;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Mutex;

use crate::support::campaign::scale;
use crate::support::dice::{Dice, in_parallel};
use worlds::choice::Bytes;
use worlds::marks::{ALL, FAULTS, RESUMES, WITHOUT_DEFLATE};
use worlds::world::World;

/// The worlds of an ordinary run.
const SEEDS: u64 = 300;

/// What was counted, and the most turns that it took to come to rest.
fn lives(seed: u64, traces: bool) -> (Vec<u64>, u64) {
    let dice = Rc::new(RefCell::new(Dice::new(seed + 1)));
    let mut world = World::new(dice, traces);
    world.lives();
    (world.marks.counts(), world.turns_to_rest)
}

/// Runs one world, and if it fails, once more to say how it came to that.
fn replays_if_it_fails(seed: u64) -> (Vec<u64>, u64) {
    catch_unwind(AssertUnwindSafe(|| lives(seed, false))).unwrap_or_else(|failure| {
        eprintln!("seed {seed} fails: SIM_SEED={seed} cargo sim");
        let _ = catch_unwind(AssertUnwindSafe(|| lives(seed, true)));
        resume_unwind(failure)
    })
}

/// Runs so many worlds. Every fault must have come once in 10 worlds on average, every path that is hard
/// to come by once in 50, and every answer to one that comes back three times in a world.
fn campaign(seeds: u64) {
    let totals = Mutex::new((vec![0; ALL.len()], 0));
    in_parallel(seeds, |part| {
        let worlds = part.end - part.start;
        for seed in part {
            let (counts, turns) = replays_if_it_fails(seed);
            let mut totals = totals.lock().expect("no world fails");
            totals.1 = totals.1.max(turns);
            totals.0.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        worlds
    });
    let (totals, turns) = totals.into_inner().expect("no world fails");
    for (mark, count) in ALL.iter().zip(&totals) {
        println!("{count:>10}  {mark:?}");
    }
    // Without the feature, no compression is agreed on.
    let there = if cfg!(feature = "deflate") { ALL.len() } else { WITHOUT_DEFLATE };
    for (at, (mark, count)) in ALL.iter().zip(&totals).enumerate().take(there) {
        let least = match at {
            _ if RESUMES.contains(mark) => 3 * seeds,
            _ if at < FAULTS => seeds / 10,
            _ => seeds / 50,
        };
        assert!(*count >= least, "{mark:?} came {count} times in {seeds} worlds");
    }
    println!("figure simulated worlds: {seeds}, 0 violations; at rest within {turns} turns");
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// A world whose choices are a fuzzer's.
fn lives_by(bytes: Vec<u8>, traces: bool) {
    World::new(Rc::new(RefCell::new(Bytes(bytes))), traces).lives();
}

#[test]
fn what_is_promised_holds_in_every_world() {
    if let Some(seed) = number("SIM_SEED") {
        lives(seed, true);
    } else if let Ok(path) = env::var("SIM_BYTES") {
        lives_by(fs::read(path).expect("a file that a fuzzer wrote"), true);
    } else {
        campaign(number("SIM_SEEDS").unwrap_or(SEEDS));
    }
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn what_is_promised_holds_in_thousands_of_worlds() {
    campaign(scale(4_000, 10_000));
}

#[test]
fn a_world_is_the_same_every_time() {
    for seed in 0..3 {
        let life = || {
            let mut world = World::new(Rc::new(RefCell::new(Dice::new(seed))), false);
            (world.lives(), world.marks.counts())
        };
        assert_eq!(life(), life());
    }
}

#[test]
fn bytes_of_a_fuzzer_make_a_world_too() {
    for len in [0, 1, 100, 5000] {
        lives_by((0..len).map(|at| (at * at % 251) as u8).collect(), false);
    }
    let seeds = fs::read_dir("tests/fuzz/seeds/worlds").expect("the seeds of the target");
    for seed in seeds {
        let path = seed.expect("a name").path();
        eprintln!("SIM_BYTES={} cargo sim", path.display());
        lives_by(fs::read(path).expect("a seed"), false);
    }
}
