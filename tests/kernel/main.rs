//! The server on the real kernel, when calls fail, peers reset, signals come and the network is bad.
//!
//! The subject is a process of its own (`subject.rs`), so that its descriptors can be
//! counted, its calls be made to fail and its network be taken away. `FULL=1` runs each campaign at
//! its full size.
//!
//! It needs tools (`tests/run.sh` installs them), and root for its networks: so it is a crate of its own,
//! which is there with the feature `server`.

#[allow(dead_code, unused_imports, reason = "`it` needs all of it")]
#[path = "../support/mod.rs"]
mod support;

mod bursts;
mod calls;
mod descriptors;
mod faults;
mod resets;
mod run;
mod served;
mod shim;
mod signals;
mod trace;
mod wire;
