//! Positions in what a topic publishes. They may come from outside, and none is trusted.

use std::fmt;

use super::Hub;

/// A place in what a topic publishes: how many publications are before it, in which life of the topic.
///
/// A life begins when a topic gets its first subscriber, with a random epoch. It ends when the last one
/// has left, unless a connection still reads what is due of the topic when the next subscriber comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the topic.
    pub epoch: u64,
    /// How many publications are before it.
    pub offset: u64,
}

/// Why [`Hub::published_since`] cannot say what came after a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PositionError {
    /// The topic has no subscribers, and so no positions.
    NoTopic,
    /// The position is of another life of the topic.
    OtherEpoch,
    /// The position is ahead of what was published.
    Future,
    /// Some of what was published after it is no longer kept.
    NotKept,
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PositionError::NoTopic => "the topic has no subscribers",
            PositionError::OtherEpoch => "the position is of another life of the topic",
            PositionError::Future => "the position is ahead of what was published",
            PositionError::NotKept => "what was published after the position is no longer kept",
        })
    }
}

impl std::error::Error for PositionError {}

impl Hub {
    /// The place behind the topic's latest publication; `None` if the topic has no subscribers.
    pub fn position(&self, topic: &str) -> Option<Position> {
        let topic = self.topics.topic(self.subscribed_topic(topic)?);
        Some(Position { epoch: topic.epoch, offset: topic.log.head() })
    }

    /// For a world whose random numbers are its own: positions are the same in every run.
    #[cfg(feature = "testing")]
    pub(crate) fn draw_epochs_from(&mut self, seed: u64) {
        self.topics.draw_epochs_from(seed);
    }

    /// How many publications of a topic came after a position, if all of them are still kept.
    ///
    /// # Errors
    ///
    /// See [`PositionError`].
    pub fn published_since(&self, topic: &str, position: Position) -> Result<u64, PositionError> {
        let topic = self.subscribed_topic(topic).ok_or(PositionError::NoTopic)?;
        let topic = self.topics.topic(topic);
        let (start, head) = (topic.log.start(), topic.log.head());
        match position {
            Position { epoch, .. } if epoch != topic.epoch => Err(PositionError::OtherEpoch),
            Position { offset, .. } if offset > head => Err(PositionError::Future),
            Position { offset, .. } if offset < start => Err(PositionError::NotKept),
            Position { offset, .. } => Ok(head - offset),
        }
    }

    /// A topic that has subscribers, and not one that was left and is still read.
    fn subscribed_topic(&self, topic: &str) -> Option<u32> {
        self.topics.find(topic).filter(|topic| self.topics.subscribers(*topic) > 0)
    }
}
