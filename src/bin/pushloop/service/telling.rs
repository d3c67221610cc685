//! What a backend is told of connections and of topics.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pushloop::{ConnId, ConnMap, Hub, Request};
use serde_json::{Map, Value};

use crate::{
    auth::Principal,
    gate::since_1970,
    hooks::{HookOptions, Kind, Teller},
};

/// Who subscribes to what, as far as the backend is told of it.
///
/// Subscribers are counted here and not asked of the hub: when several end in one turn, it has left all of them
/// out by the time that it tells of the first.
pub(super) struct Telling {
    options: HookOptions,
    sessions: ConnMap<Session>,
    shared: Arc<Shared>,
}

/// What all loops have together: a topic has its first subscriber once, whichever loop has it.
struct Shared {
    teller: Teller,
    subscribers: Mutex<Subscribers>,
}

/// How many subscribe to each topic.
type Subscribers = HashMap<Arc<str>, usize>;

struct Session {
    names: Box<[Arc<str>]>,
    subject: Option<Box<str>>,
}

impl Telling {
    pub fn new(options: &HookOptions, teller: Teller) -> Self {
        let shared = Shared { teller, subscribers: Mutex::default() };
        Self { options: options.clone(), sessions: ConnMap::new(), shared: Arc::new(shared) }
    }

    /// That of another loop.
    pub fn twin(&self) -> Self {
        let (options, shared) = (self.options.clone(), Arc::clone(&self.shared));
        Self { options, sessions: ConnMap::new(), shared }
    }

    /// What is to be told still, if no other loop tells.
    pub fn into_teller(self) -> Option<Teller> {
        Arc::into_inner(self.shared).map(|it| it.teller)
    }

    /// A connection has begun that reads these topics.
    pub fn begin(
        &mut self,
        hub: &Hub,
        (id, request): (ConnId, &Request),
        names: &[String],
        who: &Principal,
    ) {
        let names = {
            let subscribers = self.shared.subscribers();
            names.iter().map(|name| known(&subscribers, name)).collect()
        };
        let session = Session { names, subject: who.subject().map(Box::from) };
        if self.options.has(Kind::Connect) {
            let mut event = of_session(hub, Kind::Connect, id, &session);
            let client = request.client().map(|client| client.to_string());
            event.insert("client".to_owned(), client.into());
            self.shared.teller.tell(event);
        }
        session.names.iter().for_each(|name| self.occupy(hub, name));
        self.sessions.insert(id, session);
    }

    /// A connection is over.
    pub fn end(&mut self, hub: &Hub, id: ConnId) {
        let Some(session) = self.sessions.remove(id) else { return };
        if self.options.has(Kind::Disconnect) {
            self.shared.teller.tell(of_session(hub, Kind::Disconnect, id, &session));
        }
        session.names.iter().for_each(|name| self.vacate(hub, name));
    }

    /// A connection subscribes to a topic.
    pub fn occupy(&mut self, hub: &Hub, name: &str) {
        let mut subscribers = self.shared.subscribers();
        let name = known(&subscribers, name);
        let count = subscribers.entry(Arc::clone(&name)).or_default();
        *count += 1;
        // With the lock: what another loop tells of the topic comes before, or after.
        if *count == 1 && self.options.has(Kind::Occupied) {
            self.shared.teller.tell(of_topic(hub, Kind::Occupied, &name));
        }
    }

    /// A connection subscribes to it no longer.
    pub fn vacate(&mut self, hub: &Hub, name: &str) {
        let mut subscribers = self.shared.subscribers();
        let Some(count) = subscribers.get_mut(name) else { return };
        *count -= 1;
        if *count == 0 {
            subscribers.remove(name);
            if self.options.has(Kind::Vacated) {
                self.shared.teller.tell(of_topic(hub, Kind::Vacated, name));
            }
        }
    }
}

impl Shared {
    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name, which is kept once for all that have it.
fn known(subscribers: &Subscribers, name: &str) -> Arc<str> {
    match subscribers.get_key_value(name) {
        Some((name, _)) => Arc::clone(name),
        None => name.into(),
    }
}

fn event(hub: &Hub, kind: Kind) -> Map<String, Value> {
    let milliseconds = since_1970(hub).unwrap_or_default().as_millis() as u64;
    let mut event = Map::new();
    event.insert("type".to_owned(), kind.name().into());
    event.insert("time".to_owned(), milliseconds.into());
    event
}

fn of_session(hub: &Hub, kind: Kind, id: ConnId, session: &Session) -> Map<String, Value> {
    let mut event = event(hub, kind);
    let names: Vec<_> = session.names.iter().map(|name| Value::from(&**name)).collect();
    // As text: JavaScript has no whole numbers of 64 bits.
    event.insert("id".to_owned(), id.to_bits().to_string().into());
    event.insert("topics".to_owned(), names.into());
    if let Some(subject) = &session.subject {
        event.insert("sub".to_owned(), (&**subject).into());
    }
    event
}

fn of_topic(hub: &Hub, kind: Kind, name: &str) -> Map<String, Value> {
    let mut event = event(hub, kind);
    event.insert("topic".to_owned(), name.into());
    event
}
