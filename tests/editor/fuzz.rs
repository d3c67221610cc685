//! What is let into the document, by thousands of documents and hundreds of thousands of updates.

use std::panic::{AssertUnwindSafe, catch_unwind};

use yrs::{Doc, ReadTxn, Transact, Update, WriteTxn, updates::decoder::Decode};

use super::{apply, delete, document, insert, state, text_of};
use crate::update::{Refusal, check, state_vector};

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

fn edit(document: &Doc, dice: &mut Dice) -> Vec<u8> {
    let len = text_of(document).encode_utf16().count();
    if len > 0 && dice.below(3) == 0 {
        let at = dice.below(len);
        return delete(document, at as u32, 1 + dice.below((len - at).min(4)) as u32);
    }
    let part = ["a", "bc", "défg", "😀x", "\n", "<b>"][dice.below(6)];
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

/// Three write, and what they send is sent on as it is, mutated, and as noise. What is let in has to
/// be applied whole, and the document has to stay one that can be sent.
fn fuzz(documents: u64) -> [usize; 3] {
    let [mut applied, mut refused, mut out_of_step] = [0; 3];
    for seed in 1..=documents {
        let dice = &mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (server, clients) = (document(1000), [5, 300, 70_000].map(document));
        let mut sent = vec![Vec::new()];
        for step in 0..60 {
            let client = &clients[dice.below(3)];
            let mut update = match step % 5 {
                0 => edit(client, dice),
                1 => (0..dice.below(40)).map(|_| dice.below(256) as u8).collect(),
                2 => state(&server),
                _ => sent[dice.below(sent.len())].clone(),
            };
            if step % 5 == 0 {
                sent.push(update.clone());
            } else {
                mutate(&mut update, dice);
            }
            let verdict = check(&update, &server.transact());
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                // It must not matter what a state vector says, either.
                if let Ok(vector) = state_vector(&update) {
                    server.transact().encode_diff_v1(&vector);
                }
                if verdict.is_ok() {
                    let decoded = Update::decode_v1(&update).expect("it was checked");
                    let mut changes = server.transact_mut();
                    changes.apply_update(decoded).expect("it was checked");
                    changes.prune_pending();
                    changes.encode_update_v1();
                }
                apply(&document(7), &state(&server));
            }));
            assert!(outcome.is_ok(), "document {seed}, step {step}: {update:?}");
            match verdict {
                Ok(_) => applied += 1,
                Err(Refusal::OutOfStep) => out_of_step += 1,
                Err(Refusal::Malformed(_)) => refused += 1,
            }
            if dice.below(4) == 0 {
                apply(client, &state(&server));
            }
        }
    }
    [applied, refused, out_of_step]
}

#[test]
fn no_update_that_is_let_in_breaks_the_document() {
    let [applied, refused, out_of_step] = fuzz(200);
    assert!(applied > 1000 && refused > 1000 && out_of_step > 1000);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn no_update_of_a_million_breaks_the_document() {
    let [applied, refused, out_of_step] = fuzz(20_000);
    let all = applied + refused + out_of_step;
    println!("figure hostile updates to the editor: {all}, {applied} let in, 0 panics");
}
