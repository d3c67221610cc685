//! What TLS handshakes may take.

use std::time::Duration;

/// What TLS handshakes may take, all together. It holds from the first listener for TLS on, and each handshake
/// has to end, with the first request, within [`Config::handshake_timeout`](crate::Config::handshake_timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsLimits {
    /// Handshakes that are open at once, from the accept to the last message of the client. Default 1,024. If
    /// more come, the one that began first makes room and is counted; while handshakes wait for
    /// [time](Self::handshake_time_per_turn), newcomers wait in the kernel instead. 0 counts as 1.
    pub handshakes_max: usize,
    /// How long handshakes may take of one turn, but for the last one. Default 1 ms: a signature takes 30 µs
    /// with P-256, and 1 ms with RSA of 2048 bits. Those that are left go on in the next turn.
    pub handshake_time_per_turn: Duration,
}

impl Default for TlsLimits {
    fn default() -> Self {
        Self { handshakes_max: 1024, handshake_time_per_turn: Duration::from_millis(1) }
    }
}
