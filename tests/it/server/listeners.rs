//! Where a server listens.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use pushloop::{Accept, Config, ConnId, Handler, Hub, Message, Request, RequestId, Server};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Echo, Running};
use crate::support::http::{dial, upgrade};
use crate::support::{Frame, PATIENCE, Peer, handshake, text};

/// A path that no other test has, and that is gone after this one.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(test: &str) -> Self {
        let name = format!("pushloop-{}-{test}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn server() -> Server {
    Server::new(Config::default()).unwrap()
}

/// Opens a WebSocket and has a message echoed.
fn echoes(mut stream: impl Read + Write) {
    upgrade(&mut stream, "/");
    stream.write_all(&text("x").masked([7; 4])).unwrap();
    assert_eq!(Frame::read(&mut stream).unwrap(), Some(text("x")));
}

fn unix(path: &SocketPath) -> UnixStream {
    let stream = UnixStream::connect(&path.0).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Echoes, and tells from where requests come.
struct Origin(Sender<Option<SocketAddr>>);

impl Handler for Origin {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        self.0.send(request.peer()).unwrap();
        hub.accept(id, Accept::default()).unwrap();
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        hub.send(id, message).unwrap();
    }
}

#[test]
fn ipv4_ipv6_and_unix_at_once() {
    let (one, other) = (SocketPath::new("one"), SocketPath::new("other"));
    let mut server = server();
    server.listen_unix(&one.0).unwrap();
    assert_eq!(server.local_addr(), None);
    let v4 = server.listen("127.0.0.1:0").unwrap();
    let v6 = server.listen("[::1]:0").unwrap();
    server.listen_unix(&other.0).unwrap();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = own.local_addr().unwrap();
    assert_eq!(server.listen_on(own).unwrap(), bound);
    assert_eq!(server.local_addr(), Some(v4));
    let (tell, told) = mpsc::channel();
    let running = Running::start(server, Origin(tell));
    for address in [v4, v6, bound] {
        let stream = dial(address);
        let from = stream.local_addr().unwrap();
        echoes(stream);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Some(from));
    }
    for path in [&one, &other] {
        echoes(unix(path));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), None);
    }
    running.handle.shutdown(Duration::ZERO).unwrap();
    running.ends();
}

#[test]
fn a_unix_socket_is_removed_with_the_server() {
    let path = SocketPath::new("removed");
    let mut server = server();
    server.listen_unix(&path.0).unwrap();
    assert!(fs::metadata(&path.0).unwrap().file_type().is_socket());
    drop(server);
    assert!(!path.0.exists());
}

/// The next server took the path over before this one ended, so that nobody was turned away.
#[test]
fn a_unix_socket_that_is_another_servers_by_now_is_left_alone() {
    let (path, next) = (SocketPath::new("taken-over"), SocketPath::new("next"));
    let (mut first, mut second) = (server(), server());
    first.listen_unix(&path.0).unwrap();
    second.listen_unix(&next.0).unwrap();
    fs::rename(&next.0, &path.0).unwrap();
    drop(first);
    assert!(path.0.exists(), "nobody reaches the second server any more");
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    let path = SocketPath::new("stale");
    // What a server leaves behind that is killed.
    drop(UnixListener::bind(&path.0).unwrap());
    assert!(path.0.exists());
    let mut server = server();
    server.listen_unix(&path.0).unwrap();
    let running = Running::start(server, Echo);
    echoes(unix(&path));
    running.handle.shutdown(Duration::ZERO).unwrap();
    running.ends();
}

#[test]
fn a_live_unix_socket_is_left_alone() {
    let path = SocketPath::new("live");
    let mut first = server();
    first.listen_unix(&path.0).unwrap();
    let running = Running::start(first, Echo);
    let mut second = server();
    assert_eq!(second.listen_unix(&path.0).unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(second);
    echoes(unix(&path));
    running.handle.shutdown(Duration::ZERO).unwrap();
    running.ends();
}

/// Its server is stuck, and as many wait to be accepted as may: whoever asks it is kept waiting, too.
#[test]
fn a_unix_socket_whose_backlog_is_full_keeps_nobody_waiting() {
    let path = SocketPath::new("full");
    let stuck = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    stuck.bind(&SockAddr::unix(&path.0).unwrap()).unwrap();
    stuck.listen(0).unwrap();
    let waiting: Vec<_> =
        (0..100).map_while(|_| pushloop::mio::net::UnixStream::connect(&path.0).ok()).collect();
    let (tell, told) = mpsc::channel();
    let at = path.0.clone();
    let asks = thread::spawn(move || tell.send(server().listen_unix(at).unwrap_err().kind()));
    let refused = told.recv_timeout(PATIENCE);
    drop((waiting, stuck));
    assert_eq!(refused, Ok(ErrorKind::AddrInUse));
    asks.join().unwrap().unwrap();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let path = SocketPath::new("file");
    fs::write(&path.0, "precious").unwrap();
    let refused = server().listen_unix(&path.0);
    assert_eq!(fs::read_to_string(&path.0).ok().as_deref(), Some("precious"));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_unix_socket_in_no_folder_is_an_error() {
    let path = SocketPath::new("folder");
    let refused = server().listen_unix(path.0.join("socket"));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_port_in_use_is_an_error() {
    let first = Server::bind("127.0.0.1:0").unwrap();
    let address = first.local_addr().unwrap();
    assert_eq!(Server::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    // The next of several addresses will do.
    let addresses = [address, "127.0.0.1:0".parse().unwrap()];
    let second = Server::bind(&addresses[..]).unwrap();
    assert_ne!(second.local_addr().unwrap(), address);
    let nowhere: [SocketAddr; 0] = [];
    assert_eq!(Server::bind(&nowhere[..]).unwrap_err().kind(), ErrorKind::InvalidInput);
    // 192.0.2.0/24 is nobody's (RFC 5737).
    let foreign = Server::bind("192.0.2.1:0").unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn nobody_is_accepted_from_the_shutdown_on() {
    let path = SocketPath::new("shutdown");
    let mut server = server();
    let address = server.listen("127.0.0.1:0").unwrap();
    server.listen_unix(&path.0).unwrap();
    let running = Running::start(server, Echo);
    let mut peer = Peer::connect(address);
    peer.sends_bytes(handshake("/", ""));
    peer.expects_upgrade();
    running.handle.shutdown(PATIENCE).unwrap();
    // The first of what the server does about it; the peer has not answered.
    peer.expects_close(1001);
    assert!(!path.0.exists());
    // A process that another test is about to start may hold the listener for a moment longer.
    let is_refused = |_| match TcpStream::connect(address) {
        Ok(_) => {
            thread::sleep(Duration::from_millis(1));
            false
        }
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    };
    assert!((0..1000).any(is_refused), "the listener stays open");
    drop(peer);
    running.ends();
}
