//! What holds of the library, as its users and their peers see it.

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
mod extremes;
mod handler;
mod handshake;
mod handshake_faults;
mod http;
mod http_answers;
mod http_heads;
mod http_hosts;
mod http_pipelines;
mod http_strict;
mod limits;
mod panics;
mod protocol;
mod regressions;
mod server;
mod timeouts;
mod topics;
mod turns;
