//! Fuzz targets of the library, in one program: they are built once. `FUZZ_TARGET` in its environment says which one is
//! run.

#![no_main]

#[path = "../chosen.rs"]
mod chosen;
#[path = "../../oracle/mod.rs"]
#[allow(dead_code, reason = "the targets need a part of it")]
mod oracle;
#[path = "../pieces.rs"]
mod pieces;
#[path = "../../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the targets need a part of it")]
mod support;
mod targets {
    pub mod deflate_offers;
    pub mod frames;
    pub mod handshake;
    pub mod inflate;
    pub mod proxied;
    pub mod stream;
    pub mod tls;
    pub mod worlds;
}
#[path = "../../sim/worlds/mod.rs"]
#[allow(dead_code, reason = "the targets need a part of it")]
mod worlds;

// What the crate's own sources name, which `server` has some of.
mod config {
    pub use pushloop::Config;
}
mod counters {
    pub use pushloop::LayerCounts;
}
// What only the server may name is named within it.
#[path = "../../../src/server"]
mod server {
    pub use pushloop::Input;

    #[path = "../../tests/fuzz/protocol/echo.rs"]
    pub mod echo;
    #[path = "tls/tests/pipe.rs"]
    mod pipe;
    #[allow(dead_code, unused_imports, reason = "a target needs a part of it")]
    pub mod tls;
}

use libfuzzer_sys::fuzz_target;

const TARGETS: chosen::Targets = &[
    ("deflate_offers", targets::deflate_offers::run),
    ("frames", targets::frames::run),
    ("handshake", targets::handshake::run),
    ("inflate", targets::inflate::run),
    ("proxied", targets::proxied::run),
    ("stream", targets::stream::run),
    ("tls", targets::tls::run),
    ("worlds", targets::worlds::run),
];

fuzz_target!(|data: &[u8]| chosen::of(TARGETS)(data));
