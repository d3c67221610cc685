//! Compressed messages (RFC 7692), against peers with codecs of their own: `support/puff.rs`
//! inflates bit by bit from RFC 1951, `support/peer_codec.rs` compresses with one stream for the
//! whole connection. More of them are in `tests/exhaustive/deflate/`.

mod flood;
mod limits;
mod messages;
mod negotiation;
mod takeover;
mod topics;

use crate::support::deflating::{ANSWER, OFFER, noise, offering, opens};
use crate::support::peer_codec::deflate;
use crate::support::{Frame, frame, puff};

/// A compressed text message of one frame; with [`Frame::open`], the first frame of one.
fn text_deflated(payload: impl AsRef<[u8]>) -> Frame {
    frame(0xC1, payload)
}

/// A compressed binary message of one frame; with [`Frame::open`], the first frame of one.
fn binary_deflated(payload: impl AsRef<[u8]>) -> Frame {
    frame(0xC2, payload)
}
