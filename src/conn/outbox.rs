//! What waits to be written to one connection: whole frames, in order, counted in bytes.
//!
//! Two things may pass the queue's limit: the Close frame, and one Pong. While each turn writes
//! everything, a Pong stands in line like any frame; once something is left over, the latest Pong
//! alone waits beside the line and goes out at the next frame boundary (RFC 6455 §5.5.3: only the
//! most recent Ping needs an answer).

use std::{collections::VecDeque, mem, ops::Range, sync::Arc};

use super::{
    commons::Commons,
    segment::{Log, Segment, release},
};
use crate::config::Overflow;

/// A segment that has grown to this is followed by another, so that what was sent of a queue that
/// never runs empty is given back.
const OWN_BYTES: usize = 32 * 1024;
/// For a peer that lags, a shared range up to this is copied: a list of short ranges would take
/// more memory than what it lists, and no limit would see it.
const COPY_BYTES: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(super) segments: VecDeque<Segment>,
    /// Invariant: the sum of the segments' lengths but for the pending ones.
    pub(super) bytes: usize,
    /// How many segments are pending.
    pendings: u32,
    /// The latest Pong that came while something was left over.
    late_pong: Vec<u8>,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.late_pong.is_empty()
    }

    /// Bytes that wait, without what a topic is still writing in this turn.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends frames (or other bytes, if not `framed`) that `encode` writes.
    pub(crate) fn push(
        &mut self,
        framed: bool,
        commons: &mut Commons,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let lossy = commons.config.overflow != Overflow::Close;
        self.push_own(framed, lossy, commons, encode);
    }

    fn push_own(
        &mut self,
        is_framed: bool,
        is_lossy: bool,
        commons: &mut Commons,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        match self.segments.back() {
            Some(Segment::Own { framed, lossy, bytes, .. })
                if (*framed, *lossy) == (is_framed, is_lossy) && bytes.len() < OWN_BYTES => {}
            _ => {
                let bytes = commons.spare_buffer();
                let (framed, lossy) = (is_framed, is_lossy);
                self.segments.push_back(Segment::Own { bytes, start: 0, framed, lossy });
            }
        }
        let Some(Segment::Own { bytes, .. }) = self.segments.back_mut() else { return };
        let before = bytes.len();
        encode(bytes);
        let added = bytes.len() - before;
        self.bytes += added;
        commons.queued_bytes += added;
    }

    /// Appends a range of the log that topic `topic` is still writing.
    pub(crate) fn push_pending(&mut self, topic: u32, frames: Range<u32>) {
        self.pendings += 1;
        self.segments.push_back(Segment::Pending { topic, frames });
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
            let lossy = log.overflow != Overflow::Close;
            let frames = &log.frames[start..end];
            return self.push_own(true, lossy, commons, |out| out.extend_from_slice(frames));
        }
        self.bytes += end - start;
        self.segments.push_back(Segment::Shared { log: Arc::clone(log), start, end });
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
        if mem::take(&mut self.pendings) == 0 {
            return replaced;
        }
        // What was there before this turn may be long, and need not be gone through.
        let is_pending = |segment: &Segment| matches!(segment, Segment::Pending { .. });
        let first = self.segments.iter().position(is_pending).unwrap_or(self.segments.len());
        for segment in self.segments.split_off(first) {
            let Segment::Pending { topic, frames } = segment else {
                self.segments.push_back(segment);
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
        /// From here on, copying costs more than the system call that it saves.
        const DIRECT_BYTES: usize = 16 * 1024;
        if self.late_pong.is_empty() {
            let Some(front) = self.segments.front() else { return &[] };
            if self.segments.len() == 1 || front.len() >= DIRECT_BYTES {
                let rest = front.rest();
                return &rest[..rest.len().min(max)];
            }
        }
        scratch.clear();
        let mut segments = self.segments.iter();
        if !self.late_pong.is_empty() {
            if let Some(front) = segments.next() {
                let (begun, whole) = front.rest().split_at(front.begun());
                gather(scratch, begun, max);
                gather(scratch, &self.late_pong, max);
                gather(scratch, whole, max);
            } else {
                gather(scratch, &self.late_pong, max);
            }
        }
        for segment in segments {
            if scratch.len() == max {
                break;
            }
            gather(scratch, segment.rest(), max);
        }
        scratch
    }

    /// Accounts for the first `n` bytes of what [`next_write`](Self::next_write) gave.
    pub(crate) fn advance(&mut self, mut n: usize, commons: &mut Commons) {
        if !self.late_pong.is_empty() {
            let begun = self.segments.front().map_or(0, Segment::begun);
            let first = n.min(begun);
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
                let (start, framed, lossy) = (n, true, false);
                self.segments.push_front(Segment::Own { bytes: pong, start, framed, lossy });
                return;
            }
            n -= pong.len();
        }
        self.consume(n, commons);
    }

    fn consume(&mut self, mut n: usize, commons: &mut Commons) {
        while n > 0 {
            let Some(front) = self.segments.front_mut() else { break };
            let len = front.len();
            let taken = len.min(n);
            n -= taken;
            self.bytes -= taken;
            if let Segment::Own { .. } = front {
                commons.queued_bytes -= taken;
            }
            if taken < len {
                front.skip(taken);
            } else if let Some(segment) = self.segments.pop_front() {
                release(segment, commons);
            }
        }
    }

    /// Forgets everything, as a connection that is gone must.
    pub(crate) fn clear(&mut self, commons: &mut Commons) {
        for segment in self.segments.drain(..) {
            if let Segment::Own { .. } = &segment {
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
            outbox.push(true, commons, encode);
        } else if outbox.set_late_pong(encode) {
            commons.tally.pongs_coalesced.add(1);
        }
    }
}
