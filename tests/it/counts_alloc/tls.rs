//! What TLS takes: idle connections, and peers that send half a record or read nothing. Only the loop's
//! thread is counted, so that the clients may be in the same process.

use std::sync::mpsc::{self, Receiver, Sender};

use pushloop::Tls;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::tls::{Authority, Connection};

const CONNECTIONS: u64 = 1000;
const MIB: usize = 1 << 20;

/// A server of TLS that has the test as its loop, with buffers of the kernel that are small.
fn serves(authority: &Authority, change: impl FnOnce(&mut Config)) -> (Loop, SocketAddr) {
    let mut config = Config::default();
    config.ping_interval = None;
    config.accepts_per_turn = 1;
    change(&mut config);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1024).unwrap();
    let mut server = Server::new(config).unwrap();
    let tls = Tls::new(authority.certifies(&[&["localhost"]])).unwrap();
    let address = server.listen_tls_on(socket.into(), &tls).unwrap();
    (Loop { server, events: Events::default() }, address)
}

/// Clients that open a connection each, have a message echoed, do what `then` says, and hold on until
/// they are told.
fn clients(
    authority: &Authority,
    address: SocketAddr,
    then: impl Fn(&mut Connection) + Send + 'static,
) -> (Sender<()>, JoinHandle<()>) {
    let client = authority.client();
    let (end, ended): (_, Receiver<()>) = mpsc::channel();
    let thread = thread::spawn(move || {
        let opens = |_| {
            let mut stream = client.opens(address);
            then(&mut stream);
            stream
        };
        let streams: Vec<_> = (0..CONNECTIONS).map(opens).collect();
        // Told, or left alone.
        let _ = ended.recv();
        drop(streams);
    });
    (end, thread)
}

/// Runs `role` in a process of its own, and gives what it tells.
fn told(test: &str, role: impl FnOnce() -> u64) -> Option<u64> {
    if env::var(ROLE).is_err() {
        return Some(told_by(&format!("tls::{test}")));
    }
    println!("\nbytes {}", role());
    None
}

#[test]
fn an_idle_tls_connection_owns_at_most_4_kib() {
    let idle = || {
        let authority = Authority::new();
        let (mut server, address) = serves(&authority, |_| {});
        server.flushes();
        let (end, clients) = clients(&authority, address, |_| {});
        let info = measure(|| {
            server.echoes(CONNECTIONS);
            server.flushes();
        });
        assert_eq!(server.server.hub().counters().connections_open, CONNECTIONS);
        drop(end);
        clients.join().unwrap();
        info.bytes_current as u64
    };
    if let Some(bytes) = told("an_idle_tls_connection_owns_at_most_4_kib", idle) {
        let each = bytes.div_ceil(CONNECTIONS);
        println!("an idle TLS connection owns {each} bytes of heap and slab");
        assert!(each <= 4096, "{each} bytes");
    }
}

#[test]
fn half_records_of_a_crowd_hold_what_the_limit_says() {
    let most = 4 * MIB;
    let crowd = move || {
        let authority = Authority::new();
        let (mut server, address) = serves(&authority, |config| config.incomplete_bytes_max = most);
        // The header of a record of 16 KiB, and all of it but for a byte.
        let half = |stream: &mut Connection| {
            let record = [&[0x17, 3, 3, 0x40, 0][..], &[0; 0x3FFF]].concat();
            // It may have been dropped.
            let _ = stream.sock.write_all(&record);
        };
        let (end, clients) = clients(&authority, address, half);
        let info = measure(|| {
            server.echoes(CONNECTIONS);
            server.flushes();
            server.turns(crate::support::echo, |hub| {
                let counters = hub.counters();
                counters.connections_open == CONNECTIONS - counters.tls_closed_held
                    && counters.tls_held_bytes > most as u64 / 2
            });
        });
        assert!(server.server.hub().counters().tls_closed_held > CONNECTIONS / 2);
        drop(end);
        clients.join().unwrap();
        info.bytes_max
    };
    if let Some(bytes) = told("half_records_of_a_crowd_hold_what_the_limit_says", crowd) {
        // And 4 KiB for each connection, and what a turn has read before the limit is looked at.
        assert!(bytes < (most + 6 * MIB) as u64, "{bytes} bytes");
    }
}

#[test]
fn blocked_peers_hold_what_the_limit_says() {
    let most = 4 * MIB;
    let crowd = move || {
        let authority = Authority::new();
        let (mut server, address) = serves(&authority, |config| {
            config.send_queues_bytes_max = most;
        });
        let (end, clients) = clients(&authority, address, |_| {});
        let mut app = |hub: &mut Hub, event: Event<'_>| match event {
            Event::Opened { id } => hub.subscribe(id, "t").unwrap(),
            event => crate::support::echo(hub, event),
        };
        let info = measure(|| {
            server.turns(&mut app, |hub| hub.counters().messages_received == CONNECTIONS);
            server.flushes();
            // More than a kernel takes, for all of them.
            for _ in 0..100 {
                // What is not taken is given up.
                let _ = server.server.hub().publish("t", vec![7; 60_000]);
                server.server.poll(&mut server.events, Some(Duration::ZERO)).unwrap();
            }
            server.turns(&mut app, |hub| hub.counters().tls_closed_held > 0);
        });
        drop(end);
        clients.join().unwrap();
        info.bytes_max
    };
    if let Some(bytes) = told("blocked_peers_hold_what_the_limit_says", crowd) {
        // And what topics hold of it, 4 KiB for each connection, and what a turn writes.
        assert!(bytes < (2 * most + 7 * MIB) as u64, "{bytes} bytes");
    }
}
