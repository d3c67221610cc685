//! Which client a request comes from, by what a proxy says.

use pushloop::{ClientHeader, Config, Event, Events, Hosts, Hub, Proxies, Response};

use crate::support::get;
use crate::support::net::{Network, Wire};

type Server = pushloop::Server<Network>;

fn server(set: impl FnOnce(&mut Proxies)) -> Server {
    let mut config = Config::default();
    config.hosts = Hosts::Any;
    config.proxies.networks = vec!["10.0.0.0/8".parse().expect("a network")];
    set(&mut config.proxies);
    Server::with_net(Network::new(), config)
}

/// Answers which client a request comes from, and which peer sent it.
fn answer(hub: &mut Hub, event: Event<'_>) {
    if let Event::Request { id, request } = event {
        let client = request.client().map_or("nobody".into(), |client| client.to_string());
        let peer = request.peer().map_or("no address".into(), |peer| peer.to_string());
        hub.respond(id, Response::text(200, format!("{client} by {peer}"))).expect("it waits");
    }
}

fn turns(server: &mut Server) {
    let mut events = Events::default();
    for _ in 0..6 {
        server.poll(&mut events, Some(std::time::Duration::ZERO)).expect("the poll works");
        for event in &events {
            answer(server.hub(), event);
        }
    }
}

/// A connection from this address, or over a Unix-domain socket.
fn connects(server: &mut Server, from: Option<&str>) -> Wire {
    server.net().connects_from(from.map(|from| from.parse().expect("an address")))
}

fn gets(server: &mut Server, wire: &Wire, bytes: &[u8]) -> String {
    wire.sends_bytes(bytes);
    turns(server);
    String::from_utf8(wire.reads_bytes()).expect("text")
}

const PROXY: Option<&str> = Some("10.0.0.1:1000");
const STRANGER: Option<&str> = Some("192.0.2.7:1000");
const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\xC0\0\x02\x01\xC6\x33\x64\x01\xDC\x04\x01\xBB";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn a_header_is_read_as_far_as_proxies_wrote_it() {
    let with = |lines: &str| get("/").replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"));
    let two = with("X-Forwarded-For: 192.0.2.9, 192.0.2.1\r\nForwarded: for=192.0.2.8");
    for (header, unix, from, client) in [
        (ClientHeader::XForwardedFor, false, PROXY, "192.0.2.1 by 10.0.0.1:1000"),
        (ClientHeader::XForwardedFor, false, STRANGER, "192.0.2.7 by 192.0.2.7:1000"),
        (ClientHeader::XForwardedFor, true, None, "192.0.2.1 by no address"),
        (ClientHeader::XForwardedFor, false, None, "nobody by no address"),
        (ClientHeader::Forwarded, false, PROXY, "192.0.2.8 by 10.0.0.1:1000"),
        (ClientHeader::None, false, PROXY, "10.0.0.1 by 10.0.0.1:1000"),
    ] {
        let mut server = server(|proxies| (proxies.header, proxies.unix) = (header, unix));
        let wire = connects(&mut server, from);
        let answer = gets(&mut server, &wire, two.as_bytes());
        assert!(answer.ends_with(client), "{header:?} {from:?}: {answer}");
    }
}

#[test]
fn a_proxy_header_may_be_cut_anywhere_and_comes_once() {
    let mut server = server(|_| ());
    server.require_proxy_header(0);
    for (header, client) in [(V1, "192.0.2.1"), (V2, "192.0.2.1"), (LOCAL, "10.0.0.1")] {
        let both = [header, get("/").as_bytes()].concat();
        for at in 1..both.len() {
            let wire = connects(&mut server, PROXY);
            let (first, second) = both.split_at(at);
            let answer = gets(&mut server, &wire, first) + &gets(&mut server, &wire, second);
            assert!(answer.ends_with(&format!("{client} by 10.0.0.1:1000")), "{at}: {answer}");
            // The connection's next request has none.
            let next = gets(&mut server, &wire, get("/next").as_bytes());
            assert!(next.ends_with(&format!("{client} by 10.0.0.1:1000")), "{next}");
        }
    }
}

/// The PROXY protocol names the client; from there on, a header may say more.
#[test]
fn a_header_behind_a_proxy_header_is_believed_if_that_names_a_proxy() {
    let said = get("/").replace("\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.5\r\n\r\n");
    let mut server = server(|proxies| proxies.header = ClientHeader::XForwardedFor);
    server.require_proxy_header(0);
    let inner = b"PROXY TCP4 10.9.9.9 10.0.0.2 1 1\r\n";
    // One that names no client speaks for a stranger, which has written the header.
    let unknown = b"PROXY UNKNOWN\r\n";
    for (header, client) in
        [(V1, "192.0.2.1"), (inner, "192.0.2.5"), (unknown, "10.0.0.1"), (LOCAL, "10.0.0.1")]
    {
        let wire = connects(&mut server, PROXY);
        let answer = gets(&mut server, &wire, &[header, said.as_bytes()].concat());
        assert!(answer.ends_with(&format!("{client} by 10.0.0.1:1000")), "{answer}");
    }
}

#[test]
fn a_proxy_header_is_required_or_forbidden() {
    let request = get("/");
    let whole = |header: &[u8]| [header, request.as_bytes()].concat();
    let long = [&V2[..14], b"\xFF\xFF"].concat();
    for (requires, from, bytes, status, why) in [
        (true, PROXY, whole(b""), 400, "PROXY protocol"),
        (true, PROXY, whole(b"PROXY TCP4 192.0.2.1\r\n"), 400, "PROXY protocol"),
        (true, PROXY, whole(&[V1, V1].concat()), 400, "well-formed"),
        (true, PROXY, long, 400, "PROXY protocol"),
        (true, STRANGER, whole(V1), 403, "trusts"),
        (true, None, whole(V1), 403, "trusts"),
        (false, PROXY, whole(V1), 400, "well-formed"),
        (false, PROXY, whole(V2), 400, "well-formed"),
    ] {
        let mut server = server(|_| ());
        if requires {
            server.require_proxy_header(0);
        }
        let wire = connects(&mut server, from);
        let answer = gets(&mut server, &wire, &bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(why) && wire.is_ended(), "{answer}");
        assert_eq!(server.hub().counters().handshakes_refused, 1);
        assert_eq!(server.hub().counters().requests, 0);
    }
}
