//! What several loops of one process hand each other: each loop has an inbox, and in it a lane of each other
//! loop, which is bounded in bytes.
//!
//! A loop that finds no room in its lane keeps what it has, and is named to the next take: the one that makes room
//! says so. So no loop waits for another, and none drops anything. Beside the lanes, an inbox has **changes**,
//! one for each name and loop: the latest replaces one that was not taken. A push that has to wake the inbox's
//! loop says so; to wake is the caller's, outside the lock.
//!
//! This file knows items, names and their sizes. It must not know what they are, nor what a loop is.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, PoisonError},
};

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

#[cfg(all(test, loom))]
mod model;

/// A change, and what it is about.
pub(crate) type Changed<C> = ((usize, Arc<str>), C);

/// See the module.
#[derive(Debug)]
pub(crate) struct Inbox<T, C> {
    state: Mutex<State<T, C>>,
    /// There is a change that was not taken: it can be seen without the lock.
    has_changes: AtomicBool,
    lane_bytes_max: usize,
}

#[derive(Debug)]
struct State<T, C> {
    /// Of all lanes, in the order in which they came.
    items: VecDeque<T>,
    lanes: Vec<Lane>,
    changes: HashMap<(usize, Arc<str>), C>,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    /// Invariant: at most `lane_bytes_max`, unless it is one item.
    bytes: usize,
    /// Its loop found no room, and is to be told of the next.
    waits: bool,
}

/// Why a push did not take an item.
#[derive(Debug)]
pub(crate) struct Full;

impl<T, C> Inbox<T, C> {
    /// With a lane for each of so many loops.
    pub(crate) fn new(loops: usize, lane_bytes_max: usize) -> Self {
        let lanes = vec![Lane::default(); loops];
        let state = State { items: VecDeque::new(), lanes, changes: HashMap::new() };
        Self { state: Mutex::new(state), has_changes: AtomicBool::new(false), lane_bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State<T, C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what `make` gives to the lane of the loop `from`, if the lane has room for so many bytes; one that is
    /// empty has. If not, and `waits`, the loop is named by the next [`take`](Self::take). True if the
    /// inbox's loop is to be woken.
    pub(crate) fn push(
        &self,
        from: usize,
        bytes: usize,
        waits: bool,
        make: impl FnOnce() -> T,
    ) -> Result<bool, Full> {
        let mut state = self.lock();
        let lane = &mut state.lanes[from];
        if lane.bytes > 0 && lane.bytes.saturating_add(bytes) > self.lane_bytes_max {
            lane.waits |= waits;
            return Err(Full);
        }
        // What weighs nothing fills a lane as well.
        lane.bytes += bytes.max(1);
        state.items.push_back(make());
        Ok(state.items.len() == 1)
    }

    /// Takes all that waits into `batch`, which is empty, the oldest first. Gives the loops that wait for room.
    pub(crate) fn take(&self, batch: &mut VecDeque<T>) -> Vec<usize> {
        debug_assert!(batch.is_empty(), "a batch is used up before the next is taken");
        let mut state = self.lock();
        mem::swap(&mut state.items, batch);
        let lanes = state.lanes.iter_mut().map(mem::take).enumerate();
        lanes.filter(|(_, lane)| lane.waits).map(|(nth, _)| nth).collect()
    }

    /// The loop `from` changes what it wants of a name. True if the inbox's loop is to be woken.
    pub(crate) fn change(&self, from: usize, name: Arc<str>, change: C) -> bool {
        let mut state = self.lock();
        state.changes.insert((from, name), change);
        // Under the lock: a take leaves neither a change without the flag nor a flag for nothing.
        !self.has_changes.swap(true, Ordering::AcqRel)
    }

    /// Whether there are changes. One that was made before this call, on whatever way it is known, is seen.
    #[inline]
    pub(crate) fn has_changes(&self) -> bool {
        self.has_changes.load(Ordering::Acquire)
    }

    pub(crate) fn take_changes(&self) -> Vec<Changed<C>> {
        let mut state = self.lock();
        self.has_changes.store(false, Ordering::Release);
        mem::take(&mut state.changes).into_iter().collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn push(inbox: &Inbox<u32, ()>, from: usize, bytes: usize, item: u32) -> Result<bool, ()> {
        inbox.push(from, bytes, true, || item).map_err(|Full| ())
    }

    fn taken(inbox: &Inbox<u32, ()>) -> (Vec<u32>, Vec<usize>) {
        let mut batch = VecDeque::new();
        let waits = inbox.take(&mut batch);
        (batch.into(), waits)
    }

    #[test]
    fn a_lane_has_so_many_bytes_and_no_more() {
        let inbox = Inbox::new(2, 10);
        assert_eq!(push(&inbox, 0, 11, 1), Ok(true), "an empty lane takes one item of any size");
        assert_eq!(push(&inbox, 0, 0, 2), Err(()));
        assert_eq!(push(&inbox, 1, 9, 3), Ok(false), "a lane of its own");
        assert_eq!(push(&inbox, 1, 1, 4), Ok(false), "at the limit");
        assert_eq!(push(&inbox, 1, 1, 5), Err(()), "one more");
        assert_eq!(taken(&inbox), (vec![1, 3, 4], vec![0, 1]));
        assert_eq!(push(&inbox, 1, 10, 6), Ok(true), "what was taken takes no room");
        assert_eq!(taken(&inbox), (vec![6], vec![]), "it is told once");
    }

    #[test]
    fn a_loop_that_does_not_wait_is_not_told_of_room() {
        let inbox = Inbox::<u32, ()>::new(1, 1);
        assert!(inbox.push(0, 1, false, || 1).is_ok_and(|wakes| wakes));
        assert!(inbox.push(0, 1, false, || 2).is_err());
        assert_eq!(taken(&inbox), (vec![1], vec![]));
    }

    #[test]
    fn of_a_name_and_a_loop_the_latest_change_is_there() {
        let inbox = Inbox::<u32, u32>::new(2, 1);
        assert!(!inbox.has_changes());
        assert!(inbox.change(0, "a".into(), 1), "the first wakes");
        assert!(!inbox.change(0, "a".into(), 2));
        assert!(!inbox.change(1, "a".into(), 3));
        assert!(inbox.has_changes());
        let mut changes = inbox.take_changes();
        changes.sort();
        assert_eq!(changes, [((0, "a".into()), 2), ((1, "a".into()), 3)]);
        assert!(!inbox.has_changes() && inbox.take_changes().is_empty());
        assert!(inbox.change(0, "a".into(), 4), "and the next again");
    }
}
