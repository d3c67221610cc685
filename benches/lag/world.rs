//! A server on the network in memory, its loop, and what both take in time and memory.

use std::time::Duration;

use allocation_counter::measure;
use pushloop::{Accept, AsMessage, Config, ConnId, Event, Events, Hub, OnLag, Server};

use crate::net::{Memory, Says};
use crate::report::percentile;

const HEAD: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The mask of every frame.
pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

pub fn set_policy(hub: &mut Hub, topic: &str, on_lag: OnLag) {
    let mut options = hub.topic_options(topic);
    options.on_lag = on_lag;
    hub.configure_topic(topic, options).expect("there is room for a few");
}

pub fn publish(hub: &mut Hub, topic: &str, message: impl AsMessage) {
    hub.publish(topic, message).expect("there is room");
}

pub fn subscribe(hub: &mut Hub, id: ConnId, topic: &str) {
    hub.subscribe(id, topic).expect("it is open");
}

/// The default, without Pings.
pub fn config() -> Config {
    let mut config = Config::default();
    config.ping_interval = None;
    config
}

/// With more header fields, or none.
pub fn handshake(more: &str) -> Says {
    Says::once(format!("{HEAD}{more}\r\n").into_bytes())
}

/// An application that does nothing.
pub fn nothing(_: &mut Hub, _: Event<'_>) {}

pub struct World {
    pub server: Server<Memory>,
    events: Events,
    /// Bytes on the heap that the server and the application have taken.
    pub heap: i64,
}

impl World {
    pub fn new(config: Config) -> Self {
        let server = Server::with_net(Memory::new(), config);
        Self { server, events: Events::default(), heap: 0 }
    }

    pub fn net(&mut self) -> &mut Memory {
        self.server.net()
    }

    pub fn hub(&mut self) -> &mut Hub {
        self.server.hub()
    }

    pub fn counted(&mut self) -> i64 {
        self.hub().queued_bytes_total() as i64
    }

    /// Does something with the hub between two turns; gives how long it took.
    pub fn act(&mut self, job: impl FnOnce(&mut Hub)) -> Duration {
        let began = self.net().busy();
        self.heap += measure(|| job(self.server.hub())).bytes_current;
        self.net().busy() - began
    }

    /// One turn, whose events the application gets; handshakes are accepted if it does not answer.
    pub fn turn(&mut self, app: impl FnMut(&mut Hub, Event<'_>)) -> Duration {
        self.turn_after(|_| (), app)
    }

    /// One turn, and what the application does before it.
    pub fn turn_after(
        &mut self,
        job: impl FnOnce(&mut Hub),
        mut app: impl FnMut(&mut Hub, Event<'_>),
    ) -> Duration {
        let began = self.net().busy();
        let Self { server, events, .. } = self;
        let info = measure(|| {
            job(server.hub());
            server.poll(events, Some(Duration::ZERO)).expect("the poll works");
            let hub = server.hub();
            for event in &*events {
                match event {
                    Event::Request { id, request } if request.is_websocket() => {
                        hub.accept(id, Accept::default()).expect("it is a handshake");
                    }
                    other => app(hub, other),
                }
            }
        });
        self.heap += info.bytes_current;
        self.net().busy() - began
    }

    /// So many more WebSockets: their places in the network.
    pub fn opens(&mut self, count: usize) -> Vec<usize> {
        self.opens_with(count, &handshake(""))
    }

    pub fn opens_with(&mut self, count: usize, says: &Says) -> Vec<usize> {
        let peers: Vec<_> = (0..count).map(|_| self.net().connects(says.clone())).collect();
        let upgrades = self.hub().counters().upgrades + count as u64;
        while self.hub().counters().upgrades < upgrades {
            self.turn(nothing);
        }
        self.settles();
        peers
    }

    /// The same, each subscribed to this topic.
    pub fn opens_subscribers(&mut self, count: usize, topic: &str) -> Vec<usize> {
        let peers = self.opens(count);
        for id in self.ids(&peers) {
            self.act(|hub| subscribe(hub, id, topic));
        }
        peers
    }

    pub fn ids(&mut self, peers: &[usize]) -> Vec<ConnId> {
        peers.iter().map(|peer| self.net().id(*peer)).collect()
    }

    pub fn stop_reading(&mut self, peers: &[usize]) {
        peers.iter().for_each(|peer| self.net().reads(*peer, false));
    }

    /// Each says this; turns until all of it is read. Gives how long the longest took.
    pub fn each_says(
        &mut self,
        peers: &[usize],
        says: &Says,
        mut app: impl FnMut(&mut Hub, Event<'_>),
    ) -> Duration {
        peers.iter().for_each(|peer| self.net().says(*peer, says.clone()));
        let mut longest = Duration::ZERO;
        while !peers.iter().all(|peer| self.net().has_said_all(*peer)) {
            longest = longest.max(self.turn(&mut app));
        }
        longest
    }

    /// A few turns, for what is under way.
    pub fn settles(&mut self) {
        for _ in 0..3 {
            self.turn(nothing);
        }
    }

    /// Some seconds in which nothing happens.
    pub fn rests(&mut self) {
        for _ in 0..100 {
            self.net().ahead += Duration::from_millis(100);
            self.turn(nothing);
        }
    }
}

/// A peer that says something as soon as it was answered, and what it sees of a server.
pub struct Bystander {
    peer: usize,
    id: ConnId,
    says: Says,
    spoke: Duration,
    waits: Vec<Duration>,
    pub longest_turn: Duration,
}

impl Bystander {
    pub fn opens(world: &mut World) -> Self {
        let peer = world.opens(1)[0];
        let says = Says::once(crate::frame::binary("hello").masked(KEY));
        let (id, spoke) = (world.net().id(peer), world.net().busy());
        world.net().peers[peer].is_watched = true;
        world.net().says(peer, says.clone());
        Self { peer, id, says, spoke, waits: Vec::new(), longest_turn: Duration::ZERO }
    }

    /// One turn, in which the bystander is answered and others are the application's.
    pub fn turn(&mut self, world: &mut World, mut app: impl FnMut(&mut Hub, Event<'_>)) {
        let took = world.turn(|hub, event| match event {
            Event::Message { id, message } if id == self.id => {
                hub.send(id, message).expect("it reads");
            }
            other => app(hub, other),
        });
        self.longest_turn = self.longest_turn.max(took);
        if let Some((_, at)) = world.net().peers[self.peer].heard.take() {
            self.waits.push(at - self.spoke);
            self.spoke = world.net().busy();
            world.net().says(self.peer, self.says.clone());
        }
    }

    pub fn p99(&self) -> Duration {
        percentile(&self.waits, 99)
    }
}
