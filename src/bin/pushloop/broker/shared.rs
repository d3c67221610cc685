//! What the loop and the broker's two threads hand each other. The loop never waits for a thread; a thread waits
//! for the loop once much is untold, and the broker then for it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pushloop::{Handle, Position};

use super::{
    link::{Answer, Ask, Failure, Place, Portion, Publication, Wanted},
    record::Record,
    topics::Next,
};

/// What the service is notified of, when a thread has told something.
pub const EVENTS: u32 = 5;

/// Publications that wait for the broker, and their bytes: more are refused.
const WAITING_MAX: usize = 16_384;
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes of what was told and not yet taken, from which on the threads wait.
const EVENTS_BYTES_MAX: usize = 16 << 20;
/// What is asked of the broker in one go, at the most, beside the first.
const BATCH_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What the loop is told.
#[derive(Debug)]
pub enum Event {
    /// The way to ask the broker is open, and was not.
    Connected,
    /// It is not any more.
    Disconnected,
    /// The broker was asked to echo, and did.
    Echo,
    /// Nothing is heard any more.
    Deaf,
    /// What is published to the topic from now on is heard here.
    Subscribed(Arc<str>),
    Opened {
        topic: Arc<str>,
        wanted: Wanted,
        place: Result<Place, String>,
    },
    /// A portion of a companion topic's list.
    Listed {
        topic: Arc<str>,
        asked: Next,
        portion: Result<Portion, String>,
    },
    Published {
        number: u64,
        outcome: Result<Position, Failure>,
    },
    News {
        topic: Arc<str>,
        position: Position,
        record: Record,
    },
}

impl Event {
    fn cost(&self) -> usize {
        64 + match self {
            Self::Connected
            | Self::Disconnected
            | Self::Echo
            | Self::Deaf
            | Self::Subscribed(_)
            | Self::Published { .. } => 0,
            Self::News { record, .. } => record.cost(),
            Self::Opened { place, .. } => {
                let Ok(Place { kept, .. }) = place else { return 64 };
                kept.iter().map(|(_, record)| record.cost()).sum()
            }
            Self::Listed { portion, .. } => {
                let Ok(Portion { members, .. }) = portion else { return 64 };
                members.iter().map(|(id, info)| id.len() + info.len() + 64).sum()
            }
        }
    }
}

/// What was asked about members, and its answer.
pub type Leased = (Ask, Result<Answer, String>);

/// What the thread that asks does next.
#[derive(Debug, Default)]
pub struct Batch {
    pub publications: Vec<Publication>,
    pub asked: Vec<(Arc<str>, Wanted)>,
    /// One at a time: the broker serves nobody else while it carries out what comes together.
    pub portion: Option<(Arc<str>, Next)>,
    pub leases: Vec<Ask>,
    /// The other thread is to be woken, or to hear that the way is open.
    pub echoes: bool,
}

/// What the thread that listens does next.
#[derive(Clone, Debug)]
pub enum Change {
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
}

#[derive(Debug, Default)]
struct State {
    publications: VecDeque<Publication>,
    bytes: usize,
    asked: BTreeMap<Arc<str>, Wanted>,
    /// A topic asks for its next one once it has the one before.
    portions: VecDeque<(Arc<str>, Next)>,
    leases: VecDeque<Ask>,
    /// The broker is to be asked for an echo.
    echoes: bool,
    is_connected: bool,
    /// The topics that are to be heard, by their channels' names.
    wanted: HashMap<String, Arc<str>>,
    changes: Vec<Change>,
    events: VecDeque<Event>,
    event_bytes: usize,
    answers: VecDeque<Leased>,
    ends: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    /// For the thread that asks.
    work: Condvar,
    /// For threads that have something to tell.
    room: Condvar,
    /// For threads that wait before they try again.
    end: Condvar,
    handle: Handle,
}

impl Shared {
    pub fn new(handle: Handle) -> Self {
        let (state, work, room, end) = Default::default();
        Self { state, work, room, end, handle }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The loop's side.

    /// Has the broker asked for an echo, by which both ways are known to be open. It wakes the thread that
    /// listens, too.
    pub fn echo(&self) {
        self.lock().echoes = true;
        self.work.notify_one();
    }

    /// Hands over publications that belong together, all or none.
    pub fn publish(&self, publications: Vec<Publication>) -> Result<(), Failure> {
        let bytes: usize = publications.iter().map(|it| it.record.cost()).sum();
        let mut state = self.lock();
        if !state.is_connected {
            return Err(Failure::Unreachable);
        }
        let waiting = state.publications.len() + publications.len();
        if waiting > WAITING_MAX || state.bytes.saturating_add(bytes) > WAITING_BYTES_MAX {
            return Err(Failure::Refused("too many publications wait for the broker".to_owned()));
        }
        state.publications.extend(publications);
        state.bytes += bytes;
        self.work.notify_one();
        Ok(())
    }

    /// Asks about a topic. Without a connection it is not asked: [`Event::Connected`] comes first then.
    pub fn ask(&self, topic: &Arc<str>, wanted: Wanted) {
        let mut state = self.lock();
        if state.is_connected {
            state.asked.insert(Arc::clone(topic), wanted);
            self.work.notify_one();
        }
    }

    /// Asks for a portion of a companion topic's list. Without a connection it is not asked: the list is read anew then.
    pub fn read(&self, topic: &Arc<str>, next: Next) {
        let mut state = self.lock();
        if state.is_connected {
            state.portions.push_back((Arc::clone(topic), next));
            self.work.notify_one();
        }
    }

    /// Asks about members. Without a connection it is not asked. What asks waits for answers before it asks for more.
    pub fn lease(&self, asked: impl IntoIterator<Item = Ask>) {
        let mut state = self.lock();
        if state.is_connected {
            state.leases.extend(asked);
            self.work.notify_one();
        }
    }

    /// Has a topic heard from now on, or no longer.
    pub fn change(&self, channel: String, change: Change) {
        let mut state = self.lock();
        match &change {
            Change::Subscribe(topic) => {
                state.wanted.insert(channel, Arc::clone(topic));
            }
            Change::Unsubscribe(_) => {
                state.wanted.remove(&channel);
            }
        }
        state.changes.push(change);
        state.echoes = true;
        self.work.notify_one();
    }

    /// The next things that the threads have told, so many at most.
    pub fn take(&self, most: usize) -> Vec<Event> {
        let mut state = self.lock();
        let count = state.events.len().min(most);
        let taken: Vec<_> = state.events.drain(..count).collect();
        state.event_bytes -= taken.iter().map(Event::cost).sum::<usize>();
        if !state.events.is_empty() {
            let _ = self.handle.notify(EVENTS);
        }
        self.room.notify_all();
        taken
    }

    /// The answers to what was asked about members. They wait behind nothing else that is told: a lease is over in time,
    /// and what is published may wait for room.
    pub fn take_answers(&self) -> VecDeque<Leased> {
        mem::take(&mut self.lock().answers)
    }

    pub fn end(&self) {
        self.lock().ends = true;
        [&self.work, &self.room, &self.end].iter().for_each(|it| it.notify_all());
    }

    // The threads' side.

    pub fn ends(&self) -> bool {
        self.lock().ends
    }

    /// Tells the loop. Waits if much is told and not taken yet.
    pub fn tell(&self, event: Event) {
        let mut state = self.lock();
        while state.event_bytes >= EVENTS_BYTES_MAX && !state.ends {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.event_bytes += event.cost();
        state.events.push_back(event);
        if state.events.len() == 1 {
            let _ = self.handle.notify(EVENTS);
        }
    }

    /// Tells the loop an answer about members. It does not wait: what asks does, before it asks for more.
    pub fn answer(&self, leased: Leased) {
        let mut state = self.lock();
        state.answers.push_back(leased);
        if state.answers.len() == 1 {
            let _ = self.handle.notify(EVENTS);
        }
    }

    /// The way to ask is open, or is not any more. What waits then is not published.
    pub fn set_connected(&self, is_connected: bool) {
        let mut state = self.lock();
        state.is_connected = is_connected;
        state.echoes = is_connected;
        let left = mem::take(&mut state.publications);
        (state.bytes, state.asked) = (0, BTreeMap::new());
        state.portions.clear();
        state.leases.clear();
        drop(state);
        for it in left {
            let outcome = Err(Failure::Unreachable);
            self.tell(Event::Published { number: it.number, outcome });
        }
        self.tell(if is_connected { Event::Connected } else { Event::Disconnected });
    }

    /// What to ask next; waits for it. `None` at the end.
    pub fn next_batch(&self) -> Option<Batch> {
        let mut state = self.lock();
        while !state.ends {
            if state.has_work() {
                return Some(state.batch());
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Waits, unless it ends.
    pub fn pause(&self, time: Duration) {
        let state = self.lock();
        let waited = self.end.wait_timeout_while(state, time, |state| !state.ends);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The listener has a connection: all topics that are wanted, which it subscribes to anew.
    pub fn begin_listening(&self) -> Vec<(String, Arc<str>)> {
        let mut state = self.lock();
        state.changes.clear();
        state.wanted.iter().map(|(channel, topic)| (channel.clone(), Arc::clone(topic))).collect()
    }

    /// An echo was heard: what is to be subscribed to, and no longer.
    pub fn take_changes(&self) -> Vec<Change> {
        mem::take(&mut self.lock().changes)
    }

    /// The topic of a channel, if it is wanted.
    pub fn topic_of(&self, channel: &str) -> Option<Arc<str>> {
        self.lock().wanted.get(channel).cloned()
    }
}

impl State {
    fn has_work(&self) -> bool {
        self.echoes
            || !self.publications.is_empty()
            || !self.asked.is_empty()
            || !self.portions.is_empty()
            || !self.leases.is_empty()
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch { echoes: mem::take(&mut self.echoes), ..Batch::default() };
        let mut bytes = 0;
        while batch.publications.len() < BATCH_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(first) = self.publications.pop_front()
        {
            bytes += first.record.cost();
            batch.publications.push(first);
        }
        self.bytes -= bytes;
        while batch.asked.len() < BATCH_MAX
            && let Some(first) = self.asked.pop_first()
        {
            batch.asked.push(first);
        }
        batch.portion = self.portions.pop_front();
        let leases = self.leases.len().min(BATCH_MAX);
        batch.leases.extend(self.leases.drain(..leases));
        batch
    }
}

#[cfg(test)]
mod tests {
    use pushloop::{Config, Server};

    use super::*;

    #[test]
    fn an_answer_about_members_waits_behind_nothing_that_is_told() {
        let server = Server::new(Config::default()).expect("there are descriptors");
        let shared = Shared::new(server.handle());
        let full = EVENTS_BYTES_MAX / Event::Echo.cost();
        (0..full).for_each(|_| shared.tell(Event::Echo));
        let ask = Ask::Renew { node: 1, is_new: true, before: None, over: None };
        shared.answer((ask.clone(), Ok(Answer::Done(Vec::new()))));
        assert_eq!(shared.take_answers(), [(ask, Ok(Answer::Done(Vec::new())))]);
        assert_eq!((shared.take_answers().len(), shared.take(usize::MAX).len()), (0, full));
    }
}
