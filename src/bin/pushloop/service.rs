//! The notification service: a URL is a topic.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use pushloop::{
    CloseCode, ConfigureError, ConnId, ConnMap, Handler, Hub, Message, Presence, Reason, Request,
    RequestId, Response,
};

use crate::{
    ahead::{Ahead, Next},
    drain::ENDS_SOON,
    metrics,
    options::Options,
    patterns::Patterns,
    presence, publish,
    reload::{self, PREPARED, Slot},
    requests::{is_health, wants_events},
    status::Status,
    subscribe,
    topics::{self, Refusal},
    writer::WRITTEN,
};

/// The live page: one file, with no outside resource.
const PAGE: &str = include_str!("page.html");
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     img-src data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where the server's own figures are published, once a second while someone listens. Topics that
/// begin with `$` are the server's.
const STATS: &str = "$stats";
const STATS_INTERVAL: Duration = Duration::from_secs(1);
const STATS_TIMER: u64 = 0;

/// When what is written finds no room in the hub.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
const RETRY_TIMER: u64 = 3;
/// How often it is looked for what is too old for the file.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
const SWEEP_TIMER: u64 = 2;

/// In how many seconds one that asked for too much may ask again.
const RETRY_AFTER: &str = "1";

/// What a topic's address takes, and the page's.
const ALLOW: &str = "GET, HEAD, OPTIONS, POST";

pub struct Service {
    started: Instant,
    /// The topic that each WebSocket publishes to: the first of its URL.
    topics: ConnMap<Box<str>>,
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
    /// What is written before it is published, if there is a file.
    ahead: Option<Ahead>,
    /// What was read anew, on SIGHUP.
    reload: Slot,
}

impl Service {
    pub fn new(
        now: Instant,
        status: Arc<Status>,
        options: &Options,
        ahead: Option<Ahead>,
        reload: Slot,
    ) -> Self {
        Self {
            started: now,
            topics: ConnMap::new(),
            patterns: options.patterns.clone(),
            presence: presence::of(options),
            stats_timer_set: false,
            status,
            one_topic: options.one_topic,
            subprotocols: options.subprotocols.clone(),
            retry: options.retry,
            ahead,
            reload,
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

    /// Subscribes, as a WebSocket or as an event stream.
    fn subscribe(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let names = topics::of(request, hub.config(), self.one_topic).map(|mut names| {
            if !request.is_websocket() {
                // The ids of an event stream have their places in this order.
                names.sort_unstable();
            }
            names
        });
        let asked = names.and_then(|names| Ok((subscribe::start(request, names.len())?, names)));
        let (start, names) = match asked {
            Ok(asked) => asked,
            Err((status, why)) => return self.tell(hub, id, status, &why),
        };
        // One behind a proxy is known only now.
        if let Some(client) = request.client()
            && let Err(full) = hub.admit_client(id.conn(), client)
        {
            let response = Response::text(429, full.to_string());
            return self.answer(hub, id, response, &[("Retry-After", RETRY_AFTER)]);
        }
        let presence = self.presence.as_ref();
        let claim = presence
            .map(|it| presence::claim(it, &self.patterns, hub, request, &names))
            .transpose();
        let claim = match claim {
            Ok(claim) => claim.flatten(),
            Err((status, why)) => return self.tell(hub, id, status, &why),
        };
        let is_open = if request.is_websocket() {
            let known = |offer: &&str| self.subprotocols.iter().any(|known| known == offer);
            let subprotocol = request.subprotocols().find(known);
            let envelopes = match request.query_value("envelope").as_deref() {
                None => false,
                Some("json") => true,
                Some(_) => return self.tell(hub, id, 400, "the envelope that there is is json"),
            };
            subscribe::connect(hub, id, subprotocol, &names, &start, envelopes)
        } else {
            subscribe::stream(hub, id, request, &names, &start, self.retry)
        };
        if !is_open {
            return;
        }
        if let (Some(presence), Some(claim)) = (&mut self.presence, claim)
            && let Err(full) =
                presence::join(presence, &self.patterns, hub, id.conn(), &names, &claim)
        {
            hub.close(id.conn(), CloseCode::TRY_AGAIN_LATER, &full.to_string());
        }
        if names.iter().any(|name| name == STATS) && !self.stats_timer_set {
            self.stats_timer_set = true;
            hub.set_timer(hub.now(), STATS_TIMER);
        }
        if let Some(first) = names.into_iter().next().filter(|_| request.is_websocket()) {
            self.topics.insert(id.conn(), first.into());
        }
    }

    fn publish(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let answer = match &mut self.ahead {
            None => publish_now(hub, request, self.one_topic).map(Some),
            Some(ahead) => publish_ahead(hub, ahead, id, request, self.one_topic),
        };
        self.note_file();
        self.tell_published(hub, id, answer);
    }

    /// Tells a publisher what became of its request, if that is known.
    fn tell_published(
        &self,
        hub: &mut Hub,
        id: RequestId,
        answer: Result<Option<publish::Answer>, Refusal>,
    ) {
        match answer {
            Ok(None) => {}
            Ok(Some((202, content_type, body))) => {
                let response = Response::new(202).body(body);
                let applied = ("Preference-Applied", "respond-async");
                self.answer(hub, id, response, &[("Content-Type", content_type), applied]);
            }
            Ok(Some((status, content_type, body))) => {
                let response = Response::new(status).body(body);
                self.answer(hub, id, response, &[("Content-Type", content_type)]);
            }
            Err((status, why)) => self.tell(hub, id, status, &why),
        }
    }

    /// Has the file forget what is too old, now and from time to time.
    pub fn sweep(&self, hub: &mut Hub) {
        if let Some(ahead) = &self.ahead {
            ahead.sweep(hub);
            hub.set_timer(hub.now() + SWEEP_INTERVAL, SWEEP_TIMER);
        }
    }

    /// Publishes what is in the file by now.
    fn publish_written(&mut self, hub: &mut Hub) {
        while let Some(ahead) = &mut self.ahead {
            match ahead.next(hub) {
                Next::Published(Some(asker), outcomes) => {
                    let answer = asker.form.answer(hub, &asker.told, outcomes);
                    self.tell_published(hub, asker.id, answer.map(Some));
                }
                Next::Published(None, _) => {}
                Next::Full => {
                    hub.set_timer(hub.now() + RETRY_INTERVAL, RETRY_TIMER);
                    return;
                }
                Next::Waits => break,
            }
        }
        self.note_file();
        if self.ahead.as_ref().is_some_and(Ahead::is_over) {
            self.ahead = None;
            self.status.history_file_failed.store(1, Ordering::Relaxed);
        }
    }

    /// Has the other threads know how it is with the file.
    fn note_file(&self) {
        if let Some(ahead) = &self.ahead {
            self.status.history_file_waiting.store(ahead.waiting() as u64, Ordering::Relaxed);
            self.status.history_file_refused.store(ahead.refused, Ordering::Relaxed);
        }
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

    fn tell_presence(&self, hub: &mut Hub, id: RequestId, request: &Request) {
        let list = match &self.presence {
            Some(presence) => {
                presence::list(presence, &self.patterns, hub, request, self.one_topic)
            }
            None => Err((404, presence::UNKNOWN.into())),
        };
        match list {
            Ok(list) => {
                let json = ("Content-Type", "application/json");
                let fields = [json, ("Cache-Control", "no-store")];
                self.answer(hub, id, Response::new(200).body(list), &fields);
            }
            Err((status, why)) => self.tell(hub, id, status, &why),
        }
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
        let response = Response::text(405, format!("this address takes {ALLOW}"));
        self.answer(hub, id, response, &[("Allow", ALLOW)]);
    }

    fn tell(&self, hub: &mut Hub, id: RequestId, status: u16, what: &str) {
        self.answer(hub, id, Response::text(status, what), &[]);
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

    /// How the file is, if there is one.
    fn file_stats(&self) -> String {
        let [failed, waiting, refused] = [
            &self.status.history_file_failed,
            &self.status.history_file_waiting,
            &self.status.history_file_refused,
        ]
        .map(|number| number.load(Ordering::Relaxed));
        if self.ahead.is_none() && failed == 0 {
            return String::new();
        }
        format!(
            ",\"history_file_failed\":{failed},\"history_waiting\":{waiting},\"history_refused\":{refused}"
        )
    }

    fn publish_stats(&self, hub: &mut Hub) {
        let counters = hub.counters();
        let stats = format!(
            "{{\"connections\":{},\"deliveries\":{},\"publications\":{},\"dropped\":{},\
             \"topics\":{},\"queued_bytes\":{},\"connections_refused\":{},\"accepts_failed\":{},\
             \"handshakes_refused\":{},\"handler_panics\":{},\"slow_turns\":{},\"uptime_ms\":{}{}}}",
            self.topics.len(),
            counters.deliveries,
            counters.publications,
            counters.messages_dropped_full
                + counters.messages_conflated
                + counters.messages_skipped
                + counters.messages_lost,
            hub.topic_count(),
            hub.queued_bytes_total(),
            self.status.refused(&counters),
            counters.accepts_failed,
            counters.handshakes_refused,
            counters.handler_panics,
            self.status.slow_turns.load(Ordering::Relaxed),
            (hub.now() - self.started).as_millis(),
            self.file_stats(),
        );
        // A refusal is counted, and the next second tries again.
        let _ = hub.publish(STATS, &stats);
    }
}

impl Handler for Service {
    /// What may not be published is refused before it is uploaded.
    fn on_head(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if !self.turns_away(hub, id, request)
            && request.method() == "POST"
            && let Err((status, why)) = publish::asked(hub, request, self.one_topic)
        {
            self.tell(hub, id, status, &why);
        }
    }

    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if self.turns_away(hub, id, request) {
            return;
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
            ("GET" | "HEAD", "/readyz") if self.status.ending.load(Ordering::Relaxed) != 0 => {
                self.tell(hub, id, 503, "the server is about to end");
            }
            ("GET" | "HEAD", "/readyz") => self.tell(hub, id, 200, "ready"),
            ("GET" | "HEAD", metrics::PATH) if !wants_events(request) => {
                self.answer(hub, id, metrics::answer(&hub.counters(), &self.status), &[]);
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
        let Some(topic) = self.topics.get(id) else { return };
        if topic.starts_with('$') {
            return hub.close(id, CloseCode::POLICY, "topics that begin with $ are read-only");
        }
        // A refusal is counted; the sender sees that its own message does not come back.
        match &mut self.ahead {
            Some(ahead) => drop(ahead.take_message(hub, topic, message)),
            None => drop(hub.publish(topic, message)),
        }
        self.note_file();
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.topics.remove(id);
        if let Some(presence) = &mut self.presence {
            presence.handle_close(hub, id);
        }
    }

    fn on_notify(&mut self, hub: &mut Hub, key: u32) {
        if key == ENDS_SOON {
            self.status.ending.store(1, Ordering::Relaxed);
            hub.end_keep_alive();
        } else if key == WRITTEN {
            self.publish_written(hub);
        } else if key == PREPARED {
            reload::take(&Arc::clone(&self.reload), hub, self);
        }
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        if self.presence.as_mut().is_some_and(|presence| presence.handle_timer(hub, key)) {
            return;
        }
        if key == RETRY_TIMER {
            return self.publish_written(hub);
        }
        if key == SWEEP_TIMER {
            return self.sweep(hub);
        }
        self.stats_timer_set = hub.subscriber_count(STATS) > 0;
        if self.stats_timer_set {
            self.publish_stats(hub);
            hub.set_timer(hub.now() + STATS_INTERVAL, STATS_TIMER);
        }
    }
}

/// Publishes what a request asks for.
fn publish_now(
    hub: &mut Hub,
    request: &Request,
    one_topic: bool,
) -> Result<publish::Answer, Refusal> {
    let asked = publish::asked(hub, request, one_topic)?;
    let plan = publish::plan(hub, request, asked, |name| hub.position(name))?;
    let outcomes = publish::publish(hub, &plan);
    plan.form.answer(hub, &publish::told(&plan.items), outcomes)
}

/// Has what a request asks for written and then published. `None` if the publisher waits for that.
fn publish_ahead(
    hub: &mut Hub,
    ahead: &mut Ahead,
    id: RequestId,
    request: &Request,
    one_topic: bool,
) -> Result<Option<publish::Answer>, Refusal> {
    let asked = publish::asked(hub, request, one_topic)?;
    let plan = publish::plan(hub, request, asked, |name| ahead.place(hub, name))?;
    let is_async = publish::is_async(request);
    let count = plan.items.len();
    if !ahead.take(hub, plan, (!is_async).then_some(id)) {
        return Err((503, "too many publications wait to be written to the file".into()));
    }
    Ok(is_async.then(|| publish::taken(count)))
}
