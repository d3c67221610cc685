//! A log of which other loops have a replica, and such a replica.

use std::mem;

use super::{Kept, Log};
use crate::{
    conn::{Commons, Shared, Ticks},
    hub::log::Keep,
};

impl Log {
    /// Other loops have what is published from here on, or no longer. What was published before is sealed.
    pub(in crate::hub) fn set_mirrored(&mut self, is_mirrored: bool, commons: &mut Commons) {
        if mem::replace(&mut self.is_mirrored, is_mirrored) || !is_mirrored {
            return;
        }
        self.close_last(commons);
    }

    /// Seals the last batch, and has it take nothing more: a loop that comes now begins behind it.
    pub(in crate::hub) fn close_last(&mut self, commons: &mut Commons) {
        self.seal(commons);
        if let Some(last) = self.batches.back_mut()
            && let Some(batch) = std::sync::Arc::get_mut(&mut last.batch)
        {
            batch.share();
        }
    }

    /// The batches from the one on that holds `offset`, for another loop, as far as they are sealed.
    pub(in crate::hub) fn shared_from(
        &self,
        offset: u64,
        now: Ticks,
    ) -> impl Iterator<Item = Shared> {
        let sealed = self.sealed;
        let batches = self.batches.range(self.place_of(offset).min(self.batches.len())..);
        batches
            .take_while(move |kept| kept.batch.end() <= sealed)
            .map(move |kept| kept.batch.shared(now))
    }

    /// Appends what another loop has published. Readers at the head read it next.
    pub(in crate::hub) fn mirror(&mut self, shared: Shared, clock: u64, commons: &mut Commons) {
        debug_assert_eq!(shared.first(), self.head, "no gap, and nothing twice");
        let mut batch = commons.spare_batch();
        self.head = shared.end();
        if let Some(own) = std::sync::Arc::get_mut(&mut batch) {
            own.begin_shared(shared, clock, commons);
        }
        self.bytes += batch.counted();
        commons.queued_bytes += batch.counted();
        let readers = mem::take(&mut self.readers_at_head);
        self.batches.push_back(Kept { batch, readers });
        self.sealed = self.head;
    }

    /// A replica begins with what was kept elsewhere. Readers that are here already begin behind it.
    pub(in crate::hub) fn begin_replica(
        &mut self,
        (first, head): (u64, u64),
        kept: Vec<Shared>,
        clock: u64,
        keep: Option<Keep>,
        commons: &mut Commons,
    ) {
        let readers = mem::take(&mut self.readers_at_head);
        self.begin_at(kept.first().map_or(head, Shared::first));
        for shared in kept {
            self.mirror(shared, clock, commons);
            self.raise_floor(self.head, keep, commons);
        }
        debug_assert_eq!(self.head, head, "what is kept ends where the topic goes on");
        self.given_up = first;
        self.readers_at_head = readers;
    }
}
