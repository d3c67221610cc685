//! The server on the real kernel, when calls fail, peers reset, signals come and the network is bad.
//!
//! The subject is a process of its own (`kernel/subject.rs`), so that its descriptors can be
//! counted, its calls be made to fail and its network be taken away. `FULL=1` runs each campaign at
//! its full size.

#[path = "../support/mod.rs"]
mod support;

mod bursts;
mod faults;
mod resets;
mod run;
mod shim;
mod signals;
mod wire;
