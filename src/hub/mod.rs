//! All connections and topics, and everything an application may do with them.
//!
//! It knows connections, subscriptions, timers, and what is to be written to each connection. It **must
//! not know** sockets or clocks: a [`Server`](crate::Server) brings input and time, and carries output
//! away.
//!
//! Methods sort as follows: *inputs* are named `handle_*` and come from the server; *commands* are the
//! application's (`accept`, `send`, `publish`, `close`, …); *outputs* are `next_*`, what `flush_one`
//! writes to an [`Outlet`], and the events. Commands never do I/O: what they queue leaves at the start
//! of the next turn.

mod answer;
mod clients;
mod command;
mod conn_map;
mod conn_queue;
mod directory;
mod events;
mod flush;
mod history;
mod input;
mod joint;
mod keys;
mod laggards;
mod log;
mod messages;
mod passes;
mod peers;
mod position;
mod presence;
mod publish;
mod read_queue;
mod readers;
mod restore;
mod resume;
mod room;
mod scarcity;
mod stream;
mod subscriptions;
mod take;
mod time;
mod topics;
mod watches;
mod wheel;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

pub use clients::ClientFull;
pub use conn_map::ConnMap;
use conn_queue::ConnQueue;
pub(crate) use flush::{Outlet, WriteResult};
pub use laggards::Laggard;
pub use messages::{ConfigureError, SendError, SubscribeError};
pub(crate) use peers::{LANE_BYTES_MAX, Peers};
pub use position::PositionError;
pub use presence::{Member, MemberChange, Presence, PresenceChange, PresenceError, PresenceNews};
pub use publish::{PublishError, Published};
use read_queue::ReadQueue;
pub use restore::RestoreError;
pub use resume::Joined;
use slab::Slab;
pub use time::TimerId;
use topics::Topics;
#[cfg(internals)]
pub use wheel::Timers;
use wheel::Wheel;

use crate::{
    config::{Config, Hosts, Origins},
    conn::{Commons, Connection, WorkFlags},
    counters::{Counters, LiveCounters},
    event::{ConnId, Record, RequestId},
    handle::Handle,
};

/// One connection's place.
#[derive(Debug)]
struct Slot {
    connection: Connection,
}

/// All connections of a server, and its topics: what an application acts on.
///
/// Handlers get it as `&mut Hub`; a program with a loop of its own gets it from
/// [`Server::hub`](crate::Server::hub). What is queued here leaves at the start of the next
/// [`poll`](crate::Server::poll), in one write for each connection, however many messages it gets.
pub struct Hub {
    slots: Slab<Slot>,
    next_generation: u32,
    /// The first generation of connections, and how far it is to the next: of several loops, each has its own.
    generations: (u32, u32),
    topics: Topics,
    keys: keys::Keys,
    clients: clients::Clients,
    commons: Commons,
    wheel: Wheel,
    schedule: time::Schedule,
    watches: watches::Watches,
    /// Connections with something of their own to write or to finish.
    dirty: ConnQueue,
    /// Connections for which something is left, and which are not blocked. A connection is in one of
    /// these two lists at most, and there once.
    pulls: ConnQueue,
    /// Connections that want input, and for which the kernel may hold some; each is here once.
    readable: ReadQueue,
    /// Connections whose last words are due at the start of the next turn.
    ending: VecDeque<ConnId>,
    /// What the next batch begins with: connections that were accepted, and requests that the hub
    /// answered in the application's place.
    told_next: Vec<Record>,
    /// Connections whose peers may have left while a request waits.
    departed: Vec<ConnId>,
    /// Requests that the application answered since this batch was begun, after they were noted as gone.
    answered: BTreeSet<RequestId>,
    /// Input that was set aside: it came with the handshake, or enough was inflated in its turn.
    replays: VecDeque<(ConnId, Vec<u8>)>,
    /// The last turn took some of it.
    set_aside_had_its_turn: bool,
    /// Connections of which the batch has the head of a request, whose body is to come.
    headed: Vec<ConnId>,
    /// Keep-alive connections whose next request may be buffered already.
    resumed: VecDeque<ConnId>,
    /// Connections that may still be looked at for a request in this turn.
    requests_left: usize,
    /// Where the search for a connection that can spare its descriptor goes on.
    spare_from: usize,
    /// Connections that came when there were `connections_max`, the first first; and some that are gone.
    /// Never more than `connections_reserved`.
    reserve: VecDeque<ConnId>,
    /// Connections whose slots are freed at the start of the next turn.
    closed: Vec<ConnId>,
    /// A connection was closed from this side since the batch was begun.
    any_closed: bool,
    flush: flush::FlushCursor,
    /// Connections are not gone through for memory again before more bytes wait than this.
    shed_above: usize,
    now: Instant,
    epoch: Instant,
    /// When the tick that `Commons::now` names is over.
    tick_ends: Instant,
    shutdown: Option<time::Shutdown>,
    /// Each plain answer is the last of its connection.
    ends_keep_alive: bool,
    handle: Handle,
}

impl Hub {
    pub(crate) fn new(
        config: Config,
        tally: Arc<LiveCounters>,
        handle: Handle,
        now: Instant,
    ) -> Self {
        Self {
            slots: Slab::new(),
            next_generation: 1,
            generations: (1, 1),
            topics: Topics::new(),
            keys: keys::Keys::default(),
            clients: clients::Clients::default(),
            commons: Commons::new(config, tally),
            wheel: Wheel::new(),
            schedule: time::Schedule::default(),
            watches: watches::Watches::default(),
            dirty: ConnQueue::default(),
            pulls: ConnQueue::default(),
            readable: ReadQueue::default(),
            ending: VecDeque::new(),
            told_next: Vec::new(),
            departed: Vec::new(),
            answered: BTreeSet::new(),
            replays: VecDeque::new(),
            set_aside_had_its_turn: false,
            headed: Vec::new(),
            resumed: VecDeque::new(),
            requests_left: 0,
            spare_from: 0,
            reserve: VecDeque::new(),
            closed: Vec::new(),
            any_closed: false,
            flush: flush::FlushCursor::default(),
            shed_above: 0,
            now,
            epoch: now,
            tick_ends: now,
            shutdown: None,
            ends_keep_alive: false,
            handle,
        }
    }

    /// For other threads: whatever can be asked of a hub, they can ask for.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The limits.
    pub fn config(&self) -> &Config {
        &self.commons.config
    }

    /// Sets [`Config::origins`], for requests that come from now on.
    pub fn set_origins(&mut self, origins: Origins) {
        self.commons.config.origins = origins;
    }

    /// Sets [`Config::hosts`], for requests that come from now on.
    pub fn set_hosts(&mut self, hosts: Hosts) {
        self.commons.config.hosts = hosts;
    }

    /// Sets [`Config::shutdown_spread`], for a shutdown that has not begun.
    pub fn set_shutdown_spread(&mut self, spread: Duration) {
        self.commons.config.shutdown_spread = spread;
    }

    /// The time of this turn: read once, when its wait for the network was over.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The time of day, for what is told in it, as the end of a token is: up to a fifteenth of a second old,
    /// and it may go back. `None` before the first turn, and with a [`Net`](crate::Net) that has none.
    pub fn wall_clock(&self) -> Option<SystemTime> {
        self.commons.wall_clock
    }

    /// What has happened so far, in numbers.
    pub fn counters(&self) -> Counters {
        self.commons.tally.snapshot()
    }

    /// How many connections there are, in whatever state.
    pub fn connection_count(&self) -> usize {
        self.slots.len() - self.closed.len()
    }

    /// Whether the connection is a WebSocket that is open: whether messages to it are taken.
    pub fn is_open(&self, id: ConnId) -> bool {
        self.slot(id).is_some_and(|slot| slot.connection.is_open())
    }

    /// Bytes that wait to be sent to the connection, beside its topics: what is sent directly, and the
    /// rest of a publication that has begun to leave. 0 if the connection is gone.
    pub fn queued_bytes(&self, id: ConnId) -> usize {
        self.slot(id).map_or(0, |slot| slot.connection.outbox.bytes())
    }

    /// Bytes that wait to be sent in the whole process; a publication counts once.
    pub fn queued_bytes_total(&self) -> usize {
        self.commons.queued_bytes
    }

    /// How many topics have subscribers.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many connections subscribe to the topic. Of several loops, the one that it belongs to knows those of
    /// all; the others, their own.
    pub fn subscriber_count(&self, topic: &str) -> usize {
        let count =
            |at| self.topics.subscribers(at) + self.topics.topic(at).subscribers_elsewhere();
        self.topics.find(topic).map_or(0, count)
    }

    /// The connections that subscribe to the topic, in no particular order.
    pub fn subscribers(&self, topic: &str) -> impl Iterator<Item = ConnId> {
        let topic = self.topics.find(topic).map(|topic| self.topics.topic(topic));
        let places = topic.map(|topic| topic.places().map(|(index, _)| self.id_at(index)));
        places.into_iter().flatten()
    }

    /// How many of a topic's publications the connection is behind: those that it is due and has not
    /// taken yet, given up by the topic or not. `None` if it does not subscribe.
    pub fn lag(&self, id: ConnId, topic: &str) -> Option<u64> {
        self.slot(id)?;
        let list = self.topics.list(id.index);
        let at = list.position_of(self.topics.find(topic)?)?;
        Some(self.topics.lag(id, list.as_slice()[at]))
    }

    /// How many publications the connection has taken, or begun to take; known also in the turn that tells of
    /// its end. 0 without [`Config::count_deliveries`].
    pub fn delivered(&self, id: ConnId) -> u64 {
        let place = self.slot(id).and_then(|_| self.commons.delivered.get(id.index as usize));
        place.or_else(|| self.commons.ended.get(&id)).copied().unwrap_or_default()
    }

    /// The topics that the connection subscribes to.
    pub fn topics_of(&self, id: ConnId) -> impl Iterator<Item = &str> {
        let names = self.slot(id).map(|_| self.topics.names_of(id.index));
        names.into_iter().flatten()
    }

    fn slot(&self, id: ConnId) -> Option<&Slot> {
        self.slots.get(id.index as usize).filter(|slot| slot.connection.generation == id.generation)
    }

    /// The slot of a live connection. It is borrowed apart from the rest of the hub.
    fn slot_mut(slots: &mut Slab<Slot>, id: ConnId) -> Option<&mut Slot> {
        slots.get_mut(id.index as usize).filter(|slot| slot.connection.generation == id.generation)
    }

    fn id_at(&self, index: u32) -> ConnId {
        let generation =
            self.slots.get(index as usize).map_or(0, |slot| slot.connection.generation);
        ConnId { index, generation }
    }

    /// Lists the connection for the flush.
    #[inline]
    fn mark_dirty(slot: &mut Slot, dirty: &mut ConnQueue, id: ConnId) {
        if !slot.connection.flags.has(WorkFlags::DIRTY) {
            slot.connection.flags.set(WorkFlags::DIRTY);
            dirty.push(id);
        }
    }

    /// Lists the connection for reading, if it wants input and there may be some.
    #[inline(always)]
    fn mark_readable(slot: &mut Slot, readable: &mut ReadQueue, id: ConnId) {
        if slot.connection.flags.readable()
            && !slot.connection.flags.has(WorkFlags::LISTED | WorkFlags::REPLAYING)
            && slot.connection.wants_input()
        {
            slot.connection.flags.set(WorkFlags::LISTED);
            if slot.connection.is_asking() {
                readable.push_asking(id);
            } else {
                readable.push(id, slot.connection.flags.has(WorkFlags::READS_MUCH));
            }
        }
    }

    /// Sets the connection's timer anew, after its state has changed.
    fn arm(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        match slot.connection.next_timeout(&self.commons) {
            Some(due) => self.wheel.set(id.index, due),
            None => self.wheel.clear(id.index),
        }
    }

    /// Takes the connection out of its topics. With `reads_on`, it still gets what they have published
    /// so far, and what is queued next goes behind that.
    fn leave_topics(&mut self, id: ConnId, reads_on: bool) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        let (topics, commons) = (&mut self.topics, &mut self.commons);
        let is_blocked = slot.connection.is_blocked();
        while let Some(last) = topics.list(id.index).as_slice().len().checked_sub(1) {
            let leaves_behind = topics.unsubscribe(id, last, reads_on, is_blocked, commons);
            if leaves_behind {
                slot.connection.flags.set(WorkFlags::BEHIND);
            }
        }
        if !reads_on {
            topics.forget_leaving(id, true, commons);
        } else if slot.connection.flags.has(WorkFlags::BEHIND) {
            slot.connection.order_behind(topics.moment(), commons);
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("connections", &self.connection_count())
            .field("topics", &self.topic_count())
            .field("queued_bytes", &self.queued_bytes_total())
            .finish_non_exhaustive()
    }
}

/// A hub that no server is around.
#[cfg(test)]
fn tests_hub(now: Instant) -> Hub {
    tests_hub_with(now, Config::default())
}

#[cfg(test)]
fn tests_hub_with(now: Instant, config: Config) -> Hub {
    struct Nobody;
    impl crate::mailbox::Wake for Nobody {
        fn wake(&self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let tally = Arc::<LiveCounters>::default();
    let handle = Handle::new(Box::new(Nobody), 1, 1, 0, Arc::clone(&tally));
    Hub::new(config, tally, handle, now)
}

/// A connection that was opened just now.
#[cfg(test)]
fn tests_open(hub: &mut Hub) -> ConnId {
    const REQUEST: &[u8] =
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let id = hub.handle_accepted(None, false).expect("there is room");
    let connection = &mut hub.slots[id.index as usize].connection;
    connection.take_over(REQUEST.to_vec(), &mut hub.commons);
    connection.advance_http(id, &mut crate::event::Events::default(), &mut hub.commons);
    connection.accept(id, None, &[], &mut hub.commons);
    connection.outbox.clear(&mut hub.commons);
    assert!(connection.is_open());
    id
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Slot, subscriptions::Subscriptions, wheel::Link};
    use crate::server::Stream;

    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    #[test]
    fn two_generations_are_nobodys() {
        let mut hub = super::tests_hub(Instant::now());
        hub.next_generation = u32::MAX - 2;
        let generations = [(); 4].map(|()| hub.handle_accepted(None, false).unwrap().generation);
        assert_eq!(generations, [u32::MAX - 2, u32::MAX - 1, 1, 2]);
        let shown = format!("{hub:?}");
        assert_eq!(shown, "Hub { connections: 4, topics: 0, queued_bytes: 0, .. }");
        let spread = std::time::Duration::from_secs(7);
        hub.set_shutdown_spread(spread);
        assert_eq!(hub.config().shutdown_spread, spread);
    }

    /// What a connection has in the three tables, and what one that subscribes has in the fourth. An
    /// idle one owns nothing else.
    #[test]
    fn an_idle_connection_is_64_bytes_and_80_with_compression() {
        let slot = if cfg!(feature = "deflate") { 56 } else { 40 };
        // mio keeps more in a debug build, to check how its sources are used.
        let stream = if cfg!(debug_assertions) { 8 } else { size_of::<Option<Stream>>() };
        let list = size_of::<Subscriptions>();
        assert_eq!((size_of::<Slot>(), list, size_of::<Link>(), stream), (slot, 16, 16, 8));
    }
}
