//! Requests that publish, where there are several loops: each topic's publications are made by the loop that it belongs
//! to.
//!
//! A request becomes a job, which goes from home to home of its topics, in their order, and comes back with what
//! became of each. Until then the request waits unanswered. All jobs together are bounded, so that one that has begun
//! finds room wherever it goes next.

use std::sync::Arc;

use pushloop::{Handle, Hub, Position, RequestId};

use crate::{
    ahead::{Asker, AskerId},
    broker::Done,
    inboxes::{Inboxes, Limits},
    publish::{self, Outcome, Plan, labels},
    topics::Refusal,
};

/// What the service is notified of, when another loop has a job for it.
pub const RELAYED: u32 = 7;
/// What it is notified of, when what a topic of another loop has kept is here.
pub const OPENED: u32 = 8;

/// Publications in jobs that are under way, and their bytes: more are refused.
const LIMITS: Limits = Limits { count_max: 16_384, bytes_max: 16 << 20 };
/// What a publication counts as beside its payload, in bytes.
const PUBLICATION_BYTES: usize = 256;

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

/// See the module. What one loop has of it.
pub struct Relay {
    here: usize,
    jobs: Arc<Inboxes<Job>>,
}

impl Relay {
    /// One for each of these loops.
    pub fn all(handles: Vec<Handle>) -> impl Iterator<Item = Self> {
        let count = handles.len();
        let jobs = Arc::new(Inboxes::new(handles, RELAYED, LIMITS));
        (0..count).map(move |here| Self { here, jobs: Arc::clone(&jobs) })
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
        let count = plan.items.len();
        let bytes =
            count * PUBLICATION_BYTES + plan.items.iter().map(|it| it.content.len()).sum::<usize>();
        if !self.jobs.reserve(count, bytes) {
            return Err((503, "too many publications wait for other loops".into()));
        }
        let (plan, outcomes) = (plan.into_owned(), Vec::with_capacity(count));
        let job = Job { origin: self.here, id, plan, only_at, outcomes, bytes };
        Ok(self.go_on(hub, job).into_iter().collect())
    }

    /// What other loops have for this one: requests of this loop that are done, among them.
    pub fn next(&self, hub: &mut Hub) -> Vec<Done> {
        let jobs = self.jobs.take(self.here);
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
        self.jobs.release(job.plan.items.len(), job.bytes);
        done(job.id, job.plan, job.outcomes)
    }

    fn send(&self, to: usize, job: Job) {
        // A loop that is gone takes the process with it.
        drop(self.jobs.send(to, job));
    }
}

/// The request has its answer, if it waits for one.
fn done(id: Option<RequestId>, plan: Plan<'_>, outcomes: Vec<Outcome>) -> Option<Done> {
    let labels = labels(&plan.items);
    let id = AskerId::Request(id?);
    Some(Done::Published(Asker { id, labels, form: plan.form }, outcomes))
}
