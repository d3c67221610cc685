//! Sends every message back to whoever sent it.
//!
//! `cargo run --example echo -- 127.0.0.1:9001`

use std::{env, io};

use pushloop::{ConnId, Handler, Hub, Message, SendError, Server};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        match hub.send(id, message) {
            Ok(()) => {}
            // A peer that does not read what it asked for is closed with 1013.
            Err(SendError::Closing | SendError::Gone) => {}
            Err(error) => eprintln!("{error}"),
        }
    }
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let mut server = Server::bind(address)?;
    if let Some(bound) = server.local_addr() {
        println!("echo: ws://{bound}");
    }
    server.run(&mut Echo)
}
