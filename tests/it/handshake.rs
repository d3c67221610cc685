//! The opening handshake (RFC 6455 §4.2): what is refused unseen, and what the application may
//! make of the rest.

use crate::support::{
    Peer, Seen, TestServer, accept, burst, close, config, echo, get, handshake, text,
};
use pushloop::{Accept, AcceptError, CloseCode, Event, Hub, Origins, Reason, Response, SendError};

/// A server that answers nothing by itself.
fn silent() -> TestServer {
    TestServer::start(config(|_| ()), |_, _| ())
}

/// Has the server accept a peer's request.
#[track_caller]
fn accepts(server: &TestServer, peer: &Peer, how: Accept<'static>) -> Result<(), AcceptError> {
    let id = server.request_of(peer);
    server.act(move |hub| hub.accept(id, how))
}

// What the application never sees.

/// §4.2.1, RFC 9112: each with the line of a handshake that it is made from.
const BROKEN: [(u16, &str, &str); 20] = [
    (405, "GET /", "POST /"),
    (405, "GET /", "TRACE /"),
    (400, "GET /", "GET /#top"),
    (400, "GET /", "GET "),
    (400, "HTTP/1.1", "HTTP/1.0"),
    (505, "HTTP/1.1", "HTTP/2.0"),
    (400, "HTTP/1.1", "HTTP/1.10"),
    (400, "Host: localhost\r\n", ""),
    (400, "Host: localhost", "Host: localhost\r\nHost: localhost"),
    (400, "Host: localhost", "Host : localhost"),
    (400, "Host: localhost\r\n", "Host: localhost\n"),
    (426, "Upgrade: websocket", "Upgrade: websocket/13"),
    (400, "Connection: Upgrade", "Connection: keep-alive"),
    (426, "Version: 13", "Version: 12"),
    (426, "Version: 13", "Version: 13, 8"),
    (400, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ"),
    (400, "\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n12345"),
    (400, "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (417, "\r\n\r\n", "\r\nExpect: 200-ok\r\n\r\n"),
    (400, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: a, a\r\n\r\n"),
];

#[test]
fn a_broken_handshake_is_refused_and_ends_the_connection() {
    let server = TestServer::echo();
    for (status, line, broken) in BROKEN {
        let mut peer = server.connects();
        let request = handshake("/", "").replacen(line, broken, 1);
        assert_ne!(request, handshake("/", ""));
        peer.sends_bytes([request.as_bytes(), &burst(&[text("x")])].concat());
        let answer = peer.expects_refusal(status);
        let (upgrade, version) = (answer.header("Upgrade"), answer.header("Sec-WebSocket-Version"));
        // §4.2.2(4), RFC 9110 §15.5.22.
        let wanted = (status == 426).then_some(("websocket", "13"));
        assert_eq!(upgrade.zip(version), wanted, "{broken:?}");
        assert_eq!(answer.header("Allow").is_some(), status == 405, "{broken:?}");
    }
    let counters = server.handle().counters();
    assert_eq!(counters.handshakes_refused, BROKEN.len() as u64);
    assert_eq!((counters.upgrades, counters.messages_received), (0, 0));
}

#[test]
fn pages_of_other_origins_are_refused() {
    let list = vec!["https://friend.example".to_owned(), "http://dev.example:5173".to_owned()];
    let policies = [Origins::SameOrigin, Origins::List(list), Origins::Any];
    // By policy, in that order: whether it may connect to http://localhost.
    let origins = [
        (&["http://localhost"][..], [true; 3]),
        (&["http://LOCALHOST:80"], [true; 3]),
        (&[], [true; 3]),
        (&["https://friend.example"], [false, true, true]),
        (&["https://friend.example:443"], [false, true, true]),
        (&["http://dev.example:5173"], [false, true, true]),
        (&["http://friend.example"], [false, false, true]),
        (&["https://friend.example:8443"], [false, false, true]),
        (&["https://friend.example.evil"], [false, false, true]),
        (&["https://a.friend.example"], [false, false, true]),
        (&["http://localhost:8080"], [false, false, true]),
        (&["http://localhost.evil"], [false, false, true]),
        (&["null"], [false, false, true]),
        (&["localhost"], [false, false, true]),
        (&["http://localhost", "http://localhost"], [false; 3]),
    ];
    for (at, policy) in policies.into_iter().enumerate() {
        let server = TestServer::start(config(|limits| limits.origins = policy), echo);
        for (origin, allowed) in origins {
            let mut peer = server.connects();
            let lines: String = origin.iter().map(|it| format!("Origin: {it}\r\n")).collect();
            peer.sends_bytes(handshake("/", &lines));
            if allowed[at] {
                peer.expects_upgrade();
            } else {
                peer.expects_refusal(403);
            }
        }
        let refused = origins.iter().filter(|(_, allowed)| !allowed[at]).count() as u64;
        assert_eq!(server.handle().counters().handshakes_refused, refused);
        // The policy is for WebSockets: plain requests are the application's to judge.
        let mut peer = server.connects();
        let foreign = "\r\nOrigin: http://elsewhere.example\r\n\r\n";
        peer.sends_bytes(get("/").replace("\r\n\r\n", foreign));
        server.sees(&peer, Seen::Request("GET /".into()));
    }
}

// What the application answers.

#[test]
fn the_101_has_what_was_agreed_on_and_nothing_else() {
    let server = TestServer::echo();
    let mut peer = server.connects();
    let offers = "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: x-unknown\r\n";
    peer.sends_bytes(handshake("/", offers));
    let head = peer.expects_upgrade().head;
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(head, expected);
    assert_eq!(server.handle().counters().upgrades, 1);
}

#[test]
fn a_subprotocol_must_be_one_that_was_offered() {
    let server = silent();
    let mut peer = server.connects();
    let offers = "Sec-WebSocket-Protocol: chat.v2\r\nSec-WebSocket-Protocol: chat.v1, Echo\r\n";
    peer.sends_bytes(handshake("/", offers));
    for other in ["chat.v3", "echo", "chat", "chat.v2, chat.v1", ""] {
        let how = Accept { subprotocol: Some(other), ..Accept::default() };
        // The request still waits.
        assert_eq!(accepts(&server, &peer, how), Err(AcceptError::SubprotocolNotOffered));
    }
    let how = Accept { subprotocol: Some("chat.v1"), ..Accept::default() };
    assert_eq!(accepts(&server, &peer, how), Ok(()));
    let answer = peer.expects_upgrade();
    assert_eq!(answer.header("Sec-WebSocket-Protocol"), Some("chat.v1"));
    assert_eq!(accepts(&server, &peer, Accept::default()), Err(AcceptError::Gone));
}

#[test]
fn header_fields_may_be_added_that_are_not_the_handshakes_own() {
    let server = silent();
    let mut peer = server.connects();
    peer.sends_bytes(handshake("/", ""));
    for refused in [
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("sec-websocket-protocol", "chat"),
        ("Connection", "close"),
        ("Upgrade", "h2c"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("X Y", "z"),
        ("X", "a\r\nY: b"),
    ] {
        let headers = &*Box::leak(Box::new([("X-Fine", "yes"), refused]));
        let how = Accept { headers, ..Accept::default() };
        assert_eq!(accepts(&server, &peer, how), Err(AcceptError::InvalidHeader), "{refused:?}");
    }
    let headers = &[("Set-Cookie", "a=b"), ("X-Fine", "yes")];
    let how = Accept { headers, ..Accept::default() };
    assert_eq!(accepts(&server, &peer, how), Ok(()));
    let answer = peer.expects_upgrade();
    assert_eq!(answer.header("Set-Cookie"), Some("a=b"));
    assert_eq!(answer.header("X-Fine"), Some("yes"));
}

/// `Upgrade` is set by the handshake: a second one would make two of it.
#[test]
fn an_upgrade_header_of_the_applications_own_is_refused_or_left_out() {
    let server = silent();
    let mut peer = server.connects();
    peer.sends_bytes(handshake("/", ""));
    let how = Accept { headers: &[("Upgrade", "h2c")], ..Accept::default() };
    if accepts(&server, &peer, how).is_err() {
        accepts(&server, &peer, Accept::default()).expect("the request waits");
    }
    assert_eq!(peer.expects_upgrade().header("Upgrade"), Some("websocket"));
}

#[test]
fn a_plain_request_that_is_accepted_is_told_to_upgrade() {
    let server = silent();
    let mut peer = server.connects();
    peer.sends_bytes(get("/"));
    assert_eq!(accepts(&server, &peer, Accept::default()), Err(AcceptError::NotWebSocket));
    let answer = peer.expects_answer(426);
    assert_eq!(answer.header("Upgrade"), Some("websocket"));
    assert_eq!(answer.header("Sec-WebSocket-Version"), Some("13"));
    server.sees(&peer, Seen::Request("GET /".into()));
    server.sees_no_more(&peer);
}

/// A proxy that takes the refused connection for a tunnel must not get a second answer out of it.
#[test]
fn a_handshake_that_the_application_refuses_ends_the_connection() {
    let server = TestServer::start(config(|_| ()), |hub, event| {
        if let Event::Request { id, .. } = event {
            hub.refuse(id, 404, "no such topic").expect("the request waits");
        }
    });
    let mut peer = server.connects();
    peer.sends_bytes([handshake("/", ""), get("/smuggled")].concat());
    assert_eq!(peer.expects_refusal(404).body, "no such topic");
    server.sees(&peer, Seen::Request("GET /".into()));
    server.sees_no_more(&peer);
    assert_eq!(server.handle().counters().handshakes_refused, 1);
}

#[test]
fn an_accepted_connection_takes_messages_at_once() {
    let greet = |hub: &mut Hub, event: Event<'_>| {
        if let Event::Request { id, .. } = event {
            let request = id;
            let id = request.conn();
            assert_eq!((hub.send(id, "early"), hub.is_open(id)), (Err(SendError::Gone), false));
            hub.accept(request, Accept::default()).expect("it asks for a WebSocket");
            assert!(hub.is_open(id));
            hub.send(id, "first").expect("it is open");
            hub.subscribe(id, "news").expect("it is open");
            assert_eq!(hub.publish("news", "second").map(|it| it.subscribers), Ok(1));
        }
    };
    let server = TestServer::start(config(|_| ()), greet);
    let mut peer = server.opens();
    peer.expects(text("first"));
    peer.expects(text("second"));
}

#[test]
fn a_connection_that_is_closed_as_it_is_accepted_is_opened_first() {
    let server = TestServer::start(config(|_| ()), |hub, event| {
        if let Event::Request { id, .. } = event {
            accept(hub, event);
            hub.close(id.conn(), CloseCode::POLICY, "full");
        }
    });
    let mut peer = server.opens();
    peer.expects(close(1008, "full"));
    peer.sends(close(1008, ""));
    peer.expects_eof();
    let code = CloseCode::POLICY;
    server.sees(&peer, Seen::Closed(Reason::Local { code }));
}

/// What it is told before is a notice: the request can still be accepted.
#[test]
fn a_peer_that_is_gone_before_it_is_accepted_is_opened_and_lost() {
    let server = silent();
    for resets in [false, true] {
        let mut peer = server.connects();
        peer.sends_bytes([get("/"), handshake("/", "")].concat());
        let id = server.request_of(&peer);
        server.act(move |hub| hub.respond(id, Response::text(200, "unread"))).expect("it waits");
        server.sees(&peer, Seen::Request("GET /".into()));
        server.sees(&peer, Seen::Request("GET /".into()));
        if resets {
            peer.resets();
        } else {
            peer.finishes();
        }
        server.sees(&peer, Seen::RequestGone);
        server.sees_no_more(&peer);
        assert_eq!(accepts(&server, &peer, Accept::default()), Ok(()));
        if !resets {
            peer.expects_answer(200);
            peer.expects_upgrade();
            peer.expects_eof();
        }
        server.sees(&peer, Seen::Opened);
        server.sees(&peer, Seen::Closed(Reason::Lost));
        server.until(|hub| hub.connection_count() == 0);
        server.sees_no_more(&peer);
    }
}
