//! permessage-deflate on one connection (RFC 7692). By default no connection has a compressor or a
//! window: each message stands alone, and all connections share one compressor and one inflater.

use super::commons::{Commons, wastes_room};
use crate::{
    config::Config,
    wire::{
        Deflater, Inflater, ProtocolError, Request, WINDOW_BITS_MAX, WINDOW_BYTES_MAX,
        encode_message, negotiate, open_frame, parse_extensions,
    },
};

/// How far back our messages refer with context takeover. The compressor has to read it before each
/// message: a longer history costs more time than it saves bytes.
const HISTORY_BYTES: usize = 8 * 1024;

/// What beginning a DEFLATE stream costs, in bytes that might be inflated meanwhile.
const STREAM_COST: usize = 512;

/// What all connections share.
#[derive(Debug, Default)]
pub(super) struct Codec {
    deflater: Deflater,
    inflater: Inflater,
}

/// What one connection agreed on.
#[derive(Debug, Default)]
pub(crate) enum Deflation {
    #[default]
    Off,
    /// Each message is compressed on its own, in both directions.
    Alone {
        window_bits: u8,
    },
    Takeover(Box<Takeover>),
}

/// For context takeover: the ends of what went before.
#[derive(Debug)]
pub(crate) struct Takeover {
    window_bits: u8,
    /// The end of what we sent compressed; `None` if each message is to stand alone.
    sent: Option<Vec<u8>>,
    /// The end of what came compressed; `None` if each message stands alone.
    received: Option<Vec<u8>>,
}

impl Deflation {
    /// Chooses among what the request offers. Gives the extension as it is to be answered, too.
    pub(super) fn negotiate(request: &Request, config: &Config) -> (Deflation, String) {
        let offers = parse_extensions(request.header_all("sec-websocket-extensions"));
        let agreement = config
            .deflate
            .then(|| offers.ok())
            .flatten()
            .and_then(|offers| negotiate(&offers, config.deflate_context_takeover));
        let Some(agreement) = agreement else { return (Deflation::Off, String::new()) };
        let window_bits = agreement.server_window_bits();
        let sent = (!agreement.server_no_context_takeover).then(Vec::new);
        let received = (!agreement.client_no_context_takeover).then(Vec::new);
        let deflation = if sent.is_none() && received.is_none() {
            Deflation::Alone { window_bits }
        } else {
            Deflation::Takeover(Box::new(Takeover { window_bits, sent, received }))
        };
        (deflation, agreement.to_string())
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self, Deflation::Off)
    }

    /// Bytes that a compressed message may have on the wire, if it may have `bytes_max` inflated:
    /// what compresses badly gets longer by an eighth, and by some bytes for each flush.
    pub(crate) fn bytes_max(bytes_max: usize) -> usize {
        bytes_max.saturating_add(bytes_max / 8).saturating_add(8 * 1024)
    }

    fn window_bits(&self) -> Option<u8> {
        match self {
            Deflation::Off => None,
            Deflation::Alone { window_bits } => Some(*window_bits),
            Deflation::Takeover(takeover) => Some(takeover.window_bits),
        }
    }

    /// Whether it takes what a topic compressed for all: with the largest window.
    pub(crate) fn takes_shared(&self) -> bool {
        self.window_bits() == Some(WINDOW_BITS_MAX)
    }

    /// The message compressed, if that makes it shorter.
    pub(super) fn compress(&mut self, payload: &[u8], commons: &mut Commons) -> Option<Vec<u8>> {
        let window_bits = self.window_bits()?;
        if payload.len() < commons.config.deflate_bytes_min {
            return None;
        }
        let mut deflated = commons.spare_buffer();
        let sent = match self {
            Deflation::Takeover(takeover) => takeover.sent.as_mut(),
            Deflation::Off | Deflation::Alone { .. } => None,
        };
        let history = sent.as_deref().map_or(&[][..], |sent| &sent[..]);
        let deflater = &mut commons.codec.deflater;
        if !deflater.compress(payload, history, window_bits, &mut deflated) {
            commons.recycle_buffer(deflated);
            return None;
        }
        if let Some(sent) = sent {
            keep_end(sent, payload, HISTORY_BYTES.min(1 << window_bits));
        }
        commons.tally.messages_deflated.add(1);
        Some(deflated)
    }

    /// Our next message must not refer to an earlier one: something else was sent between, or an
    /// earlier one will not be sent.
    pub(crate) fn forget_sent(&mut self) {
        if let Deflation::Takeover(takeover) = self
            && let Some(sent) = &mut takeover.sent
        {
            sent.clear();
        }
    }

    /// Inflates a whole message; `message` is scratch afterwards. Gives the payload, and what it cost
    /// in bytes: a message of a thousand streams may come to nothing, and yet not for nothing.
    pub(super) fn inflate(
        &mut self,
        message: &mut Vec<u8>,
        commons: &mut Commons,
    ) -> Result<(Vec<u8>, usize), ProtocolError> {
        let received = match self {
            Deflation::Takeover(takeover) => takeover.received.as_mut(),
            Deflation::Off | Deflation::Alone { .. } => None,
        };
        let history = received.as_deref().map_or(&[][..], |received| &received[..]);
        let mut payload = commons.spare_buffer();
        let config = &commons.config;
        let streams = commons.codec.inflater.inflate(
            message,
            history,
            config.message_bytes_max,
            config.message_frames_max,
            &mut payload,
        )?;
        if wastes_room(&payload) {
            // The batch keeps it: thousands of short messages must not take a long buffer each.
            payload.shrink_to_fit();
        }
        if let Some(received) = received {
            keep_end(received, &payload, WINDOW_BYTES_MAX);
        }
        commons.tally.messages_inflated.add(1);
        let cost = payload.len().saturating_add(streams as usize * STREAM_COST);
        Ok((payload, cost))
    }
}

/// Keeps the last `max` bytes of what was there and what is new.
fn keep_end(history: &mut Vec<u8>, new: &[u8], max: usize) {
    let new = &new[new.len().saturating_sub(max)..];
    let excess = (history.len() + new.len()).saturating_sub(max);
    history.drain(..excess);
    let len = history.len() + new.len();
    if len > history.capacity() {
        // By doubling, as a vector grows by itself, but never to more than may be kept.
        let capacity = len.max(2 * history.capacity()).min(max);
        history.reserve_exact(capacity - history.len());
    }
    history.extend_from_slice(new);
}

/// Appends the frame of a message compressed on its own, with the largest window; as it is, if that
/// makes it no shorter.
pub(super) fn deflate_frame(frame: &[u8], out: &mut Vec<u8>, commons: &mut Commons) {
    let mut deflated = commons.spare_buffer();
    if let Some((opcode, payload)) = open_frame(frame)
        && payload.len() >= commons.config.deflate_bytes_min
        && commons.codec.deflater.compress(payload, &[], WINDOW_BITS_MAX, &mut deflated)
    {
        commons.tally.messages_deflated.add(1);
        encode_message(out, opcode, true, &deflated);
    } else {
        out.extend_from_slice(frame);
    }
    commons.recycle_buffer(deflated);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_end_of_a_history_is_kept_and_no_room_beyond_it() {
        let bytes: Vec<u8> = (0..=40).collect();
        for old in 0..=20 {
            for new in 0..=20 {
                for max in 1..=20 {
                    let mut history = Vec::new();
                    keep_end(&mut history, &bytes[..old], max);
                    keep_end(&mut history, &bytes[old..old + new], max);
                    let all = &bytes[..old + new];
                    assert_eq!(history, all[all.len().saturating_sub(max)..]);
                    assert!(history.capacity() <= max);
                }
            }
        }
    }

    #[test]
    fn a_short_message_takes_no_long_buffer() {
        let mut commons = Commons::new(Config::default(), Arc::default());
        commons.recycle_buffer(Vec::with_capacity(500));
        // RFC 7692 §7.2.3.1.
        let mut message = vec![0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        let (payload, _) = Deflation::Off.inflate(&mut message, &mut commons).unwrap();
        assert_eq!(payload, b"Hello");
        assert!(payload.capacity() <= 2 * payload.len() + 64);
    }

    #[test]
    fn what_was_sent_is_kept_for_8_kib() {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let takeover = Takeover { window_bits: 15, sent: Some(Vec::new()), received: None };
        let mut deflation = Deflation::Takeover(Box::new(takeover));
        assert!(deflation.compress(&[7; 20_000], &mut commons).is_some());
        let Deflation::Takeover(takeover) = deflation else { panic!("it is as it was") };
        assert_eq!(takeover.sent, Some(vec![7; 8192]));
    }

    #[test]
    fn a_history_grows_by_doubling() {
        let (mut history, mut moves, max) = (Vec::new(), 0, 1024);
        for byte in 0..4 * max {
            let before = history.capacity();
            let fits = history.len() < before;
            keep_end(&mut history, &[byte as u8], max);
            let moved = history.capacity() != before;
            assert!(!(moved && fits), "it is moved if it has to be");
            moves += usize::from(moved);
        }
        assert_eq!((history.len(), history.capacity()), (max, max));
        assert_eq!(moves, 11, "1, 2, 4, and so on to 1024");
    }
}
