//! The server of production in a simulated world, to test an application with: no sockets, no threads,
//! no sleeps, and a clock that moves when a test says so.
//!
//! A [`World`] owns a [`Server`](crate::Server) and an application, which is the same [`Handler`](crate::Handler) as in
//! production. A test connects [`Client`]s, has them say things, and looks at what they get:
//!
//! ```
//! use std::time::Duration;
//!
//! use pushloop::{Config, ConnId, Handler, Hub, Message, Reason, testing::World};
//!
//! /// What one client says, all hear, and those that stay hear of one that leaves.
//! struct Chat;
//!
//! impl Handler for Chat {
//!     fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
//!         let _ = hub.subscribe(id, "chat");
//!     }
//!
//!     fn on_message(&mut self, hub: &mut Hub, _: ConnId, message: Message<'_>) {
//!         let _ = hub.publish("chat", message);
//!     }
//!
//!     fn on_close(&mut self, hub: &mut Hub, _: ConnId, _: Reason<'_>) {
//!         let _ = hub.publish("chat", "one has left");
//!     }
//! }
//!
//! let mut world = World::new(17, Config::default(), |_| Chat);
//! let (ada, ben) = (world.connect("/chat"), world.connect("/chat"));
//! ada.send("hello");
//! world.run_until_quiet();
//! assert_eq!(ada.messages(), ["hello"]);
//! assert_eq!(ben.messages(), ["hello"]);
//!
//! // A client that breaks the protocol is closed, with the code that says so.
//! ben.misbehaves(b"no frame");
//! world.run_until_quiet();
//! assert_eq!(ben.closed().map(|(code, _)| code), Some(1002));
//! assert_eq!(ada.messages(), ["one has left"]);
//!
//! // A network that breaks without a word is noticed: Ada's Pings are answered, Cy's are not.
//! let cy = world.connect("/chat");
//! cy.stops_reading();
//! world.advance(Duration::from_secs(120));
//! assert_eq!(ada.messages(), ["one has left"]);
//! ```
//!
//! # Time
//!
//! The clock of a [`Network`] moves while the loop waits, and only then. [`World::run_until_quiet`] runs
//! all that there is to do, and no time passes. [`World::advance`] lets time pass: each timer and each
//! deadline comes at its own moment, so a test of an hour takes as long as what happens in that hour.
//! [`Network::passes`] moves the clock by itself, as if the machine had stood still.
//!
//! # Clients that lag, break and misbehave
//!
//! [`Client::stops_reading`] and [`Client::reads_at`] make a client slow. What it does not take fills the
//! buffers on the way to it (64 KiB, or what [`Wire::holds`] says) and then waits at the server, where
//! the limits of [`Config`](crate::Config) apply. [`Client::cut`] resets the connection, and [`Wire`] has
//! half closes, splits of what is sent at any byte ([`Wire::pauses`]) and writes that take what a plan
//! says ([`Wire::takes_next`]). [`Client::misbehaves`] sends any bytes.
//!
//! # Networks that are no kinder than they must be
//!
//! [`Network::faults`] says how many of 100 calls meet which fault: short reads and writes, `WouldBlock`
//! and `Interrupted` anywhere, readiness that is late, alone, out of order, for nothing or of a connection
//! that is gone, accepts that fail, descriptors that run out, leaps of the clock. An application sees
//! little of that, and should do the same with it as without:
//!
//! ```
//! use pushloop::testing::{Faults, World, each_seed};
//! # use pushloop::{Config, ConnId, Handler, Hub, Message};
//! # struct Echo;
//! # impl Handler for Echo {
//! #     fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
//! #         let _ = hub.send(id, message);
//! #     }
//! # }
//!
//! each_seed(20, |seed| {
//!     let mut world = World::new(seed, Config::default(), |_| Echo);
//!     world.network().faults = Faults::drawn_without_loss(&world.choice());
//!     let client = world.connect("/");
//!     client.send("hello");
//!     world.run_until_quiet();
//!     assert_eq!(client.messages(), ["hello"]);
//! });
//! ```
//!
//! # Seeds
//!
//! Whatever is not fixed comes from the world's seed: faults, masks, and what the test draws from
//! [`World::choice`]. The same test with the same seed takes the same steps. If it fails, the world prints
//! its seed, and with `PUSHLOOP_SEED=17` in the environment [`each_seed`] runs that one alone. Random
//! numbers that the application draws elsewhere are not the seed's, nor is the order of the standard library's
//! hash maps.
//!
//! # Without an application, or with a loop of one's own
//!
//! [`Server::with_net`](crate::Server::with_net) takes a [`Network`], and a test calls
//! [`poll`](crate::Server::poll) itself. [`Network::connects`] gives a [`Wire`], [`frame`] has frames to
//! put on it, and [`Network::calls`] counts what the loop asked for. A [`Choice`] takes any [`Source`]: a
//! fuzzer's bytes, or an enumeration of all that can happen.
//!
//! # What this module must not know
//!
//! It has no frames, masks, requests or UTF-8 of the server's: a client that shares the server's codec
//! shares its mistakes. Nothing else in the crate uses it. It needs the feature `testing`, which belongs
//! into `[dev-dependencies]`.

mod client;
mod dice;
mod faults;
pub mod frame;
mod http;
mod network;
mod wire;
mod world;

pub use client::{Client, Received};
pub use dice::{Choice, Dice, Source, each_seed};
pub use faults::{Fault, Faults};
pub use http::{Answer, Handshake};
pub use network::{Calls, Network};
pub use wire::{Stream, Take, Wire};
pub use world::World;
