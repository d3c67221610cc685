//! The way into the loop from other threads: a bounded queue that many push to and one takes from.
//!
//! That the queue is empty *is* the statement that the loop has not been woken: the push that
//! makes it non-empty wakes, every other push finds a wake under way, and the take that empties it
//! starts the next round. There is no second flag that could disagree with it. A queue that is
//! `None` is closed: what was accepted before is with `close`, and nothing is accepted after.
//!
//! This file knows items and their size. It must not know what an item does, and it never calls
//! the waker, or drops an item, while it holds the lock.

use std::{io, mem, sync::PoisonError};

use crate::sync::{Mutex, MutexGuard};

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
    /// Where in `items` the reserved one is.
    reserved: Option<usize>,
    /// Items are waiting and the wake for them failed: the next push owes it.
    wake_owed: bool,
}

impl<T, W: Wake> Mailbox<T, W> {
    /// At most `items_max` items and `bytes_max` bytes wait to be taken, beside one reserved item.
    pub(crate) fn new(waker: W, items_max: usize, bytes_max: usize) -> Self {
        Self { queue: Mutex::new(Some(Queue::new())), items_max, bytes_max, waker }
    }

    /// Appends `item`, which counts as `bytes` until it is taken, and wakes the loop if need be.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), PushError> {
        let mut guard = self.lock();
        let queue = guard.as_mut().ok_or(PushError::Closed)?;
        if queue.items.len() >= self.items_max || bytes > self.bytes_max - queue.bytes {
            return Err(PushError::Full);
        }
        queue.items.push(item);
        queue.bytes += bytes;
        let wake = queue.wake_due();
        drop(guard);
        self.wake_if(wake);
        Ok(())
    }

    /// Appends `item` however full the mailbox is. One such item waits at most: the next takes its
    /// place, so that the bounds hold to within one item. Never `Full`.
    pub(crate) fn push_reserved(&self, mut item: T) -> Result<(), PushError> {
        let mut guard = self.lock();
        let queue = guard.as_mut().ok_or(PushError::Closed)?;
        match queue.reserved.and_then(|index| queue.items.get_mut(index)) {
            Some(waiting) => mem::swap(waiting, &mut item),
            None => {
                queue.items.push(item);
                queue.reserved = Some(queue.items.len() - 1);
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
            queue.reserved = None;
            queue.wake_owed = false;
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
        Self { items: Vec::new(), bytes: 0, reserved: None, wake_owed: false }
    }

    /// Whether the caller, who has just added an item, is the one to wake the loop.
    fn wake_due(&mut self) -> bool {
        mem::take(&mut self.wake_owed) || self.items.len() == 1
    }
}
