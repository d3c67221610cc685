//! The server's own figures, for those who subscribe to them.

use std::sync::atomic::Ordering;

use pushloop::Hub;

use super::{STATS, Service};

impl Service {
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

    pub(super) fn publish_stats(&self, hub: &mut Hub) {
        let counters = self.counters(hub);
        let websockets = match &self.loops {
            Some(_) => counters.connections_open as usize,
            None => self.topics.len(),
        };
        let stats = format!(
            "{{\"connections\":{},\"deliveries\":{},\"publications\":{},\"dropped\":{},\
             \"topics\":{},\"queued_bytes\":{},\"connections_refused\":{},\"accepts_failed\":{},\
             \"handshakes_refused\":{},\"handler_panics\":{},\"slow_turns\":{},\"uptime_ms\":{}{}{}}}",
            websockets,
            counters.deliveries,
            counters.publications,
            counters.messages_dropped_full
                + counters.messages_conflated
                + counters.messages_skipped
                + counters.messages_lost,
            counters.topics,
            counters.queued_bytes,
            self.status.refused(&counters),
            counters.accepts_failed,
            counters.handshakes_refused,
            counters.handler_panics,
            self.status.slow_turns.load(Ordering::Relaxed),
            (hub.now() - self.started).as_millis(),
            self.file_stats(),
            self.gate.stats(hub),
        );
        // A refusal is counted, and the next second tries again.
        let _ = hub.publish(STATS, &stats);
    }
}
