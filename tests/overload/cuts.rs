//! Subscribers of the server to run that lose their connections at any moment, while their topics are published
//! to: what they missed comes, once and in order, or they are told that it cannot be had.

mod client;
mod publisher;

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::crowd::turn_with_descriptors;
use crate::support::PATIENCE;
use crate::support::campaign::{now, scale};
use crate::support::dice::Dice;
use crate::support::process::{Process, scratch};
use client::{Client, Tally};

const TOPICS: usize = 20;
const CLIENTS: usize = 100;
const PUBLISHERS: usize = 2;
/// The last publication of each topic.
const END: &str = "end";

/// What is published as the so-manieth of a topic: mostly short, one of fifty longer than a segment.
fn text_of(offset: u64) -> String {
    let more = if offset.is_multiple_of(50) { 1500 } else { offset % 8 };
    format!("{offset}{}", "\nκ\"".repeat(more as usize))
}

/// Whether the server is killed now and then, and what the next one knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kills {
    Never,
    Forgets,
    Remembers,
}

/// What all threads of a test share.
struct World {
    address: String,
    /// How many publications of a topic the server keeps.
    keeps: u64,
    kills: Kills,
    /// What was published to each topic in its present life, and in all.
    heads: [AtomicU64; TOPICS],
    published: AtomicU64,
    cuts: AtomicUsize,
    /// Nobody is cut any more.
    is_calm: AtomicBool,
    /// Clients that subscribe for the last time.
    settled: AtomicUsize,
    failed: AtomicBool,
}

impl World {
    fn new(address: String, keeps: u64, kills: Kills) -> Self {
        Self {
            address,
            keeps,
            kills,
            heads: Default::default(),
            published: AtomicU64::new(0),
            cuts: AtomicUsize::new(0),
            is_calm: AtomicBool::new(false),
            settled: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// Waits for what other threads do.
    #[track_caller]
    fn waits_until(&self, condition: impl Fn() -> bool) {
        for _ in 0..scale(60, 600) * PATIENCE.as_millis() / 10 {
            if condition() {
                return;
            }
            assert!(!self.failed.load(SeqCst), "another thread failed");
            thread::sleep(Duration::from_millis(1));
        }
        panic!("what is waited for does not come about");
    }

    /// Waits until so much more was published.
    #[track_caller]
    fn lets_pass(&self, publications: u64) {
        let until = self.published.load(SeqCst) + publications;
        self.waits_until(|| self.published.load(SeqCst) >= until);
    }

    /// Subscribers and publishers, while `meanwhile` is done here; and what became of the subscribers.
    fn runs(&self, seed: u64, cuts: usize, meanwhile: impl FnOnce()) -> Tally {
        thread::scope(|scope| {
            let guarded = |run: &dyn Fn() -> Tally| {
                let _guard = Guard(&self.failed);
                run()
            };
            for nth in 0..PUBLISHERS {
                scope.spawn(move || guarded(&|| publisher::publishes(self, nth, seed)));
            }
            let client = |nth| Client::new(self, nth, Dice::new(seed + nth as u64)).runs();
            let clients: Vec<_> =
                (0..CLIENTS).map(|nth| scope.spawn(move || guarded(&|| client(nth)))).collect();
            let _guard = Guard(&self.failed);
            meanwhile();
            self.waits_until(|| self.cuts.load(SeqCst) >= cuts);
            self.is_calm.store(true, SeqCst);
            clients.into_iter().map(|it| it.join().expect("it has said why")).sum()
        })
    }
}

/// Has all threads end when one fails.
struct Guard<'a>(&'a AtomicBool);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, SeqCst);
        }
    }
}

/// A port that no connection has for its own end: while nobody listens, one that did would connect to itself.
fn port() -> u16 {
    let first = 10_000 + std::process::id() as u16 % 10_000;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_768).find(is_free).expect("a port is free")
}

fn serves(address: &str, keeps: u64, more: &[&str]) -> Process {
    let keeps = keeps.to_string();
    let (listen, room) = (["--listen", address], ["--history-bytes", "67108864"]);
    let arguments = [&listen[..], &["--history", &keeps], &room, more].concat();
    let mut server = Process::start(env!("CARGO_BIN_EXE_pushloop").as_ref(), &arguments);
    server.address("http://");
    server
}

fn figure(what: &str, world: &World, tally: &Tally, took: Duration) {
    println!(
        "figure {what}: {CLIENTS} subscribers of {TOPICS} topics, {} cuts, {} publications, {} deliveries; {} \
         subscriptions recovered, at least {} publications that were missed among them; {} told that they are \
         not; {took:.1?}",
        world.cuts.load(SeqCst),
        world.published.load(SeqCst),
        tally.heard,
        tally.recovered,
        tally.missed,
        tally.lost,
    );
}

/// So many cuts, with so much of each topic kept.
fn cuts(seed: u64, keeps: u64, cuts: usize) -> Tally {
    let _turn = turn_with_descriptors(1500);
    let address = format!("127.0.0.1:{}", port());
    let _server = serves(&address, keeps, &[]);
    let (world, began) = (World::new(address, keeps, Kills::Never), now());
    let tally = world.runs(seed, cuts, || ());
    figure(&format!("--history {keeps}"), &world, &tally, now() - began);
    tally
}

#[test]
fn who_is_cut_off_at_any_moment_misses_nothing_while_it_is_kept() {
    let tally = cuts(1, 1_000_000, scale(500, 24_000));
    assert_eq!(tally.lost, 0);
    assert!(tally.recovered > 500 && tally.missed > 500, "{tally:?}");
}

#[test]
fn who_is_away_for_longer_than_the_history_reaches_is_told_of_each_gap() {
    let tally = cuts(2, 5, scale(250, 12_000));
    assert!(tally.recovered > 100 && tally.lost > 100, "{tally:?}");
}

/// So many kills, at any moment, among so many cuts.
fn kills(seed: u64, kills: Kills, count: usize, cuts: usize, more: &[&str]) -> Tally {
    let _turn = turn_with_descriptors(1500);
    let address = format!("127.0.0.1:{}", port());
    let keeps = 1_000_000;
    let mut server = serves(&address, keeps, more);
    let (world, began, mut dice) = (World::new(address, keeps, kills), now(), Dice::new(seed));
    let tally = world.runs(seed, cuts, || {
        // Of a topic without a place, nobody knows what was published last.
        world.waits_until(|| world.heads.iter().all(|head| head.load(SeqCst) > 0));
        // A disk takes its time.
        let apart = if kills == Kills::Remembers { 300 } else { 1000 };
        for _ in 0..count {
            world.lets_pass(dice.below(apart) as u64);
            server.kills();
            server = serves(&world.address, keeps, more);
        }
        // Those that had no place when it was killed are not told of it.
        world.lets_pass(100);
    });
    figure(&format!("killed {count} times, {kills:?}"), &world, &tally, now() - began);
    tally
}

#[test]
fn who_comes_back_to_a_server_that_was_killed_is_told_and_goes_on_live() {
    let tally = kills(3, Kills::Forgets, scale(3, 20), scale(200, 4000), &[]);
    assert!(tally.lost >= CLIENTS as u64, "{tally:?}");
}

#[test]
fn who_comes_back_to_a_server_that_was_killed_and_has_a_file_misses_nothing() {
    let file = scratch("history");
    let more = ["--history-file", file.to_str().expect("the path is text")];
    let tally = kills(4, Kills::Remembers, scale(3, 20), scale(100, 4000), &more);
    assert_eq!(tally.lost, 0);
    assert!(tally.recovered > 100 && tally.missed > 100, "{tally:?}");
    fs::remove_file(file).expect("the server has it there");
}
