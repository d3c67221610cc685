//! The flush: what is written in a turn, just before it sleeps.
//!
//! Connections with something new of their own come first. Then come connections that lagged and can
//! read on, and then the passes along the topics' subscribers, each within a budget. In whichever phase
//! the flush comes to a connection, the connection gets everything that there is for it in one write.

use super::{
    Hub,
    passes::Next,
    take::{Pieces, Taking},
    topics::Topics,
};
use crate::{
    conn::{Commons, Connection, DEFLATE_COST_MAX, Flushed, Outbox, State, WorkFlags},
    event::{Cause, ConnId, Events, Record},
};

/// What became of a write, or of a flush.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteResult {
    /// The network took so many bytes. After a flush, everything that it held is with the kernel.
    Wrote(usize),
    /// The network takes nothing now, or holds what the kernel does not take. It will tell when the
    /// connection is writable.
    Blocked,
    /// The connection is gone.
    Lost,
}

/// Where a connection's output goes.
pub(crate) trait Outlet {
    /// Writes some or all of `output`.
    fn write(&mut self, output: &[u8]) -> WriteResult;

    /// Hands on what the network holds, if it holds something.
    fn flush(&mut self) -> WriteResult;
}

/// Bytes given to one write, at the most: what is gathered for it is copied.
const WRITE_BYTES_MAX: usize = 128 * 1024;
/// Subscribers of one topic that are written to before those of the next have their turn.
const QUANTUM: usize = 64;
/// Steps along lists of subscribers for each write that a turn's budget has.
const STEPS_PER_WRITE: usize = 16;

/// Which connections the flush is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Connections with something new of their own.
    #[default]
    Own,
    /// Connections that lagged, and are not blocked.
    Pulls,
    /// Subscribers, along the topics' lists.
    Passes,
}

/// What a phase may still do in this turn.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    writes: usize,
    bytes: usize,
}

impl Budget {
    fn is_spent(self) -> bool {
        self.writes == 0 || self.bytes == 0
    }
}

/// How far a flush has come.
#[derive(Debug, Default)]
pub(super) struct FlushCursor {
    phase: Phase,
    /// Connections that were listed when the flush began and are left: dirty ones, and pulls.
    dirty: usize,
    pulls: usize,
    budget: Budget,
    /// Writes to the first topic's subscribers until the next topic has its turn; and steps that are
    /// left in this turn.
    quantum: usize,
    steps: usize,
    pieces: Pieces,
}

impl FlushCursor {
    /// Writes as much as the connection's budget allows. Gives how many bytes that were, and whether
    /// nothing is left here; `None` if the connection is gone.
    #[inline]
    fn write_out(
        &mut self,
        id: ConnId,
        connection: &mut Connection,
        topics: &mut Topics,
        commons: &mut Commons,
        outlet: &mut impl Outlet,
    ) -> Option<(usize, bool)> {
        let own_budget = commons.config.write_bytes_per_turn;
        let budget = match self.phase {
            Phase::Own => own_budget,
            Phase::Pulls if !connection.flags.has(WorkFlags::BEHIND) => {
                own_budget.min(self.budget.bytes)
            }
            // It gets all that there is, or would stay behind what is published meanwhile.
            Phase::Pulls | Phase::Passes => self.budget.bytes,
        };
        let (mut sent, mut end) = (0, End::Budget);
        // Most often there is a line and nothing else, and one write takes it.
        if !connection.flags.has(WorkFlags::BEHIND)
            && !topics.may_have_news(id.index)
            && let Some(outbox) = connection.outbox.get_mut()
            && outbox.is_line()
        {
            (sent, end) = write_line(outbox, budget, commons, outlet);
        }
        if end == End::Budget {
            let taking = Taking { id, connection, topics, commons };
            let (more, ended) = self.write_pieces(taking, budget - sent, outlet);
            (sent, end) = (sent + more, ended);
        }
        commons.tally.bytes_sent.add(sent as u64);
        if self.phase != Phase::Own {
            self.budget.writes = self.budget.writes.saturating_sub(1);
            self.budget.bytes = self.budget.bytes.saturating_sub(sent);
        }
        let is_blocked = match end {
            End::Lost => return None,
            End::Blocked => true,
            End::Over | End::Budget => match outlet.flush() {
                WriteResult::Wrote(_) => false,
                WriteResult::Blocked => true,
                WriteResult::Lost => return None,
            },
        };
        if is_blocked {
            connection.handle_blocked(commons.now);
        }
        Some((sent, end == End::Over))
    }

    /// Writes what there is in pieces, up to `budget` bytes. Gives how many bytes that were.
    #[inline(never)]
    fn write_pieces(
        &mut self,
        mut taking: Taking<'_>,
        budget: usize,
        outlet: &mut impl Outlet,
    ) -> (usize, End) {
        let pieces = &mut self.pieces;
        let mut sent = 0;
        while sent < budget {
            let max = (budget - sent).min(WRITE_BYTES_MAX);
            if !taking.collect(pieces, max) {
                return (sent, End::Over);
            }
            match outlet.write(taking.next_write(pieces, max)) {
                WriteResult::Wrote(n) => {
                    sent += n;
                    taking.advance(pieces, n);
                    if pieces.are_over_at(n) {
                        return (sent, End::Over);
                    }
                }
                WriteResult::Blocked => return (sent, End::Blocked),
                WriteResult::Lost => return (sent, End::Lost),
            }
        }
        (sent, End::Budget)
    }
}

/// Why a connection is written to no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is left here.
    Over,
    Budget,
    Blocked,
    Lost,
}

/// Writes what it can of the line at once. Gives how many bytes that were.
#[inline(always)]
fn write_line(
    outbox: &mut Outbox,
    budget: usize,
    commons: &mut Commons,
    outlet: &mut impl Outlet,
) -> (usize, End) {
    let len = outbox.line().len();
    match outlet.write(&outbox.line()[..len.min(budget).min(WRITE_BYTES_MAX)]) {
        WriteResult::Wrote(n) => {
            outbox.advance_line(n, commons);
            (n, if n == len { End::Over } else { End::Budget })
        }
        WriteResult::Blocked => (0, End::Blocked),
        WriteResult::Lost => (0, End::Lost),
    }
}

impl Hub {
    pub(crate) fn begin_flush(&mut self) {
        self.topics.seal(&mut self.commons);
        self.commons.deflate_budget = DEFLATE_COST_MAX;
        self.flush.phase = Phase::Own;
        self.dirty.forget_taken();
        self.pulls.forget_taken();
        (self.flush.dirty, self.flush.pulls) = (self.dirty.len(), self.pulls.len());
    }

    /// The next connection to write to; the same one may come twice.
    #[inline]
    pub(crate) fn next_to_flush(&mut self) -> Option<ConnId> {
        if self.flush.phase == Phase::Own {
            if self.flush.dirty > 0 {
                self.flush.dirty -= 1;
                return self.dirty.pop();
            }
            // Most turns end here.
            if self.pulls.is_empty() && self.topics.passes.is_empty() {
                return None;
            }
            self.begin_phase(Phase::Pulls);
        }
        self.next_reader()
    }

    /// The next connection to write to in the phases after the first.
    #[inline(never)]
    fn next_reader(&mut self) -> Option<ConnId> {
        if self.flush.phase == Phase::Pulls {
            if !self.flush.budget.is_spent() && self.flush.pulls > 0 {
                self.flush.pulls -= 1;
                return self.pulls.pop();
            }
            self.begin_phase(Phase::Passes);
        }
        self.next_of_passes()
    }

    fn begin_phase(&mut self, phase: Phase) {
        let config = &self.commons.config;
        self.flush.budget =
            Budget { writes: config.fan_out_writes_per_turn, bytes: config.fan_out_bytes_per_turn };
        self.flush.steps = config.fan_out_writes_per_turn.saturating_mul(STEPS_PER_WRITE);
        (self.flush.phase, self.flush.quantum) = (phase, QUANTUM);
    }

    /// The next unserved subscriber, as long as there is a budget. Topics take turns.
    fn next_of_passes(&mut self) -> Option<ConnId> {
        while let Some(&topic) = self.topics.passes.front() {
            if self.flush.budget.is_spent() || self.flush.steps == 0 {
                return None;
            }
            self.flush.steps -= 1;
            if self.flush.quantum == 0 {
                self.flush.quantum = QUANTUM;
                self.topics.passes.rotate_left(1);
                continue;
            }
            match self.topics.next_unserved(topic, &mut self.flush.steps) {
                Next::Connection(index) if self.is_blocked(index) => {
                    self.topics.park_unserved(topic);
                }
                Next::Connection(index) => {
                    self.flush.quantum -= 1;
                    return Some(self.id_at(index));
                }
                Next::Later => return None,
                Next::Over => {
                    self.flush.quantum = QUANTUM;
                    self.topics.passes.pop_front();
                    if self.topics.end_pass(topic, &mut self.commons) {
                        self.topics.passes.push_back(topic);
                    }
                }
            }
        }
        None
    }

    /// Whether a connection takes nothing now. If so it is noted as behind: a subscription of it is
    /// about to be parked.
    fn is_blocked(&mut self, index: u32) -> bool {
        let Some(slot) = self.slots.get_mut(index as usize) else { return false };
        let is_blocked = slot.connection.is_blocked();
        if is_blocked {
            slot.connection.flags.set(WorkFlags::BEHIND);
        }
        is_blocked
    }

    /// Writes to the connection what there is for it, until nothing is left, the kernel is full, or its
    /// budget is spent. True if its writing side is to be shut down.
    pub(crate) fn flush_one(
        &mut self,
        id: ConnId,
        events: &mut Events,
        outlet: &mut impl Outlet,
    ) -> bool {
        let Some(mut slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        if self.flush.phase != Phase::Passes {
            slot.connection.flags.clear(WorkFlags::DIRTY);
        }
        if slot.connection.is_blocked() {
            return false;
        }
        if slot.connection.flags.has(WorkFlags::BEHIND) {
            self.apply_policies(id);
            let Some(it) = Self::slot_mut(&mut self.slots, id) else { return false };
            slot = it;
        }
        let (topics, commons) = (&mut self.topics, &mut self.commons);
        let connection = &mut slot.connection;
        let written = self.flush.write_out(id, connection, topics, commons, outlet);
        let Some((sent, is_over)) = written else {
            self.handle_lost(id, events);
            return false;
        };
        let connection = &mut slot.connection;
        if is_over && connection.is_calm(&mut self.commons) && !self.watches.any() {
            return false;
        }
        let has_recovered = connection.handle_written(sent, is_over, &mut self.commons);
        self.end_writing(id, has_recovered, is_over, events)
    }

    fn apply_policies(&mut self, id: ConnId) {
        let is_open = self.is_open(id);
        if !self.topics.apply_policies(id, is_open, &mut self.commons) {
            // The peer would take what is behind the gap for what was published next.
            self.leave_topics(id, false);
            self.close_slow(id, "topic_lag_bytes_max");
        }
    }

    /// The connection has had its writes of this phase, and with `is_over` got all that there is for it.
    /// True if its writing side is to be shut down.
    fn end_writing(
        &mut self,
        id: ConnId,
        has_recovered: bool,
        is_over: bool,
        events: &mut Events,
    ) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        let connection = &mut slot.connection;
        if connection.is_blocked() {
            if self.watches.is_below(id, connection) {
                events.records.push(Record::Writable { id });
            }
            self.topics.handle_blocked(id, &mut self.commons);
            self.arm(id);
            return false;
        }
        let is_below = self.watches.is_below(id, connection);
        if (has_recovered || is_below) && connection.takes_output() {
            events.records.push(Record::Writable { id });
        }
        if !is_over {
            Self::mark_dirty(slot, &mut self.pulls, id);
            // A topic that it has left, and read to the end of, waits for it no longer.
            self.topics.forget_leaving(id, false, &mut self.commons);
            return false;
        }
        if connection.flags.has(WorkFlags::BEHIND) {
            connection.flags.clear(WorkFlags::BEHIND);
            self.topics.catch_up(id, &mut self.commons);
        }
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        match slot.connection.handle_flushed(&self.commons) {
            Flushed::Idle => false,
            Flushed::NextRequest => {
                self.resumed.push_back(id);
                self.arm(id);
                if self.is_shutting_down() {
                    self.expire_idle_request(id);
                }
                false
            }
            Flushed::SendFin => {
                // The peer's end is to be read, too: it may have come while FIN could not be sent.
                Self::mark_readable(slot, &mut self.readable, id);
                self.arm(id);
                true
            }
        }
    }

    /// The connection's FIN is out.
    pub(crate) fn handle_finished(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        slot.connection.handle_finished(&self.commons);
        self.arm(id);
    }

    /// The network holds something of the connection, or could not send FIN, until the connection is
    /// writable.
    pub(crate) fn handle_write_blocked(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        slot.connection.handle_blocked(self.commons.now);
        self.topics.handle_blocked(id, &mut self.commons);
        self.arm(id);
    }

    pub(crate) fn end_flush(&mut self, events: &mut Events) {
        self.flush.pieces.rest();
        if self.commons.may_sweep() {
            self.commons.sweep();
        }
        self.commons.tally.list_steps.add(std::mem::take(&mut self.topics.steps));
        let max = self.commons.config.send_queues_bytes_max;
        let keep_bytes = max / 5 * 4;
        if self.commons.queued_bytes > keep_bytes {
            self.topics.trim_line(keep_bytes, &mut self.commons);
            self.shed(keep_bytes, events);
        } else {
            self.shed_above = 0;
        }
    }

    /// Frees memory until `keep_bytes` or less wait in the process. First, long batches that are kept
    /// for the short rest of one publication are freed. Then the blocked connections for which most
    /// waits are closed. All connections are gone through, and so not again before a sixteenth of the
    /// limit more waits.
    fn shed(&mut self, keep_bytes: usize, events: &mut Events) {
        let queued = self.commons.queued_bytes;
        if queued <= keep_bytes || queued < self.shed_above {
            return;
        }
        let mut lagging = Vec::new();
        for (index, slot) in &mut self.slots {
            self.topics.steps += 1;
            if slot.connection.is_blocked()
                && let Some(outbox) = slot.connection.outbox.get_mut()
            {
                outbox.unpin(&mut self.commons);
                let bytes = outbox.share();
                // One that was told before goes first: with it goes what has begun to leave.
                lagging.push((!slot.connection.is_open(), bytes, index as u32));
            }
        }
        // No connection is closed for a batch of which it held a short end.
        self.commons.sweep_all();
        lagging.sort_unstable_by(|a, b| b.cmp(a));
        let mut excess = self.commons.queued_bytes.saturating_sub(keep_bytes);
        for (_, bytes, index) in lagging {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes);
            self.shed_connection(self.id_at(index), events);
        }
        self.commons.sweep_all();
        let step = self.commons.config.send_queues_bytes_max / 16;
        self.shed_above = self.commons.queued_bytes + step;
    }

    fn shed_connection(&mut self, id: ConnId, events: &mut Events) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if !matches!(slot.connection.state, State::Open { .. } | State::Closing { .. }) {
            // It is an answer that its peer does not read.
            let (records, commons) = (&mut events.records, &mut self.commons);
            let outcome = slot.connection.handle_lost(id, Cause::Overflow, records, commons);
            return self.act_on(id, outcome);
        }
        self.leave_topics(id, false);
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if let Some(outbox) = slot.connection.outbox.get_mut() {
            let dropped = outbox.drop_unbegun(&mut self.commons);
            self.commons.tally.messages_dropped_full.add(dropped);
            if dropped == 0 && !slot.connection.is_open() {
                // It was told before, and does not read what has begun to leave.
                return self.handle_lost(id, events);
            }
        }
        self.close_slow(id, "send_queues_bytes_max");
    }
}

#[cfg(test)]
mod tests;
