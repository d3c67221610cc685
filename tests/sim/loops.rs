//! Several loops of one process in one schedule: which of them turns next is chance, and so is what their clients do.
//!
//! Whatever the schedule, a topic has one order, each publication that was taken is in it once, and a subscriber of
//! any loop gets all that follow its subscription, in that order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use pushloop::testing::{Client, Dice, World};
use pushloop::{Accept, Config, ConnId, Handler, Hub, Message, PublishError, Request, RequestId};

const SEEDS: u64 = 60;
const STEPS: usize = 400;
const TOPICS: [&str; 5] = ["a", "b", "c", "d", "e"];
const INSTANT: Duration = Duration::from_nanos(1);

/// What happened at all loops together.
#[derive(Default)]
struct Record {
    /// Of each topic, what publishers were told that it is taken, in the order in which they were told.
    taken: BTreeMap<String, Vec<String>>,
    /// How much of it was taken before each subscriber came.
    before: BTreeMap<String, BTreeMap<String, usize>>,
    /// Publications that found no room in a lane.
    refused: u64,
}

/// Subscribes each connection to all topics, and publishes what it says: the topic, and then more.
struct Room {
    record: Rc<RefCell<Record>>,
    names: BTreeMap<u64, String>,
}

impl Handler for Room {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        self.names.insert(id.conn().to_bits(), request.path().to_owned());
        hub.accept(id, Accept::default()).expect("a handshake");
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        let mut record = self.record.borrow_mut();
        for topic in TOPICS {
            hub.subscribe(id, topic).expect("it is within the limits");
        }
        let so_far = record.taken.iter().map(|(topic, all)| (topic.clone(), all.len())).collect();
        record.before.insert(self.names[&id.to_bits()].clone(), so_far);
    }

    fn on_message(&mut self, hub: &mut Hub, _: ConnId, message: Message<'_>) {
        let text = message.as_text().expect("it is text");
        let topic = text.split(' ').next().expect("a topic");
        let mut record = self.record.borrow_mut();
        match hub.publish(topic, text) {
            Ok(_) => record.taken.entry(topic.to_owned()).or_default().push(text.to_owned()),
            Err(PublishError::LoopFull) => record.refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
}

struct Process {
    dice: Dice,
    loops: Vec<World<Room>>,
    record: Rc<RefCell<Record>>,
    /// With their names, and whether they stay to the end.
    clients: Vec<(String, Client, bool)>,
    said: usize,
}

impl Process {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let record = Rc::<RefCell<Record>>::default();
        let mut config = Config::default();
        config.ping_interval = None;
        let count = 2 + dice.below(2);
        let mut loops: Vec<_> = (0..count as u64)
            .map(|nth| {
                let (record, names) = (Rc::clone(&record), BTreeMap::new());
                World::new(seed * 8 + nth, config.clone(), |_| Room { record, names })
            })
            .collect();
        let lane_bytes_max = [1, 300, 2000, 4 << 20][dice.below(4)];
        World::join(&mut loops, lane_bytes_max);
        let mut it = Self { dice, loops, record, clients: Vec::new(), said: 0 };
        // One at each loop is there from the beginning to the end.
        (0..count).for_each(|at| it.connect(at));
        it.loops.iter_mut().for_each(World::run_until_quiet);
        it
    }

    fn connect(&mut self, at: usize) {
        let name = format!("/{}", self.clients.len());
        let client = self.loops[at].knock(name.as_str());
        // Little is on its way: its server has to wait for it.
        client.wire().holds(600);
        self.clients.push((name, client, true));
    }

    fn step(&mut self) {
        let (at, nth) = (self.dice.below(self.loops.len()), self.dice.below(self.clients.len()));
        let count = self.clients.len();
        let (name, client, stays) = &mut self.clients[nth];
        let is_open = client.answer().is_some() && *stays;
        match self.dice.below(40) {
            0 if count < 12 => self.connect(at),
            1 if nth >= self.loops.len() && is_open => {
                client.cut();
                *stays = false;
            }
            2..=4 => client.reads_at([0, 7, 100, usize::MAX][self.dice.below(4)]),
            5..=19 if is_open => {
                let topic = TOPICS[self.dice.below(TOPICS.len())];
                self.said += 1;
                let more = "x".repeat(self.dice.below(50));
                client.send(format!("{topic} {name} {} {more}", self.said));
            }
            _ => self.loops[at].turn(INSTANT),
        }
    }

    /// All read on, until nothing more happens at any loop.
    fn settle(&mut self) {
        self.clients.iter().for_each(|(_, client, _)| client.reads_on());
        let counts = |it: &Self| {
            let of = |it: &World<Room>| it.handle().counters();
            it.loops.iter().map(|it| (of(it).deliveries, of(it).publications)).collect::<Vec<_>>()
        };
        let (mut before, mut same) = (counts(self), 0);
        while same < 3 {
            self.loops.iter_mut().for_each(World::run_until_quiet);
            let now = counts(self);
            same = if now == before { same + 1 } else { 0 };
            before = now;
        }
    }

    fn judge(&self) {
        let record = self.record.borrow();
        let got: Vec<Vec<String>> = self
            .clients
            .iter()
            .map(|(_, client, _)| client.messages().iter().map(|it| it.text().to_owned()).collect())
            .collect();
        for topic in TOPICS {
            let of = |all: &[String]| -> Vec<String> {
                let is_its = |text: &&String| text.split(' ').next() == Some(topic);
                all.iter().filter(is_its).cloned().collect()
            };
            let nothing = Vec::new();
            let taken = record.taken.get(topic).unwrap_or(&nothing);
            // That of the first, which was there all the time.
            let order = of(&got[0]);
            let (mut sorted, mut expected) = (order.clone(), taken.clone());
            sorted.sort();
            expected.sort();
            assert_eq!(sorted, expected, "each that was taken, once");
            for ((name, client, stays), had) in self.clients.iter().zip(&got) {
                let had = of(had);
                let own: Vec<_> =
                    order.iter().filter(|it| it.split(' ').nth(1) == Some(name)).collect();
                let said = |it: &&String| it.split(' ').nth(2).and_then(|it| it.parse().ok());
                let numbers: Vec<usize> = own.iter().filter_map(said).collect();
                assert!(numbers.is_sorted(), "what {name} has said is in its order: {own:?}");
                let first = order.iter().position(|it| had.first() == Some(it));
                let begin = first.unwrap_or(order.len());
                let is_part = had.is_empty() || order[begin..].starts_with(&had);
                assert!(is_part, "{name} had {had:?} of {order:?}");
                assert_eq!(client.closed(), None, "{name}");
                if *stays && client.answer().is_some() {
                    assert!(
                        had.is_empty() || order[begin..] == had,
                        "{name} had {had:?} of {order:?}"
                    );
                    let after =
                        record.before.get(name).map_or(0, |it| *it.get(topic).unwrap_or(&0));
                    assert!(
                        taken[after..].iter().all(|it| had.contains(it)),
                        "{name} misses what came after it"
                    );
                }
            }
        }
    }
}

/// How many publications found no room, and how many were taken.
fn life(seed: u64) -> (u64, usize) {
    let mut process = Process::new(seed);
    (0..STEPS).for_each(|_| process.step());
    process.settle();
    process.judge();
    let record = process.record.borrow();
    (record.refused, record.taken.values().map(Vec::len).sum())
}

#[test]
fn every_subscriber_of_several_loops_gets_each_publication_once_and_in_order() {
    let seeds = super::number("SIM_SEED")
        .map_or(0..super::number("SIM_SEEDS").unwrap_or(SEEDS), |it| it..it + 1);
    let (mut refused, mut taken, count) = (0, 0, seeds.end - seeds.start);
    for seed in seeds {
        let ended = catch_unwind(|| life(seed)).unwrap_or_else(|failure| {
            eprintln!("seed {seed} fails: SIM_SEED={seed} cargo sim several_loops");
            resume_unwind(failure)
        });
        (refused, taken) = (refused + ended.0, taken + ended.1);
    }
    assert!(
        count < SEEDS || (refused > 0 && taken > 50 * SEEDS as usize),
        "{refused} refused, {taken} taken"
    );
}
