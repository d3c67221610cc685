//! Thousands of random operations, compared with a model that keeps for each connection a list of
//! what it must get. What is compared is what is promised: that all arrives once, that each topic
//! keeps its order, and that it keeps its order with what is sent directly.

use std::collections::BTreeSet;

use pushloop::{CloseCode, ConnId, SendError, SubscribeError};

use crate::support::dice::Dice;
use crate::support::net::{Sim, Told, Wire};
use crate::support::{Frame, close, ping, pong, quiet};

const TOPICS: usize = 7;
const CONNECTIONS_MAX: usize = 24;

/// Where a message came from: a topic, or a direct send.
type Source = Option<usize>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// It has sent Close, and we have seen it in this batch.
    Ending,
    /// Nothing more can be queued for it.
    Over,
}

struct Peer {
    id: ConnId,
    wire: Wire,
    life: Life,
    topics: BTreeSet<usize>,
    /// Source and number of each message that it must get.
    due: Vec<(Source, usize)>,
    /// What it read.
    bytes: Vec<u8>,
    reset: bool,
}

struct Model {
    sim: Sim,
    dice: Dice,
    peers: Vec<Peer>,
    messages: usize,
    deliveries: usize,
    publications: usize,
    sends: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        let config = quiet(|config| {
            (config.send_queue_bytes_max, config.send_queues_bytes_max) = (1 << 40, 1 << 40);
            config.topic_lag_bytes_max = 1 << 40;
            // Sometimes a turn's writes are soon over, and sometimes its fan-out.
            config.fan_out_writes_per_turn = if seed.is_multiple_of(3) { 4 } else { 512 };
            config.write_bytes_per_turn = if seed.is_multiple_of(2) { 64 << 10 } else { 500 };
        });
        let dice = Dice::new(seed);
        let (peers, sim) = (Vec::new(), Sim::new(config));
        Self { sim, dice, peers, messages: 0, deliveries: 0, publications: 0, sends: 0 }
    }

    /// A random peer, in whatever state.
    fn any(&mut self) -> Option<usize> {
        let count = self.peers.len();
        // The old ones are gone; as a rule it is a recent one.
        (count > 0).then(|| count - 1 - self.dice.below(count.min(2 * CONNECTIONS_MAX)))
    }

    fn topic(&mut self) -> (usize, String) {
        let topic = self.dice.below(TOPICS);
        (topic, format!("topic {topic}"))
    }

    /// A message that says where it comes from and which one it is, and its number.
    fn message(&mut self, source: Source) -> (usize, String) {
        self.messages += 1;
        let padding = match self.dice.below(40) {
            0 => 20_000,
            1..6 => 300,
            _ => self.dice.below(40),
        };
        let source = source.map_or(-1, |topic| topic as i64);
        (self.messages, format!("{source} {} {}", self.messages, "x".repeat(padding)))
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..6 => self.opens(),
            6..22 => self.subscribes(),
            22..34 => self.unsubscribes(),
            34..52 => self.publishes(),
            52..62 => self.publishes_except(),
            62..74 => self.sends(),
            74..76 => self.ends(),
            76..84 => self.fills(),
            84..88 => self.reads(),
            88..90 => self.pings(),
            _ => self.turns(),
        }
    }

    fn opens(&mut self) {
        if self.peers.iter().filter(|peer| !peer.wire.is_dropped()).count() < CONNECTIONS_MAX {
            // It takes some turns.
            self.turns();
            let (id, wire) = self.sim.opens();
            self.leave();
            self.hears();
            let (life, topics, due) = (Life::Open, BTreeSet::new(), Vec::new());
            self.peers.push(Peer { id, wire, life, topics, due, bytes: Vec::new(), reset: false });
        }
    }

    fn subscribes(&mut self) {
        let Some(at) = self.any() else { return };
        let (topic, name) = self.topic();
        let peer = &mut self.peers[at];
        let done = self.sim.hub().subscribe(peer.id, &name);
        if peer.life == Life::Over {
            assert_eq!(done, Err(SubscribeError::Gone));
        } else {
            assert_eq!(done, Ok(()));
            peer.topics.insert(topic);
        }
    }

    fn unsubscribes(&mut self) {
        let Some(at) = self.any() else { return };
        let (topic, name) = self.topic();
        let peer = &mut self.peers[at];
        let had = peer.topics.remove(&topic);
        assert_eq!(self.sim.hub().unsubscribe(peer.id, &name), had);
    }

    fn publishes(&mut self) {
        let (topic, name) = self.topic();
        let (number, payload) = self.message(Some(topic));
        let reached = self.sim.hub().publish(&name, &payload).unwrap().subscribers;
        self.publications += usize::from(reached > 0);
        assert_eq!(reached, self.is_due(topic, number, None));
    }

    fn publishes_except(&mut self) {
        let Some(at) = self.any() else { return };
        let (topic, name) = self.topic();
        let (number, payload) = self.message(Some(topic));
        let id = self.peers[at].id;
        let reached = self.sim.hub().publish_except(&name, &payload, id).unwrap().subscribers;
        let subscribers = self.sim.hub().subscriber_count(&name);
        self.publications += usize::from(subscribers > 0);
        assert_eq!(reached, self.is_due(topic, number, Some(at)));
    }

    /// Every subscriber must get it, but for one. Gives their number.
    fn is_due(&mut self, topic: usize, number: usize, except: Option<usize>) -> usize {
        let mut reached = 0;
        for (at, peer) in self.peers.iter_mut().enumerate() {
            if Some(at) != except && peer.topics.contains(&topic) {
                peer.due.push((Some(topic), number));
                reached += 1;
            }
        }
        self.deliveries += reached;
        reached
    }

    fn sends(&mut self) {
        let Some(at) = self.any() else { return };
        let (number, payload) = self.message(None);
        let peer = &mut self.peers[at];
        let done = self.sim.hub().send(peer.id, &payload);
        if peer.life == Life::Over {
            assert_eq!(done, Err(SendError::Gone));
        } else {
            assert_eq!(done, Ok(()));
            peer.due.push((None, number));
            self.sends += 1;
        }
    }

    /// One way or the other.
    fn ends(&mut self) {
        let Some(at) = self.any() else { return };
        let peer = &mut self.peers[at];
        match self.dice.below(4) {
            0 => {
                self.sim.hub().close(peer.id, CloseCode::NORMAL, "");
                if peer.life == Life::Open {
                    peer.life = Life::Over;
                    peer.topics.clear();
                }
            }
            1 => peer.wire.sends(close(1000, "")),
            2 => peer.wire.finishes(),
            _ => {
                peer.wire.resets();
                peer.reset = true;
            }
        }
    }

    /// Its kernel holds no more than this from here on.
    fn fills(&mut self) {
        let Some(at) = self.any() else { return };
        let room = [0, 1, 7, 40, 1000, usize::MAX, usize::MAX][self.dice.below(7)];
        self.peers[at].wire.holds(room);
    }

    fn reads(&mut self) {
        let Some(at) = self.any() else { return };
        let peer = &mut self.peers[at];
        peer.bytes.extend(peer.wire.reads_bytes());
    }

    fn pings(&mut self) {
        let Some(at) = self.any() else { return };
        self.peers[at].wire.sends(ping("are you there?"));
    }

    fn turns(&mut self) {
        self.leave();
        self.sim.turn();
        self.hears();
        self.agrees();
    }

    /// A turn begins: who was ending leaves the topics.
    fn leave(&mut self) {
        for peer in self.peers.iter_mut().filter(|peer| peer.life == Life::Ending) {
            peer.life = Life::Over;
            peer.topics.clear();
        }
    }

    fn hears(&mut self) {
        for told in self.sim.takes() {
            let Told::Closed(id, _) = told else { continue };
            let peer = self.peers.iter_mut().find(|peer| peer.id == id).unwrap();
            // A peer that went without a word, or that we closed, has left its topics already.
            let ending = peer.life == Life::Open && self.sim.hub().is_open(id);
            peer.life = if ending { Life::Ending } else { Life::Over };
            if !ending {
                peer.topics.clear();
            }
        }
    }

    /// The hub's lists are the model's.
    fn agrees(&mut self) {
        let mut topics = 0;
        for topic in 0..TOPICS {
            let subscribers = self.peers.iter().filter(|peer| peer.topics.contains(&topic)).count();
            topics += usize::from(subscribers > 0);
            assert_eq!(self.sim.hub().subscriber_count(&format!("topic {topic}")), subscribers);
        }
        assert_eq!(self.sim.hub().topic_count(), topics);
        for peer in self.peers.iter().rev().take(2 * CONNECTIONS_MAX) {
            let names = self.sim.hub().topics_of(peer.id);
            let theirs: BTreeSet<_> = names.map(str::to_owned).collect();
            assert!(
                theirs.into_iter().eq(peer.topics.iter().map(|topic| format!("topic {topic}")))
            );
        }
    }

    /// Everybody reads what there is.
    fn drains(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for peer in &mut self.peers {
                peer.wire.holds(usize::MAX);
                let bytes = peer.wire.reads_bytes();
                moved |= !bytes.is_empty();
                peer.bytes.extend(bytes);
            }
            if !moved && self.sim.hub().queued_bytes_total() == 0 {
                return;
            }
            self.turns();
        }
        panic!("the queues do not drain");
    }

    /// Everybody got what was due; who reset the connection, the first part of it.
    fn compares(&self) {
        for peer in &self.peers {
            let (got, whole) = messages(&peer.bytes);
            assert!(peer.reset || (whole && got.len() == peer.due.len()), "{:?}", peer.id);
            for topic in 0..TOPICS {
                let ordered = |of: &&(Source, usize)| of.0.is_none_or(|other| other == topic);
                let due: Vec<_> = peer.due.iter().filter(ordered).collect();
                let got: Vec<_> = got.iter().filter(ordered).collect();
                assert!(due.starts_with(&got), "{:?}, topic {topic}", peer.id);
            }
        }
    }

    fn ends_all(&mut self) {
        for at in 0..self.peers.len() {
            match self.dice.below(3) {
                0 => self.sim.hub().close(self.peers[at].id, CloseCode::NORMAL, ""),
                1 => self.peers[at].wire.finishes(),
                _ => self.peers[at].wire.resets(),
            }
        }
        for _ in 0..1000 {
            self.peers.iter().for_each(|peer| peer.wire.finishes());
            self.sim.turn();
            if self.sim.hub().connection_count() == 0 {
                break;
            }
        }
        self.sim.turn();
        let hub = self.sim.hub();
        assert_eq!(
            (hub.connection_count(), hub.topic_count(), hub.queued_bytes_total()),
            (0, 0, 0)
        );
        let counters = hub.counters();
        assert_eq!(counters.connections_open, 0);
        assert_eq!(counters.deliveries + counters.messages_lost, self.deliveries as u64);
        assert_eq!(counters.publications, self.publications as u64);
        assert_eq!(counters.messages_sent, self.sends as u64);
        let lost = (counters.messages_dropped_full, counters.messages_conflated);
        assert_eq!(lost, (0, 0));
        assert!(self.peers.iter().all(|peer| peer.wire.is_dropped()));
    }
}

/// Source and number of each message, and whether the last frame is whole. Pongs are passed over;
/// a Close is the last frame.
fn messages(mut bytes: &[u8]) -> (Vec<(Source, usize)>, bool) {
    let mut messages = Vec::new();
    loop {
        let frame = match Frame::read(&mut bytes) {
            Ok(Some(frame)) => frame,
            Ok(None) => return (messages, true),
            Err(_) => return (messages, false),
        };
        match frame.first {
            0x81 => messages.push(message(&frame.payload)),
            0x88 => assert_eq!(bytes, [0; 0]),
            0x8A => assert_eq!(frame, pong("are you there?")),
            _ => panic!("{frame:?}"),
        }
    }
}

fn message(payload: &[u8]) -> (Source, usize) {
    let payload = str::from_utf8(payload).unwrap();
    let mut words = payload.split(' ').map_while(|word| word.parse::<i64>().ok());
    let (source, number) = (words.next().unwrap(), words.next().unwrap());
    (usize::try_from(source).ok(), number as usize)
}

#[test]
fn random_operations_agree_with_a_naive_model() {
    let mut deliveries = 0;
    for seed in 0..20 {
        let mut model = Model::new(seed);
        (0..2_500).for_each(|_| model.step());
        model.drains();
        model.compares();
        deliveries += model.deliveries;
        model.ends_all();
    }
    assert!(deliveries > 50_000, "hardly anything happened");
}
