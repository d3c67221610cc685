//! What waits to be written to one connection, beside its topics: what is sent directly, in order, and
//! the rest of a publication that has begun to leave.
//!
//! Two things may exceed the limit: the Close frame, and one Pong. While each turn writes everything, a
//! Pong stands in line like any frame. Once something is left over, only the latest Pong waits, beside
//! the line, and goes out at the next frame boundary (RFC 6455 §5.5.3: only the most recent Ping needs
//! an answer).
//!
//! A **mark** in the line says: what was published before the hub's clock showed this goes first.

use std::{collections::VecDeque, mem, ops::Range, sync::Arc};

use super::{
    batch::Batch,
    commons::{Commons, wastes_room},
    encoding::Encoding,
};
use crate::wire::frame_len;

/// A larger buffer is taken from an outbox at rest, in bytes.
const REST_BYTES: usize = 4 * 1024;
/// Bytes that were written and are kept in front of what waits, at the most; or as many as wait.
const WRITTEN_BYTES: usize = 16 * 1024;
/// Marks for which an outbox at rest keeps room.
const REST_MARKS: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    rest: Option<Rest>,
    /// The line: bytes for this connection alone. Those before `start` are written.
    line: Vec<u8>,
    start: usize,
    /// A frame boundary, or the end of HTTP, which has none; the next boundary is looked for from here.
    boundary: usize,
    /// In order of both places and clocks.
    marks: VecDeque<Packed>,
    /// What the clocks of the marks are counted from.
    clock: u64,
    /// The latest Pong that came while something was left over.
    late_pong: Vec<u8>,
    /// The peer is blocked: no more room is held than is needed.
    is_lean: bool,
}

/// The rest of a publication, in its batch.
#[derive(Debug)]
struct Rest {
    batch: Arc<Batch>,
    encoding: Encoding,
    bytes: Range<usize>,
}

/// What was published before the hub's clock showed `clock` goes in front of the byte `at` of the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) at: usize,
    pub(crate) clock: u64,
}

/// A mark as it is kept, in 8 bytes. A peer's frame is at least 4 bytes longer than ours, and has 6
/// bytes or more: so the answers to one turn's input, each with a mark, take less than twice that input.
#[derive(Clone, Copy, Debug)]
struct Packed {
    at: u32,
    clock: u32,
}

impl Outbox {
    /// What a mark counts as, in bytes.
    pub(crate) const MARK_BYTES: usize = size_of::<Packed>();

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.line.len() && self.rest.is_none() && self.late_pong.is_empty()
    }

    /// Whether nothing waits but the line, and nothing goes in front of a part of it.
    #[inline]
    pub(crate) fn is_line(&self) -> bool {
        self.start < self.line.len()
            && self.rest.is_none()
            && self.late_pong.is_empty()
            && self.marks.is_empty()
    }

    /// Bytes that are sent directly and wait, with their bookkeeping: what `send_queue_bytes_max`
    /// bounds.
    #[inline]
    pub(crate) fn direct_bytes(&self) -> usize {
        let line = self.line.len() - self.start;
        if self.marks.is_empty() { line } else { line + self.marks.len() * Self::MARK_BYTES }
    }

    /// Those, and the rest of a publication that has begun to leave.
    pub(crate) fn bytes(&self) -> usize {
        self.direct_bytes() + self.rest().len()
    }

    /// Bytes that would be given back with it: what is sent directly, and its share of the batch that the
    /// rest of a publication is in.
    pub(crate) fn share(&self) -> usize {
        let batch = self.rest.as_ref().map(|rest| &rest.batch);
        let share = batch.map_or(0, |batch| batch.counted() / Arc::strong_count(batch));
        self.direct_bytes() + share
    }

    /// Appends frames that `encode` writes.
    #[inline]
    pub(crate) fn push(&mut self, commons: &mut Commons, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.line.capacity() == 0 && !self.is_lean {
            self.line = commons.spare_buffer();
        }
        let before = self.line.len();
        encode(&mut self.line);
        let len = self.line.len();
        commons.queued_bytes += len - before;
        if self.is_lean && self.line.capacity() > len + len / 4 + 64 {
            // It has grown by doubling.
            self.line.shrink_to(len + len / 8);
        }
    }

    /// Appends HTTP that `encode` writes. All of it leaves before any frame.
    pub(crate) fn push_http(&mut self, commons: &mut Commons, encode: impl FnOnce(&mut Vec<u8>)) {
        self.push(commons, encode);
        self.boundary = self.line.len();
    }

    /// What is pushed next goes behind all that was published before the hub's clock showed `clock`.
    pub(crate) fn mark(&mut self, clock: u64, commons: &mut Commons) {
        if self.marks.is_empty() {
            self.clock = clock;
        }
        // A line is no longer than its limit, and no mark waits for so many ticks.
        let at = u32::try_from(self.line.len()).unwrap_or(u32::MAX);
        let clock = u32::try_from(clock - self.clock).unwrap_or(u32::MAX);
        match self.marks.back_mut() {
            Some(last) if last.at == at => last.clock = clock,
            Some(last) if last.clock == clock => {}
            _ => {
                if self.is_lean && self.marks.len() == self.marks.capacity() {
                    self.marks.reserve_exact(self.marks.len() / 2 + 4);
                }
                self.marks.push_back(Packed { at, clock });
                commons.queued_bytes += Self::MARK_BYTES;
            }
        }
    }

    /// Sets the Pong that waits beside the line; true if it replaced another.
    pub(crate) fn set_late_pong(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let replaced = !self.late_pong.is_empty();
        self.late_pong.clear();
        encode(&mut self.late_pong);
        replaced
    }

    /// A publication has begun to leave. Its rest is these bytes of its batch.
    pub(crate) fn set_rest(&mut self, batch: Arc<Batch>, encoding: Encoding, bytes: Range<usize>) {
        debug_assert!(self.rest.is_none(), "one publication leaves at a time");
        self.rest = Some(Rest { batch, encoding, bytes });
    }

    // What there is to write, in the order in which it leaves: the rest, the begun frame of the line,
    // the late Pong, the line.

    pub(crate) fn rest(&self) -> &[u8] {
        self.rest.as_ref().map_or(&[], |rest| &rest.batch.bytes(rest.encoding)[rest.bytes.clone()])
    }

    /// Bytes of the line that belong to a frame that has begun to leave. Each frame is walked over once.
    pub(crate) fn begun(&mut self) -> usize {
        while self.boundary < self.start {
            self.boundary += frame_len(&self.line[self.boundary..]);
        }
        self.boundary - self.start
    }

    pub(crate) fn late_pong(&self) -> &[u8] {
        &self.late_pong
    }

    #[inline]
    pub(crate) fn line(&self) -> &[u8] {
        &self.line[self.start..]
    }

    /// The marks, each with its place in [`line`](Self::line).
    pub(crate) fn mark_at(&self, nth: usize) -> Option<Mark> {
        let mark = self.marks.get(nth)?;
        let at = (mark.at as usize).saturating_sub(self.start);
        Some(Mark { at, clock: self.clock + u64::from(mark.clock) })
    }

    // What was written.

    pub(crate) fn advance_rest(&mut self, n: usize, commons: &mut Commons) {
        let Some(rest) = &mut self.rest else { return };
        rest.bytes.start += n;
        if rest.bytes.is_empty()
            && let Some(rest) = self.rest.take()
        {
            commons.release_write(rest.batch);
        }
    }

    /// The first `n` bytes of the Pong are written. What is left of it goes to the front of the line.
    pub(crate) fn advance_pong(&mut self, n: usize, commons: &mut Commons) {
        let pong = mem::take(&mut self.late_pong);
        let left = &pong[n..];
        if !left.is_empty() {
            self.forget_written();
            debug_assert!(self.boundary == 0, "a Pong leaves at a boundary");
            self.line.splice(..0, left.iter().copied());
            self.boundary = left.len();
            self.shift_marks(left.len());
            commons.queued_bytes += left.len();
        }
    }

    #[inline(always)]
    pub(crate) fn advance_line(&mut self, n: usize, commons: &mut Commons) {
        self.start += n;
        commons.queued_bytes -= n;
        if !self.marks.is_empty() {
            self.pass_marks(commons);
        }
        if self.start == self.line.len() {
            (self.start, self.boundary) = (0, 0);
            self.line.clear();
        } else {
            self.give_back_written();
        }
    }

    /// Forgets the marks in what was written.
    #[inline(never)]
    fn pass_marks(&mut self, commons: &mut Commons) {
        while self.marks.front().is_some_and(|mark| (mark.at as usize) < self.start) {
            self.marks.pop_front();
            commons.queued_bytes -= Self::MARK_BYTES;
        }
        if self.start == self.line.len() {
            // A mark may be there for a message that is to be pushed.
            self.marks.iter_mut().for_each(|mark| mark.at = 0);
        }
    }

    #[inline(never)]
    fn give_back_written(&mut self) {
        if self.start > WRITTEN_BYTES && self.start > self.line.len() / 2 {
            self.forget_written();
            if self.line.capacity() > 2 * self.line.len() + WRITTEN_BYTES {
                self.line.shrink_to_fit();
            }
        }
    }

    /// So many bytes were put in front of the line.
    fn shift_marks(&mut self, bytes: usize) {
        self.marks.iter_mut().for_each(|mark| mark.at = mark.at.saturating_add(bytes as u32));
    }

    fn forget_written(&mut self) {
        let begun = self.begun();
        self.line.drain(..self.start);
        let written = self.start as u32;
        self.marks.iter_mut().for_each(|mark| mark.at = mark.at.saturating_sub(written));
        (self.start, self.boundary) = (0, begun);
    }

    /// Gives back room that is not needed, now that the peer takes no more.
    pub(crate) fn compact(&mut self) {
        self.is_lean = true;
        if self.start > (self.line.len() - self.start) / 4 {
            self.forget_written();
        }
        if wastes_room(&self.line) {
            self.line.shrink_to_fit();
        }
        if self.marks.capacity() > 2 * self.marks.len() + 4 {
            self.marks.shrink_to_fit();
        }
    }

    /// Whether an empty one holds nothing but a little room.
    #[inline]
    pub(super) fn is_at_rest(&self) -> bool {
        self.line.capacity() <= REST_BYTES
            && self.marks.is_empty()
            && self.marks.capacity() <= REST_MARKS
            && !self.is_lean
    }

    /// Nothing waits any more. Gives the buffer, if it is a large one.
    pub(super) fn reset_for_pool(&mut self, commons: &mut Commons) -> Option<Vec<u8>> {
        self.is_lean = false;
        if !self.marks.is_empty() {
            // They waited for what they were to go in front of.
            commons.queued_bytes -= self.direct_bytes();
            self.marks.clear();
        }
        if self.marks.capacity() > REST_MARKS {
            self.marks.shrink_to(REST_MARKS);
        }
        let line = &mut self.line;
        (line.capacity() > REST_BYTES).then(|| mem::take(line))
    }

    /// Drops every message that has not begun to leave. Gives how many these were.
    pub(crate) fn drop_unbegun(&mut self, commons: &mut Commons) -> u64 {
        /// Control frames have it (RFC 6455 §5.5).
        const CONTROL: u8 = 0x08;
        let before = self.direct_bytes();
        let keep = self.start + self.begun();
        let mut messages = 0;
        let dropped = self.line.split_off(keep);
        let mut rest = &dropped[..];
        while !rest.is_empty() {
            let (frame, others) = rest.split_at(frame_len(rest));
            if frame[0] & CONTROL == 0 {
                messages += 1;
            } else {
                self.line.extend_from_slice(frame);
            }
            rest = others;
        }
        self.marks.clear();
        commons.queued_bytes -= before - self.direct_bytes();
        self.compact();
        messages
    }

    /// Copies the rest of a publication, if it is short beside its batch, of which it keeps all in
    /// memory.
    pub(crate) fn unpin(&mut self, commons: &mut Commons) {
        let len = self.rest().len();
        let Some(rest) = &self.rest else { return };
        if len.saturating_mul(2 * Arc::strong_count(&rest.batch)) > rest.batch.len() {
            return;
        }
        self.forget_written();
        let copy = self.rest().to_vec();
        self.line.splice(..0, copy);
        // A rest leaves in front of a frame, or of events, which are HTTP's.
        self.boundary += len;
        self.shift_marks(len);
        commons.queued_bytes += len;
        self.advance_rest(len, commons);
    }

    /// Forgets everything, as a connection that is gone must.
    pub(crate) fn clear(&mut self, commons: &mut Commons) {
        commons.queued_bytes -= self.direct_bytes();
        self.marks.clear();
        self.line.clear();
        (self.start, self.boundary) = (0, 0);
        self.advance_rest(self.rest().len(), commons);
        self.late_pong.clear();
    }
}

/// The outbox of a connection. It exists only while something waits.
#[derive(Debug, Default)]
pub(crate) struct OutboxSlot(Option<Box<Outbox>>);

impl OutboxSlot {
    #[inline]
    pub(crate) fn get(&self) -> Option<&Outbox> {
        self.0.as_deref()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut Outbox> {
        self.0.as_deref_mut()
    }

    pub(crate) fn or_spare(&mut self, commons: &mut Commons) -> &mut Outbox {
        self.0.get_or_insert_with(|| commons.spare_outbox())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.get().map_or(0, Outbox::bytes)
    }

    pub(crate) fn direct_bytes(&self) -> usize {
        self.get().map_or(0, Outbox::direct_bytes)
    }

    /// Gives the outbox back if nothing waits in it; true if nothing waits.
    #[inline]
    pub(crate) fn rest_if_empty(&mut self, commons: &mut Commons) -> bool {
        if let Some(outbox) = self.0.take_if(|outbox| outbox.is_empty()) {
            commons.recycle_outbox(outbox);
        }
        self.0.is_none()
    }

    pub(crate) fn clear(&mut self, commons: &mut Commons) {
        if let Some(mut outbox) = self.0.take() {
            outbox.clear(commons);
            commons.recycle_outbox(outbox);
        }
    }

    /// Queues the answer to a Ping (RFC 6455 §5.5.3).
    pub(crate) fn pong(
        &mut self,
        backlog: bool,
        commons: &mut Commons,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let outbox = self.or_spare(commons);
        if !backlog {
            outbox.push(commons, encode);
        } else if outbox.set_late_pong(encode) {
            commons.tally.pongs_coalesced.add(1);
        }
    }
}

#[cfg(test)]
mod tests;
