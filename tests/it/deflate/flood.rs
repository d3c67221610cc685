//! What is small and inflates to much. A turn inflates a bounded amount of it, everything
//! arrives in order, others are served in between, and every end of the flooder is an end.

use std::time::Duration;

use pushloop::{CloseCode, Config, ConnId};

use super::{ANSWER, OFFER, binary_deflated, opens};
use crate::support::net::{Sim, Told, Wire};
use crate::support::peer_codec::{deflate, finals};
use crate::support::{Frame, burst, close, ping, pong, quiet, text};

const LONG: usize = 64 * 1024;

/// A message of zeros but for its number.
fn long(number: usize, len: usize) -> Vec<u8> {
    let mut message = vec![0; len];
    message[..8].copy_from_slice(&number.to_be_bytes());
    message
}

/// So many messages, each of `len` bytes and some dozen on the wire.
fn flood(numbers: std::ops::Range<usize>, len: usize) -> Vec<u8> {
    burst(&numbers.map(|number| binary_deflated(deflate(&long(number, len)))).collect::<Vec<_>>())
}

/// How many messages of this connection were told, and that these came in order from `next` on.
#[track_caller]
fn told(sim: &mut Sim, id: ConnId, next: usize, len: usize) -> usize {
    let messages = sim.takes().into_iter().filter_map(|told| match told {
        Told::Message(from, message) if from == id => Some(message),
        _ => None,
    });
    let mut count = 0;
    for message in messages {
        assert!(message == long(next + count, len));
        count += 1;
    }
    count
}

/// A turn inflates one long message and no more.
fn one_in_a_turn(config: &mut Config) {
    config.read_bytes_per_turn = LONG;
}

/// Settings under which the input of a turn is cut in every way.
fn settings() -> Vec<(usize, Config)> {
    let set = |len, read, batch| {
        let limits = |config: &mut Config| {
            config.message_bytes_max = len;
            (config.read_bytes_per_turn, config.receive_buffer_bytes) = (read, batch);
        };
        (len, quiet(limits))
    };
    vec![
        set(LONG, 64 << 10, 256 << 10),
        set(LONG, 64 << 10, 1 << 10),
        set(LONG, 1000, 1),
        set(1 << 20, 64 << 10, 256 << 10),
        set(3000, 64 << 10, 64 << 10),
        set(3000, 1, 1),
        set(LONG, 1 << 20, 16 << 10),
    ]
}

#[test]
fn a_turn_inflates_a_bounded_amount_and_all_of_it_arrives_in_order() {
    for (len, limits) in settings() {
        let budget = limits.read_bytes_per_turn;
        let mut sim = Sim::new(limits);
        let (id, wire) = opens(&mut sim, OFFER, ANSWER);
        wire.sends_bytes(flood(0..100, len));
        let (mut arrived, mut turns) = (0, 0);
        while arrived < 100 {
            sim.turn();
            let now = told(&mut sim, id, arrived, len);
            // The last message may begin when the turn's budget is all but spent.
            assert!(now * len < budget + len, "{now} messages of {len} bytes in one turn");
            arrived += now;
            turns += 1;
            assert!(turns < 20_000, "{arrived} messages arrive, and no more");
        }
        sim.rests();
        assert_eq!(told(&mut sim, id, 100, len), 0);
        wire.sends(ping("alive"));
        sim.rests();
        assert_eq!(wire.reads(), [pong("alive")]);
    }
}

/// Beside any number of flooders, a peer waits for its turn until each of them was read once, and
/// every second turn is for what is set aside.
fn innocent(flooders: usize, len: usize) {
    let mut sim = Sim::new(quiet(|config| config.message_bytes_max = len));
    let flood = flood(0..100, len);
    let wires: Vec<Wire> = (0..flooders)
        .map(|_| {
            let (_, wire) = opens(&mut sim, OFFER, ANSWER);
            wire.sends_bytes(&flood);
            wire
        })
        .collect();
    let (id, wire) = sim.opens();
    sim.takes();
    for number in 0..20 {
        let said = format!("{number}");
        wire.sends(text(&said));
        let mut waited = 0;
        while !sim.takes().contains(&Told::Message(id, said.clone().into())) {
            sim.turn();
            waited += 1;
            assert!(waited <= 2 * flooders + 4, "{waited} turns, beside {flooders} flooders");
        }
    }
    drop(wires);
}

#[test]
fn others_are_served_beside_one_flooder() {
    innocent(1, LONG);
}

#[test]
fn others_are_served_beside_many_flooders() {
    innocent(20, LONG);
}

/// One message fills a batch.
#[test]
fn others_are_served_beside_a_flooder_with_long_messages() {
    innocent(1, 1 << 20);
}

/// Nor do others keep a flooder's rest waiting, who speak in each turn.
#[test]
fn what_is_set_aside_is_read_beside_others() {
    let mut sim = Sim::new(quiet(one_in_a_turn));
    let (id, wire) = opens(&mut sim, OFFER, ANSWER);
    let (_, other) = sim.opens();
    sim.takes();
    wire.sends_bytes(flood(0..20, LONG));
    let mut arrived = 0;
    for _ in 0..2 * 20 + 4 {
        other.sends(text("x"));
        sim.turn();
        arrived += told(&mut sim, id, arrived, LONG);
    }
    assert_eq!(arrived, 20);
}

/// What may happen to a flooder while its input is set aside.
#[derive(Clone, Copy, Debug)]
enum End {
    Fin,
    CloseFrame,
    Broken,
    Reset,
    Stalls,
    ClosedByUs,
    Shutdown,
    ShutdownAtOnce,
}

/// Every such end comes to an end, after every message that can still be delivered.
fn ends(limits: Config, len: usize, flood: &[u8], end: End, after: usize) {
    let mut sim = Sim::new(limits);
    let (id, wire) = opens(&mut sim, OFFER, ANSWER);
    let mut bytes = flood.to_vec();
    match end {
        End::CloseFrame => bytes.extend(close(1000, "").masked([1; 4])),
        End::Broken => bytes.extend(binary_deflated([0x06]).masked([1; 4])),
        _ => {}
    }
    wire.sends_bytes(bytes);
    if matches!(end, End::Fin) {
        wire.finishes();
    }
    (0..after).for_each(|_| sim.turn());
    match end {
        End::Reset => wire.resets(),
        End::Stalls => wire.sends(ping("half")),
        End::ClosedByUs => sim.hub().close(id, CloseCode::NORMAL, ""),
        End::Shutdown => sim.hub().shutdown(Duration::from_secs(1)),
        End::ShutdownAtOnce => sim.hub().shutdown(Duration::ZERO),
        End::Fin | End::CloseFrame | End::Broken => {}
    }
    let mut turns = 0;
    let is_over = |sim: &Sim| sim.told.iter().any(|told| matches!(told, Told::Closed(..)));
    while !is_over(&sim) && !matches!(end, End::Stalls) {
        sim.turn_within(Some(Duration::from_millis(50)));
        turns += 1;
        assert!(turns < 20_000, "{end:?} after {after} turns has no end");
    }
    sim.rests();
    let code = match end {
        End::Fin | End::Reset => Some(1006),
        End::CloseFrame | End::ClosedByUs => Some(1000),
        End::Broken => Some(1007),
        End::Shutdown | End::ShutdownAtOnce => Some(1001),
        End::Stalls => None,
    };
    let closed = sim.told.iter().filter(|told| matches!(told, Told::Closed(..))).cloned();
    let expected: Vec<_> = code.map(|code| Told::Closed(id, code)).into_iter().collect();
    assert_eq!(closed.collect::<Vec<_>>(), expected, "{end:?} after {after}");
    let all = matches!(end, End::Fin | End::CloseFrame | End::Broken | End::Stalls);
    let arrived = told(&mut sim, id, 0, len);
    assert!(if all { arrived == 30 } else { arrived <= 30 }, "{end:?}: {arrived}");
    if matches!(end, End::Stalls) {
        assert_eq!(wire.reads(), [pong("half")]);
    }
    wire.finishes();
    sim.rests();
    for _ in 0..200 {
        sim.turn_within(Some(Duration::from_millis(100)));
    }
    assert_eq!(sim.hub().connection_count(), 0, "{end:?} after {after}");
    assert!(wire.is_dropped());
}

#[test]
fn every_end_of_a_flooder_is_an_end() {
    for (len, limits) in settings() {
        let len = len.min(LONG);
        let flood = flood(0..30, len);
        for end in [
            End::Fin,
            End::CloseFrame,
            End::Broken,
            End::Reset,
            End::Stalls,
            End::ClosedByUs,
            End::Shutdown,
            End::ShutdownAtOnce,
        ] {
            for after in [0, 1, 2, 5] {
                ends(limits.clone(), len, &flood, end, after);
            }
        }
    }
}

/// A peer that sends while its earlier input is set aside, and whose kernel is full.
#[test]
fn what_comes_while_input_is_set_aside_is_read_after_it() {
    let mut sim = Sim::new(quiet(one_in_a_turn));
    let (id, wire) = opens(&mut sim, OFFER, ANSWER);
    let mut arrived = 0;
    for round in 0..50 {
        wire.sends_bytes(flood(3 * round..3 * round + 3, LONG));
        wire.sends(ping(round.to_string()));
        wire.holds(if round % 2 == 0 { 0 } else { 40 });
        sim.turn();
        arrived += told(&mut sim, id, arrived, LONG);
        wire.reads_bytes();
    }
    wire.holds(usize::MAX);
    wire.reads_bytes();
    sim.rests();
    arrived += told(&mut sim, id, arrived, LONG);
    assert_eq!(arrived, 150);
    wire.sends(ping("last"));
    sim.rests();
    assert!(wire.reads_bytes().ends_with(&pong("last").unmasked()));
}

/// The end of a connection while input is set aside leaves nothing behind for the next one in its
/// slot.
#[test]
fn what_is_set_aside_reaches_no_later_connection() {
    let mut sim = Sim::new(quiet(one_in_a_turn));
    for round in 0..20 {
        let (id, wire) = opens(&mut sim, OFFER, ANSWER);
        wire.sends_bytes(flood(0..5, LONG));
        sim.turn();
        assert_eq!(told(&mut sim, id, 0, LONG), 1);
        // A write fails before the next read.
        wire.resets();
        sim.hub().send(id, "x").unwrap();
        sim.turn();
        let (later, _) = opens(&mut sim, OFFER, ANSWER);
        sim.rests();
        let messages = sim.takes().into_iter().filter(|told| matches!(told, Told::Message(..)));
        assert_eq!(messages.count(), 0, "round {round}");
        assert!(sim.hub().is_open(later) && !sim.hub().is_open(id));
    }
}

/// A Close of ours while input is set aside: the peer's own Close is in that input.
#[test]
fn the_answer_to_our_close_is_found_in_what_was_set_aside() {
    let mut sim = Sim::new(quiet(one_in_a_turn));
    let (id, wire) = opens(&mut sim, OFFER, ANSWER);
    wire.sends_bytes([flood(0..5, LONG), close(1000, "").masked([1; 4])].concat());
    sim.turn();
    sim.hub().close(id, CloseCode::NORMAL, "");
    sim.turn();
    sim.turn();
    assert!(sim.takes().contains(&Told::Closed(id, 1000)));
    assert_eq!(sim.hub().counters().messages_after_close, 4);
}

/// Input that follows the handshake in the same segment is bounded in the same way.
#[test]
fn a_flood_behind_the_handshake_is_bounded_too() {
    let mut sim = Sim::new(quiet(one_in_a_turn));
    let wire = sim.server.net().connects();
    wire.sends_bytes([super::offering(OFFER).into_bytes(), flood(0..20, LONG)].concat());
    let mut arrived = Vec::new();
    while arrived.len() < 20 {
        sim.turn();
        let messages = sim.takes().into_iter().filter(|told| matches!(told, Told::Message(..)));
        let messages: Vec<_> = messages.collect();
        assert!(messages.len() <= 1);
        arrived.extend(messages);
        assert!(sim.server.net().calls.waits < 100);
    }
}

/// What costs time and inflates to nothing uses up a turn's budget, too.
#[test]
fn a_turn_inflates_so_many_messages_of_nothing() {
    let streams = binary_deflated(finals(vec![&b""[..]; 1000]));
    for (frame, count, most) in [(binary_deflated([0]), 2000, 128), (streams, 20, 1)] {
        let mut sim = Sim::new(quiet(one_in_a_turn));
        let (id, wire) = opens(&mut sim, OFFER, ANSWER);
        wire.sends_bytes(burst(&vec![frame; count]));
        let mut arrived = 0;
        while arrived < count {
            sim.turn();
            let told = sim.takes();
            assert!(told.len() <= most && told.iter().all(|it| *it == Told::Message(id, vec![])));
            arrived += told.len();
            assert!(sim.server.net().calls.waits < 200);
        }
    }
}

/// Messages of nothing take no more memory than their frames deserve: see `counts_alloc.rs`; here,
/// that they all arrive.
#[test]
fn thousands_of_empty_messages_arrive() {
    let mut sim = Sim::new(quiet(one_in_a_turn));
    let (_, wire) = opens(&mut sim, OFFER, ANSWER);
    let frames: Vec<Frame> = vec![binary_deflated([0]); 20_000];
    wire.sends_bytes(burst(&frames));
    let streams = binary_deflated(finals(vec![&b""[..]; 1000]));
    wire.sends_bytes(burst(&vec![streams; 50]));
    sim.rests();
    let empty = |told: &Told| matches!(told, Told::Message(_, message) if message.is_empty());
    assert_eq!(sim.takes().iter().filter(|told| empty(told)).count(), 20_050);
}

/// What is set aside of many is bounded together, and who is closed for it ends like any other.
#[test]
fn what_is_set_aside_of_all_together_is_bounded() {
    const MAX: usize = 20_000;
    let mut sim = Sim::new(quiet(|limits| {
        one_in_a_turn(limits);
        limits.incomplete_bytes_max = MAX;
    }));
    let sent = flood(0..50, LONG);
    assert!(sent.len() > MAX / 10 && sent.len() < MAX / 2, "{}", sent.len());
    let flooders: Vec<_> = (0..20).map(|_| opens(&mut sim, OFFER, ANSWER)).collect();
    flooders.iter().for_each(|(_, wire)| wire.sends_bytes(&sent));
    let (mut closed, mut messages) = (0, 0);
    while closed + messages / 50 < 20 {
        sim.turn();
        for told in sim.takes() {
            closed += usize::from(matches!(told, Told::Closed(_, 1013)));
            messages += usize::from(matches!(told, Told::Message(..)));
        }
        assert!(sim.server.net().calls.waits < 2000, "{closed} are closed, {messages} came");
    }
    assert_eq!(sim.hub().counters().closed_incomplete as usize, closed);
    assert!(closed >= 20 - MAX / (sent.len() - 100), "{closed} are closed");
    sim.rests();
    // What comes of those who are closed is read, and discarded, until they end.
    for (id, wire) in &flooders {
        wire.sends_bytes([0; 1000]);
        wire.finishes();
        sim.rests();
        assert!(!sim.hub().is_open(*id) && wire.is_dropped());
    }
    assert_eq!((sim.hub().connection_count(), sim.hub().queued_bytes_total()), (0, 0));
}

/// A spare buffer may be large, and who is many waits for many turns.
#[test]
fn what_waits_for_its_turn_takes_no_more_room_than_it_is_long() {
    let mut sim = Sim::new(quiet(one_in_a_turn));
    let fast: Vec<_> = (0..8).map(|_| sim.opens()).collect();
    // No window is kept.
    let alone = "permessage-deflate; client_no_context_takeover";
    let wires: Vec<_> = (0..200).map(|_| opens(&mut sim, alone, alone).1).collect();
    let flood = flood(0..4, LONG);
    let mut info = allocation_counter::measure(|| {
        wires.iter().for_each(|wire| wire.sends_bytes(&flood));
        for _ in 0..100 {
            fast.iter().for_each(|(id, _)| sim.hub().send(*id, [0; 100_000]).unwrap());
            sim.turn();
            sim.takes();
            fast.iter().for_each(|(_, wire)| drop(wire.reads_bytes()));
        }
    });
    info.bytes_current -= 200 * flood.len() as i64;
    // Beside the spare ones, of which 4 MiB are kept.
    assert!(info.bytes_current < 8_000_000, "{info:?}");
}
