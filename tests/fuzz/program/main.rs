//! Fuzz targets of the server's own sources, in one program: they are built once. `FUZZ_TARGET` in its environment says
//! which one is run.

#![no_main]

#[path = "../chosen.rs"]
mod chosen;
mod targets {
    pub mod centrifuge;
    pub mod options;
    pub mod pusher;
    pub mod tokens;
}

#[path = "../../../src/bin/pushloop"]
#[allow(dead_code, unused_imports, reason = "the targets need a part of it")]
mod server {
    pub mod ahead;
    pub mod auth;
    pub mod broker;
    pub mod centrifuge;
    pub mod check;
    pub mod gate;
    pub mod hooks;
    pub mod key_sets;
    pub mod logs;
    pub mod options;
    pub mod pace;
    pub mod patterns;
    pub mod presence;
    pub mod publish;
    pub mod pusher;
    pub mod requests;
    pub mod status;
    pub mod store;
    pub mod timers;
    pub mod tls;
    pub mod topics;
    pub mod web;
    pub mod writer;
}

use libfuzzer_sys::fuzz_target;
// As these name each other.
use server::{
    ahead, auth, broker, centrifuge, check, gate, hooks, key_sets, logs, options, pace, patterns,
    presence, publish, pusher, requests, status, store, timers, tls, topics, web, writer,
};

const TARGETS: chosen::Targets = &[
    ("centrifuge", targets::centrifuge::run),
    ("options", targets::options::run),
    ("pusher", targets::pusher::run),
    ("tokens", targets::tokens::run),
];

fuzz_target!(|data: &[u8]| chosen::of(TARGETS)(data));
