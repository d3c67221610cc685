//! What is agreed on (RFC 7692 §5 and §7.1), seen on the wire.

use pushloop::{Accept, AcceptError, Event};

use super::{ANSWER, OFFER, deflate, offering, text_deflated};
use crate::support::dice::Dice;
use crate::support::net::{Sim, Wire};
use crate::support::{TestServer, echo, handshake, quiet, text};

/// The extensions that a server of these settings answers to header lines.
fn answers(deflate: bool, takeover: bool, more: &str) -> Option<String> {
    let limits = quiet(|config| {
        (config.deflate, config.deflate_context_takeover) = (deflate, takeover);
    });
    let server = TestServer::start(limits, echo);
    let mut peer = server.connects();
    peer.sends_bytes(handshake("/", more));
    let answer = peer.expects_upgrade();
    // Whatever was agreed on, a message comes and goes.
    peer.sends(text("hello"));
    peer.expects(text("hello"));
    answer.header("Sec-WebSocket-Extensions").map(str::to_owned)
}

fn offers(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("Sec-WebSocket-Extensions: {line}\r\n")).collect()
}

/// Netty refuses an answer that has what it did not offer; Tornado and Mojolicious do not read it, and
/// refer back all the same.
#[test]
fn nothing_is_asked_of_a_client_that_it_did_not_offer() {
    for (offer, expected) in [
        ("permessage-deflate", "permessage-deflate"),
        (OFFER, "permessage-deflate"),
        (
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
        ),
        ("permessage-deflate; client_max_window_bits=8", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=\"15\"", "permessage-deflate"),
        (
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
        ),
        ("x-webkit-deflate-frame, permessage-deflate", "permessage-deflate"),
    ] {
        for takeover in [false, true] {
            let answer = answers(true, takeover, &offers(&[offer]));
            assert_eq!(answer.as_deref(), Some(expected), "{offer}");
        }
    }
}

#[test]
fn nothing_is_answered_that_was_not_offered_or_is_not_wanted() {
    assert_eq!(answers(false, true, &offers(&[OFFER])), None);
    assert_eq!(answers(true, true, ""), None);
    for lines in [
        &["x-webkit-deflate-frame"][..],
        &["Permessage-Deflate"],
        &["permessage-deflate; server_max_window_bits=8"],
        &["permessage-deflate; x"],
        &["permessage-deflate; server_max_window_bits", "permessage-bzip2"],
    ] {
        assert_eq!(answers(true, true, &offers(lines)), None, "{lines:?}");
    }
}

#[test]
fn several_lines_are_one_list_and_the_first_acceptable_offer_wins() {
    let nine = "permessage-deflate; server_max_window_bits=9";
    let eight = "permessage-deflate; server_max_window_bits=8";
    for (lines, expected) in [
        (&[eight, nine][..], nine),
        (&["foo, bar; baz", OFFER, nine], ANSWER),
        (&["foo", "", nine], nine),
        (&[&[eight; 11].join(", "), nine], nine),
    ] {
        assert_eq!(answers(true, true, &offers(lines)).as_deref(), Some(expected), "{lines:?}");
    }
}

#[test]
fn what_the_grammar_does_not_produce_is_refused_with_400() {
    for deflates in [true, false] {
        let server = TestServer::start(quiet(|config| config.deflate = deflates), echo);
        for line in [
            "",
            ",",
            "permessage-deflate;",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"",
            "permessage-deflate; server_max_window_bits=\"1 0\"",
            "permessage-deflate permessage-deflate",
            "permessage-deflate, x/y",
            "permessage-deflate; =10",
        ] {
            let mut peer = server.connects();
            peer.sends_bytes(offering(line));
            peer.expects_refusal(400);
        }
    }
}

/// §5.1: an application cannot answer an extension of its own accord.
#[test]
fn an_application_answers_no_extension() {
    let server = TestServer::start(quiet(|_| {}), |hub, event| {
        if let Event::Request { id, .. } = event {
            let headers = [("sec-websocket-extensions", "permessage-deflate")];
            let accept = Accept { subprotocol: None, headers: &headers };
            assert_eq!(hub.accept(id, accept), Err(AcceptError::InvalidHeader));
            hub.accept(id, Accept::default()).unwrap();
        }
    });
    let mut peer = server.connects();
    peer.sends_bytes(handshake("/", ""));
    assert_eq!(peer.expects_upgrade().header("Sec-WebSocket-Extensions"), None);
}

#[test]
fn frames_may_follow_the_offer_in_the_same_segment() {
    let server = TestServer::echo();
    let mut peer = server.connects();
    let hello = text_deflated(deflate(b"hello"));
    peer.sends_bytes([offering(OFFER).into_bytes(), hello.masked([1, 2, 3, 4])].concat());
    peer.expects_upgrade();
    peer.expects(text("hello"));
}

// ---- every offer of four parameters, against an oracle ----

/// What a parameter's text says; `None` is a value that no parameter may have, or a repetition.
#[derive(Clone, Copy)]
enum Says {
    Absent,
    Bare,
    Bits(u8),
    Nonsense,
    Malformed,
}

const SAYS: [(&str, Says); 18] = [
    ("", Says::Absent),
    ("; NAME", Says::Bare),
    ("; NAME=7", Says::Nonsense),
    ("; NAME=8", Says::Bits(8)),
    ("; NAME=9", Says::Bits(9)),
    ("; NAME=10", Says::Bits(10)),
    ("; NAME=11", Says::Bits(11)),
    ("; NAME=12", Says::Bits(12)),
    ("; NAME=13", Says::Bits(13)),
    ("; NAME=14", Says::Bits(14)),
    ("; NAME=15", Says::Bits(15)),
    ("; NAME=16", Says::Nonsense),
    ("; NAME=08", Says::Nonsense),
    ("; NAME=+8", Says::Nonsense),
    ("; NAME=8 ", Says::Bits(8)),
    ("; NAME=\"1\\0\"", Says::Bits(10)),
    ("; NAME=", Says::Malformed),
    ("; NAME=9; NAME=9", Says::Nonsense),
];
const NAMES: [&str; 4] = [
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
];

fn offer(choice: [usize; 4]) -> String {
    let params = NAMES.iter().zip(choice).map(|(name, at)| SAYS[at].0.replace("NAME", name));
    format!("permessage-deflate{}", params.collect::<String>())
}

fn is_malformed(choice: [usize; 4]) -> bool {
    choice.iter().any(|&at| matches!(SAYS[at].1, Says::Malformed))
}

/// The answer to one offer, by the letter of §7.1.1 and §7.1.2.
fn oracle(choice: [usize; 4], client_bits: u8) -> Option<String> {
    let flag = |at: usize| match SAYS[choice[at]].1 {
        Says::Absent => Some(false),
        Says::Bare => Some(true),
        _ => None,
    };
    let mut answer = String::from("permessage-deflate");
    if flag(0)? {
        answer += &format!("; {}", NAMES[0]);
    }
    let alone = flag(1)?;
    if alone {
        answer += &format!("; {}", NAMES[1]);
    }
    match SAYS[choice[2]].1 {
        Says::Absent => {}
        Says::Bits(bits @ 9..=15) => answer += &format!("; {}={bits}", NAMES[2]),
        _ => return None,
    }
    // A promise to keep to 8 is left unanswered, and 15 need not be said.
    let offered = match SAYS[choice[3]].1 {
        Says::Absent | Says::Bits(8) => 15,
        Says::Bare => client_bits,
        Says::Bits(bits) => bits.min(client_bits),
        Says::Nonsense | Says::Malformed => return None,
    };
    if offered < 15 && !alone {
        answer += &format!("; {}={offered}", NAMES[3]);
    }
    Some(answer)
}

/// The heads that are answered to many handshakes, which come at once.
fn answered(client_bits: u8, handshakes: impl Iterator<Item = String>) -> Vec<String> {
    let mut sim = Sim::new(quiet(|config| config.deflate_client_window_bits = client_bits));
    let asks = |handshake: String| {
        let wire = sim.server.net().connects();
        wire.sends_bytes(handshake);
        wire
    };
    let wires: Vec<Wire> = handshakes.map(asks).collect();
    sim.rests();
    wires.iter().map(|wire| String::from_utf8(wire.reads_bytes()).unwrap()).collect()
}

#[track_caller]
fn holds(head: &str, malformed: bool, expected: Option<String>, asked: &str) {
    let status = if malformed { "400" } else { "101" };
    assert_eq!(head.get(9..12), Some(status), "{asked}");
    let answer = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    let expected = expected.filter(|_| !malformed);
    assert_eq!(answer, expected.as_deref(), "{asked}");
}

fn choices() -> impl Iterator<Item = [usize; 4]> {
    let all = SAYS.len();
    (0..all.pow(4)).map(move |n| [0, 1, 2, 3].map(|place| n / all.pow(place) % all))
}

fn every_offer(client_bits: u8, of: usize) -> usize {
    let choices: Vec<_> = choices().step_by(of).collect();
    for batch in choices.chunks(500) {
        let heads = answered(client_bits, batch.iter().map(|choice| offering(&offer(*choice))));
        for (choice, head) in batch.iter().zip(heads) {
            holds(&head, is_malformed(*choice), oracle(*choice, client_bits), &offer(*choice));
        }
    }
    choices.len()
}

#[test]
fn every_47th_offer_is_answered_as_the_rfc_says() {
    assert_eq!((every_offer(15, 47), every_offer(12, 47)), (2234, 2234));
}

/// Lists of up to 12 offers, in one line or in several.
fn lists(count: usize) {
    let mut dice = Dice::new(7692);
    for _ in 0..count / 500 {
        let list = |dice: &mut Dice| -> Vec<[usize; 4]> {
            // Most lists would be malformed otherwise.
            let any = dice.below(8) == 0;
            let mut param = || loop {
                let at = if dice.below(3) == 0 { 0 } else { dice.below(SAYS.len()) };
                if any || !matches!(SAYS[at].1, Says::Malformed) {
                    return at;
                }
            };
            let mut list = vec![[param(), param(), param(), param()]];
            while list.len() < 12 && param() > 1 {
                list.push([param(), param(), param(), param()]);
            }
            list
        };
        let batch: Vec<_> = (0..500).map(|_| list(&mut dice)).collect();
        let handshakes = batch.iter().map(|list| {
            let mut line = String::from("Sec-WebSocket-Extensions: other");
            for choice in list {
                let next = [", ", "\r\nSec-WebSocket-Extensions: "][dice.below(2)];
                line += &[next, &offer(*choice)].concat();
            }
            handshake("/", &[&line, "\r\n"].concat())
        });
        let heads = answered(12, handshakes.collect::<Vec<_>>().into_iter());
        for (list, head) in batch.iter().zip(heads) {
            let expected = list.iter().find_map(|choice| oracle(*choice, 12));
            let malformed = list.iter().any(|choice| is_malformed(*choice));
            holds(&head, malformed, expected, &format!("{list:?}"));
        }
    }
}

#[test]
fn the_first_acceptable_of_a_list_is_answered() {
    lists(2000);
}
