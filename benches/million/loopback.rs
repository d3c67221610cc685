//! Publishing from the loop and from another thread, over sockets on loopback.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pushloop::{Accept, Config, Event, Events, Server};

use super::sink::HANDSHAKE;
use super::support::read_all;
use super::{MESSAGE, SUBSCRIBERS, compare};

/// Before each publication.
const PAUSE: Duration = Duration::from_millis(1);

struct Loopback {
    server: Server,
    events: Events,
    clients: Vec<TcpStream>,
}

impl Loopback {
    fn turn(&mut self, timeout: Duration) {
        self.server.poll(&mut self.events, Some(timeout)).expect("the poll works");
        let hub = self.server.hub();
        for event in &self.events {
            match event {
                Event::Request { id, .. } => {
                    hub.accept(id, Accept::default()).expect("it is a handshake");
                }
                Event::Opened { id } => hub.subscribe(id, "t").expect("it is open"),
                other => panic!("{other:?} is new here"),
            }
        }
    }

    fn opens() -> Self {
        let mut config = Config::default();
        config.ping_interval = None;
        let server = Server::bind_with("127.0.0.1:0", config).expect("loopback is there");
        let address = server.local_addr().expect("it is TCP");
        let mut this = Self { server, events: Events::default(), clients: Vec::new() };
        for _ in 0..SUBSCRIBERS {
            let mut client = TcpStream::connect(address).expect("the server listens");
            client.write_all(HANDSHAKE).expect("it is read");
            client.set_nonblocking(true).expect("sockets can be");
            this.clients.push(client);
            this.turn(Duration::ZERO);
        }
        while this.server.hub().subscriber_count("t") < SUBSCRIBERS {
            this.turn(Duration::from_secs(1));
        }
        this
    }

    /// What has come is read, so that no kernel buffer gets full. Gives how much it was.
    fn clients_read(&mut self) -> usize {
        let mut buffer = [0; 4096];
        self.clients.iter_mut().map(|client| read_all(client, &mut buffer)).sum()
    }
}

/// From the call to publish until the last subscriber was written to. The loop sleeps in its poll
/// when the other thread publishes, and has to be woken.
pub fn run(rounds: usize) {
    let mut loopback = Loopback::opens();
    let handle = loopback.server.handle();
    let (ask, asked) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let publisher = thread::spawn(move || {
        for () in asked {
            // By then the loop sleeps.
            thread::sleep(PAUSE);
            let began = Instant::now();
            handle.publish("t", MESSAGE).expect("there is room");
            tell.send(began).expect("the loop is there");
        }
    });
    loopback.clients_read();
    compare("over sockets on loopback", rounds, |from_afar| {
        let before = loopback.server.hub().counters();
        let mut began = Instant::now();
        if from_afar {
            ask.send(()).expect("the publisher is there");
            while loopback.server.hub().counters().publications == before.publications {
                loopback.turn(Duration::from_secs(1));
            }
        } else {
            // It has slept as long as for the other: a thread that has is given a core for longer.
            thread::sleep(PAUSE);
            began = Instant::now();
            loopback.server.hub().publish("t", MESSAGE).expect("there is room");
        }
        // A turn writes to so many of them.
        while loopback.server.hub().queued_bytes_total() > 0 {
            loopback.turn(Duration::ZERO);
        }
        let ended = Instant::now();
        if from_afar {
            began = told.recv().expect("the publisher is there");
        }
        let sent = loopback.server.hub().counters().bytes_sent - before.bytes_sent;
        assert_eq!(sent, (SUBSCRIBERS * (2 + MESSAGE.len())) as u64);
        assert_eq!(loopback.clients_read() as u64, sent);
        ended - began
    });
    drop(ask);
    publisher.join().expect("it does not panic");
}
