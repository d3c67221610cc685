//! A peer that resets its connection after any byte of all that it has to say.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;

use super::run::{Client, Subject, connect};
use super::trace::Trace;
use crate::support::campaign::scale;
use crate::support::{PATIENCE, close, continuation, handshake, ping, text};

/// What a peer says, and how many frames come back when it has said so much: a message, one in
/// fragments with a Ping between, publications to its own topic, the Close. 200 bytes and more.
fn script() -> Vec<(Vec<u8>, usize)> {
    let key = [1, 2, 3, 4];
    vec![
        (handshake("/t", "").into_bytes(), 0),
        (text("one").masked(key), 1),
        (text("tw").open().masked(key), 0),
        (ping("?").masked(key), 1),
        (continuation("o").masked(key), 1),
        (text("three or more").masked(key), 1),
        (close(1000, "").masked(key), 1),
    ]
}

/// How a peer comes to its reset.
#[derive(Clone, Copy)]
enum Manner {
    /// All in one segment, and the reset behind it.
    AtOnce,
    /// Byte by byte, each in a segment of its own.
    ByteByByte,
    /// It hears what it is due before it says more.
    Listening,
}

fn resets_after(subject: &Subject, bytes: usize, manner: Manner) {
    let stream = connect(subject.address, PATIENCE).expect("the server listens");
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.expect("a socket can be closed with a reset");
    let script = script();
    match manner {
        Manner::AtOnce => {
            let all: Vec<u8> = script.into_iter().flat_map(|(bytes, _)| bytes).collect();
            (&stream).write_all(&all[..bytes]).expect("the server takes it");
        }
        Manner::ByteByByte => {
            let all = script.into_iter().flat_map(|(bytes, _)| bytes);
            for byte in all.take(bytes) {
                (&stream).write_all(&[byte]).expect("the server takes it");
            }
        }
        Manner::Listening => listens(stream, script, bytes),
    }
}

fn listens(stream: TcpStream, script: Vec<(Vec<u8>, usize)>, mut bytes: usize) {
    let mut client = Client { stream: BufReader::new(stream) };
    for (at, (said, frames)) in script.into_iter().enumerate() {
        let part = said.len().min(bytes);
        client.stream.get_mut().write_all(&said[..part]).expect("the server takes it");
        bytes -= part;
        if part < said.len() {
            return;
        }
        if at == 0 {
            client.reads_head().expect("the server answers");
        }
        (0..frames).for_each(|_| _ = client.reads().expect("the server answers"));
    }
}

/// Resets that strace saw, and that none was followed by anything but the connection's end.
fn resets_in(trace: &str) -> usize {
    let mut dead: HashMap<&str, usize> = HashMap::new();
    let mut resets = 0;
    for line in trace.lines() {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
        let fd = rest.split([',', ')', ' ']).next().unwrap_or_default();
        match name {
            "close" => _ = dead.remove(fd),
            "recvfrom" | "sendto" => {
                assert!(!dead.contains_key(fd), "a call on a connection that was reset: {line}");
                if line.contains("ECONNRESET") || line.contains("EPIPE") {
                    resets += 1;
                    dead.insert(fd, resets);
                }
            }
            _ => {}
        }
    }
    resets
}

#[test]
fn a_reset_after_any_byte_ends_its_connection_once_and_leaves_nothing() {
    const POSITIONS: usize = 200;
    let length: usize = script().iter().map(|(bytes, _)| bytes.len()).sum();
    assert!(length >= POSITIONS, "the script has {length} bytes");
    let rounds = scale(3, 50);
    let trace = Trace::new("resets");
    let tool = trace.tool(&["--seccomp-bpf", "-e", "trace=recvfrom,sendto,close,shutdown"]);
    let mut subject = Subject::start(&tool, &["127.0.0.1:0"]);
    let mut monitor = subject.opens("/").expect("the server answers");
    let descriptors = subject.descriptors();
    let manners = [Manner::AtOnce, Manner::ByteByByte, Manner::Listening];
    for at in 0..POSITIONS {
        // The first bytes are a request's: what follows has more to lose.
        let bytes = length - POSITIONS + 1 + at;
        for round in 0..rounds {
            resets_after(&subject, bytes, manners[round % manners.len()]);
        }
        monitor.is_alone();
        subject.comes_to_descriptors(descriptors);
    }
    subject.is_alive();
    subject.process.kills();
    let resets = resets_in(&trace.text());
    assert!(resets > POSITIONS, "only {resets} resets were seen");
    let runs = POSITIONS * rounds;
    println!("figure resets at every script position: {runs} runs, {resets} seen as one, 0 leaks");
}
