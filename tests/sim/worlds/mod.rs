//! Simulated worlds: a server, a network, peers and an application, all driven by one source of
//! choices. `main.rs` has generators and enumerations for sources, and `tests/fuzz/` a fuzzer.

mod app;
mod checks;
pub mod choice;
pub mod codec;
mod deflate;
mod history;
mod keeping;
pub mod layered;
pub mod marks;
mod peer;
mod requests;
mod resumes;
pub mod world;
