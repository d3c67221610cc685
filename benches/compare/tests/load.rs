//! `load` as a program: what it says of servers that do one thing wrong, and of one that does not.

mod misbehaving;

use std::process::Command;

use misbehaving::{Fault, STALL, serve};
use serde_json::Value;

const KINDS: [&str; 3] = ["echo", "fan", "fan --publishers all"];

/// Runs `load KIND` for a moment against such a server: its exit status, what it says, and its result.
fn load(kind: &str, fault: Fault) -> (Option<i32>, String, Value) {
    let path = if kind.starts_with("fan") { "fan" } else { "echo" };
    let url = format!("ws://{}/{path}", serve(fault));
    let mut words = kind.split(' ');
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args([words.next().expect("a mode"), &url])
        .args(words)
        .args(["--connections", "3", "--in-flight", "4", "--seconds", "0.2", "--warmup", "0.1"])
        .arg("--sleep")
        .output()
        .expect("load runs");
    let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    (output.status.code(), said, serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn passes(kind: &str, fault: Fault) -> Value {
    let (status, said, result) = load(kind, fault);
    assert_eq!((status, said.as_str(), &result["errors"]), (Some(0), "", &0.into()), "{kind}");
    result
}

/// It complains in these words; gives how many errors there were, if there is a result.
fn fails(kind: &str, fault: Fault, complaint: &str) -> Option<u64> {
    let (status, said, result) = load(kind, fault);
    assert_eq!(status, Some(1), "{fault:?}, {kind}: {said}");
    assert!(said.contains(complaint), "{fault:?}, {kind}: {said}");
    result["errors"].as_u64()
}

#[test]
fn a_server_that_does_nothing_wrong_passes() {
    for kind in KINDS {
        for fault in [Fault::None, Fault::Ping] {
            let result = passes(kind, fault);
            assert!(result["messages"].as_f64() > Some(100.0), "{kind}: {result}");
        }
    }
}

#[test]
fn whatever_is_wrong_once_on_one_connection_is_an_error() {
    for (fault, complaint) in [
        (Fault::WrongByte, "connection 1: message 5: expected"),
        (Fault::Swapped, "connection 1: message 5: expected"),
        (Fault::Missing, "connection 1: message 5: expected"),
        (Fault::Doubled, "connection 1: message 6: expected"),
        (Fault::Late, "connection 1: message "),
        (Fault::Close, "connection 1: the server closed: 1011 no"),
        (Fault::End, "connection 1: "),
    ] {
        for kind in KINDS {
            // Among what others publish a gap shows when the same one publishes again.
            let (start, _) = complaint.split_at(complaint.find(" 5").unwrap_or(complaint.len()));
            let complaint = if kind == KINDS[2] { start } else { complaint };
            assert!(fails(kind, fault, complaint) >= Some(1), "{fault:?}, {kind}");
        }
    }
}

#[test]
fn what_does_not_come_is_missed() {
    for kind in ["echo", "fan"] {
        let complaint = "load: connection 1: 9 messages were due, 5 came";
        assert_eq!(fails(kind, Fault::Silent, complaint), Some(4), "{kind}");
    }
}

#[test]
fn a_schedule_does_not_hide_a_stall() {
    let stall_us = STALL.as_micros() as f64;
    let scheduled = passes("echo --rate 1000", Fault::Stall);
    // Many messages wait, each for what is left of the stall when it is due.
    assert!(scheduled["p99_us"].as_f64() > Some(stall_us / 2.0), "{scheduled}");
    assert!(scheduled["max_us"].as_f64() > Some(stall_us * 0.6), "{scheduled}");
    assert!(scheduled["p50_us"].as_f64() <= scheduled["max_us"].as_f64(), "{scheduled}");
}

#[test]
fn connecting_again_and_again_is_checked_too() {
    assert!(passes("connect", Fault::None)["connections"].as_f64() > Some(10.0));
    for (fault, complaint) in [(Fault::Accept, "Accept is wrong"), (Fault::Refused, "503")] {
        assert_eq!(fails("connect", fault, complaint), Some(1));
    }
}

#[test]
fn what_idle_connections_take_is_found() {
    let kind = format!("idle --pid {}", std::process::id());
    let found = passes(&kind, Fault::None);
    assert_eq!(found["connections"], 3);
    assert!(found["server_bytes_per_connection"].is_number(), "{found}");
    assert_eq!(fails(&kind, Fault::Ended, "the server ended a connection"), Some(1));
    assert_eq!(fails(&kind, Fault::Noisy, "[6e, 6f] came"), Some(1));
}

#[test]
fn a_handshake_that_is_wrong_ends_the_run() {
    for (fault, complaint) in [
        (Fault::Accept, "load: Sec-WebSocket-Accept is wrong"),
        (Fault::Refused, "load: answered with HTTP/1.1 503 No"),
    ] {
        for kind in ["echo", &format!("idle --pid {}", std::process::id())] {
            assert_eq!(fails(kind, fault, complaint), None);
        }
    }
}
