//! Pieces of an outbox: a connection's own bytes, or ranges of a topic's log.

use std::{ops::Range, sync::Arc};

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

/// Bytes of one connection's own.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) bytes: Vec<u8>,
    /// What is before it has been written.
    pub(super) start: usize,
    /// False for HTTP, which has no frame boundaries.
    pub(super) framed: bool,
    /// The policy is to drop messages.
    pub(super) lossy: bool,
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
        if self.framed { boundaries(&self.bytes, self.start).1 - self.start } else { self.len() }
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
            Segment::Own(own) => own.lossy,
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
            Segment::Shared { log, start, .. } => boundaries(&log.frames, *start).1 - start,
            Segment::Pending { .. } => 0,
        }
    }

    /// Copies a short end of a long log, which would keep all of it in memory.
    pub(super) fn unpin(&mut self, commons: &mut Commons) {
        let Segment::Shared { log, start, end } = self else { return };
        if (*end - *start) * 2 > log.frames.len() {
            return;
        }
        let first = boundaries(&log.frames, *start).0;
        let mut bytes = commons.spare_buffer();
        bytes.extend_from_slice(&log.frames[first..*end]);
        let lossy = log.overflow != Overflow::Close;
        let own = Own { bytes, start: *start - first, framed: true, lossy };
        commons.queued_bytes += own.len();
        release(std::mem::replace(self, Segment::Own(own)), commons);
    }
}

/// The frame boundaries around `at`: the last one that is not after it, and the first that is not
/// before it. Every buffer of frames begins at a frame's first byte.
fn boundaries(frames: &[u8], at: usize) -> (usize, usize) {
    let (mut before, mut after) = (0, 0);
    while after < at {
        before = after;
        after += frame_len(&frames[after..]);
    }
    if after == at { (at, at) } else { (before, after) }
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
