//! A loop of one's own: WebSocket, a UDP socket and a clock in one thread. Whatever arrives over
//! UDP is published, and so is a tick each second.
//!
//! `cargo run --example own_loop -- 127.0.0.1:9001`, then `echo hello > /dev/udp/127.0.0.1/9002`

use std::{env, io, net::SocketAddr, time::Duration};

use pushloop::{
    Accept, Event, Events, Message, Server,
    mio::{Interest, net::UdpSocket},
};

const TICK: u64 = 1;
const DATAGRAMS: u64 = 2;
/// What one turn takes: a flood must not keep the loop from everybody else.
const DATAGRAMS_PER_TURN: usize = 64;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let mut server = Server::bind(address)?;
    let bound = server.local_addr().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let udp_port = bound.port().checked_add(1).unwrap_or(0);
    let mut udp = UdpSocket::bind(SocketAddr::new(bound.ip(), udp_port))?;
    server.register(&mut udp, 0, Interest::READABLE)?;
    println!("own_loop: ws://{bound}/, udp {}", udp.local_addr()?);

    let mut ticks = 0;
    let mut datagram = [0; 1500];
    let mut events = Events::default();
    let first_tick = server.hub().now();
    server.hub().set_timer(first_tick, TICK);
    while !server.hub().is_finished() {
        server.poll(&mut events, None)?;
        let hub = server.hub();
        for event in &events {
            // What is refused here is counted, and nobody waits to hear of it.
            match event {
                Event::Request { id, .. } => _ = hub.accept(id, Accept::default()),
                Event::Opened { id } => _ = hub.subscribe(id, "all"),
                Event::Source { .. } | Event::Timer { key: DATAGRAMS } => {
                    let mut left = DATAGRAMS_PER_TURN;
                    while left > 0
                        && let Ok(len) = udp.recv(&mut datagram)
                    {
                        _ = hub.publish("all", &datagram[..len]);
                        left -= 1;
                    }
                    if left == 0 {
                        // The poll tells of them once, so the next turn is to look again.
                        hub.set_timer(hub.now(), DATAGRAMS);
                    }
                }
                Event::Timer { .. } => {
                    ticks += 1;
                    _ = hub.publish("all", format!("tick {ticks}"));
                    hub.set_timer(first_tick + Duration::from_secs(ticks), TICK);
                }
                Event::Message { id, message: Message::Text("bye") } => {
                    hub.close(id, pushloop::CloseCode::NORMAL, "bye");
                }
                _ => {}
            }
        }
    }
    Ok(())
}
