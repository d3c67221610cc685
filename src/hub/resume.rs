//! What a topic has kept, for subscribers that come back, and for the application.

use super::{Hub, PositionError, SubscribeError};
use crate::{
    conn::WorkFlags,
    event::{ConnId, Message, Position, Publication},
    wire::OpCode,
};

/// How a subscription begins that [`Hub::subscribe_after`] or [`Hub::subscribe_last`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// Where the live stream begins: the place behind the topic's latest publication.
    pub position: Position,
    /// How many kept publications come before it; or why those that were asked for cannot be had, and
    /// none comes.
    pub kept: Result<u64, PositionError>,
}

impl Hub {
    /// Subscribes a connection that has been here before: it gets every publication after `position`,
    /// exactly once and in order, and then what is published from now on, with nothing missing or double
    /// in between. If one of them cannot be had any more, it gets none of them, and
    /// [`kept`](Joined::kept) says why; the subscription begins now, at [`position`](Joined::position).
    ///
    /// What was kept comes behind what was sent to the connection before this call. If it is given up
    /// before the connection has taken it, because the connection reads too slowly, the connection is
    /// closed with 1013, whatever the topic's [`OnLag`](crate::OnLag) says: none of it is passed over.
    /// Where compression was agreed on, it comes uncompressed.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    pub fn subscribe_after(
        &mut self,
        id: ConnId,
        topic: &str,
        position: Position,
    ) -> Result<Joined, SubscribeError> {
        self.check_subscription(id, topic)?;
        let kept = match self.live_topic(topic) {
            Some(topic) => self.count_since(topic, position),
            None => Err(PositionError::NoTopic),
        };
        Ok(self.join(id, topic, kept))
    }

    /// Subscribes a connection that begins with the latest `count` publications, or as many as are kept.
    /// It is like [`subscribe_after`](Self::subscribe_after) in all else. With 1 and
    /// [`OnLag::Latest`](crate::OnLag::Latest), the topic is a state of which everybody has the latest
    /// value.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    pub fn subscribe_last(
        &mut self,
        id: ConnId,
        topic: &str,
        count: u64,
    ) -> Result<Joined, SubscribeError> {
        self.check_subscription(id, topic)?;
        let kept = self.history_len(topic).min(count);
        Ok(self.join(id, topic, Ok(kept)))
    }

    /// The subscription is one that may be made. So many publications come first.
    fn join(&mut self, id: ConnId, name: &str, kept: Result<u64, PositionError>) -> Joined {
        let topic = self.topics.subscribe(name, id.index, self.commons.config.topic);
        let position = self.position_of(topic);
        let count = kept.unwrap_or(0);
        if count > 0
            && let Some(slot) = Self::slot_mut(&mut self.slots, id)
        {
            self.topics.add_kept(id, topic, position.offset - count);
            slot.connection.flags.set(WorkFlags::BEHIND);
            if !slot.connection.is_blocked() {
                Self::mark_dirty(slot, &mut self.dirty, id);
            }
        }
        Joined { position, kept }
    }

    /// How many publications of a topic can be had. It is a look-up.
    pub fn history_len(&self, topic: &str) -> u64 {
        self.live_topic(topic).map_or(0, |topic| self.count_kept(topic))
    }

    fn count_kept(&self, topic: u32) -> u64 {
        let topic = self.topics.topic(topic);
        topic.log.head() - topic.log.first_kept(topic.options.history)
    }

    /// The publications of a topic after a position, the oldest first.
    ///
    /// # Errors
    ///
    /// See [`PositionError`].
    pub fn history_after(
        &self,
        topic: &str,
        position: Position,
    ) -> Result<impl Iterator<Item = Publication<'_>>, PositionError> {
        let topic = self.live_topic(topic).ok_or(PositionError::NoTopic)?;
        let count = self.count_since(topic, position)?;
        Ok(self.publications(topic, count))
    }

    /// The latest `count` publications of a topic, or as many as are kept, the oldest first.
    pub fn history_last(&self, topic: &str, count: u64) -> impl Iterator<Item = Publication<'_>> {
        let topic = self.live_topic(topic);
        let latest = |topic| self.publications(topic, self.count_kept(topic).min(count));
        topic.map(latest).into_iter().flatten()
    }

    /// The latest `count` publications, which are kept.
    fn publications(&self, topic: u32, count: u64) -> impl Iterator<Item = Publication<'_>> {
        let topic = self.topics.topic(topic);
        let epoch = topic.epoch;
        topic.log.publications(topic.log.head() - count).filter_map(
            move |(offset, opcode, payload)| {
                let message = match opcode {
                    OpCode::Text => Message::Text(str::from_utf8(payload).ok()?),
                    OpCode::Binary => Message::Binary(payload),
                    OpCode::Continuation | OpCode::Close | OpCode::Ping | OpCode::Pong => {
                        return None;
                    }
                };
                Some(Publication { position: Position { epoch, offset: offset + 1 }, message })
            },
        )
    }

    /// Gives up what a topic has kept. Its position stays: a subscriber that resumes from before is told that it is not
    /// kept. What is already due to a subscriber still comes. False if the topic keeps nothing.
    pub fn clear_history(&mut self, topic: &str) -> bool {
        let Some(topic) = self.topics.find(topic) else { return false };
        let all = self.topics.topic(topic).log.head();
        self.topics.expire_history(topic, all, &mut self.commons) > 0
    }

    /// Gives up what a topic has kept from before a position, as [`clear_history`](Self::clear_history) gives up all of
    /// it, and says how many publications that were. Their memory is given back once nothing that was published close
    /// to them is kept either.
    ///
    /// # Errors
    ///
    /// [`PositionError`], except [`NotKept`](PositionError::NotKept): then there was nothing to give up.
    pub fn expire_history(&mut self, topic: &str, before: Position) -> Result<u64, PositionError> {
        let topic = self.live_topic(topic).ok_or(PositionError::NoTopic)?;
        match self.count_since(topic, before) {
            // What is not kept under these options may be under the next ones.
            Ok(_) | Err(PositionError::NotKept) => {
                Ok(self.topics.expire_history(topic, before.offset, &mut self.commons))
            }
            Err(wrong) => Err(wrong),
        }
    }
}
