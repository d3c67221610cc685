//! What an operator should hear of, in the program's own log (feature `log`).
//!
//! It knows which counters name trouble, and how often to speak. It must not know why one grew.

use std::time::{Duration, Instant};

use crate::{
    counters::{Counters, Metric},
    event::Events,
};

/// A flood of one kind is one line in so long. The counters are looked at no more often either: what grows
/// within a second of a look is told in the first turn after it.
const PAUSE: Duration = Duration::from_secs(1);

/// What is a warning when it grows: what was refused for a limit, closed for one, or panicked. What
/// comes of a policy that the application chose is none, nor is what each peer may do.
const WARNED_OF: [&str; 12] = [
    "connections_refused",
    "accepts_failed",
    "messages_dropped_full",
    "closed_overflow",
    "closed_incomplete",
    "closed_windows",
    "closed_for_descriptor",
    "closed_protocol",
    "tls_handshakes_dropped",
    "tls_closed_held",
    "handler_panics",
    "commands_refused",
];

/// What was reported so far.
#[derive(Debug)]
pub(super) struct Report {
    due: Instant,
    told: Counters,
}

impl Report {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now, told: Counters::default() }
    }

    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Warns of each counter that grew since the last time.
    pub(super) fn warn(&mut self, now: Instant, counters: Counters) {
        self.due = now + PAUSE;
        for (metric, told) in counters.iter().zip(self.told.iter()) {
            let Metric { name, help, value, .. } = metric;
            // A gauge may have fallen.
            let grown = value.saturating_sub(told.value);
            if grown > 0 && WARNED_OF.contains(&name) {
                log::warn!(target: "pushloop", "{name} grew by {grown}: {help}");
            }
        }
        self.told = counters;
    }
}

/// Tells of each request of this batch that the server itself refused.
pub(super) fn debug_refusals(events: &Events) {
    for (peer, status, why) in events.refusals() {
        match peer {
            Some(peer) => log::debug!(target: "pushloop", "{peer} got {status}: {why}"),
            None => log::debug!(target: "pushloop", "a peer got {status}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::MetricKind;

    #[test]
    fn each_is_a_counter_that_there_is() {
        let counters = Counters::default();
        for name in WARNED_OF {
            let found = counters.iter().find(|metric| metric.name == name);
            assert!(found.is_some_and(|metric| metric.kind == MetricKind::Counter), "{name}");
        }
    }
}
