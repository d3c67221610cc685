//! A server whose loop is the test, with its heap counted, and peers by the thousand on the same
//! thread: nothing depends on who is scheduled when.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use pushloop::{Accept, Config, ConnId, Event, Events, Hub, Server};
use socket2::{Domain, Socket, Type};

use crate::support::campaign::{needs_descriptors, now, scale};
use crate::support::{Frame, PATIENCE, handshake};

/// How long a test may take before it is given up: a campaign has more to do.
fn patience() -> Duration {
    scale(6 * PATIENCE, 60 * PATIENCE)
}

/// Bytes of buffers that a server keeps to use again.
pub const SPARES: usize = 4 << 20;

/// Descriptors are the process's, and two crowds at once may not find enough.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other crowd is there, and lets this process have so many descriptors.
pub fn turn_with_descriptors(count: usize) -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    needs_descriptors(count);
    turn
}

/// A server and its loop.
pub struct Crowded {
    pub server: Server,
    events: Events,
    address: SocketAddr,
    /// Bytes on the heap that the server has taken since it was made, and the most that it had.
    pub heap: i64,
    pub heap_max: i64,
    /// From 127.0.0.1 alone there are not ports enough.
    sources: u32,
    gives_up: Instant,
    _turn: MutexGuard<'static, ()>,
}

/// What a test does about an event, beside accepting requests.
pub type App<'a> = &'a mut dyn FnMut(&mut Hub, Event<'_>);

pub fn nothing(_: &mut Hub, _: Event<'_>) {}

/// Every message goes back to whoever sent it.
pub fn echo(hub: &mut Hub, event: Event<'_>) {
    if let Event::Message { id, message } = event {
        hub.send(id, message).expect("whoever is answered here reads");
    }
}

impl Crowded {
    /// For so many peers at once.
    pub fn new(mut config: Config, peers: usize) -> Self {
        let turn = turn_with_descriptors(2 * peers + 200);
        config.ping_interval = None;
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a socket");
        // What the kernel takes for a peer that does not read is not the server's; the less, the more
        // is. Connections inherit it.
        listener.set_send_buffer_size(4096).expect("it is a socket's option");
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener.bind(&loopback.into()).expect("a port is free");
        listener.listen(4096).expect("it is bound");
        let mut server = Server::new(config).expect("there are descriptors");
        let address = server.listen_on(listener.into()).expect("it listens");
        Self {
            server,
            events: Events::default(),
            address,
            heap: 0,
            heap_max: 0,
            sources: 0,
            gives_up: now() + patience(),
            _turn: turn,
        }
    }

    /// Does something with the hub; what it allocates is counted.
    pub fn act<R>(&mut self, job: impl FnOnce(&mut Hub) -> R) -> R {
        let mut result = None;
        let server = &mut self.server;
        let info = measure(|| result = Some(job(server.hub())));
        self.heap_max = self.heap_max.max(self.heap + info.bytes_max as i64);
        self.heap += info.bytes_current;
        result.expect("it was done")
    }

    /// One turn that does not sleep. Requests are accepted, whether they ask for a WebSocket or not.
    pub fn turn(&mut self, app: App<'_>) {
        self.turn_within(Duration::ZERO, app);
    }

    pub fn turn_within(&mut self, timeout: Duration, app: App<'_>) {
        assert!(now() < self.gives_up, "what the test waits for does not come about");
        let (server, events) = (&mut self.server, &mut self.events);
        let info = measure(|| {
            server.poll(events, Some(timeout)).expect("the poll works");
            for event in &*events {
                if let Event::Request { id, .. } = event {
                    // A plain request is answered with 426.
                    let _ = server.hub().accept(id, Accept::default());
                } else {
                    app(server.hub(), event);
                }
            }
        });
        self.heap_max = self.heap_max.max(self.heap + info.bytes_max as i64);
        self.heap += info.bytes_current;
    }

    /// Turns until the hub fulfils a condition.
    pub fn until(&mut self, app: App<'_>, mut done: impl FnMut(&mut Hub) -> bool) {
        while !done(self.server.hub()) {
            self.turn_within(Duration::from_millis(1), app);
        }
    }

    /// A few turns, for what is under way to arrive.
    pub fn settles(&mut self, app: App<'_>) {
        for _ in 0..5 {
            self.turn_within(Duration::from_millis(1), app);
        }
    }

    /// The heap from here on, with nothing between two turns.
    pub fn begins_counting(&mut self) -> i64 {
        self.heap_max = self.heap;
        self.heap
    }

    /// A connection that has said nothing, whose kernel holds what the default is, or so much.
    pub fn connects(&mut self, receive_buffer: Option<usize>) -> Dot {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a descriptor");
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("it is a socket's option");
        }
        self.sources += 1;
        let source = Ipv4Addr::from(0x7F01_0000 + self.sources / 1000);
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("the address has a free port");
        socket.connect(&self.address.into()).expect("the backlog has room");
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).expect("TCP has the option");
        stream.set_nonblocking(true).expect("a socket can be nonblocking");
        Dot { stream }
    }

    /// So many WebSockets, in the order of their ids' coming.
    pub fn opens(&mut self, count: usize, receive_buffer: Option<usize>) -> Vec<(ConnId, Dot)> {
        let mut opened = Vec::with_capacity(count);
        for _ in 0..count {
            let mut dot = self.connects(receive_buffer);
            dot.says(handshake("/", "").as_bytes());
            let mut id = None;
            let mut note = |_: &mut Hub, event: Event<'_>| {
                if let Event::Opened { id: new } = event {
                    id = Some(new);
                }
            };
            let upgrades = self.server.hub().counters().upgrades;
            self.until(&mut note, |hub| hub.counters().upgrades > upgrades);
            while id.is_none() {
                self.turn(&mut |_, event| {
                    if let Event::Opened { id: new } = event {
                        id = Some(new);
                    }
                });
            }
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                self.turn(&mut nothing);
                dot.hears(&mut head);
            }
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
            opened.push((id.expect("it was told"), dot));
        }
        opened
    }

    /// Each of these hears one message next, and nothing else.
    pub fn each_hears(&mut self, dots: &mut [(ConnId, Dot)], message: &Frame, app: App<'_>) {
        for (_, dot) in dots {
            let mut got = Vec::new();
            while got.is_empty() {
                self.turn(app);
                assert!(dot.hears(&mut got), "a live peer is closed");
            }
            assert!(frames(&got) == [message.clone()]);
        }
    }

    /// Has a peer send all of this, as fast as the server reads.
    pub fn is_fed(&mut self, dot: &mut Dot, mut bytes: &[u8], app: App<'_>) {
        while !bytes.is_empty() {
            let Some(sent) = dot.offers(bytes) else { return };
            bytes = &bytes[sent..];
            self.turn(app);
        }
    }
}

/// A peer of a crowd: its end of a connection.
#[derive(Debug)]
pub struct Dot {
    pub stream: TcpStream,
}

impl Dot {
    /// Sends bytes that the kernel has room for.
    #[track_caller]
    pub fn says(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the kernel has room");
    }

    /// Sends as many of the bytes as the kernel takes; `None` if the connection is gone.
    pub fn offers(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.stream.write(bytes) {
            Ok(n) => Some(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }

    /// Appends what has arrived. False if that was the end.
    pub fn hears(&mut self, into: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(n) => into.extend_from_slice(&buffer[..n]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Whether the server has ended the connection; what came before is passed over.
    pub fn is_over(&mut self) -> bool {
        !self.hears(&mut Vec::new())
    }
}

/// All whole frames of `bytes`.
pub fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = Frame::read(&mut bytes) {
        frames.push(frame);
    }
    frames
}

/// The value that so many per cent of all are not above.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
