//! The market board, `examples/feed/`: all who read have every update, who does not has the latest.

mod crowd;
#[path = "../../examples/feed/market.rs"]
mod market;
#[path = "../../examples/feed/server.rs"]
mod server;
mod work;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::clock;
use crate::page::{self, Page};
use crate::support::campaign::scale;
use crate::support::process::Process;
use crate::support::{binary, burst, continuation, frame, text};
use crowd::Crowd;

const PAGE: Page = Page { name: "feed", port: 0, html: "", takes: &[] };

fn serve() -> (Process, String) {
    let mut feed = Process::application("feed");
    let address = feed.address("http://");
    (feed, address)
}

#[test]
fn a_late_joiner_gets_the_board_and_then_every_change() {
    let (_feed, address) = serve();
    let mut crowd = Crowd::new(&address);
    crowd.join(1);
    crowd.run(|crowd| crowd.onlookers[0].in_step == 2);
    crowd.join(1);
    crowd.run(|crowd| crowd.onlookers[1].in_step == 2);
    for onlooker in &crowd.onlookers {
        assert_eq!(onlooker.prices.len(), 240);
        assert_eq!((onlooker.out_of_step, onlooker.skipped), (0, 0));
    }
    let [early, late] = &crowd.onlookers[..] else { panic!("there are two") };
    assert!(late.updates > 0 && early.updates > late.updates);
}

/// In a campaign with as many as make the server work; what it prints then is in `docs/EXAMPLES.md`.
#[test]
fn one_that_reads_nothing_gets_the_latest_only_and_all_others_everything() {
    let (clients, time) = scale((40, Duration::from_secs(1)), (500, Duration::from_secs(5)));
    let (_feed, address) = serve();
    let mut crowd = Crowd::new(&address);
    crowd.join(clients);
    crowd.run(|crowd| crowd.onlookers.iter().all(|onlooker| onlooker.in_step > 0));
    let without = crowd.age_of_updates(time);
    assert_eq!(crowd.conflated, 0, "all were quick");

    crowd.stalled = Some(0);
    // Some 600 KB are for it meanwhile, and all buffers on its way hold less than 300.
    let before = crowd.onlookers[1].updates;
    crowd.run(|crowd| crowd.onlookers[1].updates >= before + 20_000);
    let with = crowd.age_of_updates(time);
    assert_eq!(crowd.onlookers.len(), clients, "nobody was closed");

    assert_eq!(crowd.conflated, 0, "what it misses is known when it reads on");
    crowd.stalled = None;
    crowd.read(0);
    // First comes what the buffers held, seconds of it and all in step.
    crowd.run(|crowd| crowd.onlookers[0].skipped > 0);
    // Caught up, and then once more: what the server counts by then is final.
    let caught_up = crowd.onlookers[0].in_step;
    crowd.run(|crowd| crowd.onlookers[0].in_step > caught_up + 1);
    // On a busy machine one may lag for a moment: then topics have no order between them, and nothing is missing.
    for onlooker in &crowd.onlookers[1..] {
        assert_eq!((onlooker.seconds_missed, onlooker.skipped), (0, 0), "held back by another");
    }
    let slow = &crowd.onlookers[0];
    assert_eq!(slow.skipped + slow.seconds_missed, crowd.conflated, "and no more was given up");
    println!("figure feed, {clients} clients, age of an update, p99: {without} us");
    println!("figure feed, {clients} clients and one of them reads nothing, p99: {with} us");
}

/// What a hostile client sends after its handshake, and the Close that it gets.
fn offences() -> Vec<(Vec<u8>, u16, &'static str)> {
    let say = |what: &str| burst(&[text(what)]);
    let order = "an order is";
    vec![
        (say("steal AURE"), 1008, order),
        (say("buy NOPE"), 1008, order),
        (say("buy"), 1008, order),
        (say("buy  AURE"), 1008, order),
        (say("BUY AURE"), 1008, order),
        (say("buy AURE\0"), 1008, order),
        (say("[0,1,2,3]"), 1008, order),
        (say(""), 1008, order),
        (burst(&[binary("buy AURE")]), 1008, order),
        (burst(&vec![text("sell AURF"); 11]), 1008, "more than 10 orders in a second"),
        (say(&"x".repeat(33)), 1009, ""),
        (burst(&[text("buy AURE AURE AURE ").open(), continuation("AURE AURE AURE")]), 1009, ""),
        (burst(&[frame(0x81, [0xFF])]), 1007, ""),
        (burst(&[frame(0x83, "buy AURE")]), 1002, ""),
        (text("buy AURE").unmasked(), 1002, ""),
    ]
}

#[test]
fn a_hostile_client_is_told_why_it_is_refused_and_harms_nobody() {
    let (_feed, address) = serve();
    let mut crowd = Crowd::new(&address);
    crowd.join(3);
    for (bytes, code, reason) in offences() {
        let hostile = crowd.onlookers.len();
        crowd.join(1);
        crowd.onlookers[hostile].say(&bytes);
        crowd.run(|crowd| crowd.onlookers[hostile].closed.is_some());
        let (got, why) = crowd.onlookers.pop().expect("it is there").closed.expect("it was closed");
        assert_eq!(got, code, "{}: {why}", bytes.escape_ascii());
        assert!(why.starts_with(reason) && !why.is_empty(), "{}: {why}", bytes.escape_ascii());
    }
    // Not a WebSocket at all, half a request, and one that is gone at once.
    let mut nonsense = TcpStream::connect(&address).expect("it accepts");
    nonsense.write_all(b"\x16\x03\x01\x02\0\x01\0\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    nonsense.read_to_string(&mut answer).expect("it answers and ends");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut half = TcpStream::connect(&address).expect("it accepts");
    half.write_all(b"GET / HTTP/1.1\r\nHo").expect("it reads");
    drop(TcpStream::connect(&address).expect("it accepts"));

    // An honest order still comes through to all, and they are in step.
    crowd.onlookers[0].say(&burst(&[text("buy AURE")]));
    crowd.run(|crowd| {
        crowd
            .onlookers
            .iter()
            .all(|onlooker| onlooker.orders.last().is_some_and(|order| order == "buy 0"))
    });
    let before: Vec<_> = crowd.onlookers.iter().map(|onlooker| onlooker.in_step).collect();
    crowd.run(|crowd| {
        crowd.onlookers.iter().zip(&before).all(|(onlooker, before)| onlooker.in_step > before + 1)
    });
    for onlooker in &crowd.onlookers {
        // The one who gave too many orders had its ten.
        assert_eq!(onlooker.orders.len(), 11, "{:?}", onlooker.orders);
        assert_eq!((onlooker.out_of_step, onlooker.skipped), (0, 0));
    }
}
