//! What the scenario tests have in common: a server in a thread of its own, and a peer.
//!
//! ```ignore
//! let server = TestServer::echo();
//! let mut peer = server.opens();
//! peer.sends(text("x"));
//! peer.expects(text("x"));
//! server.sees(&peer, Seen::Text("x".into()));
//! let queued = server.act({ let id = server.id_of(&peer); move |hub| hub.queued_bytes(id) });
//! ```
//!
//! A test says what the application does as a closure over events ([`TestServer::start`]); every
//! event is recorded before the closure gets it, for each connection apart ([`TestServer::sees`]).
//! Whatever needs the [`Hub`] itself is done by the loop's thread, between two turns
//! ([`TestServer::act`]). Nothing waits for longer than [`PATIENCE`], and nothing sleeps in the
//! hope that something has happened by then.

pub mod alone;
pub mod net;
mod peer;

// Of these, `it` needs a part, and without some features none.
#[allow(dead_code)]
pub mod campaign;
#[allow(dead_code)]
pub mod deflating;
#[allow(dead_code)]
pub mod dice;
#[allow(dead_code)]
pub mod http;
#[allow(dead_code)]
pub mod peer_codec;
#[allow(dead_code)]
pub mod puff;
#[allow(dead_code)]
pub mod sink;

// A fuzzer starts no programs.
#[allow(dead_code)]
#[cfg(not(fuzzing))]
pub mod echo;
#[allow(dead_code)]
#[cfg(not(fuzzing))]
pub mod events;
#[allow(dead_code)]
#[cfg(not(fuzzing))]
pub mod process;

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pushloop::mio::{self, Interest};
use pushloop::{
    Accept, Config, ConnId, Event, Events, Handle, Hub, Message, Reason, RequestId, Server,
};

pub use peer::{Answer, Peer, get, handshake};
pub use pushloop::testing::frame::{
    Frame, binary, burst, close, close_empty, continuation, frame, ping, pong, text,
};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An event, owned. `Event::Source` is not among them: it is how [`TestServer::act`] knocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Method and target.
    Request(String),
    RequestGone,
    Opened,
    Text(String),
    Binary(Vec<u8>),
    Writable,
    Closed(Reason<'static>),
    Timer(u64),
}

/// A request is accepted as a WebSocket, and every message goes back to whoever sent it.
pub fn echo(hub: &mut Hub, event: Event<'_>) {
    if let Event::Message { id, message } = event {
        // An error is the peer's: gone, or too slow. The tests of that look at what it gets.
        let _ = hub.send(id, message);
    } else {
        accept(hub, event);
    }
}

/// A request is accepted as a WebSocket, and nothing else is done.
pub fn accept(hub: &mut Hub, event: Event<'_>) {
    if let Event::Request { id, .. } = event {
        // The error is the peer's, and has been answered.
        let _ = hub.accept(id, Accept::default());
    }
}

/// The default limits but for what `change` does to them.
pub fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// The same without Pings, which would come between.
pub fn quiet(change: impl FnOnce(&mut Config)) -> Config {
    config(|config| {
        config.ping_interval = None;
        change(config);
    })
}

type Job = Box<dyn FnOnce(&mut Hub) + Send>;
/// What happened, and to whom; a request comes with its id and the address.
type Entry = (Option<ConnId>, Option<(SocketAddr, RequestId)>, Seen);

/// A server on a free port of 127.0.0.1, in a thread of its own that ends with the test.
pub struct TestServer {
    address: SocketAddr,
    handle: Handle,
    jobs: Sender<Job>,
    bell: UnixStream,
    log: Mutex<Log>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// Starts a server whose application is `app`, which gets every event but those of sources.
    pub fn start(config: Config, app: impl FnMut(&mut Hub, Event<'_>) + Send + 'static) -> Self {
        Self::serves(Server::bind_with("127.0.0.1:0", config).expect("a port is free"), app)
    }

    /// Starts a server that listens already, on an address of TCP first.
    pub fn serves(
        mut server: Server,
        app: impl FnMut(&mut Hub, Event<'_>) + Send + 'static,
    ) -> Self {
        let address = server.local_addr().expect("the server listens on TCP");
        let handle = server.handle();
        let (bell, knocked) = UnixStream::pair().expect("two descriptors are free");
        knocked.set_nonblocking(true).expect("a socket can be nonblocking");
        let mut knocked = mio::net::UnixStream::from_std(knocked);
        server.register(&mut knocked, 0, Interest::READABLE).expect("the socket is pollable");
        let (jobs, waiting) = mpsc::channel();
        let (entries, incoming) = mpsc::channel();
        let thread = thread::spawn(move || serve(server, app, knocked, &waiting, &entries));
        let log = Mutex::new(Log {
            incoming,
            ids: HashMap::new(),
            requests: HashMap::new(),
            seen: HashMap::new(),
        });
        Self { address, handle, jobs, bell, log, thread: Some(thread) }
    }

    /// Starts an [`echo`] server with the default limits.
    pub fn echo() -> Self {
        Self::start(Config::default(), echo)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What another thread holds of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// A TCP connection that has said nothing yet.
    pub fn connects(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// A WebSocket at `/`. Its request and its opening are taken off the record.
    pub fn opens(&self) -> Peer {
        self.opens_at("/")
    }

    /// A WebSocket at a path. Its request and its opening are taken off the record.
    pub fn opens_at(&self, path: &str) -> Peer {
        let mut peer = self.connects();
        peer.sends_bytes(handshake(path, ""));
        peer.expects_upgrade();
        self.sees(&peer, Seen::Request(format!("GET {path}")));
        self.sees(&peer, Seen::Opened);
        peer
    }

    /// The id of a peer's connection; waits until the peer's request has come.
    pub fn id_of(&self, peer: &Peer) -> ConnId {
        self.log().id_of(peer.address())
    }

    /// The latest request of a peer that was told; waits until one has come.
    pub fn request_of(&self, peer: &Peer) -> RequestId {
        let mut log = self.log();
        let id = log.id_of(peer.address());
        log.requests[&id]
    }

    /// The next thing that happens to a peer's connection is this.
    #[track_caller]
    pub fn sees(&self, peer: &Peer, expected: Seen) {
        let seen = self.next_of(peer);
        assert!(seen == expected, "expected {}, and saw {}", brief(&expected), brief(&seen));
    }

    /// The next thing that happens to a peer's connection.
    #[track_caller]
    pub fn next_of(&self, peer: &Peer) -> Seen {
        let mut log = self.log();
        let id = log.id_of(peer.address());
        log.next(Some(id))
    }

    /// Nothing more has happened to a peer's connection, up to the turn after the present one.
    #[track_caller]
    pub fn sees_no_more(&self, peer: &Peer) {
        self.act(|_| ());
        self.act(|_| ());
        let mut log = self.log();
        while let Ok(entry) = log.incoming.try_recv() {
            log.sort(entry);
        }
        let id = log.id_of(peer.address());
        let more = log.seen.remove(&Some(id)).unwrap_or_default();
        assert!(more.is_empty(), "{:?}", more.iter().map(brief).collect::<Vec<_>>());
    }

    /// The next timer of the hub that is due has this key.
    #[track_caller]
    pub fn sees_timer(&self, key: u64) {
        assert_eq!(self.log().next(None), Seen::Timer(key));
    }

    /// Has the loop's thread do something with the hub, and gives the result. What it queues
    /// leaves in the turn that follows, and a second `act` comes after that turn.
    #[track_caller]
    pub fn act<R: Send + 'static>(&self, job: impl FnOnce(&mut Hub) -> R + Send + 'static) -> R {
        let (answer, answered) = mpsc::channel();
        self.post(move |hub| answer.send(job(hub)).unwrap_or_default());
        answered.recv_timeout(PATIENCE).expect("the server runs")
    }

    /// Has the loop's thread do something with the hub, and then wait while `meanwhile` is done
    /// here: the next turn finds both.
    #[track_caller]
    pub fn act_and_wait_for(
        &self,
        job: impl FnOnce(&mut Hub) + Send + 'static,
        meanwhile: impl FnOnce(),
    ) {
        let (done, is_done) = mpsc::channel();
        let (release, is_released) = mpsc::channel();
        self.post(move |hub| {
            job(hub);
            done.send(()).expect("the test waits");
            is_released.recv_timeout(PATIENCE).expect("the test goes on");
        });
        is_done.recv_timeout(PATIENCE).expect("the server runs");
        meanwhile();
        release.send(()).expect("the server waits");
    }

    /// Waits until the hub fulfils a condition; it is asked once in a turn.
    #[track_caller]
    pub fn until(&self, condition: impl Fn(&mut Hub) -> bool + Clone + Send + 'static) {
        let pause = Duration::from_millis(1);
        for _ in 0..PATIENCE.as_millis() {
            if self.act(condition.clone()) {
                return;
            }
            thread::sleep(pause);
        }
        panic!("what the test waits for does not come about");
    }

    /// Lets a peer send bytes, and waits until the server has read them all: what is sent next
    /// comes in another read. No other peer may be sending.
    #[track_caller]
    pub fn takes_from(&self, peer: &mut Peer, bytes: &[u8]) {
        let all = self.handle.counters().bytes_received + bytes.len() as u64;
        peer.sends_bytes(bytes);
        self.until(move |hub| hub.counters().bytes_received >= all);
    }

    /// The server is shut down, and its loop comes to an end.
    #[track_caller]
    pub fn ends(mut self) {
        self.join();
    }

    #[track_caller]
    fn join(&mut self) {
        let hangs = loop {
            match self.log().incoming.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => break true,
            }
        };
        if thread::panicking() {
            return;
        }
        assert!(!hangs, "the server does not end");
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
    }

    #[track_caller]
    fn post(&self, job: impl FnOnce(&mut Hub) + Send + 'static) {
        self.jobs.send(Box::new(job)).expect("the server runs");
        (&self.bell).write_all(&[0]).expect("the server runs");
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // It may be shutting down, or have ended, as part of the test.
        let _ = self.handle.shutdown(Duration::ZERO);
        self.join();
    }
}

/// The server's thread.
fn serve(
    mut server: Server,
    mut app: impl FnMut(&mut Hub, Event<'_>),
    mut knocked: mio::net::UnixStream,
    jobs: &Receiver<Job>,
    entries: &Sender<Entry>,
) {
    let mut events = Events::default();
    let mut worked = false;
    while !server.hub().is_finished() {
        // A job may be followed by one whose knock came with its own.
        let timeout = worked.then_some(Duration::ZERO);
        server.poll(&mut events, timeout).expect("the poll works");
        for event in &events {
            if let Event::Source { .. } = event {
                while knocked.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
                continue;
            }
            if let Some(entry) = record(&event) {
                // A test that does not look any more is about to end.
                let _ = entries.send(entry);
            }
            app(server.hub(), event);
        }
        // One, so that a turn comes between two.
        worked = jobs.try_recv().map(|job| job(server.hub())).is_ok();
    }
}

fn record(event: &Event<'_>) -> Option<Entry> {
    Some(match event {
        Event::Request { id, request } => {
            let line = format!("{} {}", request.method(), request.target());
            let asked = request.peer().map(|peer| (peer, *id));
            (Some(id.conn()), asked, Seen::Request(line))
        }
        Event::RequestGone { id } => (Some(id.conn()), None, Seen::RequestGone),
        Event::Opened { id } => (Some(*id), None, Seen::Opened),
        Event::Message { id, message } => match *message {
            Message::Text(text) => (Some(*id), None, Seen::Text(text.into())),
            Message::Binary(bytes) => (Some(*id), None, Seen::Binary(bytes.into())),
        },
        Event::Writable { id } => (Some(*id), None, Seen::Writable),
        Event::Closed { id, reason } => (Some(*id), None, Seen::Closed(owned(*reason))),
        Event::Timer { key } => (None, None, Seen::Timer(*key)),
        _ => return None,
    })
}

/// Its text is leaked, a few bytes for each test.
fn owned(reason: Reason<'_>) -> Reason<'static> {
    match reason {
        Reason::Peer { code, text } => Reason::Peer { code, text: text.to_owned().leak() },
        Reason::Local { code } => Reason::Local { code },
        Reason::Protocol(error) => Reason::Protocol(error),
        Reason::Lost => Reason::Lost,
        Reason::TimedOut => Reason::TimedOut,
        Reason::Idle => Reason::Idle,
        Reason::Overflow => Reason::Overflow,
        Reason::ProcessFull => Reason::ProcessFull,
        Reason::Shutdown => Reason::Shutdown,
        other => panic!("{other:?} is new here"),
    }
}

/// What the server's thread has told, sorted by connection.
struct Log {
    incoming: Receiver<Entry>,
    ids: HashMap<SocketAddr, ConnId>,
    requests: HashMap<ConnId, RequestId>,
    seen: HashMap<Option<ConnId>, VecDeque<Seen>>,
}

impl Log {
    fn id_of(&mut self, peer: SocketAddr) -> ConnId {
        loop {
            match self.ids.get(&peer) {
                Some(id) => return *id,
                None => self.take_one(),
            }
        }
    }

    fn next(&mut self, id: Option<ConnId>) -> Seen {
        loop {
            match self.seen.get_mut(&id).and_then(VecDeque::pop_front) {
                Some(seen) => return seen,
                None => self.take_one(),
            }
        }
    }

    fn take_one(&mut self) {
        match self.incoming.recv_timeout(PATIENCE) {
            Ok(entry) => self.sort(entry),
            Err(RecvTimeoutError::Timeout) => panic!("nothing happens"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server has ended"),
        }
    }

    fn sort(&mut self, (id, asked, seen): Entry) {
        if let (Some(id), Some((peer, request))) = (id, asked) {
            self.ids.insert(peer, id);
            self.requests.insert(id, request);
        }
        self.seen.entry(id).or_default().push_back(seen);
    }
}

/// 64 KiB twice is not an explanation.
fn brief(seen: &Seen) -> String {
    let mut text = format!("{seen:?}");
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
        text.push('…');
    }
    text
}
