//! What a turn costs, and what the server holds, in worlds that lag, alternate and burst, over a network
//! that allocates nothing and holds nothing.
//!
//! After each turn,
//!
//! - the steps along lists that peers can make long are at most linear in what the turn was given: see
//!   [`Given`]. What waits, and which peers are blocked, is nowhere in it;
//! - the heap that the server holds is at most twice what it counts as queued and as history, beside its
//!   pools and a constant for each connection, topic and subscription: see [`heap_bytes_max`];
//! - what a blocked connection has begun and not written is less than one publication, and all
//!   connections are written to within one sequence.

mod crowd;
mod given;
mod kept;
mod peer;
mod world;

use crate::support::campaign::scale;
use crate::support::dice::in_parallel;
use world::World;

fn lives(seeds: std::ops::Range<u64>) -> u64 {
    for seed in seeds.clone() {
        let mut world = World::new(seed);
        world.lives();
    }
    seeds.end - seeds.start
}

fn worlds(seeds: u64) {
    if let Ok(seed) = std::env::var("COST_SEED") {
        let seed = seed.parse().expect("a number");
        lives(seed..seed + 1);
    } else {
        in_parallel(seeds, lives);
    }
}

#[test]
fn a_turn_costs_what_it_was_given_and_what_is_held_is_counted() {
    worlds(40);
}

#[test]
fn what_a_crowd_has_read_is_given_back() {
    for seed in 0..3 {
        let mut world = World::with(seed, |config| {
            (config.send_queue_bytes_max, config.send_queues_bytes_max) = (1 << 20, 1 << 30);
            (config.write_bytes_per_turn, config.fan_out_bytes_per_turn) = (128 << 10, 1 << 20);
            (config.topic_lag_bytes_max, config.topic_unserved_bytes_max) = (1 << 20, 64 << 20);
            config.fan_out_writes_per_turn = 256;
        });
        world.crowd_recovers();
    }
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn it_does_in_thousands_of_worlds() {
    worlds(scale(1_500, 4_000));
}
