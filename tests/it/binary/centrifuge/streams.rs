//! Clients that are told over a stream and ask by posts, by hand.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use super::{KEY, SECRET, UPGRADE, connected, error, server, token};
use crate::binary::{
    ask_tcp, serve,
    tokens::{File, in_seconds},
};
use crate::support::http::{dial, read_head};

const EVENTS: &str = "/connection/sse";
const BODY: &str = "/connection/http_stream";
const JSON: &str = "Content-Type: application/json\r\n";
const PROTOBUF: &str = "Content-Type: application/octet-stream\r\n";

/// A stream, and what a client knows of it.
struct Streaming {
    head: String,
    body: BufReader<TcpStream>,
    is_events: bool,
    /// The lines of an event that has begun.
    lines: Vec<Value>,
}

/// What is left of a stream, up to its end.
fn rest(stream: Streaming) -> String {
    let mut rest = String::new();
    let mut body = stream.body;
    body.read_to_string(&mut rest).expect("it ends");
    rest
}

impl Streaming {
    fn asks(address: &str, request_line: &str, fields: &str, body: &[u8]) -> Self {
        let mut stream = dial(address);
        let len = body.len();
        let head = format!(
            "{request_line} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len}\r\n{fields}\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("the server reads");
        let head = String::from_utf8(read_head(&mut stream).expect("it is answered"));
        let is_events = request_line.contains(EVENTS);
        let body = BufReader::new(stream);
        Self { head: head.expect("it is text"), body, is_events, lines: Vec::new() }
    }

    /// One of each kind, with these first commands.
    fn opens(address: &str, path: &str, fields: &str, frame: &str) -> Self {
        let stream = if path == EVENTS {
            let query: String = frame.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let line = format!("GET {EVENTS}?cf_connect={query}");
            Self::asks(address, &line, fields, b"")
        } else {
            let fields = format!("{fields}{JSON}");
            Self::asks(address, &format!("POST {BODY}"), &fields, frame.as_bytes())
        };
        assert!(stream.head.starts_with("HTTP/1.1 200 "), "{}", stream.head);
        stream
    }

    /// The next reply or push.
    fn reads(&mut self) -> Value {
        while self.lines.is_empty() {
            let mut line = String::new();
            self.body.read_line(&mut line).expect("it comes");
            assert!(line.ends_with('\n'), "it has ended: {line}");
            let told = match self.is_events {
                true => line.strip_prefix("data: "),
                false => Some(&*line),
            };
            match told {
                Some(told) => self.lines.push(serde_json::from_str(told).expect("it is JSON")),
                None => assert_eq!(line, "\n"),
            }
        }
        self.lines.remove(0)
    }

    fn connected(&mut self) -> String {
        let told = self.reads();
        let [session, node, client] =
            ["session", "node", "client"].map(|name| told["connect"][name].as_str());
        let (session, node) = (session.expect("it has one"), node.expect("it has one"));
        assert!(client != Some(session) && session.len() == 36 && node.len() == 36, "{told}");
        session.to_owned()
    }

    /// The code that it ends with.
    fn disconnected(mut self) -> u64 {
        let code = self.reads()["push"]["disconnect"]["code"].as_u64().expect("it ends");
        assert_eq!(rest(self).trim(), "");
        code
    }
}

fn opened(address: &str, path: &str, token: &str) -> (Streaming, String) {
    let connect = json!({ "id": 1, "connect": { "token": token } }).to_string();
    let mut stream = Streaming::opens(address, path, "", &connect);
    let session = stream.connected();
    (stream, session)
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
}

fn posts_with(address: &str, session: &str, frame: &str, fields: &str) -> u16 {
    let body = json!({ "session": session, "node": "n", "data": frame }).to_string();
    status(&ask_tcp(address, "POST /emulation", &format!("{fields}{JSON}"), &body))
}

fn posts(address: &str, session: &str, frame: &str) -> u16 {
    posts_with(address, session, frame, "")
}

#[test]
fn a_stream_is_told_and_posts_ask_for_it() {
    let (_server, address) = server(&["--history", "10"]);
    for (path, kind) in [(EVENTS, "text/event-stream"), (BODY, "application/json")] {
        let frame = [r#"{"id":1,"connect":{}}"#, r#"{"id":2,"subscribe":{"channel":"a"}}"#];
        let mut stream = Streaming::opens(&address, path, "", &frame.join("\n"));
        for field in [kind, "no-store", "X-Accel-Buffering: no", "nosniff"] {
            assert!(stream.head.contains(field), "{}", stream.head);
        }
        let session = stream.connected();
        assert_eq!(stream.reads()["subscribe"]["recoverable"], true);
        let subscribe = r#"{"id":3,"subscribe":{"channel":"b"}}"#;
        let publish = r#"{"id":4,"publish":{"channel":"b","data":{"n":1}}}"#;
        assert_eq!(posts(&address, &session, &[subscribe, publish].join("\n")), 204);
        assert_eq!(stream.reads()["id"], 3);
        let told = [stream.reads(), stream.reads()];
        assert!(told.iter().any(|it| *it == json!({ "id": 4, "publish": {} })), "{told:?}");
        assert!(told.iter().any(|it| it["push"]["pub"]["data"] == json!({ "n": 1 })), "{told:?}");
        // Text with lines is one line, in an event and in a line.
        ask_tcp(&address, "POST /a", "", "{\"a\":\n1}");
        ask_tcp(&address, "POST /a", "", "one\ntwo\r\n");
        assert_eq!(stream.reads()["push"]["pub"]["data"], json!({ "a": 1 }));
        assert_eq!(stream.reads()["push"]["pub"]["data"], "one\ntwo\r\n");
        assert_eq!(posts(&address, &session, r#"{"id":5,"send":{}}"#), 204);
        assert_eq!(stream.disconnected(), 3508);
        assert_eq!(posts(&address, &session, r#"{"id":6,"ping":{}}"#), 404);
    }
}

#[test]
fn in_protobuf_each_message_is_behind_its_length() {
    let (_server, address) = server(&[]);
    let line = format!("POST {BODY}");
    let mut stream = Streaming::asks(&address, &line, PROTOBUF, b"\x04\x08\x01\x22\x00");
    assert!(stream.head.contains("application/octet-stream"), "{}", stream.head);
    let mut reads = || {
        let mut len = 0;
        for shift in [0, 7] {
            let mut byte = [0];
            stream.body.read_exact(&mut byte).expect("it comes");
            len |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut message = vec![0; len];
        stream.body.read_exact(&mut message).expect("it comes");
        message
    };
    let told = reads();
    let at = told.windows(2).position(|it| it == b"\x4a\x24").expect("it has a session");
    let session = String::from_utf8(told[at + 2..at + 38].to_vec()).expect("it is text");
    let post = |frame: &[u8]| {
        let head = [b"\x12\x24", session.as_bytes(), b"\x1a", &[frame.len() as u8]].concat();
        let body = String::from_utf8([&head, frame].concat()).expect("it is text");
        status(&ask_tcp(&address, "POST /emulation", PROTOBUF, &body))
    };
    assert_eq!(post(b"\x07\x08\x02\x2a\x03\x0a\x01a"), 204);
    assert_eq!(reads(), b"\x08\x02\x32\x00");
    ask_tcp(&address, "POST /a", "", "Goal!");
    assert_eq!(reads(), b"\x22\x0e\x12\x01a\x22\x09\x22\x05Goal!\x30\x01");
    // Not in the other encoding.
    assert_eq!(posts(&address, &session, r#"{"id":3,"ping":{}}"#), 400);
    assert_eq!(post(b"\x04\x08\x03\x5a\x00"), 204);
    assert_eq!(reads(), b"\x08\x03\x62\x00");
    assert_eq!(post(b"\x00"), 204, "it is a pong to no ping");
    assert_eq!(reads(), b"\x22\x12\x5a\x10\x08\xad\x1b\x12\x0bbad request");
    let mut end = Vec::new();
    stream.body.read_to_end(&mut end).expect("it ends");
    assert_eq!(end, b"");
}

#[test]
fn a_wrong_request_is_refused_and_no_stream_begins() {
    let (_server, address) = server(&[]);
    let mut websocket = connected(&address, "");
    let presence = super::answers(&mut websocket, r#"{"id":2,"ping":{}}"#, 1);
    assert_eq!(presence[0]["id"], 2);
    let (mut stream, session) = opened(&address, EVENTS, "");
    let connect = r#"{"id":1,"connect":{}}"#;
    let post = |session: &str| json!({ "session": session, "data": "{}" }).to_string();
    let long = "x".repeat(64 * 1024 + 1);
    let origin = |fields: &str| format!("{JSON}Origin: http://elsewhere\r\n{fields}");
    let events = format!("GET {EVENTS}?cf_connect=%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D");
    for (request, fields, body, expected) in [
        (format!("GET {EVENTS}"), "", "", 400),
        (format!("GET {EVENTS}?cf_connect="), "", "", 400),
        (format!("GET {EVENTS}?cf_connect=%7B"), "", "", 400),
        (format!("GET {EVENTS}?cf_connect=%7B%22id%22%3A1%7D"), "", "", 400),
        (format!("POST {EVENTS}"), JSON, connect, 405),
        (format!("HEAD {EVENTS}"), "", "", 405),
        (events.clone(), &origin(""), "", 403),
        (events.clone(), "Sec-Fetch-Site: cross-site\r\n", "", 403),
        (events, UPGRADE, "", 404),
        (format!("GET {BODY}"), "", "", 405),
        (format!("POST {BODY}"), "", connect, 415),
        (format!("POST {BODY}"), "Content-Type: text/plain\r\n", connect, 415),
        (format!("POST {BODY}"), JSON, "", 400),
        (format!("POST {BODY}"), JSON, "{\"id\":1,\"connect\":{}", 400),
        (format!("POST {BODY}"), JSON, r#"{"id":1,"subscribe":{"channel":"a"}}"#, 400),
        (format!("POST {BODY}"), PROTOBUF, connect, 400),
        (format!("POST {BODY}"), JSON, &long, 413),
        (format!("POST {BODY}"), &origin(""), connect, 403),
        ("GET /emulation".to_owned(), "", "", 405),
        ("POST /emulation".to_owned(), "", &post(&session), 415),
        ("POST /emulation".to_owned(), JSON, &post(""), 404),
        ("POST /emulation".to_owned(), JSON, &post("no session"), 404),
        ("POST /emulation".to_owned(), JSON, &post(&session.to_uppercase()), 404),
        ("POST /emulation".to_owned(), JSON, "{}", 404),
        ("POST /emulation".to_owned(), JSON, &post(&session)[1..], 400),
        ("POST /emulation".to_owned(), JSON, "", 400),
        ("POST /emulation".to_owned(), JSON, &long, 413),
        ("POST /emulation".to_owned(), PROTOBUF, "\x12\x01", 400),
        ("POST /emulation".to_owned(), &origin(""), &post(&session), 403),
        ("GET /connection/uni_sse".to_owned(), "", "", 404),
    ] {
        let answer = ask_tcp(&address, &request, fields, body);
        assert_eq!(status(&answer), expected, "{request} {fields} {body:.80}: {answer}");
    }
    // None of these has done anything to the session.
    assert_eq!(posts(&address, &session, r#"{"id":9,"ping":{}}"#), 204);
    assert_eq!(stream.reads()["id"], 9);
}

/// A client that is there is known to others by a name that nobody can post with.
#[test]
fn a_session_is_named_by_its_key_alone() {
    let (_server, address) = server(&["--presence"]);
    let mut websocket = connected(&address, "");
    let (mut stream, session) = opened(&address, BODY, "");
    let subscribe = r#"{"id":2,"subscribe":{"channel":"a"}}"#;
    super::answers(&mut websocket, subscribe, 1);
    assert_eq!(posts(&address, &session, subscribe), 204);
    assert_eq!(stream.reads()["id"], 2);
    let told = super::answers(&mut websocket, r#"{"id":3,"presence":{"channel":"a"}}"#, 1);
    let clients = told[0]["presence"]["presence"].as_object().expect("they are there");
    assert_eq!(clients.len(), 2);
    for client in clients.keys() {
        assert_eq!(posts(&address, client, subscribe), 404);
    }
    assert!(!told[0].to_string().contains(&session));
}

#[test]
fn posts_that_come_at_once_are_all_carried_out_and_what_is_no_command_ends_one_stream() {
    let (_server, address) = server(&[]);
    let (mut bystander, other) = opened(&address, EVENTS, "");
    for wrong in ["{}", "[]", "{\"id\":2", r#"{"id":2,"connect":{}}"#, "\u{0}"] {
        let (mut stream, session) = opened(&address, BODY, "");
        let mut streams: Vec<_> = (10..20)
            .map(|nth| {
                let frame = json!({ "id": nth, "ping": {} }).to_string();
                let body = json!({ "session": session, "data": frame }).to_string();
                let mut stream = dial(&address);
                let len = body.len();
                let head = "POST /emulation HTTP/1.1\r\nHost: localhost\r\nConnection: close";
                let request = format!("{head}\r\n{JSON}Content-Length: {len}\r\n\r\n{body}");
                stream.write_all(request.as_bytes()).expect("the server reads");
                stream
            })
            .collect();
        let mut told: Vec<_> = (10..20).map(|_| stream.reads()["id"].as_u64()).collect();
        told.sort_unstable();
        assert_eq!(told, (10..20).map(Some).collect::<Vec<_>>());
        for stream in &mut streams {
            let head = read_head(stream).expect("it is answered");
            assert!(head.starts_with(b"HTTP/1.1 204 "), "{}", head.escape_ascii());
        }
        assert_eq!(posts(&address, &session, wrong), 204);
        assert_eq!(stream.disconnected(), 3501, "{wrong}");
        assert_eq!(posts(&address, &session, r#"{"id":3,"ping":{}}"#), 404);
    }
    assert_eq!(posts(&address, &other, r#"{"id":9,"ping":{}}"#), 204);
    assert_eq!(bystander.reads()["id"], 9);
}

/// What comes in the same turn as the end comes behind it.
#[test]
fn a_post_behind_the_end_is_not_carried_out() {
    let (server, address) = server(&[]);
    let (mut listener, other) = opened(&address, BODY, "");
    assert_eq!(posts(&address, &other, r#"{"id":2,"subscribe":{"channel":"a"}}"#), 204);
    assert_eq!(listener.reads()["id"], 2);
    let (stream, session) = opened(&address, EVENTS, "");
    let mut streams = [dial(&address), dial(&address)];
    let request = |stream: &mut TcpStream, frame: &str| {
        let body = json!({ "session": session, "data": frame }).to_string();
        let head = format!("POST /emulation HTTP/1.1\r\nHost: localhost\r\n{JSON}");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("the server reads");
    };
    let answered = |stream: &mut TcpStream| {
        let head = read_head(stream).expect("it is answered");
        status(str::from_utf8(&head).expect("it is text"))
    };
    for stream in &mut streams {
        request(stream, "");
        assert_eq!(answered(stream), 204);
    }
    // Both are there when it looks.
    server.signal("STOP");
    request(&mut streams[0], r#"{"id":3,"send":{}}"#);
    request(&mut streams[1], r#"{"id":4,"publish":{"channel":"a","data":"late"}}"#);
    server.signal("CONT");
    assert_eq!(streams.each_mut().map(answered), [204, 404]);
    assert_eq!(stream.disconnected(), 3508);
    ask_tcp(&address, "POST /a", "", "in time");
    assert_eq!(listener.reads()["push"]["pub"]["data"], "in time");
}

#[test]
fn a_stream_whose_client_has_gone_takes_no_posts_and_is_not_there() {
    let (_server, address) = server(&["--presence", "--presence-delay", "0"]);
    let (stream, session) = opened(&address, EVENTS, "");
    assert_eq!(posts(&address, &session, r#"{"id":2,"subscribe":{"channel":"a"}}"#), 204);
    drop(stream);
    while posts(&address, &session, r#"{"id":3,"ping":{}}"#) == 204 {}
    let mut websocket = connected(&address, "");
    let count = r#"{"id":2,"presence_stats":{"channel":"a"}}"#;
    let told = super::answers(&mut websocket, count, 1);
    assert_eq!(told[0]["presence_stats"], json!({}));
}

#[test]
fn a_token_is_asked_of_a_stream_as_of_a_websocket() {
    let secret = File::new("secret", SECRET);
    let (_server, address) = serve(&[
        "--centrifuge",
        "--jwt-secret-file",
        secret.path(),
        "--subject-connections-max",
        "2",
    ]);
    let ada =
        |seconds| token(&json!({ "exp": in_seconds(seconds), "sub": "ada", "subscribe": ["a"] }));
    let own = token(&json!({ "exp": in_seconds(60), "sub": "ada", "channel": "a" }));
    for path in [EVENTS, BODY] {
        let ends = |token: &str| {
            let connect = json!({ "id": 1, "connect": { "token": token } }).to_string();
            Streaming::opens(&address, path, "", &connect).disconnected()
        };
        assert_eq!([ends("x"), ends(""), ends(&own)], [3500, 3501, 3500]);
        let connect = json!({ "id": 1, "connect": { "token": ada(-1) } }).to_string();
        let mut expired = Streaming::opens(&address, path, "", &connect);
        assert_eq!(error(&expired.reads()), (1, 109));
        // In the request's head, too.
        let fields = format!("Authorization: Bearer {}\r\n", ada(60));
        let connect = r#"{"id":1,"connect":{}}"#;
        let mut first = Streaming::opens(&address, path, &fields, connect);
        let session = first.connected();
        let (_second, _) = opened(&address, path, &ada(60));
        assert_eq!(ends(&ada(60)), 3504);
        let subscribe = r#"{"id":2,"subscribe":{"channel":"a"}}"#;
        let wrong = format!("Authorization: Bearer {own}x\r\n");
        assert_eq!(posts_with(&address, &session, subscribe, &wrong), 401);
        assert_eq!(posts_with(&address, &session, subscribe, ""), 204);
        assert_eq!(first.reads(), json!({ "id": 2, "subscribe": {} }));
        let query = format!("POST {BODY}?token={own}");
        assert_eq!(status(&ask_tcp(&address, &query, JSON, connect)), 401);
        drop((first, _second));
        // Their places are free again once their ends are known.
        while posts(&address, &session, "") == 204 {}
    }
}

/// What is published counts for the client that the stream is of, from wherever it is posted.
#[test]
fn posts_are_paced_by_the_address_that_the_stream_comes_from() {
    let (_server, address) = server(&[
        "--publications-per-second",
        "2",
        "--anyone-may-publish",
        "--trust-proxy",
        "127.0.0.1",
        "--client-header",
        "x-forwarded-for",
    ]);
    let from = |nth: u32| format!("X-Forwarded-For: 192.0.2.{nth}\r\n");
    let connect = r#"{"id":1,"connect":{}}"#;
    let mut stream = Streaming::opens(&address, BODY, &from(1), connect);
    let session = stream.connected();
    let mut told = Vec::new();
    for nth in 2..5 {
        let publish = json!({ "id": nth, "publish": { "channel": "a", "data": nth } }).to_string();
        assert_eq!(posts_with(&address, &session, &publish, &from(nth)), 204);
        told.push(error(&stream.reads()).1);
    }
    assert_eq!(told, [0, 0, 111]);
}

#[test]
fn a_page_of_an_origin_that_may_is_told_so() {
    let (_server, address) = server(&["--allow-origin", "https://app.example"]);
    let page = "Origin: https://app.example\r\n";
    let told = "Access-Control-Allow-Origin: https://app.example\r\n";
    for path in [EVENTS, BODY] {
        let mut stream = Streaming::opens(&address, path, page, r#"{"id":1,"connect":{}}"#);
        assert!(stream.head.contains(told), "{}", stream.head);
        let body = json!({ "session": stream.connected(), "data": r#"{"id":2,"ping":{}}"# });
        let fields = format!("{page}{JSON}");
        let answer = ask_tcp(&address, "POST /emulation", &fields, &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains(told), "{answer}");
        assert_eq!(stream.reads()["id"], 2);
    }
    let asks =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n";
    for path in [BODY, "/emulation"] {
        let answer = ask_tcp(&address, &format!("OPTIONS {path}"), &format!("{page}{asks}"), "");
        assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains("Content-Type"), "{answer}");
    }
}

#[test]
fn a_server_that_ends_tells_its_streams_to_come_back() {
    let (server, address) = server(&["--drain-deadline", "10"]);
    let streams = [opened(&address, EVENTS, ""), opened(&address, BODY, "")];
    server.signal("TERM");
    assert_eq!(streams.map(|(stream, _)| stream.disconnected()), [3001; 2]);
}

/// What a client is told directly waits within its limit; beyond, the stream ends, and says so behind what is whole.
#[test]
fn a_stream_that_reads_too_slowly_ends_with_a_code() {
    let files = [File::new("secret", SECRET), File::new("key", KEY.as_bytes())];
    let keys = ["--jwt-secret-file", files[0].path(), "--centrifuge-key-file", files[1].path()];
    let (_server, address) = server(&keys);
    let ada = token(&json!({ "exp": in_seconds(60), "sub": "ada", "subscribe": ["a"] }));
    let (stream, session) = opened(&address, BODY, &ada);
    let channel = "x".repeat(240);
    let [begins, ends] = ["subscribe", "unsubscribe"]
        .map(|method| json!({ method: { "user": "ada", "channel": channel } }).to_string());
    let batch = format!(r#"{{"commands":[{}]}}"#, vec![format!("{begins},{ends}"); 100].join(","));
    let fields = format!("X-API-Key: {KEY}\r\n");
    let mut batches = 0;
    while posts(&address, &session, "") == 204 {
        let answer = ask_tcp(&address, "POST /api/batch", &fields, &batch);
        assert_eq!(status(&answer), 200, "{answer}");
        batches += 1;
        assert!(batches < 1000, "it has not ended");
    }
    let told = rest(stream);
    let pushes = told.lines().count() - 1;
    // The kernel has taken some, and 1 MiB has waited.
    assert!(pushes < 200 * batches && told.len() > 1 << 20, "{pushes} of {batches}");
    let mut lines = told.lines().map(|it| serde_json::from_str::<Value>(it).expect("it is whole"));
    assert!(lines.by_ref().take(pushes).all(|it| it["push"]["channel"] == channel));
    let end = lines.next().expect("it has an end");
    assert_eq!(end, json!({ "push": { "disconnect": { "code": 3008, "reason": "slow" } } }));
}
