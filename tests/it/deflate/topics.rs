//! What is published is compressed once for all who take it so, and not where that was
//! forbidden.

use pushloop::{ConnId, Encoder, History, Position, Publication, TopicOptions};

use super::puff::Puff;
use super::{ANSWER, OFFER, noise, opens};
use crate::support::dice::Dice;
use crate::support::net::{Sim, Wire};
use crate::support::{Frame, binary, frame, quiet, text};

const WORDS: &str = "The score is one to nil. The score is one to nil. Half time: one to nil.";

/// WebSockets that subscribe to a topic, every other one with compression.
fn subscribers(sim: &mut Sim, count: usize, topic: &str) -> Vec<(ConnId, Wire)> {
    let opens = |at| {
        let (id, wire) = if at % 2 == 0 { sim.opens() } else { opens(sim, OFFER, ANSWER) };
        sim.hub().subscribe(id, topic).unwrap();
        (id, wire)
    };
    (0..count).map(opens).collect()
}

fn compressing(deflate: bool) -> TopicOptions {
    let mut options = TopicOptions::default();
    options.deflate = deflate;
    options
}

/// The frame as it would be without compression.
#[track_caller]
fn inflated(of: &Frame) -> Frame {
    assert_eq!(of.first & 0x70, 0x40, "{of:?}");
    frame(of.first & 0xBF, Puff::default().inflates(&of.payload))
}

/// To more than one turn writes to.
#[test]
fn a_publication_is_compressed_once_for_all() {
    let count = 1000;
    let mut sim = Sim::new(quiet(|_| {}));
    let peers = subscribers(&mut sim, count, "t");
    sim.rests();
    assert_eq!(sim.hub().publish("t", WORDS).map(|it| it.subscribers), Ok(count));
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
fn nothing_is_compressed_for_nobody() {
    let mut sim = Sim::new(quiet(|config| config.deflate_context_takeover = true));
    let (plain, plain_wire) = sim.opens();
    let nine = "permessage-deflate; server_max_window_bits=9";
    let (narrow, narrow_wire) = opens(&mut sim, nine, nine);
    let (once, _) = opens(&mut sim, OFFER, ANSWER);
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
    let mut sim = Sim::new(quiet(|_| {}));
    let peers = subscribers(&mut sim, 4, "t");
    let noise = noise(&mut Dice::new(14), 200);
    sim.hub().publish("t", WORDS).unwrap();
    sim.hub().publish("t", "short").unwrap();
    sim.hub().send(peers[1].0, "between").unwrap();
    sim.hub().publish_except("t", WORDS.repeat(2), peers[3].0).unwrap();
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
    let mut sim = Sim::new(quiet(|config| config.deflate_context_takeover = true));
    let (id, wire) = opens(&mut sim, OFFER, ANSWER);
    sim.hub().configure_topic("later", compressing(false)).unwrap();
    sim.hub().subscribe(id, "later").unwrap();
    sim.hub().subscribe(id, "now").unwrap();
    sim.hub().configure_topic("now", compressing(false)).unwrap();
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
    sim.hub().configure_topic("later", compressing(true)).unwrap();
    sim.hub().publish("later", WORDS).unwrap();
    sim.rests();
    assert_eq!(inflated(&wire.reads()[0]), text(WORDS));
}

#[test]
fn a_secret_stays_one_if_compressing_is_allowed_again_within_the_turn() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = opens(&mut sim, OFFER, ANSWER);
    sim.hub().subscribe(id, "t").unwrap();
    sim.hub().configure_topic("t", compressing(false)).unwrap();
    sim.hub().publish("t", WORDS).unwrap();
    sim.hub().configure_topic("t", compressing(true)).unwrap();
    sim.rests();
    assert_eq!(wire.reads(), [text(WORDS)]);
    sim.hub().publish("t", WORDS).unwrap();
    sim.rests();
    assert_eq!(inflated(&wire.reads()[0]), text(WORDS));
}

/// What the application makes of it is compressed once, too, for those who take both; and not where few take
/// it, or where that was forbidden.
#[test]
fn an_encoding_of_the_application_is_compressed_once() {
    fn twice(topic: &str, publication: Publication<'_>, out: &mut String) {
        let text = publication.message.as_text().unwrap_or_default();
        out.push_str(&format!("{topic}: {text} {text}"));
    }
    let mut sim = Sim::new(quiet(|config| config.topic.history = Some(History::of(100))));
    let twice = sim.hub().add_encoding(Encoder::Text(twice)).unwrap();
    let peers = subscribers(&mut sim, 8, "t");
    peers[2..].iter().for_each(|(id, _)| assert!(sim.hub().use_encoding(*id, twice)));
    let places: Vec<Position> = [WORDS, &"s".repeat(63), WORDS]
        .map(|text| sim.hub().publish("t", text).unwrap().position.unwrap())
        .into();
    sim.rests();
    // Twice plain and twice made; what was published short is not looked at.
    assert_eq!(sim.hub().counters().messages_deflated, 4);
    let made = |text: &str| frame(0x81, format!("t: {text} {text}"));
    let due = [made(WORDS), made(&"s".repeat(63)), made(WORDS)];
    let all: Vec<_> = peers.iter().map(|(_, wire)| wire.reads()).collect();
    assert_eq!((&all[2], &all[4]), (&due.to_vec(), &all[6]));
    assert_eq!((&all[3], &all[3]), (&all[5], &all[7]));
    assert_eq!([0, 2].map(|at| inflated(&all[3][at])), [made(WORDS), made(WORDS)]);
    assert_eq!((&all[3][1], inflated(&all[1][0])), (&made(&"s".repeat(63)), text(WORDS)));
    // What was kept is not compressed again for each that comes back.
    sim.hub().unsubscribe(peers[3].0, "t");
    sim.hub().subscribe_after(peers[3].0, "t", places[0]).unwrap();
    sim.rests();
    assert_eq!(peers[3].1.reads(), due[1..]);
    sim.hub().configure_topic("t", compressing(false)).unwrap();
    sim.hub().publish("t", WORDS).unwrap();
    sim.rests();
    assert_eq!((peers[3].1.reads(), peers[5].1.reads()), (vec![made(WORDS)], vec![made(WORDS)]));
    assert_eq!(sim.hub().counters().messages_deflated, 4);
}

/// What lags is kept as it was published, once. It is compressed again for all that read on, and that
/// counts as long as it is kept.
#[test]
fn what_is_kept_for_laggards_is_plain_and_compressed_once_more_when_it_is_read() {
    const MESSAGES: u64 = 12;
    let message = WORDS.repeat(60);
    let frame = text(&message).unmasked().len();
    let mut sim = Sim::new(quiet(|_| {}));
    let peers = subscribers(&mut sim, 8, "t");
    let (slow, quick) = peers.split_at(6);
    slow.iter().for_each(|(_, wire)| wire.holds(0));
    for at in 1..=MESSAGES {
        sim.hub().publish("t", &message).unwrap();
        sim.turn();
        // One of the two that read takes them compressed.
        assert_eq!(sim.hub().counters().messages_deflated, at);
        let total = sim.hub().queued_bytes_total();
        let plain = at as usize * frame;
        assert!((plain..plain + at as usize * 32 + 512).contains(&total), "{total} for {plain}");
    }
    assert!(peers.iter().all(|(id, _)| sim.hub().queued_bytes(*id) == 0));
    assert!(quick.iter().all(|(_, wire)| wire.reads().len() == MESSAGES as usize));
    // The first that read on have it compressed, and it is kept for the others.
    let before = sim.hub().queued_bytes_total();
    for (_, wire) in &slow[..4] {
        wire.holds(usize::MAX);
        wire.reads_bytes();
    }
    sim.rests();
    assert_eq!(sim.hub().counters().messages_deflated, 2 * MESSAGES);
    let kept = sim.hub().queued_bytes_total() - before;
    assert!((MESSAGES as usize * 60..MESSAGES as usize * 300).contains(&kept), "{kept}");
    for (_, wire) in &slow[4..] {
        wire.holds(usize::MAX);
        wire.reads_bytes();
    }
    sim.rests();
    assert_eq!(sim.hub().counters().messages_deflated, 2 * MESSAGES);
    assert_eq!(sim.hub().queued_bytes_total(), 0);
    for (at, (_, wire)) in slow.iter().enumerate() {
        let got: Vec<_> = wire
            .reads()
            .iter()
            .map(|it| if at % 2 == 0 { it.clone() } else { inflated(it) })
            .collect();
        assert_eq!(got, vec![text(&message); MESSAGES as usize], "{at}");
    }
}

/// The limit of the process holds with the compressed copies included, and no sum of them overflows.
#[test]
fn the_limit_of_the_process_holds_for_what_is_compressed() {
    const LIMIT: usize = 100_000;
    let mut sim = Sim::new(quiet(|config| config.send_queues_bytes_max = LIMIT));
    let peers = subscribers(&mut sim, 6, "t");
    // One of each way reads, and the others read on now and then.
    let (slow, quick) = peers.split_at(4);
    slow.iter().for_each(|(_, wire)| wire.holds(0));
    for number in 0..2000 {
        let message = format!("{number} {}", WORDS.repeat(1 + number % 30));
        sim.hub().publish("t", &message).expect("what only laggards need gives way");
        if number % 10 == 0 {
            sim.turn();
            let total = sim.hub().queued_bytes_total();
            assert!(total <= LIMIT / 5 * 4, "{total}");
        }
        if number % 150 == 0 {
            for (_, wire) in slow {
                wire.holds(4000);
                wire.reads_bytes();
            }
        }
    }
    sim.rests();
    let got: usize = quick.iter().map(|(_, wire)| wire.reads().len()).sum();
    assert_eq!(got, 2 * 2000);
    // Those that were behind more than is kept are told so.
    assert!(slow.iter().all(|(id, _)| !sim.hub().is_open(*id)));
}
