//! The keys of the server's timers: no two are alike. Timers of one request each have theirs behind a high bit, which
//! `service/asking.rs` and `service/brokering.rs` give them.

/// What is due.
#[repr(u64)]
pub enum Timer {
    Stats,
    Presence,
    Sweep,
    Retry,
    Expiry,
    /// The broker is looked after.
    Look,
    /// There may be room for what the broker has told.
    Room,
    /// Subscriptions have waited too long for another loop.
    Open,
    Centrifuge,
    /// Channels of Pusher have been without a subscriber for long enough.
    Vacated,
}
