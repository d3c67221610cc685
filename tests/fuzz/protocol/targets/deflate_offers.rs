//! `Sec-WebSocket-Extensions`: each line of the input is a header line.

use crate::oracle::deflate::{self, Answer};
use pushloop::internals::{negotiate, parse_extensions};

pub fn run(data: &[u8]) {
    // What is no part of a field's value never gets here (RFC 9110 §5.5).
    if data.iter().any(|byte| *byte == 127 || (*byte < 32 && !b"\t\n".contains(byte))) {
        return;
    }
    let lines: Vec<&[u8]> = match data {
        [] => Vec::new(),
        _ => data.split(|byte| *byte == b'\n').map(trim).collect(),
    };
    let parsed = parse_extensions(lines.iter().copied());
    for bits in [9, 12, 15] {
        let ours = parsed.as_ref().map(|offers| negotiate(offers, bits));
        match (ours, deflate::negotiate(&lines, bits)) {
            (Err(_), Err(_)) => {}
            (Ok(ours), Ok(expected)) => {
                let ours = ours.map(|ours| Answer::read(&ours.to_string()).expect("an answer"));
                assert_eq!(ours, expected);
            }
            (ours, expected) => panic!("{ours:?}, and not {expected:?}"),
        }
    }
}

/// A field's value has no space around it.
fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}
