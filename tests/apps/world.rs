//! An application's server on a network in memory.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use pushloop::{Config, Counters, Event, Events, Handler, Hub, RequestId, Server};

use crate::support::net::{Network, Wire};
use crate::support::{Frame, handshake};

type Arrive<H> = fn(&mut H, &mut Hub, RequestId, Option<IpAddr>);

pub struct World<H> {
    pub server: Server<Network>,
    events: Events,
    arrive: Option<Arrive<H>>,
    /// Where the next connections come from.
    pub from: [u8; 4],
    pub app: H,
}

impl<H: Handler> World<H> {
    /// One whose clock stands still until a test moves it, so that what an address has left is a
    /// number. Connections come from the addresses that a test names.
    pub fn still(config: Config, make: fn(&mut Hub) -> H, arrive: Arrive<H>) -> Self {
        Self { arrive: Some(arrive), ..Self::beating(config, make) }
    }

    /// One whose clock moves while the loop sleeps.
    pub fn beating(mut config: Config, make: fn(&mut Hub) -> H) -> Self {
        config.ping_interval = None;
        let mut server = Server::with_net(Network::new(), config);
        let app = make(server.hub());
        Self { server, events: Events::default(), arrive: None, from: [10, 0, 0, 1], app }
    }

    /// One turn. If the clock is not to stand still and there is nothing to do, it sleeps until there is.
    pub fn turn(&mut self) {
        let timeout = self.arrive.map(|_| Duration::ZERO);
        self.server.poll(&mut self.events, timeout).expect("the poll works");
        let (hub, app) = (self.server.hub(), &mut self.app);
        for event in &self.events {
            match event {
                Event::Request { id, request } => match self.arrive {
                    Some(arrive) if request.is_websocket() => {
                        arrive(app, hub, id, Some(self.from.into()));
                    }
                    _ => app.on_request(hub, id, request),
                },
                Event::Opened { id } => app.on_open(hub, id),
                Event::Message { id, message } => app.on_message(hub, id, message),
                Event::Closed { id, reason } => app.on_close(hub, id, reason),
                Event::Timer { key } => app.on_timer(hub, key),
                _ => {}
            }
        }
    }

    /// Turns until nothing more comes of what was sent.
    pub fn rests(&mut self) {
        let mut before = None;
        while before.replace(self.seen()) != Some(self.seen()) {
            for _ in 0..4 {
                self.turn();
            }
        }
    }

    fn seen(&mut self) -> (u64, u64) {
        let counters = self.counters();
        (counters.messages_received, counters.bytes_sent)
    }

    pub fn counters(&mut self) -> Counters {
        self.server.hub().counters()
    }

    pub fn now(&mut self) -> Instant {
        self.server.hub().now()
    }

    pub fn passes(&mut self, time: Duration) {
        self.server.net().passes(time);
        self.turn();
    }

    /// A WebSocket, or what the handshake was answered with.
    pub fn asks(&mut self) -> Result<Wire, String> {
        self.asks_with(handshake("/live", ""))
    }

    /// What a plain request is answered with. It comes from no address.
    pub fn gets(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.asks_with(request).expect_err("it is no handshake")
    }

    fn asks_with(&mut self, request: impl AsRef<[u8]>) -> Result<Wire, String> {
        let wire = self.server.net().connects();
        wire.sends_bytes(request);
        for _ in 0..20 {
            self.turn();
            let answer = wire.reads_bytes();
            if answer.starts_with(b"HTTP/1.1 101 ") {
                return Ok(wire);
            } else if !answer.is_empty() {
                wire.resets();
                return Err(String::from_utf8_lossy(&answer[9..12]).into());
            }
        }
        panic!("it is not answered");
    }

    #[track_caller]
    pub fn opens(&mut self) -> Wire {
        self.asks().expect("it opens")
    }
}

/// The code and the reason of the Close among these frames.
pub fn close_in(frames: &[Frame]) -> Option<(u16, String)> {
    let close = frames.iter().find(|frame| frame.first == 0x88)?;
    let (code, reason) = close.payload.split_first_chunk()?;
    Some((u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into()))
}
