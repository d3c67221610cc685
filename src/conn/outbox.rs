//! What waits to be written to one connection: whole frames, in order, counted in bytes.
//!
//! Two things may pass the queue's limit: the Close frame, and one Pong. While each turn writes
//! everything, a Pong stands in line like any frame; once something is left over, the latest Pong
//! alone waits beside the line and goes out at the next frame boundary (RFC 6455 §5.5.3: only the
//! most recent Ping needs an answer).

use std::{collections::VecDeque, mem, ops::Range, sync::Arc};

use super::{
    commons::Commons,
    segment::{Kind, Log, Own, Segment, release},
};
use crate::config::Overflow;

/// A segment that has grown to this is followed by another, so that what was sent of a queue that
/// never runs empty is given back.
const OWN_BYTES: usize = 128 * 1024;
/// The same for a peer that lags: only the last segment has room to grow, which is up to half of it
/// and no limit sees.
const LAGGING_OWN_BYTES: usize = 4 * 1024;
/// For a peer that lags, a shared range up to this is copied: a list of short ranges would take
/// more memory than what it lists, and no limit would see it.
const COPY_BYTES: usize = 1024;

/// What an outbox at rest may keep of its buffer, in bytes.
const REST_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(super) segments: VecDeque<Segment>,
    /// What comes behind them: most of the time, all that there is.
    pub(super) tail: Own,
    /// Invariant: the sum of the lengths of the tail and the segments, but for the pending ones.
    pub(super) bytes: usize,
    /// How many segments are pending.
    pendings: u32,
    /// The latest Pong that came while something was left over.
    late_pong: Vec<u8>,
    /// A tail that has grown to this becomes a segment.
    own_bytes: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            segments: VecDeque::new(),
            tail: Own::default(),
            bytes: 0,
            pendings: 0,
            late_pong: Vec::new(),
            own_bytes: OWN_BYTES,
        }
    }
}

impl Outbox {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tail.len() == 0 && self.segments.is_empty() && self.late_pong.is_empty()
    }

    /// Bytes that wait, without what a topic is still writing in this turn.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same, and the Pong that waits beside them.
    pub(crate) fn bytes_with_pong(&self) -> usize {
        self.bytes + self.late_pong.len()
    }

    /// Appends frames that `encode` writes.
    #[inline]
    pub(crate) fn push(&mut self, commons: &mut Commons, encode: impl FnOnce(&mut Vec<u8>)) {
        self.push_own(Kind::frames(commons.config.overflow), commons, encode);
    }

    /// Appends HTTP that `encode` writes.
    pub(crate) fn push_http(&mut self, commons: &mut Commons, encode: impl FnOnce(&mut Vec<u8>)) {
        self.push_own(Kind::Http, commons, encode);
    }

    #[inline]
    fn push_own(&mut self, kind: Kind, commons: &mut Commons, encode: impl FnOnce(&mut Vec<u8>)) {
        let tail = &self.tail;
        if tail.kind != kind || tail.bytes.len() >= self.own_bytes || tail.bytes.capacity() == 0 {
            self.begin_tail(kind, commons);
        }
        let bytes = &mut self.tail.bytes;
        let before = bytes.len();
        encode(bytes);
        let added = bytes.len() - before;
        self.bytes += added;
        commons.queued_bytes += added;
    }

    /// Makes room for a tail of this kind.
    #[inline(never)]
    fn begin_tail(&mut self, kind: Kind, commons: &mut Commons) {
        self.settle();
        self.tail.kind = kind;
        // A spare one may be large, and whoever lags must not hold more than waits for it.
        if self.tail.bytes.capacity() == 0 && self.own_bytes == OWN_BYTES {
            self.tail.bytes = commons.spare_buffer();
        }
    }

    /// Makes the tail one of the segments.
    pub(super) fn settle(&mut self) {
        if self.tail.len() > 0 {
            if self.own_bytes < OWN_BYTES {
                self.tail.bytes.shrink_to_fit();
            }
            let next = Own { kind: self.tail.kind, ..Own::default() };
            self.segments.push_back(Segment::Own(mem::replace(&mut self.tail, next)));
        }
    }

    /// Nothing waits any more; gives the buffer, if it is a large one.
    pub(super) fn come_to_rest(&mut self) -> Option<Vec<u8>> {
        self.own_bytes = OWN_BYTES;
        let bytes = &mut self.tail.bytes;
        (bytes.capacity() > REST_BYTES).then(|| mem::take(bytes))
    }

    fn push_segment(&mut self, segment: Segment) {
        self.settle();
        self.segments.push_back(segment);
    }

    /// Whether there are ranges of logs that are still written.
    pub(crate) fn has_pending(&self) -> bool {
        self.pendings > 0
    }

    /// Appends a range of the log that topic `topic` is still writing.
    pub(crate) fn push_pending(&mut self, topic: u32, frames: Range<u32>) {
        self.pendings += 1;
        self.push_segment(Segment::Pending { topic, frames });
    }

    /// Appends a range of a finished log, for a peer that `lags` or not.
    pub(crate) fn push_shared(
        &mut self,
        log: &Arc<Log>,
        start: usize,
        end: usize,
        lags: bool,
        commons: &mut Commons,
    ) {
        if lags && end - start <= COPY_BYTES && log.overflow != Overflow::KeepLatest {
            let frames = &log.frames[start..end];
            let kind = Kind::frames(log.overflow);
            return self.push_own(kind, commons, |out| out.extend_from_slice(frames));
        }
        self.bytes += end - start;
        self.push_segment(Segment::Shared { log: Arc::clone(log), start, end });
    }

    /// Turns pending ranges into shared ones, now that the turn's logs are finished. Gives how many
    /// frames a later one of their topic replaced.
    pub(crate) fn resolve<'a>(
        &mut self,
        lags: bool,
        commons: &mut Commons,
        finish: impl Fn(u32, Range<usize>) -> Finished<'a>,
    ) -> u64 {
        let mut replaced = 0;
        self.pendings = 0;
        self.settle();
        // What was there before this turn may be long, and need not be gone through.
        let is_pending = |segment: &Segment| matches!(segment, Segment::Pending { .. });
        let first = self.segments.iter().position(is_pending).unwrap_or(self.segments.len());
        for segment in self.segments.split_off(first) {
            let Segment::Pending { topic, frames } = segment else {
                self.push_segment(segment);
                continue;
            };
            let frames = frames.start as usize..frames.end as usize;
            let Finished { log, start, end, replaced: conflated } = finish(topic, frames);
            if let Some(conflated) = conflated {
                replaced += conflated + self.drop_topic(log.topic, commons);
            }
            self.push_shared(log, start, end, lags, commons);
        }
        replaced
    }

    /// Sets the Pong that waits beside the line; true if it replaced another.
    pub(crate) fn set_late_pong(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let replaced = !self.late_pong.is_empty();
        self.late_pong.clear();
        encode(&mut self.late_pong);
        replaced
    }

    /// What to write next, at most `max` bytes: straight from its place where that is one long
    /// piece, gathered in `scratch` where it is many.
    pub(crate) fn next_write<'a>(&'a self, scratch: &'a mut Vec<u8>, max: usize) -> &'a [u8] {
        if self.segments.is_empty() && self.late_pong.is_empty() {
            let rest = self.tail.rest();
            return &rest[..rest.len().min(max)];
        }
        self.gather_write(scratch, max)
    }

    fn gather_write<'a>(&'a self, scratch: &'a mut Vec<u8>, max: usize) -> &'a [u8] {
        /// From here on, copying costs more than the system call that it saves.
        const DIRECT_BYTES: usize = 16 * 1024;
        let alone = self.segments.len() == 1 && self.tail.len() == 0;
        if let Some(front) = self.segments.front()
            && self.late_pong.is_empty()
            && (alone || front.len() >= DIRECT_BYTES)
        {
            let rest = front.rest();
            return &rest[..rest.len().min(max)];
        }
        scratch.clear();
        let mut pieces = self.segments.iter().map(Segment::rest).chain([self.tail.rest()]);
        if !self.late_pong.is_empty() {
            let (begun, whole) = pieces.next().unwrap_or_default().split_at(self.begun());
            gather(scratch, begun, max);
            gather(scratch, &self.late_pong, max);
            gather(scratch, whole, max);
        }
        for piece in pieces {
            if scratch.len() == max {
                break;
            }
            gather(scratch, piece, max);
        }
        scratch
    }

    /// How many bytes are left of a frame that has begun to leave.
    fn begun(&self) -> usize {
        self.segments.front().map_or_else(|| self.tail.begun(), Segment::begun)
    }

    /// Accounts for the first `n` bytes of what [`next_write`](Self::next_write) gave.
    #[inline]
    pub(crate) fn advance(&mut self, n: usize, commons: &mut Commons) {
        if self.late_pong.is_empty() {
            self.consume(n, commons);
        } else {
            self.advance_past_pong(n, commons);
        }
    }

    fn advance_past_pong(&mut self, mut n: usize, commons: &mut Commons) {
        let first = n.min(self.begun());
        self.consume(first, commons);
        n -= first;
        if n == 0 {
            return;
        }
        let pong = mem::take(&mut self.late_pong);
        if n < pong.len() {
            let waits = pong.len() - n;
            self.bytes += waits;
            commons.queued_bytes += waits;
            let pong = Own { bytes: pong, start: n, kind: Kind::Frames, ..Own::default() };
            self.segments.push_front(Segment::Own(pong));
            return;
        }
        self.consume(n - pong.len(), commons);
    }

    #[inline]
    fn consume(&mut self, n: usize, commons: &mut Commons) {
        self.bytes -= n;
        let n = if self.segments.is_empty() { n } else { self.consume_segments(n, commons) };
        commons.queued_bytes -= n;
        if n < self.tail.len() {
            self.tail.start += n;
        } else {
            (self.tail.start, self.tail.cut) = (0, 0);
            self.tail.bytes.clear();
        }
    }

    /// Takes the first `n` bytes off the segments; gives what is left for the tail.
    fn consume_segments(&mut self, mut n: usize, commons: &mut Commons) -> usize {
        while n > 0 {
            let Some(front) = self.segments.front_mut() else { break };
            let len = front.len();
            let taken = len.min(n);
            n -= taken;
            if let Segment::Own(_) = front {
                commons.queued_bytes -= taken;
            }
            if taken < len {
                front.skip(taken);
            } else if let Some(segment) = self.segments.pop_front() {
                release(segment, commons);
            }
        }
        n
    }

    /// Gives back what is held of what has been written, now that the kernel takes no more.
    pub(crate) fn compact(&mut self) {
        self.own_bytes = LAGGING_OWN_BYTES;
        self.tail.compact();
        for segment in &mut self.segments {
            if let Segment::Own(own) = segment {
                own.compact();
            }
        }
    }

    /// Forgets everything, as a connection that is gone must.
    pub(crate) fn clear(&mut self, commons: &mut Commons) {
        self.settle();
        for segment in self.segments.drain(..) {
            if let Segment::Own(_) = &segment {
                commons.queued_bytes -= segment.len();
            }
            release(segment, commons);
        }
        (self.bytes, self.pendings) = (0, 0);
        self.late_pong.clear();
    }
}

/// What became of a pending range.
pub(crate) struct Finished<'a> {
    pub(crate) log: &'a Arc<Log>,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// If only the topic's latest frame is kept: how many of the range it replaced.
    pub(crate) replaced: Option<u64>,
}

fn gather(scratch: &mut Vec<u8>, bytes: &[u8], max: usize) {
    let room = max - scratch.len();
    scratch.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// The outbox of a connection, which exists only while something waits.
#[derive(Debug, Default)]
pub(crate) struct OutboxSlot(Option<Box<Outbox>>);

impl OutboxSlot {
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
