//! A server on a network in memory with one connection at a time, made for millions of runs. What
//! a peer sends arrives chunk by chunk, one in each turn.

use std::time::Duration;

use pushloop::testing::{Network, Wire};
use pushloop::{Accept, Config, ConnId, Event, Events, Message, Reason, Server};

use self::stream::{End, Heard};
use super::deflate::Answer;
use super::frames::sent;
use super::handshake::Verdict;
use super::response::{Response, parse};
use super::{close, stream};

/// How a connection ended, as the application was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The peer's Close: 1005 if it had no code.
    Peer(u16, String),
    /// The peer broke a rule or a limit: the code.
    Failed(u16),
    /// Something else.
    Other(u16),
}

/// What an application adds to a 101.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub subprotocol: Option<String>,
    pub headers: Vec<(String, String)>,
}

pub struct Drive {
    pub server: Server<Network>,
    /// The present connection. Earlier ones are reset.
    pub wire: Wire,
    events: Events,
    /// All that was written to the present connection.
    pub output: Vec<u8>,
    /// The messages that were delivered; `Ping` is never among them.
    pub messages: Vec<Heard>,
    pub told: Option<Told>,
    /// How often it was told that all that waited is out.
    pub writable: usize,
    /// What a request is accepted with, if it can be.
    pub wanted: Wanted,
    /// What it was accepted with.
    pub accepted: Wanted,
}

impl Drive {
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.ping_interval = None;
        change(&mut config);
        let mut server = Server::with_net(Network::new(), config);
        // The clock stands still.
        server.net().nap_max = Duration::ZERO;
        let wire = server.net().connects();
        Self {
            server,
            wire,
            events: Events::default(),
            output: Vec::new(),
            messages: Vec::new(),
            told: None,
            writable: 0,
            wanted: Wanted::default(),
            accepted: Wanted::default(),
        }
    }

    /// The present connection's.
    pub fn id(&self) -> ConnId {
        self.wire.id().expect("a connection was registered")
    }

    /// The present connection got FIN.
    pub fn is_ended(&self) -> bool {
        self.wire.is_finished()
    }

    /// A new connection, accepted and registered; the one before it is reset.
    pub fn connects(&mut self) {
        self.wire.resets();
        self.wire = self.server.net().connects();
        self.output.clear();
        self.messages.clear();
        (self.told, self.writable) = (None, 0);
        self.turn();
    }

    /// A new WebSocket, whose handshake is off the record. `extensions` is a header line or empty.
    pub fn opens(&mut self, extensions: &str) {
        self.connects();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {extensions}\r\n"
        );
        self.hears(head.as_bytes());
        self.turn();
        assert!(self.output.starts_with(b"HTTP/1.1 101 "), "{}", self.output.escape_ascii());
        self.output.clear();
    }

    /// A new WebSocket that speaks permessage-deflate, with a window of 32 KiB for its messages.
    pub fn opens_deflate(&mut self) {
        self.opens("Sec-WebSocket-Extensions: permessage-deflate\r\n");
    }

    /// The peer sends a chunk, and the server reads it in one turn.
    pub fn hears(&mut self, chunk: &[u8]) {
        if !chunk.is_empty() {
            self.wire.pauses();
            self.wire.sends_bytes(chunk);
        }
        self.turn();
    }

    /// The peer sends FIN.
    pub fn finishes(&mut self) {
        self.wire.finishes();
        self.turn();
    }

    /// Turns until the server has read and written all that it can.
    pub fn rests(&mut self) {
        for _ in 0..100_000 {
            self.turn();
            if self.server.net().is_idle() {
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    pub fn turn(&mut self) {
        // So short that it ends before anything is due.
        let instant = Some(Duration::from_nanos(1));
        self.server.poll(&mut self.events, instant).expect("the poll works");
        self.output.extend(self.wire.reads_bytes());
        for event in &self.events {
            match event {
                Event::Request { id, .. } => {
                    let Wanted { subprotocol, headers } = &self.wanted;
                    let headers: Vec<_> =
                        headers.iter().map(|(name, value)| (&**name, &**value)).collect();
                    let accept = Accept { subprotocol: subprotocol.as_deref(), headers: &headers };
                    self.accepted = Wanted::default();
                    if self.server.hub().accept(id, accept).is_ok() {
                        self.accepted = self.wanted.clone();
                    } else {
                        // What asks for no WebSocket has been answered with 426.
                        let _ = self.server.hub().accept(id, Accept::default());
                    }
                }
                Event::Message { message: Message::Text(text), .. } => {
                    self.messages.push(Heard::Text(text.into()));
                }
                Event::Message { message: Message::Binary(bytes), .. } => {
                    self.messages.push(Heard::Binary(bytes.into()));
                }
                // Earlier connections are reset, and that is told too.
                Event::Closed { id, reason } if Some(id) == self.wire.id() => {
                    assert!(self.told.is_none(), "told twice");
                    self.told = Some(told(&reason));
                }
                Event::Writable { .. } => self.writable += 1,
                _ => {}
            }
        }
    }
}

fn told(reason: &Reason<'_>) -> Told {
    match *reason {
        Reason::Peer { code, text } => Told::Peer(code, text.into()),
        Reason::Protocol(error) => Told::Failed(error.close_code().get()),
        _ => Told::Other(reason.code()),
    }
}

impl Drive {
    /// Asserts that the present connection, at rest, did what the oracle says: each message once
    /// and in order, a Pong for each Ping, and a Close that says why.
    #[track_caller]
    pub fn expects(&mut self, heard: &[Heard], end: &End) {
        let is_ping = |heard: &&Heard| matches!(heard, Heard::Ping(_));
        let messages = heard.iter().filter(|heard| !is_ping(heard));
        assert!(self.messages.iter().eq(messages), "{:?} for {heard:?}", self.messages);
        let (mut frames, rest) = sent(&self.output);
        assert!(rest.is_empty(), "cut: {rest:02X?}");
        let close = frames.pop_if(|(first, _)| *first == 0x88);
        let mut pings = heard.iter().filter_map(|heard| match heard {
            Heard::Ping(payload) => Some(payload),
            Heard::Text(_) | Heard::Binary(_) => None,
        });
        for (first, payload) in &frames {
            assert_eq!((*first, Some(payload)), (0x8A, pings.next()), "a Pong as the Ping");
        }
        assert_eq!(pings.next(), None, "each Ping is answered");
        let close = close.map(|(_, payload)| close::received(&payload).expect("a valid Close"));
        match (end, close) {
            (End::Open, None) => assert_eq!(self.told, None),
            (End::Close(None), Some(None)) => {
                assert_eq!(self.told, Some(Told::Peer(1005, String::new())));
            }
            // §5.5.1: it is echoed.
            (End::Close(Some(said)), Some(Some(echoed))) if *said == echoed => {
                let (code, reason) = said;
                let reason = String::from_utf8(reason.clone()).expect("it was checked");
                assert_eq!(self.told, Some(Told::Peer(*code, reason)));
            }
            (End::Fail(code), Some(Some((sent, _)))) if *code == sent => {
                assert_eq!(self.told, Some(Told::Failed(*code)));
            }
            (end, close) => panic!("expected {end:?}, and the server sent {close:?}"),
        }
        assert_eq!(self.is_ended(), *end != End::Open, "FIN behind a Close, and only there");
    }
}

/// Asserts that an answer to a request is one that the verdict allows, and has exactly the fields
/// that it must have, those of the application included.
#[track_caller]
pub fn check_answer(answer: &Response, request: &[u8], verdict: &Verdict, accepted: &Wanted) {
    match verdict {
        Verdict::Incomplete => panic!("nothing is to be answered yet: {answer:?}"),
        // It is accepted as a WebSocket nevertheless.
        Verdict::Plain => check_refusal(answer, request, 426),
        Verdict::Refuse(statuses) => {
            assert!(statuses.contains(&answer.status), "{statuses:?}: {answer:?}");
            check_refusal(answer, request, answer.status);
        }
        Verdict::Accept { accept, protocols, deflate, .. } => {
            assert_eq!(answer.status, 101, "{answer:?}");
            let mut fields = answer.fields.clone();
            let mut take = |name: &str| {
                let at = fields.iter().position(|(other, _)| other == name)?;
                Some(fields.remove(at).1)
            };
            assert_eq!(take("upgrade").as_deref(), Some("websocket"));
            assert_eq!(take("connection").as_deref(), Some("Upgrade"));
            assert_eq!(take("sec-websocket-accept").as_ref(), Some(accept));
            let protocol = take("sec-websocket-protocol");
            assert_eq!(protocol, accepted.subprotocol);
            assert!(protocol.is_none_or(|it| protocols.contains(&it)), "not offered: {answer:?}");
            let extensions = take("sec-websocket-extensions");
            assert_eq!(extensions.as_deref().map(Answer::read), deflate.map(Some), "{answer:?}");
            let extra = accepted.headers.iter();
            let extra = extra.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
            assert!(fields.iter().cloned().eq(extra), "{fields:?}");
        }
    }
}

#[track_caller]
fn check_refusal(answer: &Response, request: &[u8], status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    if status == 405 {
        assert_eq!(answer.all("allow").len(), 1, "RFC 9110 §15.5.6: {answer:?}");
    }
    if status == 426 {
        assert_eq!(answer.all("upgrade"), ["websocket"], "RFC 9110 §15.5.22");
        assert_eq!(answer.all("sec-websocket-version"), ["13"], "RFC 6455 §4.4");
        assert!(answer.lists("connection", "Upgrade"), "RFC 9110 §7.8");
    }
    // RFC 9110 §9.3.2: an answer to HEAD says how long a body would be, and has none.
    let mut begun = request;
    while let [b'\r', b'\n', rest @ ..] = begun {
        begun = rest;
    }
    let lengths = answer.all("content-length");
    assert_eq!(lengths.len(), 1, "{answer:?}");
    let length: usize = lengths[0].parse().expect("a number");
    let length = if begun.starts_with(b"HEAD ") { 0 } else { length };
    // The answer to a next request may follow one that does not close.
    let (len, closes) = (answer.rest.len(), answer.lists("connection", "close"));
    assert!(length == len || (!closes && length < len), "{answer:?}");
}

impl Drive {
    /// Asserts that the present connection, at rest, got the answer that its request deserves.
    #[track_caller]
    pub fn expects_answer(&mut self, request: &[u8], verdict: &Verdict) {
        let output = &self.output;
        if *verdict == Verdict::Incomplete {
            assert!(output.is_empty(), "{}", output.escape_ascii());
            return;
        }
        assert!(!output.is_empty(), "no answer: {verdict:?}");
        let answer = parse(output);
        check_answer(&answer, request, verdict, &self.accepted);
        if let Verdict::Refuse(_) = verdict {
            assert!(answer.lists("connection", "close") && self.is_ended(), "{answer:?}");
        }
    }
}
