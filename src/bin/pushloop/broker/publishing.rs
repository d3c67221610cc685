//! What is published through the broker, until it has said what became of it.

use std::{collections::HashMap, sync::Arc};

use pushloop::{Hub, Message, Position, PublishError, Published};

use super::{
    Done,
    link::{Failure, Publication, millis_since_1970},
    record::{NodeConn, Record},
    shared::Shared,
    topics::is_local,
};
use crate::{
    ahead::{Asker, AskerId},
    publish::{Except, Outcome, Plan, labels, not_taken, publish_for},
    topics::Refusal,
};

/// What was asked for together.
#[derive(Debug)]
struct Job {
    outcomes: Vec<Option<Outcome>>,
    /// How many of these are open.
    left: usize,
    asker: Option<Asker>,
}

/// See the module.
#[derive(Debug)]
pub struct Publishing {
    shared: Arc<Shared>,
    /// Which node this is, as records name it.
    node: u64,
    latest: u64,
    jobs: HashMap<u64, Job>,
    /// Which job a publication belongs to, its place there, and its topic.
    open: HashMap<u64, (u64, usize, Box<str>)>,
}

impl Publishing {
    pub fn new(shared: Arc<Shared>, node: u64) -> Self {
        Self { shared, node, latest: 0, jobs: HashMap::new(), open: HashMap::new() }
    }

    /// How many publications the broker has not said anything of.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The topic of a publication of which the broker has not said anything.
    pub fn topic(&self, number: u64) -> Option<&str> {
        self.open.get(&number).map(|(.., topic)| &**topic)
    }

    /// Takes a client's message.
    pub fn take_message(
        &mut self,
        hub: &mut Hub,
        name: &str,
        message: Message<'_>,
    ) -> Result<(), Refusal> {
        if is_local(name) {
            return hub.publish(name, message).map(|_| ()).map_err(not_taken);
        }
        let publication = self.publication(hub, name, None, message);
        self.shared.publish(vec![publication]).map_err(refusal)
    }

    /// Takes what a request wants published, all of it or nothing. The answer comes as [`Done::Published`], if
    /// the request is to have it.
    pub fn take(
        &mut self,
        hub: &mut Hub,
        plan: Plan<'_>,
        only_at: Option<Position>,
        id: Option<AskerId>,
        done: &mut Vec<Done>,
    ) -> Result<(), Refusal> {
        let mut outcomes = Vec::with_capacity(plan.items.len());
        let mut publications = Vec::new();
        let key_max = hub.config().idempotency_key_bytes_max;
        for item in &plan.items {
            let (name, message) = (&*item.name, item.content.message());
            outcomes.push(if item.key.as_ref().is_some_and(|key| key.len() > key_max) {
                Some(Err(not_taken(PublishError::KeyTooLong)))
            } else if is_local(name) {
                let except = item.except.and_then(Except::here);
                Some(publish_for(hub, name, None, except, message).map_err(not_taken))
            } else {
                let mut it = self.publication(hub, name, item.except, message);
                (it.key, it.only_at) =
                    (item.key.clone().map(|key| (key, hub.config().idempotency_memory)), only_at);
                publications.push(it);
                None
            });
        }
        let numbers: Vec<_> = publications.iter().map(|it| (it.number, it.topic.clone())).collect();
        self.shared.publish(publications).map_err(refusal)?;
        let Some(id) = id else { return Ok(()) };
        let asker = Some(Asker { id, labels: labels(&plan.items), form: plan.form });
        let open = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_none());
        let places: Vec<_> = open.map(|(at, _)| at).collect();
        self.latest += 1;
        let job = self.latest;
        for (at, (number, topic)) in places.iter().zip(numbers) {
            self.open.insert(number, (job, *at, topic));
        }
        self.jobs.insert(job, Job { outcomes, left: places.len(), asker });
        self.finish(job, done);
        Ok(())
    }

    fn publication(
        &mut self,
        hub: &Hub,
        name: &str,
        except: Option<Except>,
        message: Message<'_>,
    ) -> Publication {
        self.latest += 1;
        let history = hub.topic_options(name).history;
        let made_at = hub.wall_clock().map_or(0, millis_since_1970);
        let except = except.map(|except| match except {
            Except::Here(id) => NodeConn { node: self.node, conn: id.to_bits() },
            Except::Elsewhere(it) => it,
        });
        Publication {
            number: self.latest,
            topic: name.into(),
            record: Record { except, ..Record::of(message, made_at) },
            keeps: history.map_or_else(Default::default, |it| (it.publications, it.age)),
            key: None,
            only_at: None,
        }
    }

    /// The broker has said what became of a publication, or nothing will be known of it.
    pub fn settle(
        &mut self,
        hub: &Hub,
        number: u64,
        outcome: Result<Position, Failure>,
        done: &mut Vec<Done>,
    ) {
        let Some((job, at, topic)) = self.open.remove(&number) else { return };
        let Some(open) = self.jobs.get_mut(&job) else { return };
        let published = |position| {
            let mut published = Published::default();
            published.subscribers = hub.subscriber_count(&topic);
            published.position = Some(position);
            published
        };
        open.outcomes[at] = Some(outcome.map(published).map_err(refusal));
        open.left -= 1;
        self.finish(job, done);
    }

    fn finish(&mut self, job: u64, done: &mut Vec<Done>) {
        if self.jobs.get(&job).is_none_or(|job| job.left > 0) {
            return;
        }
        let Some(Job { outcomes, asker: Some(asker), .. }) = self.jobs.remove(&job) else { return };
        let mut known: Vec<Outcome> = Vec::with_capacity(outcomes.len());
        for outcome in outcomes.into_iter().flatten() {
            known.push(outcome);
            if asker.form.ends_with(&known) {
                // What came of the lines behind it is not told: they are sent again.
                break;
            }
        }
        done.push(Done::Published(asker, known));
    }
}

/// What a publisher is told.
pub fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Unreachable => (503, "the broker cannot be reached: it was not published".into()),
        Failure::Late => (503, "the broker was too slow: it was not published".into()),
        Failure::Unknown => {
            let why = "the broker has not answered: it may have been published. With the same \
                       Idempotency-Key it is published once";
            (504, why.into())
        }
        Failure::Moved => (412, "something was published since, or the topic begins anew".into()),
        Failure::Refused(why) => (503, format!("the broker has not published it: {why}").into()),
    }
}
