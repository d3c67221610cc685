//! A place in what a topic publishes.

use std::{fmt, str::FromStr};

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
