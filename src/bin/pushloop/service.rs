//! The notification service: a URL is a topic.

mod asking;
mod backends;
mod brokering;
mod centrifuging;
mod errands;
mod figures;
mod hearing;
mod listing;
mod messages;
mod operating;
mod orders;
mod pacing;
mod parking;
mod publishing;
mod pushing;
mod readiness;
mod relaying;
mod sessions;
mod subscribing;
mod telling;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use pushloop::{
    CloseCode, ConfigureError, ConnId, ConnMap, Handle, Handler, Hub, Message, Presence, Reason,
    Request, RequestId, Response,
};

use self::{asking::Door, brokering::Brokering, centrifuging::Centrifuge, relaying::Relaying};
pub use self::{backends::Hooks, pacing::Subjects, relaying::Ways};
use crate::{
    ahead::Ahead,
    auth::Denied,
    broker::{self, Broker},
    drain::ENDS_SOON,
    errands::{ERRANDS, Errands},
    expiries::{self, Expiries},
    gate::{Gate, Keys, TurnedAway},
    hooks::ANSWERED,
    key_sets::FETCHED,
    metrics,
    operator::{self, Operator},
    options::Options,
    patterns::Patterns,
    presence,
    relay::{OPENED, RELAYED},
    reload::{self, PREPARED, Slot},
    requests::{is_health, wants_events},
    status::Status,
    timers::Timer,
    topics,
    writer::WRITTEN,
};

use pacing::{Account, Pacing};
use sessions::Sessions;

/// The live page, and what it has for an operator: no outside resource.
const PAGE: &str = concat!(include_str!("page.html"), include_str!("operator.html"));
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     img-src data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where the server's own figures are published, once a second while someone listens. Topics that
/// begin with `$` are the server's.
const STATS: &str = "$stats";
const STATS_INTERVAL: Duration = Duration::from_secs(1);
const STATS_TIMER: u64 = Timer::Stats as u64;

/// When what is written finds no room in the hub.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
const RETRY_TIMER: u64 = Timer::Retry as u64;
/// How often it is looked for what is too old for the file.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
const SWEEP_TIMER: u64 = Timer::Sweep as u64;

/// In how many seconds one that asked for too much may ask again.
const RETRY_AFTER: &str = "1";

/// What a topic's address takes, and the page's.
const ALLOW: &str = "GET, HEAD, OPTIONS, POST";

/// What decides the order of publications, and keeps them.
#[derive(Default)]
pub enum Engine {
    /// This process, for as long as it lives.
    #[default]
    Memory,
    /// This process and a file.
    File(Ahead),
    Broker(Box<Broker>),
}

pub struct Service {
    started: Instant,
    /// Who may do what.
    gate: Gate,
    /// When connections end that came with a token.
    expiries: Expiries,
    pacing: Pacing,
    sessions: Sessions,
    operator: Operator,
    topics: ConnMap<Target>,
    /// Of connections that are over, those of which messages wait for the backend.
    leaving: HashMap<ConnId, Target>,
    patterns: Patterns,
    /// Who subscribes, if that is to be known of some topics.
    presence: Option<Presence>,
    stats_timer_set: bool,
    status: Arc<Status>,
    one_topic: bool,
    /// The subprotocols that it answers.
    subprotocols: Vec<String>,
    /// How long browsers wait before they come back to an event stream.
    retry: Duration,
    /// The backends.
    hooks: Hooks,
    /// What is written before it is published, if there is a file.
    ahead: Option<Ahead>,
    /// What decides the order in place of this server, if there is a broker.
    broker: Option<Brokering>,
    /// All loops of the process, if there are several.
    loops: Option<Handle>,
    /// The other loops, if each is a node of its own.
    errands: Option<Errands>,
    turns: errands::Turns,
    /// The other loops, if topics belong to them.
    relaying: Option<Relaying>,
    /// The applications of Pusher, if there are some.
    pushing: Option<pushing::Pushing>,
    /// What was read anew, on SIGHUP.
    reload: Slot,
    centrifuge: Centrifuge,
}

/// What a WebSocket publishes to: the first topic of its URL, if it may.
struct Target {
    topic: Box<str>,
    verdict: Result<(), Denied>,
    /// Where it is counted what is published.
    accounts: Vec<Account>,
    /// If a backend is asked about them.
    messages: Option<Box<messages::Messages>>,
}

impl Service {
    pub fn new(
        now: Instant,
        status: Arc<Status>,
        options: &Options,
        gate: Gate,
        hooks: Hooks,
        engine: Engine,
        reload: Slot,
    ) -> Self {
        let (ahead, broker) = match engine {
            Engine::Memory => (None, None),
            Engine::File(ahead) => (Some(ahead), None),
            Engine::Broker(broker) => (None, Some(Brokering::new(*broker))),
        };
        Self {
            started: now,
            gate,
            expiries: Expiries::new(Timer::Expiry as u64),
            pacing: Pacing::new(options, Arc::clone(&status)),
            sessions: Sessions::new(options),
            operator: Operator::default(),
            topics: ConnMap::new(),
            leaving: HashMap::new(),
            patterns: options.patterns.clone(),
            presence: presence::of(options),
            stats_timer_set: false,
            status,
            one_topic: options.one_topic,
            subprotocols: options.subprotocols.clone(),
            retry: options.retry,
            hooks,
            ahead,
            broker,
            loops: None,
            errands: None,
            turns: errands::Turns::default(),
            relaying: None,
            pushing: None,
            reload,
            centrifuge: Centrifuge::default(),
        }
    }

    /// Goes by these keys from now on.
    pub fn set_keys(&mut self, hub: &mut Hub, keys: Keys) {
        self.sessions.are_seen |= keys.are_given();
        self.gate.set_keys(keys);
        for id in self.pacing.connections_of(|subject| self.gate.is_revoked(subject)) {
            hub.close(id, expiries::code(), "the token is revoked");
        }
    }

    /// Has topics that begin from now on be as these options say.
    pub fn set_patterns(&mut self, hub: &mut Hub, options: &Options) -> Result<(), ConfigureError> {
        options.patterns.configure(hub)?;
        self.patterns = options.patterns.clone();
        if self.presence.is_none() {
            self.presence = presence::of(options);
        }
        Ok(())
    }

    /// Whether the request came when there was no place left but for health checks, and is none: it is
    /// refused.
    fn turns_away(&self, hub: &mut Hub, id: RequestId, request: &Request) -> bool {
        if is_health(request) || !hub.is_in_reserve(id.conn()) {
            return false;
        }
        self.status.requests_turned_away.fetch_add(1, Ordering::Relaxed);
        self.tell(hub, id, 503, "the server is full: it has no descriptor for another connection");
        true
    }

    /// Answers a GET of a topic, or another request that does nothing to it.
    fn describe(&self, hub: &mut Hub, id: RequestId, request: &Request) {
        if let Err((status, why)) = topics::of(request, hub.config(), self.one_topic) {
            return self.tell(hub, id, status, &why);
        }
        match request.method() {
            "GET" | "HEAD" => {
                let text = format!(
                    "This is a topic. Subscribe: new WebSocket(\"ws://{host}{path}\")\n\
                     Publish: curl -d 'Goal!' http://{host}{path}\nSee it: http://{host}/\n",
                    host = request.host(),
                    path = request.path(),
                );
                let version = ("Sec-WebSocket-Version", "13");
                let fields = [("Upgrade", "websocket"), version];
                self.answer(hub, id, Response::text(426, text), &fields);
            }
            "OPTIONS" => self.answer(hub, id, Response::new(200), &[("Allow", ALLOW)]),
            _ => self.not_allowed(hub, id),
        }
    }

    fn not_allowed(&self, hub: &mut Hub, id: RequestId) {
        self.sessions.refuse(405, "");
        let response = Response::text(405, format!("this address takes {ALLOW}"));
        self.answer(hub, id, response, &[("Allow", ALLOW)]);
    }

    fn tell(&self, hub: &mut Hub, id: RequestId, status: u16, what: &str) {
        if status >= 400 {
            self.sessions.refuse(status, sessions::cause(what));
        }
        self.answer(hub, id, Response::text(status, what), &[]);
    }

    /// Tells why a request is refused.
    fn turn_away(&self, hub: &mut Hub, id: RequestId, away: &TurnedAway) {
        self.sessions.refuse(away.status, sessions::cause(&away.why));
        let mut response = Response::text(away.status, away.why.as_ref());
        if away.is_last {
            response = response.close();
        }
        let field = away.field.as_ref().map(|(name, value)| (*name, value.as_ref()));
        self.answer(hub, id, response, field.as_slice());
    }

    fn answer(
        &self,
        hub: &mut Hub,
        id: RequestId,
        mut response: Response,
        fields: &[(&str, &str)],
    ) {
        for (name, value) in fields.iter().chain(&[("X-Content-Type-Options", "nosniff")]) {
            response = response.header(name, value);
        }
        // A balancer keeps no connection to a server that is about to end, nor takes the last place.
        if hub.is_in_reserve(id.conn()) {
            response = response.close();
        }
        // The peer may be gone by now, which needs no answer.
        let _ = hub.respond(id, response);
    }
}

impl Handler for Service {
    /// What may not be published is refused before it is uploaded.
    fn on_head(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        self.sessions.look_at(request);
        if self.turns_away(hub, id, request) {
            return;
        }
        let away = match request.method() {
            _ if self.is_for_apps(request) => self.app_refusal(hub, request),
            _ if self.is_for_centrifuge(request) => self.centrifuge_refusal(hub, request),
            "POST" => self.asked(hub, request).err(),
            _ => None,
        };
        if let Some(away) = away {
            self.turn_away(hub, id, &away);
        }
    }

    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        self.sessions.look_at(request);
        if self.turns_away(hub, id, request) || self.handle_centrifuge(hub, id, request) {
            return;
        }
        if self.is_for_apps(request) {
            return self.serve_app(hub, id, request);
        }
        if request.is_websocket() {
            return self.subscribe(hub, id, request);
        }
        if presence::is_asked_for(request) && !wants_events(request) {
            return self.tell_presence(hub, id, request);
        }
        match (request.method(), request.path()) {
            ("GET" | "HEAD", "/") if !wants_events(request) => {
                let page = Response::new(200).body(PAGE);
                let html = ("Content-Type", "text/html; charset=utf-8");
                let fields = [html, ("Content-Security-Policy", PAGE_POLICY)];
                self.answer(hub, id, page, &fields);
            }
            ("GET" | "HEAD", "/healthz") => self.tell(hub, id, 200, "the loop turns"),
            ("GET" | "HEAD", "/readyz") => {
                let (status, what) = self.readiness(hub);
                self.tell(hub, id, status, what);
            }
            ("GET" | "HEAD", metrics::PATH) if !wants_events(request) => {
                self.tell_own(hub, (id, request), STATS, Door::Metrics);
            }
            ("GET" | "HEAD", operator::PATH) if !wants_events(request) => {
                self.tell_operator(hub, id, request);
            }
            ("GET" | "HEAD", "/$client") => {
                let client = request.client().map(|client| client.to_string());
                self.tell(hub, id, 200, &(client.unwrap_or("no address".to_owned()) + "\n"));
            }
            ("POST", _) => self.publish(hub, id, request),
            // HAProxy's `option httpchk` asks so, in HTTP/1.0.
            ("OPTIONS", "/" | "*") => {
                self.answer(hub, id, Response::new(200), &[("Allow", ALLOW)]);
            }
            ("GET" | "HEAD", _) if wants_events(request) => self.subscribe(hub, id, request),
            (_, "/") => self.not_allowed(hub, id),
            _ => self.describe(hub, id, request),
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        self.sessions.receive(id);
        if self.takes_said(hub, id, message) || self.take_frame(hub, id, message.as_bytes()) {
            return;
        }
        let Some(Target { topic, verdict, accounts, messages }) = self.topics.get(id) else {
            return;
        };
        if let Err(denied) = verdict {
            let away = self.gate.turn_away(*denied);
            return hub.close(id, CloseCode::POLICY, &away.why);
        }
        if let Err(away) = self.pacing.take(accounts, message, hub.now()) {
            return hub.close(id, CloseCode::TRY_AGAIN_LATER, &away.why);
        }
        self.operator.note(hub, topic, pacing::length(message));
        if messages.is_some() {
            return self.take_message(hub, id, message);
        }
        publishing::publish_message(&mut self.ahead, &mut self.broker, hub, topic, message);
        self.note_file();
    }

    fn on_request_gone(&mut self, hub: &mut Hub, id: RequestId) {
        self.forget_handshake(hub, id);
    }

    fn on_refused(&mut self, _: &mut Hub, peer: Option<SocketAddr>, status: u16, why: &str) {
        sessions::tell_refused(peer.map(|peer| peer.ip()), None, status, sessions::cause(why));
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, reason: Reason<'_>) {
        self.sessions.end(hub, id, reason);
        self.end_centrifuge(hub, id);
        self.forget_commands(hub, id);
        if let Some(telling) = &mut self.hooks.telling {
            telling.end(hub, id);
        }
        self.leave(id);
        self.expiries.remove(id);
        self.pacing.leave(id);
        if let Some(presence) = &mut self.presence {
            presence.handle_close(hub, id);
        }
        self.leave_app(hub, id);
    }

    fn on_notify(&mut self, hub: &mut Hub, key: u32) {
        match key {
            ENDS_SOON => {
                self.status.ending.store(1, Ordering::Relaxed);
                hub.end_keep_alive();
            }
            WRITTEN => self.publish_written(hub),
            ANSWERED => self.take_answers(hub),
            broker::EVENTS => self.take_broker_events(hub),
            RELAYED => self.take_relayed(hub),
            OPENED => self.take_opened(hub),
            ERRANDS => self.take_errands(hub),
            FETCHED => self.gate.take_fetched(),
            PREPARED => reload::take(&Arc::clone(&self.reload), hub, self),
            _ => {}
        }
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        if self.handle_presence_timer(hub, key)
            || self.expiries.handle_timer(hub, key)
            || self.handle_question_timer(hub, key)
            || self.handle_broker_timer(hub, key)
            || self.handle_open_timer(hub, key)
            || self.handle_centrifuge_timer(hub, key)
            || self.handle_vacated_timer(hub, key)
        {
            return;
        }
        if key == RETRY_TIMER {
            return self.publish_written(hub);
        }
        if key == SWEEP_TIMER {
            return self.sweep(hub);
        }
        self.handle_stats_timer(hub);
    }
}
