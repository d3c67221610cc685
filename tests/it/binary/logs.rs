//! What the server says of its clients: a line for each event, and nothing that is nobody else's business.

use std::{
    io::{Read, Write},
    process::{ChildStderr, Command, Stdio},
};

use serde_json::{Value, json};
use tungstenite::{
    Message, WebSocket,
    client::IntoClientRequest,
    http::header::HeaderValue,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::tokens::{File, SECRET, granting, in_seconds, token};
use super::{PUSHLOOP, ask_tcp};
use crate::support::handshake;
use crate::support::http::{answer_to, dial, read_head};
use crate::support::process::{Process, Stream, connect, read_text};

/// A server, of which standard error is read apart.
struct Speaker {
    server: Process,
    address: String,
    error: ChildStderr,
}

fn serve(arguments: &[&str]) -> Speaker {
    let mut command = Command::new(PUSHLOOP);
    command.args(["--listen", "127.0.0.1:0"]).args(arguments).stderr(Stdio::piped());
    let mut server = Process::of(&mut command);
    let address = server.address("open http://");
    let error = server.child.stderr.take().expect("it is a pipe");
    Speaker { server, address, error }
}

impl Speaker {
    /// All that it says until its end.
    fn ends(mut self) -> String {
        self.server.signal("TERM");
        let mut said = String::new();
        self.error.read_to_string(&mut said).expect("it is text");
        assert!(self.server.ended().success());
        said
    }

    /// The same as objects, without those of the end.
    fn ends_in_json(self) -> Vec<Value> {
        let said = self.ends();
        let objects = said.lines().map(|line| {
            let object: Value =
                serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
            assert!(object["time"].as_u64() > Some(1_700_000_000_000), "{line}");
            object
        });
        objects.filter(|it| it["message"].is_null()).collect()
    }

    fn left_out(&self) -> u64 {
        let metrics = ask_tcp(&self.address, "GET /metrics", "", "");
        let line =
            metrics.lines().find_map(|it| it.strip_prefix("pushloop_log_lines_left_out_total "));
        line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
    }
}

fn with_fields(address: &str, path: &str, fields: &[(&'static str, &str)]) -> WebSocket<Stream> {
    let mut request = format!("ws://{address}{path}").into_client_request().expect("it is a URL");
    for (name, value) in fields {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("it is a value"));
    }
    tungstenite::client(request, Stream(dial(address))).expect("the server upgrades").0
}

fn of_kind<'a>(said: &'a [Value], kind: &str) -> Vec<&'a Value> {
    said.iter().filter(|it| it["kind"] == kind).collect()
}

#[test]
fn a_connection_is_one_line_when_it_is_over() {
    let speaker = serve(&[
        "--log-level",
        "info",
        "--log-format",
        "json",
        "--trust-proxy",
        "127.0.0.0/8",
        "--client-header",
        "x-forwarded-for",
        "--anyone-may-publish",
    ]);
    let address = &speaker.address;
    let of_client = [("x-forwarded-for", "203.0.113.7")];
    let mut chat = with_fields(address, "/chat?last=1", &of_client);
    for text in ["one", "two"] {
        chat.send(Message::text(text)).expect("it is sent");
        assert_eq!(read_text(&mut chat), text);
    }
    ask_tcp(address, "POST /chat", "", "three");
    assert_eq!(read_text(&mut chat), "three");
    let close = CloseFrame { code: CloseCode::Library(4000), reason: "a reason".into() };
    chat.close(Some(close)).expect("it is sent");
    while chat.read().is_ok() {}

    let mut broken = with_fields(address, "/broken", &of_client);
    broken.get_mut().write_all(b"\x81\x00").expect("the server reads");
    while broken.read().is_ok() {}

    let stream = "GET /stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    let mut events = dial(address);
    events.write_all(stream.as_bytes()).expect("the server reads");
    read_head(&mut events).expect("it is answered");
    drop(events);

    let said = speaker.ends_in_json();
    let mut closed = of_kind(&said, "closed");
    closed.sort_by_key(|it| it["path"].to_string());
    let [broken, chat, stream] = &closed[..] else { panic!("{said:?}") };
    assert!(chat["ms"].is_u64() && chat["level"] == "info", "{chat}");
    let without = |line: &Value, more: &[&str]| {
        let mut line = line.clone();
        let object = line.as_object_mut().expect("it is one");
        ["time", "level", "kind", "ms"]
            .iter()
            .chain(more)
            .for_each(|name| _ = object.remove(*name));
        line
    };
    assert_eq!(
        without(chat, &[]),
        json!({ "client": "203.0.113.7", "path": "/chat", "in": 2, "out": 3, "code": 4000, "cause": "peer" })
    );
    assert_eq!(
        without(broken, &[]),
        json!({ "client": "203.0.113.7", "path": "/broken", "in": 0, "out": 0, "code": 1002, "cause": "protocol",
                "why": "client frame is not masked (RFC 6455 §5.1)" })
    );
    // It is told of it as it ends, or when it is ended.
    assert_eq!(
        without(stream, &["cause"]),
        json!({ "client": "127.0.0.1", "path": "/stream", "in": 0, "out": 0 })
    );
}

#[test]
fn a_level_says_what_matters_as_much_and_more() {
    for (level, format, expected) in [
        (&["--log-level", "error"][..], "lines", &[][..]),
        (&[], "lines", &["pushloop: closing, "]),
        (&["--log-level", "warn"], "json", &["\"kind\":\"server\",\"message\":\"closing, "]),
        (
            &["--log-level", "info"],
            "lines",
            &[
                "pushloop: refused client=127.0.0.1 path=\"/t\" status=405",
                "pushloop: closed client=127.0.0.1 path=\"/t\" ms=",
                "pushloop: closing, ",
            ],
        ),
        (
            &["--log-level", "debug"],
            "json",
            &[
                "\"kind\":\"refused\"",
                "\"kind\":\"opened\"",
                "\"kind\":\"closed\"",
                "\"kind\":\"server\"",
            ],
        ),
    ] {
        let speaker = serve(&[level, &["--log-format", format]].concat());
        ask_tcp(&speaker.address, "PUT /t", "", "");
        let mut t = connect(&speaker.address, "/t");
        t.close(None).expect("it is sent");
        while t.read().is_ok() {}
        let said = speaker.ends();
        assert_eq!(said.lines().count(), expected.len(), "{said}");
        for (line, part) in said.lines().zip(expected) {
            assert!(line.contains(part), "{line} has not {part}");
        }
    }
}

/// In whatever way it comes, and whatever becomes of it.
#[test]
fn no_token_and_nothing_that_is_sent_is_in_a_line() {
    let secret = File::new("secret", SECRET);
    let speaker = serve(&[
        "--log-level",
        "debug",
        "--log-format",
        "json",
        "--log-lines-per-second",
        "1000",
        "--jwt-secret-file",
        secret.path(),
        "--token-cookie",
        "session",
    ]);
    let address = &speaker.address;
    let good = granting(&["t", "$stats"], &["t"]);
    let expired = token(&json!({ "exp": in_seconds(-9), "subscribe": ["t"], "publish": ["t"] }));
    let forged = format!("{good}x");
    let mut asked = 0;
    for token in [&good, &expired, &forged] {
        for (query, fields) in [
            (format!("?token={token}&x=mine"), String::new()),
            ("?x=mine".to_owned(), format!("Authorization: Bearer {token}\r\n")),
            ("?topic=mine".to_owned(), format!("Cookie: a=mine; session={token}\r\n")),
            ("?x=mine".to_owned(), format!("Sec-WebSocket-Protocol: bearer, {token}\r\n")),
            // More than one, and a request that is broken.
            (format!("?token={token}"), format!("Authorization: Bearer {token}\r\n")),
            (format!("?token={token}"), format!("Cookie: session={token}\r\n: mine\r\n")),
        ] {
            for path in ["/t", "/", "/private-a", "/$operator"] {
                let mut stream = dial(address);
                let head = handshake(&format!("{path}{query}"), &fields);
                stream.write_all(head.as_bytes()).expect("the server reads");
                read_head(&mut stream).expect("the server answers");
                let body = "{\"topic\":\"t\",\"mine\":\"mine\"}";
                for more in ["", "Content-Type: application/x-ndjson\r\n", "If-Match: mine\r\n"] {
                    ask_tcp(
                        address,
                        &format!("POST {path}{query}"),
                        &format!("{fields}{more}"),
                        body,
                    );
                }
                asked += 4;
            }
        }
    }
    let bearer = format!("Bearer {good}");
    let mut t = with_fields(address, "/t?x=mine", &[("authorization", &*bearer)]);
    t.send(Message::text("mine")).expect("it is sent");
    assert_eq!(read_text(&mut t), "mine");
    let close = CloseFrame { code: CloseCode::Normal, reason: "mine".into() };
    t.close(Some(close)).expect("it is sent");
    while t.read().is_ok() {}

    let said = speaker.ends_in_json();
    assert!(of_kind(&said, "refused").len() > asked / 2, "{said:?}");
    assert!(!of_kind(&said, "opened").is_empty() && !of_kind(&said, "closed").is_empty());
    for line in said.iter().map(Value::to_string) {
        for secret in [&good, &expired, &forged].iter().flat_map(|token| token.split('.')) {
            assert!(!line.contains(&secret[..secret.len().min(16)]), "{line}");
        }
        for word in ["mine", "bearer", "Bearer", "session"] {
            assert!(!line.contains(word), "{line} has {word}");
        }
    }
}

#[test]
fn whatever_a_path_has_an_event_is_one_line() {
    let paths = [
        "/\"},{\"a\":\"",
        "/a\\",
        "/%0a%0d%22%00",
        "/é\u{85}\u{2028}\u{202e}x",
        "/'\"\"'",
        "/{}[]",
    ];
    for format in ["json", "lines"] {
        let proxy = ["--trust-proxy", "127.0.0.0/8", "--client-header", "x-forwarded-for"];
        let speaker = serve(
            &[&["--log-level", "info", "--log-format", format, "--anyone-may-publish"], &proxy[..]]
                .concat(),
        );
        for path in paths {
            let fields = format!("X-Forwarded-For: {}\r\nConnection: close", &path[1..]);
            let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
            let answer = answer_to(dial(&speaker.address), &head);
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        let said = speaker.ends();
        let lines: Vec<_> = said.split_inclusive('\n').collect();
        assert_eq!(lines.len(), paths.len() + 1, "{said}");
        assert!(!said.contains(['\r', '\u{85}', '\u{2028}', '\u{202e}']), "{said:?}");
        if format == "json" {
            let objects =
                said.lines().map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
            let refused = objects.filter(|it| it["kind"] == "refused");
            for (object, path) in refused.zip(paths) {
                assert!(object["path"] == path || object["path"].is_null(), "{object} {path}");
            }
        }
    }
}

/// Each one is told, or counted as left out.
#[test]
fn of_a_flood_so_many_lines_are_said_and_how_many_are_left_out() {
    let flags = ["--log-level", "info", "--log-format", "json", "--log-lines-per-second", "5"];
    let speaker = serve(&flags);
    for _ in 0..200 {
        ask_tcp(&speaker.address, "PUT /t", "", "");
    }
    let counted = speaker.left_out();
    let said = speaker.ends_in_json();
    let left_out = of_kind(&said, "left_out");
    assert!(!left_out.is_empty() && left_out.iter().all(|it| it["level"] == "warn"), "{said:?}");
    let left_out: u64 = left_out.iter().filter_map(|it| it["refused"].as_u64()).sum();
    assert_eq!((of_kind(&said, "refused").len() as u64 + left_out, counted), (200, left_out));
    assert!(left_out > 0, "{said:?}");
}

#[test]
fn nobody_waits_for_one_who_does_not_read_what_is_said() {
    let flags =
        ["--log-level", "info", "--log-format", "json", "--log-lines-per-second", "1000000"];
    let line = format!("PUT /{}", "x".repeat(1000));
    for reads_at_last in [true, false] {
        let mut speaker = serve(&flags);
        // What is being written, what waits, and the pipe have room for some 2,200.
        let mut asked = 0;
        while asked < 10_000 && (asked % 100 != 0 || speaker.left_out() == 0) {
            let answer = ask_tcp(&speaker.address, &line, "", "");
            assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
            asked += 1;
        }
        let counted = speaker.left_out();
        assert!(counted > 0, "{asked} are said and nobody reads");
        let mut t = connect(&speaker.address, "/t");
        t.send(Message::text("it goes on")).expect("it is sent");
        assert_eq!(read_text(&mut t), "it goes on");
        drop(t);
        if reads_at_last {
            let said = speaker.ends_in_json();
            let left_out = of_kind(&said, "left_out");
            let left_out: u64 = left_out.iter().filter_map(|it| it["refused"].as_u64()).sum();
            assert_eq!(of_kind(&said, "refused").len() as u64 + left_out, asked);
        } else {
            speaker.server.signal("TERM");
            assert!(speaker.server.ended().success());
        }
    }
}
