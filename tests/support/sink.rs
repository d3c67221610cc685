//! A network in memory that costs next to nothing, so that what is counted and measured over it is
//! the server's: a connection is eight bytes, as many as a socket's, all of them say the same, and
//! what is written to them is counted and forgotten. A peer takes everything, or as much as it is
//! told to.

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
    /// What the kernels take, by the connections' places; those beyond take everything.
    kernels: Vec<Kernel>,
    /// Which connection is told of next as writable.
    writable: Vec<ConnId>,
}

/// One connection. It is as large as a socket's place in the server's table.
pub struct Stream {
    greeted: bool,
    place: u32,
}

/// What the kernel of one connection takes.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// So many bytes more.
    pub room: usize,
    /// It took less than it was given, and has not said since that it takes more.
    pub is_full: bool,
    /// Writes, and bytes of them that it took, since [`Sink::begins_counting`].
    pub writes: u64,
    pub bytes: u64,
}

impl Kernel {
    const EMPTY: Kernel = Kernel { room: usize::MAX, is_full: false, writes: 0, bytes: 0 };
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
            kernels: Vec::new(),
            writable: Vec::new(),
        }
    }

    /// So many connections, the first, have kernels of their own. Nothing is allocated for them later.
    pub fn has_kernels(&mut self, connections: usize) {
        self.kernels = vec![Kernel::EMPTY; connections];
        self.writable.reserve(4 * connections);
        self.readable.reserve(4 * connections);
    }

    /// The kernel of the connection takes so many bytes from here on.
    pub fn takes(&mut self, id: ConnId, bytes: usize) {
        let kernel = &mut self.kernels[place_of(id)];
        kernel.room = bytes;
        if bytes > 0 && mem::take(&mut kernel.is_full) {
            self.writable.push(id);
        }
    }

    pub fn kernel(&self, id: ConnId) -> Kernel {
        self.kernels[place_of(id)]
    }

    pub fn begins_counting(&mut self) {
        self.kernels.iter_mut().for_each(|kernel| (kernel.writes, kernel.bytes) = (0, 0));
    }

    pub fn counts(&self) -> &[Kernel] {
        &self.kernels
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

/// Where the server holds the connection.
fn place_of(id: ConnId) -> usize {
    id.to_bits() as u32 as usize
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
        for id in self.writable.drain(..) {
            tell(Ready::Connection { id, readable: false, writable: true, read_closed: false });
        }
        Ok(())
    }

    fn accept(&mut self, _: u32) -> io::Result<(Stream, Option<SocketAddr>)> {
        self.backlog = self.backlog.checked_sub(1).ok_or(ErrorKind::WouldBlock)?;
        Ok((Stream { greeted: false, place: 0 }, None))
    }

    fn is_out_of_resources(&self, _: &io::Error) -> bool {
        false
    }

    fn refuse(&mut self, _: u32) -> io::Result<()> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn register(&mut self, stream: &mut Stream, id: ConnId) -> io::Result<()> {
        stream.place = place_of(id) as u32;
        if let Some(kernel) = self.kernels.get_mut(place_of(id)) {
            *kernel = Kernel::EMPTY;
        }
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

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        let mut taken = from.len();
        if let Some(kernel) = self.kernels.get_mut(stream.place as usize) {
            taken = taken.min(kernel.room);
            kernel.is_full = taken < from.len();
            kernel.room -= if kernel.room == usize::MAX { 0 } else { taken };
            kernel.writes += 1;
            kernel.bytes += taken as u64;
        }
        self.bytes += taken as u64;
        if let Some(spans) = &mut self.spans {
            let start = from.as_ptr() as usize;
            spans.push(start..start + taken);
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
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

impl Sink {
    /// So many connections come.
    pub fn connects(&mut self, connections: usize) {
        self.backlog = connections;
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

    /// Turns until nothing waits to be sent: a turn writes to so many subscribers.
    pub fn empties(&mut self) {
        while self.hub().queued_bytes_total() > 0 {
            self.turn(|_, event| panic!("{event:?} is new here"));
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
                // What the peers get tells of these.
                Event::RequestHead { .. } | Event::Refused { .. } => {}
                other => panic!("{other:?} is new here"),
            });
        }
        // What is queued is written.
        self.turn(|_, event| panic!("{event:?} is new here"));
    }
}
