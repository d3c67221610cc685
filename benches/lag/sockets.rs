//! Long messages to very many over sockets on loopback, and another connection meanwhile.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pushloop::mio::{Events, Interest, Poll, Token, net};
use pushloop::{Accept, Handle, Handler, Hub, Message, Request, RequestId, Server};

use crate::Scale;
use crate::frame::{binary, text};
use crate::report::{at_most, figure, millis, percentile};
use crate::support::read_all;
use crate::world::{KEY, config, handshake};

/// How often the bystander says something.
const EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// D7: the same again and again, as soon as all have read it.
pub fn fan_out(scale: Scale) {
    let wanted = scale.of(10, 9000);
    // Both ends of each are here.
    let subscribers = wanted.min(descriptors().saturating_sub(200) / 2);
    let lack = if subscribers < wanted { " (no descriptors for 9,000)" } else { "" };
    let (tell, told) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut server = Server::bind_with("127.0.0.1:0", config()).expect("loopback is there");
        let address = server.local_addr().expect("it is TCP");
        tell.send((address, server.handle())).expect("it is awaited");
        server.run(&mut App).expect("the loop runs");
    });
    let (address, handle) = told.recv().expect("the server starts");
    let mut crowd = Crowd::opens(address, handle.clone(), subscribers);
    let time = scale.of(Duration::from_millis(50), Duration::from_secs(8));
    for (payload, name) in [(64 * 1024, "64 KiB"), (20, "20 B")] {
        let (rate, waits) = beside_echoes(address, || crowd.reads(payload, time));
        let what = format!("{name} again and again to {subscribers} over sockets{lack}");
        let [most, longest] = [99, 100].map(|percent| millis(percentile(&waits, percent)));
        at_most("D7", format!("{what}: another's echo, 99 %"), most, 5.0, "ms");
        at_most("D7", "... the longest", longest, 50.0, "ms");
        figure("D7", "... deliveries, thousands a second", rate / 1e3, "k/s");
    }
    let ((), waits) = beside_echoes(address, || thread::sleep(time));
    figure("D7", "... another's echo beside nothing, 99 %", millis(percentile(&waits, 99)), "ms");
    handle.shutdown(Duration::ZERO).expect("the server is there");
    server.join().expect("it ends");
}

/// Does something; gives how long the echoes of another connection took meanwhile.
fn beside_echoes<R>(address: SocketAddr, job: impl FnOnce() -> R) -> (R, Vec<Duration>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let bystander = scope.spawn(|| echoes(address, &stop));
        let result = job();
        stop.store(true, Ordering::Relaxed);
        (result, bystander.join().expect("it is answered"))
    })
}

/// How many this process may have.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(1024)
}

/// A text subscribes, and is answered; what is binary comes back.
struct App;

impl Handler for App {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, _: &Request) {
        hub.accept(id, Accept::default()).expect("it is a handshake");
    }

    fn on_message(&mut self, hub: &mut Hub, id: pushloop::ConnId, message: Message<'_>) {
        if message.as_text().is_some() {
            hub.subscribe(id, "t").expect("it is open");
        }
        hub.send(id, message).expect("it reads");
    }
}

/// A WebSocket whose first message was answered.
fn opens(address: SocketAddr, first: &crate::frame::Frame) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("TCP has the option");
    let said = [&handshake("").bytes[..], &first.masked(KEY)].concat();
    stream.write_all(&said).expect("it is read");
    let (mut got, mut buffer) = (Vec::new(), [0; 1024]);
    while !got.ends_with(&first.unmasked()) {
        let n = stream.read(&mut buffer).expect("it is answered");
        assert!(n > 0, "the server has closed it");
        got.extend(&buffer[..n]);
    }
    stream
}

/// How long each message took to come back. What would have been said meanwhile counts, too: it would
/// have come back in the same moment.
fn echoes(address: SocketAddr, stop: &AtomicBool) -> Vec<Duration> {
    let message = binary("hello");
    let mut stream = opens(address, &message);
    let (said, mut answer) = (message.masked(KEY), message.unmasked());
    let mut waits = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(EVERY);
        let began = Instant::now();
        stream.write_all(&said).expect("it is read");
        stream.read_exact(&mut answer).expect("it is answered");
        let took = began.elapsed();
        waits.extend((0..).map_while(|nth| took.checked_sub(EVERY * nth)));
    }
    waits
}

/// Subscribers that read all at once.
struct Crowd {
    streams: Vec<net::TcpStream>,
    poll: Poll,
    handle: Handle,
}

impl Crowd {
    fn opens(address: SocketAddr, handle: Handle, count: usize) -> Self {
        let poll = Poll::new().expect("there is a descriptor");
        let mut streams = Vec::with_capacity(count);
        for nth in 0..count {
            let stream = opens(address, &text("subscribe"));
            stream.set_nonblocking(true).expect("a socket can be");
            let mut stream = net::TcpStream::from_std(stream);
            let registry = poll.registry();
            registry.register(&mut stream, Token(nth), Interest::READABLE).expect("it can be");
            streams.push(stream);
        }
        Self { streams, poll, handle }
    }

    /// Reads for so long, and has the next message published when the last one was read by all.
    /// Gives the deliveries in a second.
    fn reads(&mut self, payload: usize, time: Duration) -> f64 {
        let message = vec![b'x'; payload];
        let all = self.streams.len() * binary(&message).unmasked().len();
        let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 256 * 1024]);
        let (began, mut deliveries) = (Instant::now(), 0);
        while began.elapsed() < time {
            self.handle.publish("t", &message).expect("there is room");
            let mut got = 0;
            while got < all {
                self.poll.poll(&mut events, Some(PATIENCE)).expect("the poll works");
                assert!(!events.is_empty(), "{got} of {all} bytes came, and no more do");
                for event in &events {
                    got += read_all(&mut self.streams[event.token().0], &mut buffer);
                }
            }
            deliveries += self.streams.len();
        }
        deliveries as f64 / began.elapsed().as_secs_f64()
    }
}
