//! How an application writes publications in a form of its own.

use std::{error::Error, fmt};

use super::{Message, Position};
use crate::wire::CloseCode;

/// A publication, and its place in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication<'a> {
    /// The place behind it: a subscriber that has it resumes from there.
    pub position: Position,
    /// What was published.
    pub message: Message<'a>,
}

/// How an application writes publications for the connections that
/// [`Hub::use_encoding`](crate::Hub::use_encoding) names: it appends the payload of the one message that
/// stands for the publication of the topic, or what stands for it in the body of a stream. Nothing appended
/// is an empty message, or nothing in a stream.
///
/// It is a function of the publication and of nothing else, because its bytes are for all connections, and
/// may be dropped and made again. It is called while the loop writes, where no panic is caught.
///
/// ```
/// use pushloop::{Encoder, Publication};
///
/// fn line(topic: &str, publication: Publication<'_>, out: &mut String) {
///     if let Some(text) = publication.message.as_text() {
///         out.push_str(&format!("{topic} {}: {text}", publication.position.offset));
///     }
/// }
///
/// let encoder = Encoder::Text(line);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Encoder {
    /// Its messages are text.
    Text(fn(&str, Publication<'_>, &mut String)),
    /// Its messages are bytes.
    Binary(fn(&str, Publication<'_>, &mut Vec<u8>)),
    /// It is for [event streams](crate::Hub::event_stream): its bytes are in the body as they are.
    Stream {
        /// Appends a publication, with what separates it from the next.
        publication: fn(&str, Publication<'_>, &mut Vec<u8>),
        /// Appends what such a stream ends with when it is closed, for lack of a Close frame: by
        /// [`Hub::close`](crate::Hub::close), because the server ends, or because the peer reads too slowly.
        close: fn(CloseCode, &str, &mut Vec<u8>),
    },
}

/// An encoding of the application, which a hub has got from [`Hub::add_encoding`](crate::Hub::add_encoding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncodingId(pub(crate) Nth);

/// An enum and no number: so what a connection takes is one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Nth {
    First,
    Second,
    Third,
    Fourth,
    Fifth,
    Sixth,
    Seventh,
    Eighth,
}

impl Nth {
    const ALL: [Self; 8] = [
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fourth,
        Self::Fifth,
        Self::Sixth,
        Self::Seventh,
        Self::Eighth,
    ];
}

impl EncodingId {
    /// How many encodings a hub takes at the most: each batch has room for all.
    pub const ENCODINGS_MAX: usize = Nth::ALL.len();

    /// That of a hub which had so many before.
    pub(crate) fn nth(index: usize) -> Option<Self> {
        Nth::ALL.get(index).copied().map(Self)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A hub has as many encodings as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodingsFull;

impl fmt::Display for EncodingsFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a hub has {} encodings at the most (ENCODINGS_MAX)", EncodingId::ENCODINGS_MAX)
    }
}

impl Error for EncodingsFull {}
