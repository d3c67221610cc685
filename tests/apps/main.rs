//! The examples as programs, and the applications among them by their own sources. These have more
//! dependencies than the library, and to link them takes its time: so they are a crate of their own.

#[path = "../../examples/page/clock.rs"]
mod clock;
#[path = "../../examples/page/ledger.rs"]
mod ledger;
#[path = "../../examples/page/name.rs"]
mod name;
#[path = "../../examples/page/mod.rs"]
#[allow(dead_code)] // The command line is for the program.
mod page;
#[allow(dead_code, unused_imports, reason = "`it` needs all of it")]
#[path = "../support/mod.rs"]
mod support;

mod chat;
mod clients;
mod editor;
mod examples;
mod feed;
mod game;
mod http_logs;
mod rooms;
mod world;
