//! Connections that come and end: each in the next of all ways.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pushloop_compare::request;
use socket2::SockRef;

use crate::{
    Done,
    client::{PING, connect, expect, masked, open},
};

/// One in so many connections is kept for a while.
const RARE: u64 = 400;
const WAYS: usize = 16;
const KEPT_WAYS: usize = 3;
pub const ALL_WAYS: usize = WAYS + KEPT_WAYS;
/// Longer than a handshake may take, and a closing handshake.
const KEPT: Duration = Duration::from_secs(7);
const HALF: &[u8] = b"GET /echo HTTP/1.1\r\nHost: lo";

/// How a connection ends, once all is said.
enum End {
    Drop,
    /// With RST.
    Reset,
    /// The server ends it; all that comes begins with this.
    Rest(&'static [u8]),
    /// The same, after the end of this side.
    Fin(&'static [u8]),
    /// The next frame is a Close with this code.
    Closes(u16),
}

/// The path of a WebSocket, or none; what is said on it; and how it ends.
type Way = (Option<&'static str>, Vec<u8>, End);

fn ways(server: SocketAddr) -> [Way; WAYS] {
    let say = |text: &[u8]| masked(0x81, text);
    [
        (Some("/echo"), masked(0x88, &1000_u16.to_be_bytes()), End::Rest(b"\x88\x02\x03\xe8")),
        (Some("/echo"), say(b"x"), End::Fin(b"\x81\x01x")),
        (Some("/echo"), vec![], End::Reset),
        (None, vec![], End::Drop),
        (None, vec![], End::Reset),
        (None, HALF.to_vec(), End::Drop),
        (None, HALF.to_vec(), End::Reset),
        (None, b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".into(), End::Rest(b"HTTP/1.1 400 ")),
        (Some("/echo"), b"\x81\x01x".into(), End::Closes(1002)),
        (Some("/echo"), say(b"half a frame")[..9].into(), End::Reset),
        (Some("/echo"), masked(0x01, b"half a message"), End::Fin(b"")),
        (Some("/panic"), say(b"x"), End::Closes(1011)),
        (Some("/alone"), vec![], End::Reset),
        (None, request("/echo", server, 12, "").into(), End::Rest(b"HTTP/1.1 426 ")),
        // What it asked for is on its way.
        (Some("/alone"), say(&[b'x'; 100]), End::Drop),
        (Some("/room"), vec![], End::Drop),
    ]
}

/// Those that are kept for a while: a handshake that never goes on; nothing is said; nothing is read
/// of all that comes.
fn kept_ways() -> [Way; KEPT_WAYS] {
    [
        (None, HALF.to_vec(), End::Drop),
        (Some("/echo"), vec![], End::Drop),
        (Some("/flood"), masked(0x81, b"flood"), End::Drop),
    ]
}

/// Makes connections, and ends them, until that is enough.
pub fn churn(server: SocketAddr, done: &Done, thread: u64) -> io::Result<()> {
    let (ways, kept_ways) = (ways(server), kept_ways());
    let mut kept: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    for round in 0.. {
        if !done.goes_on() {
            break;
        }
        let nth = round * 2 + thread;
        if round % RARE == 0 {
            let way = &kept_ways[(round / RARE) as usize % kept_ways.len()];
            kept.push_back((Instant::now(), begin(server, nth, way)?));
        } else {
            let at = round as usize % ways.len();
            let ended = begin(server, nth, &ways[at]).and_then(|stream| end(stream, &ways[at].2));
            ended.map_err(|error| io::Error::new(error.kind(), format!("way {at}: {error}")))?;
        }
        done.connections.fetch_add(1, Ordering::Relaxed);
        while kept.front().is_some_and(|(since, _)| since.elapsed() >= KEPT) {
            kept.pop_front();
        }
    }
    Ok(())
}

fn begin(server: SocketAddr, nth: u64, (path, said, _): &Way) -> io::Result<TcpStream> {
    let mut stream = match path {
        Some(path) => open(server, nth, path)?,
        None => connect(server, nth)?,
    };
    stream.write_all(said)?;
    Ok(stream)
}

fn end(mut stream: TcpStream, end: &End) -> io::Result<()> {
    match end {
        End::Drop => Ok(()),
        End::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
        End::Fin(start) | End::Rest(start) => {
            if let End::Fin(_) = end {
                stream.shutdown(Shutdown::Write)?;
            }
            let mut got = Vec::new();
            stream.read_to_end(&mut got)?;
            expect(got.strip_prefix(&PING).unwrap_or(&got), start)
        }
        End::Closes(code) => {
            let mut head = PING;
            while head == PING {
                stream.read_exact(&mut head)?;
            }
            let mut payload = vec![0; head[1].into()];
            stream.read_exact(&mut payload)?;
            expect(&head, b"\x88").and_then(|()| expect(&payload, &code.to_be_bytes()))
        }
    }
}
