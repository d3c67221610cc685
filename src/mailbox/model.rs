//! The mailbox under every interleaving that loom can tell apart: `cargo model`.
//!
//! [`Poll`] stands for the loop's wait, so that a lost wake is a consumer that waits for good, and
//! that loom reports as a deadlock. What holds a model together is not modelled: std's `Arc` and
//! atomics add no interleavings, and unlike loom's can be dropped after a deadlock.

use std::{
    io, mem,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use loom::{
    sync::{Condvar, Mutex, atomic::AtomicBool},
    thread::{self, JoinHandle},
};

use super::{Mailbox, PushError, Wake};

/// An eventfd under edge-triggered epoll: wakes add up until the wait that sees them.
pub(crate) struct Poll {
    pending: Mutex<bool>,
    woken: Condvar,
    wakes: AtomicUsize,
}

impl Poll {
    pub(crate) fn new() -> Arc<Self> {
        let pending = Mutex::new(false);
        Arc::new(Self { pending, woken: Condvar::new(), wakes: AtomicUsize::new(0) })
    }

    pub(crate) fn wait(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !mem::take(&mut *pending) {
            pending = self.woken.wait(pending).unwrap();
        }
    }
}

impl Wake for Arc<Poll> {
    fn wake(&self) -> io::Result<()> {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        *self.pending.lock().unwrap() = true;
        self.woken.notify_one();
        Ok(())
    }
}

/// What the models need of a mailbox, so that a wrong one can be put in its place.
trait Post: Send + Sync + 'static {
    fn new(poll: Arc<Poll>) -> Self;
    fn push(&self, item: usize);
    fn take(&self, batch: &mut Vec<usize>);
}

type Real = Mailbox<usize, Arc<Poll>>;

impl Post for Real {
    fn new(poll: Arc<Poll>) -> Self {
        Mailbox::new(poll, usize::MAX, usize::MAX)
    }

    fn push(&self, item: usize) {
        Mailbox::push(self, item, 1).unwrap();
    }

    fn take(&self, batch: &mut Vec<usize>) {
        Mailbox::take(self, batch);
    }
}

/// The textbook mistake: a flag beside the queue, cleared after the queue was drained. A push
/// between the two finds the flag still set and wakes nobody.
struct FlagClearedLate {
    queue: Mutex<Vec<usize>>,
    woken: AtomicBool,
    poll: Arc<Poll>,
}

impl Post for FlagClearedLate {
    fn new(poll: Arc<Poll>) -> Self {
        Self { queue: Mutex::new(Vec::new()), woken: AtomicBool::new(false), poll }
    }

    fn push(&self, item: usize) {
        self.queue.lock().unwrap().push(item);
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.poll.wake().unwrap();
        }
    }

    fn take(&self, batch: &mut Vec<usize>) {
        mem::swap(&mut *self.queue.lock().unwrap(), batch);
        self.woken.store(false, Ordering::Release);
    }
}

/// The mistake next to ours: emptiness is the flag, but it is looked at before the lock that
/// pushes is taken.
struct EmptinessSeenEarly {
    queue: Mutex<Vec<usize>>,
    poll: Arc<Poll>,
}

impl Post for EmptinessSeenEarly {
    fn new(poll: Arc<Poll>) -> Self {
        Self { queue: Mutex::new(Vec::new()), poll }
    }

    fn push(&self, item: usize) {
        let was_empty = self.queue.lock().unwrap().is_empty();
        self.queue.lock().unwrap().push(item);
        if was_empty {
            self.poll.wake().unwrap();
        }
    }

    fn take(&self, batch: &mut Vec<usize>) {
        mem::swap(&mut *self.queue.lock().unwrap(), batch);
    }
}

/// Explores `execution` and prints how many interleavings that were: all that loom can tell apart,
/// or those in which at most `preemptions_max` times a thread is stopped that could have gone on.
pub(crate) fn explore(
    name: &str,
    preemptions_max: impl Into<Option<usize>>,
    execution: impl Fn() + Send + Sync + 'static,
) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions_max.into();
    // These defaults come from the environment, and would end an exploration early.
    builder.max_duration = None;
    builder.max_permutations = None;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        execution();
    });
    println!("model {name}: {} executions", executions.load(Ordering::Relaxed));
}

/// Runs `produce(0)`, `produce(1)`, … each on a thread of its own.
fn producers<R: 'static>(
    count: usize,
    produce: impl Fn(usize) -> R + Send + Sync + 'static,
) -> Vec<JoinHandle<R>> {
    let produce = Arc::new(produce);
    (0..count)
        .map(|producer| {
            let produce = Arc::clone(&produce);
            thread::spawn(move || produce(producer))
        })
        .collect()
}

fn join<R>(threads: Vec<JoinHandle<R>>) -> Vec<R> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Every item arrives although the loop sleeps whenever it is not woken; those of one producer
/// arrive in order; and a wake is paid for each batch that is not empty, no more and no fewer.
fn delivers<P: Post>(producer_count: usize, items_each: usize) {
    let poll = Poll::new();
    let mailbox = Arc::new(P::new(poll.clone()));
    let pushing = mailbox.clone();
    let threads = producers(producer_count, move |producer| {
        for item in 0..items_each {
            pushing.push(producer * items_each + item);
        }
    });
    let (mut taken, mut batch, mut batches) = (Vec::new(), Vec::new(), 0);
    while taken.len() < producer_count * items_each {
        poll.wait();
        mailbox.take(&mut batch);
        batches += usize::from(!batch.is_empty());
        taken.append(&mut batch);
    }
    join(threads);
    for producer in 0..producer_count {
        let of_producer = taken.iter().copied().filter(|item| item / items_each == producer);
        let expected = producer * items_each..(producer + 1) * items_each;
        assert!(of_producer.eq(expected), "out of order: {taken:?}");
    }
    assert_eq!(poll.wakes.load(Ordering::Relaxed), batches, "one wake for each batch");
}

#[test]
fn no_wake_is_lost_and_none_is_wasted() {
    explore("one producer, 3 items", None, || delivers::<Real>(1, 3));
    explore("two producers, 1 item each", None, || delivers::<Real>(2, 1));
    // All of these would be some minutes and 2.6 million executions.
    explore("two producers, 2 items each, 5 preemptions", 5, || delivers::<Real>(2, 2));
    explore("three producers, 1 item each, 3 preemptions", 3, || delivers::<Real>(3, 1));
}

/// Two producers push two items each of one byte; the loop takes once and closes. It saw, taken or
/// returned by `close`, exactly what was accepted.
fn closes(items_max: usize, bytes_max: usize, full_allowed: bool) {
    let poll = Poll::new();
    let mailbox: Arc<Real> = Arc::new(Mailbox::new(poll.clone(), items_max, bytes_max));
    let pushing = mailbox.clone();
    let threads = producers(2, move |producer| {
        let accepts = |item: &usize| match pushing.push(*item, 1) {
            Ok(()) => true,
            Err(error) => {
                assert!(full_allowed || error == PushError::Closed);
                false
            }
        };
        [producer * 2, producer * 2 + 1].into_iter().filter(accepts).collect::<Vec<_>>()
    });
    poll.wait();
    let mut taken = Vec::new();
    mailbox.take(&mut taken);
    let rest = mailbox.close();
    assert!(taken.len().max(rest.len()) <= items_max.min(bytes_max), "more waited than may");
    assert_eq!(mailbox.push(9, 1), Err(PushError::Closed));
    assert!(mailbox.close().is_empty());
    taken.extend(rest);
    taken.sort_unstable();
    let accepted = join(threads).concat();
    assert!(!accepted.is_empty());
    assert_eq!(taken, accepted);
}

#[test]
fn closing_loses_nothing_that_was_accepted() {
    explore("close against two producers", None, || closes(4, 4, false));
}

#[test]
fn a_full_mailbox_refuses_and_loses_nothing_that_it_accepted() {
    explore("bound of one item", None, || closes(1, usize::MAX, true));
    explore("bound of one byte", None, || closes(usize::MAX, 1, true));
}

#[test]
fn the_reserved_item_wakes_the_loop_however_full_the_mailbox_is() {
    const RESERVED: usize = 9;
    explore("reserved item in a full mailbox", None, || {
        let poll = Poll::new();
        let mailbox: Arc<Real> = Arc::new(Mailbox::new(poll.clone(), 1, usize::MAX));
        let pushing = mailbox.clone();
        let threads = producers(2, move |producer| match producer {
            0 => (0..2).filter(|item| pushing.push(*item, 1).is_ok()).collect::<Vec<_>>(),
            _ => pushing.push_reserved(0, RESERVED).map(|()| vec![RESERVED]).unwrap(),
        });
        let (mut taken, mut batch) = (Vec::new(), Vec::new());
        while !taken.contains(&RESERVED) {
            poll.wait();
            mailbox.take(&mut batch);
            assert!(batch.len() <= 2, "one item and the reserved one");
            taken.append(&mut batch);
        }
        taken.extend(mailbox.close());
        taken.sort_unstable();
        assert_eq!(taken, join(threads).concat());
    });
}

/// The models are worth something only if they reject what is wrong.
fn assert_loses_a_wake<P: Post>(name: &'static str) {
    println!("model {name}: a deadlock is to be found");
    let verdict =
        panic::catch_unwind(AssertUnwindSafe(|| explore(name, None, || delivers::<P>(2, 1))));
    let panic = verdict.expect_err("loom found nothing wrong with a mailbox that loses a wake");
    let message = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(message.contains("deadlock"), "{name} failed, but not of a lost wake: {message}");
    println!("model {name}: rejected");
}

#[test]
fn a_flag_that_is_cleared_after_draining_is_rejected() {
    assert_loses_a_wake::<FlagClearedLate>("mutant: flag cleared after draining");
}

#[test]
fn emptiness_that_is_seen_before_the_push_is_rejected() {
    assert_loses_a_wake::<EmptinessSeenEarly>("mutant: emptiness seen before the push");
}
