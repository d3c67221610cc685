//! Sessions over a transport in memory, which takes and gives as little as it likes.

mod pipe;
mod records;

use std::{
    cell::Cell,
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, version};

use self::pipe::Pipe;
use super::{
    Clock, Config, Input, Limits, Sessions, Tls, TlsCertificates, TlsStream,
    session::{KEPT_BYTES_MAX, WRITE_BYTES_MAX},
};
use crate::{server::clock_start, testing::Dice};

thread_local! {
    static BEGAN: Instant = clock_start();
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A clock by which each look takes a tenth of a millisecond.
fn ticking() -> Instant {
    PASSED.set(PASSED.get() + Duration::from_micros(100));
    BEGAN.with(|began| *began + PASSED.get())
}

const CLOCK: Clock = Clock { now: ticking, wall: || SystemTime::UNIX_EPOCH };

fn parties() -> (Tls, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificates = TlsCertificates::new().pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (Tls::new(certificates).unwrap(), roots)
}

fn client(roots: RootCertStore, is_old: bool) -> ClientConnection {
    let version = if is_old { &version::TLS12 } else { &version::TLS13 };
    let mut config = ClientConfig::builder_with_provider(Arc::new(super::settings::provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
}

fn is_blocked<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A server that echoes, and forgets what it was told of a connection as the loop does.
struct Server {
    sessions: Sessions<Pipe>,
    stream: TlsStream,
    pipe: Pipe,
    readable: bool,
    blocked: bool,
    has_heard: bool,
    due: Vec<u8>,
    at_end: bool,
    is_finished: bool,
}

impl Server {
    fn new(tls: &Tls) -> Self {
        let mut sessions = Sessions::new(CLOCK, Limits::new(&Config::default()));
        let pipe = Pipe::default();
        let stream = sessions.accept(pipe.clone(), tls);
        Self {
            sessions,
            stream,
            pipe,
            readable: false,
            blocked: false,
            has_heard: false,
            due: Vec::new(),
            at_end: false,
            is_finished: false,
        }
    }

    /// One turn, with reads of up to `most` bytes.
    fn turns(&mut self, most: usize) {
        self.sessions.begin_turn();
        if !self.blocked {
            self.writes();
        }
        if self.readable && !self.at_end {
            let mut into = vec![0; most];
            match self.sessions.read(&self.stream, &mut into) {
                Ok(Input::Bytes { count, more }) => {
                    self.due.extend(&into[..count]);
                    self.has_heard |= count > 0;
                    self.readable = more;
                }
                Ok(Input::End) => self.at_end = true,
                result if is_blocked(&result) => self.readable = false,
                result => panic!("{result:?}"),
            }
            self.blocked |= is_blocked(&self.sessions.flush(&self.stream));
        }
    }

    fn writes(&mut self) {
        while !self.due.is_empty() {
            match self.sessions.write(&self.stream, &self.due) {
                Ok(count) => drop(self.due.drain(..count)),
                result => {
                    assert!(is_blocked(&result), "{result:?}");
                    self.blocked = true;
                    return;
                }
            }
        }
        let flushed = self.sessions.flush(&self.stream);
        self.blocked = is_blocked(&flushed);
        if !self.blocked && self.at_end && self.has_heard && !self.is_finished {
            self.blocked = is_blocked(&self.sessions.finish(&self.stream));
            self.is_finished = !self.blocked;
        }
    }
}

/// One conversation: what the client says comes back, whatever is cut where.
fn converse(seed: u64, (tls, roots): &(Tls, RootCertStore)) {
    let mut dice = Dice::new(seed);
    let mut client = client(roots.clone(), dice.one_in(2));
    let mut server = Server::new(tls);
    let most = [1, 100, 4096, 200_000][dice.below(4)];
    let longest = [20, 2000, 100_000][dice.below(3)];
    let cut = 1 + dice.below(longest);
    // In pieces of some bytes, what is longer than a record is more of the same.
    let long = [100, 20_000, if most.min(longest) > 20 { 150_000 } else { 20_000 }][dice.below(3)];
    let said: Vec<u8> = (0..dice.below(long)).map(|_| dice.number() as u8).chain([7]).collect();
    let (mut at, mut heard, mut out) = (0, Vec::new(), Vec::new());
    for _ in 0..2_000_000 {
        if !client.is_handshaking() && at < said.len() && dice.one_in(3) {
            let end = (at + 1 + dice.below(40_000)).min(said.len());
            at += client.writer().write(&said[at..end]).unwrap();
        }
        if heard.len() == said.len() && !dice.one_in(3) {
            client.send_close_notify();
        }
        while client.wants_write() {
            client.write_tls(&mut out).unwrap();
        }
        let count = out.len().min(dice.below(cut + 1));
        if count > 0 {
            server.pipe.0.borrow_mut().to_server.extend(out.drain(..count));
            server.readable = true;
        }
        if dice.one_in(2) {
            server.pipe.0.borrow_mut().room += dice.below(cut + 1);
            server.blocked = false;
        }
        server.turns(1 + dice.below(most));
        let mut kernel = server.pipe.0.borrow_mut();
        let count = kernel.to_client.len().min(dice.below(cut + 1));
        let came: Vec<u8> = kernel.to_client.drain(..count).collect();
        drop(kernel);
        let mut came = &came[..];
        while !came.is_empty() {
            client.read_tls(&mut came).unwrap();
            let state = client.process_new_packets().unwrap();
            let start = heard.len();
            heard.resize(start + state.plaintext_bytes_to_read(), 0);
            client.reader().read_exact(&mut heard[start..]).unwrap();
            if state.peer_has_closed() {
                assert!(heard == said, "seed {seed}: {} of {}", heard.len(), said.len());
                assert_eq!(server.sessions.counts().tls_held_bytes, 0, "seed {seed}");
                return;
            }
        }
    }
    let Server { readable, blocked, due, at_end, .. } = server;
    panic!(
        "seed {seed} is stuck: said {at} of {}, heard {}, {readable} {blocked} {} {at_end}",
        said.len(),
        heard.len(),
        due.len()
    );
}

#[test]
fn a_conversation_comes_through_wherever_it_is_cut() {
    let parties = parties();
    (0..300).for_each(|seed| converse(seed, &parties));
}

/// A client and a server after their handshake, with room in between.
fn met() -> (ClientConnection, Server) {
    let (tls, roots) = parties();
    let (mut client, mut server) = (client(roots, false), Server::new(&tls));
    server.pipe.0.borrow_mut().room = usize::MAX / 2;
    client.writer().write_all(b"?").unwrap();
    for _ in 0..4 {
        exchanges(&mut client, &mut server);
    }
    assert!(server.has_heard);
    (client, server)
}

/// What each has said comes to the other.
fn exchanges(client: &mut ClientConnection, server: &mut Server) {
    while client.wants_write() {
        client.write_tls(&mut server.pipe.0.borrow_mut().to_server).unwrap();
    }
    server.readable = true;
    server.turns(100_000);
    server.turns(100_000);
    let came = std::mem::take(&mut server.pipe.0.borrow_mut().to_client);
    let mut came = &came[..];
    while !came.is_empty() {
        client.read_tls(&mut came).unwrap();
        let state = client.process_new_packets().unwrap();
        client.reader().read_exact(&mut vec![0; state.plaintext_bytes_to_read()]).unwrap();
    }
}

#[test]
fn a_session_at_rest_holds_nothing() {
    let (mut client, mut server) = met();
    client.writer().write_all(&[7; 50_000]).unwrap();
    exchanges(&mut client, &mut server);
    assert_eq!(server.sessions.counts().tls_held_bytes, 0);
    assert_eq!(server.sessions.counts().tls_handshakes, 1);
}

#[test]
fn a_peer_that_takes_nothing_has_one_write_held_and_then_one_record() {
    let (_client, mut server) = met();
    server.pipe.0.borrow_mut().room = 1;
    let Server { sessions, stream, pipe, .. } = &mut server;
    let long = vec![7; 1_000_000];
    assert_eq!(sessions.write(stream, &long).unwrap(), WRITE_BYTES_MAX);
    assert!(is_blocked(&sessions.write(stream, &long)));
    let held = |sessions: &Sessions<Pipe>| sessions.counts().tls_held_bytes as usize;
    assert!(held(sessions) > WRITE_BYTES_MAX && held(sessions) < WRITE_BYTES_MAX + 200);
    pipe.0.borrow_mut().room = held(sessions) + 1;
    let record = 16 * 1024;
    assert_eq!(sessions.write(stream, &long).unwrap(), record);
    assert!(held(sessions) > record && held(sessions) < record + 50);
    assert!(is_blocked(&sessions.write(stream, &long)));
    pipe.0.borrow_mut().room = usize::MAX / 2;
    assert_eq!(sessions.write(stream, &long).unwrap(), record);
    assert_eq!(sessions.write(stream, &long).unwrap(), WRITE_BYTES_MAX);
    assert_eq!(held(sessions), 0);
}

#[test]
fn those_that_hold_most_for_longest_go_beyond_the_limit() {
    let mut config = Config::default();
    (config.incomplete_bytes_max, config.send_queues_bytes_max) = (10_000, 10_000);
    let mut sessions = Sessions::new(CLOCK, Limits::new(&config));
    let (tls, _) = parties();
    // The header of a record that does not come whole. A vector has room for as much again.
    let half = |length: usize| [&[22, 3, 1, 0x40, 0][..], &vec![0; length - 5]].concat();
    let accept = |sessions: &mut Sessions<Pipe>, length| {
        let pipe = Pipe::default();
        pipe.0.borrow_mut().to_server = half(length);
        let stream = sessions.accept(pipe, &tls);
        sessions.read(&stream, &mut [0; 8192]).unwrap();
        sessions.begin_turn();
        stream
    };
    let old = accept(&mut sessions, 4000);
    (0..10).for_each(|_| sessions.begin_turn());
    let (new, last) = (accept(&mut sessions, 5000), accept(&mut sessions, 1000));
    assert_eq!((sessions.input_bytes, sessions.counts().tls_closed_held), (10_000, 0));
    // One byte more.
    accept(&mut sessions, 5);
    assert_eq!(sessions.counts().tls_closed_held, 1);
    assert!(sessions.input_bytes <= 8_000);
    let mut is_gone = |stream| {
        let read = sessions.read(stream, &mut [0; 100]);
        read.is_err_and(|error| error.kind() == ErrorKind::ConnectionAborted)
    };
    assert_eq!([&old, &new, &last].map(&mut is_gone), [true, false, false]);
}

#[test]
fn handshakes_have_a_millisecond_of_a_turn_and_one_at_least() {
    for (milliseconds, expected) in [(0, 1), (1, 10)] {
        let (tls, roots) = parties();
        let mut config = Config::default();
        config.tls_limits.handshake_time_per_turn = Duration::from_millis(milliseconds);
        let mut sessions = Sessions::new(CLOCK, Limits::new(&config));
        let streams: Vec<_> = (0..20)
            .map(|_| {
                let pipe = Pipe::default();
                client(roots.clone(), false).write_tls(&mut pipe.0.borrow_mut().to_server).unwrap();
                sessions.accept(pipe, &tls)
            })
            .collect();
        sessions.begin_turn();
        let mut read = |stream| sessions.read(stream, &mut [0; 4096]).unwrap();
        let waits = Input::Bytes { count: 0, more: true };
        let served = streams.iter().filter(|stream| read(stream) != waits).count();
        assert_eq!(served, expected);
        // Those that had to wait are served in later turns.
        assert_eq!(read(&streams[19]), waits);
        sessions.begin_turn();
        let read = sessions.read(&streams[19], &mut [0; 4096]).unwrap();
        assert_eq!(read, Input::Bytes { count: 0, more: false });
    }
}

#[test]
fn the_oldest_handshake_goes_for_a_new_one_unless_they_wait_for_time() {
    let mut config = Config::default();
    config.tls_limits.handshakes_max = 2;
    config.tls_limits.handshake_time_per_turn = Duration::ZERO;
    let mut sessions = Sessions::new(CLOCK, Limits::new(&config));
    let (tls, roots) = parties();
    let (old, new) = (Pipe::default(), Pipe::default());
    let accept = |sessions: &mut Sessions<Pipe>, pipe: &Pipe| {
        let stream = sessions.accept(pipe.clone(), &tls);
        sessions.register(&stream).unwrap();
        stream
    };
    let streams = [&old, &new].map(|pipe| accept(&mut sessions, pipe));
    // Both have something to be read, and there is time for one.
    for pipe in [&old, &new] {
        client(roots.clone(), false).write_tls(&mut pipe.0.borrow_mut().to_server).unwrap();
    }
    sessions.begin_turn();
    for stream in &streams {
        sessions.read(stream, &mut [0; 4096]).unwrap();
    }
    sessions.begin_turn();
    assert!(sessions.is_full(), "one waits for time");
    sessions.read(&streams[1], &mut [0; 4096]).unwrap();
    sessions.begin_turn();
    assert!(!sessions.is_full());
    // One that is not let in makes nobody go.
    let unwanted = sessions.accept(Pipe::default(), &tls);
    sessions.release(unwanted);
    assert_eq!(sessions.counts().tls_handshakes_dropped, 0);
    let third = accept(&mut sessions, &Pipe::default());
    let counts = sessions.counts();
    assert_eq!((counts.tls_handshakes_dropped, counts.tls_handshakes_open), (1, 2));
    assert!(old.0.borrow().server_is_over && !new.0.borrow().server_is_over);
    streams.into_iter().chain([third]).for_each(|stream| sessions.release(stream));
    assert_eq!(sessions.counts().tls_handshakes_open, 0);
    assert_eq!(sessions.counts().tls_held_bytes, 0);
}

#[test]
fn a_handshake_message_in_too_many_pieces_is_refused() {
    let (tls, _) = parties();
    let mut server = Server::new(&tls);
    server.pipe.0.borrow_mut().room = usize::MAX / 2;
    // A ClientHello of 60,000 bytes, one byte a record.
    let pieces = [1, 0, 0xEA, 0x60].into_iter().chain([0; 60_000]);
    let records: Vec<u8> = pieces.flat_map(|byte| [22, 3, 1, 0, 1, byte]).collect();
    let (mut sent, mut failed) = (0, false);
    for piece in records.chunks(1000) {
        server.pipe.0.borrow_mut().to_server.extend(piece);
        server.sessions.begin_turn();
        sent += piece.len();
        assert!(server.sessions.input_bytes <= 2 * KEPT_BYTES_MAX);
        failed = server.sessions.read(&server.stream, &mut [0; 4096]).is_err();
        if failed {
            break;
        }
    }
    assert!(failed && sent < KEPT_BYTES_MAX + 2000, "{sent}");
}
