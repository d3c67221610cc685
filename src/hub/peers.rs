//! The other loops of the process, as one hub sees them.
//!
//! A topic belongs to one loop, its home, by its name. There it is numbered and kept. A loop that has subscribers of it, or
//! is asked for its history, has a **replica**: a topic like any other, of which the batches come from its home. The
//! home knows each replica as a **mirror**: a cursor in its log. See `topics/afar.rs` for both.
//!
//! This file knows what loops hand each other, and how. It must not know what a topic's log is.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicUsize},
};

use super::{Hub, PublishError, Published};
use crate::{
    conn::Shared,
    event::{ConnId, Events, Message, Record},
    handle::{Handle, Homes, Owned, Routes},
    lanes::{Changed, Full, Inbox},
};

/// Bytes that wait in a lane, at the most, unless it is one item.
pub(crate) const LANE_BYTES_MAX: usize = 4 << 20;
/// What an item takes beside its bytes.
const ITEM_BYTES: usize = 128;
/// Items that are taken of other loops in one turn.
const ITEMS_PER_TURN: usize = 1024;

/// What one loop has for another.
#[derive(Debug)]
pub(crate) enum Item {
    /// To a topic's home: this is to be published.
    Publish { topic: Box<str>, key: Option<Box<str>>, message: Owned, except: Option<ConnId> },
    /// From a topic's home: where the topic is, and what is kept of it.
    Opened(Opened),
    /// From a topic's home: it was published.
    News { topic: Arc<str>, life: u64, batch: Shared },
}

/// Where a replica begins.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) topic: Arc<str>,
    /// Which of the replica's lives asked.
    pub(crate) life: u64,
    pub(crate) epoch: u64,
    /// The offset of the first publication that can be had, and of the next one that is made.
    pub(crate) first: u64,
    pub(crate) head: u64,
    pub(crate) kept: Vec<Shared>,
}

/// What one loop wants of a topic of another.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Open {
        life: u64,
        /// How many connections subscribe there.
        subscribers: Arc<AtomicUsize>,
    },
    Close,
}

type Lanes = Inbox<Item, Change>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Peers {
    here: usize,
    routes: Arc<Routes>,
    /// Each loop's, by its number.
    inboxes: Arc<[Lanes]>,
    lives: u64,
    /// What was taken of other loops, and not acted on yet.
    pending: VecDeque<Item>,
    /// The first of these found no room in this hub.
    is_held: bool,
    /// For each loop, the topics of which something found no room in its inbox.
    waiting: Vec<VecDeque<Arc<str>>>,
}

impl Peers {
    /// What each of these loops has of the others. A lane has room for so many bytes.
    pub(crate) fn of(loops: Vec<Handle>, homes: Homes, lane_bytes_max: usize) -> Vec<Self> {
        let count = loops.len();
        let inboxes: Arc<[Lanes]> = (0..count).map(|_| Lanes::new(count, lane_bytes_max)).collect();
        let routes = Arc::new(Routes::new(loops, homes));
        let peers = (0..count).map(|here| Self {
            here,
            routes: Arc::clone(&routes),
            inboxes: Arc::clone(&inboxes),
            lives: 0,
            pending: VecDeque::new(),
            is_held: false,
            waiting: vec![VecDeque::new(); count],
        });
        peers.collect()
    }

    pub(crate) fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// The topic's home, if that is another loop.
    pub(super) fn home_elsewhere(&self, topic: &str) -> Option<usize> {
        self.routes.home(topic).filter(|home| *home != self.here)
    }

    /// Whether the connection is another loop's.
    pub(super) fn is_elsewhere(&self, id: ConnId) -> bool {
        self.routes.of(id) != self.here
    }

    fn wake(&self, to: usize) {
        self.routes.loops()[to].wake_for_lanes();
    }

    /// Puts an item into another loop's inbox.
    pub(super) fn push(
        &self,
        to: usize,
        bytes: usize,
        waits: bool,
        make: impl FnOnce() -> Item,
    ) -> Result<(), Full> {
        let wakes = self.inboxes[to].push(self.here, bytes + ITEM_BYTES, waits, make)?;
        if wakes {
            self.wake(to);
        }
        Ok(())
    }

    /// Has the topic's home bring what is published there. Gives the number of this life of the replica.
    pub(super) fn open(&mut self, home: usize, topic: &str, subscribers: Arc<AtomicUsize>) -> u64 {
        self.lives += 1;
        self.change(home, topic, Change::Open { life: self.lives, subscribers });
        self.lives
    }

    pub(super) fn close(&self, home: usize, topic: &str) {
        self.change(home, topic, Change::Close);
    }

    fn change(&self, home: usize, topic: &str, change: Change) {
        if self.inboxes[home].change(self.here, topic.into(), change) {
            self.wake(home);
        }
    }

    /// A topic has something for a loop that has no room now.
    pub(super) fn wait(&mut self, to: usize, topic: Arc<str>) {
        self.waiting[to].push_back(topic);
    }

    /// A topic that has something for the loop, of those that wait.
    pub(super) fn next_waiting(&mut self, to: usize) -> Option<Arc<str>> {
        self.waiting.get_mut(to)?.pop_front()
    }

    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }

    /// What other loops want of topics of this one, if that has changed.
    #[inline]
    fn changes(&self) -> Vec<Changed<Change>> {
        let inbox = &self.inboxes[self.here];
        if inbox.has_changes() { inbox.take_changes() } else { Vec::new() }
    }

    /// The next item of another loop. Those that wait for room are told that there is some.
    fn next(&mut self) -> Option<Item> {
        if self.pending.is_empty() {
            for to in self.inboxes[self.here].take(&mut self.pending) {
                self.wake(to);
            }
        }
        self.pending.pop_front()
    }
}

impl Hub {
    /// From here on, this is the hub of one of several loops of its process. It has neither connections nor topics.
    pub(crate) fn join_loops(&mut self, peers: Peers) {
        let (here, count) = (peers.here as u32, peers.routes.len() as u32);
        // 0 is no connection's generation.
        let first = if here == 0 { count } else { here };
        self.generations = (first, count);
        self.next_generation = first;
        self.handle = self.handle.routed(&peers.routes, false);
        self.topics.peers = Some(Box::new(peers));
    }

    /// What nobody outside can tell.
    pub(crate) fn secret(&self) -> u64 {
        self.topics.secret
    }

    /// Whether the process has several loops.
    #[inline(always)]
    pub(crate) fn is_one_of_several(&self) -> bool {
        self.topics.peers.is_some()
    }

    /// Whether topics of this name belong to this loop: its publications are numbered here, and kept. It is so
    /// with one loop.
    pub fn is_home(&self, topic: &str) -> bool {
        self.home_elsewhere(topic).is_none()
    }

    /// The number of the loop that topics of this name belong to: of several [`Loops`](crate::Loops), or 0. Where
    /// each has topics of its own, it is this one.
    pub fn home(&self, topic: &str) -> usize {
        let peers = self.topics.peers.as_deref();
        peers.map_or(0, |peers| peers.routes.home(topic).unwrap_or(peers.here))
    }

    fn home_elsewhere(&self, topic: &str) -> Option<usize> {
        self.topics.peers.as_deref()?.home_elsewhere(topic)
    }

    /// Whether the connection is another loop's.
    #[inline]
    pub(super) fn is_elsewhere(&self, id: ConnId) -> bool {
        self.topics.peers.as_deref().is_some_and(|peers| peers.is_elsewhere(id))
    }

    /// Has what is kept of a topic at hand: with several loops, that of a topic of another loop has to be asked for.
    /// True if it is here, as it always is with one loop, or if the topic keeps nothing. If not,
    /// [`Event::Notified`](crate::Event::Notified) comes with this key once it is here; then
    /// [`subscribe_after`](Self::subscribe_after), [`subscribe_last`](Self::subscribe_last) and
    /// [`position`](Self::position) know what the topic's home knows. It stays for
    /// [`topic_memory`](crate::Config::topic_memory) at least.
    ///
    /// # Errors
    ///
    /// [`PublishError::TooManyTopics`] and [`PublishError::NameTooLong`].
    pub fn open_topic(&mut self, topic: &str, key: u32) -> Result<bool, PublishError> {
        if self.is_home(topic) {
            return Ok(true);
        }
        let Some(at) = self.topic_to_publish_to(topic)? else { return Ok(true) };
        if self.topics.topic(at).is_unread() {
            self.topics.remember(at, &mut self.commons);
        }
        Ok(self.topics.is_open_here(at, key))
    }

    /// Takes over what other loops want of topics of this one. What is published from here on is for those as well.
    pub(super) fn take_changes(&mut self) {
        let Some(peers) = self.topics.peers.as_deref() else { return };
        for ((from, topic), change) in peers.changes() {
            match change {
                Change::Open { life, subscribers } => {
                    self.topics.add_mirror(topic, (from, life), subscribers, &mut self.commons);
                }
                Change::Close => self.topics.remove_mirror(&topic, from, &mut self.commons),
            }
        }
    }

    /// Hands a publication to its topic's home, if that is another loop.
    #[cold]
    pub(super) fn publish_elsewhere(
        &mut self,
        topic: &str,
        key: Option<&str>,
        message: Message<'_>,
        except: Option<ConnId>,
    ) -> Option<Result<Published, PublishError>> {
        let peers = self.topics.peers.as_deref()?;
        let Some(home) = peers.home_elsewhere(topic) else {
            self.take_changes();
            return None;
        };
        if topic.len() > self.commons.config.topic_name_bytes_max {
            return Some(Err(PublishError::NameTooLong));
        }
        let bytes = topic.len() + key.map_or(0, str::len) + message.as_bytes().len();
        let make = || Item::Publish {
            topic: topic.into(),
            key: key.map(Into::into),
            message: message.into(),
            except,
        };
        if peers.push(home, bytes, false, make).is_err() {
            self.commons.tally.messages_dropped_full.add(1);
            return Some(Err(PublishError::LoopFull));
        }
        let here = self.topics.find(topic).map_or(0, |at| self.topics.subscribers(at));
        Some(Ok(Published { subscribers: here, position: None }))
    }

    /// Whether something of other loops waits that can be acted on.
    #[inline]
    pub(crate) fn has_items(&self) -> bool {
        self.topics.peers.as_deref().is_some_and(|it| !it.pending.is_empty() && !it.is_held)
    }

    /// Whether something of other loops waits for room in this hub.
    #[inline]
    pub(crate) fn holds_items(&self) -> bool {
        self.topics.peers.as_deref().is_some_and(|it| it.is_held)
    }

    /// Acts on what other loops have for this one.
    pub(crate) fn handle_lanes(&mut self, events: &mut Events) {
        self.take_changes();
        for _ in 0..ITEMS_PER_TURN {
            let Some(peers) = self.topics.peers.as_deref_mut() else { return };
            peers.is_held = false;
            let Some(item) = peers.next() else { break };
            if let Err(item) = self.act_on_item(item, events)
                && let Some(peers) = self.topics.peers.as_deref_mut()
            {
                peers.is_held = true;
                peers.pending.push_front(item);
                break;
            }
        }
        self.topics.bring_waiting(&mut self.commons);
    }

    /// Gives the item back if there is no room for it now.
    fn act_on_item(&mut self, item: Item, events: &mut Events) -> Result<(), Item> {
        match item {
            Item::Publish { topic, key, message, except } => {
                // A refusal is counted where it is made.
                let _ = match key {
                    Some(key) => self.publish_once(&topic, &key, message.message()),
                    None => self.publish_to(&topic, message.message(), except),
                };
                Ok(())
            }
            Item::Opened(opened) => {
                let keys = self.topics.handle_opened(opened, &mut self.commons);
                for key in keys {
                    // One is enough for all that were opened one after the other.
                    let is_it = |it: &Record| matches!(it, Record::Notified { key: other } if *other == key);
                    if !events.records.last().is_some_and(is_it) {
                        events.records.push(Record::Notified { key });
                    }
                }
                Ok(())
            }
            Item::News { topic, life, batch } => {
                let slots = &self.slots;
                let is_here = |id: &ConnId| {
                    let slot = slots.get(id.index as usize);
                    slot.is_some_and(|slot| slot.connection.generation == id.generation)
                };
                let excepted: Vec<_> = batch.excepted().filter(is_here).collect();
                let news =
                    self.topics.handle_news(&topic, life, batch, &excepted, &mut self.commons);
                news.map_err(|batch| Item::News { topic, life, batch })
            }
        }
    }

    /// The other loops, if the server is told to end here.
    pub(super) fn end_others(&self, deadline: std::time::Duration) {
        if let Some(peers) = self.topics.peers.as_deref() {
            for (nth, other) in peers.routes.loops().iter().enumerate() {
                if nth != peers.here {
                    // One that is gone has ended.
                    let _ = other.shutdown(deadline);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
