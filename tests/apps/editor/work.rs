//! What an update costs, and who pays for it. The clock stands still: what is charged is counted.

use std::time::Duration;

use super::{UPDATE, document, framed, insert, var};
use super::{
    document::Document,
    order::Work,
    server::{Editor, config},
    update::{Refusal, TEXT},
};
use crate::{
    ledger::{WORK_MAX, WORK_PER_SECOND},
    support::binary,
    world::{World, close_in},
};

fn everything() -> Work {
    Work { left: u64::MAX }
}

/// An update with insertions of one client.
fn insertions(client: u64, clock: u64, items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<_> = items.collect();
    [var(1), var(items.len() as u64), var(client), var(clock), items.concat(), vec![0]].concat()
}

/// Deletes one character each, of those of the first client.
fn deletions(places: impl Iterator<Item = u64>) -> Vec<u8> {
    let places: Vec<_> = places.map(|at| [var(at), vec![1]].concat()).collect();
    [vec![0, 1, 1], var(places.len() as u64), places.concat()].concat()
}

/// Behind the first character: before all that was ever put behind it.
fn behind_the_first(_: usize) -> Vec<u8> {
    vec![0x84, 1, 0, 1, b'y']
}

/// Has one character in two deleted: `pieces` are left, and as many between them.
fn in_pieces(pieces: u64) -> Document {
    let mut server = Document::new();
    let text = insert(&document(1), 0, &"x".repeat(2 * pieces as usize));
    for update in [text, deletions((0..pieces).map(|n| 2 * n + 1))] {
        server.apply(&update, &mut everything()).expect("it is merged");
    }
    server
}

/// What an update costs; none if it is too much.
fn price(server: &mut Document, update: &[u8]) -> Option<u64> {
    let mut work = everything();
    let known = server.vector();
    let merged = server.apply(update, &mut work);
    if merged.is_err() {
        assert_eq!(merged, Err(Refusal::TooMuch));
        assert_eq!(server.vector(), known, "nothing of it is merged");
    }
    merged.is_ok().then_some(u64::MAX - work.left)
}

#[test]
fn an_insertion_costs_as_much_as_there_is_to_look_at() {
    let costs = |pieces, insertion: &[u8]| {
        price(&mut in_pieces(pieces), insertion).expect("it is not too much")
    };
    // A page's own, at the end: next to nothing, however many pieces there are.
    let at_end = |pieces: u64| {
        let last = var(2 * pieces - 1);
        insertions(2, 0, [[&[0x84, 1][..], &last, &[1, b'y']].concat()].into_iter())
    };
    let [few, many] = [100, 4_000].map(|pieces| costs(pieces, &at_end(pieces)));
    assert!(few < 2_000 && many < 2_000, "{few}, {many}");
    // Where all that stand behind it are in the way.
    let first = |count| insertions(2, 0, (0..count).map(behind_the_first));
    let [few, many] = [100, 4_000].map(|pieces| costs(pieces, &first(1)));
    assert!(many > 30 * few && many > 4_000 * 2 * 400, "{few}, {many}");
    let more = costs(4_000, &first(10));
    assert!(more > 9 * many, "{many}, {more}");
    // Five thousand bytes that would have it look at eight million.
    assert_eq!(price(&mut in_pieces(4_000), &first(1_000)), None);
}

#[test]
fn what_takes_long_for_its_length_is_too_much() {
    // Each is joined with all behind it.
    let behind = |at: u64| [&[0x84, 2][..], &var(at), &[1, b'y']].concat();
    let start = [&[4, 1, 4][..], b"text", &[1, b'y']].concat();
    let chain =
        |len: u64| insertions(2, 0, [start.clone()].into_iter().chain((0..len).map(behind)));
    assert_eq!(price(&mut Document::new(), &chain(15_000)), None);
    assert!(price(&mut Document::new(), &chain(1_000)).is_some());

    // Each waits for the one that comes next.
    let waits =
        |client: u64| [&[1], &var(client)[..], &[0, 0x84], &var(client - 1), b"\0\x01y"].concat();
    let clients = (2..=9_000).rev().flat_map(waits);
    let first = [&[1, 1, 0][..], &start].concat();
    let update = var(9_000).into_iter().chain(clients).chain(first).chain([0]);
    assert_eq!(price(&mut Document::new(), &update.collect::<Vec<_>>()), None);

    // Each takes apart a long text, far behind its beginning.
    let mut long = Document::new();
    long.apply(&insert(&document(1), 0, &"x".repeat(60_000)), &mut everything()).expect("it fits");
    let splits = |n| {
        let between = |at: u64| [&[0xC4, 1][..], &var(at), &[1], &var(at + 1), &[1, b'y']].concat();
        insertions(2, 0, (0..n).map(move |n| between(59_000 - 10 * n)))
    };
    assert!(price(&mut long, &splits(100)).is_some_and(|price| price > 100 * 20_000));
    let mut long = Document::new();
    long.apply(&insert(&document(1), 0, &"x".repeat(60_000)), &mut everything()).expect("it fits");
    assert_eq!(price(&mut long, &splits(5_000)), None);
}

#[test]
fn an_update_that_does_not_fit_costs_as_much_as_there_is_to_compare_it_with() {
    let mut server = Document::new();
    for client in 0..500 {
        let update = insert(&document(1_000 + client), 0, "x");
        server.apply(&update, &mut everything()).expect("it is merged");
    }
    let mut work = everything();
    assert_eq!(server.apply(&[1, 1, 9, 5], &mut work), Err(Refusal::OutOfStep));
    let cost = u64::MAX - work.left;
    assert!((500 * 150..500 * 200).contains(&cost), "{cost}");
}

/// As Yjs encodes a document with "a" and "c" that has not heard of the "b" between them.
#[test]
fn a_gap_is_out_of_step_and_no_offence() {
    let gap = [&[1, 3, 7, 0, 4, 1, 4][..], TEXT.as_bytes(), b"\x01a\x0a\x01\x84\x07\x01\x01c\0"];
    let mut server = Document::new();
    assert_eq!(server.apply(&gap.concat(), &mut everything()), Err(Refusal::OutOfStep));
    assert_eq!(server.text(), "");
}

#[test]
fn a_document_that_would_take_long_to_put_together_anew_is_full() {
    let mut server = in_pieces(4_000);
    let full = Refusal::Malformed("the document is full: delete something, and reload");
    let mut clock = 0;
    let end = loop {
        let update = insertions(2, clock, (0..3).map(behind_the_first));
        match server.apply(&update, &mut everything()) {
            Ok(_) => clock += 3,
            Err(why) => break why,
        }
        assert!(clock < 300, "it costs more and more");
    };
    assert_eq!(end, full);
    let mut work = everything();
    let update = insertions(2, clock, [vec![0xFF]].into_iter());
    assert!(server.apply(&update, &mut work).is_err());
    assert!(work.left > u64::MAX - 1_000, "what is not well-formed costs nothing");
}

#[test]
fn an_address_pays_for_all_its_connections_and_the_others_go_on() {
    let mut world = World::still(config(), |_| Editor::new(), Editor::arrive);
    world.app.document = in_pieces(2_000);
    let before = world.app.document.text();
    let attack = |world: &mut World<Editor>, client: u64| {
        let (mut merged, mut refused) = (0, 0);
        while let Ok(wire) = world.asks() {
            let update = insertions(client, merged, (0..2).map(behind_the_first));
            wire.sends(binary(framed(UPDATE, &update).into_data()));
            world.rests();
            match close_in(&wire.reads()) {
                None => merged += 2,
                Some(told) => {
                    assert_eq!(told, (1008, "too much at once".into()));
                    refused += 1;
                }
            }
            wire.resets();
            world.rests();
            assert!(merged + refused < 10_000, "it is never too much");
        }
        merged
    };
    world.from = [10, 0, 0, 1];
    let merged = attack(&mut world, 2);
    // Each looks at four thousand pieces, at 400 for one.
    assert!(merged > 0 && merged * 4_000 * 400 <= WORK_MAX, "{merged} insertions");
    println!("figure editor, looks that one address causes at once: {}", merged * 4_000);
    assert_eq!(attack(&mut world, 3), 0, "coming anew is no new beginning");

    // Another address: what it writes is merged.
    world.from = [10, 0, 0, 2];
    let wire = world.opens();
    let update = insert(&document(9), 0, "still here");
    wire.sends(binary(framed(UPDATE, &update).into_data()));
    world.rests();
    assert_eq!(close_in(&wire.reads()), None);
    let text = world.app.document.text();
    assert!(text.contains("still here") && text.len() > before.len());
    // And the first may, in time.
    world.from = [10, 0, 0, 1];
    world.passes(Duration::from_secs(WORK_MAX / WORK_PER_SECOND));
    assert!(world.asks().is_ok());
}

#[test]
fn a_caret_that_moves_is_paid_for_by_the_number_that_are_told() {
    let told = |people: usize| {
        let mut world = World::still(config(), |_| Editor::new(), Editor::arrive);
        let crowd: Vec<_> = (0..people).map(|_| world.opens()).collect();
        world.from = [10, 0, 0, 2];
        let before = world.counters().deliveries;
        for n in 0..10_000 {
            let Ok(wire) = world.asks() else { break };
            for _ in 0..100 {
                let place = format!(r#"{{"name":"Eve {n}","from":null,"to":null}}"#);
                wire.sends(crate::support::text(place));
            }
            world.rests();
            crowd.iter().for_each(|wire| _ = wire.reads_bytes());
            wire.resets();
            assert!(n < 9_000, "it is never too much");
        }
        world.counters().deliveries - before
    };
    let told = told(100);
    assert!(told > WORK_MAX / 4_000 && told <= WORK_MAX / 1_000, "{told} messages");
}

#[test]
fn files_are_paid_for_too() {
    let mut world = World::still(config(), |_| Editor::new(), Editor::arrive);
    let answers: Vec<_> = (0..2_000).map(|_| world.gets("/text")).collect();
    let served = answers.iter().filter(|status| *status == "200").count();
    assert_eq!(served as u64, WORK_MAX / 150_000);
    assert_eq!(answers.last().map(String::as_str), Some("429"));
    assert_eq!(world.gets("/npm/yjs/dist/yjs.mjs"), "429");
}
