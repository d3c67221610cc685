//! permessage-deflate on one connection (RFC 7692). No connection has a compressor: all share one
//! compressor and one inflater, and a connection keeps the bytes that its next message may refer back
//! to, from its first compressed message on.

use super::commons::{Commons, wastes_room};
use crate::wire::{
    Agreement, Deflater, Inflater, ProtocolError, Request, WINDOW_BITS_MAX, encode_message,
    negotiate, open_frame, parse_extensions,
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
    On {
        agreement: Agreement,
        /// Made when there is something to keep.
        windows: Option<Box<Windows>>,
    },
}

/// For messages that refer back: the ends of what went before.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// The end of what we sent compressed.
    sent: Vec<u8>,
    /// The end of what came compressed. Its room counts as `Commons::window_bytes`.
    received: Vec<u8>,
}

impl Deflation {
    /// Chooses among what the request offers. Gives the extension as it is to be answered, too.
    /// Where windows are scarce, no further client is to need one.
    pub(super) fn negotiate(request: &Request, commons: &Commons) -> (Deflation, String) {
        let config = &commons.config;
        let is_scarce = commons.window_bytes > config.deflate_windows_bytes_max / 5 * 4;
        let offers = parse_extensions(request.header_all("sec-websocket-extensions"));
        let agreement = config
            .deflate
            .then(|| offers.ok())
            .flatten()
            .and_then(|offers| negotiate(&offers, config.deflate_client_window_bits))
            .filter(|agreement| !is_scarce || agreement.client_window_bytes() == 0);
        let Some(agreement) = agreement else { return (Deflation::Off, String::new()) };
        (Deflation::On { agreement, windows: None }, agreement.to_string())
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
            Deflation::On { agreement, .. } => Some(agreement.server_window_bits()),
        }
    }

    fn windows(&self) -> Option<&Windows> {
        match self {
            Deflation::Off => None,
            Deflation::On { windows, .. } => windows.as_deref(),
        }
    }

    /// Bytes that are kept because the peer's next message may refer back to them.
    pub(crate) fn window_bytes(&self) -> usize {
        self.windows().map_or(0, |windows| windows.received.capacity())
    }

    /// What is to be given up of all that is kept so: what is beyond four fifths of
    /// `deflate_windows_bytes_max`, if there is more than that.
    pub(crate) fn excess(commons: &Commons) -> usize {
        let max = commons.config.deflate_windows_bytes_max;
        if commons.window_bytes > max { commons.window_bytes - max / 5 * 4 } else { 0 }
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
        let history = self.windows().map_or(&[][..], |windows| &windows.sent);
        let deflater = &mut commons.codec.deflater;
        if !deflater.compress(payload, history, window_bits, &mut deflated) {
            commons.recycle_buffer(deflated);
            return None;
        }
        if let Deflation::On { agreement, windows } = self
            && commons.config.deflate_context_takeover
            && !agreement.server_no_context_takeover
        {
            let sent = &mut windows.get_or_insert_default().sent;
            keep_end(sent, payload, HISTORY_BYTES.min(1 << window_bits));
        }
        commons.tally.messages_deflated.add(1);
        Some(deflated)
    }

    /// Our next message must not refer to an earlier one: something else was sent between, or an
    /// earlier one will not be sent.
    pub(crate) fn forget_sent(&mut self) {
        if let Deflation::On { windows: Some(windows), .. } = self {
            windows.sent.clear();
        }
    }

    /// No further message is inflated.
    pub(super) fn forget_received(&mut self, commons: &mut Commons) {
        commons.window_bytes -= self.window_bytes();
        if let Deflation::On { windows: Some(windows), .. } = self {
            windows.received = Vec::new();
        }
    }

    /// Inflates a whole message; `message` is scratch afterwards. Gives the payload, and what it cost
    /// in bytes: a message of a thousand streams may come to nothing, and yet not for nothing.
    pub(super) fn inflate(
        &mut self,
        message: &mut Vec<u8>,
        commons: &mut Commons,
    ) -> Result<(Vec<u8>, usize), ProtocolError> {
        let history = self.windows().map_or(&[][..], |windows| &windows.received);
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
        if let Deflation::On { agreement, windows } = self
            && !agreement.client_no_context_takeover
        {
            let received = &mut windows.get_or_insert_default().received;
            let before = received.capacity();
            keep_end(received, &payload, agreement.client_window_bytes());
            commons.window_bytes += received.capacity() - before;
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
    use crate::config::Config;

    /// Messages in both directions may refer back, those of the peer by 4 KiB.
    fn agreed() -> Deflation {
        let agreement = Agreement {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: None,
            client_max_window_bits: Some(12),
        };
        Deflation::On { agreement, windows: None }
    }

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
        commons.config.deflate_context_takeover = true;
        let mut deflation = agreed();
        assert!(deflation.compress(&[7; 20_000], &mut commons).is_some());
        assert_eq!(deflation.windows().unwrap().sent, vec![7; 8192]);
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
