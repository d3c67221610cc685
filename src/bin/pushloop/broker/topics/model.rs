//! Random worlds: a broker that is published to, forgets, and starts anew; two ways to the node that are cut, lose what is
//! on them, and overtake each other. What the node has is always what the broker gave that place, and in the end
//! it has all. The same is so for who is there, as the topic is a companion topic: it is read in portions, while
//! members come and go.

use std::collections::{BTreeMap, HashMap, VecDeque};

use pushloop::{Config, History, Server, TopicOptions};

use super::*;
use crate::broker::link::{Keeps, Portion};

/// What the broker keeps of a topic.
const KEPT: u64 = 12;
/// Members that may be, and portions in which they are read.
const MEMBERS: u64 = 40;
const PORTIONS: u64 = 4;
const NAME: &str = "$presence/t";

/// Who is there: the ids, and with which info each came.
type List = BTreeMap<String, String>;

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
    /// What each place was given, in all lives, and who was there then.
    given: HashMap<Position, (String, List)>,
    here: Position,
    members: List,
    contents: u64,
    /// Who is there, as it is told here.
    told: Option<List>,
    lists: u64,
    /// What is on the way: what was heard, and what was asked.
    news: VecDeque<Event>,
    answers: VecDeque<Event>,
    /// Whether the way is open on which news come, and the topic is heard there.
    listens: bool,
    is_heard: bool,
    done: Vec<Done>,
}

fn record(content: &str) -> Record {
    Record { is_text: true, made_at: 0, payload: content.as_bytes().into(), except: None }
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
            name: NAME.into(),
            given: HashMap::from([(Position { epoch: 1, offset: 0 }, Default::default())]),
            here: Position { epoch: 1, offset: 0 },
            members: List::new(),
            contents: 0,
            told: None,
            lists: 0,
            news: VecDeque::new(),
            answers: VecDeque::new(),
            listens: true,
            is_heard: false,
            done: Vec::new(),
        };
        world.want(Lists::Count);
        world
    }

    fn want(&mut self, lists: Lists) {
        if !self.topics.has(self.server.hub(), NAME, None, lists) {
            self.topics.want(self.server.hub(), &[NAME.to_owned()], &[], lists);
        }
    }

    /// A member comes or goes.
    fn publish(&mut self) {
        self.here.offset += 1;
        self.contents += 1;
        let (id, info) = (self.dice.below(MEMBERS).to_string(), self.contents.to_string());
        let text = match self.members.remove(&id) {
            Some(_) => format!(r#"{{"leave":{{"id":"{id}"}}}}"#),
            None => {
                self.members.insert(id.clone(), info.clone());
                format!(r#"{{"join":{{"id":"{id}","info":{info}}}}}"#)
            }
        };
        if self.is_heard {
            let (topic, position) = (Arc::clone(&self.name), self.here);
            self.news.push_back(Event::News { topic, position, record: record(&text) });
        }
        self.given.insert(self.here, (text, self.members.clone()));
    }

    /// The members of one portion, as `HSCAN` gives them.
    fn portion(&self, cursor: u64) -> Portion {
        let members = self.members.iter();
        let members =
            members.filter(|(id, _)| id.parse::<u64>().is_ok_and(|id| id % PORTIONS == cursor));
        let members = members.map(|(id, info)| (id.as_str().into(), info.as_str().into()));
        let cursor = (cursor + 1) % PORTIONS;
        Portion { cursor, members: members.collect(), position: self.here }
    }

    /// The broker answers what it was asked.
    fn answer(&mut self) {
        self.shared.echo();
        let batch = self.shared.next_batch().expect("it does not end");
        for (topic, wanted) in batch.asked {
            let (from, most) = match wanted {
                Wanted::Latest(Keeps { publications, .. }) => (0, publications),
                Wanted::After(offset, Keeps { publications, .. }) => (offset, publications),
                Wanted::Place(_) => (0, 0),
            };
            let first = (self.here.offset.saturating_sub(KEPT.min(most))).max(from) + 1;
            let epoch = self.here.epoch;
            let kept = (first..=self.here.offset)
                .take(most as usize)
                .map(|at| (at, record(&self.given[&Position { epoch, offset: at }].0)));
            let members = self.members.len();
            let place = Ok(Place { position: self.here, kept: kept.collect(), members });
            self.answers.push_back(Event::Opened { topic, wanted, place });
        }
        if let Some((topic, asked)) = batch.portion {
            let portion = Ok(self.portion(asked.cursor));
            self.answers.push_back(Event::Listed { topic, asked, portion });
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
            match self.answers.pop_front() {
                Some(Event::Opened { topic, wanted, place }) => {
                    self.topics.handle_opened(hub, topic, wanted, place, &mut self.done)
                }
                Some(Event::Listed { topic, asked, portion }) => {
                    self.topics.handle_portion(hub, &topic, asked, portion);
                    Applied::Yes
                }
                Some(other) => unreachable!("{other:?} is no answer"),
                None => return,
            }
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
            0..30 => self.publish(),
            30..51 => self.deliver(true),
            51..69 => self.deliver(false),
            69..85 => self.answer(),
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
            98 => {
                (self.here.epoch, self.here.offset) = (self.here.epoch + 1, 0);
                if self.dice.below(2) == 0 {
                    self.members.clear();
                }
                self.given.insert(self.here, (String::new(), self.members.clone()));
            }
            _ => {
                let lists = [Lists::Count, Lists::Members][self.dice.below(2) as usize];
                self.want(lists);
            }
        }
    }

    /// What is kept here is what the broker gave these places.
    fn holds(&mut self, seed: u64) {
        for it in self.server.hub().history_last(NAME, u64::MAX) {
            let given = self.given.get(&it.position).map(|(text, _)| text.as_bytes());
            assert_eq!(given, Some(it.message.as_bytes()), "seed {seed}: {}", it.position);
        }
        self.shared.take(usize::MAX);
        self.take_news(seed);
        let Some(place) = self.server.hub().position(NAME) else { return };
        let given = &self.given[&place].1;
        if let Some(told) = &self.told {
            assert_eq!(told, given, "seed {seed}: {place}");
        }
        if let Some(count) = self.topics.member_count(NAME) {
            assert_eq!(count, given.len(), "seed {seed}: {place}");
        }
    }

    /// What is told of a list: no member comes or goes twice.
    fn take_news(&mut self, seed: u64) {
        for (_, news) in self.topics.take_news() {
            match (news, &mut self.told) {
                (PresenceNews::All(members), told) => {
                    let all = members.len();
                    let text = |(id, info): (Box<str>, Box<str>)| (id.into(), info.into());
                    let list: List = members.into_iter().map(text).collect();
                    assert_eq!(list.len(), all, "seed {seed}: one is there twice");
                    *told = Some(list);
                    self.lists += 1;
                }
                (PresenceNews::Unknown, told) => *told = None,
                (PresenceNews::Join(id, info), Some(told)) => {
                    let known = told.insert(id.to_string(), info.into());
                    assert_eq!(known, None, "seed {seed}: {id} is there already");
                }
                (PresenceNews::Leave(id), Some(told)) => {
                    assert!(told.remove(&*id).is_some(), "seed {seed}: {id} is not there");
                }
                (news, None) => unreachable!("seed {seed}: {news:?} without a list"),
            }
        }
    }

    /// All ways are open, and all that is on the way arrives: the node is where the broker is.
    fn heals(&mut self, seed: u64) {
        for _ in 0..4 * PORTIONS {
            self.want(Lists::Members);
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
        assert_eq!(self.server.hub().position(NAME), Some(self.here), "seed {seed}");
        assert_eq!(self.told.as_ref(), Some(&self.members), "seed {seed}");
    }
}

#[test]
fn what_a_node_has_is_what_the_broker_gave_in_every_world() {
    let worlds = std::env::var("BROKER_SEEDS").map_or(300, |it| it.parse().expect("a number"));
    let (mut closed, mut ended, mut lists) = (0, 0, 0);
    for seed in 0..worlds {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
            world.holds(seed);
        }
        world.heals(seed);
        closed += world.topics.status.broker_recovered.load(Ordering::Relaxed);
        ended += world.topics.status.broker_topics_ended.load(Ordering::Relaxed);
        lists += world.lists;
    }
    assert!(
        closed > worlds && ended > worlds && lists > worlds,
        "{closed} were recovered, {ended} topics ended, {lists} lists were read"
    );
    println!(
        "figure broker's worlds: {worlds}; {closed} publications were recovered, {ended} topics ended, \
         {lists} lists were read"
    );
}
