//! The server: echo, a room, a handler that panics, one that sends more than its peer reads. It
//! has the library's default limits.

use std::{io, panic};

use pushloop::{
    Accept, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, RequestId, Response, Server,
};

/// More than the kernel takes and may wait.
const FLOOD: usize = 16 << 20;

#[derive(Clone, Copy, Debug)]
enum Path {
    Echo,
    Room,
    /// A topic of its own.
    Alone,
    Panic,
    Flood,
}

#[derive(Default)]
struct Soaked {
    paths: ConnMap<Path>,
}

impl Handler for Soaked {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let path = match request.path() {
            "/echo" => Path::Echo,
            "/room" => Path::Room,
            "/alone" => Path::Alone,
            "/panic" => Path::Panic,
            "/flood" => Path::Flood,
            "/counters" => {
                // It may be gone by now, which needs no answer.
                let _ = hub.respond(id, Response::text(200, counters(hub)));
                return;
            }
            _ => {
                let _ = hub.refuse(id, 404, "no such path");
                return;
            }
        };
        if hub.accept(id, Accept::default()).is_ok() {
            self.paths.insert(id.conn(), path);
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        // Whoever has ended since takes none.
        let _ = match self.paths.get(id) {
            Some(Path::Room) => hub.subscribe(id, "room"),
            Some(Path::Alone) => hub.subscribe(id, &format!("{id:?}")),
            _ => Ok(()),
        };
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        match self.paths.get(id) {
            Some(Path::Echo | Path::Alone) => drop(hub.send(id, message)),
            Some(Path::Room) => drop(hub.publish("room", message)),
            Some(Path::Panic) => panic!("as it was asked to"),
            Some(Path::Flood) => {
                let part = [0; 64 << 10];
                let taken = |_: &usize| hub.send(id, &part).is_ok();
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
