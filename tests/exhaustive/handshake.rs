//! The opening handshake against the oracle: keys, faults alone and in pairs, offers of
//! compression, and bytes that come with the request.

mod faults;

use std::io::Read;
use std::net::Shutdown;

use crate::oracle::accept::base64;
use crate::oracle::drive::{Drive, Wanted, check_answer};
use crate::oracle::handshake::{Verdict, judge};
use crate::oracle::response::parse;
use crate::oracle::stream::{End, Limits, hear};
use crate::support::dice::{Dice, in_parallel};
use crate::support::http::dial;
use crate::support::{TestServer, accept, binary, burst, config, ping, text};
use faults::{GOOD, all_faults, pairs, request};
use pushloop::Hosts;

/// What the default configuration speaks: a client's window is as large as it may be.
const DEFLATE: Option<u8> = if cfg!(feature = "deflate") { Some(15) } else { None };

fn answers(drive: &mut Drive, bytes: &[u8], client_bits: Option<u8>) -> Verdict {
    drive.connects();
    drive.hears(bytes);
    drive.rests();
    let verdict = judge(bytes, client_bits);
    drive.expects_answer(bytes, &verdict);
    verdict
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn random_keys_are_answered_as_by_another_sha_1() {
    let cases = in_parallel(100_000, |cases| {
        let mut drive = Drive::new(|_| ());
        let count = cases.end - cases.start;
        for case in cases {
            let mut dice = Dice::new(case + 1);
            let nonce: Vec<u8> = (0..16).map(|_| dice.number() as u8).collect();
            let key = base64(&nonce);
            let head = request(&[faults::field("Sec-WebSocket-Key", &[&key])]);
            let verdict = answers(&mut drive, head.as_bytes(), DEFLATE);
            assert!(matches!(verdict, Verdict::Accept { .. }), "{key}");
        }
        count
    });
    assert_eq!(cases, 100_000);
    println!("figure keys of a handshake: {cases}");
}

#[test]
fn the_good_request_is_accepted() {
    let mut drive = Drive::new(|_| ());
    let verdict = answers(&mut drive, request(&[]).as_bytes(), DEFLATE);
    let Verdict::Accept { accept, protocols, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(protocols, ["chat", "superchat"]);
    assert_eq!(GOOD.len(), 8);
}

/// HS, without a network: each fault alone, and all pairs of two in different places.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_pair_of_faults_is_refused_for_one_of_them() {
    let singles = all_faults();
    let mut drive = Drive::new(|_| ());
    let mut refused = 0;
    for fault in &singles {
        let verdict = answers(&mut drive, request(std::slice::from_ref(fault)).as_bytes(), DEFLATE);
        refused += usize::from(matches!(verdict, Verdict::Refuse(_)));
    }
    assert!(refused >= 160, "{refused} of {} faults are refused", singles.len());
    let pairs = pairs(&singles);
    assert!(pairs.len() >= 2_000);
    for pair in &pairs {
        let verdict = answers(&mut drive, request(pair).as_bytes(), DEFLATE);
        assert!(matches!(verdict, Verdict::Refuse(_) | Verdict::Accept { .. }), "{pair:?}");
    }
    println!("figure faults of a handshake: {}, and pairs of them: {}", singles.len(), pairs.len());
}

/// Each text of up to six of the bytes that the grammar of chunks tells apart, as a body.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_short_body_in_chunks_ends_where_the_oracle_says() {
    const BYTES: &[u8] = b"0A1; :\r\n\0";
    const HEAD: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let base = BYTES.len() as u64;
    let mut whole = 0;
    let cases = in_parallel((1..=6).map(|len| base.pow(len)).sum(), |cases| {
        let mut drive = Drive::new(|_| ());
        let count = cases.end - cases.start;
        for case in cases {
            let (mut bytes, mut left) = (HEAD.as_bytes().to_vec(), case);
            let mut last = base;
            while left >= last {
                left -= last;
                last *= base;
            }
            while last > 1 {
                last /= base;
                bytes.push(BYTES[(left / last) as usize]);
                left %= last;
            }
            answers(&mut drive, &bytes, DEFLATE);
        }
        count
    });
    for end in ["", "0\r\n\r\n", "1\r\nx\r\n0\r\n\r\n"] {
        let verdict = judge([HEAD, end].concat().as_bytes(), DEFLATE);
        whole += usize::from(verdict == Verdict::Plain);
    }
    assert_eq!((cases, whole), (597_870, 2));
    println!("figure bodies in chunks: {cases}");
}

/// HS, over sockets: refused, told to be over, and over; what comes behind is not answered.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_pair_of_faults_is_refused_over_a_socket() {
    // The names that lead to a loopback address are not what is tested here.
    let server = TestServer::start(config(|config| config.hosts = Hosts::Any), accept);
    let (singles, mut sent) = (all_faults(), 0);
    for faults in singles.iter().map(|fault| vec![fault.clone()]).chain(pairs(&singles)) {
        let head = request(&faults);
        let verdict = judge(head.as_bytes(), DEFLATE);
        let mut stream = dial(server.address());
        let second = if let Verdict::Refuse(_) = verdict {
            crate::support::get("/behind")
        } else {
            String::new()
        };
        std::io::Write::write_all(&mut stream, (head.clone() + &second).as_bytes())
            .expect("it is taken");
        if let Verdict::Accept { .. } = verdict {
            stream.shutdown(Shutdown::Write).expect("the connection lives");
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the server ends with FIN");
        let answer = parse(&answer);
        check_answer(&answer, head.as_bytes(), &verdict, &Wanted::default());
        let closes = answer.lists("connection", "close");
        assert_eq!(closes, matches!(verdict, Verdict::Refuse(_)), "{faults:?}: {answer:?}");
        sent += 1;
    }
    assert!(sent >= 2_160, "{sent}");
    println!("figure handshakes over sockets: {sent}");
}

/// Frames that come with the request are the connection's first ones, wherever the stream is
/// cut.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn no_byte_behind_the_request_is_lost() {
    let frames =
        burst(&[text("first"), ping("second"), binary(vec![3; 300]), text("\u{20ac}".repeat(200))]);
    let head = request(&[]);
    let stream = [head.as_bytes(), &frames].concat();
    let deflate = DEFLATE.is_some();
    let limits = Limits { message_bytes: 65_536, message_frames: 1024, deflate, window: 0 };
    let (heard, end) = hear(&frames, limits);
    assert_eq!((heard.len(), &end), (4, &End::Open));
    let mut drive = Drive::new(|_| ());
    let mut run = |cuts: &[usize]| {
        drive.connects();
        let mut from = 0;
        for to in cuts.iter().chain([&stream.len()]) {
            drive.hears(&stream[from..*to]);
            from = *to;
        }
        drive.rests();
        let verdict = judge(&stream, DEFLATE);
        assert!(matches!(verdict, Verdict::Accept { rest, .. } if rest == head.len()));
        drive.expects_answer(&stream, &verdict);
        drive.output = parse(&drive.output).rest;
        drive.expects(&heard, &end);
    };
    let mut runs = 0;
    for cut in 0..=stream.len() {
        run(&[cut]);
        runs += 1;
    }
    run(&Vec::from_iter(1..stream.len()));
    let mut dice = Dice::new(14);
    for _ in 0..100_000 {
        let mut cuts: Vec<_> = (0..1 + dice.below(6)).map(|_| dice.below(stream.len())).collect();
        cuts.sort_unstable();
        run(&cuts);
        runs += 1;
    }
    assert!(runs > 101_000, "{runs}");
    println!("figure a handshake and its first frames, cut: {runs}");
}

/// What stands after a parameter's name, in 18 forms; the empty name says that it is absent.
fn forms(name: &str) -> Vec<String> {
    let mut forms = vec![String::new(), format!(";{name}"), format!("; {name}; {name}")];
    let values = (7..=16).map(|bits| bits.to_string());
    let more = ["08", "+8", "8 ", "\"1\\0\"", ""].map(str::to_owned);
    forms.extend(values.chain(more).map(|value| format!("; {name}={value}")));
    forms
}

const PARAMETERS: [&str; 4] = [
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
];

/// Servers that differ in the window that a client gets, and in what they refer back to.
fn deflaters() -> Vec<(Drive, Option<u8>)> {
    #[cfg(feature = "deflate")]
    let more = vec![(
        Drive::new(|config| {
            config.deflate_context_takeover = true;
            config.deflate_client_window_bits = 12;
        }),
        Some(12),
    )];
    #[cfg(not(feature = "deflate"))]
    let more = Vec::new();
    [(Drive::new(|_| ()), DEFLATE)].into_iter().chain(more).collect()
}

/// One offer with each parameter in each form.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_offer_is_answered_as_rfc_7692_says() {
    let forms = PARAMETERS.map(forms);
    assert!(forms.iter().all(|forms| forms.len() == 18));
    let cases = in_parallel(18_u64.pow(4), |cases| {
        let mut drives = deflaters();
        let count = cases.end - cases.start;
        for mut case in cases {
            let mut offer = "permessage-deflate".to_owned();
            for forms in &forms {
                offer += &forms[(case % 18) as usize];
                case /= 18;
            }
            let head = request(&[faults::field("Sec-WebSocket-Extensions", &[&offer])]);
            for (drive, client_bits) in &mut drives {
                answers(drive, head.as_bytes(), *client_bits);
            }
        }
        count
    });
    assert_eq!(cases, 104_976);
    println!("figure offers of compression: {cases}");
}

fn random_offer(dice: &mut Dice) -> String {
    let names = [
        "permessage-deflate",
        "permessage-deflate",
        "permessage-deflate",
        "x",
        "Permessage-Deflate",
        "",
    ];
    let mut offer = names[dice.below(6).min(dice.below(6))].to_owned();
    for _ in 0..dice.below(4) {
        let name = if dice.one_in(12) { "unknown" } else { PARAMETERS[dice.below(4)] };
        let value = match dice.below(24) {
            0 => "=".to_owned(),
            1 => "=\"1\\2\"".to_owned(),
            2 => "=\"1,2\"".to_owned(),
            3 => "= \"9\" ".to_owned(),
            4 => "=\"9".to_owned(),
            5 => " = 15".to_owned(),
            6 => "=9 9".to_owned(),
            7 => "=é".to_owned(),
            8..14 => format!("={}", 7 + dice.below(10)),
            _ => String::new(),
        };
        let space = ["", " ", "\t", "  "];
        offer += &format!("{};{}{name}{value}", space[dice.below(4)], space[dice.below(4)]);
    }
    offer
}

/// Lists of offers, on one line or several.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn the_first_offer_that_can_be_accepted_wins() {
    let cases = in_parallel(100_000, |cases| {
        let mut drives = deflaters();
        let count = cases.end - cases.start;
        for case in cases {
            let mut dice = Dice::new(case + 1);
            let lines: Vec<_> = (0..1 + dice.below(3))
                .map(|_| {
                    let offers: Vec<_> =
                        (0..dice.below(4)).map(|_| random_offer(&mut dice)).collect();
                    offers.join([",", ", ", " , ", ",,"][dice.below(4)])
                })
                .collect();
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let head = request(&[faults::field("Sec-WebSocket-Extensions", &lines)]);
            for (drive, client_bits) in &mut drives {
                answers(drive, head.as_bytes(), *client_bits);
            }
        }
        count
    });
    assert_eq!(cases, 100_000);
    println!("figure lists of offers of compression: {cases}");
}
