//! Connections that come and end: each in the next of all ways.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use socket2::SockRef;

use crate::{
    Done,
    client::{connect, expect, handshake, masked, open},
};

/// The usual ways, and three that are kept for a while.
pub const WAYS: u64 = USUAL + 3;
const USUAL: u64 = 16;
/// One in so many connections is kept for a while.
const RARE: u64 = 400;
/// Longer than a handshake may take, and a closing handshake.
const KEPT: Duration = Duration::from_secs(7);

/// Makes connections, and ends them, until that is enough.
pub fn churn(server: SocketAddr, done: &Done, thread: u64) -> io::Result<()> {
    let mut kept: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    for round in 0.. {
        if !done.goes_on() {
            break;
        }
        let nth = round * 2 + thread;
        if round % RARE == 0 {
            kept.push_back((Instant::now(), keep(server, nth, round / RARE)?));
        } else {
            end(server, nth, round % USUAL).map_err(|error| {
                io::Error::new(error.kind(), format!("way {}: {error}", round % USUAL))
            })?;
        }
        done.connections.fetch_add(1, Ordering::Relaxed);
        while kept.front().is_some_and(|(since, _)| since.elapsed() >= KEPT) {
            kept.pop_front();
        }
    }
    Ok(())
}

/// A connection that is left alone.
fn keep(server: SocketAddr, nth: u64, way: u64) -> io::Result<TcpStream> {
    match way % (WAYS - USUAL) {
        // A handshake that never goes on.
        0 => {
            let mut stream = connect(server, nth)?;
            stream.write_all(b"GET /echo HTTP/1.1\r\nHost: lo")?;
            Ok(stream)
        }
        // Nothing is said.
        1 => open(server, nth, "/echo"),
        // Nothing is read of all that comes.
        _ => {
            let mut stream = open(server, nth, "/flood")?;
            stream.write_all(&masked(0x81, b"flood"))?;
            Ok(stream)
        }
    }
}

/// A connection from its beginning to its end.
fn end(server: SocketAddr, nth: u64, way: u64) -> io::Result<()> {
    match way {
        0 => {
            let mut stream = open(server, nth, "/echo")?;
            stream.write_all(&masked(0x88, &1000_u16.to_be_bytes()))?;
            rest(stream, b"\x88\x02\x03\xe8")
        }
        1 => {
            let mut stream = open(server, nth, "/echo")?;
            stream.write_all(&masked(0x81, b"x"))?;
            stream.shutdown(Shutdown::Write)?;
            rest(stream, b"\x81\x01x")
        }
        2 => open(server, nth, "/echo").and_then(|stream| reset(&stream)),
        3 => connect(server, nth).map(drop),
        4 => connect(server, nth).and_then(|stream| reset(&stream)),
        5 => begins(server, nth).map(drop),
        6 => begins(server, nth).and_then(|stream| reset(&stream)),
        7 => {
            let mut stream = connect(server, nth)?;
            stream.write_all(b"GET /echo HTTP/1.1\r\nHost : localhost\r\n\r\n")?;
            rest(stream, b"HTTP/1.1 400 ")
        }
        8 => {
            let mut stream = open(server, nth, "/echo")?;
            stream.write_all(b"\x81\x01x")?;
            closes(&mut stream, 1002)
        }
        9 => {
            let mut stream = open(server, nth, "/echo")?;
            stream.write_all(&masked(0x81, b"half a frame")[..9])?;
            reset(&stream)
        }
        10 => {
            let mut stream = open(server, nth, "/echo")?;
            stream.write_all(&masked(0x01, b"half a message"))?;
            stream.shutdown(Shutdown::Write)?;
            rest(stream, b"")
        }
        11 => {
            let mut stream = open(server, nth, "/panic")?;
            stream.write_all(&masked(0x81, b"x"))?;
            closes(&mut stream, 1011)
        }
        12 => open(server, nth, "/alone").and_then(|stream| reset(&stream)),
        13 => {
            let mut stream = connect(server, nth)?;
            stream.write_all(handshake("/echo", 12).as_bytes())?;
            rest(stream, b"HTTP/1.1 426 ")
        }
        // What it asked for is on its way.
        14 => {
            let mut stream = open(server, nth, "/alone")?;
            stream.write_all(&masked(0x81, &[b'x'; 100]))
        }
        _ => open(server, nth, "/room").map(drop),
    }
}

fn begins(server: SocketAddr, nth: u64) -> io::Result<TcpStream> {
    let mut stream = connect(server, nth)?;
    stream.write_all(b"GET /echo HTTP/1.1\r\nHost: lo")?;
    Ok(stream)
}

/// What a server sends to whom it has not heard of for long: this program may have been stopped.
const PING: [u8; 2] = [0x89, 0];

/// All that comes to the end begins with this.
fn rest(mut stream: TcpStream, start: &[u8]) -> io::Result<()> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    expect(got.strip_prefix(&PING).unwrap_or(&got), start)
}

/// The next frame is a Close with this code.
fn closes(stream: &mut TcpStream, code: u16) -> io::Result<()> {
    let mut head = PING;
    while head == PING {
        stream.read_exact(&mut head)?;
    }
    let mut payload = vec![0; head[1].into()];
    stream.read_exact(&mut payload)?;
    expect(&head, b"\x88").and_then(|()| expect(&payload, &code.to_be_bytes()))
}

/// Ends it with RST.
fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
