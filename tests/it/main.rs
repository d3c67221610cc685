//! The library as its users and their peers see it, over sockets and over a network in memory: what
//! `cargo test` is about. It needs no root, and nothing to install.
//!
//! Its tests run beside each other in one process. What belongs to a process, as the number of its
//! descriptors, is the business of one that runs alone (`support::alone`).

#[path = "../support/mod.rs"]
mod support;

mod backpressure;
#[cfg(feature = "server")]
mod binary;
mod closing;
mod counts;
mod counts_alloc;
#[cfg(feature = "deflate")]
mod deflate;
mod encodings;
mod events;
mod extremes;
mod handler;
mod handshake;
mod handshake_faults;
mod http;
mod http_answers;
mod http_chunks;
mod http_cors;
mod http_heads;
mod http_hosts;
mod http_pipelines;
mod http_proxied;
mod http_streams;
mod http_strict;
mod limits;
mod panics;
mod presence;
mod protocol;
mod regressions;
#[cfg(feature = "log")]
mod reports;
mod server;
mod testing;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
mod topics;
mod turns;
