//! The notification service: a URL is a topic.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pushloop::{
    Accept, CloseCode, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, RequestId,
    Response, percent_decode,
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

pub struct Service {
    started: Instant,
    /// The topic that each WebSocket publishes to: the first of its URL.
    topics: ConnMap<Box<str>>,
    stats_timer_set: bool,
    /// The process was told to end.
    not_ready: Arc<AtomicBool>,
    slow_turns: Arc<AtomicU64>,
}

impl Service {
    pub fn new(now: Instant, not_ready: Arc<AtomicBool>, slow_turns: Arc<AtomicU64>) -> Self {
        let topics = ConnMap::new();
        Self { started: now, topics, stats_timer_set: false, not_ready, slow_turns }
    }

    fn connect(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let names = match topics(request.path(), hub) {
            Ok(names) => names,
            Err((status, why)) => return tell(hub, id, status, why),
        };
        if hub.accept(id, Accept::default()).is_err() {
            // Answered with 426 already, or gone.
            return;
        }
        let id = id.conn();
        for name in &names {
            // The names are within the limits of a connection, but all together may be at theirs.
            if let Err(full) = hub.subscribe(id, name) {
                return hub.close(id, CloseCode::TRY_AGAIN_LATER, &full.to_string());
            }
        }
        if names.iter().any(|name| name == STATS) && !self.stats_timer_set {
            self.stats_timer_set = true;
            hub.set_timer(hub.now(), STATS_TIMER);
        }
        if let Some(first) = names.into_iter().next() {
            self.topics.insert(id, first.into());
        }
    }

    fn publish(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let name = match topic_to_publish_to(hub, request) {
            Ok(name) => name,
            Err((status, why)) => return tell(hub, id, status, &why),
        };
        let message = match str::from_utf8(request.body()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(request.body()),
        };
        match hub.publish(&name, message) {
            Ok(delivered) => {
                let response = Response::new(200).body(format!("{{\"delivered\":{delivered}}}\n"));
                answer(hub, id, response, &[("Content-Type", "application/json")]);
            }
            Err(full) => tell(hub, id, 503, &full.to_string()),
        }
    }

    fn publish_stats(&self, hub: &mut Hub) {
        let counters = hub.counters();
        let stats = format!(
            "{{\"connections\":{},\"deliveries\":{},\"publications\":{},\"dropped\":{},\
             \"topics\":{},\"queued_bytes\":{},\"accepts_failed\":{},\"handler_panics\":{},\
             \"slow_turns\":{},\"uptime_ms\":{}}}",
            self.topics.len(),
            counters.deliveries,
            counters.publications,
            counters.messages_dropped_full
                + counters.messages_conflated
                + counters.messages_skipped
                + counters.messages_lost,
            hub.topic_count(),
            hub.queued_bytes_total(),
            counters.accepts_failed,
            counters.handler_panics,
            self.slow_turns.load(Ordering::Relaxed),
            (hub.now() - self.started).as_millis(),
        );
        // A refusal is counted, and the next second tries again.
        let _ = hub.publish(STATS, &stats);
    }
}

impl Handler for Service {
    /// What may not be published is refused before it is uploaded.
    fn on_head(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if is_publication(request)
            && let Err((status, why)) = topic_to_publish_to(hub, request)
        {
            tell(hub, id, status, &why);
        }
    }

    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if request.is_websocket() {
            return self.connect(hub, id, request);
        }
        match (request.method(), request.path()) {
            ("GET" | "HEAD", "/") => {
                let page = Response::new(200).body(PAGE);
                let html = ("Content-Type", "text/html; charset=utf-8");
                answer(hub, id, page, &[html, ("Content-Security-Policy", PAGE_POLICY)]);
            }
            ("GET" | "HEAD", "/healthz") => tell(hub, id, 200, "the loop turns"),
            ("GET" | "HEAD", "/readyz") if self.not_ready.load(Ordering::Relaxed) => {
                tell(hub, id, 503, "the server is about to end");
            }
            ("GET" | "HEAD", "/readyz") => tell(hub, id, 200, "ready"),
            _ if is_publication(request) => self.publish(hub, id, request),
            (_, "/") => not_allowed(hub, id, "GET, HEAD"),
            ("GET" | "HEAD", _) => {
                let text = format!(
                    "This is a topic. Subscribe: new WebSocket(\"ws://{host}{path}\")\n\
                     Publish: curl -d 'Goal!' http://{host}{path}\nSee it: http://{host}/\n",
                    host = request.host(),
                    path = request.path(),
                );
                let version = ("Sec-WebSocket-Version", "13");
                answer(hub, id, Response::text(426, text), &[("Upgrade", "websocket"), version]);
            }
            _ => not_allowed(hub, id, "GET, POST"),
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let Some(topic) = self.topics.get(id) else { return };
        if topic.starts_with('$') {
            return hub.close(id, CloseCode::POLICY, "topics that begin with $ are read-only");
        }
        // A refusal is counted; the sender sees that its own message does not come back.
        let _ = hub.publish(topic, message);
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.topics.remove(id);
    }

    fn on_timer(&mut self, hub: &mut Hub, _: u64) {
        self.stats_timer_set = hub.subscriber_count(STATS) > 0;
        if self.stats_timer_set {
            self.publish_stats(hub);
            hub.set_timer(hub.now() + STATS_INTERVAL, STATS_TIMER);
        }
    }
}

fn is_publication(request: &Request) -> bool {
    request.method() == "POST" && request.path() != "/"
}

/// The topic that a request publishes to, or why it may not.
fn topic_to_publish_to(hub: &Hub, request: &Request) -> Result<String, (u16, Cow<'static, str>)> {
    if let Some(why) = hub.origin_refusal(request) {
        return Err((403, why.into()));
    }
    let one = topics(request.path(), hub).map_err(|(status, why)| (status, why.into()))?.try_into();
    let [name]: [String; 1] =
        one.map_err(|_| (400, "one topic at a time: no comma in the path".into()))?;
    if name.starts_with('$') {
        return Err((403, "topics that begin with $ are the server's own".into()));
    }
    Ok(name)
}

/// The topics that a path names: separated by commas, percent-encoded.
fn topics(path: &str, hub: &Hub) -> Result<Vec<String>, (u16, &'static str)> {
    let names = path.strip_prefix('/').unwrap_or_default();
    if names.is_empty() {
        return Err((404, "no topic here: the path names it, as in /scores"));
    }
    let mut topics: Vec<String> = Vec::new();
    for name in names.split(',') {
        let name = percent_decode(name);
        let name = name.ok_or((400, "a topic's name is UTF-8, percent-encoded"))?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err((400, "a topic's name is not empty and has no control characters"));
        }
        if name.len() > hub.config().topic_name_bytes_max {
            return Err((414, "a topic's name has at most topic_name_bytes_max = 255 bytes"));
        }
        if topics.iter().any(|known| *known == name) {
            continue;
        }
        if topics.len() == hub.config().topics_per_connection_max {
            return Err((400, "too many topics: topics_per_connection_max = 128"));
        }
        topics.push(name.into_owned());
    }
    Ok(topics)
}

fn not_allowed(hub: &mut Hub, id: RequestId, allow: &str) {
    let response = Response::text(405, format!("this address takes {allow}"));
    answer(hub, id, response, &[("Allow", allow)]);
}

fn tell(hub: &mut Hub, id: RequestId, status: u16, what: &str) {
    answer(hub, id, Response::text(status, what), &[]);
}

fn answer(hub: &mut Hub, id: RequestId, mut response: Response, headers: &[(&str, &str)]) {
    for (name, value) in headers.iter().chain(&[("X-Content-Type-Options", "nosniff")]) {
        response = response.header(name, value);
    }
    // The peer may be gone by now, which needs no answer.
    let _ = hub.respond(id, response);
}
