//! Whether a balancer is to send clients here.

use std::sync::atomic::Ordering;

use pushloop::Hub;

use super::Service;

impl Service {
    /// The answer to those that ask for it.
    pub(super) fn readiness(&self, hub: &Hub) -> (u16, &'static str) {
        if self.status.ending.load(Ordering::Relaxed) != 0 {
            return (503, "the server is about to end");
        }
        if !self.has_broker(hub) {
            return (503, "the broker cannot be reached");
        }
        if self.status.jwks_missing.load(Ordering::Relaxed) != 0 {
            return (503, "keys have not been fetched yet (--jwks-url)");
        }
        (200, "ready")
    }
}
