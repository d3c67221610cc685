//! What no honest client sends, and what it leads to.

use std::net::Shutdown;
use std::time::Duration;

use pushloop::{Counters, Events};

use super::*;
use crate::support::{PATIENCE, get};

fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        // What was not read when it closed.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server does not close: {error}"),
    }
    said
}

/// What a server says to these bytes before it closes.
fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = dial(address);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&stream)
}

#[test]
fn plain_http_is_told_that_this_is_tls_and_nothing_of_it_is_done() {
    let authority = Authority::new();
    let server = serves(&localhost(&authority));
    let expected = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Length: 51\r\n\r\n\
        this port speaks TLS: use https:// or wss:// for it";
    assert_eq!(expected.split("\r\n\r\n").last().unwrap().len(), 51);
    let long = format!("POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    for request in [&*get("/"), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PROXY TCP4 ", &long] {
        assert_eq!(
            String::from_utf8(answer(server.address(), request.as_bytes())).unwrap(),
            expected
        );
    }
    // It goes on for ever: it is cut off after a while.
    let mut stream = dial(server.address());
    while stream.write_all(&[b'X'; 10_000]).is_ok() {}
    server.until(|hub| hub.connection_count() == 0);
    let counts = server.handle().counters();
    assert_eq!((counts.tls_plain_refused, counts.requests, counts.bytes_received), (5, 0, 0));
}

#[test]
fn what_is_no_tls_gets_an_alert_and_its_connection_ends() {
    let authority = Authority::new();
    let server = serves(&localhost(&authority));
    // Alerts are records of the kind 21.
    for (bytes, what) in [
        (&[0; 100][..], "zeros"),
        (&[0x16, 3, 1, 0xFF, 0xFF, 1, 2, 3], "a record that is too long"),
        (&[0x16, 9, 9, 0, 1, 1], "a version that there is none of"),
        (&[0x16, 3, 1, 0, 4, 2, 0, 0, 0], "a message that is a server's"),
        (&[0x17, 3, 3, 0, 1, 0], "data before a handshake"),
        (&[0x0D, 0x0A, 0x0D, 0x0A, 0, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A], "PROXY"),
    ] {
        let said = answer(server.address(), bytes);
        assert_eq!(said.first(), Some(&21), "{what}: {said:?}");
    }
    server.until(|hub| hub.connection_count() == 0);
    assert_eq!(server.handle().counters().tls_handshakes_failed, 6);
}

/// The loop, a client with records that are cut at will, and all in one thread.
struct Lone {
    server: Server,
    events: Events,
    address: SocketAddr,
}

impl Lone {
    fn new(tls: &Tls, change: impl FnOnce(&mut Config)) -> Self {
        let mut server = Server::new(quiet(change)).unwrap();
        let address = server.listen_tls("127.0.0.1:0", tls).unwrap();
        Self { server, events: Events::default(), address }
    }

    fn turn(&mut self) {
        self.server.poll(&mut self.events, Some(Duration::ZERO)).unwrap();
        for event in &self.events {
            echo(self.server.hub(), event);
        }
    }

    fn counts(&mut self) -> Counters {
        self.server.hub().counters()
    }

    #[track_caller]
    fn until(&mut self, done: impl Fn(&Counters) -> bool) {
        let began = self.server.hub().now();
        while !done(&self.counts()) {
            self.turn();
            let counts = self.counts();
            assert!(
                self.server.hub().now() - began < PATIENCE,
                "it does not come about: {counts:?}"
            );
        }
    }

    fn connects(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The rest of a handshake, turn by turn.
    fn shakes(&mut self, tls: &mut ClientConnection, stream: &mut TcpStream) {
        let began = self.server.hub().now();
        while tls.is_handshaking() || tls.wants_write() {
            while tls.wants_write() && tls.write_tls(stream).is_ok() {}
            self.turn();
            if tls.read_tls(stream).is_ok() {
                tls.process_new_packets().unwrap();
            }
            assert!(self.server.hub().now() - began < PATIENCE, "the handshake does not end");
        }
    }
}

#[test]
fn a_hello_may_be_cut_anywhere_and_what_follows_may_be_anything() {
    let authority = Authority::new();
    let tls = localhost(&authority);
    let mut lone = Lone::new(&tls, |_| {});
    let client = authority.client_of(&[&version::TLS13], None);
    let mut hello = Vec::new();
    client.tls("localhost").write_tls(&mut hello).unwrap();
    let (mut whole, mut failed) = (0, 0);
    for at in 1..hello.len() {
        // Its rest, a close_notify in its middle, garbage, and the end.
        let (mut tls, mut stream) = (client.tls("localhost"), lone.connects());
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        stream.write_all(&hello[..at]).unwrap();
        lone.turn();
        stream.write_all(&hello[at..]).unwrap();
        lone.shakes(&mut tls, &mut stream);
        whole += 1;
        let close_notify: &[u8] = &[21, 3, 3, 0, 2, 1, 0];
        for rest in [close_notify, &[0xFF; 20_000], b""] {
            let mut stream = lone.connects();
            stream.write_all(&hello[..at]).unwrap();
            lone.turn();
            stream.write_all(rest).unwrap();
            drop(stream);
            failed += 1;
        }
        // Nothing is left of them.
        lone.until(|counts| {
            (counts.tls_handshakes, counts.tls_handshakes_failed) == (whole, failed)
        });
    }
    lone.until(|counts| counts.connections_open == 0);
    let counts = lone.counts();
    assert_eq!((counts.tls_handshakes_open, counts.tls_held_bytes), (0, 0));
}

#[test]
fn beyond_the_open_handshakes_the_oldest_goes_and_no_open_connection() {
    let authority = Authority::new();
    let mut lone = Lone::new(&localhost(&authority), |config| config.tls_limits.handshakes_max = 3);
    let (mut tls, mut open) = (authority.client().tls("localhost"), lone.connects());
    lone.shakes(&mut tls, &mut open);
    let mut silent: Vec<_> = (0..3).map(|_| lone.connects()).collect();
    silent[0].write_all(&[0x16, 3, 1]).unwrap();
    lone.until(|counts| counts.tls_handshakes_open == 3);
    assert_eq!(lone.counts().tls_handshakes_dropped, 0);
    silent.push(lone.connects());
    lone.until(|counts| counts.connections_open == 4 && counts.tls_handshakes_dropped == 1);
    assert_eq!(read_to_end(&silent[0]), b"");
    for other in &silent[1..] {
        assert_eq!(other.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    tls.writer().write_all(get("/").as_bytes()).unwrap();
    tls.write_tls(&mut open).unwrap();
    lone.until(|counts| counts.requests == 1);
}

#[test]
fn a_record_that_was_changed_ends_its_connection_with_an_alert() {
    let authority = Authority::new();
    let mut lone = Lone::new(&localhost(&authority), |_| {});
    let client = authority.client();
    let (mut tls, mut stream) = (client.tls("localhost"), lone.connects());
    lone.shakes(&mut tls, &mut stream);
    lone.until(|counts| counts.tls_handshakes == 1);
    tls.writer().write_all(get("/").as_bytes()).unwrap();
    let mut record = Vec::new();
    tls.write_tls(&mut record).unwrap();
    *record.last_mut().unwrap() ^= 1;
    stream.write_all(&record).unwrap();
    lone.until(|counts| counts.connections_open == 0);
    assert_eq!((lone.counts().tls_broken, lone.counts().requests), (1, 0));
    while tls.read_tls(&mut stream).is_ok_and(|count| count > 0) {
        if let Err(error) = tls.process_new_packets() {
            assert!(error.to_string().contains("BadRecordMac"), "{error}");
            return;
        }
    }
    panic!("no alert came");
}

#[test]
fn a_handshake_that_takes_too_long_ends_at_the_deadline_of_a_request() {
    let authority = Authority::new();
    let timeout = Duration::from_millis(200);
    let mut lone = Lone::new(&localhost(&authority), |config| config.handshake_timeout = timeout);
    let silent = lone.connects();
    let mut begun = lone.connects();
    begun.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    let (mut tls, mut open) = (authority.client().tls("localhost"), lone.connects());
    lone.shakes(&mut tls, &mut open);
    lone.until(|counts| counts.connections_open == 0);
    let counts = lone.counts();
    assert_eq!((counts.tls_handshakes, counts.tls_handshakes_failed), (1, 1));
    drop((silent, begun, open));
}
