//! A million connections over a network in memory that costs next to nothing: what the server keeps
//! of each, what one publication to all of them takes, and one period of their timers. And what it
//! takes to publish from another thread.
//!
//! `cargo bench --bench million [-- CONNECTIONS]`. As a test, it takes a thousand.

// A benchmark measures time.
#![allow(clippy::disallowed_methods)]

mod loopback;
#[path = "../../tests/support/sink.rs"]
#[allow(dead_code, reason = "the tests need all of it")]
mod sink;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};
use std::{env, thread};

use allocation_counter::measure;
use pushloop::{Config, ConnId};
use sink::Drain;
use support::private_bytes;

/// The step of the timer wheel.
const TICK: Duration = Duration::from_nanos(1 << 26);
const INTERVAL: Duration = Duration::from_secs(25);
/// An empty Pong of a client, which answers a Ping or shows that it is there.
const PONG: [u8; 6] = [0x8A, 0x80, 1, 2, 3, 4];

fn main() {
    let number = env::args().skip(1).find_map(|argument| argument.parse().ok());
    // Cargo says so when it is a benchmark, and not a test.
    let is_bench = env::args().any(|argument| argument == "--bench");
    let connections = number.unwrap_or(if is_bench { 1_000_000 } else { 1000 });
    println!("{connections} connections over a network in memory");
    let mut million = Million::opens(connections);
    million.publishes(if is_bench { 21 } else { 3 });
    million.passes_a_period();
    million.pings_all_at_once();
    drop(million);
    let rounds = if is_bench { 201 } else { 3 };
    in_memory(rounds);
    loopback::run(rounds);
}

fn row(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<64} {value}");
}

/// The median, with the least and the most.
fn spread(mut values: Vec<f64>) -> (f64, String) {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    (median, format!("{median:.1} ({:.1} to {:.1})", values[0], values[values.len() - 1]))
}

struct Million {
    drain: Drain,
    ids: Vec<ConnId>,
}

impl Million {
    /// Opens them all; each subscribes to one topic.
    fn opens(connections: usize) -> Self {
        let mut config = Config::default();
        (config.connections_max, config.ping_interval) = (connections, Some(INTERVAL));
        // Each timer is set once in a period, and not sooner for a peer that was pinged.
        config.pong_timeout = INTERVAL;
        let mut ids = vec![ConnId::from_bits(0); connections];
        let mut drain = Drain::new(config);
        // What is made once. A server that has only begun has no time for a jitter to go back to.
        drain.server.net().now += INTERVAL;
        drain.turn(|_, event| panic!("{event:?}"));
        let before = private_bytes();
        let mut at = 0;
        let began = Instant::now();
        let opening = measure(|| {
            drain.opens(connections, |_, id| {
                ids[at] = id;
                at += 1;
            });
        });
        let took = began.elapsed();
        let opened = private_bytes();
        let subscribing = measure(|| {
            for id in &ids {
                drain.hub().subscribe(*id, "t").expect("it is open");
            }
        });
        let each = |bytes: i64| format!("{:.1}", bytes as f64 / connections as f64);
        row("bytes each, all tables' room to grow included", each(opening.bytes_current));
        row("bytes each, with one topic", each(opening.bytes_current + subscribing.bytes_current));
        row("... as the system sees it (RssAnon)", each(opened - before));
        row("... and with one topic", each(private_bytes() - before));
        row("accept and handshake, nanoseconds each", each(took.as_nanos() as i64));
        Self { drain, ids }
    }

    /// Publishes to all, so many times.
    fn publishes(&mut self, rounds: usize) {
        let connections = self.ids.len();
        let mut round = |_| {
            let before = self.drain.server.net().writes;
            let began = Instant::now();
            self.drain.hub().publish("t", MESSAGE).expect("there is room");
            self.drain.empties();
            let took = began.elapsed().as_nanos() as f64 / connections as f64;
            assert_eq!(self.drain.server.net().writes - before, connections as u64);
            took
        };
        round(0);
        let (_, text) = spread((0..rounds).map(round).collect());
        row("one publication of 20 B to all, nanoseconds per delivery", text);
    }

    /// All say something, in as many turns as it takes.
    fn all_speak(&mut self) {
        self.drain.server.net().says(PONG.to_vec());
        for ids in self.ids.chunks(1000) {
            ids.iter().for_each(|id| self.drain.server.net().speaks(*id));
            self.drain.turn(|_, event| panic!("{event:?}"));
        }
    }

    /// So many steps of the wheel; gives how long they took.
    fn goes_on(&mut self, ticks: u32) -> Duration {
        let began = Instant::now();
        for _ in 0..ticks {
            self.drain.server.net().now += TICK;
            self.drain.turn(|_, event| panic!("{event:?}"));
        }
        began.elapsed()
    }

    /// All timers come due, one after the other, and find that their peers were there: these have
    /// spoken since the timers were set, so that they are set anew.
    fn passes_a_period(&mut self) {
        let ticks = (INTERVAL.as_nanos() / TICK.as_nanos()) as u32;
        self.goes_on(2);
        self.all_speak();
        let took = self.goes_on(ticks - 1);
        assert_eq!(self.drain.hub().counters().pings_sent, 0);
        let each = took.as_nanos() as f64 / self.ids.len() as f64;
        row("a period of the timers, all set anew, nanoseconds each", format!("{each:.1}"));
    }

    /// All are silent from the same moment on.
    fn pings_all_at_once(&mut self) {
        let connections = self.ids.len() as u64;
        let mut took = Duration::ZERO;
        while self.drain.hub().counters().pings_sent < connections {
            took += self.goes_on(1);
            assert!(took < Duration::from_secs(60), "the Pings do not come");
        }
        assert_eq!(self.drain.hub().counters().connections_open, connections);
        let each = took.as_nanos() as f64 / connections as f64;
        row("a Ping for each, all due at once, nanoseconds each", format!("{each:.1}"));
    }
}

const SUBSCRIBERS: usize = 1000;
const MESSAGE: &str = "01234567890123456789";

/// A publication of the loop's own, and one of another thread, in turn; the latter waits in the
/// mailbox when the loop comes to it. What the loop does for each is measured.
fn in_memory(rounds: usize) {
    let mut drain = Drain::new(Config::default());
    drain.opens(SUBSCRIBERS, |hub, id| hub.subscribe(id, "t").expect("it is open"));
    let handle = drain.server.handle();
    let round = |from_afar: bool| {
        if from_afar {
            let publish = || handle.publish("t", MESSAGE).expect("there is room");
            thread::scope(|scope| scope.spawn(publish).join()).expect("it does not panic");
        }
        let writes = drain.server.net().writes;
        let began = Instant::now();
        if from_afar {
            // It takes the command after the writes of its turn.
            drain.turn(|_, event| panic!("{event:?}"));
        } else {
            drain.hub().publish("t", MESSAGE).expect("there is room");
        }
        drain.empties();
        let took = began.elapsed();
        assert_eq!(drain.server.net().writes - writes, SUBSCRIBERS as u64);
        took
    };
    compare("over a network in memory", rounds, round);
}

/// Prints what both take, round by round in turn.
fn compare(over: &str, rounds: usize, mut round: impl FnMut(bool) -> Duration) {
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for at in 0..rounds / 10 {
        round(at % 2 == 0);
    }
    for at in 0..2 * rounds {
        // The order changes, so that neither is always the first.
        let from_afar = at % 4 == 1 || at % 4 == 2;
        let micros = round(from_afar).as_nanos() as f64 / 1000.0;
        if from_afar { other.push(micros) } else { own.push(micros) }
    }
    let ((own, own_text), (other, other_text)) = (spread(own), spread(other));
    println!("1 publication of 20 B to {SUBSCRIBERS} subscribers {over}, median (least to most)");
    row("from the loop, microseconds", own_text);
    row("from another thread, microseconds", other_text);
    row("ratio of the medians", format!("{:.3}", other / own));
}
