//! A server behind TLS that echoes, of one connection over a transport in memory.

use std::io::{ErrorKind, Result};
use std::time::{Instant, SystemTime};

use super::Input;
use super::pipe::Pipe;
use super::tls::{Clock, Limits, Sessions, Tls, TlsStream};

use crate::config::Config;

const CLOCK: Clock = Clock { now: Instant::now, wall: SystemTime::now };
/// What one session may hold at the most: vectors have room for as much again.
const HELD_BYTES_MAX: u64 = 1 << 20;

/// A server that echoes, of one connection.
pub struct Echo {
    sessions: Sessions<Pipe>,
    stream: TlsStream,
    pipe: Pipe,
    /// How much plaintext is read at once.
    most: usize,
    pub heard: Vec<u8>,
    echoed: usize,
    /// Something may have come that was not read.
    is_readable: bool,
    /// The peer says nothing more.
    is_over: bool,
    pub has_failed: bool,
}

impl Echo {
    pub fn new(tls: &Tls, most: usize) -> Self {
        let mut sessions = Sessions::new(CLOCK, Limits::new(&Config::default()));
        let pipe = Pipe::default();
        let stream = sessions.accept(pipe.clone(), tls);
        sessions.register(&stream).expect("it was accepted just now");
        let (heard, echoed) = (Vec::new(), 0);
        let (is_readable, is_over, has_failed) = Default::default();
        Self { sessions, stream, pipe, most, heard, echoed, is_readable, is_over, has_failed }
    }

    /// The peer sends this.
    pub fn comes(&mut self, bytes: &[u8]) {
        self.pipe.0.borrow_mut().to_server.extend(bytes);
        self.is_readable = true;
        self.rests();
    }

    /// The peer sends FIN.
    pub fn ends(&mut self) {
        self.pipe.0.borrow_mut().client_is_over = true;
        self.is_readable = true;
        self.rests();
    }

    /// The peer takes so much more.
    pub fn may_send(&mut self, bytes: usize) {
        self.pipe.0.borrow_mut().room += bytes;
        self.rests();
    }

    /// What has left.
    pub fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pipe.0.borrow_mut().to_client)
    }

    /// What the loop does, until it would wait.
    fn rests(&mut self) {
        for _ in 0..1_000_000 {
            self.sessions.begin_turn();
            let is_read = self.reads();
            let is_written = self.writes();
            assert!(self.sessions.counts().tls_held_bytes <= HELD_BYTES_MAX);
            if !is_read && !is_written {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Whether something was read.
    fn reads(&mut self) -> bool {
        if !self.is_readable || self.is_over || self.has_failed {
            return false;
        }
        let start = self.heard.len();
        self.heard.resize(start + self.most, 0);
        let read = self.sessions.read(&self.stream, &mut self.heard[start..]);
        let count = if let Ok(Input::Bytes { count, .. }) = read { count } else { 0 };
        self.heard.truncate(start + count);
        match read {
            Ok(Input::Bytes { more, .. }) => {
                self.is_readable = more;
                true
            }
            Ok(Input::End) => {
                self.is_over = true;
                true
            }
            Err(error) => {
                self.has_failed = error.kind() != ErrorKind::WouldBlock;
                self.is_readable = false;
                false
            }
        }
    }

    /// Whether something was taken.
    fn writes(&mut self) -> bool {
        if self.has_failed {
            return false;
        }
        if self.echoed < self.heard.len() {
            let taken = self.sessions.write(&self.stream, &self.heard[self.echoed..]);
            let taken = self.done(taken).unwrap_or(0);
            self.echoed += taken;
            return taken > 0;
        }
        let flushed = if self.is_over && !self.heard.is_empty() {
            self.sessions.finish(&self.stream)
        } else {
            self.sessions.flush(&self.stream)
        };
        self.done(flushed);
        false
    }

    fn done<T>(&mut self, result: Result<T>) -> Option<T> {
        let is_failed = |kind| kind != ErrorKind::WouldBlock;
        self.has_failed |= result.as_ref().is_err_and(|error| is_failed(error.kind()));
        result.ok()
    }

    /// It ends. Gives whether its handshake had come to its end.
    pub fn leaves(mut self) -> bool {
        self.sessions.release(self.stream);
        let counts = self.sessions.counts();
        assert_eq!((counts.tls_handshakes_open, counts.tls_held_bytes), (0, 0));
        let ends = [counts.tls_handshakes, counts.tls_handshakes_failed, counts.tls_plain_refused];
        assert!(ends.iter().sum::<u64>() <= 1, "{counts:?}");
        counts.tls_handshakes == 1
    }
}
