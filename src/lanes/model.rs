//! The lanes under every interleaving that loom can tell apart: `cargo model`.

use std::{collections::VecDeque, sync::Arc};

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::Inbox;
use crate::mailbox::model::{Poll, explore};

type Lanes = Inbox<usize, usize>;

struct Loops {
    inboxes: [Lanes; 2],
    polls: [Arc<Poll>; 2],
}

impl Loops {
    fn new(lane_bytes_max: usize) -> Arc<Self> {
        let inboxes = [0, 1].map(|_| Inbox::new(2, lane_bytes_max));
        Arc::new(Self { inboxes, polls: [Poll::new(), Poll::new()] })
    }

    fn wake(&self, of: usize) {
        crate::mailbox::Wake::wake(&self.polls[of]).unwrap();
    }

    /// Takes what there is, and tells those that wait for room.
    fn take(&self, of: usize, taken: &mut Vec<usize>) {
        let mut batch = VecDeque::new();
        for waits in self.inboxes[of].take(&mut batch) {
            self.wake(waits);
        }
        taken.extend(batch);
    }

    /// One loop, which has items for the other, and sleeps when it has nothing to do.
    fn run(&self, here: usize, items: usize) {
        let (other, mut sent, mut taken) = (1 - here, 0, Vec::new());
        loop {
            while sent < items {
                match self.inboxes[other].push(here, 1, true, || sent) {
                    Ok(true) => self.wake(other),
                    Ok(false) => {}
                    // It is told once there is room.
                    Err(_) => break,
                }
                sent += 1;
            }
            self.take(here, &mut taken);
            if sent == items && taken.len() == items {
                break;
            }
            self.polls[here].wait();
        }
        assert!(taken.into_iter().eq(0..items), "each once, and in order");
    }
}

/// Both lanes are full all the time, and both loops get on: a wake that is lost would be a deadlock.
fn full_both_ways(items: usize) {
    let loops = Loops::new(1);
    let other = Arc::clone(&loops);
    let thread = thread::spawn(move || other.run(1, items));
    loops.run(0, items);
    thread.join().unwrap();
}

#[test]
fn two_loops_with_full_lanes_get_on() {
    explore("lanes: two loops, 2 items each, 3 preemptions", 3, || full_both_ways(2));
}

/// A change is there for any loop that knows of it, on whatever way; and none is lost, whenever changes are taken.
#[test]
fn a_change_that_is_known_of_is_seen() {
    explore("lanes: a change, and word of it", None, || {
        let loops = Loops::new(1);
        let word = Arc::new(AtomicBool::new(false));
        let (changing, telling) = (Arc::clone(&loops), Arc::clone(&word));
        let thread = thread::spawn(move || {
            changing.inboxes[0].change(1, "a".into(), 1);
            telling.store(true, Ordering::Release);
        });
        let inbox = &loops.inboxes[0];
        let mut seen = if inbox.has_changes() { inbox.take_changes().len() } else { 0 };
        if word.load(Ordering::Acquire) {
            seen += if inbox.has_changes() { inbox.take_changes().len() } else { 0 };
            assert_eq!(seen, 1, "what knows of it sees it");
        }
        thread.join().unwrap();
        let rest = if inbox.has_changes() { inbox.take_changes().len() } else { 0 };
        assert_eq!(seen + rest, 1, "none is lost");
    });
}

#[test]
fn every_change_wakes() {
    explore("lanes: two changes", None, || {
        let loops = Loops::new(1);
        let threads: Vec<_> = [0, 1]
            .into_iter()
            .map(|from| {
                let loops = Arc::clone(&loops);
                thread::spawn(move || {
                    if loops.inboxes[0].change(from, "a".into(), from) {
                        loops.wake(0);
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 2 {
            loops.polls[0].wait();
            seen += loops.inboxes[0].take_changes().len();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
