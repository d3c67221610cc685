//! What a batch counts as, what it takes, and what its caches cost.

use super::*;
use crate::{
    config::Config,
    event::{Encoder, EncodingId},
};

const NOWHERE: Source<'_> = Source { topic: "", epoch: 0 };

const ADA: ConnId = ConnId { index: 1, generation: 1 };
const BOB: ConnId = ConnId { index: 2, generation: 1 };

fn commons() -> Commons {
    Commons::new(Config::default(), Arc::default())
}

/// A batch of so many publications with 100 bytes each, the first of which has the number 5.
fn batch(publications: usize, may_deflate: bool) -> Batch {
    let mut batch = Batch::default();
    batch.begin(5, may_deflate, Vec::new(), Ticks::FIRST);
    for clock in 0..publications {
        batch.push(OpCode::Binary, &[7; 100], clock as u64, None);
    }
    batch
}

/// Payload of a frame of 102 bytes; 4 bytes for where it ends; 16 for the clock, if it has moved on; 12
/// for each publication that somebody does not get.
#[test]
fn a_batch_counts_what_it_holds() {
    assert_eq!(Batch::PUBLICATION_BYTES, 4 + 16);
    assert!((size_of::<Batch>() + 32..size_of::<Batch>() + 128).contains(&Batch::BYTES));
    let mut batch = batch(2, false);
    assert_eq!(batch.counted(), Batch::BYTES + 2 * (102 + 4 + 16));
    batch.push(OpCode::Binary, &[7; 100], 1, Some(ADA));
    assert_eq!(batch.counted(), Batch::BYTES + 2 * (102 + 4 + 16) + 102 + 4 + 12);
    // Another loop has one clock of its own.
    assert_eq!(batch.shared(Ticks::FIRST).counted(), Batch::BYTES + 3 * (102 + 4) + 16 + 12);
}

#[test]
fn a_batch_has_no_more_to_be_compressed_than_a_turn_may_compress() {
    let mut compressed = batch(0, true);
    for _ in 0..1000 {
        compressed.push(OpCode::Text, &[b'x'; 63], 0, None);
    }
    for _ in 0..256 {
        assert!(compressed.takes_more(true) && !compressed.takes_more(false));
        compressed.push(OpCode::Text, &[b'x'; 64], 0, None);
    }
    assert!(!compressed.takes_more(true) && !compressed.takes_more(false));
    let plain = batch(1000, false);
    assert!(plain.takes_more(false) && !plain.takes_more(true), "nothing is compressed");
}

#[test]
fn the_newest_publication_is_what_it_was() {
    let mut commons = commons();
    let mut old = batch(3, false);
    old.push(OpCode::Text, b"newest", 9, Some(ADA));
    let mut newest = Batch::default();
    old.newest(&mut newest, &mut commons);
    assert_eq!((newest.first(), newest.end()), (8, 9));
    assert_eq!(newest.bytes(Encoding::Plain), b"\x81\x06newest");
    assert_eq!((newest.clock_of(8), newest.first_at(9), newest.first_at(10)), (9, 8, 9));
    assert_eq!((newest.next_except(ADA, 8), newest.next_except(BOB, 8)), (Some(8..9), None));
}

/// What is published between two flushes is not in order yet.
#[test]
fn what_is_not_for_a_connection_is_counted_before_it_is_sealed_and_after() {
    let mut commons = commons();
    let mut batch = batch(0, false);
    for except in [None, Some(ADA), Some(BOB), Some(ADA), None] {
        batch.push(OpCode::Binary, b"", 0, except);
    }
    let counts = |batch: &Batch| {
        [(ADA, 5..10), (ADA, 7..10), (ADA, 5..8), (BOB, 5..10), (BOB, 8..10)]
            .map(|(id, offsets)| batch.count_except(id, offsets))
    };
    assert_eq!(counts(&batch), [2, 1, 1, 1, 0]);
    batch.seal(&mut commons);
    assert_eq!(counts(&batch), [2, 1, 1, 1, 0]);
}

#[cfg(feature = "deflate")]
#[test]
fn compressing_for_all_is_done_once_and_costs_of_the_budget() {
    let mut commons = commons();
    commons.deflate_budget = 1 << 20;
    let mut batch = batch(3, true);
    assert_eq!(
        batch.encoding(Encoding::Plain, 5, 5, NOWHERE, &mut commons),
        Encoding::Plain,
        "it takes nothing else"
    );
    assert!(!batch.has_caches());
    for _ in 0..2 {
        assert_eq!(
            batch.encoding(Encoding::Deflated, 5, 5, NOWHERE, &mut commons),
            Encoding::Deflated
        );
        assert_eq!(commons.deflate_budget, (1 << 20) - 8 * 3 * 102 - 3 * 4096);
        assert!(batch.has_caches());
    }
    let (plain, deflated) = (batch.plain().counted(), batch.caches[0].get().unwrap().counted());
    assert!(deflated < plain / 2, "{deflated} of {plain}");
    assert_eq!(commons.queued_bytes, deflated);
    assert_eq!(batch.drop_caches(), deflated);
    assert!(!batch.has_caches());
}

#[cfg(feature = "deflate")]
#[test]
fn compressing_for_all_begins_while_there_is_budget_and_room() {
    let counted = batch(3, true).plain().counted();
    let max = Config::default().send_queues_bytes_max;
    // What is left of the budget, what waits in the process, and how the first connection takes it.
    let cases = [
        (1, 0, Encoding::Deflated),
        (0, 0, Encoding::Plain),
        (1, max - counted, Encoding::Deflated),
        (1, max - counted + 1, Encoding::Plain),
        (1, max + 1, Encoding::Plain),
        (0, max, Encoding::Plain),
    ];
    for (budget, queued, encoding) in cases {
        let mut commons = commons();
        (commons.deflate_budget, commons.queued_bytes) = (budget, queued);
        let batch = batch(3, true);
        assert_eq!(
            batch.encoding(Encoding::Deflated, 5, 5, NOWHERE, &mut commons),
            encoding,
            "{budget}, {queued}"
        );
        // What has been compressed is there for others, whatever is left.
        (commons.deflate_budget, commons.queued_bytes) = (0, max);
        assert_eq!(
            batch.encoding(Encoding::Deflated, 5, 5, NOWHERE, &mut commons),
            encoding,
            "{budget}, {queued}"
        );
    }
}

/// Those before were taken by all that keep up.
#[cfg(feature = "deflate")]
#[test]
fn what_few_need_is_not_compressed() {
    let mut commons = commons();
    commons.deflate_budget = 1 << 20;
    let batch = batch(4, true);
    let taken = |offset, from, commons: &mut Commons| {
        batch.encoding(Encoding::Deflated, offset, from, NOWHERE, commons)
    };
    assert_eq!(taken(7, 6, &mut commons), Encoding::Deflated);
    assert_eq!(taken(6, 6, &mut commons), Encoding::Deflated);
    assert_eq!(taken(5, 5, &mut commons), Encoding::Plain, "it is not there");
    let deflated = Encoding::Deflated;
    let ends = [6..7, 6..8, 6..9].map(|offsets| batch.range(deflated, offsets).end);
    assert_eq!(ends[2], batch.bytes(deflated).len());
    assert_eq!(batch.range(deflated, 7..8), ends[0]..ends[1]);
    assert_eq!(batch.publication_at(deflated, ends[0]), (7, ends[1]));
}

/// The places of all encodings of the application, and then of each its bytes.
#[test]
fn what_the_application_makes_counts_with_its_places() {
    let mut commons = commons();
    commons.encoders.push(Encoder::Binary(|_, publication, out| {
        out.extend(publication.message.as_bytes());
        out.push(publication.position.offset as u8);
    }));
    let mut batch = batch(2, false);
    let own = EncodingId::nth(0).map(Encoding::Own).unwrap();
    for _ in 0..2 {
        assert_eq!(batch.encoding(own, 5, 5, NOWHERE, &mut commons), own);
        assert_eq!(commons.queued_bytes, OWN_BYTES + 2 * (103 + 4));
    }
    assert_eq!((batch.range(own, 6..7), batch.bytes(own)[205]), (103..206, 7));
    let counted = commons.queued_bytes;
    assert_eq!(batch.counted(), Batch::BYTES + 2 * (102 + 4 + 16) + counted);
    assert_eq!((batch.drop_caches(), batch.has_caches()), (counted, false));
}

/// So that a turn has no more than so much to do.
#[test]
fn batches_that_writes_held_are_looked_at_in_rounds() {
    let mut commons = commons();
    let writes: Vec<Arc<Batch>> = (0..100).map(|_| Arc::default()).collect();
    commons.queued_bytes = 100 * Batch::BYTES;
    for write in &writes {
        commons.release_batch(Arc::clone(write));
    }
    assert!(!commons.may_sweep(), "all are held");
    for write in writes {
        commons.release_write(write);
    }
    for left in [36, 0] {
        assert!(commons.may_sweep());
        commons.sweep();
        assert_eq!(commons.queued_bytes, left * Batch::BYTES);
    }
    assert!(!commons.may_sweep());
}

#[test]
fn what_a_connection_does_not_get_in_a_row_is_passed_at_once() {
    let mut batch = batch(0, false);
    for except in [None, Some(ADA), Some(ADA), Some(ADA), Some(BOB), Some(ADA)] {
        batch.push(OpCode::Binary, &[7; 100], 1, except);
    }
    batch.sort_excepted();
    let next = |offset| batch.next_except(ADA, offset);
    assert_eq!([5, 7, 9, 10].map(next), [Some(6..9), Some(7..9), Some(10..11), Some(10..11)]);
    assert_eq!((batch.next_except(BOB, 5), next(11)), (Some(9..10), None));
}

#[test]
fn a_batch_is_as_old_on_another_loop() {
    let mut batch = batch(0, false);
    batch.begin(5, false, Vec::new(), Ticks(10));
    batch.push(OpCode::Binary, b"x", 1, None);
    let shared = batch.shared(Ticks(1010));
    let mut commons = commons();
    commons.now = Ticks(5000);
    let mut copy = Batch::default();
    copy.begin_shared(shared, 1, &commons);
    assert_eq!(copy.times().0, Ticks(4000));
}

/// The turn's budget is for what is compressed.
#[test]
fn events_are_made_of_a_batch_without_the_budget_of_compression() {
    let mut commons = commons();
    commons.deflate_budget = 1000;
    assert_eq!(
        batch(2, true).encoding(Encoding::Events, 5, 5, NOWHERE, &mut commons),
        Encoding::Events
    );
    assert_eq!(commons.deflate_budget, 1000);
}

#[test]
fn each_encoding_of_the_application_has_places_of_its_own() {
    let mut places = Vec::new();
    for id in (0..).map_while(EncodingId::nth) {
        for encoding in [Encoding::Own(id), Encoding::OwnDeflated(id)] {
            places.push(encoding.place().map(|place| format!("{place:?}")));
        }
    }
    let expected = (0..OWN_CACHES).map(|nth| Some(format!("Own({nth})")));
    assert!(places.into_iter().eq(expected));
}
