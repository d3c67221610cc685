//! Whether a balancer is to send clients here.

use std::sync::atomic::Ordering;

use pushloop::Hub;

use super::Service;

impl Service {
    /// Whether another loop has lost the broker.
    fn is_away_elsewhere(&self) -> bool {
        self.broker.is_some() && self.status.broker_up.load(Ordering::Relaxed) == 0
    }

    /// The answer to those that ask for it.
    pub(super) fn readiness(&self, hub: &Hub) -> (u16, &'static str) {
        if self.status.ending.load(Ordering::Relaxed) != 0 {
            return (503, "the server is about to end");
        }
        if !self.has_broker(hub) || self.is_away_elsewhere() {
            return (503, "the broker cannot be reached");
        }
        if self.status.jwks_missing.load(Ordering::Relaxed) != 0 {
            return (503, "keys have not been fetched yet (--jwks-url)");
        }
        (200, "ready")
    }
}
