//! What gives way when the process has no room: connections that hold most of what is incomplete, and
//! connections that wait for a request that may never come.

use super::Hub;
use crate::{
    conn::State,
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
                let id = ConnId { index: index as u32, generation: slot.generation };
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
                State::Ending { .. } | State::Draining { .. } | State::Closed
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

    /// Gives up input that was set aside for connections that read no further frame.
    fn forget_replays(&mut self) {
        let (slots, readable) = (&mut self.slots, &mut self.readable);
        self.replays.retain(|(id, _)| {
            let Some(slot) = Self::slot_mut(slots, *id) else { return false };
            if slot.connection.reads_frames() {
                return true;
            }
            slot.connection.flags.replaying = false;
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
                let outcome = slot.connection.handle_lost(
                    id,
                    Cause::TimedOut,
                    &mut events.records,
                    &mut self.commons,
                );
                self.act_on(id, outcome);
                self.commons.tally.closed_for_descriptor.add(1);
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
