//! What one who runs the server sees besides: which topics carry most, what lags, and what was refused.
//!
//! It costs nothing until somebody asks, and while somebody does, so much a second and no more, however many ask
//! and however many topics and connections there are.

mod traffic;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use pushloop::{ConnId, Counters, Hub, Laggard};
use serde_json::{Map, Value, json};

use self::traffic::{Load, Traffic};
use crate::status::Status;

/// Where it is, and the topic that a token for it covers.
pub const NAME: &str = "$operator";
pub const PATH: &str = "/$operator";

/// For so long, all that ask get the same.
const INTERVAL: Duration = Duration::from_secs(1);
/// For so long after the last question, it is looked at what topics carry.
const PATIENCE: Duration = Duration::from_secs(10);
/// Topics, and connections, that are told.
const OPERATOR_ROWS_MAX: usize = 20;
/// Steps along connections in one look.
const OPERATOR_STEPS_MAX: usize = 16_384;

/// The numbers of what is refused, by cause.
const REFUSALS: [&str; 25] = [
    "connections_refused",
    "connections_limited",
    "accepts_failed",
    "handshakes_refused",
    "requests_turned_away",
    "publishers_limited",
    "messages_dropped_full",
    "history_file_refused",
    "broker_messages_refused",
    "tokens_malformed",
    "tokens_unsigned",
    "tokens_unacceptable",
    "tokens_expired",
    "tokens_missing",
    "tokens_insufficient",
    "tokens_early",
    "tokens_limited",
    "tokens_revoked",
    "hook_questions_refused",
    "hook_questions_timed_out",
    "hook_questions_unreachable",
    "hook_questions_tls_failed",
    "hook_questions_bad_status",
    "hook_questions_bad_answer",
    "hook_questions_turned_away",
];

/// See the module.
#[derive(Debug, Default)]
pub struct Operator(Option<Watch>);

/// Somebody asks.
#[derive(Debug)]
struct Watch {
    /// When it was asked last, and looked last.
    asked: Instant,
    looked: Instant,
    traffic: Traffic,
    /// Where the look at connections goes on, and those that lag most as far as this round has come.
    next: usize,
    round: Vec<Laggard>,
    /// The same of the last round.
    laggards: Vec<Laggard>,
    answer: String,
}

impl Operator {
    /// Somebody publishes.
    pub fn note(&mut self, hub: &Hub, name: &str, bytes: usize) {
        let Some(watch) = &mut self.0 else { return };
        if hub.now() - watch.asked > PATIENCE {
            self.0 = None;
            return;
        }
        watch.traffic.note(name, bytes, hub.subscriber_count(name));
    }

    /// What there is to see, as JSON. The client of a connection is asked for.
    pub fn answer(
        &mut self,
        hub: &Hub,
        status: &Status,
        client: impl Fn(ConnId) -> Option<IpAddr>,
    ) -> &str {
        let now = hub.now();
        let is_new = self.0.is_none();
        let watch = self.0.get_or_insert_with(|| Watch::new(now));
        watch.asked = now;
        if is_new || now - watch.looked >= INTERVAL {
            watch.look(hub);
            watch.tell(hub, status, client);
        }
        &watch.answer
    }
}

impl Watch {
    fn new(now: Instant) -> Self {
        Self {
            asked: now,
            looked: now,
            traffic: Traffic::default(),
            next: 0,
            round: Vec::new(),
            laggards: Vec::new(),
            answer: String::new(),
        }
    }

    /// Goes on along the connections.
    fn look(&mut self, hub: &Hub) {
        let round = &mut self.round;
        self.next = hub.laggards(self.next, OPERATOR_STEPS_MAX, |it| keep(round, it, rank));
        if self.next == 0 {
            self.laggards = std::mem::take(round);
        }
    }

    fn tell(&mut self, hub: &Hub, status: &Status, client: impl Fn(ConnId) -> Option<IpAddr>) {
        let milliseconds = (hub.now() - self.looked).as_millis() as u64;
        self.looked = hub.now();
        let top = self.traffic.take_top(OPERATOR_ROWS_MAX);
        let topics: Vec<_> = top.iter().map(|(name, load)| topic(hub, name, load)).collect();
        let mut worst = self.laggards.clone();
        worst.sort_by_key(|it| u64::MAX - rank(it).0);
        let laggards = worst.iter().filter_map(|it| laggard(hub, it, client(it.id)));
        let answer = json!({
            "ms": milliseconds,
            "topics": topics,
            "laggards": laggards.collect::<Vec<_>>(),
            "refusals": refusals(&hub.counters(), status),
        });
        self.answer = answer.to_string();
    }
}

/// Keeps those that have the highest ranks.
fn keep<T, R: Ord>(round: &mut Vec<T>, one: T, rank: impl Fn(&T) -> R) {
    round.push(one);
    if round.len() > OPERATOR_ROWS_MAX
        && let Some((least, _)) = round.iter().enumerate().min_by_key(|(_, it)| rank(it))
    {
        round.swap_remove(least);
    }
}

fn rank(laggard: &Laggard) -> (u64, usize) {
    (laggard.publications, laggard.queued_bytes)
}

fn topic(hub: &Hub, name: &str, load: &Load) -> Value {
    json!({
        "topic": name,
        "publications": load.publications,
        "bytes": load.bytes,
        "subscribers": hub.subscriber_count(name),
    })
}

/// What is told of one that lags; nothing if it is gone.
fn laggard(hub: &Hub, laggard: &Laggard, client: Option<IpAddr>) -> Option<Value> {
    let topic = hub.topics_of(laggard.id).next()?;
    Some(json!({
        // As text: JavaScript has no whole numbers of 64 bits.
        "id": laggard.id.to_bits().to_string(),
        "client": client.map(|address| address.to_string()),
        "topic": topic,
        "publications": laggard.publications,
        "queued_bytes": laggard.queued_bytes,
    }))
}

fn refusals(counters: &Counters, status: &Status) -> Map<String, Value> {
    let of_loop = counters.iter().map(|metric| (metric.name, metric.value));
    let all = of_loop.chain(status.metrics().map(|(name, _, _, value)| (name, value)));
    let refusals = all.filter(|(name, _)| REFUSALS.contains(name));
    refusals.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use pushloop::{Config, Server};

    use super::*;

    #[test]
    fn each_refusal_is_a_number_that_there_is() {
        let told = refusals(&Counters::default(), &Status::new(SystemTime::UNIX_EPOCH));
        for name in REFUSALS {
            assert_eq!(told.get(name), Some(&Value::from(0)), "{name}");
        }
    }

    #[test]
    fn nothing_is_kept_until_somebody_asks_and_then_the_same_for_a_second() {
        let mut server = Server::new(Config::default()).expect("there are descriptors");
        let status = Status::new(SystemTime::UNIX_EPOCH);
        let mut operator = Operator::default();
        let hub = server.hub();
        operator.note(hub, "a", 1);
        assert!(operator.0.is_none());
        let first = operator.answer(hub, &status, |_| None).to_owned();
        assert!(first.contains("\"topics\":[]"), "{first}");
        operator.note(hub, "a", 1);
        assert_eq!(operator.answer(hub, &status, |_| None), first);
        let watch = operator.0.as_mut().expect("somebody has asked");
        watch.looked -= INTERVAL;
        let second = operator.answer(hub, &status, |_| None).to_owned();
        let expected = "{\"bytes\":1,\"publications\":1,\"subscribers\":0,\"topic\":\"a\"}";
        assert!(second.contains("\"ms\":1000") && second.contains(expected), "{second}");
        // Nobody has asked for long.
        let watch = operator.0.as_mut().expect("somebody has asked");
        watch.asked -= PATIENCE;
        operator.note(hub, "a", 1);
        let watch = operator.0.as_mut().expect("not so long");
        watch.asked -= Duration::from_nanos(1);
        operator.note(hub, "a", 1);
        assert!(operator.0.is_none());
    }

    #[test]
    fn so_many_are_told_that_lag_most() {
        let (mut round, most) = (Vec::new(), OPERATOR_ROWS_MAX as u64);
        (1..=most).for_each(|lag| keep(&mut round, lag, |lag| *lag));
        assert_eq!(round.len(), OPERATOR_ROWS_MAX);
        for lag in [0, 100, 1, 101] {
            keep(&mut round, lag, |lag| *lag);
        }
        round.sort_unstable();
        let expected: Vec<_> = (3..=most).chain([100, 101]).collect();
        assert_eq!(round, expected);
    }
}
