//! With the feature `log`, the program's own log hears of what goes wrong.

use std::cell::RefCell;
use std::sync::Once;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use pushloop::{ConnId, Handler, Hub, Message};

use crate::support::net::Sim;
use crate::support::{config, get, handshake, text};

thread_local! {
    /// What the test of this thread has to say, if it asked for it.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// The loop of a test runs on the test's own thread, and so do its reports.
struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(format!("{} {} {}", record.level(), record.target(), record.args()));
            }
        });
    }

    fn flush(&self) {}
}

fn capture() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&Capture).expect("no other test has a logger");
        log::set_max_level(LevelFilter::Debug);
    });
    LINES.set(Some(Vec::new()));
}

/// What was said since the last time.
fn said() -> Vec<String> {
    LINES.replace(Some(Vec::new())).expect("the test asked for it")
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_flood_of_refusals_is_one_line_in_a_second_and_none_is_left_out() {
    capture();
    let mut sim = Sim::new(config(|limits| limits.connections_max = 1));
    let (_, _wire) = sim.opens();
    let line = |grown| {
        format!(
            "WARN pushloop connections_refused grew by {grown}: Connections turned away unheard"
        )
    };
    assert_eq!(said(), [""; 0]);
    sim.server.net().passes(SECOND);
    for _ in 0..5 {
        sim.server.net().connects();
        sim.turn();
    }
    sim.turn();
    let told = said();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(&line(1)), "{told:?}");
    sim.server.net().passes(SECOND);
    sim.turn();
    sim.turn();
    let told = said();
    assert!(told.len() == 1 && told[0].starts_with(&line(4)), "{told:?}");
    sim.server.net().passes(10 * SECOND);
    sim.turn();
    sim.turn();
    // What the last second brought is told at the end.
    sim.server.net().connects();
    sim.turn();
    sim.turn();
    assert_eq!(said(), [""; 0]);
    drop(sim);
    let told = said();
    assert!(told.len() == 1 && told[0].starts_with(&line(1)), "{told:?}");
}

#[test]
fn a_request_that_the_server_refuses_is_told_of_for_those_who_debug() {
    capture();
    let mut sim = Sim::new(config(|_| {}));
    let wire = sim.server.net().connects();
    wire.sends_bytes(get("/").replace("HTTP/1.1", "HTTP/9.9"));
    sim.rests();
    let told = said();
    let [line] = &told[..] else { panic!("{told:?}") };
    assert!(line.starts_with("DEBUG pushloop a peer got 505: "), "{line}");
    assert!(String::from_utf8_lossy(&wire.reads_bytes()).contains(&line[31..]), "{line}");
}

struct Panics;

impl Handler for Panics {
    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {
        panic!("over a message");
    }
}

/// At once where it was quiet before: a server may have nothing to do for long afterwards.
#[test]
fn a_panic_and_a_limit_are_warned_of_before_the_loop_sleeps() {
    capture();
    let mut sim = Sim::new(config(|limits| limits.message_bytes_max = 10));
    let [one, two] = [(); 2].map(|()| {
        let wire = sim.server.net().connects();
        wire.sends_bytes(handshake("/", ""));
        wire
    });
    let turns = |sim: &mut Sim| {
        for _ in 0..6 {
            sim.server.turn(&mut Panics, Some(Duration::from_nanos(1))).expect("the poll works");
        }
    };
    turns(&mut sim);
    sim.server.net().passes(SECOND);
    one.sends(text("x"));
    two.sends(text("x".repeat(11)));
    turns(&mut sim);
    let told = said();
    let [protocol, panics] = &told[..] else { panic!("{told:?}") };
    assert!(protocol.starts_with("WARN pushloop closed_protocol grew by 1: "), "{told:?}");
    assert!(panics.starts_with("WARN pushloop handler_panics grew by 1: "), "{told:?}");
}
