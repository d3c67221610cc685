//! A queue of connections, first in, first out. Taking the first one costs no more than reading it: what
//! was taken is dropped later, for many at once.

use crate::event::ConnId;

#[derive(Debug, Default)]
pub(super) struct ConnQueue {
    ids: Vec<ConnId>,
    /// So many of them, the first, were taken.
    taken: usize,
}

impl ConnQueue {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ids.len() - self.taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(super) fn push(&mut self, id: ConnId) {
        self.ids.push(id);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<ConnId> {
        let id = *self.ids.get(self.taken)?;
        self.taken += 1;
        Some(id)
    }

    /// Drops what was taken, once that is as much as is left. To be called once in a turn.
    pub(super) fn forget_taken(&mut self) {
        if self.taken >= self.len() {
            self.ids.drain(..self.taken);
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_dropped_once_it_is_half() {
        let id = |index| ConnId { index, generation: 1 };
        let mut queue = ConnQueue::default();
        (0..4).for_each(|index| queue.push(id(index)));
        for (taken, kept) in [(0, 4), (1, 4), (2, 2), (3, 1), (4, 0)] {
            assert_eq!((queue.len(), queue.is_empty()), (4 - taken, taken == 4));
            queue.forget_taken();
            assert_eq!(queue.ids.len(), kept, "{taken}");
            assert_eq!(queue.pop(), (taken < 4).then(|| id(taken as u32)));
        }
    }
}
