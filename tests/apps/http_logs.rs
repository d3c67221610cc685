//! What the programs print is theirs: nothing that a peer sends gets into a log, escaped or not.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::support::http::dial;
use crate::support::process::Process;
use crate::support::{burst, close_empty, frame, handshake};

/// What every peer here sends, somewhere.
const MARK: &[u8] = b"what-a-peer-sent";

/// A program whose whole output is kept.
struct Logged {
    process: Process,
    address: String,
    said: String,
    errors: PathBuf,
}

impl Logged {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let name = program.file_name().expect("a program has a name").to_string_lossy();
        let errors = env::temp_dir().join(format!("pushloop-{}-{name}.err", std::process::id()));
        let paths = [&errors, program].map(|path| path.to_str().expect("the path is text"));
        // What it says of its errors goes to a file; the rest is a pipe.
        let shell = ["-c", "exec \"$@\" 2>\"$0\"", paths[0], paths[1]];
        let mut process = Process::start(Path::new("bash"), &[&shell, arguments].concat());
        let said = process.line();
        let Some((_, rest)) = said.split_once("://") else {
            panic!("{} does not run, or names no URL: {said:?}", program.display());
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c));
        let address = rest[..end.unwrap_or(rest.len())].to_owned();
        Self { process, address, said, errors }
    }

    /// Sends bytes on a connection of their own, and reads to its end.
    fn hears(&self, bytes: &[u8]) {
        let mut stream = dial(&self.address);
        // It may hang up before it has read all.
        let _ = stream.write_all(bytes);
        match stream.read_to_end(&mut Vec::new()) {
            Ok(n) => assert!(n > 0, "no answer to {}", bytes.escape_ascii()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// All that it said, without numbers: each run has a port of its own.
    fn ends(mut self) -> String {
        self.process.child.kill().expect("it runs");
        loop {
            let line = self.process.line();
            if line.is_empty() {
                break;
            }
            self.said += &line;
        }
        let errors = fs::read(&self.errors).expect("the shell made it");
        let _ = fs::remove_file(&self.errors);
        self.said += &String::from_utf8_lossy(&errors);
        self.said.replace(|c: char| c.is_ascii_digit(), "")
    }
}

/// Requests with a byte in each place where one might be logged from. Each is the last on its
/// connection.
fn requests(byte: u8) -> Vec<Vec<u8>> {
    let sent = [MARK, &[byte]].concat();
    let [get, host] =
        [b"GET /".as_slice(), b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"];
    let websocket = handshake("/", "");
    let (line, fields) = websocket.split_once("\r\n").expect("a head has lines");
    let fields = fields.strip_suffix("\r\n").expect("a head ends with an empty line").as_bytes();
    let posted =
        format!("POST /topic HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", sent.len());
    let end = b"\r\n\r\n";
    vec![
        [&sent, b" /".as_slice(), host, b"\r\n"].concat(),
        [get, &sent, host, b"\r\n"].concat(),
        [b"POST /".as_slice(), &sent, host, b"\r\n"].concat(),
        [get, b"?", &sent, host, b"\r\n"].concat(),
        [get, host, &sent, b": x", end].concat(),
        [get, host, b"User-Agent: ", &sent, end].concat(),
        [get, host, b"Origin: http://", &sent, end].concat(),
        [get, b" HTTP/1.1\r\nConnection: close\r\nHost: ", &sent, end].concat(),
        [posted.as_bytes(), b"Connection: close\r\n\r\n", &sent].concat(),
        [
            line.as_bytes(),
            b"\r\nSec-WebSocket-Protocol: ",
            &sent,
            b"\r\nOrigin: x\r\n",
            fields,
            b"\r\n",
        ]
        .concat(),
        [line.as_bytes(), b"\r\n", fields, b"Origin: http://", &sent, end].concat(),
    ]
}

/// A WebSocket on a topic of that name, what is said there, and why it is closed.
fn frames(byte: u8) -> Vec<u8> {
    let sent = [MARK, &[byte]].concat();
    let room = format!("/{}%{byte:02x}", sent[..MARK.len()].escape_ascii());
    let reason = [&1000_u16.to_be_bytes(), &*sent].concat();
    let frames = [frame(0x82, &sent), frame(0x89, &sent), frame(0x81, &sent), frame(0x88, &reason)];
    [handshake(&room, "").as_bytes(), &burst(&frames), &burst(&[close_empty()])].concat()
}

fn says_the_same_whoever_talks_to_it(program: &Path, arguments: &[&str]) {
    let alone = Logged::start(program, arguments).ends();
    let talked_to = Logged::start(program, arguments);
    for byte in 0..=u8::MAX {
        requests(byte).iter().for_each(|request| talked_to.hears(request));
        talked_to.hears(&frames(byte));
    }
    let said = talked_to.ends();
    assert!(!alone.is_empty() && said == alone, "{said:?}, and alone {alone:?}");
}

#[test]
#[cfg(feature = "server")]
fn the_server_logs_nothing_of_its_peers() {
    let program = Path::new(env!("CARGO_BIN_EXE_pushloop"));
    says_the_same_whoever_talks_to_it(program, &["--listen", "127.0.0.1:0"]);
}

#[test]
fn the_examples_log_nothing_of_their_peers() {
    let test = env::current_exe().expect("the test knows its own file");
    let examples =
        test.ancestors().nth(2).expect("tests are at target/PROFILE/deps").join("examples");
    for example in ["echo", "own_loop", "publish_from_thread"] {
        says_the_same_whoever_talks_to_it(&examples.join(example), &["127.0.0.1:0"]);
    }
    for application in ["feed", "chat", "game"] {
        let listen = ["--listen", "127.0.0.1:0"];
        says_the_same_whoever_talks_to_it(&examples.join(application), &listen);
    }
}
