//! A publication as the broker has it: `1 t MILLISECONDS PAYLOAD`, text (`t`) or binary (`b`), with when it was
//! made, since 1970. One that is not for a connection is `2 t MILLISECONDS NODE CONNECTION PAYLOAD`. The first number is
//! that of the form: a node that does not know it leaves the publication out.

use pushloop::{Message, Position};

/// A publication, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub is_text: bool,
    /// In milliseconds since 1970.
    pub made_at: u64,
    pub payload: Box<[u8]>,
    /// The connection that it is not for.
    pub except: Option<NodeConn>,
}

/// A connection, by what its node calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeConn {
    pub node: u64,
    pub conn: u64,
}

impl Record {
    pub fn of(message: Message<'_>, made_at: u64) -> Self {
        let (is_text, payload) = match message {
            Message::Text(text) => (true, text.as_bytes()),
            Message::Binary(bytes) => (false, bytes),
        };
        Self { is_text, made_at, payload: payload.into(), except: None }
    }

    pub fn encode(&self) -> Vec<u8> {
        let (kind, made_at) = (if self.is_text { 't' } else { 'b' }, self.made_at);
        let head = match self.except {
            None => format!("1 {kind} {made_at} "),
            Some(NodeConn { node, conn }) => format!("2 {kind} {made_at} {node} {conn} "),
        };
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// `None` for what this server has not written.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = word(bytes)?;
        let (kind, rest) = word(rest)?;
        let (made_at, rest) = word(rest)?;
        let (except, payload) = match form {
            b"1" => (None, rest),
            b"2" => {
                let (node, rest) = word(rest)?;
                let (conn, payload) = word(rest)?;
                (Some(NodeConn { node: number(node)?, conn: number(conn)? }), payload)
            }
            _ => return None,
        };
        let is_text = match kind {
            b"t" => str::from_utf8(payload).is_ok().then_some(true)?,
            b"b" => false,
            _ => return None,
        };
        Some(Self { is_text, made_at: number(made_at)?, payload: payload.into(), except })
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
            let place = Position { epoch: u64::MAX, offset: 7 };
            assert_eq!(decode_news(&news), Some((place, record.clone())));
            let except = Some(NodeConn { node: 7, conn: u64::MAX });
            let record = Record { except, ..record };
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        // As others have it that do not know the second form.
        assert_eq!(Record::of(Message::Text("a"), 5).encode(), b"1 t 5 a");
        let others: [&[u8]; 18] = [
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
            b"3 t 5 y",
            b"2 t 5 6",
            b"2 t 5 6 7",
            b"2 t 5 x 7 y",
            b"2 t 5 6 -7 y",
            b"12 t 5 6 7 y",
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
