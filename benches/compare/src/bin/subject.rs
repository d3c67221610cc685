//! pushloop as a server of the comparison.
//!
//! `subject [127.0.0.1:9001]` prints `listening on HOST:PORT` and serves on one thread. What comes on
//! `/fan` is published to all connections there, the sender included; on any other path a message
//! goes back to its sender. Limits are raised where the benchmark means to go beyond the defaults;
//! budgets and policies are the defaults. With NO_PINGS in its environment, it sends no Pings. With CERTIFICATES, a folder with `chain.pem` and `key.pem`, it speaks
//! TLS.

use std::{env, io, path::Path};

use pushloop::{
    Accept, Config, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, RequestId, Server,
    Tls, TlsCertificates,
};

#[derive(Default)]
struct Subject {
    on_fan: ConnMap<()>,
}

impl Handler for Subject {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let fan = request.path() == "/fan";
        if hub.accept(id, Accept::default()).is_ok() && fan {
            self.on_fan.insert(id.conn(), ());
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        if self.on_fan.get(id).is_some() {
            hub.subscribe(id, "fan").expect("one short topic is within the limits");
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let refused = match self.on_fan.get(id) {
            Some(()) => hub.publish("fan", message).err().map(|error| error.to_string()),
            None => hub.send(id, message).err().map(|error| error.to_string()),
        };
        if let Some(error) = refused {
            eprintln!("subject: {error}");
        }
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.on_fan.remove(id);
    }
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let mut config = Config::default();
    config.message_bytes_max = 1 << 20;
    // A turn's echoes, and what 64 publications of 64 KiB are while the kernel is full.
    config.send_queue_bytes_max = 16 << 20;
    config.topic_lag_bytes_max = 16 << 20;
    config.topic_unserved_bytes_max = 256 << 20;
    config.send_queues_bytes_max = 1 << 30;
    if env::var_os("NO_PINGS").is_some() {
        config.ping_interval = None;
    }
    let mut server = Server::new(config)?;
    match env::var_os("CERTIFICATES") {
        None => server.listen(address)?,
        Some(folder) => {
            let file = |name| Path::new(&folder).join(name);
            let certificates = TlsCertificates::new().files(file("chain.pem"), file("key.pem"))?;
            server.listen_tls(address, &Tls::new(certificates)?)?
        }
    };
    println!("listening on {}", server.local_addr().expect("it is bound to an address"));
    server.run(&mut Subject::default())
}
