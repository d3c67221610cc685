//! Messages to connections, subscriptions, topics' options, closing.

use std::fmt;

use super::Hub;
use crate::{
    config::{Overflow, TopicOptions},
    conn::{Outbox, State, WorkFlags},
    event::{AsMessage, Cause, ConnId, Message},
    wire::{CloseCode, OpCode, Response, encoded_len},
};

/// Why [`Hub::send`] did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is gone, or not open.
    Gone,
    /// The message would have exceeded `send_queue_bytes_max`, and the connection is being closed with
    /// 1013 ([`Overflow::Close`]).
    Closing,
    /// The message would have exceeded `send_queue_bytes_max`; it was dropped and counted
    /// ([`Overflow::DropNewest`], or the connection is at its end).
    Full,
    /// `send_queues_bytes_max` would have been exceeded; the message was dropped and counted.
    ProcessFull,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Gone => "the connection is gone, or not open",
            SendError::Closing => "the connection is closed for `send_queue_bytes_max`",
            SendError::Full => "the connection is at `send_queue_bytes_max`",
            SendError::ProcessFull => "the process is at `send_queues_bytes_max`",
        })
    }
}

impl std::error::Error for SendError {}

/// Why [`Hub::subscribe`] did not subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The connection is gone, or neither an open WebSocket nor an event stream.
    Gone,
    /// The connection has `topics_per_connection_max` topics; or it has left more than so many while it
    /// was behind, and still reads what is due of them.
    TooManyTopics,
    /// The name is longer than `topic_name_bytes_max`.
    NameTooLong,
    /// It would be a new topic, and there are `topics_max` already.
    ProcessFull,
    /// The connection subscribes already, and so does not begin anew with what is kept.
    Subscribed,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubscribeError::Gone => "the connection is gone, or takes no publications",
            SubscribeError::TooManyTopics => {
                "the connection has `topics_per_connection_max` topics"
            }
            SubscribeError::NameTooLong => "the topic's name exceeds `topic_name_bytes_max`",
            SubscribeError::ProcessFull => "the process is at `topics_max`",
            SubscribeError::Subscribed => "the connection subscribes already",
        })
    }
}

impl std::error::Error for SubscribeError {}

/// Why [`Hub::configure_topic`] or [`Hub::configure_topics`] did not set options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The name is longer than `topic_name_bytes_max`.
    NameTooLong,
    /// `topics_configured_max` topics have options of their own.
    TooManyTopics,
    /// There would be more prefixes than `topic_prefixes_max`.
    TooManyPrefixes,
}

impl fmt::Display for ConfigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfigureError::NameTooLong => "the topic's name exceeds `topic_name_bytes_max`",
            ConfigureError::TooManyTopics => "`topics_configured_max` topics have options",
            ConfigureError::TooManyPrefixes => "there are more prefixes than `topic_prefixes_max`",
        })
    }
}

impl std::error::Error for ConfigureError {}

impl Hub {
    /// Queues a message for one connection, behind all that was sent or published to it before.
    ///
    /// # Backpressure
    ///
    /// What the kernel does not take waits here, up to
    /// [`send_queue_bytes_max`](crate::Config::send_queue_bytes_max). Beyond,
    /// [`overflow`](crate::Config::overflow) says what happens.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send(&mut self, id: ConnId, message: impl AsMessage) -> Result<(), SendError> {
        self.send_message(id, message.as_message(), true)
    }

    /// Queues a message as [`send`](Self::send) does, and never compresses it. This is for secrets: a
    /// compressed length would tell what a secret has in common with text that the peer chose (RFC 7692
    /// §8).
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(
        &mut self,
        id: ConnId,
        message: impl AsMessage,
    ) -> Result<(), SendError> {
        self.send_message(id, message.as_message(), false)
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
        let is_ordered =
            connection.flags.has(WorkFlags::BEHIND) || self.topics.may_have_news(id.index);
        let mark = if is_ordered { Outbox::MARK_BYTES } else { 0 };
        let len = encoded_len(payload.len()) + mark;
        let config = &self.commons.config;
        if connection.outbox.direct_bytes() + len > config.send_queue_bytes_max {
            return Err(self.refuse_message(id, len));
        }
        if !self.topics.make_room(len, &mut self.commons) {
            return Err(self.refuse_message(id, len));
        }
        if is_ordered {
            connection.order_behind(self.topics.moment(), &mut self.commons);
        }
        connection.send(opcode, payload, may_deflate, &mut self.commons);
        self.commons.tally.messages_sent.add(1);
        Self::mark_dirty(slot, &mut self.dirty, id);
        Ok(())
    }

    /// A message of `len` bytes exceeds a limit.
    #[cold]
    fn refuse_message(&mut self, id: ConnId, len: usize) -> SendError {
        let config = &self.commons.config;
        let direct = self.slot(id).map_or(0, |slot| slot.connection.outbox.direct_bytes());
        let full = direct + len > config.send_queue_bytes_max;
        let ends = |slot: &super::Slot| matches!(slot.connection.state, State::Ending { .. });
        if full && config.overflow == Overflow::Close && !self.slot(id).is_some_and(ends) {
            self.close_slow(id, "send_queue_bytes_max");
            return SendError::Closing;
        }
        self.commons.tally.messages_dropped_full.add(1);
        if full { SendError::Full } else { SendError::ProcessFull }
    }

    /// Subscribes the connection to a topic: it gets what is published there from now on. If it
    /// subscribes already, nothing changes. What was published before can be had first, where the topic
    /// keeps it: [`subscribe_after`](Self::subscribe_after), [`subscribe_last`](Self::subscribe_last).
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    pub fn subscribe(&mut self, id: ConnId, topic: &str) -> Result<(), SubscribeError> {
        match self.check_subscription(id, topic) {
            Ok(()) => {
                self.topics.subscribe(topic, id.index, self.commons.config.topic);
                Ok(())
            }
            Err(SubscribeError::Subscribed) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// Whether the connection may subscribe to a topic.
    pub(super) fn check_subscription(
        &mut self,
        id: ConnId,
        topic: &str,
    ) -> Result<(), SubscribeError> {
        if !self.slot(id).is_some_and(|slot| slot.connection.takes_publications()) {
            return Err(SubscribeError::Gone);
        }
        let config = &self.commons.config;
        if topic.len() > config.topic_name_bytes_max {
            return Err(SubscribeError::NameTooLong);
        }
        let known = self.topics.find(topic);
        if known.is_some_and(|topic| self.topics.subscription_of(id.index, topic).is_some()) {
            return Err(SubscribeError::Subscribed);
        }
        let list = self.topics.list(id.index);
        let max = config.topics_per_connection_max;
        if list.as_slice().len() >= max || list.leaving().len() > max {
            return Err(SubscribeError::TooManyTopics);
        }
        if known.is_none() && self.topics.places() >= config.topics_max {
            return Err(SubscribeError::ProcessFull);
        }
        Ok(())
    }

    /// Ends a subscription. What was published before still arrives, as far as the topic keeps it. False
    /// if there was none.
    pub fn unsubscribe(&mut self, id: ConnId, topic: &str) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        let Some(topic) = self.topics.find(topic) else { return false };
        let Some((at, _)) = self.topics.subscription_of(id.index, topic) else { return false };
        let is_blocked = slot.connection.is_blocked();
        if self.topics.unsubscribe(id, at, true, is_blocked, &mut self.commons) {
            slot.connection.flags.set(WorkFlags::BEHIND);
            if !is_blocked {
                Self::mark_dirty(slot, &mut self.dirty, id);
            }
        }
        true
    }

    /// Sets a topic's options, in place of [`Config::topic`](crate::Config::topic). They are kept,
    /// whether the topic has subscribers or not, until
    /// [`forget_topic_options`](Self::forget_topic_options). `deflate` is that of each publication when
    /// it was made; `on_lag` is the policy when a subscriber reads again.
    ///
    /// # Errors
    ///
    /// See [`ConfigureError`].
    pub fn configure_topic(
        &mut self,
        topic: &str,
        options: TopicOptions,
    ) -> Result<(), ConfigureError> {
        let config = &self.commons.config;
        if topic.len() > config.topic_name_bytes_max {
            return Err(ConfigureError::NameTooLong);
        }
        let max = config.topics_configured_max;
        let default = config.topic;
        if !self.topics.configure(topic, Some(options), default, max, &mut self.commons) {
            return Err(ConfigureError::TooManyTopics);
        }
        Ok(())
    }

    /// Sets the options of topics that begin from now on and have none of their own: those that come
    /// with the longest prefix of a topic's name, and `others` for a topic that has none of the
    /// prefixes, in place of [`Config::topic`](crate::Config::topic). All prefixes of an earlier call are
    /// replaced. A topic that lives keeps the options that it has.
    ///
    /// # Errors
    ///
    /// See [`ConfigureError`]; nothing has changed then.
    pub fn configure_topics(
        &mut self,
        others: TopicOptions,
        prefixes: Vec<(String, TopicOptions)>,
    ) -> Result<(), ConfigureError> {
        let config = &mut self.commons.config;
        if prefixes.len() > config.topic_prefixes_max {
            return Err(ConfigureError::TooManyPrefixes);
        }
        if prefixes.iter().any(|(prefix, _)| prefix.len() > config.topic_name_bytes_max) {
            return Err(ConfigureError::NameTooLong);
        }
        config.topic = others;
        self.topics.set_prefixes(prefixes, &self.commons.tally.prefixes);
        Ok(())
    }

    /// Gives a topic the options again that it would have without
    /// [`configure_topic`](Self::configure_topic).
    pub fn forget_topic_options(&mut self, topic: &str) {
        let default = self.commons.config.topic;
        self.topics.configure(topic, None, default, 0, &mut self.commons);
    }

    /// The options that a topic has, or would have with a first subscriber.
    pub fn topic_options(&self, topic: &str) -> TopicOptions {
        match self.topics.find(topic) {
            Some(topic) => self.topics.topic(topic).options,
            None => self.topics.options(topic, self.commons.config.topic),
        }
    }

    /// Begins the closing handshake (RFC 6455 §7.1.2), behind all that is queued or published: a Close
    /// frame with this code and reason, of which at most 123 bytes are sent. The connection leaves its
    /// topics. No further message of it is delivered, except that the batch at hand may hold some, which
    /// [`run`](crate::Server::run) leaves out. [`Event::Closed`](crate::Event::Closed) comes with the
    /// peer's answer, or after [`close_timeout`](crate::Config::close_timeout).
    ///
    /// A request that still waits for its answer is refused with 503, and is the last of its connection;
    /// [`Event::RequestGone`](crate::Event::RequestGone) tells of it. A [stream](Self::stream) is
    /// finished; one in a form of the application's ends with what that has in place of a Close frame
    /// ([`Encoder::Stream`](crate::Encoder::Stream)). For a connection that is gone, nothing happens.
    pub fn close(&mut self, id: ConnId, code: CloseCode, reason: &str) {
        let refusal = Response::text(503, "the server closed this connection");
        if !self.answer_in_place(id, &refusal) {
            self.close_open(id, code, reason, Cause::Local { code });
        }
    }

    /// Drops the connection, with all that waits for it: no Close frame is sent, no answer given, and
    /// nothing more of it is delivered, as with [`close`](Self::close). [`Event::Closed`] comes with
    /// [`Reason::Aborted`] if it was open, [`Event::RequestGone`] if a request waited. For a connection
    /// that is gone, nothing happens.
    ///
    /// [`Event::Closed`]: crate::Event::Closed
    /// [`Event::RequestGone`]: crate::Event::RequestGone
    /// [`Reason::Aborted`]: crate::Reason::Aborted
    pub fn abort(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        self.any_closed = true;
        let told = &mut self.told_next;
        let outcome = slot.connection.handle_lost(id, Cause::Aborted, told, &mut self.commons);
        slot.connection.state = State::Closed { aborted: true };
        self.act_on(id, outcome);
    }

    /// Whether a message of this batch is not to be delivered, because its connection was closed since.
    /// It is counted then.
    #[inline]
    pub(crate) fn is_discarded(&mut self, id: ConnId) -> bool {
        self.any_closed && self.is_closing(id)
    }

    fn is_closing(&mut self, id: ConnId) -> bool {
        let closing = self.slot(id).is_some_and(|slot| match slot.connection.state {
            State::Closing { .. }
            | State::Ending { closed: true, .. }
            | State::Closed { aborted: true } => true,
            State::Handshake { .. }
            | State::Deciding { .. }
            | State::Responding { .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Open { .. }
            | State::Ending { closed: false, .. }
            | State::Draining { .. }
            | State::Closed { aborted: false } => false,
        });
        self.commons.tally.messages_after_close.add(closing.into());
        closing
    }

    /// Closes an open connection because it is idle, or because the server ends.
    pub(super) fn close_for(&mut self, id: ConnId, cause: Cause) {
        let (code, reason) = match cause {
            Cause::Idle => (CloseCode::GOING_AWAY, "idle_timeout"),
            Cause::Shutdown => (CloseCode::GOING_AWAY, "the server is shutting down"),
            Cause::Peer { .. }
            | Cause::Local { .. }
            | Cause::Aborted
            | Cause::Protocol(_)
            | Cause::Lost
            | Cause::TimedOut
            | Cause::Overflow
            | Cause::ProcessFull => return,
        };
        self.close_open(id, code, reason, cause);
    }

    /// Closes an open connection because its peer reads too slowly; the Close frame names the limit.
    pub(super) fn close_slow(&mut self, id: ConnId, limit: &str) {
        let reason = format!("too slow: {limit}");
        self.close_open(id, CloseCode::TRY_AGAIN_LATER, &reason, Cause::Overflow);
    }

    pub(super) fn close_open(&mut self, id: ConnId, code: CloseCode, reason: &str, cause: Cause) {
        let is_stream = matches!(cause, Cause::Local { .. }) || self.is_event_stream(id);
        if is_stream && self.end_stream(id, cause, Some((code, reason))) {
            return;
        }
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
        let code = self.close_code(id, code, cause);
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        slot.connection.close(code, reason, cause, &mut self.commons);
        self.any_closed = true;
        Self::mark_dirty(slot, &mut self.dirty, id);
        self.arm(id);
    }
}

#[inline]
pub(super) fn parts(message: Message<'_>) -> (OpCode, &[u8]) {
    match message {
        Message::Text(text) => (OpCode::Text, text.as_bytes()),
        Message::Binary(bytes) => (OpCode::Binary, bytes),
    }
}
