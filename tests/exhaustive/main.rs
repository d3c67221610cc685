//! Families of all cases, against an oracle (`tests/oracle/`). Most take minutes in a debug build, and
//! all processors: they are ignored there, and a crate of their own.

#[path = "../oracle/mod.rs"]
mod oracle;
#[allow(dead_code, unused_imports, reason = "`it` needs all of it")]
#[path = "../support/mod.rs"]
mod support;

mod frames;
mod handshake;
mod lengths;
mod splits;
