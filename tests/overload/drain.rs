//! The end of the server to run: SIGTERM, and what its connections get of it.

use std::{
    collections::HashMap,
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::Duration,
};

use super::crowd::turn_with_descriptors;
use crate::support::campaign::scale;
use crate::support::http::{self, dial, upgrade};
use crate::support::process::{Process, connect, read_close, read_text};
use crate::support::{PATIENCE, close, pong, text};
use pushloop::mio::{self, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};

/// What waits in the server for each connection at the least, when it is told to end.
const QUEUED: usize = 64 << 10;
/// What the kernel holds of it is not more than the difference to this.
const PUBLICATIONS: usize = 10;
const PUBLICATION: usize = 64 << 10;

fn serve(arguments: &[&str]) -> (Process, String) {
    Process::server(env!("CARGO_BIN_EXE_pushloop"), arguments)
}

/// Waits for the end, and gives whether it was a good one.
fn ends_well(server: &mut Process) -> bool {
    for _ in 0..PATIENCE.as_millis() * 4 {
        if let Some(status) = server.child.try_wait().expect("it is ours") {
            return status.success();
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("the server does not end");
}

/// The status and body of an answer.
fn ask(address: &str, request_line: &str, body: &str) -> (String, String) {
    let answer = http::ask(dial(address), request_line, "", body);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends");
    (head[9..12].to_owned(), body.to_owned())
}

/// A subscriber of `/t` that does not read, and for which the kernel takes little: at its end for want
/// of room, and if it is one of `few` at the server's, because only ten segments may be under way and
/// they are short. Of thousands, the kernel takes little anyway.
fn subscribes(address: SocketAddr, few: bool) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a descriptor");
    if few {
        socket.set_tcp_mss(4096).expect("TCP has the option");
    }
    socket.set_recv_buffer_size(16 << 10).expect("the system allows it");
    socket.connect(&address.into()).expect("it accepts");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    upgrade(&mut stream, "/t");
    stream
}

/// Nobody is to be silent for so long that a Ping is due.
fn are_alive(streams: &mut [TcpStream]) {
    let alive = pong("").masked([1, 2, 3, 4]);
    streams.iter_mut().for_each(|stream| stream.write_all(&alive).expect("it is read"));
}

/// What the kernel holds for each of the server's peers, by their ports: sent and not acknowledged,
/// and not read.
fn held_by_kernel(server: u16) -> HashMap<u16, usize> {
    let mut held = HashMap::<u16, [usize; 2]>::new();
    let port_in_it = format!(":{server:04X} ");
    // It is read in pieces, and while sockets come and go, one is in two of them, or in none.
    for _ in 0..3 {
        let list = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        // Most of its lines may be others'.
        for line in list.lines().filter(|line| line.contains(&port_in_it)) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let port = |field: &str| u16::from_str_radix(&field[9..], 16).expect("a port");
            let bytes = |field: &str| usize::from_str_radix(field, 16).expect("a number");
            let (sent, unread) = fields[4].split_once(':').expect("two queues");
            if port(fields[1]) == server {
                held.entry(port(fields[2])).or_default()[0] = bytes(sent);
            } else if port(fields[2]) == server {
                held.entry(port(fields[1])).or_default()[1] = bytes(unread);
            }
        }
    }
    held.into_iter().map(|(port, [sent, unread])| (port, sent + unread)).collect()
}

struct Reader {
    stream: mio::net::TcpStream,
    got: usize,
}

impl Reader {
    /// Reads what there is, and holds it against `expected`. True at the end.
    fn reads(&mut self, expected: &[u8], buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    assert_eq!(self.got, expected.len(), "the end came too early");
                    return true;
                }
                Ok(n) => {
                    let due = expected.get(self.got..self.got + n);
                    assert!(due == Some(&buffer[..n]), "something else came at {}", self.got);
                    self.got += n;
                    if self.got == expected.len() {
                        let answer = close(1001, "").masked([1, 2, 3, 4]);
                        self.stream.write_all(&answer).expect("the server is still there");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("after {} bytes: {error}", self.got),
            }
        }
    }
}

/// All read at once what was queued for them, and the Close behind it, up to the FIN.
fn all_read_to_the_end(streams: Vec<TcpStream>, expected: &[u8]) {
    let mut poll = Poll::new().expect("there is a descriptor");
    let mut readers = Vec::new();
    for stream in streams {
        stream.set_nonblocking(true).expect("a socket can be nonblocking");
        SockRef::from(&stream).set_recv_buffer_size(256 << 10).expect("the system allows it");
        let mut stream = mio::net::TcpStream::from_std(stream);
        let token = Token(readers.len());
        poll.registry().register(&mut stream, token, Interest::READABLE).expect("it is pollable");
        readers.push(Reader { stream, got: 0 });
    }
    let (mut left, mut ended) = (readers.len(), vec![false; readers.len()]);
    let (mut events, mut buffer) = (mio::Events::with_capacity(1024), vec![0; 64 << 10]);
    while left > 0 {
        poll.poll(&mut events, Some(PATIENCE * 3)).expect("the poll works");
        assert!(!events.is_empty(), "nothing comes, and {left} have not ended");
        for event in &events {
            let at = event.token().0;
            if !ended[at] && readers[at].reads(expected, &mut buffer) {
                (ended[at], left) = (true, left - 1);
            }
        }
    }
}

#[test]
fn sigterm_with_full_queues_loses_nothing_and_resets_nobody() {
    let connections = scale(400, 10_000);
    let _turn = turn_with_descriptors(connections + 200);
    let (mut server, address) = serve(&["--drain-spread", "2"]);
    let socket: SocketAddr = address.parse().expect("an address");
    let mut streams: Vec<_> =
        (0..connections).map(|_| subscribes(socket, connections < 1000)).collect();
    let publication = "x".repeat(PUBLICATION);
    let mut expected = Vec::new();
    for _ in 0..PUBLICATIONS {
        let (_, delivered) = ask(&address, "POST /t", &publication);
        assert_eq!(delivered, format!("{{\"delivered\":{connections}}}\n"));
        expected.extend(text(&*publication).unmasked());
        are_alive(&mut streams);
    }
    // Answered in a turn after the one that wrote the last of them.
    ask(&address, "POST /nobody", "");
    let held = held_by_kernel(socket.port());
    let queued = streams.iter().map(|stream| {
        let port = stream.local_addr().expect("it is connected").port();
        expected.len().saturating_sub(held[&port])
    });
    let least = queued.min().expect("there are connections");
    assert!(least >= QUEUED, "the kernel holds all but {least} bytes of a connection");
    expected.extend(close(1001, "the server is shutting down").unmasked());
    are_alive(&mut streams);
    server.signal("TERM");
    all_read_to_the_end(streams, &expected);
    assert!(ends_well(&mut server));
    println!(
        "figure SIGTERM with full queues: {connections} connections, at least {} KiB queued for \
         each, 100 % got it and 1001, 0 resets",
        least >> 10
    );
}

#[test]
fn it_is_not_ready_during_the_delay_and_a_second_signal_does_not_wait() {
    let (mut server, address) = serve(&["--drain-delay", "3600", "--drain-deadline", "3600"]);
    let status = |path: &str| ask(&address, &format!("GET {path}"), "").0;
    assert_eq!([status("/healthz"), status("/readyz")], ["200", "200"]);
    let mut early = connect(&address, "/t");
    server.signal("TERM");
    let unready = (0..PATIENCE.as_millis()).any(|_| status("/readyz") == "503");
    assert!(unready, "it still says that it is ready");
    assert_eq!(status("/healthz"), "200");
    // All goes on meanwhile.
    let _late = connect(&address, "/t");
    assert_eq!(ask(&address, "POST /t", "x").1, "{\"delivered\":2}\n");
    assert_eq!(read_text(&mut early), "x");
    server.signal("TERM");
    assert!(ends_well(&mut server));
}

#[test]
fn nobody_who_does_not_read_holds_up_the_end() {
    let (mut server, address) = serve(&["--drain-deadline", "1"]);
    let socket: SocketAddr = address.parse().expect("an address");
    let stuck: Vec<_> = (0..5).map(|_| subscribes(socket, true)).collect();
    let mut reads = connect(&address, "/other");
    for _ in 0..PUBLICATIONS {
        ask(&address, "POST /t", &"x".repeat(PUBLICATION));
    }
    server.signal("TERM");
    assert_eq!(read_close(&mut reads), 1001);
    // What is queued for the others would be waited for without end.
    assert!(ends_well(&mut server));
    drop(stuck);
}

#[test]
fn the_end_is_spread_and_a_second_signal_cuts_it_short() {
    // At most a hundredth of a second for each.
    let (mut server, address) = serve(&["--drain-spread", "3600", "--drain-deadline", "3600"]);
    let mut clients: Vec<_> = (0..500).map(|_| connect(&address, "/t")).collect();
    server.signal("TERM");
    // Who came last is closed first, and all goes on for who came first.
    assert_eq!(read_close(&mut clients[499]), 1001);
    clients[0].send("still here".into()).expect("it is open");
    assert_eq!(read_text(&mut clients[0]), "still here");
    server.signal("TERM");
    let end = clients[0].read();
    assert!(end.is_err(), "{end:?}");
    assert!(ends_well(&mut server));
}

/// A full disk, or a pipe whose reader is gone.
#[test]
fn sigterm_ends_a_server_that_cannot_write_to_its_log() {
    let program = env!("CARGO_BIN_EXE_pushloop");
    let shell = ["-c", "exec \"$0\" --listen 127.0.0.1:0 2>/dev/full", program];
    let mut server = Process::start(Path::new("bash"), &shell);
    let address = server.address("http://");
    let mut client = connect(&address, "/t");
    server.signal("TERM");
    assert_eq!(read_close(&mut client), 1001);
    assert!(ends_well(&mut server));
}

#[test]
fn a_server_that_cannot_say_where_it_listens_listens() {
    let path = std::env::temp_dir().join(format!("pushloop-{}-mute.sock", std::process::id()));
    let at = format!("--listen=unix:{}", path.display());
    let shell = ["-c", "exec \"$0\" \"$1\" >/dev/full", env!("CARGO_BIN_EXE_pushloop"), &at];
    let mut server = Process::start(Path::new("bash"), &shell);
    let mut answer = String::new();
    for _ in 0..PATIENCE.as_millis() {
        thread::sleep(Duration::from_millis(1));
        if let Ok(stream) = UnixStream::connect(&path) {
            answer = http::ask(stream, "GET /healthz", "", "");
            break;
        }
    }
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    server.signal("TERM");
    assert!(ends_well(&mut server));
}
