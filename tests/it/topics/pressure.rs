//! Random operations among peers whose kernels are full more often than not. What must hold then:
//! no frame is cut, nothing comes twice or out of order, and whatever does not arrive is counted.

use pushloop::{Config, ConnId, OnLag, Overflow, SendError};

use super::lag::options;
use crate::support::dice::Dice;
use crate::support::net::{Sim, Told, Wire};
use crate::support::{Frame, close, ping, quiet};

const TOPICS: [(&str, OnLag); 4] = [
    ("skip", OnLag::Skip),
    ("latest", OnLag::Latest),
    ("second latest", OnLag::Latest),
    ("close", OnLag::Close),
];
const QUEUE: usize = 2000;
const QUEUES: usize = 1 << 20;
const PEERS: usize = 8;

/// What may happen to peers, beside that they read slowly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing: all that they got can be counted.
    Stay,
    /// They leave topics and come back, and what they left behind is not seen in how far they are.
    Leave,
    /// They end, one way or another, or are closed for lagging.
    End,
}

struct Peer {
    id: ConnId,
    wire: Wire,
    bytes: Vec<u8>,
}

struct Pressure {
    sim: Sim,
    dice: Dice,
    fate: Fate,
    peers: Vec<Peer>,
    messages: usize,
    /// Publications that were taken, once for each that they are for.
    due: u64,
    /// Direct messages that were taken, and those that were refused.
    sent: u64,
    refused: u64,
}

impl Pressure {
    fn new(seed: u64, fate: Fate) -> Self {
        let limits = |config: &mut Config| {
            (config.send_queue_bytes_max, config.send_queues_bytes_max) = (QUEUE, QUEUES);
            config.topic_lag_bytes_max = 5000;
            config.overflow = Overflow::DropNewest;
            config.write_bytes_per_turn = if seed.is_multiple_of(3) { 150 } else { 1 << 16 };
            config.fan_out_writes_per_turn = if seed.is_multiple_of(2) { 3 } else { 100 };
        };
        let mut sim = Sim::new(quiet(limits));
        for (topic, on_lag) in TOPICS {
            sim.hub().configure_topic(topic, options(on_lag)).unwrap();
        }
        let (dice, peers) = (Dice::new(seed), Vec::new());
        let mut it = Self { sim, dice, fate, peers, messages: 0, due: 0, sent: 0, refused: 0 };
        (0..PEERS).for_each(|_| it.opens());
        it
    }

    /// The topics of this world: where peers are to stay, none is that they would be closed for.
    fn topics(&self) -> &'static [(&'static str, OnLag)] {
        if self.fate == Fate::End { &TOPICS } else { &TOPICS[..3] }
    }

    fn opens(&mut self) {
        let (id, wire) = self.sim.opens();
        for (topic, _) in self.topics() {
            self.sim.hub().subscribe(id, topic).unwrap();
        }
        self.peers.push(Peer { id, wire, bytes: Vec::new() });
    }

    /// Where it comes from, its number, and some padding.
    fn message(&mut self, source: &str) -> String {
        self.messages += 1;
        let padding = if self.dice.below(12) == 0 { 500 } else { self.dice.below(30) };
        format!("{source}:{}:{}", self.messages, "x".repeat(padding))
    }

    fn step(&mut self) {
        let at = self.peers.len() - 1 - self.dice.below(PEERS);
        let id = self.peers[at].id;
        let (topic, _) = self.topics()[self.dice.below(self.topics().len())];
        match self.dice.below(100) {
            0..30 => {
                let message = self.message(topic);
                self.due += self.sim.hub().publish(topic, &message).unwrap().subscribers as u64;
            }
            30..40 => {
                let message = self.message(topic);
                self.due +=
                    self.sim.hub().publish_except(topic, &message, id).unwrap().subscribers as u64;
            }
            40..46 => self.sends(id),
            46..50 if self.fate != Fate::Stay => {
                self.sim.hub().unsubscribe(id, topic);
                let _ = self.sim.hub().subscribe(id, topic);
            }
            50..54 => self.peers[at].wire.sends(ping("still there?")),
            54..66 => {
                let room = [0, 3, 50, 600, usize::MAX][self.dice.below(5)];
                self.peers[at].wire.holds(room);
            }
            66..76 => self.reads(at),
            76 if self.fate == Fate::End => self.ends(at),
            77 if self.fate == Fate::End => self.configures(topic),
            _ => self.turns(),
        }
    }

    fn sends(&mut self, id: ConnId) {
        let message = self.message("direct");
        match self.sim.hub().send(id, &message) {
            Ok(()) => self.sent += 1,
            Err(SendError::Closing | SendError::Full) => self.refused += 1,
            Err(SendError::Gone) if self.fate == Fate::End => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    fn ends(&mut self, at: usize) {
        let wire = &self.peers[at].wire;
        match self.dice.below(3) {
            0 => wire.resets(),
            1 => wire.sends(close(1000, "")),
            _ => wire.finishes(),
        }
    }

    /// A policy may change while subscribers lag.
    fn configures(&mut self, topic: &str) {
        match [OnLag::Close, OnLag::Latest, OnLag::Skip].get(self.dice.below(4)) {
            Some(on_lag) => self.sim.hub().configure_topic(topic, options(*on_lag)).unwrap(),
            None => self.sim.hub().forget_topic_options(topic),
        }
    }

    fn reads(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.bytes.extend(peer.wire.reads_bytes());
    }

    fn turns(&mut self) {
        self.sim.turn();
        for at in self.peers.len() - PEERS..self.peers.len() {
            let Peer { id, wire, .. } = &self.peers[at];
            if !self.sim.hub().is_open(*id) {
                assert!(self.fate == Fate::End);
                wire.finishes();
            }
        }
        let closed = |told: &Told| matches!(told, Told::Closed(..));
        for _ in 0..self.sim.takes().into_iter().filter(closed).count() {
            self.opens();
        }
        self.adds_up();
    }

    /// What was due and has not been taken is counted, or still to come.
    fn adds_up(&mut self) {
        let mut behind = 0;
        for peer in &self.peers {
            for (topic, _) in self.topics() {
                behind += self.sim.server.hub().lag(peer.id, topic).unwrap_or_default();
            }
        }
        let counters = self.sim.hub().counters();
        let accounted = counters.deliveries
            + counters.messages_conflated
            + counters.messages_skipped
            + counters.messages_lost
            + behind;
        if self.fate == Fate::Stay {
            assert_eq!(accounted, self.due, "{counters:?}, {behind} behind");
        } else {
            assert!(accounted <= self.due, "{counters:?}, {behind} behind of {}", self.due);
        }
        assert_eq!(
            (counters.messages_dropped_full, counters.messages_sent),
            (self.refused, self.sent)
        );
    }

    fn drains(&mut self) {
        for _ in 0..1000 {
            for at in 0..self.peers.len() {
                self.peers[at].wire.holds(usize::MAX);
                self.reads(at);
            }
            self.turns();
        }
        self.sim.rests();
        assert_eq!(self.sim.hub().queued_bytes_total(), 0);
        // Nothing is left behind.
        let counters = self.sim.hub().counters();
        let lost = counters.messages_conflated + counters.messages_skipped + counters.messages_lost;
        assert_eq!(counters.deliveries + lost, self.due, "{counters:?}");
    }

    /// What arrived is in order, and with what is counted all there was. Gives how much that is.
    fn arrived(&self) -> u64 {
        let mut arrived = 0;
        for peer in &self.peers {
            let mut last =
                ["skip", "latest", "second latest", "close", "direct"].map(|name| (name, 0));
            let mut bytes = &peer.bytes[..];
            // The last frame of one that has ended may be cut.
            while let Ok(Some(Frame { first, payload })) = Frame::read(&mut bytes) {
                if first != 0x81 {
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
            assert!(self.fate == Fate::End || bytes.is_empty(), "a frame is cut");
        }
        arrived
    }
}

#[test]
fn whatever_does_not_arrive_is_counted() {
    for seed in 0..24 {
        let fate = [Fate::Stay, Fate::Leave, Fate::End][seed % 3];
        let mut pressure = Pressure::new(seed as u64 / 3, fate);
        (0..3000).for_each(|_| pressure.step());
        pressure.drains();
        let arrived = pressure.arrived();
        let counters = pressure.sim.hub().counters();
        let taken = counters.deliveries + counters.messages_sent;
        if fate == Fate::End {
            assert!(arrived <= taken && counters.messages_lost > 100, "{counters:?}");
        } else {
            assert_eq!((arrived, counters.messages_lost), (taken, 0), "{counters:?}");
            assert!(counters.messages_conflated > 100 && counters.messages_skipped > 100);
        }
    }
}
