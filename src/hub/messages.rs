//! Messages to connections and topics, subscriptions, closing.

use std::fmt;

use super::Hub;
use crate::{
    config::Overflow,
    conn::State,
    event::{Cause, ConnId, Message},
    wire::{CloseCode, OpCode, Response, encode_frame, encoded_len},
};

/// Why [`Hub::send`] did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is gone, or not open.
    Gone,
    /// `send_queue_bytes_max` would have been exceeded, and the policy was applied: the connection
    /// is being closed with 1013, or this message was dropped and counted.
    Full,
    /// `send_queues_bytes_max` would have been exceeded; the message was dropped and counted.
    ProcessFull,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Gone => "the connection is gone, or not open",
            SendError::Full => "the connection is at `send_queue_bytes_max`",
            SendError::ProcessFull => "the process is at `send_queues_bytes_max`",
        })
    }
}

impl std::error::Error for SendError {}

/// Why [`Hub::publish`] did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// `send_queues_bytes_max` would have been exceeded; the message was dropped and counted.
    ProcessFull,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process is at `send_queues_bytes_max`")
    }
}

impl std::error::Error for PublishError {}

/// Why [`Hub::subscribe`] did not subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The connection is gone, or not open.
    Gone,
    /// The connection has `topics_per_connection_max` topics.
    TooManyTopics,
    /// The name is longer than `topic_name_bytes_max`.
    NameTooLong,
    /// It would be a new topic, and all connections together have `topics_max`.
    ProcessFull,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubscribeError::Gone => "the connection is gone, or not open",
            SubscribeError::TooManyTopics => {
                "the connection has `topics_per_connection_max` topics"
            }
            SubscribeError::NameTooLong => "the topic's name exceeds `topic_name_bytes_max`",
            SubscribeError::ProcessFull => "the process is at `topics_max`",
        })
    }
}

impl std::error::Error for SubscribeError {}

impl Hub {
    /// Queues a message for one connection, behind all that was queued or published to it before.
    ///
    /// # Backpressure
    ///
    /// What the kernel does not take waits here, up to
    /// [`send_queue_bytes_max`](crate::Config::send_queue_bytes_max). Beyond,
    /// [`overflow`](crate::Config::overflow) says what happens; before it closes the connection, messages
    /// of topics that drop theirs are dropped.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send<'m>(
        &mut self,
        id: ConnId,
        message: impl Into<Message<'m>>,
    ) -> Result<(), SendError> {
        self.send_message(id, message.into(), true)
    }

    /// Queues a message as [`send`](Self::send) does, and never compressed: for secrets, whose
    /// length must not tell what they have in common with what the peer chose (RFC 7692 §8).
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed<'m>(
        &mut self,
        id: ConnId,
        message: impl Into<Message<'m>>,
    ) -> Result<(), SendError> {
        self.send_message(id, message.into(), false)
    }

    #[inline]
    fn send_message(
        &mut self,
        id: ConnId,
        message: Message<'_>,
        may_deflate: bool,
    ) -> Result<(), SendError> {
        let (opcode, payload) = parts(message);
        let slot = Self::slot_mut(&mut self.slots, id).ok_or(SendError::Gone)?;
        let connection = &mut slot.connection;
        if !connection.is_open() {
            return Err(SendError::Gone);
        }
        let len = encoded_len(payload.len());
        let config = &self.commons.config;
        if connection.outbox.bytes() + len > config.send_queue_bytes_max
            || self.commons.queued_bytes + len > config.send_queues_bytes_max
        {
            self.make_room(id, len)?;
            return self.send_message(id, message, may_deflate);
        }
        for subscription in slot.topics.as_slice() {
            self.topics.take_so_far(*subscription, connection, &mut self.commons);
        }
        connection.send(opcode, payload, may_deflate, &mut self.commons);
        self.commons.tally.messages_sent.add(1);
        Self::mark_dirty(slot, &mut self.dirty, id);
        Ok(())
    }

    /// A message of `len` bytes would exceed a limit. Where it must not be dropped, others that may are
    /// dropped for it.
    #[cold]
    fn make_room(&mut self, id: ConnId, len: usize) -> Result<(), SendError> {
        let (commons, slots) = (&mut self.commons, &mut self.slots);
        let config = &commons.config;
        if config.overflow == Overflow::Close
            && commons.queued_bytes + len <= config.send_queues_bytes_max
            && let Some(keep_bytes) = config.send_queue_bytes_max.checked_sub(len)
            && let Some(slot) = Self::slot_mut(slots, id)
            && let Some(outbox) = slot.connection.outbox.get_mut()
        {
            let dropped = outbox.drop_newest(keep_bytes, commons);
            commons.tally.messages_dropped_full.add(dropped);
            if outbox.bytes() <= keep_bytes {
                return Ok(());
            }
        }
        Err(self.refuse_message(id, len))
    }

    /// A message of `len` bytes exceeds a limit.
    #[cold]
    fn refuse_message(&mut self, id: ConnId, len: usize) -> SendError {
        let config = &self.commons.config;
        let full = self.queued_bytes(id) + len > config.send_queue_bytes_max;
        let ends = |slot: &super::Slot| matches!(slot.connection.state, State::Ending { .. });
        if full && config.overflow == Overflow::Close && !self.slot(id).is_some_and(ends) {
            self.close_for(id, Cause::Overflow);
        } else {
            self.commons.tally.messages_dropped_full.add(1);
        }
        if full { SendError::Full } else { SendError::ProcessFull }
    }

    /// Publishes a message to all subscribers of a topic, and says how many they are. The message
    /// is encoded once; its cost does not depend on how many subscribe.
    ///
    /// A subscriber gets a topic's messages in the order of their publication, and in order with
    /// what is sent to it directly; two topics have no order between them.
    ///
    /// # Backpressure
    ///
    /// A subscriber for which more than [`send_queue_bytes_max`](crate::Config::send_queue_bytes_max)
    /// waits after a turn's writes is treated by the topic's [`Overflow`] policy.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub fn publish<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<usize, PublishError> {
        let message = message.into();
        let Some(topic) = self.topics.find(topic) else { return Ok(0) };
        self.publish_to(topic, message)
    }

    /// Publishes a message to all subscribers of a topic but one, as a rule its sender, and says
    /// how many they are.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub fn publish_except<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
        except: ConnId,
    ) -> Result<usize, PublishError> {
        let message = message.into();
        let Some(topic) = self.topics.find(topic) else { return Ok(0) };
        let Some(slot) = Self::slot_mut(&mut self.slots, except) else {
            return self.publish_to(topic, message);
        };
        let Some(at) = slot.topics.position_of(topic) else {
            return self.publish_to(topic, message);
        };
        let subscription = slot.topics.as_slice()[at];
        if self.topics.has_news(subscription) {
            self.topics.take_so_far(subscription, &mut slot.connection, &mut self.commons);
            Self::mark_dirty(slot, &mut self.dirty, except);
        }
        let reached = self.publish_to(topic, message)?;
        self.topics.skip_newest(subscription);
        Ok(reached - 1)
    }

    fn publish_to(&mut self, topic: u32, message: Message<'_>) -> Result<usize, PublishError> {
        let subscribers = self.topics.subscribers(topic);
        if subscribers == 0 {
            return Ok(0);
        }
        let (opcode, payload) = parts(message);
        let len = encoded_len(payload.len());
        let commons = &mut self.commons;
        if !self.topics.publish(topic, len, commons, |out| encode_frame(out, opcode, payload)) {
            commons.tally.messages_dropped_full.add(1);
            return Err(PublishError::ProcessFull);
        }
        commons.tally.publications.add(1);
        Ok(subscribers)
    }

    /// Subscribes the connection to a topic: it gets what is published there from now on. A second
    /// time changes nothing.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    pub fn subscribe(&mut self, id: ConnId, topic: &str) -> Result<(), SubscribeError> {
        let slot = Self::slot_mut(&mut self.slots, id).ok_or(SubscribeError::Gone)?;
        if !slot.connection.is_open() {
            return Err(SubscribeError::Gone);
        }
        let config = &self.commons.config;
        if topic.len() > config.topic_name_bytes_max {
            return Err(SubscribeError::NameTooLong);
        }
        let known = self.topics.find(topic);
        if known.is_some_and(|topic| slot.topics.position_of(topic).is_some()) {
            return Ok(());
        }
        if slot.topics.as_slice().len() >= config.topics_per_connection_max {
            return Err(SubscribeError::TooManyTopics);
        }
        if known.is_none() && self.topics.places() >= config.topics_max {
            return Err(SubscribeError::ProcessFull);
        }
        let deflates = slot.connection.deflation.takes_shared();
        self.topics.subscribe(topic, id.index, &mut slot.topics, deflates, config.overflow);
        Ok(())
    }

    /// Ends a subscription; what was published before still arrives. False if there was none.
    pub fn unsubscribe(&mut self, id: ConnId, topic: &str) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        let Some(topic) = self.topics.find(topic) else { return false };
        let Some(at) = slot.topics.position_of(topic) else { return false };
        let subscription = slot.topics.as_slice()[at];
        if self.topics.has_news(subscription) {
            self.topics.take_so_far(subscription, &mut slot.connection, &mut self.commons);
            Self::mark_dirty(slot, &mut self.dirty, id);
        }
        let deflates = slot.connection.deflation.takes_shared();
        if let Some(moved) = self.topics.unsubscribe(&mut slot.topics, at, deflates)
            && let Some(other) = self.slots.get_mut(moved.connection as usize)
        {
            moved.apply(&mut other.topics);
        }
        true
    }

    /// Sets what happens to a topic's subscribers that read too slowly, in place of
    /// [`overflow`](crate::Config::overflow). Remembered for as long as the server lives, subscribers or not.
    pub fn set_topic_overflow(&mut self, topic: &str, overflow: Overflow) {
        self.topics.set_overflow(topic, overflow);
    }

    /// Sets whether a topic's messages may be sent compressed; they may if nothing is said.
    /// Remembered for as long as the server lives, subscribers or not.
    ///
    /// Do not compress what holds a secret beside text that a stranger chose: the length would tell
    /// of what they have in common (RFC 7692 §8).
    #[cfg(feature = "deflate")]
    pub fn set_topic_deflate(&mut self, topic: &str, may_deflate: bool) {
        self.topics.set_deflate(topic, may_deflate);
    }

    /// Begins the closing handshake (RFC 6455 §7.1.2), behind all that is queued: a Close frame
    /// with this code and reason, of which at most 123 bytes are sent. No further message is
    /// delivered, but for those that the batch at hand holds already (and
    /// [`run`](crate::Server::run) passes over these, too); [`Event::Closed`](crate::Event::Closed) comes with the peer's answer, or after
    /// [`close_timeout`](crate::Config::close_timeout).
    ///
    /// A request that still waits for its answer is refused with 503, and is the last of its
    /// connection; [`Event::RequestGone`](crate::Event::RequestGone) tells of it. A connection that is
    /// gone stays so.
    pub fn close(&mut self, id: ConnId, code: CloseCode, reason: &str) {
        let refusal = Response::text(503, "the server closed this connection");
        if !self.answer_in_place(id, &refusal) {
            self.close_open(id, code, reason, Cause::Local { code });
        }
    }

    /// Whether a message of this batch is not to be delivered, because its connection was closed
    /// since; it is counted.
    #[inline]
    pub(crate) fn passes_over(&mut self, id: ConnId) -> bool {
        self.any_closed && self.is_closing(id)
    }

    fn is_closing(&mut self, id: ConnId) -> bool {
        let closing = self.slot(id).is_some_and(|slot| {
            matches!(
                slot.connection.state,
                State::Closing { .. } | State::Ending { closed: true, .. }
            )
        });
        self.commons.tally.messages_after_close.add(closing.into());
        closing
    }

    /// Closes an open connection for a reason of the hub's own.
    pub(super) fn close_for(&mut self, id: ConnId, cause: Cause) {
        let (code, reason) = match cause {
            Cause::Overflow => (CloseCode::TRY_AGAIN_LATER, "too slow: send_queue_bytes_max"),
            Cause::Idle => (CloseCode::GOING_AWAY, "idle_timeout"),
            Cause::Shutdown => (CloseCode::GOING_AWAY, "the server is shutting down"),
            Cause::Peer { .. }
            | Cause::Local { .. }
            | Cause::Protocol(_)
            | Cause::Lost
            | Cause::TimedOut
            | Cause::ProcessFull => return,
        };
        self.close_open(id, code, reason, cause);
    }

    pub(super) fn close_open(&mut self, id: ConnId, code: CloseCode, reason: &str, cause: Cause) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if let State::Ending { closed, .. } = &mut slot.connection.state {
            // Its last words are due anyway.
            *closed |= matches!(cause, Cause::Local { .. });
            self.any_closed |= *closed;
            return;
        }
        if !slot.connection.is_open() {
            return;
        }
        self.leave_topics(id, true);
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        slot.connection.close(code, reason, cause, &mut self.commons);
        self.any_closed = true;
        Self::mark_dirty(slot, &mut self.dirty, id);
        self.arm(id);
    }
}

#[inline]
fn parts(message: Message<'_>) -> (OpCode, &[u8]) {
    match message {
        Message::Text(text) => (OpCode::Text, text.as_bytes()),
        Message::Binary(bytes) => (OpCode::Binary, bytes),
    }
}
