//! What connections and messages cost in memory: counted by an allocator around the system's, on
//! the loop's thread alone.

#[cfg(feature = "deflate")]
mod deflated;
mod history;
#[cfg(feature = "tls")]
mod tls;

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::http::read_head;
use crate::support::sink::Drain;
use crate::support::{
    Frame, PATIENCE, Peer, binary, burst, close_empty, continuation, handshake, ping, pong, text,
};
use allocation_counter::{AllocationInfo, measure};
use pushloop::{Config, Event, Events, Hub, Server};

/// A server whose loop is the test.
struct Loop {
    server: Server,
    events: Events,
}

impl Loop {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(mut config: Config) -> Self {
        config.ping_interval = None;
        Self {
            server: Server::bind_with("127.0.0.1:0", config).unwrap(),
            events: Events::default(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr().unwrap()
    }

    /// Turns until `done`, with an application that gets every event.
    #[track_caller]
    fn turns(&mut self, mut app: impl FnMut(&mut Hub, Event<'_>), done: impl Fn(&Hub) -> bool) {
        while !done(self.server.hub()) {
            let before = self.server.hub().now();
            self.server.poll(&mut self.events, Some(PATIENCE)).unwrap();
            let waited = self.server.hub().now() - before;
            assert!(waited < PATIENCE, "what the test waits for does not come about");
            for event in &self.events {
                app(self.server.hub(), event);
            }
        }
    }

    /// Writes what is queued.
    fn flushes(&mut self) {
        self.server.poll(&mut self.events, Some(Duration::ZERO)).unwrap();
        assert_eq!(self.server.hub().queued_bytes_total(), 0);
    }

    /// Echoes until so many messages have come since the server began.
    fn echoes(&mut self, messages: u64) {
        self.turns(crate::support::echo, |hub| hub.counters().messages_received == messages);
    }
}

/// What a peer sends at once, and what it waits for before it goes on.
type Burst = (Vec<u8>, Vec<Frame>);

/// A peer in a thread of its own, which sends `bursts` so many times.
fn peer(address: SocketAddr, times: usize, bursts: Vec<Burst>) -> JoinHandle<Peer> {
    thread::spawn(move || {
        let mut peer = Peer::connect(address);
        peer.sends_bytes(handshake("/", ""));
        peer.expects_upgrade();
        for (bytes, frames) in bursts.iter().cycle().take(times * bursts.len()) {
            peer.sends_bytes(bytes);
            frames.iter().for_each(|frame| peer.expects(frame.clone()));
        }
        peer
    })
}

fn plain(frame: Frame) -> Burst {
    (frame.masked([5, 6, 7, 8]), vec![frame])
}

/// Messages that come in two reads for certain: the second half follows the answer to a Ping.
fn halves(frame: Frame) -> [Burst; 2] {
    let bytes = frame.masked([5, 6, 7, 8]);
    let (early, late) = bytes.split_at(bytes.len() / 2);
    [([burst([&ping("p")]), early.into()].concat(), vec![pong("p")]), (late.into(), vec![frame])]
}

#[test]
fn a_thousand_echoes_allocate_nothing() {
    let mut server = Loop::new();
    let long = text("y".repeat(10_000));
    let mut bursts = vec![plain(text("x")), plain(binary([7; 125])), plain(long.clone())];
    bursts.extend(halves(long));
    let peer = peer(server.address(), 275, bursts);
    // What is made once, and what is kept to be used again.
    server.echoes(100);
    let info = measure(|| server.echoes(1100));
    assert_eq!(info.count_total, 0, "{info:?}");
    server.flushes();
    drop(peer.join().unwrap());
}

#[test]
fn pipelined_and_fragmented_messages_allocate_nothing_either() {
    let mut server = Loop::new();
    let sixteen: Vec<Frame> = (0..16).map(|at| text(format!("message {at}"))).collect();
    let fragments = [text("a").open(), ping("p"), continuation("b").open(), continuation("c")];
    let bursts =
        vec![(burst(&sixteen), sixteen), (burst(&fragments), vec![pong("p"), text("abc")])];
    let peer = peer(server.address(), 550, bursts);
    server.echoes(50 * 17);
    let info = measure(|| server.echoes(550 * 17));
    assert_eq!(info.count_total, 0, "{info:?}");
    server.flushes();
    drop(peer.join().unwrap());
}

/// Allocations of a hundred turns that publish to so many subscribers, after as many to warm up.
fn publishing_to(subscribers: usize) -> AllocationInfo {
    let mut server = Loop::new();
    let hears = (Vec::new(), vec![text("0123456789")]);
    let peers: Vec<_> =
        (0..subscribers).map(|_| peer(server.address(), 200, vec![hears.clone()])).collect();
    let subscribe = |hub: &mut Hub, event: Event<'_>| match event {
        Event::Opened { id } => hub.subscribe(id, "t").unwrap(),
        event => crate::support::accept(hub, event),
    };
    server.turns(subscribe, |hub| hub.subscriber_count("t") == subscribers);
    let mut publish = |turns: u64| {
        for _ in 0..turns {
            server.server.hub().publish("t", "0123456789").unwrap();
            server.server.poll(&mut server.events, Some(Duration::ZERO)).unwrap();
        }
    };
    publish(100);
    let info = measure(|| publish(100));
    peers.into_iter().for_each(|peer| drop(peer.join().unwrap()));
    info
}

#[test]
fn a_publication_allocates_nothing_for_a_hundred_subscribers_or_for_one() {
    let (one, hundred) = (publishing_to(1), publishing_to(100));
    // The batch that all share, its reference count and its buffer come back from the last one of the
    // turn before.
    assert_eq!((one.count_total, hundred.count_total), (0, 0));
    assert_eq!((one.bytes_current, hundred.bytes_current), (0, 0));
}

#[test]
fn a_delivery_to_a_thousand_allocates_nothing_and_neither_does_a_publication() {
    const TURNS: u64 = 100;
    // The batch and its buffer are those of the turn before. But opening a thousand connections has left
    // as many buffers as are kept, all large for one short message: it is copied to one of its size, for
    // which there is no room among them afterwards.
    for (subscribers, payload, publications, allocations) in
        [(1, 20, 1, 0), (1, 1000, 16, 0), (1000, 20, 1, 1), (1000, 1000, 1, 0), (1000, 1000, 16, 0)]
    {
        let mut drain = Drain::new(Config::default());
        drain.opens(subscribers, |hub, id| hub.subscribe(id, "t").unwrap());
        let message = "x".repeat(payload);
        let mut turns = || {
            for _ in 0..TURNS {
                for _ in 0..publications {
                    drain.hub().publish("t", &*message).unwrap();
                }
                // A turn writes to 512 of them, or 1 MiB.
                drain.empties();
            }
        };
        turns();
        let info = measure(turns);
        let deliveries = drain.hub().counters().deliveries;
        assert_eq!(deliveries, 2 * TURNS * publications * subscribers as u64);
        assert_eq!(info.count_total, TURNS * allocations, "{subscribers} {payload}: {info:?}");
        assert_eq!(info.bytes_current, 0, "{info:?}");
    }
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let mut server = Loop::new();
    let address = server.address();
    let mut served = 0;
    let mut churn = |server: &mut Loop, count: u64| {
        let peers = thread::spawn(move || {
            for at in 0..count {
                let mut peer = Peer::connect(address);
                peer.sends_bytes(handshake("/", ""));
                peer.expects_upgrade();
                let message = text("x".repeat(at as usize % 3000));
                let bytes = message.masked([1; 4]);
                peer.sends_bytes(&bytes[..3]);
                peer.sends_bytes(&bytes[3..]);
                peer.expects(message);
                if at % 2 == 0 {
                    peer.sends(close_empty());
                    peer.expects(close_empty());
                    peer.expects_eof();
                }
            }
        });
        let app = |hub: &mut Hub, event: Event<'_>| {
            if let Event::Opened { id } = event {
                // A name that nobody had before.
                hub.subscribe(id, &format!("topic {}", id.to_bits())).unwrap();
            } else if let Event::Message { id, message } = event {
                hub.publish(&format!("topic {}", id.to_bits()), message).unwrap();
            } else {
                crate::support::accept(hub, event);
            }
        };
        served += count;
        server.turns(app, |hub| hub.counters().upgrades == served && hub.connection_count() == 0);
        peers.join().unwrap();
        assert_eq!(server.server.hub().topic_count(), 0);
    };
    churn(&mut server, 300);
    let info = measure(|| churn(&mut server, 1000));
    assert!(info.bytes_current < 10_000, "{info:?}");
}

// Ten thousand connections: a server in one process and its clients in another, because there may
// not be descriptors enough for both ends in one.

const IDLE: u64 = 10_000;
const ROLE: &str = "PUSHLOOP_TEST_ROLE";
const ADDRESS: &str = "PUSHLOOP_TEST_ADDRESS";

/// One of the tests here again, as another process with a role of its own and enough descriptors.
fn cast(test: &str, role: &str, address: &str) -> Child {
    let limit = format!("ulimit -n {} && exec \"$0\" \"$@\"", IDLE + 100);
    Command::new("bash")
        .args(["-c", &limit])
        .arg(env::current_exe().expect("the test knows its own file"))
        .args(["--exact", &format!("counts_alloc::{test}"), "--nocapture"])
        .envs([(ROLE, role), (ADDRESS, address)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash is there")
}

/// What an idle client does before it is idle: its handshake, and a message that is answered.
struct Before {
    handshake: String,
    says: Frame,
    /// The first byte of the frame that answers it.
    answer: u8,
}

/// Opens all connections, has a message answered on each, and holds them until it is killed.
fn clients(before: &Before) {
    let address = env::var(ADDRESS).expect("the server says where it is");
    let opens = |_| {
        let mut stream = TcpStream::connect(&address).expect("the server accepts");
        stream.write_all(before.handshake.as_bytes()).expect("the server reads");
        let head = read_head(&mut stream).expect("the server upgrades");
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        stream.write_all(&before.says.masked([1; 4])).expect("the server reads");
        let answer = Frame::read(&mut stream).expect("the server echoes");
        assert_eq!(answer.map(|frame| frame.first), Some(before.answer));
        stream
    };
    let streams: Vec<TcpStream> = (0..IDLE).map(opens).collect();
    std::io::stdin().read_to_end(&mut Vec::new()).expect("the server ends");
    drop(streams);
}

/// Tells how much memory all connections take.
fn server(test: &str) {
    let mut server = Loop::new();
    // The batch's own buffer is made once.
    server.flushes();
    let mut clients = cast(test, "clients", &server.address().to_string());
    let info = measure(|| {
        server.echoes(IDLE);
        server.flushes();
    });
    assert_eq!(server.server.hub().counters().connections_open, IDLE);
    println!("\nbytes {}", info.bytes_current);
    clients.kill().expect("it is ours");
    clients.wait().expect("it is ours");
}

/// Bytes of heap and slab that all connections own, once they are idle. `test` is who asks: each
/// process that it casts comes here, too.
fn idle_bytes(test: &str, before: &Before) -> Option<u64> {
    match env::var(ROLE).as_deref() {
        Ok("clients") => {
            clients(before);
            return None;
        }
        Ok(_) => {
            server(test);
            return None;
        }
        Err(_) => {}
    }
    let bytes = told_by(test);
    println!("an idle connection owns {} bytes of heap and slab", bytes.div_ceil(IDLE));
    Some(bytes)
}

/// The bytes that a test tells of as a server, in a process of its own.
fn told_by(test: &str) -> u64 {
    let child = cast(test, "server", "").wait_with_output().expect("it is ours");
    let output = String::from_utf8(child.stdout).expect("the harness writes text");
    let bytes = output.lines().find_map(|line| line.strip_prefix("bytes ")?.parse::<u64>().ok());
    bytes.unwrap_or_else(|| panic!("the server does not say how much it is: {output}"))
}

#[test]
fn an_idle_connection_owns_at_most_256_bytes() {
    let says = text("x".repeat(300));
    let before = Before { handshake: handshake("/", ""), says, answer: 0x81 };
    if let Some(bytes) = idle_bytes("an_idle_connection_owns_at_most_256_bytes", &before) {
        assert!(bytes <= 256 * IDLE, "{} bytes for each of {IDLE}", bytes.div_ceil(IDLE));
    }
}
