//! The answer to a handshake, and who may have one.

use super::*;
use crate::wire::http::parse_head;

fn accept(key: &str) -> Upgrade {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    let request = parse_head(head.as_bytes(), 64, 0).unwrap();
    upgrade(&request).unwrap().unwrap()
}

fn encode(subprotocol: Option<&str>, extra: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    encode_accept(
        &mut out,
        &accept("dGhlIHNhbXBsZSBub25jZQ=="),
        subprotocol.unwrap_or_default(),
        "",
        extra,
    );
    String::from_utf8(out).unwrap()
}

/// §1.3, and keys whose answers were computed with another implementation of SHA-1 and base64.
#[test]
fn rfc_example_and_other_keys() {
    for (key, expected) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
        ("/////////////////////w==", "XXpj4jYzLM2yUE0C7TIgMwTQh2g="),
        ("nmiMWKVIe46vacnhAFrQvw==", "w6rOY0xuJq4RGH761XfYZL+n4DE="),
        ("hmZoNQaqzZALvVp0rE7faA==", "lnvlBk8O++K/FwKPpCcdffM8YTA="),
        ("7H9+e7Q3Qs6GgUX3HTe1PA==", "oHaZ3rMcW0638tBcBxb5t3pzsqo="),
        ("i7bBeDhkP5aRzGpN5sUXCQ==", "blvxdq02+QH0MJGw9KFJKZZ1iw0="),
        ("BuyhtDfHkEzDzmVGyBEBEA==", "o7LT+nPNQymIXycr9YxsAj7D3R4="),
        ("iedOZAuMRiV6Kd4GFnlNXQ==", "+C+s21Hq27cltqgR4pU2Zjfuwag="),
        // Other bits behind the padding: hashed as sent.
        ("dGhlIHNhbXBsZSBub25jZR==", "Zgw8jYXtqX5qJr7MJ1Q/MqzeSRI="),
    ] {
        assert_eq!(accept(key).accept, expected.as_bytes(), "{key}");
    }
}

/// These bytes and no others; no length, no body.
#[test]
fn answer_on_the_wire() {
    let start = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(encode(None, &[]), format!("{start}\r\n"));
    assert_eq!(
        encode(Some("chat"), &[("Set-Cookie", "a=b"), ("X", "")]),
        format!("{start}Sec-WebSocket-Protocol: chat\r\nSet-Cookie: a=b\r\nX: \r\n\r\n")
    );
}

/// Nothing that is passed adds a field of its own, or one of the handshake's twice.
#[test]
fn answer_cannot_be_broken_apart() {
    let bare = encode(None, &[]);
    for subprotocol in ["", "a b", "a, b", "a\r\nX: y", "a\n", "\u{e9}", "a\0"] {
        assert_eq!(encode(Some(subprotocol), &[]), bare, "{subprotocol:?}");
    }
    for field in [
        ("X", "a\r\nY: b"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\0"),
        ("X", " a"),
        ("X\r\nY", "a"),
        ("X:", "a"),
        ("", "a"),
        ("Upgrade", "h2c"),
        ("connection", "close"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Sec-WebSocket-Accept", "a"),
        ("SEC-WEBSOCKET-PROTOCOL", "a"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        assert_eq!(encode(None, &[field]), bare, "{field:?}");
    }
}

fn allowed(policy: &Origins, origin: &str, host: &str) -> bool {
    origin_allowed(policy, Some(origin.as_bytes()), host)
}

/// Origin, Host, and whether the page comes from there.
#[test]
fn same_origin() {
    let same = |origin, host| allowed(&Origins::SameOrigin, origin, host);
    for (origin, host) in [
        ("http://example.org", "example.org"),
        ("http://example.org", "EXAMPLE.org"),
        ("HTTP://Example.ORG", "example.org"),
        ("http://example.org", "example.org:80"),
        ("http://example.org:80", "example.org"),
        ("https://example.org", "example.org"),
        ("https://example.org", "example.org:443"),
        ("https://example.org:443", "example.org"),
        ("ws://example.org", "example.org:80"),
        ("wss://example.org:443", "example.org"),
        ("http://example.org:8080", "example.org:8080"),
        ("http://example.org:08080", "example.org:8080"),
        ("http://example.org", "example.org:"),
        ("http://localhost:5173", "localhost:5173"),
        ("http://127.0.0.1:9001", "127.0.0.1:9001"),
        ("http://[::1]:9001", "[::1]:9001"),
        ("http://[::1]", "[::1]"),
        ("http://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("http://example.org/", "example.org"),
        ("http://[::1]:9001", "::1:9001"),
        ("http://[::1]", "::1"),
        ("https://[2001:DB8::1]", "2001:db8::1:443"),
        ("ws://::1:9001", "::1:9001"),
        ("http://::1:9001/", "[::1]:9001"),
        ("http://::1", "::1"),
    ] {
        assert!(same(origin, host), "{origin} at {host}");
    }
    for (origin, host) in [
        ("http://evil.org", "example.org"),
        ("http://example.org.evil.org", "example.org"),
        ("http://evilexample.org", "example.org"),
        ("http://example.or", "example.org"),
        ("http://example.orgg", "example.org"),
        ("http://sub.example.org", "example.org"),
        ("http://example.org", "sub.example.org"),
        ("http://example.org.", "example.org"),
        ("http://example.org", "example.org:8080"),
        ("http://example.org:8080", "example.org"),
        ("http://example.org:8080", "example.org:80"),
        ("http://example.org:443", "example.org"),
        ("https://example.org:80", "example.org"),
        ("https://example.org", "example.org:80"),
        ("http://example.org:1", "example.org:11"),
        ("http://localhost", "127.0.0.1"),
        ("http://[::1]:1", "[::2]:1"),
        ("http://[::1]", "::1:9001"),
        // What ends like a port is one.
        ("http://[::1:9001]", "::1:9001"),
        ("http://::1:9001", "[::1:9001]"),
        ("http://::1:", "[::1]"),
        ("http://::1:9001:9001", "[::1]:9001"),
        ("http://b\u{fc}cher.example", "xn--bcher-kva.example"),
        ("http://b\u{fc}cher.example", "b\u{fc}cher.example"),
        ("chrome-extension://example.org", "example.org"),
        ("file://example.org", "example.org"),
        ("http://", ""),
        ("http://example.org", ""),
    ] {
        assert!(!same(origin, host), "{origin} at {host}");
    }
}

#[test]
fn what_is_no_origin_is_refused() {
    let listed = ["*", "", "example.org", "https://*", "https://*.", "http://a.*.org", "http://a/"];
    let list = Origins::List(listed.map(String::from).into());
    for origin in [
        "null",
        "NULL",
        "https://*",
        "https://a.",
        "http://a.*.org",
        "http://a",
        "",
        " ",
        "*",
        "example.org",
        "//example.org",
        "http:example.org",
        "http:/example.org",
        "http://example.org//",
        "http://example.org/path",
        "http://example.org/path/",
        "http://example.org?a",
        "http://example.org#a",
        "http://user@example.org",
        "http://example.org@evil.org",
        "http://example.org:80:80",
        "http://example.org:x",
        "http://example.org:-1",
        "http://example.org:65616",
        "http://example.org http://example.org",
        "file://",
        "data:a",
        "http://example.org,http://example.org",
        " http://example.org",
        "http://example.org ",
        "http://evil.org\\example.org",
        "http://http://example.org",
        "://example.org",
        "1http://example.org",
        "h\u{e9}tp://example.org",
        "http ://example.org",
        "http://%zz",
        "http://[example.org]",
        "http://exa mple.org",
        "http://example.org\0",
        "javascript:0",
    ] {
        for policy in [&Origins::SameOrigin, &list] {
            assert!(!allowed(policy, origin, "example.org"), "{origin}");
        }
        assert!(allowed(&Origins::Any, origin, "example.org"), "{origin}");
    }
    assert!(!origin_allowed(&list, Some(b"http://example.org\xFF"), "example.org"));
}

/// A client that is no browser sends none, and could send what it likes.
#[test]
fn no_origin_is_allowed() {
    for policy in [Origins::SameOrigin, Origins::Any, Origins::List(Vec::new())] {
        assert!(origin_allowed(&policy, None, "example.org"));
        assert!(origin_allowed(&policy, None, ""));
    }
}

#[test]
fn a_list_is_of_exact_origins_beside_the_same() {
    let list = [
        "https://app.example",
        "http://localhost:5173",
        "HTTP://Plain.example:80",
        "chrome-extension://abcdef",
        "https://*.sub.example",
        "https://*.sub.example:8443",
        "null",
        "file://",
        "not an origin",
    ];
    let policy = Origins::List(list.map(String::from).to_vec());
    for origin in [
        "https://app.example",
        "https://APP.example:443",
        "http://localhost:5173",
        "http://plain.example",
        "chrome-extension://abcdef",
        "http://example.org",
        "https://app.example/",
        "https://a.sub.example",
        "https://a.B.Sub.example:443",
        "https://a.sub.example:8443",
        "null",
        "file://",
    ] {
        assert!(allowed(&policy, origin, "example.org"), "{origin}");
    }
    for origin in [
        "http://app.example",
        "wss://app.example",
        "https://app.example:444",
        "https://sub.app.example",
        "https://app.example.evil.org",
        "http://localhost",
        "http://localhost:51730",
        "https://plain.example",
        "http://plain.example:443",
        "chrome-extension://abcde",
        "chrome-extension://abcdef:80",
        "moz-extension://abcdef",
        "not an origin",
        "http://example.org:81",
        "https://sub.example",
        "https://.sub.example",
        "https://evilsub.example",
        "https://a.sub.example.evil.org",
        "https://a.sub.example:444",
        "http://a.sub.example",
        "Null",
        "null/",
        "file:",
        "file:///",
        "FILE://",
        "file://host",
    ] {
        assert!(!allowed(&policy, origin, "example.org"), "{origin}");
    }
}

#[test]
fn an_origin_to_allow_has_a_scheme_and_a_host_and_no_path() {
    for origin in [
        "https://example.org",
        "http://localhost:5173",
        "chrome-extension://abcdef",
        "https://*.example.org:8443",
        // Which parents are one owner's is not known.
        "https://*.org",
        "null",
        "file://",
    ] {
        assert!(is_origin(origin), "{origin}");
    }
    for other in [
        "",
        "example.org",
        "https://",
        "https://example.org/",
        "http://a:port",
        "http://::1:9001",
        "*",
        "*.example.org",
        "https://*",
        "https://*.",
        "https://*.*",
        "https://*example.org",
        "https://a.*.org",
        "https://*.a.*",
        "*://example.org/",
        "Null",
        "file:",
        "file:///",
        "file://*",
        "http://",
    ] {
        assert!(!is_origin(other), "{other}");
        let policy = Origins::List(vec![other.to_owned()]);
        assert!(!allowed(&policy, other, "elsewhere.example"), "{other}");
    }
}
