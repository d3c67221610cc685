//! What takes minutes in a debug build, and all processors: families of all cases, against an oracle
//! (`tests/oracle/`), and chance that needs as many. It is ignored there, and a crate of its own, so that of all tests
//! only these and those of `sim` are built for release.

#[path = "../oracle/mod.rs"]
mod oracle;
#[allow(dead_code, unused_imports, reason = "`it` needs all of it")]
#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "deflate")]
mod deflate;
mod editor;
mod frames;
mod handles;
mod handshake;
mod lengths;
mod splits;
