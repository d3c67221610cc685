//! What one topic has published and a subscriber still needs: its latest batches, numbered without gap.
//!
//! A subscriber is a cursor: the offset of the next publication that it takes. Of the subscribers that
//! keep up, the log knows the **floor** only: all of them have taken what is before it. Subscribers that
//! lag are **readers**. Each is counted at the batch that its cursor is in, so that a batch is given
//! back as soon as no reader needs it.
//!
//! The batches are `[lagging | historic | unserved]`: those that readers alone need, those that the
//! topic's history keeps, whether readers need them or not, and those that some subscriber that keeps up
//! has not taken.

mod historic;
mod mirrored;

use std::{collections::VecDeque, mem, ops::Range, sync::Arc};

pub(super) use historic::{Keep, piece_bytes};

use crate::{
    conn::{Batch, Commons},
    event::ConnId,
    wire::{OpCode, encoded_len},
};

/// Bytes of a batch, at the most, unless it is one long publication.
const BATCH_BYTES: usize = 64 * 1024;

/// A batch that is kept, and how many readers are in it.
#[derive(Debug)]
struct Kept {
    batch: Arc<Batch>,
    readers: u32,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    batches: VecDeque<Kept>,
    /// The offset of the next publication.
    head: u64,
    /// The floor: no subscriber that keeps up needs what is before it.
    floor: u64,
    /// What all batches count as, in bytes.
    bytes: usize,
    /// How many of the first batches are kept for readers alone, and what they count as. They are wholly
    /// below the floor.
    lagging: usize,
    lagging_bytes: usize,
    /// How many of those that follow are kept as history, and what they count as. They are below the
    /// floor, too.
    historic: usize,
    historic_bytes: usize,
    /// What is before was given up as history: it is none any more, even if it is still there for readers,
    /// in a batch that takes further publications.
    given_up: u64,
    /// Readers for which no batch is left: they are at the head, or what they were at is gone.
    readers_at_head: u32,
    /// What is before it was sealed.
    sealed: u64,
    /// Other loops have what is published here: what is sealed can be shared, and takes nothing more.
    is_mirrored: bool,
    /// Readers of history have had something made of it, which is kept with it and can be made again.
    has_historic_caches: bool,
}

/// How far batches that are kept for readers alone may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trim {
    /// The last batch may go as well.
    All,
    /// The last batch stays.
    KeepLast,
}

impl Log {
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The offset of the first publication that is kept, or the head.
    pub(super) fn start(&self) -> u64 {
        self.batches.front().map_or(self.head, |kept| kept.batch.first())
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Bytes that some subscriber that keeps up has not taken.
    pub(super) fn unserved_bytes(&self) -> usize {
        self.bytes - self.lagging_bytes - self.historic_bytes
    }

    pub(super) fn lagging_bytes(&self) -> usize {
        self.lagging_bytes
    }

    /// The batch that holds an offset below the head; the first batch, if that one is gone.
    pub(super) fn batch_at(&self, offset: u64) -> Option<&Arc<Batch>> {
        self.batches.get(self.place_of(offset)).map(|kept| &kept.batch)
    }

    /// The place of the batch that holds the offset, or would.
    fn place_of(&self, offset: u64) -> usize {
        if self.batches.back().is_some_and(|kept| kept.batch.first() <= offset) {
            return self.batches.len() - usize::from(offset < self.head);
        }
        self.batches.partition_point(|kept| kept.batch.end() <= offset)
    }

    /// How many of these publications are kept and not for this connection. Each batch is a step.
    pub(super) fn count_except(&self, id: ConnId, offsets: Range<u64>, steps: &mut u64) -> u64 {
        let mut count = 0;
        for kept in self.batches.range(self.place_of(offsets.start).min(self.batches.len())..) {
            let from = offsets.start.max(kept.batch.first());
            let to = offsets.end.min(kept.batch.end());
            *steps += 1;
            if from >= to {
                break;
            }
            count += kept.batch.count_except(id, from..to);
        }
        count
    }

    /// How many of the `excepted` publications are among those that a connection `passes`. They are the
    /// ones before `until` that it does not get.
    pub(super) fn count_passed(
        &self,
        id: ConnId,
        passes: Range<u64>,
        until: u64,
        excepted: u64,
        steps: &mut u64,
    ) -> u64 {
        if excepted == 0 {
            return 0;
        }
        // What is passed, or what is left of them behind it: whichever is in fewer batches.
        let rest = passes.end..until;
        let batches = |offsets: &Range<u64>| {
            self.place_of(offsets.end).saturating_sub(self.place_of(offsets.start))
        };
        if passes.start >= self.start() && batches(&passes) <= batches(&rest) + 1 {
            return self.count_except(id, passes, steps).min(excepted);
        }
        let left = self.count_except(id, rest, steps);
        excepted - left.min(excepted)
    }

    /// What a publication counts as, in bytes, at the most.
    pub(super) fn cost(payload: usize, is_excepted: bool) -> usize {
        let except = if is_excepted { size_of::<(ConnId, u32)>() } else { 0 };
        encoded_len(payload) + Batch::PUBLICATION_BYTES + Batch::BYTES + except
    }

    /// The first publication will have this offset.
    pub(super) fn begin_at(&mut self, offset: u64) {
        debug_assert!(self.batches.is_empty() && self.head == 0, "nothing was published");
        (self.head, self.floor, self.sealed) = (offset, offset, offset);
    }

    /// Appends a publication; to the last batch, if that has at most `batch_bytes` then.
    pub(super) fn push(
        &mut self,
        message: (OpCode, &[u8]),
        clock: u64,
        except: Option<ConnId>,
        may_deflate: bool,
        batch_bytes: usize,
        commons: &mut Commons,
    ) {
        let (opcode, payload) = message;
        let max = batch_bytes.min(BATCH_BYTES).min(commons.config.topic_lag_bytes_max / 4);
        let len = encoded_len(payload.len());
        if !self.opens_last(len, max, may_deflate, commons) {
            self.begin_batch(may_deflate, commons);
        }
        let Some(last) = self.batches.back_mut() else { return };
        last.readers += mem::take(&mut self.readers_at_head);
        let Some(batch) = Arc::get_mut(&mut last.batch) else { return };
        let added = batch.push(opcode, payload, clock, except);
        self.bytes += added;
        commons.queued_bytes += added;
        self.head += 1;
    }

    /// Whether the last batch takes a further publication: no write holds it, and it is not full.
    fn opens_last(
        &mut self,
        len: usize,
        max: usize,
        may_deflate: bool,
        commons: &mut Commons,
    ) -> bool {
        let is_lagging = self.lagging == self.batches.len();
        if !is_lagging && self.unserved_batches() == 0 {
            // What is history is only merged with what has become history.
            return false;
        }
        let Some(last) = self.batches.back_mut() else { return false };
        let Some(batch) = Arc::get_mut(&mut last.batch) else { return false };
        if batch.len() + len > max || !batch.takes_more(may_deflate) {
            return false;
        }
        if is_lagging {
            self.lagging -= 1;
            self.lagging_bytes -= batch.counted();
        } else if batch.has_caches() {
            // The caches would be made again for subscribers that a pass has not come to.
            return false;
        }
        let freed = batch.drop_caches();
        self.bytes -= freed;
        commons.queued_bytes -= freed;
        true
    }

    fn begin_batch(&mut self, may_deflate: bool, commons: &mut Commons) {
        let mut batch = commons.spare_batch();
        let buffer = commons.spare_buffer();
        if let Some(own) = Arc::get_mut(&mut batch) {
            own.begin(self.head, may_deflate, buffer, commons.now);
        }
        self.bytes += batch.counted();
        commons.queued_bytes += batch.counted();
        self.batches.push_back(Kept { batch, readers: 0 });
    }

    /// Makes what was published since the last flush ready to be taken. Gives how many batches that
    /// were.
    pub(super) fn seal(&mut self, commons: &mut Commons) -> usize {
        let sealed = mem::replace(&mut self.sealed, self.head);
        let mut steps = 0;
        for kept in self.batches.iter_mut().rev().take_while(|kept| kept.batch.end() > sealed) {
            steps += 1;
            if let Some(batch) = Arc::get_mut(&mut kept.batch) {
                batch.seal(commons);
                if self.is_mirrored {
                    batch.share();
                }
            }
        }
        steps
    }

    /// Accounts for what a connection that takes the batch at `offset` has compressed of it.
    pub(super) fn add_cached(&mut self, offset: u64, bytes: usize, commons: &mut Commons) {
        self.bytes += bytes;
        let place = self.place_of(offset);
        if place < self.lagging {
            self.lagging_bytes += bytes;
        } else if place < self.lagging + self.historic {
            self.historic_bytes += bytes;
            self.has_historic_caches = true;
            commons.queued_bytes -= bytes;
            commons.history_bytes += bytes;
        }
    }

    // Readers.

    /// A subscriber with this cursor lags from here on: it is a reader.
    pub(super) fn add_reader(&mut self, cursor: u64) {
        *self.readers_of(cursor) += 1;
    }

    /// A reader with this cursor is none any more: it has caught up, or is gone.
    pub(super) fn remove_reader(&mut self, cursor: u64, commons: &mut Commons) {
        *self.readers_of(cursor) -= 1;
        self.trim_read(commons);
    }

    pub(super) fn move_reader(&mut self, from: u64, to: u64) {
        *self.readers_of(from) -= 1;
        *self.readers_of(to) += 1;
    }

    fn readers_of(&mut self, cursor: u64) -> &mut u32 {
        let place = self.place_of(cursor);
        match self.batches.get_mut(place) {
            Some(kept) => &mut kept.readers,
            None => &mut self.readers_at_head,
        }
    }

    // Trimming.

    /// All subscribers that keep up have taken what is before `floor`. From there on it is kept as
    /// history, as far as that goes, and for readers.
    pub(super) fn raise_floor(&mut self, floor: u64, keep: Option<Keep>, commons: &mut Commons) {
        self.floor = floor;
        if keep.is_none() {
            self.trim_history(keep, commons);
        }
        while let Some(kept) = self.batches.get_mut(self.lagging + self.historic)
            && kept.batch.end() <= floor
        {
            if let Some(batch) = Arc::get_mut(&mut kept.batch) {
                let freed = batch.drop_caches();
                self.bytes -= freed;
                commons.queued_bytes -= freed;
            }
            let counted = kept.batch.counted();
            match keep {
                Some(keep) => self.add_historic(counted, keep, commons),
                None => {
                    self.lagging += 1;
                    self.lagging_bytes += counted;
                }
            }
        }
        self.trim_history(keep, commons);
        self.trim_read(commons);
    }

    fn unserved_batches(&self) -> usize {
        self.batches.len() - self.lagging - self.historic
    }

    /// Gives back the first batches, as long as they are below the floor and no reader is in them.
    pub(super) fn trim_read(&mut self, commons: &mut Commons) {
        while self.lagging > 0 && self.batches.front().is_some_and(|kept| kept.readers == 0) {
            self.pop_front(commons);
        }
        if self.batches.capacity() > 4 * self.batches.len() + 16 {
            self.batches.shrink_to(2 * self.batches.len());
        }
    }

    /// Gives up the oldest batches that are kept for readers alone, until these count as `keep_bytes` or
    /// less. Batches that begin at `until` or later stay.
    pub(super) fn trim_lagging(
        &mut self,
        keep_bytes: usize,
        until: u64,
        trim: Trim,
        commons: &mut Commons,
    ) {
        let keep = usize::from(trim == Trim::KeepLast);
        while self.lagging_bytes > keep_bytes && self.batches.len() > keep && self.start() < until {
            self.pop_front(commons);
        }
        self.trim_read(commons);
    }

    /// Copies the newest publication out of the last batch and gives up the rest, if only readers need
    /// the batch.
    pub(super) fn keep_newest(&mut self, commons: &mut Commons) {
        if self.lagging < self.batches.len() {
            return;
        }
        let Some(last) = self.batches.pop_back() else { return };
        if last.batch.end() - last.batch.first() == 1 {
            self.batches.push_back(last);
            return;
        }
        let mut newest = commons.spare_batch();
        if let Some(own) = Arc::get_mut(&mut newest) {
            last.batch.newest(own, commons);
        }
        let (before, now) = (last.batch.counted(), newest.counted());
        self.bytes = self.bytes - before + now;
        self.lagging_bytes = self.lagging_bytes - before + now;
        commons.queued_bytes += now;
        self.batches.push_back(Kept { batch: newest, readers: last.readers });
        commons.release_batch(last.batch);
    }

    fn pop_front(&mut self, commons: &mut Commons) {
        let Some(front) = self.batches.pop_front() else { return };
        self.lagging -= 1;
        self.lagging_bytes -= front.batch.counted();
        self.bytes -= front.batch.counted();
        match self.batches.front_mut() {
            Some(next) => next.readers += front.readers,
            None => self.readers_at_head += front.readers,
        }
        commons.release_batch(front.batch);
    }

    /// Gives up everything, because the topic is over.
    pub(super) fn clear(&mut self, commons: &mut Commons) {
        self.raise_floor(self.head, None, commons);
        self.trim_lagging(0, u64::MAX, Trim::All, commons);
    }
}

#[cfg(test)]
mod tests;
