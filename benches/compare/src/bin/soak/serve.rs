//! The server: echo, a room, a handler that panics, one that sends more than its peer reads. It
//! has the library's default limits.

use std::{io, panic};

use pushloop::{
    Accept, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, RequestId, Response, Server,
};

/// More than the kernel takes and may wait.
const FLOOD: usize = 16 << 20;

/// On `/alone`, a connection has a topic of its own.
const PATHS: [&str; 5] = ["/echo", "/room", "/alone", "/panic", "/flood"];

#[derive(Default)]
struct Soaked {
    paths: ConnMap<&'static str>,
}

impl Handler for Soaked {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        match PATHS.iter().find(|path| **path == request.path()) {
            Some(path) if hub.accept(id, Accept::default()).is_ok() => {
                self.paths.insert(id.conn(), path);
            }
            // It may be gone by now, which needs no answer.
            Some(_) => {}
            None => _ = hub.respond(id, Response::text(200, counters(hub))),
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        // A connection that has ended since takes none.
        let _ = match self.paths.get(id) {
            Some(&"/room") => hub.subscribe(id, "room"),
            Some(&"/alone") => hub.subscribe(id, &format!("{id:?}")),
            _ => Ok(()),
        };
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        match self.paths.get(id).copied() {
            Some("/echo" | "/alone") => drop(hub.send(id, message)),
            Some("/room") => drop(hub.publish("room", message)),
            Some("/panic") => panic!("as it was asked to"),
            Some(_) => {
                let part = [0; 64 << 10];
                let taken = |_: &usize| hub.send(id, part).is_ok();
                (0..FLOOD / part.len()).take_while(taken).for_each(drop);
            }
            None => {}
        }
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.paths.remove(id);
    }
}

/// What is counted, as `samples.rs` names it.
fn counters(hub: &Hub) -> String {
    // But for the one that asks.
    let (connections, topics) = (hub.connection_count() - 1, hub.topic_count());
    let (queued, panics) = (hub.queued_bytes_total(), hub.counters().handler_panics);
    format!("{connections} {topics} {queued} {panics}")
}

pub fn serve() -> io::Result<()> {
    // They are counted.
    panic::set_hook(Box::new(|_| {}));
    let mut server = Server::bind("127.0.0.1:0")?;
    println!("listening on {}", server.local_addr().expect("it is bound to an address"));
    server.run(&mut Soaked::default())
}
