//! The echo example against a client that we did not write: tungstenite. The same checks run
//! with Python's `websockets` and with Node's `ws`; see `tests/clients/`.

#[path = "support/process.rs"]
mod process;

use process::{Process, Stream, connect};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, frame::Frame};
use tungstenite::{Bytes, Message, WebSocket};

/// One client of an echo server of its own.
struct Echo {
    client: WebSocket<Stream>,
    _server: Process,
}

impl Echo {
    fn start() -> Self {
        let mut server = Process::example("echo");
        let client = connect(&server.address("ws://"), "/");
        Self { client, _server: server }
    }

    fn sends(&mut self, message: Message) {
        self.client.send(message).expect("the message can be sent");
    }

    fn expects(&mut self, expected: &Message) {
        let message = self.client.read().expect("the server answers");
        // Not assert_eq: 64 KiB twice is not an explanation.
        assert!(message == *expected, "{} bytes for {}", message.len(), expected.len());
    }

    fn echoes(&mut self, message: Message) {
        self.sends(message.clone());
        self.expects(&message);
    }
}

#[test]
fn text_comes_back_as_text() {
    Echo::start().echoes(Message::text("κόσμε 🦀"));
}

#[test]
fn binary_comes_back_as_binary() {
    Echo::start().echoes(Message::binary((0..=255).collect::<Vec<u8>>()));
}

#[test]
fn each_form_of_the_length_comes_back() {
    let mut echo = Echo::start();
    for len in [0, 125, 126, 65_535, 65_536] {
        echo.echoes(Message::text("x".repeat(len)));
        echo.echoes(Message::binary(vec![0xA5; len]));
    }
}

#[test]
fn fragments_come_back_as_one_message() {
    let mut echo = Echo::start();
    let fragment = |payload: &'static [u8], kind: Data, last: bool| {
        Message::Frame(Frame::message(Bytes::from_static(payload), OpCode::Data(kind), last))
    };
    // The cut is inside of a character.
    echo.sends(fragment(b"caf\xC3", Data::Text, false));
    echo.sends(fragment(b"", Data::Continue, false));
    echo.sends(Message::Ping(Bytes::from_static(b"between")));
    echo.sends(fragment(b"\xA9!", Data::Continue, true));
    echo.expects(&Message::Pong(Bytes::from_static(b"between")));
    echo.expects(&Message::text("café!"));
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut echo = Echo::start();
    for payload in [vec![], vec![0xFF; 125]] {
        echo.sends(Message::Ping(payload.clone().into()));
        echo.expects(&Message::Pong(payload.into()));
    }
}

#[test]
fn pipelined_messages_come_back_in_order() {
    let mut echo = Echo::start();
    let messages: Vec<_> = (0..200).map(|i| Message::text(format!("message {i}"))).collect();
    for message in &messages {
        echo.client.write(message.clone()).expect("the message can be queued");
    }
    echo.client.flush().expect("the messages can be sent");
    for message in &messages {
        echo.expects(message);
    }
}

#[test]
fn a_close_is_answered_with_its_code() {
    for code in [CloseCode::Normal, CloseCode::Library(4001)] {
        let mut echo = Echo::start();
        let frame = CloseFrame { code, reason: "done".into() };
        echo.client.close(Some(frame)).expect("the close can be sent");
        let answer = echo.client.read().expect("the server answers");
        let Message::Close(Some(answer)) = answer else { panic!("{answer:?} for a close") };
        assert_eq!(answer.code, code);
        let end = echo.client.read().expect_err("nothing follows a close");
        assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    }
}
