//! `fan` with many publishers: everybody gets the messages of all, mixed in some order.
//!
//! Messages have one length and begin with their publisher, so that each is looked up in a table
//! of what comes next from there, and compared. Each publisher's messages have to come in order to
//! each connection; between publishers there is none.

use pushloop_compare::frame;

use crate::{
    answers::{Answers, Came, Fault, shown},
    messages::{self, Requests},
};

/// The publisher, and the number of the message.
pub const PAYLOAD_MIN: usize = 8;
/// One key for all, so that the publisher can be read from what `raw` sends back.
const MASK: [u8; 4] = [0x5A, 0xC3, 0x96, 0x3C];
/// The table stays in the processor's cache, if it can.
const TABLE_BYTES: usize = 256 * 1024;
/// What comes next is one byte for each connection and publisher.
const MESSAGES_MAX: usize = 256;

/// How many messages a publisher's period has, a power of two.
pub fn period(payload: usize, publishers: usize, in_flight: usize) -> usize {
    let wanted = TABLE_BYTES / (payload + 16) / publishers;
    wanted.max(2 * in_flight).clamp(4, MESSAGES_MAX).next_power_of_two()
}

fn frames(publisher: usize, len: usize, messages: usize, mask: Option<[u8; 4]>) -> Vec<Vec<u8>> {
    // In the order of the bytes, the publisher is first.
    let payload = |number| messages::binary(number << 32 | publisher as u64, len);
    let frame = |number| frame::encode(frame::BINARY, &payload(number), mask);
    (0..messages as u64).map(frame).collect()
}

/// What one publisher sends.
pub fn requests(publisher: usize, payload: usize, messages: usize) -> Requests {
    Requests::new(&frames(publisher, payload, messages, Some(MASK)))
}

#[derive(Debug)]
pub struct Crowd {
    /// By publisher, then by message of the period.
    frames: Box<[u8]>,
    frame_len: usize,
    messages: usize,
    publishers: usize,
    /// By connection, then by publisher: which message of the period comes next.
    next: Box<[u8]>,
    received: Box<[u64]>,
    /// Where a frame has its publisher, and how it is masked there.
    publisher_at: usize,
    publisher_mask: u32,
}

impl Crowd {
    /// `connections` get what as many publish; masked as it was sent, if the server is `raw`.
    pub fn new(connections: usize, payload: usize, messages: usize, raw: bool) -> Self {
        assert!(payload >= PAYLOAD_MIN && messages <= MESSAGES_MAX);
        let mask = raw.then_some(MASK);
        let table: Vec<_> =
            (0..connections).flat_map(|at| frames(at, payload, messages, mask)).collect();
        let frame_len = table[0].len();
        Self {
            frames: table.concat().into(),
            frame_len,
            messages,
            publishers: connections,
            next: vec![0; connections * connections].into(),
            received: vec![0; connections].into(),
            publisher_at: frame_len - payload,
            publisher_mask: mask.map_or(0, u32::from_le_bytes),
        }
    }

    #[inline]
    fn publisher_of(&self, frame: &[u8]) -> Option<usize> {
        let id = frame.get(self.publisher_at..)?.first_chunk()?;
        let id = (u32::from_le_bytes(*id) ^ self.publisher_mask) as usize;
        (id < self.publishers).then_some(id)
    }

    fn expected(&self, publisher: usize, message: usize) -> &[u8] {
        let begin = (publisher * self.messages + message) * self.frame_len;
        &self.frames[begin..begin + self.frame_len]
    }
}

impl Answers for Crowd {
    #[inline]
    fn right(&mut self, at: usize, bytes: &[u8]) -> Came {
        let mut right = Came::default();
        let row = at * self.publishers;
        for came in bytes.chunks_exact(self.frame_len) {
            let Some(publisher) = self.publisher_of(came) else { break };
            let message = usize::from(self.next[row + publisher]);
            if came != self.expected(publisher, message) {
                break;
            }
            self.next[row + publisher] = ((message + 1) & (self.messages - 1)) as u8;
            let own = u64::from(publisher == at);
            right.add(Came { consumed: self.frame_len, messages: 1, own });
        }
        self.received[at] += right.messages;
        right
    }

    fn wrong(&mut self, at: usize, bytes: &[u8]) -> Option<Fault> {
        let came = bytes.get(..self.frame_len)?;
        let message = self.received[at];
        let Some(publisher) = self.publisher_of(came) else {
            let expected = "a message of a known publisher".into();
            return Some(Fault::Wrong { message, expected, came: shown(came) });
        };
        let next = usize::from(self.next[at * self.publishers + publisher]);
        let known = (0..self.messages).find(|number| self.expected(publisher, *number) == came);
        let which = known.map_or(String::new(), |known| format!(", which is its {known}"));
        let of = format!("(in the period of {}) of publisher {publisher}", self.messages);
        let expected = format!("message {next} {of}, {}", shown(self.expected(publisher, next)));
        Some(Fault::Wrong { message, expected, came: format!("{}{which}", shown(came)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::{judge, no_wrong_byte_passes, only_the_right_stream_passes, wrong_at};

    const CONNECTIONS: usize = 3;
    const MESSAGES: usize = 4;

    fn fresh(raw: bool) -> Crowd {
        Crowd::new(CONNECTIONS, 20, MESSAGES, raw)
    }

    fn frame(raw: bool, publisher: usize, number: usize) -> Vec<u8> {
        fresh(raw).expected(publisher, number % MESSAGES).to_vec()
    }

    #[test]
    fn each_publisher_is_right_or_caught() {
        for raw in [false, true] {
            for at in 0..CONNECTIONS {
                let of_one: Vec<_> = (0..7).map(|number| frame(raw, 2, number)).collect();
                only_the_right_stream_passes(|| fresh(raw), at, &of_one);
                no_wrong_byte_passes(|| fresh(raw), at, &of_one[..2]);
            }
        }
    }

    #[test]
    fn publishers_come_in_any_order_and_each_in_its_own() {
        let came = |of: &[(usize, usize)]| {
            let frames: Vec<_> =
                of.iter().map(|(who, number)| frame(false, *who, *number)).collect();
            judge(&mut fresh(false), 1, &frames.concat(), 50)
        };
        for mix in [
            [(0, 0), (1, 0), (2, 0), (1, 1), (0, 1), (1, 2)],
            [(2, 0), (1, 0), (1, 1), (1, 2), (0, 0), (0, 1)],
        ] {
            let (came, _) = came(&mix).unwrap();
            assert_eq!((came.messages, came.own), (6, 3));
        }
        assert!(came(&[(0, 0), (1, 0), (0, 0)]).is_err(), "doubled");
        assert!(came(&[(0, 0), (1, 0), (0, 2)]).is_err(), "missing");
        assert!(came(&[(1, 1), (2, 0), (1, 0)]).is_err(), "swapped");
        let said = came(&[(0, 0), (1, 0), (0, 2)]).unwrap_err().to_string();
        assert!(
            said.starts_with("message 2: expected message 1 (in the period of 4) of publisher 0")
        );
        assert!(said.ends_with("which is its 2"), "{said}");
    }

    #[test]
    fn connections_are_told_apart_and_strangers_refused() {
        let mut crowd = fresh(false);
        for at in 0..CONNECTIONS {
            assert_eq!(judge(&mut crowd, at, &frame(false, 0, 0), 50).unwrap().0.messages, 1);
        }
        let stranger = Crowd::new(CONNECTIONS + 1, 20, MESSAGES, false);
        assert_eq!(wrong_at(fresh(false), 0, stranger.expected(CONNECTIONS, 0), 50), Some(0));
    }
}
