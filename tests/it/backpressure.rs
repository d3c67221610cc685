//! What waits to be sent: how much may, what happens beyond, and what may pass all the same.

use crate::support::{
    Peer, Seen, TestServer, accept, binary, close, close_empty, config, ping, pong, text,
};
use pushloop::{CloseCode, Config, ConnId, Hub, Overflow, PublishError, Reason, SendError};

/// More than the kernel takes for a peer that does not read.
const PLENTY: usize = 16 << 20;

/// Enough room for `PLENTY`, all of it offered to the kernel in one turn.
fn roomy() -> Config {
    config(|limits| {
        limits.send_queue_bytes_max = 4 * PLENTY;
        limits.write_bytes_per_turn = 4 * PLENTY;
    })
}

/// Sends in one turn, so that nothing leaves in between.
fn sends<const N: usize>(
    server: &TestServer,
    id: ConnId,
    lens: [usize; N],
) -> [Result<(), SendError>; N] {
    server.act(move |hub| lens.map(|len| hub.send(id, vec![b'x'; len])))
}

/// Answers the server's Close with 1013.
#[track_caller]
fn is_too_slow(server: &TestServer, peer: &mut Peer) {
    let reason = peer.expects_close(1013);
    assert!(reason.contains("send_queue_bytes_max"), "{reason}");
    peer.sends(close(1013, ""));
    peer.expects_eof();
    server.sees(peer, Seen::Closed(Reason::Overflow));
    server.sees_no_more(peer);
    assert_eq!(server.handle().counters().closed_overflow, 1);
}

/// Waits until the kernel takes no more for a peer that does not read.
fn fills(server: &TestServer, id: ConnId) {
    let mut waiting = usize::MAX;
    loop {
        let now = server.act(move |hub| {
            hub.set_timer(hub.now() + std::time::Duration::from_millis(20), 0);
            hub.queued_bytes(id)
        });
        server.sees_timer(0);
        if now == waiting {
            assert!(now > 0, "the kernel has taken it all");
            return;
        }
        waiting = now;
    }
}

/// RFC 6455 §5.2: a header of a server has 2, 4 or 10 bytes.
#[test]
fn a_queue_holds_frames_up_to_the_limit_and_their_headers_count() {
    for (payload, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let max = payload + header;
        let server = TestServer::start(config(|limits| limits.send_queue_bytes_max = max), accept);
        let mut peer = server.opens();
        let id = server.id_of(&peer);
        assert_eq!(sends(&server, id, [payload]), [Ok(())]);
        peer.expects(binary(vec![b'x'; payload]));
        assert_eq!(sends(&server, id, [payload + 1]), [Err(SendError::Closing)]);
        is_too_slow(&server, &mut peer);
    }
}

#[test]
fn a_queue_counts_all_that_waits() {
    let server = TestServer::start(config(|limits| limits.send_queue_bytes_max = 300), accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    // 102 + 102 + 96, and then the least that there is.
    let sent = sends(&server, id, [100, 100, 94, 0, 0]);
    assert_eq!(sent[..3], [Ok(()); 3]);
    assert_eq!(sent[3..], [Err(SendError::Closing), Err(SendError::Gone)]);
    for len in [100, 100, 94] {
        peer.expects(binary(vec![b'x'; len]));
    }
    is_too_slow(&server, &mut peer);
    assert_eq!(server.handle().counters().messages_sent, 3);
}

#[test]
fn what_has_left_takes_no_room() {
    let server = TestServer::start(config(|limits| limits.send_queue_bytes_max = 102), accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    for _ in 0..5 {
        assert_eq!(sends(&server, id, [100]), [Ok(())]);
        peer.expects(binary([b'x'; 100]));
    }
}

#[test]
fn a_peer_that_does_not_read_gets_all_that_was_accepted_and_then_1013() {
    let server = TestServer::start(config(|_| ()), accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    let mut accepted = 0_u32;
    let numbered = |number: u32| [&number.to_be_bytes()[..], &[b'x'; 30_000]].concat();
    loop {
        let message = numbered(accepted);
        match server.act(move |hub| hub.send(id, &message)) {
            Ok(()) => accepted += 1,
            Err(error) => break assert_eq!(error, SendError::Closing),
        }
    }
    let max = Config::default().send_queue_bytes_max;
    let queued = server.act(move |hub| hub.queued_bytes(id));
    assert!(queued <= max + 200, "{queued} bytes wait");
    for number in 0..accepted {
        peer.expects(binary(numbered(number)));
    }
    is_too_slow(&server, &mut peer);
}

#[test]
fn the_newest_are_dropped_and_counted_if_that_is_the_policy() {
    let limits = config(|limits| {
        limits.send_queue_bytes_max = 102;
        limits.overflow = Overflow::DropNewest;
    });
    let server = TestServer::start(limits, accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    let full = Err(SendError::Full);
    assert_eq!(sends(&server, id, [100, 0, 101]), [Ok(()), full, full]);
    peer.expects(binary([b'x'; 100]));
    assert_eq!(sends(&server, id, [0]), [Ok(())]);
    peer.expects(binary(""));
    let counters = server.handle().counters();
    assert_eq!((counters.messages_dropped_full, counters.messages_sent), (2, 2));
    server.sees_no_more(&peer);
}

#[test]
fn a_close_and_the_answer_to_a_ping_need_no_room() {
    let server = TestServer::start(config(|limits| limits.send_queue_bytes_max = 102), accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    server.act_and_wait_for(
        move |hub| hub.send(id, vec![b'x'; 100]).expect("it fits"),
        || peer.sends(ping("p")),
    );
    peer.expects(binary([b'x'; 100]));
    peer.expects(pong("p"));
    server.act(move |hub| {
        hub.send(id, vec![b'x'; 100]).expect("it fits");
        hub.close(id, CloseCode::NORMAL, "that was all");
    });
    peer.expects(binary([b'x'; 100]));
    peer.expects(close(1000, "that was all"));
    peer.sends(close_empty());
    peer.expects_eof();
    server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::NORMAL }));
}

fn published(hub: &mut Hub, topic: &str, message: &[u8]) -> Result<usize, PublishError> {
    hub.publish(topic, message).map(|it| it.subscribers)
}

#[test]
fn all_queues_together_hold_up_to_the_limit() {
    let server = TestServer::start(config(|limits| limits.send_queues_bytes_max = 300), accept);
    let mut peers = [server.opens(), server.opens()];
    let [a, b] = peers.each_ref().map(|peer| server.id_of(peer));
    let results = server.act(move |hub| {
        hub.subscribe(a, "news").expect("it is open");
        // 102 + 102, and then 96.
        let fit = [hub.send(a, vec![b'x'; 100]), hub.send(b, vec![b'x'; 100])];
        let beyond = (hub.send(a, vec![b'x'; 95]), published(hub, "news", &[b'y'; 95]));
        let last = hub.send(b, vec![b'y'; 94]);
        let full = (hub.send(a, ""), published(hub, "news", b""), published(hub, "nobody's", b""));
        (fit, beyond, last, hub.queued_bytes_total(), full)
    });
    let (send, publish) = (Err(SendError::ProcessFull), Err(PublishError::ProcessFull));
    assert_eq!(results, ([Ok(()); 2], (send, publish), Ok(()), 300, (send, publish, Ok(0))));
    peers.iter_mut().for_each(|peer| peer.expects(binary([b'x'; 100])));
    peers[1].expects(binary([b'y'; 94]));
    assert_eq!(server.handle().counters().messages_dropped_full, 4);
    server.until(|hub| hub.queued_bytes_total() == 0);
    server.act(move |hub| hub.send(a, "room again")).expect("there is room");
    peers[0].expects(text("room again"));
}

#[test]
fn a_publication_counts_once_however_many_subscribe() {
    let server = TestServer::start(config(|_| ()), accept);
    let mut peers = [server.opens(), server.opens(), server.opens()];
    let [a, b, c] = peers.each_ref().map(|peer| server.id_of(peer));
    let counted = server.act(move |hub| {
        for (id, topic) in [(a, "one's"), (a, "all's"), (b, "all's"), (c, "all's")] {
            hub.subscribe(id, topic).expect("it is open");
        }
        ["one's", "all's"].map(|topic| {
            let before = hub.queued_bytes_total();
            hub.publish(topic, vec![b'x'; 5000]).expect("there is room");
            hub.queued_bytes_total() - before
        })
    });
    assert_eq!(counted[0], counted[1]);
    assert!((5000..6000).contains(&counted[0]), "{counted:?}");
    peers[0].expects(binary([b'x'; 5000]));
    peers.iter_mut().for_each(|peer| peer.expects(binary([b'x'; 5000])));
    server.until(|hub| hub.queued_bytes_total() == 0);
}

#[test]
fn the_connection_that_lags_most_is_shed_above_four_fifths() {
    static MESSAGE: [u8; 60_000] = [b'x'; 60_000];
    let limits = config(|limits| {
        (limits.send_queue_bytes_max, limits.send_queues_bytes_max) = (1 << 20, 1 << 20);
    });
    let server = TestServer::start(limits, accept);
    let (mut most, mut least) = (server.opens(), server.opens());
    let [a, b] = [&most, &least].map(|peer| server.id_of(peer));
    let mut accepted = 0;
    let refused = loop {
        match server.act(move |hub| hub.send(a, MESSAGE)) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    // It was closed for what waited, before the process was full.
    assert_eq!(refused, SendError::Gone);
    let dropped = server.handle().counters().messages_dropped_full;
    // What had begun to leave is whole, and nothing follows it.
    assert!(dropped > 10 && dropped < accepted);
    (0..accepted - dropped).for_each(|_| most.expects(binary(MESSAGE)));
    let reason = most.expects_close(1013);
    assert!(reason.contains("send_queues_bytes_max"), "{reason}");
    most.sends(close_empty());
    most.expects_eof();
    server.sees(&most, Seen::Closed(Reason::Overflow));
    server.sees_no_more(&least);
    server.act(move |hub| hub.send(b, "spared")).expect("it is open");
    least.expects(text("spared"));
}

/// One byte leaves in each turn: that is the loop's doing, and no peer's.
#[test]
fn a_connection_whose_kernel_takes_what_it_is_given_is_not_shed() {
    let limits = config(|limits| {
        (limits.send_queues_bytes_max, limits.write_bytes_per_turn) = (1000, 1);
    });
    let server = TestServer::start(limits, accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    assert_eq!(sends(&server, id, [94; 10]), [Ok(()); 10]);
    (0..10).for_each(|_| peer.expects(binary([b'x'; 94])));
    server.sees_no_more(&peer);
}

#[test]
fn a_queue_that_has_gone_out_is_told_once() {
    let server = TestServer::start(roomy(), accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    sends(&server, id, [PLENTY])[0].expect("there is room");
    fills(&server, id);
    server.sees_no_more(&peer);
    peer.expects(binary(vec![b'x'; PLENTY]));
    server.sees(&peer, Seen::Writable);
    server.sees_no_more(&peer);
    // The kernel takes this at once, and so there is nothing to tell.
    sends(&server, id, [1])[0].expect("there is room");
    peer.expects(binary("x"));
    server.sees_no_more(&peer);
}

/// §5.5.3: only the most recent Ping needs an answer.
#[test]
fn a_late_pong_goes_out_at_the_next_frame_boundary() {
    let server = TestServer::start(roomy(), accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    assert_eq!(sends(&server, id, [PLENTY, 3, 3]), [Ok(()); 3]);
    fills(&server, id);
    let waiting = server.act(move |hub| hub.queued_bytes(id));
    let pings: Vec<_> = (0..1000).map(|i| ping(format!("{i}"))).collect();
    peer.sends_burst(&pings);
    peer.sends(text("and now"));
    server.sees(&peer, Seen::Text("and now".into()));
    assert_eq!(server.handle().counters().pongs_coalesced, 999);
    assert_eq!(server.act(move |hub| hub.queued_bytes(id)), waiting);
    peer.expects(binary(vec![b'x'; PLENTY]));
    peer.expects(pong("999"));
    peer.expects(binary("xxx"));
    peer.expects(binary("xxx"));
    server.sees(&peer, Seen::Writable);
    peer.sends(ping("in line again"));
    peer.expects(pong("in line again"));
}

#[test]
fn a_connection_that_is_lost_gives_back_what_waited_for_it() {
    let server = TestServer::start(roomy(), accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    sends(&server, id, [PLENTY])[0].expect("there is room");
    fills(&server, id);
    peer.resets();
    server.until(|hub| hub.connection_count() == 0);
    assert_eq!(server.act(move |hub| (hub.queued_bytes(id), hub.queued_bytes_total())), (0, 0));
    server.sees(&peer, Seen::Closed(Reason::Lost));
    server.sees_no_more(&peer);
}
