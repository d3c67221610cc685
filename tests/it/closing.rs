//! The end of a connection (RFC 6455 §5.5.1, §7): from either side, orderly or not.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{
    PATIENCE, Peer, Seen, TestServer, accept, burst, close, close_empty, config, continuation,
    frame, handshake, ping, pong, text,
};
use pushloop::{Accept, CloseCode, Event, ProtocolError, Reason, Response, SendError};

fn peer_closed(code: u16, text: &'static str) -> Seen {
    Seen::Closed(Reason::Peer { code, text })
}

fn failed(error: ProtocolError) -> Seen {
    Seen::Closed(Reason::Protocol(error))
}

/// Has the server begin the closing handshake.
fn closes(server: &TestServer, peer: &Peer, code: CloseCode, reason: &'static str) {
    let id = server.id_of(peer);
    server.act(move |hub| hub.close(id, code, reason));
}

// Begun by the peer.

#[test]
fn each_code_that_may_be_sent_is_answered_with_itself() {
    let server = TestServer::echo();
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        let mut peer = server.opens();
        peer.sends(close(code, "so long"));
        peer.expects(close(code, "so long"));
        peer.expects_eof();
        server.sees(&peer, peer_closed(code, "so long"));
        server.sees_no_more(&peer);
    }
}

#[test]
fn a_close_without_a_code_is_answered_without_one_and_told_as_1005() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    peer.sends(close_empty());
    peer.expects(close_empty());
    peer.expects_eof();
    server.sees(&peer, peer_closed(1005, ""));
    server.sees_no_more(&peer);
}

#[test]
fn a_reason_may_fill_the_frame() {
    let server = TestServer::echo();
    let reason = "é".repeat(61) + "!";
    assert_eq!(reason.len(), 123);
    let mut peer = server.opens();
    peer.sends(close(1000, &reason));
    peer.expects(close(1000, &reason));
    server.sees(&peer, peer_closed(1000, reason.leak()));
}

#[test]
fn a_payload_of_one_byte_is_an_error() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    peer.sends(frame(0x88, [0x03]));
    peer.expects_close(1002);
    peer.expects_eof();
    server.sees(&peer, failed(ProtocolError::ClosePayloadOneByte));
    server.sees_no_more(&peer);
}

#[test]
fn a_code_that_may_not_be_sent_is_an_error() {
    let server = TestServer::echo();
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let mut peer = server.opens();
        peer.sends(close(code, ""));
        peer.expects_close(1002);
        peer.expects_eof();
        server.sees(&peer, failed(ProtocolError::CloseCodeInvalid(code)));
        server.sees_no_more(&peer);
    }
}

#[test]
fn a_reason_that_is_not_utf8_is_an_error() {
    let server = TestServer::echo();
    for reason in [&b"\xFF"[..], b"cut \xC3", b"\xED\xA0\x80"] {
        let mut peer = server.opens();
        peer.sends(close(1000, reason));
        peer.expects_close(1007);
        peer.expects_eof();
        server.sees(&peer, failed(ProtocolError::InvalidUtf8));
    }
}

#[test]
fn a_close_between_fragments_is_answered_and_the_message_is_forgotten() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    peer.sends_burst(&[text("half").open(), close(1001, "leaving"), continuation("")]);
    peer.expects(close(1001, "leaving"));
    peer.expects_eof();
    server.sees(&peer, peer_closed(1001, "leaving"));
    server.sees_no_more(&peer);
}

#[test]
fn what_follows_the_peers_close_is_ignored() {
    let server = TestServer::echo();
    let script = [text("before"), close(1000, ""), text("after"), ping("after"), frame(0x83, "")];
    let mut peer = server.opens();
    peer.sends_burst(&script);
    peer.expects(text("before"));
    peer.expects(close(1000, ""));
    peer.expects_eof();
    peer.pushes_bytes(burst(&script));
    server.sees(&peer, Seen::Text("before".into()));
    server.sees(&peer, peer_closed(1000, ""));
    server.sees_no_more(&peer);
    assert_eq!(server.handle().counters().messages_received, 1);
}

// Begun by the server.

#[test]
fn the_servers_close_is_over_when_it_is_answered() {
    let server = TestServer::echo();
    // §7.1.5: the peer may answer with any code, or none.
    for answer in [close(1000, ""), close(4321, "mine"), close_empty()] {
        let mut peer = server.opens();
        closes(&server, &peer, CloseCode::POLICY, "because");
        peer.expects(close(1008, "because"));
        server.sees_no_more(&peer);
        peer.sends(answer);
        peer.expects_eof();
        let code = CloseCode::POLICY;
        server.sees(&peer, Seen::Closed(Reason::Local { code }));
        server.sees_no_more(&peer);
    }
}

#[test]
fn a_long_reason_is_cut_between_two_characters() {
    let server = TestServer::echo();
    for (character, fit) in [("x", 123), ("é", 61), ("€", 41), ("🦀", 30)] {
        let mut peer = server.opens();
        closes(&server, &peer, CloseCode::NORMAL, character.repeat(200).leak());
        assert_eq!(peer.expects_close(1000), character.repeat(fit));
    }
}

#[test]
fn nothing_follows_the_servers_close() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    let sent = server.act(move |hub| {
        let sent = [hub.send(id, "first")];
        hub.close(id, CloseCode::NORMAL, "");
        hub.close(id, CloseCode::POLICY, "a second one");
        [sent[0], hub.send(id, "after"), hub.send(id, vec![0; 1 << 20])]
    });
    assert_eq!(sent, [Ok(()), Err(SendError::Gone), Err(SendError::Gone)]);
    peer.expects(text("first"));
    peer.expects(close(1000, ""));
    peer.sends_burst(&[ping("unanswered"), pong(""), close_empty()]);
    peer.expects_eof();
    server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::NORMAL }));
    server.sees_no_more(&peer);
}

#[test]
fn messages_after_the_servers_close_are_counted_and_not_delivered() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    closes(&server, &peer, CloseCode::NORMAL, "");
    let fragments = [text("in ").open(), ping("x"), continuation("two")];
    peer.sends_burst(&[&[text("late")], &fragments[..], &[close(1000, "")]].concat());
    peer.expects(close(1000, ""));
    peer.expects_eof();
    server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::NORMAL }));
    server.sees_no_more(&peer);
    let counters = server.handle().counters();
    assert_eq!((counters.messages_after_close, counters.messages_received), (2, 0));
}

#[test]
fn a_message_that_is_half_there_when_the_server_closes_is_not_delivered() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    let [first, second] = [text("half").open(), continuation("whole")].map(|it| it.masked([7; 4]));
    server.takes_from(&mut peer, &first);
    server.takes_from(&mut peer, &second[..8]);
    closes(&server, &peer, CloseCode::NORMAL, "");
    peer.sends_bytes([&second[8..], &burst(&[close_empty()])].concat());
    peer.expects(close(1000, ""));
    peer.expects_eof();
    server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::NORMAL }));
    server.sees_no_more(&peer);
    assert_eq!(server.handle().counters().messages_after_close, 1);
}

#[test]
fn closes_that_cross_are_one_each() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    server.act_and_wait_for(
        move |hub| hub.close(id, CloseCode::NORMAL, "ours"),
        || peer.sends(close(4000, "theirs")),
    );
    peer.expects(close(1000, "ours"));
    peer.expects_eof();
    server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::NORMAL }));
    server.sees_no_more(&peer);
}

#[test]
fn a_close_that_is_in_the_batch_already_comes_first() {
    let server = TestServer::start(config(|_| ()), |hub, event| match event {
        Event::Message { id, .. } => hub.close(id, CloseCode::POLICY, "too late"),
        event => accept(hub, event),
    });
    let mut peer = server.opens();
    peer.sends_burst(&[text("last words"), close(4000, "bye")]);
    peer.expects(close(4000, "bye"));
    peer.expects_eof();
    server.sees(&peer, Seen::Text("last words".into()));
    server.sees(&peer, peer_closed(4000, "bye"));
    server.sees_no_more(&peer);
}

#[test]
fn a_broken_frame_after_the_servers_close_gets_no_second_close() {
    let server = TestServer::echo();
    for broken in [frame(0x83, ""), text([0xFF]), continuation(""), frame(0x88, [1])] {
        let mut peer = server.opens();
        closes(&server, &peer, CloseCode::GOING_AWAY, "");
        peer.sends(broken);
        peer.expects(close(1001, ""));
        peer.expects_eof();
        server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::GOING_AWAY }));
        server.sees_no_more(&peer);
    }
}

#[test]
fn a_fin_in_place_of_an_answer_ends_the_servers_close() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    closes(&server, &peer, CloseCode::NORMAL, "");
    peer.expects(close(1000, ""));
    peer.finishes();
    peer.expects_eof();
    server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::NORMAL }));
    server.sees_no_more(&peer);
    server.until(|hub| hub.connection_count() == 0);
}

#[test]
fn an_id_does_not_reach_the_connection_that_took_its_place() {
    let server = TestServer::echo();
    let mut old = server.opens();
    let stale = server.id_of(&old);
    old.sends(close_empty());
    old.expects(close_empty());
    old.expects_eof();
    drop(old);
    server.until(|hub| hub.connection_count() == 0);
    server.act(|_| ());
    let mut new = server.opens();
    let id = server.id_of(&new);
    let index = |id: pushloop::ConnId| id.to_bits() as u32;
    assert!(index(id) == index(stale) && id != stale, "the slot is used again: {stale:?} {id:?}");
    let sent = server.act(move |hub| {
        hub.close(stale, CloseCode::POLICY, "not for the new one");
        (hub.send(stale, "x"), hub.is_open(stale), hub.queued_bytes(stale))
    });
    assert_eq!(sent, (Err(SendError::Gone), false, 0));
    server.handle().close(stale, CloseCode::POLICY, "").expect("the mailbox has room");
    server.handle().send(stale, "x").expect("the mailbox has room");
    server.until(|hub| hub.counters().stale_commands == 2);
    new.sends(text("mine"));
    new.expects(text("mine"));
}

// Without a closing handshake.

#[test]
fn a_fin_without_a_close_is_a_loss_told_once() {
    let server = TestServer::echo();
    for part in [&b""[..], &text("half").open().masked([1; 4]), &text("x").masked([1; 4])[..4]] {
        let mut peer = server.opens();
        peer.sends_bytes([burst(&[text("whole")]), part.to_vec()].concat());
        peer.finishes();
        peer.expects(text("whole"));
        peer.expects_eof();
        server.sees(&peer, Seen::Text("whole".into()));
        server.sees(&peer, Seen::Closed(Reason::Lost));
        server.until(|hub| hub.connection_count() == 0);
        server.sees_no_more(&peer);
    }
}

/// The kernel tells of the bytes and of the end at once; the bytes come first.
#[test]
fn messages_a_close_and_a_fin_in_one_burst_are_all_served() {
    let server = TestServer::echo();
    for _ in 0..50 {
        let mut peer = server.opens();
        let messages: Vec<_> = (0..20).map(|i| text(format!("message {i}"))).collect();
        peer.sends_burst(&[&messages[..], &[close(1000, "done")]].concat());
        peer.finishes();
        for message in messages {
            server.sees(&peer, Seen::Text(String::from_utf8(message.payload.clone()).unwrap()));
            peer.expects(message);
        }
        peer.expects(close(1000, "done"));
        peer.expects_eof();
        server.sees(&peer, peer_closed(1000, "done"));
        server.sees_no_more(&peer);
    }
    server.until(|hub| hub.connection_count() == 0);
}

#[test]
fn a_reset_is_a_loss_told_once() {
    let server = TestServer::start(config(|_| ()), accept);
    let whole = burst(&[text("x"), text("y").open(), ping("z"), continuation(vec![b'z'; 200])]);
    for at in (0..whole.len()).step_by(5) {
        let mut peer = server.opens();
        peer.sends(ping(""));
        peer.sends_bytes(&whole[..at]);
        peer.resets();
        loop {
            match server.next_of(&peer) {
                // What came before it may still have been there to read, or not.
                Seen::Text(text) => assert_eq!(text, "x"),
                end => break assert_eq!(end, Seen::Closed(Reason::Lost), "reset after {at} bytes"),
            }
        }
        server.until(|hub| hub.connection_count() == 0);
        server.sees_no_more(&peer);
    }
}

/// §7.1.1: a socket that is closed with input unread is reset, and the peer may never read what
/// was sent to it last.
#[test]
fn a_peer_that_has_a_mebibyte_in_flight_still_reads_the_close() {
    let server = TestServer::echo();
    let mebibyte = vec![0x55; 1 << 20];
    let endings = [
        (frame(0x83, "").masked([1; 4]), 1002),
        (vec![0x82, 0xFF, 0, 0, 0, 0, 0x7F, 0, 0, 0, 1, 2, 3, 4], 1009),
        (close(4000, "").masked([1; 4]), 4000),
        (text([0xFF]).masked([1; 4]), 1007),
    ];
    for (bytes, code) in endings.iter().cycle().take(100) {
        let mut peer = server.opens();
        peer.sends_bytes([&bytes[..], &mebibyte].concat());
        peer.expects_close(*code);
        peer.expects_eof();
        // A reset would have come by now, and this would fail.
        server.act(|_| ());
        server.act(|_| ());
        peer.sends_bytes("more");
    }
}

#[test]
fn a_connection_is_gone_as_soon_as_both_sides_have_finished() {
    let limits = config(|limits| {
        limits.linger_timeout = 10 * PATIENCE;
        limits.close_timeout = 10 * PATIENCE;
    });
    let server = TestServer::start(limits, accept);
    for finishes_first in [false, true] {
        let mut peer = server.opens();
        peer.sends(close_empty());
        if finishes_first {
            peer.finishes();
        }
        peer.expects(close_empty());
        peer.expects_eof();
        if !finishes_first {
            server.act(|_| ());
            assert_eq!(server.act(|hub| hub.connection_count()), 1);
            peer.finishes();
        }
        server.until(|hub| hub.connection_count() == 0);
    }
}

// With the server.

#[test]
fn a_shutdown_says_goodbye_behind_what_is_queued() {
    let server = TestServer::echo();
    let mut peers = [server.opens(), server.opens()];
    let ids = peers.each_ref().map(|peer| server.id_of(peer));
    server.act(move |hub| {
        for id in ids {
            hub.send(id, "last").expect("it is open");
        }
        hub.shutdown(PATIENCE);
    });
    for peer in &mut peers {
        peer.expects(text("last"));
        peer.expects_close(1001);
        peer.sends(close(1001, ""));
        peer.expects_eof();
        server.sees(peer, Seen::Closed(Reason::Shutdown));
    }
}

#[test]
fn a_shutdown_is_complete_when_the_last_peer_is_gone() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    server.act(|hub| hub.shutdown(Duration::MAX));
    peer.expects_close(1001);
    peer.sends(close(1001, ""));
    peer.expects_eof();
    drop(peer);
    server.ends();
}

#[test]
fn a_shutdown_waits_for_a_silent_peer_until_its_deadline() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    server.handle().shutdown(Duration::from_millis(100)).expect("the server runs");
    peer.expects_close(1001);
    peer.expects_end();
    server.sees(&peer, Seen::Closed(Reason::Shutdown));
    server.ends();
}

#[test]
fn a_server_that_shuts_down_takes_no_further_connection() {
    let server = TestServer::echo();
    let mut open = server.opens();
    let mut silent = server.connects();
    server.until(|hub| hub.connection_count() == 2);
    server.act(|hub| hub.shutdown(PATIENCE));
    // It has sent nothing, and would not be answered.
    silent.expects_eof();
    open.expects_close(1001);
    let refused = TcpStream::connect(server.address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    open.sends(close_empty());
    open.expects_eof();
}

#[test]
fn a_request_that_waits_for_its_answer_survives_a_shutdown() {
    let server = TestServer::start(config(|_| ()), |_, _| ());
    let mut plain = server.connects();
    let mut upgrade = server.connects();
    plain.sends_bytes("GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n");
    upgrade.sends_bytes(handshake("/upgrade", ""));
    let ids = [&plain, &upgrade].map(|peer| server.request_of(peer));
    server.act(|hub| hub.shutdown(PATIENCE));
    server.act(move |hub| {
        hub.respond(ids[0], Response::text(200, "still here")).expect("it waits");
        hub.accept(ids[1], Accept::default()).expect("it waits");
    });
    assert_eq!(plain.expects_answer(200).body, "still here");
    plain.expects_eof();
    upgrade.expects_upgrade();
    upgrade.expects_close(1001);
    upgrade.sends(close_empty());
    upgrade.expects_eof();
}
