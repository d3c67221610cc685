//! Text that can still become valid (RFC 6455 §8.1).

use std::str::from_utf8;

/// Whether some continuation of `bytes`, perhaps none, is UTF-8.
pub fn is_feasible(bytes: &[u8]) -> bool {
    from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}
