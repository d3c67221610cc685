//! What is let into the document, by thousands of documents and hundreds of thousands of updates.

use yrs::{Assoc, Doc, ID, StateVector, StickyIndex, Transact, block::ClientID};

use crate::support::campaign::scale;
use crate::support::dice::Dice;

use super::{
    document::Document,
    order::Work,
    replica::{apply, delete, document, insert, text_of},
    update::{Refusal, state_vector},
};

fn edit(document: &Doc, dice: &mut Dice) -> Vec<u8> {
    let len = text_of(document).encode_utf16().count();
    if len > 0 && dice.below(3) == 0 {
        let at = dice.below(len);
        return delete(document, at as u32, 1 + dice.below((len - at).min(4)) as u32);
    }
    let part = ["a", "bc", "défg", "😀x", "😀😁👍", "\n", "<b>"][dice.below(7)];
    insert(document, dice.below(len + 1) as u32, part)
}

fn mutate(update: &mut Vec<u8>, dice: &mut Dice) {
    const TELLING: [u8; 12] = [0, 1, 2, 4, 10, 0x44, 0x7f, 0x80, 0x81, 0x84, 0xc4, 0xff];
    for _ in 0..=dice.below(3) {
        let at = dice.below(update.len().max(1));
        match dice.below(6) {
            0 => update.insert(at.min(update.len()), dice.below(256) as u8),
            _ if update.is_empty() => {}
            1 => update[at] ^= 1 << dice.below(8),
            2 => update[at] = dice.below(256) as u8,
            3 => _ = update.remove(at),
            4 => update[at] = TELLING[dice.below(TELLING.len())],
            _ => {
                let part = update[at..update.len().min(at + 1 + dice.below(12))].to_vec();
                update.splice(at..at, part);
            }
        }
    }
}

/// What was let in, refused, and out of step.
type Counts = [usize; 3];

/// Three write, and what they send is sent on as it is, mutated, and as noise. What is let in has to
/// be applied whole, the document has to stay one that can be sent, and a page that hears of what is
/// new only has to have the same text.
fn fuzz(seed: u64) -> Counts {
    let mut counts = [0; 3];
    let dice = &mut Dice::new(seed);
    let (mut server, page) = (Document::new(), document(1000));
    let clients = [5, 300, 70_000].map(document);
    let mut sent = vec![Vec::new()];
    let everything = StateVector::default();
    for step in 0..60 {
        let client = &clients[dice.below(3)];
        let mut update = match step % 5 {
            0 | 3 => edit(client, dice),
            1 if dice.below(2) == 0 => (0..dice.below(40)).map(|_| dice.below(256) as u8).collect(),
            2 => server.lacking(&everything),
            _ => sent[dice.below(sent.len())].clone(),
        };
        if [0, 3].contains(&(step % 5)) {
            sent.push(update.clone());
        } else {
            mutate(&mut update, dice);
        }
        // It must not matter what a state vector says, either.
        if let Ok(vector) = state_vector(&update) {
            server.lacking(&vector);
        }
        let at = || format!("document {seed}, step {step}: {update:?}");
        match server.apply(&update, &mut Work { left: u64::MAX }) {
            Ok(new) => {
                counts[0] += 1;
                apply(&page, &new);
            }
            Err(Refusal::Malformed(_)) => counts[1] += 1,
            Err(Refusal::OutOfStep) => counts[2] += 1,
            Err(why) => panic!("{}: {why:?}", at()),
        }
        assert_eq!(server.text(), text_of(&page), "{}", at());
        if dice.below(4) == 0 {
            apply(client, &server.lacking(&everything));
        }
    }
    let joined = document(7);
    apply(&joined, &server.lacking(&everything));
    assert_eq!(server.text(), text_of(&joined), "document {seed}");
    is_in_order(&server, seed);
    counts
}

/// What is kept of the order is what yrs has.
fn is_in_order(server: &Document, seed: u64) {
    let (doc, order) = server.parts();
    let changes = doc.transact();
    let place = |(client, clock)| {
        let id = ID::new(ClientID::new(client), clock);
        let place = StickyIndex::from_id(id, Assoc::After).get_offset(&changes);
        place.expect("it is there").index
    };
    let places: Vec<_> = order.ids().map(place).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "document {seed}: {places:?}");
}

fn fuzz_all(enough: impl Fn(Counts) -> bool) -> Counts {
    let mut all = [0; 3];
    for seed in 1.. {
        let counts = fuzz(seed);
        all = [0, 1, 2].map(|which| all[which] + counts[which]);
        if enough(all) {
            break;
        }
    }
    all
}

#[test]
fn no_update_that_is_let_in_breaks_the_document() {
    let counts = fuzz_all(|[applied, ..]| applied >= 5_000);
    assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn no_update_of_many_that_are_let_in_breaks_the_document() {
    let least = scale(300_000, 1_000_000);
    let [applied, refused, out_of_step] = fuzz_all(|[applied, ..]| applied >= least);
    let all = applied + refused + out_of_step;
    println!("figure hostile updates to the editor: {all}, {applied} let in, 0 panics");
}
