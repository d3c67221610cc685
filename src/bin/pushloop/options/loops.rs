//! What several loops of one process do not have.

use super::Taken;

impl Taken {
    /// What would be so of each loop, and not of the server, is refused.
    pub(super) fn check_loops(&self) -> Result<(), String> {
        if self.options.loops == 1 {
            return Ok(());
        }
        self.refuse(&["redis"], "one loop asks a broker: not with --loops")?;
        self.refuse(&["history-file"], "one loop writes it: not with --loops")?;
        self.refuse(&["hook-url"], "one loop asks and tells a backend: not with --loops")?;
        self.refuse(&["pusher-app"], "one loop has Pusher's clients: not with --loops")?;
        self.refuse(&["centrifuge"], "one loop has Centrifugo's clients: not with --loops")?;
        if self.options.patterns.any(|it| it.presence) {
            return Err("--presence is known to one loop: not with --loops".to_owned());
        }
        let limits = [
            "client-connections-max",
            "client-connections-per-second",
            "publications-per-second",
            "publication-bytes-per-second",
            "subject-connections-max",
        ];
        self.refuse(&limits, "each loop would count for itself: not with --loops")
    }
}
