//! `std::sync`, or under `--cfg loom` the model checker's version of it.
//!
//! Only what the mailbox and the lanes are made of goes through here, so that `cargo model` explores the code
//! that ships and not a copy of it.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
