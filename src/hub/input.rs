//! What the server brings: connections, readiness, bytes, ends, and commands of other threads.

use std::{mem, net::SocketAddr, ops::Range};

use super::{Hub, Slot, read_queue::ReadQueue};
use crate::{
    conn::{Connection, Deflation, LastWords, Outcome, PANICKED, State, Unread, WorkFlags},
    counters::LayerCounts,
    event::{Cause, ConnId, Events},
    wire::{CloseCode, Response},
};

impl Hub {
    /// A connection was accepted; `None` if there is no place for it.
    pub(crate) fn handle_accepted(
        &mut self,
        peer: Option<SocketAddr>,
        is_proxied: bool,
    ) -> Option<ConnId> {
        let count = self.connection_count();
        if count >= self.places() || self.shutdown.is_some() {
            self.commons.tally.connections_refused.add(1);
            return None;
        }
        let generation = self.next_generation;
        // 0 and u32::MAX are not connections'.
        let (first, step) = self.generations;
        let next = generation.checked_add(step).filter(|next| *next < u32::MAX);
        self.next_generation = next.unwrap_or(first);
        let mut connection = Connection::new(peer, is_proxied, &self.commons);
        connection.generation = generation;
        let index = self.slots.insert(Slot { connection }) as u32;
        let id = ConnId { index, generation };
        self.commons.begin_delivered(id);
        if count >= self.commons.config.connections_max {
            self.take_into_reserve(id);
        }
        self.seat_client(id, peer, is_proxied);
        self.commons.tally.connections_open.add(1);
        self.arm(id);
        Some(id)
    }

    /// An accepted connection is registered: it lives.
    pub(crate) fn handle_registered(&mut self) {
        self.commons.tally.connections_accepted.add(1);
    }

    /// Where the server listens: whether all its TCP listeners are bound to loopback addresses.
    pub(crate) fn handle_listening(&mut self, on_loopback: bool) {
        self.commons.on_loopback = on_loopback;
    }

    /// What was known of the connections of which the slots were freed before is needed no more.
    pub(crate) fn forget_ended(&mut self) {
        self.commons.ended.clear();
    }

    /// The connection's slot is needed no more; `None` when there is no further one.
    #[inline]
    pub(crate) fn next_closed(&mut self) -> Option<ConnId> {
        let id = self.closed.pop()?;
        self.commons.end_delivered(id);
        self.slots.remove(id.index as usize);
        self.wheel.clear(id.index);
        self.clients.leave(id, self.now);
        self.commons.tally.connections_open.sub(1);
        Some(id)
    }

    /// Makes the batch ready; what was decided since the last one becomes events, and last words
    /// are said.
    pub(crate) fn begin_turn(&mut self, events: &mut Events) {
        let bytes = self.commons.config.batch_bytes();
        events.begin(bytes, |assembled| self.commons.recycle_buffer(assembled));
        self.any_closed = false;
        self.answered.clear();
        events.records.append(&mut self.told_next);
        self.topics.departures = 0;
        self.requests_left = self.commons.config.requests_per_turn;
        if !self.headed.is_empty() {
            self.expect_bodies();
        }
        for _ in 0..self.ending.len() {
            if self.topics.departures >= self.commons.config.departures_per_turn {
                break;
            }
            let Some(id) = self.ending.pop_front() else { break };
            self.leave_topics(id, true);
            let Some(slot) = Self::slot_mut(&mut self.slots, id) else { continue };
            slot.connection.finish(&mut self.commons);
            Self::mark_dirty(slot, &mut self.dirty, id);
            Self::mark_readable(slot, &mut self.readable, id);
            self.arm(id);
        }
    }

    /// The application has seen the heads of the last batch. Those that it has not answered have their
    /// bodies read.
    fn expect_bodies(&mut self) {
        for id in mem::take(&mut self.headed) {
            let Some(slot) = Self::slot_mut(&mut self.slots, id) else { continue };
            if !slot.connection.is_at_head() {
                continue;
            }
            if slot.connection.expect_body(&mut self.commons) {
                Self::mark_dirty(slot, &mut self.dirty, id);
            }
            Self::mark_readable(slot, &mut self.readable, id);
            self.arm(id);
        }
    }

    /// Whether this turn must not wait: there is something to do, or to tell.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_finished()
            || !self.readable.is_empty()
            || !self.dirty.is_empty()
            || !self.pulls.is_empty()
            || !self.ending.is_empty()
            || !self.departed.is_empty()
            || !self.replays.is_empty()
            || !self.resumed.is_empty()
            || !self.headed.is_empty()
            || !self.closed.is_empty()
            || !self.topics.passes.is_empty()
            || self.commons.may_sweep()
            || self.has_items()
    }

    /// The network says that the connection can be read, or that it takes bytes again; with
    /// `read_closed`, that it is to be read up to its end.
    pub(crate) fn handle_ready(
        &mut self,
        id: ConnId,
        readable: bool,
        writable: bool,
        read_closed: bool,
    ) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if readable || read_closed {
            let news = if read_closed { Unread::End } else { Unread::Something };
            slot.connection.flags.unread = slot.connection.flags.unread.max(news);
            if slot.connection.has_departed() {
                self.departed.push(id);
            }
            Self::mark_readable(slot, &mut self.readable, id);
        }
        // Without that, the edge that every new connection brings would cost a look at it.
        if writable && slot.connection.is_blocked() {
            slot.connection.handle_room(self.commons.now);
            Self::mark_dirty(slot, &mut self.pulls, id);
            // The timer is set for the answer to a Ping, which may be later than the next Ping.
            self.arm(id);
        }
    }

    /// Tells of requests that wait although their peers have left. An earlier batch told of each: the
    /// application had its chance to answer.
    #[inline]
    pub(crate) fn handle_departed(&mut self, events: &mut Events) {
        if !self.departed.is_empty() {
            self.record_departed(events);
        }
    }

    fn record_departed(&mut self, events: &mut Events) {
        for id in self.departed.drain(..) {
            if let Some(slot) = Self::slot_mut(&mut self.slots, id)
                && slot.connection.has_departed()
            {
                slot.connection.record_gone(id, &mut events.records);
            }
        }
    }

    /// Takes input that was set aside, before any new input, if the batch has room for it. A little
    /// input can inflate to a whole batch: if others wait to be read, they and the input that was set
    /// aside have every second turn each.
    #[inline]
    pub(crate) fn handle_set_aside(&mut self, events: &mut Events) {
        if !self.resumed.is_empty() || !self.replays.is_empty() || self.set_aside_had_its_turn {
            self.take_set_aside(events);
        }
    }

    fn take_set_aside(&mut self, events: &mut Events) {
        // New connections have the other half of what a turn may do.
        for _ in 0..self.resumed.len().min(self.requests_left.div_ceil(2)) {
            self.requests_left -= 1;
            let Some(id) = self.resumed.pop_front() else { break };
            let Some(slot) = Self::slot_mut(&mut self.slots, id) else { continue };
            let outcome = slot.connection.advance_http(id, events, &mut self.commons);
            Self::mark_readable(slot, &mut self.readable, id);
            self.act_on(id, outcome);
        }
        if mem::take(&mut self.set_aside_had_its_turn) && !self.readable.is_empty() {
            return;
        }
        self.set_aside_had_its_turn = !self.replays.is_empty();
        // What is set aside anew is for the next turn.
        for _ in 0..self.replays.len() {
            if self.replays.front().is_none_or(|(_, input)| input.len() > events.room()) {
                break;
            }
            let Some((id, input)) = self.replays.pop_front() else { break };
            let start = events.filled;
            let end = start + input.len();
            events.buffer[start..end].copy_from_slice(&input);
            events.filled = end;
            self.commons.recycle_buffer(input);
            if let Some(slot) = Self::slot_mut(&mut self.slots, id) {
                slot.connection.flags.clear(WorkFlags::REPLAYING);
            }
            self.take_input_set_aside(id, events, start..end);
        }
    }

    /// A turn's reading begins. A connection that is listed now is read from in this turn; one that is
    /// listed later, in the next.
    pub(crate) fn begin_reading(&mut self, events: &Events) {
        let most = self.commons.config.read_bytes_per_turn;
        self.readable.begin_turn(events.buffer.len(), most);
        self.topics.departures = 0;
    }

    /// The next connection that waits to be read from, and how much may be read: the batch has `room`.
    pub(crate) fn next_readable(&mut self, room: usize) -> Option<(ConnId, usize)> {
        if self.topics.departures >= self.commons.config.departures_per_turn {
            return None;
        }
        let (id, portion) = self.readable.next(room, self.requests_left > 0)?;
        Some((id, portion.min(room)))
    }

    /// The connection waits no longer. Whether it is to be read from.
    pub(crate) fn begin_read(&mut self, id: ConnId) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        slot.connection.flags.clear(WorkFlags::LISTED);
        let is_read =
            slot.connection.wants_input() && !slot.connection.flags.has(WorkFlags::REPLAYING);
        if is_read && slot.connection.is_asking() {
            self.requests_left = self.requests_left.saturating_sub(1);
        }
        is_read
    }

    /// All that this turn has room for was read.
    pub(crate) fn end_reading(&mut self, events: &mut Events) {
        if self.commons.incomplete_bytes > self.commons.config.incomplete_bytes_max {
            self.shed_incomplete(events);
        }
        let excess = Deflation::excess(&self.commons);
        if excess > 0 {
            self.shed_windows(excess, events);
        }
    }

    /// What the network has counted of streams that are layers.
    pub(crate) fn handle_layer_counts(&self, counts: &LayerCounts) {
        self.commons.tally.set_layer(counts);
    }

    /// The network had nothing to read.
    pub(crate) fn handle_read_blocked(&mut self, id: ConnId) {
        if let Some(slot) = Self::slot_mut(&mut self.slots, id) {
            slot.connection.flags.unread = Unread::Nothing;
        }
    }

    /// The application panicked; over an event of this connection, if it was one's.
    pub(crate) fn handle_panic(&mut self, id: Option<ConnId>) {
        self.commons.tally.handler_panics.add(1);
        let Some(id) = id else { return };
        if self.answer_in_place(id, &Response::text(500, PANICKED)) {
            return;
        }
        if let Some(slot) = Self::slot_mut(&mut self.slots, id)
            && let State::Ending { last, .. } = &mut slot.connection.state
        {
            *last = LastWords::Panicked;
        }
        let code = CloseCode::INTERNAL_ERROR;
        self.close_open(id, code, PANICKED, Cause::Local { code });
    }

    /// A connection was turned away for want of a descriptor.
    pub(crate) fn handle_refused(&mut self) {
        self.commons.tally.connections_refused.add(1);
    }

    /// A connection could not be accepted, nor turned away.
    pub(crate) fn handle_accept_failed(&mut self) {
        self.commons.tally.accepts_failed.add(1);
    }

    /// A connection could not be registered, and so never lived.
    pub(crate) fn handle_register_failed(&mut self, id: ConnId) {
        self.commons.tally.connections_refused.add(1);
        self.closed.push(id);
    }

    /// Bytes came, or a step towards some: `events.buffer[input]`. If there is no `more`, a further
    /// read is of use after the next readiness only, or for an end that was told of.
    pub(crate) fn handle_input(
        &mut self,
        id: ConnId,
        events: &mut Events,
        input: Range<usize>,
        more: bool,
    ) {
        self.commons.tally.bytes_received.add(input.len() as u64);
        let is_long = ReadQueue::is_long(input.len(), self.commons.config.read_bytes_per_turn);
        self.take_input(id, events, input, more, Some(is_long));
    }

    // What comes from the network and what was set aside are taken by one code each: the former is the path
    // of every message.
    #[inline(always)]
    fn take_input(
        &mut self,
        id: ConnId,
        events: &mut Events,
        input: Range<usize>,
        more: bool,
        is_long: Option<bool>,
    ) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if let Some(is_long) = is_long {
            // A request that is coming has not been heard at all: it stays in the first line.
            if is_long && !slot.connection.is_asking() {
                slot.connection.flags.set(WorkFlags::READS_MUCH);
            } else {
                slot.connection.flags.clear(WorkFlags::READS_MUCH);
            }
        }
        if !more && slot.connection.flags.unread == Unread::Something {
            slot.connection.flags.unread = Unread::Nothing;
        }
        let end = input.end;
        let outcome = slot.connection.handle_input(id, events, input, &mut self.commons);
        if outcome == Outcome::Same {
            // A Pong may have been queued.
            if slot.connection.outbox.get().is_some() && !slot.connection.is_blocked() {
                Self::mark_dirty(slot, &mut self.dirty, id);
            }
            Self::mark_readable(slot, &mut self.readable, id);
        } else {
            self.act_on_input(id, events, end, outcome);
        }
    }

    #[inline(never)]
    fn take_input_set_aside(&mut self, id: ConnId, events: &mut Events, input: Range<usize>) {
        self.take_input(id, events, input, true, None);
    }

    fn act_on_input(&mut self, id: ConnId, events: &Events, end: usize, outcome: Outcome) {
        if let Outcome::Unread { at } = outcome
            && let Some(slot) = Self::slot_mut(&mut self.slots, id)
        {
            // No spare buffer, which may be large: it may wait for many turns.
            let unread = events.buffer[at..end].to_vec();
            slot.connection.flags.set(WorkFlags::REPLAYING);
            self.commons.incomplete_bytes += unread.len();
            self.replays.push_back((id, unread));
        }
        self.act_on(id, outcome);
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        Self::mark_readable(slot, &mut self.readable, id);
    }

    /// The peer will send nothing more.
    pub(crate) fn handle_eof(&mut self, id: ConnId, events: &mut Events) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        let outcome = slot.connection.handle_eof(id, events, &mut self.commons);
        self.act_on(id, outcome);
    }

    /// The connection failed in the network.
    pub(crate) fn handle_lost(&mut self, id: ConnId, events: &mut Events) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        let outcome =
            slot.connection.handle_lost(id, Cause::Lost, &mut events.records, &mut self.commons);
        self.act_on(id, outcome);
    }

    /// Does for the whole what a change of one connection asks for.
    pub(super) fn act_on(&mut self, id: ConnId, outcome: Outcome) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        match outcome {
            Outcome::Same => {}
            Outcome::Changed | Outcome::Unread { .. } => {
                if slot.connection.is_at_head() {
                    self.headed.push(id);
                } else if slot.connection.has_departed() {
                    // For the next turn: the application has not seen the request yet.
                    self.departed.push(id);
                }
                Self::mark_dirty(slot, &mut self.dirty, id);
                self.arm(id);
            }
            Outcome::Preflight => self.answer_preflight(id),
            Outcome::Over if matches!(slot.connection.state, State::Closed { .. }) => {
                self.leave_topics(id, false);
                self.wheel.clear(id.index);
                self.schedule.forget(id);
                self.watches.forget(id);
                self.closed.push(id);
            }
            Outcome::Over => {
                self.ending.push_back(id);
                self.arm(id);
            }
            Outcome::Idle => self.close_for(id, Cause::Idle),
            Outcome::Stuck => self.close_slow(id, "blocked_timeout"),
        }
    }
}

#[cfg(test)]
mod tests;
