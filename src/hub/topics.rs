//! Topics: who subscribes, and the frames that a topic publishes in one turn.
//!
//! A publication is appended once to its topic's log, however many subscribe. At the flush each
//! subscriber takes one shared range of the log, from its cursor to the end. Subscriber lists and
//! the connections' own lists point at each other, so that leaving is O(1).

use std::{
    collections::{HashMap, HashSet},
    mem,
    ops::Range,
    sync::Arc,
};

use slab::Slab;

use super::turn_log::TurnLog;
use crate::{
    config::Overflow,
    conn::{Commons, Connection, Finished},
};

/// Places for topics that are kept when there is none.
const EMPTY_PLACES: usize = 1024;

/// One subscription, seen from its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) topic: u32,
    /// Where the topic's list holds it.
    position: u32,
}

/// The subscriptions of one connection. Most have none or one.
#[derive(Debug, Default)]
pub(super) enum Subscriptions {
    #[default]
    None,
    One(Subscription),
    Many(Box<Many>),
}

#[derive(Debug)]
pub(super) struct Many {
    list: Vec<Subscription>,
}

impl Subscriptions {
    pub(super) fn as_slice(&self) -> &[Subscription] {
        match self {
            Subscriptions::None => &[],
            Subscriptions::One(one) => std::slice::from_ref(one),
            Subscriptions::Many(many) => &many.list,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Subscription] {
        match self {
            Subscriptions::None => &mut [],
            Subscriptions::One(one) => std::slice::from_mut(one),
            Subscriptions::Many(many) => &mut many.list,
        }
    }

    fn push(&mut self, subscription: Subscription) {
        match self {
            Subscriptions::None => *self = Subscriptions::One(subscription),
            Subscriptions::One(one) => {
                *self = Subscriptions::Many(Box::new(Many { list: vec![*one, subscription] }));
            }
            Subscriptions::Many(many) => many.list.push(subscription),
        }
    }

    /// Removes the subscription at `at`; the last one takes its place.
    fn swap_remove(&mut self, at: usize) {
        match self {
            Subscriptions::None => {}
            Subscriptions::One(_) => *self = Subscriptions::None,
            Subscriptions::Many(many) => {
                many.list.swap_remove(at);
                if let [one] = many.list[..] {
                    *self = Subscriptions::One(one);
                }
            }
        }
    }

    pub(super) fn position_of(&self, topic: u32) -> Option<usize> {
        self.as_slice().iter().position(|subscription| subscription.topic == topic)
    }
}

/// One subscription, seen from its topic.
#[derive(Debug)]
struct Subscriber {
    /// The connection's index. It cannot be stale: a connection that ends leaves its topics.
    connection: u32,
    /// Where the connection's list holds it.
    position: u32,
    /// The number of the next frame that it takes, counted since the topic began.
    cursor: u64,
}

#[derive(Debug)]
pub(super) struct Topic {
    name: Arc<str>,
    /// Names the topic for ever; its index is reused.
    serial: u64,
    overflow: Overflow,
    subscribers: Vec<Subscriber>,
    /// How many of them take its messages compressed.
    deflating: u32,
    /// Its messages may be sent compressed.
    may_deflate: bool,
    /// The log at hand may, too: nothing was published while its messages might not.
    log_may_deflate: bool,
    /// The number of the log's first frame.
    base: u64,
    log: TurnLog,
}

impl Topic {
    fn next_number(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    /// What of the log is from a frame's number on.
    fn range_from(&self, cursor: u64) -> Range<usize> {
        cursor.saturating_sub(self.base) as usize..self.log.len()
    }
}

#[derive(Debug)]
pub(super) struct Topics {
    by_name: HashMap<Arc<str>, u32>,
    topics: Slab<Topic>,
    /// Topics with a log in this turn.
    dirty: Vec<u32>,
    overflows: HashMap<Box<str>, Overflow>,
    /// Topics that are not to be compressed.
    plain: HashSet<Box<str>>,
    next_serial: u64,
}

impl Topics {
    pub(super) fn new() -> Self {
        Self {
            by_name: HashMap::new(),
            topics: Slab::new(),
            dirty: Vec::new(),
            overflows: HashMap::new(),
            plain: HashSet::new(),
            next_serial: 0,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// How many topics have subscribers.
    pub(super) fn len(&self) -> usize {
        let is_over = |topic: &&u32| self.topics[**topic as usize].subscribers.is_empty();
        self.topics.len() - self.dirty.iter().filter(is_over).count()
    }

    /// How many topics take room: those as well whose last messages are still to be sent.
    pub(super) fn places(&self) -> usize {
        self.topics.len()
    }

    pub(super) fn name(&self, topic: u32) -> &str {
        &self.topics[topic as usize].name
    }

    pub(super) fn subscribers(&self, topic: u32) -> usize {
        self.topics[topic as usize].subscribers.len()
    }

    pub(super) fn set_overflow(&mut self, name: &str, overflow: Overflow) {
        self.overflows.insert(name.into(), overflow);
        if let Some(topic) = self.find(name) {
            self.topics[topic as usize].overflow = overflow;
        }
    }

    #[cfg(feature = "deflate")]
    pub(super) fn set_deflate(&mut self, name: &str, may_deflate: bool) {
        if may_deflate {
            self.plain.remove(name);
        } else {
            self.plain.insert(name.into());
        }
        if let Some(topic) = self.find(name) {
            let entry = &mut self.topics[topic as usize];
            entry.log_may_deflate &= entry.may_deflate || entry.log.is_empty();
            entry.may_deflate = may_deflate;
        }
    }

    /// Adds a subscription that the connection does not have yet; what was published before is
    /// not for it.
    pub(super) fn subscribe(
        &mut self,
        name: &str,
        connection: u32,
        subscriptions: &mut Subscriptions,
        deflates: bool,
        default: Overflow,
    ) {
        let topic = self.find(name).unwrap_or_else(|| self.create(name, default));
        let entry = &mut self.topics[topic as usize];
        let position = subscriptions.as_slice().len() as u32;
        subscriptions.push(Subscription { topic, position: entry.subscribers.len() as u32 });
        let cursor = entry.next_number();
        entry.subscribers.push(Subscriber { connection, position, cursor });
        entry.deflating += u32::from(deflates);
    }

    fn create(&mut self, name: &str, default: Overflow) -> u32 {
        let name: Arc<str> = name.into();
        let overflow = self.overflows.get(&*name).copied().unwrap_or(default);
        let may_deflate = !self.plain.contains(&*name);
        self.next_serial += 1;
        let topic = self.topics.insert(Topic {
            name: Arc::clone(&name),
            serial: self.next_serial,
            overflow,
            subscribers: Vec::new(),
            deflating: 0,
            may_deflate,
            log_may_deflate: true,
            base: 0,
            log: TurnLog::default(),
        }) as u32;
        self.by_name.insert(name, topic);
        topic
    }

    /// Removes the subscription at `at` of the connection's list. `moved` is told which connection's
    /// back-pointer changed: its index, its list's position, and the new place.
    pub(super) fn unsubscribe(
        &mut self,
        subscriptions: &mut Subscriptions,
        at: usize,
        deflates: bool,
    ) -> Option<Moved> {
        let Subscription { topic, position } = subscriptions.as_slice()[at];
        subscriptions.swap_remove(at);
        // The connection's last subscription took the place of the removed one.
        if let Some(shifted) = subscriptions.as_slice().get(at) {
            let entry = &mut self.topics[shifted.topic as usize];
            entry.subscribers[shifted.position as usize].position = at as u32;
        }
        let entry = &mut self.topics[topic as usize];
        entry.subscribers.swap_remove(position as usize);
        entry.deflating -= u32::from(deflates);
        let moved = entry.subscribers.get(position as usize).map(|subscriber| Moved {
            connection: subscriber.connection,
            at: subscriber.position as usize,
            position,
        });
        if entry.subscribers.is_empty() && entry.log.is_empty() {
            self.remove(topic);
        } else if entry.subscribers.capacity() > 4 * entry.subscribers.len().max(4) {
            entry.subscribers.shrink_to(2 * entry.subscribers.len());
        }
        moved
    }

    fn remove(&mut self, topic: u32) {
        let topic = self.topics.remove(topic as usize);
        self.by_name.remove(&topic.name);
        if self.by_name.capacity() > 4 * self.by_name.len().max(64) {
            self.by_name.shrink_to_fit();
        }
        if self.topics.is_empty() && self.topics.capacity() > EMPTY_PLACES {
            // A slab keeps its places in order to reuse them, and cannot give up those in its middle.
            self.topics = Slab::new();
        }
    }

    /// Appends a frame to the topic's log; `len` is its length as `encode` writes it. False if the
    /// process has no room for it.
    pub(super) fn publish(
        &mut self,
        topic: u32,
        len: usize,
        commons: &mut Commons,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let log = &mut self.topics[topic as usize].log;
        let first = log.is_empty();
        let taken = log.push(len, commons, encode);
        if first && taken {
            self.dirty.push(topic);
        }
        taken
    }

    /// Hands the connection what the topic's log has for it so far, so that what is queued next
    /// comes after it.
    pub(super) fn take_so_far(
        &mut self,
        subscription: Subscription,
        connection: &mut Connection,
        commons: &mut Commons,
    ) {
        let entry = &mut self.topics[subscription.topic as usize];
        let cursor = entry.subscribers[subscription.position as usize].cursor;
        let frames = entry.range_from(cursor);
        if !frames.is_empty() {
            commons.tally.deliveries.add(frames.len() as u64);
            let frames = frames.start as u32..frames.end as u32;
            connection.outbox.or_spare(commons).push_pending(subscription.topic, frames);
            connection.note_message(commons.now);
            connection.deflation.forget_sent();
        }
        entry.subscribers[subscription.position as usize].cursor = entry.next_number();
    }

    /// Whether the topic's log holds something that this subscriber has not taken.
    pub(super) fn has_news(&self, subscription: Subscription) -> bool {
        let entry = &self.topics[subscription.topic as usize];
        let subscriber = &entry.subscribers[subscription.position as usize];
        !entry.log.is_empty() && subscriber.cursor < entry.next_number()
    }

    /// Leaves the newest frame out for this subscriber, who has taken everything before it.
    pub(super) fn skip_newest(&mut self, subscription: Subscription) {
        let entry = &mut self.topics[subscription.topic as usize];
        let next = entry.next_number();
        entry.subscribers[subscription.position as usize].cursor = next;
    }

    // The flush.

    /// Finishes the logs of this turn.
    pub(super) fn seal(&mut self, commons: &mut Commons) {
        for &topic in &self.dirty {
            let entry = &mut self.topics[topic as usize];
            let deflate = entry.may_deflate && entry.log_may_deflate && entry.deflating > 0;
            entry.log.seal(entry.serial, entry.overflow, deflate, commons);
        }
    }

    /// The connection at a place in the lists of all sealed topics' subscribers.
    pub(super) fn subscriber_at(&self, place: &mut (usize, usize)) -> Option<u32> {
        while let Some(&topic) = self.dirty.get(place.0) {
            if let Some(subscriber) = self.topics[topic as usize].subscribers.get(place.1) {
                place.1 += 1;
                return Some(subscriber.connection);
            }
            *place = (place.0 + 1, 0);
        }
        None
    }

    /// What a range that was taken of the log in this turn comes to, now that it is sealed.
    pub(super) fn finish(
        &self,
        topic: u32,
        mut frames: Range<usize>,
        lags: bool,
        deflated: bool,
    ) -> Finished<'_> {
        let entry = &self.topics[topic as usize];
        let mut replaced = None;
        if lags && entry.overflow == Overflow::KeepLatest {
            replaced = Some(frames.len() as u64 - 1);
            frames.start = frames.end - 1;
        }
        let (log, start, end) = entry.log.bytes(frames, deflated);
        Finished { log, start, end, replaced }
    }

    /// Hands the connection the rest of the topic's sealed log. A subscriber that lags keeps only
    /// the latest frame, if that is the topic's policy.
    pub(super) fn hand_over(
        &mut self,
        subscription: Subscription,
        connection: &mut Connection,
        commons: &mut Commons,
    ) {
        let entry = &mut self.topics[subscription.topic as usize];
        let subscriber = &entry.subscribers[subscription.position as usize];
        let mut frames = entry.range_from(subscriber.cursor);
        entry.subscribers[subscription.position as usize].cursor = entry.next_number();
        if frames.is_empty() {
            return;
        }
        // What gives way in the same moment is counted as conflated, too.
        commons.tally.deliveries.add(frames.len() as u64);
        let lags = connection.kernel_full;
        let outbox = connection.outbox.or_spare(commons);
        if lags && entry.overflow == Overflow::KeepLatest {
            let before = outbox.drop_topic(entry.serial, commons);
            commons.tally.messages_conflated.add(before + frames.len() as u64 - 1);
            frames.start = frames.end - 1;
        }
        let (log, start, end) = entry.log.bytes(frames, connection.deflation.takes_shared());
        outbox.push_shared(log, start, end, lags, commons);
        connection.deflation.forget_sent();
    }

    /// Gives up the logs of this turn; they live on where they wait to be sent.
    #[inline]
    pub(super) fn unseal(&mut self, commons: &mut Commons) {
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = mem::take(&mut self.dirty);
        for topic in dirty.drain(..) {
            let entry = &mut self.topics[topic as usize];
            entry.base = entry.next_number();
            entry.log.clear(commons);
            entry.log_may_deflate = true;
            if entry.subscribers.is_empty() {
                self.remove(topic);
            }
        }
        self.dirty = dirty;
    }

    pub(super) fn any_log(&self) -> bool {
        !self.dirty.is_empty()
    }
}

/// A back-pointer that changed: entry `at` of the connection's list is now at `position` of the
/// topic's.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) connection: u32,
    pub(super) at: usize,
    pub(super) position: u32,
}

impl Moved {
    pub(super) fn apply(&self, subscriptions: &mut Subscriptions) {
        subscriptions.as_mut_slice()[self.at].position = self.position;
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::{Subscriptions, Topics};
    use crate::config::Overflow;

    fn subscribe(topics: &mut Topics, name: &str, list: &mut Subscriptions) {
        topics.subscribe(name, 0, list, false, Overflow::Close);
    }

    /// Whoever came last leaves first; how often the rest moved to a smaller place is counted.
    #[test]
    fn the_room_of_a_crowd_is_given_back_a_few_times() {
        let (mut topics, mut moves) = (Topics::new(), 0);
        let mut lists = [(); 1000].map(|()| Subscriptions::default());
        lists.iter_mut().for_each(|list| subscribe(&mut topics, "t", list));
        for (len, list) in lists.iter_mut().enumerate().rev().filter(|(len, _)| *len > 0) {
            let before = topics.topics[0].subscribers.capacity();
            topics.unsubscribe(list, 0, false);
            let room = topics.topics[0].subscribers.capacity();
            assert!(room <= 4 * len.max(4) && (room == before || room == 2 * len), "{room}, {len}");
            moves += usize::from(room != before);
        }
        assert!(moves <= 8, "{moves} times");
    }

    #[test]
    fn the_room_of_many_names_is_given_back_a_few_times() {
        let (mut topics, mut moves, mut list) = (Topics::new(), 0, Subscriptions::default());
        (0..1000).for_each(|name| subscribe(&mut topics, &name.to_string(), &mut list));
        for len in (0..1000).rev() {
            let before = topics.by_name.capacity();
            topics.unsubscribe(&mut list, len, false);
            let room = topics.by_name.capacity();
            assert!(room <= 4 * len.max(64), "{room}, {len}");
            // A name that goes can take its own place along.
            moves += usize::from(room + 1 < before);
        }
        assert!(moves <= 4, "{moves} times");
    }

    /// Peers choose names. Who knows the hash function could choose a million that fall together, were
    /// it not keyed at random: this does not compile with another.
    #[test]
    fn names_are_hashed_with_a_key_that_no_peer_knows() {
        let topics = [Topics::new(), Topics::new()];
        let keyed = |topics: &Topics| {
            let hasher: &RandomState = topics.by_name.hasher();
            hasher.hash_one("t")
        };
        assert_ne!(keyed(&topics[0]), keyed(&topics[1]));
    }
}
