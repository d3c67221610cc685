//! Which connection is read from next. Connections for which the kernel may hold input wait in lines.
//!
//! Connections from which a request is to come have a line of their own. It goes first, and a turn reads
//! a few of it. The others wait in the first line, and read a small portion each if many wait. So neither a
//! request nor a message is behind what a crowd sends without end. After a long read, a connection waits
//! in the second line, where it reads as much as a turn allows. Cut into small portions, long messages
//! would cost twice as much.
//!
//! It must not know connections, only their ids.

use super::conn_queue::ConnQueue;
use crate::event::ConnId;

/// A read of fewer bytes is a short one, and no portion is smaller.
const SHORT_BYTES: usize = 4 * 1024;

/// How many connections that waited at some moment are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    asking: usize,
    short: usize,
    long: usize,
}

#[derive(Debug, Default)]
pub(super) struct ReadQueue {
    asking: ConnQueue,
    short: ConnQueue,
    long: ConnQueue,
    /// Those that waited when the turn began: each is read once in a turn.
    turn: Left,
    /// Those that waited when the round began: no connection of the second line is read again before all
    /// that waited with it.
    round: Left,
    /// The second line has had a read in this turn. If it had none in the last, it is due, and goes
    /// first.
    long_had_its_turn: bool,
    long_is_due: bool,
    /// Bytes that a connection of the first line may read in this turn, and one of the second.
    portion: (usize, usize),
    /// Bytes that all connections together may read in this turn.
    batch: usize,
}

impl ReadQueue {
    /// Whether no connection waits.
    pub(super) fn is_empty(&self) -> bool {
        self.asking.is_empty() && self.short.is_empty() && self.long.is_empty()
    }

    /// Puts a connection from which a request is to come at the end of its line.
    pub(super) fn push_asking(&mut self, id: ConnId) {
        self.asking.push(id);
    }

    /// Puts another connection at the end of its line.
    #[inline]
    pub(super) fn push(&mut self, id: ConnId, reads_much: bool) {
        if reads_much { self.long.push(id) } else { self.short.push(id) }
    }

    /// Whether a read of `bytes`, of `most` that a turn allows, is a long one.
    #[inline]
    pub(super) fn is_long(bytes: usize, most: usize) -> bool {
        bytes >= SHORT_BYTES || bytes >= most
    }

    /// A turn begins, in which `batch` bytes may be read, and `most` of one connection.
    pub(super) fn begin_turn(&mut self, batch: usize, most: usize) {
        for line in [&mut self.asking, &mut self.short, &mut self.long] {
            line.forget_taken();
        }
        let (asking, short, long) = (self.asking.len(), self.short.len(), self.long.len());
        self.turn = Left { asking, short, long };
        let waiting = (self.turn.short + self.turn.long).max(1);
        let short = (batch / waiting).max(SHORT_BYTES).min(most);
        self.portion = (short, most);
        self.batch = batch;
        self.long_is_due = !self.long_had_its_turn;
        self.long_had_its_turn = false;
    }

    /// The next connection to read from, while the batch has `room`, and how much it may read.
    ///
    /// Those from which a request is to come go first, if one `may_ask`. The second line has what the
    /// first leaves. While the first waits, the second has one read in a
    /// turn, after the first has had half of the batch.
    #[inline]
    pub(super) fn next(&mut self, room: usize, may_ask: bool) -> Option<(ConnId, usize)> {
        if self.turn.asking > 0 && may_ask {
            self.turn.asking -= 1;
            return Some((self.asking.pop()?, self.portion.0));
        }
        if self.round.short == 0 && self.round.long == 0 {
            self.round = Left { asking: 0, short: self.short.len(), long: self.long.len() };
        }
        if self.turn.long > 0 && self.round.long > 0 && self.long_goes(room) {
            (self.turn.long, self.round.long) = (self.turn.long - 1, self.round.long - 1);
            self.long_had_its_turn = true;
            return Some((self.long.pop()?, self.portion.1));
        }
        self.turn.short = self.turn.short.checked_sub(1)?;
        self.round.short = self.round.short.saturating_sub(1);
        Some((self.short.pop()?, self.portion.0))
    }

    /// Whether the second line goes before the first.
    fn long_goes(&self, room: usize) -> bool {
        let has_its_share = room <= self.batch / 2 || self.long_is_due;
        (has_its_share && !self.long_had_its_turn) || self.turn.short == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: usize = 256 * 1024;
    const MOST: usize = 128 * 1024;

    fn id(index: u32) -> ConnId {
        ConnId { index, generation: 1 }
    }

    /// What is read in a turn in which each reads as much as it may.
    fn turn(queue: &mut ReadQueue) -> Vec<(u32, usize)> {
        queue.begin_turn(BATCH, MOST);
        let (mut room, mut reads) = (BATCH, Vec::new());
        while room > 0
            && let Some((id, portion)) = queue.next(room, true)
        {
            let bytes = portion.min(room);
            room -= bytes;
            reads.push((id.index, bytes));
        }
        reads
    }

    #[test]
    fn few_read_as_much_as_a_turn_allows_and_many_a_part_of_the_batch() {
        for (waiting, portion) in [(1, MOST), (2, MOST), (8, 32 * 1024), (64, 4096), (65, 4096)] {
            let mut queue = ReadQueue::default();
            (0..waiting).for_each(|index| queue.push(id(index), false));
            let reads = (0..waiting.min(64)).map(|index| (index, portion));
            assert!(turn(&mut queue).into_iter().eq(reads), "{waiting}");
            assert_eq!(queue.is_empty(), waiting < 65);
        }
    }

    #[test]
    fn the_second_line_has_one_read_of_a_turn_while_the_first_waits() {
        let mut queue = ReadQueue::default();
        (0..100).for_each(|index| queue.push(id(index), false));
        (100..103).for_each(|index| queue.push(id(index), true));
        // It had no read before, and so goes first.
        let reads = turn(&mut queue);
        assert_eq!((reads[0], reads.len()), ((100, MOST), 33));
        let reads = turn(&mut queue);
        assert_eq!((reads[31], reads[32], reads.len()), ((63, 4096), (101, MOST), 33));
        // Fewer wait, and read more.
        let reads = turn(&mut queue);
        assert_eq!((reads[0].1, reads[19].0, reads.len()), (BATCH / 37, 102, 20));
        assert_eq!(turn(&mut queue).len(), 17);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_that_reads_much_is_not_read_again_before_all_that_waited_with_it() {
        let mut queue = ReadQueue::default();
        queue.push(id(1000), true);
        (0..200).for_each(|index| queue.push(id(index), false));
        let mut reads = Vec::new();
        while reads.len() < 202 {
            for (index, _) in turn(&mut queue) {
                reads.push(index);
                queue.push(id(index), index == 1000);
            }
        }
        let again = reads.iter().skip(1).position(|index| *index == 1000);
        assert_eq!((reads[0], again), (1000, Some(200)));
    }

    #[test]
    fn a_request_goes_first_if_one_may_come() {
        let mut queue = ReadQueue::default();
        queue.push(id(1), false);
        (2..5).for_each(|index| queue.push_asking(id(index)));
        queue.begin_turn(BATCH, MOST);
        let mut next = |may_ask| queue.next(BATCH, may_ask).map(|(id, _)| id.index);
        let order = [true, true, false, false, true, true].map(&mut next);
        assert_eq!(order, [Some(2), Some(3), Some(1), None, Some(4), None]);
        // One that comes in a turn waits for the next.
        queue.push_asking(id(5));
        assert_eq!(queue.next(BATCH, true), None);
    }

    #[test]
    fn a_read_is_long_from_4_kib_on_or_if_it_is_all_that_a_turn_allows() {
        let long = [(4095, MOST), (4096, MOST), (99, 100), (100, 100)];
        let long = long.map(|(bytes, most)| ReadQueue::is_long(bytes, most));
        assert_eq!(long, [false, true, false, true]);
    }
}
