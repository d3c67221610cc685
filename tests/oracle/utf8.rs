//! Text that can still become valid (RFC 6455 §8.1).

use std::str::from_utf8;

/// Whether some continuation of `bytes`, perhaps none, is UTF-8.
pub fn is_feasible(bytes: &[u8]) -> bool {
    from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// The length of the shortest prefix that no continuation repairs: its last byte is the culprit.
pub fn infeasible_at(bytes: &[u8]) -> Option<usize> {
    (0..=bytes.len()).find(|len| !is_feasible(&bytes[..*len]))
}
