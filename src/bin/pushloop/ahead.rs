//! Publications that are written to the file before they are published: each has its number when it waits,
//! and nobody has seen what a cut could take away.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use pushloop::{ConnId, Hub, Message, Position, PublishError, RequestId};

use crate::{
    publish::{Except, Form, Label, Outcome, Plan, labels, not_taken, publish_for},
    store::Record,
    writer::Writer,
};

/// Publications that wait, and their bytes: more are refused.
const WAITING_MAX: usize = 16_384;
const WAITING_BYTES_MAX: usize = 16 << 20;
/// What a publication counts as beside its payload, in bytes.
const PUBLICATION_BYTES: usize = 256;

/// What is published together, once it is written.
#[derive(Debug)]
struct Job {
    /// When it is written.
    number: u64,
    steps: Vec<Step>,
    outcomes: Vec<Outcome>,
    bytes: usize,
    asker: Option<Asker>,
}

/// What waits for its answer.
#[derive(Debug)]
pub struct Asker {
    pub id: AskerId,
    pub form: Form,
    pub labels: Vec<Label>,
}

/// What an answer goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskerId {
    Request(RequestId),
    /// A command of a connection, by its id there.
    Command(ConnId, u32),
}

#[derive(Debug)]
enum Step {
    Publish {
        record: Arc<Record>,
        key: Option<String>,
        except: Option<ConnId>,
    },
    /// It has the answer of the publication before it with this key.
    Repeat {
        key: String,
    },
    Decided(Outcome),
}

/// A topic of which something waits.
#[derive(Debug)]
struct Waiting {
    /// The place of its next publication.
    next: Position,
    publications: usize,
}

/// A key of which something waits.
#[derive(Debug, Default)]
struct Key {
    outcome: Option<Outcome>,
    steps: usize,
}

/// What comes of a look at the first job.
#[derive(Debug)]
pub enum Next {
    /// It is published.
    Published(Option<Asker>, Vec<Outcome>),
    /// It is not written yet, or there is none.
    Waits,
    /// It is written, and the hub has no room for it now.
    Full,
}

/// See the module.
#[derive(Debug)]
pub struct Ahead {
    writer: Writer,
    jobs: VecDeque<Job>,
    topics: HashMap<Box<str>, Waiting>,
    keys: HashMap<String, Key>,
    /// Publications in `jobs`, and their bytes.
    publications: usize,
    bytes: usize,
    /// How many were refused because too many waited.
    pub refused: u64,
    /// A moment, and what the clock on the wall showed, in milliseconds since 1970.
    clock: (Instant, u64),
}

impl Ahead {
    pub fn new(writer: Writer, clock: (Instant, u64)) -> Self {
        Self {
            writer,
            jobs: VecDeque::new(),
            topics: HashMap::new(),
            keys: HashMap::new(),
            publications: 0,
            bytes: 0,
            refused: 0,
            clock,
        }
    }

    /// How many publications wait.
    pub fn waiting(&self) -> usize {
        self.publications
    }

    /// Whether nothing waits, and nothing can be written any more.
    pub fn is_over(&self) -> bool {
        self.jobs.is_empty() && self.writer.has_failed()
    }

    fn now(&self, hub: &Hub) -> u64 {
        let passed = hub.now().saturating_duration_since(self.clock.0);
        self.clock.1.saturating_add(passed.as_millis() as u64)
    }

    /// Has the file forget what is too old.
    pub fn sweep(&self, hub: &Hub) {
        self.writer.push([], self.now(hub));
    }

    /// The place of a topic's next publication.
    pub fn place(&self, hub: &Hub, name: &str) -> Option<Position> {
        let waiting = self.topics.get(name).map(|waiting| waiting.next);
        waiting.or_else(|| hub.position(name))
    }

    /// Whether so many publications more, and their bytes, may wait. What may not is counted.
    fn has_room(&mut self, publications: usize, bytes: usize) -> bool {
        let has_room = self.publications + publications <= WAITING_MAX
            && self.bytes.saturating_add(bytes) <= WAITING_BYTES_MAX;
        self.refused += if has_room { 0 } else { publications as u64 };
        has_room
    }

    /// Takes a client's message. False if there is no room for it, or it is refused.
    pub fn take_message(&mut self, hub: &mut Hub, name: &str, message: Message<'_>) -> bool {
        let bytes = cost(name, message);
        if !self.has_room(1, bytes) {
            return false;
        }
        let step = self.step(hub, name, None, None, message);
        let is_taken = !matches!(step, Step::Decided(Err(_)));
        self.push(hub, vec![step], bytes, None);
        is_taken
    }

    /// Takes what a request wants published. False if there is no room for all of it.
    pub fn take(&mut self, hub: &mut Hub, plan: Plan<'_>, id: Option<RequestId>) -> bool {
        let costs = plan.items.iter().map(|item| cost(&item.name, item.content.message()));
        let bytes = costs.sum();
        if !self.has_room(plan.items.len(), bytes) {
            return false;
        }
        let mut steps = Vec::with_capacity(plan.items.len());
        for item in &plan.items {
            let (key, message) = (item.key.as_deref(), item.content.message());
            let except = item.except.and_then(Except::here);
            let step = self.step(hub, &item.name, key, except, message);
            let is_refused = matches!(step, Step::Decided(Err(_)));
            steps.push(step);
            if is_refused && matches!(plan.form, Form::Lines { .. }) {
                break;
            }
        }
        let labels = labels(&plan.items);
        let asker = id.map(|id| Asker { id: AskerId::Request(id), form: plan.form, labels });
        self.push(hub, steps, bytes, asker);
        true
    }

    /// Gives a publication its number.
    fn step(
        &mut self,
        hub: &mut Hub,
        name: &str,
        key: Option<&str>,
        except: Option<ConnId>,
        message: Message<'_>,
    ) -> Step {
        let key_max = hub.config().idempotency_key_bytes_max;
        if key.is_some_and(|key| key.len() > key_max) {
            return Step::Decided(Err(not_taken(PublishError::KeyTooLong)));
        }
        let known = key.map(|key| known(name, key));
        if let Some(known) = &known
            && let Some(waiting) = self.keys.get_mut(known)
        {
            waiting.steps += 1;
            return Step::Repeat { key: known.clone() };
        }
        if let Some(published) = key.and_then(|key| hub.published_under(name, key)) {
            return Step::Decided(Ok(published));
        }
        let next = match self.topics.get(name) {
            Some(waiting) => Ok(Some(waiting.next)),
            None if hub.topic_options(name).history.is_none() => Ok(None),
            None => hub.begin_topic(name),
        };
        let place = match next {
            Ok(Some(place)) => place,
            // A topic of which nothing is kept.
            Ok(None) => {
                let published = publish_for(hub, name, None, except, message);
                return Step::Decided(published.map_err(not_taken));
            }
            Err(refused) => return Step::Decided(Err(not_taken(refused))),
        };
        let next = Position { offset: place.offset + 1, ..place };
        let waiting = self.topics.entry(name.into()).or_insert(Waiting { next, publications: 0 });
        (waiting.next, waiting.publications) = (next, waiting.publications + 1);
        if let Some(known) = known {
            self.keys.insert(known, Key { outcome: None, steps: 1 });
        }
        let (is_text, payload) = match message {
            Message::Text(text) => (true, text.as_bytes()),
            Message::Binary(bytes) => (false, bytes),
        };
        let (topic, payload, made_at) = (name.into(), payload.into(), self.now(hub));
        let record = Arc::new(Record { topic, place, made_at, is_text, payload });
        Step::Publish { record, key: key.map(str::to_owned), except }
    }

    fn push(&mut self, hub: &Hub, steps: Vec<Step>, bytes: usize, asker: Option<Asker>) {
        let records = steps.iter().filter_map(|step| match step {
            Step::Publish { record, .. } => Some(Arc::clone(record)),
            Step::Repeat { .. } | Step::Decided(_) => None,
        });
        let number = self.writer.push(records, self.now(hub));
        self.publications += steps.len();
        self.bytes += bytes;
        self.jobs.push_back(Job { number, steps, outcomes: Vec::new(), bytes, asker });
    }

    /// Publishes the first job, if it is written.
    pub fn next(&mut self, hub: &mut Hub) -> Next {
        let written = self.writer.written();
        if self.jobs.front().is_none_or(|job| job.number > written) {
            return Next::Waits;
        }
        let Some(mut job) = self.jobs.pop_front() else { return Next::Waits };
        while let Some(step) = job.steps.get(job.outcomes.len()) {
            match self.carry_out(hub, step) {
                Some(outcome) => job.outcomes.push(outcome),
                None => {
                    self.jobs.push_front(job);
                    return Next::Full;
                }
            }
        }
        self.publications -= job.steps.len();
        self.bytes -= job.bytes;
        Next::Published(job.asker, job.outcomes)
    }

    /// Publishes; `None` if the hub has no room now. What is written has to be published at some time, or
    /// the numbers of what follows would not be those that are written.
    fn carry_out(&mut self, hub: &mut Hub, step: &Step) -> Option<Outcome> {
        let (record, key, except) = match step {
            Step::Publish { record, key, except } => (record, key.as_deref(), *except),
            Step::Repeat { key } => return self.repeated(key),
            Step::Decided(outcome) => return Some(outcome.clone()),
        };
        let name = &*record.topic;
        let published = publish_for(hub, name, key, except, record.message());
        if let Err(PublishError::ProcessFull | PublishError::TopicFull) = published {
            return None;
        }
        if let Some(waiting) = self.topics.get_mut(name) {
            waiting.publications -= 1;
            if waiting.publications == 0 {
                self.topics.remove(name);
            }
        }
        let outcome = published.map_err(not_taken);
        if let Some(key) = key {
            let known = known(name, key);
            if let Some(waiting) = self.keys.get_mut(&known) {
                waiting.outcome = Some(outcome.clone());
            }
            self.repeated(&known);
        }
        Some(outcome)
    }

    /// What the first publication under a key was answered, which is asked once less from here on.
    fn repeated(&mut self, known: &str) -> Option<Outcome> {
        let waiting = self.keys.get_mut(known)?;
        waiting.steps -= 1;
        let outcome = waiting.outcome.clone();
        if waiting.steps == 0 {
            self.keys.remove(known);
        }
        outcome
    }
}

/// No two pairs of a topic and a key are the same text.
fn known(name: &str, key: &str) -> String {
    format!("{} {name}{key}", name.len())
}

fn cost(name: &str, message: Message<'_>) -> usize {
    let payload = match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
    };
    name.len() + payload + PUBLICATION_BYTES
}

#[cfg(test)]
mod tests;
