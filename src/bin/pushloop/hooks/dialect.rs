//! The forms in which a backend is told: the server's own, and that of Pusher's webhooks.

use std::sync::{Arc, atomic::AtomicU64};

use ring::hmac;
use serde_json::{Map, Value};

use crate::{
    pusher::App,
    status::Status,
    web::{hex, seconds, since_1970},
};

const SIGNATURE: &str = "Pushloop-Signature";
const PUSHER_KEY: &str = "X-Pusher-Key";
const PUSHER_SIGNATURE: &str = "X-Pusher-Signature";
/// Bytes of a body that has more than one event. Frameworks refuse long ones as they come (Express beyond 100 KiB), and
/// what is refused is refused with all of its events.
const OWN_BODY_BYTES_MAX: usize = 512 * 1024;
const PUSHER_BODY_BYTES_MAX: usize = 64 * 1024;
/// What is around the events, at most: a name, a time, two numbers.
const AROUND_BYTES_MAX: usize = 128;

/// What differs between backends: bodies, and the fields that sign them.
#[derive(Debug)]
pub enum Dialect {
    /// The server's own, signed if there is a key. Questions have it as well.
    Own(Option<hmac::Key>),
    /// That of Pusher's webhooks, signed by this application.
    Pusher(Arc<App>),
}

/// Events of one request.
#[derive(Debug, Default)]
pub struct Batch {
    /// Each as `Dialect::event` has made it.
    pub events: Vec<String>,
    /// The number of the last of them.
    pub latest: u64,
    /// How many are missing between the last batch that was taken and the end of this one.
    pub lost: u64,
}

/// Where it is counted what becomes of events.
#[derive(Debug)]
pub struct Counts<'a> {
    pub sent: &'a AtomicU64,
    pub lost: &'a AtomicU64,
    pub waiting: &'a AtomicU64,
    pub batches_failed: &'a AtomicU64,
}

impl Dialect {
    /// The fields by which a backend knows that a body is the server's.
    pub fn fields(&self, body: &[u8]) -> Vec<(&'static str, String)> {
        match self {
            Self::Own(None) => Vec::new(),
            Self::Own(Some(key)) => vec![(SIGNATURE, sign(key, seconds(), body))],
            Self::Pusher(app) => {
                vec![(PUSHER_KEY, app.key.to_string()), (PUSHER_SIGNATURE, app.sign(body))]
            }
        }
    }

    /// An event as it is sent. Pusher's have no numbers.
    pub fn event(&self, number: u64, mut event: Map<String, Value>) -> String {
        match self {
            Self::Own(_) => _ = event.insert("number".to_owned(), number.into()),
            Self::Pusher(_) => {}
        }
        Value::Object(event).to_string()
    }

    /// The body that tells these events.
    pub fn body(&self, batch: &Batch, status: &Status) -> String {
        let events = batch.events.join(",");
        match self {
            Self::Own(_) => {
                let epoch = status.started.duration_since(std::time::UNIX_EPOCH);
                let (epoch, lost) = (epoch.unwrap_or_default().as_millis(), batch.lost);
                format!(
                    "{{\"type\":\"events\",\"epoch\":\"{epoch}\",\"lost\":{lost},\"events\":[{events}]}}"
                )
            }
            // Backends refuse what is older than some minutes: it is the time of the request and not of an event,
            // which may have waited.
            Self::Pusher(_) => {
                format!("{{\"time_ms\":{},\"events\":[{events}]}}", since_1970().as_millis())
            }
        }
    }

    /// Bytes of the events of one request, and of as many commas, if there are several.
    pub fn batch_bytes_max(&self) -> usize {
        match self {
            Self::Own(_) => OWN_BODY_BYTES_MAX - AROUND_BYTES_MAX,
            Self::Pusher(_) => PUSHER_BODY_BYTES_MAX - AROUND_BYTES_MAX,
        }
    }

    /// What an operator reads of it.
    pub fn name(&self) -> String {
        match self {
            Self::Own(_) => "the hook".to_owned(),
            Self::Pusher(app) => format!("the webhook of the application {}", app.id),
        }
    }

    pub fn counts<'a>(&self, status: &'a Status) -> Counts<'a> {
        match self {
            Self::Own(_) => Counts {
                sent: &status.hook_events_sent,
                lost: &status.hook_events_lost,
                waiting: &status.hook_events_waiting,
                batches_failed: &status.hook_batches_failed,
            },
            Self::Pusher(_) => Counts {
                sent: &status.webhook_events_sent,
                lost: &status.webhook_events_lost,
                waiting: &status.webhook_events_waiting,
                batches_failed: &status.webhook_batches_failed,
            },
        }
    }
}

/// The time and the code of both, in hexadecimal digits. Without the time, what was overheard once could be sent
/// again for ever.
pub fn sign(key: &hmac::Key, seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    format!("t={seconds},v1={}", hex(context.sign().as_ref()))
}
