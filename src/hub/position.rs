//! What came after a position. Positions may come from outside, and none is trusted.

use std::fmt;

use super::Hub;
use crate::event::Position;

/// Why it cannot be said, or had, what came after a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PositionError {
    /// The topic has neither subscribers nor a history, and so no positions.
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
            PositionError::NoTopic => "the topic has neither subscribers nor a history",
            PositionError::OtherEpoch => "the position is of another life of the topic",
            PositionError::Future => "the position is ahead of what was published",
            PositionError::NotKept => "what was published after the position is no longer kept",
        })
    }
}

impl std::error::Error for PositionError {}

impl Hub {
    /// The place behind the topic's latest publication; `None` if the topic has no subscribers, and no
    /// history that has begun.
    pub fn position(&self, topic: &str) -> Option<Position> {
        Some(self.position_of(self.live_topic(topic)?))
    }

    pub(super) fn position_of(&self, topic: u32) -> Position {
        let topic = self.topics.topic(topic);
        Position { epoch: topic.epoch, offset: topic.log.head() }
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
        let topic = self.live_topic(topic).ok_or(PositionError::NoTopic)?;
        self.count_since(topic, position)
    }

    /// How many publications of a topic came after a position, if all of them are still kept.
    pub(super) fn count_since(&self, topic: u32, position: Position) -> Result<u64, PositionError> {
        let topic = self.topics.topic(topic);
        let (first, head) = (topic.log.first_kept(topic.options.history), topic.log.head());
        match position {
            Position { epoch, .. } if epoch != topic.epoch => Err(PositionError::OtherEpoch),
            Position { offset, .. } if offset > head => Err(PositionError::Future),
            Position { offset, .. } if offset < first => Err(PositionError::NotKept),
            Position { offset, .. } => Ok(head - offset),
        }
    }

    /// A topic that has positions, and not one that was left and is still read.
    pub(super) fn live_topic(&self, topic: &str) -> Option<u32> {
        let is_known = |topic: &u32| {
            let topic = self.topics.topic(*topic);
            topic.is_live() && !topic.is_opening()
        };
        self.topics.find(topic).filter(is_known)
    }
}
