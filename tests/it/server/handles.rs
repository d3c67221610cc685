//! A server from other threads.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use pushloop::{CloseCode, Config, ConnId, Event, HandleError, Message};

use crate::support::net::{Sim, Told};
use crate::support::{TestServer, accept, close, frame, quiet, text};

const NOBODY: ConnId = ConnId::from_bits(u64::MAX);

#[test]
fn eight_threads_publish_send_and_close() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 200;
    let server = TestServer::start(Config::default(), |hub, event| match event {
        Event::Opened { id } => hub.subscribe(id, "all").unwrap(),
        event => accept(hub, event),
    });
    let mut peers: Vec<_> = (0..THREADS).map(|_| server.opens()).collect();
    let ids: Vec<_> = peers.iter().map(|peer| server.id_of(peer)).collect();
    let together = Barrier::new(THREADS);
    thread::scope(|scope| {
        for (at, id) in ids.iter().copied().enumerate() {
            let (handle, together) = (server.handle().clone(), &together);
            scope.spawn(move || {
                together.wait();
                let mut before = handle.counters();
                for round in 0..ROUNDS {
                    let publication = format!("{at} {round}");
                    handle.publish("all", Message::Text(&publication)).unwrap();
                    handle.send(id, Message::Binary(&[at as u8, round as u8])).unwrap();
                    let counters = handle.counters();
                    assert!(counters.publications >= before.publications);
                    before = counters;
                }
                let code = CloseCode::new(4000 + at as u16).unwrap();
                together.wait();
                handle.close(id, code, "from a thread").unwrap();
            });
        }
    });
    for (at, peer) in peers.iter_mut().enumerate() {
        let mut next = [0; THREADS];
        let mut sent = Vec::new();
        for _ in 0..(THREADS + 1) * ROUNDS {
            let got = peer.reads();
            if got.first == 0x82 {
                sent.push(got.payload);
                continue;
            }
            let payload = String::from_utf8(got.payload).unwrap();
            let (from, round) = payload.split_once(' ').unwrap();
            let from: usize = from.parse().unwrap();
            assert_eq!(round.parse(), Ok(next[from]));
            next[from] += 1;
            // Every thread published before it sent.
            assert!(from != at || next[from] == sent.len() + 1);
        }
        assert_eq!(next, [ROUNDS; THREADS]);
        assert!(sent.into_iter().eq((0..ROUNDS).map(|round| vec![at as u8, round as u8])));
        assert_eq!(peer.expects_close(4000 + at as u16), "from a thread");
    }
    let counters = server.handle().counters();
    assert_eq!(counters.publications as usize, THREADS * ROUNDS);
    assert_eq!(counters.deliveries as usize, THREADS * THREADS * ROUNDS);
    assert_eq!(counters.messages_sent as usize, THREADS * ROUNDS);
    assert_eq!(counters.stale_commands, 0);
}

#[test]
fn a_full_mailbox_says_so_and_loses_nothing_that_it_took() {
    const MAX: usize = 1000;
    let mut sim = Sim::new(quiet(|config| config.mailbox_commands_max = MAX));
    let (id, wire) = sim.opens();
    sim.hub().subscribe(id, "t").unwrap();
    // The loop stands still.
    let handle = sim.server.handle();
    let accepted: Vec<String> = thread::scope(|scope| {
        let push = |thread: usize| {
            let handle = handle.clone();
            let payloads = (0..).map(move |at| format!("{thread} {at}"));
            let taken = move |payload: &String| handle.publish("t", payload).is_ok();
            scope.spawn(move || payloads.take_while(taken).collect::<Vec<_>>())
        };
        let threads: Vec<_> = (0..8).map(push).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(accepted.len(), MAX);
    let text_of = Message::Text("x");
    assert_eq!(handle.publish("t", text_of), Err(HandleError::Full));
    assert_eq!(handle.send(id, text_of), Err(HandleError::Full));
    assert_eq!(handle.close(id, CloseCode::NORMAL, ""), Err(HandleError::Full));
    for _ in 0..3 {
        sim.turn();
    }
    let mut got: Vec<_> = wire.reads().into_iter().map(|frame| frame.payload).collect();
    let mut expected: Vec<_> = accepted.into_iter().map(String::into_bytes).collect();
    got.sort_unstable();
    expected.sort_unstable();
    assert!(got == expected);
    assert_eq!(handle.publish("t", text_of), Ok(()));
}

#[test]
fn a_mailbox_is_full_at_the_byte_and_lets_a_shutdown_through() {
    let mut sim = Sim::new(quiet(|config| config.mailbox_bytes_max = 100));
    let (id, wire) = sim.opens();
    let handle = sim.server.handle();
    let bytes = |len: usize| "x".repeat(len);
    // A topic's name and a close's reason count, too.
    assert_eq!(handle.publish(&bytes(20), Message::Text(&bytes(20))), Ok(()));
    assert_eq!(handle.send(id, Message::Binary(&[0; 30])), Ok(()));
    assert_eq!(handle.close(id, CloseCode::NORMAL, &bytes(20)), Ok(()));
    assert_eq!(handle.send(id, Message::Binary(&[0; 11])), Err(HandleError::Full));
    assert_eq!(handle.publish(&bytes(1), Message::Text(&bytes(10))), Err(HandleError::Full));
    assert_eq!(handle.close(id, CloseCode::NORMAL, &bytes(11)), Err(HandleError::Full));
    assert_eq!(handle.send(id, Message::Binary(&[0; 10])), Ok(()));
    assert_eq!(handle.send(id, Message::Text("x")), Err(HandleError::Full));
    assert_eq!(handle.send(id, Message::Text("")), Ok(()));
    // One that could never be taken is refused as well.
    assert_eq!(handle.shutdown(Duration::from_secs(1)), Ok(()));
    (0..2).for_each(|_| sim.turn());
    assert_eq!(handle.send(id, Message::Binary(&[0; 101])), Err(HandleError::Full));
    assert_eq!(handle.send(id, Message::Binary(&[0; 100])), Ok(()));
    assert!(sim.hub().is_shutting_down());
    assert_eq!(wire.reads(), [frame(0x82, [0; 30]), close(1000, bytes(20))]);
}

#[test]
fn a_handle_outlives_its_server() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    let handle = sim.server.handle();
    let other = handle.clone();
    handle.send(id, Message::Text("never taken")).unwrap();
    drop(sim);
    assert!(wire.is_dropped());
    for handle in [handle, other] {
        assert_eq!(handle.publish("t", Message::Text("x")), Err(HandleError::Closed));
        assert_eq!(handle.send(id, Message::Text("x")), Err(HandleError::Closed));
        assert_eq!(handle.close(id, CloseCode::NORMAL, ""), Err(HandleError::Closed));
        assert_eq!(handle.shutdown(Duration::ZERO), Err(HandleError::Closed));
        assert_eq!(handle.counters().upgrades, 1);
    }
    assert_eq!(wire.reads(), []);
}

#[test]
fn commands_for_those_who_are_gone_are_counted() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (gone, wire) = sim.opens();
    wire.resets();
    (0..2).for_each(|_| sim.turn());
    let handle = sim.server.handle();
    for id in [gone, NOBODY] {
        handle.send(id, Message::Text("x")).unwrap();
        handle.close(id, CloseCode::NORMAL, "").unwrap();
    }
    handle.publish("nobody's", Message::Text("x")).unwrap();
    sim.turn();
    assert_eq!(handle.counters().stale_commands, 4);
}

#[test]
fn commands_beyond_a_turns_budget_come_with_the_next_without_a_pause() {
    let mut sim = Sim::new(quiet(|config| config.commands_per_turn = 10));
    let (id, wire) = sim.opens();
    let handle = sim.server.handle();
    (0..25).for_each(|at| handle.send(id, Message::Text(&at.to_string())).unwrap());
    // No turn sleeps, although none is told not to; what is taken leaves in the turn after it.
    let mut got = Vec::new();
    for _ in 0..4 {
        sim.turn_within(Some(Duration::from_secs(1)));
        got.push(wire.reads().len());
    }
    assert_eq!((got, sim.server.net().slept()), (vec![0, 10, 10, 5], Duration::from_secs(1)));
}

#[test]
fn a_command_that_comes_while_others_wait_for_their_turn_is_not_forgotten() {
    let mut sim = Sim::new(quiet(|config| config.commands_per_turn = 2));
    let (id, wire) = sim.opens();
    let handle = sim.server.handle();
    (0..3).for_each(|at| handle.send(id, Message::Text(&at.to_string())).unwrap());
    sim.turn_within(None);
    // The third was taken with the others, so this one wakes the loop.
    handle.send(id, Message::Text("3")).unwrap();
    sim.turn_within(None);
    sim.turn_within(Some(Duration::from_secs(60)));
    sim.turn();
    assert_eq!(wire.reads(), ["0", "1", "2", "3"].map(text));
    assert_eq!(sim.server.net().slept(), Duration::ZERO, "the loop slept over a command");
    assert_eq!(sim.takes(), [] as [Told; 0]);
}

#[test]
fn threads_that_send_while_the_server_ends_are_told_so_for_good() {
    for turns in 0..20 {
        let mut sim = Sim::new(quiet(|config| config.mailbox_commands_max = 100));
        let (id, _wire) = sim.opens();
        let handle = sim.server.handle();
        let together = Barrier::new(9);
        thread::scope(|scope| {
            for _ in 0..8 {
                let (handle, together) = (handle.clone(), &together);
                scope.spawn(move || {
                    together.wait();
                    while handle.send(id, Message::Text("x")) != Err(HandleError::Closed) {
                        thread::yield_now();
                    }
                    for _ in 0..100 {
                        assert_eq!(handle.publish("t", "x"), Err(HandleError::Closed));
                        assert_eq!(handle.shutdown(Duration::ZERO), Err(HandleError::Closed));
                    }
                });
            }
            together.wait();
            (0..turns).for_each(|_| sim.turn());
            drop(sim);
        });
    }
}
