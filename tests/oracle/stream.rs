//! What the bytes of a client after its handshake mean (RFC 6455 §5, §7, §8.1).

use super::frames::{Length, Open, Receiver, broken_rule, length};
use super::utf8::is_feasible;
use super::{close, inflate};

/// What a server does with a part of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole text message is delivered.
    Text(Vec<u8>),
    /// A whole binary message is delivered.
    Binary(Vec<u8>),
    /// A Ping is answered with a Pong of the same payload (§5.5.3).
    Ping(Vec<u8>),
}

/// How the stream ends, so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It can go on.
    Open,
    /// With a Close frame: its code and reason, if it had any.
    Close(Option<(u16, Vec<u8>)>),
    /// §7.1.7: the connection is failed, with this code.
    Fail(u16),
}

/// What a server sets for itself (§10.4), and what it agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub message_bytes: u64,
    pub message_frames: u32,
    /// permessage-deflate is spoken.
    pub deflate: bool,
    /// So many bytes of earlier compressed messages may be referred back to (RFC 7692 §7.2.3.2).
    pub window: usize,
}

impl Limits {
    /// Bytes that a message may have on the wire: deflated ones may get longer.
    fn wire_bytes(&self, open: Option<Open>) -> u128 {
        let bytes = u128::from(self.message_bytes);
        if open == Some(Open::Compressed) { bytes + bytes / 8 + 8192 } else { bytes }
    }
}

/// What a server hears in `bytes`. It fails a stream at the first byte that decides it: the second
/// byte of a header, the last of a length or of a header that breaks a limit, the first byte that
/// no text can have, the last of a Close.
pub fn hear(bytes: &[u8], limits: Limits) -> (Vec<Heard>, End) {
    let mut heard = Vec::new();
    // The message that is open, its payload so far and how many frames it has.
    let (mut open, mut message, mut frames) = (None, Vec::new(), 0);
    let mut is_text = false;
    // What a compressed message may refer back to.
    let mut history = Vec::new();
    let mut rest = bytes;
    loop {
        let [first, second, after @ ..] = rest else { return (heard, End::Open) };
        if broken_rule(*first, *second, Receiver { open, deflate: limits.deflate }).is_some() {
            return (heard, End::Fail(1002));
        }
        let (len, size) = match length(*second, after) {
            Length::Unknown => return (heard, End::Open),
            Length::Broken => return (heard, End::Fail(1002)),
            Length::Is(len, size) => (len, size),
        };
        let Some(mask) = after.get(size..size + 4) else { return (heard, End::Open) };
        let after = &after[size + 4..];
        let (fin, opcode) = (*first >= 128, first % 16);
        if opcode == 1 || opcode == 2 {
            is_text = opcode == 1;
            open = Some(match is_text {
                _ if first / 64 % 2 == 1 => Open::Compressed,
                true => Open::Text,
                false => Open::Binary,
            });
            (message, frames) = (Vec::new(), 0);
        }
        if opcode < 8 {
            frames += 1;
            if frames > limits.message_frames {
                return (heard, End::Fail(1008));
            }
            if u128::from(len) + message.len() as u128 > limits.wire_bytes(open) {
                return (heard, End::Fail(1009));
            }
        }
        let there = usize::try_from(len).unwrap_or(usize::MAX).min(after.len());
        // §5.3: octet i of the payload is masked with octet i MOD 4 of the key.
        let payload: Vec<u8> = (0..there).map(|i| after[i] ^ mask[i % 4]).collect();
        if opcode < 8 {
            message.extend_from_slice(&payload);
            if open == Some(Open::Text) && !is_feasible(&message) {
                return (heard, End::Fail(1007));
            }
        }
        if (there as u64) < len {
            return (heard, End::Open);
        }
        rest = &after[there..];
        match opcode {
            8 => return (heard, close::received(&payload).map_or_else(End::Fail, End::Close)),
            9 => heard.push(Heard::Ping(payload)),
            // §5.5.3: a Pong that nobody asked for is not answered.
            10 => {}
            _ if !fin => {}
            _ => {
                if open == Some(Open::Compressed) {
                    let max = usize::try_from(limits.message_bytes).unwrap_or(usize::MAX);
                    message = match inflate::message(&message, &history, max, limits.message_frames)
                    {
                        Ok((message, _)) => message,
                        Err(code) => return (heard, End::Fail(code)),
                    };
                    history.extend_from_slice(&message);
                    history.drain(..history.len().saturating_sub(limits.window));
                }
                // §8.1: a message that ends inside a character is not UTF-8.
                if is_text && std::str::from_utf8(&message).is_err() {
                    return (heard, End::Fail(1007));
                }
                heard.push(if is_text { Heard::Text(message) } else { Heard::Binary(message) });
                (open, message) = (None, Vec::new());
            }
        }
    }
}
