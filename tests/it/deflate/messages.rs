//! Messages that come compressed (RFC 7692 §6, §7.2.2): every way to compress them, cut anywhere,
//! and everything that is not to be accepted.

use pushloop::{Event, Message, ProtocolError, Reason};

use super::puff::Puff;
use super::{ANSWER, OFFER, binary_deflated, noise, offering, text_deflated};
use crate::support::dice::Dice;
use crate::support::peer_codec::{Deflates, deflate, finals, stored};
use crate::support::{
    Frame, Peer, Seen, TestServer, binary, close, continuation, echo, frame, quiet, text,
};

/// A socket that has agreed on context takeover.
fn takes_over(server: &TestServer) -> Peer {
    let mut peer = server.connects();
    peer.sends_bytes(offering(OFFER));
    let answer = peer.expects_upgrade();
    assert_eq!(answer.header("Sec-WebSocket-Extensions"), Some(ANSWER));
    server.sees(&peer, Seen::Request("GET /".into()));
    server.sees(&peer, Seen::Opened);
    peer
}

fn takeover_server() -> TestServer {
    TestServer::start(quiet(|config| config.deflate_context_takeover = true), echo)
}

/// §7.2.3.1 to §7.2.3.6, as they are printed there.
#[test]
fn the_examples_of_the_rfc_over_a_socket() {
    let one_block = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    let server = takeover_server();
    let mut peer = takes_over(&server);
    let hello = || Seen::Text("Hello".into());
    // §7.2.3.1: in one frame, and in two of 3 and 4 bytes.
    peer.sends(text_deflated(one_block));
    server.sees(&peer, hello());
    peer.sends(text_deflated(&one_block[..3]).open());
    peer.sends(continuation(&one_block[3..]));
    server.sees(&peer, hello());
    // §7.2.3.2: the window has it already.
    peer.sends(text_deflated([0xF2, 0x00, 0x11, 0x00, 0x00]));
    server.sees(&peer, hello());
    // §7.2.3.3, without compression.
    peer.sends(text_deflated([0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00]));
    server.sees(&peer, hello());
    // §7.2.3.4, with BFINAL.
    peer.sends(text_deflated([0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00]));
    server.sees(&peer, hello());
    // §7.2.3.5: two blocks.
    peer.sends(text_deflated([
        0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00,
    ]));
    server.sees(&peer, hello());
    // §7.2.3.6: nothing at all.
    peer.sends(text_deflated([0x00]));
    server.sees(&peer, Seen::Text(String::new()));
    // Still in the window.
    peer.sends(text_deflated([0xF2, 0x00, 0x11, 0x00, 0x00]));
    server.sees(&peer, hello());
}

/// The process ended with a panic in the compressor, after 64 KiB of what compression makes no
/// shorter.
#[test]
fn what_does_not_get_shorter_wore_the_compressor_out() {
    let server = TestServer::echo();
    let mut peer = server.connects();
    peer.sends_bytes(offering(OFFER));
    peer.expects_upgrade();
    let mut dice = Dice::new(1);
    for len in 64..1064 {
        let message = noise(&mut dice, len);
        peer.sends(binary(&message));
        peer.expects(binary(&message));
    }
    // And it still compresses.
    let message = b"The score is one to nil. ".repeat(40);
    peer.sends(binary(&message));
    assert_eq!(peer.reads().first, 0xC2);
}

#[test]
fn compressed_both_ways() {
    let server = TestServer::echo();
    let mut peer = server.connects();
    peer.sends_bytes(offering(OFFER));
    peer.expects_upgrade();
    let mut puff = Puff::default();
    for len in [64, 125, 126, 1000, 65_535, 65_536] {
        for first in [0xC1, 0xC2] {
            let message = b"The score is one to nil. ".repeat(3000)[..len].to_vec();
            peer.sends(frame(first, deflate(&message)));
            let echoed = peer.reads();
            assert_eq!(echoed.first, first);
            puff.forgets();
            assert!(puff.inflates(&echoed.payload) == message);
            assert!(echoed.payload.len() < message.len());
            // Without takeover, the same message is the same bytes.
            peer.sends(frame(first, deflate(&message)));
            peer.expects(echoed);
        }
    }
    // What is short, and what does not get shorter, comes as it is.
    peer.sends(text_deflated(deflate(&[b'a'; 63])));
    peer.expects(text([b'a'; 63]));
    let noise = noise(&mut Dice::new(1), 5000);
    peer.sends(binary_deflated(deflate(&noise)));
    peer.expects(binary(&noise));
}

/// What a peer is closed with that agreed on the extension, or did not.
#[track_caller]
fn is_closed(offers: bool, frames: &[Frame], code: u16) -> Reason<'static> {
    let server = TestServer::echo();
    let mut peer = server.connects();
    peer.sends_bytes(offering(if offers { OFFER } else { "other" }));
    peer.expects_upgrade();
    server.sees(&peer, Seen::Request("GET /".into()));
    server.sees(&peer, Seen::Opened);
    peer.sends_burst(frames);
    peer.expects_close(code);
    peer.expects_eof();
    match server.next_of(&peer) {
        Seen::Closed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rsv1_anywhere_but_on_the_first_frame_of_a_message_is_1002() {
    let hello = deflate(b"Hello");
    let rsv = Reason::Protocol(ProtocolError::RsvSet);
    for first in [0xC8, 0xC9, 0xCA] {
        assert_eq!(is_closed(true, &[frame(first, "")], 1002), rsv);
    }
    let begun = text_deflated(&hello).open();
    assert_eq!(is_closed(true, &[begun.clone(), frame(0xC0, [])], 1002), rsv);
    assert_eq!(is_closed(true, &[text("a").open(), frame(0xC0, [])], 1002), rsv);
    assert_eq!(is_closed(true, &[begun, frame(0xC9, [])], 1002), rsv);
    for first in [0xC1, 0xC2] {
        assert_eq!(is_closed(false, &[frame(first, &hello)], 1002), rsv);
    }
    for first in [0xA1, 0x91, 0xE1, 0xD2] {
        assert_eq!(is_closed(true, &[frame(first, &hello)], 1002), rsv);
    }
}

#[test]
fn what_no_compressor_gives_is_1007() {
    let invalid = Reason::Protocol(ProtocolError::InvalidDeflate);
    let hello = deflate(&b"Hello ".repeat(20));
    let cut_block = &stored(b"Hello", false)[..7];
    let half_a_block = &stored(&[b'x'; 100], false)[..50];
    for message in [
        &[][..],
        &[0x06, 0x00],
        &[0xFF; 40],
        &hello[..hello.len() - 1],
        &hello[..hello.len() / 2],
        &hello[1..],
        cut_block,
        half_a_block,
        // Before the beginning; and a stream that ends with nothing behind it.
        &[0xF2, 0x00, 0x11, 0x00, 0x00],
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
    ] {
        assert_eq!(is_closed(true, &[text_deflated(message)], 1007), invalid, "{message:x?}");
        let in_two = [binary_deflated(message).open(), continuation("")];
        assert_eq!(is_closed(true, &in_two, 1007), invalid, "{message:x?}");
    }
    let text = is_closed(true, &[text_deflated(deflate(&[0xC3]))], 1007);
    assert_eq!(text, Reason::Protocol(ProtocolError::InvalidUtf8));
}

/// What was complete before the failure is answered before it.
#[test]
fn earlier_messages_are_answered_before_the_failure() {
    let server = TestServer::echo();
    let mut peer = server.connects();
    peer.sends_bytes(offering(OFFER));
    peer.expects_upgrade();
    peer.sends_burst(&[text_deflated(deflate(b"one")), text("two"), text_deflated([0x06])]);
    peer.expects(text("one"));
    peer.expects(text("two"));
    peer.expects_close(1007);
    peer.expects_eof();
}

/// A peer that offers to compress each message on its own must do so.
#[test]
fn without_takeover_nothing_of_the_message_before_is_remembered() {
    let server = TestServer::echo();
    for (offer, remembers) in
        [(OFFER, true), ("permessage-deflate; client_no_context_takeover", false)]
    {
        let mut peer = server.connects();
        peer.sends_bytes(offering(offer));
        peer.expects_upgrade();
        // RFC 7692 §7.2.3.1 and §7.2.3.2.
        peer.sends(text_deflated([0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]));
        peer.expects(text("Hello"));
        peer.sends(text_deflated([0xF2, 0x00, 0x11, 0x00, 0x00]));
        if remembers {
            peer.expects(text("Hello"));
        } else {
            peer.expects_close(1007);
        }
    }
}

/// What comes after our Close is not inflated, and a Close of the peer's still ends it.
#[test]
fn compressed_messages_after_our_close_are_counted_and_not_looked_into() {
    let server = takeover_server();
    let mut peer = takes_over(&server);
    let id = server.id_of(&peer);
    server.act(move |hub| hub.close(id, pushloop::CloseCode::NORMAL, ""));
    peer.expects_close(1000);
    peer.sends_burst(&[
        text_deflated(deflate(b"one")),
        text_deflated([0x06]),
        text_deflated([0xFF]).open(),
        continuation([0xFF]),
        close(1000, ""),
    ]);
    peer.expects_eof();
    let code = pushloop::CloseCode::NORMAL;
    server.sees(&peer, Seen::Closed(Reason::Local { code }));
    assert_eq!(server.handle().counters().messages_after_close, 3);
    assert_eq!(server.handle().counters().messages_inflated, 0);
}

#[test]
fn counters_say_what_was_inflated_and_compressed() {
    let server = TestServer::start(quiet(|_| {}), |hub, event| match event {
        Event::Message { id, message: Message::Text(text) } => {
            hub.send(id, text.repeat(50)).unwrap();
            hub.send_uncompressed(id, text.repeat(50)).unwrap();
        }
        event => echo(hub, event),
    });
    let mut peer = server.connects();
    peer.sends_bytes(offering(OFFER));
    peer.expects_upgrade();
    let mut stream = Deflates::new(15, false);
    peer.sends(text_deflated(stream.message(b"hello")));
    assert_eq!(peer.reads().first, 0xC1);
    peer.expects(text("hello".repeat(50)));
    peer.sends(text("hello"));
    assert_eq!(peer.reads().first, 0xC1);
    peer.expects(text("hello".repeat(50)));
    let counters = server.handle().counters();
    assert_eq!((counters.messages_received, counters.messages_inflated), (2, 1));
    assert_eq!((counters.messages_sent, counters.messages_deflated), (4, 2));
}

/// The limit on frames holds for DEFLATE streams of one message, too: a client may end one in each
/// frame.
#[test]
fn a_message_of_too_many_streams_is_1008() {
    let many = |count: usize| finals(vec![&b""[..]; count]);
    for most in [1, 1024] {
        let limits = quiet(|config| config.message_frames_max = most as u32);
        let server = TestServer::start(limits, echo);
        let mut peer = server.connects();
        peer.sends_bytes(offering(OFFER));
        peer.expects_upgrade();
        peer.sends(binary_deflated(many(most)));
        peer.expects(binary(""));
        peer.sends(binary_deflated(many(most + 1)));
        peer.expects_close(1008);
    }
}
