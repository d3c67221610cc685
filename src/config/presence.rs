//! The limits of presence.

use std::time::Duration;

/// The limits of a [`Presence`](crate::Presence), and how long it waits for those that come back.
///
/// Members are at most [`members_total_max`](Self::members_total_max), each with an id and an info: with
/// the defaults, that is 125 MiB at the worst, and some 20 MiB as a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceConfig {
    /// How long after its last connection a member leaves. Default 10 s: a page that is reloaded, or an
    /// event stream that is lost and comes back, neither leaves nor joins.
    pub leave_delay: Duration,
    /// Members of one topic, with those that are about to leave. Default 10,000.
    pub members_max: usize,
    /// Members of all topics together. Default 100,000.
    pub members_total_max: usize,
    /// Topics that have members. Default 10,000.
    pub topics_max: usize,
    /// Bytes of a member's id. Default 255.
    pub id_bytes_max: usize,
    /// Bytes of a member's info. Default 1,024.
    pub info_bytes_max: usize,
    /// Leaves carried out in one turn: each is a publication. Default 256; 0 counts as 1. What is due
    /// beyond goes on in the next turn.
    pub leaves_per_turn: usize,
}

impl Default for PresenceConfig {
    fn default() -> Self {
        Self {
            leave_delay: Duration::from_secs(10),
            members_max: 10_000,
            members_total_max: 100_000,
            topics_max: 10_000,
            id_bytes_max: 255,
            info_bytes_max: 1024,
            leaves_per_turn: 256,
        }
    }
}
