//! What all connections share: the limits, the time of this turn, the counters, the bytes that wait in
//! the whole process, and spare buffers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

#[cfg(feature = "deflate")]
use super::deflate::Codec;
use super::{batch::Batch, outbox::Outbox, reader::Partial};
use crate::{
    config::Config,
    counters::LiveCounters,
    event::{ConnId, Encoder},
    wire::CloseCode,
};

/// Time in steps of [`TICK`] since the hub was made: four bytes for each stamp, good for 9 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(pub(crate) u32);

/// Some 67 ms: a power of two of nanoseconds, by which every turn divides.
const TICK: Duration = Duration::from_nanos(1 << TICK_BITS);
pub(crate) const TICK_BITS: u32 = 26;

/// Whether a buffer has much more room than it uses. What is kept for long should not stay in it,
/// because limits count what is used.
#[inline]
pub(crate) fn wastes_room(bytes: &Vec<u8>) -> bool {
    bytes.capacity() > 2 * bytes.len() + 64
}

impl Ticks {
    /// The first tick is not 0: a stamp can be set back before it, so that the first Pings to peers that
    /// connect to a new server at once are spread as well.
    pub(crate) const FIRST: Ticks = Ticks(1 << 20);

    /// The first tick that is certainly no earlier than `delay` after any moment of this one.
    pub(crate) fn after(self, delay: Duration) -> Ticks {
        let ticks = delay.as_nanos().div_ceil(TICK.as_nanos()) + 1;
        Ticks(self.0.saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)))
    }

    /// How many ticks ago `earlier` was.
    pub(crate) fn since(self, earlier: Ticks) -> usize {
        self.0.saturating_sub(earlier.0) as usize
    }

    /// About `delay` ago.
    pub(crate) fn before(self, delay: Duration) -> Ticks {
        let ticks = delay.as_nanos() / TICK.as_nanos();
        Ticks(self.0.saturating_sub(u32::try_from(ticks).unwrap_or(u32::MAX)))
    }
}

/// Spare boxes and buffers kept of each kind; more are given back to the allocator.
pub(super) const SPARES_MAX: usize = 256;
/// Capacity above which a spare buffer is given back, in bytes.
const SPARE_BYTES_MAX: usize = 256 * 1024;
/// Capacity of all spare buffers, in bytes.
const SPARES_BYTES_MAX: usize = 2 * 1024 * 1024;

#[derive(Debug)]
#[expect(clippy::vec_box, reason = "boxes are taken from the pools and put back as they are")]
pub(crate) struct Commons {
    pub(crate) config: Config,
    /// The encodings of the application: see `Encoding::Own`.
    pub(crate) encoders: Vec<Encoder>,
    /// With which codes connections are closed that take them, when the server ends and when they read too slowly.
    pub(crate) close_codes: Vec<Option<[CloseCode; 2]>>,
    pub(crate) tally: Arc<LiveCounters>,
    pub(crate) now: Ticks,
    /// What the clock on the wall showed when this tick began, if the network has one.
    pub(crate) wall_clock: Option<SystemTime>,
    /// The same as a response gives it; empty if it is not known.
    pub(crate) date: String,
    /// All TCP listeners are bound to loopback addresses.
    pub(crate) on_loopback: bool,
    /// Publications that each connection has taken, by its index; empty if that is not counted.
    pub(crate) delivered: Vec<u64>,
    /// The same of those of which the places were freed in this turn, which may tell of their end.
    pub(crate) ended: BTreeMap<ConnId, u64>,
    /// Bytes that wait to be sent in the whole process: outboxes, and batches, each counted once.
    pub(crate) queued_bytes: usize,
    /// Bytes of batches that are kept as history alone.
    pub(crate) history_bytes: usize,
    /// What is left of this turn's budget for compressing publications: see `DEFLATE_COST_MAX`.
    pub(crate) deflate_budget: usize,
    /// Upper bound on bytes held incomplete. Recounted exactly only when it passes the limit.
    pub(crate) incomplete_bytes: usize,
    /// Bytes kept of what clients sent compressed: the room of every `Windows::received`.
    pub(crate) window_bytes: usize,
    #[cfg(feature = "deflate")]
    pub(super) codec: Codec,
    partials: Vec<Box<Partial>>,
    outboxes: Vec<Box<Outbox>>,
    pub(super) batches: Vec<Arc<Batch>>,
    /// Batches that a write held when their log gave them up. They still count.
    pub(super) held: Vec<Arc<Batch>>,
    /// How many of them the round of looking at them has not come to yet.
    pub(super) sweep_left: usize,
    /// A write of a batch has ended since the last round began.
    pub(super) write_released: bool,
    buffers: Vec<Vec<u8>>,
    /// Invariant: the sum of their capacities.
    buffers_bytes: usize,
}

impl Commons {
    pub(crate) fn new(config: Config, tally: Arc<LiveCounters>) -> Self {
        Self {
            config,
            encoders: Vec::new(),
            close_codes: Vec::new(),
            tally,
            now: Ticks::FIRST,
            wall_clock: None,
            date: String::new(),
            on_loopback: false,
            delivered: Vec::new(),
            ended: BTreeMap::new(),
            queued_bytes: 0,
            history_bytes: 0,
            deflate_budget: 0,
            incomplete_bytes: 0,
            window_bytes: 0,
            #[cfg(feature = "deflate")]
            codec: Codec::default(),
            partials: Vec::new(),
            outboxes: Vec::new(),
            batches: Vec::new(),
            held: Vec::new(),
            sweep_left: 0,
            write_released: false,
            buffers: Vec::new(),
            buffers_bytes: 0,
        }
    }

    /// A connection has come.
    pub(crate) fn begin_delivered(&mut self, id: ConnId) {
        if !self.config.count_deliveries {
            return;
        }
        let at = id.index as usize;
        if at >= self.delivered.len() {
            self.delivered.resize(at + 1, 0);
        }
        self.delivered[at] = 0;
    }

    /// A connection's place is free.
    pub(crate) fn end_delivered(&mut self, id: ConnId) {
        if let Some(count) = self.delivered.get(id.index as usize) {
            self.ended.insert(id, *count);
        }
    }

    /// A connection has taken so many publications.
    #[inline]
    pub(crate) fn note_delivered(&mut self, id: ConnId, delivered: u64) {
        self.tally.deliveries.add(delivered);
        if let Some(count) = self.delivered.get_mut(id.index as usize) {
            *count += delivered;
        }
    }

    pub(crate) fn spare_partial(&mut self) -> Box<Partial> {
        self.partials.pop().unwrap_or_default()
    }

    /// Takes back a partial that is at rest: it holds no header, no frame and no message.
    pub(super) fn recycle_partial(&mut self, mut partial: Box<Partial>) {
        self.recycle_buffer(partial.take_assembly());
        if self.partials.len() < SPARES_MAX {
            self.partials.push(partial);
        }
    }

    pub(super) fn spare_outbox(&mut self) -> Box<Outbox> {
        self.outboxes.pop().unwrap_or_default()
    }

    #[inline]
    pub(super) fn recycle_outbox(&mut self, outbox: Box<Outbox>) {
        debug_assert!(outbox.is_empty());
        if outbox.is_at_rest() && self.outboxes.len() < SPARES_MAX {
            self.outboxes.push(outbox);
        } else {
            self.bring_to_rest(outbox);
        }
    }

    #[cold]
    fn bring_to_rest(&mut self, mut outbox: Box<Outbox>) {
        if let Some(large) = outbox.reset_for_pool(self) {
            self.recycle_buffer(large);
        }
        if self.outboxes.len() < SPARES_MAX {
            self.outboxes.push(outbox);
        }
    }

    /// An empty buffer, often with capacity.
    pub(crate) fn spare_buffer(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.buffers_bytes -= buffer.capacity();
        buffer
    }

    pub(crate) fn recycle_buffer(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if (1..=SPARE_BYTES_MAX).contains(&bytes)
            && self.buffers.len() < SPARES_MAX
            && self.buffers_bytes + bytes <= SPARES_BYTES_MAX
        {
            buffer.clear();
            self.buffers_bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_never_two_ticks_late() {
        for (millis, ticks) in [(0, 1), (1, 2), (67, 2), (68, 3), (5_000, 76)] {
            assert_eq!(Ticks(10).after(Duration::from_millis(millis)), Ticks(10 + ticks));
        }
        assert_eq!(Ticks(10).after(Duration::MAX), Ticks(u32::MAX));
    }

    /// Peers that come first are pinged at moments that are spread over an interval, however long.
    #[test]
    fn the_first_stamps_can_be_set_back_by_hours() {
        let before = Ticks::FIRST.before(Duration::from_secs(3600));
        assert_eq!(Ticks::FIRST.since(before), 53_644);
    }

    #[test]
    fn no_time_has_passed_since_what_is_ahead() {
        assert_eq!(Ticks(7).since(Ticks(3)), 4);
        assert_eq!(Ticks(3).since(Ticks(7)), 0);
    }

    #[test]
    fn a_buffer_wastes_room_beyond_twice_what_it_uses_and_64_bytes() {
        for (len, room, wastes) in
            [(0, 64, false), (0, 65, true), (100, 264, false), (100, 265, true)]
        {
            let mut buffer = Vec::with_capacity(room);
            buffer.resize(len, 0);
            assert_eq!(wastes_room(&buffer), wastes, "{len} in {room}");
        }
    }

    #[test]
    fn an_outbox_at_rest_leaves_its_large_buffer_to_others() {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let mut outbox = Box::<Outbox>::default();
        outbox.push(&mut commons, |out| out.resize(100_000, 0));
        outbox.advance_line(100_000, &mut commons);
        commons.recycle_outbox(outbox);
        let mut outbox = commons.spare_outbox();
        assert!(outbox.reset_for_pool(&mut commons).is_none());
        assert!(commons.spare_buffer().capacity() >= 100_000);
    }

    #[test]
    fn so_many_spares_are_kept_and_no_more() {
        let mut commons = Commons::new(Config::default(), Arc::default());
        for _ in 0..2 * SPARES_MAX {
            commons.recycle_partial(Box::default());
            commons.recycle_outbox(Box::default());
            commons.recycle_buffer(Vec::with_capacity(1));
            commons.queued_bytes += Batch::BYTES;
            commons.release_batch(Arc::default());
        }
        assert_eq!([commons.partials.len(), commons.outboxes.len()], [256; 2]);
        assert_eq!([commons.buffers.len(), commons.batches.len()], [256; 2]);
    }

    #[test]
    fn spare_buffers_are_of_middling_length_and_have_two_mebibytes_together() {
        const KIB: usize = 1024;
        let mut commons = Commons::new(Config::default(), Arc::default());
        commons.recycle_buffer(Vec::with_capacity(256 * KIB + 1));
        assert_eq!(commons.spare_buffer().capacity(), 0, "a long one goes to the allocator");
        for _ in 0..10 {
            commons.recycle_buffer(Vec::with_capacity(256 * KIB));
        }
        assert_eq!((commons.buffers.len(), commons.buffers_bytes), (8, 2048 * KIB));
    }
}
