//! An application, its server, and clients, in one thread and in simulated time.

use std::{fmt, thread, time::Duration};

use super::{
    Choice, Network,
    client::Client,
    dice::SEED_VARIABLE,
    http::{Answer, Handshake},
};
use crate::{
    config::Config,
    handle::{Handle, Homes},
    hub::{Hub, Peers},
    server::{Handler, Server},
};

/// A world that takes more turns to come to rest never does.
const TURNS_MAX: u32 = 100_000;
/// What the kernels on the way to a client hold that it does not read.
const KERNEL_BYTES: usize = 64 * 1024;
/// So short that nothing is due meanwhile but what is due already. The clock does not move by it.
const INSTANT: Duration = Duration::from_nanos(1);

/// An application on the server of production, over a [`Network`]: see the [module](super).
///
/// If a test fails while the world lives, the world prints its seed.
pub struct World<H> {
    /// The application: look into it, or change it.
    pub app: H,
    server: Server<Network>,
    clients: Vec<Client>,
    choice: Choice,
    seed: u64,
    /// How many panics of the application the test has said that it expects.
    panics: u64,
}

impl<H: Handler> World<H> {
    /// A world with no connection and no faults, whose random numbers come from this seed.
    pub fn new(seed: u64, config: Config, app: impl FnOnce(&mut Hub) -> H) -> Self {
        let choice = Choice::seeded(seed);
        let network = Network::with_choice(choice.clone());
        let mut server = Server::with_net(network, config);
        server.hub().draw_epochs_from(seed);
        let app = app(server.hub());
        Self { app, server, clients: Vec::new(), choice, seed, panics: 0 }
    }

    /// Has these worlds be the loops of one process, as [`Loops`](crate::Loops) are: each topic belongs to one of them, and so
    /// many bytes of one loop may wait for another. Each is turned by itself, and has a clock of its own. None has
    /// connections yet.
    pub fn join(worlds: &mut [Self], lane_bytes_max: usize) {
        let handles = worlds.iter().map(Self::handle).collect();
        let secret = worlds.first().map_or(0, |it| it.seed);
        let peers = Peers::of(handles, Homes::Shared(secret), lane_bytes_max);
        worlds.iter_mut().zip(peers).for_each(|(world, peers)| world.hub().join_loops(peers));
    }

    /// All connections and topics of the server.
    pub fn hub(&mut self) -> &mut Hub {
        self.server.hub()
    }

    /// The network: its clock, its faults, and what it was asked.
    pub fn network(&mut self) -> &mut Network {
        self.server.net()
    }

    /// As for another thread. What it asks for is done when the world runs.
    pub fn handle(&self) -> Handle {
        self.server.handle()
    }

    /// What random choices of the test are made with, so that they are the seed's as well.
    pub fn choice(&self) -> Choice {
        self.choice.clone()
    }

    /// A WebSocket, once the world is quiet.
    ///
    /// # Panics
    ///
    /// If it is refused, or not answered.
    #[track_caller]
    pub fn connect(&mut self, to: impl Into<Handshake>) -> Client {
        match self.try_connect(to) {
            Ok(client) => client,
            Err(answer) => panic!("refused: {} {}", answer.status, answer.text()),
        }
    }

    /// The same, or the answer that refuses it.
    ///
    /// # Errors
    ///
    /// The answer, if it is no 101.
    ///
    /// # Panics
    ///
    /// If it is not answered.
    #[track_caller]
    pub fn try_connect(&mut self, to: impl Into<Handshake>) -> Result<Client, Answer> {
        let client = self.knock(to);
        self.run_until_quiet();
        let answer = client.answer().expect("the handshake is answered");
        if answer.status == 101 { Ok(client) } else { Err(answer) }
    }

    /// A client that has sent its handshake, of which the server has heard nothing yet: for several
    /// at once, for an application that answers later, or for a network that refuses connections.
    pub fn knock(&mut self, to: impl Into<Handshake>) -> Client {
        let handshake = to.into();
        let wire = self.server.net().connects_from(handshake.peer);
        wire.holds(KERNEL_BYTES);
        let client = Client::new(wire, self.choice.clone(), &handshake);
        self.clients.push(client.clone());
        client
    }

    /// The answer to a plain request for this path, on a connection of its own.
    ///
    /// # Panics
    ///
    /// If it is not answered.
    #[track_caller]
    pub fn get(&mut self, path: impl Into<Handshake>) -> Answer {
        self.request(path.into().head(""))
    }

    /// The answer to any request, as its bytes are, on a connection of its own.
    ///
    /// # Panics
    ///
    /// If it is not answered.
    #[track_caller]
    pub fn request(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        let wire = self.server.net().connects();
        wire.sends_bytes(request);
        self.run_until_quiet();
        let answer = Answer::read(&wire.reads_bytes(), !request.starts_with(b"HEAD "));
        wire.finishes();
        self.run_until_quiet();
        answer.expect("the request is answered").0
    }

    /// Runs until nothing is left to do but to wait for time to pass, or for a client to do something.
    /// The clock stands still.
    ///
    /// # Panics
    ///
    /// If that takes more than 100,000 turns of the loop; if the application panics, or a client at what
    /// no server may send.
    #[track_caller]
    pub fn run_until_quiet(&mut self) {
        let nap_max = std::mem::replace(&mut self.network().nap_max, Duration::ZERO);
        let is_quiet = (0..TURNS_MAX).any(|_| {
            self.turn(INSTANT);
            self.is_quiet()
        });
        self.network().nap_max = nap_max;
        assert!(is_quiet, "the world does not come to rest");
    }

    /// Lets time pass, and runs whatever is due meanwhile when it is due.
    ///
    /// # Panics
    ///
    /// As [`run_until_quiet`](Self::run_until_quiet) does.
    #[track_caller]
    pub fn advance(&mut self, time: Duration) {
        let slept = self.network().slept();
        self.run_until_quiet();
        while let left = time.saturating_sub(self.network().slept() - slept)
            && !left.is_zero()
        {
            self.turn(left);
            self.run_until_quiet();
        }
    }

    /// One turn of the loop, which waits for this long at the most; then what the application makes of it.
    ///
    /// # Panics
    ///
    /// If the application panics, or a client at what no server may send.
    pub fn turn(&mut self, timeout: Duration) {
        self.clients.retain(|client| {
            client.turn();
            !(client.is_over() && client.wire().is_dropped())
        });
        self.server.turn(&mut self.app, Some(timeout)).expect("a simulated network works");
        self.server.net().ends_meanwhile();
        let panics = self.hub().counters().handler_panics;
        assert!(panics <= self.panics, "the application panicked {panics} times");
    }

    /// The application may panic so often from here on, as it may in production: see
    /// [`Handler`](crate::Handler).
    pub fn expect_panics(&mut self, times: u64) {
        self.panics = self.hub().counters().handler_panics + times;
    }

    fn is_quiet(&mut self) -> bool {
        self.network().is_idle() && !self.clients.iter().any(Client::has_work)
    }
}

impl<H> Drop for World<H> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the world's seed was {0}: set {SEED_VARIABLE}={0}", self.seed);
        }
    }
}

impl<H: fmt::Debug> fmt::Debug for World<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("clients", &self.clients)
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}
