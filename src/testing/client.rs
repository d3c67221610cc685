//! A client of a simulated world: a WebSocket over a [`Wire`], with a codec of its own.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    fmt, mem,
    rc::Rc,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Choice, Wire,
    frame::{self, Frame},
    http::{Answer, Handshake, accept_of},
};
use crate::event::{AsMessage, Message};

/// A message that a client got. It compares with what it says: `message == "hello"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Received {
    /// The text.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[track_caller]
    pub fn text(&self) -> &str {
        match self {
            Received::Text(text) => text,
            Received::Binary(bytes) => panic!("{} bytes are no text", bytes.len()),
        }
    }
}

impl PartialEq<str> for Received {
    fn eq(&self, text: &str) -> bool {
        matches!(self, Received::Text(its) if its == text)
    }
}

impl PartialEq<&str> for Received {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

impl PartialEq<[u8]> for Received {
    fn eq(&self, bytes: &[u8]) -> bool {
        matches!(self, Received::Binary(its) if its == bytes)
    }
}

/// A WebSocket client in a [`World`](super::World). A copy is the same client.
///
/// What it sends is on its wire at once, and reaches the application when the world runs. In each turn of
/// the world it takes what has come, answers Pings and a Close, and ends its side when the server has.
///
/// # Panics
///
/// The world panics at the first byte that no server may send: a frame that is masked, cut or reserved,
/// text that is no UTF-8, anything behind a Close.
#[derive(Clone)]
pub struct Client(Rc<RefCell<State>>);

struct State {
    wire: Wire,
    choice: Choice,
    key: String,
    /// How much it takes in a turn.
    pace: usize,
    /// What it has taken and does not understand yet.
    unread: Vec<u8>,
    answer: Option<Answer>,
    received: VecDeque<Received>,
    /// The first fragments of a message, and whether it is text.
    begun: Option<(bool, Vec<u8>)>,
    close_came: Option<(u16, String)>,
    close_sent: bool,
    has_finished: bool,
}

impl Client {
    pub(super) fn new(wire: Wire, choice: Choice, handshake: &Handshake) -> Self {
        let key: [u8; 16] = std::array::from_fn(|_| choice.below(256) as u8);
        let key = BASE64_STANDARD.encode(key);
        wire.sends_bytes(handshake.upgrade(&key));
        Self(Rc::new(RefCell::new(State {
            wire,
            choice,
            key,
            pace: usize::MAX,
            unread: Vec::new(),
            answer: None,
            received: VecDeque::new(),
            begun: None,
            close_came: None,
            close_sent: false,
            has_finished: false,
        })))
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Its end of the connection, for all that happens below frames: splits, resets, half closes.
    pub fn wire(&self) -> Wire {
        self.state().wire.clone()
    }

    /// The answer to its handshake: a 101, or why it is no WebSocket.
    pub fn answer(&self) -> Option<Answer> {
        self.state().answer.clone()
    }
}

/// What it sends.
impl Client {
    /// Sends a message in one frame: text as text, bytes as binary.
    pub fn send(&self, message: impl AsMessage) {
        self.sends_frame(&match message.as_message() {
            Message::Text(text) => frame::text(text),
            Message::Binary(bytes) => frame::binary(bytes),
        });
    }

    /// Sends any frame, masked as a client's are.
    pub fn sends_frame(&self, frame: &Frame) {
        self.state().says(frame);
    }

    /// Sends bytes as they are: half a frame, or what no client may send.
    pub fn misbehaves(&self, bytes: impl AsRef<[u8]>) {
        self.state().wire.sends_bytes(bytes);
    }

    /// Sends a Close. What has come before the server's Close is still read.
    pub fn closes(&self, code: u16) {
        let mut state = self.state();
        state.says(&frame::close(code, ""));
        state.close_sent = true;
    }

    /// Resets the connection: a network that breaks, a process that is killed.
    pub fn cut(&self) {
        self.state().wire.resets();
    }
}

/// What it gets.
impl Client {
    /// The messages that have come since the last time.
    pub fn messages(&self) -> Vec<Received> {
        self.state().received.drain(..).collect()
    }

    /// The next message, if one has come.
    pub fn next(&self) -> Option<Received> {
        self.state().received.pop_front()
    }

    /// The code and the reason of the Close that has come, with 1005 for one without a code (RFC 6455
    /// §7.1.5).
    pub fn closed(&self) -> Option<(u16, String)> {
        self.state().close_came.clone()
    }

    /// Nothing more will come: the connection has ended or was reset, and all that came was taken.
    pub fn is_over(&self) -> bool {
        let state = self.state();
        state.wire.is_reset() || (state.wire.is_ended() && state.wire.waiting() == 0)
    }

    /// It takes nothing from here on, as a page in the background may: what the server sends fills the
    /// buffers on the way, which hold [`Wire::holds`] bytes, and then waits at the server.
    pub fn stops_reading(&self) {
        self.reads_at(0);
    }

    /// It takes everything again.
    pub fn reads_on(&self) {
        self.reads_at(usize::MAX);
    }

    /// It takes so many bytes in a turn of the loop.
    pub fn reads_at(&self, bytes_per_turn: usize) {
        self.state().pace = bytes_per_turn;
    }

    /// Something has come that it would take.
    pub(super) fn has_work(&self) -> bool {
        let state = self.state();
        state.pace > 0 && (state.wire.waiting() > 0 || state.is_to_finish())
    }

    /// Takes what has come, and answers what is to be answered.
    pub(super) fn turn(&self) {
        self.state().turn();
    }
}

impl State {
    fn says(&mut self, frame: &Frame) {
        let key = std::array::from_fn(|_| self.choice.below(256) as u8);
        self.wire.sends_bytes(frame.masked(key));
    }

    /// The server has ended its side, and it has not ended its own.
    fn is_to_finish(&self) -> bool {
        self.wire.is_ended() && self.wire.waiting() == 0 && !self.has_finished
    }

    fn turn(&mut self) {
        if self.pace == 0 {
            return;
        }
        self.unread.extend(self.wire.reads_some(self.pace));
        if self.answer.is_none() {
            self.reads_answer();
        }
        if self.answer.as_ref().is_some_and(|answer| answer.status == 101) {
            let bytes = mem::take(&mut self.unread);
            let mut rest = &bytes[..];
            let mut read = 0;
            while let Ok(Some(frame)) = Frame::read(&mut rest) {
                read = bytes.len() - rest.len();
                self.hears(frame);
            }
            self.unread = bytes[read..].to_vec();
        }
        if self.is_to_finish() {
            let is_whole = self.unread.is_empty() || self.wire.is_cut() || self.wire.is_reset();
            assert!(is_whole || !self.wire.is_finished(), "FIN in the middle of a frame");
            self.wire.finishes();
            self.has_finished = true;
        }
    }

    fn reads_answer(&mut self) {
        let Some((answer, len)) = Answer::read(&self.unread, true) else { return };
        self.unread.drain(..len);
        if answer.status == 101 {
            let accept = answer.header("Sec-WebSocket-Accept");
            assert_eq!(accept, Some(&*accept_of(&self.key)), "RFC 6455 §4.2.2");
        }
        self.answer = Some(answer);
    }

    fn hears(&mut self, frame: Frame) {
        assert!(self.close_came.is_none(), "behind the Close: {frame:?}");
        let Frame { first, payload } = frame;
        assert!(first & 0x70 == 0, "RFC 6455 §5.2: no extension was offered");
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0F);
        assert!(opcode < 8 || (is_last && payload.len() < 126), "RFC 6455 §5.5");
        match opcode {
            0..=2 => self.hears_fragment(opcode, is_last, payload),
            8 => self.hears_close(&payload),
            9 if !self.close_sent => self.says(&frame::pong(payload)),
            9 | 10 => {}
            _ => panic!("RFC 6455 §5.2: the opcode {opcode} is reserved"),
        }
    }

    fn hears_fragment(&mut self, opcode: u8, is_last: bool, payload: Vec<u8>) {
        let (is_text, mut whole) = match self.begun.take() {
            Some(begun) if opcode == 0 => begun,
            None if opcode != 0 => (opcode == 1, Vec::new()),
            _ => panic!("RFC 6455 §5.4: fragments of one message follow each other"),
        };
        whole.extend(payload);
        if !is_last {
            self.begun = Some((is_text, whole));
        } else if is_text {
            let text = String::from_utf8(whole).expect("RFC 6455 §5.6: text is UTF-8");
            self.received.push_back(Received::Text(text));
        } else {
            self.received.push_back(Received::Binary(whole));
        }
    }

    fn hears_close(&mut self, payload: &[u8]) {
        let (code, reason) = match payload {
            [] => (1005, &[][..]),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
            [_] => panic!("RFC 6455 §5.5.1: a code has two bytes"),
        };
        let reason = str::from_utf8(reason).expect("RFC 6455 §5.5.1: a reason is UTF-8");
        self.close_came = Some((code, reason.into()));
        if !mem::replace(&mut self.close_sent, true) {
            self.says(&if code == 1005 { frame::close_empty() } else { frame::close(code, "") });
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Client")
            .field("wire", &state.wire)
            .field("status", &state.answer.as_ref().map(|answer| answer.status))
            .field("closed", &state.close_came)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::testing::frame::{binary, continuation, ping, text};

    /// An open client, to which any bytes can come.
    fn opened() -> Client {
        let client = Client::new(Wire::new(None), Choice::seeded(1), &Handshake::to("/"));
        let accept = accept_of(&client.state().key);
        comes(&client, format!("HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"));
        client.wire().link().input.clear();
        client
    }

    fn comes(client: &Client, bytes: impl AsRef<[u8]>) {
        client.wire().link().output.extend(bytes.as_ref());
        client.turn();
    }

    #[test]
    fn what_no_server_may_send_fails_the_test() {
        let masked = text("a").masked([1, 2, 3, 4]);
        let behind = [frame::close(1000, "").unmasked(), text("a").unmasked()].concat();
        let cases = [
            (masked, "§5.1"),
            (vec![0x82, 126, 0, 1, b'a'], "§5.2"),
            (frame::frame(0xC1, "a").unmasked(), "§5.2"),
            (frame::frame(0x83, "a").unmasked(), "§5.2"),
            (frame::frame(0x8B, "a").unmasked(), "§5.2"),
            (continuation("a").unmasked(), "§5.4"),
            ([text("a").open(), binary("b")].map(|it| it.unmasked()).concat(), "§5.4"),
            (ping([b'a'; 126]).unmasked(), "§5.5"),
            (ping("a").open().unmasked(), "§5.5"),
            (frame::frame(0x88, "a").unmasked(), "§5.5.1"),
            (frame::close(1000, [0xFF]).unmasked(), "§5.5.1"),
            (text([0xC3]).unmasked(), "§5.6"),
            (behind, "behind the Close"),
        ];
        for (bytes, why) in cases {
            let client = opened();
            let failed = catch_unwind(AssertUnwindSafe(|| comes(&client, &bytes)));
            let failed = failed.expect_err("it is noticed");
            let said = failed.downcast_ref::<String>().cloned();
            let said = said.or(failed.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            assert!(said.as_ref().is_some_and(|it| it.contains(why)), "{why}: {said:?}");
        }
    }

    #[test]
    fn what_a_server_may_send_is_understood_however_it_is_cut() {
        let frames = [text("a").open(), ping("b"), continuation("c"), binary([0; 70_000])];
        let bytes = frames.map(|it| it.unmasked()).concat();
        for cut in (0..20).chain([bytes.len() - 1]) {
            let client = opened();
            comes(&client, &bytes[..cut]);
            comes(&client, &bytes[cut..]);
            assert_eq!(client.next(), Some(Received::Text("ac".into())));
            assert_eq!(client.messages(), [Received::Binary(vec![0; 70_000])]);
            // A header, a mask, and one byte.
            assert_eq!(client.wire().unread(), 2 + 4 + 1, "the Ping is answered once");
        }
    }

    #[test]
    fn a_wrong_accept_fails_the_test() {
        let client = Client::new(Wire::new(None), Choice::seeded(1), &Handshake::to("/"));
        let answer = "HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: nonsense\r\n\r\n";
        assert!(catch_unwind(AssertUnwindSafe(|| comes(&client, answer))).is_err());
    }
}
