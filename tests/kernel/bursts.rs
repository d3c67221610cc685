//! Peers that say all that they have to say, the end included, before the server looks.

use std::io::{BufReader, Write};
use std::net::Shutdown;

use super::run::{Client, Subject, connect};
use crate::support::campaign::scale;
use crate::support::{PATIENCE, burst, close, frame, handshake, text};

/// Frames, a Close and FIN in one segment, at a server that was stopped meanwhile: it is told of
/// the end with the first byte.
#[test]
fn all_that_came_before_an_end_is_delivered() {
    const GROUP: usize = 50;
    const FRAMES: usize = 20;
    let peers = scale(500, 10_000);
    let mut subject = Subject::start(&[], &["127.0.0.1:0"]);
    let mut monitor = subject.opens("/").expect("the server answers");
    let before = monitor.counts()["messages"];
    let mut frames: Vec<_> = (0..FRAMES).map(|at| text(format!("message {at}"))).collect();
    frames.push(close(1000, ""));
    let mut said = handshake("/", "").into_bytes();
    said.extend(burst(&frames));
    for _ in 0..peers / GROUP {
        subject.stops();
        let streams: Vec<_> = (0..GROUP)
            .map(|_| {
                let stream = connect(subject.address, PATIENCE).expect("the backlog has room");
                (&stream).write_all(&said).expect("the kernel takes it");
                stream.shutdown(Shutdown::Write).expect("the connection lives");
                stream
            })
            .collect();
        subject.process.signal("CONT");
        for stream in streams {
            let mut client = Client { stream: BufReader::new(stream) };
            client.reads_head().expect("the server answers");
            for frame in &frames {
                client.expects(frame).expect("all that was said is answered");
            }
            client.expects_end().expect("it ends with FIN");
        }
    }
    let asked = before + 1;
    let counts = monitor.is_alone();
    let delivered = counts["messages"] - asked;
    subject.is_alive();
    // Each look at the counts is a message too.
    assert!(delivered >= (peers * FRAMES) as u64, "{delivered} messages");
    println!("figure frames, Close and FIN in one burst: {peers} peers, all of {FRAMES} delivered");
}

/// A megabyte that nobody will read is on its way when a peer is told that it broke a rule: it can
/// read why, and no reset takes that away.
#[test]
fn a_peer_that_goes_on_sending_reads_why_it_was_closed() {
    let peers = scale(50, 1000);
    let subject = Subject::start(&[], &["127.0.0.1:0"]);
    let mut monitor = subject.opens("/").expect("the server answers");
    let descriptors = subject.descriptors();
    for _ in 0..peers {
        let mut client = subject.opens("/").expect("the server answers");
        let mut said = frame(0x83, "no such opcode").masked([9; 4]);
        said.resize(1 << 20, 0xAA);
        let stream = client.stream.get_mut();
        stream.write_all(&said).expect("the server takes it");
        stream.shutdown(Shutdown::Write).expect("the connection lives");
        let why = client.reads().expect("the Close arrives");
        assert_eq!((why.first, &why.payload[..2]), (0x88, &[0x03, 0xEA][..]), "{why:?}");
        client.expects_end().expect("it ends with FIN");
    }
    monitor.is_alone();
    subject.comes_to_descriptors(descriptors);
    println!("figure a megabyte behind a broken rule: {peers} peers, all read why");
}
