//! The server to run, some of whose system calls go another way.

use std::net::TcpStream;
use std::path::Path;

use crate::support::PATIENCE;
use crate::support::process::{Process, connect, read_json};

/// The server under strace, which has some of its system calls go another way. What it says on standard
/// error is among its lines.
fn serve_injected(injection: &str) -> (Process, String) {
    // -D: the child is the server, and strace a stranger that ends with it.
    let shell = "exec strace -D -f -qq -o /dev/null -e \"$0\" \"$@\" 2>&1";
    let line = ["-c", shell, injection, env!("CARGO_BIN_EXE_pushloop"), "--listen", "127.0.0.1:0"];
    let mut server = Process::start(Path::new("bash"), &line);
    let address = server.address("http://");
    (server, address)
}

/// And keeps no connection that is here from being served.
#[test]
fn an_accept_that_fails_for_good_is_among_the_figures() {
    // The first is the client's, and the second finds nobody.
    let (_server, address) = serve_injected("inject=accept4:error=EPERM:when=3+");
    let mut stats = connect(&address, "/$stats");
    assert_eq!(read_json(&mut stats)["accepts_failed"], 0);
    let _waits = TcpStream::connect(&address).expect("the backlog has room");
    let failed = |_| read_json(&mut stats)["accepts_failed"].as_u64().expect("a number");
    assert!((0..PATIENCE.as_secs()).map(failed).any(|failed| failed > 0), "it is not counted");
}

/// Every connection waits for the one with the write that takes so long.
#[test]
fn a_stuck_loop_is_told_once_and_then_for_how_long_it_was() {
    // The answer to the handshake, the first figures, the second ones.
    let (mut server, address) = serve_injected("inject=sendto:delay_enter=2500ms:when=3");
    let mut stats = connect(&address, "/$stats");
    let slow = |_| read_json(&mut stats)["slow_turns"].as_u64().expect("a number");
    assert!((0..PATIENCE.as_secs()).map(slow).any(|slow| slow > 0), "it is not counted");
    // It is looked at four times a second.
    let [_, last] = [0; 2].map(|_| read_json(&mut stats)["slow_turns"].as_u64());
    server.child.kill().expect("it runs");
    let lines = (0..100).map(|_| server.line()).take_while(|line| !line.is_empty());
    let told: Vec<_> = lines.filter(|line| line.contains("a turn of the loop")).collect();
    let [stuck, lasted, ..] = &told[..] else { panic!("{told:?}") };
    assert_eq!(stuck, "pushloop: stuck: a turn of the loop takes 1s already\n");
    assert!(lasted.starts_with("pushloop: a turn of the loop took some "), "{lasted}");
    let stuck = told.iter().filter(|line| line.contains("stuck")).count();
    assert!(last <= Some(stuck as u64), "{last:?} are counted, and told of: {told:?}");
}
