//! The programs: the examples, and the applications among them.

#[path = "../../examples/page/clock.rs"]
mod clock;
#[path = "../../examples/page/ledger.rs"]
mod ledger;
#[path = "../../examples/page/name.rs"]
mod name;
#[path = "../../examples/page/mod.rs"]
#[allow(dead_code)] // The command line is for the program.
mod page;
#[path = "../support/mod.rs"]
mod support;

mod chat;
mod clients;
mod editor;
mod examples;
mod feed;
mod game;
mod http_logs;
mod world;
