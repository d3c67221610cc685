//! `pushloop subscribe`, of a server that a test plays: it cuts connections.

use std::{
    io::{self, ErrorKind::WouldBlock, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Command, Stdio},
    thread,
};

use super::{Listener, PUSHLOOP, Run};
use crate::binary::{ask_tcp, serve};
use crate::support::http::{dial, read_head};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{CloseFrame, Role, frame::coding::CloseCode};
use tungstenite::{Error, Message, WebSocket};

impl Listener {
    /// The next WebSocket, and what it asks for.
    #[track_caller]
    fn opens(&self) -> (WebSocket<TcpStream>, String) {
        let mut stream = self.accepts();
        let head = String::from_utf8(read_head(&mut stream).expect("it asks")).expect("text");
        let target = head.split(' ').nth(1).expect("it asks for something").to_owned();
        let key = head.to_lowercase().find("sec-websocket-key: ").expect("it is a handshake");
        let key = head[key..].lines().next().and_then(|line| line.split(' ').nth(1));
        let key = derive_accept_key(key.expect("it has a value").as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {key}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).expect("the command reads");
        (WebSocket::from_raw_socket(stream, Role::Server, None), target)
    }

    /// The next request is answered so, and its connection ends.
    #[track_caller]
    fn answers(&self, status: &str, text: &str) {
        let mut stream = self.accepts();
        read_head(&mut stream).expect("a request comes");
        let length = text.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}");
        stream.write_all(answer.as_bytes()).expect("the command reads");
    }
}

#[track_caller]
fn sends(socket: &mut WebSocket<TcpStream>, messages: &[&str]) {
    for message in messages {
        socket.send(Message::text(*message)).expect("the command reads");
    }
}

#[test]
fn a_lost_connection_goes_on_where_it_was() {
    let server = Listener::open();
    let url = server.url("ws", "/scores,news");
    let mut run = Run::start(&["subscribe", &url, "--retry-first-ms", "1", "--count", "6"]);
    // What was seen of each topic decides, not which came last.
    let (mut socket, target) = server.opens();
    assert_eq!(target, "/scores,news?envelope=json");
    sends(
        &mut socket,
        &[
            r#"{"topic":"scores","id":"e-4","recovered":null}"#,
            r#"{"topic":"news","id":"f-0","recovered":null}"#,
            r#"{"topic":"news","id":"f-1","data":"one"}"#,
            r#"{"topic":"scores","id":"e-5","data":"two"}"#,
            r#"{"topic":"news","id":"f-2","data":"three"}"#,
        ],
    );
    run.prints(&["pushloop: connected\n", "one\n", "two\n", "three\n"]);
    drop(socket);
    run.prints(&["pushloop: lost: "]);
    // The server is there, and not ready yet.
    server.answers("503 Service Unavailable", "full");
    run.prints(&["pushloop: lost: refused with 503: full; "]);
    // Cut again before all that it missed has come.
    let (mut socket, target) = server.opens();
    assert_eq!(target, "/scores,news?envelope=json&after=e-5,f-2");
    sends(
        &mut socket,
        &[
            r#"{"topic":"scores","id":"e-5","recovered":true}"#,
            r#"{"topic":"news","id":"f-2","recovered":true}"#,
            r#"{"topic":"scores","id":"e-6","data":"four"}"#,
        ],
    );
    let away = CloseFrame { code: CloseCode::Away, reason: "until later".into() };
    socket.close(Some(away)).expect("the command reads");
    assert!(socket.read().expect("it is answered").is_close());
    run.prints(&[
        "pushloop: connected again\n",
        "pushloop: scores: resumed\n",
        "pushloop: news: resumed\n",
        "four\n",
        "pushloop: lost: closed with 1001: until later; ",
    ]);
    // Another life of a topic.
    let (mut socket, target) = server.opens();
    assert_eq!(target, "/scores,news?envelope=json&after=e-6,f-2");
    sends(
        &mut socket,
        &[
            r#"{"topic":"scores","id":"g-0","recovered":false,"why":"it began anew"}"#,
            r#"{"topic":"news","id":"f-2","recovered":true}"#,
            r#"{"topic":"news","id":"f-3","data":"five"}"#,
        ],
    );
    run.prints(&[
        "pushloop: connected again\n",
        "pushloop: scores: not recovered: it began anew\n",
        "pushloop: news: resumed\n",
        "five\n",
    ]);
    drop(socket);
    run.prints(&["pushloop: lost: "]);
    let (mut socket, target) = server.opens();
    assert_eq!(target, "/scores,news?envelope=json&after=g-0,f-3");
    sends(
        &mut socket,
        &[
            r#"{"topic":"scores","id":"g-0","recovered":true}"#,
            r#"{"topic":"news","id":"f-3","recovered":true}"#,
            r#"{"topic":"scores","id":"g-1","data":"six"}"#,
            r#"{"topic":"scores","id":"g-2","data":"more than is counted"}"#,
        ],
    );
    run.prints(&[
        "pushloop: connected again\n",
        "pushloop: scores: resumed\n",
        "pushloop: news: resumed\n",
        "six\n",
    ]);
    run.ends(0);
    assert!(socket.read().expect("it says that it goes").is_close());
}

/// A way to the server that can be cut.
struct Way([TcpStream; 2]);

impl Way {
    /// From the next connection to the server.
    fn open(listener: &Listener, address: &str) -> Self {
        let ends = [listener.accepts(), dial(address)];
        let other = |end: &TcpStream| end.try_clone().expect("a descriptor is free");
        for (from, to) in [(0, 1), (1, 0)] {
            let (mut from, mut to) = (other(&ends[from]), other(&ends[to]));
            // It ends with either end.
            thread::spawn(move || io::copy(&mut from, &mut to));
        }
        Self(ends)
    }

    fn cut(self) {
        // The peer may have gone first.
        let _ = self.0.map(|end| end.shutdown(Shutdown::Both));
    }
}

#[test]
fn with_the_server_nothing_is_lost_or_doubled_by_a_cut() {
    let (mut server, address) = serve(&["--history", "100"]);
    let publish = |line: &str| {
        assert!(ask_tcp(&address, "POST /scores", "", line).starts_with("HTTP/1.1 200 "));
    };
    publish("zero");
    let listener = Listener::open();
    let url = listener.url("ws", "/news,scores");
    let mut run =
        Run::start(&["subscribe", &url, "--last", "1", "--retry-first-ms", "1", "--count", "6"]);
    let way = Way::open(&listener, &address);
    run.prints(&["pushloop: connected\n", "zero\n"]);
    publish("one");
    run.prints(&["one\n"]);
    way.cut();
    publish("two");
    publish("three");
    run.prints(&["pushloop: lost: "]);
    let way = Way::open(&listener, &address);
    run.prints(&["pushloop: connected again\n"]);
    run.prints(&["pushloop: news: resumed\n", "pushloop: scores: resumed\n"]);
    run.prints(&["two\n", "three\n"]);
    publish("four");
    run.prints(&["four\n"]);
    // Another server has another life of the topic.
    server.kills();
    way.cut();
    let (_server, address) = serve(&["--history", "100"]);
    ask_tcp(&address, "POST /scores", "", "while it was away");
    run.prints(&["pushloop: lost: "]);
    let _way = Way::open(&listener, &address);
    run.prints(&["pushloop: connected again\n"]);
    run.prints(&["pushloop: news: not recovered: ", "pushloop: scores: not recovered: "]);
    assert!(ask_tcp(&address, "POST /scores", "", "five").contains("\"delivered\":1"));
    run.prints(&["five\n"]);
    run.ends(0);
}

#[test]
fn publications_are_printed_as_the_options_say() {
    const GREETING: &str = r#"{"topic":"t","id":"e-0","recovered":null}"#;
    const BYTES: &str = r#"{"topic":"t","id":"e-1","base64":"AAEC"}"#;
    const TEXT: &str = r#"{"topic":"t","id":"e-2","data":"a\nb\u00e9"}"#;
    let envelopes = [format!("{GREETING}\n{BYTES}\n"), format!("{TEXT}\n")];
    for (options, [bytes, text]) in [
        (&[][..], ["AAEC\n", "a\nb\u{e9}\n"]),
        (&["--raw"], ["\x00\x01\x02", "a\nb\u{e9}\n"]),
        (&["--json"], envelopes.each_ref().map(String::as_str)),
    ] {
        let server = Listener::open();
        let url = server.url("http", "/t?token=x");
        let arguments = [&["subscribe", &url, "--count", "2"], options].concat();
        let mut run = Run::redirected("2>/dev/null", &arguments);
        let (mut socket, target) = server.opens();
        assert_eq!(target, "/t?token=x&envelope=json");
        sends(&mut socket, &[GREETING, BYTES]);
        // It is printed when it comes, and not with the next one.
        assert_eq!(run.0.bytes(bytes.len()), bytes.as_bytes(), "{options:?}");
        socket.send(Message::Ping("x".into())).expect("the command reads");
        assert_eq!(socket.read().expect("it is answered"), Message::Pong("x".into()));
        sends(&mut socket, &[TEXT]);
        assert_eq!(run.0.bytes(text.len()), text.as_bytes(), "{options:?}");
        run.ends(0);
    }
}

/// A server that is full lets some in, and closes them soon.
#[test]
fn waits_get_longer_until_a_connection_lasts() {
    let publication = Message::text(r#"{"topic":"t","id":"e-1","data":"x"}"#);
    let ping = Message::Ping("".into());
    for (lasting, waits) in [(None, 4..=8), (Some(publication), 1..=2), (Some(ping), 1..=2)] {
        let server = Listener::open();
        let url = server.url("ws", "/t");
        let outputs = "2>&1 >/dev/null";
        let mut run = Run::redirected(outputs, &["subscribe", &url, "--retry-first-ms", "1"]);
        drop(server.opens());
        run.prints(&["pushloop: connected\n"]);
        assert!(matches!(run.prints_wait("pushloop: lost: "), 1..=2));
        server.answers("503 Service Unavailable", "full");
        assert!(matches!(run.prints_wait("pushloop: lost: refused with 503: full"), 2..=4));
        let (mut socket, _) = server.opens();
        sends(&mut socket, &[r#"{"topic":"t","id":"e-0","recovered":null}"#]);
        if let Some(message) = lasting {
            let is_ping = message.is_ping();
            socket.send(message).expect("the command reads");
            assert!(!is_ping || socket.read().expect("it is answered").is_pong());
        }
        drop(socket);
        run.prints(&["pushloop: connected again\n", "pushloop: t: not resumed: it had no ids\n"]);
        let wait = run.prints_wait("pushloop: lost: ");
        assert!(waits.contains(&wait), "{waits:?}: {wait}");
    }
}

/// As behind `| head`, before something is published and after that.
#[test]
fn it_ends_well_when_nobody_reads_what_it_prints() {
    for publications in [0, 1] {
        let server = Listener::open();
        let mut command = Command::new(PUSHLOOP);
        command.args(["subscribe", &server.url("ws", "/t")]).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("it runs");
        let (mut socket, _) = server.opens();
        for _ in 0..publications {
            sends(&mut socket, &[r#"{"topic":"t","id":"e-1","data":"x"}"#]);
        }
        let mut out = child.stdout.take().expect("it is a pipe");
        out.read_exact(&mut vec![0; 2 * publications]).expect("it is printed");
        drop(out);
        assert!(!matches!(socket.read(), Err(Error::Io(error)) if error.kind() == WouldBlock));
        assert!(child.wait().expect("it is ours").success());
    }
}

/// A read with a timeout ends when the process goes on, and nothing is lost.
#[test]
fn a_process_that_was_stopped_goes_on() {
    let server = Listener::open();
    let mut run = Run::start(&["subscribe", &server.url("ws", "/t"), "--count", "1"]);
    let (mut socket, _) = server.opens();
    run.prints(&["pushloop: connected\n"]);
    run.0.signal("STOP");
    run.0.signal("CONT");
    sends(&mut socket, &[r#"{"topic":"t","id":"e-1","data":"one"}"#]);
    run.prints(&["one\n"]);
    run.ends(0);
}

#[test]
fn the_first_connection_asks_for_what_was_published_earlier() {
    for (options, asked) in [
        (&["--last", "7"][..], "last=7"),
        (&["--after", "e-1"], "after=e-1,"),
        (&["--after", "", "--after", "e-1"], "after=,e-1"),
    ] {
        let server = Listener::open();
        let url = server.url("ws", "/a,b");
        let mut run = Run::start(&[&["subscribe", &url, "--count", "1"], options].concat());
        let (mut socket, target) = server.opens();
        assert_eq!(target, format!("/a,b?envelope=json&{asked}"));
        sends(
            &mut socket,
            &[
                r#"{"topic":"a","id":"e-2","recovered":true}"#,
                r#"{"topic":"b","id":null,"recovered":false,"why":"it has no ids"}"#,
                r#"{"topic":"a","id":"e-2","data":"earlier"}"#,
            ],
        );
        run.prints(&["pushloop: connected\n", "pushloop: b: not recovered: it has no ids\n"]);
        run.prints(&["earlier\n"]);
        run.ends(0);
    }
}

#[test]
fn what_would_not_get_better_ends_with_1() {
    let mut run = Run::start(&["subscribe", "ws://127.0.0.1:1/t"]);
    run.prints(&["pushloop: no connection to 127.0.0.1:1: "]);
    run.ends(1);

    let server = Listener::open();
    let url = server.url("ws", "/t");
    for status in ["403 Forbidden", "503 Service Unavailable"] {
        let mut run = Run::start(&["subscribe", &url]);
        server.answers(status, "because\n");
        run.prints(&[&format!("pushloop: refused with {}: because\n", &status[..3])]);
        run.ends(1);
    }
    for message in [Message::text("Goal!"), Message::binary("Goal!")] {
        let mut run = Run::start(&["subscribe", &url]);
        server.opens().0.send(message).expect("the command reads");
        run.prints(&["pushloop: connected\n", "pushloop: the server does not send envelopes"]);
        run.ends(1);
    }
    let mut run = Run::start(&["subscribe", &url, "--retry-first-ms", "1"]);
    drop(server.opens());
    run.prints(&["pushloop: connected\n", "pushloop: lost: "]);
    server.answers("400 Bad Request", "no such place");
    run.prints(&["pushloop: refused with 400: no such place\n"]);
    run.ends(1);
}

#[test]
fn a_silent_connection_is_given_up() {
    let server = Listener::open();
    let url = server.url("ws", "/t");
    let silence = ["--silence-ms", "500", "--retry-first-ms", "1"];
    let mut run = Run::start(&[&["subscribe", &url], &silence[..]].concat());
    let silent = server.opens();
    run.prints(&["pushloop: connected\n", "pushloop: lost: nothing came for 500ms; "]);
    let _next = server.opens();
    drop(silent);
    run.prints(&["pushloop: connected again\n"]);
}
