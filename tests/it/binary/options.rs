//! What the options of the server change.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{PUSHLOOP, ask_tcp, serve};
use crate::support::http::{answer_to, dial, read_head};
use crate::support::process::{Process, scratch};
use crate::support::{PATIENCE, get, handshake};

/// The head of the answer to an opening handshake.
fn opens(address: &str, path: &str, fields: &str) -> String {
    let mut stream = dial(address);
    stream.write_all(handshake(path, fields).as_bytes()).expect("the server reads");
    let head = read_head(&mut stream).expect("the server answers");
    String::from_utf8(head).expect("heads are text")
}

#[test]
fn a_subprotocol_is_the_first_of_the_clients_that_the_server_has() {
    for (arguments, offers, chosen) in [
        (&[][..], "Sec-WebSocket-Protocol: json\r\n", None),
        (&["--subprotocol", "json"], "", None),
        (&["--subprotocol", "json"], "Sec-WebSocket-Protocol: xml, JSON\r\n", None),
        (&["--subprotocol", "json"], "Sec-WebSocket-Protocol: xml, json\r\n", Some("json")),
        (
            &["--subprotocol", "a", "--subprotocol", "b"],
            "Sec-WebSocket-Protocol: x, b\r\nSec-WebSocket-Protocol: a\r\n",
            Some("b"),
        ),
    ] {
        let (_server, address) = serve(arguments);
        let head = opens(&address, "/t", offers);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let line = chosen.map(|chosen| format!("Sec-WebSocket-Protocol: {chosen}\r\n"));
        assert_eq!(head.contains("Sec-WebSocket-Protocol"), line.is_some(), "{offers}: {head}");
        assert!(head.contains(&line.unwrap_or_default()), "{offers}: {head}");
    }
}

#[test]
fn compression_is_agreed_on_or_not() {
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    for (arguments, agreed) in
        [(&[][..], true), (&["--deflate-takeover"], true), (&["--no-deflate"], false)]
    {
        let (_server, address) = serve(arguments);
        let head = opens(&address, "/t", offer);
        assert_eq!(head.contains("permessage-deflate"), agreed, "{head}");
    }
}

/// What a proxy says of a client is believed where that is asked for.
#[test]
fn the_client_is_whom_a_trusted_proxy_names() {
    let open = "--anyone-may-publish";
    let said = "X-Forwarded-For: 192.0.2.9, 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n";
    for (arguments, client) in [
        (&[][..], "127.0.0.1\n"),
        (&["--trust-proxy", "127.0.0.0/8", open], "127.0.0.1\n"),
        (&["--trust-proxy", "10.0.0.0/8", "--client-header", "forwarded", open], "127.0.0.1\n"),
        (&["--trust-proxy", "127.0.0.1", "--client-header", "forwarded", open], "192.0.2.2\n"),
        (
            &[
                "--trust-proxy",
                "::/0",
                "--trust-proxy",
                "127.0.0.1",
                "--client-header",
                "X-Forwarded-For",
                open,
            ],
            "192.0.2.1\n",
        ),
    ] {
        let (_server, address) = serve(arguments);
        let answer = ask_tcp(&address, "GET /$client", said, "");
        assert!(answer.ends_with(&format!("\r\n\r\n{client}")), "{arguments:?}: {answer}");
    }
}

#[test]
fn a_listener_takes_the_proxy_protocol_or_does_not() {
    let mut proxied = Process::start(
        Path::new(PUSHLOOP),
        &["--listen-proxied", "127.0.0.1:0", "--trust-proxy", "127.0.0.1", "--anyone-may-publish"],
    );
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    let address = proxied.address("http://");
    let asks = get("/$client").replace("HTTP/1.1", "HTTP/1.0");
    let answer = answer_to(dial(&address), &format!("{header}{asks}"));
    assert!(answer.ends_with("\r\n\r\n192.0.2.1\n"), "{answer}");
    assert!(answer_to(dial(&address), &asks).starts_with("HTTP/1.1 400 "));
    let (_server, address) = serve(&[]);
    assert!(answer_to(dial(&address), &format!("{header}{asks}")).starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_head_may_be_as_long_as_the_limit() {
    for (arguments, bytes) in [
        (&[][..], 16_384),
        (&["--head-bytes-max", "1024"], 1024),
        (&["--head-bytes-max", "65536"], 65_536),
    ] {
        let (_server, address) = serve(arguments);
        for (length, status) in [(bytes, 426), (bytes + 1, 431)] {
            let fields =
                "GET /t HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: \r\n\r\n";
            let cookie = "x".repeat(length - fields.len());
            let answer = answer_to(
                dial(&address),
                &fields.replace("Cookie: ", &format!("Cookie: {cookie}")),
            );
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{length}: {answer}");
            assert!(status == 426 || answer.contains("--head-bytes-max"), "{answer}");
        }
        // Three are there.
        for (count, status) in [(bytes / 128, 426), (bytes / 128 + 1, 431)] {
            let answer = ask_tcp(&address, "GET /t", &"a: b\r\n".repeat(count - 3), "");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{count}: {answer}");
            assert!(status == 426 || answer.contains("headers_max"), "{answer}");
        }
    }
}

/// What the limits of topics promise can be had, in a URL that is long enough.
#[test]
fn a_url_has_room_for_as_many_topics_as_a_connection() {
    let topics = |encoded: &str, times: usize| {
        let names = (0..128).map(|at| format!("{at:03}{}", encoded.repeat(times)));
        format!("/{}", names.collect::<Vec<_>>().join(","))
    };
    let (usual, longest) = (topics("x", 61), topics("%78", 252));
    for (arguments, path, status) in [
        (&[][..], &usual, 101),
        (&[], &longest, 431),
        (&["--head-bytes-max", "131072"], &longest, 101),
    ] {
        let (_server, address) = serve(arguments);
        let head = opens(&address, path, "");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

#[test]
fn a_connection_waits_for_its_next_request_as_long_as_is_said() {
    let (_server, address) = serve(&["--keep-alive", "1"]);
    // The default is longer than this is waited for.
    let answer = answer_to(dial(&address), &get("/healthz"));
    assert!(answer.contains("\r\nConnection: keep-alive\r\n"), "{answer}");
}

/// A balancer that reused the connection would lose its request in the end.
#[test]
fn a_server_that_is_about_to_end_says_that_its_connections_are() {
    let (server, address) = serve(&["--drain-delay", "3600"]);
    let mut early = dial(&address);
    early.write_all(get("/healthz").as_bytes()).expect("the server reads");
    let head = String::from_utf8(read_head(&mut early).expect("it answers")).expect("text");
    assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
    early.read_exact(&mut [0; "the loop turns".len()]).expect("the body comes");
    server.signal("TERM");
    let unready = |_| ask_tcp(&address, "GET /readyz", "", "").starts_with("HTTP/1.1 503 ");
    assert!((0..PATIENCE.as_millis()).any(unready), "it is not told");
    for stream in [early, dial(&address)] {
        let answer = answer_to(stream, &get("/healthz"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    let asked = format!("Origin: http://{address}\r\nAccess-Control-Request-Method: POST");
    let preflight = get("/t").replace("GET", "OPTIONS");
    let preflight = preflight.replace("\r\n\r\n", &format!("\r\n{asked}\r\n\r\n"));
    let preflight = preflight.replace("Host: localhost", &format!("Host: {address}"));
    let answer = answer_to(dial(&address), &preflight);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
}

#[test]
fn a_unix_socket_has_its_mode_whatever_the_umask_is() {
    for (umask, arguments, mode) in [
        ("000", "", 0o660),
        ("022", "", 0o660),
        ("077", "", 0o660),
        ("077", "--unix-mode=666", 0o666),
        ("000", "--unix-mode=0600", 0o600),
    ] {
        let path = scratch("mode.sock");
        let shell = format!("umask {umask} && exec \"$0\" --listen \"unix:$1\" {arguments}");
        let path = path.to_str().expect("the path is text");
        let mut server = Process::start(Path::new("bash"), &["-c", &shell, PUSHLOOP, path]);
        while !server.line().contains("unix:") {}
        let found = fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(found, mode, "umask {umask} {arguments}: {found:o}");
        drop(server);
        fs::remove_file(path).expect("it is there");
    }
}

/// Ada has one connection and may have no second while it lasts; Ben comes by the same proxy.
#[test]
fn a_client_behind_a_proxy_has_limits_of_its_own() {
    let proxy = ["--anyone-may-publish", "--trust-proxy", "127.0.0.1"];
    let header = ["--client-header", "x-forwarded-for", "--client-connections-max", "1"];
    let (_server, address) = serve(&[&proxy[..], &header].concat());
    let ask = |path: &str, client: &str| {
        let mut stream = dial(&address);
        let field = format!("X-Forwarded-For: {client}\r\n");
        stream.write_all(handshake(path, &field).as_bytes()).expect("the server reads");
        let head = read_head(&mut stream).expect("it is answered");
        (stream, String::from_utf8(head).expect("text"))
    };
    let (ada, head) = ask("/t", "2001:db8::1");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_, head) = ask("/t", "2001:db8::2");
    assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("Retry-After: 1\r\n"), "{head}");
    let (_ben, head) = ask("/t", "192.0.2.1");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    drop(ada);
    while !ask("/t", "2001:db8::2").1.starts_with("HTTP/1.1 101 ") {}
}
