//! What is known of each WebSocket and event stream until it is over, and what is told of it then.

use std::{net::IpAddr, time::Instant};

use pushloop::{ConnId, ConnMap, Hub, Reason, Request};

use crate::{
    hooks::Kind as HookKind,
    logs::{Kind, Level, Value, tell},
    options::Options,
};

/// See the module. Nothing is kept where nothing is told.
pub(super) struct Sessions {
    level: Level,
    /// Where an operator may look, the subject of each connection is known.
    pub are_seen: bool,
    open: ConnMap<Session>,
    /// Who has sent the request that is looked at.
    asking: Option<Asking>,
}

struct Session {
    client: Option<IpAddr>,
    path: Box<str>,
    since: Instant,
    /// Messages that came.
    received: u64,
    is_websocket: bool,
}

/// Where a request comes from, and what it asks for. The query may have a token.
struct Asking {
    client: Option<IpAddr>,
    path: Box<str>,
}

impl Sessions {
    pub fn new(options: &Options) -> Self {
        let are_seen = options.tokens.are_given() || options.hooks.has(HookKind::Subscribe);
        Self { level: options.logs.level, are_seen, open: ConnMap::new(), asking: None }
    }

    /// Whose the connection is, if that is known.
    pub fn client(&self, id: ConnId) -> Option<IpAddr> {
        self.open.get(id)?.client
    }

    /// A request is looked at.
    pub fn look_at(&mut self, request: &Request) {
        if self.level >= Level::Info {
            self.asking = Some(Asking { client: request.client(), path: request.path().into() });
        }
    }

    /// What is answered now was asked for long ago.
    pub fn look_away(&mut self) {
        self.asking = None;
    }

    /// A request was refused, with this sentence or without.
    pub fn refuse(&self, status: u16, why: &str) {
        match &self.asking {
            Some(Asking { client, path }) => tell_refused(*client, Some(path), status, why),
            None => tell_refused(None, None, status, why),
        }
    }

    pub fn begin(&mut self, hub: &Hub, id: ConnId, request: &Request) {
        let is_told = self.level >= Level::Info;
        if !is_told && !self.are_seen {
            return;
        }
        let session = Session {
            client: request.client(),
            path: if is_told { request.path().into() } else { Box::default() },
            since: hub.now(),
            received: 0,
            is_websocket: request.is_websocket(),
        };
        let Session { client, path, .. } = &session;
        let fields = [("client", Value::Address(*client)), ("path", Value::Text(path))];
        tell(Level::Debug, Kind::Opened, &fields);
        self.open.insert(id, session);
    }

    /// A message came.
    pub fn receive(&mut self, id: ConnId) {
        if let Some(session) = self.open.get_mut(id) {
            session.received += 1;
        }
    }

    pub fn end(&mut self, hub: &Hub, id: ConnId, reason: Reason<'_>) {
        let Some(session) = self.open.remove(id) else { return };
        let milliseconds = (hub.now() - session.since).as_millis() as u64;
        let mut fields = vec![
            ("client", Value::Address(session.client)),
            ("path", Value::Text(&session.path)),
            ("ms", Value::Number(milliseconds)),
            ("in", Value::Number(session.received)),
            ("out", Value::Number(hub.delivered(id))),
        ];
        // An event stream ends without one.
        if session.is_websocket {
            fields.push(("code", Value::Number(reason.code().into())));
        }
        fields.push(("cause", Value::Word(reason.name())));
        let broken =
            if let Reason::Protocol(error) = reason { error.to_string() } else { String::new() };
        if !broken.is_empty() {
            fields.push(("why", Value::Sentence(&broken)));
        }
        tell(Level::Info, Kind::Closed, &fields);
    }
}

/// A request was refused.
pub(super) fn tell_refused(client: Option<IpAddr>, path: Option<&str>, status: u16, why: &str) {
    let path = path.map(|path| ("path", Value::Text(path)));
    let why = (!why.is_empty()).then_some(("why", Value::Text(why)));
    let client = [("client", Value::Address(client))];
    let status = [("status", Value::Number(status.into()))];
    let fields: Vec<_> = client.into_iter().chain(path).chain(status).chain(why).collect();
    tell(Level::Info, Kind::Refused, &fields);
}

/// What a log may have of a refusal's sentence: behind a colon may stand what came in the query.
pub(super) fn cause(why: &str) -> &str {
    why.split_once(": ").map_or(why, |(cause, _)| cause)
}
