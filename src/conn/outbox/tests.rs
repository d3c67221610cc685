//! What an outbox counts, what room it keeps, and what it spares itself.

use super::*;
use crate::conn::Ticks;
use crate::{config::Config, wire::OpCode, wire::encode_frame};

fn commons() -> Commons {
    Commons::new(Config::default(), Arc::default())
}

/// An outbox in whose line so many bytes wait; the line has as much room as they need, or `room`.
fn waiting(bytes: usize, room: usize, commons: &mut Commons) -> Outbox {
    let mut outbox = Outbox::default();
    outbox.push(commons, |line| {
        line.reserve_exact(room);
        line.resize(bytes, 0);
    });
    outbox
}

/// A batch of one publication, whose frame has so many bytes.
fn batch(bytes: usize) -> Arc<Batch> {
    let mut batch = Batch::default();
    batch.begin(0, false, Vec::new(), Ticks::FIRST);
    batch.push(OpCode::Binary, &vec![0; bytes - 4], 1, None);
    assert_eq!(batch.len(), bytes);
    Arc::new(batch)
}

#[test]
fn what_goes_before_the_line_makes_it_no_line_alone() {
    let mut commons = commons();
    assert!(!Outbox::default().is_line(), "there is none");

    let mut outbox = waiting(10, 0, &mut commons);
    assert!(outbox.is_line());
    outbox.advance_line(9, &mut commons);
    assert!(outbox.is_line(), "a part of it");
    outbox.advance_line(1, &mut commons);
    assert!(!outbox.is_line(), "it is written");

    let mut outbox = waiting(10, 0, &mut commons);
    outbox.mark(1, &mut commons);
    assert!(!outbox.is_line(), "publications go before what follows");

    let mut outbox = waiting(10, 0, &mut commons);
    outbox.set_late_pong(|out| encode_frame(out, OpCode::Pong, b"late"));
    assert!(!outbox.is_line(), "a Pong goes before it");

    let mut outbox = waiting(10, 0, &mut commons);
    outbox.set_rest(batch(600), Encoding::Plain, 590..600);
    assert!(!outbox.is_line(), "the rest of a publication goes before it");
}

/// Each place has one mark, and each moment.
#[test]
fn marks_at_one_place_or_of_one_moment_are_one() {
    let mut commons = commons();
    let mut outbox = waiting(10, 0, &mut commons);
    let push = |outbox: &mut Outbox, commons: &mut Commons| {
        outbox.push(commons, |line| line.push(0));
    };
    outbox.mark(5, &mut commons);
    outbox.mark(7, &mut commons);
    push(&mut outbox, &mut commons);
    outbox.mark(7, &mut commons);
    push(&mut outbox, &mut commons);
    outbox.mark(8, &mut commons);
    let marks = (0..).map_while(|nth| outbox.mark_at(nth)).map(|mark| (mark.at, mark.clock));
    assert_eq!(marks.collect::<Vec<_>>(), [(10, 7), (12, 8)]);
    assert_eq!(outbox.direct_bytes(), 12 + 2 * 8);
    assert_eq!(commons.queued_bytes, outbox.direct_bytes());
}

#[test]
fn pushing_to_a_blocked_peer_keeps_little_room() {
    // What waits in the line, the room that it has, and the room that it keeps.
    for (bytes, room, kept) in [(80, 164, 164), (80, 165, 90), (800, 1064, 1064), (800, 1065, 900)]
    {
        let mut commons = commons();
        let mut outbox = Outbox { is_lean: true, ..Outbox::default() };
        outbox.push(&mut commons, |line| {
            line.reserve_exact(room);
            line.resize(bytes, 0);
        });
        assert_eq!(outbox.line.capacity(), kept, "{bytes} of {room}");
    }
}

#[test]
fn marks_for_a_blocked_peer_take_room_by_halves() {
    let (mut marks, mut moves) = (Outbox { is_lean: true, ..Outbox::default() }, 0);
    let mut commons = commons();
    for clock in 1..=1000 {
        let before = marks.marks.capacity();
        marks.mark(clock, &mut commons);
        marks.push(&mut commons, |line| line.push(0));
        let (len, room) = (marks.marks.len(), marks.marks.capacity());
        assert_eq!(len, clock as usize);
        assert!(room <= len + len / 2 + 4, "room for {room} where there are {len}");
        moves += usize::from(room != before);
    }
    assert_eq!(moves, 12, "4, 10, 19, 32, and so on to 1390");
}

#[test]
fn a_blocked_peer_s_outbox_gives_back_room_and_what_was_written() {
    // Bytes that were written, those that wait, and whether the former are kept.
    for (written, waits, are_kept) in [(100, 400, true), (101, 400, false), (40, 160, true)] {
        let mut commons = commons();
        let mut outbox = waiting(written + waits, 0, &mut commons);
        outbox.advance_line(written, &mut commons);
        outbox.compact();
        assert_eq!(outbox.start, if are_kept { written } else { 0 });
        assert_eq!(outbox.line(), vec![0; waits]);
    }
    // Room for marks when there are three, and afterwards.
    for (room, kept) in [(10, 10), (11, 3)] {
        let mut commons = commons();
        let mut outbox = Outbox { marks: VecDeque::with_capacity(room), ..Outbox::default() };
        for clock in 1..=3 {
            outbox.mark(clock, &mut commons);
            outbox.push(&mut commons, |line| line.push(0));
        }
        outbox.compact();
        assert_eq!((outbox.marks.len(), outbox.marks.capacity()), (3, kept));
    }
}

/// The rest of a line is moved when that frees as much as is moved, and not a little.
#[test]
fn what_was_written_is_forgotten_when_it_is_much() {
    const KIB: usize = 1024;
    // Bytes that were written, those that waited before, and whether the former are kept.
    let lines = [
        (999, 1000, true),
        (16 * KIB, 20 * KIB, true),
        (16 * KIB + 1, 20 * KIB, false),
        (16 * KIB + 1, 100 * KIB, true),
        (50 * KIB, 100 * KIB, true),
        (50 * KIB + 1, 100 * KIB, false),
    ];
    for (written, waited, are_kept) in lines {
        let mut commons = commons();
        let mut outbox = waiting(waited, 0, &mut commons);
        outbox.advance_line(written, &mut commons);
        assert_eq!(outbox.start, if are_kept { written } else { 0 }, "{written} of {waited}");
        assert_eq!(outbox.line().len(), waited - written);
        assert_eq!(commons.queued_bytes, waited - written);
    }
}

#[test]
fn what_was_written_leaves_its_room_when_that_is_much() {
    const KIB: usize = 1024;
    // 10 KiB are left: they keep room for twice as much, and 16 KiB.
    for (room, kept) in [(36 * KIB, 36 * KIB), (36 * KIB + 1, 10 * KIB)] {
        let mut commons = commons();
        let mut outbox = waiting(30 * KIB, room, &mut commons);
        outbox.advance_line(20 * KIB, &mut commons);
        assert_eq!(outbox.line.capacity(), kept);
    }
}

#[test]
fn an_outbox_at_rest_keeps_little() {
    let marks = |room| Outbox { marks: VecDeque::with_capacity(room), ..Outbox::default() };
    assert!(Outbox::default().is_at_rest() && marks(16).is_at_rest() && !marks(17).is_at_rest());
    assert!(!Outbox { is_lean: true, ..Outbox::default() }.is_at_rest());
    // Room of the line, and what is left of it: a larger buffer is for others.
    for (room, kept) in [(4096, 4096), (4097, 0)] {
        let mut commons = commons();
        let mut outbox = waiting(1, room, &mut commons);
        outbox.advance_line(1, &mut commons);
        let large = outbox.reset_for_pool(&mut commons);
        assert_eq!((outbox.line.capacity(), large.is_some()), (kept, kept == 0));
    }
    // Room for marks.
    for (room, kept) in [(3, 3), (16, 16), (17, 16), (1000, 16)] {
        let mut commons = commons();
        let mut outbox = Outbox { marks: VecDeque::with_capacity(room), ..Outbox::default() };
        outbox.mark(1, &mut commons);
        outbox.reset_for_pool(&mut commons);
        assert_eq!((outbox.marks.len(), outbox.marks.capacity()), (0, kept));
        assert_eq!(commons.queued_bytes, 0);
    }
}

/// A rest that is short beside its share of the batch is copied, and the batch is free.
#[test]
fn a_short_rest_holds_no_long_batch() {
    // Bytes of the rest, and whether it is copied from a batch of 600 bytes that three hold.
    for (rest, is_copied) in [(10, true), (100, true), (101, false), (600, false)] {
        let mut commons = commons();
        let batch = batch(600);
        let _others = [Arc::clone(&batch), Arc::clone(&batch)];
        let mut outbox = waiting(50, 0, &mut commons);
        outbox.set_rest(batch, Encoding::Plain, 600 - rest..600);
        assert_eq!((outbox.direct_bytes(), outbox.bytes()), (50, 50 + rest));
        outbox.unpin(&mut commons);
        let in_line = if is_copied { 50 + rest } else { 50 };
        assert_eq!((outbox.direct_bytes(), outbox.bytes()), (in_line, 50 + rest), "{rest}");
        assert_eq!(commons.queued_bytes, in_line);
        assert_eq!(outbox.boundary, if is_copied { rest } else { 0 });
    }
}
