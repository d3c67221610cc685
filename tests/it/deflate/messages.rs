//! Messages that come compressed (RFC 7692 §6, §7.2.2): every way to compress them, cut anywhere,
//! and everything that is not to be accepted.

use pushloop::{Event, Message, ProtocolError, Reason};

use super::puff::Puff;
use super::{ANSWER, OFFER, binary_deflated, noise, offering, opens, payload, text_deflated};
use crate::support::dice::Dice;
use crate::support::net::{Sim, Told, Wire};
use crate::support::peer_codec::{Deflates, deflate, finals, patchwork, stored};
use crate::support::{
    Frame, Peer, Seen, TestServer, binary, burst, close, continuation, echo, frame, ping, pong,
    quiet, text,
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

/// Frames of a message that is cut at random, with control frames and nothing in between; the
/// Pongs that are due are given, too.
fn cut(dice: &mut Dice, first: u8, message: &[u8]) -> (Vec<Frame>, Vec<Frame>) {
    let (mut frames, mut pongs, mut rest) = (Vec::new(), Vec::new(), message);
    let mut next = first;
    while dice.below(3) != 0 && frames.len() < 50 {
        let (now, later) = rest.split_at(dice.below(rest.len() + 1));
        frames.push(frame(next, now).open());
        (next, rest) = (0x80, later);
        if dice.below(2) == 0 {
            let number = vec![b'p'; dice.below(126)];
            frames.push(ping(&number));
            pongs.push(pong(&number));
        } else if dice.below(3) == 0 {
            frames.push(pong("unasked"));
        }
    }
    frames.push(frame(next, rest));
    (frames, pongs)
}

/// Sends bytes in several pieces, with a turn after each.
fn trickles(sim: &mut Sim, dice: &mut Dice, wire: &Wire, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let now = if dice.below(2) == 0 { rest.len() } else { 1 + dice.below(rest.len()) };
        wire.sends_bytes(&rest[..now]);
        rest = &rest[now..];
        sim.rests();
    }
}

/// Whatever a compressor may do, in whatever pieces it comes.
fn streams(seed: u64, count: usize, takeover: bool) {
    let mut dice = Dice::new(seed);
    let mut sim = Sim::new(quiet(|config| config.deflate_context_takeover = takeover));
    let alone = "permessage-deflate; client_no_context_takeover";
    let offer = if takeover { ANSWER } else { alone };
    let (id, wire) = opens(&mut sim, offer, offer);
    let (mut puff, mut before) = (Puff::default(), Vec::new());
    let mut blocks = [0; 4];
    for number in 0..count {
        let sent = payload(&mut dice, if number % 20 == 0 { 60_000 } else { 1500 });
        let is_plain = dice.below(6) == 0;
        let message = if is_plain {
            sent.clone()
        } else {
            let pieces = 1 + dice.below(5);
            let message = patchwork(&mut dice, &before, &sent, pieces);
            // An oracle that the inflater shares nothing with agrees with what was meant.
            assert!(puff.inflates(&message) == sent, "seed {seed}, message {number}");
            if takeover {
                before.extend(&sent);
                before.drain(..before.len().saturating_sub(1 << 15));
            } else {
                puff.forgets();
            }
            let now = puff.blocks;
            let kinds = [now.stored, now.fixed, now.dynamic, now.last];
            blocks.iter_mut().zip(kinds).for_each(|(all, now)| *all += now);
            message
        };
        let (frames, pongs) = cut(&mut dice, if is_plain { 0x82 } else { 0xC2 }, &message);
        trickles(&mut sim, &mut dice, &wire, &burst(&frames));
        assert_eq!(sim.takes(), [Told::Message(id, sent)], "seed {seed}, message {number}");
        assert_eq!(wire.reads(), pongs, "seed {seed}, message {number}");
    }
    assert!(blocks.iter().all(|&kind| kind > count as u32 / 40), "{blocks:?}");
}

#[test]
fn whatever_a_compressor_may_do_in_whatever_pieces() {
    streams(1, 600, true);
    streams(2, 600, false);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn a_hundred_thousand_messages_however_compressed_and_cut() {
    for seed in 0..50 {
        println!("seed {seed}");
        streams(seed, 2000, seed % 2 == 0);
    }
}

/// Text is checked as text after it is inflated, wherever a character is cut.
#[test]
fn text_is_checked_after_it_is_inflated() {
    let mut dice = Dice::new(3);
    let mut sim = Sim::new(quiet(|config| config.deflate_context_takeover = true));
    for round in 0..2000 {
        let (id, wire) = opens(&mut sim, OFFER, ANSWER);
        let mut said: String =
            (0..dice.below(60)).map(|_| ['a', 'é', '€', '𝄞', '\0'][dice.below(5)]).collect();
        said += "€";
        let mut bytes = said.clone().into_bytes();
        let is_text = round % 2 == 0;
        if !is_text {
            let at = dice.below(bytes.len());
            match dice.below(3) {
                0 => bytes[at] = 0xFF,
                1 => bytes.insert(at, 0x80),
                _ => bytes.truncate(bytes.len() - 1),
            }
        }
        assert_eq!(str::from_utf8(&bytes).is_ok(), is_text);
        let pieces = 1 + dice.below(4);
        let message = patchwork(&mut dice, b"", &bytes, pieces);
        let (frames, _) = cut(&mut dice, 0xC1, &message);
        trickles(&mut sim, &mut dice, &wire, &burst(&frames));
        let expected = if is_text { Told::Message(id, bytes) } else { Told::Closed(id, 1007) };
        assert_eq!(sim.takes(), [expected], "round {round}");
        wire.resets();
        sim.rests();
        sim.takes();
    }
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
