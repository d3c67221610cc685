//! What is expected, and whether it is what came.
//!
//! [`Answers`] is asked about whatever was read from a connection. [`Periodic`] answers for streams
//! that are known byte by byte: one comparison for each read, and a division to count. `Crowd` and
//! `Inflated`, in files of their own, go frame by frame.

use std::{fmt, mem};

use pushloop_compare::frame::{self, Control};

use crate::messages::{self, Requests};

/// How many bytes of a message a complaint shows.
const SHOWN_BYTES: usize = 40;

/// What a read brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// Bytes that were understood; those behind them are shown again, with more.
    pub consumed: usize,
    /// Messages that are complete now, and right.
    pub messages: u64,
    /// Those of them that this connection sent itself, where others send, too.
    pub own: u64,
}

impl Came {
    pub fn add(&mut self, more: Came) {
        self.consumed += more.consumed;
        self.messages += more.messages;
        self.own += more.own;
    }
}

/// Why what came is wrong. The connection is not looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Wrong {
        /// Counted from the connection's first.
        message: u64,
        expected: String,
        came: String,
    },
    Closed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Wrong { message, expected, came } => {
                write!(f, "message {message}: expected {expected}, came {came}")
            }
            Fault::Closed(why) => write!(f, "the server closed: {why}"),
        }
    }
}

pub trait Answers {
    /// Goes over what came on connection `at` for as long as it is right.
    fn right(&mut self, at: usize, bytes: &[u8]) -> Came;

    /// Whether a message would begin now, so that a control frame may.
    fn is_between(&self, _: usize) -> bool {
        true
    }

    /// What is wrong with bytes that are not right; `None` if more of them are needed to tell.
    fn wrong(&mut self, at: usize, bytes: &[u8]) -> Option<Fault>;

    /// How many messages came compressed, if they may have.
    fn compressed(&self) -> Option<u64> {
        None
    }

    /// Judges what came on connection `at`: bytes that it did not consume before, and new ones.
    /// Answers to Pings are appended to `pongs`.
    fn judge(&mut self, at: usize, bytes: &[u8], pongs: &mut Vec<u8>) -> Result<Came, Fault> {
        let mut came = Came::default();
        loop {
            came.add(self.right(at, &bytes[came.consumed..]));
            let rest = &bytes[came.consumed..];
            if rest.is_empty() {
                return Ok(came);
            }
            let between = self.is_between(at);
            match if between { frame::control(rest, pongs) } else { Control::None } {
                Control::Passed(len) => came.consumed += len,
                Control::Closed(why) => return Err(Fault::Closed(why)),
                Control::Partial => return Ok(came),
                Control::None => return self.wrong(at, rest).map_or(Ok(came), Err),
            }
        }
    }
}

/// The beginning of some bytes, to show.
pub fn shown(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN_BYTES { hex + "…" } else { hex }
}

/// Streams of which each byte is known: a period of frames of one length, again and again.
#[derive(Debug)]
pub struct Periodic {
    period: Box<[u8]>,
    frame_len: usize,
    streams: Vec<Stream>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    /// The message of the period that came first.
    phase: usize,
    /// In the endless stream of the period: the place, and the messages before it.
    position: usize,
    messages: usize,
}

impl Periodic {
    /// What comes back for `requests`: the very bytes if the server is `raw`, else the same
    /// messages, not masked. `phases` are the messages that the connections begin with.
    pub fn new(raw: bool, payload: usize, requests: &Requests, phases: &[usize]) -> Self {
        let messages = requests.messages();
        let unmasked =
            |number| frame::encode(frame::BINARY, &messages::binary(number, payload), None);
        let period = if raw {
            requests.period().to_vec()
        } else {
            (0..messages as u64).flat_map(unmasked).collect()
        };
        let frame_len = period.len() / messages;
        assert_eq!(period.len(), frame_len * messages, "frames have one length");
        let stream =
            |&phase: &usize| Stream { phase, position: phase * frame_len, messages: phase };
        Self { period: period.into(), frame_len, streams: phases.iter().map(stream).collect() }
    }
}

impl Answers for Periodic {
    #[inline]
    fn right(&mut self, at: usize, bytes: &[u8]) -> Came {
        let stream = &mut self.streams[at];
        let mut done = 0;
        while done < bytes.len() {
            let inside = stream.position % self.period.len();
            let len = (bytes.len() - done).min(self.period.len() - inside);
            let expected = &self.period[inside..inside + len];
            let came = &bytes[done..done + len];
            let same = if expected == came {
                len
            } else {
                expected.iter().zip(came).take_while(|(expected, came)| expected == came).count()
            };
            stream.position += same;
            done += same;
            if same < len {
                break;
            }
        }
        let before = mem::replace(&mut stream.messages, stream.position / self.frame_len);
        let messages = (stream.messages - before) as u64;
        Came { consumed: done, messages, own: messages }
    }

    fn is_between(&self, at: usize) -> bool {
        self.streams[at].position.is_multiple_of(self.frame_len)
    }

    fn wrong(&mut self, at: usize, bytes: &[u8]) -> Option<Fault> {
        let Stream { phase, position, messages } = self.streams[at];
        let inside = position % self.frame_len;
        let begin = (position - inside) % self.period.len();
        let expected = &self.period[begin..begin + self.frame_len];
        let mut came = [&expected[..inside], bytes].concat();
        came.truncate(self.frame_len);
        let known = self.period.chunks_exact(self.frame_len).position(|frame| frame == came);
        let which = known.map_or(String::new(), |known| {
            let messages = self.period.len() / self.frame_len;
            let ahead = (known + messages - begin / self.frame_len) % messages;
            format!(", which is the message {ahead} later in the period of {messages}")
        });
        // The difference itself is shown, however far into the frame it is.
        let from = if inside + 8 < SHOWN_BYTES { 0 } else { inside - 8 };
        Some(Fault::Wrong {
            message: (messages - phase) as u64,
            expected: format!("{} from byte {from} of its frame", shown(&expected[from..])),
            came: format!("{}{which}", shown(&came[from..])),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::{judge, no_wrong_byte_passes, only_the_right_stream_passes, wrong_at};

    const MESSAGES: usize = 8;

    /// Connection 1 begins with message 3.
    fn fresh(raw: bool, payload: usize) -> Periodic {
        Periodic::new(raw, payload, &Requests::binary(payload, MESSAGES), &[0, 3])
    }

    /// The frames of almost two periods, from a message on.
    fn frames(raw: bool, payload: usize, from: usize) -> Vec<Vec<u8>> {
        let answers = fresh(raw, payload);
        let period: Vec<_> = answers.period.chunks(answers.frame_len).map(<[u8]>::to_vec).collect();
        period.into_iter().cycle().skip(from).take(2 * MESSAGES - 1).collect()
    }

    #[test]
    fn a_stream_is_right_or_it_is_caught() {
        for (raw, payload) in [(false, 20), (true, 20), (false, 4), (false, 200)] {
            only_the_right_stream_passes(|| fresh(raw, payload), 0, &frames(raw, payload, 0));
            only_the_right_stream_passes(|| fresh(raw, payload), 1, &frames(raw, payload, 3));
            no_wrong_byte_passes(|| fresh(raw, payload), 0, &frames(raw, payload, 0)[..3]);
        }
        assert_eq!(wrong_at(fresh(false, 20), 1, &frames(false, 20, 0).concat(), 100), Some(0));
        let came = judge(&mut fresh(false, 0), 0, &[0x82, 0, 0x82, 0, 0x82], 3).unwrap().0;
        assert_eq!((came.messages, came.consumed), (2, 5));
    }

    #[test]
    fn the_complaint_tells_what_came_instead() {
        let mut stream = frames(false, 20, 0);
        stream.remove(2);
        let fault = judge(&mut fresh(false, 20), 0, &stream.concat(), 1000).unwrap_err();
        let said = fault.to_string();
        assert!(said.starts_with("message 2: expected 821402000000"), "{said}");
        assert!(said.contains("came 821403000000"), "{said}");
        assert!(said.ends_with("which is the message 1 later in the period of 8"), "{said}");
    }

    #[test]
    fn pings_are_answered_between_messages_only() {
        let frames = frames(false, 20, 0);
        let ping = vec![0x89, 3, b'a', b'b', b'c'];
        let stream = [&frames[0], &ping, &frames[1], &ping].map(Vec::as_slice).concat();
        for piece in [1, 3, 1000] {
            let (came, pongs) = judge(&mut fresh(false, 20), 0, &stream, piece).unwrap();
            assert_eq!((came.messages, came.consumed), (2, stream.len()));
            assert_eq!(pongs.len(), 2 * (ping.len() + 4));
        }
        let inside = [&frames[0][..5], &ping, &frames[0][5..]].concat();
        assert_eq!(wrong_at(fresh(false, 20), 0, &inside, 1000), Some(0));
        let close = [&frames[0][..], &[0x88, 2, 3, 0xE9]].concat();
        let fault = judge(&mut fresh(false, 20), 0, &close, 1).unwrap_err();
        assert_eq!(fault, Fault::Closed("1001".into()));
    }
}
