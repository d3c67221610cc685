//! The server under a service manager: what it is handed, and what it tells.

use std::{
    fs, io,
    io::Write,
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::{PUSHLOOP, ask_tcp};
use crate::support::{
    PATIENCE,
    campaign::scale,
    handshake,
    http::{answer_to, read_head},
    process::{Process, scratch},
};

/// The server with one socket that was bound elsewhere, as a service manager hands it over.
pub fn serve_on(socket: impl Into<OwnedFd>, arguments: &[&str]) -> Process {
    let shell = "exec \"$0\" \"$@\" 3<&0 </dev/null 2>&1";
    let mut command = Command::new("bash");
    command.args(["-c", shell, PUSHLOOP]).args(arguments);
    Process::of(command.env("LISTEN_FDS", "1").stdin(socket.into()))
}

pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port is free")
}

#[test]
fn a_manager_is_told_that_it_is_ready_turns_and_ends() {
    let path = scratch("notify");
    let manager = UnixDatagram::bind(&path).expect("the path is free");
    manager.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    let told = || {
        let mut buffer = [0; 256];
        let count = manager.recv(&mut buffer).expect("it tells");
        String::from_utf8(buffer[..count].to_vec()).expect("text")
    };
    let mut command = Command::new(PUSHLOOP);
    command.args(["--listen", "127.0.0.1:0", "--drain-deadline", "1"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut server = Process::of(&mut command);
    let address = server.address("http://");
    assert_eq!(told(), "READY=1\n");
    assert!(ask_tcp(&address, "GET /readyz", "", "").starts_with("HTTP/1.1 200 "));
    for _ in 0..3 {
        assert_eq!(told(), "WATCHDOG=1\n");
    }
    server.signal("TERM");
    while told() != "STOPPING=1\n" {}
    assert!(server.ended().success());
    fs::remove_file(path).expect("it is ours");
}

#[test]
fn sockets_that_were_handed_over_take_the_place_of_the_default() {
    let socket = listener();
    let bound = socket.local_addr().expect("it is bound").to_string();
    let mut server = serve_on(socket, &[]);
    assert_eq!(server.address("http://"), bound);
    assert!(ask_tcp(&bound, "GET /readyz", "", "").starts_with("HTTP/1.1 200 "));
    server.kills();
    while let line = server.line()
        && !line.is_empty()
    {
        assert!(!line.contains(":9001"), "{line}");
    }
}

#[test]
fn an_address_that_is_asked_for_is_there_beside() {
    let path = scratch("inherited");
    let socket = UnixListener::bind(&path).expect("the path is free");
    let mut server = serve_on(socket, &["--listen", "127.0.0.1:0"]);
    let inherited = server.line();
    assert_eq!(inherited, format!("pushloop: listening on unix:{}\n", path.display()));
    let address = server.address("http://");
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let stream = UnixStream::connect(&path).expect("it listens");
    assert!(answer_to(stream, request).starts_with("HTTP/1.1 200 "));
    assert!(ask_tcp(&address, "GET /readyz", "", "").starts_with("HTTP/1.1 200 "));
    server.signal("TERM");
    assert!(server.ended().success());
    fs::remove_file(path).expect("the file of a socket of another's stays");
}

#[test]
fn a_socket_that_cannot_be_used_is_refused() {
    let everywhere = TcpListener::bind("0.0.0.0:0").expect("a port is free");
    let mut server = serve_on(everywhere, &[]);
    assert!(server.line().contains("can be reached from other machines"));
    let datagrams = UnixDatagram::unbound().expect("a socket");
    let mut server = serve_on(datagrams, &[]);
    let line = server.line();
    assert!(line.contains("socket 0 of LISTEN_FDS is neither TCP's nor a Unix"), "{line}");
}

/// One opening handshake, from the beginning to its answer.
fn opens(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(handshake("/t", "").as_bytes())?;
    Ok(String::from_utf8_lossy(&read_head(&mut stream)?).into_owned())
}

/// The socket stays, and one server follows the other on it while clients connect.
#[test]
fn a_restart_on_the_same_socket_refuses_nobody() {
    let socket = listener();
    let address = socket.local_addr().expect("it is bound").to_string();
    let start = || {
        let socket = socket.try_clone().expect("a descriptor is free");
        let drain = ["--drain-deadline", "5", "--drain-spread", "0"];
        let mut server = serve_on(socket, &drain);
        server.address("http://");
        server
    };
    let (opened, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (opened, is_over, address) = (&opened, &is_over, &*address);
    // It is there until the last client has gone.
    let mut server = start();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let head = opens(address).expect("nobody is refused");
                    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                    opened.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..scale(5, 100) {
            let before = opened.load(Ordering::SeqCst);
            let next = start();
            server.signal("TERM");
            assert!(server.ended().success());
            while opened.load(Ordering::SeqCst) < before + 20 {
                thread::yield_now();
            }
            server = next;
        }
        is_over.store(true, Ordering::SeqCst);
    });
    println!("{} opened", opened.load(Ordering::SeqCst));
}
