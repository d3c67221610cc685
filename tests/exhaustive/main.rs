//! Families of all cases, against the oracle.

#[path = "../oracle/mod.rs"]
mod oracle;
#[path = "../support/mod.rs"]
mod support;

mod frames;
mod handshake;
mod lengths;
mod splits;
