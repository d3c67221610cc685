//! A network in memory: deterministic, edge-triggered, and with a clock that moves only while the
//! loop sleeps. What a peer's kernel holds can be bounded, so that it gets full.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pushloop::{
    Accept, Config, ConnId, Event, Events, Hub, Input, Net, Ready, RequestId, Server, Wake,
};

use crate::support::{Frame, handshake};

/// What was asked of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub waits: usize,
    pub reads: usize,
    pub writes: usize,
}

pub struct MemNet {
    now: Instant,
    listens: bool,
    listener_edge: bool,
    backlog: VecDeque<Wire>,
    wires: Vec<Wire>,
    woken: Arc<AtomicBool>,
    pub calls: Calls,
    /// How long all waits took together.
    pub slept: Duration,
    /// Told in the next wait, whatever happened.
    pub strays: Vec<Ready>,
    /// How much one wait tells.
    pub told_max: usize,
    /// What the next accepts fail with.
    pub accept_errors: VecDeque<ErrorKind>,
    /// There is no descriptor for a further connection.
    pub exhausted: bool,
    /// There is a descriptor in reserve.
    pub has_reserve: bool,
    /// No connection can be registered.
    pub out_of_watches: bool,
}

/// A test that waits more often waits for what does not come about.
const WAITS_MAX: usize = 100_000;
/// The error of an exhausted network.
const EXHAUSTED: ErrorKind = ErrorKind::QuotaExceeded;

/// One connection, as its peer sees it.
#[derive(Clone)]
pub struct Wire(Rc<RefCell<State>>);

struct State {
    id: Option<ConnId>,
    /// To the server, and not read yet.
    input: VecDeque<u8>,
    input_ended: bool,
    reset: bool,
    /// From the server, and not read yet by the peer.
    output: Vec<u8>,
    /// How much of it its kernel holds.
    room: usize,
    was_full: bool,
    output_ended: bool,
    dropped: bool,
    readable_edge: bool,
    writable_edge: bool,
}

/// The server's end. Dropping it closes the connection.
pub struct Stream(Wire);

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.0.state();
        (state.dropped, state.output_ended) = (true, true);
    }
}

impl Wire {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(State {
            id: None,
            input: VecDeque::new(),
            input_ended: false,
            reset: false,
            output: Vec::new(),
            room: usize::MAX,
            was_full: false,
            output_ended: false,
            dropped: false,
            readable_edge: false,
            writable_edge: false,
        })))
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    pub fn sends_bytes(&self, bytes: impl AsRef<[u8]>) {
        let mut state = self.state();
        state.input.extend(bytes.as_ref());
        state.readable_edge = true;
    }

    pub fn sends(&self, frame: Frame) {
        self.sends_bytes(frame.masked([1, 2, 3, 4]));
    }

    /// From here on its kernel holds so many bytes that it has not read.
    pub fn holds(&self, bytes: usize) {
        self.state().room = bytes;
    }

    /// Everything that has arrived since the last time.
    pub fn reads_bytes(&self) -> Vec<u8> {
        let mut state = self.state();
        if state.was_full && state.room > 0 {
            (state.was_full, state.writable_edge) = (false, true);
        }
        mem::take(&mut state.output)
    }

    /// The frames that have arrived since the last time, all of them whole.
    #[track_caller]
    pub fn reads(&self) -> Vec<Frame> {
        frames(&self.reads_bytes())
    }

    /// Sends FIN.
    pub fn finishes(&self) {
        let mut state = self.state();
        (state.input_ended, state.readable_edge) = (true, true);
    }

    /// Sends RST.
    pub fn resets(&self) {
        let mut state = self.state();
        (state.reset, state.readable_edge, state.writable_edge) = (true, true, true);
    }

    /// The server has sent FIN, or dropped the connection.
    pub fn is_ended(&self) -> bool {
        self.state().output_ended
    }

    /// The server has dropped the connection.
    pub fn is_dropped(&self) -> bool {
        self.state().dropped
    }
}

/// All frames of `bytes`, none of them cut.
#[track_caller]
pub fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = Frame::read(&mut bytes).expect("no frame is cut") {
        frames.push(frame);
    }
    frames
}

impl MemNet {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    pub fn new() -> Self {
        Self {
            now: Instant::now(),
            listens: true,
            listener_edge: false,
            backlog: VecDeque::new(),
            wires: Vec::new(),
            woken: Arc::default(),
            calls: Calls::default(),
            slept: Duration::ZERO,
            strays: Vec::new(),
            told_max: usize::MAX,
            accept_errors: VecDeque::new(),
            exhausted: false,
            has_reserve: true,
            out_of_watches: false,
        }
    }

    /// Time passes while the loop does not wait.
    pub fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    /// A new connection for the server to accept; its kernel holds as much as comes.
    pub fn connects(&mut self) -> Wire {
        assert!(self.listens, "connection refused");
        let wire = Wire::new();
        self.backlog.push_back(wire.clone());
        self.listener_edge = true;
        wire
    }
}

struct Flag(Arc<AtomicBool>);

impl Wake for Flag {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Net for MemNet {
    type Stream = Stream;

    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, timeout: Option<Duration>, tell: impl FnMut(Ready)) -> io::Result<()> {
        self.calls.waits += 1;
        assert!(self.calls.waits < WAITS_MAX, "the loop spins, or the test is stuck");
        let mut ready = mem::take(&mut self.strays);
        if self.woken.swap(false, Ordering::SeqCst) {
            ready.push(Ready::Mailbox);
        }
        if mem::take(&mut self.listener_edge) {
            ready.push(Ready::Listener(0));
        }
        self.wires.retain(|wire| !wire.is_dropped());
        for wire in &self.wires {
            if ready.len() >= self.told_max {
                break;
            }
            let mut state = wire.state();
            let readable = mem::take(&mut state.readable_edge);
            let writable = mem::take(&mut state.writable_edge);
            if let Some(id) = state.id.filter(|_| readable || writable) {
                let read_closed = readable && (state.input_ended || state.reset);
                ready.push(Ready::Connection { id, readable, writable, read_closed });
            }
        }
        if ready.is_empty() {
            let timeout = timeout.expect("nothing would ever end this wait");
            self.now += timeout;
            self.slept += timeout;
        }
        ready.into_iter().for_each(tell);
        Ok(())
    }

    fn accept(&mut self, _: u32) -> io::Result<(Stream, Option<SocketAddr>)> {
        if self.exhausted && !self.backlog.is_empty() {
            return Err(EXHAUSTED.into());
        }
        let wire = self.backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        if let Some(error) = self.accept_errors.pop_front() {
            return Err(error.into());
        }
        self.wires.push(wire.clone());
        Ok((Stream(wire), None))
    }

    fn is_out_of_resources(&self, error: &io::Error) -> bool {
        error.kind() == EXHAUSTED
    }

    fn refuse(&mut self, _: u32) -> io::Result<()> {
        if !self.has_reserve {
            return Err(EXHAUSTED.into());
        }
        let wire = self.backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        drop(Stream(wire));
        Ok(())
    }

    fn register(&mut self, stream: &mut Stream, id: ConnId) -> io::Result<()> {
        if self.out_of_watches {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut state = stream.0.state();
        state.id = Some(id);
        state.readable_edge |= !state.input.is_empty();
        state.writable_edge = true;
        Ok(())
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<Input> {
        self.calls.reads += 1;
        let mut state = stream.0.state();
        if state.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if state.input.is_empty() && !state.input_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = state.input.make_contiguous().as_ref().read(into)?;
        state.input.drain(..n);
        Ok(if n == 0 { Input::End } else { Input::Bytes { count: n, more: n == into.len() } })
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        self.calls.writes += 1;
        let mut state = stream.0.state();
        if state.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let n = from.len().min(state.room.saturating_sub(state.output.len()));
        state.output.extend(&from[..n]);
        state.was_full |= n < from.len();
        if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    fn finish(&mut self, stream: &mut Stream) -> io::Result<()> {
        stream.0.state().output_ended = true;
        Ok(())
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        Box::new(Flag(Arc::clone(&self.woken)))
    }

    fn close_listeners(&mut self) {
        self.listens = false;
        self.backlog.clear();
    }
}

/// An event that a test looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Only if it is not accepted at once.
    Request(RequestId),
    RequestGone(RequestId),
    Opened(ConnId),
    Message(ConnId, Vec<u8>),
    Writable(ConnId),
    /// With the code that belongs to the reason.
    Closed(ConnId, u16),
    Timer(u64),
    Notified(u32),
}

/// A server on such a network.
pub struct Sim {
    pub server: Server<MemNet>,
    events: Events,
    /// What happened and no test has taken.
    pub told: Vec<Told>,
    /// Whether requests are accepted at once, and not told.
    pub accepts: bool,
}

impl Sim {
    pub fn new(config: Config) -> Self {
        let server = Server::with_net(MemNet::new(), config);
        Self { server, events: Events::default(), told: Vec::new(), accepts: true }
    }

    pub fn hub(&mut self) -> &mut Hub {
        self.server.hub()
    }

    /// One turn, which does not sleep.
    pub fn turn(&mut self) {
        self.turn_within(Some(Duration::ZERO));
    }

    /// One turn.
    pub fn turn_within(&mut self, timeout: Option<Duration>) {
        self.turn_with(timeout, |_, _| {});
    }

    /// One turn, whose events the application gets beside the record.
    pub fn turn_with(&mut self, timeout: Option<Duration>, mut app: impl FnMut(&mut Hub, &Told)) {
        self.server.poll(&mut self.events, timeout).expect("the poll works");
        let hub = self.server.hub();
        for event in &self.events {
            let told = match event {
                Event::Request { id, .. } if !self.accepts => Told::Request(id),
                Event::Request { id, .. } => {
                    hub.accept(id, Accept::default()).expect("the peers send handshakes");
                    continue;
                }
                Event::RequestGone { id } => Told::RequestGone(id),
                Event::Opened { id } => Told::Opened(id),
                Event::Message { id, message } => Told::Message(id, message.as_bytes().into()),
                Event::Writable { id } => Told::Writable(id),
                Event::Closed { id, reason } => Told::Closed(id, reason.code()),
                Event::Timer { key } => Told::Timer(key),
                Event::Notified { key } => Told::Notified(key),
                // What the peers get tells of these.
                Event::RequestHead { .. } | Event::Refused { .. } => continue,
                other => panic!("{other:?} is new here"),
            };
            app(hub, &told);
            self.told.push(told);
        }
    }

    /// Turns until nothing is to be done but to wait, or the server has finished.
    pub fn rests(&mut self) {
        let slept = self.server.net().slept;
        let instant = Duration::from_nanos(1);
        while self.server.net().slept == slept && !self.hub().is_finished() {
            self.turn_within(Some(instant));
        }
    }

    /// What happened since the last time.
    pub fn takes(&mut self) -> Vec<Told> {
        mem::take(&mut self.told)
    }

    /// A WebSocket. Its opening is taken off the record.
    #[track_caller]
    pub fn opens(&mut self) -> (ConnId, Wire) {
        let wire = self.server.net().connects();
        wire.sends_bytes(handshake("/", ""));
        for _ in 0..4 {
            self.turn();
            let opened = |told: &Told| matches!(told, Told::Opened(_));
            let Some(at) = self.told.iter().position(opened) else { continue };
            let Told::Opened(id) = self.told.remove(at) else { continue };
            assert!(wire.reads_bytes().starts_with(b"HTTP/1.1 101 "));
            return (id, wire);
        }
        panic!("the connection does not open");
    }
}
