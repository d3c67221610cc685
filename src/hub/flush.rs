//! The flush: every connection that something waits for is written to, once.
//!
//! Topics come first: each finishes its log of this turn, and each of its subscribers takes its
//! range and is written to at once, so that however many subscribe, only one outbox is in use.

use super::{Hub, Slot, topics::Topics};
use crate::{
    conn::{Commons, Connection, Flushed, Outbox, State},
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

/// What became of a write, or of a flush.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taken {
    /// The network took so many bytes; all that it held are with the kernel, after a flush.
    Bytes(usize),
    /// It takes nothing now, or holds what the kernel does not take, and will say when it does.
    Full,
    /// The connection is gone.
    Failed,
}

/// What a connection is written to.
pub(crate) trait Outlet {
    /// Writes some or all of `output`.
    fn write(&mut self, output: &[u8]) -> Taken;

    /// Hands on what the network holds, if it does.
    fn flush(&mut self) -> Taken;
}

/// Bytes given to one write: what is gathered for it is copied.
const WRITE_BYTES_MAX: usize = 128 * 1024;
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

    /// Hands the connection what its topics have for it, and writes to it until nothing waits, the
    /// kernel is full, or its turn is over. True if its writing side is to be shut down.
    ///
    /// What waits beyond its limit does not wait for the next turn: only a kernel that is full makes
    /// a peer too slow.
    pub(crate) fn flush_one(
        &mut self,
        id: ConnId,
        events: &mut Events,
        outlet: &mut impl Outlet,
    ) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        // It has all that its topics published: their logs are sealed. Who subscribes to hundreds of
        // topics comes here for each of them, and must not go through all of them each time.
        if slot.flushed_in == self.flush.turn {
            return false;
        }
        let news =
            slot.topics.as_slice().iter().any(|subscription| self.topics.has_news(*subscription));
        if !news && !slot.connection.notes.dirty {
            return false;
        }
        slot.connection.notes.dirty = false;
        slot.flushed_in = self.flush.turn;
        Self::take_news(slot, news, &mut self.topics, &mut self.commons);
        let connection = &mut slot.connection;
        if connection.kernel_full {
            self.enforce_limit(id);
            return false;
        }
        match Self::write_out(connection, outlet, &mut self.flush.scratch, &mut self.commons) {
            Taken::Bytes(_) if connection.outbox.get().is_none() && connection.is_calm() => false,
            Taken::Bytes(_) => self.end_writing(id, events),
            Taken::Full => {
                connection.handle_write_blocked();
                if let Some(outbox) = connection.outbox.get_mut() {
                    outbox.compact();
                    let dropped = outbox.keep_latest(&mut self.commons);
                    self.commons.tally.messages_conflated.add(dropped);
                }
                self.end_writing(id, events)
            }
            Taken::Failed => {
                self.handle_lost(id, events);
                false
            }
        }
    }

    /// Writes what waits for the connection, as much as its turn allows, and flushes it. Gives how
    /// many bytes that were, or what ended it.
    #[inline]
    fn write_out(
        connection: &mut Connection,
        outlet: &mut impl Outlet,
        scratch: &mut Vec<u8>,
        commons: &mut Commons,
    ) -> Taken {
        // A Pong beside the line takes its part of what is written.
        let waits = connection.outbox.get().map_or(0, Outbox::bytes_with_pong);
        let excess = waits.saturating_sub(commons.config.send_queue_bytes_max);
        let all = commons.config.write_bytes_per_turn.max(excess);
        let mut budget = all;
        while budget > 0
            && let Some(outbox) = connection.outbox.get_mut()
        {
            let output = outbox.next_write(scratch, budget.min(WRITE_BYTES_MAX));
            if output.is_empty() {
                break;
            }
            match outlet.write(output) {
                Taken::Bytes(n) => {
                    budget -= n;
                    commons.tally.bytes_sent.add(n as u64);
                    outbox.advance(n, commons);
                    if connection.outbox.rest_if_empty(commons) {
                        break;
                    }
                }
                stopped @ (Taken::Full | Taken::Failed) => return stopped,
            }
        }
        match outlet.flush() {
            Taken::Bytes(_) => Taken::Bytes(all - budget),
            stopped @ (Taken::Full | Taken::Failed) => stopped,
        }
    }

    /// Turns what the connection's topics have for it in this turn into ranges of their logs.
    #[inline]
    fn take_news(slot: &mut Slot, news: bool, topics: &mut Topics, commons: &mut Commons) {
        let connection = &mut slot.connection;
        if let Some(outbox) = connection.outbox.get_mut()
            && outbox.has_pending()
        {
            let lags = connection.kernel_full;
            let deflated = connection.deflation.takes_shared();
            let finish = |topic, frames| topics.finish(topic, frames, lags, deflated);
            let replaced = outbox.resolve(lags, commons, finish);
            commons.tally.messages_conflated.add(replaced);
        }
        if news {
            connection.note_message(commons.now);
            for subscription in slot.topics.as_slice() {
                topics.hand_over(*subscription, connection, commons);
            }
        }
    }

    /// The connection had its writes of this turn. True if its writing side is to be shut down.
    fn end_writing(&mut self, id: ConnId, events: &mut Events) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        let connection = &mut slot.connection;
        connection.handle_written(&self.commons);
        let waits = connection.outbox.get().is_some_and(|outbox| !outbox.is_empty());
        connection.backlog = waits || connection.kernel_full;
        if connection.backlog {
            if !connection.kernel_full {
                Self::mark_dirty(slot, &mut self.dirty, id);
            }
            self.enforce_limit(id);
            return false;
        }
        if std::mem::take(&mut connection.was_full) && connection.is_open() {
            events.records.push(Record::Writable { id });
        }
        match connection.handle_flushed(&self.commons) {
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
                // The peer's end, too, which may have been read while FIN could not be sent.
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
        let control_bytes = outbox.control_bytes();
        let dropped = outbox.drop_newest(keep_bytes + control_bytes, &mut self.commons);
        if dropped > 0 {
            slot.connection.deflation.forget_sent();
        }
        self.commons.tally.messages_dropped_full.add(dropped);
        if outbox.bytes() - control_bytes > keep_bytes {
            self.close_for(id, Cause::Overflow);
        }
    }

    /// The connection's FIN is out.
    pub(crate) fn handle_finished(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        slot.connection.handle_finished(&self.commons);
        self.arm(id);
    }

    /// The network holds something of the connection until it is writable, or could not send FIN.
    pub(crate) fn handle_write_blocked(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        slot.connection.handle_write_blocked();
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
            if dropped == 0 && !slot.connection.is_open() {
                // It was told, and does not read what had begun to leave.
                return self.handle_lost(id, events);
            }
        }
        self.close_for(id, Cause::Overflow);
    }
}
