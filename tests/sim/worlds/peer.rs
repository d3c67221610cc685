//! A client with a codec of its own. It keeps what it has sent and understands what it reads, and
//! fails the test at the first byte that no server may send.

use std::collections::{BTreeSet, HashSet, VecDeque};

use pushloop::testing::{Choice, Wire};

use super::codec::Client;
use super::deflate::{Codec, Policy, hostile, noise, payload};
use super::marks::{Mark, Marks};
use super::world::{MESSAGE_BYTES_MAX, MESSAGE_FRAMES_MAX};
use crate::oracle::stream::Limits;
use crate::support::dice::Dice;
use crate::support::{
    Frame, binary, close, close_empty, continuation, frame, get, handshake, ping, pong, text,
};

/// Who said something to a peer, and where: the application's acts are in one order, and a
/// handle's commands in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Said {
    pub by_handle: bool,
    /// Messages of the same world are numbered through.
    pub number: usize,
    /// `None` for what is sent directly.
    pub topic: Option<usize>,
}

impl Said {
    pub fn payload(self, padding: usize) -> String {
        let by = if self.by_handle { "handle" } else { "app" };
        let topic = self.topic.map_or(-1, |topic| topic as i64);
        format!("{by} {} {topic} {}", self.number, self.padding(padding))
    }

    /// What it is filled up with: of 10 messages one after the other, no two have the same. A long
    /// one ends as it begins, which is farther back than the smallest window.
    fn padding(self, len: usize) -> String {
        let letter = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][self.number % 10];
        if len < LONG_BYTES {
            return letter.repeat(len);
        }
        let mut dice = Dice::new(self.number as u64);
        let ends: String = (0..40).map(|_| char::from(b'k' + dice.below(16) as u8)).collect();
        [&ends, &*letter.repeat(len - 80), &ends].concat()
    }

    pub fn read(payload: &[u8]) -> Self {
        let payload = str::from_utf8(payload).expect("it is text");
        let [by, number, topic, padding] = payload.split(' ').collect::<Vec<_>>()[..] else {
            panic!("nobody said {payload:?}");
        };
        let topic: i64 = topic.parse().expect("a topic");
        let said = Self {
            by_handle: by == "handle",
            number: number.parse().expect("a number"),
            topic: usize::try_from(topic).ok(),
        };
        assert!(padding == said.padding(padding.len()), "{payload:?}");
        said
    }
}

/// More than a window of 9 bits, and 40 bytes at either end.
const LONG_BYTES: usize = 600;

/// What answers a plain request.
pub const PAGE: &str = "a page";

/// What a request with a body says.
pub const BODY: &str = "a body,\r\n\r\n0\r\n\r\n";

/// A request that is no handshake, with a body in one way or the other, or without one.
fn plain_request(path: &str, choice: &Choice) -> String {
    let (framing, body) = match choice.below(4) {
        2 => (format!("Content-Length: {}", BODY.len()), BODY.to_owned()),
        3 => {
            let (first, second) = BODY.split_at(1 + choice.below(BODY.len() - 1));
            let chunk = |data: &str| format!("{:x};a=b\r\n{data}\r\n", data.len());
            let chunks = chunk(first) + &chunk(second) + "0\r\nA: b\r\n\r\n";
            ("Transfer-Encoding: chunked".to_owned(), chunks)
        }
        _ => return get(path),
    };
    get(path).replace("GET", "POST").replace("\r\n\r\n", &format!("\r\n{framing}\r\n\r\n")) + &body
}

pub struct Peer {
    pub wire: Wire,
    choice: Choice,
    marks: Marks,
    /// Keeps to the protocol.
    pub is_good: bool,
    /// Compression, if it is agreed on.
    pub codec: Option<Codec>,
    /// What is between it and the network, if that has a layer.
    pub layer: Option<Client>,
    /// What it will send.
    to_send: VecDeque<u8>,
    /// What it says again: with takeover, it refers as far back as it was said last.
    noise: Vec<u8>,
    /// How much of it belongs to the handshake.
    head_left: usize,
    /// What it has sent behind the handshake.
    pub sent: Vec<u8>,
    /// What it has read and does not understand yet.
    unread: Vec<u8>,
    /// The status of the answer to its handshake.
    pub status: Option<u16>,
    pub got: Vec<Said>,
    /// What of it came compressed.
    pub got_deflated: HashSet<Said>,
    /// The code of the Close that came, 1005 for none.
    pub close_came: Option<u16>,
    pub close_sent: bool,
    /// It was dropped before it had sent all that it was to send, its Close perhaps.
    pub late: bool,
    pub finished: bool,
    pub reset: bool,
    pub pings: usize,
    /// How many Pings came.
    pub pinged: u64,
    /// The Pings that were answered.
    pub ponged: BTreeSet<usize>,
}

impl Peer {
    pub fn new(
        wire: Wire,
        number: usize,
        layer: Option<Client>,
        policy: Option<Policy>,
        choice: &Choice,
        marks: &Marks,
    ) -> Self {
        let is_good = !choice.chance(35);
        let path = format!("/{number}");
        let plain = choice.of(&[0, 0, 0, 1, 3]);
        // What a bad peer says would become a part of a body that it has cut.
        let request = || if is_good { plain_request(&path, choice) } else { get(&path) };
        let mut head: String = (0..plain).map(|_| request()).collect();
        let (offer, codec) = Codec::offers(choice, policy);
        head += &handshake(&path, &offer);
        if !is_good && choice.below(4) == 3 {
            marks.hit(Mark::CutHandshake);
            head.truncate(choice.below(head.len()));
        }
        Self {
            wire,
            choice: choice.clone(),
            marks: marks.clone(),
            is_good,
            codec,
            layer,
            to_send: head.bytes().collect(),
            noise: noise(choice, 300),
            head_left: head.len(),
            sent: Vec::new(),
            unread: Vec::new(),
            status: None,
            got: Vec::new(),
            got_deflated: HashSet::new(),
            close_came: None,
            close_sent: false,
            late: false,
            finished: false,
            reset: false,
            pings: 0,
            pinged: 0,
            ponged: BTreeSet::new(),
        }
    }

    /// It can send.
    pub fn talks(&self) -> bool {
        !self.finished && !self.reset
    }

    /// Nothing keeps what was sent to it from arriving.
    pub fn listens(&self) -> bool {
        !self.reset && !self.wire.is_cut()
    }

    /// What the server makes of what it sends.
    pub fn limits(&self) -> Limits {
        Limits {
            message_bytes: MESSAGE_BYTES_MAX as u64,
            message_frames: MESSAGE_FRAMES_MAX,
            deflate: self.codec.is_some(),
            window: self.codec.as_ref().map_or(0, Codec::client_window),
        }
    }

    fn says(&mut self, frame: &Frame) {
        let key = [self.sent.len() as u8, 0x5A, 0xC3, self.to_send.len() as u8];
        self.to_send.extend(frame.masked(key));
    }

    /// Says something, and now and then what it said before, with much between.
    pub fn composes(&mut self) {
        if self.close_sent || !self.talks() {
            return;
        }
        let len = self.choice.of(&[0, 3, 40, 130, 700, MESSAGE_BYTES_MAX]);
        let (is_text, payload) = payload(&self.choice, len);
        self.conveys(is_text, payload);
        if self.choice.chance(3) {
            self.conveys(false, self.noise.clone());
            for _ in 0..self.choice.below(8) {
                self.conveys(false, noise(&self.choice, MESSAGE_BYTES_MAX));
            }
            self.conveys(false, self.noise.clone());
        }
    }

    /// A message in one frame or several, with Pings between.
    fn conveys(&mut self, is_text: bool, payload: Vec<u8>) {
        let mut whole = if is_text { text(payload) } else { binary(payload) };
        if let Some(codec) = &mut self.codec
            && self.choice.chance(70)
        {
            // RFC 7692 §6: the first frame's RSV1 says that the message is compressed.
            whole = frame(
                whole.first | 0x40,
                codec.deflates(&whole.payload, &self.choice, &self.marks),
            );
        }
        if !self.choice.chance(40) {
            return self.says(&whole);
        }
        self.marks.hit(Mark::Fragmented);
        let parts = 2 + self.choice.below(4);
        let size = whole.payload.len().div_ceil(parts).max(1);
        let mut chunks: Vec<_> = whole.payload.chunks(size).collect();
        chunks.resize(parts, &[]);
        for (at, chunk) in chunks.into_iter().enumerate() {
            let part = if at == 0 { frame(whole.first, chunk) } else { continuation(chunk) };
            self.says(&if at + 1 < parts { part.open() } else { part });
            if self.choice.chance(30) && at + 1 < parts {
                self.pings();
            }
        }
    }

    pub fn pings(&mut self) {
        if let Some(layer) = &mut self.layer
            && self.choice.chance(30)
        {
            layer.asks();
        }
        if !self.close_sent && self.talks() {
            self.pings += 1;
            self.says(&ping(format!("{}", self.pings)));
        }
    }

    /// What no client may send, or what is more than the server takes.
    pub fn misbehaves(&mut self) {
        if self.close_sent || !self.talks() {
            return;
        }
        self.marks.hit(Mark::BrokenClause);
        if self.codec.is_some() && self.choice.chance(75) {
            let frames = hostile(&self.choice, &self.marks);
            return frames.iter().for_each(|frame| self.says(frame));
        }
        match self.choice.below(9) {
            0 => self.to_send.extend(text("no mask").unmasked()),
            1 => self.says(&frame(0xC1, "a reserved bit")),
            2 => self.says(&frame(0x83, "a reserved opcode")),
            3 => self.says(&continuation("of nothing")),
            4 => self.says(&ping([b'x'; 126])),
            5 => self.says(&text([0xC3, 0x28])),
            6 => self.says(&close(1005, "")),
            7 => self.says(&binary([0; 3000])),
            _ => {
                self.says(&text("").open());
                (0..20).for_each(|_| self.says(&continuation("").open()));
            }
        }
    }

    pub fn closes(&mut self) {
        if !self.close_sent && self.talks() {
            self.marks.hit(Mark::PeerClose);
            let close = if self.choice.chance(70) { close(4000, "bye") } else { close_empty() };
            self.says(&close);
            self.close_sent = true;
        }
    }

    /// Hands some of what it wants to say to the network, or all.
    pub fn sends(&mut self, all: bool) {
        if !self.talks() {
            return;
        }
        let layer_holds = self.layer.as_ref().is_some_and(Client::holds_output);
        self.late |= self.wire.is_dropped() && (layer_holds || !self.to_send.is_empty());
        if !self.to_send.is_empty() {
            self.says_some(all);
        }
        if let Some(layer) = &mut self.layer {
            let records = layer.transmits(all);
            if !records.is_empty() {
                self.wire.sends_bytes(records);
            }
        }
    }

    fn says_some(&mut self, all: bool) {
        let whole = self.to_send.len();
        let n = if all || whole == 1 { whole } else { self.choice.part(whole) };
        let bytes: Vec<u8> = self.to_send.drain(..n).collect();
        let head = self.head_left.min(n);
        self.head_left -= head;
        self.sent.extend(&bytes[head..]);
        match &mut self.layer {
            Some(layer) => layer.says(&bytes),
            None => self.wire.sends_bytes(bytes),
        }
    }

    /// Sends FIN, behind what it has sent so far.
    pub fn finishes(&mut self) {
        if self.talks() {
            self.finished = true;
            if let Some(layer) = &mut self.layer {
                self.wire.sends_bytes(layer.leaves());
            }
            self.wire.finishes();
        }
    }

    pub fn resets(&mut self) {
        self.reset = true;
        self.wire.resets();
    }

    /// Reads up to `max` bytes. Gives how many there were.
    pub fn reads(&mut self, max: usize) -> usize {
        if self.wire.is_reset() {
            self.reset = true;
            return 0;
        }
        let bytes = self.wire.reads_some(max);
        let n = bytes.len();
        match &mut self.layer {
            Some(layer) => self.unread.extend(layer.hears(bytes)),
            None => self.unread.extend(bytes),
        }
        let ended = self.wire.is_ended() && self.wire.waiting() == 0;
        if let Some(layer) = &self.layer {
            let is_excused = !self.wire.is_finished() || self.wire.is_cut();
            assert!(!ended || is_excused || layer.is_over, "FIN, and no goodbye");
        }
        self.understands();
        if ended && self.talks() {
            self.sends(true);
            self.finishes();
        }
        n
    }

    fn understands(&mut self) {
        while self.status.is_none() {
            let Some(end) = self.unread.windows(4).position(|it| it == b"\r\n\r\n") else { return };
            let head = str::from_utf8(&self.unread[..end]).expect("the head is ASCII");
            let status = head.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3)?.parse().ok());
            let end = end + 4;
            if status == Some(200) {
                let Some(body) = self.unread.get(end..end + PAGE.len()) else { return };
                assert_eq!(body, PAGE.as_bytes());
                self.unread.drain(..end + PAGE.len());
            } else {
                self.status = Some(status.expect("a status line"));
                if self.status == Some(101) {
                    Codec::check_answer(self.codec.as_ref(), head);
                }
                self.unread.drain(..end);
            }
        }
        if self.status != Some(101) {
            return;
        }
        let mut rest = &self.unread[..];
        let mut frames = Vec::new();
        let mut used = 0;
        while let Ok(Some(frame)) = Frame::read(&mut rest) {
            frames.push(frame);
            used = self.unread.len() - rest.len();
        }
        self.unread.drain(..used);
        frames.into_iter().for_each(|frame| self.hears(&frame));
    }

    fn hears(&mut self, frame: &Frame) {
        assert!(self.close_came.is_none(), "behind Close: {frame:?}");
        self.pinged += u64::from(frame.first == 0x89);
        match frame.first {
            0x81 => {
                self.marks.hit(Mark::Delivered);
                self.got.push(Said::read(&frame.payload));
            }
            0xC1 => {
                let codec = self.codec.as_mut().expect("compression is agreed on");
                self.marks.hit(Mark::Delivered);
                let said = Said::read(&codec.inflates(&frame.payload, &self.marks));
                self.got.push(said);
                self.got_deflated.insert(said);
            }
            0x88 => {
                self.close_came = Some(match frame.payload[..] {
                    [high, low, ..] => u16::from(high) * 256 + u16::from(low),
                    _ => 1005,
                });
                if frame.payload.ends_with(b": send_queues_bytes_max") {
                    self.marks.hit(Mark::Shed);
                }
                if self.is_good && !self.close_sent && self.talks() {
                    self.says(&frame.clone());
                    self.close_sent = true;
                }
            }
            0x89 if self.is_good && !self.close_sent && self.talks() => {
                self.says(&pong(&frame.payload));
            }
            0x89 => {}
            0x8A => {
                let number = str::from_utf8(&frame.payload).ok().and_then(|it| it.parse().ok());
                let number: usize = number.expect("a Pong for a Ping");
                // The answer to the latest of several may pass one that stands in line (§5.5.3).
                assert!(number <= self.pings && self.ponged.insert(number), "{frame:?}");
            }
            _ => panic!("a server does not send {frame:?}"),
        }
    }

    /// It has read all that came, and the last frame was whole.
    pub fn is_at_a_boundary(&self) -> bool {
        self.unread.is_empty()
    }
}
