//! Publishing to topics.

use std::fmt;

use super::{
    Hub,
    log::{Log, piece_bytes},
    messages::parts,
};
use crate::event::{AsMessage, ConnId, Message, Position};

/// What became of a publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// How many connections subscribe to the topic, and are due it.
    pub subscribers: usize,
    /// The place behind the publication; `None` if the topic has neither subscribers nor a history, and so
    /// no positions; or if it belongs to another loop, which numbers it later, and of which only the
    /// subscribers here are known ([`Hub::is_home`]).
    pub position: Option<Position>,
}

impl Published {
    /// Nobody subscribes, and nothing is kept.
    const TO_NOBODY: Self = Self { subscribers: 0, position: None };
}

/// Why [`Hub::publish`] did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// `send_queues_bytes_max` would have been exceeded; the message was dropped and counted.
    ProcessFull,
    /// `topic_unserved_bytes_max` would have been exceeded: more is published than the topic's
    /// subscribers can be given; the message was dropped and counted.
    TopicFull,
    /// The topic would be a new one with a history, and there are `topics_max` already.
    TooManyTopics,
    /// The topic would be a new one with a history, and its name is longer than `topic_name_bytes_max`.
    NameTooLong,
    /// The key is longer than `idempotency_key_bytes_max` ([`Hub::publish_once`]).
    KeyTooLong,
    /// The topic belongs to another loop, for which too much waits already; the message was dropped and
    /// counted.
    LoopFull,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PublishError::ProcessFull => "the process is at `send_queues_bytes_max`",
            PublishError::TopicFull => "the topic is at `topic_unserved_bytes_max`",
            PublishError::TooManyTopics => "the process is at `topics_max`",
            PublishError::NameTooLong => "the topic's name exceeds `topic_name_bytes_max`",
            PublishError::KeyTooLong => "the key exceeds `idempotency_key_bytes_max`",
            PublishError::LoopFull => "too much waits for the loop that the topic belongs to",
        })
    }
}

impl std::error::Error for PublishError {}

impl Hub {
    /// Publishes a message to all subscribers of a topic, and says how many there are, and its place in the
    /// topic. The message is encoded once, and this call costs the same however many subscribe.
    ///
    /// A subscriber gets a topic's messages in the order of their publication, and in order with
    /// what is sent to it directly; two topics have no order between them.
    ///
    /// # Backpressure
    ///
    /// A subscriber lags if its kernel does not take what was published; [`OnLag`](crate::OnLag) says
    /// what becomes of it. If publications come faster than the loop can give them to subscribers that
    /// keep up, they are refused.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub fn publish(
        &mut self,
        topic: &str,
        message: impl AsMessage,
    ) -> Result<Published, PublishError> {
        self.publish_to(topic, message.as_message(), None)
    }

    /// Publishes a message to all subscribers of a topic but one, as a rule its sender, and says how
    /// many there are beside that one. A topic's history has the message for everyone.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub fn publish_except(
        &mut self,
        topic: &str,
        message: impl AsMessage,
        except: ConnId,
    ) -> Result<Published, PublishError> {
        self.publish_to(topic, message.as_message(), Some(except))
    }

    pub(super) fn publish_to(
        &mut self,
        topic: &str,
        message: Message<'_>,
        except: Option<ConnId>,
    ) -> Result<Published, PublishError> {
        if self.is_one_of_several()
            && let Some(elsewhere) = self.publish_elsewhere(topic, None, message, except)
        {
            return elsewhere;
        }
        let Some(topic) = self.topic_to_publish_to(topic)? else {
            return Ok(Published::TO_NOBODY);
        };
        let afar = except.filter(|id| self.is_elsewhere(*id));
        let except = except
            .filter(|id| self.slot(*id).is_some())
            .and_then(|id| Some((id, self.topics.subscription_of(id.index, topic)?.1.position)));
        let entry = self.topics.topic(topic);
        let mut subscribers = entry.subscribers.len() - usize::from(except.is_some());
        if entry.is_mirrored() {
            subscribers += entry.subscribers_elsewhere();
            subscribers -= usize::from(afar.is_some()).min(subscribers);
        }
        let message = parts(message);
        let cost = Log::cost(message.1.len(), except.is_some() || afar.is_some());
        if let Some(refusal) = self.publish_refusal(topic, cost) {
            self.commons.tally.messages_dropped_full.add(1);
            self.topics.remove_unbegun(topic, &mut self.commons);
            return Err(refusal);
        }
        let topics = &mut self.topics;
        let except =
            except.filter(|(_, position)| topics.except_next(topic, *position)).map(|(id, _)| id);
        let except = except.or(afar);
        let clock = self.topics.note_published();
        let entry = &mut self.topics.topics[topic];
        let may_deflate = entry.options.may_deflate();
        let batch_bytes = entry.options.history.map_or(usize::MAX, piece_bytes);
        if let Some(counters) = &entry.counters {
            counters.note_published(message.1.len());
        }
        entry.log.push(message, clock, except, may_deflate, batch_bytes, &mut self.commons);
        let position = Position { epoch: entry.epoch, offset: entry.log.head() };
        self.topics.handle_published(topic);
        self.commons.tally.publications.add(1);
        if self.topics.topic(topic).is_unread() {
            self.topics.remember(topic, &mut self.commons);
        }
        Ok(Published { subscribers, position: Some(position) })
    }

    /// The topic of this name, if somebody is to have what is published there, now or later.
    pub(super) fn topic_to_publish_to(&mut self, name: &str) -> Result<Option<u32>, PublishError> {
        let found = self.topics.find(name);
        if let Some(topic) = found {
            return Ok(found.filter(|_| self.topics.topic(topic).is_live()));
        }
        let config = &self.commons.config;
        if self.topics.options(name, config.topic).history.is_none() {
            return Ok(None);
        }
        if name.len() > config.topic_name_bytes_max {
            return Err(PublishError::NameTooLong);
        }
        if self.topics.places() >= config.topics_max {
            return Err(PublishError::TooManyTopics);
        }
        Ok(Some(self.topics.create(name, config.topic)))
    }

    /// Why a publication of so many bytes is not taken, if it is not.
    fn publish_refusal(&mut self, topic: u32, cost: usize) -> Option<PublishError> {
        let config = &self.commons.config;
        let unserved = self.topics.topic(topic).log.unserved_bytes();
        if unserved.saturating_add(cost) > config.topic_unserved_bytes_max {
            return Some(PublishError::TopicFull);
        }
        let has_room = self.topics.make_room(cost, &mut self.commons);
        (!has_room).then_some(PublishError::ProcessFull)
    }
}
