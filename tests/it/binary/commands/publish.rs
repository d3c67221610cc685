//! `pushloop publish`, to the server and to one that a test plays.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use super::{Listener, Run};
use crate::binary::serve;
use crate::support::PATIENCE;
use crate::support::http::read_head;
use crate::support::process::connect;
use socket2::SockRef;
use tungstenite::Message;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The next request: its head, and its body.
#[track_caller]
fn request(stream: &mut TcpStream) -> (String, String) {
    let head = String::from_utf8(read_head(stream).expect("a request comes")).expect("text");
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.expect("it has one").parse().expect("a number")];
    stream.read_exact(&mut body).expect("the body comes");
    (head, String::from_utf8(body).expect("text"))
}

/// Ends a connection, and waits until its peer could know: the end is acknowledged.
#[track_caller]
fn ends(stream: &TcpStream) {
    const FIN_WAIT_2: &str = "05";
    let port = |address: io::Result<SocketAddr>| {
        format!(":{:04X}", address.expect("it is connected").port())
    };
    let ports = [port(stream.local_addr()), port(stream.peer_addr())];
    // Not by closing it, which a process that another test starts at this moment would put off.
    stream.shutdown(Shutdown::Write).expect("it is connected");
    for _ in 0..PATIENCE.as_millis() {
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        let is_it = |line: &str| {
            let mut fields = line.split_whitespace().skip(1);
            let mut next = || fields.next().unwrap_or_default();
            ports.iter().all(|port| next().ends_with(port)) && next() == FIN_WAIT_2
        };
        if table.lines().any(is_it) {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("the end is not acknowledged");
}

#[test]
fn a_message_lines_or_bytes_reach_the_subscribers() {
    let (_server, address) = serve(&[]);
    let url = format!("http://{address}/scores");
    let mut scores = connect(&address, "/scores");
    let mut reads = |expected: &[Message]| {
        for message in expected {
            assert_eq!(scores.read().expect("it is open"), *message);
        }
    };
    let mut run = Run::start(&["publish", &url, "Goal!"]);
    run.ends(0);
    reads(&["Goal!".into()]);
    let url = format!("ws://{address}/scores?x");
    let mut run = Run::start(&["publish", &url, "--", "-1"]);
    run.ends(0);
    reads(&["-1".into()]);

    let mut run = Run::start(&["publish", &url]);
    run.reads("one\n\ncaf\u{e9}\r\nno end".as_bytes());
    drop(run.0.child.stdin.take());
    run.prints(&["published 4, refused 0\n"]);
    run.ends(0);
    reads(&["one".into(), "".into(), "caf\u{e9}".into(), "no end".into()]);

    let mut run = Run::start(&["publish", &url, "--binary", "--verbose"]);
    run.reads(b"\x00\xff\n\n");
    drop(run.0.child.stdin.take());
    run.prints(&["{\"delivered\":1}\n"]);
    run.ends(0);
    reads(&[Message::binary(b"\x00\xff\n\n".to_vec())]);
}

#[test]
fn a_refusal_is_said_with_its_line_and_the_others_are_published() {
    let (_server, address) = serve(&[]);
    let mut scores = connect(&address, "/scores");
    let mut run = Run::start(&["publish", &format!("http://{address}/scores")]);
    run.reads(b"one\nnot text: \xff\n");
    run.reads(&[b'x'; (64 << 10) + 1]);
    run.reads(b"\nfour\n");
    drop(run.0.child.stdin.take());
    run.prints(&[
        "pushloop: line 2: refused with 400: ",
        "pushloop: line 3: refused with 413: ",
        "published 2, refused 2\n",
    ]);
    run.ends(1);
    assert_eq!(scores.read().expect("it is open"), Message::text("one"));
    assert_eq!(scores.read().expect("it is open"), Message::text("four"));

    let mut run = Run::start(&["publish", &format!("http://{address}/$stats"), "x"]);
    run.prints(&["pushloop: refused with 403: "]);
    run.ends(1);
}

/// The answer came while most of it was still to be sent.
#[test]
fn the_refusal_of_what_is_much_too_long_is_read() {
    let (_server, address) = serve(&[]);
    let mut run = Run::start(&["publish", &format!("http://{address}/scores"), "--binary"]);
    let mut stdin = run.0.child.stdin.take().expect("it is open");
    for _ in 0..32 {
        stdin.write_all(&[0; 1 << 20]).expect("the command reads");
    }
    drop(stdin);
    run.prints(&["pushloop: refused with 413: "]);
    run.ends(1);
}

#[test]
fn lines_are_sent_one_after_another_on_one_connection() {
    let server = Listener::open();
    let mut run = Run::start(&["publish", &server.url("http", "/a b?c=d"), "--key", "k"]);
    run.reads(b"one\ntwo\n");
    let mut stream = server.accepts();
    for (number, line) in [(1, "one"), (2, "two")] {
        let (head, body) = request(&mut stream);
        assert!(head.starts_with("POST /a%20b?c=d HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
        assert!(head.contains(&format!("\r\nIdempotency-Key: k-{number}\r\n")), "{head}");
        assert_eq!(body, line);
        // A read with a timeout ends when the process goes on.
        run.0.signal("STOP");
        run.0.signal("CONT");
        stream.write_all(ANSWER.as_bytes()).expect("the command reads");
    }
    drop(run.0.child.stdin.take());
    run.prints(&["published 2, refused 0\n"]);
    run.ends(0);

    let mut run = Run::start(&["publish", &server.url("http", "/t"), "x", "--key", "k"]);
    let mut stream = server.accepts();
    let (head, _) = request(&mut stream);
    assert!(head.contains("\r\nIdempotency-Key: k\r\n"), "{head}");
    stream.write_all(ANSWER.as_bytes()).expect("the command reads");
    run.ends(0);
}

/// A server that ends an idle connection takes nothing with it.
#[test]
fn a_connection_that_ended_between_two_lines_is_replaced() {
    let server = Listener::open();
    let url = server.url("http", "/t");
    let mut run = Run::start(&["publish", &url, "--verbose"]);
    let closing = ANSWER.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let unasked = ANSWER.repeat(2);
    let mut kept = Vec::new();
    for (line, answer, is_kept) in [
        ("one", ANSWER, false),
        ("two", &closing, true),
        ("three", &unasked, true),
        ("four", ANSWER, false),
    ] {
        run.reads(format!("{line}\n").as_bytes());
        let mut stream = server.accepts();
        let (head, body) = request(&mut stream);
        assert!(!head.contains("Idempotency-Key"), "{head}");
        assert_eq!(body, line);
        stream.write_all(answer.as_bytes()).expect("the command reads");
        run.prints(&["ok\n"]);
        if is_kept {
            kept.push(stream);
        } else {
            ends(&stream);
        }
    }
    drop(run.0.child.stdin.take());
    run.prints(&["published 4, refused 0\n"]);
    run.ends(0);
}

#[test]
fn without_a_key_what_is_not_answered_is_not_sent_again() {
    for lost in ["", "HTTP/1.1 200 OK\r\nContent-Le", "SSH-2.0-x\r\n"] {
        let server = Listener::open();
        let mut run = Run::start(&["publish", &server.url("http", "/t")]);
        run.reads(b"one\ntwo\nthree\n");
        let mut stream = server.accepts();
        assert_eq!(request(&mut stream).1, "one");
        stream.write_all(ANSWER.as_bytes()).expect("the command reads");
        assert_eq!(request(&mut stream).1, "two");
        stream.write_all(lost.as_bytes()).expect("the command reads");
        drop(stream);
        run.prints(&[
            "pushloop: it is not known whether line 2 was published, and no later one was sent: ",
            "published 1, refused 0\n",
        ]);
        run.ends(1);
    }
}

#[test]
fn with_a_key_what_is_not_answered_is_sent_again_with_the_same() {
    let server = Listener::open();
    let url = server.url("http", "/t");
    let mut run = Run::start(&["publish", &url, "--key", "k", "--retry-first-ms", "1"]);
    run.reads(b"one\ntwo\n");
    let first = request(&mut server.accepts());
    let ended = "pushloop: lost: the connection ended before the answer";
    assert!(matches!(run.prints_wait(ended), 1..=2));
    assert_eq!(request(&mut server.accepts()), first);
    assert!(matches!(run.prints_wait(ended), 2..=4));
    let mut stream = server.accepts();
    assert_eq!(request(&mut stream), first);
    stream.write_all(ANSWER.as_bytes()).expect("the command reads");
    let (head, body) = request(&mut stream);
    assert!(head.contains("\r\nIdempotency-Key: k-2\r\n"), "{head}");
    assert_eq!(body, "two");
    drop(stream);
    // Another loss, and the first of it.
    assert!(matches!(run.prints_wait(ended), 1..=2));
    let mut stream = server.accepts();
    assert_eq!(request(&mut stream), (head, body));
    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("the command reads");
    stream.write_all(ANSWER.as_bytes()).expect("the command reads");
    drop(run.0.child.stdin.take());
    run.prints(&["published 2, refused 0\n"]);
    run.ends(0);
}

/// Nothing of a line was sent where nothing listens.
#[test]
fn a_server_that_was_there_is_waited_for() {
    // No other test has a port of this address.
    let server = Listener::open_at("127.0.0.2:0");
    let address = server.0.local_addr().expect("it listens");
    let url = server.url("http", "/t");
    let mut run = Run::start(&["publish", &url, "--verbose", "--retry-first-ms", "1"]);
    run.reads(b"one\n");
    let mut stream = server.accepts();
    request(&mut stream);
    stream.write_all(ANSWER.as_bytes()).expect("the command reads");
    run.prints(&["ok\n"]);
    // For a process that another test starts at this moment as well.
    SockRef::from(&server.0).shutdown(Shutdown::Both).expect("it listens");
    drop(server);
    ends(&stream);
    run.reads(b"two\n");
    run.prints(&["pushloop: no connection: "]);
    let server = Listener::open_at(address);
    let mut stream = server.accepts();
    assert_eq!(request(&mut stream).1, "two");
    stream.write_all(ANSWER.as_bytes()).expect("the command reads");
    // It may have tried more than once.
    let mut line = run.0.line();
    while line.starts_with("pushloop: no connection: ") {
        line = run.0.line();
    }
    assert_eq!(line, "ok\n");
    drop(run.0.child.stdin.take());
    run.prints(&["published 2, refused 0\n"]);
    run.ends(0);
}

/// What is no answer will be none the next time.
#[test]
fn with_a_key_it_is_not_sent_again_to_what_is_no_server() {
    let server = Listener::open();
    let url = server.url("http", "/t");
    let mut run = Run::start(&["publish", &url, "x", "--key", "k", "--retry-first-ms", "1"]);
    let mut stream = server.accepts();
    request(&mut stream);
    stream.write_all(b"SSH-2.0-x\r\n").expect("the command reads");
    run.prints(&["pushloop: it is not known whether this was published: what came is no answer"]);
    run.ends(1);
}

#[test]
fn a_server_that_is_not_there_is_said_at_once() {
    let mut run = Run::start(&["publish", "http://127.0.0.1:1/t", "x", "--key", "k"]);
    run.prints(&["pushloop: no connection to 127.0.0.1:1: "]);
    run.ends(1);
}
