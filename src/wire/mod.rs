//! RFC 6455 and the part of HTTP/1.1 that carries it, as pure functions and values.
//!
//! What it knows: bytes and what they mean. Frame headers, masking, UTF-8 and close codes (§5, §7,
//! §8.1); a request head, a response and the opening handshake (§4.2, RFC 9112).
//!
//! What it must not know: sockets, clocks, connections, topics, limits of its own. What has to be
//! bounded is bounded by an argument, and whoever passes it decides what to do about the error.
//!
//! Incomplete input is not an error: it is `Ok(None)`. An `Err` means that no further byte could
//! repair what is there. No function here panics on bytes that a peer sent.

mod authority;
pub mod close;
#[cfg(feature = "deflate")]
pub mod deflate;
pub mod extensions;
pub mod forwarded;
pub mod frame;
pub mod host;
pub mod http;
mod json;
pub mod mask;
pub mod proxy;
mod sse;
pub mod upgrade;
pub mod utf8;

pub use close::{CloseCode, ClosePayload, ProtocolError, close_payload, decode_close};
#[cfg(feature = "deflate")]
pub use deflate::{Agreement, Deflater, Inflater, WINDOW_BITS_MAX, negotiate};
#[cfg(feature = "deflate")]
pub use extensions::parse_extensions;
pub use forwarded::client;
pub use frame::{
    Expect, HEADER_LEN_MAX, Header, OpCode, encode_frame, encode_message, encoded_len, frame_len,
    open_frame,
};
pub use host::{host_allowed, is_host};
pub(crate) use http::check_header;
pub use http::{
    BodyKind, ChunkDecoder, ContentError, HeadScanner, HttpError, InvalidHeader, Request, Response,
    percent_decode, write_date,
};
pub use json::encode_string;
pub use mask::unmask;
pub use proxy::proxy_header;
pub use sse::{HEARTBEAT, encode_envelope, encode_event, encode_event_data};
pub use upgrade::{
    Refusal, Upgrade, encode_accept, is_origin, origin_allowed, origin_listed, subprotocols,
    upgrade,
};
pub use utf8::Utf8;
