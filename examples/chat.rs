//! Rooms: a URL is a room, whatever one says all others there hear, and everyone has a number.
//!
//! `cargo run --example chat -- 127.0.0.1:9001`, then `new WebSocket("ws://127.0.0.1:9001/lobby")`

use std::{env, io};

use pushloop::{
    Accept, ConnId, ConnMap, Handler, Hub, Message, PublishError, Reason, Request, Server,
};

#[derive(Default)]
struct Chat {
    rooms: ConnMap<String>,
}

impl Handler for Chat {
    fn on_request(&mut self, hub: &mut Hub, id: ConnId, request: &Request) {
        // One that asks for no WebSocket is answered with 426.
        if hub.accept(id, Accept::default()).is_ok() {
            self.rooms.insert(id, request.path().into());
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        let Some(room) = self.rooms.get(id) else { return };
        match hub.subscribe(id, room) {
            Ok(()) => report(hub.publish(room, &format!("{id:?} joined"))),
            Err(error) => hub.close(id, pushloop::CloseCode::POLICY, &error.to_string()),
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        if let (Some(room), Message::Text(text)) = (self.rooms.get(id), message) {
            report(hub.publish_except(room, &format!("{id:?}: {text}"), id));
        }
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, reason: Reason<'_>) {
        if let Some(room) = self.rooms.remove(id) {
            report(hub.publish(&room, &format!("{id:?} left ({})", reason.code())));
        }
    }
}

fn report(published: Result<usize, PublishError>) {
    if let Err(error) = published {
        eprintln!("{error}");
    }
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let mut server = Server::bind(address)?;
    if let Some(bound) = server.local_addr() {
        println!("chat: ws://{bound}/lobby");
    }
    server.run(&mut Chat::default())
}
