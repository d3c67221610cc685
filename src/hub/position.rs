//! Positions in what a topic publishes. They may come from outside, and none is trusted.

use std::{fmt, str::FromStr};

use super::Hub;

/// A place in what a topic publishes: how many publications are before it, in which life of the topic.
///
/// A life begins with a random epoch, when a topic gets its first subscriber or, if it has a
/// [`History`](crate::History), its first publication. It ends when the last subscriber has left, unless a
/// connection still reads what is due of the topic when the next one comes; with a history,
/// [`Config::topic_memory`](crate::Config::topic_memory) later.
///
/// As text it is `EPOCH-OFFSET`: 16 hexadecimal digits, a hyphen, and a decimal number.
///
/// ```
/// # use pushloop::Position;
/// let position = Position { epoch: 0xfeed, offset: 42 };
/// assert_eq!(position.to_string(), "000000000000feed-42");
/// assert_eq!("000000000000feed-42".parse(), Ok(position));
/// assert!("feed-42".parse::<Position>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the topic.
    pub epoch: u64,
    /// How many publications are before it.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.offset)
    }
}

/// A text is no [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidPosition;

impl fmt::Display for InvalidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is 16 hexadecimal digits, a hyphen, and a number")
    }
}

impl std::error::Error for InvalidPosition {}

impl FromStr for Position {
    type Err = InvalidPosition;

    /// Reads what [`Display`](fmt::Display) writes, and nothing else: two texts are never one position.
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let read = |text: &str| {
            let (epoch, offset) = text.split_once('-')?;
            let epoch = u64::from_str_radix(epoch, 16).ok()?;
            Some(Self { epoch, offset: offset.parse().ok()? })
        };
        // What is written otherwise, as with a sign, is not what is read.
        read(text).filter(|read| read.to_string() == text).ok_or(InvalidPosition)
    }
}

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
        self.topics.find(topic).filter(|topic| self.topics.topic(*topic).is_live())
    }
}
