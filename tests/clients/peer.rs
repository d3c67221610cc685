//! The server that the clients of `tests/clients/` and `tests/browser/` talk to. It sends every
//! message back, but for these texts:
//!
//! | text | what follows |
//! |---|---|
//! | `close 4001 bye` | it closes with this code and reason |
//! | `last close` | how the connection before ended: `4001 done`, code and reason, as the server saw it |
//! | `pings` | silence until three of its Pings went out here, each after the answer to the one before; then `pings` |
//! | `traffic` | the bytes that it has read and written so far: `1234 5678` |
//! | `event one` | an event, `data: one`, to the peer that asked for `/events` last |
//! | `no more events` | the end of these |
//!
//! It speaks the subprotocol `chat.v2` with whoever offers it, and answers what asks for no
//! WebSocket with an empty page. With `takeover`, compressed messages refer back to earlier ones.
//!
//! `cargo run --features deflate --example client_peer -- 127.0.0.1:9001 [takeover]`

use std::{env, io, time::Duration};

use pushloop::{
    Accept, AsMessage, CloseCode, Config, ConnId, Handler, Hub, Message, Reason, Request,
    RequestId, Response, Server,
};

const SUBPROTOCOL: &str = "chat.v2";
const PING_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Peer {
    last_close: String,
    /// Who is to hear when so many Pings were sent. There is one client at a time, so all are its.
    pinged: Option<(ConnId, u64)>,
    events: Option<ConnId>,
}

impl Handler for Peer {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if request.path() == "/events" {
            let events = Response::new(200).header("Content-Type", "text/event-stream");
            self.events = hub.stream(id, events).is_ok().then(|| id.conn());
            return;
        }
        if !request.is_websocket() {
            let page = Response::new(200).body("<!doctype html><title>peer");
            let page = page.header("Content-Type", "text/html");
            // Who is gone needs no page.
            let _ = hub.respond(id, page);
            return;
        }
        let subprotocol = request.subprotocols().find(|offered| *offered == SUBPROTOCOL);
        if let Err(error) = hub.accept(id, Accept { subprotocol, ..Accept::default() }) {
            eprintln!("{error}");
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let text = message.as_text().unwrap_or_default();
        if let Some((code, reason)) = close_wanted(text) {
            hub.close(id, code, reason);
        } else if text == "last close" {
            answer(hub, id, &self.last_close);
        } else if text == "pings" {
            self.pinged = Some((id, hub.counters().pings_sent + 3));
            hub.set_timer(hub.now() + PING_INTERVAL, id.to_bits());
        } else if text == "traffic" {
            let counters = hub.counters();
            let traffic = format!("{} {}", counters.bytes_received, counters.bytes_sent);
            answer(hub, id, &traffic);
        } else if let (Some(data), Some(events)) = (text.strip_prefix("event "), self.events) {
            if let Err(error) = hub.write(events, format!("data: {data}\n\n")) {
                eprintln!("{error}");
            }
        } else if text == "no more events"
            && let Some(events) = self.events.take()
        {
            hub.finish(events);
        } else {
            answer(hub, id, message);
        }
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        match self.pinged {
            Some((id, enough)) if hub.counters().pings_sent >= enough => answer(hub, id, "pings"),
            Some((id, _)) if hub.is_open(id) => {
                hub.set_timer(hub.now() + PING_INTERVAL, key);
            }
            _ => {}
        }
    }

    fn on_close(&mut self, _: &mut Hub, _: ConnId, reason: Reason<'_>) {
        let text = if let Reason::Peer { text, .. } = reason { text } else { "" };
        self.last_close = format!("{} {text}", reason.code());
    }
}

/// The code and the reason of `close CODE REASON`.
fn close_wanted(text: &str) -> Option<(CloseCode, &str)> {
    let (code, reason) = text.strip_prefix("close ")?.split_once(' ')?;
    Some((CloseCode::new(code.parse().ok()?)?, reason))
}

fn answer(hub: &mut Hub, id: ConnId, message: impl AsMessage) {
    if let Err(error) = hub.send(id, message) {
        eprintln!("{error}");
    }
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let mut config = Config::default();
    config.message_bytes_max = 1 << 20;
    // A client that hands over 16 MiB before it reads is what the tests want to see.
    config.send_queue_bytes_max = 32 << 20;
    config.ping_interval = Some(PING_INTERVAL);
    #[cfg(feature = "deflate")]
    {
        config.deflate_context_takeover = env::args().nth(2).is_some_and(|mode| mode == "takeover");
    }
    let mut server = Server::bind_with(address, config)?;
    if let Some(bound) = server.local_addr() {
        println!("peer: ws://{bound}");
    }
    server.run(&mut Peer::default())
}
