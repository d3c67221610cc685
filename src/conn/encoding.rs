//! The ways of taking publications in which all connections get the same bytes.
//!
//! Plain frames are what a batch holds. Every other encoding is made from them, and can be made again.

use super::{commons::Commons, deflate::deflate_frame};
use crate::{
    event::Position,
    wire::{OpCode, encode_envelope, encode_event, encode_message, open_frame},
};

/// A way of taking publications in which all connections get the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// WebSocket frames (RFC 6455 §5.2).
    #[default]
    Plain,
    /// Frames of which each is compressed on its own, with the largest window (RFC 7692).
    Deflated,
    /// Events of an event stream (HTML §9.2), each with its place.
    Events,
    /// Frames of JSON objects, each with its topic and place.
    Envelopes,
    /// Events whose ids have the places of all topics of their connection: they are its own, and no batch
    /// has them.
    JointEvents,
}

/// How many encodings a batch may have beside plain frames.
pub(super) const CACHES: usize = 3;

/// Which topic publications are of, in which of its lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) topic: &'a str,
    pub(crate) epoch: u64,
}

impl Encoding {
    /// Its place among the encodings that are made; `None` for what is there.
    pub(super) fn cache(self) -> Option<usize> {
        match self {
            Encoding::Plain | Encoding::JointEvents => None,
            Encoding::Deflated => Some(0),
            Encoding::Events => Some(1),
            Encoding::Envelopes => Some(2),
        }
    }

    /// Appends the publication that is in a plain frame.
    pub(super) fn encode(
        self,
        frame: &[u8],
        offset: u64,
        source: Source<'_>,
        out: &mut Vec<u8>,
        commons: &mut Commons,
    ) {
        let id = Position { epoch: source.epoch, offset: offset + 1 };
        let Some((opcode, payload)) = open_frame(frame) else { return };
        match self {
            Encoding::Plain | Encoding::JointEvents => out.extend_from_slice(frame),
            Encoding::Deflated => deflate_frame(frame, out, commons),
            Encoding::Events => encode_event(out, id, opcode, payload),
            Encoding::Envelopes => {
                let mut object = commons.spare_buffer();
                encode_envelope(&mut object, source.topic, id, opcode, payload);
                encode_message(out, OpCode::Text, false, &object);
                commons.recycle_buffer(object);
            }
        }
    }
}
