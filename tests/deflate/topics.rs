//! What is published is compressed once for all who take it so, and not where that was
//! forbidden.

use pushloop::{Config, ConnId, Overflow};

use super::dice::Dice;
use super::net::{Sim, Wire};
use super::puff::Puff;
use super::support::{Frame, binary, frame, text};
use super::{ALONE, OFFER, config, noise, opens};

const WORDS: &str = "The score is one to nil. The score is one to nil. Half time: one to nil.";

/// WebSockets that subscribe to a topic, every other one with compression.
fn subscribers(sim: &mut Sim, count: usize, topic: &str) -> Vec<(ConnId, Wire)> {
    let opens = |at| {
        let (id, wire) = if at % 2 == 0 { sim.opens() } else { opens(sim, OFFER, ALONE) };
        sim.hub().subscribe(id, topic).unwrap();
        (id, wire)
    };
    (0..count).map(opens).collect()
}

/// The frame as it would be without compression.
#[track_caller]
fn inflated(of: &Frame) -> Frame {
    assert_eq!(of.first & 0x70, 0x40, "{of:?}");
    frame(of.first & 0xBF, Puff::default().inflates(&of.payload))
}

fn encode_once(count: usize) {
    let mut sim = Sim::new(config(|_| {}));
    let peers = subscribers(&mut sim, count, "t");
    sim.rests();
    assert_eq!(sim.hub().publish("t", WORDS), Ok(count));
    sim.rests();
    let counters = sim.hub().counters();
    assert_eq!((counters.publications, counters.deliveries), (1, count as u64));
    assert_eq!(counters.messages_deflated, 1);
    let first = peers[1].1.reads();
    assert_eq!(inflated(&first[0]), text(WORDS));
    for (at, (_, wire)) in peers.iter().enumerate().filter(|(at, _)| *at != 1) {
        assert_eq!(wire.reads(), if at % 2 == 0 { vec![text(WORDS)] } else { first.clone() });
    }
    assert_eq!(sim.hub().queued_bytes_total(), 0);
}

#[test]
fn a_publication_is_compressed_once_for_all() {
    encode_once(1000);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn a_publication_to_ten_thousand_is_compressed_once() {
    encode_once(10_000);
}

#[test]
fn nothing_is_compressed_for_nobody() {
    let mut sim = Sim::new(config(|config| config.deflate_context_takeover = true));
    let (plain, plain_wire) = sim.opens();
    let nine = "permessage-deflate; server_max_window_bits=9";
    let (narrow, narrow_wire) = opens(&mut sim, nine, nine);
    let (once, _) = opens(&mut sim, OFFER, "permessage-deflate");
    for id in [plain, narrow, once] {
        sim.hub().subscribe(id, "t").unwrap();
    }
    sim.hub().unsubscribe(once, "t");
    sim.hub().publish("t", WORDS).unwrap();
    sim.rests();
    assert_eq!(sim.hub().counters().messages_deflated, 0);
    // A smaller window does not hold what is compressed for all.
    assert_eq!(plain_wire.reads(), [text(WORDS)]);
    assert_eq!(narrow_wire.reads(), [text(WORDS)]);
    // It is compressed again once there is somebody who takes it so, until that one leaves.
    sim.hub().subscribe(once, "t").unwrap();
    sim.hub().publish("t", WORDS).unwrap();
    sim.rests();
    assert_eq!(sim.hub().counters().messages_deflated, 1);
    sim.hub().close(once, pushloop::CloseCode::NORMAL, "");
    sim.hub().publish("t", WORDS).unwrap();
    sim.rests();
    assert_eq!(sim.hub().counters().messages_deflated, 1);
}

#[test]
fn a_turn_s_publications_come_in_order_compressed_or_not() {
    let mut sim = Sim::new(config(|_| {}));
    let peers = subscribers(&mut sim, 4, "t");
    let noise = noise(&mut Dice(14), 200);
    sim.hub().publish("t", WORDS).unwrap();
    sim.hub().publish("t", "short").unwrap();
    sim.hub().send(peers[1].0, "between").unwrap();
    sim.hub().publish_except("t", &WORDS.repeat(2), peers[3].0).unwrap();
    sim.hub().publish("t", &noise).unwrap();
    sim.hub().publish("t", "").unwrap();
    sim.rests();
    let all = [
        text(WORDS),
        text("short"),
        text("between"),
        text(WORDS.repeat(2)),
        binary(&noise),
        text(""),
    ];
    for (at, (_, wire)) in peers.iter().enumerate() {
        let got: Vec<_> = wire.reads();
        let long = |it: &Frame| if it.first & 0x40 == 0 { it.clone() } else { inflated(it) };
        let compressed = got.iter().filter(|it| it.first & 0x40 != 0).count();
        let got: Vec<_> = got.iter().map(long).collect();
        let mut expected = all.to_vec();
        if at == 3 {
            expected.remove(3);
        }
        if at != 1 {
            expected.remove(2);
        }
        assert_eq!(got, expected, "{at}");
        assert_eq!(compressed, [0, 2, 0, 1][at]);
    }
    assert_eq!(sim.hub().counters().messages_deflated, 2);
}

#[test]
fn a_secret_is_not_compressed_where_that_is_forbidden() {
    let mut sim = Sim::new(config(|config| config.deflate_context_takeover = true));
    let (id, wire) = opens(&mut sim, OFFER, "permessage-deflate");
    sim.hub().set_topic_deflate("later", false);
    sim.hub().subscribe(id, "later").unwrap();
    sim.hub().subscribe(id, "now").unwrap();
    sim.hub().set_topic_deflate("now", false);
    sim.hub().publish("later", WORDS).unwrap();
    sim.hub().publish("now", WORDS).unwrap();
    sim.hub().send_uncompressed(id, WORDS).unwrap();
    sim.rests();
    assert_eq!(wire.reads(), vec![text(WORDS); 3]);
    // Nor does what is compressed later refer to it.
    sim.hub().send(id, WORDS).unwrap();
    sim.rests();
    assert_eq!(inflated(&wire.reads()[0]), text(WORDS));
    // It outlives the topic, and is taken back.
    sim.hub().unsubscribe(id, "later");
    sim.hub().subscribe(id, "later").unwrap();
    sim.hub().publish("later", WORDS).unwrap();
    sim.rests();
    assert_eq!(wire.reads(), [text(WORDS)]);
    sim.hub().set_topic_deflate("later", true);
    sim.hub().publish("later", WORDS).unwrap();
    sim.rests();
    assert_eq!(inflated(&wire.reads()[0]), text(WORDS));
}

#[test]
fn a_secret_stays_one_if_compressing_is_allowed_again_within_the_turn() {
    let mut sim = Sim::new(config(|_| {}));
    let (id, wire) = opens(&mut sim, OFFER, ALONE);
    sim.hub().subscribe(id, "t").unwrap();
    sim.hub().set_topic_deflate("t", false);
    sim.hub().publish("t", WORDS).unwrap();
    sim.hub().set_topic_deflate("t", true);
    sim.rests();
    assert_eq!(wire.reads(), [text(WORDS)]);
    sim.hub().publish("t", WORDS).unwrap();
    sim.rests();
    assert_eq!(inflated(&wire.reads()[0]), text(WORDS));
}

/// Peers that do not read keep logs alive: those that are compressed count like the others.
#[test]
fn compressed_logs_count_among_what_waits() {
    for (step, of) in [(1, 2), (2, 1)] {
        let mut sim = Sim::new(config(|_| {}));
        let peers = subscribers(&mut sim, 8, "t");
        let compressed: Vec<_> = peers.iter().skip(1).step_by(2).collect();
        for (_, wire) in compressed.iter().step_by(step) {
            wire.holds(0);
        }
        let message = WORDS.repeat(60);
        for _ in 0..20 {
            sim.hub().publish("t", &message).unwrap();
            sim.turn();
        }
        let waits = sim.hub().queued_bytes(compressed[0].0);
        assert!(waits > 20 * 80 && waits < 20 * 300, "{waits}");
        // What they share counts once, but for what was copied because it is short.
        let copies = 4 * of / 2;
        let total = sim.hub().queued_bytes_total();
        assert!(total >= waits && total <= copies * waits, "{total} for {waits}");
        peers.iter().for_each(|(_, wire)| wire.holds(usize::MAX));
        peers.iter().for_each(|(_, wire)| drop(wire.reads_bytes()));
        sim.rests();
        assert_eq!(sim.hub().queued_bytes_total(), 0);
    }
}

/// The process's limit refuses what it has no room for, the compressed copies included, and no sum
/// of them overflows.
#[test]
fn the_limit_of_the_process_holds_for_what_is_compressed() {
    const LIMIT: usize = 100_000;
    let limits = |config: &mut Config| {
        config.send_queues_bytes_max = LIMIT;
        config.send_queue_bytes_max = LIMIT;
        config.overflow = Overflow::DropNewest;
    };
    let mut sim = Sim::new(config(limits));
    let peers = subscribers(&mut sim, 6, "t");
    peers.iter().for_each(|(_, wire)| wire.holds(0));
    let mut refused = 0;
    for number in 0..2000 {
        let message = format!("{number} {}", WORDS.repeat(1 + number % 30));
        refused += usize::from(sim.hub().publish("t", &message).is_err());
        if number % 10 == 0 {
            sim.turn();
            let total = sim.hub().queued_bytes_total();
            assert!(total <= LIMIT / 5 * 4, "{total}");
        }
    }
    println!("{refused} refused");
    drop(peers);
}
