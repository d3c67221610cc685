//! A network in memory, whose peers say what they are told to and take what is written, or nothing.
//!
//! Its clock is the CPU time of this thread, and what a system call for each read and write would
//! take: a machine that is busy with something else makes no turn longer.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use pushloop::{ConnId, Input, Net, Ready, Wake};

/// What a call takes on loopback, about.
const READ: Duration = Duration::from_micros(1);
const WRITE: Duration = Duration::from_micros(3);

/// Peers for which there is room from the start.
const ROOM: usize = 16_384;

/// The CPU time of this thread; where the system does not tell it, time as such.
struct Cpu {
    file: Option<File>,
    began: Instant,
}

impl Cpu {
    fn time(&self) -> Duration {
        let Some(file) = &self.file else { return self.began.elapsed() };
        // What the system tells is of the last moment at which it looked; it looks now.
        thread::yield_now();
        let mut text = [0; 64];
        let n = file.read_at(&mut text, 0).expect("it was opened");
        let digits = text[..n].iter().take_while(|byte| byte.is_ascii_digit());
        let nanos = digits.fold(0, |nanos, digit| nanos * 10 + u64::from(digit - b'0'));
        Duration::from_nanos(nanos)
    }
}

/// What a peer says: the same bytes again and again.
#[derive(Clone, Default)]
pub struct Says {
    pub bytes: Rc<[u8]>,
    pub forever: bool,
}

impl Says {
    pub fn once(bytes: impl Into<Rc<[u8]>>) -> Self {
        Self { bytes: bytes.into(), forever: false }
    }

    pub fn forever(bytes: impl Into<Rc<[u8]>>) -> Self {
        Self { bytes: bytes.into(), forever: true }
    }
}

#[derive(Default)]
pub struct Peer {
    id: Option<ConnId>,
    says: Says,
    /// How much of it was read.
    read: usize,
    has_left: bool,
    takes: bool,
    /// Bytes that it was written.
    pub got: u64,
    /// While it is watched: the first bytes that were written to it last, and when, by [`Memory::busy`].
    pub heard: Option<([u8; 12], Duration)>,
    pub is_watched: bool,
}

pub struct Memory {
    cpu: Cpu,
    /// What the calls took so far.
    calls: Duration,
    /// By how much the clock was set ahead.
    pub ahead: Duration,
    pub peers: Vec<Peer>,
    backlog: VecDeque<usize>,
    ready: Vec<usize>,
}

/// One connection: its peer's place.
pub struct Stream(usize);

impl Memory {
    pub fn new() -> Self {
        let cpu =
            Cpu { file: File::open("/proc/thread-self/schedstat").ok(), began: Instant::now() };
        // What grew later would lie behind memory that the server gives back, and keep it from the system.
        let (peers, backlog) = (Vec::with_capacity(ROOM), VecDeque::with_capacity(ROOM));
        let ready = Vec::with_capacity(ROOM);
        Self { cpu, calls: Duration::ZERO, ahead: Duration::ZERO, peers, backlog, ready }
    }

    /// The time that was spent, on the whole.
    pub fn busy(&self) -> Duration {
        self.cpu.time() + self.calls
    }

    /// A peer that connects and says this first; gives its place.
    pub fn connects(&mut self, says: Says) -> usize {
        let place = self.peers.len();
        self.peers.push(Peer { says, takes: true, ..Peer::default() });
        self.backlog.push_back(place);
        place
    }

    pub fn id(&self, peer: usize) -> ConnId {
        self.peers[peer].id.expect("it was accepted")
    }

    pub fn says(&mut self, peer: usize, says: Says) {
        assert!(self.has_said_all(peer), "what it said before waits");
        (self.peers[peer].says, self.peers[peer].read) = (says, 0);
        self.ready.push(peer);
    }

    pub fn has_said_all(&self, peer: usize) -> bool {
        let Peer { says, read, .. } = &self.peers[peer];
        !says.forever && *read == says.bytes.len()
    }

    /// Ends its side once all is read that it said.
    pub fn leaves(&mut self, peer: usize) {
        self.peers[peer].has_left = true;
        self.ready.push(peer);
    }

    /// Whether it reads from here on.
    pub fn reads(&mut self, peer: usize, reads: bool) {
        self.peers[peer].takes = reads;
        self.ready.push(peer);
    }
}

struct NoWaker;

impl Wake for NoWaker {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Net for Memory {
    type Stream = Stream;

    fn now(&self) -> Instant {
        self.cpu.began + self.busy() + self.ahead
    }

    /// It never sleeps.
    fn wait(&mut self, _: Option<Duration>, mut tell: impl FnMut(Ready)) -> io::Result<()> {
        if !self.backlog.is_empty() {
            tell(Ready::Listener(0));
        }
        for place in self.ready.drain(..) {
            let Peer { id, takes, has_left, .. } = self.peers[place];
            let Some(id) = id else { continue };
            tell(Ready::Connection { id, readable: true, writable: takes, read_closed: has_left });
        }
        Ok(())
    }

    fn accept(&mut self, _: u32) -> io::Result<(Stream, Option<SocketAddr>)> {
        let place = self.backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        Ok((Stream(place), None))
    }

    fn is_out_of_resources(&self, _: &io::Error) -> bool {
        false
    }

    fn refuse(&mut self, _: u32) -> io::Result<()> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn register(&mut self, stream: &mut Stream, id: ConnId) -> io::Result<()> {
        self.peers[stream.0].id = Some(id);
        self.ready.push(stream.0);
        Ok(())
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<Input> {
        self.calls += READ;
        let Peer { says, read, has_left, .. } = &mut self.peers[stream.0];
        let mut n = 0;
        while n < into.len() && *read < says.bytes.len() {
            let piece = &says.bytes[*read..];
            let len = piece.len().min(into.len() - n);
            into[n..n + len].copy_from_slice(&piece[..len]);
            (n, *read) = (n + len, *read + len);
            if says.forever {
                *read %= says.bytes.len();
            }
        }
        match n {
            0 if *has_left => Ok(Input::End),
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(Input::Bytes { count, more: count == into.len() }),
        }
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        self.calls += WRITE;
        let now = self.peers[stream.0].is_watched.then(|| self.busy());
        let peer = &mut self.peers[stream.0];
        if !peer.takes {
            return Err(ErrorKind::WouldBlock.into());
        }
        peer.got += from.len() as u64;
        if let Some(now) = now {
            let mut first = [0; 12];
            first.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            peer.heard = Some((first, now));
        }
        Ok(from.len())
    }

    fn finish(&mut self, _: &mut Stream) -> io::Result<()> {
        Ok(())
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        Box::new(NoWaker)
    }

    fn close_listeners(&mut self) {
        self.backlog.clear();
    }
}
