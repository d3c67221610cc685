//! The names of the reasons why a connection is over.

use super::Reason;

impl Reason<'_> {
    /// One word for it, as for a log: `peer`, `local`, `aborted`, `protocol`, `lost`, `timeout`, `idle`, `overflow`,
    /// `full` or `shutdown`.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::Peer { .. } => "peer",
            Reason::Local { .. } => "local",
            Reason::Aborted => "aborted",
            Reason::Protocol(_) => "protocol",
            Reason::Lost => "lost",
            Reason::TimedOut => "timeout",
            Reason::Idle => "idle",
            Reason::Overflow => "overflow",
            Reason::ProcessFull => "full",
            Reason::Shutdown => "shutdown",
        }
    }
}
