//! The ways of taking publications in which all connections get the same bytes.
//!
//! Plain frames are what a batch holds. Every other encoding is made from them, and can be made again.

use super::{commons::Commons, deflate::deflate_frame};
use crate::{
    event::{Encoder, EncodingId, Message, Position, Publication},
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
    /// What the application makes: in frames, or as it is in the body of a stream.
    Own(EncodingId),
    /// The same, compressed as plain frames are.
    OwnDeflated(EncodingId),
    /// Events whose ids have the places of all topics of their connection: they are its own, and no batch
    /// has them.
    JointEvents,
}

/// From this length on, in bytes, a message counts as one to be compressed.
pub(super) const DEFLATE_LENGTH: usize = 64;

/// In what form a connection wants publications, whether they are compressed or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Frames,
    Events,
    JointEvents,
    Envelopes,
    Own(EncodingId),
}

impl Form {
    /// How a connection takes it that has agreed on compression, or has not.
    pub(super) fn encoding(self, is_deflated: bool) -> Encoding {
        match self {
            Form::Frames if is_deflated => Encoding::Deflated,
            Form::Frames => Encoding::Plain,
            Form::Own(id) if is_deflated => Encoding::OwnDeflated(id),
            Form::Own(id) => Encoding::Own(id),
            Form::Events => Encoding::Events,
            Form::JointEvents => Encoding::JointEvents,
            Form::Envelopes => Encoding::Envelopes,
        }
    }
}

/// How many encodings a batch may have beside plain frames and those of the application.
pub(super) const CACHES: usize = 3;
/// And how many of the application.
pub(super) const OWN_CACHES: usize = 2 * EncodingId::ENCODINGS_MAX;

/// Where a batch has an encoding.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Cache(usize),
    Own(usize),
}

/// Which topic publications are of, in which of its lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) topic: &'a str,
    pub(crate) epoch: u64,
}

impl Encoding {
    /// Its place among the encodings that are made; `None` for what is there.
    pub(super) fn place(self) -> Option<Place> {
        match self {
            Encoding::Plain | Encoding::JointEvents => None,
            Encoding::Deflated => Some(Place::Cache(0)),
            Encoding::Events => Some(Place::Cache(1)),
            Encoding::Envelopes => Some(Place::Cache(2)),
            Encoding::Own(id) => Some(Place::Own(2 * id.index())),
            Encoding::OwnDeflated(id) => Some(Place::Own(2 * id.index() + 1)),
        }
    }

    pub(super) fn is_deflated(self) -> bool {
        self.uncompressed() != self
    }

    /// The same without compression.
    pub(crate) fn uncompressed(self) -> Self {
        match self {
            Encoding::Deflated => Encoding::Plain,
            Encoding::OwnDeflated(id) => Encoding::Own(id),
            Encoding::Plain
            | Encoding::Own(_)
            | Encoding::Events
            | Encoding::Envelopes
            | Encoding::JointEvents => self,
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
            Encoding::Own(own) => {
                let message = match str::from_utf8(payload) {
                    Ok(text) if opcode == OpCode::Text => Message::Text(text),
                    _ => Message::Binary(payload),
                };
                let publication = Publication { position: id, message };
                encode_own(own, source.topic, publication, out, commons);
            }
            // What is long enough to be compressed is bounded in each batch.
            Encoding::OwnDeflated(own) if payload.len() < DEFLATE_LENGTH => {
                Encoding::Own(own).encode(frame, offset, source, out, commons);
            }
            Encoding::OwnDeflated(own) => {
                let mut made = commons.spare_buffer();
                Encoding::Own(own).encode(frame, offset, source, &mut made, commons);
                deflate_frame(&made, out, commons);
                commons.recycle_buffer(made);
            }
        }
    }
}

/// Appends what the application makes of a publication, in a frame if it is a message.
fn encode_own(
    own: EncodingId,
    topic: &str,
    publication: Publication<'_>,
    out: &mut Vec<u8>,
    commons: &mut Commons,
) {
    let mut payload = commons.spare_buffer();
    let opcode = match commons.encoders.get(own.index()) {
        Some(Encoder::Text(encode)) => {
            // It is empty, and so it is text.
            let mut text = String::from_utf8(payload).unwrap_or_default();
            encode(topic, publication, &mut text);
            payload = text.into_bytes();
            Some(OpCode::Text)
        }
        Some(Encoder::Binary(encode)) => {
            encode(topic, publication, &mut payload);
            Some(OpCode::Binary)
        }
        Some(Encoder::Stream { publication: encode, .. }) => {
            encode(topic, publication, &mut payload);
            None
        }
        None => None,
    };
    match opcode {
        Some(opcode) => encode_message(out, opcode, false, &payload),
        None => out.extend_from_slice(&payload),
    }
    commons.recycle_buffer(payload);
}
