//! What belongs to a process: its descriptors.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use pushloop::{Config, Event};

use crate::support::echo::Echo;
use crate::support::http::{dial, read_head};
use crate::support::{Frame, TestServer, accept, handshake, text};

const HANGS_UP: [ErrorKind; 2] = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];

/// Asks for a WebSocket; `None` if the server hangs up instead.
fn asks(echo: &Echo) -> Option<TcpStream> {
    let mut stream = dial(echo.address);
    // It may have hung up already.
    let _ = stream.write_all(handshake("/", "").as_bytes());
    let head = match read_head(&mut stream) {
        Ok(head) => head,
        Err(error) if HANGS_UP.contains(&error.kind()) => return None,
        Err(error) => panic!("neither answered nor hung up: {error}"),
    };
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    Some(stream)
}

#[track_caller]
fn echoes(stream: &mut TcpStream, payload: &str) {
    stream.write_all(&text(payload).masked([9; 4])).expect("the server takes it");
    assert_eq!(Frame::read(stream).expect("the server answers"), Some(text(payload)));
}

#[test]
fn out_of_descriptors_the_rest_is_closed_and_those_who_are_here_stay() {
    let mut echo = Echo::start(&["bash", "-c", "ulimit -n 40 && exec \"$0\" \"$@\""]);
    let mut early: Vec<_> = (0..5).map(|_| asks(&echo).expect("there is room")).collect();
    let late: Vec<_> = (0..100).map(|_| asks(&echo)).collect();
    let mut late: Vec<_> = late.into_iter().flatten().collect();
    // Three of the 40 are standard; poll, waker, listener and reserve take four.
    assert!((1..=28).contains(&late.len()), "{} of 100 were accepted", late.len());
    for stream in early.iter_mut().chain(&mut late) {
        echoes(stream, "still here");
    }
    drop(late);
    // The server has yet to hear of those who left; it refuses at once until it has.
    let mut next = (0..1000).find_map(|_| {
        thread::sleep(Duration::from_millis(1));
        asks(&echo)
    });
    echoes(next.as_mut().expect("nobody is accepted any more"), "new");
    early.iter_mut().for_each(|stream| echoes(stream, "still here"));
    assert!(echo.process.is_alive());
}

/// What a child of this process finds open beside its standard streams.
fn inherited() -> BTreeSet<String> {
    let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().expect("ls runs");
    let lines = String::from_utf8(output.stdout).expect("text");
    let open = lines.lines().filter_map(|line| line.split_once(" -> "));
    let beyond = open.filter_map(|(entry, target)| {
        let number: u32 = entry.rsplit(' ').next()?.parse().ok()?;
        (number > 2 && !target.starts_with("/proc/")).then(|| target.to_owned())
    });
    beyond.collect()
}

#[test]
fn a_child_of_a_handler_inherits_no_descriptor() {
    // What the process had from its own parent is not the server's.
    let before = inherited();
    let server = TestServer::start(Config::default(), |hub, event| match event {
        Event::Message { id, .. } => {
            let found: Vec<_> = inherited().into_iter().collect();
            hub.send(id, found.join("\n")).expect("it is short");
        }
        event => accept(hub, event),
    });
    let mut peers: Vec<_> = (0..20).map(|_| server.opens()).collect();
    peers[0].sends(text("fork"));
    let found = String::from_utf8(peers[0].reads().payload).expect("text");
    let new: Vec<_> = found.lines().filter(|target| !before.contains(*target)).collect();
    assert!(new.is_empty(), "{new:?}");
}
