//! Simulated worlds: a server, a network, peers and an application, all driven by one source of
//! choices. `main.rs` has generators and enumerations for sources, and `tests/fuzz/` a fuzzer.

mod app;
mod checks;
pub mod choice;
pub mod codec;
mod deflate;
pub mod layered;
pub mod marks;
mod peer;
mod requests;
pub mod world;
