//! The flush: every connection that something waits for is written to, once.
//!
//! Topics come first: each finishes its log of this turn, and each of its subscribers takes its
//! range and is written to at once, so that however many subscribe, only one outbox is in use.

use super::Hub;
use crate::{
    conn::{Flushed, State},
    event::{Cause, ConnId, Events, Record},
};

/// How far a flush has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    on: bool,
    /// Counts flushes, so that a connection is written to once in each.
    turn: u32,
    /// In the lists of the sealed topics' subscribers.
    place: (usize, usize),
    /// Connections that were dirty when the flush began, and how many of them are done.
    dirty: Vec<ConnId>,
    done: usize,
    /// Where short pieces are gathered for one write.
    scratch: Vec<u8>,
}

impl Progress {
    pub(super) fn is_on(&self) -> bool {
        self.on
    }
}

/// Capacity of `scratch` that is kept from turn to turn.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

impl Hub {
    pub(crate) fn begin_flush(&mut self) {
        self.topics.seal(&mut self.commons);
        self.flush.on = true;
        self.flush.turn = self.flush.turn.wrapping_add(1);
        if self.flush.turn == 0 {
            // Once in four thousand million turns, lest an old mark look new.
            self.slots.iter_mut().for_each(|(_, slot)| slot.flushed_in = 0);
            self.flush.turn = 1;
        }
        (self.flush.place, self.flush.done) = ((0, 0), 0);
        std::mem::swap(&mut self.flush.dirty, &mut self.dirty);
    }

    /// The next connection to write to; the same one may come twice.
    pub(crate) fn next_to_flush(&mut self) -> Option<ConnId> {
        if let Some(index) = self.topics.subscriber_at(&mut self.flush.place) {
            return Some(self.id_at(index));
        }
        let id = *self.flush.dirty.get(self.flush.done)?;
        self.flush.done += 1;
        Some(id)
    }

    /// Hands the connection what its topics have for it, and says how many bytes may be written to
    /// it in this turn: 0 if there is nothing to write, or the kernel takes nothing.
    ///
    /// What waits beyond its limit does not wait for the next turn: only a kernel that is full makes
    /// a peer too slow.
    pub(crate) fn prepare(&mut self, id: ConnId) -> usize {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return 0 };
        let news =
            slot.topics.as_slice().iter().any(|subscription| self.topics.has_news(*subscription));
        if !news && (!slot.dirty || slot.flushed_in == self.flush.turn) {
            return 0;
        }
        slot.dirty = false;
        slot.flushed_in = self.flush.turn;
        let connection = &mut slot.connection;
        let lags = connection.kernel_full;
        let deflated = connection.deflation.takes_shared();
        if let Some(outbox) = connection.outbox.get_mut() {
            let finish = |topic, frames| self.topics.finish(topic, frames, lags, deflated);
            let replaced = outbox.resolve(lags, &mut self.commons, finish);
            self.commons.tally.messages_conflated.add(replaced);
        }
        if news {
            connection.last_message = self.commons.now;
            for subscription in slot.topics.as_slice() {
                self.topics.hand_over(*subscription, connection, &mut self.commons);
            }
        }
        if connection.kernel_full {
            self.enforce_limit(id);
            return 0;
        }
        let config = &self.commons.config;
        let excess = connection.outbox.bytes().saturating_sub(config.send_queue_bytes_max);
        config.write_bytes_per_turn.max(excess)
    }

    /// What to write next, at most `max` bytes; empty if nothing waits.
    pub(crate) fn output(&mut self, id: ConnId, max: usize) -> &[u8] {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return &[] };
        match slot.connection.outbox.get() {
            Some(outbox) => outbox.next_write(&mut self.flush.scratch, max),
            None => &[],
        }
    }

    /// The kernel took `n` bytes of the output. True if more waits.
    pub(crate) fn handle_written(&mut self, id: ConnId, n: usize) -> bool {
        self.commons.tally.bytes_sent.add(n as u64);
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        if let Some(outbox) = slot.connection.outbox.get_mut() {
            outbox.advance(n, &mut self.commons);
        }
        !slot.connection.outbox.rest_if_empty(&mut self.commons)
    }

    /// The kernel takes nothing more for now.
    pub(crate) fn handle_kernel_full(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        slot.connection.kernel_full = true;
        if let Some(outbox) = slot.connection.outbox.get_mut() {
            let dropped = outbox.keep_latest(&mut self.commons);
            self.commons.tally.messages_conflated.add(dropped);
        }
    }

    /// The connection had its writes of this turn. True if its writing side is to be shut down.
    pub(crate) fn handle_flushed(&mut self, id: ConnId, events: &mut Events) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        let connection = &mut slot.connection;
        connection.backlog = connection.outbox.get().is_some_and(|outbox| !outbox.is_empty());
        if connection.backlog {
            if !slot.connection.kernel_full {
                Self::mark_dirty(slot, &mut self.dirty, id);
            }
            self.enforce_limit(id);
            return false;
        }
        if std::mem::take(&mut slot.connection.was_full) && slot.connection.is_open() {
            events.records.push(Record::Writable { id });
        }
        match slot.connection.handle_flushed(&self.commons) {
            Flushed::Idle => false,
            Flushed::NextRequest => {
                self.resumed.push(id);
                self.arm(id);
                if self.is_shutting_down() {
                    self.expect_no_request(id);
                }
                false
            }
            Flushed::SendFin => {
                Self::mark_readable(slot, &mut self.readable, id);
                self.arm(id);
                true
            }
        }
    }

    /// Applies the policy if more waits than may: after the kernel has had its chance.
    fn enforce_limit(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        let config = &self.commons.config;
        let keep_bytes = config.send_queue_bytes_max;
        if slot.connection.outbox.bytes() <= keep_bytes
            || !matches!(slot.connection.state, State::Open { .. })
        {
            return;
        }
        let Some(outbox) = slot.connection.outbox.get_mut() else { return };
        let dropped = outbox.drop_newest(keep_bytes, &mut self.commons);
        if dropped > 0 {
            slot.connection.deflation.forget_sent();
        }
        self.commons.tally.messages_dropped_full.add(dropped);
        if outbox.bytes() - outbox.control_bytes() > keep_bytes {
            self.close_for(id, Cause::Overflow);
        }
    }

    pub(crate) fn end_flush(&mut self, events: &mut Events) {
        self.flush.on = false;
        self.flush.dirty.clear();
        if self.flush.scratch.capacity() > SCRATCH_BYTES_MAX {
            self.flush.scratch.shrink_to(SCRATCH_BYTES_MAX);
        }
        self.topics.unseal(&mut self.commons);
        while let Some(id) = self.leaving.pop() {
            self.leave_topics(id, false);
        }
        let max = self.commons.config.send_queues_bytes_max;
        if self.commons.queued_bytes > max / 5 * 4 {
            self.shed(max / 5 * 4, events);
        }
    }

    /// Frees memory until no more than `keep_bytes` wait in the process: first what a short end
    /// keeps of a long log, then the connections that lag most.
    fn shed(&mut self, keep_bytes: usize, events: &mut Events) {
        let mut lagging = Vec::new();
        for (index, slot) in &mut self.slots {
            if let Some(outbox) = slot.connection.outbox.get_mut() {
                outbox.unpin(&mut self.commons);
                lagging.push((outbox.bytes(), index as u32));
            }
        }
        lagging.sort_unstable_by(|a, b| b.cmp(a));
        for (_, index) in lagging {
            if self.commons.queued_bytes <= keep_bytes {
                break;
            }
            self.shed_connection(self.id_at(index), events);
        }
    }

    fn shed_connection(&mut self, id: ConnId, events: &mut Events) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if !matches!(slot.connection.state, State::Open { .. } | State::Closing { .. }) {
            // An answer that its asker does not read.
            return self.handle_lost(id, events);
        }
        if let Some(outbox) = slot.connection.outbox.get_mut() {
            let dropped = outbox.drop_all(&mut self.commons);
            outbox.unpin(&mut self.commons);
            self.commons.tally.messages_dropped_full.add(dropped);
        }
        self.close_for(id, Cause::Overflow);
    }
}
