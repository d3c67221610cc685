//! What the loop has done so far, counted where it happens and readable from any thread.
//!
//! One thread writes (the loop's), any thread reads. With a single writer an increment needs no
//! locked instruction: a relaxed load, an addition and a relaxed store lose nothing, and on a
//! 64-bit machine cost what a plain `u64` would. Counters are independent: a snapshot is not one
//! instant, and two counters of it may be a few events apart.
//!
//! This file knows names and numbers. It must not know when something counts.

mod prefixes;

use std::sync::atomic::{AtomicU64, Ordering};

pub use prefixes::PrefixCounters;
pub(crate) use prefixes::{LivePrefix, LivePrefixes};

/// One counter. Written by the loop's thread alone; see the module.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // Wrapping, so that no overflow check sits on the path of a message: 2^64 events at a
        // thousand million a second take five centuries.
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// For a gauge: never more than was added.
    #[inline]
    pub(crate) fn sub(&self, n: u64) {
        debug_assert!(n <= self.get(), "a gauge fell below zero");
        self.0.store(self.get().wrapping_sub(n), Ordering::Relaxed);
    }

    /// For a gauge that is told now and then.
    #[inline]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ident,)+) => {
        /// The live counters, shared by the loop that writes them and the handles that read them.
        #[derive(Debug, Default)]
        pub(crate) struct LiveCounters {
            $(pub(crate) $name: Count,)+
            /// By prefixes of topics' names.
            pub(crate) prefixes: LivePrefixes,
        }

        impl LiveCounters {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.get(),)+ }
            }
        }

        /// What a server has done since it was made: a snapshot, taken by
        /// [`Handle::counters`](crate::Handle::counters).
        ///
        /// Every field is a total that only grows, but for the gauges at the end and
        /// [`connections_open`](Self::connections_open); [`iter`](Self::iter) tells which is which. Each is
        /// exact once the server rests; while it works, two fields of one snapshot may be a few events
        /// apart, and the gauges at the end are those of the turn's beginning.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Those of several loops of one process. What all of them have in common counts once.
            pub(crate) fn sum(each: impl Iterator<Item = Self>) -> Self {
                let mut sum = Self::default();
                for it in each {
                    let common = [
                        sum.tls_expires_seconds.max(it.tls_expires_seconds),
                        sum.tls_reloads.max(it.tls_reloads),
                        sum.tls_reloads_failed.max(it.tls_reloads_failed),
                    ];
                    $(sum.$name += it.$name;)+
                    [sum.tls_expires_seconds, sum.tls_reloads, sum.tls_reloads_failed] = common;
                }
                sum
            }

            /// All of them, with what a monitoring system wants to know of each.
            pub fn iter(&self) -> impl Iterator<Item = Metric> {
                [$(Metric {
                    name: stringify!($name),
                    help: first_sentence(concat!($($doc),+)),
                    kind: MetricKind::$kind,
                    value: self.$name,
                },)+]
                .into_iter()
            }
        }
    };
}

/// One of the [`Counters`], as a monitoring system sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name of the field.
    pub name: &'static str,
    /// A sentence that says what is counted.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// Its value.
    pub value: u64,
}

/// Whether a [`Metric`] only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It also falls.
    Gauge,
}

/// The first sentence of a field's documentation, up to the first full stop, semicolon or colon that a
/// space follows. It has no links.
fn first_sentence(doc: &'static str) -> &'static str {
    let doc = doc.trim_ascii();
    let end = [". ", "; ", ": "].iter().filter_map(|end| doc.find(end)).min();
    doc[..end.unwrap_or(doc.len())].trim_end_matches('.')
}

counters! {
    /// Times that the loop went to wait for the network, or looked without a wait because it had work.
    waits: Counter,
    /// Times that it came back: one less than [`waits`](Self::waits) while it waits. If both are equal
    /// and neither grows for a while, one turn takes that long, most likely a callback in it.
    turns: Counter,
    /// Connections accepted and let in; those that were turned away are in
    /// [`connections_refused`](Self::connections_refused).
    connections_accepted: Counter,
    /// Connections that are open now, in whatever state.
    connections_open: Gauge,
    /// Connections turned away unheard: they were over the limit, no descriptor was left for them, or
    /// the server is ending.
    connections_refused: Counter,
    /// Connections turned away because their clients have as many as they may, or begin too many. The
    /// limits are [`ClientLimits`](crate::ClientLimits).
    connections_limited: Counter,
    /// Attempts to accept that failed. Now and then one fails because the connection is gone already. If
    /// the number grows all the time, accepting fails for good; it is tried again ten times a second.
    accepts_failed: Counter,
    /// Requests that the server itself answered with an HTTP error, and opening handshakes that the
    /// application refused (RFC 6455 §4.2.2).
    handshakes_refused: Counter,
    /// Complete HTTP requests, upgrades among them.
    requests: Counter,
    /// Opening handshakes that were accepted: connections that became WebSockets.
    upgrades: Counter,
    /// Text and binary messages received whole, however many frames each came in.
    messages_received: Counter,
    /// Messages that came compressed (RFC 7692) and were inflated.
    messages_inflated: Counter,
    /// Messages that were compressed before they were sent (RFC 7692); a publication once, however
    /// many subscribers take it so.
    messages_deflated: Counter,
    /// Bytes read from connections: heads, frame headers and payloads.
    bytes_received: Counter,
    /// Messages queued for one connection by a direct send.
    messages_sent: Counter,
    /// Messages published to a topic, each counted once however many subscribers it has.
    publications: Counter,
    /// Publications that a subscriber's connection has taken, or begun to take, counted once for each
    /// subscriber.
    deliveries: Counter,
    /// Bytes written to connections: heads, frame headers and payloads.
    bytes_sent: Counter,
    /// Pings sent to find out whether a silent peer is still there (§5.5.2).
    pings_sent: Counter,
    /// Pings left unanswered because a later one came before the answer went out (§5.5.3).
    pongs_coalesced: Counter,
    /// Messages and publications that were refused because too much waited to be sent already; and
    /// messages that waited for a connection that was closed because the process was full.
    messages_dropped_full: Counter,
    /// Publications that a subscriber that lagged did not get because it gets the latest.
    /// That is [`OnLag::Latest`](crate::OnLag::Latest). Counted when it reads again.
    messages_conflated: Counter,
    /// Publications that a subscriber that lagged did not get because they were no longer kept, and its
    /// connection stays. That is [`OnLag::Skip`](crate::OnLag::Skip). Counted when it reads again.
    messages_skipped: Counter,
    /// Publications that were still due to a subscriber when its connection ended or was closed for
    /// lagging.
    messages_lost: Counter,
    /// Publications that were made before under the same key, and are not made again.
    publications_repeated: Counter,
    /// Keys of publications that were forgotten early, because too many were remembered.
    keys_forgotten: Counter,
    /// Publications of topics' histories that were given up because the process had no room for more.
    history_given_up: Counter,
    /// Topics without subscribers that were forgotten early, because too many were remembered.
    topics_forgotten: Counter,
    /// Messages that came after the application had closed their connection, and were not delivered.
    messages_after_close: Counter,
    /// Connections that ended because their peers read too slowly. Counted when the connection has ended,
    /// not when the Close frame is sent: that one has the code 1013 and names the limit.
    closed_overflow: Counter,
    /// Connections closed because the process held too much that was incomplete, much of it theirs.
    closed_incomplete: Counter,
    /// Connections closed because the process kept too much of what clients sent compressed.
    closed_windows: Counter,
    /// Connections that were closed early, because a new one needed their places or descriptors. They
    /// waited for a next request, or were the first of
    /// [`connections_reserved`](crate::Config::connections_reserved).
    closed_for_descriptor: Counter,
    /// Connections closed because the peer broke the protocol (§7.1.7).
    closed_protocol: Counter,
    /// Open connections closed because the peer stayed silent after a Ping, or because they were
    /// idle for `idle_timeout`.
    closed_timeout: Counter,
    /// Steps along lists that peers can make long: a topic's subscribers, a connection's topics, what
    /// waits for a connection. This is the loop's own work, beside reading and writing.
    list_steps: Counter,
    /// Callbacks that panicked. See [`Handler`](crate::Handler).
    handler_panics: Counter,
    /// TLS handshakes that were completed.
    tls_handshakes: Counter,
    /// TLS handshakes that resumed an earlier session.
    tls_handshakes_resumed: Counter,
    /// TLS handshakes that failed: peers and server could not agree, the client did not trust the certificate
    /// or has none itself, left, took too long, or sent something else.
    tls_handshakes_failed: Counter,
    /// TLS handshakes that were given up because too many were open, the oldest first.
    tls_handshakes_dropped: Counter,
    /// Connections that spoke plain HTTP where TLS is expected, and were told so.
    tls_plain_refused: Counter,
    /// Open TLS connections that ended because a record was wrong, or said that ours was.
    tls_broken: Counter,
    /// Times that certificates were read again and taken.
    tls_reloads: Counter,
    /// Times that certificates were to be read again, and those of before were kept.
    tls_reloads_failed: Counter,
    /// TLS connections closed because all together held too much that was in part or did not leave.
    tls_closed_held: Counter,
    /// Commands of a handle for a connection or a request that was gone when the loop came to them.
    stale_commands: Counter,
    /// Commands of a handle that a limit of topics refused when the loop came to them.
    commands_refused: Counter,
    /// Topics that have subscribers now.
    topics: Gauge,
    /// Bytes that wait to be sent now; a publication counts once.
    queued_bytes: Gauge,
    /// Bytes of topics' histories that are kept now.
    history_bytes: Gauge,
    /// Bytes that are held now of messages and requests that have not come whole, or have no answer yet;
    /// an upper bound.
    incomplete_bytes: Gauge,
    /// Bytes kept now of what clients sent compressed, because their next messages may refer back to it.
    window_bytes: Gauge,
    /// TLS handshakes that are open now.
    tls_handshakes_open: Gauge,
    /// When the first of the certificates for TLS expires, in seconds since 1970; 0 without one.
    tls_expires_seconds: Gauge,
    /// Bytes that TLS holds now: records that have come in part, and ciphertext that did not leave.
    tls_held_bytes: Gauge,
}

/// What a network has counted of streams that are layers (TLS), for the [`Counters`] of the same names. The
/// last three are what is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the counters say what they are")]
pub struct LayerCounts {
    pub tls_handshakes: u64,
    pub tls_handshakes_resumed: u64,
    pub tls_handshakes_failed: u64,
    pub tls_handshakes_dropped: u64,
    pub tls_plain_refused: u64,
    pub tls_broken: u64,
    pub tls_closed_held: u64,
    pub tls_reloads: u64,
    pub tls_reloads_failed: u64,
    pub tls_handshakes_open: u64,
    pub tls_expires_seconds: u64,
    pub tls_held_bytes: u64,
}

impl LiveCounters {
    /// Takes over what a network has counted.
    pub(crate) fn set_layer(&self, counts: &LayerCounts) {
        self.tls_handshakes.set(counts.tls_handshakes);
        self.tls_handshakes_resumed.set(counts.tls_handshakes_resumed);
        self.tls_handshakes_failed.set(counts.tls_handshakes_failed);
        self.tls_handshakes_dropped.set(counts.tls_handshakes_dropped);
        self.tls_plain_refused.set(counts.tls_plain_refused);
        self.tls_broken.set(counts.tls_broken);
        self.tls_closed_held.set(counts.tls_closed_held);
        self.tls_reloads.set(counts.tls_reloads);
        self.tls_reloads_failed.set(counts.tls_reloads_failed);
        self.tls_handshakes_open.set(counts.tls_handshakes_open);
        self.tls_expires_seconds.set(counts.tls_expires_seconds);
        self.tls_held_bytes.set(counts.tls_held_bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_snapshot_taken_on_another_thread_has_every_event_before_it() {
        let tally = Arc::new(LiveCounters::default());
        tally.deliveries.add(40);
        tally.deliveries.add(2);
        tally.connections_open.add(3);
        tally.connections_open.sub(1);
        let reader = Arc::clone(&tally);
        let snapshot = std::thread::spawn(move || reader.snapshot()).join().unwrap();
        let expected = Counters { deliveries: 42, connections_open: 2, ..Counters::default() };
        assert_eq!(snapshot, expected);
    }

    #[test]
    fn each_has_a_name_a_plain_sentence_a_kind_and_its_value() {
        let counters = Counters { deliveries: 42, topics: 7, ..Counters::default() };
        let find = |name| counters.iter().find(|metric| metric.name == name).unwrap();
        let help = "Publications that a subscriber's connection has taken, or begun to take, counted once \
                    for each subscriber";
        let kind = MetricKind::Counter;
        assert_eq!(find("deliveries"), Metric { name: "deliveries", help, kind, value: 42 });
        let help = "Topics that have subscribers now";
        let kind = MetricKind::Gauge;
        assert_eq!(find("topics"), Metric { name: "topics", help, kind, value: 7 });
        for metric in counters.iter() {
            let is_plain = metric.help.len() > 10 && !metric.help.contains(['[', '\n']);
            assert!(is_plain && !metric.help.ends_with('.'), "{}", metric.help);
        }
    }

    #[test]
    fn a_reader_never_sees_a_total_fall() {
        const EVENTS: u64 = 100_000;
        let tally = Arc::new(LiveCounters::default());
        let reader = Arc::clone(&tally);
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            while seen < EVENTS {
                let now = reader.snapshot().publications;
                assert!(now >= seen);
                seen = now;
            }
        });
        for _ in 0..EVENTS {
            tally.publications.add(1);
        }
        // First, so that a lost increment is a failure and not a reader that waits for good.
        assert_eq!(tally.snapshot().publications, EVENTS);
        reader.join().unwrap();
    }
}
