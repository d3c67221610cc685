//! What a log keeps as history.

use std::{mem, sync::Arc, time::Duration};

use super::{BATCH_BYTES, Log};
use crate::{
    config::History,
    conn::{Batch, Commons, Ticks},
    wire::{OpCode, encoded_len},
};

/// How far back a history reaches, now.
#[derive(Clone, Copy, Debug)]
pub(in crate::hub) struct Keep {
    history: History,
    now: Ticks,
}

impl Keep {
    pub(in crate::hub) fn new(history: History, now: Ticks) -> Self {
        Self { history, now }
    }

    /// Whether what was published between these moments may be one batch: the age is that of its newest
    /// publication.
    fn is_one_age(self, born: Ticks, latest: Ticks) -> bool {
        latest <= born.after(self.history.age / 16)
    }

    fn is_too_old(self, latest: Ticks) -> bool {
        due(self.history.age, latest) <= self.now
    }
}

/// Bytes of frames that are given up at once, at the most, unless one is longer.
pub(in crate::hub) fn piece_bytes(history: History) -> usize {
    history.bytes / 4
}

/// When what was published at a moment is too old.
fn due(age: Duration, latest: Ticks) -> Ticks {
    latest.after(age)
}

impl Log {
    /// The offset of the first publication that can be had, or the head.
    pub(in crate::hub) fn first_kept(&self, history: Option<History>) -> u64 {
        let Some(history) = history else { return self.start().max(self.given_up) };
        let first = self.first_of_history().max(self.given_up);
        first.max(self.head.saturating_sub(history.publications))
    }

    fn first_of_history(&self) -> u64 {
        self.batches.get(self.lagging).map_or(self.head, |kept| kept.batch.first())
    }

    /// From here on there is a history, and there was none: what is kept for readers is not in it.
    pub(in crate::hub) fn begin_history(&mut self) {
        self.given_up = self.given_up.max(self.first_of_history());
    }

    /// When the first piece of history is too old; `None` if there is none.
    pub(in crate::hub) fn history_due(&self, history: History) -> Option<Ticks> {
        let front = self.batches.get(self.lagging).filter(|_| self.historic > 0)?;
        Some(due(history.age, front.batch.times().1))
    }

    /// What a publication counts as in a history, in bytes, beside the batch that it is in.
    pub(in crate::hub) fn kept_cost(payload: usize) -> usize {
        encoded_len(payload) + size_of::<u32>()
    }

    /// Whether the publication is one that history keeps, and no subscriber that keeps up still needs.
    pub(in crate::hub) fn is_historic(&self, offset: u64) -> bool {
        (self.lagging..self.lagging + self.historic).contains(&self.place_of(offset))
    }

    /// The publications from `offset` on: the offset of each, what it is, and its payload.
    pub(in crate::hub) fn publications(
        &self,
        offset: u64,
    ) -> impl Iterator<Item = (u64, OpCode, &[u8])> {
        let place = self.place_of(offset).min(self.batches.len());
        self.batches.range(place..).flat_map(move |kept| kept.batch.publications(offset))
    }

    /// The first unserved batch, which counts as so much, becomes history.
    pub(super) fn add_historic(&mut self, counted: usize, keep: Keep, commons: &mut Commons) {
        commons.queued_bytes -= counted;
        commons.history_bytes += counted;
        self.historic += 1;
        self.historic_bytes += counted;
        if self.historic > 1 {
            self.merge_historic(keep, commons);
        }
    }

    /// Appends the last batch of history to the one before, if both are short: one publication in each
    /// turn would take a batch for each.
    fn merge_historic(&mut self, keep: Keep, commons: &mut Commons) {
        let place = self.lagging + self.historic - 1;
        let (before, last) = (&self.batches[place - 1].batch, &self.batches[place].batch);
        let publications = last.end() - before.first();
        let max = BATCH_BYTES.min(piece_bytes(keep.history));
        let is_short = before.len() + last.len() <= max
            && publications <= keep.history.publications
            && keep.is_one_age(before.times().0, last.times().1);
        let Some(own) = Arc::get_mut(&mut self.batches[place - 1].batch) else { return };
        if !is_short {
            return own.shrink();
        }
        let freed = own.drop_caches();
        let counted = own.counted();
        let Some(last) = self.batches.remove(place) else { return };
        let before = &mut self.batches[place - 1];
        if let Some(own) = Arc::get_mut(&mut before.batch) {
            own.append(&last.batch);
        }
        before.readers += last.readers;
        let (added, removed) = (before.batch.counted() - counted, last.batch.counted() + freed);
        self.historic -= 1;
        self.historic_bytes = self.historic_bytes + added - removed;
        self.bytes = self.bytes + added - removed;
        commons.history_bytes = commons.history_bytes + added - removed;
        // It counts until no write holds it.
        commons.queued_bytes += last.batch.counted();
        commons.release_batch(last.batch);
    }

    /// Drops what readers of history have had made of it: no publication is given up for what can be made again.
    /// Gives what it counted as, in bytes. What a write holds stays.
    pub(in crate::hub) fn drop_historic_caches(&mut self, commons: &mut Commons) -> usize {
        if !mem::take(&mut self.has_historic_caches) {
            return 0;
        }
        let historic = self.lagging..self.lagging + self.historic;
        let batches = self.batches.range_mut(historic).map(|kept| &mut kept.batch);
        let freed = batches.filter_map(Arc::get_mut).map(Batch::drop_caches).sum();
        self.bytes -= freed;
        self.historic_bytes -= freed;
        commons.history_bytes -= freed;
        freed
    }

    /// Gives up what history keeps no longer. Readers may still need it.
    pub(in crate::hub) fn trim_history(&mut self, keep: Option<Keep>, commons: &mut Commons) {
        if keep.is_some_and(|keep| self.historic_bytes > keep.history.bytes) {
            self.drop_historic_caches(commons);
        }
        while self.historic > 0 {
            let front = &self.batches[self.lagging].batch;
            let is_kept = keep.is_some_and(|keep| {
                front.end().saturating_add(keep.history.publications) > self.head
                    && self.historic_bytes <= keep.history.bytes
                    && !keep.is_too_old(front.times().1)
            });
            if is_kept {
                break;
            }
            self.give_up_history(commons);
        }
    }

    /// Gives up what is before `until`, what subscribers have not taken included: that is still due to them.
    pub(in crate::hub) fn expire_history(&mut self, until: u64, commons: &mut Commons) {
        while self.historic > 0 && self.batches[self.lagging].batch.end() <= until {
            self.give_up_history(commons);
        }
        self.given_up = self.given_up.max(until);
        self.trim_read(commons);
    }

    /// Gives up the oldest batch of history. Gives how many publications it has.
    pub(in crate::hub) fn give_up_history(&mut self, commons: &mut Commons) -> u64 {
        let Some(front) = self.batches.get_mut(self.lagging).filter(|_| self.historic > 0) else {
            return 0;
        };
        let before = front.batch.counted();
        if let Some(own) = Arc::get_mut(&mut front.batch) {
            self.bytes -= own.drop_caches();
        }
        let counted = front.batch.counted();
        let publications = front.batch.end() - front.batch.first();
        self.given_up = self.given_up.max(front.batch.end());
        (self.historic, self.lagging) = (self.historic - 1, self.lagging + 1);
        self.historic_bytes -= before;
        self.lagging_bytes += counted;
        commons.history_bytes -= before;
        commons.queued_bytes += counted;
        self.trim_read(commons);
        publications
    }
}
