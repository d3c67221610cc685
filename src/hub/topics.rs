//! Topics: their options, their subscribers, and how far each subscriber has read.
//!
//! A topic's list of subscribers is `[served | unserved | parked]`. A **pass** goes along the unserved
//! ones. Each gets what it has not taken, and is served. If its connection is blocked, a subscriber is
//! parked: no pass comes to it, and it reads the log when its connection is writable. The lists of
//! topics and those of connections point at each other, so that leaving is O(1).

mod afar;
mod options;

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    mem,
    sync::Arc,
};

use super::{
    directory::Directory,
    history::Memory,
    log::{Log, Trim},
    peers::Peers,
    room::give_back,
    subscriptions::{Leaving, Subscription, Subscriptions},
};
use crate::{
    config::{OnLag, TopicOptions},
    conn::{Commons, Ticks},
    counters::LivePrefix,
    event::ConnId,
};

use afar::Afar;
use options::Prefix;

/// One subscription, seen from its topic.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The connection's index. It cannot be stale, because a connection that ends leaves its topics.
    pub(super) connection: u32,
    /// Where the connection's list holds the subscription.
    pub(super) position: u16,
    /// How many publications from the cursor on are not for this subscriber. The largest number means
    /// that many, or more.
    pub(super) excepted: u16,
    /// The offset of the next publication that it takes.
    pub(super) cursor: u64,
}

#[derive(Debug)]
pub(super) struct Topic {
    /// A random name of this life of the topic, so that no offset is taken for one of another life.
    pub(super) epoch: u64,
    pub(super) options: TopicOptions,
    pub(super) subscribers: Vec<Subscriber>,
    /// The first unserved subscriber, and the first parked one.
    pub(super) served: u32,
    pub(super) parked: u32,
    pub(super) log: Log,
    /// If a pass is under way: the head when it began.
    pub(super) pass: Option<u64>,
    /// It is in `Topics::passes`.
    pub(super) is_listed: bool,
    /// It is in `Topics::line`.
    pub(super) in_line: bool,
    /// It is in `Topics::open`.
    pub(super) is_open: bool,
    /// How many subscriptions have ended and still read what is due.
    pub(super) leaving: u32,
    /// How many of them belong to connections that keep up: the floor waits for them.
    pub(super) fresh: u32,
    /// Where the floor is to be: the head when the last pass began that is over.
    pub(super) reached: u64,
    /// It is in `Memory::due`, and is looked at then.
    pub(super) listed: Option<Ticks>,
    /// It has a history and no readers, and is in `Memory::idle`. The last reader left then, or it was
    /// published to.
    pub(super) idle_since: Option<Ticks>,
    /// Where it is counted with the others of its prefix.
    pub(super) counters: Option<Arc<LivePrefix>>,
    /// What other loops have of it.
    afar: Option<Box<Afar>>,
}

impl Topic {
    pub(super) fn new(epoch: u64, options: TopicOptions) -> Self {
        Self {
            epoch,
            options,
            subscribers: Vec::new(),
            served: 0,
            parked: 0,
            log: Log::default(),
            pass: None,
            is_listed: false,
            in_line: false,
            is_open: false,
            leaving: 0,
            fresh: 0,
            reached: 0,
            listed: None,
            idle_since: None,
            counters: None,
            afar: None,
        }
    }

    /// Whether a list names the topic by its place. The place must not change then.
    pub(super) fn is_known_by_place(&self) -> bool {
        self.is_listed
            || self.is_open
            || self.in_line
            || self.leaving > 0
            || self.listed.is_some()
            || self.idle_since.is_some()
    }

    /// The connections that subscribe, and where their lists hold the subscription.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, u16)> {
        self.subscribers.iter().map(|subscriber| (subscriber.connection, subscriber.position))
    }

    /// Whether no connection reads it, and no other loop.
    pub(super) fn is_unread(&self) -> bool {
        self.subscribers.is_empty() && self.leaving == 0 && !self.is_mirrored()
    }

    /// Whether it takes publications, and has positions: somebody subscribes, or it keeps a history.
    pub(super) fn is_live(&self) -> bool {
        !self.subscribers.is_empty() || self.options.history.is_some() || self.is_mirrored()
    }

    /// How many publications from its cursor on are not for this subscriber.
    pub(super) fn left_out(&self, id: ConnId, position: u32) -> u64 {
        let subscriber = &self.subscribers[position as usize];
        if subscriber.excepted == u16::MAX && subscriber.cursor >= self.log.start() {
            // There may be more than the field can count.
            return self.log.count_except(id, subscriber.cursor..self.log.head(), &mut 0);
        }
        subscriber.excepted.into()
    }

    pub(super) fn trim(&self) -> Trim {
        match self.options.on_lag {
            OnLag::Close => Trim::All,
            OnLag::Latest | OnLag::Skip => Trim::KeepLast,
        }
    }
}

#[derive(Debug)]
pub(super) struct Topics {
    pub(super) topics: Directory,
    /// The other loops of the process, if there are several.
    pub(super) peers: Option<Box<Peers>>,
    /// How many of them have subscribers.
    subscribed: usize,
    /// What each connection reads, by its index.
    pub(super) lists: Vec<Subscriptions>,
    options: HashMap<Box<str>, TopicOptions>,
    /// What is so of topics with names that begin so, the longest first.
    prefixes: Vec<Prefix>,
    /// Topics with subscribers that have something to take: passes are due.
    pub(super) passes: VecDeque<u32>,
    /// Topics that have published since the last flush, and are to be sealed.
    pub(super) open: Vec<u32>,
    /// Topics that keep something for readers alone, each with its epoch: it may be over meanwhile.
    pub(super) line: VecDeque<(u32, u64)>,
    /// What is kept of topics without subscribers, and for how long.
    pub(super) memory: Memory,
    /// It ticks when a direct send follows a publication.
    clock: u64,
    published: bool,
    /// Steps along lists that peers can make long, since the last flush.
    pub(super) steps: u64,
    /// Subscriptions that ended with their connections in this turn.
    pub(super) departures: usize,
    /// What nobody outside can tell, so that no epoch can be told from another.
    pub(super) secret: u64,
    lives: u64,
}

impl Topics {
    pub(super) fn new() -> Self {
        Self {
            topics: Directory::default(),
            peers: None,
            subscribed: 0,
            lists: Vec::new(),
            options: HashMap::new(),
            prefixes: Vec::new(),
            passes: VecDeque::new(),
            open: Vec::new(),
            line: VecDeque::new(),
            memory: Memory::default(),
            clock: 0,
            published: false,
            steps: 0,
            departures: 0,
            secret: RandomState::new().hash_one(0),
            lives: 0,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.topics.find(name)
    }

    /// How many topics have subscribers.
    pub(super) fn len(&self) -> usize {
        self.subscribed
    }

    /// How many topics take room: those with subscribers, and those that were left and are still read.
    pub(super) fn places(&self) -> usize {
        self.topics.len()
    }

    pub(super) fn name(&self, topic: u32) -> &str {
        self.topics.name(topic)
    }

    pub(super) fn topic(&self, topic: u32) -> &Topic {
        &self.topics[topic]
    }

    pub(super) fn subscribers(&self, topic: u32) -> usize {
        self.topics[topic].subscribers.len()
    }

    /// What a connection reads.
    #[inline]
    pub(super) fn list(&self, connection: u32) -> &Subscriptions {
        self.lists.get(connection as usize).unwrap_or(&Subscriptions::None)
    }

    /// The same, to change. A connection that never reads anything has no place in the table.
    pub(super) fn list_mut(&mut self, connection: u32) -> &mut Subscriptions {
        let at = connection as usize;
        if at >= self.lists.len() {
            self.lists.resize_with(at + 1, Subscriptions::default);
        }
        &mut self.lists[at]
    }

    /// The connection's subscription to a topic, and where its list holds it.
    pub(super) fn subscription_of(
        &mut self,
        connection: u32,
        topic: u32,
    ) -> Option<(usize, Subscription)> {
        let list = self.list(connection);
        let (at, len) = (list.position_of(topic), list.as_slice().len());
        let found = at.map(|at| (at, list.as_slice()[at]));
        self.steps += at.map_or(len, |at| at + 1) as u64;
        found
    }

    // The clock.

    /// WorkFlags that something is published. Gives what the clock shows.
    pub(super) fn note_published(&mut self) -> u64 {
        self.published = true;
        self.clock
    }

    /// What the clock shows after everything that was published so far.
    pub(super) fn moment(&mut self) -> u64 {
        self.clock += u64::from(mem::take(&mut self.published));
        self.clock
    }

    /// Whether a pass may still bring something to a connection that keeps up.
    #[inline]
    pub(super) fn may_have_news(&self, connection: u32) -> bool {
        !self.passes.is_empty() && !matches!(self.list(connection), Subscriptions::None)
    }

    // Subscriptions.

    /// Adds a subscription that the connection does not have yet. What was published before is not for
    /// it.
    pub(super) fn subscribe(&mut self, name: &str, connection: u32, default: TopicOptions) -> u32 {
        let topic = self.find(name).unwrap_or_else(|| self.create(name, default));
        self.handle_used(topic);
        let entry = &self.topics[topic];
        let is_first = entry.subscribers.is_empty();
        self.subscribed += usize::from(is_first);
        if let Some(counters) = &entry.counters {
            counters.note_subscribed(is_first);
        }
        let last = entry.subscribers.len() as u32;
        let list = self.list_mut(connection);
        let position = list.as_slice().len() as u16;
        list.push(Subscription { topic, position: last });
        let entry = &mut self.topics[topic];
        let cursor = entry.log.head();
        entry.subscribers.push(Subscriber { connection, position, excepted: 0, cursor });
        entry.note_subscribers();
        self.unpark(topic, last);
        topic
    }

    /// Epochs are the same in every run from here on.
    #[cfg(feature = "testing")]
    pub(super) fn draw_epochs_from(&mut self, seed: u64) {
        self.secret = seed;
    }

    pub(super) fn create(&mut self, name: &str, default: TopicOptions) -> u32 {
        self.lives += 1;
        let mut epoch = DefaultHasher::new();
        (self.secret, self.lives).hash(&mut epoch);
        let (epoch, options) = (epoch.finish(), self.options(name, default));
        let mut topic = Topic::new(epoch, options);
        topic.counters = self.prefix_of(name).map(|prefix| Arc::clone(&prefix.counters));
        let topic = self.topics.insert(name, topic);
        self.begin_replica(topic);
        topic
    }

    /// Ends the subscription at `at` of the connection's list. With `reads_on`, the connection still
    /// reads what was published before; true if there is something. Without, that is counted as lost.
    pub(super) fn unsubscribe(
        &mut self,
        id: ConnId,
        at: usize,
        reads_on: bool,
        is_blocked: bool,
        commons: &mut Commons,
    ) -> bool {
        self.departures += 1;
        self.steps += 1;
        let connection = id.index;
        let Subscription { topic, position } = self.lists[connection as usize].as_slice()[at];
        let is_parked = self.is_parked(topic, position);
        let entry = &mut self.topics[topic];
        let (head, cursor) = (entry.log.head(), entry.subscribers[position as usize].cursor);
        let excepted = entry.left_out(id, position);
        let leaves_behind = reads_on && cursor < head;
        if leaves_behind {
            entry.leaving += 1;
            let is_fresh = !is_parked && !is_blocked;
            entry.fresh += u32::from(is_fresh);
            let leaving = Leaving { topic, cursor, until: head, excepted, is_fresh, joined: None };
            self.lists[connection as usize].many().leaving.push(leaving);
        } else {
            commons.tally.messages_lost.add(head - cursor - excepted);
        }
        match (is_parked, leaves_behind) {
            (false, true) => entry.log.add_reader(cursor),
            (true, false) => entry.log.remove_reader(cursor, commons),
            (true, true) | (false, false) => {}
        }
        self.remove_subscriber(topic, position);
        let list = &mut self.lists[connection as usize];
        list.swap_remove(at);
        // The connection's last subscription took the place of the removed one.
        if let Some(shifted) = list.as_slice().get(at).copied() {
            let other = &mut self.topics[shifted.topic];
            other.subscribers[shifted.position as usize].position = at as u16;
        }
        self.remove_if_over(topic, commons);
        leaves_behind
    }

    /// Removes entries of topics that the connection has left: all of them, or those that it has read to
    /// the end.
    pub(super) fn forget_leaving(&mut self, id: ConnId, all: bool, commons: &mut Commons) {
        let connection = id.index;
        if self.list(connection).leaving().is_empty() {
            return;
        }
        let mut leaving = mem::take(&mut self.lists[connection as usize].many().leaving);
        self.steps += leaving.len() as u64;
        leaving.retain(|it| {
            if !all && it.cursor < it.until {
                return true;
            }
            let entry = &mut self.topics[it.topic];
            entry.leaving -= 1;
            entry.fresh -= u32::from(it.is_fresh);
            commons.tally.messages_lost.add(it.until - it.cursor - it.excepted);
            entry.log.remove_reader(it.cursor, commons);
            self.settle(it.topic, commons);
            self.remove_if_over(it.topic, commons);
            false
        });
        let list = &mut self.lists[connection as usize];
        give_back(&mut leaving, 0);
        list.many().leaving = leaving;
        list.shrink();
    }

    /// A reader has left the topic, or its options have changed.
    fn remove_if_over(&mut self, topic: u32, commons: &mut Commons) {
        let entry = &self.topics[topic];
        if !entry.is_unread() {
            return;
        }
        if entry.options.history.is_some() {
            return self.remember(topic, commons);
        }
        self.handle_used(topic);
        self.remove_topic(topic, commons);
    }

    /// Removes a topic that has no readers.
    pub(super) fn remove_topic(&mut self, topic: u32, commons: &mut Commons) {
        self.end_replica(topic);
        self.topics[topic].log.clear(commons);
        self.topics.remove(topic, &mut self.lists);
    }

    // Served, unserved, parked.

    fn swap(&mut self, topic: u32, a: u32, b: u32) {
        if a == b {
            return;
        }
        let subscribers = &mut self.topics[topic].subscribers;
        subscribers.swap(a as usize, b as usize);
        for at in [a, b] {
            let moved = &subscribers[at as usize];
            let list = self.lists[moved.connection as usize].as_mut_slice();
            list[moved.position as usize].position = at;
        }
    }

    pub(super) fn is_parked(&self, topic: u32, position: u32) -> bool {
        position >= self.topics[topic].parked
    }

    /// Moves a parked or new subscriber to the served ones.
    pub(super) fn unpark(&mut self, topic: u32, position: u32) {
        let (served, parked) = {
            let entry = &mut self.topics[topic];
            (entry.served, entry.parked)
        };
        self.swap(topic, position, parked);
        self.swap(topic, parked, served);
        let entry = &mut self.topics[topic];
        (entry.served, entry.parked) = (served + 1, parked + 1);
    }

    /// Moves a subscriber to the parked ones. Gives its place there.
    fn move_to_parked(&mut self, topic: u32, mut position: u32) -> u32 {
        let (served, parked) = {
            let entry = &self.topics[topic];
            (entry.served, entry.parked)
        };
        if position < served {
            self.swap(topic, position, served - 1);
            position = served - 1;
            self.topics[topic].served -= 1;
        }
        if position < parked {
            self.swap(topic, position, parked - 1);
            position = parked - 1;
            self.topics[topic].parked -= 1;
        }
        position
    }

    fn remove_subscriber(&mut self, topic: u32, position: u32) {
        let position = self.move_to_parked(topic, position);
        let last = self.topics[topic].subscribers.len() as u32 - 1;
        self.swap(topic, position, last);
        let entry = &mut self.topics[topic];
        entry.subscribers.pop();
        entry.note_subscribers();
        let was_last = entry.subscribers.is_empty();
        self.subscribed -= usize::from(was_last);
        if let Some(counters) = &entry.counters {
            counters.note_unsubscribed(was_last);
        }
        give_back(&mut entry.subscribers, 4);
    }

    /// Parks a subscriber, because its connection is blocked: it is a reader of the log from here on.
    pub(super) fn park(&mut self, topic: u32, position: u32) {
        let position = self.move_to_parked(topic, position);
        let entry = &mut self.topics[topic];
        let cursor = entry.subscribers[position as usize].cursor;
        entry.log.add_reader(cursor);
    }

    /// The topics that the connection subscribes to.
    pub(super) fn names_of(&self, connection: u32) -> impl Iterator<Item = &str> {
        let list = self.list(connection).as_slice();
        list.iter().map(|subscription| self.name(subscription.topic))
    }
}

#[cfg(test)]
mod tests;
