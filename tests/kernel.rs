//! The server on the real kernel, when calls fail, peers reset, signals come and the network is bad.
//!
//! The subject is a process of its own (`kernel/subject.rs`), so that its descriptors can be
//! counted, its calls be made to fail and its network be taken away. `FULL=1` runs each campaign at
//! its full size.

mod support;

#[path = "kernel/bursts.rs"]
mod bursts;
#[path = "kernel/faults.rs"]
mod faults;
#[path = "support/process.rs"]
mod process;
#[path = "kernel/resets.rs"]
mod resets;
#[path = "kernel/run.rs"]
mod run;
#[path = "kernel/shim.rs"]
mod shim;
#[path = "kernel/signals.rs"]
mod signals;
#[path = "kernel/wire.rs"]
mod wire;
