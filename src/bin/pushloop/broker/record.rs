//! A publication as the broker has it: `1 t MILLISECONDS PAYLOAD`, text (`t`) or binary (`b`), with when it was
//! made, since 1970. The first number is that of the form, so that there may be another.

use pushloop::{Message, Position};

/// A publication, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub is_text: bool,
    /// In milliseconds since 1970.
    pub made_at: u64,
    pub payload: Box<[u8]>,
}

impl Record {
    pub fn of(message: Message<'_>, made_at: u64) -> Self {
        let (is_text, payload) = match message {
            Message::Text(text) => (true, text.as_bytes()),
            Message::Binary(bytes) => (false, bytes),
        };
        Self { is_text, made_at, payload: payload.into() }
    }

    pub fn encode(&self) -> Vec<u8> {
        let kind = if self.is_text { 't' } else { 'b' };
        let mut bytes = format!("1 {kind} {} ", self.made_at).into_bytes();
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// `None` for what this server has not written.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (made_at, payload) = word(bytes.strip_prefix(b"1 ")?.get(2..)?)?;
        let is_text = match &bytes[2..4] {
            b"t " => str::from_utf8(payload).is_ok().then_some(true)?,
            b"b " => false,
            _ => return None,
        };
        Some(Self { is_text, made_at: number(made_at)?, payload: payload.into() })
    }

    pub fn message(&self) -> Message<'_> {
        match self.is_text {
            true => Message::Text(str::from_utf8(&self.payload).unwrap_or_default()),
            false => Message::Binary(&self.payload),
        }
    }

    /// What it counts as while it waits, in bytes.
    pub fn cost(&self) -> usize {
        self.payload.len() + 128
    }
}

/// What came on a topic's channel: the place behind a publication, and the publication.
pub fn decode_news(bytes: &[u8]) -> Option<(Position, Record)> {
    let (epoch, rest) = word(bytes)?;
    let (offset, record) = word(rest)?;
    let position = Position { epoch: number(epoch)?, offset: number(offset)? };
    Some((position, Record::decode(record)?))
}

fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// A number of digits alone.
pub fn number(text: &[u8]) -> Option<u64> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is_read() {
        for message in [Message::Text(""), Message::Text("a b é"), Message::Binary(&[0, 255, 32])]
        {
            let record = Record::of(message, 1_700_000_000_123);
            assert_eq!(Record::decode(&record.encode()), Some(record.clone()));
            assert_eq!(record.message(), message);
            let news = [b"18446744073709551615 7 ", &record.encode()[..]].concat();
            assert_eq!(decode_news(&news), Some((Position { epoch: u64::MAX, offset: 7 }, record)));
        }
        let others: [&[u8]; 12] = [
            b"",
            b"1",
            b"1 t",
            b"1 t 5",
            b"1 t x y",
            b"1 t +5 y",
            b"2 t 5 y",
            b"1 x 5 y",
            b"1 t  y",
            b"1 t 5 \xFF",
            b"1 t 18446744073709551616 y",
            b"{\"a\":1}",
        ];
        for other in others {
            assert_eq!(Record::decode(other), None, "{other:?}");
            assert_eq!(decode_news(&[b"1 1 ", other].concat()), None, "{other:?}");
        }
        for other in [&b"-1 7 1 t 5 y"[..], b"7 1 t 5 y", b"x 7 1 t 5 y", b"7  1 t 5 y"] {
            assert_eq!(decode_news(other), None, "{other:?}");
        }
    }
}
