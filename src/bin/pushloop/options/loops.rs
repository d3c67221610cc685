//! What several loops of one process do not have, or have with a broker only.

use super::Taken;

/// Why what a broker has to know is refused without one.
const NEEDS_BROKER: &str = "several loops have it with --redis: not with --loops alone";

impl Taken {
    /// What would be so of each loop, and not of the server, is refused.
    pub(super) fn check_loops(&self) -> Result<(), String> {
        if self.options.loops == 1 {
            return Ok(());
        }
        if self.options.broker.url.is_none() {
            self.refuse(&["pusher-app", "centrifuge"], NEEDS_BROKER)?;
            if self.options.patterns.any(|it| it.presence) {
                return Err(format!("--presence: {NEEDS_BROKER}"));
            }
        }
        self.refuse(&["history-file"], "one loop writes it: not with --loops")?;
        let limits = [
            "client-connections-max",
            "client-connections-per-second",
            "publications-per-second",
            "publication-bytes-per-second",
        ];
        self.refuse(&limits, "each loop would count for itself: not with --loops")
    }
}
