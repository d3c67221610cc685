//! Random worlds: a broker that is published to, forgets, and starts anew; two ways to the node that are cut, lose what is
//! on them, and overtake each other. What the node has is always what the broker gave that place, and in the end
//! it has all.

use std::collections::{HashMap, VecDeque};

use pushloop::{Config, History, Server, TopicOptions};

use super::*;
use crate::broker::link::Keeps;

/// What the broker keeps of a topic.
const KEPT: u64 = 12;

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

struct World {
    dice: Dice,
    server: Server,
    shared: Arc<Shared>,
    topics: Topics,
    name: Arc<str>,
    /// What each place was given, in all lives.
    given: HashMap<Position, u64>,
    here: Position,
    contents: u64,
    /// What is on the way: what was heard, and what was asked.
    news: VecDeque<Event>,
    answers: VecDeque<(Wanted, Place)>,
    /// Whether the way is open on which news come, and the topic is heard there.
    listens: bool,
    is_heard: bool,
    done: Vec<Done>,
}

fn record(content: u64) -> Record {
    Record { is_text: false, made_at: 0, payload: content.to_be_bytes().into(), except: None }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = Config::default();
        let mut options = TopicOptions::default();
        options.history = Some(History::of(1000));
        config.topic = options;
        let mut server = Server::new(config).expect("there are descriptors");
        let shared = Arc::new(Shared::new(server.handle()));
        shared.set_connected(true);
        let status = Arc::new(Status::new(std::time::SystemTime::UNIX_EPOCH));
        let topics =
            Topics::new("p".to_owned(), 1, Arc::clone(&shared), status, server.hub().now());
        let mut world = Self {
            dice: Dice(seed),
            server,
            shared,
            topics,
            name: "t".into(),
            given: HashMap::new(),
            here: Position { epoch: 1, offset: 0 },
            contents: 0,
            news: VecDeque::new(),
            answers: VecDeque::new(),
            listens: true,
            is_heard: false,
            done: Vec::new(),
        };
        world.want();
        world
    }

    fn want(&mut self) {
        let names = ["t".to_owned()];
        if !self.topics.has(self.server.hub(), "t", None) {
            self.topics.want(self.server.hub(), &names, &[]);
        }
    }

    fn publish(&mut self) {
        self.here.offset += 1;
        self.contents += 1;
        self.given.insert(self.here, self.contents);
        if self.is_heard {
            let (topic, position) = (Arc::clone(&self.name), self.here);
            self.news.push_back(Event::News { topic, position, record: record(self.contents) });
        }
    }

    /// The broker answers what it was asked.
    fn answer(&mut self) {
        self.shared.echo();
        for (_, wanted) in self.shared.next_batch().expect("it does not end").asked {
            let (from, most) = match wanted {
                Wanted::Latest(Keeps { publications, .. }) => (0, publications),
                Wanted::After(offset, Keeps { publications, .. }) => (offset, publications),
                Wanted::Place(_) => (0, 0),
            };
            let first = (self.here.offset.saturating_sub(KEPT.min(most))).max(from) + 1;
            let epoch = self.here.epoch;
            let kept = (first..=self.here.offset)
                .take(most as usize)
                .map(|at| (at, record(self.given[&Position { epoch, offset: at }])));
            let place = Place { position: self.here, kept: kept.collect(), members: Vec::new() };
            self.answers.push_back((wanted, place));
        }
    }

    /// The node's next news, or the next answer.
    fn deliver(&mut self, is_news: bool) {
        let hub = self.server.hub();
        let applied = if is_news {
            match self.news.pop_front() {
                Some(Event::News { topic, position, record }) => {
                    self.topics.handle_news(hub, topic, position, record)
                }
                Some(Event::Subscribed(topic)) => self.topics.handle_subscribed(hub, &topic),
                Some(other) => unreachable!("{other:?} is no news"),
                None => return,
            }
        } else {
            let Some((wanted, place)) = self.answers.pop_front() else { return };
            let name = Arc::clone(&self.name);
            self.topics.handle_opened(hub, name, wanted, Ok(place), &mut self.done)
        };
        assert!(matches!(applied, Applied::Yes));
    }

    fn hear(&mut self) {
        self.is_heard = true;
        self.news.push_back(Event::Subscribed(Arc::clone(&self.name)));
    }

    /// Has heard what is to be heard, and no more.
    fn listen(&mut self) {
        if !self.listens {
            self.listens = true;
            if !self.shared.begin_listening().is_empty() {
                self.hear();
            }
        }
        for change in self.shared.take_changes() {
            match change {
                Change::Subscribe(_) => self.hear(),
                Change::Unsubscribe(_) => self.is_heard = false,
            }
        }
    }

    /// After a while, which is not waited for.
    fn look(&mut self) {
        let hub = self.server.hub();
        self.topics.round_due = hub.now();
        self.topics.look(hub);
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..40 => self.publish(),
            40..60 => self.deliver(true),
            60..75 => self.deliver(false),
            75..85 => self.answer(),
            85..88 => self.look(),
            // What listens is cut, and what is on the way is lost.
            88..90 => {
                (self.listens, self.is_heard) = (false, false);
                self.news.clear();
            }
            90..94 => self.listen(),
            // What asks is cut, and asks anew.
            94..96 => {
                self.answers.clear();
                self.shared.set_connected(false);
                self.shared.set_connected(true);
                self.topics.handle_connected();
            }
            // One is lost, and nobody says so.
            96..98 => drop(self.news.pop_back_if(|it| matches!(it, Event::News { .. }))),
            98 => (self.here.epoch, self.here.offset) = (self.here.epoch + 1, 0),
            _ => self.want(),
        }
    }

    /// What is kept here is what the broker gave these places.
    fn holds(&mut self, seed: u64) {
        for it in self.server.hub().history_last("t", u64::MAX) {
            let given = self.given.get(&it.position).map(|content| content.to_be_bytes());
            let had = it.message.as_bytes();
            assert_eq!(given.as_ref().map(|it| &it[..]), Some(had), "seed {seed}: {}", it.position);
        }
        self.shared.take(usize::MAX);
    }

    /// All ways are open, and all that is on the way arrives: the node is where the broker is.
    fn heals(&mut self, seed: u64) {
        for _ in 0..8 {
            self.want();
            self.listen();
            self.look();
            while !self.news.is_empty() {
                self.deliver(true);
            }
            self.answer();
            while !self.answers.is_empty() {
                self.deliver(false);
            }
        }
        self.holds(seed);
        assert_eq!(self.server.hub().position("t"), Some(self.here), "seed {seed}");
    }
}

#[test]
fn what_a_node_has_is_what_the_broker_gave_in_every_world() {
    let worlds = std::env::var("BROKER_SEEDS").map_or(300, |it| it.parse().expect("a number"));
    let (mut closed, mut ended) = (0, 0);
    for seed in 0..worlds {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
            world.holds(seed);
        }
        world.heals(seed);
        closed += world.topics.status.broker_recovered.load(Ordering::Relaxed);
        ended += world.topics.status.broker_topics_ended.load(Ordering::Relaxed);
    }
    assert!(closed > worlds && ended > worlds, "{closed} were recovered, {ended} topics ended");
    println!(
        "figure broker's worlds: {worlds}; {closed} publications were recovered, {ended} topics ended"
    );
}
