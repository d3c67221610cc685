//! A network in memory that costs next to nothing, so that what is counted and measured over it is
//! the server's: a connection is eight bytes, as many as a socket's, all of them say the same, and
//! what is written to them is counted and forgotten.

// Each test file and benchmark is a crate of its own that needs a part of this.
#![allow(dead_code)]

use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pushloop::{Accept, Config, ConnId, Event, Events, Hub, Input, Net, Ready, Server, Wake};

/// What every connection says first.
pub const HANDSHAKE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub struct Sink {
    pub now: Instant,
    /// Connections that are yet to be accepted.
    backlog: usize,
    /// Who is told of next as readable.
    readable: Vec<ConnId>,
    /// What is read from a connection after its handshake.
    says: Vec<u8>,
    woken: Arc<AtomicBool>,
    pub writes: u64,
    pub bytes: u64,
    /// Where in memory each write began and ended, if that is to be kept.
    pub spans: Option<Vec<Range<usize>>>,
}

/// One connection.
pub struct Stream {
    greeted: bool,
    /// As large as a socket's place in the server's table.
    _padding: u32,
}

impl Sink {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    fn new() -> Self {
        Self {
            now: Instant::now(),
            backlog: 0,
            readable: Vec::new(),
            says: Vec::new(),
            woken: Arc::default(),
            writes: 0,
            bytes: 0,
            spans: None,
        }
    }

    /// What every connection says from here on, each time that it is asked to.
    pub fn says(&mut self, bytes: Vec<u8>) {
        self.says = bytes;
    }

    /// There is something to read of this connection.
    pub fn speaks(&mut self, id: ConnId) {
        self.readable.push(id);
    }
}

struct Flag(Arc<AtomicBool>);

impl Wake for Flag {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Net for Sink {
    type Stream = Stream;

    fn now(&self) -> Instant {
        self.now
    }

    /// It never sleeps: whoever measures moves the clock.
    fn wait(&mut self, _: Option<Duration>, mut tell: impl FnMut(Ready)) -> io::Result<()> {
        if self.woken.swap(false, Ordering::SeqCst) {
            tell(Ready::Mailbox);
        }
        if self.backlog > 0 {
            tell(Ready::Listener(0));
        }
        for id in self.readable.drain(..) {
            tell(Ready::Connection { id, readable: true, writable: false, read_closed: false });
        }
        Ok(())
    }

    fn accept(&mut self, _: u32) -> io::Result<(Stream, Option<SocketAddr>)> {
        self.backlog = self.backlog.checked_sub(1).ok_or(ErrorKind::WouldBlock)?;
        Ok((Stream { greeted: false, _padding: 0 }, None))
    }

    fn is_out_of_resources(&self, _: &io::Error) -> bool {
        false
    }

    fn refuse(&mut self, _: u32) -> io::Result<()> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn register(&mut self, _: &mut Stream, id: ConnId) -> io::Result<()> {
        self.readable.push(id);
        Ok(())
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<Input> {
        let says = if mem::replace(&mut stream.greeted, true) { &self.says } else { HANDSHAKE };
        if says.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        into[..says.len()].copy_from_slice(says);
        Ok(Input::Bytes { count: says.len(), more: says.len() == into.len() })
    }

    fn write(&mut self, _: &mut Stream, from: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        self.bytes += from.len() as u64;
        if let Some(spans) = &mut self.spans {
            let start = from.as_ptr() as usize;
            spans.push(start..start + from.len());
        }
        Ok(from.len())
    }

    fn finish(&mut self, _: &mut Stream) -> io::Result<()> {
        Ok(())
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        Box::new(Flag(Arc::clone(&self.woken)))
    }

    fn close_listeners(&mut self) {
        self.backlog = 0;
    }
}

/// A server on such a network, and its loop.
pub struct Drain {
    pub server: Server<Sink>,
    pub events: Events,
}

impl Drain {
    pub fn new(config: Config) -> Self {
        let server = Server::with_net(Sink::new(), config);
        Self { server, events: Events::default() }
    }

    pub fn hub(&mut self) -> &mut Hub {
        self.server.hub()
    }

    /// One turn, whose events the application gets.
    pub fn turn(&mut self, mut app: impl FnMut(&mut Hub, Event<'_>)) {
        self.server.poll(&mut self.events, Some(Duration::ZERO)).expect("the poll works");
        let hub = self.server.hub();
        for event in &self.events {
            app(hub, event);
        }
    }

    /// So many more WebSockets, each of which `opened` gets.
    pub fn opens(&mut self, connections: usize, mut opened: impl FnMut(&mut Hub, ConnId)) {
        self.server.net().backlog = connections;
        let mut open = 0;
        while open < connections {
            self.turn(|hub, event| match event {
                Event::Request { id, .. } => {
                    hub.accept(id, Accept::default()).expect("it is a handshake");
                }
                Event::Opened { id } => {
                    open += 1;
                    opened(hub, id);
                }
                other => panic!("{other:?} is new here"),
            });
        }
        // What is queued is written.
        self.turn(|_, event| panic!("{event:?} is new here"));
    }
}
