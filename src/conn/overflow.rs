//! What is dropped of an outbox when too much waits: whole data frames that have not begun to leave,
//! and none but those whose policy says so. Control frames are no messages, and stay.

use std::mem;

use super::{
    commons::Commons,
    outbox::Outbox,
    segment::{Segment, release},
};
use crate::wire::frame_len;

/// Whether a frame of ours with this first byte is a control frame (RFC 6455 §5.5).
fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

impl Outbox {
    /// Drops the newest messages whose policy allows it, until no more than `keep_bytes` wait; a topic's
    /// latest, for which earlier ones gave way, only if that is not enough. Gives how many. More than
    /// `keep_bytes` wait afterwards if the rest must not be dropped.
    pub(crate) fn drop_newest(&mut self, keep_bytes: usize, commons: &mut Commons) -> u64 {
        let is_newest = |segment: &Segment| segment.is_lossy() && segment.latest_of().is_none();
        let dropped = self.drop_from_newest(keep_bytes, is_newest, commons);
        dropped + self.drop_from_newest(keep_bytes, Segment::is_lossy, commons)
    }

    /// Drops every message that has not begun to leave, whatever its policy. Gives how many.
    pub(crate) fn drop_all(&mut self, commons: &mut Commons) -> u64 {
        self.drop_from_newest(0, |_| true, commons)
    }

    /// Drops every message of a topic. Gives how many.
    pub(crate) fn drop_topic(&mut self, topic: u64, commons: &mut Commons) -> u64 {
        self.drop_from_newest(0, |segment| segment.latest_of() == Some(topic), commons)
    }

    /// Bytes of control frames, which have room of their own. Goes through every frame of this
    /// connection's own: for when the limit is passed.
    pub(crate) fn control_bytes(&mut self) -> usize {
        self.settle();
        let mut bytes = 0;
        for segment in &self.segments {
            let Segment::Own(own) = segment else { continue };
            let (mut at, rest) = (own.begun(), own.rest());
            while at < rest.len() {
                let len = frame_len(&rest[at..]);
                bytes += if is_control(rest[at]) { len } else { 0 };
                at += len;
            }
        }
        bytes
    }

    fn drop_from_newest(
        &mut self,
        keep_bytes: usize,
        may_drop: impl Fn(&Segment) -> bool,
        commons: &mut Commons,
    ) -> u64 {
        self.settle();
        let mut dropped = 0;
        for at in (0..self.segments.len()).rev() {
            if self.bytes <= keep_bytes {
                break;
            }
            if !may_drop(&self.segments[at]) {
                continue;
            }
            let mut segment = mem::replace(&mut self.segments[at], Segment::NONE);
            let excess = self.bytes - keep_bytes;
            dropped += self.cut(&mut segment, excess, commons);
            if segment.len() > 0 {
                self.segments[at] = segment;
            } else {
                release(segment, commons);
                self.segments.remove(at);
            }
        }
        dropped
    }

    /// Cuts the fewest whole data frames off the segment's end that hold `excess` bytes, or all
    /// that have not begun to leave.
    fn cut(&mut self, segment: &mut Segment, excess: usize, commons: &mut Commons) -> u64 {
        let begun = segment.begun();
        let (rest, len) = (segment.rest(), segment.len());
        let keep = len.saturating_sub(excess).max(begun);
        let (mut boundary, mut cut_at, mut dropped) = (begun, begun, 0);
        let mut control = Vec::new();
        while boundary < len {
            let next = boundary + frame_len(&rest[boundary..]);
            let frame = &rest[boundary..next];
            if next <= keep {
                cut_at = next;
            } else if is_control(frame[0]) {
                control.extend_from_slice(frame);
            } else {
                dropped += 1;
            }
            boundary = next;
        }
        let removed = len - cut_at - control.len();
        self.bytes -= removed;
        match segment {
            Segment::Own(own) => {
                commons.queued_bytes -= removed;
                own.bytes.truncate(own.start + cut_at);
                own.bytes.extend_from_slice(&control);
            }
            Segment::Shared { end, .. } => *end -= removed,
            Segment::Pending { .. } => {}
        }
        dropped
    }

    /// Keeps only the latest message of each topic that asks for it, because the peer lags now.
    /// Gives how many were dropped.
    pub(crate) fn keep_latest(&mut self, commons: &mut Commons) -> u64 {
        self.settle();
        let mut dropped = 0;
        let mut seen = Vec::new();
        for at in (0..self.segments.len()).rev() {
            let Some(topic) = self.segments[at].latest_of() else { continue };
            if seen.contains(&topic) {
                let mut segment = mem::replace(&mut self.segments[at], Segment::NONE);
                dropped += self.cut(&mut segment, usize::MAX, commons);
                self.segments[at] = segment;
            } else {
                seen.push(topic);
                dropped += self.cut_to_latest(at);
            }
        }
        for at in (0..self.segments.len()).rev() {
            if self.segments[at].len() == 0
                && let Some(segment) = self.segments.remove(at)
            {
                release(segment, commons);
            }
        }
        dropped
    }

    /// Cuts everything out of a shared segment but a frame that has begun to leave, and the last.
    fn cut_to_latest(&mut self, at: usize) -> u64 {
        let begun = self.segments[at].begun();
        let Segment::Shared { log, start, end } = &mut self.segments[at] else { return 0 };
        let (mut last, mut next, mut dropped) = (*start + begun, *start + begun, 0);
        while next < *end {
            dropped += u64::from(next > last);
            last = next;
            next += frame_len(&log.frames[next..]);
        }
        if dropped == 0 {
            return 0;
        }
        self.bytes -= last - (*start + begun);
        let (log, end) = (log.clone(), std::mem::replace(end, *start + begun));
        self.segments.insert(at + 1, Segment::Shared { log, start: last, end });
        dropped
    }

    /// Copies what is short of a log that is long, and gives back room that is not used.
    pub(crate) fn unpin(&mut self, commons: &mut Commons) {
        self.tail.compact();
        for segment in &mut self.segments {
            segment.unpin(commons);
        }
    }
}
