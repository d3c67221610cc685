//! More than the server has room for: peers that do not read, that send halves, that never stop, or
//! that are too many. What it takes then is bounded, and those who behave lose nothing.
//!
//! Real servers on real sockets. In each run a test has hundreds of peers; with `FULL=1` in the
//! environment, and in release mode, thousands. They take descriptors and processors from whatever
//! runs beside them: so they are a crate of their own.

#[allow(dead_code, unused_imports, reason = "`it` needs all of it")]
#[path = "../support/mod.rs"]
mod support;

mod connections;
mod crowd;
#[cfg(feature = "server")]
mod cuts;
#[cfg(feature = "server")]
mod drain;
mod floods;
mod halves;
mod slow;
mod topics;
