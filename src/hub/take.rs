//! What one connection gets next: the rest of what has begun to leave, what was sent to it directly, and
//! what its topics have published, each in its place.

use std::{mem, ops::Range};

use super::topics::Topics;
use crate::{
    conn::{Commons, Connection, Encoding, Outbox, Source, WorkFlags},
    event::ConnId,
};

/// From this length on, copying a piece costs more than the system call that it saves.
const DIRECT_BYTES: usize = 16 * 1024;
/// Room that is kept from turn to turn for writes of many pieces, in bytes and in pieces.
const SPARE_BYTES: usize = 64 * 1024;
const SPARE_PIECES: usize = 256;
/// What a step along a list costs of the bytes that a connection may get in one write.
const STEP_BYTES: usize = 8;

/// A piece of what is written, in order.
#[derive(Clone, Debug)]
enum Piece {
    /// The rest of a publication that has begun to leave.
    Rest(usize),
    Pong(usize),
    /// So many bytes of the outbox's line.
    Line(usize),
    Publications(Taken),
}

/// Publications of one batch.
#[derive(Clone, Debug)]
struct Taken {
    /// Which of the connection's readers takes them.
    reader: usize,
    topic: u32,
    offsets: Range<u64>,
    encoding: Encoding,
    bytes: Range<usize>,
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Rest(len) | Piece::Pong(len) | Piece::Line(len) => *len,
            Piece::Publications(taken) => taken.bytes.len(),
        }
    }
}

/// The pieces for one write, and where each of the connection's readers is behind them. It is reused.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: Vec<Piece>,
    bytes: usize,
    /// Where the next piece of each reader begins.
    cursors: Vec<u64>,
    /// Where short pieces are gathered for one write.
    scratch: Vec<u8>,
    steps: usize,
    /// A publication that is not for this connection was passed over.
    passed_over: bool,
    /// Nothing is left to write behind these pieces.
    is_all: bool,
}

/// One connection, and everything from which it can get something.
pub(super) struct Taking<'a> {
    pub(super) id: ConnId,
    pub(super) connection: &'a mut Connection,
    pub(super) topics: &'a mut Topics,
    pub(super) commons: &'a mut Commons,
}

impl Taking<'_> {
    /// Lists what comes next, up to `max` bytes or a little more. False if there is nothing.
    pub(super) fn collect(&mut self, pieces: &mut Pieces, max: usize) -> bool {
        pieces.pieces.clear();
        (pieces.bytes, pieces.steps, pieces.passed_over) = (0, 0, false);
        let mut has_news = self.connection.flags.has(WorkFlags::BEHIND)
            || self.topics.may_have_news(self.id.index);
        if has_news && self.connection.encoding() == Encoding::JointEvents {
            self.encode_joint(max);
            has_news = false;
        }
        if has_news {
            let readers = self.topics.list(self.id.index).readers();
            let cursor = |nth| self.topics.reader(self.id.index, nth).1;
            pieces.cursors.clear();
            pieces.cursors.extend((0..readers).map(cursor));
            self.topics.steps += readers as u64;
        }
        let (mut line, line_len) = match self.connection.outbox.get_mut() {
            Some(outbox) => (pieces.begin(outbox), outbox.line().len()),
            None => (0, 0),
        };
        let mut nth = 0;
        let mut due_clock = 0;
        loop {
            let mark = self.connection.outbox.get().and_then(|outbox| outbox.mark_at(nth));
            let until = mark.map_or(line_len, |mark| mark.at);
            if until > line {
                pieces.push(Piece::Line(until - line));
                line = until;
            }
            if pieces.is_full(max) {
                break;
            }
            let clock = mark.map_or(u64::MAX, |mark| mark.clock);
            if has_news && clock > due_clock {
                due_clock = self.collect_publications(pieces, clock, max);
            }
            if mark.is_none() || pieces.is_full(max) {
                break;
            }
            nth += 1;
        }
        self.topics.steps += (pieces.steps + pieces.pieces.len()) as u64;
        if pieces.pieces.is_empty() && has_news {
            // Publications that are not for this connection are passed over.
            for (nth, cursor) in pieces.cursors.iter().enumerate() {
                self.topics.set_cursor(self.id, nth, *cursor);
            }
        }
        pieces.is_all = !pieces.is_full(max) && !pieces.passed_over;
        !pieces.pieces.is_empty()
    }

    /// Lists what the topics published before the clock showed `clock`. Gives what the clock showed at
    /// the earliest publication that is left.
    fn collect_publications(&mut self, pieces: &mut Pieces, clock: u64, max: usize) -> u64 {
        let list = self.topics.list(self.id.index);
        let (leaving, subscriptions) = (list.leaving().len(), list.as_slice().len());
        let first = list.first_subscription();
        let mut earliest = u64::MAX;
        for at in 0..leaving + subscriptions {
            // Topics that were left come first: they may be subscribed to again.
            let nth = match at.checked_sub(leaving) {
                Some(at) => leaving + (first + at) % subscriptions,
                None => at,
            };
            pieces.steps += 1;
            if pieces.is_full(max) {
                if at >= leaving && subscriptions > 1 {
                    let next = nth - leaving;
                    self.topics.list_mut(self.id.index).many().next = next as u32;
                }
                break;
            }
            let left = self.collect_reader(pieces, nth, clock, max);
            earliest = earliest.min(left);
        }
        earliest
    }

    fn collect_reader(
        &mut self,
        pieces: &mut Pieces,
        reader: usize,
        clock: u64,
        max: usize,
    ) -> u64 {
        let (topic, _, until) = self.topics.reader(self.id.index, reader);
        let wants = self.connection.encoding();
        let mut cursor = pieces.cursors[reader];
        let joined = self.topics.joined(self.id.index, reader);
        if clock != u64::MAX
            && cursor < until
            && let Some(joined) = joined
            && joined >= clock
        {
            return joined;
        }
        while cursor < until && !pieces.is_full(max) {
            let entry = &self.topics.topics[topic];
            let log = &entry.log;
            let from = log.floor();
            let Some(batch) = log.batch_at(cursor) else { break };
            let mut end = until.min(batch.end());
            if clock != u64::MAX {
                end = end.min(batch.first_at(clock));
                if end <= cursor {
                    pieces.cursors[reader] = cursor;
                    return batch.clock_of(cursor);
                }
            }
            // What a topic has kept is for everyone.
            if joined.is_none()
                && let Some(except) = batch.next_except(self.id, cursor)
            {
                pieces.passed_over = true;
                pieces.steps += 1;
                if except.start == cursor {
                    let is_first = self.topics.reader(self.id.index, reader).1 == cursor;
                    cursor = except.end.min(until);
                    if is_first {
                        // What is passed over once is not looked at again.
                        self.topics.set_cursor(self.id, reader, cursor);
                    }
                    continue;
                }
                end = end.min(except.start);
            }
            let source = Source { topic: self.topics.name(topic), epoch: entry.epoch };
            let wants = match wants {
                // It would be compressed once for each that comes back.
                wants if log.is_historic(cursor) => wants.uncompressed(),
                wants => wants,
            };
            // The first that wants it has it made. For all others, to count the batch would be a fifth of a delivery.
            let counted = self.commons.queued_bytes;
            let encoding = batch.encoding(wants, cursor, from, source, self.commons);
            let cached = self.commons.queued_bytes - counted;
            let bytes = batch.range(encoding, cursor..end);
            if cached > 0 {
                self.topics.topics[topic].log.add_cached(cursor, cached, self.commons);
            }
            let taken = Taken { reader, topic, offsets: cursor..end, encoding, bytes };
            pieces.push(Piece::Publications(taken));
            cursor = end;
        }
        pieces.cursors[reader] = cursor;
        u64::MAX
    }

    /// What to write next, at most `max` bytes. One piece, or a long first one, is written from where it
    /// lies; others are gathered.
    pub(super) fn next_write<'p>(&'p self, pieces: &'p mut Pieces, max: usize) -> &'p [u8] {
        let first = self.bytes(&pieces.pieces[0], 0);
        if pieces.pieces.len() == 1 || first.len() >= DIRECT_BYTES {
            return &first[..first.len().min(max)];
        }
        let mut scratch = mem::take(&mut pieces.scratch);
        scratch.clear();
        let mut line = 0;
        for piece in &pieces.pieces {
            let bytes = self.bytes(piece, line);
            line += if let Piece::Line(len) = piece { *len } else { 0 };
            let room = max - scratch.len();
            scratch.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if scratch.len() == max {
                break;
            }
        }
        pieces.scratch = scratch;
        &pieces.scratch
    }

    /// The bytes of a piece; `line` is how much of the line is in pieces before it.
    fn bytes(&self, piece: &Piece, line: usize) -> &[u8] {
        if let Piece::Publications(taken) = piece {
            let log = &self.topics.topics[taken.topic].log;
            let batch = log.batch_at(taken.offsets.start);
            return batch.map_or(&[], |batch| &batch.bytes(taken.encoding)[taken.bytes.clone()]);
        }
        let Some(outbox) = self.connection.outbox.get() else { return &[] };
        match piece {
            Piece::Rest(_) => outbox.rest(),
            Piece::Pong(_) => outbox.late_pong(),
            Piece::Line(len) => &outbox.line()[line..line + len],
            Piece::Publications(_) => &[],
        }
    }

    /// Accounts for the first `n` bytes of what was to be written.
    pub(super) fn advance(&mut self, pieces: &Pieces, mut n: usize) {
        for piece in &pieces.pieces {
            if n == 0 {
                break;
            }
            let wrote = n.min(piece.len());
            n -= wrote;
            match (piece, self.connection.outbox.get_mut()) {
                (Piece::Publications(taken), _) => self.advance_publications(taken, wrote),
                (Piece::Rest(_), Some(outbox)) => outbox.advance_rest(wrote, self.commons),
                (Piece::Pong(_), Some(outbox)) => outbox.advance_pong(wrote, self.commons),
                (Piece::Line(_), Some(outbox)) => outbox.advance_line(wrote, self.commons),
                (_, None) => {}
            }
        }
    }

    /// So many bytes of these publications were written. If one has begun to leave, its rest stays with
    /// the connection. The others stay in their topic.
    fn advance_publications(&mut self, taken: &Taken, wrote: usize) {
        let mut next = taken.offsets.end;
        if wrote < taken.bytes.len() {
            let log = &self.topics.topics[taken.topic].log;
            let Some(batch) = log.batch_at(taken.offsets.start) else { return };
            let at = taken.bytes.start + wrote;
            let (begun, end) = batch.publication_at(taken.encoding, at);
            next = begun;
            if at > batch.range(taken.encoding, taken.offsets.start..begun).end {
                next += 1;
                let batch = batch.clone();
                let outbox = self.connection.outbox.or_spare(self.commons);
                outbox.set_rest(batch, taken.encoding, at..end);
            }
        }
        let delivered = self.topics.set_cursor(self.id, taken.reader, next);
        self.commons.note_delivered(self.id, delivered);
        let now = self.commons.now;
        self.connection.note_message(now);
        self.connection.deflation.forget_sent();
    }
}

impl Pieces {
    fn push(&mut self, piece: Piece) {
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    /// Whether nothing is left once the first `n` bytes are written. If that is not known, it is false.
    pub(super) fn are_over_at(&self, n: usize) -> bool {
        self.is_all && n == self.bytes
    }

    fn is_full(&self, max: usize) -> bool {
        let steps = self.steps + self.pieces.len();
        self.bytes >= max || (self.bytes > 0 && self.bytes + steps * STEP_BYTES >= max)
    }

    /// Lists what goes first: what has begun to leave, then a Pong that is late. Gives how many bytes of
    /// the line these are.
    fn begin(&mut self, outbox: &mut Outbox) -> usize {
        if !outbox.rest().is_empty() {
            self.push(Piece::Rest(outbox.rest().len()));
        }
        if outbox.late_pong().is_empty() {
            return 0;
        }
        let begun = outbox.begun();
        if begun > 0 {
            self.push(Piece::Line(begun));
        }
        self.push(Piece::Pong(outbox.late_pong().len()));
        begun
    }

    /// Gives back room that long writes of many pieces took.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.scratch.clear();
        self.scratch.shrink_to(SPARE_BYTES);
        self.pieces.clear();
        self.pieces.shrink_to(SPARE_PIECES);
    }
}

#[cfg(test)]
mod tests;
