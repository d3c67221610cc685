//! `std::sync`, or under `--cfg loom` the model checker's version of it.
//!
//! Only what the mailbox is made of goes through here, so that `cargo model` explores the code
//! that ships and not a copy of it.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};
