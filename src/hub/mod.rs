//! All connections and topics, and everything an application may do with them.
//!
//! It knows connections, subscriptions, timers and what is to be written to whom. It **must not
//! know** sockets or clocks: a [`Server`](crate::Server) brings input and time, and carries output
//! away.
//!
//! Methods sort as follows: *inputs* are named `handle_*` and come from the server; *commands* are
//! the application's (`accept`, `send`, `publish`, `close`, …); *outputs* are `next_*`, `output`
//! and the events. Commands never do I/O: what they queue leaves at the start of the next turn.

mod answer;
mod conn_map;
mod flush;
mod input;
mod messages;
mod read_queue;
mod scarcity;
mod time;
mod topics;
mod turn_log;
mod wheel;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Instant,
};

pub use answer::{Accept, AcceptError, RespondError};
pub use conn_map::ConnMap;
pub(crate) use flush::{Outlet, Taken};
pub use messages::{PublishError, SendError, SubscribeError};
use read_queue::ReadQueue;
use slab::Slab;
use topics::{Subscriptions, Topics};
#[cfg(internals)]
pub use wheel::Timers;
use wheel::Wheel;

use crate::{
    config::Config,
    conn::{Commons, Connection},
    counters::{Counters, Tally},
    event::{ConnId, Record, RequestId},
};

/// One connection's place.
#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Connection,
    topics: Subscriptions,
    /// The flush in which it was last written to.
    flushed_in: u32,
}

/// All connections of a server, and its topics: what an application acts on.
///
/// Handlers get it as `&mut Hub`; who owns the loop gets it from
/// [`Server::hub`](crate::Server::hub). What is queued here leaves at the start of the next
/// [`poll`](crate::Server::poll), one write for each connection however many messages it got.
pub struct Hub {
    slots: Slab<Slot>,
    next_generation: u32,
    topics: Topics,
    commons: Commons,
    wheel: Wheel,
    timers: BTreeSet<(Instant, u64)>,
    /// Connections with something to write or to finish, each once.
    dirty: Vec<ConnId>,
    /// Connections that the kernel may hold input for, and that want it, each once.
    readable: ReadQueue,
    /// Connections whose last words are due at the start of the next turn.
    ending: Vec<ConnId>,
    /// What the next batch begins with: connections that were accepted, and requests that were answered
    /// in the application's place.
    told_next: Vec<Record>,
    /// Connections whose peers may have left while a request waits.
    departed: Vec<ConnId>,
    /// Requests that were answered in this batch, after it was noted that they are gone.
    answered: BTreeSet<RequestId>,
    /// Input that came with the handshake.
    replays: VecDeque<(ConnId, Vec<u8>)>,
    /// The last turn took of it.
    set_aside_had_its_turn: bool,
    /// Keep-alive connections whose next request may be buffered already.
    resumed: Vec<ConnId>,
    /// Connections that ended during a flush, and leave their topics after it.
    leaving: Vec<ConnId>,
    /// Where the search for a connection whose descriptor can be spared goes on.
    spare_from: usize,
    /// Connections whose slots are freed at the start of the next turn.
    closed: Vec<ConnId>,
    /// A connection was closed from this side since the batch was begun.
    any_closed: bool,
    flush: flush::Progress,
    now: Instant,
    epoch: Instant,
    /// When the tick that `Commons::now` names is over.
    tick_ends: Instant,
    shutdown: Option<time::Shutdown>,
}

impl Hub {
    pub(crate) fn new(config: Config, tally: Arc<Tally>, now: Instant) -> Self {
        Self {
            slots: Slab::new(),
            next_generation: 1,
            topics: Topics::new(),
            commons: Commons::new(config, tally),
            wheel: Wheel::new(),
            timers: BTreeSet::new(),
            dirty: Vec::new(),
            readable: ReadQueue::default(),
            ending: Vec::new(),
            told_next: Vec::new(),
            departed: Vec::new(),
            answered: BTreeSet::new(),
            replays: VecDeque::new(),
            set_aside_had_its_turn: false,
            resumed: Vec::new(),
            leaving: Vec::new(),
            spare_from: 0,
            closed: Vec::new(),
            any_closed: false,
            flush: flush::Progress::default(),
            now,
            epoch: now,
            tick_ends: now,
            shutdown: None,
        }
    }

    /// The limits that hold.
    pub fn config(&self) -> &Config {
        &self.commons.config
    }

    /// The time of this turn: read once, when its wait for the network was over.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What happened so far, in numbers.
    pub fn counters(&self) -> Counters {
        self.commons.tally.snapshot()
    }

    /// How many connections there are, in whatever state.
    pub fn connections(&self) -> usize {
        self.slots.len() - self.closed.len()
    }

    /// Whether the connection is open: messages to it are taken.
    pub fn is_open(&self, id: ConnId) -> bool {
        self.slot(id).is_some_and(|slot| slot.connection.is_open())
    }

    /// Bytes that wait to be sent to the connection, 0 if it is gone.
    pub fn queued_bytes(&self, id: ConnId) -> usize {
        self.slot(id).map_or(0, |slot| slot.connection.outbox.bytes())
    }

    /// Bytes that wait to be sent in the whole process, those of a publication counted once.
    pub fn queued_bytes_total(&self) -> usize {
        self.commons.queued_bytes
    }

    /// How many topics have subscribers.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    /// How many connections subscribe to the topic.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.topics.find(topic).map_or(0, |topic| self.topics.subscribers(topic))
    }

    /// The topics that the connection subscribes to.
    pub fn topics_of(&self, id: ConnId) -> impl Iterator<Item = &str> {
        let subscriptions = self.slot(id).map_or(&[][..], |slot| slot.topics.as_slice());
        subscriptions.iter().map(|subscription| self.topics.name(subscription.topic))
    }

    fn slot(&self, id: ConnId) -> Option<&Slot> {
        self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)
    }

    /// The slot of a live connection; its fields are borrowed apart from the rest of the hub.
    fn slot_mut(slots: &mut Slab<Slot>, id: ConnId) -> Option<&mut Slot> {
        slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)
    }

    fn id_at(&self, index: u32) -> ConnId {
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        ConnId { index, generation }
    }

    /// Lists the connection for the flush.
    fn mark_dirty(slot: &mut Slot, dirty: &mut Vec<ConnId>, id: ConnId) {
        if !slot.connection.notes.dirty {
            slot.connection.notes.dirty = true;
            dirty.push(id);
        }
    }

    /// Lists the connection for reading, if there may be something and it wants it.
    fn mark_readable(slot: &mut Slot, readable: &mut ReadQueue, id: ConnId) {
        if slot.connection.notes.readable()
            && !slot.connection.notes.listed
            && !slot.connection.notes.replaying
            && slot.connection.wants_input()
        {
            slot.connection.notes.listed = true;
            readable.push(id, slot.connection.notes.reads_much);
        }
    }

    /// Sets the connection's timer anew, after its state changed.
    fn arm(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        match slot.connection.next_timeout(&self.commons) {
            Some(due) => self.wheel.set(id.index, due),
            None => self.wheel.clear(id.index),
        }
    }

    /// Takes the connection out of its topics. With `take`, it first gets what they published to
    /// it so far. In a flush, whose course goes along the topics' lists, it is done after it.
    fn leave_topics(&mut self, id: ConnId, take: bool) {
        if self.flush.is_on() {
            self.leaving.push(id);
            return;
        }
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        let mut subscriptions = std::mem::take(&mut slot.topics);
        let deflates = slot.connection.deflation.takes_shared();
        if take {
            for subscription in subscriptions.as_slice() {
                self.topics.take_so_far(*subscription, &mut slot.connection, &mut self.commons);
            }
        }
        while let Some(last) = subscriptions.as_slice().len().checked_sub(1) {
            if let Some(moved) = self.topics.unsubscribe(&mut subscriptions, last, deflates)
                && let Some(other) = self.slots.get_mut(moved.connection as usize)
            {
                moved.apply(&mut other.topics);
            }
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("connections", &self.connections())
            .field("topics", &self.topics())
            .field("queued_bytes", &self.queued_bytes_total())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use super::{Hub, Slot, wheel::Link};
    use crate::{config::Config, server::Stream};

    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    #[test]
    fn two_generations_are_nobodys() {
        let mut hub = Hub::new(Config::default(), Arc::default(), Instant::now());
        hub.next_generation = u32::MAX - 2;
        let generations = [(); 4].map(|()| hub.handle_accepted(None).unwrap().generation);
        assert_eq!(generations, [u32::MAX - 2, u32::MAX - 1, 1, 2]);
        let shown = format!("{hub:?}");
        assert_eq!(shown, "Hub { connections: 4, topics: 0, queued_bytes: 0, .. }");
    }

    /// What a connection has in the three tables: all that an idle one owns.
    #[test]
    fn an_idle_connection_is_88_bytes_and_104_with_compression() {
        let slot = if cfg!(feature = "deflate") { 80 } else { 64 };
        // mio keeps more in a debug build, to check how its sources are used.
        let stream = if cfg!(debug_assertions) { 8 } else { size_of::<Option<Stream>>() };
        assert_eq!((size_of::<Slot>(), size_of::<Link>(), stream), (slot, 16, 8));
    }
}
