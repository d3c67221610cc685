//! What the loops of one process hand each other: an inbox for each, and a bound on all that is under way.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use pushloop::Handle;

/// Things that are taken in one turn.
const TAKEN_PER_TURN: usize = 256;

/// What may be under way at once: so many things, and so many bytes of them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub count_max: usize,
    pub bytes_max: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Inboxes<T> {
    inboxes: Vec<Mutex<Vec<T>>>,
    handles: Vec<Handle>,
    /// What a loop is notified of, when there is something for it.
    key: u32,
    limits: Limits,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl<T> Inboxes<T> {
    /// Those of these loops.
    pub fn new(handles: Vec<Handle>, key: u32, limits: Limits) -> Self {
        let inboxes = handles.iter().map(|_| Mutex::default()).collect();
        let (count, bytes) = Default::default();
        Self { inboxes, handles, key, limits, count, bytes }
    }

    /// How many loops there are.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    fn inbox(&self, of: usize) -> MutexGuard<'_, Vec<T>> {
        self.inboxes[of].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for so many things, until it is given back. False if there is none.
    pub fn reserve(&self, count: usize, bytes: usize) -> bool {
        let all = self.count.fetch_add(count, Ordering::Relaxed) + count;
        let all_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = all <= self.limits.count_max && all_bytes <= self.limits.bytes_max;
        if !has_room {
            self.release(count, bytes);
        }
        has_room
    }

    pub fn release(&self, count: usize, bytes: usize) {
        self.count.fetch_sub(count, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Hands something to a loop. Of one that has ended, all that it has not taken comes back.
    pub fn send(&self, to: usize, it: T) -> Vec<T> {
        self.inbox(to).push(it);
        match self.handles[to].notify(self.key) {
            Ok(()) => Vec::new(),
            Err(_) => mem::take(&mut self.inbox(to)),
        }
    }

    /// What there is for a loop, in the order in which it came.
    pub fn take(&self, here: usize) -> Vec<T> {
        let mut inbox = self.inbox(here);
        let count = inbox.len().min(TAKEN_PER_TURN);
        let taken = inbox.drain(..count).collect();
        if !inbox.is_empty() {
            let _ = self.handles[here].notify(self.key);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use pushloop::{Config, Loops, Server};

    use super::*;

    fn inboxes(limits: Limits) -> (Loops, Inboxes<usize>) {
        let mut loops = Loops::new(Config::default(), 2).expect("there are descriptors");
        let each = loops.servers().iter().map(Server::handle).collect();
        (loops, Inboxes::new(each, 7, limits))
    }

    #[test]
    fn so_many_things_are_under_way_and_no_more() {
        let (_loops, inboxes) = inboxes(Limits { count_max: 10, bytes_max: 100 });
        assert!(inboxes.reserve(9, 1));
        assert!(inboxes.reserve(1, 1), "at the limit");
        assert!(!inboxes.reserve(1, 1), "one more");
        inboxes.release(1, 1);
        assert!(inboxes.reserve(1, 1), "what was refused takes no room");
    }

    #[test]
    fn so_many_bytes_are_under_way_and_no_more() {
        let (_loops, inboxes) = inboxes(Limits { count_max: 10, bytes_max: 100 });
        assert!(!inboxes.reserve(1, 101));
        assert!(inboxes.reserve(1, 99));
        assert!(inboxes.reserve(1, 1), "at the limit");
        assert!(!inboxes.reserve(1, 1), "one more");
    }

    #[test]
    fn all_is_taken_in_its_order_and_some_in_each_turn() {
        let (_loops, inboxes) = inboxes(Limits { count_max: 10, bytes_max: 100 });
        let count = TAKEN_PER_TURN + 3;
        assert!((0..count).all(|nth| inboxes.send(1, nth).is_empty()));
        assert!(inboxes.take(0).is_empty());
        assert_eq!(inboxes.take(1), (0..TAKEN_PER_TURN).collect::<Vec<_>>());
        assert_eq!(inboxes.take(1), (TAKEN_PER_TURN..count).collect::<Vec<_>>());
        assert!(inboxes.take(1).is_empty());
    }

    #[test]
    fn what_a_loop_has_not_taken_comes_back_once_it_is_gone() {
        let (loops, inboxes) = inboxes(Limits { count_max: 10, bytes_max: 100 });
        assert!(inboxes.send(1, 1).is_empty());
        drop(loops);
        assert_eq!(inboxes.send(1, 2), [1, 2]);
        assert_eq!(inboxes.send(1, 3), [3]);
    }
}
