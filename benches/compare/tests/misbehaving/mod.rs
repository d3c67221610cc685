//! A server that echoes or publishes, and does one thing wrong, once.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// What goes wrong on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Right, with a Ping between: nothing more comes before it is answered.
    Ping,
    WrongByte,
    Swapped,
    Missing,
    Doubled,
    /// The last message comes a second time when nothing is to come any more.
    Late,
    /// From there on nothing comes.
    Silent,
    /// All wait for a third of a second, and nothing is wrong.
    Stall,
    /// The connection ends, with a Close frame or without.
    Close,
    End,
    /// The connection ends, or something comes, as soon as it is open.
    Ended,
    Noisy,
    /// The handshake is wrong.
    Accept,
    Refused,
}

/// The message that it happens to, counted from 0 on its connection.
const AT: usize = 5;
/// The connection that it happens on.
const ON: usize = 1;
pub const STALL: Duration = Duration::from_millis(300);
const QUIET: Duration = Duration::from_millis(20);

/// One that gets messages, and how many it has got.
struct Receiver {
    stream: TcpStream,
    fault: Fault,
    sent: usize,
    /// Held back until another one of the same sender has gone out, and the sender.
    held: Option<(usize, Vec<u8>)>,
    last: Vec<u8>,
    /// What waits for a Pong.
    behind_ping: Option<Vec<u8>>,
}

type Receivers = Arc<Mutex<Vec<Receiver>>>;

/// Begins to serve, on threads that end with the test. `/fan` publishes, and others echo.
pub fn serve(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let receivers = Receivers::default();
    thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let (stream, receivers) = (stream.expect("it was accepted"), Arc::clone(&receivers));
            let fault = if at == ON { fault } else { Fault::None };
            // How a connection ends is for the client to see.
            thread::spawn(move || connection(stream, fault, &receivers).ok());
        }
    });
    address
}

fn connection(mut stream: TcpStream, fault: Fault, all: &Receivers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let own = stream.try_clone()?;
    let at = {
        let mut all = all.lock().expect("nobody panicked");
        all.push(Receiver {
            stream: own,
            fault,
            sent: 0,
            held: None,
            last: vec![],
            behind_ping: None,
        });
        all.len() - 1
    };
    stream.write_all(answer(&head, fault).as_bytes())?;
    match fault {
        Fault::Ended => return stream.shutdown(Shutdown::Both),
        Fault::Noisy => stream.write_all(b"no")?,
        _ => {}
    }
    let fan = head.starts_with("GET /fan ");
    stream.set_read_timeout(Some(QUIET))?;
    let mut input = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => input.extend_from_slice(&piece[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                all.lock().expect("nobody panicked")[at].nothing_came()?;
            }
            Err(error) => return Err(error),
        }
        while let Some((first, frame)) = take_frame(&mut input) {
            let mut all = all.lock().expect("nobody panicked");
            match first {
                0x8A => {
                    let waited = all[at].behind_ping.take().expect("a Pong is for a Ping");
                    stream.write_all(&waited)?;
                }
                0x88 => {
                    stream.write_all(&frame)?;
                    return stream.shutdown(Shutdown::Both);
                }
                _ if fan => all.iter_mut().try_for_each(|receiver| receiver.send(at, &frame))?,
                _ => all[at].send(at, &frame)?,
            }
        }
    }
}

fn answer(head: &str, fault: Fault) -> String {
    // The example of RFC 6455 §1.3, or with its last letter changed.
    assert!(head.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "{head}");
    let last = if fault == Fault::Accept { 'p' } else { 'o' };
    let status = if fault == Fault::Refused { "503 No" } else { "101 Yes" };
    format!(
        "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xO{last}=\r\n\r\n"
    )
}

/// Takes a client's short frame: its first byte, and how it is sent back.
fn take_frame(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let len = usize::from(*input.get(1)? & 0x7F);
    assert!(len < 126, "short frames only");
    let key: [u8; 4] = input.get(2..6)?.try_into().ok()?;
    let payload = input.get(6..6 + len)?.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b);
    let frame = [input[0], len as u8].into_iter().chain(payload).collect();
    let first = input[0];
    input.drain(..6 + len);
    Some((first, frame))
}

impl Receiver {
    fn send(&mut self, sender: usize, frame: &[u8]) -> io::Result<()> {
        let mut out = frame.to_vec();
        if self.sent >= AT && self.fault == Fault::Silent {
            return Ok(());
        }
        if self.sent == AT {
            match self.fault {
                Fault::Stall => thread::sleep(STALL),
                Fault::WrongByte => *out.last_mut().expect("a frame has bytes") ^= 1,
                Fault::Swapped => self.held = Some((sender, std::mem::take(&mut out))),
                Fault::Missing => out.clear(),
                Fault::Doubled => out.extend_from_slice(frame),
                Fault::Close => out = vec![0x88, 4, 0x03, 0xF3, b'n', b'o'],
                Fault::Ping => {
                    self.stream.write_all(&[0x89, 2, b'h', b'i'])?;
                    self.behind_ping = Some(Vec::new());
                }
                Fault::End => return self.stream.shutdown(Shutdown::Both),
                _ => {}
            }
        } else if let Some((_, held)) = self.held.take_if(|held| held.0 == sender) {
            out.extend(held);
        }
        self.sent += 1;
        self.last = frame.to_vec();
        match &mut self.behind_ping {
            Some(waiting) => waiting.extend(out),
            // One that is gone does not keep the others from being sent to.
            None => drop(self.stream.write_all(&out)),
        }
        Ok(())
    }

    fn nothing_came(&mut self) -> io::Result<()> {
        if self.fault == Fault::Late && self.sent > AT {
            self.fault = Fault::None;
            self.stream.write_all(&self.last)?;
        }
        Ok(())
    }
}
