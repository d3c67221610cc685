//! What the threads of the server tell each other.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use pushloop::Counters;

/// What the threads tell each other.
#[derive(Debug, Default)]
pub struct Status {
    /// Turns of the loop that were found to take a second or more.
    pub slow_turns: AtomicU64,
    /// Requests that were refused because their connections came when there was no place.
    pub turned_away: AtomicU64,
}

impl Status {
    /// Connections that were refused, before or after they asked for something.
    pub fn refused(&self, counters: &Counters) -> u64 {
        counters.connections_refused + self.turned_away.load(Ordering::Relaxed)
    }
}

/// Says something on standard error, where somebody may be who can be told.
pub fn say(what: &str) {
    let _ = writeln!(io::stderr(), "pushloop: {what}");
}
