//! A server on a network in memory with one connection at a time, made for millions of runs. What
//! a peer sends arrives chunk by chunk, one in each turn, and what the kernel takes can be scripted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pushloop::{
    Accept, Config, ConnId, Event, Events, Input, Message, Net, Ready, Reason, Server, Wake,
};

use self::stream::{End, Heard};
use super::deflate::Answer;
use super::frames::sent;
use super::handshake::Verdict;
use super::response::{Response, parse};
use super::{close, stream};

/// What the kernel answers to the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It takes so many bytes, and no more in this call.
    Short(usize),
    /// It is full; the next turn finds room again.
    Full,
}

pub struct OneNet {
    now: Instant,
    /// A connection waits to be accepted.
    arrives: bool,
    /// Which connection is the present one. Earlier ones are reset.
    current: u32,
    id: Option<ConnId>,
    stale: Vec<ConnId>,
    input: VecDeque<Vec<u8>>,
    input_ended: bool,
    writable: bool,
    /// What the next writes meet; when it is used up, everything is taken.
    pub script: VecDeque<Write>,
    /// All that was written to the present connection.
    pub output: Vec<u8>,
    /// The present connection got FIN.
    pub ended: bool,
}

struct NoOne;

impl Wake for NoOne {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

impl OneNet {
    // The clock starts somewhere; it is read once and stands still.
    #[allow(clippy::disallowed_methods)]
    fn new() -> Self {
        Self {
            now: Instant::now(),
            arrives: false,
            current: 0,
            id: None,
            stale: Vec::new(),
            input: VecDeque::new(),
            input_ended: false,
            writable: false,
            script: VecDeque::new(),
            output: Vec::new(),
            ended: false,
        }
    }
}

impl Net for OneNet {
    /// The connection's number.
    type Stream = u32;

    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, _: Option<Duration>, mut tell: impl FnMut(Ready)) -> io::Result<()> {
        for id in self.stale.drain(..) {
            tell(Ready::Connection { id, readable: true, writable: true, read_closed: true });
        }
        if mem::take(&mut self.arrives) {
            tell(Ready::Listener(0));
        }
        let readable = !self.input.is_empty() || self.input_ended;
        let writable = mem::take(&mut self.writable);
        if let Some(id) = self.id.filter(|_| readable || writable) {
            let read_closed = self.input_ended && self.input.is_empty();
            tell(Ready::Connection { id, readable, writable, read_closed });
        }
        Ok(())
    }

    fn accept(&mut self, _: u32) -> io::Result<(u32, Option<SocketAddr>)> {
        // Taken up once: `id` is the present connection's from its registration on.
        if self.id.is_some() || self.current == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok((self.current, None))
    }

    fn is_out_of_resources(&self, _: &io::Error) -> bool {
        false
    }

    fn refuse(&mut self, _: u32) -> io::Result<()> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn register(&mut self, _: &mut u32, id: ConnId) -> io::Result<()> {
        self.id = Some(id);
        Ok(())
    }

    fn read(&mut self, stream: &mut u32, into: &mut [u8]) -> io::Result<Input> {
        if *stream != self.current {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let Some(chunk) = self.input.front_mut() else {
            return if self.input_ended {
                Ok(Input::End)
            } else {
                Err(ErrorKind::WouldBlock.into())
            };
        };
        let n = chunk.len().min(into.len());
        into[..n].copy_from_slice(&chunk[..n]);
        chunk.drain(..n);
        if chunk.is_empty() {
            self.input.pop_front();
        }
        Ok(Input::Bytes { count: n, more: n == into.len() })
    }

    fn write(&mut self, stream: &mut u32, from: &[u8]) -> io::Result<usize> {
        if *stream != self.current {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let n = match self.script.pop_front() {
            Some(Write::Short(n)) => n.min(from.len()),
            Some(Write::Full) => {
                self.writable = true;
                return Err(ErrorKind::WouldBlock.into());
            }
            None => from.len(),
        };
        self.output.extend_from_slice(&from[..n]);
        Ok(n)
    }

    fn finish(&mut self, stream: &mut u32) -> io::Result<()> {
        self.ended |= *stream == self.current;
        Ok(())
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        Box::new(NoOne)
    }

    fn close_listeners(&mut self) {}
}

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
    pub server: Server<OneNet>,
    events: Events,
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
        Self {
            server: Server::with_net(OneNet::new(), config),
            events: Events::default(),
            messages: Vec::new(),
            told: None,
            writable: 0,
            wanted: Wanted::default(),
            accepted: Wanted::default(),
        }
    }

    pub fn net(&mut self) -> &mut OneNet {
        self.server.net()
    }

    /// The present connection.
    pub fn id(&mut self) -> ConnId {
        self.net().id.expect("a connection was registered")
    }

    /// A new connection, accepted and registered; the one before it is reset.
    pub fn connects(&mut self) {
        let net = self.server.net();
        net.stale.extend(net.id.take());
        net.current += 1;
        net.arrives = true;
        net.input.clear();
        net.script.clear();
        net.output.clear();
        (net.input_ended, net.ended, net.writable) = (false, false, false);
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
        let output = mem::take(&mut self.net().output);
        assert!(output.starts_with(b"HTTP/1.1 101 "), "{}", output.escape_ascii());
    }

    /// A new WebSocket that speaks permessage-deflate, each message on its own.
    pub fn opens_deflate(&mut self) {
        self.opens("Sec-WebSocket-Extensions: permessage-deflate\r\n");
    }

    /// The peer sends a chunk, and the server reads it in one turn.
    pub fn hears(&mut self, chunk: &[u8]) {
        if !chunk.is_empty() {
            self.net().input.push_back(chunk.to_vec());
        }
        self.turn();
    }

    /// The peer sends FIN.
    pub fn finishes(&mut self) {
        self.net().input_ended = true;
        self.turn();
    }

    /// Turns until the server has read and written all that it can.
    pub fn rests(&mut self) {
        for _ in 0..100_000 {
            let net = self.server.net();
            let (chunks, written) = (net.input.len(), net.output.len());
            let busy = net.writable;
            self.turn();
            let net = self.server.net();
            if !busy && net.output.len() == written && (chunks == 0 || net.input.len() == chunks) {
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    pub fn turn(&mut self) {
        self.server.poll(&mut self.events, Some(Duration::ZERO)).expect("the poll works");
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
                Event::Closed { id, reason } if Some(id) == self.server.net().id => {
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
        let (mut frames, rest) = sent(&self.server.net().output);
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
            // §5.5.1: the code is echoed.
            (End::Close(Some((code, reason))), Some(Some((echoed, _)))) if *code == echoed => {
                let reason = String::from_utf8(reason.clone()).expect("it was checked");
                assert_eq!(self.told, Some(Told::Peer(*code, reason)));
            }
            (End::Fail(code), Some(Some((sent, _)))) if *code == sent => {
                assert_eq!(self.told, Some(Told::Failed(*code)));
            }
            (end, close) => panic!("expected {end:?}, and the server sent {close:?}"),
        }
        assert_eq!(self.net().ended, *end != End::Open, "FIN behind a Close, and only there");
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
        let output = self.net().output.clone();
        if *verdict == Verdict::Incomplete {
            assert!(output.is_empty(), "{}", output.escape_ascii());
            return;
        }
        assert!(!output.is_empty(), "no answer: {verdict:?}");
        let answer = parse(&output);
        check_answer(&answer, request, verdict, &self.accepted);
        if let Verdict::Refuse(_) = verdict {
            assert!(answer.lists("connection", "close") && self.net().ended, "{answer:?}");
        }
    }
}
