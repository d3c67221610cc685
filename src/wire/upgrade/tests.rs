//! The opening handshake: one well-formed request, and everything that can be wrong with it.

use super::*;
use crate::wire::http::{HttpError, parse_head};

/// §1.2, with what browsers add.
const GOOD: &[(&str, &str)] = &[
    ("Host", "server.example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "keep-alive, Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Origin", "http://example.com"),
    ("Sec-WebSocket-Protocol", "chat, superchat"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
];

const ACCEPTED: Outcome = Outcome::Accepted;
const PLAIN: Outcome = Outcome::Plain;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Plain,
    Refused(Refusal),
    Http(HttpError),
}

fn outcome(head: &str) -> Outcome {
    match parse_head(head.as_bytes(), 64, 1_000).as_ref().map(upgrade) {
        Ok(Ok(Some(_))) => Outcome::Accepted,
        Ok(Ok(None)) => Outcome::Plain,
        Ok(Err(refusal)) => Outcome::Refused(refusal),
        Err(error) => Outcome::Http(*error),
    }
}

fn head(request_line: &str, fields: &[(&str, &str)]) -> String {
    let fields: String =
        fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{request_line}\r\n{fields}\r\n")
}

fn request_line(line: &str) -> Outcome {
    outcome(&head(line, GOOD))
}

/// The good request with the field `name` replaced by `values`, one line each.
fn field(name: &str, values: &[&str]) -> Outcome {
    let kept = GOOD.iter().copied().filter(|(other, _)| *other != name);
    let fields: Vec<_> = kept.chain(values.iter().map(|value| (name, *value))).collect();
    outcome(&head("GET /chat HTTP/1.1", &fields))
}

fn request(fields: &[(&str, &str)]) -> Request {
    parse_head(head("GET /chat HTTP/1.1", fields).as_bytes(), 64, 0).unwrap()
}

/// An upgrade is a GET.
#[test]
fn method_must_be_get() {
    assert_eq!(request_line("GET /chat HTTP/1.1"), ACCEPTED);
    for method in [
        "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "get", "Get", "GETT", "GE",
        "PROPFIND", "QUERY", "PRI", "MKCOL", "M-SEARCH", "gET", "LINK", "PURGE",
    ] {
        let outcome = request_line(&format!("{method} /chat HTTP/1.1"));
        assert_eq!(outcome, Outcome::Refused(Refusal::MethodNotGet), "{method}");
    }
    for method in ["TRACE", "CONNECT"] {
        let outcome = request_line(&format!("{method} /chat HTTP/1.1"));
        assert_eq!(outcome, Outcome::Http(HttpError::MethodUnsupported), "{method}");
    }
    for method in ["GET\t", "", "G@T", " GET"] {
        let outcome = request_line(&format!("{method} /chat HTTP/1.1"));
        assert_eq!(outcome, Outcome::Http(HttpError::Malformed), "{method:?}");
    }
    assert_eq!(Refusal::MethodNotGet.extra_headers(), [("Allow", "GET")]);
}

/// HTTP/1.1.
#[test]
fn version_must_be_http_1_1() {
    let refused = Outcome::Refused(Refusal::VersionHttp10);
    assert_eq!(request_line("GET /chat HTTP/1.0"), refused);
    for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9"] {
        let outcome = request_line(&format!("GET /chat {version}"));
        assert_eq!(outcome, Outcome::Http(HttpError::VersionUnsupported), "{version}");
    }
    for version in ["HTTP/1.10", "http/1.1", "HTTP/1", "HTTP/1.1 ", "1.1", ""] {
        let outcome = request_line(&format!("GET /chat {version}"));
        assert_eq!(outcome, Outcome::Http(HttpError::Malformed), "{version}");
    }
}

/// Origin-form and absolute-form, no fragment.
#[test]
fn target_is_origin_form_or_absolute_form() {
    for target in [
        "/",
        "/?",
        "/a?b=c",
        "//",
        "/%00",
        "/a/../b",
        "ws://server.example.com/chat",
        "http://h",
        "wss://other:444/?q",
        "HTTP://[::1]/",
    ] {
        assert_eq!(request_line(&format!("GET {target} HTTP/1.1")), ACCEPTED, "{target}");
    }
    for target in [
        "/#",
        "/a#b",
        "*",
        "chat",
        "ws:/chat",
        "ws://",
        "ws://user@h/",
        "mailto://a",
        "server:80",
        "ws://h:x/",
    ] {
        let outcome = request_line(&format!("GET {target} HTTP/1.1"));
        assert_eq!(outcome, Outcome::Http(HttpError::TargetInvalid), "{target}");
    }
}

/// Exactly one valid Host.
#[test]
fn host_must_be_one_and_valid() {
    for host in ["a", "a:80", "[::1]", "[::1]:9001", "127.0.0.1:1", "a:", "::1", "::1:9001"] {
        assert_eq!(field("Host", &[host]), ACCEPTED, "{host}");
    }
    let refused = Outcome::Http(HttpError::HostInvalid);
    assert_eq!(field("Host", &[]), refused);
    assert_eq!(field("Host", &["a", "a"]), refused);
    assert_eq!(field("Host", &["a", "b"]), refused);
    for host in ["", "u@a", "u:p@a", "a:b", "a:65536", "::1:", "[::1", "a b", "http://a", "a/"] {
        assert_eq!(field("Host", &[host]), refused, "{host}");
    }
}

/// A list, over all lines, in any case, with exactly `websocket`.
#[test]
fn upgrade_must_list_websocket() {
    for values in [
        &["websocket"][..],
        &["WebSocket"],
        &["WEBSOCKET"],
        &["h2c, websocket"],
        &["websocket,h2c"],
        &[",,websocket,"],
        &["\twebsocket \t"],
        &["h2c", "websocket"],
        &["websocket", "h2c"],
        &["websocket/13, websocket"],
        &["websocket", "websocket"],
    ] {
        assert_eq!(field("Upgrade", values), ACCEPTED, "{values:?}");
    }
    for values in [
        &[][..],
        &[""],
        &["websocket/13"],
        &["WebSocket/8, h2c"],
        &["websockets"],
        &["web socket"],
        &["websocket;q=1"],
        &["\"websocket\""],
        &["h2c"],
        &["h2c", "TLS/1.0"],
        &["websocket h2c"],
        &["xwebsocket"],
        &["webs\u{e9}cket"],
    ] {
        let refused = Outcome::Refused(Refusal::UpgradeMissing);
        assert_eq!(field("Upgrade", values), refused, "{values:?}");
    }
}

/// A list, over all lines, in any case, with `upgrade`.
#[test]
fn connection_must_list_upgrade() {
    for values in [
        &["Upgrade"][..],
        &["upgrade"],
        &["UPGRADE"],
        &["keep-alive, Upgrade"],
        &["Upgrade, HTTP2-Settings"],
        &["keep-alive,\tUpgrade\t"],
        &[", ,Upgrade,,"],
        &["keep-alive", "Upgrade"],
        &["Upgrade", "keep-alive"],
        &["close, upgrade"],
    ] {
        assert_eq!(field("Connection", values), ACCEPTED, "{values:?}");
    }
    for values in [
        &[][..],
        &[""],
        &["keep-alive"],
        &["close"],
        &["upgrader"],
        &["up grade"],
        &["upgrade;x"],
        &["\"upgrade\""],
        &["keep-alive upgrade"],
        &["keep-alive", "close"],
        &["Upgrad"],
        &["websocket"],
    ] {
        let refused = Outcome::Refused(Refusal::ConnectionMissing);
        assert_eq!(field("Connection", values), refused, "{values:?}");
    }
}

/// One base64 of 16 bytes; which bits the padding hides does not matter.
#[test]
fn key_must_decode_to_16_bytes() {
    let key = |key: &str| field("Sec-WebSocket-Key", &[key]);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for last in alphabet.chars() {
        assert_eq!(key(&format!("dGhlIHNhbXBsZSBub25jZ{last}==")), ACCEPTED, "{last}");
    }
    let refused = Outcome::Refused(Refusal::KeyInvalid);
    for len in 0..=64 {
        assert_eq!(key(&"A".repeat(len)), refused, "{len} characters");
        let padded = format!("{}==", "A".repeat(len));
        assert_eq!(key(&padded) == ACCEPTED, len == 22, "{padded}");
        if len > 0 {
            assert_eq!(key(&format!("{}=", "A".repeat(len - 1))), refused);
        }
    }
    for bad in [
        "dGhlIHNhbXBsZSBub25jZQ=A",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub2 jZQ==",
        "dGhlIHNhbXBsZSBub2-jZQ==",
        "dGhlIHNhbXBsZSBub2_jZQ==",
        "dGhlIHNh==BsZSBub25jZQ==",
        "\"GhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==,",
        "====dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub2\u{e9}ZQ==",
        "========================",
        "dGhlIHNhbXBsZSBub25jZQ=\u{3d}=",
    ] {
        assert_eq!(key(bad), refused, "{bad}");
    }
    assert_eq!(key(" dGhlIHNhbXBsZSBub25jZQ==\t"), ACCEPTED);
    let good = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_eq!(field("Sec-WebSocket-Key", &[]), refused);
    assert_eq!(field("Sec-WebSocket-Key", &[good, good]), refused);
    assert_eq!(field("Sec-WebSocket-Key", &[good, ""]), refused);
}

/// One 13. Whatever else, the answer says which version there is.
#[test]
fn version_must_be_13() {
    let refused = Outcome::Refused(Refusal::VersionUnsupported);
    for version in 0..=255 {
        let outcome = field("Sec-WebSocket-Version", &[&version.to_string()]);
        assert_eq!(outcome, if version == 13 { ACCEPTED } else { refused }, "{version}");
    }
    assert_eq!(field("Sec-WebSocket-Version", &[" 13\t"]), ACCEPTED);
    for values in [
        &[][..],
        &[""],
        &["013"],
        &["13, 8"],
        &["8, 13"],
        &["13,"],
        &["+13"],
        &["13.0"],
        &["1 3"],
        &["\"13\""],
        &["0x0d"],
        &["13", "13"],
        &["13", "8"],
        &["\u{661}\u{663}"],
    ] {
        assert_eq!(field("Sec-WebSocket-Version", values), refused, "{values:?}");
    }
    // §4.4, RFC 9110 §15.5.22.
    for refusal in [Refusal::VersionUnsupported, Refusal::UpgradeMissing] {
        assert_eq!(refusal.status(), 426);
        let expected = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
        assert_eq!(refusal.extra_headers(), expected);
    }
}

/// Tokens, all different.
#[test]
fn subprotocols_must_be_different_tokens() {
    for (values, expected) in [
        (&[][..], &[][..]),
        (&["chat"], &["chat"]),
        (&["b, a"], &["b", "a"]),
        (&["b", "a, c"], &["b", "a", "c"]),
        (&[",b ,\t, a,"], &["b", "a"]),
        (&["chat, Chat, CHAT"], &["chat", "Chat", "CHAT"]),
        (&["v1.json!#$%&'*+-.^_`|~"], &["v1.json!#$%&'*+-.^_`|~"]),
        (&["13, 0"], &["13", "0"]),
        (&[""], &[]),
        (&["", "a", ""], &["a"]),
        (&["", ""], &[]),
    ] {
        assert_eq!(field("Sec-WebSocket-Protocol", values), ACCEPTED, "{values:?}");
        let fields: Vec<_> = [("Host", "a")]
            .into_iter()
            .chain(values.iter().map(|value| ("sec-websocket-protocol", *value)))
            .collect();
        assert_eq!(subprotocols(&request(&fields)).collect::<Vec<_>>(), expected);
    }
    for values in [
        &[","][..],
        &["", ", ,"],
        &["a, a"],
        &["a", "a"],
        &["a, b", "c, a"],
        &["a b"],
        &["a;b"],
        &["a/b"],
        &["\"a\""],
        &["a=b"],
        &["(a)"],
        &["a@b"],
        &["b\u{fc}cher"],
        &["a, \u{e9}"],
        &["[a]"],
        &["{a}"],
        &["a\\b"],
        &["a:b"],
        &["<a>"],
        &["a?"],
    ] {
        let refused = Outcome::Refused(Refusal::SubprotocolInvalid);
        assert_eq!(field("Sec-WebSocket-Protocol", values), refused, "{values:?}");
    }
}

/// §9.1: what the grammar does not produce fails the handshake; what it means does not matter here.
#[test]
fn extensions_have_to_be_a_list() {
    for values in [&["x"][..], &["permessage-deflate; a=\"b\""], &["a", ",, b;c=d"]] {
        assert_eq!(field("Sec-WebSocket-Extensions", values), ACCEPTED, "{values:?}");
    }
    let refused = Outcome::Refused(Refusal::ExtensionsInvalid);
    for values in [&[""][..], &[";;;="], &["\""], &["\u{e9}"], &["a", "b;"], &["a;b=\"c d\""]] {
        assert_eq!(field("Sec-WebSocket-Extensions", values), refused, "{values:?}");
    }
}

/// What is not even a request; and a body, whose bytes would be taken for frames.
#[test]
fn other_faults_are_refused() {
    for (name, value, expected) in [
        ("Content-Length", "1", Outcome::Refused(Refusal::BodyPresent)),
        ("Content-Length", "0", ACCEPTED),
        ("Content-Length", "x", Outcome::Http(HttpError::ContentLengthInvalid)),
        ("Content-Length", "9999", Outcome::Http(HttpError::BodyTooLarge)),
        ("Transfer-Encoding", "chunked", Outcome::Refused(Refusal::BodyPresent)),
        ("Transfer-Encoding", "gzip", Outcome::Http(HttpError::TransferEncodingUnsupported)),
        ("Expect", "100-continue", ACCEPTED),
        ("Expect", "200-ok", Outcome::Http(HttpError::ExpectUnsupported)),
        ("Bad Name", "a", Outcome::Http(HttpError::Malformed)),
        ("X", "a\u{0}b", Outcome::Http(HttpError::Malformed)),
        ("X", "a\r\n b", Outcome::Http(HttpError::Malformed)),
        ("X", "a\nY: b", Outcome::Http(HttpError::Malformed)),
        ("", "a", Outcome::Http(HttpError::Malformed)),
    ] {
        assert_eq!(field(name, &[value]), expected, "{name}: {value:?}");
    }
}

#[test]
fn a_plain_request_asks_for_no_upgrade() {
    let asks = |line, fields: &[(&str, &str)]| outcome(&head(line, fields));
    assert_eq!(asks("GET / HTTP/1.1", &[("Host", "a")]), PLAIN);
    assert_eq!(asks("POST / HTTP/1.1", &[("Host", "a"), ("Content-Length", "5")]), PLAIN);
    assert_eq!(asks("GET / HTTP/1.0", &[]), PLAIN);
    // curl offers this by itself.
    let h2c = [("Host", "a"), ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c")];
    assert_eq!(asks("GET / HTTP/1.1", &h2c), PLAIN);
    let other = [("Host", "a"), ("Upgrade", "websockets, web/socket"), ("Origin", "http://a")];
    assert_eq!(asks("GET / HTTP/1.1", &other), PLAIN);
    // Any of these alone is a handshake that went wrong, and is told so.
    for (fault, refusal) in [
        (("Upgrade", "websocket"), Refusal::ConnectionMissing),
        (("Upgrade", "h2c, WebSocket/13"), Refusal::UpgradeMissing),
        (("Sec-WebSocket-Key", ""), Refusal::UpgradeMissing),
        (("Sec-WebSocket-Version", "13"), Refusal::UpgradeMissing),
    ] {
        let outcome = asks("GET / HTTP/1.1", &[("Host", "a"), fault]);
        assert_eq!(outcome, Outcome::Refused(refusal), "{fault:?}");
    }
}

#[test]
fn each_refusal_has_its_status_and_says_what_is_wrong() {
    use Refusal::*;
    for (refusal, status, names) in [
        (MethodNotGet, 405, "GET"),
        (VersionHttp10, 400, "HTTP/1.1"),
        (UpgradeMissing, 426, "Upgrade"),
        (ConnectionMissing, 400, "Connection"),
        (VersionUnsupported, 426, "13"),
        (KeyInvalid, 400, "Sec-WebSocket-Key"),
        (SubprotocolInvalid, 400, "Sec-WebSocket-Protocol"),
        (BodyPresent, 400, "body"),
    ] {
        assert_eq!(refusal.status(), status);
        assert!(refusal.to_string().contains(names), "{refusal}");
        assert_eq!(refusal.extra_headers().is_empty(), status == 400, "{refusal}");
    }
}
