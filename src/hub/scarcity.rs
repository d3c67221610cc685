//! What gives way when the process has no room: connections that hold most of what is incomplete, or of
//! what clients sent compressed, and connections that wait for a request that may never come.

use std::mem;

use super::Hub;
use crate::{
    conn::{State, WorkFlags},
    event::{Cause, ConnId, Events},
};

/// Places that are looked at for a descriptor to spare.
const LOOKS_MAX: usize = 1024;

impl Hub {
    /// Closes connections until four fifths of `incomplete_bytes_max` are left, if there is more: first
    /// those that have held most for longest.
    #[cold]
    pub(super) fn shed_incomplete(&mut self, events: &mut Events) {
        let keep_bytes = self.commons.config.incomplete_bytes_max / 5 * 4;
        let (mut held, mut holders) = (0, Vec::new());
        self.topics.steps += (self.slots.len() + self.replays.len()) as u64;
        for (index, slot) in &mut self.slots {
            slot.connection.compact_incomplete();
            let (bytes, ticks) = slot.connection.incomplete(&self.commons);
            if bytes > 0 {
                held += bytes;
                let id = ConnId { index: index as u32, generation: slot.connection.generation };
                holders.push((bytes.saturating_mul(ticks + 1), bytes, id));
            }
        }
        for (id, input) in &self.replays {
            held += input.len();
            holders.push((input.len(), input.len(), *id));
        }
        holders.sort_unstable_by(|a, b| b.cmp(a));
        for (_, bytes, id) in holders {
            if held <= keep_bytes {
                break;
            }
            held -= bytes;
            let Some(slot) = Self::slot_mut(&mut self.slots, id) else { continue };
            if matches!(
                slot.connection.state,
                State::Ending { .. } | State::Draining { .. } | State::Closed { .. }
            ) {
                // Closed for a larger part of what it holds, or before.
                continue;
            }
            self.commons.tally.closed_incomplete.add(1);
            let outcome = slot.connection.shed_incomplete(id, events, &mut self.commons);
            self.act_on(id, outcome);
        }
        self.forget_replays();
        self.commons.incomplete_bytes = held;
    }

    /// Closes connections until so much less is kept of what clients sent compressed: first those that
    /// have kept most for longest.
    #[cold]
    pub(super) fn shed_windows(&mut self, mut excess: usize, events: &mut Events) {
        self.topics.steps += self.slots.len() as u64;
        let mut holders = Vec::new();
        for (index, slot) in &self.slots {
            let (bytes, ticks) = slot.connection.window(&self.commons);
            if bytes > 0 {
                let id = ConnId { index: index as u32, generation: slot.connection.generation };
                holders.push((bytes.saturating_mul(ticks + 1), bytes, id));
            }
        }
        holders.sort_unstable_by(|a, b| b.cmp(a));
        for (_, bytes, id) in holders {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes);
            let Some(slot) = Self::slot_mut(&mut self.slots, id) else { continue };
            self.commons.tally.closed_windows.add(1);
            let outcome = slot.connection.shed_window(id, events, &mut self.commons);
            self.act_on(id, outcome);
        }
    }

    /// Gives up input that was set aside for connections that read no further frame.
    fn forget_replays(&mut self) {
        let (slots, readable) = (&mut self.slots, &mut self.readable);
        self.replays.retain(|(id, _)| {
            let Some(slot) = Self::slot_mut(slots, *id) else { return false };
            if slot.connection.reads_frames() {
                return true;
            }
            slot.connection.flags.clear(WorkFlags::REPLAYING);
            Self::mark_readable(slot, readable, *id);
            false
        });
    }

    /// No descriptor is left for a new connection. Ends a connection that waits for its next request and
    /// gives its id, so that its descriptor can be closed; `None` if none was found.
    pub(crate) fn spare_descriptor(&mut self, events: &mut Events) -> Option<ConnId> {
        let places = self.slots.capacity();
        for _ in 0..LOOKS_MAX.min(places) {
            self.spare_from = (self.spare_from + 1) % places;
            let id = self.id_at(self.spare_from as u32);
            let Some(slot) = Self::slot_mut(&mut self.slots, id) else { continue };
            if slot.connection.is_idle_keep_alive() {
                self.give_up(id, events);
                return Some(id);
            }
        }
        None
    }

    /// A connection is about to come. If there are `connections_max`, another makes room, if one can, and
    /// its id is given, so that its descriptor can be closed: one that waits for its next request, or the
    /// first of the reserve, if that is full.
    pub(crate) fn make_room(&mut self, events: &mut Events) -> Option<ConnId> {
        if !self.is_full() {
            return None;
        }
        if let Some(id) = self.spare_descriptor(events) {
            return Some(id);
        }
        if self.connection_count() < self.places() {
            return None;
        }
        while let Some(id) = self.reserve.pop_front() {
            if self.may_give_way(id) {
                self.give_up(id, events);
                return Some(id);
            }
        }
        None
    }

    fn give_up(&mut self, id: ConnId, events: &mut Events) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        let (records, commons) = (&mut events.records, &mut self.commons);
        let outcome = slot.connection.handle_lost(id, Cause::TimedOut, records, commons);
        self.act_on(id, outcome);
        self.commons.tally.closed_for_descriptor.add(1);
    }

    /// Connections that are let in, those of the reserve among them.
    pub(super) fn places(&self) -> usize {
        let config = &self.commons.config;
        config.connections_max.saturating_add(config.connections_reserved)
    }

    fn is_full(&self) -> bool {
        self.connection_count() >= self.commons.config.connections_max
    }

    /// Connections that are accepted in one turn. Those of the reserve make room for each other, and each
    /// is to have turns for its request to be read and answered.
    pub(crate) fn accepts_per_turn(&self) -> usize {
        let config = &self.commons.config;
        match config.connections_reserved {
            0 => config.accepts_per_turn,
            reserved if self.is_full() => config.accepts_per_turn.min((reserved / 4).max(1)),
            _ => config.accepts_per_turn,
        }
    }

    /// A connection came when there were `connections_max`.
    pub(super) fn take_into_reserve(&mut self, id: ConnId) {
        let reserved = self.commons.config.connections_reserved;
        if self.reserve.len() >= reserved {
            let mut reserve = mem::take(&mut self.reserve);
            reserve.retain(|id| self.may_give_way(*id));
            // As many of `connections_max` have left since they came: the first takes such a place.
            reserve.drain(..(reserve.len() + 1).saturating_sub(reserved));
            self.reserve = reserve;
        }
        self.reserve.push_back(id);
    }

    /// Whether the connection is here, is no WebSocket and no stream, and has said its last word if it was
    /// one.
    fn may_give_way(&self, id: ConnId) -> bool {
        self.slot(id).is_some_and(|slot| match slot.connection.state {
            State::Handshake { .. }
            | State::Deciding { .. }
            | State::Responding { .. }
            | State::Draining { fin_sent: true, .. } => true,
            State::Streaming { .. }
            | State::Events { .. }
            | State::Open { .. }
            | State::Ending { .. }
            | State::Closing { .. }
            | State::Draining { fin_sent: false, .. }
            | State::Closed { .. } => false,
        })
    }

    /// Whether there are more than [`connections_max`](crate::Config::connections_max), and this
    /// connection is one of the [`connections_reserved`](crate::Config::connections_reserved) beyond. An
    /// application answers health checks there, and refuses all else with a response that
    /// [closes](crate::Response::close) the connection: a WebSocket that is accepted keeps its place.
    pub fn is_in_reserve(&self, id: ConnId) -> bool {
        self.connection_count() > self.commons.config.connections_max && self.reserve.contains(&id)
    }
}

#[cfg(test)]
mod tests;
