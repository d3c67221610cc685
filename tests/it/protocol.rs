//! Frames and messages (RFC 6455 §5), from a peer's side of the connection.

use crate::support::{
    Seen, TestServer, binary, burst, close, continuation, frame, handshake, ping, pong, text,
};
use pushloop::{ProtocolError, Reason};
use socket2::SockRef;

/// What breaks a rule of §5 as soon as its last byte is there, and how.
fn broken_headers() -> Vec<(Vec<u8>, ProtocolError)> {
    use ProtocolError::*;
    let mut broken = vec![
        (vec![0x81, 0x00], MaskMissing),
        (vec![0x88, 0x02], MaskMissing),
        (vec![0xC1, 0x80], RsvSet),
        (vec![0xA2, 0x80], RsvSet),
        (vec![0x91, 0x80], RsvSet),
        (vec![0xC9, 0x80], RsvSet),
        (vec![0x82, 0xFE, 0, 125], LengthNotMinimal),
        (vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], LengthNotMinimal),
        (vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], LengthMsb),
        (vec![0x08, 0x80], ControlFragmented),
        (vec![0x09, 0x80], ControlFragmented),
        (vec![0x0A, 0x80], ControlFragmented),
        (vec![0x89, 0xFE], ControlTooLong),
        (vec![0x88, 0xFF], ControlTooLong),
        (vec![0x80, 0x80], ContinuationUnexpected),
        (vec![0x00, 0x80], ContinuationUnexpected),
    ];
    for opcode in (3..=7).chain(0xB..=0xF) {
        broken.push((vec![0x80 | opcode, 0x80], OpCodeReserved(opcode)));
    }
    let inside = |header: [u8; 2]| [text("part").open().masked([1; 4]), header.to_vec()].concat();
    broken.push((inside([0x81, 0x80]), ContinuationExpected));
    broken.push((inside([0x02, 0x80]), ContinuationExpected));
    broken.push((inside([0xC0, 0x80]), RsvSet));
    broken
}

#[test]
fn a_broken_header_fails_at_once_behind_the_echo_of_what_came_before() {
    let server = TestServer::echo();
    for (bytes, error) in broken_headers() {
        let mut peer = server.opens();
        peer.sends_bytes([burst(&[text("before")]), bytes].concat());
        peer.expects(text("before"));
        let reason = peer.expects_close(1002);
        assert_eq!(reason, error.to_string());
        peer.expects_eof();
        server.sees(&peer, Seen::Text("before".into()));
        server.sees(&peer, Seen::Closed(Reason::Protocol(error)));
        server.sees_no_more(&peer);
    }
}

#[test]
fn a_broken_header_fails_byte_by_byte_too() {
    let server = TestServer::echo();
    for (bytes, error) in broken_headers() {
        let mut peer = server.opens();
        for byte in bytes {
            server.takes_from(&mut peer, &[byte]);
        }
        peer.expects_close(1002);
        peer.expects_eof();
        server.sees(&peer, Seen::Closed(Reason::Protocol(error)));
    }
}

#[test]
fn what_follows_a_broken_frame_is_not_read() {
    let server = TestServer::echo();
    for (bytes, error) in broken_headers() {
        let mut peer = server.opens();
        let after = burst(&[text("after"), ping("after"), close(1000, "after")]);
        peer.sends_bytes([bytes, after.clone()].concat());
        peer.expects_close(1002);
        peer.expects_eof();
        peer.pushes_bytes(after);
        server.sees(&peer, Seen::Closed(Reason::Protocol(error)));
        server.sees_no_more(&peer);
    }
}

#[test]
fn a_ping_between_fragments_is_answered_at_once() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    peer.sends(text("one ").open());
    peer.sends(ping("now"));
    peer.expects(pong("now"));
    peer.sends(continuation("two ").open());
    peer.sends(ping(""));
    peer.expects(pong(""));
    peer.sends(continuation("three"));
    peer.expects(text("one two three"));
}

#[test]
fn a_pong_echoes_a_payload_of_any_length() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    for len in 0..=125 {
        let payload: Vec<u8> = (0..len).map(|i| i ^ 0xA5).collect();
        peer.sends(ping(&payload));
        peer.expects(pong(&payload));
    }
}

#[test]
fn ten_pings_at_once_get_ten_pongs() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    let pings: Vec<_> = (0..10).map(|i| ping([i])).collect();
    peer.sends_burst(&pings);
    for i in 0..10 {
        peer.expects(pong([i]));
    }
    assert_eq!(server.handle().counters().pongs_coalesced, 0);
}

#[test]
fn an_unsolicited_pong_is_ignored() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    peer.sends_burst(&[pong("unasked"), pong(""), text("x"), pong([0xFF; 125])]);
    peer.expects(text("x"));
    peer.sends(ping("asked"));
    peer.expects(pong("asked"));
    server.sees(&peer, Seen::Text("x".into()));
    server.sees_no_more(&peer);
}

#[test]
fn each_form_of_the_length_is_read_and_written() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    for len in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000] {
        peer.sends(text("t".repeat(len)));
        peer.expects(text("t".repeat(len)));
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        peer.sends(binary(&bytes));
        peer.expects(binary(&bytes));
    }
}

/// §5.3: any key will do, even one that changes nothing.
#[test]
fn each_frame_has_a_mask_of_its_own() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    let keys = [[0; 4], [0xFF; 4], [1, 0, 0, 0], [0, 0, 0, 1], [0x12, 0x34, 0x56, 0x78]];
    for (at, key) in keys.into_iter().enumerate() {
        peer.mask = key;
        for len in 0..20 {
            let payload = vec![at as u8 + 1; len];
            peer.sends(binary(&payload));
            peer.expects(binary(&payload));
        }
    }
}

/// Characters of one to four bytes.
const TEXT: &str = "aé€🦀z";

#[test]
fn text_may_be_cut_inside_of_a_character_by_fragments() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    let bytes = TEXT.as_bytes();
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        peer.sends_burst(&[text(first).open(), continuation(second)]);
        peer.expects(text(TEXT));
        server.sees(&peer, Seen::Text(TEXT.into()));
    }
    // One byte in each fragment, and a Ping behind each.
    peer.sends(text("").open());
    for byte in bytes {
        peer.sends_burst(&[continuation([*byte]).open(), ping([*byte])]);
        peer.expects(pong([*byte]));
    }
    peer.sends(continuation(""));
    peer.expects(text(TEXT));
}

#[test]
fn text_may_be_cut_inside_of_a_character_by_segments() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    let bytes = text(TEXT).masked([9, 8, 7, 6]);
    for at in 0..bytes.len() {
        let (first, second) = bytes.split_at(at);
        server.takes_from(&mut peer, first);
        peer.sends_bytes(second);
        peer.expects(text(TEXT));
        server.sees(&peer, Seen::Text(TEXT.into()));
    }
}

/// §8.1: the frame announces a hundred bytes, and the text is impossible after these.
#[test]
fn text_fails_at_its_first_impossible_byte() {
    let impossible: [&[u8]; 9] = [
        b"\x80",
        b"ab\xFF",
        b"\xC0",
        b"\xC3(",
        b"\xE0\x80",
        b"\xED\xA0",
        b"\xF0\x80",
        b"\xF4\x90",
        b"\xF0\x9F\xA6\xC3",
    ];
    let server = TestServer::echo();
    for bytes in impossible {
        let masked = |first: u8, len: usize| {
            let mut whole = bytes.to_vec();
            whole.resize(len, b' ');
            frame(first, whole).masked([3; 4])[..6 + bytes.len()].to_vec()
        };
        for first in [0x81, 0x01] {
            let mut peer = server.opens();
            let (before, last) = (masked(first, 100), 6 + bytes.len() - 1);
            server.takes_from(&mut peer, &before[..last]);
            server.sees_no_more(&peer);
            peer.sends_bytes(&before[last..]);
            peer.expects_close(1007);
            peer.expects_eof();
            server.sees(&peer, Seen::Closed(Reason::Protocol(ProtocolError::InvalidUtf8)));
        }
        let mut peer = server.opens();
        peer.sends_bytes([text("é").open().masked([1; 4]), masked(0x80, 100)].concat());
        peer.expects_close(1007);
        peer.expects_eof();
    }
}

#[test]
fn text_that_ends_inside_of_a_character_fails() {
    let server = TestServer::echo();
    for cut in [&b"\xC3"[..], b"ok\xE2\x82", b"\xF0\x9F\xA6"] {
        for script in [vec![text(cut)], vec![text(cut).open(), continuation("")]] {
            let mut peer = server.opens();
            peer.sends_burst(&script);
            peer.expects_close(1007);
            peer.expects_eof();
        }
    }
}

/// With half of the keys the bytes on the wire are ASCII: it is not they that are to be text.
#[test]
fn what_is_no_text_fails_whatever_it_is_masked_with() {
    let server = TestServer::echo();
    for key in 0..=255 {
        let mut peer = server.opens();
        peer.mask = [key; 4];
        peer.sends(text([0xFF; 9]));
        peer.expects_close(1007);
        peer.expects_eof();
    }
}

#[test]
fn bytes_that_are_no_text_may_be_a_binary_message() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    peer.sends_burst(&[binary([0xFF, 0xC3]).open(), continuation([0x80, 0xFE])]);
    peer.expects(binary([0xFF, 0xC3, 0x80, 0xFE]));
    server.sees(&peer, Seen::Binary(vec![0xFF, 0xC3, 0x80, 0xFE]));
}

/// A bit of everything, and what has to become of it.
fn script() -> Vec<u8> {
    burst(&[
        text("né"),
        ping("p"),
        text("a").open(),
        ping("q"),
        continuation("").open(),
        continuation("b"),
        binary(""),
        pong("r"),
        close(3000, "bye"),
    ])
}

/// Runs the server's side of the script to the end.
#[track_caller]
fn script_is_served(server: &TestServer, peer: &mut crate::support::Peer) {
    server.sees(peer, Seen::Text("né".into()));
    server.sees(peer, Seen::Text("ab".into()));
    server.sees(peer, Seen::Binary(vec![]));
    server.sees(peer, Seen::Closed(Reason::Peer { code: 3000, text: "bye" }));
    let mut frames = peer.reads_to_eof();
    // A Pong is queued as its Ping is read, and an echo when the batch is: only each kind for
    // itself has an order.
    frames.sort_by_key(|frame| frame.first != 0x8A);
    let expected = [pong("p"), pong("q"), text("né"), text("ab"), binary(""), close(3000, "bye")];
    assert_eq!(frames, expected);
}

#[test]
fn every_cut_in_two_gives_the_same_events() {
    let server = TestServer::echo();
    let script = script();
    for at in 0..script.len() {
        let mut peer = server.opens();
        let (first, second) = script.split_at(at);
        server.takes_from(&mut peer, first);
        peer.sends_bytes(second);
        script_is_served(&server, &mut peer);
        server.sees_no_more(&peer);
    }
}

#[test]
fn single_bytes_give_the_same_events() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    for byte in script() {
        server.takes_from(&mut peer, &[byte]);
    }
    script_is_served(&server, &mut peer);
}

/// §4.1 has the client wait for the 101. One that does not loses nothing.
#[test]
fn frames_right_behind_the_handshake_are_served_wherever_they_are_cut() {
    let server = TestServer::echo();
    let whole = [handshake("/", "").as_bytes(), &script()].concat();
    for at in 0..whole.len() {
        let mut peer = server.connects();
        let (first, second) = whole.split_at(at);
        server.takes_from(&mut peer, first);
        peer.sends_bytes(second);
        peer.expects_upgrade();
        server.sees(&peer, Seen::Request("GET /".into()));
        server.sees(&peer, Seen::Opened);
        script_is_served(&server, &mut peer);
    }
}

#[test]
fn a_whole_life_in_one_segment_is_served() {
    let server = TestServer::echo();
    for _ in 0..20 {
        let mut peer = server.connects();
        peer.sends_bytes([handshake("/", "").as_bytes(), &script()].concat());
        peer.finishes();
        peer.expects_upgrade();
        server.sees(&peer, Seen::Request("GET /".into()));
        server.sees(&peer, Seen::Opened);
        script_is_served(&server, &mut peer);
    }
    server.until(|hub| hub.connection_count() == 0);
}

#[test]
fn bytes_that_come_with_the_handshake_are_counted_once() {
    let server = TestServer::echo();
    let mut peer = server.connects();
    let whole = [handshake("/", "").as_bytes(), &script()].concat();
    peer.sends_bytes(&whole);
    peer.expects_upgrade();
    server.sees(&peer, Seen::Request("GET /".into()));
    server.sees(&peer, Seen::Opened);
    script_is_served(&server, &mut peer);
    assert_eq!(server.handle().counters().bytes_received, whole.len() as u64);
}

/// Where nothing is missing, a frame is read in another way than by its header alone.
#[test]
fn a_whole_frame_whose_length_has_more_bytes_than_it_needs_fails() {
    let server = TestServer::echo();
    for len in [0, 1, 125] {
        for length in [vec![0xFE, 0, len], vec![0xFF, 0, 0, 0, 0, 0, 0, 0, len]] {
            let mut peer = server.opens();
            let payload = vec![0; 4 + usize::from(len)];
            peer.sends_bytes([vec![0x82], length, payload].concat());
            assert_eq!(peer.expects_close(1002), ProtocolError::LengthNotMinimal.to_string());
            peer.expects_eof();
        }
    }
}

/// A read ends at urgent data (`MSG_OOB`), and the kernel tells of what is behind it only once.
#[test]
fn what_is_behind_urgent_data_is_read_at_once() {
    let server = TestServer::echo();
    let mut peer = server.opens();
    server.act_and_wait_for(
        |_| {},
        || {
            peer.sends(text("before"));
            let urgent = SockRef::from(peer.socket()).send_out_of_band(b"!");
            assert_eq!(urgent.expect("TCP has urgent data"), 1);
            peer.sends(text("behind"));
        },
    );
    peer.expects(text("before"));
    peer.expects(text("behind"));
}
