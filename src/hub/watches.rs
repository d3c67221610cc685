//! Connections of which the application is to be told when less waits for them, for pacing.

use std::collections::BTreeMap;

use super::Hub;
use crate::{
    conn::Connection,
    event::{ConnId, Record},
};

/// Below how many bytes the application is to be told, for each connection that it asked about.
#[derive(Debug, Default)]
pub(super) struct Watches(BTreeMap<ConnId, usize>);

impl Watches {
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the application is to be told now. It is told once.
    pub(super) fn is_below(&mut self, id: ConnId, connection: &Connection) -> bool {
        let waits = connection.outbox.bytes();
        let is_below = self.0.get(&id).is_some_and(|bytes| waits < *bytes);
        if is_below {
            self.0.remove(&id);
        }
        is_below
    }

    pub(super) fn forget(&mut self, id: ConnId) {
        if self.any() {
            self.0.remove(&id);
        }
    }
}

impl Hub {
    /// Asks for an [`Event::Writable`](crate::Event::Writable), once, when fewer than so many bytes wait
    /// to be sent to the connection directly ([`queued_bytes`](Self::queued_bytes)): for a sender that
    /// keeps a connection supplied without filling its queue. If that is so already, the event comes with
    /// the next batch. 0 counts as 1, and the last call for a connection counts.
    pub fn notify_below(&mut self, id: ConnId, bytes: usize) {
        let bytes = bytes.max(1);
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if !slot.connection.takes_output() {
            return;
        }
        self.watches.0.insert(id, bytes);
        if self.watches.is_below(id, &slot.connection) {
            self.told_next.push(Record::Writable { id });
        }
    }
}
