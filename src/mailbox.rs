//! The way into the loop from other threads: a bounded queue that many push to and one takes from.
//!
//! That the queue is empty *is* the statement that the loop has not been woken: the push that
//! makes it non-empty wakes, every other push finds a wake under way, and the take that empties it
//! starts the next round. There is no second flag that could disagree with it. A queue that is
//! `None` is closed: what was accepted before is with `close`, and nothing is accepted after.
//!
//! This file knows items and their size. It must not know what an item does, and it never calls
//! the waker, or drops an item, while it holds the lock.

use std::{collections::BTreeMap, io, mem, sync::PoisonError};

use crate::sync::{Mutex, MutexGuard};

#[cfg(all(test, loom))]
pub(crate) mod model;

/// Ends the wait of the loop's thread, or the next one if it does not wait now. Wakes that come
/// before the loop looks count as one.
pub trait Wake {
    /// Wakes.
    ///
    /// # Errors
    ///
    /// Those of the system; the wake is then owed, and tried again with the next command.
    fn wake(&self) -> io::Result<()>;
}

impl<W: Wake + ?Sized> Wake for Box<W> {
    fn wake(&self) -> io::Result<()> {
        (**self).wake()
    }
}

/// Why an item was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// As many items, or as many bytes, are waiting as may wait.
    Full,
    /// The loop is gone.
    Closed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox<T, W> {
    queue: Mutex<Option<Queue<T>>>,
    items_max: usize,
    bytes_max: usize,
    waker: W,
}

#[derive(Debug)]
struct Queue<T> {
    items: Vec<T>,
    /// Invariant: at most `bytes_max`.
    bytes: usize,
    /// Where in `items` the reserved ones are, by their keys.
    reserved: BTreeMap<u64, usize>,
    /// The last wake failed: the next push owes it.
    wake_owed: bool,
}

impl<T, W: Wake> Mailbox<T, W> {
    /// At most `items_max` items and `bytes_max` bytes wait to be taken, beside reserved items.
    pub(crate) fn new(waker: W, items_max: usize, bytes_max: usize) -> Self {
        Self { queue: Mutex::new(Some(Queue::new())), items_max, bytes_max, waker }
    }

    /// Appends `item`, which counts as `bytes` until it is taken, and wakes the loop if need be.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), PushError> {
        self.try_push(item, bytes).map_err(|(error, _)| error)
    }

    /// As [`push`](Self::push), and gives back an item that was not accepted.
    pub(crate) fn try_push(&self, item: T, bytes: usize) -> Result<(), (PushError, T)> {
        let mut guard = self.lock();
        let Some(queue) = guard.as_mut() else { return Err((PushError::Closed, item)) };
        if queue.items.len() >= self.items_max || bytes > self.bytes_max - queue.bytes {
            return Err((PushError::Full, item));
        }
        queue.items.push(item);
        queue.bytes += bytes;
        let wake = queue.wake_due();
        drop(guard);
        self.wake_if(wake);
        Ok(())
    }

    /// Appends `item` however full the mailbox is. One such item of a key waits at most: the next takes
    /// its place, so that the bounds hold to within one item for each key. Never `Full`.
    pub(crate) fn push_reserved(&self, key: u64, mut item: T) -> Result<(), PushError> {
        let mut guard = self.lock();
        let queue = guard.as_mut().ok_or(PushError::Closed)?;
        match queue.reserved.get(&key).and_then(|index| queue.items.get_mut(*index)) {
            Some(waiting) => mem::swap(waiting, &mut item),
            None => {
                queue.reserved.insert(key, queue.items.len());
                queue.items.push(item);
            }
        }
        let wake = queue.wake_due();
        drop(guard);
        self.wake_if(wake);
        Ok(())
    }

    /// Takes everything that waits, oldest first, into `batch`, which is empty and whose room is
    /// used for what comes next. A closed mailbox has nothing.
    pub(crate) fn take(&self, batch: &mut Vec<T>) {
        debug_assert!(batch.is_empty(), "a batch is used up before the next is taken");
        if let Some(queue) = &mut *self.lock() {
            mem::swap(&mut queue.items, batch);
            queue.bytes = 0;
            queue.reserved.clear();
        }
    }

    /// Closes for good, and returns what was accepted and never taken.
    pub(crate) fn close(&self) -> Vec<T> {
        let queue = self.lock().take();
        queue.map_or_else(Vec::new, |queue| queue.items)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Queue<T>>> {
        // A push that panicked (out of memory) left the queue as it was, so that it is no reason
        // to fail everyone who comes after.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Outside the lock: the loop runs into it at once when it wakes.
    fn wake_if(&self, due: bool) {
        // A signal may interrupt one wake, so there is a second. Should that fail as well, what
        // waits is accepted all the same, and the next push tries again.
        if due
            && self.waker.wake().or_else(|_| self.waker.wake()).is_err()
            && let Some(queue) = self.lock().as_mut()
        {
            queue.wake_owed = !queue.items.is_empty();
        }
    }
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { items: Vec::new(), bytes: 0, reserved: BTreeMap::new(), wake_owed: false }
    }

    /// Whether the caller, who has just added an item, is the one to wake the loop.
    fn wake_due(&mut self) -> bool {
        mem::take(&mut self.wake_owed) || self.items.len() == 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::{
            Arc, OnceLock,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::*;

    /// Counts wakes, of which the first `failures` fail.
    #[derive(Debug, Default)]
    struct Waker {
        wakes: AtomicUsize,
        failures: usize,
    }

    impl Waker {
        fn wakes(&self) -> usize {
            self.wakes.load(Ordering::Relaxed)
        }
    }

    impl Wake for Waker {
        fn wake(&self) -> io::Result<()> {
            match self.wakes.fetch_add(1, Ordering::Relaxed) {
                n if n < self.failures => Err(io::ErrorKind::Interrupted.into()),
                _ => Ok(()),
            }
        }
    }

    fn mailbox<T>(items_max: usize, bytes_max: usize) -> Mailbox<T, Waker> {
        Mailbox::new(Waker::default(), items_max, bytes_max)
    }

    fn taken<T, W: Wake>(mailbox: &Mailbox<T, W>) -> Vec<T> {
        let mut batch = Vec::new();
        mailbox.take(&mut batch);
        batch
    }

    #[test]
    fn as_many_items_wait_as_may_and_no_more() {
        let mailbox = mailbox(3, usize::MAX);
        for item in 0..3 {
            assert_eq!(mailbox.push(item, 1), Ok(()));
        }
        assert_eq!(mailbox.push(3, 0), Err(PushError::Full));
        assert_eq!(taken(&mailbox), [0, 1, 2]);
        assert_eq!(mailbox.push(4, 0), Ok(()));
        assert_eq!(taken(&mailbox), [4]);
    }

    #[test]
    fn as_many_bytes_wait_as_may_and_no_more() {
        let mailbox = mailbox(usize::MAX, 10);
        assert_eq!(mailbox.push('a', 11), Err(PushError::Full), "larger than the whole mailbox");
        assert_eq!(mailbox.push('b', usize::MAX), Err(PushError::Full));
        assert_eq!(mailbox.push('c', 9), Ok(()));
        assert_eq!(mailbox.push('d', 2), Err(PushError::Full));
        assert_eq!(mailbox.push('e', 1), Ok(()), "what was refused takes no room");
        assert_eq!(mailbox.push('f', 1), Err(PushError::Full));
        assert_eq!(mailbox.push('g', 0), Ok(()));
        assert_eq!(taken(&mailbox), ['c', 'e', 'g']);
        assert_eq!(mailbox.push('h', 10), Ok(()), "what was taken takes no room");
    }

    #[test]
    fn the_reserved_item_goes_through_when_full_and_the_next_takes_its_place() {
        let mailbox = mailbox(1, 1);
        assert_eq!(mailbox.push("item", 1), Ok(()));
        assert_eq!(mailbox.push_reserved(0, "reserved"), Ok(()));
        assert_eq!(mailbox.push_reserved(0, "in its place"), Ok(()));
        assert_eq!(mailbox.push("refused", 0), Err(PushError::Full));
        assert_eq!(taken(&mailbox), ["item", "in its place"]);
        assert_eq!(mailbox.push_reserved(0, "alone"), Ok(()));
        assert_eq!(mailbox.waker.wakes(), 2);
        assert_eq!(taken(&mailbox), ["alone"]);
    }

    #[test]
    fn the_reserved_item_of_a_new_batch_takes_no_ones_place() {
        let mailbox = mailbox(2, 2);
        mailbox.push_reserved(0, "taken").unwrap();
        assert_eq!(taken(&mailbox), ["taken"]);
        mailbox.push("first", 1).unwrap();
        mailbox.push("second", 1).unwrap();
        mailbox.push_reserved(0, "reserved").unwrap();
        assert_eq!(taken(&mailbox), ["first", "second", "reserved"]);
    }

    #[test]
    fn a_closed_mailbox_gives_back_what_waited_and_accepts_nothing() {
        let mailbox = mailbox(8, 8);
        mailbox.push(1, 1).unwrap();
        mailbox.push_reserved(0, 2).unwrap();
        mailbox.push(3, 1).unwrap();
        assert_eq!(mailbox.close(), [1, 2, 3]);
        assert_eq!(mailbox.push(4, 1), Err(PushError::Closed));
        assert_eq!(mailbox.push_reserved(0, 5), Err(PushError::Closed));
        assert_eq!(taken(&mailbox), []);
        assert_eq!(mailbox.close(), []);
        assert_eq!(mailbox.waker.wakes(), 1);
    }

    #[test]
    fn only_the_first_push_of_a_batch_wakes() {
        let mailbox = mailbox(8, 8);
        for batch in 1..4 {
            for item in 0..3 {
                mailbox.push(item, 1).unwrap();
                assert_eq!(mailbox.waker.wakes(), batch);
            }
            assert_eq!(taken(&mailbox), [0, 1, 2]);
            assert_eq!(taken(&mailbox), []);
        }
    }

    #[test]
    fn a_wake_that_failed_is_tried_once_more_and_then_by_the_next_push() {
        let mailbox = Mailbox::new(Waker { failures: 3, ..Waker::default() }, 8, 8);
        mailbox.push(1, 1).unwrap();
        assert_eq!(mailbox.waker.wakes(), 2, "both failed");
        mailbox.push(2, 1).unwrap();
        assert_eq!(mailbox.waker.wakes(), 4, "one failed, one woke");
        mailbox.push(3, 1).unwrap();
        assert_eq!(mailbox.waker.wakes(), 4, "nothing is owed any more");
        assert_eq!(taken(&mailbox), [1, 2, 3]);
    }

    #[test]
    fn a_wake_is_no_longer_owed_for_what_was_taken() {
        let mailbox = Mailbox::new(Waker { failures: 2, ..Waker::default() }, 8, 8);
        mailbox.push(1, 1).unwrap();
        assert_eq!(taken(&mailbox), [1]);
        mailbox.push(2, 1).unwrap();
        mailbox.push(3, 1).unwrap();
        assert_eq!(mailbox.waker.wakes(), 3);
    }

    #[test]
    fn a_thread_that_panicked_inside_spoils_nothing_for_the_others() {
        let mailbox = mailbox(8, 8);
        mailbox.push(1, 1).unwrap();
        let panicked = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let _guard = mailbox.lock();
                panic!("a test of what a panic inside the lock does");
            });
            inside.join().is_err()
        });
        assert!(panicked && mailbox.queue.is_poisoned());
        assert_eq!(mailbox.push(2, 1), Ok(()));
        assert_eq!(taken(&mailbox), [1, 2]);
        assert_eq!(mailbox.close(), []);
    }

    /// As a waker or an item: counts how often it is called or dropped, and how often that was
    /// while the mailbox was locked.
    #[derive(Clone, Debug, Default)]
    struct Probe(Arc<OnceLock<Mailbox<Probe, Probe>>>, Arc<[AtomicUsize; 2]>);

    impl Probe {
        fn look(&self) {
            let locked = self.0.get().is_some_and(|mailbox| mailbox.queue.try_lock().is_err());
            self.1[usize::from(locked)].fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Wake for Probe {
        fn wake(&self) -> io::Result<()> {
            self.look();
            Ok(())
        }
    }

    impl Drop for Probe {
        fn drop(&mut self) {
            self.look();
        }
    }

    #[test]
    fn nothing_of_the_callers_runs_under_the_lock() {
        let probe = Probe::default();
        let mailbox = probe.0.get_or_init(|| Mailbox::new(probe.clone(), 1, 1));
        assert_eq!(mailbox.push(probe.clone(), 1), Ok(()));
        assert_eq!(mailbox.push(probe.clone(), 1), Err(PushError::Full));
        assert_eq!(mailbox.push_reserved(0, probe.clone()), Ok(()));
        assert_eq!(mailbox.push_reserved(0, probe.clone()), Ok(()));
        drop(mailbox.close());
        assert_eq!(mailbox.push(probe.clone(), 1), Err(PushError::Closed));
        assert_eq!(mailbox.push_reserved(0, probe.clone()), Err(PushError::Closed));
        let seen = [0, 1].map(|locked| probe.1[locked].load(Ordering::Relaxed));
        assert_eq!(seen, [7, 0], "one wake and six items, none of them under the lock");
    }
}
