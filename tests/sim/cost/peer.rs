//! A peer, as the world knows it.

use std::collections::BTreeSet;
use std::time::Instant;

use pushloop::ConnId;

pub struct Peer {
    pub id: ConnId,
    pub topics: BTreeSet<usize>,
    /// Of these, those whose passes have met it since it is blocked.
    pub parked: BTreeSet<usize>,
    /// Subscriptions that ended since it was seen to be caught up.
    pub left: usize,
    /// How many bytes it takes in each turn.
    pub pace: usize,
    /// It was written to, or its kernel tells that it takes more, and it may not have been looked at
    /// since: for so many turns that get through their work.
    pub reads_on: u8,
    /// When it was first seen to take nothing.
    pub full_since: Option<Instant>,
    /// It was left out of something.
    pub is_excepted: bool,
    /// What is sent directly may wait for it.
    pub is_sent_to: bool,
}

impl Peer {
    pub fn new(id: ConnId) -> Self {
        Self {
            id,
            topics: BTreeSet::new(),
            parked: BTreeSet::new(),
            left: 0,
            pace: usize::MAX,
            reads_on: 0,
            full_since: None,
            is_excepted: false,
            is_sent_to: false,
        }
    }
}
