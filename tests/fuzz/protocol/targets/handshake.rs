//! A request in chunks, and an application that answers it with a subprotocol and header fields of
//! the fuzzer's choice. The first byte of the input says how the request is cut, the second how
//! many bytes the application's part has, which is lines: a subprotocol, then names and values.

use std::cell::RefCell;

use crate::oracle::drive::{Drive, Wanted};
use crate::oracle::handshake::{Verdict, judge};
use crate::oracle::response::parse;
use crate::oracle::stream::{Limits, hear};
use crate::pieces::pieces;

const WINDOWS: [u8; 2] = [15, 12];

thread_local! {
    static DRIVES: [RefCell<Drive>; 2] = WINDOWS.map(|bits| {
        RefCell::new(Drive::new(|config| config.deflate_client_window_bits = bits))
    });
}

pub fn run(data: &[u8]) {
    let [seed, wanted_len, rest @ ..] = data else { return };
    let (wanted, request) = rest.split_at(rest.len().min((*wanted_len).into()));
    let at = usize::from(seed % 2);
    DRIVES.with(|drives| {
        answers(&mut drives[at].borrow_mut(), *seed, wanted, request, WINDOWS[at]);
    });
}

fn wanted(bytes: &[u8]) -> Wanted {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\n').map(str::to_owned);
    let subprotocol = parts.next().filter(|name| !name.is_empty());
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        headers.push((name, value));
    }
    Wanted { subprotocol, headers }
}

fn answers(drive: &mut Drive, seed: u8, application: &[u8], request: &[u8], client_bits: u8) {
    drive.wanted = wanted(application);
    drive.connects();
    pieces(seed, request).into_iter().for_each(|piece| drive.hears(piece));
    drive.rests();
    let verdict = judge(request, Some(client_bits));
    drive.expects_answer(request, &verdict);
    let Verdict::Accept { rest, deflate, .. } = verdict else { return };
    let limits = Limits {
        message_bytes: 65_536,
        message_frames: 1024,
        deflate: deflate.is_some(),
        window: match deflate {
            None => 0,
            Some(answer) if answer.client_no_context_takeover => 0,
            Some(answer) => 1 << answer.client_max_window_bits.unwrap_or(15),
        },
    };
    let (heard, end) = hear(&request[rest..], limits);
    drive.output = parse(&drive.output).rest;
    drive.expects(&heard, &end);
}
