//! The protocol of Centrifugo's clients: what they ask for, what they are told, and the bytes of both, in JSON
//! and in Protobuf.
//!
//! It knows values and bytes. It must not know connections, topics' options, tokens or time: what is done with a
//! command is `service/centrifuging.rs`'s. Each message's fields are written once, with their names and numbers,
//! against `fields.rs`, for both encodings.

pub mod api;
pub mod codes;
pub mod commands;
mod fields;
mod json;
mod protobuf;
pub mod pushes;
pub mod replies;
pub mod transports;

/// How commands and replies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Protobuf,
}

impl Format {
    /// The subprotocol that a client may offer for it.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "centrifuge-json",
            Self::Protobuf => "centrifuge-protobuf",
        }
    }
}
