//! Requests that publish, where there are several loops: each topic's publications are made by the loop that it belongs
//! to.
//!
//! A request becomes a job, which goes from home to home of its topics, in their order, and comes back with what
//! became of each. Until then the request waits unanswered. All jobs together are bounded, so that one that has begun
//! finds room wherever it goes next.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use pushloop::{Handle, Hub, Position, RequestId};

use crate::{
    ahead::{Asker, AskerId},
    broker::Done,
    publish::{self, Outcome, Plan, told},
    topics::Refusal,
};

/// What the service is notified of, when another loop has a job for it.
pub const RELAYED: u32 = 7;
/// What it is notified of, when what a topic of another loop has kept is here.
pub const OPENED: u32 = 8;

/// Publications in jobs that are under way, and their bytes: more are refused.
const WAITING_MAX: usize = 16_384;
const WAITING_BYTES_MAX: usize = 16 << 20;
/// What a publication counts as beside its payload, in bytes.
const PUBLICATION_BYTES: usize = 256;
/// Jobs that are looked at in one turn.
const JOBS_PER_TURN: usize = 256;

/// What a request wants published, and what became of it so far.
struct Job {
    /// The loop of the request.
    origin: usize,
    id: Option<RequestId>,
    plan: Plan<'static>,
    only_at: Option<Position>,
    outcomes: Vec<Outcome>,
    bytes: usize,
}

struct Shared {
    queues: Vec<Mutex<Vec<Job>>>,
    handles: Vec<Handle>,
    /// Publications that are under way, and their bytes.
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    whole: Handle,
}

/// See the module. What one loop has of it.
pub struct Relay {
    here: usize,
    shared: Arc<Shared>,
}

impl Relay {
    /// One for each of several loops, and none for one.
    pub fn all(handles: Vec<Handle>, whole: Handle) -> Vec<Option<Self>> {
        let count = handles.len();
        let queues = handles.iter().map(|_| Mutex::default()).collect();
        let (waiting, bytes) = Default::default();
        let shared = Arc::new(Shared { queues, handles, waiting, bytes, whole });
        let relay = |here| (count > 1).then(|| Self { here, shared: Arc::clone(&shared) });
        (0..count).map(relay).collect()
    }

    /// All loops.
    pub fn whole(&self) -> &Handle {
        &self.shared.whole
    }

    fn queue(&self, of: usize) -> MutexGuard<'_, Vec<Job>> {
        self.shared.queues[of].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what a request wants. What is not done by then comes from [`next`](Self::next).
    pub fn take(
        &self,
        hub: &mut Hub,
        plan: Plan<'_>,
        only_at: Option<Position>,
        id: Option<RequestId>,
    ) -> Result<Vec<Done>, Refusal> {
        if plan.items.iter().all(|item| hub.is_home(&item.name)) {
            let outcomes = publish::publish(hub, &plan, only_at);
            return Ok(done(id, plan, outcomes).into_iter().collect());
        }
        let payload = |item: &publish::Item<'_>| item.content.message().as_bytes().len();
        let count = plan.items.len();
        let bytes = count * PUBLICATION_BYTES + plan.items.iter().map(payload).sum::<usize>();
        if !self.reserve(count, bytes) {
            return Err((503, "too many publications wait for other loops".into()));
        }
        let (plan, outcomes) = (plan.into_owned(), Vec::with_capacity(count));
        let job = Job { origin: self.here, id, plan, only_at, outcomes, bytes };
        Ok(self.go_on(hub, job).into_iter().collect())
    }

    fn reserve(&self, count: usize, bytes: usize) -> bool {
        let Shared { waiting, bytes: held, .. } = &*self.shared;
        let all = waiting.fetch_add(count, Ordering::Relaxed) + count;
        let all_bytes = held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = all <= WAITING_MAX && all_bytes <= WAITING_BYTES_MAX;
        if !has_room {
            self.release(count, bytes);
        }
        has_room
    }

    fn release(&self, count: usize, bytes: usize) {
        self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What other loops have for this one: requests of this loop that are done, among them.
    pub fn next(&self, hub: &mut Hub) -> Vec<Done> {
        let jobs = {
            let mut queue = self.queue(self.here);
            let count = queue.len().min(JOBS_PER_TURN);
            let rest = queue.split_off(count);
            mem::replace(&mut *queue, rest)
        };
        if jobs.len() == JOBS_PER_TURN {
            // There may be more.
            let _ = self.shared.handles[self.here].notify(RELAYED);
        }
        jobs.into_iter().filter_map(|job| self.go_on(hub, job)).collect()
    }

    /// Publishes what belongs to this loop, as far as it is the next, and hands the job on.
    fn go_on(&self, hub: &mut Hub, mut job: Job) -> Option<Done> {
        while !job.plan.form.ends_with(&job.outcomes)
            && let Some(item) = job.plan.items.get(job.outcomes.len())
        {
            let home = hub.home(&item.name);
            if home != self.here {
                self.send(home, job);
                return None;
            }
            job.outcomes.push(publish::publish_one(hub, item, job.only_at));
        }
        if job.origin != self.here {
            self.send(job.origin, job);
            return None;
        }
        self.release(job.plan.items.len(), job.bytes);
        done(job.id, job.plan, job.outcomes)
    }

    fn send(&self, to: usize, job: Job) {
        self.queue(to).push(job);
        // A loop that is gone takes the process with it.
        let _ = self.shared.handles[to].notify(RELAYED);
    }
}

/// The request has its answer, if it waits for one.
fn done(id: Option<RequestId>, plan: Plan<'_>, outcomes: Vec<Outcome>) -> Option<Done> {
    let told = told(&plan.items);
    let id = AskerId::Request(id?);
    Some(Done::Published(Asker { id, told, form: plan.form }, outcomes))
}

#[cfg(test)]
mod tests {
    use pushloop::{Config, Loops, Server};

    use super::*;

    fn relay() -> Relay {
        let mut loops = Loops::new(Config::default(), 2).expect("there are descriptors");
        let each = loops.servers().iter().map(Server::handle).collect();
        Relay::all(each, loops.handle()).remove(0).expect("there are two")
    }

    #[test]
    fn so_many_publications_are_under_way_and_no_more() {
        let relay = relay();
        assert!(relay.reserve(WAITING_MAX - 1, 1));
        assert!(relay.reserve(1, 1), "at the limit");
        assert!(!relay.reserve(1, 1), "one more");
        relay.release(1, 1);
        assert!(relay.reserve(1, 1), "what was refused takes no room");
    }

    #[test]
    fn so_many_bytes_are_under_way_and_no_more() {
        let relay = relay();
        assert!(!relay.reserve(1, WAITING_BYTES_MAX + 1));
        assert!(relay.reserve(1, WAITING_BYTES_MAX - 1));
        assert!(relay.reserve(1, 1), "at the limit");
        assert!(!relay.reserve(1, 1), "one more");
    }

    #[test]
    fn one_loop_has_none() {
        let mut loops = Loops::new(Config::default(), 1).expect("there are descriptors");
        let each = loops.servers().iter().map(Server::handle).collect();
        assert!(Relay::all(each, loops.handle()).iter().all(Option::is_none));
    }
}
