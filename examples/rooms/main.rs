//! Rooms: who is there, what was missed over a reconnect, and a limit on how fast a client may talk.
//!
//! `cargo run --example rooms -- 127.0.0.1:9015`, and from any WebSocket client
//!
//! ```text
//! /kitchen?as=ada                                enter a room under a name
//! /kitchen?as=ada&after=3f2a00c4d1e9b007-42      come back, and get what was said after that position
//! ```
//!
//! Everything is lines of text. What is said comes as `ada: hello`. Who comes and goes is an object of JSON,
//! `{"join":{"id":"ada","info":null}}` or `{"leave":{"id":"ada"}}`, where a page that comes back within ten
//! seconds does neither. What is for one client alone begins with `!`: `!here ada ben` (who was there before
//! it came), `!at 3f2a00c4d1e9b007-42` (a position; a client adds 1 for each line said that follows), `!gap`
//! (some of what was missed is lost), `!slow down`, and `!busy` (what it said was not published).
//!
//! `tests/apps/rooms.rs` is how an application is tested with `pushloop::testing`.

mod server;

use std::{env, io};

use pushloop::Server;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9015".into());
    let mut server = Server::bind_with(address, server::config())?;
    if let Some(bound) = server.local_addr() {
        println!("rooms: ws://{bound}/kitchen?as=ada");
    }
    server.run(&mut server::Rooms::default())
}
