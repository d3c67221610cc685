//! What waits to be written to one connection: whole frames, in order, counted in bytes.
//!
//! Two things may pass the queue's limit: the Close frame, and one Pong. While each turn writes
//! everything, a Pong stands in line like any frame; once something is left over, the latest Pong
//! alone waits beside the line and goes out at the next frame boundary (RFC 6455 §5.5.3: only the
//! most recent Ping needs an answer).

use std::{collections::VecDeque, mem, sync::Arc};

use super::commons::Commons;
use crate::{config::Overflow, wire::frame_len};

/// The frames that one topic published in one turn, shared by all its subscribers.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) frames: Vec<u8>,
    /// Which topic: never reused.
    pub(crate) topic: u64,
    pub(crate) overflow: Overflow,
}

/// A segment that has grown to this is followed by another, so that what was sent of a queue that
/// never runs empty is given back.
const OWN_BYTES: usize = 32 * 1024;

#[derive(Debug)]
enum Segment {
    /// Bytes of this connection's own. `framed` is false for HTTP, which has no frame boundaries.
    Own { bytes: Vec<u8>, start: usize, framed: bool },
    /// A range of a topic's log.
    Shared { log: Arc<Log>, start: usize, end: usize },
    /// A range of the log that a topic is still writing in this turn (by the topic's index).
    Pending { topic: u32, start: usize, end: usize },
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Segment::Own { bytes, start, .. } => bytes.len() - start,
            Segment::Shared { start, end, .. } | Segment::Pending { start, end, .. } => end - start,
        }
    }

    fn rest(&self) -> &[u8] {
        match self {
            Segment::Own { bytes, start, .. } => &bytes[*start..],
            Segment::Shared { log, start, end } => &log.frames[*start..*end],
            Segment::Pending { .. } => unreachable!("resolved before anything is written"),
        }
    }

    fn skip(&mut self, n: usize) {
        match self {
            Segment::Own { start, .. }
            | Segment::Shared { start, .. }
            | Segment::Pending { start, .. } => *start += n,
        }
    }

    /// How many bytes of a frame that has begun to leave are still here.
    fn begun(&self) -> usize {
        let (frames, start) = match self {
            Segment::Own { framed: false, .. } => return self.len(),
            Segment::Own { bytes, start, .. } => (&bytes[..], *start),
            Segment::Shared { log, start, .. } => (&log.frames[..], *start),
            Segment::Pending { .. } => return 0,
        };
        // Every buffer of frames begins at a frame's first byte.
        let mut boundary = 0;
        while boundary < start {
            boundary += frame_len(&frames[boundary..]);
        }
        boundary - start
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    segments: VecDeque<Segment>,
    /// Invariant: the sum of the segments' lengths but for the pending ones.
    bytes: usize,
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
        match self.segments.back() {
            Some(Segment::Own { framed: same, bytes, .. })
                if *same == framed && bytes.len() < OWN_BYTES => {}
            _ => {
                let bytes = commons.spare_buffer();
                self.segments.push_back(Segment::Own { bytes, start: 0, framed });
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
    pub(crate) fn push_pending(&mut self, topic: u32, start: usize, end: usize) {
        self.pendings += 1;
        self.segments.push_back(Segment::Pending { topic, start, end });
    }

    /// Appends a range of a finished log.
    pub(crate) fn push_shared(&mut self, log: &Arc<Log>, start: usize, end: usize) {
        self.bytes += end - start;
        self.segments.push_back(Segment::Shared { log: Arc::clone(log), start, end });
    }

    /// Turns pending ranges into shared ones, now that the turn's logs are finished. Gives how many
    /// frames a later one of their topic replaced.
    pub(crate) fn resolve<'a>(
        &mut self,
        commons: &mut Commons,
        finish: impl Fn(u32, usize, usize) -> Finished<'a>,
    ) -> u64 {
        let mut replaced = 0;
        if mem::take(&mut self.pendings) == 0 {
            return replaced;
        }
        for segment in mem::take(&mut self.segments) {
            let Segment::Pending { topic, start, end } = segment else {
                self.segments.push_back(segment);
                continue;
            };
            let Finished { log, start, replaced: conflated } = finish(topic, start, end);
            if let Some(conflated) = conflated {
                replaced += conflated + self.drop_frames(Drop::Topic(log.topic), commons);
            }
            self.push_shared(log, start, end);
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
                self.segments.push_front(Segment::Own { bytes: pong, start: n, framed: true });
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

    /// Drops whole frames that have not begun to leave: those that `unwanted` says of a topic's
    /// log, or, from the newest on, as many as it takes for `keep_bytes`. Gives their number.
    pub(crate) fn drop_frames(&mut self, which: Drop, commons: &mut Commons) -> u64 {
        let mut dropped = 0;
        let mut has_pong = false;
        for mut segment in mem::take(&mut self.segments).into_iter().rev() {
            let excess = match which {
                Drop::Topic(topic) => match &segment {
                    Segment::Shared { log, .. } if log.topic == topic => usize::MAX,
                    _ => 0,
                },
                Drop::Newest { keep_bytes } => self.bytes.saturating_sub(keep_bytes),
            };
            dropped += self.cut(&mut segment, excess, &mut has_pong, commons);
            if segment.len() > 0 {
                self.segments.push_front(segment);
            } else {
                release(segment, commons);
            }
        }
        dropped
    }

    /// Cuts the fewest whole data frames off the segment's end that hold `excess` bytes, or all
    /// that have not begun to leave. Control frames are no messages, and stay; of Pongs the latest
    /// does, unless a newer segment `has_pong` already.
    fn cut(
        &mut self,
        segment: &mut Segment,
        excess: usize,
        has_pong: &mut bool,
        commons: &mut Commons,
    ) -> u64 {
        if excess == 0 || matches!(segment, Segment::Pending { .. }) {
            return 0;
        }
        let begun = segment.begun();
        let (rest, len) = (segment.rest(), segment.len());
        let keep = len.saturating_sub(excess).max(begun);
        let (mut boundary, mut cut_at, mut dropped) = (begun, begun, 0);
        let (mut control, mut pong) = (Vec::new(), &[][..]);
        while boundary < len {
            let next = boundary + frame_len(&rest[boundary..]);
            let frame = &rest[boundary..next];
            if next <= keep {
                cut_at = next;
            } else if frame[0] == PONG {
                let coalesced = *has_pong || !pong.is_empty();
                commons.tally.pongs_coalesced.add(coalesced.into());
                pong = frame;
            } else if is_control(frame[0]) {
                control.extend_from_slice(frame);
            } else {
                dropped += 1;
            }
            boundary = next;
        }
        if !*has_pong && !pong.is_empty() {
            control.extend_from_slice(pong);
            *has_pong = true;
        }
        let removed = len - cut_at - control.len();
        self.bytes -= removed;
        match segment {
            Segment::Own { bytes, start, .. } => {
                commons.queued_bytes -= removed;
                bytes.truncate(*start + cut_at);
                bytes.extend_from_slice(&control);
            }
            Segment::Shared { end, .. } | Segment::Pending { end, .. } => *end -= removed,
        }
        dropped
    }

    /// The policy of what was queued last; `own` for what is no topic's.
    pub(crate) fn newest_overflow(&self, own: Overflow) -> Overflow {
        match self.segments.back() {
            Some(Segment::Shared { log, .. }) => log.overflow,
            _ => own,
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
    /// If only the topic's latest frame is kept: how many of the range it replaced.
    pub(crate) replaced: Option<u64>,
}

/// The first byte of a Pong of ours (RFC 6455 §5.2).
const PONG: u8 = 0x8A;

/// Whether a frame of ours with this first byte is a control frame (RFC 6455 §5.5).
fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

/// Which frames [`Outbox::drop_frames`] drops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drop {
    /// All of this topic.
    Topic(u64),
    /// The newest, until no more than this waits.
    Newest { keep_bytes: usize },
}

fn gather(scratch: &mut Vec<u8>, bytes: &[u8], max: usize) {
    let room = max - scratch.len();
    scratch.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn release(segment: Segment, commons: &mut Commons) {
    match segment {
        Segment::Own { bytes, .. } => commons.recycle_buffer(bytes),
        Segment::Shared { log, .. } => release_log(log, commons),
        Segment::Pending { .. } => {}
    }
}

/// Gives up one share of a log; the last one takes its bytes off the process's count.
pub(crate) fn release_log(log: Arc<Log>, commons: &mut Commons) {
    if let Some(log) = Arc::into_inner(log) {
        commons.queued_bytes -= log.frames.len();
        commons.recycle_buffer(log.frames);
    }
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
