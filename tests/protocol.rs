//! Frames and messages (RFC 6455 §5), from a peer's side of the connection.

mod support;

use support::{Seen, TestServer, text};

#[test]
fn text_comes_back() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    peer.sends(text("x"));
    peer.expects(text("x"));
    server.sees(&peer, Seen::Text("x".into()));
    let id = server.id_of(&peer);
    assert_eq!(server.act(move |hub| hub.queued_bytes(id)), 0);
}
