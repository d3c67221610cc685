//! A socket that another listener accepted is handed over, with what was read of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use pushloop::{Config, HandleError, Server, Socket};

use super::{Echo, Running};
use crate::support::{PATIENCE, Peer, close, get, handshake, quiet, text};

/// A server that listens nowhere, and a listener of somebody else's.
fn beside(set: impl FnOnce(&mut Config)) -> (Running, TcpListener) {
    let server = Server::new(quiet(set)).expect("there are descriptors");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    (Running::start(server, Echo), listener)
}

/// A client, and the socket that was accepted for it.
fn connects(listener: &TcpListener) -> (Peer, TcpStream) {
    let peer = Peer::connect(listener.local_addr().expect("it listens"));
    let (socket, _) = listener.accept().expect("the peer connects");
    (peer, socket)
}

/// However much was read: nothing, a part of the head, or frames behind it.
#[test]
fn what_was_read_before_is_read_first() {
    let (running, listener) = beside(|_| {});
    let mut all = handshake("/", "").into_bytes();
    let head = all.len();
    for message in ["one", "two"] {
        all.extend(text(message).masked([1, 2, 3, 4]));
    }
    for read in [0, 1, head - 1, head, head + 1, head + 9, all.len()] {
        let (mut peer, mut socket) = connects(&listener);
        peer.sends_bytes(&all);
        let mut before = vec![0; read];
        socket.read_exact(&mut before).expect("the peer sent as much");
        running.handle.adopt(socket, &before).expect("the mailbox has room");
        peer.expects_upgrade();
        for message in ["one", "two"] {
            peer.expects(text(message));
        }
        peer.sends(close(1000, ""));
        peer.expects(close(1000, ""));
    }
    assert_eq!(running.handle.counters().connections_accepted, 7);
    running.handle.shutdown(PATIENCE).expect("the server runs");
    running.ends();
}

#[test]
fn a_plain_request_of_an_adopted_connection_is_answered() {
    let (running, listener) = beside(|_| {});
    let (mut peer, socket) = connects(&listener);
    running.handle.adopt(socket, get("/").as_bytes()).expect("the mailbox has room");
    peer.expects_answer(426);
    let (mut far, near) = UnixStream::pair().expect("a pair of sockets");
    far.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    far.write_all(get("/").as_bytes()).expect("the pair is open");
    running.handle.adopt(near, &[]).expect("the mailbox has room");
    let mut start = [0; 12];
    far.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 426");
}

/// What is over the head's limit is refused as it would be from the wire.
#[test]
fn a_limit_holds_for_what_was_read_elsewhere() {
    let (running, listener) = beside(|limits| {
        (limits.head_bytes_max, limits.connections_max) = (1000, 1);
    });
    let (mut peer, socket) = connects(&listener);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(1000));
    running.handle.adopt(socket, long.as_bytes()).expect("the mailbox has room");
    peer.expects_answer(431);
    let (mut beyond, socket) = connects(&listener);
    running.handle.adopt(socket, &[]).expect("the mailbox has room");
    beyond.expects_eof();
    assert_eq!(running.handle.counters().connections_refused, 1);
}

/// It is read in one turn, as what was set aside is: more would never fit, and keep all others waiting.
#[test]
fn what_was_read_elsewhere_fits_into_the_receive_buffer_to_the_byte() {
    const ROOM: usize = 4096;
    let (running, listener) = beside(|limits| {
        (limits.receive_buffer_bytes, limits.read_bytes_per_turn) = (ROOM, ROOM);
    });
    let mut all = handshake("/", "").into_bytes();
    while all.len() < ROOM {
        all.extend(text("x").masked([1, 2, 3, 4]));
    }
    let messages = (ROOM - handshake("/", "").len()) / text("x").masked([0; 4]).len();
    let (mut peer, socket) = connects(&listener);
    let too_long = running.handle.adopt(socket, &vec![b'x'; ROOM + 1]);
    let Err((HandleError::ReadTooLong, socket)) = too_long else { panic!("{too_long:?}") };
    running.handle.adopt(socket, &all[..ROOM]).expect("it fits");
    peer.expects_upgrade();
    for _ in 0..messages {
        peer.expects(text("x"));
    }
}

#[test]
fn a_socket_comes_back_from_a_full_mailbox() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let server = Server::new(quiet(|limits| limits.mailbox_bytes_max = 10)).expect("descriptors");
    let (mut peer, socket) = connects(&listener);
    let refused = server.handle().adopt(socket, &[b'x'; 11]);
    let Err((HandleError::Full, Socket::Tcp(mut socket))) = refused else { panic!("{refused:?}") };
    socket.write_all(&text("still open").unmasked()).expect("it is open");
    peer.expects(text("still open"));
    let handle = server.handle();
    drop(server);
    let closed = handle.adopt(socket, &[]);
    assert!(matches!(closed, Err((HandleError::Closed, Socket::Tcp(_)))), "{closed:?}");
}
