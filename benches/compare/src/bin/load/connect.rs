//! `connect`: connections that are made, upgraded and closed, again and again.
//!
//! Each goes through the handshake and the closing handshake (RFC 6455 §7.1): the client's Close, the
//! server's, and the server's end of the connection. So many at a time are under way. `raw` knows no
//! Close: there the client just ends.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use serde_json::Value;

use crate::{Faults, open, options::Options, process::Mark, stream::Stream};
use pushloop_compare::frame;

/// How long the last connections may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Linux's number for it; the standard library has no name that is stable.
const EINPROGRESS: i32 = 115;

struct Attempt {
    stream: Stream,
    /// None before it has left a session that could be resumed.
    is_first: bool,
    /// The request is sent, as soon as the connection stands.
    asked: bool,
    /// The Close is sent, and the server's is awaited, and its end.
    closing: bool,
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
    /// Of these, how many resumed an earlier session.
    resumed: u64,
    faults: Faults,
}

pub fn run(options: &Options) -> io::Result<Value> {
    let (poll, request) = (Poll::new()?, open::request(options));
    let mut connect = Connect {
        options,
        poll,
        request,
        attempts: Vec::new(),
        begun: 0,
        done: 0,
        resumed: 0,
        faults: Faults::default(),
    };
    for at in 0..options.connections {
        let attempt = connect.begin(at)?;
        connect.attempts.push(Some(attempt));
    }
    if options.resume {
        connect.turns_while(PATIENCE, true, |attempt| attempt.is_first)?;
    }
    connect.turns_for(options.warmup, true)?;
    let (before, done, resumed) =
        (Mark::now(options.pid, connect.done)?, connect.done, connect.resumed);
    connect.turns_for(options.seconds, true)?;
    let after = Mark::now(options.pid, connect.done)?;
    let (done, resumed) = (connect.done - done, connect.resumed - resumed);
    connect.turns_for(PATIENCE, false)?;
    for _ in 0..connect.attempts.iter().flatten().count() {
        connect.faults.add(1, "a connection takes too long");
    }
    let mut found = after.since(before, "connection", connect.faults.0);
    if options.resume {
        found["resumed_share"] = (1.0 - (done - resumed) as f64 / done.max(1) as f64).into();
    }
    Ok(found)
}

impl Connect<'_> {
    /// For so long, or until no attempt is left. An attempt that ends is followed by another one, if
    /// there is to be.
    fn turns_for(&mut self, time: Duration, again: bool) -> io::Result<()> {
        self.turns_while(time, again, |_| true)
    }

    /// The same, or until none of these is left.
    fn turns_while(
        &mut self,
        time: Duration,
        again: bool,
        of_these: fn(&Attempt) -> bool,
    ) -> io::Result<()> {
        let end = Instant::now() + time;
        let mut events = Events::with_capacity(1024);
        while Instant::now() < end && self.attempts.iter().flatten().any(of_these) {
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
        let is_first = self.begun < self.options.connections;
        self.begun += 1;
        socket.set_nonblocking(true)?;
        match socket.connect(&self.options.address.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            _ => {}
        }
        let stream = Stream::new(socket.into(), self.options)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(at), both)?;
        Ok(Attempt { stream, is_first, asked: false, closing: false, came: Vec::new() })
    }

    fn go_on(&mut self, at: usize, again: bool) -> io::Result<()> {
        let Some(Some(attempt)) = self.attempts.get_mut(at) else { return Ok(()) };
        match attempt.go_on(self.options, &self.request) {
            Ok(()) => {
                self.done += 1;
                self.resumed += u64::from(attempt.stream.is_resumed());
            }
            Err(error) if waits(&error) => return Ok(()),
            Err(error) => self.faults.add(1, &format!("a connection: {error}")),
        }
        self.attempts[at] = None;
        if again {
            self.attempts[at] = Some(self.begin(at)?);
        }
        Ok(())
    }
}

impl Attempt {
    /// As many steps as can be made, to its end or until it has to wait.
    fn go_on(&mut self, options: &Options, request: &[u8]) -> io::Result<()> {
        if !self.asked {
            if self.stream.write(request)? < request.len() {
                return Err(io::Error::other("the kernel took half a request"));
            }
            self.asked = true;
        }
        let mut piece = [0; 2048];
        loop {
            let n = self.stream.read(&mut piece)?;
            self.came.extend_from_slice(&piece[..n]);
            if n == 0 && (!self.closing || self.came.is_empty()) {
                return Err(io::Error::other("the server ended the connection"));
            }
            if self.closing {
                if !frame::is_close(&self.came) {
                    return Err(io::Error::other("not a Close frame"));
                }
                if n == 0 {
                    return Ok(());
                }
            } else if let Some((head_len, _)) = open::answer(&self.came, options)? {
                if options.raw {
                    return Ok(());
                }
                self.came.drain(..head_len);
                self.stream.write_all(&frame::close())?;
                self.closing = true;
            }
        }
    }
}

/// Not yet, as opposed to not at all.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}
