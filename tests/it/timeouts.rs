//! What happens when nothing does: keepalive, idleness, and closings that do not come to an end.
//! Each timeout is short here, and what follows from it is waited for; the timers of the hub stand
//! in for a clock.

use std::time::Duration;

use crate::support::net::{Sim, Told, Wire, frames};
use crate::support::{
    PATIENCE, Seen, TestServer, accept, binary, close, close_empty, config, echo, ping, pong, text,
};
use pushloop::{CloseCode, ConnId, OnLag, Reason};

const SHORT: Duration = Duration::from_millis(50);

/// Some time that is longer than any short timeout and its delays.
fn passes(server: &TestServer) {
    server.act(|hub| hub.set_timer(hub.now() + 10 * SHORT, 77));
    server.sees_timer(77);
}

fn keepalive(pong_timeout: Duration) -> TestServer {
    let limits = config(|limits| {
        limits.ping_interval = Some(SHORT);
        limits.pong_timeout = pong_timeout;
    });
    TestServer::start(limits, echo)
}

/// A late Pong is no fault of the connection's: a peer that is still there reads why it ends.
#[test]
fn a_peer_that_does_not_answer_a_ping_is_told_so_and_closed() {
    let server = keepalive(SHORT);
    let mut peer = server.opens();
    peer.expects(ping(""));
    peer.expects(close(1011, "no answer to Ping"));
    peer.expects_eof();
    server.sees(&peer, Seen::Closed(Reason::TimedOut));
    server.sees_no_more(&peer);
    let counters = server.handle().counters();
    assert_eq!((counters.pings_sent, counters.closed_timeout), (1, 1));
    peer.finishes();
    server.until(|hub| hub.connection_count() == 0);
}

/// A peer that is gone takes no more than what every connection has to take its last bytes: with the
/// Close in the kernel, `linger_timeout`, and otherwise `close_timeout`.
#[test]
fn a_peer_that_is_gone_is_waited_for_no_longer_than_to_be_told() {
    const LINGER: Duration = Duration::from_secs(1);
    for (held, takes) in [(usize::MAX, LINGER), (ping("").unmasked().len(), CLOSE_TIMEOUT)] {
        let mut sim = Sim::new(config(|limits| {
            limits.close_timeout = CLOSE_TIMEOUT;
            limits.linger_timeout = LINGER;
        }));
        let (id, wire) = sim.opens();
        wire.holds(held);
        while sim.told.is_empty() {
            sim.turn_within(None);
        }
        let before = sim.server.net().slept();
        assert_eq!(sim.takes(), [Told::Closed(id, 1006)]);
        while sim.hub().connection_count() > 0 {
            sim.turn_within(None);
        }
        let slept = sim.server.net().slept() - before;
        assert!((takes..=takes + 2 * TICKS).contains(&slept), "{slept:?} and not {takes:?}");
        sim.turn();
        assert!(wire.is_dropped());
    }
}

#[test]
fn a_peer_that_answers_each_ping_stays() {
    let server = keepalive(Duration::from_secs(1));
    let mut peer = server.opens();
    for _ in 0..3 {
        peer.expects(ping(""));
        peer.sends(pong(""));
    }
    peer.sends(text("here"));
    peer.expects(text("here"));
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let server = keepalive(Duration::from_secs(1));
    let mut peer = server.opens();
    for part in text("").masked([1; 4]).chunks(2) {
        peer.expects(ping(""));
        peer.sends_bytes(part);
    }
    peer.expects(text(""));
}

/// The answer to a Ping begins the next interval, however long it might have taken.
#[test]
fn a_long_pong_timeout_does_not_put_off_the_next_ping() {
    let server = keepalive(PATIENCE);
    let mut peer = server.opens();
    peer.expects(ping(""));
    peer.sends(pong(""));
    assert!(!peer.hears_nothing_for(PATIENCE / 3), "the next Ping does not come");
    peer.expects(ping(""));
}

#[test]
fn a_peer_is_pinged_only_if_that_is_wanted() {
    for interval in [None, Some(PATIENCE)] {
        let limits = config(|limits| {
            limits.ping_interval = interval;
            limits.pong_timeout = SHORT;
        });
        let server = TestServer::start(limits, echo);
        let mut peer = server.opens();
        passes(&server);
        peer.sends(text("x"));
        peer.expects(text("x"));
        assert_eq!(server.handle().counters().pings_sent, 0);
    }
}

/// Pings keep the way open, and are no messages.
#[test]
fn a_connection_without_messages_is_closed_for_idleness() {
    let limits = config(|limits| {
        limits.idle_timeout = Some(20 * SHORT);
        limits.ping_interval = Some(SHORT);
    });
    let server = TestServer::start(limits, echo);
    let mut peer = server.opens();
    let mut answered = 0;
    let goodbye = loop {
        match peer.reads() {
            frame if frame == ping("") => peer.sends(pong("")),
            frame => break frame,
        }
        answered += 1;
        assert!(answered < 100, "Pings count as messages");
    };
    assert_eq!(goodbye, close(1001, "idle_timeout"));
    assert!(answered > 0);
    peer.sends(close(1001, ""));
    peer.expects_eof();
    server.sees(&peer, Seen::Closed(Reason::Idle));
    server.sees_no_more(&peer);
    assert_eq!(server.handle().counters().closed_timeout, 1);
}

#[test]
fn messages_in_either_direction_keep_a_connection_from_being_idle() {
    let idle = Duration::from_secs(1);
    let server = TestServer::start(config(|limits| limits.idle_timeout = Some(idle)), accept);
    let (mut listener, mut talker) = (server.opens(), server.opens());
    let id = server.id_of(&listener);
    for key in 0..5 {
        server.act(move |hub| hub.set_timer(hub.now() + idle * 3 / 10, key));
        server.sees_timer(key);
        server.act(move |hub| hub.send(id, "x")).expect("it is open");
        talker.sends(text("x"));
        server.sees(&talker, Seen::Text("x".into()));
    }
    for _ in 0..5 {
        listener.expects(text("x"));
    }
    listener.expects(close(1001, "idle_timeout"));
    talker.expects(close(1001, "idle_timeout"));
}

#[test]
fn a_close_that_is_not_answered_ends_all_the_same() {
    let server = TestServer::start(config(|limits| limits.close_timeout = SHORT), accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    server.act(move |hub| hub.close(id, CloseCode::NORMAL, ""));
    peer.expects(close(1000, ""));
    // What is not a Close does not put it off.
    peer.pushes_bytes(text("not listening").masked([1; 4]));
    peer.expects_end();
    server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::NORMAL }));
    server.sees_no_more(&peer);
    assert_eq!(server.act(|hub| hub.connection_count()), 0);
}

#[test]
fn a_close_that_cannot_be_sent_ends_all_the_same() {
    let limits = config(|limits| {
        limits.close_timeout = SHORT;
        limits.send_queue_bytes_max = 64 << 20;
    });
    let server = TestServer::start(limits, accept);
    let peer = server.opens();
    let id = server.id_of(&peer);
    server.act(move |hub| {
        hub.send(id, vec![b'x'; 16 << 20]).expect("there is room");
        hub.close(id, CloseCode::NORMAL, "");
    });
    server.sees(&peer, Seen::Closed(Reason::Local { code: CloseCode::NORMAL }));
    server.until(|hub| hub.connection_count() == 0 && hub.queued_bytes_total() == 0);
    server.sees_no_more(&peer);
}

#[test]
fn an_answer_to_a_close_that_cannot_be_sent_ends_all_the_same() {
    let limits = config(|limits| {
        limits.close_timeout = SHORT;
        limits.send_queue_bytes_max = 64 << 20;
    });
    let server = TestServer::start(limits, accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    server.act(move |hub| hub.send(id, vec![b'x'; 16 << 20])).expect("there is room");
    peer.sends(close(1000, ""));
    server.sees(&peer, Seen::Closed(Reason::Peer { code: 1000, text: "" }));
    server.until(|hub| hub.connection_count() == 0 && hub.queued_bytes_total() == 0);
    server.sees_no_more(&peer);
}

/// What waits before a Close, and how long that may stay where it is.
const QUEUE: usize = 200 << 10;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Deadlines are kept in steps of 67 ms, and are never early.
const TICKS: Duration = Duration::from_millis(2 * 64);

/// Connections that are being closed behind a long queue, from this side and from the peer's, and
/// whose kernel holds so little of it.
fn closing(held: usize) -> (Sim, Vec<(ConnId, Wire)>) {
    let limits = config(|limits| {
        limits.ping_interval = None;
        limits.close_timeout = CLOSE_TIMEOUT;
    });
    let mut sim = Sim::new(limits);
    let peers = vec![sim.opens(), sim.opens()];
    for (id, wire) in &peers {
        wire.holds(held);
        sim.hub().send(*id, [0; QUEUE]).expect("there is room");
    }
    sim.hub().close(peers[0].0, CloseCode::NORMAL, "");
    peers[1].1.sends(close(1000, ""));
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(peers[1].0, 1000)]);
    (sim, peers)
}

fn sleeps(sim: &mut Sim, time: Duration) {
    let end = sim.server.net().slept() + time;
    while sim.server.net().slept() < end {
        let left = end - sim.server.net().slept();
        sim.turn_within(Some(left));
    }
}

/// The peer cannot answer before it has the Close, however slowly the network takes what is before it.
#[test]
fn a_close_is_waited_for_from_when_it_is_out_and_a_queue_while_it_gets_shorter() {
    let (mut sim, peers) = closing(20 << 10);
    let mut got = vec![Vec::new(); peers.len()];
    for round in 0.. {
        for ((_, wire), got) in peers.iter().zip(&mut got) {
            got.extend(wire.reads_bytes());
        }
        sim.rests();
        if sim.hub().queued_bytes_total() == 0 {
            assert!(round >= 9, "it was to take longer than one timeout");
            break;
        }
        sleeps(&mut sim, CLOSE_TIMEOUT - Duration::from_secs(1));
    }
    for ((_, wire), got) in peers.iter().zip(&mut got) {
        got.extend(wire.reads_bytes());
        assert_eq!(frames(got), [binary([0; QUEUE]), close(1000, "")]);
    }
    // The one lingers; the other's Close is awaited as if nothing had been before it.
    let (id, wire) = &peers[0];
    sleeps(&mut sim, CLOSE_TIMEOUT - Duration::from_secs(1));
    assert!(!wire.is_ended());
    sleeps(&mut sim, Duration::from_secs(1) + TICKS);
    assert!(wire.is_dropped());
    assert_eq!(sim.takes(), [Told::Closed(*id, 1000)]);
    assert_eq!(sim.hub().connection_count(), 0);
}

/// Whoever reads a little now and then would have a closed connection for hours.
#[test]
fn a_queue_that_hardly_gets_shorter_is_given_up_with_its_close() {
    for held in [0, 128] {
        let (mut sim, peers) = closing(held);
        let before = sim.server.net().slept();
        while sim.hub().connection_count() > 0 {
            peers.iter().for_each(|(_, wire)| drop(wire.reads_bytes()));
            sleeps(&mut sim, Duration::from_millis(100));
        }
        let slept = sim.server.net().slept() - before;
        assert!((CLOSE_TIMEOUT..=CLOSE_TIMEOUT + 2 * TICKS).contains(&slept), "{slept:?}");
        assert_eq!(sim.takes(), [Told::Closed(peers[0].0, 1000)]);
        assert_eq!(sim.hub().queued_bytes_total(), 0);
    }
}

#[test]
fn a_peer_that_keeps_its_side_open_is_waited_for_no_longer_than_the_limit() {
    for (timeout, over) in [(SHORT, true), (PATIENCE, false)] {
        let server = TestServer::start(config(|limits| limits.linger_timeout = timeout), accept);
        let mut peer = server.opens();
        peer.sends(close_empty());
        peer.expects(close_empty());
        peer.expects_eof();
        passes(&server);
        assert_eq!(server.act(|hub| hub.connection_count()) == 0, over);
        server.sees(&peer, Seen::Closed(Reason::Peer { code: 1005, text: "" }));
        server.sees_no_more(&peer);
    }
}

/// Most clients write a long message to its end before they read that it was refused.
#[test]
fn a_peer_is_waited_for_while_it_sends_a_megabit_in_a_second() {
    const STEP: usize = 256 << 10;
    for (bytes, waits) in [(STEP, true), (STEP - 1, false)] {
        let mut sim = Sim::new(config(|limits| limits.ping_interval = None));
        let (id, wire) = sim.opens();
        // A frame of 8 MiB and no byte of it.
        wire.sends_bytes([0x82, 0xFF, 0, 0, 0, 0, 0, 0x80, 0, 0, 1, 2, 3, 4]);
        sim.rests();
        assert_eq!(sim.takes(), [Told::Closed(id, 1009)]);
        assert_eq!(
            frames(&wire.reads_bytes()),
            [close(1009, "message is longer than message_bytes_max")]
        );
        for _ in 0..8 {
            // Less than the timeout, and together more.
            sleeps(&mut sim, Duration::from_millis(1500));
            wire.sends_bytes(vec![0x55; bytes]);
            sim.rests();
        }
        assert_eq!(sim.hub().connection_count() == 1, waits);
    }
}

#[test]
fn timers_come_when_they_are_due_and_as_often_as_they_were_set() {
    let server = TestServer::echo();
    server.act(|hub| {
        let now = hub.now();
        hub.set_timer(now + 2 * SHORT, 3);
        hub.set_timer(now + SHORT, 2);
        hub.set_timer(now - SHORT, 1);
        hub.set_timer(now + 3 * SHORT, 2);
        let never = hub.set_timer(now + SHORT / 2, 9);
        assert!(hub.cancel_timer(never) && !hub.cancel_timer(never));
    });
    for key in [1, 2, 3, 2] {
        server.sees_timer(key);
    }
}

/// Nor does it where the kernel took more meanwhile, which is a sign of life, too.
#[test]
fn a_slow_reader_is_pinged_an_interval_after_the_kernel_took_more() {
    let mut sim = Sim::new(config(|limits| {
        (limits.ping_interval, limits.pong_timeout) = (Some(5 * SECOND), 60 * SECOND);
    }));
    let (id, wire) = sim.opens();
    wire.holds(10);
    sim.hub().send(id, [0; 1000]).unwrap();
    // Behind what waits, a Ping could not tell.
    sleeps(&mut sim, 8 * SECOND);
    assert_eq!(sim.hub().counters().pings_sent, 0);
    wire.holds(usize::MAX);
    wire.reads_bytes();
    sleeps(&mut sim, 4 * SECOND);
    assert_eq!(sim.hub().counters().pings_sent, 0);
    sleeps(&mut sim, SECOND + 2 * TICKS);
    assert_eq!(sim.hub().counters().pings_sent, 1);
}

const SECOND: Duration = Duration::from_secs(1);

/// Something that waits for a peer whose kernel holds 10 bytes: sent to it, or published.
fn blocked(published: Option<OnLag>) -> (Sim, ConnId, Wire) {
    let mut sim = Sim::new(config(|limits| {
        limits.topic.on_lag = published.unwrap_or_default();
        limits.ping_interval = Some(5 * SECOND);
        limits.pong_timeout = SECOND;
        limits.blocked_timeout = 30 * SECOND;
        limits.close_timeout = SECOND;
    }));
    let (id, wire) = sim.opens();
    wire.holds(10);
    match published {
        None => sim.hub().send(id, [0; 1000]).unwrap(),
        Some(_) => {
            sim.hub().subscribe(id, "t").unwrap();
            assert_eq!(sim.hub().publish("t", [0; 1000]).map(|it| it.subscribers), Ok(1));
        }
    }
    sim.turn();
    (sim, id, wire)
}

/// It may be alive, and say so: nothing that is due reaches it.
#[test]
fn a_peer_that_takes_nothing_is_closed_after_a_while_whether_it_sends_or_not() {
    for published in [None, Some(OnLag::Close), Some(OnLag::Latest), Some(OnLag::Skip)] {
        for sends in [false, true] {
            let (mut sim, id, wire) = blocked(published);
            for _ in 0..30 {
                assert!(sim.hub().is_open(id), "{published:?} {sends}");
                if sends {
                    wire.sends(text("I am here"));
                    wire.sends(ping("there?"));
                }
                sleeps(&mut sim, SECOND);
            }
            sleeps(&mut sim, 2 * TICKS);
            assert!(!sim.hub().is_open(id), "{published:?} {sends}");
            // The Close does not leave either.
            sleeps(&mut sim, SECOND + 2 * TICKS);
            let closed = sim.takes().pop();
            assert_eq!(closed, Some(Told::Closed(id, 1013)), "{published:?} {sends}");
            let counters = sim.hub().counters();
            assert_eq!((counters.pings_sent, counters.closed_overflow), (0, 1));
            assert_eq!((sim.hub().connection_count(), sim.hub().queued_bytes_total()), (0, 0));
        }
    }
}

#[test]
fn a_peer_that_takes_a_little_now_and_then_stays_open() {
    for published in [None, Some(OnLag::Skip)] {
        let (mut sim, id, wire) = blocked(published);
        for _ in 0..20 {
            sleeps(&mut sim, 29 * SECOND);
            assert_eq!(wire.reads_bytes().len(), 10);
        }
        assert!(sim.hub().is_open(id));
        assert_eq!(sim.hub().counters().pings_sent, 0);
        sleeps(&mut sim, 31 * SECOND);
        assert!(!sim.hub().is_open(id));
    }
}
