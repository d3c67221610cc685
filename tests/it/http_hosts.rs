//! Who may ask: the names that a server answers to (RFC 9110 §7.2, against DNS rebinding), and the
//! pages that may open a WebSocket (RFC 6455 §10.2).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::http::dial;
use crate::support::net::Network;
use crate::support::{PATIENCE, TestServer, config, echo, get, handshake};
use pushloop::{
    ConnId, Event, Events, Handle, Handler, Hosts, Hub, Message, Origins, Request, RequestId,
    Response, Server,
};

/// A plain request is found, a WebSocket accepted.
fn site(hub: &mut Hub, event: Event<'_>) {
    match event {
        Event::Request { id, request } if !request.is_websocket() => {
            hub.respond(id, Response::text(200, request.host())).expect("the request waits");
        }
        event => echo(hub, event),
    }
}

fn server(hosts: Hosts) -> TestServer {
    TestServer::start(config(|limits| limits.hosts = hosts), site)
}

fn list(names: &[&str]) -> Hosts {
    Hosts::List(names.iter().map(|name| (*name).to_owned()).collect())
}

fn for_host(request: &str, host: &str) -> String {
    request.replace("Host: localhost", &format!("Host: {host}"))
}

// Hosts.

/// A page of `evil.example` that has its name resolve to 127.0.0.1 says of itself that it is of
/// the same origin, and it is.
#[test]
fn a_rebound_name_reaches_nothing() {
    let server = server(Hosts::default());
    let origin = "Origin: http://evil.example:9001\r\n";
    for request in [
        handshake("/", origin),
        get("/").replace("\r\n\r\n", &format!("\r\n{origin}\r\n")),
        get("/").replace("GET", "POST"),
        get("/").replace("HTTP/1.1", "HTTP/1.0"),
        get("*").replace("GET", "OPTIONS"),
    ] {
        let mut peer = server.connects();
        peer.sends_bytes(for_host(&request, "evil.example:9001") + &get("/smuggled"));
        let answer = peer.expects_refusal(421);
        assert!(answer.head.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{}", answer.head);
        assert!(answer.body.contains("Config::hosts"), "{}", answer.body);
        assert!(answer.body.contains("--allow-host"), "{}", answer.body);
        assert!(!answer.body.contains("evil"), "it echoes what the peer sent: {}", answer.body);
    }
    let mut peer = server.connects();
    peer.sends_bytes(for_host(&get("/"), "evil.example").replace("GET", "HEAD"));
    peer.expects_head(421);
    peer.expects_eof();
    let asked = server.act(|hub| hub.counters());
    assert_eq!((asked.upgrades, asked.handshakes_refused), (0, 6));
}

/// What is a name of this machine, of the list, or of somebody else. All the rules are in the
/// table of `src/wire/host.rs`.
#[test]
fn names_by_policy() {
    let listed = list(&["example.org", "*.sub.example", "port.example:8443"]);
    let policies = [Hosts::Automatic, listed, Hosts::Any];
    let hosts = [
        ("localhost", [true; 3]),
        ("LOCALHOST:9001", [true; 3]),
        ("app.localhost:5173", [true; 3]),
        ("127.0.0.1", [true; 3]),
        ("127.0.0.1:9001", [true; 3]),
        ("192.0.2.1", [true; 3]),
        ("[::1]", [true; 3]),
        ("[::1]:9001", [true; 3]),
        ("::1:9001", [true; 3]),
        ("2001:db8::1", [true; 3]),
        ("example.org", [false, true, true]),
        ("Example.ORG:443", [false, true, true]),
        ("a.sub.example", [false, true, true]),
        ("a.b.sub.example:1", [false, true, true]),
        ("port.example:8443", [false, true, true]),
        ("port.example", [false, false, true]),
        ("sub.example", [false, false, true]),
        ("evilsub.example", [false, false, true]),
        ("www.example.org", [false, false, true]),
        ("example.org.", [false, false, true]),
        ("example.org.evil.example", [false, false, true]),
        ("localhost.evil.example", [false, false, true]),
        ("evillocalhost", [false, false, true]),
        ("127.0.0.1.evil.example", [false, false, true]),
        ("127.1", [false, false, true]),
        ("2130706433", [false, false, true]),
        ("%6cocalhost", [false, false, true]),
        ("evil.example", [false, false, true]),
    ];
    for (at, policy) in policies.into_iter().enumerate() {
        let server = server(policy);
        for (host, answered) in hosts {
            for (request, found) in [(get("/"), 200), (handshake("/", ""), 101)] {
                let mut peer = server.connects();
                peer.sends_bytes(for_host(&request, host));
                match (answered[at], found) {
                    (true, 101) => assert!(!peer.expects_upgrade().head.is_empty()),
                    (true, status) => assert_eq!(peer.expects_answer(status).body, host),
                    (false, _) => assert!(!peer.expects_refusal(421).body.is_empty()),
                }
            }
        }
    }
}

/// RFC 9112 §3.2.2: the authority of an absolute-form replaces the Host.
#[test]
fn the_name_that_counts_is_the_targets() {
    let server = server(list(&["example.org"]));
    for (target, host, status) in [
        ("http://example.org/", "evil.example", 200),
        ("http://evil.example/", "example.org", 421),
        ("//evil.example/", "example.org", 200),
        ("/?http://evil.example/", "localhost", 200),
    ] {
        let mut peer = server.connects();
        peer.sends_bytes(for_host(&get(target), host));
        assert_eq!(peer.expects_answer(status).status, status, "{target}");
    }
    let mut peer = server.connects();
    peer.sends_bytes("GET / HTTP/1.0\r\n\r\n");
    peer.expects_refusal(200);
}

struct Found;

impl Handler for Found {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, _: &Request) {
        let _ = hub.respond(id, Response::text(200, "found"));
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}
}

/// A server that listens where the test says; it ends with the test.
struct Running(Handle, Option<JoinHandle<()>>);

impl Running {
    fn new(mut server: Server) -> Self {
        let handle = server.handle();
        let thread = thread::spawn(move || server.run(&mut Found).expect("the poll works"));
        Self(handle, Some(thread))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.shutdown(Duration::ZERO).expect("it runs");
        let ended = self.1.take().map(JoinHandle::join);
        let panics = self.0.counters().handler_panics;
        assert!(thread::panicking() || (matches!(ended, Some(Ok(()))) && panics == 0));
    }
}

/// The status of the answer to a request for a name that this server knows nothing of.
fn status_of_a_strange_name(mut stream: impl Read + Write) -> u16 {
    stream.write_all(for_host(&get("/"), "strange.example").as_bytes()).expect("it is read");
    let mut line = [0; 12];
    stream.read_exact(&mut line).expect("the server answers");
    let line = str::from_utf8(&line).expect("the status line is ASCII");
    line.strip_prefix("HTTP/1.1 ").and_then(|code| code.parse().ok()).expect("a status line")
}

/// Without a list, names matter while only this machine can reach the server.
#[test]
fn a_server_that_strangers_reach_answers_to_any_name() {
    let v4 = "127.0.0.1:0";
    for (listens, status) in [
        (&[v4][..], 421),
        (&["127.8.9.10:0"], 421),
        (&["[::1]:0"], 421),
        (&["[::ffff:127.0.0.1]:0"], 421),
        (&[v4, "[::1]:0"], 421),
        (&["0.0.0.0:0"], 200),
        (&[v4, "0.0.0.0:0"], 200),
        (&["0.0.0.0:0", v4], 200),
    ] {
        let mut server = Server::new(config(|_| ())).unwrap();
        let mut addresses = listens.iter().map(|address| server.listen(address).unwrap());
        let mut first = addresses.next().expect("there is one");
        addresses.for_each(drop);
        if first.ip().is_unspecified() {
            first.set_ip([127, 0, 0, 1].into());
        }
        let _running = Running::new(server);
        assert_eq!(status_of_a_strange_name(dial(first)), status, "{listens:?}");
    }
}

/// A proxy on this machine lets strangers in.
#[test]
fn a_server_that_believes_a_proxy_answers_to_any_name() {
    let server = TestServer::start(config(|limits| limits.proxies.unix = true), site);
    assert_eq!(status_of_a_strange_name(dial(server.address())), 200);
}

#[test]
fn a_listener_that_was_handed_over_counts_like_ones_own() {
    for (address, status) in [("127.0.0.1:0", 421), ("0.0.0.0:0", 200)] {
        let mut server = Server::new(config(|_| ())).unwrap();
        let listener = TcpListener::bind(address).unwrap();
        let port = server.listen_on(listener).unwrap().port();
        let _running = Running::new(server);
        let stream = dial(("127.0.0.1", port));
        assert_eq!(status_of_a_strange_name(stream), status);
    }
}

/// A page cannot reach a Unix-domain socket; a proxy can, with names of its own.
#[test]
fn a_unix_socket_answers_to_any_name_unless_there_is_a_list() {
    let name = format!("pushloop-{}-hosts.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    for (hosts, statuses) in [(Hosts::Automatic, [200, 421]), (list(&["example.org"]), [421, 421])]
    {
        let mut server = Server::new(config(|limits| limits.hosts = hosts)).unwrap();
        server.listen_unix(&path).unwrap();
        let address = server.listen("127.0.0.1:0").unwrap();
        let _running = Running::new(server);
        let stream = UnixStream::connect(&path).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        let unix = status_of_a_strange_name(stream);
        assert_eq!([unix, status_of_a_strange_name(dial(address))], statuses);
    }
}

#[test]
fn a_network_without_addresses_answers_to_any_name_unless_there_is_a_list() {
    for (hosts, answer) in
        [(Hosts::Automatic, "HTTP/1.1 426 "), (list(&["example.org"]), "HTTP/1.1 421 ")]
    {
        let mut server = Server::with_net(Network::new(), config(|limits| limits.hosts = hosts));
        let wire = server.net().connects();
        wire.sends_bytes(for_host(&get("/"), "strange.example"));
        let mut events = Events::default();
        for _ in 0..4 {
            server.poll(&mut events, Some(Duration::ZERO)).expect("the poll works");
            for event in &events {
                crate::support::accept(server.hub(), event);
            }
        }
        let bytes = wire.reads_bytes();
        assert!(bytes.starts_with(answer.as_bytes()), "{}", bytes.escape_ascii());
    }
}

// Origins.

/// Each of these pages at each of the hosts below: 48 × 11.
const PAGES: [&str; 48] = [
    "http://example.org",
    "https://example.org",
    "http://example.org:80",
    "https://example.org:443",
    "HTTP://EXAMPLE.ORG",
    "http://example.org:443",
    "https://example.org:80",
    "http://example.org:8080",
    "https://example.org:8080",
    "http://example.org:08080",
    "http://example.org:80800",
    "http://example.org:8080:8080",
    "http://example.org.",
    "http://www.example.org",
    "http://example.org.evil.example",
    "http://evilexample.org",
    "http://example.orgevil.example",
    "http://example.or",
    "http://xample.org",
    "http://org",
    "http://example.org@evil.example",
    "http://evil.example@example.org",
    "http://user:pass@example.org",
    "http://example.org/",
    "http://example.org/path",
    "http://example.org?q",
    "http://example.org#f",
    "http://example.org, http://evil.example",
    "http://evil.example http://example.org",
    "http://evil.example\\example.org",
    "http://exam%70le.org",
    "http://example%2eorg",
    "http://\u{435}xample.org",
    "http://xn--xample-9uf.org",
    "http://xn--bcher-kva.example",
    "http://b\u{fc}cher.example",
    "http://localhost",
    "http://localhost:5173",
    "http://127.0.0.1",
    "http://127.0.0.1:5173",
    "http://127.1",
    "http://[::1]",
    "http://[::1]:5173",
    "http://[0:0:0:0:0:0:0:1]",
    "null",
    "file://",
    "chrome-extension://example.org",
    "example.org",
];

/// The hosts, and which of the pages are of the same origin; all others are not.
const SAME: [(&str, &[&str]); 11] = [
    (
        "example.org",
        &[
            "http://example.org",
            "https://example.org",
            "http://example.org:80",
            "https://example.org:443",
            "HTTP://EXAMPLE.ORG",
            "http://example.org/",
        ],
    ),
    (
        "example.org:80",
        &[
            "http://example.org",
            "http://example.org:80",
            "http://example.org/",
            "HTTP://EXAMPLE.ORG",
            "https://example.org:80",
        ],
    ),
    (
        "EXAMPLE.org:443",
        &["https://example.org", "https://example.org:443", "http://example.org:443"],
    ),
    (
        "example.org:8080",
        &["http://example.org:8080", "https://example.org:8080", "http://example.org:08080"],
    ),
    ("evil.example", &[]),
    ("xn--bcher-kva.example", &["http://xn--bcher-kva.example"]),
    ("localhost:5173", &["http://localhost:5173"]),
    ("127.0.0.1", &["http://127.0.0.1"]),
    ("[::1]:5173", &["http://[::1]:5173"]),
    ("::1:5173", &["http://[::1]:5173"]),
    ("[::1]", &["http://[::1]"]),
];

#[test]
fn only_pages_of_the_same_origin_open_a_websocket() {
    let server = server(Hosts::Any);
    let mut refused = 0;
    for (host, same) in SAME {
        for page in PAGES {
            let mut peer = server.connects();
            peer.sends_bytes(for_host(&handshake("/", &format!("Origin: {page}\r\n")), host));
            let status = peer.expects_status();
            let expected = if same.contains(&page) { 101 } else { 403 };
            assert_eq!(status, expected, "{page} at {host}");
            if expected == 403 {
                refused += 1;
                peer.pushes_bytes(get("/after-the-end"));
                peer.expects_eof();
            }
        }
    }
    let all = SAME.len() * PAGES.len();
    assert_eq!((all, refused), (528, 505));
    assert_eq!(server.handle().counters().handshakes_refused, refused);
}

/// With a list, those on it beside the same origin, to the letter.
#[test]
fn only_pages_on_the_list_open_a_websocket() {
    let listed = ["https://example.org", "http://localhost:5173", "chrome-extension://example.org"];
    let origins = Origins::List(listed.map(String::from).to_vec());
    let limits = config(|limits| (limits.hosts, limits.origins) = (Hosts::Any, origins));
    let server = TestServer::start(limits, site);
    for page in PAGES {
        let mut peer = server.connects();
        let request = handshake("/", &format!("Origin: {page}\r\n"));
        peer.sends_bytes(for_host(&request, "elsewhere.example"));
        let allowed = listed.contains(&page) || page == "https://example.org:443";
        assert_eq!(peer.expects_status(), if allowed { 101 } else { 403 }, "{page}");
    }
}

/// What an application asks of a plain request that changes something.
#[test]
fn the_hub_says_whose_pages_may_ask() {
    let origins = Origins::List(vec!["https://app.example".to_owned()]);
    let server = TestServer::start(config(|limits| limits.origins = origins), |hub, event| {
        if let Event::Request { id, request } = event {
            let allowed = hub.allows_origin(request).to_string();
            hub.respond(id, Response::text(200, allowed)).expect("the request waits");
        }
    });
    let mut peer = server.connects();
    for (origin, allowed) in [
        ("", "true"),
        ("Sec-Fetch-Site: none\r\n", "true"),
        ("Sec-Fetch-Site: same-origin\r\n", "true"),
        ("Sec-Fetch-Site: of-tomorrow\r\n", "true"),
        ("Sec-Fetch-Site: same-site\r\n", "false"),
        ("Sec-Fetch-Site: cross-site\r\n", "false"),
        ("Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n", "false"),
        ("Sec-Fetch-Site: cross-site\r\nOrigin: https://app.example\r\n", "true"),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: https://evil.example\r\n", "false"),
        ("Origin: https://app.example\r\n", "true"),
        ("Origin: https://evil.example\r\n", "false"),
        ("Origin: https://app.example\r\nOrigin: https://app.example\r\n", "false"),
    ] {
        peer.sends_bytes(get("/").replace("\r\n\r\n", &format!("\r\n{origin}\r\n")));
        assert_eq!(peer.expects_answer(200).body, allowed, "{origin}");
    }
}
