//! The limit of the comparison: what the kernel's TCP and one loop cost when there is no WebSocket.
//!
//! `raw [127.0.0.1:9001]` prints `listening on HOST:PORT` and serves on one thread. A request head, if
//! it ends in an empty line, is answered with a fixed 101; what is in it but the path is not looked
//! at. From then on bytes are bytes: on any path but `/fan` they go back as they came, with one `recv`
//! and one `send` for each readiness. On `/fan`, what comes in a turn is appended to one buffer, and
//! at the turn's end each connection there gets all of it by one `send`.
//!
//! Readiness is edge-triggered, so that nothing is registered twice, and a short `recv` means that
//! the kernel has no more. Since frames are not known, what several publish is only kept apart if a
//! `recv` ends where a `send` of theirs did: so it is on loopback for messages of one small segment.

use std::{
    env,
    io::{self, ErrorKind, Read, Write},
    mem,
    net::SocketAddr,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
const LISTENER: Token = Token(usize::MAX);
/// Only what is used of it is touched, so that room for a whole burst costs nothing.
const RECEIVE_BYTES: usize = 1024 * 1024;
/// A peer that does not read is dropped here.
const REST_BYTES_MAX: usize = 256 * 1024 * 1024;

enum Path {
    /// Not known yet: the head so far.
    Head(Vec<u8>),
    Echo,
    Fan,
}

struct Peer {
    stream: TcpStream,
    path: Path,
    /// What the kernel did not take.
    rest: Vec<u8>,
}

impl Peer {
    /// Sends as much as the kernel takes, and keeps the rest.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.rest.is_empty() { write(&mut self.stream, bytes)? } else { 0 };
        self.rest.extend_from_slice(&bytes[sent..]);
        if self.rest.len() > REST_BYTES_MAX {
            Err(io::Error::other("does not read"))
        } else {
            Ok(())
        }
    }
}

/// Writes until the kernel is full; the bytes that it took.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

struct Raw {
    poll: Poll,
    listener: TcpListener,
    peers: Slab<Peer>,
    /// The connections on `/fan`.
    fan: Vec<usize>,
    /// What came on `/fan` in this turn.
    turn: Vec<u8>,
    buffer: Box<[u8]>,
}

impl Raw {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        println!("listening on {}", listener.local_addr()?);
        let buffer = vec![0; RECEIVE_BYTES].into_boxed_slice();
        Ok(Self { poll, listener, peers: Slab::new(), fan: Vec::new(), turn: Vec::new(), buffer })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    Token(at) => {
                        if self.peers.contains(at) && self.serve(at).is_err() {
                            self.end(at);
                        }
                    }
                }
            }
            self.send_turn();
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let entry = self.peers.vacant_entry();
            let both = Interest::READABLE | Interest::WRITABLE;
            let registered = self.poll.registry().register(&mut stream, Token(entry.key()), both);
            if stream.set_nodelay(true).is_ok() && registered.is_ok() {
                entry.insert(Peer { stream, path: Path::Head(Vec::new()), rest: Vec::new() });
            }
        }
    }

    /// One readiness of a connection; the error is its end.
    fn serve(&mut self, at: usize) -> io::Result<()> {
        let peer = &mut self.peers[at];
        if !peer.rest.is_empty() {
            let rest = mem::take(&mut peer.rest);
            peer.send(&rest)?;
        }
        // A peer that does not read is not read from; when there is room again, that is a readiness, too.
        while peer.rest.is_empty() {
            let n = match peer.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let came = &self.buffer[..n];
            match &mut peer.path {
                Path::Echo => peer.send(came)?,
                Path::Fan => self.turn.extend_from_slice(came),
                Path::Head(head) => {
                    head.extend_from_slice(came);
                    if head.ends_with(b"\r\n\r\n") {
                        let fan = head.starts_with(b"GET /fan ");
                        peer.path = if fan { Path::Fan } else { Path::Echo };
                        if fan {
                            self.fan.push(at);
                        }
                        peer.send(ANSWER)?;
                    }
                }
            }
            if n < self.buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn send_turn(&mut self) {
        if self.turn.is_empty() {
            return;
        }
        let mut place = 0;
        while let Some(&at) = self.fan.get(place) {
            match self.peers[at].send(&self.turn) {
                Ok(()) => place += 1,
                Err(_) => self.end(at),
            }
        }
        self.turn.clear();
    }

    fn end(&mut self, at: usize) {
        let peer = self.peers.remove(at);
        if let Path::Fan = peer.path {
            self.fan.retain(|other| *other != at);
        }
    }
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    Raw::bind(address.parse().map_err(io::Error::other)?)?.run()
}
