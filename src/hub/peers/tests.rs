//! Several hubs of one process, with neither sockets nor threads: their turns come in any order, their lanes are
//! short, and their connections are blocked now and then.

mod edges;

use std::{collections::HashMap, time::Instant};

use super::*;
use crate::{
    config::{Config, History},
    event::Position,
    hub::{Outlet, WriteResult, tests_hub_with, tests_open},
};

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A kernel that takes so many bytes.
struct Kernel<'a> {
    got: &'a mut Vec<u8>,
    room: &'a mut usize,
}

impl Outlet for Kernel<'_> {
    fn write(&mut self, output: &[u8]) -> WriteResult {
        let n = output.len().min(*self.room);
        if n == 0 {
            return WriteResult::Blocked;
        }
        *self.room -= n;
        self.got.extend_from_slice(&output[..n]);
        WriteResult::Wrote(n)
    }

    fn flush(&mut self) -> WriteResult {
        WriteResult::Wrote(0)
    }
}

#[derive(Default)]
struct Peer {
    got: Vec<u8>,
    room: usize,
}

impl Peer {
    /// The texts of all frames that came whole.
    fn texts(&self) -> Vec<String> {
        let (mut texts, mut rest) = (Vec::new(), &self.got[..]);
        while let [0x81, len, after @ ..] = rest
            && after.len() >= usize::from(*len)
        {
            let (text, next) = after.split_at(usize::from(*len));
            texts.push(String::from_utf8(text.to_vec()).unwrap());
            rest = next;
        }
        assert_eq!(rest, b"", "nothing but texts, whole");
        texts
    }

    fn of(&self, topic: &str) -> Vec<String> {
        self.texts().into_iter().filter(|text| text.starts_with(topic)).collect()
    }
}

struct World {
    hubs: Vec<Hub>,
    peers: HashMap<ConnId, Peer>,
    notified: Vec<Vec<u32>>,
}

// The clock starts somewhere; it is read once.
#[allow(clippy::disallowed_methods)]
fn world(loops: usize, lane_bytes_max: usize, config: &Config) -> World {
    let now = Instant::now();
    let mut hubs: Vec<_> = (0..loops).map(|_| tests_hub_with(now, config.clone())).collect();
    let handles = hubs.iter().map(Hub::handle).collect();
    for (hub, peers) in hubs.iter_mut().zip(Peers::of(handles, Homes::Shared(7), lane_bytes_max)) {
        hub.join_loops(peers);
    }
    World { hubs, peers: HashMap::new(), notified: vec![Vec::new(); loops] }
}

impl World {
    fn connect(&mut self, at: usize) -> ConnId {
        let id = tests_open(&mut self.hubs[at]);
        self.peers.insert(id, Peer { got: Vec::new(), room: usize::MAX });
        id
    }

    /// Topics, each at home at another loop.
    fn topics(&self) -> Vec<String> {
        let named = |home| {
            (0..).map(|nth| format!("t{nth}-")).find(move |it| self.hubs[0].home(it) == home)
        };
        (0..self.hubs.len()).map(|home| named(home).unwrap()).collect()
    }

    fn turn(&mut self, at: usize) {
        let (hub, mut events) = (&mut self.hubs[at], Events::default());
        while hub.next_closed().is_some() {}
        hub.begin_flush();
        while let Some(id) = hub.next_to_flush() {
            let peer = self.peers.get_mut(&id).unwrap();
            let mut kernel = Kernel { got: &mut peer.got, room: &mut peer.room };
            hub.flush_one(id, &mut events, &mut kernel);
        }
        hub.end_flush(&mut events);
        let mut commands = Vec::new();
        hub.take_commands(&mut commands);
        for command in commands {
            hub.handle_command(command, &mut events);
        }
        if hub.has_items() || hub.holds_items() {
            hub.handle_lanes(&mut events);
        }
        let keys = events.records.iter().filter_map(|record| match record {
            Record::Notified { key } => Some(*key),
            _ => None,
        });
        self.notified[at].extend(keys);
    }

    /// Every peer reads all, and all loops turn until nothing is left.
    fn settle(&mut self) {
        for (id, peer) in &mut self.peers {
            peer.room = usize::MAX;
            let at = id.generation as usize % self.hubs.len();
            self.hubs[at].handle_ready(*id, false, true, false);
        }
        for _ in 0..200 {
            (0..self.hubs.len()).for_each(|at| self.turn(at));
        }
        let rests = |hub: &Hub| !hub.is_busy() && !hub.holds_items();
        assert!(self.hubs.iter().all(rests), "it came to rest");
    }
}

fn with_history() -> Config {
    let mut config = Config::default();
    config.topic.history = Some(History::of(1_000));
    config
}

#[test]
fn ids_are_the_processes_and_say_their_loop() {
    let mut world = world(3, 1 << 20, &Config::default());
    let ids: Vec<_> = (0..9).map(|nth| world.connect(nth % 3)).collect();
    for (nth, id) in ids.iter().enumerate() {
        assert!((1..u32::MAX).contains(&id.generation));
        assert_eq!(id.generation as usize % 3, nth % 3);
    }
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    // At the end of the numbers, each loop begins anew with its own.
    // It is a multiple of three.
    world.hubs[0].next_generation = u32::MAX;
    let last = [0, 0, 0].map(|at| world.connect(at).generation % 3);
    assert_eq!(last, [0, 0, 0]);
}

#[test]
fn a_publication_on_any_loop_reaches_the_subscribers_of_all_in_one_order() {
    let mut world = world(2, 1 << 20, &Config::default());
    let topics = world.topics();
    let ids = [0, 1, 0, 1].map(|at| world.connect(at));
    for (at, id) in ids.iter().enumerate() {
        for topic in &topics {
            world.hubs[at % 2].subscribe(*id, topic).unwrap();
        }
    }
    for nth in 0..5 {
        for (at, topic) in [(0, &topics[0]), (1, &topics[0]), (0, &topics[1]), (1, &topics[1])] {
            world.hubs[at].publish(topic, format!("{topic}{at}.{nth}")).unwrap();
        }
    }
    world.settle();
    for topic in &topics {
        let all = world.peers[&ids[0]].of(topic);
        assert_eq!(all.len(), 10);
        for id in &ids {
            assert_eq!(world.peers[id].of(topic), all, "{id:?} {topic}");
        }
        for at in 0..2 {
            // What one loop published is in its order.
            let own: Vec<_> = (0..5).map(|nth| format!("{topic}{at}.{nth}")).collect();
            let is_own = |text: &&String| own.contains(text);
            assert_eq!(all.iter().filter(is_own).cloned().collect::<Vec<_>>(), own);
        }
        let home = world.hubs[0].home(topic);
        assert_eq!(world.hubs[home].subscriber_count(topic), 4, "the home knows those of all");
        assert_eq!(world.hubs[1 - home].subscriber_count(topic), 2);
    }
}

/// The way of the interest is not that of the publication: it is heard of first all the same.
#[test]
fn what_is_published_after_a_subscription_is_the_subscribers() {
    let mut world = world(2, 1 << 20, &Config::default());
    let topic = world.topics()[0].clone();
    let id = world.connect(1);
    world.hubs[1].subscribe(id, &topic).unwrap();
    // The home has had no turn since.
    assert_eq!(world.hubs[0].publish(&topic, format!("{topic}1")).unwrap().subscribers, 1);
    world.settle();
    assert_eq!(world.peers[&id].of(&topic), [format!("{topic}1")]);
}

#[test]
fn the_sender_is_left_out_on_whichever_loop() {
    let mut world = world(2, 1 << 20, &Config::default());
    for topic in world.topics() {
        let ids = [0, 1].map(|at| world.connect(at));
        assert_eq!(ids[0].index, ids[1].index, "the same place on two loops");
        for (at, id) in ids.iter().enumerate() {
            world.hubs[at].subscribe(*id, &topic).unwrap();
        }
        world.settle();
        for (at, id) in ids.iter().enumerate() {
            world.hubs[at].publish_except(&topic, format!("{topic}{at}"), *id).unwrap();
        }
        world.settle();
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(world.peers[id].of(&topic), [format!("{topic}{}", 1 - at)]);
            assert_eq!(world.hubs[at].lag(*id, &topic), Some(0));
        }
    }
}

/// What is not for it is no lag of it, while it is on its way to others of its loop.
#[test]
fn the_sender_does_not_lag_for_what_is_not_for_it() {
    let mut world = world(2, 1 << 20, &Config::default());
    let topic = world.topics()[0].clone();
    let ids = [1, 1].map(|at| world.connect(at));
    ids.iter().for_each(|id| world.hubs[1].subscribe(*id, &topic).unwrap());
    world.settle();
    world.hubs[1].publish_except(&topic, "text", ids[0]).unwrap();
    // It is forwarded, sealed and handed over, and not served yet.
    [0, 0, 1].into_iter().for_each(|at| world.turn(at));
    assert_eq!(ids.map(|id| world.hubs[1].lag(id, &topic)), [Some(0), Some(1)]);
    world.settle();
    assert_eq!(ids.map(|id| world.hubs[1].lag(id, &topic)), [Some(0), Some(0)]);
}

#[test]
fn what_is_kept_is_had_on_every_loop_once_it_was_asked_for() {
    let mut world = world(2, 1 << 20, &with_history());
    let topic = world.topics()[0].clone();
    let (mut places, mut all) = (Vec::new(), Vec::new());
    for nth in 0..10 {
        all.push(format!("{topic}{nth}"));
        places.push(world.hubs[0].publish(&topic, &*all[nth]).unwrap().position.unwrap());
        world.turn(0);
    }
    assert_eq!(world.hubs[1].position(&topic), None, "nobody has asked");
    assert_eq!(world.hubs[1].open_topic(&topic, 9), Ok(false));
    assert_eq!(world.hubs[1].position(&topic), None);
    world.settle();
    assert_eq!(world.notified[1], [9]);
    assert_eq!(world.hubs[1].open_topic(&topic, 9), Ok(true));
    assert_eq!(world.hubs[1].position(&topic), world.hubs[0].position(&topic));
    for after in 0..10 {
        let id = world.connect(1);
        let joined = world.hubs[1].subscribe_after(id, &topic, places[after]).unwrap();
        assert_eq!(joined.kept, Ok((all.len() - after - 1) as u64));
        all.push(format!("{topic}live{after}"));
        world.hubs[1].publish(&topic, &**all.last().unwrap()).unwrap();
        world.settle();
        assert_eq!(world.peers[&id].of(&topic), all[after + 1..]);
        world.hubs[1].abort(id);
    }
    let other = Position { epoch: places[0].epoch + 1, ..places[0] };
    let id = world.connect(1);
    assert!(world.hubs[1].subscribe_after(id, &topic, other).unwrap().kept.is_err());
}

#[test]
fn a_loop_that_takes_nothing_has_publications_refused_and_none_is_lost() {
    let config = Config { topic_unserved_bytes_max: 4096, ..Config::default() };
    let mut world = world(2, 512, &config);
    let topic = world.topics()[0].clone();
    let id = world.connect(1);
    world.hubs[1].subscribe(id, &topic).unwrap();
    let mut taken = Vec::new();
    loop {
        let text = format!("{topic}{}", taken.len());
        match world.hubs[0].publish(&topic, &*text) {
            Ok(_) => taken.push(text),
            Err(refused) => {
                assert_eq!(refused, PublishError::TopicFull);
                break;
            }
        }
        world.turn(0);
        assert!(taken.len() < 1_000, "it is refused in the end");
    }
    world.settle();
    assert_eq!(world.peers[&id].of(&topic), taken);
    assert_eq!(world.hubs.iter().map(Hub::queued_bytes_total).sum::<usize>(), 0);
    // The other way, what is forwarded is refused.
    let topic = world.topics()[1].clone();
    let refused = (0..1_000).find_map(|_| world.hubs[0].publish(&topic, "text").err());
    assert_eq!(refused, Some(PublishError::LoopFull));
    world.settle();
    assert!(world.hubs[0].publish(&topic, "text").is_ok());
}

#[test]
fn topics_that_nobody_needs_are_forgotten_on_all_loops() {
    let mut world = world(2, 1 << 20, &Config::default());
    for topic in world.topics() {
        for round in 0..3 {
            let id = world.connect(round % 2);
            world.hubs[round % 2].subscribe(id, &topic).unwrap();
            if round > 0 {
                world.settle();
            }
            world.hubs[0].publish(&topic, &*topic).unwrap();
            world.hubs[round % 2].unsubscribe(id, &topic);
            world.settle();
            assert!(world.hubs.iter().all(|hub| hub.topics.places() == 0), "{topic} {round}");
            world.hubs[round % 2].abort(id);
        }
    }
}

/// What a subscriber should have got.
struct Reader {
    topic: String,
    /// From which of the texts on, at the latest, and up to which, at the least.
    sure: Vec<String>,
    /// It came after this place, and what was kept went up to that one.
    exactly_after: Option<(u64, u64)>,
    has_left: bool,
}

/// Whatever the order of turns, however short the lanes, whichever peer is blocked: every subscriber gets every publication once
/// and in its topic's order, from its subscription on.
#[test]
fn seeds() {
    let seeds = std::env::var("LOOPS_SEEDS").map_or(60, |seeds| seeds.parse().unwrap());
    (0..seeds).for_each(one_seed);
}

/// One run.
struct Run {
    seed: u64,
    dice: Dice,
    world: World,
    keeps: bool,
    topics: Vec<String>,
    /// A subscriber at each topic's home, which says the order; and where it began.
    witnesses: Vec<ConnId>,
    starts: Vec<Position>,
    ids: Vec<ConnId>,
    readers: HashMap<ConnId, Reader>,
    /// What was taken of each topic, and for whom it is not.
    sent: Vec<HashMap<String, Option<ConnId>>>,
}

fn one_seed(seed: u64) {
    let mut run = Run::new(seed);
    for nth in 0..400 {
        run.step(nth);
    }
    run.world.settle();
    for which in 0..run.topics.len() {
        run.check(which);
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let loops = 2 + dice.below(2);
        let mut config = if dice.one_in(2) { with_history() } else { Config::default() };
        config.topic_unserved_bytes_max = 2_000 + dice.below(20_000);
        let keeps = config.topic.history.is_some();
        let mut world = world(loops, 200 + dice.below(4_000), &config);
        let topics = world.topics();
        let (mut witnesses, mut starts) = (Vec::new(), Vec::new());
        for (home, topic) in topics.iter().enumerate() {
            let id = world.connect(home);
            world.hubs[home].subscribe(id, topic).unwrap();
            witnesses.push(id);
            starts.push(world.hubs[home].position(topic).unwrap());
        }
        let ids = (0..8).map(|nth| world.connect(nth % loops)).collect();
        let (readers, sent) = (HashMap::new(), vec![HashMap::new(); topics.len()]);
        Self { seed, dice, world, keeps, topics, witnesses, starts, ids, readers, sent }
    }

    fn step(&mut self, nth: usize) {
        let id = self.ids[self.dice.below(self.ids.len())];
        let at = id.generation as usize % self.world.hubs.len();
        let which = self.dice.below(self.topics.len());
        match self.dice.below(10) {
            0 if !self.readers.contains_key(&id) => self.subscribe(id, at, which),
            1 => self.world.peers.get_mut(&id).unwrap().room = self.dice.below(40),
            2 => {
                self.world.peers.get_mut(&id).unwrap().room = 10_000;
                self.world.hubs[at].handle_ready(id, false, true, false);
            }
            3..=6 => self.publish(nth, id, at, which),
            7 if self.dice.one_in(8) => {
                if let Some(reader) = self.readers.get_mut(&id) {
                    reader.has_left |= self.world.hubs[at].unsubscribe(id, &reader.topic);
                }
            }
            _ => {
                for _ in 0..=self.dice.below(3) {
                    let at = self.dice.below(self.world.hubs.len());
                    self.world.turn(at);
                }
            }
        }
    }

    fn subscribe(&mut self, id: ConnId, at: usize, which: usize) {
        let (hub, topic) = (&mut self.world.hubs[at], &self.topics[which]);
        let mut exactly_after = None;
        let opened = self.keeps.then(|| hub.open_topic(topic, 1)) == Some(Ok(true));
        if opened && let Some(place) = hub.position(topic) {
            let offset = self.dice.below(place.offset as usize + 1) as u64;
            let after = Position { epoch: self.starts[which].epoch, offset };
            let joined = hub.subscribe_after(id, topic, after).unwrap();
            assert_eq!(joined.kept, Ok(place.offset - offset), "seed {}", self.seed);
            exactly_after = Some((offset, place.offset));
        } else {
            hub.subscribe(id, topic).unwrap();
        }
        let (topic, sure, has_left) = (topic.clone(), Vec::new(), false);
        self.readers.insert(id, Reader { topic, sure, exactly_after, has_left });
    }

    fn publish(&mut self, nth: usize, id: ConnId, at: usize, which: usize) {
        let (hub, topic) = (&mut self.world.hubs[at], &self.topics[which]);
        let text = format!("{topic}{nth}{}", "x".repeat(self.dice.below(60)));
        let except = self.dice.one_in(4).then_some(id);
        let published = match except {
            Some(id) => hub.publish_except(topic, &*text, id),
            None => hub.publish(topic, &*text),
        };
        if published.is_ok() {
            let reads = |it: &&mut Reader| it.topic == *topic && !it.has_left;
            let of_topic = self.readers.values_mut().filter(reads);
            of_topic.for_each(|reader| reader.sure.push(text.clone()));
            self.sent[which].insert(text, except);
        }
    }

    /// All subscribers of a topic have got what they are due.
    fn check(&self, which: usize) {
        let (seed, topic, sent) = (self.seed, &self.topics[which], &self.sent[which]);
        let order = self.world.peers[&self.witnesses[which]].of(topic);
        let known: HashMap<_, _> = order.iter().zip(0..).collect();
        assert_eq!(known.len(), order.len(), "seed {seed}: nothing twice");
        assert!(order.iter().all(|text| sent.contains_key(text)));
        let hubs = self.world.hubs.iter();
        let refused: u64 = hubs.map(|hub| hub.counters().messages_dropped_full).sum();
        let missing = (sent.len() - order.len()) as u64;
        assert!(missing <= refused, "seed {seed}: what is not published was counted as refused");
        for (id, reader) in self.readers.iter().filter(|(_, reader)| reader.topic == *topic) {
            let got = self.world.peers[id].texts();
            let is_due = |text: &&String| {
                // What was kept is for everyone.
                let was_kept = reader.exactly_after.is_some_and(|(_, joined)| known[text] < joined);
                sent[*text] != Some(*id) || was_kept
            };
            let from = match (reader.exactly_after, got.first()) {
                (Some((after, _)), _) => after as usize,
                (None, Some(first)) => known[first] as usize,
                (None, None) => order.len(),
            };
            let expected: Vec<_> = order[from..].iter().filter(is_due).cloned().collect();
            if reader.has_left {
                assert!(expected.starts_with(&got), "seed {seed}: {id:?} of {topic}");
                continue;
            }
            assert_eq!(got, expected, "seed {seed}: {id:?} of {topic}");
            // At the latest from what was published after it had subscribed.
            let sure = reader.sure.iter().filter(|text| known.contains_key(text));
            let lost: Vec<_> = sure.filter(is_due).filter(|text| !got.contains(text)).collect();
            assert!(lost.is_empty(), "seed {seed}: {id:?} has not got {lost:?}");
        }
    }
}
