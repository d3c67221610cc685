//! What loom's models are about, as it is in `src/`, and the models beside it: `cargo model`.

#[cfg(not(loom))]
compile_error!("`cargo model` has the cfg with which the sources are loom's");

#[path = "../../src"]
#[allow(dead_code, reason = "the models need a part of it")]
mod src {
    pub mod lanes;
    pub mod mailbox;
    pub mod sync;
}

// As these name each other.
use src::{mailbox, sync};
