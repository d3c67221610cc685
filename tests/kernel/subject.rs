//! The server of `tests/kernel/main.rs`: echo, topics, commands from another thread, and what it counts,
//! told to who asks, so that a test sees from outside that nothing is left of whoever is gone.
//!
//! On `/` it sends every message back; any other path is a topic, to which who connects there
//! subscribes and what it sends is published. The text `?` is answered with the counts. Each line
//! of standard input is published to `/t` by a thread of its own. SIGUSR1 does nothing, but it
//! interrupts.
//!
//! `cargo run --features server --example kernel_subject -- (IP:PORT | unix:PATH) [PING_MS]`

use std::{
    env,
    io::{self, BufRead, Write},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use pushloop::{
    Accept, Config, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, RequestId, Server,
};

const HANGING: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Subject {
    /// Each connection's path, from its request to its end.
    paths: ConnMap<String>,
    opened: u64,
    closed: u64,
    /// Ends of connections that were over already, or never were.
    astray: u64,
}

impl Subject {
    fn counts(&self, hub: &Hub) -> String {
        let counters = hub.counters();
        format!(
            "open {} topics {} queued {} opened {} closed {} astray {} messages {} timeouts {}",
            counters.connections_open,
            hub.topic_count(),
            hub.queued_bytes_total(),
            self.opened,
            self.closed,
            self.astray,
            counters.messages_received,
            counters.closed_timeout,
        )
    }
}

impl Handler for Subject {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if hub.accept(id, Accept::default()).is_ok() {
            self.paths.insert(id.conn(), request.path().into());
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        self.opened += 1;
        if let Some(path) = self.paths.get(id).filter(|path| *path != "/") {
            // It may have ended since; then that is told next.
            let _ = hub.subscribe(id, path);
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let path = self.paths.get(id).map_or("/", String::as_str);
        if message.as_text() == Some("?") {
            let _ = hub.send(id, self.counts(hub).as_str());
        } else if path == "/" {
            let _ = hub.send(id, message);
        } else {
            let _ = hub.publish(path, message);
        }
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.closed += 1;
        self.astray += u64::from(self.paths.remove(id).is_none());
    }
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let ping = env::args().nth(2).and_then(|millis| millis.parse().ok());
    let mut config = Config::default();
    config.ping_interval = ping.map(Duration::from_millis);
    // Longer than the tests wait: what only a deadline would clear away hangs in them.
    config.handshake_timeout = HANGING;
    config.close_timeout = HANGING;
    config.linger_timeout = HANGING;
    if let Some(ping) = config.ping_interval {
        // What a peer that is silent has: for its answer, and then to read why it is closed.
        (config.pong_timeout, config.linger_timeout) = (ping, ping);
    }
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::new(AtomicBool::new(false)))?;
    let mut server = Server::new(config)?;
    let bound = match address.strip_prefix("unix:") {
        Some(path) => server.listen_unix(path).map(|()| path.to_owned())?,
        None => server.listen(&address)?.to_string(),
    };
    let handle = server.handle();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if handle.publish("/t", line.as_str()).is_err() {
                return;
            }
        }
    });
    writeln!(io::stdout(), "subject: ws://{bound}/")?;
    server.run(&mut Subject::default())
}
