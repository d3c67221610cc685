//! Live notifications over WebSocket from one event loop.
//!
//! One [mio](https://docs.rs/mio) poll loop owns every connection in a slab and takes each through
//! a state machine: an HTTP request, then frames. One thread, no async runtime, no locks on the path
//! of a message, no `unsafe` of its own.
//!
//! ```text
//!          bytes ⇄ values     one connection      all connections      the only I/O
//! config ──▶ wire ──▶ event ──────▶ conn ─────────────▶ hub ─────────────▶ server
//!                                                        ▲
//!                       mailbox ──▶ handle ──────────────┘      (other threads)
//! ```
//!
//! # Example
//!
//! A chat: what one client says, all hear.
//!
//! ```no_run
//! use pushloop::{ConnId, Handler, Hub, Message, Server};
//!
//! struct Chat;
//!
//! impl Handler for Chat {
//!     fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
//!         // It fails only if the connection is gone again: one short topic is within the limits.
//!         let _ = hub.subscribe(id, "chat");
//!     }
//!
//!     fn on_message(&mut self, hub: &mut Hub, _: ConnId, message: Message<'_>) {
//!         if let Err(full) = hub.publish("chat", message) {
//!             eprintln!("{full}");
//!         }
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     Server::bind("127.0.0.1:9001")?.run(&mut Chat)
//! }
//! ```
//!
//! [`Loops`] are several such loops on the same addresses, for more than one core.
//!
//! To own the loop instead, call [`Server::poll`] and go over its [`Events`]; to reach it from
//! another thread, take a [`Handle`]. The
//! [guide](https://docs.rs/crate/pushloop/latest/source/docs/EMBEDDING.md) shows both, and what else a
//! program needs: tokens that are checked before a connection is accepted, a port that is shared, limits,
//! metrics, shutdown.
//!
//! # Features
//!
//! None is needed to embed a server. `deflate` adds compressed messages (permessage-deflate, RFC 7692)
//! and one dependency, `flate2` on zlib-rs; [`Config`] says how they are agreed on. `log` reports trouble
//! through the crate [`log`](https://docs.rs/log), which `mio` brings along: a warning for each counter
//! of refused connections, limits met and panics that grew, at most once a second, and a debug line for
//! each request that the server itself refused. `tls` adds `Tls` and `Server::listen_tls`, by rustls with
//! ring. `server` builds the `pushloop` binary, with compression and TLS in it. `testing` adds the module of that name: an application's tests without sockets, in simulated
//! time.
//!
//! # Platforms
//!
//! It needs a Unix system of 64 bits, and is tested on Linux. Set `overflow-checks = true` in your
//! release profile: a length that wraps would be a hole in a limit.

mod config;
mod conn;
mod counters;
mod event;
mod handle;
mod hub;
mod lanes;
mod mailbox;
mod server;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;

/// The README's example is held to compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guide's snippets are held to compile, and run where they end by themselves.
#[cfg(doctest)]
#[doc = include_str!("../docs/EMBEDDING.md")]
struct Embedding;

pub use mio;

#[cfg(feature = "tls")]
pub use crate::server::{Tls, TlsCertificates, TlsError, TlsStream};
pub use crate::{
    config::{
        ClientHeader, ClientLimits, Config, Cors, History, Hosts, InvalidNetwork, IpNetwork, OnLag,
        Origins, Overflow, PresenceConfig, Proxies, TlsLimits, TopicOptions,
    },
    counters::{Counters, LayerCounts, Metric, MetricKind, PrefixCounters},
    event::{
        Accept, AcceptError, AsMessage, ConnId, Encoder, EncodingId, EncodingsFull, Event, Events,
        InvalidPosition, Iter, Message, Position, Publication, Reason, RequestId, RespondError,
    },
    handle::{AnswerError, Handle, HandleError, Pending, Socket},
    hub::{
        ClientFull, ConfigureError, ConnMap, Hub, Joined, Laggard, Member, MemberChange,
        PositionError, Presence, PresenceChange, PresenceError, PresenceNews, PublishError,
        Published, RestoreError, SendError, SubscribeError, TimerId,
    },
    server::{Handler, Input, Loops, Mio, Net, Ready, Server, Stream, Wake},
    wire::{
        BodyKind, CloseCode, ContentError, InvalidHeader, ProtocolError, Request, Response,
        is_host, is_origin, percent_decode,
    },
};

/// What the fuzz targets in `tests/fuzz/` and the benchmarks (`cargo micro`) call without a server
/// around it.
#[cfg(any(fuzzing, internals))]
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "deflate")]
    pub use crate::wire::{Deflater, Inflater, negotiate, parse_extensions};
    pub use crate::wire::{Expect, Header};
    #[cfg(internals)]
    pub use crate::{
        hub::Timers,
        wire::{Utf8, unmask},
    };
}
