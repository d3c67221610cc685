//! Every way in: no way leads around another.

use std::{io::Write, net::TcpStream};

use serde_json::json;
use tungstenite::Message;

use super::{
    PUBLISH_KEY, bearer, connect_as, granting, guarded, handshake_status, in_seconds, status,
    stream_status, token,
};
use crate::binary::{ask_tcp, config::Scratch};
use crate::support::http::{dial, read_head};
use crate::support::process::{read_close, read_text};

/// What becomes of a subscription, by every way to have one; they say the same.
#[track_caller]
fn subscribes(address: &str, name: &str, credential: &str) -> u16 {
    let fields = bearer(credential);
    let encoded = name.replace('$', "%24").replace('-', "%2D");
    let mut verdicts = Vec::new();
    for path in [
        format!("/{name}"),
        format!("/{encoded}"),
        format!("/?topic={name}"),
        format!("/{name}?last=1"),
        format!("/{name},{encoded}?envelope=json"),
    ] {
        verdicts.push(handshake_status(address, &path, &fields));
        verdicts.push(stream_status(address, &path, &fields));
    }
    let after = format!("{fields}Last-Event-ID: 1-1\r\n");
    verdicts.push(stream_status(address, &format!("/{name}"), &after));
    if let Some(topic) = name.strip_prefix("$presence/") {
        let asks = ask_tcp(address, &format!("GET /{topic}?presence"), &fields, "");
        verdicts.push(status(&asks));
        let asks = ask_tcp(address, &format!("HEAD /?topic={topic}&presence=count"), &fields, "");
        verdicts.push(status(&asks));
    }
    if name == "$stats" {
        verdicts.push(status(&ask_tcp(address, "GET /metrics", &fields, "")));
    }
    assert!(verdicts.iter().all(|it| *it == verdicts[0]), "{name}: {verdicts:?}");
    verdicts[0]
}

/// The same of a publication.
#[track_caller]
pub fn publishes(address: &str, name: &str, credential: &str) -> u16 {
    let fields = bearer(credential);
    let post = |path: &str| status(&ask_tcp(address, &format!("POST {path}"), &fields, "x"));
    let lines = format!("{fields}Content-Type: application/x-ndjson\r\n");
    let line = json!({ "topic": name, "data": "x" }).to_string();
    let verdicts = [
        post(&format!("/{name}")),
        post(&format!("/?topic={name}")),
        post(&format!("/{name},{name}")),
        status(&ask_tcp(address, "POST /", &lines, &line)),
        uploads(address, name, &fields),
    ];
    assert!(verdicts.iter().all(|it| *it == verdicts[0]), "{name}: {verdicts:?}");
    verdicts[0]
}

/// The same of one that waits until its body is asked for: what may not be is refused before it comes.
#[track_caller]
fn uploads(address: &str, name: &str, fields: &str) -> u16 {
    let mut stream = dial(address);
    let head = format!(
        "POST /{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\
         {fields}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the server reads");
    let next = |stream: &mut TcpStream| {
        let head = read_head(stream).expect("the server answers");
        status(&String::from_utf8_lossy(&head))
    };
    let first = next(&mut stream);
    if first != 100 {
        return first;
    }
    stream.write_all(b"x").expect("the server reads");
    assert_eq!(next(&mut stream), 200, "{name} was asked for");
    200
}

/// For every kind of name, and everybody who may come.
#[test]
fn every_door_asks_the_same_question() {
    const NAMES: [&str; 6] =
        ["open", "chat/1", "private-a", "presence-a", "$stats", "$presence/open"];
    let some = granting(&["*", "private-a", "$stats"], &["chat/*", "presence-*", "$*"]);
    let none = granting(&[], &[]);
    let expired = token(&json!({ "exp": in_seconds(-1), "subscribe": ["*"], "publish": ["*"] }));
    let forged = some.clone() + "A";
    for (anyone, who, credential, subscribe, publish) in [
        (false, "nobody", "", [401; 6], [401; 6]),
        (false, "key", PUBLISH_KEY, [403; 6], [200, 200, 200, 200, 403, 403]),
        (false, "some", &*some, [200, 200, 200, 403, 200, 403], [403, 200, 403, 200, 403, 403]),
        (false, "none", &*none, [403; 6], [403; 6]),
        (false, "expired", &*expired, [401; 6], [401; 6]),
        (false, "forged", &*forged, [401; 6], [401; 6]),
        (true, "nobody", "", [200, 200, 401, 401, 401, 401], [401; 6]),
        (true, "key", PUBLISH_KEY, [200, 200, 403, 403, 403, 403], [200, 200, 200, 200, 403, 403]),
        (true, "some", &*some, [200, 200, 200, 403, 200, 403], [403, 200, 403, 200, 403, 403]),
        (true, "none", &*none, [200, 200, 403, 403, 403, 403], [403; 6]),
        (true, "expired", &*expired, [401; 6], [401; 6]),
    ] {
        let more: &[&str] = if anyone { &["--anyone-may-subscribe"] } else { &[] };
        let (_server, address, _files) =
            guarded(&[&["--presence", "--history", "10"], more].concat());
        for ((name, subscribe), publish) in NAMES.iter().zip(subscribe).zip(publish) {
            assert_eq!(subscribes(&address, name, credential), subscribe, "{anyone} {who} {name}");
            assert_eq!(publishes(&address, name, credential), publish, "{anyone} {who} {name}");
            if subscribe != 200 {
                continue;
            }
            // What a WebSocket sends is published, or ends it.
            let mut socket = connect_as(&address, &format!("/{name}"), credential);
            socket.send(Message::text("mine")).expect("it is sent");
            if publish == 200 {
                assert_eq!(read_text(&mut socket), "mine", "{who} {name}");
            } else {
                assert_eq!(read_close(&mut socket), 1008, "{who} {name}");
            }
        }
    }
}

/// Of topics that a prefix has open to anyone, and of no others; the longest prefix of a name counts.
#[test]
fn anyone_publishes_where_that_is_open() {
    let text = "[[topics]]\nprefix = 'wall/'\nanyone-may-publish = true\n\
                [[topics]]\nprefix = 'wall/ours/'\nhistory = 1\n\
                [[topics]]\nprefix = 'p'\nanyone-may-publish = true\n";
    let config = Scratch::with("open.toml", text.as_bytes());
    let (_server, address, _files) = guarded(&["--config", &config.0]);
    let reads = granting(&["*"], &[]);
    let forged = reads.clone() + "A";
    for (credential, expected) in [
        ("", [200, 401, 401, 401, 401, 401]),
        (&*reads, [200, 403, 403, 403, 403, 403]),
        // What is not good is not nothing.
        (&*forged, [401; 6]),
    ] {
        let names = ["wall/a", "wall/ours/a", "wal", "private-a", "presence-a", "$presence/wall/a"];
        for (name, expected) in names.iter().zip(expected) {
            assert_eq!(publishes(&address, name, credential), expected, "{credential} {name}");
        }
    }
    assert_eq!(status(&ask_tcp(&address, "POST /wall/a,wal", "", "x")), 401);
    assert_eq!(subscribes(&address, "wall/a", ""), 401);
    for (name, is_open) in [("wall/a", true), ("wall/ours/a", false)] {
        let mut socket = connect_as(&address, &format!("/{name}"), &reads);
        socket.send(Message::text("mine")).expect("it is sent");
        match is_open {
            true => assert_eq!(read_text(&mut socket), "mine"),
            false => assert_eq!(read_close(&mut socket), 1008),
        }
    }
}

/// One topic that may not be read is enough: nothing of a list is subscribed or published to.
#[test]
fn a_list_is_all_or_nothing() {
    let (_server, address, _files) = guarded(&[]);
    let fields = bearer(&granting(&["a", "b"], &["a", "b"]));
    let mut a = connect_as(&address, "/a", &granting(&["a"], &[]));
    for (path, expected) in
        [("/a,b", 200), ("/a,c", 403), ("/c,a", 403), ("/?topic=a&topic=c", 403)]
    {
        assert_eq!(handshake_status(&address, path, &fields), expected, "{path}");
        assert_eq!(stream_status(&address, path, &fields), expected, "{path}");
        let answer = ask_tcp(&address, &format!("POST {path}"), &fields, path);
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(expected == 200 || answer.ends_with("does not cover this topic: c"), "{answer}");
    }
    // Of a batch, the lines before are published.
    let lines = format!("{fields}Content-Type: application/x-ndjson\r\n");
    let body = r#"{"topic":"a","data":"1"}
                  {"topic":"c","data":"2"}
                  {"topic":"a","data":"3"}"#;
    let answer = ask_tcp(&address, "POST /", &lines, body);
    assert!(status(&answer) == 403 && answer.contains("\"line\":2"), "{answer}");
    ask_tcp(&address, "POST /a", &bearer(PUBLISH_KEY), "end");
    assert_eq!([(); 3].map(|()| read_text(&mut a)), ["/a,b", "1", "end"]);
}
