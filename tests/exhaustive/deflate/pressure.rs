//! Random operations among peers that keep their context, with kernels that are full more
//! often than not. Whatever arrives inflates to what was sent, in both directions; what does not
//! arrive is counted.

use std::collections::HashMap;

use pushloop::{
    CloseCode, Config, ConnId, OnLag, Overflow, SendError, SubscribeError, TopicOptions,
};

use crate::support::deflating::{ANSWER, OFFER, opens, payload};
use crate::support::dice::Dice;
use crate::support::net::{Sim, Told, Wire};
use crate::support::peer_codec::Deflates;
use crate::support::puff::Puff;
use crate::support::{Frame, burst, continuation, frame, ping, quiet};

const TOPICS: [(&str, OnLag); 4] = [
    ("skip", OnLag::Skip),
    ("latest", OnLag::Latest),
    ("second latest", OnLag::Latest),
    ("uncompressed", OnLag::Skip),
];
/// Bytes that may wait to be sent directly to one connection, and that a topic keeps for laggards.
const QUEUE: usize = 4000;

/// What the peers offer, and what is answered.
const OFFERS: [(&str, &str); 6] = [
    (OFFER, ANSWER),
    (
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=9",
    ),
    (
        "permessage-deflate; server_max_window_bits=12; client_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=12",
    ),
    (
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover",
    ),
    (
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    ),
    (
        "permessage-deflate; client_max_window_bits=9",
        "permessage-deflate; client_max_window_bits=9",
    ),
];

struct Peer {
    id: ConnId,
    wire: Wire,
    /// What its kernel holds.
    room: usize,
    answer: &'static str,
    /// Everything that came since the handshake.
    bytes: Vec<u8>,
    deflates: Deflates,
    /// What it sent and the application has not seen.
    said: Vec<Vec<u8>>,
    closing: bool,
}

impl Peer {
    fn opens(sim: &mut Sim, at: usize) -> Self {
        let (offer, answer) = OFFERS[at % OFFERS.len()];
        let (id, wire) = opens(sim, offer, answer);
        for (topic, _) in TOPICS {
            sim.hub().subscribe(id, topic).unwrap();
        }
        let bits = answer.split_once("client_max_window_bits=");
        let bits = bits.map_or(15, |(_, bits)| bits.parse().unwrap());
        let deflates = Deflates::new(bits, !answer.contains("client_no"));
        let (room, bytes, said) = (usize::MAX, Vec::new(), Vec::new());
        Self { id, wire, room, answer, bytes, deflates, said, closing: false }
    }

    /// Sends a message, compressed or not, whole or in two frames with a Ping between.
    fn says(&mut self, dice: &mut Dice) {
        let said = payload(dice, 800);
        let (rsv1, bytes) = match dice.below(3) {
            0 => (0, said.clone()),
            _ => (0x40, self.deflates.message(&said)),
        };
        self.said.push(said);
        if dice.below(3) == 0 {
            let (one, two) = bytes.split_at(dice.below(bytes.len() + 1));
            let frames = [frame(rsv1 | 0x82, one).open(), ping("still there?"), continuation(two)];
            self.wire.sends_bytes(burst(&frames));
        } else {
            self.wire.sends(frame(rsv1 | 0x82, bytes));
        }
    }
}

struct Pressure {
    sim: Sim,
    dice: Dice,
    overflow: Overflow,
    peers: Vec<Peer>,
    /// Those that were closed.
    gone: Vec<Peer>,
    opened: usize,
    /// What was sent, by its number.
    messages: HashMap<u64, Vec<u8>>,
    due: u64,
    refused: u64,
}

impl Pressure {
    fn new(seed: u64) -> Self {
        let overflow = if seed % 4 == 3 { Overflow::Close } else { Overflow::DropNewest };
        let limits = |config: &mut Config| {
            config.send_queue_bytes_max = QUEUE / 2;
            config.topic_lag_bytes_max = QUEUE;
            config.overflow = overflow;
            config.deflate_context_takeover = true;
            config.deflate_bytes_min = [0, 20][seed as usize % 2];
            config.write_bytes_per_turn = if seed.is_multiple_of(3) { 150 } else { 1 << 16 };
            config.read_bytes_per_turn = if seed.is_multiple_of(5) { 700 } else { 1 << 16 };
        };
        let mut sim = Sim::new(quiet(limits));
        for (topic, on_lag) in TOPICS {
            let mut options = TopicOptions::default();
            options.on_lag = if overflow == Overflow::Close { OnLag::Close } else { on_lag };
            options.deflate = topic != "uncompressed";
            sim.hub().configure_topic(topic, options).unwrap();
        }
        let peers: Vec<_> = (0..8).map(|at| Peer::opens(&mut sim, at)).collect();
        let opened = peers.len();
        let (gone, messages) = (Vec::new(), HashMap::new());
        Self {
            sim,
            dice: Dice::new(seed),
            overflow,
            peers,
            gone,
            opened,
            messages,
            due: 0,
            refused: 0,
        }
    }

    /// Its number, where it comes from, and something that may shrink.
    fn message(&mut self, source: u8) -> Vec<u8> {
        let number = self.messages.len() as u64;
        let mut message = number.to_be_bytes().to_vec();
        message.push(source);
        let max = if self.dice.below(12) == 0 { 1500 } else { 150 };
        message.extend(payload(&mut self.dice, max));
        self.messages.insert(number, message.clone());
        message
    }

    fn step(&mut self) {
        let at = self.dice.below(self.peers.len());
        let id = self.peers[at].id;
        let source = self.dice.below(TOPICS.len());
        let topic = TOPICS[source].0;
        match self.dice.below(100) {
            0..18 => {
                let message = self.message(source as u8);
                self.due += self.sim.hub().publish(topic, &message).unwrap().subscribers as u64;
            }
            18..24 => {
                let message = self.message(source as u8);
                self.due +=
                    self.sim.hub().publish_except(topic, &message, id).unwrap().subscribers as u64;
            }
            24..40 => self.sends(id),
            40..43 => {
                self.sim.hub().unsubscribe(id, topic);
                match self.sim.hub().subscribe(id, topic) {
                    Ok(()) | Err(SubscribeError::Gone) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            43..54 if !self.peers[at].closing => self.peers[at].says(&mut self.dice),
            54..64 => {
                let room = [0, 3, 50, 600, usize::MAX][self.dice.below(5)];
                let peer = &mut self.peers[at];
                // There is more room only once it reads.
                if room < peer.room {
                    peer.wire.holds(room);
                }
                peer.room = room;
            }
            64..76 => self.reads(at),
            76..77 if self.overflow == Overflow::Close && !self.peers[at].closing => {
                self.sim.hub().close(id, CloseCode::NORMAL, "");
                self.peers[at].closing = true;
            }
            _ => self.turns(),
        }
    }

    fn sends(&mut self, id: ConnId) {
        let message = self.message(TOPICS.len() as u8);
        let sent = match self.dice.below(4) {
            0 => self.sim.hub().send_uncompressed(id, &message),
            _ => self.sim.hub().send(id, &message),
        };
        match sent {
            Ok(()) => self.due += 1,
            Err(SendError::Closing | SendError::Full) => self.refused += 1,
            Err(SendError::Gone) if self.overflow == Overflow::Close => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    fn reads(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.bytes.extend(peer.wire.reads_bytes());
        peer.wire.holds(peer.room);
    }

    /// One turn, in which whatever the peers said is told in order.
    fn turns(&mut self) {
        self.sim.turn();
        for told in self.sim.takes() {
            match told {
                Told::Message(id, message) => {
                    let peer = self.peers.iter_mut().find(|peer| peer.id == id).unwrap();
                    assert!(peer.said.remove(0) == message);
                }
                Told::Closed(id, code) => {
                    assert!(self.overflow == Overflow::Close && (code == 1013 || code == 1000));
                    self.replaces(id);
                }
                Told::Writable(_) => {}
                other => panic!("{other:?}"),
            }
        }
        for at in 0..self.peers.len() {
            let id = self.peers[at].id;
            if !self.sim.hub().is_open(id) && !self.peers[at].closing {
                assert_eq!(self.overflow, Overflow::Close);
                self.peers[at].closing = true;
            }
            if self.peers[at].closing {
                // It reads everything, and answers the Close.
                self.peers[at].room = usize::MAX;
                self.reads(at);
                let answer = frame(0x88, [0x03, 0xE8]);
                if self.dice.below(20) == 0 {
                    self.peers[at].wire.sends(answer);
                }
            }
        }
    }

    fn replaces(&mut self, id: ConnId) {
        let at = self.peers.iter().position(|peer| peer.id == id).unwrap();
        self.peers[at].room = usize::MAX;
        for _ in 0..50 {
            self.reads(at);
            self.sim.turn();
        }
        self.reads(at);
        let opened = Peer::opens(&mut self.sim, self.opened);
        self.opened += 1;
        self.gone.push(std::mem::replace(&mut self.peers[at], opened));
    }

    fn drains(&mut self) {
        for _ in 0..1500 {
            for at in 0..self.peers.len() {
                self.peers[at].room = usize::MAX;
                self.reads(at);
            }
            self.turns();
        }
        assert_eq!(self.sim.hub().queued_bytes_total(), 0);
        for peer in &self.peers {
            assert!(peer.said.is_empty() || peer.closing, "{} messages", peer.said.len());
        }
    }

    /// Every message is one that was sent, in order from each source, and what did not arrive is
    /// counted. Gives how many came compressed.
    fn adds_up(&mut self) -> u64 {
        let (mut arrived, mut compressed) = (0, 0);
        for peer in self.peers.iter().chain(&self.gone) {
            let (mut puff, mut last) = (Puff::default(), [None; TOPICS.len() + 1]);
            let mut bytes = &peer.bytes[..];
            while let Some(Frame { first, payload }) = Frame::read(&mut bytes).unwrap() {
                let message = match first {
                    0x8A | 0x88 => continue,
                    0x82 => payload,
                    0xC2 => {
                        compressed += 1;
                        puff.inflates(&payload)
                    }
                    other => panic!("{other:#x}"),
                };
                if peer.answer.contains("server_no") {
                    puff.forgets();
                }
                let number = u64::from_be_bytes(message[..8].try_into().unwrap());
                let source = usize::from(message[8]);
                assert!(self.messages[&number] == message);
                assert!(last[source] < Some(number), "{number} after {:?}", last[source]);
                assert!(source != 3 || first == 0x82, "a topic that is not to be compressed");
                last[source] = Some(number);
                arrived += 1;
            }
            let bits = peer.answer.split_once("server_max_window_bits=");
            let bits = bits.map_or(15, |(_, bits)| bits.parse().unwrap());
            assert!(puff.farthest <= 1 << bits);
        }
        let counters = self.sim.hub().counters();
        if self.overflow != Overflow::Close {
            assert_eq!(counters.messages_dropped_full, self.refused);
            let (conflated, skipped) = (counters.messages_conflated, counters.messages_skipped);
            assert_eq!(arrived + conflated + skipped, self.due, "{counters:?}");
            assert!(self.refused > 5 && conflated > 20 && skipped > 20, "{counters:?}");
        }
        assert!(counters.messages_inflated > 20);
        compressed
    }
}

fn under_pressure(seeds: std::ops::Range<u64>, steps: usize) {
    for seed in seeds {
        println!("seed {seed}");
        let mut pressure = Pressure::new(seed);
        (0..steps).for_each(|_| pressure.step());
        pressure.drains();
        assert!(pressure.adds_up() > steps as u64 / 10);
    }
}

#[test]
fn whatever_arrives_inflates_to_what_was_sent() {
    under_pressure(0..4, 3000);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn whatever_arrives_inflates_to_what_was_sent_in_400_000_steps() {
    under_pressure(0..80, 5000);
}
