//! What a server must do, written from the RFCs and from nothing else: slow, short, literal, and
//! sharing no line with `src/`. The exhaustive families and the fuzz targets are held against it.
//!
//! `drive` is how they are: a server on a network in memory that has one connection at a time.

pub mod accept;
mod chunks;
pub mod close;
pub mod deflate;
#[allow(dead_code)] // Nobody sends FIN there.
pub mod drive;
pub mod frames;
pub mod handshake;
pub mod inflate;
pub mod response;
pub mod stream;
pub mod utf8;
