//! What room a log keeps.

use std::time::Duration;

use super::{historic::Keep, *};
use crate::config::{Config, History};
#[cfg(feature = "deflate")]
use crate::conn::{Encoding, Source};

#[test]
fn a_log_that_was_long_gives_back_its_room() {
    // Batches that are kept, the room for them, and what they keep of it.
    for (len, room, kept) in [(0, 16, 16), (0, 17, 0), (3, 28, 28), (3, 29, 6)] {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let mut log = Log { batches: VecDeque::with_capacity(room), ..Log::default() };
        log.batches.extend((0..len).map(|_| Kept { batch: Arc::default(), readers: 1 }));
        log.trim_read(&mut commons);
        assert_eq!((log.batches.len(), log.batches.capacity()), (len, kept), "of {room}");
    }
}

/// A batch is given back when all have taken it, and compressed when one takes it: neither is to be long.
#[test]
fn a_batch_has_64_kib_at_the_most() {
    let mut commons = Commons::new(Config::default(), Arc::default());
    let mut log = Log::default();
    // Each has a header of 4 bytes.
    for payload in [65_536 - 4 - 204, 200, 200, 70_000, 1] {
        log.push((OpCode::Binary, &vec![0; payload]), 1, None, false, usize::MAX, &mut commons);
    }
    let lens = log.batches.iter().map(|kept| kept.batch.len());
    assert_eq!(lens.collect::<Vec<_>>(), [65_536, 204, 70_010, 3]);
}

#[test]
fn what_is_not_for_a_connection_is_counted_batch_by_batch() {
    let (mut commons, mut log) = (Commons::new(Config::default(), Arc::default()), Log::default());
    let ada = ConnId { index: 1, generation: 1 };
    for except in [Some(ada), None, Some(ada), Some(ada)] {
        log.push((OpCode::Binary, &[0; 70_000]), 1, except, false, usize::MAX, &mut commons);
    }
    log.seal(&mut commons);
    // The publications, how many of them are not for the connection, and the steps that it takes to see.
    for (offsets, count, takes) in [(0..4, 3, 4), (0..1, 1, 2), (1..2, 0, 2), (3..4, 1, 1)] {
        let mut steps = 0;
        assert_eq!(log.count_except(ada, offsets, &mut steps), count);
        assert_eq!(steps, takes);
    }
}

/// Options can change while something waits.
#[test]
fn what_may_be_compressed_and_what_may_not_are_batches_of_their_own() {
    let (mut commons, mut log) = (Commons::new(Config::default(), Arc::default()), Log::default());
    for may_deflate in [true, true, false, true] {
        log.push((OpCode::Text, b"text"), 1, None, may_deflate, usize::MAX, &mut commons);
    }
    let ends = log.batches.iter().map(|kept| kept.batch.end());
    assert_eq!(ends.collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn a_flush_seals_what_was_published_since_the_last_one() {
    let (mut commons, mut log) = (Commons::new(Config::default(), Arc::default()), Log::default());
    for (publications, sealed) in [(1, 1), (3, 3), (0, 0), (2, 2)] {
        for _ in 0..publications {
            log.push((OpCode::Binary, &[0; 70_000]), 1, None, false, usize::MAX, &mut commons);
        }
        assert_eq!(log.seal(&mut commons), sealed);
    }
    log.push((OpCode::Binary, b"short"), 1, None, false, usize::MAX, &mut commons);
    assert_eq!(log.seal(&mut commons), 1);
    log.push((OpCode::Binary, b"short"), 1, None, false, usize::MAX, &mut commons);
    assert_eq!(log.seal(&mut commons), 1, "the last one was appended to");
}

/// It is dropped when all that keep up have taken it, and when a batch that only readers need is appended
/// to.
#[cfg(feature = "deflate")]
#[test]
fn what_is_compressed_of_a_batch_counts_while_it_is_kept() {
    let (mut commons, mut log) = (Commons::new(Config::default(), Arc::default()), Log::default());
    commons.deflate_budget = 1 << 20;
    let push = |log: &mut Log, commons: &mut Commons| {
        log.push((OpCode::Text, &[b'x'; 200]), 1, None, true, usize::MAX, commons);
    };
    let compress = |log: &mut Log, commons: &mut Commons| {
        let batch = log.batch_at(0).unwrap();
        let before = batch.counted();
        let source = Source { topic: "t", epoch: 0 };
        batch.encoding(Encoding::Deflated, 0, 0, source, commons);
        let cached = batch.counted() - before;
        assert!(cached > 0);
        log.add_cached(0, cached, commons);
        cached
    };
    push(&mut log, &mut commons);
    let alone = log.unserved_bytes();
    let cached = compress(&mut log, &mut commons);
    assert_eq!((log.lagging_bytes(), log.unserved_bytes()), (0, alone + cached));
    assert_eq!(commons.queued_bytes, alone + cached);

    // One reader is left, for which it may be compressed again.
    log.add_reader(0);
    log.raise_floor(1, None, &mut commons);
    assert_eq!((log.lagging_bytes(), log.unserved_bytes()), (alone, 0));
    assert_eq!(commons.queued_bytes, alone);
    compress(&mut log, &mut commons);
    assert_eq!((log.lagging_bytes(), log.unserved_bytes()), (alone + cached, 0));
    assert_eq!(commons.queued_bytes, alone + cached);

    push(&mut log, &mut commons);
    let counted = log.batch_at(0).unwrap().counted();
    assert_eq!((log.lagging_bytes(), log.unserved_bytes()), (0, counted));
    assert_eq!((log.batches.len(), commons.queued_bytes), (1, counted));
}

/// A log of publications of so many bytes each, of which a reader needs all and nothing else does.
fn lagging(payloads: &[usize], commons: &mut Commons) -> Log {
    let mut log = Log::default();
    for payload in payloads {
        log.push((OpCode::Binary, &vec![0; *payload]), 1, None, false, usize::MAX, commons);
    }
    log.add_reader(0);
    log.raise_floor(log.head(), None, commons);
    log
}

#[test]
fn as_many_of_the_oldest_batches_are_given_up_as_are_asked_for() {
    // What may be kept, before which publication, and whether the last batch stays; the first that is left.
    let one = Batch::BYTES + 70_010 + Batch::PUBLICATION_BYTES;
    let cases = [
        (0, u64::MAX, Trim::All, 4),
        (0, u64::MAX, Trim::KeepLast, 3),
        (0, 1, Trim::All, 1),
        (0, 2, Trim::All, 2),
        (2 * one, u64::MAX, Trim::All, 2),
        (2 * one - 1, u64::MAX, Trim::All, 3),
        (4 * one, u64::MAX, Trim::All, 0),
    ];
    for (keep_bytes, until, trim, start) in cases {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let mut log = lagging(&[70_000; 4], &mut commons);
        log.trim_lagging(keep_bytes, until, trim, &mut commons);
        assert_eq!(log.start(), start);
        let kept = (4 - start as usize) * one;
        assert_eq!((log.lagging_bytes(), commons.queued_bytes), (kept, kept));
    }
}

#[test]
fn the_newest_publication_is_kept_and_copied_only_out_of_a_batch() {
    let mut commons = Commons::new(Config::default(), Arc::default());
    let cases = [(&[100, 100, 200][..], true), (&[200], false), (&[70_000, 200], false)];
    for (payloads, is_copied) in cases {
        let mut log = lagging(payloads, &mut commons);
        log.trim_lagging(0, u64::MAX, Trim::KeepLast, &mut commons);
        let before = Arc::as_ptr(log.batch_at(log.head() - 1).unwrap());
        log.keep_newest(&mut commons);
        let newest = log.batch_at(log.head() - 1).unwrap();
        assert_eq!(Arc::as_ptr(newest) != before, is_copied);
        let counted = Batch::BYTES + 204 + Batch::PUBLICATION_BYTES;
        assert_eq!((newest.end() - newest.first(), newest.counted()), (1, counted));
        assert_eq!((log.lagging_bytes(), log.unserved_bytes()), (counted, 0));
        assert_eq!(mem::take(&mut commons.queued_bytes), counted);
    }
}

/// Four batches of one publication each, which are history within these limits, and what each counts as.
fn historic(history: History, commons: &mut Commons) -> (Log, Keep, usize) {
    let (mut log, keep) = (Log::default(), Keep::new(history, commons.now));
    for _ in 0..4 {
        log.push((OpCode::Text, &[b'x'; 70_000]), 1, None, true, usize::MAX, commons);
    }
    log.raise_floor(4, Some(keep), commons);
    (log, keep, Batch::BYTES + 70_010 + Batch::PUBLICATION_BYTES)
}

const ALL: History =
    History { publications: 100, bytes: usize::MAX, age: Duration::from_secs(100) };

#[test]
fn a_history_has_what_it_may_have_and_no_batch_more() {
    let one = historic(ALL, &mut Commons::new(Config::default(), Arc::default())).2;
    // Publications and bytes that may be kept, and the batches that are.
    for (publications, bytes, kept) in
        [(4, 4 * one, 4), (4, 4 * one - 1, 3), (3, 4 * one, 3), (1, 4 * one, 1), (3, one, 1)]
    {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let (log, ..) = historic(History { publications, bytes, ..ALL }, &mut commons);
        assert_eq!((log.historic, log.historic_bytes), (kept, kept * one));
        assert_eq!((commons.history_bytes, log.unserved_bytes()), (kept * one, 0));
    }
    assert_eq!(Log::kept_cost(100), 102 + 4);
}

#[test]
fn what_a_subscriber_still_needs_is_not_given_up_as_history() {
    let (mut commons, mut log) = (Commons::new(Config::default(), Arc::default()), Log::default());
    log.push((OpCode::Text, b"text"), 1, None, true, usize::MAX, &mut commons);
    let unserved = log.unserved_bytes();
    assert_eq!((log.give_up_history(&mut commons), log.unserved_bytes()), (0, unserved));
}

#[test]
fn history_is_given_up_batch_by_batch() {
    let mut commons = Commons::new(Config::default(), Arc::default());
    let (mut log, _, one) = historic(ALL, &mut commons);
    for left in [3, 2, 1, 0] {
        assert_eq!(log.give_up_history(&mut commons), 1);
        assert_eq!((log.bytes, commons.history_bytes), (left * one, left * one));
    }
    assert_eq!(log.give_up_history(&mut commons), 0);
}

/// A loop that comes begins behind what was published before.
#[test]
fn what_was_published_before_another_loop_came_is_a_batch_of_its_own() {
    for (mirrored, expected) in [([true, true], [1, 3]), ([false, true], [2, 3])] {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let mut log = Log::default();
        for nth in 0..3 {
            log.push((OpCode::Text, b"text"), 1, None, false, usize::MAX, &mut commons);
            if let Some(is_mirrored) = mirrored.get(nth) {
                log.set_mirrored(*is_mirrored, &mut commons);
            }
        }
        let ends = log.batches.iter().map(|kept| kept.batch.end());
        assert_eq!(ends.collect::<Vec<_>>(), expected);
    }
}

#[cfg(feature = "deflate")]
#[test]
fn what_is_made_of_a_history_is_dropped_only_where_its_limit_asks_for_it() {
    for (beyond, is_dropped) in [(0, false), (1, true)] {
        let mut commons = Commons::new(Config::default(), Arc::default());
        commons.deflate_budget = 1 << 20;
        let (mut log, _, one) = historic(ALL, &mut commons);
        let (batch, source) = (log.batch_at(0).unwrap(), Source { topic: "t", epoch: 0 });
        batch.encoding(Encoding::Deflated, 0, 0, source, &mut commons);
        let cached = batch.counted() - one;
        log.add_cached(0, cached, &mut commons);
        let keep = Keep::new(History { bytes: 4 * one + cached - beyond, ..ALL }, commons.now);
        log.trim_history(Some(keep), &mut commons);
        let counted = if is_dropped { 4 * one } else { 4 * one + cached };
        assert_eq!((log.historic, log.historic_bytes, log.bytes), (4, counted, counted));
        assert_eq!((commons.history_bytes, commons.queued_bytes), (counted, 0));
        // What is made of it goes with it.
        assert_eq!(log.give_up_history(&mut commons), 1);
        assert_eq!(
            (log.historic_bytes, log.bytes, commons.history_bytes),
            (3 * one, 3 * one, 3 * one)
        );
    }
}

/// What is passed, or what is left behind it: whichever is in fewer batches.
#[test]
fn what_was_passed_is_counted_along_the_shorter_way() {
    let (mut commons, mut log) = (Commons::new(Config::default(), Arc::default()), Log::default());
    let ada = ConnId { index: 1, generation: 1 };
    for nth in 0..10 {
        let except = (nth % 5 == 1).then_some(ada);
        log.push((OpCode::Binary, &[0; 70_000]), 1, except, false, usize::MAX, &mut commons);
    }
    // Those that are passed, up to where they are `excepted`, how many of them are, and the steps.
    for (passes, until, excepted, count, takes) in
        [(0..2, 10, 2, 1, 3), (0..5, 9, 2, 1, 6), (0..6, 9, 2, 1, 4), (0..9, 10, 2, 2, 1)]
    {
        let mut steps = 0;
        let counted = log.count_passed(ada, passes.clone(), until, excepted, &mut steps);
        assert_eq!((counted, steps), (count, takes), "{passes:?} of {until}");
    }
}
