//! Each example does what its first line says.

use std::{io::Write, net::UdpSocket, process::Command};

use crate::support::http::{self, dial};
use crate::support::process::{Process, connect, example, read_close, read_text};
use tungstenite::{Error, HandshakeError, Message};

/// The examples that have a page.
const APPLICATIONS: [&str; 4] = ["feed", "chat", "editor", "game"];

fn ask(address: &str, method: &str, path: &str) -> String {
    http::ask(dial(address), &format!("{method} {path}"), "", "")
}

#[test]
fn an_application_serves_its_page_and_nothing_else() {
    for name in APPLICATIONS {
        let mut application = Process::application(name);
        let address = application.address("open http://");
        for (path, kind, part) in [
            ("/", "text/html; charset=utf-8", "</html>"),
            ("/page.js", "text/javascript; charset=utf-8", "export function connect"),
            ("/page.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"),
            ("/icon.svg", "image/svg+xml", "</svg>"),
        ] {
            let answer = ask(&address, "GET", path);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{name}{path}: {answer}");
            assert!(
                answer.contains(&format!("\r\nContent-Type: {kind}\r\n")),
                "{name}{path}: {answer}"
            );
            assert!(
                answer.contains("\r\nContent-Security-Policy: default-src 'none'; "),
                "{name}{path}"
            );
            assert!(answer.contains(part), "{name}{path}: {answer}");
            assert!(ask(&address, "HEAD", path).ends_with("\r\n\r\n"), "{name}{path} has no body");
            assert!(ask(&address, "POST", path).starts_with("HTTP/1.1 405 "), "{name}{path}");
        }
        for path in ["/nothing", "/page.css/", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "//"] {
            assert!(ask(&address, "GET", path).starts_with("HTTP/1.1 404 "), "{name}{path}");
        }
    }
}

#[test]
fn an_applications_page_writes_text_only() {
    for name in APPLICATIONS {
        let mut application = Process::application(name);
        let address = application.address("open http://");
        for path in ["/", "/page.js"] {
            let page = ask(&address, "GET", path);
            for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!page.contains(way), "{name}{path}: {way}");
            }
        }
    }
}

#[test]
fn an_application_says_what_is_wrong_with_its_options() {
    for name in APPLICATIONS {
        for (options, status, said) in [
            (&["--lisen", "127.0.0.1:0"][..], 2, "unknown option '--lisen'"),
            (&["127.0.0.1:0"], 2, "unknown option '127.0.0.1:0'"),
            (&["--listen"], 2, "--listen needs an address"),
            (&["--listen", "here"], 2, "'here' is no address"),
            (&["--listen", "192.0.2.1:1"], 1, "192.0.2.1:1"),
            (&["--help"], 0, "usage: "),
        ] {
            let output = Command::new(example(name)).args(options).output().expect("it runs");
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).expect("it is text");
            assert_eq!(output.status.code(), Some(status), "{name} {options:?}: {text}");
            assert!(text.contains(said), "{name} {options:?}: {text}");
        }
    }
}

#[test]
fn echo_sends_every_message_back() {
    let mut echo = Process::example("echo");
    let mut client = connect(&echo.address("ws://"), "/");
    client.send(Message::text("hello")).expect("it is sent");
    assert_eq!(read_text(&mut client), "hello");
}

#[test]
fn own_loop_shares_its_poll_with_a_clock_and_a_udp_socket() {
    let mut own_loop = Process::example("own_loop");
    let line = own_loop.line();
    let (websocket, udp) = line.split_once("/, udp ").expect("both addresses are printed");
    let address = websocket.split_once("ws://").expect("the first is a URL").1;
    let mut client = connect(address, "/");
    assert!(read_text(&mut client).starts_with("tick "));

    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.send_to(b"over udp", udp.trim()).expect("it is sent");
    loop {
        match client.read().expect("a message comes") {
            Message::Binary(bytes) => break assert_eq!(&bytes[..], b"over udp"),
            Message::Text(tick) => assert!(tick.as_str().starts_with("tick ")),
            other => panic!("{other:?}"),
        }
    }
    // More than one turn takes wait at once.
    own_loop.signal("STOP");
    for at in 0..150_u8 {
        socket.send_to(&[at], udp.trim()).expect("it is sent");
    }
    own_loop.signal("CONT");
    for at in 0..150 {
        let message = loop {
            match client.read().expect("a message comes") {
                Message::Binary(bytes) => break bytes,
                other => assert!(other.is_text(), "{other:?}"),
            }
        };
        assert_eq!(&message[..], [at]);
    }
    client.send(Message::text("bye")).expect("it is sent");
    assert_eq!(read_close(&mut client), 1000);
}

#[test]
fn publish_from_thread_publishes_each_line_and_ends_with_the_input() {
    let mut lines = Process::example("publish_from_thread");
    let mut client = connect(&lines.address("ws://"), "/");
    // The connection has to be subscribed: a line that comes back says so.
    let mut input = lines.child.stdin.take().expect("standard input is a pipe");
    let mut sent = 0;
    client.get_ref().0.set_nonblocking(true).expect("it can be");
    let first = loop {
        writeln!(input, "line {sent}").expect("the example reads");
        sent += 1;
        match client.read() {
            Ok(message) => break message.into_text().expect("it is text").as_str().to_owned(),
            Err(Error::Io(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            }
            Err(error) => panic!("{error}"),
        }
    };
    client.get_ref().0.set_nonblocking(false).expect("it can be");
    let first: u32 = first.trim_start_matches("line ").parse().expect("it is one of the lines");
    for n in first + 1..sent {
        assert_eq!(read_text(&mut client), format!("line {n}"));
    }
    drop(input);
    assert_eq!(read_close(&mut client), 1001);
    let summary = lines.line();
    assert!(summary.ends_with(&format!("{} deliveries\n", sent - first)), "{summary}");
}

#[test]
fn tokens_lets_in_clients_that_have_one_until_it_expires_and_once_at_a_time() {
    let mut tokens = Process::example("tokens");
    let address = tokens.address("ws://");
    for (path, status) in [("/?token=eve.60", 401), ("/?token=ada", 401), ("/", 401)] {
        assert_eq!(refused(&address, path), status, "{path}");
    }
    assert!(ask(&address, "GET", "/?token=ada.60").starts_with("HTTP/1.1 426 "));
    let mut first = connect(&address, "/?token=ada.60");
    assert_eq!(read_text(&mut first), "welcome, ada");
    let mut other = connect(&address, "/?token=bob.60");
    assert_eq!(read_text(&mut other), "welcome, bob");
    let mut second = connect(&address, "/?token=ada.3");
    assert_eq!((read_close(&mut first), read_text(&mut second)), (4002, "welcome, ada".into()));
    assert_eq!(read_close(&mut second), 4001);
    let mut again = connect(&address, "/?token=bob.60");
    assert_eq!((read_close(&mut other), read_text(&mut again)), (4002, "welcome, bob".into()));
}

/// The status that a handshake is refused with.
fn refused(address: &str, path: &str) -> u16 {
    match tungstenite::client(format!("ws://{address}{path}"), dial(address)) {
        Err(HandshakeError::Failure(Error::Http(response))) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}
