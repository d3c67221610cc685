//! What one topic publishes in one turn: its frames one after the other, and where each ends.
//!
//! Subscribers take ranges of it, counted in frames. When the turn ends, the log is sealed: it is
//! shared from there on, and there is a second one for those who take it compressed.

use std::{mem, ops::Range, sync::Arc};

use crate::{
    config::Overflow,
    conn::{Commons, Log, deflate_frames, release_log, wastes_room},
};

/// Frame ends for which room is kept from turn to turn.
const SPARE_ENDS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct TurnLog {
    frames: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<u32>,
    sealed: Option<Arc<Log>>,
    /// The same frames compressed, and where each ends.
    deflated: Option<(Arc<Log>, Vec<u32>)>,
}

impl TurnLog {
    /// How many frames there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends a frame of `len` bytes that `encode` writes. False if it does not fit.
    pub(super) fn push(
        &mut self,
        len: usize,
        commons: &mut Commons,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let max = commons.config.send_queues_bytes_max;
        if commons.queued_bytes.saturating_add(len) > max
            || self.frames.len() + len > u32::MAX as usize
        {
            return false;
        }
        if self.frames.capacity() == 0 {
            self.frames = commons.spare_buffer();
        }
        encode(&mut self.frames);
        self.ends.push(self.frames.len() as u32);
        commons.queued_bytes += len;
        true
    }

    /// Nothing is appended from here on; with `deflate`, the frames are compressed, too.
    pub(super) fn seal(
        &mut self,
        topic: u64,
        overflow: Overflow,
        deflate: bool,
        commons: &mut Commons,
    ) {
        let mut frames = mem::take(&mut self.frames);
        if wastes_room(&frames) {
            // Whoever lags keeps the log: it must not be larger than it says.
            let exact = frames.as_slice().to_vec();
            commons.recycle_buffer(mem::replace(&mut frames, exact));
        }
        if deflate {
            let (mut frames, ends) = deflate_frames(&frames, commons);
            frames.shrink_to_fit();
            commons.queued_bytes += frames.len();
            self.deflated = Some((Arc::new(Log { frames, topic, overflow }), ends));
        }
        self.sealed = Some(Arc::new(Log { frames, topic, overflow }));
    }

    /// The bytes of some frames of the sealed log, `deflated` if that was done.
    pub(super) fn bytes(&self, frames: Range<usize>, deflated: bool) -> (&Arc<Log>, usize, usize) {
        let (log, ends) = match &self.deflated {
            Some((log, ends)) if deflated => (log, ends),
            _ => (self.sealed.as_ref().expect("ranges are taken of a sealed log"), &self.ends),
        };
        let end_of = |frames: usize| frames.checked_sub(1).map_or(0, |last| ends[last] as usize);
        (log, end_of(frames.start), end_of(frames.end))
    }

    /// Gives up the log; it lives on where it waits to be sent.
    pub(super) fn clear(&mut self, commons: &mut Commons) {
        self.ends.clear();
        self.ends.shrink_to(SPARE_ENDS);
        let deflated = self.deflated.take().map(|(log, _)| log);
        for log in self.sealed.take().into_iter().chain(deflated) {
            release_log(log, commons);
        }
    }
}
