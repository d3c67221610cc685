//! Peers that are cut and come back, thousands of times at random, with positions that are right, old, of
//! another life, or ahead; on topics that keep too little or enough, in turns that write a part at a time.
//! What is promised: a resume is exact, or refused with a reason that is true.

use std::collections::BTreeMap;
use std::time::Duration;

use pushloop::{Config, ConnId, History, OnLag, Position, PositionError};

use crate::support::dice::Dice;
use crate::support::net::{Sim, Wire};
use crate::support::{Frame, quiet};

const TOPICS: usize = 4;

/// What one topic has published in its life, by what its offsets are named in the messages.
#[derive(Default)]
struct Life {
    epoch: u64,
    published: u64,
}

/// How one peer reads one topic.
#[derive(Clone, Copy, Debug)]
struct Reading {
    epoch: u64,
    /// What is next, where nothing may be missing.
    next: u64,
    /// Up to here nothing may be missing, whatever the policy.
    exact_until: u64,
}

struct Peer {
    id: ConnId,
    wire: Wire,
    bytes: Vec<u8>,
    readings: BTreeMap<usize, Reading>,
    /// It got a Close, or a reset: what is missing behind is not silent.
    is_over: bool,
}

struct World {
    sim: Sim,
    dice: Dice,
    on_lag: OnLag,
    lives: Vec<Life>,
    peers: Vec<Peer>,
    /// Where peers stood when they left.
    old: Vec<(usize, Position)>,
    /// How many resumes were exact, and how many were refused for each reason.
    resumed: u64,
    refused: BTreeMap<String, u64>,
}

fn config(dice: &mut Dice, on_lag: OnLag) -> Config {
    quiet(|config| {
        let mut history = History::of([0, 1, 5, 40, 1000][dice.below(5)]);
        history.bytes = [200, 2000, 1 << 20][dice.below(3)];
        history.age = Duration::from_secs([2, 60][dice.below(2)]);
        config.topic.history = Some(history);
        config.topic.on_lag = on_lag;
        config.topic_lag_bytes_max = [400, 4000, 1 << 20][dice.below(3)];
        config.history_bytes_max = [3000, 1 << 20][dice.below(2)];
        config.topic_memory = Duration::from_secs([3, 100][dice.below(2)]);
        config.topics_remembered_max = [1, 100][dice.below(2)];
        config.write_bytes_per_turn = [300, 64 << 10][dice.below(2)];
        config.fan_out_writes_per_turn = [2, 512][dice.below(2)];
        config.fan_out_bytes_per_turn = [200, 1 << 20][dice.below(2)];
        config.blocked_timeout = Duration::from_secs(600);
    })
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let on_lag = [OnLag::Close, OnLag::Latest, OnLag::Skip][dice.below(3)];
        let sim = Sim::new(config(&mut dice, on_lag));
        let lives = (0..TOPICS).map(|_| Life::default()).collect();
        let (peers, old, refused) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { sim, dice, on_lag, lives, peers, old, resumed: 0, refused }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..45 => self.publishes(),
            45..60 => self.comes(),
            60..68 => self.is_cut(),
            68..74 => self.leaves_a_topic(),
            74..84 => self.reads(),
            84..87 => self.fills(),
            _ => self.turns(),
        }
    }

    fn publishes(&mut self) {
        let topic = self.dice.below(TOPICS);
        let life = &self.lives[topic];
        let known = self.sim.hub().position(&name(topic));
        // A topic that was forgotten begins at 0.
        let offset = known.map_or(0, |known| known.offset);
        assert!(known.is_none_or(|known| known.epoch != life.epoch || offset == life.published));
        let padding = "x".repeat([0, 3, 100][self.dice.below(3)]);
        let done = self.sim.hub().publish(&name(topic), format!("{topic} {offset} {padding}"));
        let position = done.unwrap().position.unwrap();
        assert_eq!(position.offset, offset + 1);
        self.lives[topic] = Life { epoch: position.epoch, published: offset + 1 };
    }

    /// A peer comes, as a rule back, to some topics.
    fn comes(&mut self) {
        if self.peers.len() < 12 || self.dice.one_in(4) {
            let (id, wire) = self.sim.opens();
            let (bytes, readings) = (Vec::new(), BTreeMap::new());
            self.peers.push(Peer { id, wire, bytes, readings, is_over: false });
        }
        let at = self.peers.len() - 1 - self.dice.below(self.peers.len().min(4));
        let topic = self.dice.below(TOPICS);
        if self.peers[at].readings.contains_key(&topic)
            || !self.sim.hub().is_open(self.peers[at].id)
        {
            return;
        }
        let after = self.position(topic);
        let peer = &mut self.peers[at];
        let before = self.sim.hub().position(&name(topic));
        let kept = self.sim.hub().history_last(&name(topic), u64::MAX).count() as u64;
        let joined = self.sim.hub().subscribe_after(peer.id, &name(topic), after).unwrap();
        assert!(before.is_none_or(|before| before == joined.position));
        let head = joined.position.offset;
        let expected = match before {
            None => Err(PositionError::NoTopic),
            Some(here) if here.epoch != after.epoch => Err(PositionError::OtherEpoch),
            Some(here) if after.offset > here.offset => Err(PositionError::Future),
            Some(here) if after.offset + kept < here.offset => Err(PositionError::NotKept),
            Some(here) => Ok(here.offset - after.offset),
        };
        assert_eq!(joined.kept, expected);
        let next = head - joined.kept.unwrap_or(0);
        let epoch = joined.position.epoch;
        peer.readings.insert(topic, Reading { epoch, next, exact_until: head });
        match joined.kept {
            Ok(_) => self.resumed += 1,
            Err(why) => *self.refused.entry(why.to_string()).or_default() += 1,
        }
    }

    /// Where a peer says that it was.
    fn position(&mut self, topic: usize) -> Position {
        let epoch = self.lives[topic].epoch;
        let here = self.sim.hub().position(&name(topic)).unwrap_or(Position { epoch, offset: 0 });
        let theirs: Vec<_> = self.old.iter().filter(|(of, _)| *of == topic).collect();
        match self.dice.below(10) {
            0 => Position { epoch: here.epoch ^ 1, ..here },
            1 => Position { offset: here.offset + 1 + self.dice.number() % 3, ..here },
            2 => Position { offset: here.offset.saturating_sub(self.dice.number() % 50), ..here },
            3 => here,
            _ if theirs.is_empty() => here,
            _ => theirs[theirs.len() - 1 - self.dice.below(theirs.len().min(5))].1,
        }
    }

    fn any(&mut self) -> Option<usize> {
        let count = self.peers.len();
        (count > 0).then(|| self.dice.below(count))
    }

    fn is_cut(&mut self) {
        let Some(at) = self.any() else { return };
        let mut peer = self.peers.swap_remove(at);
        peer.hears(self.on_lag);
        for (topic, reading) in &peer.readings {
            let position = Position { epoch: reading.epoch, offset: reading.next };
            self.old.push((*topic, position));
        }
        match self.dice.below(2) {
            0 => peer.wire.resets(),
            _ => peer.wire.finishes(),
        }
    }

    fn leaves_a_topic(&mut self) {
        let Some(at) = self.any() else { return };
        let peer = &mut self.peers[at];
        let Some((&topic, _)) = peer.readings.first_key_value() else { return };
        peer.hears(self.on_lag);
        // What is due still comes: it is not followed here.
        if peer.bytes.is_empty() && peer.readings.len() == 1 {
            self.sim.hub().unsubscribe(peer.id, &name(topic));
            let reading = peer.readings.remove(&topic).unwrap();
            self.old.push((topic, Position { epoch: reading.epoch, offset: reading.next }));
            let mut peer = self.peers.swap_remove(at);
            peer.readings.clear();
            peer.wire.finishes();
        }
    }

    fn reads(&mut self) {
        let Some(at) = self.any() else { return };
        self.peers[at].hears(self.on_lag);
    }

    fn fills(&mut self) {
        let Some(at) = self.any() else { return };
        let room = [0, 7, 40, usize::MAX, usize::MAX][self.dice.below(5)];
        self.peers[at].wire.holds(room);
    }

    fn turns(&mut self) {
        let time = [0, 0, 0, 100, 2000][self.dice.below(5)];
        self.sim.turn_within(Some(Duration::from_millis(time)));
        let counters = self.sim.hub().counters();
        let max = self.sim.hub().config().history_bytes_max as u64;
        assert!(counters.history_bytes <= max);
    }

    /// Everybody reads on, and has what the topics have.
    fn ends(&mut self) {
        for _ in 0..1000 {
            self.peers.iter_mut().for_each(|peer| {
                peer.wire.holds(usize::MAX);
                peer.hears(self.on_lag);
            });
            self.sim.turn_within(Some(Duration::from_millis(100)));
        }
        for peer in self.peers.iter().filter(|peer| !peer.is_over) {
            for (topic, reading) in &peer.readings {
                let here = self.sim.hub().position(&name(*topic)).unwrap();
                assert_eq!((reading.epoch, reading.next), (here.epoch, here.offset));
            }
        }
        assert_eq!(self.sim.hub().queued_bytes_total(), 0);
    }
}

impl Peer {
    /// Takes what has come, each message of which is the next of its topic.
    fn hears(&mut self, on_lag: OnLag) {
        self.bytes.extend(self.wire.reads_bytes());
        self.is_over |= self.wire.is_dropped();
        let bytes = std::mem::take(&mut self.bytes);
        let (mut rest, mut left) = (&bytes[..], &bytes[..]);
        while let Ok(Some(frame)) = Frame::read(&mut rest) {
            left = rest;
            if frame.first == 0x88 {
                assert!(frame.payload.ends_with(b"too slow: topic_lag_bytes_max"));
                self.is_over = true;
                continue;
            }
            let text = String::from_utf8(frame.payload).unwrap();
            let mut words = text.split(' ').map(|word| word.parse::<u64>());
            let [topic, offset] = [(); 2].map(|()| words.next().unwrap().unwrap());
            let reading = self.readings.get_mut(&(topic as usize)).expect("it subscribes");
            let may_jump = on_lag != OnLag::Close && reading.next >= reading.exact_until;
            assert!(offset == reading.next || (may_jump && offset > reading.next), "{reading:?}");
            reading.next = offset + 1;
        }
        self.bytes = left.to_vec();
    }
}

fn name(topic: usize) -> String {
    format!("topic {topic}")
}

#[test]
fn a_resume_is_exact_or_refused() {
    let (mut resumed, mut refused) = (0, BTreeMap::<String, u64>::new());
    for seed in 0..100 {
        let mut world = World::new(seed);
        (0..400).for_each(|_| world.step());
        world.ends();
        resumed += world.resumed;
        world
            .refused
            .into_iter()
            .for_each(|(why, times)| *refused.entry(why).or_default() += times);
    }
    assert!(resumed > 1000 && refused.len() == 4, "{resumed} and {refused:?}");
    assert!(refused.values().all(|times| *times > 30), "{refused:?}");
}
