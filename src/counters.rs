//! What the loop has done so far, counted where it happens and readable from any thread.
//!
//! One thread writes (the loop's), any thread reads. With a single writer an increment needs no
//! locked instruction: a relaxed load, an addition and a relaxed store lose nothing, and on a
//! 64-bit machine cost what a plain `u64` would. Counters are independent: a snapshot is not one
//! instant, and two counters of it may be a few events apart.
//!
//! This file knows names and numbers. It must not know when something counts.

use std::sync::atomic::{AtomicU64, Ordering};

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

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The live counters, shared by the loop that writes them and the handles that read them.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: Count,)+
        }

        impl Tally {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.get(),)+ }
            }
        }

        /// What a server has done since it was made: a snapshot, taken by
        /// [`Handle::counters`](crate::Handle::counters).
        ///
        /// Every field is a total that only grows, but for
        /// [`connections_open`](Self::connections_open). Each is exact once the server rests;
        /// while it works, two fields of one snapshot may be a few events apart.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])+ pub $name: u64,)+
        }
    };
}

counters! {
    /// Times that the loop went to wait for the network; without a wait, if there was work already.
    waits,
    /// Times that it came back: one less than [`waits`](Self::waits) while it waits. As many, and
    /// neither grows for a while, means that one turn, a callback in it most likely, takes that long.
    turns,
    /// Connections accepted and let in; those that were turned away are in
    /// [`connections_refused`](Self::connections_refused).
    connections_accepted,
    /// Connections that are open now, in whatever state: the one field that also falls.
    connections_open,
    /// Connections turned away unheard: over the limit, no descriptor was left for them, or the
    /// server is ending.
    connections_refused,
    /// Attempts to accept that failed: over a connection that was gone already, or, where this grows all the
    /// time, for good. It is tried again ten times a second.
    accepts_failed,
    /// Requests that the server itself answered with an HTTP error, and opening handshakes that the
    /// application refused (RFC 6455 §4.2.2).
    handshakes_refused,
    /// Complete HTTP requests, upgrades among them.
    requests,
    /// Opening handshakes that were accepted: connections that became WebSockets.
    upgrades,
    /// Text and binary messages received whole, however many frames each came in.
    messages_received,
    /// Messages that came compressed (RFC 7692) and were inflated.
    messages_inflated,
    /// Messages that were compressed before they were sent (RFC 7692); a publication once, however
    /// many subscribers take it so.
    messages_deflated,
    /// Bytes read from connections: heads, frame headers and payloads.
    bytes_received,
    /// Messages queued for one connection by a direct send.
    messages_sent,
    /// Messages published to a topic, each counted once however many subscribers it has.
    publications,
    /// Messages queued for a subscriber by a publication, counted once for each subscriber.
    deliveries,
    /// Bytes written to connections: heads, frame headers and payloads.
    bytes_sent,
    /// Pings sent to find out whether a silent peer is still there (§5.5.2).
    pings_sent,
    /// Pings left unanswered because a later one came before the answer went out (§5.5.3).
    pongs_coalesced,
    /// Messages not queued because too much was waiting to be sent already.
    messages_dropped_full,
    /// Messages that gave way to a newer one of the same topic before they were sent.
    messages_conflated,
    /// Messages that came after the application had closed their connection, and so were not
    /// delivered.
    messages_after_close,
    /// Connections closed because too much was waiting to be sent to them.
    closed_overflow,
    /// Connections closed because the process held too much that had come half, and they much of it.
    closed_incomplete,
    /// Connections that waited for a next request and were closed early, for a new connection that
    /// needed their descriptor.
    closed_for_descriptor,
    /// Connections closed because the peer broke the protocol (§7.1.7).
    closed_protocol,
    /// Open connections closed because the peer stayed silent after a Ping, or because they were
    /// idle for `idle_timeout`.
    closed_timeout,
    /// Callbacks of a [`Handler`](crate::Handler) that panicked.
    handler_panics,
    /// Commands of a handle for a connection that was gone when the loop came to them.
    stale_commands,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_snapshot_taken_on_another_thread_has_every_event_before_it() {
        let tally = Arc::new(Tally::default());
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
    fn a_reader_never_sees_a_total_fall() {
        const EVENTS: u64 = 100_000;
        let tally = Arc::new(Tally::default());
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
