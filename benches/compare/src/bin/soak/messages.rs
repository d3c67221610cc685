//! The messages: echoes, and publications to a room. What comes back is held to be what is due, byte
//! for byte.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::Ordering,
};

use pushloop_compare::frame;

use crate::{
    Done,
    client::{PING, masked, open},
};

/// Messages under way at once.
const BURST: u64 = 32;

/// A burst of numbered messages, as they are sent and as they come back.
fn burst(number: &mut u64) -> (Vec<u8>, Vec<u8>) {
    let (mut sent, mut due) = (Vec::new(), Vec::new());
    for _ in 0..BURST {
        *number += 1;
        let payload = format!("{number:020}");
        sent.extend(masked(0x81, payload.as_bytes()));
        due.extend(frame::encode(frame::TEXT, payload.as_bytes(), None));
    }
    (sent, due)
}

/// The next frames are these. A server that was silent for long may have sent a Ping before.
fn reads(stream: &mut TcpStream, due: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(due.len(), 0);
    stream.read_exact(buffer)?;
    while buffer.starts_with(&PING) {
        stream.write_all(&masked(0x8A, &[]))?;
        buffer.drain(..PING.len());
        let mut rest = PING;
        stream.read_exact(&mut rest)?;
        buffer.extend(rest);
    }
    if buffer == due { Ok(()) } else { Err(io::Error::other("something else came")) }
}

/// One after the other sends a burst; in a room, all get it.
pub fn talk(server: SocketAddr, done: &Done, path: &str, members: usize) -> io::Result<()> {
    let in_a_room = path == "/room";
    let streams: io::Result<Vec<_>> =
        (0..members).map(|nth| open(server, nth as u64, path)).collect();
    let (mut streams, mut number, mut buffer) = (streams?, 0, Vec::new());
    for speaker in (0..members).cycle() {
        if !done.goes_on() {
            break;
        }
        let (sent, due) = burst(&mut number);
        streams[speaker].write_all(&sent)?;
        let listeners = if in_a_room { 0..members } else { speaker..speaker + 1 };
        for stream in &mut streams[listeners.clone()] {
            reads(stream, &due, &mut buffer)?;
        }
        done.messages.fetch_add(BURST * listeners.len() as u64, Ordering::Relaxed);
    }
    for mut stream in streams {
        stream.write_all(&masked(0x88, &1000_u16.to_be_bytes()))?;
        stream.read_to_end(&mut buffer)?;
    }
    Ok(())
}
