//! Compression in a simulated world: what the server is set to, and a peer's half of it, whose
//! codec is not the server's.

use pushloop::{Config, ConnId, Hub, SendError};

use super::marks::{Mark, Marks};
use super::world::{MESSAGE_BYTES_MAX, MESSAGE_FRAMES_MAX};
use crate::oracle::deflate::{Answer, negotiate};
use crate::oracle::inflate;
use crate::support::dice::Dice;
use crate::support::peer_codec::{Deflates, deflate, finals, patchwork, stored};
use crate::support::{Frame, frame, text};
use pushloop::testing::Choice;

const OFFERS: [&str; 10] = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits=9",
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=15",
    "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10",
    "permessage-deflate; server_max_window_bits=8",
    "permessage-bzip2",
];

/// What the server is set to.
#[derive(Clone, Copy)]
pub struct Policy {
    takeover: bool,
    client_bits: u8,
    bytes_min: usize,
}

impl Policy {
    /// `None` if it agrees to no compression.
    #[cfg(feature = "deflate")]
    pub fn drawn(choice: &Choice, config: &mut Config) -> Option<Self> {
        config.deflate = choice.below(4) > 0;
        config.deflate_context_takeover = choice.below(2) > 0;
        config.deflate_bytes_min = choice.of(&[64, 0, 20, 150]);
        config.deflate_client_window_bits = choice.of(&[12, 9, 15]);
        config.deflate.then_some(Self {
            takeover: config.deflate_context_takeover,
            client_bits: config.deflate_client_window_bits,
            bytes_min: config.deflate_bytes_min,
        })
    }

    #[cfg(not(feature = "deflate"))]
    pub fn drawn(_: &Choice, _: &mut Config) -> Option<Self> {
        None
    }
}

/// Sends something that is not to be compressed.
pub fn send_uncompressed(hub: &mut Hub, id: ConnId, payload: &str) -> Result<(), SendError> {
    #[cfg(feature = "deflate")]
    return hub.send_uncompressed(id, payload);
    #[cfg(not(feature = "deflate"))]
    return hub.send(id, payload);
}

/// Says whether what is published there from now on may be compressed.
pub fn set_topic_deflate(hub: &mut Hub, topic: &str, may_deflate: bool) {
    #[cfg(feature = "deflate")]
    {
        let mut options = hub.topic_options(topic);
        options.deflate = may_deflate;
        hub.configure_topic(topic, options).expect("there is room for a few");
    }
    #[cfg(not(feature = "deflate"))]
    let _ = (hub, topic, may_deflate);
}

/// A peer's half of what was agreed on.
pub struct Codec {
    policy: Policy,
    answer: Answer,
    /// Made when it is first needed.
    sender: Option<Deflates>,
    /// What the server's messages may refer back to.
    window: Vec<u8>,
}

impl Codec {
    /// What a peer offers, as a header, and what must come of it.
    pub fn offers(choice: &Choice, policy: Option<Policy>) -> (String, Option<Self>) {
        if choice.below(3) == 0 {
            return (String::new(), None);
        }
        let offer = choice.of(&OFFERS);
        let agreed = |policy: Policy| {
            let answer = negotiate(&[offer.as_bytes()], policy.client_bits);
            let answer = answer.expect("it is an offer");
            Some(Self { policy, answer: answer?, sender: None, window: Vec::new() })
        };
        (format!("Sec-WebSocket-Extensions: {offer}\r\n"), policy.and_then(agreed))
    }

    /// How many bytes of the client's earlier messages a later one may refer back to.
    pub fn client_window(&self) -> usize {
        match self.answer {
            Answer { client_no_context_takeover: true, .. } => 0,
            answer => 1 << answer.client_max_window_bits.unwrap_or(15),
        }
    }

    /// What was agreed on is in the head of the answer.
    pub fn check_answer(codec: Option<&Self>, head: &str) {
        let line = head.lines().find_map(|it| it.strip_prefix("Sec-WebSocket-Extensions: "));
        let answer = line.map(|line| Answer::read(line).expect("an answer that can be read"));
        assert_eq!(answer, codec.map(|codec| codec.answer));
    }

    /// A message compressed.
    pub fn deflates(&mut self, payload: &[u8], choice: &Choice, marks: &Marks) -> Vec<u8> {
        let takeover = !self.answer.client_no_context_takeover;
        if takeover || choice.chance(50) {
            if takeover && self.sender.is_some() {
                marks.hit(Mark::TookOver);
            }
            let bits = self.answer.client_max_window_bits.unwrap_or(15);
            let sender = self.sender.get_or_insert_with(|| Deflates::new(bits, takeover));
            return sender.message(payload);
        }
        let pieces = 1 + choice.below(4);
        match choice.below(3) {
            0 => [stored(payload, choice.chance(50)), vec![0]].concat(),
            1 => finals(payload.chunks(payload.len().div_ceil(pieces).max(1))),
            _ => {
                let mut dice = Dice::new(choice.below(1 << 16) as u64);
                patchwork(&mut dice, &[], payload, pieces)
            }
        }
    }

    /// What a compressed message of the server says.
    pub fn inflates(&mut self, message: &[u8], marks: &Marks) -> Vec<u8> {
        if self.answer.server_no_context_takeover || !self.policy.takeover {
            self.window.clear();
        }
        let (payload, farthest) = inflate::message(message, &self.window, MESSAGE_BYTES_MAX, 0)
            .unwrap_or_else(|code| panic!("{code}: {message:x?} cannot be inflated"));
        let bits = self.answer.server_max_window_bits.unwrap_or(15);
        assert!(farthest <= 1 << bits, "{farthest} bytes back in a window of {bits} bits");
        assert!(payload.len() > message.len() && payload.len() >= self.policy.bytes_min);
        marks.hit(Mark::Deflated);
        if farthest > payload.len() {
            marks.hit(Mark::ReferredBack);
        }
        self.window.extend(&payload);
        self.window.drain(..self.window.len().saturating_sub(1 << 15));
        payload
    }
}

/// Something to send, of up to so many bytes: a run, words, or noise, which is no text.
pub fn payload(choice: &Choice, len: usize) -> (bool, Vec<u8>) {
    let fill = choice.below(26);
    match choice.below(4) {
        0 | 1 => (choice.chance(50), vec![b'a' + fill as u8; len]),
        2 => {
            let words = format!("The score is {fill} to nil. Half time. ");
            (true, words.into_bytes().into_iter().cycle().take(len).collect())
        }
        _ => (false, noise(choice, len)),
    }
}

pub fn noise(choice: &Choice, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(choice.below(1 << 16) as u64);
    (0..len).map(|_| dice.below(256) as u8).collect()
}

/// What cannot be inflated, is more than may be, or is compressed where nothing may be.
pub fn hostile(choice: &Choice, marks: &Marks) -> Vec<Frame> {
    let words = b"What is said twice is short. What is said twice is short. 1, 2, 3, 4, 5.";
    let mut whole = deflate(words);
    let at = choice.below(whole.len());
    let (mark, frames) = match choice.below(10) {
        0 => {
            let len = choice.of(&[MESSAGE_BYTES_MAX + 1, 3000, 100_000]);
            (Mark::Bomb, vec![frame(0xC2, deflate(&vec![0; len]))])
        }
        1 => (Mark::DeflateGarbage, vec![frame(0xC2, noise(choice, at))]),
        2 => {
            whole[at] ^= 1 << choice.below(8);
            (Mark::DeflateGarbage, vec![frame(0xC1, whole)])
        }
        3 => {
            // A block that says its length is cut in the middle, and not taken for another.
            let whole = if choice.chance(50) { stored(words, false) } else { whole };
            (Mark::DeflateCut, vec![frame(choice.of(&[0xC1, 0xC2]), &whole[..at])])
        }
        4 => {
            let streams = MESSAGE_FRAMES_MAX as usize + 1;
            (Mark::DeflateStreams, vec![frame(0xC1, finals(vec![&b""[..]; streams]))])
        }
        5 => (Mark::DeflateNoText, vec![frame(0xC1, deflate(&[0xC3, 0x28]))]),
        6 => {
            // It refers to a message that was never sent.
            let mut sender = Deflates::new(15, true);
            sender.message(words);
            (Mark::DeflateBeyond, vec![frame(0xC1, sender.message(words))])
        }
        7 => {
            let long = stored(b"", false).repeat(MESSAGE_BYTES_MAX + 500);
            (Mark::Bomb, vec![frame(0xC2, long)])
        }
        8 => {
            let rest = frame(0xC0, &whole);
            (Mark::StrayBit, vec![text("").open(), rest])
        }
        _ => (Mark::StrayBit, vec![frame(0xC9, "")]),
    };
    marks.hit(mark);
    frames
}
