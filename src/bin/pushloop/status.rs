//! What the threads of the server tell each other.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use pushloop::{Counters, MetricKind};

macro_rules! status {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ident,)+) => {
        /// What the threads tell each other.
        #[derive(Debug)]
        pub struct Status {
            /// When the process started.
            pub started: SystemTime,
            /// How many loops have a broker that they cannot reach.
            brokers_away: Mutex<usize>,
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
        }

        impl Status {
            pub fn new(started: SystemTime) -> Self {
                Self { started, brokers_away: Mutex::default(), $($name: AtomicU64::new(0),)+ }
            }

            /// All numbers: name, help, kind and value.
            pub fn metrics(&self) -> impl Iterator<Item = (&'static str, &'static str, MetricKind, u64)> {
                [$((
                    stringify!($name),
                    concat!($($doc),+).trim_ascii().trim_end_matches('.'),
                    MetricKind::$kind,
                    self.$name.load(Ordering::Relaxed),
                ),)+]
                .into_iter()
            }
        }
    };
}

status! {
    /// Turns of the loop that were found to take a second or more.
    slow_turns: Counter,
    /// Requests that were refused because their connections came when there was no place.
    requests_turned_away: Counter,
    /// Requests, and connections, that were refused or closed because their client or their token's subject
    /// published or connected more than it may.
    publishers_limited: Counter,
    /// Commands and requests that were refused because their client asked for more topics that are not here than it may.
    askers_limited: Counter,
    /// Whether the histories' file can no longer be written: 1, or 0.
    history_file_failed: Gauge,
    /// Publications that wait to be written to the histories' file now.
    history_file_waiting: Gauge,
    /// Publications that were refused because too many waited for the histories' file.
    history_file_refused: Counter,
    /// Times that the options were read again and were right.
    reloads: Counter,
    /// Times that the options were read again and something was wrong, so that nothing was taken.
    reloads_failed: Counter,
    /// Tokens that were refused because they are none.
    tokens_malformed: Counter,
    /// Tokens that were refused because no key of this server has signed them.
    tokens_unsigned: Counter,
    /// Tokens that were refused because of a claim that is wrong here, as iss, aud or nbf.
    tokens_unacceptable: Counter,
    /// Tokens that were refused because they have expired.
    tokens_expired: Counter,
    /// Requests and messages that were refused because they came without a token.
    tokens_missing: Counter,
    /// Requests and messages that were refused because a token or key does not allow that.
    tokens_insufficient: Counter,
    /// Tokens that were refused for now because the keys they may be by have not been fetched yet.
    tokens_early: Counter,
    /// Tokens that were refused because their subject is revoked.
    tokens_revoked: Counter,
    /// Tokens that were not looked at, because too many came from there with signatures that are false.
    tokens_limited: Counter,
    /// Fetches of key sets that have brought keys.
    jwks_fetches: Counter,
    /// Fetches of key sets that were not answered in time.
    jwks_fetches_timed_out: Counter,
    /// Fetches of key sets that failed because there was no connection.
    jwks_fetches_unreachable: Counter,
    /// Fetches of key sets that failed in TLS, as by a certificate that is not trusted.
    jwks_fetches_tls_failed: Counter,
    /// Fetches of key sets that were answered with another status than 200, as a redirect.
    jwks_fetches_bad_status: Counter,
    /// Fetches of key sets whose answers were too long.
    jwks_fetches_too_long: Counter,
    /// Fetches of key sets whose answers cannot be read, or have no key that can be used, or too many.
    jwks_fetches_bad_answer: Counter,
    /// Key sets that have not been fetched yet now.
    jwks_missing: Gauge,
    /// When the key set with the oldest keys was fetched, since 1970, or 0.
    jwks_fetched_seconds: Gauge,
    /// Questions that a backend was asked.
    hook_questions_asked: Counter,
    /// Questions that were not asked, because an answer of before holds.
    hook_questions_cached: Counter,
    /// Questions that were answered with yes.
    hook_questions_allowed: Counter,
    /// Questions that were answered with no.
    hook_questions_refused: Counter,
    /// Questions that were not answered in time.
    hook_questions_timed_out: Counter,
    /// Questions that were not answered because there was no connection to the backend.
    hook_questions_unreachable: Counter,
    /// Questions that were not answered because TLS failed, as by a certificate that is not trusted.
    hook_questions_tls_failed: Counter,
    /// Questions that were answered with a status that says neither yes nor no.
    hook_questions_bad_status: Counter,
    /// Questions that were answered with what cannot be read, or is too long.
    hook_questions_bad_answer: Counter,
    /// Questions that were not asked, because too many waited.
    hook_questions_turned_away: Counter,
    /// Questions that a backend is asked now.
    hook_questions_in_flight: Gauge,
    /// Questions that wait to be asked now.
    hook_questions_waiting: Gauge,
    /// WebSockets that were closed because too many of their messages waited for a backend.
    hook_messages_overflowed: Counter,
    /// Events that a backend was told.
    hook_events_sent: Counter,
    /// Events that a backend was not told, because too many waited or it could not be reached for long.
    hook_events_lost: Counter,
    /// Events that wait to be told now.
    hook_events_waiting: Gauge,
    /// Requests that tell events and failed; most are tried again.
    hook_batches_failed: Counter,
    /// Events of Pusher's applications that their webhooks were told.
    webhook_events_sent: Counter,
    /// Events that a webhook was not told, because too many waited or it could not be reached for long.
    webhook_events_lost: Counter,
    /// Events that wait to be told to webhooks now.
    webhook_events_waiting: Gauge,
    /// Requests of webhooks that failed; most are tried again.
    webhook_batches_failed: Counter,
    /// Whether there is a broker, and it answers all loops: 1, or 0.
    broker_up: Gauge,
    /// Publications that wait for the broker now.
    broker_waiting: Gauge,
    /// Connections to the broker that were lost, or could not be made.
    broker_connections_lost: Counter,
    /// Messages of WebSockets that were not published because the broker could not take them.
    broker_messages_refused: Counter,
    /// Times that something was missed of a topic, and was asked for.
    broker_holes: Counter,
    /// Publications that were missed, and then had from the broker's history.
    broker_recovered: Counter,
    /// Topics of which the subscribers were sent away, because it began anew or something could not be had.
    broker_topics_ended: Counter,
    /// Times that what the broker told waited for room.
    broker_waits: Counter,
    /// Messages on the broker's channels that no server like this has sent.
    broker_foreign_messages: Counter,
    /// Times that the broker took this server for gone, with its members, and it was not; or it was away for as long as that.
    broker_leases_lost: Counter,
    /// Members that the broker did not take, as where a topic is full: each time that one was asked for.
    broker_members_refused: Counter,
    /// Members that the broker was told of when the connection was lost, each time: whether one has come or gone over all
    /// servers by it is not known, and webhooks are not told.
    broker_members_unanswered: Counter,
    /// Lines of the log that were left out, because there were too many of their kind or nobody read them.
    log_lines_left_out: Counter,
    /// Whether the process was told to end: 1, or 0.
    ending: Gauge,
}

impl Status {
    /// One more loop has a broker, and cannot reach it, or one of these now can.
    pub fn note_broker(&self, is_up: bool) {
        // With the lock, lest of two changes the one before be told last.
        let mut away = self.brokers_away.lock().unwrap_or_else(PoisonError::into_inner);
        *away = if is_up { away.saturating_sub(1) } else { *away + 1 };
        self.broker_up.store((*away == 0).into(), Ordering::Relaxed);
    }

    /// Connections that were refused, before or after they asked for something.
    pub fn refused(&self, counters: &Counters) -> u64 {
        counters.connections_refused + self.requests_turned_away.load(Ordering::Relaxed)
    }
}

pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
