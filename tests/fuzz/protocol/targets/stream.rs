//! What a client sends after its handshake, in chunks. The first byte of the input says which
//! limits there are and whether messages may be compressed, the second how the rest is cut.

use std::cell::RefCell;
use std::io::{self, Read, Write};

use crate::oracle::drive::Drive;
use crate::oracle::stream::{End, Heard, Limits, hear};
use crate::support::dice::Dice;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

const LIMITS: [(u64, u32); 3] = [(65_536, 1024), (100, 3), (u64::MAX, u32::MAX)];

thread_local! {
    static DRIVES: [RefCell<Drive>; 3] = LIMITS.map(|(bytes, frames)| {
        RefCell::new(Drive::new(|config| {
            config.message_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
            config.message_frames_max = frames;
        }))
    });
}

pub fn run(data: &[u8]) {
    let [flags, seed, bytes @ ..] = data else { return };
    let (at, deflate) = (usize::from(flags / 2) % 3, flags % 2 == 1);
    let limits = Limits {
        message_bytes: LIMITS[at].0,
        message_frames: LIMITS[at].1,
        deflate,
        window: if deflate { 1 << 15 } else { 0 },
    };
    // Where nothing bounds what a message inflates to, nothing bounds the test.
    if at == 2 && deflate {
        return;
    }
    let (heard, end) = hear(bytes, limits);
    DRIVES.with(|drives| ours(&mut drives[at].borrow_mut(), *seed, bytes, limits, &heard, &end));
    if at == 0 && !deflate {
        theirs(bytes, &heard, &end);
    }
}

fn ours(drive: &mut Drive, seed: u8, bytes: &[u8], limits: Limits, heard: &[Heard], end: &End) {
    if limits.deflate {
        drive.opens_deflate()
    } else {
        drive.opens("")
    }
    let mut dice = Dice::new(seed.into());
    let chunk_max = [usize::MAX, 1, 3, 16, 200][usize::from(seed) % 5];
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = rest.len().min(chunk_max);
        let len = if seed < 5 { len } else { 1 + dice.below(len) };
        drive.hears(&rest[..len]);
        rest = &rest[len..];
    }
    drive.rests();
    drive.expects(heard, end);
}

/// Gives all bytes, then `WouldBlock`, and takes whatever is written.
struct Pipe<'a>(&'a [u8]);

impl Read for Pipe<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(into) }
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Another server hears the same up to where the stream fails; it may be laxer about that, and
/// its limits are larger.
fn theirs(bytes: &[u8], heard: &[Heard], end: &End) {
    let mut socket = WebSocket::from_raw_socket(Pipe(bytes), Role::Server, None);
    let mut theirs = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => theirs.push(Heard::Text(text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => theirs.push(Heard::Binary(bytes.to_vec())),
            Ok(Message::Ping(payload)) => theirs.push(Heard::Ping(payload.to_vec())),
            Ok(Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(_)) | Err(_) => break,
        }
    }
    assert!(
        theirs.len() >= heard.len() && theirs[..heard.len()] == *heard,
        "{theirs:?}, {heard:?}"
    );
    if !matches!(end, End::Fail(_)) {
        assert_eq!(theirs.len(), heard.len(), "{theirs:?}");
    }
}
