//! More than the server has room for: peers that do not read, that send halves, that never stop, or
//! that are too many. What it takes then is bounded, and those who behave lose nothing.
//!
//! Real servers on real sockets. In each run a test has hundreds of peers; with `FULL=1` in the
//! environment, and in release mode, thousands.

#[path = "../support/mod.rs"]
mod support;

mod connections;
mod crowd;
#[cfg(feature = "server")]
mod drain;
mod floods;
mod halves;
mod processes;
mod slow;
mod topics;
