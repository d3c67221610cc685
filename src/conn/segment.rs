//! Pieces of an outbox: a connection's own bytes, or ranges of a topic's log.

use std::{ops::Range, sync::Arc};

use super::commons::{Commons, wastes_room};
use crate::{config::Overflow, wire::frame_len};

/// The frames that one topic published in one turn, shared by all its subscribers.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) frames: Vec<u8>,
    /// Which topic: never reused.
    pub(crate) topic: u64,
    pub(crate) overflow: Overflow,
}

/// Bytes of one connection's own.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) bytes: Vec<u8>,
    /// What is before it has been written.
    pub(super) start: usize,
    /// What is before it is the rest of a frame whose beginning is not kept.
    pub(super) cut: usize,
    pub(super) kind: Kind,
}

/// What bytes of a connection's own are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Without frame boundaries.
    #[default]
    Http,
    /// Frames that are sent, or the connection is closed.
    Frames,
    /// Frames whose messages may be dropped.
    LossyFrames,
}

impl Kind {
    pub(super) fn frames(overflow: Overflow) -> Self {
        if overflow == Overflow::Close { Kind::Frames } else { Kind::LossyFrames }
    }
}

impl Own {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    #[inline]
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes of a frame that has begun to leave are still here.
    pub(super) fn begun(&self) -> usize {
        if self.kind == Kind::Http {
            self.len()
        } else if self.start <= self.cut {
            self.cut - self.start
        } else {
            boundary_from(&self.bytes, self.cut, self.start) - self.start
        }
    }

    /// Gives back the room of what has been written, and most of what was never used, for a peer that
    /// takes no more now: who lags must not hold more than waits for it.
    pub(super) fn compact(&mut self) {
        if self.start > self.len() / 4 {
            self.cut = self.begun();
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if wastes_room(&self.bytes) {
            self.bytes.shrink_to_fit();
        }
    }
}

#[derive(Debug)]
pub(super) enum Segment {
    Own(Own),
    /// A range of a topic's log.
    Shared {
        log: Arc<Log>,
        start: usize,
        end: usize,
    },
    /// Frames of the log that a topic is still writing in this turn (by the topic's index).
    Pending {
        topic: u32,
        frames: Range<u32>,
    },
}

impl Segment {
    pub(super) const NONE: Segment = Segment::Pending { topic: 0, frames: 0..0 };

    pub(super) fn len(&self) -> usize {
        match self {
            Segment::Own(own) => own.len(),
            Segment::Shared { start, end, .. } => end - start,
            Segment::Pending { .. } => 0,
        }
    }

    pub(super) fn rest(&self) -> &[u8] {
        match self {
            Segment::Own(own) => own.rest(),
            Segment::Shared { log, start, end } => &log.frames[*start..*end],
            Segment::Pending { .. } => unreachable!("resolved before anything is written"),
        }
    }

    pub(super) fn skip(&mut self, n: usize) {
        match self {
            Segment::Own(own) => own.start += n,
            Segment::Shared { start, .. } => *start += n,
            Segment::Pending { .. } => {}
        }
    }

    pub(super) fn is_lossy(&self) -> bool {
        match self {
            Segment::Own(own) => own.kind == Kind::LossyFrames,
            Segment::Shared { log, .. } => log.overflow != Overflow::Close,
            Segment::Pending { .. } => false,
        }
    }

    /// The topic whose latest message alone is to be kept for who lags.
    pub(super) fn latest_of(&self) -> Option<u64> {
        match self {
            Segment::Shared { log, .. } if log.overflow == Overflow::KeepLatest => Some(log.topic),
            Segment::Own(_) | Segment::Shared { .. } | Segment::Pending { .. } => None,
        }
    }

    /// How many bytes of a frame that has begun to leave are still here.
    pub(super) fn begun(&self) -> usize {
        match self {
            Segment::Own(own) => own.begun(),
            Segment::Shared { log, start, .. } => boundary_from(&log.frames, 0, *start) - start,
            Segment::Pending { .. } => 0,
        }
    }

    /// Copies a short end of a long log, which would keep all of it in memory; not if many have it, whose
    /// copies would take more.
    pub(super) fn unpin(&mut self, commons: &mut Commons) {
        let Segment::Shared { log, start, end } = self else { return };
        if (*end - *start).saturating_mul(2 * Arc::strong_count(log)) > log.frames.len() {
            return;
        }
        let cut = boundary_from(&log.frames, 0, *start) - *start;
        let (len, is_latest) = (*end - *start, log.overflow == Overflow::KeepLatest);
        if is_latest && cut > 0 && cut < len {
            // It is being written, and what is behind may still give way to a later one.
            return;
        }
        let bytes = log.frames[*start..*end].to_vec();
        let copy = if is_latest && cut == 0 {
            // It gives way to the next one of its topic, as before.
            let log = Log { frames: bytes, topic: log.topic, overflow: log.overflow };
            Segment::Shared { log: Arc::new(log), start: 0, end: len }
        } else {
            Segment::Own(Own { bytes, start: 0, cut, kind: Kind::frames(log.overflow) })
        };
        commons.queued_bytes += len;
        release(std::mem::replace(self, copy), commons);
    }
}

/// The first frame boundary that is not before `at`; there is one at `boundary`.
fn boundary_from(frames: &[u8], mut boundary: usize, at: usize) -> usize {
    while boundary < at {
        boundary += frame_len(&frames[boundary..]);
    }
    boundary
}

pub(super) fn release(segment: Segment, commons: &mut Commons) {
    match segment {
        Segment::Own(own) => commons.recycle_buffer(own.bytes),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        wire::{OpCode, encode_frame},
    };

    /// Four frames of 102 bytes.
    fn frames() -> Vec<u8> {
        let mut frames = Vec::new();
        for _ in 0..4 {
            encode_frame(&mut frames, OpCode::Binary, &[7; 100]);
        }
        frames
    }

    #[test]
    fn a_short_end_of_a_log_is_copied_and_stays_what_it_was() {
        let mut commons = Commons::new(Config::default(), Arc::default());
        for (start, copies) in [(0, false), (200, false), (204, true), (316, true), (408, true)] {
            for overflow in [Overflow::Close, Overflow::DropNewest, Overflow::KeepLatest] {
                let log = Arc::new(Log { frames: frames(), topic: 0, overflow });
                let kept = Arc::downgrade(&log);
                commons.queued_bytes = log.frames.len();
                let mut segment = Segment::Shared { log, start, end: 408 };
                let before = (segment.rest().to_vec(), segment.begun(), segment.is_lossy());
                segment.unpin(&mut commons);
                let after = (segment.rest().to_vec(), segment.begun(), segment.is_lossy());
                assert_eq!(before, after, "from {start}");
                assert_eq!(kept.upgrade().is_none(), copies, "from {start}");
            }
        }
    }

    #[test]
    fn who_lags_holds_little_more_than_what_waits() {
        for kind in [Kind::Http, Kind::Frames] {
            for start in [0, 50, 102, 103, 203, 204, 300, 400] {
                let mut bytes = Vec::with_capacity(10_000);
                bytes.extend(frames());
                let mut own = Own { bytes, start, kind, ..Own::default() };
                let before = (own.rest().to_vec(), own.begun());
                own.compact();
                assert_eq!((own.rest().to_vec(), own.begun()), before, "from {start}");
                assert!(own.bytes.capacity() <= own.len() * 5 / 2 + 64, "from {start}");
            }
        }
        let mut own = Own { bytes: Vec::with_capacity(700), ..Own::default() };
        own.bytes.extend(frames());
        own.compact();
        assert!(own.bytes.capacity() >= 700, "what has room to grow is not moved each time");
    }
}
