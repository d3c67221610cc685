//! The topics that are heard from the broker.

mod looks;
mod members;
mod restoring;
mod waiting;

pub use looks::END_INTERVAL;
pub use members::{Lists, Next};

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use pushloop::{ConnId, Hub, Position, PresenceNews, PublishError, RestoreError};

use super::{
    Done, keys,
    link::{Keeps, Place, Wanted},
    record::Record,
    shared::{Change, Event, Shared},
};
use crate::{
    presence::topic_of,
    publish::publish_for,
    status::{Status, count},
};
use members::Listing;
use restoring::restore;
use waiting::Waiter;
pub(super) use waiting::with_places;

/// What is held of one topic until it is known where it belongs: what is more is asked for again.
const EARLY_MAX: usize = 1024;
const EARLY_BYTES_MAX: usize = 1 << 20;

/// Members of all topics together that are listed here.
const LISTED_MAX: usize = 100_000;
const LISTED_TOO_MANY: &str = "too many members are listed here: members_listed_max = 100000";

/// Whether the topic is this node's own, and none of the broker's.
pub fn is_local(name: &str) -> bool {
    name.starts_with('$') && topic_of(name).is_none()
}

/// Whether it is wanted of a topic who is there.
fn is_list(name: &str, lists: Lists) -> bool {
    lists == Lists::Members && topic_of(name).is_some()
}

/// What became of what a thread has told.
#[derive(Debug)]
pub enum Applied {
    Yes,
    /// The hub has no room for it now.
    Full(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is asked where the topic is.
    Opening,
    /// What is published is delivered.
    Live,
    /// Something was missed, or may have been: it is asked for, and what comes meanwhile waits.
    Catching,
    /// The topic goes on in a way that its subscribers cannot follow: they are sent away.
    Ending,
}

#[derive(Debug)]
struct Topic {
    state: State,
    /// Which of those with this name it is: the others are over, and may be in the round still.
    life: u64,
    /// What was published last, as far as it is known here.
    position: Position,
    /// It has a history, and the broker's positions in the hub.
    keeps: Option<Keeps>,
    /// The latest place that a publisher here was told of, which may be ahead of what was heard.
    acknowledged: Option<Position>,
    /// What came and waits for its place.
    early: VecDeque<(Position, Record)>,
    early_bytes: usize,
    /// What waits for the topic, and what waits for its list.
    waiters: BTreeSet<u64>,
    readers: BTreeSet<u64>,
    asked_at: Instant,
    /// Since when nobody subscribes.
    idle_since: Option<Instant>,
    /// The broker was here when it was looked at last, and news of it had not come.
    suspect: Option<u64>,
    /// Of a companion topic: how many members there are, who they are, and how many of them are held for that.
    count: usize,
    listing: Listing,
    listed: usize,
}

impl Topic {
    /// What is asked for to begin.
    fn latest(&self) -> Wanted {
        Wanted::Latest(self.keeps.unwrap_or_default())
    }

    /// What is asked for to go on: without a history, only whether there is anything.
    fn missed(&self) -> Wanted {
        Wanted::After(self.position.offset, self.keeps.unwrap_or_default())
    }

    /// Whether something waits for it.
    fn is_awaited(&self) -> bool {
        !self.waiters.is_empty() || !self.readers.is_empty()
    }

    fn hold(&mut self, position: Position, record: Record) {
        if self.early.len() < EARLY_MAX && self.early_bytes < EARLY_BYTES_MAX {
            self.early_bytes += record.cost();
            self.early.push_back((position, record));
        }
    }

    fn take_early(&mut self) -> VecDeque<(Position, Record)> {
        self.early_bytes = 0;
        mem::take(&mut self.early)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Topics {
    prefix: String,
    /// Which node this is, as records name it.
    node: u64,
    shared: Arc<Shared>,
    status: Arc<Status>,
    topics: HashMap<Arc<str>, Topic>,
    /// All topics, in the order in which they are looked after.
    round: VecDeque<(Arc<str>, u64)>,
    /// When the round is to be gone on with.
    round_due: Instant,
    /// Topics whose subscribers are sent away.
    ending: Vec<Arc<str>>,
    /// These subscribers, until they are taken.
    away: Vec<(Arc<str>, ConnId)>,
    waiters: HashMap<u64, Waiter>,
    latest: u64,
    lives: u64,
    /// Members of all topics that are listed, and what is to be told of them.
    listed: usize,
    news: Vec<(Box<str>, PresenceNews)>,
    /// How many lists were begun to be read, and what came of it.
    readings: u64,
    done: Vec<Done>,
}

impl Topics {
    pub fn new(
        prefix: String,
        node: u64,
        shared: Arc<Shared>,
        status: Arc<Status>,
        now: Instant,
    ) -> Self {
        Self {
            prefix,
            node,
            shared,
            status,
            topics: HashMap::new(),
            round: VecDeque::new(),
            round_due: now,
            ending: Vec::new(),
            away: Vec::new(),
            waiters: HashMap::new(),
            latest: 0,
            lives: 0,
            listed: 0,
            news: Vec::new(),
            readings: 0,
            done: Vec::new(),
        }
    }

    /// Whether a subscription to the topic may begin, after this place if there is one. A place that is not
    /// here may be one that this node has not heard of yet: only the broker can tell.
    pub fn has(&self, hub: &Hub, name: &str, after: Option<Position>, lists: Lists) -> bool {
        is_local(name)
            || self.topics.get(name).is_some_and(|topic| match topic.state {
                State::Live => {
                    topic.lives(hub, name)
                        && after.is_none_or(|it| topic.reaches(it))
                        && (!is_list(name, lists) || matches!(topic.listing, Listing::Read))
                }
                State::Opening | State::Catching | State::Ending => false,
            })
    }

    /// A publisher here is told that something was published.
    pub fn note_acknowledged(&mut self, name: &str, place: Position) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if topic.acknowledged.is_none_or(|it| it.epoch != place.epoch || it.offset < place.offset) {
            topic.acknowledged = Some(place);
        }
    }

    /// The latest place of a topic that a publisher here was told of: who asks later may ask for what is before it.
    pub fn acknowledged(&self, name: &str) -> Option<Position> {
        self.topics.get(name).and_then(|topic| topic.acknowledged)
    }

    /// Whether the hub could have all that are heard.
    pub fn is_full(&self, hub: &Hub) -> bool {
        self.topics.len() >= hub.config().topics_max
    }

    fn add(&mut self, hub: &Hub, name: &str) {
        let name: Arc<str> = name.into();
        self.lives += 1;
        let topic = Topic {
            state: State::Opening,
            life: self.lives,
            position: Position { epoch: 0, offset: 0 },
            keeps: hub
                .topic_options(&name)
                .history
                .map(|it| Keeps { publications: it.publications, bytes: it.bytes }),
            acknowledged: None,
            early: VecDeque::new(),
            early_bytes: 0,
            waiters: BTreeSet::new(),
            readers: BTreeSet::new(),
            asked_at: hub.now(),
            idle_since: None,
            suspect: None,
            count: 0,
            listing: Listing::default(),
            listed: 0,
        };
        let channel = keys::channel(&self.prefix, &name);
        self.shared.change(channel, Change::Subscribe(Arc::clone(&name)));
        self.round.push_back((Arc::clone(&name), self.lives));
        self.topics.insert(name, topic);
    }

    /// Asks where a topic is of which nothing is in the hub.
    fn open_anew(&mut self, hub: &Hub, name: &Arc<str>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        (topic.state, topic.asked_at) = (State::Opening, hub.now());
        topic.take_early();
        self.shared.ask(name, topic.latest());
        self.unlist(name);
    }

    /// Asks for what was missed.
    fn catch_up(&mut self, hub: &Hub, name: &Arc<str>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        (topic.state, topic.asked_at) = (State::Catching, hub.now());
        self.shared.ask(name, topic.missed());
    }

    /// The way to ask is open: all that was asked before is asked again.
    pub fn handle_connected(&mut self) -> Applied {
        for (name, topic) in &mut self.topics {
            match topic.state {
                State::Ending => {}
                // Should it not be heard yet, what is missed will be asked for once it is.
                State::Opening => self.shared.ask(name, topic.latest()),
                State::Live | State::Catching => {
                    topic.state = State::Catching;
                    self.shared.ask(name, topic.missed());
                }
            }
        }
        self.read_lists_anew();
        Applied::Yes
    }

    /// What is published from now on is heard: what was published before is asked for.
    pub fn handle_subscribed(&mut self, hub: &Hub, name: &Arc<str>) -> Applied {
        match self.topics.get(name).map(|topic| topic.state) {
            Some(State::Opening) => self.open_anew(hub, name),
            Some(State::Live | State::Catching) => self.catch_up(hub, name),
            Some(State::Ending) | None => {}
        }
        Applied::Yes
    }

    pub fn handle_opened(
        &mut self,
        hub: &mut Hub,
        name: Arc<str>,
        wanted: Wanted,
        place: Result<Place, String>,
        done: &mut Vec<Done>,
    ) -> Applied {
        let Some(topic) = self.topics.get_mut(&name) else { return Applied::Yes };
        let place = match (place, topic.state) {
            (Ok(place), _) => place,
            (Err(why), State::Opening) => {
                let why = format!("the broker does not tell where the topic is: {why}");
                return self.give_up(&name, &why, done);
            }
            // It is asked again when it is looked after.
            (Err(_), State::Live | State::Catching | State::Ending) => return Applied::Yes,
        };
        match (topic.state, wanted) {
            (State::Opening, Wanted::Latest(_)) => return self.begin(hub, name, place, done),
            (State::Catching, Wanted::After(after, _)) if after == topic.position.offset => {
                return self.close_hole(hub, name, place, done);
            }
            (State::Live, Wanted::Place(was)) => self.compare(hub, &name, was, place.position),
            // What was asked for before something else came.
            (State::Opening | State::Live | State::Catching | State::Ending, _) => {}
        }
        Applied::Yes
    }

    /// It is known where a topic is, and it begins here.
    fn begin(
        &mut self,
        hub: &mut Hub,
        name: Arc<str>,
        place: Place,
        done: &mut Vec<Done>,
    ) -> Applied {
        let Some(topic) = self.topics.get_mut(&name) else { return Applied::Yes };
        if topic.keeps.is_some() {
            match restore(hub, &name, &place) {
                Ok(()) => {}
                // Connections that have left it still read: it is looked after.
                Err(RestoreError::Alive) => return Applied::Yes,
                Err(why) => return self.give_up(&name, &why.to_string(), done),
            }
        }
        (topic.state, topic.position, topic.suspect) = (State::Live, place.position, None);
        topic.count = place.members;
        // No place of another epoch is reached any more.
        topic.acknowledged = topic.acknowledged.filter(|it| it.epoch == place.position.epoch);
        self.unlist(&name);
        self.be_ready(&name, done);
        self.apply_early(hub, name)
    }

    /// What was missed is published, if it is all there.
    fn close_hole(
        &mut self,
        hub: &mut Hub,
        name: Arc<str>,
        place: Place,
        done: &mut Vec<Done>,
    ) -> Applied {
        let Some(topic) = self.topics.get_mut(&name) else { return Applied::Yes };
        let Position { epoch, offset } = topic.position;
        let missed = place.position.offset.checked_sub(offset);
        let is_whole = place.position.epoch == epoch
            && missed == Some(place.kept.len() as u64)
            && place.kept.iter().zip(offset + 1..).all(|((at, _), expected)| *at == expected);
        if !is_whole {
            self.end(hub, &name);
            return Applied::Yes;
        }
        self.status.broker_recovered.fetch_add(missed.unwrap_or(0), Ordering::Relaxed);
        (topic.state, topic.suspect) = (State::Live, None);
        let kept = place.kept.into_iter();
        let missed = kept.map(|(offset, record)| (Position { epoch, offset }, record));
        let early = topic.take_early();
        topic.early = missed.chain(early).collect();
        let applied = self.apply_early(hub, Arc::clone(&name));
        // What the hub has no room for yet comes to them as what is published later.
        self.be_ready(&name, done);
        applied
    }

    /// Publishes what came before it was known where it belongs.
    fn apply_early(&mut self, hub: &mut Hub, name: Arc<str>) -> Applied {
        let Some(topic) = self.topics.get_mut(&name) else { return Applied::Yes };
        let mut early = topic.take_early();
        while let Some((position, record)) = early.pop_front() {
            let applied = self.handle_news(hub, Arc::clone(&name), position, record);
            if let Applied::Full(first) = applied {
                if let Some(topic) = self.topics.get_mut(&name) {
                    topic.early = early;
                }
                return Applied::Full(first);
            }
            let state = self.topics.get(&name).map(|topic| topic.state);
            if !matches!(state, Some(State::Live | State::Catching)) {
                // It begins anew, and is asked for later than any of these came.
                break;
            }
        }
        Applied::Yes
    }

    /// Something was published.
    pub fn handle_news(
        &mut self,
        hub: &mut Hub,
        name: Arc<str>,
        position: Position,
        record: Record,
    ) -> Applied {
        let Some(topic) = self.topics.get_mut(&name) else { return Applied::Yes };
        match topic.state {
            State::Ending => return Applied::Yes,
            State::Opening | State::Catching => {
                topic.hold(position, record);
                return Applied::Yes;
            }
            State::Live => {}
        }
        if !topic.lives(hub, &name) {
            // The hub has forgotten it: nobody subscribes.
            self.unlist(&name);
            return Applied::Yes;
        }
        let here = topic.position;
        if position.epoch != here.epoch {
            self.end(hub, &name);
            return Applied::Yes;
        }
        if position.offset <= here.offset {
            return Applied::Yes;
        }
        if position.offset > here.offset + 1 {
            count(&self.status.broker_holes);
            topic.hold(position, record);
            self.catch_up(hub, &name);
            return Applied::Yes;
        }
        let except = record.except.filter(|it| it.node == self.node);
        let except = except.map(|it| ConnId::from_bits(it.conn));
        match publish_for(hub, &name, None, except, record.message()) {
            Err(PublishError::ProcessFull | PublishError::TopicFull) => {
                return Applied::Full(Event::News { topic: name, position, record });
            }
            // It has a history, or nobody subscribes.
            Err(_) | Ok(_) => topic.position = position,
        }
        let has_early = !topic.early.is_empty();
        self.note_member(&name, &record);
        match has_early {
            true => self.apply_early(hub, name),
            false => Applied::Yes,
        }
    }

    /// The broker says where a topic is that `was` there when this was asked. It may have gone on since.
    fn compare(&mut self, hub: &mut Hub, name: &Arc<str>, was: u64, position: Position) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let here = topic.position;
        if position.epoch != here.epoch || position.offset < was {
            return self.end(hub, name);
        }
        let suspect = topic.suspect.replace(position.offset);
        if suspect.is_some_and(|suspect| suspect > here.offset) {
            // Its news should have come by now.
            count(&self.status.broker_holes);
            self.catch_up(hub, name);
        }
    }
}

impl Topic {
    /// Whether a place is one that was here, or lies before.
    fn reaches(&self, place: Position) -> bool {
        self.keeps.is_none()
            || (place.epoch == self.position.epoch && place.offset <= self.position.offset)
    }

    /// Whether the topic is in the hub, where the broker has it.
    fn lives(&self, hub: &Hub, name: &str) -> bool {
        self.keeps.is_none() || hub.position(name) == Some(self.position)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
