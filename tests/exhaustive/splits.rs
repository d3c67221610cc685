//! Every way to cut a stream into reads, and every way in which a kernel can take what is written.

use crate::oracle::drive::{Drive, Told};
use crate::oracle::stream::{Heard, Limits, hear};
use crate::support::campaign::scale;
use crate::support::dice::{Dice, in_parallel};
use crate::support::{
    Frame, binary, burst, close, close_empty, continuation, frame, ping, pong, text,
};
use pushloop::testing::Take;
use pushloop::{ConnId, Hub, Message};

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const DEFAULT: Limits =
    Limits { message_bytes: 65_536, message_frames: 1024, deflate: false, window: 0 };
const DEFLATE: Limits = Limits { deflate: true, window: 1 << 15, ..DEFAULT };
/// Limits that 20 bytes can pass.
const TIGHT: Limits = Limits { message_bytes: 5, message_frames: 2, ..DEFAULT };
/// The longest that are cut in every way.
const SCRIPT_BYTES: usize = 20;

/// How much of a script is cut in every way, in bytes: a campaign has eight times as many ways.
fn cut_bytes() -> usize {
    scale(SCRIPT_BYTES - 3, SCRIPT_BYTES)
}

/// A frame whose length is written in another form, or is only claimed.
fn claims(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key);
    [&[first], length, &MASK].concat().into_iter().chain(masked).collect()
}

/// Streams of at least `SCRIPT_BYTES`: what is beyond is cut off, in the middle of something.
fn scripts() -> Vec<(Limits, Vec<u8>)> {
    let unmasked = |frame: Frame| frame.unmasked();
    let frames = |frames: &[Frame]| burst(frames);
    let plain = [
        frames(&[text("fourteen bytes")]),
        frames(&[text("\u{10ffff}\u{20ac}\u{3ba}\u{1f79}ab")]),
        frames(&[binary([0xFF; 14])]),
        frames(&[text("four"), binary("four")]),
        frames(&[text("").open(), ping(""), continuation("ab")]),
        frames(&[text([0xF0, 0x9F, 0x91]).open(), continuation([0x8B, b'!', b'!', b'!', b'!'])]),
        frames(&[text([0xC3]).open(), ping("p"), continuation([0xA9])]),
        frames(&[binary("").open(), continuation("").open(), continuation("ab")]),
        frames(&[ping("0123"), pong("4567")]),
        frames(&[ping(""), ping("1"), text("2")]),
        frames(&[text("begun").open(), ping("cut off here")]),
        frames(&[close(1000, "twelve bytes")]),
        frames(&[close_empty(), text("too late")]),
        frames(&[ping(""), close(4999, ""), ping("")]),
        frames(&[frame(0x88, "1"), text("1234567")]),
        frames(&[close(1005, ""), text("123456")]),
        frames(&[close(1001, [0xE2, 0x82]), text("1234")]),
        frames(&[text("ab\u{e9}\u{e9}\u{e9}\u{e9}"), text([0xFF, 0, 0, 0])]),
        frames(&[text([b'a', 0xED, 0xA0, 0x80]), text("1234")]),
        frames(&[text([0xF4, 0x90, 0x80, 0x80]).open(), continuation("1234")]),
        frames(&[text("ab"), text([0xC3]), text("12")]),
        frames(&[text([0xC3]).open(), continuation([]), text("123456")]),
        [frames(&[text("1234")]), unmasked(text("12345678"))].concat(),
        frames(&[ping("12"), frame(0x93, "123456")]),
        [frames(&[text("a").open()]), claims(0x89, &[0xFE, 0, 126], &[0; 6])].concat(),
        claims(0x82, &[0xFE, 0, 126], &[1; 12]),
        [frames(&[ping("1")]), claims(0x82, &[0xFE, 0, 125], &[0; 5])].concat(),
        claims(0x82, &[0xFF, 0, 0, 0, 0, 0, 1, 0, 0], &[2; 6]),
        claims(0x82, &[0xFF, 0, 0, 0, 0, 0, 1, 0, 1], &[2; 6]),
    ];
    let tight = [
        frames(&[binary("12345"), binary("67"), ping("")]),
        frames(&[text("").open(), continuation("").open(), continuation("ab")]),
        frames(&[text("123").open(), continuation("12345")]),
    ];
    let plain = plain.into_iter().map(|bytes| (DEFAULT, bytes));
    plain.chain(tight.into_iter().map(|bytes| (TIGHT, bytes))).collect()
}

/// The same for compressed messages, which make a family of their own.
#[cfg(feature = "deflate")]
fn deflated_scripts() -> Vec<(Limits, Vec<u8>)> {
    let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    [
        burst(&[frame(0xC1, hello), ping("1")]),
        burst(&[frame(0x41, &hello[..3]), continuation(&hello[3..]), ping("")]),
        burst(&[frame(0xC1, &hello[..6]), text("12")]),
        burst(&[frame(0xC1, [0x52, 0x06, 0x00]), frame(0x80, "12345")]),
    ]
    .map(|bytes| (DEFLATE, bytes))
    .into()
}

fn drive(limits: Limits) -> Drive {
    Drive::new(|config| {
        config.message_bytes_max = limits.message_bytes as usize;
        config.message_frames_max = limits.message_frames;
    })
}

fn opens(drive: &mut Drive, limits: Limits) {
    if limits.deflate { drive.opens_deflate() } else { drive.opens("") }
}

/// All that can be told of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    messages: Vec<Heard>,
    told: Option<Told>,
    output: Vec<u8>,
    ended: bool,
}

impl Outcome {
    fn of(drive: &mut Drive) -> Self {
        let (output, ended) = (drive.output.clone(), drive.is_ended());
        Self { messages: drive.messages.clone(), told: drive.told.clone(), output, ended }
    }

    fn is_of(&self, drive: &mut Drive) -> bool {
        self.messages == drive.messages
            && self.told == drive.told
            && self.output == drive.output
            && self.ended == drive.is_ended()
    }
}

/// Hears a script in one piece, held against the oracle, and one byte at a time, held against it
/// after each: nothing is told late, or before it is decided.
fn one_shot(drive: &mut Drive, limits: Limits, script: &[u8]) -> Outcome {
    opens(drive, limits);
    for end in 1..=script.len() {
        drive.hears(&script[end - 1..end]);
        drive.rests();
        let (heard, ended) = hear(&script[..end], limits);
        drive.expects(&heard, &ended);
    }
    opens(drive, limits);
    drive.hears(script);
    drive.rests();
    let (heard, end) = hear(script, limits);
    drive.expects(&heard, &end);
    Outcome::of(drive)
}

/// Hears a script in pieces: bit i of `cuts` says that one begins after its byte i.
fn in_pieces(drive: &mut Drive, limits: Limits, script: &[u8], cuts: u32, whole: &Outcome) {
    opens(drive, limits);
    let mut from = 0;
    for to in 1..=script.len() {
        if to == script.len() || cuts >> (to - 1) & 1 == 1 {
            drive.hears(&script[from..to]);
            from = to;
        }
    }
    // What the last piece led to leaves in the turns that follow.
    drive.turn();
    drive.turn();
    assert!(whole.is_of(drive), "{script:02X?} cut {cuts:b}: {:?}", Outcome::of(drive));
}

fn every_partition(scripts: &[(Limits, Vec<u8>)]) -> u64 {
    let cuts = 1 << (cut_bytes() - 1);
    scripts
        .iter()
        .map(|(limits, bytes)| {
            let script = &bytes[..cut_bytes()];
            in_parallel(cuts, |cuts| {
                let mut drive = drive(*limits);
                let whole = one_shot(&mut drive, *limits, script);
                let count = cuts.end - cuts.start;
                cuts.for_each(|cuts| in_pieces(&mut drive, *limits, script, cuts as u32, &whole));
                count
            })
        })
        .sum()
}

/// X-SPLIT-R.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_partition_of_short_scripts_is_read_as_the_whole() {
    let runs = every_partition(&scripts());
    assert_eq!(runs, 32 << (cut_bytes() - 1));
    println!("figure reads of {} bytes, cut in every way: {runs}", cut_bytes());
}

#[cfg(feature = "deflate")]
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_partition_of_short_compressed_scripts_is_read_as_the_whole() {
    let runs = every_partition(&deflated_scripts());
    assert_eq!(runs, 4 << (cut_bytes() - 1));
    println!("figure reads of {} compressed bytes, cut in every way: {runs}", cut_bytes());
}

/// Some thousand bytes of everything, and an end of each kind.
fn long_scripts() -> Vec<(Limits, Vec<u8>)> {
    let many = |end: Frame| {
        let prose = "Grüße, κόσμε \u{1f44b} ".repeat(20);
        let (front, back) = prose.as_bytes().split_at(201);
        let (more, end_of_it) = back.split_at(126);
        burst(&[
            text("short"),
            binary(vec![7; 126]),
            text(front).open(),
            ping(vec![9; 125]),
            continuation(more).open(),
            continuation("").open(),
            pong("x"),
            continuation(end_of_it),
            ping(""),
            text(""),
            binary(vec![8; 3000]).open(),
            close_or(&end, 0),
            continuation(""),
            end,
            text("behind it"),
        ])
    };
    let mut scripts: Vec<_> = [
        many(close(3000, "bye")),
        many(text([0xC3])),
        many(frame(0x83, "")),
        many(close(1004, "")),
        many(continuation("")),
        burst(&[binary(vec![5; 65_536]), ping("1"), text("after it")]),
        burst(&[binary(vec![5; 300]).open(), continuation(vec![5; 65_237])]),
    ]
    .map(|bytes| (DEFAULT, bytes))
    .into();
    if cfg!(feature = "deflate") {
        scripts.push((DEFLATE, many(frame(0xC1, [0x52, 0x06, 0x00]))));
    }
    scripts
}

/// A Ping in the place of a Close, so that more than one thing comes between two fragments.
fn close_or(frame: &Frame, place: u8) -> Frame {
    if frame.first == 0x88 { ping([place]) } else { pong([place]) }
}

fn in_chunks(drive: &mut Drive, limits: Limits, script: &[u8], cuts: &[usize]) {
    opens(drive, limits);
    let mut from = 0;
    for to in cuts.iter().chain([&script.len()]) {
        drive.hears(&script[from..*to]);
        from = *to;
    }
    drive.rests();
}

fn in_one(drive: &mut Drive, limits: Limits, script: &[u8]) -> Outcome {
    in_chunks(drive, limits, script, &[]);
    Outcome::of(drive)
}

/// Where a script is cut in two: at each byte, but for the midst of what is long. There it is around each multiple of
/// 4 KiB, where a buffer may end, and at each seventh byte, so that it is at each place of a mask and of a word.
fn cuts_in_two(script: &[u8]) -> Vec<usize> {
    let is_midst = |at: usize| at > 4_000 && at + 4_000 < script.len() && (at + 40) % 4096 > 80;
    (1..script.len()).filter(|at| !is_midst(*at) || at.is_multiple_of(7)).collect()
}

/// X-SPLIT-R for longer scripts: cuts in two, one byte at a time, and hundreds of thousands at random.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn longer_scripts_are_read_as_the_whole_however_they_are_cut() {
    let cases = scale(300_000, 1_000_000);
    let scripts = long_scripts();
    let mut runs = 0;
    for (limits, script) in &scripts {
        let mut one = drive(*limits);
        let whole = in_one(&mut one, *limits, script);
        let (heard, end) = hear(script, *limits);
        one.expects(&heard, &end);
        let in_two = cuts_in_two(script);
        runs += in_parallel(in_two.len() as u64, |cuts| {
            let mut drive = drive(*limits);
            for cut in &in_two[cuts.start as usize..cuts.end as usize] {
                in_chunks(&mut drive, *limits, script, &[*cut]);
                assert!(whole.is_of(&mut drive), "cut at {cut}: {:?}", Outcome::of(&mut drive));
            }
            cuts.end - cuts.start
        });
        let all: Vec<_> = (1..script.len()).collect();
        in_chunks(&mut one, *limits, script, &all);
        assert!(whole.is_of(&mut one), "byte by byte: {:?}", Outcome::of(&mut one));
        runs += 1;
    }
    let shorter = scripts.iter().map(|(_, script)| script.len()).filter(|len| *len < 8_000);
    assert!(runs > shorter.sum::<usize>() as u64 + 2 * 16_000, "{runs}");
    // Those of some thousand bytes are cut at random.
    let short: Vec<_> = scripts.iter().filter(|(_, script)| script.len() < 10_000).collect();
    let random = in_parallel(cases, |cases| {
        let mut drives: Vec<_> = short.iter().map(|(limits, _)| drive(*limits)).collect();
        let wholes: Vec<_> =
            (0..short.len()).map(|at| in_one(&mut drives[at], short[at].0, &short[at].1)).collect();
        let count = cases.end - cases.start;
        for case in cases {
            let mut dice = Dice::new(case + 1);
            let at = case as usize % short.len();
            let (limits, script) = short[at];
            let pieces = 1 + dice.below(12);
            let mut cuts: Vec<_> = (0..pieces).map(|_| 1 + dice.below(script.len() - 1)).collect();
            cuts.sort_unstable();
            let drive = &mut drives[at];
            in_chunks(drive, *limits, script, &cuts);
            assert!(wholes[at].is_of(drive), "cut at {cuts:?}: {:?}", Outcome::of(drive));
        }
        count
    });
    assert_eq!(random, cases);
    println!("figure longer reads, cut: {runs}, and {random} at random");
}

/// The output that the schedules are tried on: 16 bytes in three frames, of a connection's own and
/// shared with a topic.
const QUEUED: [&[u8]; 3] =
    [&[0x82, 2, 1, 2], &[0x81, 3, b'a', b'b', b'c'], &[0x82, 5, 3, 4, 5, 6, 7]];
const QUEUED_BYTES: usize = 16;
/// How many schedules there are: a digit of three values at each boundary.
const SCHEDULES: u64 = 3_u64.pow(QUEUED_BYTES as u32 - 1);

/// Of so many schedules in a row one is tried; in a campaign, each is. It shares no factor with the values of
/// a digit, so that each digit of those tried has all of them.
fn schedule_step() -> u64 {
    scale(8, 1)
}

/// What says of a direct message that a publication goes first.
const MARK_BYTES: usize = 8;

/// What is done at each boundary between two bytes, as a digit: nothing, a write ends there, or a
/// write ends there and the kernel is full.
fn schedule(mut digits: u64, plan: &mut Vec<Take>) -> usize {
    let (mut len, mut full) = (0, 0);
    for _ in 1..QUEUED_BYTES {
        len += 1;
        let digit = digits % 3;
        digits /= 3;
        if digit > 0 {
            plan.push(Take::Bytes(len));
            len = 0;
        }
        if digit == 2 {
            plan.push(Take::Nothing);
            full += 1;
        }
    }
    full
}

/// X-SPLIT-W: the bytes on the wire are those that were queued, once and in order; what waits is
/// counted to the byte, and the application hears once that all is out, if it ever was not. `waits` says
/// how much is queued for the connection when so many bytes were written.
fn every_schedule(queue: impl Fn(&mut Hub, ConnId) + Sync, waits: fn(usize) -> usize) -> u64 {
    let expected = QUEUED.concat();
    assert_eq!(expected.len(), QUEUED_BYTES);
    in_parallel(SCHEDULES / schedule_step(), |schedules| {
        let mut drive = Drive::new(|_| ());
        drive.opens("");
        let id = drive.id();
        drive.server.hub().subscribe(id, "topic").expect("one topic is allowed");
        let (mut plan, mut count) = (Vec::new(), 0);
        for digits in schedules.map(|schedule| schedule * schedule_step()) {
            drive.output.clear();
            drive.writable = 0;
            queue(drive.server.hub(), id);
            let full = schedule(digits, &mut plan);
            drive.wire.takes_next(plan.drain(..));
            // Each turn writes until the kernel is full, and finds room in the next.
            for _ in 0..full {
                drive.turn();
                let written = drive.output.len();
                assert!(written < QUEUED_BYTES && drive.writable == 0, "{digits}");
                let queued = drive.server.hub().queued_bytes(id);
                assert_eq!(queued, waits(written), "{digits}: {written} of {QUEUED_BYTES}");
            }
            drive.turn();
            assert!(drive.output == expected, "{digits}: {:02X?}", drive.output);
            assert_eq!(drive.wire.plan_left(), 0, "every step was taken");
            assert_eq!(drive.server.hub().queued_bytes(id), 0);
            assert_eq!(drive.writable, usize::from(full > 0));
            count += 1;
        }
        count
    })
}

fn sends(hub: &mut Hub, id: ConnId, frame: &[u8]) {
    hub.send(id, Message::Binary(&frame[2..])).expect("there is room");
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_schedule_of_short_writes_gives_the_same_bytes() {
    let queue = |hub: &mut Hub, id| {
        sends(hub, id, QUEUED[0]);
        hub.publish("topic", "abc").expect("there is room");
        sends(hub, id, QUEUED[2]);
    };
    let runs = every_schedule(queue, |written| {
        let [first, publication, last] = QUEUED.map(<[u8]>::len);
        let direct = first.saturating_sub(written) + last.min(QUEUED_BYTES - written);
        // It waits in its topic, but for the rest of it once it has begun to leave; and what is behind
        // it has a mark that says so.
        let (begins, ends) = (first, first + publication);
        let rest = if written > begins { ends.saturating_sub(written) } else { 0 };
        let mark = if written <= ends { MARK_BYTES } else { 0 };
        direct + rest + mark
    });
    assert_eq!(runs, SCHEDULES / schedule_step());
    println!("figure short writes of three pieces: {runs}");
}

/// Without a topic all of it is in one buffer, which is what most connections ever have.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_schedule_of_short_writes_of_one_buffer_gives_the_same_bytes() {
    let queue = |hub: &mut Hub, id| {
        sends(hub, id, QUEUED[0]);
        hub.send(id, "abc").expect("there is room");
        sends(hub, id, QUEUED[2]);
    };
    let runs = every_schedule(queue, |written| QUEUED_BYTES - written);
    assert_eq!(runs, SCHEDULES / schedule_step());
    println!("figure short writes of one buffer: {runs}");
}
