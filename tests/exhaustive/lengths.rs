//! X-LEN: every form of a frame's length, decided from the header alone and without memory for
//! what it claims. The allocator of this test counts.

use crate::oracle::drive::Drive;
use crate::oracle::stream::{Limits, hear};
use crate::support::dice::in_parallel;
use allocation_counter::measure;

/// Peak of allocated bytes that one header may cause, whatever it claims.
const PEAK_BYTES_MAX: u64 = 16 * 1024;

/// The case's second byte and the length after it.
fn length(case: u64) -> Vec<u8> {
    let wide = |len: u64| [&[0xFF][..], &len.to_be_bytes()].concat();
    match case {
        0..126 => vec![0x80 | case as u8],
        126..65_662 => [&[0xFE][..], &((case - 126) as u16).to_be_bytes()].concat(),
        65_662..131_198 => wide(case - 65_662),
        131_342 => wide(u64::MAX),
        _ => {
            let (k, offset) = ((case - 131_198) / 3 + 16, (case - 131_198) % 3);
            wide((1 << k) - 1 + offset)
        }
    }
}

const CASES: u64 = 131_343;

fn every_length(first: u8, limits: Limits) {
    let cases = in_parallel(CASES, |cases| {
        let mut drive = Drive::new(|config| {
            config.message_bytes_max = usize::try_from(limits.message_bytes).unwrap_or(usize::MAX);
        });
        let count = cases.end - cases.start;
        for case in cases {
            if limits.deflate {
                drive.opens_deflate()
            } else {
                drive.opens("")
            }
            let mut header = [&[first][..], &length(case), b"mask"].concat();
            // The payload begins, if there is any.
            header.extend(&b"pay"[..case.min(3) as usize]);
            let info = measure(|| drive.hears(&header));
            assert!(info.bytes_max <= PEAK_BYTES_MAX, "{header:02X?}: {info:?}");
            drive.rests();
            let (heard, end) = hear(&header, limits);
            drive.expects(&heard, &end);
        }
        count
    });
    assert_eq!(cases, CASES);
    println!("figure lengths behind {first:02X}, {limits:?}: {cases}");
}

const DEFAULT: Limits =
    Limits { message_bytes: 65_536, message_frames: 1024, deflate: false, window: 0 };

#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_length_within_the_default_limit() {
    every_length(0x82, DEFAULT);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_length_without_a_limit() {
    every_length(0x82, Limits { message_bytes: u64::MAX, ..DEFAULT });
}

/// What is deflated may be longer on the wire, by an eighth and 8 KiB.
#[cfg(feature = "deflate")]
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_length_of_a_compressed_message() {
    every_length(0xC2, Limits { deflate: true, ..DEFAULT });
    // 19,442 bytes on the wire, which is one of the family and no edge of it.
    every_length(0xC2, Limits { message_bytes: 10_000, deflate: true, ..DEFAULT });
}

/// Frames that are whole in one read, in all three forms, within a limit and beyond it.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_length_of_a_frame_that_is_whole() {
    const WHOLE: u64 = 131_201;
    let limits = Limits { message_bytes: 40_000, ..DEFAULT };
    let payload: Vec<u8> = (0..65_537_u32).map(|i| (i % 251) as u8).collect();
    let cases = in_parallel(WHOLE, |cases| {
        let mut drive = Drive::new(|config| config.message_bytes_max = 40_000);
        let count = cases.end - cases.start;
        for case in cases {
            let length = length(case);
            let len = match case {
                0..126 => case,
                126..65_662 => case - 126,
                _ => u64::from_be_bytes(length[1..].try_into().expect("it is the third form")),
            };
            let payload = &payload[..len as usize];
            let frame = [&[0x82], &length[..], b"mask", payload].concat();
            drive.opens("");
            drive.hears(&frame);
            drive.rests();
            let (heard, end) = hear(&frame, limits);
            drive.expects(&heard, &end);
        }
        count
    });
    assert_eq!(cases, WHOLE);
    println!("figure lengths of whole frames: {cases}");
}

#[test]
fn the_family_is_what_it_claims_to_be() {
    let mut all: Vec<_> = (0..CASES).map(length).collect();
    assert_eq!(all[125], [0x80 | 125]);
    assert_eq!(all[126], [0xFE, 0, 0]);
    assert_eq!(all[65_661], [0xFE, 0xFF, 0xFF]);
    assert_eq!(all[131_197], [0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);
    assert_eq!(all[131_341], [0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    // 2^16-1 is an edge, and one of the first 65,536 as well.
    all.sort();
    all.dedup();
    assert_eq!(all.len() as u64, CASES - 1);
}
