//! A server on a network in memory, whose events are on a record.

use std::mem;
use std::time::Duration;

pub use pushloop::testing::frame::frames;
pub use pushloop::testing::{Calls, Network, Wire};
use pushloop::{Accept, Config, ConnId, Event, Events, Hub, RequestId, Server};

use crate::support::handshake;

/// A test that waits more often waits for what does not come about.
const WAITS_MAX: usize = 100_000;

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
    pub server: Server<Network>,
    events: Events,
    /// What happened and no test has taken.
    pub told: Vec<Told>,
    /// Whether requests are accepted at once, and not told.
    pub accepts: bool,
}

impl Sim {
    pub fn new(config: Config) -> Self {
        let server = Server::with_net(Network::new(), config);
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
        assert!(self.server.net().calls.waits < WAITS_MAX, "the loop spins, or the test is stuck");
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
        let slept = self.server.net().slept();
        let instant = Duration::from_nanos(1);
        while self.server.net().slept() == slept && !self.hub().is_finished() {
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

    /// A connection that has sent `requests`, and the first of them, which waits.
    #[track_caller]
    pub fn asks(&mut self, requests: &str) -> (RequestId, Wire) {
        self.accepts = false;
        let wire = self.server.net().connects();
        wire.sends_bytes(requests);
        self.rests();
        (self.takes_request(), wire)
    }

    /// The request that was told, and nothing else.
    #[track_caller]
    pub fn takes_request(&mut self) -> RequestId {
        let told = self.takes();
        let [Told::Request(id)] = told[..] else { panic!("{told:?}") };
        id
    }
}
