//! A broker that several nodes share, Redis: it decides a topic's order and keeps its history; this node delivers.
//!
//! A topic that somebody here subscribes to is heard from the broker, and lives in the hub with the broker's
//! positions. What is published here comes back as what is published elsewhere does. Where something was missed,
//! nothing more is delivered until the broker's history has closed the hole; if it cannot, the topic's subscribers
//! are sent away, and are told when they come back.
//!
//! The loop never waits: `threads` ask and listen, `shared` is between them and the loop. It **must not know** what a
//! request or a connection is, beyond its id.

mod awaited;
mod echoes;
mod keys;
mod leases;
mod link;
mod links;
mod lists;
mod publishing;
mod record;
mod sentinels;
mod shared;
mod slots;
mod threads;
mod topics;
mod way;

use std::{
    collections::VecDeque,
    mem,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use pushloop::{ConnId, Handle, Hub, Position, Presence};
use redis::ConnectionAddr;

pub use leases::Move;
pub use record::NodeConn;
pub use shared::EVENTS;
pub use topics::{END_INTERVAL, Lists};

/// The topic in which servers have each other do what is asked of one. No door leads to it: topics have names without
/// control characters.
pub const ORDERS: &str = "\u{1}orders";

use crate::{
    ahead::Asker,
    publish::Outcome,
    status::{Status, count},
};
use awaited::Awaited;
use leases::Leases;
use link::draw;
use publishing::Publishing;
use shared::{Change, Event, Shared};
use topics::{Applied, Topics, with_places};
use way::{Kind, Target, Way};

/// How often the broker is asked to echo. Without an echo for so long, what is heard of it is taken for dead.
const ECHO_INTERVAL: Duration = Duration::from_secs(1);
const ECHO_TIMEOUT: Duration = Duration::from_secs(3);

/// What is taken of what the threads have told in one turn.
const TAKEN_MAX: usize = 1024;

/// Where the broker is, and how it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerOptions {
    pub url: Option<String>,
    pub password: Option<PathBuf>,
    pub sentinel_password: Option<PathBuf>,
    /// Whom TLS trusts there, if it is not whom the system trusts.
    pub authorities: Option<PathBuf>,
    /// What all keys and channels begin with.
    pub prefix: String,
    /// The broker loses nothing of what it has acknowledged.
    pub is_durable: bool,
}

impl BrokerOptions {
    /// Reads the files that are named. The error is about an option.
    pub fn check(&self) -> Result<(), String> {
        Way::new(self).map(|_| ())
    }

    /// What its URL leads to; `None` if there is none.
    fn target(&self) -> Option<Target> {
        way::target(self.url.as_deref()?).ok()
    }

    /// Whether the way to the broker is encrypted.
    pub fn is_tls(&self) -> bool {
        self.target().is_some_and(|it| {
            it.servers.iter().any(|info| matches!(info.addr(), ConnectionAddr::TcpTls { .. }))
        })
    }

    pub fn has_sentinels(&self) -> bool {
        self.target().is_some_and(|it| matches!(it.kind, Kind::Sentinels(_)))
    }

    pub fn is_cluster(&self) -> bool {
        self.target().is_some_and(|it| it.kind == Kind::Cluster)
    }
}

/// What is wrong with a URL, if something is.
pub fn check_url(url: &str) -> Result<(), String> {
    way::target(url).map(|_| ())
}

/// A number for a node, which nobody can tell: as JavaScript has whole numbers.
pub fn draw_node() -> u64 {
    draw() >> 11
}

/// What comes of what the threads have told.
#[derive(Debug)]
pub enum Done {
    /// All topics that were asked for under this number are there.
    Ready(u64),
    /// They are not, for this reason.
    Failed(u64, String),
    /// What was asked for has its answer.
    Published(Asker, Vec<Outcome>),
    /// A member has come or gone over all nodes, and this one is to tell of it.
    Moved(Move),
    /// Another node has all do this.
    Ordered(Box<[u8]>),
}

/// See the module.
pub struct Broker {
    shared: Arc<Shared>,
    node: u64,
    topics: Topics,
    publishing: Publishing,
    leases: Leases,
    awaited: Awaited,
    /// What was taken of the threads, and waits for room in the hub.
    pending: VecDeque<Event>,
    /// Whether the broker can be asked, and when an echo was heard last.
    is_connected: bool,
    heard: Option<Instant>,
    /// When an echo is to be asked for.
    echo_due: Instant,
    /// What other threads know: whether it is up, and how many publications wait.
    noted: (bool, u64),
    status: Arc<Status>,
}

impl Broker {
    /// Starts to connect. `None` if there is no broker.
    pub fn start(
        options: &BrokerOptions,
        handle: Handle,
        status: &Arc<Status>,
        now: Instant,
    ) -> Result<Option<Self>, String> {
        let Some(way) = Way::new(options)? else { return Ok(None) };
        let shared = Arc::new(Shared::new(handle));
        let node = draw_node();
        threads::start(way, options, node, &shared, status).map_err(|error| error.to_string())?;
        let prefix = options.prefix.clone();
        let orders = keys::channel(&prefix, ORDERS);
        shared.change(orders, Change::Subscribe(ORDERS.into()));
        let topics = Topics::new(prefix, node, Arc::clone(&shared), Arc::clone(status), now);
        let publishing = Publishing::new(Arc::clone(&shared), node);
        let leases = Leases::new(Arc::clone(&shared), Arc::clone(status), now);
        let status = Arc::clone(status);
        status.note_broker(false);
        Ok(Some(Self {
            shared,
            node,
            topics,
            publishing,
            leases,
            awaited: Awaited::default(),
            pending: VecDeque::new(),
            is_connected: false,
            heard: None,
            echo_due: now,
            noted: (false, 0),
            status,
        }))
    }

    /// Which node this is: no two are the same, nor are those of a server that is started anew.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// Whether the broker answers, and what others publish is heard.
    pub fn is_up(&self, hub: &Hub) -> bool {
        self.is_connected && self.heard.is_some_and(|heard| hub.now() < heard + ECHO_TIMEOUT)
    }

    /// Whether subscriptions to all of these topics may begin, after these places if there are any.
    pub fn has(
        &self,
        hub: &Hub,
        names: &[String],
        after: &[Option<Position>],
        lists: Lists,
    ) -> bool {
        with_places(names, after).all(|(name, after)| self.topics.has(hub, name, after, lists))
    }

    /// How many members there are, by a companion topic that is heard, where it is here.
    pub fn member_count(&self, companion: &str) -> Option<usize> {
        self.topics.member_count(companion)
    }

    /// Has these topics heard, and asks for these places. [`Done`] comes with the number that is given.
    pub fn want(
        &mut self,
        hub: &mut Hub,
        names: &[String],
        after: &[Option<Position>],
        lists: Lists,
    ) -> Result<u64, String> {
        if !self.is_up(hub) {
            return Err("the broker cannot be reached".to_owned());
        }
        if self.topics.is_full(hub) {
            return Err("too many topics are heard from the broker: topics_max".to_owned());
        }
        if lists == Lists::Members {
            names.iter().try_for_each(|name| self.topics.refuses_list(name))?;
        }
        Ok(self.topics.want(hub, names, after, lists))
    }

    /// Waits until a member is in the list of a topic that is heard. [`Done`] comes with the number that is given.
    pub fn await_member(&mut self, topic: &str, id: &str) -> u64 {
        let number = self.topics.number();
        self.awaited.add(number, topic, id);
        number
    }

    /// How many members of a topic are on their way into its list beside this one, up to so many.
    pub fn awaited_beside(&self, topic: &str, id: &str, most: usize) -> usize {
        self.awaited.count_beside(topic, id, most)
    }

    /// Has [`Done::Moved`] told.
    pub fn tell_moves(&mut self) {
        self.leases.tell_moves();
    }

    /// The latest place of a topic that a publisher here was told of.
    pub fn acknowledged(&self, name: &str) -> Option<Position> {
        self.topics.acknowledged(name)
    }

    /// Nobody waits for these topics any more.
    pub fn forget(&mut self, number: u64) {
        self.topics.forget(number);
        self.awaited.forget(number);
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Has the other threads know how it is. Other loops have brokers of their own.
    pub fn note(&mut self, hub: &Hub) {
        let (is_up, waiting) = (self.is_up(hub), self.publishing.open() as u64);
        let (was_up, waited) = mem::replace(&mut self.noted, (is_up, waiting));
        if is_up != was_up {
            self.status.note_broker(is_up);
        }
        // What is less is added as well, as atomic numbers wrap around.
        self.status.broker_waiting.fetch_add(waiting.wrapping_sub(waited), Ordering::Relaxed);
    }

    /// What publishes.
    pub fn publishing(&mut self) -> &mut Publishing {
        &mut self.publishing
    }

    /// Acts on what the threads have told. False if the hub has no room, and it is to be tried again soon.
    pub fn take(
        &mut self,
        hub: &mut Hub,
        mut presence: Option<&mut Presence>,
        done: &mut Vec<Done>,
    ) -> bool {
        for (ask, answer) in self.shared.take_answers() {
            if let Some(presence) = presence.as_deref_mut() {
                self.leases.handle_answer(hub, presence, ask, answer);
            }
        }
        done.extend(self.leases.take_moves().into_iter().map(Done::Moved));
        let has_room = self.take_events(hub, done);
        self.tell_lists(presence.as_deref_mut());
        done.extend(self.topics.take_done());
        done.extend(self.awaited.take_ready().into_iter().map(Done::Ready));
        self.tell(hub, presence);
        has_room
    }

    /// Tells the broker which members have come and gone.
    pub fn tell(&mut self, hub: &Hub, presence: Option<&mut Presence>) {
        if let Some(presence) = presence {
            self.leases.tell(hub, presence);
        }
    }

    /// Tells here what is published to companion topics, in the same turn.
    fn tell_lists(&mut self, presence: Option<&mut Presence>) {
        let news = self.topics.take_news();
        let Some(presence) = presence else { return };
        news.into_iter().for_each(|(topic, news)| self.awaited.note(presence, topic, news));
    }

    fn take_events(&mut self, hub: &mut Hub, done: &mut Vec<Done>) -> bool {
        if self.pending.is_empty() {
            self.pending.extend(self.shared.take(TAKEN_MAX));
        }
        while let Some(event) = self.pending.pop_front() {
            let applied = match event {
                Event::Published { number, outcome } => {
                    if let (Ok(place), Some(topic)) = (&outcome, self.publishing.topic(number)) {
                        self.topics.note_acknowledged(topic, *place);
                    }
                    self.publishing.settle(hub, number, outcome, done);
                    Applied::Yes
                }
                Event::Connected => {
                    self.is_connected = true;
                    self.leases.handle_connected();
                    self.topics.handle_connected()
                }
                Event::Disconnected => {
                    self.is_connected = false;
                    self.leases.handle_disconnected();
                    Applied::Yes
                }
                Event::Echo => {
                    self.heard = Some(hub.now());
                    Applied::Yes
                }
                Event::Deaf => {
                    self.heard = None;
                    Applied::Yes
                }
                Event::Subscribed(topic) => self.topics.handle_subscribed(hub, &topic),
                Event::Opened { topic, wanted, place } => {
                    self.topics.handle_opened(hub, topic, wanted, place, done)
                }
                Event::Listed { topic, asked, portion } => {
                    self.topics.handle_portion(hub, &topic, asked, portion);
                    Applied::Yes
                }
                Event::News { topic, record, .. } if *topic == *ORDERS => {
                    let is_own = record.except.is_some_and(|it| it.node == self.node);
                    done.extend((!is_own).then_some(Done::Ordered(record.payload)));
                    Applied::Yes
                }
                Event::News { topic, position, record } => {
                    self.topics.handle_news(hub, topic, position, record)
                }
            };
            if let Applied::Full(event) = applied {
                count(&self.status.broker_waits);
                self.pending.push_front(event);
                return false;
            }
        }
        true
    }

    /// Subscribers that are to be sent away from a topic, which goes on in a way that they cannot follow: to be asked for
    /// whenever [`take`](Self::take) or [`look`](Self::look) was called.
    pub fn take_away(&mut self) -> Vec<(Arc<str>, ConnId)> {
        self.topics.take_away()
    }

    /// Looks after topics from time to time: in how long it is to be done again.
    pub fn look(&mut self, hub: &mut Hub, mut presence: Option<&mut Presence>) -> Duration {
        if hub.now() >= self.echo_due {
            self.echo_due = hub.now() + ECHO_INTERVAL;
            self.shared.echo();
        }
        if let Some(presence) = presence.as_deref_mut() {
            self.leases.look(hub, presence);
        }
        let next = self.topics.look(hub);
        self.tell_lists(presence);
        next
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.end();
    }
}
