//! Topics that go on where an earlier process left them.

use std::{fmt, time::Duration};

use super::{Hub, PublishError, Published, log::Log, messages::parts, topics::Topic};
use crate::event::{Message, Position};

/// Where a topic may go on: a million publications a second take it no further in a hundred thousand years.
const OFFSETS: u64 = 1 << 63;

/// Why [`Hub::restore_topic`] did not begin a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreError {
    /// The topic lives already.
    Alive,
    /// The topic has no history.
    NoHistory,
    /// There are `topics_max` topics already.
    TooManyTopics,
    /// The name is longer than `topic_name_bytes_max`.
    NameTooLong,
    /// The process would have more history than `history_bytes_max`.
    HistoryFull,
    /// An offset would be 2^63 or more, and what follows might not fit into 64 bits.
    OffsetTooLarge,
    /// The topic belongs to another loop ([`Hub::is_home`]).
    Elsewhere,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RestoreError::Alive => "the topic lives already",
            RestoreError::NoHistory => "the topic has no history",
            RestoreError::TooManyTopics => "the process is at `topics_max`",
            RestoreError::NameTooLong => "the topic's name exceeds `topic_name_bytes_max`",
            RestoreError::HistoryFull => "the process is at `history_bytes_max`",
            RestoreError::OffsetTooLarge => "an offset is 2^63 or more",
            RestoreError::Elsewhere => "the topic belongs to another loop",
        })
    }
}

impl std::error::Error for RestoreError {}

impl Hub {
    /// Begins the life of a topic with what was kept of it elsewhere, so that subscribers of an earlier
    /// process resume: `first` is the place of the first of the `publications`, which come the oldest
    /// first, each with its age. What the topic's [`History`](crate::History) does not keep is given up.
    /// Gives the place behind the last one, where the topic goes on.
    ///
    /// Positions are exact only if all is given that was published in this epoch after `first` and
    /// reached a subscriber: what is written down elsewhere has to be so before it is published here.
    /// [`begin_topic`](Self::begin_topic) tells where that will be.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`]; nothing has changed then.
    pub fn restore_topic(
        &mut self,
        name: &str,
        first: Position,
        publications: &[(Message<'_>, Duration)],
    ) -> Result<Position, RestoreError> {
        self.check_restored(name, first, publications)?;
        let options = self.topics.options(name, self.commons.config.topic);
        let topic = self.topics.topics.insert(name, Topic::new(first.epoch, options));
        self.topics.topics[topic].log.begin_at(first.offset);
        let now = self.commons.now;
        let may_deflate = options.may_deflate();
        for (message, age) in publications {
            let clock = self.topics.note_published();
            let keep = self.topics.keep(topic, &self.commons);
            let log = &mut self.topics.topics[topic].log;
            // It is as old as it was.
            self.commons.now = now.before(*age);
            log.push(parts(*message), clock, None, may_deflate, usize::MAX, &mut self.commons);
            log.seal(&mut self.commons);
            self.commons.now = now;
            log.raise_floor(log.head(), keep, &mut self.commons);
        }
        let entry = &mut self.topics.topics[topic];
        entry.reached = entry.log.head();
        self.topics.note_historic(topic);
        self.topics.bound_history(&mut self.commons);
        let position = self.position_of(topic);
        self.topics.remember(topic, &mut self.commons);
        Ok(position)
    }

    fn check_restored(
        &self,
        name: &str,
        first: Position,
        publications: &[(Message<'_>, Duration)],
    ) -> Result<(), RestoreError> {
        let config = &self.commons.config;
        if !self.is_home(name) {
            return Err(RestoreError::Elsewhere);
        }
        if self.topics.find(name).is_some() {
            return Err(RestoreError::Alive);
        }
        if self.topics.options(name, config.topic).history.is_none() {
            return Err(RestoreError::NoHistory);
        }
        if name.len() > config.topic_name_bytes_max {
            return Err(RestoreError::NameTooLong);
        }
        if self.topics.places() >= config.topics_max {
            return Err(RestoreError::TooManyTopics);
        }
        if first.offset.saturating_add(publications.len() as u64) >= OFFSETS {
            return Err(RestoreError::OffsetTooLarge);
        }
        let bytes: usize =
            publications.iter().map(|(message, _)| Log::kept_cost(parts(*message).1.len())).sum();
        if self.commons.history_bytes.saturating_add(bytes) > config.history_bytes_max {
            return Err(RestoreError::HistoryFull);
        }
        Ok(())
    }

    /// Begins the life of a topic that has a history, if it does not live, and gives the place of its
    /// next publication: for an application that writes down what will be published before it is.
    /// `None` for a topic that has neither subscribers nor a history, or belongs to another loop.
    ///
    /// # Errors
    ///
    /// [`PublishError::TooManyTopics`] and [`PublishError::NameTooLong`].
    pub fn begin_topic(&mut self, name: &str) -> Result<Option<Position>, PublishError> {
        if !self.is_home(name) {
            return Ok(None);
        }
        self.take_changes();
        let Some(topic) = self.topic_to_publish_to(name)? else { return Ok(None) };
        let position = self.position_of(topic);
        if self.topics.topic(topic).is_unread() {
            self.topics.remember(topic, &mut self.commons);
        }
        Ok(Some(position))
    }

    /// Ends the life of a topic that nobody subscribes to: what it has kept is given up, and it has no
    /// positions until it begins anew. False if it has subscribers, or connections that have left it still
    /// read what is due; then nothing has changed.
    pub fn forget_topic(&mut self, name: &str) -> bool {
        let Some(topic) = self.topics.find(name) else { return true };
        let is_over = self.topics.topic(topic).is_unread();
        if is_over {
            self.topics.handle_used(topic);
            self.topics.remove_topic(topic, &mut self.commons);
        }
        is_over
    }

    /// What was answered to a publication under this key, if it is remembered:
    /// [`publish_once`](Self::publish_once) would publish nothing and answer so again.
    pub fn published_under(&mut self, topic: &str, key: &str) -> Option<Published> {
        self.keys.forget_due(self.commons.config.idempotency_memory, self.commons.now);
        self.keys.answer(topic, key)
    }
}
