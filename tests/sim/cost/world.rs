//! One world: peers that lag, alternate and burst.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use allocation_counter::measure;
use pushloop::{Accept, CloseCode, Config, ConnId, Event, Hub, OnLag, TopicOptions};

use super::given::{BATCHES_MAX, Given, drawn_config, drawn_history};
use super::peer::Peer;
use crate::support::dice::Dice;
use crate::support::sink::Drain;

const STEPS: usize = 300;
/// Time passes by so much.
const TICK: Duration = Duration::from_millis(900);
/// Kinds of bursts.
pub const KINDS: usize = 6;
/// Places that the network keeps kernels for.
const PLACES: usize = 256;

pub struct World {
    pub drain: Drain,
    pub dice: Dice,
    pub seed: u64,
    pub peers: Vec<Peer>,
    opened: usize,
    pub names: Vec<String>,
    /// Topics that published, and whose passes may not have ended.
    published: BTreeSet<usize>,
    pub given: Given,
    /// Steps that are counted with the next turn: of connections that ended.
    carried: usize,
    carried_shed: usize,
    pub heap: i64,
    /// What was ever queued.
    pub pushed: usize,
    payload: Vec<u8>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    pub fn with(seed: u64, set: impl FnOnce(&mut Config)) -> Self {
        let mut dice = Dice::new(seed + 1);
        let mut config = drawn_config(&mut dice);
        set(&mut config);
        let mut drain = None;
        let mut heap = measure(|| drain = Some(Drain::new(config))).bytes_current;
        let mut drain = drain.expect("it was just made");
        drain.server.net().has_kernels(PLACES);
        let topics = [1, 4, 40][dice.below(3)];
        let names: Vec<_> = (0..topics).map(|topic| format!("topic {topic}")).collect();
        for name in &names {
            let mut options = TopicOptions::default();
            options.on_lag = [OnLag::Close, OnLag::Latest, OnLag::Skip][dice.below(3)];
            options.history = drawn_history(&mut dice);
            let hub = drain.hub();
            heap += measure(|| hub.configure_topic(name, options).unwrap()).bytes_current;
        }
        let count = [3, 8, 24][dice.below(3)];
        let mut world = Self {
            drain,
            dice,
            seed,
            peers: Vec::new(),
            opened: 0,
            names,
            published: BTreeSet::new(),
            given: Given::default(),
            carried: 0,
            carried_shed: 0,
            heap,
            pushed: 0,
            payload: vec![b'x'; 4096],
        };
        world.opens(count);
        world
    }

    /// Calls the hub, and counts what it comes to hold.
    pub fn asks<T>(&mut self, what: impl FnOnce(&mut Hub) -> T) -> T {
        let mut done = None;
        let hub = self.drain.hub();
        let before = hub.queued_bytes_total();
        self.heap += measure(|| done = Some(what(hub))).bytes_current;
        self.pushed += self.drain.hub().queued_bytes_total().saturating_sub(before);
        done.expect("it was done")
    }

    pub fn opens(&mut self, count: usize) {
        self.drain.server.net().connects(count);
        let opened = self.opened + count;
        while self.opened < opened {
            self.turn();
        }
        // Others may have ended meanwhile.
        for at in self.peers.len().saturating_sub(count)..self.peers.len() {
            let all = self.dice.one_in(2);
            for topic in 0..self.names.len() {
                if all || self.dice.one_in(4) {
                    self.subscribes(at, topic);
                }
            }
        }
    }

    pub fn lives(&mut self) {
        if self.dice.one_in(3) {
            self.nobody_reads();
        }
        for _ in 0..STEPS {
            self.step();
        }
        // All recover, and in each turn some of what waits leaves.
        self.peers.iter_mut().for_each(|peer| peer.pace = usize::MAX);
        let mut idle = 0;
        for _ in 0..500 {
            let bytes = self.drain.server.net().bytes;
            self.turn();
            if self.drain.hub().queued_bytes_total() == 0 {
                break;
            }
            let is_idle = self.drain.server.net().bytes == bytes;
            idle = if is_idle { idle + 1 } else { 0 };
            assert!(idle < 10, "seed {}: what waits does not leave", self.seed);
        }
        self.turn();
    }

    fn step(&mut self) {
        if self.peers.is_empty() {
            return self.opens(3);
        }
        let (at, topic) = (self.dice.below(self.peers.len()), self.dice.below(self.names.len()));
        match self.dice.below(100) {
            0..35 => self.bursts(at, topic),
            35..42 => self.subscribes(at, topic),
            42..49 => self.unsubscribes(at, topic),
            49..51 => {
                // It leaves and comes back while it is behind.
                for _ in 0..self.dice.below(60) {
                    self.unsubscribes(at, topic);
                    self.subscribes(at, topic);
                    self.publishes(topic, 8, None);
                }
            }
            51..54 => self.resumes(at, topic),
            54..65 => self.reads(at),
            65..67 => {
                // Nobody reads.
                for at in 0..self.peers.len() {
                    self.peers[at].pace = 0;
                    self.drain.server.net().takes(self.peers[at].id, 0);
                }
            }
            67..70 => {
                for _ in 0..self.dice.below(40) {
                    self.turn();
                }
            }
            70 => {
                let id = self.peers[at].id;
                self.given.left += self.readers(at);
                self.asks(|hub| hub.close(id, CloseCode::NORMAL, ""));
            }
            71 => {
                let count = 1 + self.dice.below(4);
                if self.peers.len() + count < PLACES / 4 {
                    self.opens(count);
                }
            }
            _ => self.turn(),
        }
    }

    /// From here on, it reads nothing, a little in each turn, or all.
    fn reads(&mut self, at: usize) {
        let pace = [0, 1, 30, 700, 9000, usize::MAX][self.dice.below(6)];
        self.peers[at].pace = pace;
        self.drain.server.net().takes(self.peers[at].id, pace);
    }

    /// Publications and direct sends, one after the other.
    fn bursts(&mut self, at: usize, topic: usize) {
        let len = [0, 8, 8, 40, 300, 3000][self.dice.below(6)];
        let most = if len > 1000 { 300 } else { 2000 };
        let count = [1, 10, 100, most][self.dice.below(4)];
        let kind = self.dice.below(KINDS);
        self.burst(kind, at, topic, len, count);
    }

    pub fn burst(&mut self, kind: usize, at: usize, topic: usize, len: usize, count: usize) {
        for nth in 0..count {
            match kind {
                0 => self.publishes(topic, len, None),
                1 => self.sends(at, len),
                2 => {
                    self.publishes(topic, len, None);
                    self.sends(at, len);
                }
                3 => {
                    self.publishes(nth % self.names.len(), len, None);
                    self.sends(nth % self.peers.len(), len);
                }
                4 => self.publishes(topic, len, Some(at)),
                _ => {
                    let except = (nth % 3 == 0).then_some(nth % self.peers.len());
                    self.publishes(nth % self.names.len(), len, except);
                }
            }
        }
    }

    fn publishes(&mut self, topic: usize, len: usize, except: Option<usize>) {
        let (name, payload) = (mem::take(&mut self.names[topic]), mem::take(&mut self.payload));
        let id = except.map(|at| self.peers[at].id);
        if let Some(at) = except {
            self.peers[at].is_excepted = true;
        }
        let message = &payload[..len];
        let done = self.asks(|hub| match id {
            Some(id) => hub.publish_except(&name, message, id),
            None => hub.publish(&name, message),
        });
        (self.names[topic], self.payload) = (name, payload);
        self.given.messages += 1;
        self.given.looked_for += except.map_or(0, |at| self.peers[at].topics.len());
        if done.is_ok() {
            self.published.insert(topic);
        }
    }

    pub fn sends(&mut self, at: usize, len: usize) {
        let (id, payload) = (self.peers[at].id, mem::take(&mut self.payload));
        let before = self.drain.hub().is_open(id);
        let _ = self.asks(|hub| hub.send(id, &payload[..len]));
        self.payload = payload;
        self.given.messages += 1;
        self.peers[at].is_sent_to = true;
        if before && !self.drain.hub().is_open(id) {
            // It is closed for what waits.
            self.given.left += self.readers(at);
        }
    }

    fn subscribes(&mut self, at: usize, topic: usize) {
        let id = self.peers[at].id;
        let name = mem::take(&mut self.names[topic]);
        let done = self.asks(|hub| hub.subscribe(id, &name));
        self.names[topic] = name;
        self.given.looked_for += self.peers[at].topics.len();
        if done.is_ok() {
            self.peers[at].topics.insert(topic);
        }
    }

    pub fn unsubscribes(&mut self, at: usize, topic: usize) {
        let id = self.peers[at].id;
        let name = mem::take(&mut self.names[topic]);
        let had = self.asks(|hub| hub.unsubscribe(id, &name));
        self.names[topic] = name;
        let peer = &mut self.peers[at];
        self.given.looked_for += peer.topics.len();
        if had {
            peer.topics.remove(&topic);
            peer.parked.remove(&topic);
            peer.left += 1;
            self.given.left += 1;
            // It is written to, or found to have nothing to get.
            self.given.readers += peer.topics.len() + peer.left;
        }
    }

    fn readers(&self, at: usize) -> usize {
        self.peers[at].topics.len() + self.peers[at].left
    }

    /// Batches that are gone through when a connection jumps in so many of those that it reads, to count what it
    /// would not have got.
    fn counted(&self, at: usize, readers: usize) -> usize {
        if self.peers[at].is_excepted { BATCHES_MAX * readers } else { 0 }
    }

    fn is_blocked(&mut self, id: ConnId) -> bool {
        self.drain.server.net().kernel(id).is_full
    }

    /// What the turn that begins will find.
    fn begins_turn(&mut self) {
        self.given.left += mem::take(&mut self.carried);
        let mut due = self.published.clone();
        for at in 0..self.peers.len() {
            let id = self.peers[at].id;
            let pace = self.peers[at].pace;
            let was_full = self.is_blocked(id);
            self.drain.server.net().takes(id, pace);
            if self.is_blocked(id) {
                continue;
            }
            self.peers[at].parked.clear();
            if was_full {
                self.peers[at].reads_on = 2;
            }
            if self.peers[at].reads_on > 0 {
                // It is looked at, whether there is something for it or not.
                self.given.readers += self.readers(at);
                self.given.left += 1 + self.counted(at, self.readers(at));
            }
            let hub = self.drain.hub();
            for topic in &self.peers[at].topics {
                if hub.lag(id, &self.names[*topic]).is_some_and(|lag| lag > 0) {
                    due.insert(*topic);
                }
            }
        }
        for at in 0..self.peers.len() {
            let unparked = self.peers[at].topics.difference(&self.peers[at].parked);
            let met = unparked.filter(|topic| due.contains(*topic)).count();
            self.given.unparked += met;
            if self.peers[at].left > 0 {
                // It may be come to for a Ping, for what it is left out of, or because the visit before did not
                // end what it has left or had kept, and then all that it reads is gone over; what it has left batch
                // by batch, where it was left out of something.
                self.given.readers += self.readers(at);
                self.given.left += self.counted(at, self.peers[at].left);
            }
        }
        let config = self.drain.hub().config();
        let (own, fan_out) = (config.write_bytes_per_turn, config.fan_out_bytes_per_turn);
        let little = config.send_queues_bytes_max / 5 * 4;
        self.given.write_bytes = own.max(fan_out).min(128 << 10);
        let queued = self.drain.hub().queued_bytes_total();
        self.given.shed = mem::take(&mut self.carried_shed);
        if queued > little / 2 {
            // Each batch counts for more than that.
            self.carried_shed = self.peers.len() + self.names.len() + queued / 200;
            self.given.shed += self.carried_shed;
        }
        self.drain.server.net().begins_counting();
    }

    pub fn turn(&mut self) {
        self.begins_turn();
        // A longer leap would count as a standstill.
        self.drain.server.net().now += TICK * (self.dice.below(4) / 3) as u32;
        let (before, queued) = (self.drain.hub().counters().list_steps, self.held_bytes());
        let Drain { server, events } = &mut self.drain;
        self.heap += measure(|| {
            server.poll(events, Some(Duration::ZERO)).expect("the poll works");
        })
        .bytes_current;
        let steps = self.drain.hub().counters().list_steps - before;
        self.pushed += self.held_bytes().saturating_sub(queued);
        let looks = |writes: u64| if writes > 0 { 2 * writes as usize + 2 } else { 0 };
        let kernels = self.drain.server.net().counts();
        self.given.writes += kernels.iter().map(|kernel| looks(kernel.writes)).sum::<usize>();
        for at in 0..self.peers.len() {
            let kernel = self.drain.server.net().kernel(self.peers[at].id);
            self.given.readers += looks(kernel.writes) * self.readers(at);
            if kernel.writes > 0 {
                // Its turn may have been over just when it had all.
                self.peers[at].reads_on = 2;
            }
        }
        self.ends_passes();
        let given = mem::take(&mut self.given);
        let most = given.steps_max();
        assert!(steps <= most, "seed {}: {steps} steps of {most}: {given:?}", self.seed);
        self.checks_writes();
        self.hears();
        self.checks_heap();
    }

    /// If the turn had more than enough for all passes, they are over.
    fn ends_passes(&mut self) {
        let config = self.drain.hub().config();
        let (writes, bytes) = (config.fan_out_writes_per_turn, config.fan_out_bytes_per_turn);
        let kernels = self.drain.server.net().counts();
        let written: u64 = kernels.iter().map(|kernel| kernel.writes).sum();
        let taken: u64 = kernels.iter().map(|kernel| kernel.bytes).sum();
        let looks = self.given.unparked + self.peers.len() + 2 * self.names.len();
        if written < writes as u64 && taken < bytes as u64 && looks < 16 * writes {
            for at in 0..self.peers.len() {
                self.peers[at].reads_on = self.peers[at].reads_on.saturating_sub(1);
                self.is_caught_up(at);
                if self.is_blocked(self.peers[at].id) {
                    let its = self.peers[at].topics.intersection(&self.published);
                    let met: Vec<_> = its.copied().collect();
                    self.peers[at].parked.extend(met);
                }
            }
            self.published.clear();
        }
    }

    /// A peer that has little to get gets it in one write; and what has begun to leave is less than a
    /// publication.
    fn checks_writes(&mut self) {
        let config = self.drain.hub().config().clone();
        let now = self.drain.server.net().now;
        let kernels = self.drain.server.net().counts();
        let taken: u64 = kernels.iter().map(|kernel| kernel.bytes).sum();
        // The fan-out's budget is everybody's.
        let is_ample = config.write_bytes_per_turn >= 128 << 10
            && config.fan_out_bytes_per_turn as u64 >= taken + (128 << 10);
        for at in 0..self.peers.len() {
            let id = self.peers[at].id;
            let kernel = self.drain.server.net().kernel(id);
            // What is next is looked for among what it reads, which counts as bytes.
            if is_ample && kernel.bytes < 16 << 10 && self.readers(at) <= 4 {
                let most = 1 + u64::from(kernel.is_full);
                assert!(kernel.writes <= most, "seed {}: {kernel:?} for {id:?}", self.seed);
            }
            let hub = self.drain.hub();
            let waits = hub.queued_bytes(id);
            let peer = &mut self.peers[at];
            peer.is_sent_to &= waits > 0;
            if !kernel.is_full || !hub.is_open(id) {
                peer.full_since = None;
            }
            let full_since = *peer.full_since.get_or_insert(now);
            // The deadlines have steps, and a turn.
            let most = config.blocked_timeout + 3 * TICK;
            assert!(now - full_since <= most, "seed {}: {id:?} is blocked for good", self.seed);
            if hub.is_open(id) && !peer.is_sent_to {
                assert!(waits < 3008, "seed {}: {waits} bytes of {id:?} have begun", self.seed);
            }
        }
    }

    /// Forgets what it has left, if it has read all.
    fn is_caught_up(&mut self, at: usize) {
        let id = self.peers[at].id;
        // What was kept may still be on its way.
        let is_blocked = self.is_blocked(id) || self.drain.server.net().kernel(id).writes > 0;
        let hub = self.drain.hub();
        let is_up_to_date = |topic: &usize| hub.lag(id, &self.names[*topic]) == Some(0);
        let peer = &mut self.peers[at];
        let waits = hub.queued_bytes(id) > 0 || is_blocked || !hub.is_open(id);
        if !waits && peer.topics.iter().all(is_up_to_date) {
            peer.left = 0;
        }
    }

    fn hears(&mut self) {
        let events = mem::take(&mut self.drain.events);
        for event in &events {
            match event {
                Event::Request { id, .. } => {
                    self.asks(|hub| hub.accept(id, Accept::default())).expect("it asks for it");
                }
                Event::Opened { id } => {
                    self.opened += 1;
                    self.peers.push(Peer::new(id));
                }
                Event::Closed { id, .. } => {
                    let at = self.peers.iter().position(|peer| peer.id == id).expect("it opened");
                    self.carried += self.readers(at);
                    self.peers.swap_remove(at);
                }
                Event::Writable { .. } => {}
                // What the peers get tells of these.
                Event::RequestHead { .. } | Event::Refused { .. } => {}
                other => panic!("{other:?} is new here"),
            }
        }
        self.drain.events = events;
        for at in 0..self.peers.len() {
            let id = self.peers[at].id;
            if !self.drain.hub().is_open(id) && !self.peers[at].topics.is_empty() {
                // It is being closed, and reads what it has left.
                self.carried += self.peers[at].topics.len();
                self.peers[at].left += self.peers[at].topics.len();
                self.peers[at].topics.clear();
            }
        }
    }
}
