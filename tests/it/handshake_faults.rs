//! Everything that can be wrong with an opening handshake (RFC 6455 §4.2.1), one thing at a time and
//! two at a time; and what may look wrong and is not.

use crate::support::dice::Dice;
use crate::support::{Peer, TestServer, burst, config, echo, handshake, text};
use pushloop::{Accept, Event, Hosts, Hub};
use tungstenite::handshake::derive_accept_key;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The parts of a well-formed handshake that a fault may take the place of.
const PARTS: [(&str, &str); 9] = [
    ("method", "GET"),
    ("target", "/chat"),
    ("version", "HTTP/1.1"),
    ("Host", "localhost"),
    ("Upgrade", "websocket"),
    ("Connection", "keep-alive, Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
    // No part of it: further lines.
    ("X", "y"),
];

/// What stands in the place of a part; no text is no line. A text may have further lines in it.
type Change<'a> = (&'a str, Option<&'a str>);

/// A handshake with some of its parts changed.
fn with(changes: &[Change<'_>]) -> String {
    let mut request = String::new();
    for (part, good) in PARTS {
        let change = changes.iter().find(|(changed, _)| *changed == part);
        let text = change.map_or(Some(good), |(_, text)| *text);
        match (part, text) {
            ("method", text) => request += text.unwrap_or_default(),
            ("target", text) => request += &format!(" {} ", text.unwrap_or_default()),
            ("version", text) => request += &format!("{}\r\n", text.unwrap_or_default()),
            (name, Some(text)) => request += &format!("{name}: {text}\r\n"),
            (_, None) => {}
        }
    }
    request + "\r\n"
}

/// The status, the part, and each of the faults that it may have.
#[rustfmt::skip]
const FAULTS: [(u16, &str, &[&str]); 22] = [
    (405, "method", &[
        "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "get", "Get", "GETT", "GE", "PROPFIND",
        "QUERY", "PRI", "MKCOL", "M-SEARCH", "gET", "LINK", "PURGE", "TRACE", "CONNECT",
    ]),
    (400, "method", &["GET\t", "", "G@T", " GET"]),
    (400, "version", &[
        "HTTP/1.0", "HTTP/1.10", "http/1.1", "HTTP/1", "HTTP/1.1 ", "1.1", "", "\tHTTP/1.1",
    ]),
    (505, "version", &["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9"]),
    (400, "target", &[
        "", "/#", "/a#b", "*", "chat", "ws:/chat", "ws://", "ws://user@h/", "mailto://a",
        "server:80", "ws://h:x/", "/a b", "/\t", "/\u{e9}",
    ]),
    (400, "Host", &[
        "", "a\r\nHost: a", "a\r\nhost: b", "u@a", "u:p@a", "a:b", "a:65536", "::1:", "[::1", "a b",
        "http://a", "a/", "a, b",
    ]),
    (426, "Upgrade", &[
        "", "websocket/13", "WebSocket/8, h2c", "websockets", "web socket", "websocket;q=1",
        "\"websocket\"", "h2c", "h2c\r\nUpgrade: TLS/1.0", "websocket h2c", "xwebsocket",
        "webs\u{e9}cket",
    ]),
    (400, "Upgrade", &["web\0socket", "websocket\r\n h2c"]),
    (400, "Connection", &[
        "", "keep-alive", "close", "upgrader", "up grade", "upgrade;x", "\"upgrade\"",
        "keep-alive upgrade", "keep-alive\r\nConnection: close", "Upgrad", "websocket", "up\0grade",
    ]),
    (426, "Sec-WebSocket-Version", &[
        "", "013", "13, 8", "8, 13", "13,", "+13", "13.0", "1 3", "\"13\"", "0x0d",
        "13\r\nSec-WebSocket-Version: 13", "13\r\nSec-WebSocket-Version: 8", "\u{661}\u{663}",
    ]),
    (400, "Sec-WebSocket-Key", &[
        "", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZWE=", "dGhlIHNhbXBsZSBub25jZWFi",
        "dGhlIHNhbXBsZSBub2-jZQ==", "dGhlIHNhbXBsZSBub2_jZQ==", "dGhlIHNhbXBs ZSBub25jZQ==",
        "\"dGhlIHNhbXBsZSBub25jZQ==\"", "dGhlIHNhbXBsZSBub25jZQ==,", "====dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub2\u{e9}jZQ==", "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: x",
        "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]),
    (400, "X", &[
        "y\r\nContent-Length: 5", "y\r\nContent-Length: x",
        "y\r\nContent-Length: 0\r\nContent-Length: 0",
    ]),
    (413, "X", &["y\r\nContent-Length: 9999999"]),
    (417, "X", &["y\r\nExpect: 200-ok", "y\r\nExpect:"]),
    (400, "X", &["y\r\nTransfer-Encoding: chunked"]),
    (501, "X", &["y\r\nTransfer-Encoding: gzip", "y\r\nTransfer-Encoding:"]),
    (400, "X", &[
        "a\0b", "a\r\n b", "a\nY: b", "a\rb", "a\r\n: b", "a\r\nY : b", "a\r\nY", "a\r\nY Z: b",
        "a\x7f",
    ]),
    // A list of different tokens.
    (400, "X", &[
        "y\r\nSec-WebSocket-Protocol:\r\nSec-WebSocket-Protocol: ,", "y\r\nSec-WebSocket-Protocol: ,",
        "y\r\nSec-WebSocket-Protocol: a, a", "y\r\nSec-WebSocket-Protocol: a,b,c,a",
        "y\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a",
        "y\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c, a",
        "y\r\nSec-WebSocket-Protocol: a b", "y\r\nSec-WebSocket-Protocol: a;b",
        "y\r\nSec-WebSocket-Protocol: a/b", "y\r\nSec-WebSocket-Protocol: \"a\"",
        "y\r\nSec-WebSocket-Protocol: \"a, b\"", "y\r\nSec-WebSocket-Protocol: a=b",
        "y\r\nSec-WebSocket-Protocol: (a)", "y\r\nSec-WebSocket-Protocol: a@b",
        "y\r\nSec-WebSocket-Protocol: b\u{fc}cher", "y\r\nSec-WebSocket-Protocol: a, \u{1f600}",
        "y\r\nSec-WebSocket-Protocol: [a]", "y\r\nSec-WebSocket-Protocol: {a}",
        "y\r\nSec-WebSocket-Protocol: a\\b", "y\r\nSec-WebSocket-Protocol: a:b",
        "y\r\nSec-WebSocket-Protocol: <a>", "y\r\nSec-WebSocket-Protocol: a?",
        "y\r\nSec-WebSocket-Protocol: a\tb", "y\r\nSec-WebSocket-Protocol: a\0",
        "y\r\nSec-WebSocket-Protocol: a\r\n b", "y\r\nSec-WebSocket-Protocol: a\x7f",
    ]),
    // Looks like two requests, or like frames.
    (400, "version", &["HTTP/1.1\n", "HTTP/1.1\r", "HTTP/1.1 HTTP/1.1"]),
    (400, "X", &["y\r\nSec-WebSocket-Extensions: =", "y\r\nSec-WebSocket-Extensions: a; b=\""]),
    (421, "Host", &["evil.example", "localhost.evil.example:80"]),
    (403, "X", &["y\r\nOrigin: http://evil.example", "y\r\nOrigin: null"]),
];

/// The parts that cannot be left out, and what is missing then.
const MISSING: [(u16, &str); 5] = [
    (400, "Host"),
    (426, "Upgrade"),
    (400, "Connection"),
    (426, "Sec-WebSocket-Version"),
    (400, "Sec-WebSocket-Key"),
];

fn faults() -> Vec<(u16, Change<'static>)> {
    let missing = MISSING.map(|(status, part)| (status, (part, None)));
    let wrong = FAULTS.iter().flat_map(|(status, part, texts)| {
        texts.iter().map(move |text| (*status, (*part, Some(*text))))
    });
    missing.into_iter().chain(wrong).collect()
}

/// §4.2.1, RFC 9110 §7.8: it gets its status, nothing behind it is answered, and the end comes.
#[track_caller]
fn refused(peer: &mut Peer, request: &str) -> u16 {
    peer.sends_bytes([request.as_bytes(), &burst(&[text("x")])].concat());
    let answer = peer.reads_head();
    assert_ne!(answer.status, 101, "{request:?}");
    let shown = || format!("{request:?} gets {}", answer.head);
    let connection = answer.header("Connection").unwrap_or_default();
    assert!(connection.split(", ").any(|option| option == "close"), "{}", shown());
    // §4.2.2(4), RFC 9110 §15.5.22 and §15.5.6.
    let told = answer.header("Upgrade").zip(answer.header("Sec-WebSocket-Version"));
    assert_eq!(told, (answer.status == 426).then_some(("websocket", "13")), "{}", shown());
    assert_eq!(answer.header("Allow").is_some(), answer.status == 405, "{}", shown());
    // The sentence, but for HEAD, and the end.
    let len = answer.header("Content-Length").map_or(0, |len| len.parse().expect("a number"));
    let bodiless = request.starts_with("HEAD ");
    peer.reads_bytes(if bodiless { 0 } else { len });
    peer.pushes_bytes(handshake("/after-the-end", ""));
    peer.expects_eof();
    answer.status
}

#[test]
fn each_fault_is_refused_and_ends_the_connection() {
    let server = TestServer::echo();
    let faults = faults();
    for (status, change) in &faults {
        let request = with(&[*change]);
        assert_eq!(refused(&mut server.connects(), &request), *status, "{request:?}");
    }
    let counters = server.act(|hub| hub.counters());
    assert!(faults.len() >= 160, "{}", faults.len());
    assert_eq!(counters.handshakes_refused, faults.len() as u64);
    assert_eq!((counters.upgrades, counters.messages_received), (0, 0));
}

/// One fault must not hide another: the answer is that to one of the two.
#[test]
fn two_faults_are_not_one_less() {
    let server = TestServer::echo();
    let faults = faults();
    let mut pairs = 0;
    for (at, (status, change)) in faults.iter().enumerate() {
        for (other_status, other) in &faults[..at] {
            if change.0 == other.0 {
                continue;
            }
            let request = with(&[*change, *other]);
            let got = refused(&mut server.connects(), &request);
            let known = [*status, *other_status].contains(&got);
            assert!(known, "{got} for {request:?}, not {status} or {other_status}");
            pairs += 1;
        }
    }
    let counters = server.act(|hub| hub.counters());
    assert_eq!(pairs, 13_270);
    assert_eq!((counters.handshakes_refused, counters.upgrades), (pairs, 0));
}

/// What is unusual and right.
#[rustfmt::skip]
const FINE: [(&str, &[&str]); 7] = [
    ("target", &[
        "/", "/?", "/a?b=c", "//", "/%00", "/a/../b", "ws://server.example.com/chat", "http://h",
        "wss://other:444/?q", "HTTP://[::1]/",
    ]),
    ("Host", &["a", "a:80", "[::1]", "[::1]:9001", "127.0.0.1:1", "a:", "A.example", "  a\t", "::1", "::1:80"]),
    ("Upgrade", &[
        "websocket", "WebSocket", "WEBSOCKET", "h2c, websocket", "websocket,h2c", ",,websocket,",
        "\twebsocket \t", "h2c\r\nUpgrade: websocket", "websocket\r\nUpgrade: h2c",
        "websocket/13, websocket", "websocket\r\nupgrade: websocket",
    ]),
    ("Connection", &[
        "Upgrade", "upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade, HTTP2-Settings",
        "keep-alive,\tUpgrade\t", ", ,Upgrade,,", "keep-alive\r\nConnection: Upgrade",
        "Upgrade\r\nconnection: keep-alive", "close, upgrade",
    ]),
    ("Sec-WebSocket-Version", &["13", " 13\t"]),
    ("X", &["\u{e9}", "", "y\r\nContent-Length: 0", "y\r\nOrigin: http://localhost:80"]),
    ("X", &["y\r\nSec-WebSocket-Protocol:", "y\r\nOrigin: http://localhost/"]),
];

#[test]
fn what_is_unusual_and_right_is_accepted() {
    let any = TestServer::start(config(|limits| limits.hosts = Hosts::Any), echo);
    for (part, texts) in FINE {
        for text in texts {
            let mut peer = any.connects();
            peer.sends_bytes(with(&[(part, Some(text))]));
            peer.expects_upgrade();
        }
    }
}

/// Of all the versions that the field can name, 13.
#[test]
fn all_versions_but_13_are_told_of_13() {
    let server = TestServer::echo();
    for version in 0..=255 {
        let request = with(&[("Sec-WebSocket-Version", Some(&version.to_string()))]);
        let mut peer = server.connects();
        if version == 13 {
            peer.sends_bytes(request);
            peer.expects_upgrade();
        } else {
            assert_eq!(refused(&mut peer, &request), 426, "{version}");
        }
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The answer to a key, by an implementation of another author, and nothing else.
#[track_caller]
fn accepted(server: &TestServer, key: &str) {
    let mut peer = server.connects();
    peer.sends_bytes(with(&[("Sec-WebSocket-Key", Some(key))]));
    let expected = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    assert_eq!(peer.reads_head().head, expected, "{key}");
}

/// Which bits the padding hides does not matter; how many bytes there are does.
#[test]
fn a_key_is_16_bytes() {
    let server = TestServer::echo();
    for last in BASE64 {
        accepted(&server, &format!("dGhlIHNhbXBsZSBub25jZ{}==", char::from(*last)));
    }
    for len in 0..=64 {
        for padding in ["", "=", "==", "==="] {
            let key = format!("{}{padding}", "A".repeat(len));
            if len == 22 && padding == "==" {
                accepted(&server, &key);
            } else {
                let request = with(&[("Sec-WebSocket-Key", Some(&key))]);
                assert_eq!(refused(&mut server.connects(), &request), 400, "{key}");
            }
        }
    }
}

/// A hundred thousand more are in `tests/exhaustive/handshake.rs`.
#[test]
fn keys_are_answered() {
    let server = TestServer::echo();
    let mut dice = Dice::new(11);
    for _ in 0..1_000 {
        let key: String = (0..22).map(|_| char::from(BASE64[dice.below(64)])).collect();
        accepted(&server, &(key + "=="));
    }
}

/// The lists that are good, what is to be seen of them, and which the server here takes.
#[rustfmt::skip]
const SUBPROTOCOLS: [(&[&str], &str, Option<&str>); 16] = [
    (&[], "", None),
    (&["chat"], "chat", Some("chat")),
    (&["Chat"], "Chat", None),
    (&["CHAT, chat"], "CHAT chat", Some("chat")),
    (&["chat, Chat, CHAT"], "chat Chat CHAT", Some("chat")),
    (&["b, a"], "b a", None),
    (&["b, chat, a"], "b chat a", Some("chat")),
    (&["b", "a, chat"], "b a chat", Some("chat")),
    (&[",b ,\t, chat,"], "b chat", Some("chat")),
    (&["b,chat"], "b chat", Some("chat")),
    (&["chat2"], "chat2", None),
    (&["xchat"], "xchat", None),
    (&["chat.v1, chat"], "chat.v1 chat", Some("chat")),
    (&["v1.json!#$%&'*+-.^_`|~"], "v1.json!#$%&'*+-.^_`|~", None),
    (&["13, 0"], "13 0", None),
    (&["a\t,\tchat"], "a chat", Some("chat")),
];

#[test]
fn a_subprotocol_is_one_that_was_offered_to_the_letter_or_none() {
    let choose = |hub: &mut Hub, event: Event<'_>| {
        let Event::Request { id, request } = event else { return };
        let offered: Vec<&str> = request.subprotocols().collect();
        let offered = offered.join(" ");
        let headers = &[("X-Offered", &*offered)];
        let how = Accept { subprotocol: Some("chat"), headers };
        if hub.accept(id, how).is_err() {
            let how = Accept { subprotocol: None, headers };
            hub.accept(id, how).expect("it needs none");
        }
    };
    let server = TestServer::start(config(|_| ()), choose);
    for (lines, offered, chosen) in SUBPROTOCOLS {
        let lines: String =
            lines.iter().map(|line| format!("Sec-WebSocket-Protocol: {line}\r\n")).collect();
        let mut peer = server.connects();
        peer.sends_bytes(handshake("/", &lines));
        let answer = peer.expects_upgrade();
        assert_eq!(answer.header("X-Offered"), Some(offered));
        assert_eq!(answer.header("Sec-WebSocket-Protocol"), chosen, "{offered}");
    }
}

/// What comes behind the request in the same bytes are frames, wherever the bytes are cut.
#[test]
fn a_handshake_and_its_first_frames_may_be_cut_anywhere() {
    let server = TestServer::echo();
    let frames = [text("first"), text("x".repeat(1_000)), text("")];
    let bytes = [with(&[]).into_bytes(), burst(&frames)].concat();
    assert!(bytes.len() > 1_000);
    for at in 1..bytes.len() {
        let mut peer = server.connects();
        server.takes_from(&mut peer, &bytes[..at]);
        peer.sends_bytes(&bytes[at..]);
        peer.expects_upgrade();
        for frame in &frames {
            peer.expects(frame.clone());
        }
    }
    assert_eq!(server.act(|hub| hub.counters().messages_received), (bytes.len() as u64 - 1) * 3);
}
