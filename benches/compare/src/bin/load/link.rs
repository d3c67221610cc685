//! A connection that is open: what it may still send, and what it was sent.

use std::{
    io::{self, ErrorKind, Read, Write},
    rc::Rc,
};

use crate::{messages::Requests, stream::Stream};

#[derive(Debug)]
pub struct Link {
    pub stream: Stream,
    requests: Rc<Requests>,
    /// The message of the period that came first.
    phase: u64,
    /// In the endless stream of the period: up to where it was sent, and up to where it may be.
    sent: u64,
    allowed: u64,
    /// Messages that may be sent, and that came.
    pub asked: u64,
    pub received: u64,
    /// Pongs: they go between two messages.
    pub pongs: Vec<u8>,
    /// The beginning of a frame of which the rest has not come.
    pub kept: Vec<u8>,
    /// Why nothing is sent and read any more.
    pub lost: Option<String>,
}

impl Link {
    /// One of which `came` has come already.
    pub fn new(stream: Stream, requests: Rc<Requests>, phase: usize, came: Vec<u8>) -> Self {
        Self {
            stream,
            sent: requests.bytes_before(phase as u64),
            allowed: requests.bytes_before(phase as u64),
            requests,
            phase: phase as u64,
            asked: 0,
            received: 0,
            pongs: Vec::new(),
            kept: came,
            lost: None,
        }
    }

    /// Lets so many further messages be sent, and sends them.
    #[inline]
    pub fn send(&mut self, messages: u64) {
        self.asked += messages;
        self.allowed = self.requests.bytes_before(self.phase + self.asked);
        self.flush();
    }

    /// Sends what may be sent, as far as the kernel takes it.
    #[inline]
    pub fn flush(&mut self) {
        if (self.sent < self.allowed || !self.pongs.is_empty() || self.stream.holds_output())
            && self.lost.is_none()
            && let Err(error) = self.try_flush()
            && error.kind() != ErrorKind::WouldBlock
        {
            self.lose(&format!("cannot send: {error}"));
        }
    }

    fn try_flush(&mut self) -> io::Result<()> {
        self.stream.flush()?;
        if !self.pongs.is_empty() {
            let frame_end = self.sent + self.requests.to_frame_end(self.position()) as u64;
            self.send_to(frame_end)?;
            while !self.pongs.is_empty() {
                let n = write(&mut self.stream, &self.pongs)?;
                self.pongs.drain(..n);
            }
        }
        self.send_to(self.allowed)
    }

    /// What is sent next, in the period.
    fn position(&self) -> usize {
        (self.sent % self.requests.period_bytes() as u64) as usize
    }

    /// Sends up to a place in the stream.
    fn send_to(&mut self, end: u64) -> io::Result<()> {
        while self.sent < end {
            let waiting = usize::try_from(end - self.sent).unwrap_or(usize::MAX);
            let bytes = self.requests.slice(self.position(), waiting);
            self.sent += write(&mut self.stream, bytes)? as u64;
        }
        Ok(())
    }

    /// Reads once. 0 if there is nothing, and the connection is lost if there never will be.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => self.lose("the server ended the connection"),
                Ok(n) => return n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => self.lose(&format!("cannot receive: {error}")),
            }
            return 0;
        }
    }

    /// Gives the connection up.
    pub fn lose(&mut self, why: &str) {
        if self.lost.is_none() {
            self.lost = Some(why.into());
            // It may be gone already.
            let _ = self.stream.socket().shutdown(std::net::Shutdown::Both);
        }
    }
}

fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushloop_compare::frame;

    #[test]
    fn a_pong_waits_for_the_end_of_the_frame_that_is_half_sent() {
        const MESSAGES: u64 = 200;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut peer = listener.accept().unwrap().0;
        let requests = Rc::new(Requests::binary(100_000, 8));
        let words = ["echo", "ws://127.0.0.1:1"].map(Into::into);
        let options = crate::options::parse(words).unwrap().unwrap();
        let stream = Stream::new(stream, &options).unwrap();
        let mut link = Link::new(stream, Rc::clone(&requests), 3, Vec::new());
        link.send(MESSAGES);
        let begun = link.sent.div_ceil(requests.bytes_before(1)) - 3;
        assert!(requests.to_frame_end(link.position()) > 0, "the kernel took whole frames");
        assert_eq!(frame::control(&[0x89, 1, 7], &mut link.pongs), frame::Control::Passed(3));

        let len = (requests.bytes_before(3 + MESSAGES) - requests.bytes_before(3)) as usize;
        let mut came = vec![0; len + 7];
        for piece in came.chunks_mut(64 << 10) {
            link.flush();
            peer.read_exact(piece).unwrap();
        }
        assert_eq!((link.lost, link.sent), (None, link.allowed));
        let (mut rest, mut messages, mut pongs) = (&came[..], 0, 0);
        while let Some(frame) = frame::decode(rest) {
            if frame.first == 0x8A {
                assert_eq!(messages, begun);
                pongs += 1;
            } else {
                let start = requests.bytes_before((3 + messages) % 8) as usize;
                assert!(&rest[..frame.len] == requests.slice(start, frame.len));
                messages += 1;
            }
            rest = &rest[frame.len..];
        }
        assert_eq!((messages, pongs, rest.len()), (MESSAGES, 1, 0));
    }
}
