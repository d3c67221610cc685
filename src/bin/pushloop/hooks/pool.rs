//! The threads that ask. Each waits for one answer at a time, so that there are as many as answers are waited for.

use std::{
    collections::VecDeque,
    mem,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pushloop::Handle;

use super::{
    ANSWERED,
    client::{Client, IN_FLIGHT_MAX},
    question::{Verdict, verdict},
};
use crate::{status::Status, web::Failure};

/// Questions that wait for a thread: more are refused at once.
const WAITING_MAX: usize = 1024;
/// What a thread needs is little: most of it is ureq's buffers, which are not on it.
const STACK_BYTES: usize = 256 * 1024;

/// A question that was answered.
#[derive(Debug)]
pub struct Answered {
    pub number: u64,
    pub verdict: Verdict,
    /// For how long the answer holds.
    pub holds: Duration,
}

#[derive(Debug)]
struct Job {
    number: u64,
    question: Vec<u8>,
    /// Nobody waits for it any more.
    is_over: Arc<AtomicBool>,
    asker: Arc<Asker>,
}

/// A loop that asks.
#[derive(Debug)]
struct Asker {
    answered: Mutex<Vec<Answered>>,
    handle: Handle,
}

/// Invariant: `running <= threads <= IN_FLIGHT_MAX`.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Job>,
    threads: usize,
    /// Threads that have a question.
    running: usize,
    ends: bool,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    queue: Mutex<Queue>,
    wakes: Condvar,
    status: Arc<Status>,
}

/// See the module. What a loop has of the threads, which are those of all loops together.
#[derive(Debug)]
pub struct Pool {
    threads: Arc<Threads>,
    asker: Arc<Asker>,
}

/// The threads, for as long as a loop asks.
#[derive(Debug)]
struct Threads(Arc<Shared>);

impl Asker {
    fn new(handle: Handle) -> Arc<Self> {
        Arc::new(Self { answered: Mutex::default(), handle })
    }

    fn answered(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    pub fn new(client: Client, handle: Handle, status: Arc<Status>) -> Self {
        let (queue, wakes) = Default::default();
        let shared = Arc::new(Shared { client, queue, wakes, status });
        Self { threads: Arc::new(Threads(shared)), asker: Asker::new(handle) }
    }

    /// The same threads, for another loop.
    pub fn twin(&self, handle: Handle) -> Self {
        Self { threads: Arc::clone(&self.threads), asker: Asker::new(handle) }
    }

    /// Has a question asked. False if too many wait.
    pub fn ask(&self, number: u64, question: Vec<u8>, is_over: Arc<AtomicBool>) -> bool {
        let Threads(shared) = &*self.threads;
        let mut queue = shared.lock();
        let open = queue.running + queue.waiting.len();
        if open >= IN_FLIGHT_MAX + WAITING_MAX {
            return false;
        }
        if open >= queue.threads && queue.threads < IN_FLIGHT_MAX {
            let shared = Arc::clone(shared);
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            let is_begun = thread.spawn(move || run(&shared)).is_ok();
            queue.threads += usize::from(is_begun);
            if queue.threads == 0 {
                return false;
            }
        }
        let asker = Arc::clone(&self.asker);
        queue.waiting.push_back(Job { number, question, is_over, asker });
        shared.note(&queue);
        shared.wakes.notify_one();
        true
    }

    /// What was answered since this was called last.
    pub fn answered(&self) -> Vec<Answered> {
        mem::take(&mut self.asker.answered())
    }
}

impl Drop for Threads {
    /// They end once they have an answer. Nobody waits for that.
    fn drop(&mut self) {
        self.0.lock().ends = true;
        self.0.wakes.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, queue: &Queue) {
        let Status { hook_questions_in_flight, hook_questions_waiting, .. } = &*self.status;
        hook_questions_in_flight.store(queue.running as u64, Ordering::Relaxed);
        hook_questions_waiting.store(queue.waiting.len() as u64, Ordering::Relaxed);
    }

    /// The next question that somebody waits for; `None` at the end.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.ends {
                return None;
            }
            match queue.waiting.pop_front() {
                Some(job) if job.is_over.load(Ordering::Relaxed) => {}
                Some(job) => {
                    queue.running += 1;
                    self.note(&queue);
                    return Some(job);
                }
                None => {
                    self.note(&queue);
                    queue = self.wakes.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

fn run(shared: &Shared) {
    while let Some(Job { number, question, asker, .. }) = shared.next() {
        let asks = AssertUnwindSafe(|| shared.client.post(&question));
        // A thread that is gone would be missed for ever.
        let reply = panic::catch_unwind(asks).unwrap_or(Err(Failure::Answer));
        let (verdict, holds) = verdict(reply);
        let mut queue = shared.lock();
        queue.running -= 1;
        shared.note(&queue);
        drop(queue);
        asker.answered().push(Answered { number, verdict, holds });
        // If the server is gone, nobody waits.
        let _ = asker.handle.notify(ANSWERED);
    }
}
