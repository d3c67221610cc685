//! The commands that publish and subscribe from a shell.

mod publish;
mod subscribe;
mod token;

use std::{
    io::{ErrorKind, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    path::Path,
    thread,
    time::Duration,
};

use super::PUSHLOOP;
use crate::support::{PATIENCE, process::Process};

/// A command that runs, and what it prints on both outputs, in order.
struct Run(Process);

impl Run {
    fn start(arguments: &[&str]) -> Self {
        Self::redirected("2>&1", arguments)
    }

    /// The same with other outputs, as a shell has them.
    fn redirected(outputs: &str, arguments: &[&str]) -> Self {
        let shell = format!("exec \"$0\" \"$@\" {outputs}");
        Self(Process::start(Path::new("bash"), &[&["-c", &shell, PUSHLOOP], arguments].concat()))
    }

    fn reads(&mut self, input: &[u8]) {
        let stdin = self.0.child.stdin.as_mut().expect("it is open");
        stdin.write_all(input).expect("the command reads");
    }

    /// The next lines begin so.
    #[track_caller]
    fn prints(&mut self, lines: &[&str]) {
        for expected in lines {
            let line = self.0.line();
            assert!(line.starts_with(expected) && !line.is_empty(), "{expected}: {line}");
        }
    }

    /// The next line says so, and in how many milliseconds it tries again, which is given.
    #[track_caller]
    fn prints_wait(&mut self, expected: &str) -> u64 {
        let line = self.0.line();
        let (why, wait) = line.split_once("; the next attempt is in ").expect("it tries again");
        assert!(why.starts_with(expected), "{expected}: {line}");
        wait.trim_end_matches("ms\n").parse().expect("milliseconds")
    }

    /// It prints no more, and ends with this status.
    #[track_caller]
    fn ends(&mut self, status: i32) {
        drop(self.0.child.stdin.take());
        assert_eq!(self.0.line(), "");
        assert_eq!(self.0.ended().code(), Some(status));
    }
}

/// A server that a test plays.
struct Listener(TcpListener);

impl Listener {
    fn open() -> Self {
        Self::open_at("127.0.0.1:0")
    }

    fn open_at(address: impl ToSocketAddrs) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket can be nonblocking");
        Self(listener)
    }

    fn url(&self, scheme: &str, target: &str) -> String {
        format!("{scheme}://{}{target}", self.0.local_addr().expect("it listens"))
    }

    /// The next connection.
    #[track_caller]
    fn accepts(&self) -> TcpStream {
        for _ in 0..PATIENCE.as_millis() {
            match self.0.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("a socket can be blocking");
                    stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
                    return stream;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("nothing connects");
    }
}

#[test]
fn each_command_has_its_help_and_a_wrong_usage_ends_with_2() {
    for (arguments, said) in [
        (&["help"][..], "pushloop publish | subscribe"),
        (&["--help"], "pushloop publish | subscribe"),
        (&["serve", "--help"], "--listen ADDR"),
        (&["check", "--help"], "--listen ADDR"),
        (&["help", "publish"], "Usage: pushloop publish"),
        (&["publish", "--help"], "Usage: pushloop publish"),
        (&["help", "subscribe"], "Usage: pushloop subscribe"),
        (&["subscribe", "-h"], "Usage: pushloop subscribe"),
        (&["help", "token"], "Usage: pushloop token make"),
        (&["token", "check", "--help"], "Usage: pushloop token make"),
    ] {
        let mut run = Run::redirected("2>/dev/null", arguments);
        let lines: String = (0..8).map(|_| run.0.line()).collect();
        assert!(lines.contains(said), "{arguments:?}: {lines}");
        while !run.0.line().is_empty() {}
        run.ends(0);
    }
    for arguments in [
        &["publish"][..],
        &["publish", "https://127.0.0.1/t"],
        &["publish", "--listen", "127.0.0.1:0"],
        &["subscribe"],
        &["subscribe", "ws://127.0.0.1/t", "--count"],
        &["token"],
        &["token", "make", "--sub", "ada"],
        &["publsih", "http://127.0.0.1/t"],
    ] {
        let mut run = Run::redirected("2>&1 >/dev/null", arguments);
        run.prints(&["pushloop: "]);
        run.ends(2);
    }
}

#[test]
fn serve_is_as_good_as_no_command() {
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let mut server = Process::start(Path::new(PUSHLOOP), &arguments);
    let address = server.address("http://");
    let mut run = Run::start(&["publish", &format!("http://{address}/t"), "x", "--verbose"]);
    run.prints(&["{\"delivered\":0}\n"]);
    run.ends(0);
}
