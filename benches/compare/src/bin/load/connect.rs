//! `connect`: connections that are made, upgraded and closed, again and again.
//!
//! Each goes through the handshake and the closing handshake (RFC 6455 §7.1): the client's Close, the
//! server's, and the server's end of the connection. So many at a time are under way. `raw` knows no
//! Close: there the client just ends.

use std::{
    io::{self, ErrorKind, Read, Write},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use serde_json::Value;

use crate::{open, options::Options, process::Mark};
use pushloop_compare::frame;

/// How long the last connections may take.
const PATIENCE: Duration = Duration::from_secs(20);
const ERRORS_SHOWN: u64 = 10;
/// Linux's number for it; the standard library has no name that is stable.
const EINPROGRESS: i32 = 115;

enum Step {
    /// The request is to be sent, as soon as the connection stands.
    Connecting,
    /// The answer is awaited.
    Asked,
    /// The Close is sent, and the server's is awaited, or only its end.
    Closing { closed: bool },
}

struct Attempt {
    stream: TcpStream,
    step: Step,
    came: Vec<u8>,
}

struct Connect<'o> {
    options: &'o Options,
    poll: Poll,
    request: Vec<u8>,
    /// `None` once no more are begun.
    attempts: Vec<Option<Attempt>>,
    begun: usize,
    done: u64,
    errors: u64,
}

pub fn run(options: &Options) -> io::Result<Value> {
    let (poll, request) = (Poll::new()?, open::request(options));
    let mut connect =
        Connect { options, poll, request, attempts: Vec::new(), begun: 0, done: 0, errors: 0 };
    for at in 0..options.connections {
        let attempt = connect.begin(at)?;
        connect.attempts.push(Some(attempt));
    }
    connect.turns_for(options.warmup, true)?;
    let before = Mark::now(options.pid, connect.done)?;
    connect.turns_for(options.seconds, true)?;
    let after = Mark::now(options.pid, connect.done)?;
    connect.turns_for(PATIENCE, false)?;
    for _ in 0..connect.attempts.iter().flatten().count() {
        connect.complain("takes too long");
    }
    Ok(after.since(before, "connection", connect.errors))
}

impl Connect<'_> {
    /// For so long, or until no attempt is left. An attempt that ends is followed by another one, if
    /// there is to be.
    fn turns_for(&mut self, time: Duration, again: bool) -> io::Result<()> {
        let end = Instant::now() + time;
        let mut events = Events::with_capacity(1024);
        while Instant::now() < end && self.attempts.iter().any(Option::is_some) {
            let nap = if self.options.sleep { Duration::from_millis(5) } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(nap)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                self.go_on(event.token().0, again)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, at: usize) -> io::Result<Attempt> {
        let socket = open::socket(self.begun)?;
        self.begun += 1;
        socket.set_nonblocking(true)?;
        match socket.connect(&self.options.address.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(at), both)?;
        Ok(Attempt { stream, step: Step::Connecting, came: Vec::new() })
    }

    fn go_on(&mut self, at: usize, again: bool) -> io::Result<()> {
        let Some(Some(attempt)) = self.attempts.get_mut(at) else { return Ok(()) };
        match attempt.go_on(self.options, &self.request) {
            Ok(()) => self.done += 1,
            Err(error) if waits(&error) => return Ok(()),
            Err(error) => self.complain(&error.to_string()),
        }
        self.attempts[at] = None;
        if again {
            self.attempts[at] = Some(self.begin(at)?);
        }
        Ok(())
    }

    fn complain(&mut self, what: &str) {
        if self.errors < ERRORS_SHOWN {
            eprintln!("load: a connection: {what}");
        }
        self.errors += 1;
    }
}

impl Attempt {
    /// As many steps as can be made, to its end or until it has to wait.
    fn go_on(&mut self, options: &Options, request: &[u8]) -> io::Result<()> {
        if let Step::Connecting = self.step {
            if self.stream.write(request)? < request.len() {
                return Err(io::Error::other("the kernel took half a request"));
            }
            self.step = Step::Asked;
        }
        let mut piece = [0; 2048];
        loop {
            let n = self.stream.read(&mut piece)?;
            self.came.extend_from_slice(&piece[..n]);
            match &mut self.step {
                Step::Closing { closed: true } if n == 0 => return Ok(()),
                _ if n == 0 => return Err(io::Error::other("the server ended the connection")),
                Step::Closing { closed } => {
                    *closed |= frame::is_close(&self.came);
                    if !*closed {
                        return Err(io::Error::other("not a Close frame"));
                    }
                }
                Step::Connecting | Step::Asked => {
                    let Some((head_len, _)) = open::answer(&self.came, options)? else { continue };
                    if options.raw {
                        return Ok(());
                    }
                    self.came.drain(..head_len);
                    self.stream.write_all(&frame::close())?;
                    self.step = Step::Closing { closed: frame::is_close(&self.came) };
                }
            }
        }
    }
}

/// Not yet, as opposed to not at all.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}
