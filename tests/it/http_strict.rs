//! Requests that two readers could take for different things (RFC 9112 §2.2, §5, §6, §11.2): a head is
//! well-formed to the byte or refused, and a refused one is the last on its connection.

use crate::support::{Peer, TestServer, config, get};
use pushloop::{Event, Hosts, Hub, Response};

const CLOSES: &[u16] = &[400, 405, 413, 417, 431, 501, 505];

/// Says what it was asked, and takes no name amiss.
fn site() -> TestServer {
    TestServer::start(config(|limits| limits.hosts = Hosts::Any), found)
}

fn found(hub: &mut Hub, event: Event<'_>) {
    if let Event::Request { id, request } = event {
        let body = String::from_utf8_lossy(request.body());
        let page = format!("{} {} [{body}]", request.method(), request.path());
        hub.respond(id, Response::text(200, page)).expect("the request waits");
    }
}

/// What the application was asked so far.
fn asked(server: &TestServer) -> u64 {
    server.act(|hub| hub.counters().requests)
}

/// The connection takes another request.
#[track_caller]
fn stays(peer: &mut Peer) {
    peer.sends_bytes(get("/still-here"));
    assert_eq!(peer.expects_answer(200).body, "GET /still-here []");
}

// What other servers are held to.

/// What becomes of the bytes of a case.
enum Becomes {
    /// More has to come, and with it the request is a good one.
    Begun,
    Refused(u16),
    Found(&'static str),
}

/// The cases of h1spec, the suite for HTTP/1.1 servers. It would have two of them served that are
/// refused here, and the standard leaves both to the server: an expectation (RFC 9110 §10.1.1) and a
/// transfer coding (RFC 9112 §6.1).
const H1SPEC: [(&str, Becomes); 33] = [
    ("G", Becomes::Begun),
    ("GET ", Becomes::Begun),
    ("GET /hello", Becomes::Begun),
    ("GET /hello ", Becomes::Begun),
    ("GET /hello HTTP", Becomes::Begun),
    ("GET /hello HTTP/1.1", Becomes::Begun),
    ("GET /hello HTTP/1.1\r", Becomes::Begun),
    ("GET /hello HTTP/1.1\r\n", Becomes::Begun),
    ("GET /hello HTTP/1.1\r\nHos", Becomes::Begun),
    ("GET /hello HTTP/1.1\r\nHost:", Becomes::Begun),
    ("GET /hello HTTP/1.1\r\nHost: ", Becomes::Begun),
    ("GET /hello HTTP/1.1\r\nHost: localhost", Becomes::Begun),
    ("GET /hello HTTP/1.1\r\nHost: localhost\r", Becomes::Begun),
    ("GET /hello HTTP/1.1\r\nHost: localhost\r\n", Becomes::Begun),
    ("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r", Becomes::Begun),
    ("GET / \r\n\r\n", Becomes::Refused(400)),
    (
        "GET / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\n\r\n",
        Becomes::Found("GET / []"),
    ),
    ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Becomes::Found("GET / []")),
    ("GET / HTTP/1.1\r\nhoSt:\ta.example\r\nempty:\r\n\r\n", Becomes::Found("GET / []")),
    ("GET / HTTP/1.1\r\nHost: a.example\r\nX-Invalid[]: x\r\n\r\n", Becomes::Refused(400)),
    ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Becomes::Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", Becomes::Refused(400)),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -123456789123456789123456789\r\n\r\n",
        Becomes::Refused(400),
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1234\r\n\r\n", Becomes::Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n", Becomes::Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-Empty: \r\n\r\n", Becomes::Found("GET / []")),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-Bell: test\x07\r\n\r\n", Becomes::Refused(400)),
    ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", Becomes::Refused(505)),
    ("Extra lineGET / HTTP/1.1\r\nHost: a\r\n\r\n", Becomes::Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\n\rSome-Header: x\r\n\r\n", Becomes::Refused(400)),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        Becomes::Found("POST / [hello]"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         c\r\nHellO world1\r\n0\r\n\r\n",
        Becomes::Found("POST / [HellO world1]"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\n\
         c\r\nHellO world1\r\n0\r\n\r\n",
        Becomes::Refused(400),
    ),
];

#[test]
fn the_cases_of_h1spec() {
    let server = site();
    let whole = get("/hello");
    for (bytes, becomes) in &H1SPEC {
        let mut peer = server.connects();
        match becomes {
            Becomes::Begun => {
                let before = server.act(|hub| hub.counters());
                server.takes_from(&mut peer, bytes.as_bytes());
                let after = server.act(|hub| hub.counters());
                assert_eq!(after.requests, before.requests, "{bytes:?}");
                assert_eq!(after.handshakes_refused, before.handshakes_refused, "{bytes:?}");
                peer.sends_bytes(whole.strip_prefix(bytes).expect("it is the beginning"));
                assert_eq!(peer.expects_answer(200).body, "GET /hello []");
            }
            Becomes::Refused(status) => {
                peer.sends_bytes(bytes);
                peer.expects_refusal(*status);
            }
            Becomes::Found(page) => {
                peer.sends_bytes(bytes);
                assert_eq!(peer.expects_answer(200).body, *page);
                stays(&mut peer);
            }
        }
    }
}

// Where a request ends.

/// Header lines whose reader may think that a body ends here or there, and what they get.
#[rustfmt::skip]
const AMBIGUOUS: [(u16, &str); 62] = [
    // CL.TE and TE.CL.
    (400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    (400, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    (400, "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
    (400, "Content-Length: 5\r\nTransfer-Encoding: identity\r\n"),
    (400, "Content-Length: 5\r\nTransfer-Encoding:\r\n"),
    (400, "Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n"),
    (400, "Transfer-Encoding: chunked\r\nContent-Length: x\r\n"),
    // TE.TE: one of the two does not see it.
    (501, "Transfer-Encoding: xchunked\r\n"),
    (501, "Transfer-Encoding: chunk\r\n"),
    (501, "Transfer-Encoding: chunked, identity\r\n"),
    (501, "Transfer-Encoding: identity, chunked\r\n"),
    (501, "Transfer-Encoding: chunked, chunked\r\n"),
    (501, "Transfer-Encoding: gzip, chunked\r\n"),
    (501, "Transfer-Encoding: ,chunked\r\n"),
    (501, "Transfer-Encoding: chunked,\r\n"),
    (501, "Transfer-Encoding: chunked;x=1\r\n"),
    (501, "Transfer-Encoding: \"chunked\"\r\n"),
    (501, "Transfer-Encoding: 'chunked'\r\n"),
    (501, "Transfer-Encoding: chun\tked\r\n"),
    (501, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    (501, "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
    (501, "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"),
    (501, "Transfer-Encoding: \u{ff}chunked\r\n"),
    (400, "Transfer-Encoding : chunked\r\n"),
    (400, "Transfer-Encoding\t: chunked\r\n"),
    (400, " Transfer-Encoding: chunked\r\n"),
    (400, "\tTransfer-Encoding: chunked\r\n"),
    (400, "X: y\r\n Transfer-Encoding: chunked\r\n"),
    (400, "Transfer-Encoding:\r\n chunked\r\n"),
    (400, "Transfer-Encoding: \u{b}chunked\r\n"),
    (400, "Transfer-Encoding\u{b}: chunked\r\n"),
    (400, "Transfer-Encoding: chunked\0\r\n"),
    (400, "Transfer-Encoding\0: chunked\r\n"),
    (400, "\0Transfer-Encoding: chunked\r\n"),
    (400, "Transfer-\u{e9}ncoding: chunked\r\n"),
    (400, "Transfer-Encoding;: chunked\r\n"),
    (400, "Transfer-Encoding chunked\r\n"),
    (400, "X: y\nTransfer-Encoding: chunked\r\n"),
    (400, "X: y\rTransfer-Encoding: chunked\r\n"),
    (400, "Transfer-Encoding: chunked\n"),
    (400, "\rTransfer-Encoding: chunked\r\n"),
    (400, ": chunked\r\n"),
    // CL.CL.
    (400, "Content-Length: 5\r\nContent-Length: 5\r\n"),
    (400, "Content-Length: 5\r\ncontent-length: 6\r\n"),
    (400, "Content-Length: 0\r\nX: y\r\nContent-Length: 5\r\n"),
    (400, "Content-Length: 5, 5\r\n"),
    (400, "Content-Length: 5,6\r\n"),
    (400, "Content-Length: +5\r\n"),
    (400, "Content-Length: -5\r\n"),
    (400, "Content-Length: 0x5\r\n"),
    (400, "Content-Length: 5 5\r\n"),
    (400, "Content-Length: 5.0\r\n"),
    (400, "Content-Length: 5;x\r\n"),
    (400, "Content-Length: \"5\"\r\n"),
    (400, "Content-Length: 5\0\r\n"),
    (400, "Content-Length: 5\u{b}\r\n"),
    (400, "Content-Length:\r\n"),
    (400, "Content-Length: 5\r\n 6\r\n"),
    (400, "Content-Length : 5\r\n"),
    (400, "Content-Length: 5\nContent-Length: 6\r\n"),
    (413, "Content-Length: 18446744073709551621\r\n"),
    (400, "Content-Length: -18446744073709551611\r\n"),
];

/// Bodies that end early, and have a request behind their end, for one of the readers.
const BODIES: [&str; 2] = [
    "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    "2b\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n\r\n0\r\n\r\n",
];

fn ambiguous(version: &str, lines: &str, body: &str) -> String {
    format!("POST /t {version}\r\nHost: a\r\n{lines}\r\n{body}")
}

#[test]
fn an_ambiguous_request_is_refused_with_all_that_follows_it() {
    let server = site();
    for (status, lines) in AMBIGUOUS {
        for body in BODIES {
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let mut peer = server.connects();
                peer.sends_bytes(ambiguous(version, lines, body));
                let unknown = status == 501 && version == "HTTP/1.0";
                peer.expects_refusal(if unknown { 400 } else { status });
            }
        }
        let mut peer = server.connects();
        for byte in ambiguous("HTTP/1.1", lines, BODIES[0]).as_bytes() {
            peer.pushes_bytes([*byte]);
        }
        peer.expects_refusal(status);
    }
    assert_eq!(asked(&server), 0);
    assert_eq!(server.handle().counters().handshakes_refused, AMBIGUOUS.len() as u64 * 5);
}

#[test]
fn an_ambiguous_request_is_refused_wherever_it_is_cut() {
    let server = site();
    let mut cuts = 0;
    for (status, lines) in AMBIGUOUS {
        let request = ambiguous("HTTP/1.1", lines, BODIES[0]);
        for at in 1..request.len() {
            let mut peer = server.connects();
            server.takes_from(&mut peer, &request.as_bytes()[..at]);
            peer.pushes_bytes(&request.as_bytes()[at..]);
            peer.expects_refusal(status);
            cuts += 1;
        }
    }
    assert_eq!(asked(&server), 0);
    assert!(cuts > 6_000, "{cuts}");
}

/// The same bodies where nothing is ambiguous: the table above would pass a server that refuses
/// everything.
#[test]
fn a_body_is_as_long_as_its_length_says() {
    let server = site();
    let [body, _] = BODIES;
    for (lines, answers) in [
        (format!("Content-Length: {}\r\n", body.len()), &[body][..]),
        (format!("Content-Length: 00{}\r\n", body.len()), &[body]),
        (format!("content-length:\t{} \r\n", body.len()), &[body]),
        (format!("Transfer_Encoding: chunked\r\nContent-Length: {}\r\n", body.len()), &[body]),
        (format!("X: chunked\r\nTE: trailers\r\nContent-Length: {}\r\n", body.len()), &[body]),
        ("Content-Length: 5\r\n".into(), &["0\r\n\r\n", "/smuggled"]),
    ] {
        let mut peer = server.connects();
        peer.sends_bytes(ambiguous("HTTP/1.1", &lines, body));
        assert_eq!(peer.expects_answer(200).body, format!("POST /t [{}]", answers[0]));
        if let Some(path) = answers.get(1) {
            assert_eq!(peer.expects_answer(200).body, format!("GET {path} []"));
        }
        stays(&mut peer);
    }
    // Without a length there is no body: what follows is a request, and no good one.
    let mut peer = server.connects();
    peer.sends_bytes(ambiguous("HTTP/1.1", "", body));
    assert_eq!(peer.expects_answer(200).body, "POST /t []");
    peer.expects_refusal(400);
}

// Every byte at each position of the grammar.

fn tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn in_target(byte: u8) -> bool {
    (b'!'..=b'~').contains(&byte) && !b"\"#<>".contains(&byte)
}

fn in_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

/// A position: what stands before the byte and after it, and which bytes may be there.
type Position = (&'static str, &'static str, fn(u8) -> bool);

const POSITIONS: [Position; 16] = [
    ("", "ET / HTTP/1.1\r\nHost: a\r\n\r\n", tchar),
    ("GE", "T / HTTP/1.1\r\nHost: a\r\n\r\n", tchar),
    ("GET", "/ HTTP/1.1\r\nHost: a\r\n\r\n", |byte| byte == b' '),
    ("GET ", "a HTTP/1.1\r\nHost: a\r\n\r\n", |byte| byte == b'/'),
    ("GET /a", "b HTTP/1.1\r\nHost: a\r\n\r\n", in_target),
    ("GET /?a", "b HTTP/1.1\r\nHost: a\r\n\r\n", in_target),
    ("GET /", "HTTP/1.1\r\nHost: a\r\n\r\n", |byte| byte == b' '),
    ("GET / HTTP/1.", "\r\nHost: a\r\n\r\n", |byte| byte == b'1' || byte == b'0'),
    ("GET / HTTP/1.1", "\nHost: a\r\n\r\n", |byte| byte == b'\r'),
    ("GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n\r\n", tchar),
    ("GET / HTTP/1.1\r\nHost: a\r\nX", ": y\r\n\r\n", |byte| tchar(byte) || byte == b':'),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y", "z\r\n\r\n", in_value),
    ("GET / HTTP/1.1\r\nHost: a\r\nX:", "\r\n\r\n", in_value),
    ("GET / HTTP/1.1\r\nHost: a", "zz\r\n\r\n", |byte| {
        byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
    }),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0", "\r\n\r\n", |byte| b"0 \t".contains(&byte)),
    ("GET / HTTP/1.1\r\nHost: a\r\n\r", "", |byte| byte == b'\n'),
];

#[test]
fn every_byte_at_each_position_of_the_grammar() {
    let limits = config(|limits| (limits.hosts, limits.body_bytes_max) = (Hosts::Any, 0));
    let server = TestServer::start(limits, found);
    let mut accepted = 0;
    for (before, after, allowed) in POSITIONS {
        for byte in 0..=u8::MAX {
            let head = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let shown = head.escape_ascii();
            let mut peer = server.connects();
            peer.sends_bytes(&head);
            peer.sends_bytes(get("/still-here"));
            let status = peer.expects_status();
            if allowed(byte) {
                accepted += 1;
                assert_eq!(status, 200, "{shown}");
            } else {
                assert!(CLOSES.contains(&status), "{status} for {shown}");
            }
            // RFC 9112 §9.3: nothing after a refusal, nor after HTTP/1.0.
            if allowed(byte) && !head.windows(8).any(|version| version == b"HTTP/1.0") {
                assert_eq!(peer.expects_answer(200).body, "GET /still-here []", "{shown}");
            } else {
                peer.expects_eof();
            }
        }
    }
    // 77 characters of a token or of a host, 90 of a target, 224 of a value.
    assert_eq!(accepted, 4 * 77 + 1 + 2 * 90 + 2 * 224 + 77 + 5 + 2 + 3);
}

// Long heads.

#[test]
fn a_head_in_single_bytes_is_read_once() {
    let server = site();
    let mut peer = server.connects();
    let head = get("/hello").replace("\r\n\r\n", "\r\nX: ");
    let head = format!("{head}{}\r\n\r\n", "y".repeat(8192 - 4 - head.len()));
    assert_eq!(head.len(), 8192);
    for byte in head.as_bytes() {
        peer.sends_bytes([*byte]);
    }
    assert_eq!(peer.expects_answer(200).body, "GET /hello []");
    stays(&mut peer);
}

#[test]
fn too_much_is_refused_for_what_is_there() {
    let server = site();
    let head = get("/").replace("\r\n\r\n", "\r\n");
    // 2,000 lines within 8 KiB; ten megabytes in one line; and no line at all.
    let lines = format!("{head}{}", "X:\r\n".repeat(2_000));
    assert!(lines.len() < 8192);
    let line = format!("{head}X: {}", "y".repeat(10 << 20));
    let target = format!("GET /{}", "y".repeat(10 << 20));
    let blank = "\r\n".repeat(5 << 20);
    for (bytes, names) in [
        (format!("{lines}\r\n"), "headers_max"),
        (line, "head_bytes_max"),
        (target, "head_bytes_max"),
        (blank, "head_bytes_max"),
    ] {
        let refused = server.handle().counters().handshakes_refused;
        let mut peer = server.connects();
        let (first, rest) = bytes.split_at(bytes.len().min(8192));
        server.takes_from(&mut peer, first.as_bytes());
        let counters = server.act(|hub| hub.counters());
        assert_eq!(counters.handshakes_refused, refused + 1, "{names}");
        let answer = peer.expects_answer(431);
        assert!(answer.body.contains(names), "{}", answer.body);
        // More than `linger_bytes_max` of it is not read either. The FIN comes before that, and what
        // is still on its way then must not be counted as the next one's.
        peer.pushes_bytes(rest);
        peer.expects_end();
        server.until(|hub| hub.connection_count() == 0);
    }
    assert_eq!(asked(&server), 0);
}

// Methods and expectations that make a server say more than one answer.

#[test]
fn methods_and_expectations_have_one_answer_each() {
    let server = site();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let len = format!("Content-Length: {}\r\n", smuggled.len());
    let expect = "Expect: 100-continue\r\n";
    for (line, fields, body, status) in [
        ("POST / HTTP/1.1", &*format!("Expect: 200-ok\r\n{len}"), smuggled, 417),
        ("POST / HTTP/1.1", &format!("{len}{expect}{expect}"), "", 417),
        ("POST / HTTP/1.1", "Expect: 200-ok\r\n", "", 417),
        ("POST / HTTP/1.1", "expect:\r\n", "", 417),
        ("POST / HTTP/1.1", &format!("{expect}Content-Length: 99999999\r\n"), smuggled, 413),
        ("POST / HTTP/1.1", &format!("{expect}Transfer-Encoding: gzip\r\n"), smuggled, 501),
        ("POST / HTTP/1.1", &format!("{expect}Content-Length: +1\r\n"), smuggled, 400),
        ("TRACE / HTTP/1.1", "Cookie: secret\r\n", "", 405),
        ("TRACE / HTTP/1.1", &len, smuggled, 405),
        ("CONNECT a:443 HTTP/1.1", "", smuggled, 405),
        ("CONNECT / HTTP/1.1", "", smuggled, 405),
    ] {
        let mut peer = server.connects();
        peer.sends_bytes(format!("{line}\r\nHost: a\r\n{fields}\r\n{body}"));
        let answer = peer.expects_refusal(status);
        assert_eq!(answer.header("Allow").is_some(), status == 405, "{line}");
        assert!(!answer.body.contains("secret"), "{}", answer.body);
    }
    assert_eq!(asked(&server), 0);
    for (line, fields, body, page) in [
        ("OPTIONS * HTTP/1.1", "", "", "OPTIONS * []"),
        ("OPTIONS / HTTP/1.1", &*len, smuggled, &*format!("OPTIONS / [{smuggled}]")),
        ("GET / HTTP/1.1", &len, smuggled, &format!("GET / [{smuggled}]")),
        // No 100 for a body that is there, or for none.
        ("POST / HTTP/1.1", &format!("{expect}{len}"), smuggled, &format!("POST / [{smuggled}]")),
        ("GET / HTTP/1.1", expect, "", "GET / []"),
        ("DELETE /a HTTP/1.1", "", "", "DELETE /a []"),
        ("trace / HTTP/1.1", "", "", "trace / []"),
    ] {
        let mut peer = server.connects();
        peer.sends_bytes(format!("{line}\r\nHost: a\r\n{fields}\r\n{body}"));
        assert_eq!(peer.expects_answer(200).body, page);
        stays(&mut peer);
    }
    // RFC 9110 §10.1.1: in HTTP/1.0 there are no expectations.
    let mut peer = server.connects();
    peer.sends_bytes(format!("POST / HTTP/1.0\r\n{expect}Content-Length: 2\r\n\r\nhi{smuggled}"));
    assert_eq!(peer.expects_refusal(200).body, "POST / [hi]");
}

/// RFC 9110 §9.3.2: a body behind the answer to HEAD would be the next answer for who reads it.
#[test]
fn no_answer_to_head_has_a_body() {
    let server = site();
    let head = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let mut peer = server.connects();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let len = format!("Content-Length: {}\r\n", smuggled.len());
    peer.sends_bytes(head("HEAD /", &len) + smuggled);
    let answer = peer.expects_head(200);
    assert_eq!(answer.header("Content-Length"), Some(&*smuggled_page(smuggled)));
    stays(&mut peer);
    for (request, status) in [
        (head("HEAD /", "Expect: 200-ok\r\n"), 417),
        (head("HEAD /", "Transfer-Encoding: gzip\r\n"), 501),
        (head("HEAD /", "Content-Length: 5, 5\r\n"), 400),
        (head("HEAD /", "Content-Length: 99999999\r\n"), 413),
        (head("HEAD /", "Host: a\r\n"), 400),
        (head("HEAD /", "X : y\r\n"), 400),
        (head("HEAD /#", ""), 400),
        (head("HEAD /", "Upgrade: websocket\r\n"), 405),
        (head("HEAD /", &"X:\r\n".repeat(100)), 431),
        (head("HEAD /", &format!("X: {}\r\n", "y".repeat(9_000))), 431),
        (head("\r\n\r\nHEAD /", "Expect: x\r\n"), 417),
        ("HEAD / HTTP/1.1\n".into(), 400),
        ("HEAD / HTTP/3.0\r\n\r\n".into(), 505),
    ] {
        let mut peer = server.connects();
        peer.sends_bytes(&request);
        peer.expects_head(status);
        peer.pushes_bytes(get("/after-the-end"));
        peer.expects_eof();
    }
}

fn smuggled_page(body: &str) -> String {
    format!("HEAD / [{body}]").len().to_string()
}
