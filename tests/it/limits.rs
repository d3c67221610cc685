//! What a peer may send and have: each limit of `Config` at its value, and one beyond.

use crate::support::{
    Frame, PATIENCE, Peer, Seen, TestServer, accept, binary, burst, close, close_empty, config,
    continuation, echo, frame, ping, pong, text,
};
use pushloop::{
    AcceptError, Config, InvalidHeader, ProtocolError, PublishError, Reason, RespondError,
    SendError, SubscribeError,
};

/// The frame's header alone, as a client sends it.
fn header(frame: &Frame) -> Vec<u8> {
    let masked = frame.masked([1, 2, 3, 4]);
    masked[..masked.len() - frame.payload.len()].to_vec()
}

#[track_caller]
fn fails(server: &TestServer, peer: &mut Peer, error: ProtocolError) -> String {
    let reason = peer.expects_close(error.close_code().get());
    peer.expects_eof();
    server.sees(peer, Seen::Closed(Reason::Protocol(error)));
    server.sees_no_more(peer);
    reason
}

fn too_big(server: &TestServer, peer: &mut Peer) {
    let reason = fails(server, peer, ProtocolError::MessageTooBig);
    assert!(reason.contains("message_bytes_max"), "{reason}");
}

#[test]
fn a_message_may_be_as_long_as_the_limit() {
    for max in [0, 1, 125, 126, 65_535, 65_536] {
        let server = TestServer::start(config(|limits| limits.message_bytes_max = max), echo);
        for message in [text("t".repeat(max)), binary(vec![0xFE; max])] {
            let mut peer = server.opens();
            peer.sends(message.clone());
            peer.expects(message.clone());
            server.next_of(&peer);
            let one_more = frame(message.first, vec![b't'; max + 1]);
            peer.sends(one_more.clone());
            too_big(&server, &mut peer);
            // Its payload does not come, and need not.
            let mut peer = server.opens();
            peer.sends_bytes(header(&one_more));
            too_big(&server, &mut peer);
        }
    }
}

#[test]
fn a_fragmented_message_may_be_as_long_as_the_limit() {
    let server = TestServer::start(config(|limits| limits.message_bytes_max = 100), echo);
    let sixty = "x".repeat(60);
    let mut peer = server.opens();
    let forty = "y".repeat(40);
    peer.sends_burst(&[
        text(&sixty).open(),
        continuation("").open(),
        ping([0xA5; 125]),
        continuation(&forty).open(),
        continuation(""),
    ]);
    peer.expects(pong([0xA5; 125]));
    peer.expects(text(sixty.clone() + &forty));
    for excess in [
        vec![text(&sixty).open(), continuation("z".repeat(41))],
        vec![text(&sixty).open(), continuation(&forty).open(), continuation("z")],
    ] {
        let mut peer = server.opens();
        let (last, before) = excess.split_last().expect("there are some");
        server.takes_from(&mut peer, &burst(before));
        server.sees_no_more(&peer);
        peer.sends_bytes(header(last));
        too_big(&server, &mut peer);
    }
}

#[test]
fn a_length_beyond_all_memory_is_too_big_like_any_other() {
    let server = TestServer::echo();
    let huge = |first: u8| [&[first, 0xFF, 0x7F][..], &[0xFF; 7], &[0; 4]].concat();
    for first in [0x81, 0x82, 0x01] {
        let mut peer = server.opens();
        peer.sends_bytes(huge(first));
        too_big(&server, &mut peer);
    }
    let mut peer = server.opens();
    peer.sends_bytes([burst(&[binary("some").open()]), huge(0x80)].concat());
    too_big(&server, &mut peer);
}

#[test]
fn a_message_may_have_as_many_frames_as_the_limit() {
    let most = Config::default().message_frames_max;
    for max in [1, 2, most] {
        let server = TestServer::start(config(|limits| limits.message_frames_max = max), echo);
        for payload in ["", "x"] {
            let mut peer = server.opens();
            let mut frames = vec![text(payload).open()];
            frames.resize(max as usize, continuation(payload).open());
            let (last, before) = frames.split_last().expect("there is at least one");
            let end = Frame { first: last.first | 0x80, ..last.clone() };
            let whole = [before, &[end]].concat();
            // Twice: each message is counted for itself.
            for _ in 0..2 {
                peer.sends_burst(&whole);
                peer.expects(text(payload.repeat(max as usize)));
                server.next_of(&peer);
            }
            peer.sends_bytes([burst(&frames), header(&continuation(payload))].concat());
            let reason = fails(&server, &mut peer, ProtocolError::TooManyFrames);
            assert!(reason.contains("message_frames_max"), "{reason}");
        }
    }
}

#[test]
fn there_may_be_as_many_connections_as_the_limit() {
    let server = TestServer::start(config(|limits| limits.connections_max = 2), echo);
    let mut peers = [server.opens(), server.opens()];
    server.connects().expects_end();
    let counters = server.handle().counters();
    assert_eq!((counters.connections_refused, counters.connections_open), (1, 2));
    for peer in &mut peers {
        peer.sends(text("x"));
        peer.expects(text("x"));
    }
    let [mut leaves, _stays] = peers;
    leaves.sends(close_empty());
    leaves.expects(close_empty());
    leaves.expects_eof();
    drop(leaves);
    server.until(|hub| hub.counters().connections_open == 1);
    server.opens();
}

#[test]
fn a_connection_may_have_as_many_topics_as_the_limit() {
    for max in [0, 1, 3, 128] {
        let limits = config(|limits| limits.topics_per_connection_max = max);
        let server = TestServer::start(limits, accept);
        let peer = server.opens();
        let id = server.id_of(&peer);
        let topics: Vec<_> = (0..=max).map(|i| format!("topic {i}")).collect();
        let results = server.act(move |hub| {
            let results: Vec<_> = topics.iter().map(|topic| hub.subscribe(id, topic)).collect();
            // A second time changes nothing, and takes no place.
            let again = topics[..max].iter().all(|topic| hub.subscribe(id, topic).is_ok());
            let freed = hub.unsubscribe(id, &topics[0]) && hub.subscribe(id, &topics[max]).is_ok();
            (results, again, freed, hub.topics_of(id).count())
        });
        let mut expected = vec![Ok(()); max];
        expected.push(Err(SubscribeError::TooManyTopics));
        assert_eq!(results, (expected, true, max > 0, max));
    }
}

#[test]
fn a_topics_name_may_be_as_long_as_the_limit() {
    for max in [0, 3, 255] {
        let limits = config(|limits| limits.topic_name_bytes_max = max);
        let server = TestServer::start(limits, accept);
        let peer = server.opens();
        let id = server.id_of(&peer);
        let results = server.act(move |hub| {
            let longest = hub.subscribe(id, &"t".repeat(max));
            // It is bytes that count, not characters.
            let wide = hub.subscribe(id, &"é".repeat(max / 2 + 1));
            (longest, wide, hub.subscribe(id, &"t".repeat(max + 1)))
        });
        let too_long = Err(SubscribeError::NameTooLong);
        assert_eq!(results, (Ok(()), too_long, too_long));
    }
}

#[test]
fn a_connection_that_ends_discards_as_many_bytes_as_the_limit() {
    let limits = config(|limits| {
        limits.linger_bytes_max = 1000;
        limits.linger_timeout = 2 * PATIENCE;
    });
    let server = TestServer::start(limits, accept);
    let mut peer = server.opens();
    peer.sends(close(1000, ""));
    peer.expects(close(1000, ""));
    peer.expects_eof();
    server.takes_from(&mut peer, &[0; 999]);
    server.takes_from(&mut peer, &[0; 1]);
    server.act(|_| ());
    assert_eq!(server.act(|hub| hub.connection_count()), 1);
    peer.sends_bytes([0]);
    server.until(|hub| hub.connection_count() == 0);
}

/// Half a message is forgotten with its connection: what it held is not found by the next one.
#[test]
fn a_message_that_never_ends_leaves_nothing_behind() {
    let server = TestServer::echo();
    for _ in 0..3 {
        let mut peer = server.opens();
        let parts = [text("left over ").open(), continuation("€")].map(|it| it.masked([9; 4]));
        let whole = parts.concat();
        server.takes_from(&mut peer, &whole[..whole.len() - 2]);
        drop(peer);
        server.until(|hub| hub.connection_count() == 0);
        let mut peer = server.opens();
        peer.sends_burst(&[text("a").open(), ping("p"), continuation("b")]);
        peer.expects(pong("p"));
        peer.expects(text("ab"));
        peer.sends(close_empty());
        peer.expects(close_empty());
        peer.expects_eof();
        drop(peer);
        server.until(|hub| hub.connection_count() == 0);
    }
}

#[test]
fn an_error_says_what_is_wrong_and_names_the_limit() {
    for (error, limit) in [
        (SendError::Closing.to_string(), "send_queue_bytes_max"),
        (SendError::Full.to_string(), "send_queue_bytes_max"),
        (RespondError::InvalidHeader(InvalidHeader::Name).to_string(), "name"),
        (SendError::ProcessFull.to_string(), "send_queues_bytes_max"),
        (PublishError::ProcessFull.to_string(), "send_queues_bytes_max"),
        (SubscribeError::TooManyTopics.to_string(), "topics_per_connection_max"),
        (SubscribeError::NameTooLong.to_string(), "topic_name_bytes_max"),
        (SubscribeError::ProcessFull.to_string(), "topics_max"),
        (SendError::Gone.to_string(), "gone"),
        (SubscribeError::Gone.to_string(), "gone"),
        (AcceptError::Gone.to_string(), "gone"),
        (RespondError::Gone.to_string(), "gone"),
        (AcceptError::NotWebSocket.to_string(), "WebSocket"),
        (AcceptError::SubprotocolNotOffered.to_string(), "subprotocol"),
        (AcceptError::InvalidHeader.to_string(), "header"),
        (InvalidHeader::Name.to_string(), "name"),
        (InvalidHeader::Value.to_string(), "value"),
        (InvalidHeader::Reserved.to_string(), "server"),
    ] {
        assert!(error.contains(limit), "{error:?} does not name {limit}");
    }
}
