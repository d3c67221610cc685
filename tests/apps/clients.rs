//! The peer of `tests/clients/` against a client that we did not write: tungstenite. The same
//! checks run with other clients and with browsers; see `tests/clients/` and `tests/browser/`.

use std::{collections::VecDeque, net::TcpStream};

use crate::support::process::{Process, Stream, connect};
use tungstenite::{
    Bytes, ClientRequestBuilder, Error, Message, WebSocket,
    error::{ProtocolError, SubProtocolError},
    handshake::client::Response,
    protocol::frame::coding::{CloseCode, Data, OpCode},
    protocol::{CloseFrame, frame::Frame},
};

const MIB: usize = 1 << 20;

/// One client of a server of its own.
struct Client {
    socket: WebSocket<Stream>,
    address: String,
    _server: Process,
}

impl Client {
    fn start() -> Self {
        let mut server = Process::example("client_peer");
        let address = server.address("ws://");
        let socket = connect(&address, "/");
        Self { socket, address, _server: server }
    }

    fn sends(&mut self, message: Message) {
        self.socket.send(message).expect("the message can be sent");
    }

    /// The next frame that is not one of the server's Pings, which tungstenite answers.
    fn reads(&mut self) -> Message {
        loop {
            match self.socket.read().expect("the server answers") {
                Message::Ping(_) => {}
                message => break message,
            }
        }
    }

    fn expects(&mut self, expected: &Message) {
        let message = self.reads();
        // Not assert_eq: a mebibyte twice is not an explanation.
        assert!(message == *expected, "{} bytes for {}", message.len(), expected.len());
    }

    fn echoes(&mut self, message: Message) {
        self.sends(message.clone());
        self.expects(&message);
    }

    fn expects_close(&mut self, code: CloseCode, reason: &str) {
        let Message::Close(Some(end)) = self.reads() else { panic!("no Close frame with a code") };
        assert_eq!((end.code, end.reason.as_str()), (code, reason));
        let end = self.socket.read().expect_err("nothing follows a close");
        assert!(matches!(end, Error::ConnectionClosed), "{end}");
    }

    /// How the server saw the end of this connection.
    fn expects_seen(self, end: &str) {
        let mut next = Client { socket: connect(&self.address, "/"), ..self };
        next.sends(Message::text("last close"));
        next.expects(&Message::text(end));
    }

    /// Each answer lets the next message out, while those to `window - 1` others are under way.
    fn pipelines(&mut self, messages: impl Iterator<Item = Message>, window: usize) {
        let mut under_way = VecDeque::new();
        for message in messages {
            self.sends(message.clone());
            under_way.push_back(message);
            if under_way.len() == window {
                self.expects(&under_way.pop_front().expect("it is not empty"));
            }
        }
        for message in under_way {
            self.expects(&message);
        }
    }
}

#[test]
fn text_comes_back_as_text() {
    Client::start().echoes(Message::text("κόσμε 🦀"));
}

#[test]
fn binary_comes_back_as_binary() {
    Client::start().echoes(Message::binary((0..=255).collect::<Vec<u8>>()));
}

#[test]
fn each_form_of_the_length_comes_back() {
    let mut client = Client::start();
    for len in [0, 125, 126, 65_535, 65_536, MIB] {
        client.echoes(Message::text("x".repeat(len)));
        client.echoes(Message::binary(vec![0xA5; len]));
    }
}

#[test]
fn a_message_beyond_the_limit_is_closed_with_1009() {
    let mut client = Client::start();
    client.sends(Message::binary(vec![0; MIB + 1]));
    let Message::Close(Some(end)) = client.reads() else { panic!("no Close frame with a code") };
    assert_eq!(end.code, CloseCode::Size);
}

#[test]
fn fragments_come_back_as_one_message() {
    let mut client = Client::start();
    let fragment = |payload: &'static [u8], kind: Data, last: bool| {
        Message::Frame(Frame::message(Bytes::from_static(payload), OpCode::Data(kind), last))
    };
    // The cut is inside of a character.
    client.sends(fragment(b"caf\xC3", Data::Text, false));
    client.sends(fragment(b"", Data::Continue, false));
    client.sends(Message::Ping(Bytes::from_static(b"between")));
    client.sends(fragment(b"\xA9!", Data::Continue, true));
    client.expects(&Message::Pong(Bytes::from_static(b"between")));
    client.expects(&Message::text("café!"));
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut client = Client::start();
    for payload in [vec![], vec![0xFF; 125]] {
        client.sends(Message::Ping(payload.clone().into()));
        client.expects(&Message::Pong(payload.into()));
    }
}

#[test]
fn the_servers_pings_are_answered() {
    Client::start().echoes(Message::text("pings"));
}

#[test]
fn pipelined_messages_come_back_in_order() {
    let messages = (0..200).map(|i| Message::text(format!("message {i}")));
    Client::start().pipelines(messages, 200);
}

#[test]
fn messages_come_back_in_order_while_others_are_sent() {
    let messages = (0..16).map(|i| Message::binary(vec![i; MIB]));
    Client::start().pipelines(messages, 4);
}

#[test]
fn a_close_is_answered_with_its_code_and_reason() {
    for (code, reason) in [(CloseCode::Normal, "done"), (CloseCode::Library(4001), "κόσμε")] {
        let mut client = Client::start();
        let frame = CloseFrame { code, reason: reason.into() };
        client.socket.close(Some(frame)).expect("the close can be sent");
        client.expects_close(code, reason);
        client.expects_seen(&format!("{} {reason}", u16::from(code)));
    }
}

#[test]
fn a_close_of_the_server_has_its_code_and_reason() {
    let mut client = Client::start();
    client.sends(Message::text("close 4001 bye"));
    client.expects_close(CloseCode::Library(4001), "bye");
    client.expects_seen("4001 ");
}

fn offer(subprotocols: &[&str]) -> Result<Response, Error> {
    let mut server = Process::example("client_peer");
    let address = server.address("ws://");
    let url = format!("ws://{address}/").parse().expect("it is a URL");
    let stream = Stream(TcpStream::connect(address).expect("the server accepts"));
    let mut request = ClientRequestBuilder::new(url);
    for name in subprotocols {
        request = request.with_sub_protocol(*name);
    }
    let opened = tungstenite::client(request, stream).map_err(|refused| match refused {
        tungstenite::HandshakeError::Failure(error) => error,
        tungstenite::HandshakeError::Interrupted(_) => panic!("the stream blocks"),
    });
    opened.map(|(_, response)| response)
}

#[test]
fn one_of_the_subprotocols_is_chosen() {
    let response = offer(&["chat.v1", "chat.v2"]).expect("the client takes the answer");
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v2");
}

#[test]
fn an_unknown_subprotocol_is_left_out_and_the_client_gives_up() {
    let error = offer(&["chat.v1"]).expect_err("the client wants a subprotocol");
    let refused = ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol);
    assert!(matches!(&error, Error::Protocol(why) if *why == refused), "{error}");
}
