//! What is known of the file without reading it: what each topic keeps, and what is to be given up when.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use pushloop::{History, Position};
use redb::StorageError;

use super::{Limits, Publications, Record};

/// What a publication counts as beside its payload, in bytes.
const PUBLICATION_BYTES: u64 = 32;
/// What is known of a topic's publications in the file.
#[derive(Debug)]
pub struct Topic {
    pub epoch: u64,
    /// The offset of the next publication.
    pub head: u64,
    pub latest: u64,
    /// What is kept.
    history: History,
    /// When each publication that is kept was made, and the length of its payload.
    pub kept: VecDeque<(u64, u32)>,
    pub bytes: u64,
}

impl Topic {
    pub fn new((epoch, head, latest): (u64, u64, u64), history: History) -> Self {
        Self { epoch, head, latest, history, kept: VecDeque::new(), bytes: 0 }
    }

    /// When the oldest publication is too old, if there is one.
    fn due(&self) -> Option<u64> {
        let age = self.history.age.as_millis() as u64;
        self.kept.front().map(|(made_at, _)| made_at.saturating_add(age))
    }

    pub fn first(&self) -> u64 {
        self.head - self.kept.len() as u64
    }
}

#[derive(Debug)]
pub struct Index {
    pub topics: HashMap<Arc<str>, Topic>,
    /// Topics that keep something, by when the first of that is too old.
    due: BTreeSet<(u64, Arc<str>)>,
    /// All topics, by when their latest publication was made.
    pub latest: BTreeSet<(u64, Arc<str>)>,
    pub bytes: u64,
    pub limits: Limits,
}

pub fn cost(payload: usize) -> u64 {
    payload as u64 + PUBLICATION_BYTES
}

impl Index {
    pub fn new(limits: Limits) -> Self {
        let (topics, due, latest) = (HashMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { topics, due, latest, bytes: 0, limits }
    }

    /// How much is kept of the topic of this name.
    pub fn history(&self, name: &str) -> History {
        self.limits.patterns.of(name).history.unwrap_or(History::of(0))
    }

    pub fn add(&mut self, name: Arc<str>, topic: Topic) {
        if let Some(due) = topic.due() {
            self.due.insert((due, Arc::clone(&name)));
        }
        self.latest.insert((topic.latest, Arc::clone(&name)));
        self.bytes += topic.bytes;
        self.topics.insert(name, topic);
    }

    /// Adds a publication. What is not the next one of the topic's life begins it anew.
    pub fn put(
        &mut self,
        record: &Record,
        publications: &mut Publications<'_>,
    ) -> Result<(), StorageError> {
        let Position { epoch, offset } = record.place;
        let known = self.topics.get_key_value(&*record.topic);
        let is_next = known.is_some_and(|(_, it)| it.epoch == epoch && it.head == offset);
        let name = known.map_or_else(|| Arc::from(&*record.topic), |(name, _)| Arc::clone(name));
        if !is_next {
            self.forget(&name, publications)?;
            let topic = Topic::new((epoch, offset, record.made_at), self.history(&name));
            self.add(Arc::clone(&name), topic);
        }
        let Some(topic) = self.topics.get_mut(&*name) else { return Ok(()) };
        let Record { made_at, is_text, ref payload, .. } = *record;
        publications.insert((&*name, offset), (epoch, made_at, is_text, &**payload))?;
        self.latest.remove(&(topic.latest, Arc::clone(&name)));
        self.latest.insert((made_at, Arc::clone(&name)));
        topic.head += 1;
        topic.latest = made_at;
        let is_first = topic.kept.is_empty();
        topic.kept.push_back((made_at, payload.len() as u32));
        if let Some(due) = topic.due().filter(|_| is_first) {
            self.due.insert((due, Arc::clone(&name)));
        }
        topic.bytes += cost(payload.len());
        self.bytes += cost(payload.len());
        self.trim_topic(&name, publications)
    }

    /// Gives up what is too much for one topic.
    pub fn trim_topic(
        &mut self,
        name: &Arc<str>,
        publications: &mut Publications<'_>,
    ) -> Result<(), StorageError> {
        while let Some(topic) = self.topics.get(name)
            && (topic.kept.len() as u64 > topic.history.publications
                || topic.bytes > topic.history.bytes as u64)
            && self.drop_first(name, publications)?
        {}
        Ok(())
    }

    /// Gives up the oldest publication of a topic. False if there is none.
    fn drop_first(
        &mut self,
        name: &Arc<str>,
        publications: &mut Publications<'_>,
    ) -> Result<bool, StorageError> {
        let Some(topic) = self.topics.get_mut(name) else { return Ok(false) };
        let (first, due) = (topic.first(), topic.due());
        let Some((_, len)) = topic.kept.pop_front() else { return Ok(false) };
        publications.remove((&**name, first))?;
        topic.bytes -= cost(len as usize);
        self.bytes -= cost(len as usize);
        if let Some(due) = due {
            self.due.remove(&(due, Arc::clone(name)));
        }
        if let Some(due) = topic.due() {
            self.due.insert((due, Arc::clone(name)));
        }
        if topic.kept.capacity() > 4 * topic.kept.len() + 16 {
            topic.kept.shrink_to(2 * topic.kept.len());
        }
        Ok(true)
    }

    pub fn forget(
        &mut self,
        name: &Arc<str>,
        publications: &mut Publications<'_>,
    ) -> Result<(), StorageError> {
        while self.drop_first(name, publications)? {}
        if let Some(topic) = self.topics.remove(name) {
            self.latest.remove(&(topic.latest, Arc::clone(name)));
        }
        Ok(())
    }

    pub fn is_due(&self, now: u64) -> bool {
        self.due.first().is_some_and(|(due, _)| *due < now)
    }

    /// Gives up what is too old, and what is too much for all topics together.
    pub fn trim(
        &mut self,
        now: u64,
        publications: &mut Publications<'_>,
    ) -> Result<(), StorageError> {
        while (self.is_due(now) || self.bytes > self.limits.bytes as u64)
            && let Some((_, name)) = self.due.first().cloned()
        {
            self.drop_first(&name, publications)?;
        }
        Ok(())
    }
}
