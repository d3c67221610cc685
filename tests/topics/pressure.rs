//! Random operations among peers whose kernels are full more often than not. What must hold then:
//! no frame is cut, nothing comes twice or out of order, and whatever does not arrive is counted.

use pushloop::{Config, ConnId, Overflow, SendError};

use super::config;
use super::dice::Dice;
use super::net::{Sim, Wire, frames};
use super::support::{Frame, ping};

const TOPICS: [(&str, Overflow); 3] = [
    ("newest", Overflow::DropNewest),
    ("latest", Overflow::KeepLatest),
    ("second latest", Overflow::KeepLatest),
];
const QUEUE: usize = 2000;
const QUEUES: usize = 1 << 20;

struct Peer {
    id: ConnId,
    wire: Wire,
    bytes: Vec<u8>,
}

struct Pressure {
    sim: Sim,
    dice: Dice,
    peers: Vec<Peer>,
    messages: usize,
    /// Messages that were taken, once for each that they are for.
    due: u64,
    /// Direct messages that were refused.
    refused: u64,
}

impl Pressure {
    fn new(seed: u64) -> Self {
        let limits = |config: &mut Config| {
            (config.send_queue_bytes_max, config.send_queues_bytes_max) = (QUEUE, QUEUES);
            config.overflow = Overflow::DropNewest;
            config.write_bytes_per_turn = if seed.is_multiple_of(3) { 150 } else { 1 << 16 };
        };
        let mut sim = Sim::new(config(limits));
        let open = |_| {
            let (id, wire) = sim.opens();
            for (topic, overflow) in TOPICS {
                sim.hub().set_topic_overflow(topic, overflow);
                sim.hub().subscribe(id, topic).unwrap();
            }
            Peer { id, wire, bytes: Vec::new() }
        };
        let peers = (0..8).map(open).collect();
        Self { sim, dice: Dice(seed), peers, messages: 0, due: 0, refused: 0 }
    }

    /// Where it comes from, its number, and some padding.
    fn message(&mut self, source: &str) -> String {
        self.messages += 1;
        let padding = if self.dice.below(12) == 0 { 500 } else { self.dice.below(30) };
        format!("{source}:{}:{}", self.messages, "x".repeat(padding))
    }

    fn step(&mut self) {
        let at = self.dice.below(self.peers.len());
        let id = self.peers[at].id;
        let (topic, _) = TOPICS[self.dice.below(TOPICS.len())];
        match self.dice.below(100) {
            0..30 => {
                let message = self.message(topic);
                self.due += self.sim.hub().publish(topic, &message).unwrap() as u64;
            }
            30..36 => {
                let message = self.message(topic);
                self.due += self.sim.hub().publish_except(topic, &message, id).unwrap() as u64;
            }
            36..46 => {
                let message = self.message("direct");
                match self.sim.hub().send(id, &message) {
                    Ok(()) => self.due += 1,
                    Err(SendError::Full) => self.refused += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
            46..50 => {
                self.sim.hub().unsubscribe(id, topic);
                self.sim.hub().subscribe(id, topic).unwrap();
            }
            50..54 => self.peers[at].wire.sends(ping("still there?")),
            54..66 => {
                let room = [0, 3, 50, 600, usize::MAX][self.dice.below(5)];
                self.peers[at].wire.holds(room);
            }
            66..76 => self.reads(at),
            _ => self.turns(),
        }
    }

    fn reads(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.bytes.extend(peer.wire.reads_bytes());
    }

    fn turns(&mut self) {
        self.sim.turn();
        for peer in &self.peers {
            assert!(self.sim.server.hub().is_open(peer.id));
            // One Pong has room of its own.
            assert!(self.sim.server.hub().queued_bytes(peer.id) <= QUEUE + 14);
        }
        self.sim.takes();
    }

    fn drains(&mut self) {
        self.peers.iter().for_each(|peer| peer.wire.holds(usize::MAX));
        for _ in 0..1000 {
            (0..self.peers.len()).for_each(|at| self.reads(at));
            self.turns();
        }
        assert_eq!(self.sim.hub().queued_bytes_total(), 0);
    }

    fn adds_up(&mut self) {
        let mut arrived = 0;
        for peer in &self.peers {
            let mut last = [("newest", 0), ("latest", 0), ("second latest", 0), ("direct", 0)];
            for Frame { first, payload } in frames(&peer.bytes) {
                if first == 0x8A {
                    continue;
                }
                let payload = String::from_utf8(payload).unwrap();
                let [source, number, _] = payload.split(':').collect::<Vec<_>>()[..] else {
                    panic!("{payload}");
                };
                let number = number.parse().unwrap();
                let (_, last) = last.iter_mut().find(|(name, _)| *name == source).unwrap();
                assert!(number > *last, "{source}: {number} after {last}");
                *last = number;
                arrived += 1;
            }
        }
        let counters = self.sim.hub().counters();
        let dropped = counters.messages_dropped_full - self.refused;
        assert_eq!(arrived + dropped + counters.messages_conflated, self.due, "{counters:?}");
        assert!(dropped > 100 && counters.messages_conflated > 100 && self.refused > 10);
    }
}

#[test]
fn whatever_does_not_arrive_is_counted() {
    for seed in 0..20 {
        let mut pressure = Pressure::new(seed);
        (0..3000).for_each(|_| pressure.step());
        pressure.drains();
        pressure.adds_up();
    }
}
