//! A batch: publications of one topic, one after the other, numbered and shared by all connections that
//! take them.
//!
//! Plain frames are the base. Every other [`Encoding`] is made from them once, when the first subscriber
//! takes it, and is a cache that may be dropped. Nothing outside of this file knows what the bytes of a
//! publication are.

mod pool;
mod shared;

use std::{
    mem,
    ops::Range,
    sync::{Arc, OnceLock},
};

pub(crate) use shared::Shared;

use super::{
    commons::{Commons, Ticks, wastes_room},
    encoding::{CACHES, DEFLATE_LENGTH, Encoding, OWN_CACHES, Place, Source},
};
use crate::{
    event::ConnId,
    wire::{OpCode, encode_frame, open_frame},
};

/// Room that a pooled batch may keep for each of its lists, in entries.
const SPARE_ENTRIES: usize = 256;

/// What compressing costs of a turn's budget: each byte, and each message beside its bytes.
const DEFLATE_BYTE_COST: usize = 8;
const DEFLATE_MESSAGE_COST: usize = 4 * 1024;
/// A turn's budget for compressing publications: some two milliseconds.
pub(crate) const DEFLATE_COST_MAX: usize = 1024 * 1024;
/// Messages of one batch that are long enough to be compressed, at the most: they are compressed in one
/// go.
const DEFLATED_MAX: u32 = DEFLATE_COST_MAX as u32 / DEFLATE_MESSAGE_COST as u32;

/// What a batch takes that has an encoding of the application, beside its bytes.
const OWN_BYTES: usize = size_of::<[Cache; OWN_CACHES]>();

/// Publications in one encoding: their bytes, and where each ends.
#[derive(Debug, Default)]
struct Encoded {
    /// The first publication that is here, counted in its batch.
    from: u32,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// An encoding that is made when it is first taken.
type Cache = OnceLock<Box<Encoded>>;

impl Encoded {
    fn end_of(&self, publications: u32) -> usize {
        (publications - self.from)
            .checked_sub(1)
            .map_or(0, |last| self.ends[last as usize] as usize)
    }

    /// What this counts as, in bytes.
    fn counted(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The offset of the first publication.
    first: u64,
    /// Plain frames, while the batch grows.
    growing: Encoded,
    /// Plain frames that other loops have as well, in place of its own: nothing is appended to these.
    shared: Option<Arc<Encoded>>,
    /// What was made of the plain frames, each in its place: see `Encoding::place`.
    caches: [Cache; CACHES],
    /// The same of the application's encodings. Few batches have any.
    own: OnceLock<Box<[Cache; OWN_CACHES]>>,
    may_deflate: bool,
    /// How many publications are long enough to be compressed.
    long: u32,
    /// When it was begun, and when it was sealed last.
    born: Ticks,
    latest: Ticks,
    /// From which publication on the hub's clock showed what. It orders publications and direct sends.
    clocks: Vec<(u32, u64)>,
    /// Connections and the publications that they do not get. The first `sorted` entries are in order:
    /// all, once the batch is sealed.
    except: Vec<(ConnId, u32)>,
    sorted: u32,
}

impl Batch {
    /// What a batch takes beside its publications, in bytes: itself, its reference count, its place in
    /// the log.
    pub(crate) const BYTES: usize = size_of::<Batch>() + 64;
    /// What a publication takes beside its frame, in bytes, at the most, if all subscribers get it.
    pub(crate) const PUBLICATION_BYTES: usize = size_of::<u32>() + size_of::<(u32, u64)>();

    /// Begins anew; the first publication will have this offset.
    pub(crate) fn begin(&mut self, first: u64, may_deflate: bool, buffer: Vec<u8>, now: Ticks) {
        (self.first, self.may_deflate, self.growing.bytes) = (first, may_deflate, buffer);
        (self.long, self.born, self.latest) = (0, now, now);
    }

    #[inline]
    fn plain(&self) -> &Encoded {
        match &self.shared {
            None => &self.growing,
            Some(shared) => shared,
        }
    }

    /// The offset of the first publication.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The offset behind the last publication.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.plain().ends.len() as u64
    }

    /// When its first publications were made, and its last ones.
    pub(crate) fn times(&self) -> (Ticks, Ticks) {
        (self.born, self.latest)
    }

    /// What this counts as, in bytes: what is held, but for the slack of growing lists.
    pub(crate) fn counted(&self) -> usize {
        let lists = self.clocks.len() * size_of::<(u32, u64)>()
            + self.except.len() * size_of::<(ConnId, u32)>();
        Self::BYTES + self.plain().counted() + lists + self.caches_counted()
    }

    /// Whether a publication of this kind may be appended. A batch has no more to be compressed than a
    /// turn may compress.
    pub(crate) fn takes_more(&self, may_deflate: bool) -> bool {
        self.shared.is_none()
            && self.may_deflate == may_deflate
            && (!may_deflate || self.long < DEFLATED_MAX)
    }

    /// Bytes of its plain frames.
    pub(crate) fn len(&self) -> usize {
        self.plain().bytes.len()
    }

    /// Appends a publication, made while the hub's clock showed `clock`. Gives by how much more the batch counts.
    pub(crate) fn push(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        clock: u64,
        except: Option<ConnId>,
    ) -> usize {
        let nth = self.growing.ends.len() as u32;
        let before = self.growing.bytes.len();
        self.long += u32::from(payload.len() >= DEFLATE_LENGTH);
        encode_frame(&mut self.growing.bytes, opcode, payload);
        self.growing.ends.push(self.growing.bytes.len() as u32);
        let mut added = self.growing.bytes.len() - before + size_of::<u32>();
        if self.clocks.last().is_none_or(|(_, last)| *last != clock) {
            self.clocks.push((nth, clock));
            added += size_of::<(u32, u64)>();
        }
        if let Some(id) = except {
            self.except.push((id, nth));
            added += size_of::<(ConnId, u32)>();
        }
        added
    }

    /// Makes the batch ready to be taken. It then takes no more memory than it counts as.
    pub(crate) fn seal(&mut self, commons: &mut Commons) {
        self.sort_excepted();
        self.latest = commons.now;
        if wastes_room(&self.growing.bytes) {
            let exact = self.growing.bytes.as_slice().to_vec();
            commons.recycle_buffer(mem::replace(&mut self.growing.bytes, exact));
        }
    }

    fn sort_excepted(&mut self) {
        self.except.sort_unstable();
        self.sorted = self.except.len() as u32;
    }

    /// Appends the publications of the batch that follows, which is sealed as this one is. What is merged
    /// so is not compressed any more.
    pub(crate) fn append(&mut self, next: &Batch) {
        let plain = self.own_again();
        let (count, bytes) = (plain.ends.len() as u32, plain.bytes.len() as u32);
        plain.bytes.extend_from_slice(&next.plain().bytes);
        plain.ends.extend(next.plain().ends.iter().map(|end| bytes + end));
        let shown = self.clocks.last().map(|(_, clock)| *clock);
        let newer = next.clocks.iter().filter(|(_, clock)| Some(*clock) != shown);
        self.clocks.extend(newer.map(|(nth, clock)| (count + nth, *clock)));
        if !next.except.is_empty() {
            self.except.extend(next.except.iter().map(|(id, nth)| (*id, count + nth)));
            self.sort_excepted();
        }
        (self.may_deflate, self.latest) = (false, next.latest);
    }

    /// Gives back the slack of lists that have grown: no publication is appended any more.
    pub(crate) fn shrink(&mut self) {
        self.growing.bytes.shrink_to_fit();
        self.growing.ends.shrink_to_fit();
        self.clocks.shrink_to_fit();
        self.except.shrink_to_fit();
    }

    /// Copies the newest publication into a batch of its own.
    pub(crate) fn newest(&self, into: &mut Batch, commons: &mut Commons) {
        let last = self.plain().ends.len() as u32 - 1;
        let bytes = self.plain().end_of(last)..self.plain().end_of(last + 1);
        let mut buffer = commons.spare_buffer();
        buffer.extend_from_slice(&self.plain().bytes[bytes]);
        into.begin(self.first + u64::from(last), self.may_deflate, buffer, self.latest);
        into.growing.ends.push(into.growing.bytes.len() as u32);
        into.clocks.extend(self.clocks.last().map(|(_, clock)| (0, *clock)));
        let excepted = self.except.iter().filter(|(_, nth)| *nth == last);
        into.except.extend(excepted.map(|(id, _)| (*id, 0)));
        into.seal(commons);
        into.latest = self.latest;
    }

    /// What the hub's clock showed when the publication was made.
    pub(crate) fn clock_of(&self, offset: u64) -> u64 {
        let nth = (offset - self.first) as u32;
        let after = self.clocks.partition_point(|(from, _)| *from <= nth);
        after.checked_sub(1).map_or(0, |at| self.clocks[at].1)
    }

    /// The offset of the first publication that was made when the clock showed `clock` or more.
    pub(crate) fn first_at(&self, clock: u64) -> u64 {
        if self.clocks.last().is_none_or(|(_, last)| *last < clock) {
            return self.end();
        }
        let at = self.clocks.partition_point(|(_, shown)| *shown < clock);
        self.clocks.get(at).map_or(self.end(), |(nth, _)| self.first + u64::from(*nth))
    }

    /// The first publications from `offset` on that this connection does not get, one behind the other.
    pub(crate) fn next_except(&self, id: ConnId, offset: u64) -> Option<Range<u64>> {
        let nth = offset.saturating_sub(self.first) as u32;
        let at = self.except.partition_point(|it| *it < (id, nth));
        let own = &self.except[at..];
        let (_, nth) = *own.first().filter(|(other, _)| *other == id)?;
        // None is there twice: the numbers up to one are without a gap if it is as far on as its place.
        let (mut len, mut max) = (1, own.len());
        while len < max {
            let at = usize::midpoint(len, max);
            match own[at] == (id, nth + at as u32) {
                true => len = at + 1,
                false => max = at,
            }
        }
        let first = self.first + u64::from(nth);
        Some(first..first + len as u64)
    }

    /// How a connection that `wants` an encoding takes publications from `offset` on. The first such
    /// connection has them encoded for all. Compressed they are from `from` on, and only if there is room in
    /// the process and in the turn's budget: if not, it gets them uncompressed, rather now than compressed
    /// and late.
    pub(crate) fn encoding(
        &self,
        mut wants: Encoding,
        offset: u64,
        from: u64,
        source: Source<'_>,
        commons: &mut Commons,
    ) -> Encoding {
        let nth = (offset - self.first) as u32;
        if wants.is_deflated() {
            let from = (from.clamp(self.first, offset) - self.first) as u32;
            if self.may_deflate
                && (self.cached(wants).is_some() || self.may_compress(commons))
                && self.make(wants, from, source, commons).from <= nth
            {
                return wants;
            }
            wants = wants.uncompressed();
        }
        if wants.place().is_some() {
            self.make(wants, 0, source, commons);
        }
        wants
    }

    /// Whether the turn and the process have room to compress the batch.
    fn may_compress(&self, commons: &Commons) -> bool {
        let room = commons.config.send_queues_bytes_max.saturating_sub(commons.queued_bytes);
        commons.deflate_budget > 0 && self.plain().counted() <= room
    }

    /// The publications in an encoding: from the `from`-th on, if they are not there yet.
    fn make(
        &self,
        wants: Encoding,
        from: u32,
        source: Source<'_>,
        commons: &mut Commons,
    ) -> &Encoded {
        let cache = match wants.place() {
            None => return self.plain(),
            Some(Place::Cache(nth)) => &self.caches[nth],
            Some(Place::Own(nth)) => {
                let own = self.own.get_or_init(|| {
                    commons.queued_bytes += OWN_BYTES;
                    Box::default()
                });
                &own[nth]
            }
        };
        let encoded = cache.get_or_init(|| {
            let encoded = self.encode(wants, from, source, commons);
            commons.queued_bytes += encoded.counted();
            if wants.is_deflated() {
                let cost =
                    DEFLATE_BYTE_COST * self.len() + DEFLATE_MESSAGE_COST * encoded.ends.len();
                commons.deflate_budget = commons.deflate_budget.saturating_sub(cost);
            }
            Box::new(encoded)
        });
        let end = encoded.from as usize + encoded.ends.len();
        debug_assert_eq!(end, self.plain().ends.len(), "a batch that grows drops its caches");
        encoded
    }

    /// Makes an encoding of the publications from the `from`-th on.
    fn encode(
        &self,
        encoding: Encoding,
        from: u32,
        source: Source<'_>,
        commons: &mut Commons,
    ) -> Encoded {
        let mut encoded = Encoded { from, ..Encoded::default() };
        let mut start = self.plain().end_of(from);
        for (nth, end) in self.plain().ends.iter().enumerate().skip(from as usize) {
            let frame = &self.plain().bytes[start..*end as usize];
            let offset = self.first + nth as u64;
            encoding.encode(frame, offset, source, &mut encoded.bytes, commons);
            encoded.ends.push(encoded.bytes.len() as u32);
            start = *end as usize;
        }
        encoded.bytes.shrink_to_fit();
        encoded.ends.shrink_to_fit();
        encoded
    }

    fn encoded(&self, encoding: Encoding) -> &Encoded {
        self.cached(encoding).unwrap_or_else(|| self.plain())
    }

    fn cached(&self, encoding: Encoding) -> Option<&Encoded> {
        let cache = match encoding.place()? {
            Place::Cache(nth) => &self.caches[nth],
            Place::Own(nth) => &self.own.get()?[nth],
        };
        cache.get().map(|encoded| &**encoded)
    }

    /// The bytes of all publications in one encoding.
    pub(crate) fn bytes(&self, encoding: Encoding) -> &[u8] {
        &self.encoded(encoding).bytes
    }

    /// Where the bytes of these publications are.
    pub(crate) fn range(&self, encoding: Encoding, offsets: Range<u64>) -> Range<usize> {
        let encoded = self.encoded(encoding);
        let end_of = |offset: u64| encoded.end_of((offset - self.first) as u32);
        end_of(offsets.start)..end_of(offsets.end)
    }

    /// The offset of the first publication that ends behind the byte `at`, and where it ends.
    pub(crate) fn publication_at(&self, encoding: Encoding, at: usize) -> (u64, usize) {
        let encoded = self.encoded(encoding);
        let nth = encoded.ends.partition_point(|end| *end as usize <= at);
        let end = encoded.ends.get(nth).map_or(encoded.bytes.len(), |end| *end as usize);
        (self.first + u64::from(encoded.from) + nth as u64, end)
    }

    /// The publications from `offset` on: the offset of each, what it is, and its payload.
    pub(crate) fn publications(&self, offset: u64) -> impl Iterator<Item = (u64, OpCode, &[u8])> {
        let from = offset.saturating_sub(self.first).min(self.plain().ends.len() as u64) as u32;
        let mut start = self.plain().end_of(from);
        (from..self.plain().ends.len() as u32).filter_map(move |nth| {
            let end = self.plain().end_of(nth + 1);
            let frame = &self.plain().bytes[start..end];
            start = end;
            let (opcode, payload) = open_frame(frame)?;
            Some((self.first + u64::from(nth), opcode, payload))
        })
    }

    pub(crate) fn has_caches(&self) -> bool {
        self.own.get().is_some() || self.caches.iter().any(|cache| cache.get().is_some())
    }

    fn caches_counted(&self) -> usize {
        let own = self.own.get();
        let all = self.caches.iter().chain(own.into_iter().flat_map(|own| own.iter()));
        let bytes: usize = all.filter_map(OnceLock::get).map(|encoded| encoded.counted()).sum();
        bytes + own.map_or(0, |_| OWN_BYTES)
    }

    /// How many of these publications this connection does not get.
    pub(crate) fn count_except(&self, id: ConnId, offsets: Range<u64>) -> u64 {
        let [from, to] = [offsets.start, offsets.end].map(|at| (at - self.first) as u32);
        let (sorted, others) = self.except.split_at(self.sorted as usize);
        let before = |nth| sorted.partition_point(|it| *it < (id, nth));
        let is_it = |(other, nth): &&(ConnId, u32)| *other == id && (from..to).contains(nth);
        (before(to) - before(from) + others.iter().filter(is_it).count()) as u64
    }

    /// Drops what can be made again. Gives what it counted as, in bytes.
    pub(crate) fn drop_caches(&mut self) -> usize {
        let counted = self.caches_counted();
        self.caches.iter_mut().for_each(|cache| {
            cache.take();
        });
        self.own.take();
        counted
    }

    /// Empties it for the pool.
    pub(super) fn reset(&mut self, commons: &mut Commons) {
        let mut own = self.own.take();
        let own = own.iter_mut().flat_map(|own| own.iter_mut());
        for encoded in self.caches.iter_mut().chain(own).filter_map(OnceLock::take) {
            commons.recycle_buffer(encoded.bytes);
        }
        // What other loops have is theirs.
        self.shared = None;
        commons.recycle_buffer(mem::take(&mut self.growing.bytes));
        self.growing.ends.clear();
        self.growing.ends.shrink_to(SPARE_ENTRIES);
        self.clocks.clear();
        self.clocks.shrink_to(SPARE_ENTRIES);
        self.except.clear();
        self.sorted = 0;
        self.except.shrink_to(SPARE_ENTRIES);
    }
}

#[cfg(test)]
mod tests;
