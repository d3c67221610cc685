//! What the backend is told: numbered, in order, from one thread, some at a time, again if it fails.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    Batch, Counts,
    client::{Client, Said},
};
use crate::{
    logs::{Level, say},
    status::Status,
};

/// Events that wait, and their bytes: those that come then are lost.
const WAITING_MAX: usize = 16_384;
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Events of one request, and how long it waits for more of them.
const BATCH_MAX: usize = 100;
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// How often one request is sent, and how long it waits for the next time: twice as long each time, 21 seconds in all,
/// and the times that the attempts take.
pub(super) const ATTEMPTS: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long the end of the server waits for what is still to be told.
const FLUSH_TIME: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Event {
    number: u64,
    json: String,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    /// Events of the request that is on its way.
    in_flight: usize,
    /// The number of the latest event, lost ones among them.
    latest: u64,
    ends: bool,
    /// The thread has ended.
    is_over: bool,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    queue: Mutex<Queue>,
    wakes: Condvar,
    status: Arc<Status>,
    attempts: u32,
    /// Lost events of which an operator was not told yet.
    unsaid: AtomicU64,
    said: Said,
}

/// The loop's end of the thread.
#[derive(Debug)]
pub struct Teller {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    pub fn new(client: Client, status: Arc<Status>) -> Self {
        Self::with_attempts(client, status, ATTEMPTS)
    }

    /// A test does not wait for as many.
    pub(super) fn with_attempts(client: Client, status: Arc<Status>, attempts: u32) -> Self {
        let (queue, wakes, unsaid, said) = Default::default();
        let shared = Shared { client, queue, wakes, status, attempts, unsaid, said };
        let shared = Arc::new(shared);
        let shared_too = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            shared_too.run();
            shared_too.lock().is_over = true;
            shared_too.wakes.notify_all();
        });
        Self { shared, thread: Some(thread) }
    }

    /// Has it told. It has a number in any case: when too many wait, that is the one that is missing.
    pub fn tell(&self, event: Map<String, Value>) {
        let shared = &self.shared;
        let mut queue = shared.lock();
        queue.latest += 1;
        let number = queue.latest;
        let json = shared.client.dialect().event(number, event);
        if queue.events.len() >= WAITING_MAX || queue.bytes + json.len() > WAITING_BYTES_MAX {
            drop(queue);
            return shared.lose(1);
        }
        queue.bytes += json.len();
        queue.events.push_back(Event { number, json });
        shared.counts().waiting.fetch_add(1, Ordering::Relaxed);
        // Both it waits for: the first, and as many as go at once.
        if matches!(queue.events.len(), 1 | BATCH_MAX) {
            shared.wakes.notify_all();
        }
    }
}

/// Ends several at once: the end of the server waits for the slowest, and not for one after the other.
pub fn end_all(tellers: impl IntoIterator<Item = Teller>) {
    thread::scope(|scope| {
        for teller in tellers {
            // Where there is no thread for it, it ends here.
            let _ = thread::Builder::new().spawn_scoped(scope, move || drop(teller));
        }
    });
}

/// How long it is waited after so many attempts.
pub(super) fn wait_after(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1);
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_WAIT)
}

impl Drop for Teller {
    /// Waits until all is told, for a while.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut queue = self.shared.lock();
        queue.ends = true;
        self.shared.wakes.notify_all();
        let waits = self.shared.wakes.wait_timeout_while(queue, FLUSH_TIME, |it| !it.is_over);
        let (mut queue, waited) = waits.unwrap_or_else(PoisonError::into_inner);
        let left = queue.events.len() + mem::take(&mut queue.in_flight);
        drop(queue);
        self.shared.lose(left as u64);
        self.shared.say_losses();
        if !waited.timed_out() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> Counts<'_> {
        self.client.dialect().counts(&self.status)
    }

    /// Counts events that the backend is not told. An operator hears of it now and then.
    fn lose(&self, count: u64) {
        self.counts().lost.fetch_add(count, Ordering::Relaxed);
        self.unsaid.fetch_add(count, Ordering::Relaxed);
        self.say_losses_in_time();
    }

    fn say_losses_in_time(&self) {
        if self.unsaid.load(Ordering::Relaxed) > 0 && self.said.is_time() {
            self.say_losses();
        }
    }

    fn say_losses(&self) {
        let count = self.unsaid.swap(0, Ordering::Relaxed);
        if count > 0 {
            say(Level::Warn, &format!("{} has lost events: {count}", self.client.name()));
        }
    }

    fn run(&self) {
        // The latest event that the backend has.
        let mut told = 0;
        while let Some(mut batch) = self.batch() {
            let count = batch.events.len() as u64;
            batch.lost = batch.latest - told - count;
            let body = self.client.dialect().body(&batch, &self.status);
            let is_told = self.send(body.as_bytes());
            // At the end of its patience, the end of the server has counted them.
            let in_flight = mem::take(&mut self.lock().in_flight) as u64;
            if is_told {
                told = batch.latest;
                self.counts().sent.fetch_add(count, Ordering::Relaxed);
            } else {
                self.lose(in_flight);
            }
            self.say_losses_in_time();
        }
    }

    /// What goes in one request; `None` at the end.
    fn batch(&self) -> Option<Batch> {
        let mut queue = self.lock();
        let is_idle = |queue: &mut Queue| queue.events.is_empty() && !queue.ends;
        queue = self.wakes.wait_while(queue, is_idle).unwrap_or_else(PoisonError::into_inner);
        let is_short = |queue: &mut Queue| queue.events.len() < BATCH_MAX && !queue.ends;
        let waits = self.wakes.wait_timeout_while(queue, BATCH_WAIT, is_short);
        (queue, _) = waits.unwrap_or_else(PoisonError::into_inner);
        let bytes_max = self.client.dialect().batch_bytes_max();
        let (mut batch, mut bytes) = (Batch::default(), 0);
        while let Some(next) = queue.events.front()
            && batch.events.len() < BATCH_MAX
            && (batch.events.is_empty() || bytes + next.json.len() < bytes_max)
        {
            let Some(Event { number, json }) = queue.events.pop_front() else { break };
            (batch.latest, bytes) = (number, bytes + json.len() + 1);
            queue.bytes -= json.len();
            batch.events.push(json);
        }
        queue.in_flight = batch.events.len();
        self.counts().waiting.fetch_sub(batch.events.len() as u64, Ordering::Relaxed);
        (!batch.events.is_empty()).then_some(batch)
    }

    /// Whether the backend has it, at last.
    fn send(&self, body: &[u8]) -> bool {
        for attempt in 1..=self.attempts {
            match self.client.tell(body) {
                Ok(status) if (200..300).contains(&status) => return true,
                Ok(_) | Err(_) => {}
            }
            self.counts().batches_failed.fetch_add(1, Ordering::Relaxed);
            if attempt < self.attempts {
                let queue = self.lock();
                // At the end, it is tried once more at once; what then fails is given up.
                let wait = wait_after(attempt);
                let waits = self.wakes.wait_timeout_while(queue, wait, |queue| !queue.ends);
                let (queue, _) = waits.unwrap_or_else(PoisonError::into_inner);
                if queue.ends && attempt > 1 {
                    break;
                }
            }
        }
        false
    }
}
