//! `load` as a program: what it says of servers that do one thing wrong, and of one that does not.

mod misbehaving;

use std::process::{Command, Output};

use misbehaving::{Fault, STALL, serve};
use serde_json::Value;

const KINDS: [&str; 3] = ["echo", "fan", "fan --publishers all"];

/// Runs `load KIND` for a moment against such a server.
fn load(kind: &str, fault: Fault) -> Output {
    let path = if kind.starts_with("fan") { "fan" } else { "echo" };
    let url = format!("ws://{}/{path}", serve(fault));
    let mut words = kind.split(' ');
    Command::new(env!("CARGO_BIN_EXE_load"))
        .args([words.next().expect("a mode"), &url])
        .args(words)
        .args(["--connections", "3", "--in-flight", "4", "--seconds", "0.2", "--warmup", "0.1"])
        .args(["--sleep"])
        .output()
        .expect("load runs")
}

fn result(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a result is there")
}

#[test]
fn a_server_that_does_nothing_wrong_passes() {
    for kind in KINDS {
        for fault in [Fault::None, Fault::Ping] {
            let output = load(kind, fault);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{kind}: {said}");
            let result = result(&output);
            assert_eq!(result["errors"], 0);
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
            let output = load(kind, fault);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{fault:?}, {kind}: {said}");
            assert!(result(&output)["errors"].as_u64() >= Some(1), "{fault:?}, {kind}");
            // Among what others publish a gap shows when the same one publishes again.
            let (start, _) = complaint.split_at(complaint.find(" 5").unwrap_or(complaint.len()));
            let complaint = if kind == KINDS[2] { start } else { complaint };
            assert!(said.contains(complaint), "{fault:?}, {kind}: {said}");
        }
    }
}

#[test]
fn what_does_not_come_is_missed() {
    for kind in ["echo", "fan"] {
        let output = load(kind, Fault::Silent);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &result(&output)["errors"]), (Some(1), &4.into()));
        assert_eq!(said, "load: connection 1: 9 messages were due, 5 came\n", "{kind}");
    }
}

#[test]
fn a_schedule_does_not_hide_a_stall() {
    let stall_us = STALL.as_micros() as f64;
    let output = load("echo --rate 1000", Fault::Stall);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let scheduled = result(&output);
    // Many messages wait, each for what is left of the stall when it is due.
    assert!(scheduled["p99_us"].as_f64() > Some(stall_us / 2.0), "{scheduled}");
    assert!(scheduled["max_us"].as_f64() > Some(stall_us * 0.6), "{scheduled}");
    assert!(scheduled["p50_us"].as_f64() <= scheduled["max_us"].as_f64(), "{scheduled}");
    assert_eq!(scheduled["unsent"], 0, "{scheduled}");
}

#[test]
fn connecting_again_and_again_is_checked_too() {
    let output = load("connect", Fault::None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(result(&output)["connections"].as_f64() > Some(10.0));
    for (fault, complaint) in [(Fault::Accept, "Accept is wrong"), (Fault::Refused, "503")] {
        let output = load("connect", fault);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &result(&output)["errors"]), (Some(1), &1.into()));
        assert!(said.contains(complaint), "{said}");
    }
}

#[test]
fn what_idle_connections_take_is_found() {
    let kind = format!("idle --pid {}", std::process::id());
    let output = load(&kind, Fault::None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = result(&output);
    assert_eq!((&found["connections"], &found["errors"]), (&3.into(), &0.into()));
    assert!(found["server_bytes_per_connection"].is_number(), "{found}");
    for (fault, complaint) in
        [(Fault::Ended, "ended a connection"), (Fault::Noisy, "[6e, 6f] came")]
    {
        let output = load(&kind, fault);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &result(&output)["errors"]), (Some(1), &1.into()));
        assert!(said.contains(complaint), "{said}");
    }
}

#[test]
fn a_handshake_that_is_wrong_ends_the_run() {
    for (fault, complaint) in [
        (Fault::Accept, "load: Sec-WebSocket-Accept is wrong"),
        (Fault::Refused, "load: answered with HTTP/1.1 503 No"),
    ] {
        for kind in ["echo".into(), format!("idle --pid {}", std::process::id())] {
            let output = load(&kind, fault);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), said.trim_end()), (Some(1), complaint));
        }
    }
}
