//! What publishes: over HTTP, one request after the other.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use pushloop::Position;
use serde_json::Value;

use super::{CLIENTS, END, PUBLISHERS, TOPICS, Tally, World, text_of};
use crate::support::PATIENCE;
use crate::support::campaign::now;
use crate::support::dice::Dice;
use crate::support::http::read_head;

/// A thousand a second for each publisher.
const PACE: Duration = Duration::from_millis(1);

/// Publishes to its share of the topics, until all clients have settled; then the last of each.
pub fn publishes(world: &World, nth: usize, seed: u64) -> Tally {
    let mut dice = Dice::new(seed + 1000 + nth as u64);
    let topics: Vec<_> = (0..TOPICS).filter(|topic| topic % PUBLISHERS == nth).collect();
    let mut connection = None;
    let mut due = now();
    while world.settled.load(SeqCst) < CLIENTS && !world.failed.load(SeqCst) {
        let topic = topics[dice.below(topics.len())];
        let text = text_of(world.heads[topic].load(SeqCst) + 1);
        publish(world, &mut connection, &topics, topic, &text);
        due = (due + PACE).max(now());
        thread::sleep(due - now());
    }
    for topic in &topics {
        while !publish(world, &mut connection, &topics, *topic, END) {
            assert!(!world.failed.load(SeqCst), "another thread failed");
            thread::sleep(PACE);
        }
    }
    Tally::default()
}

/// False if the server did not take it, or is not there.
fn publish(
    world: &World,
    connection: &mut Option<BufReader<TcpStream>>,
    topics: &[usize],
    topic: usize,
    text: &str,
) -> bool {
    let stream = match connection.take() {
        Some(stream) => Ok(stream),
        None => TcpStream::connect(&world.address).map(BufReader::new),
    };
    let answered = stream.and_then(|mut stream| {
        let answer = posts(&mut stream, topic, text)?;
        Ok((stream, answer))
    });
    let Ok((stream, position)) = answered else {
        // The server was killed, and whether it had taken this does not matter: the next one knows nothing.
        assert!(world.kills, "{answered:?}");
        topics.iter().for_each(|topic| world.heads[*topic].store(0, SeqCst));
        return false;
    };
    *connection = Some(stream);
    let Some(position) = position else { return false };
    let head = world.heads[topic].fetch_add(1, SeqCst) + 1;
    assert_eq!(position.offset, head, "topic {topic}");
    world.published.fetch_add(1, SeqCst);
    true
}

/// The place behind it; `None` if the server has no room for it now.
fn posts(
    stream: &mut BufReader<TcpStream>,
    topic: usize,
    text: &str,
) -> io::Result<Option<Position>> {
    let len = text.len();
    let head =
        format!("POST /t{topic} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n");
    stream.get_ref().set_read_timeout(Some(PATIENCE))?;
    stream.get_mut().write_all([head.as_bytes(), text.as_bytes()].concat().as_slice())?;
    let head = String::from_utf8(read_head(stream)?).expect("the head is ASCII");
    let length = head.split_once("Content-Length: ").and_then(|(_, it)| it.split("\r\n").next());
    let mut body = vec![0; length.and_then(|it| it.parse().ok()).expect("it says how long it is")];
    stream.read_exact(&mut body)?;
    match &head[9..12] {
        "200" => {
            let told: Value = serde_json::from_slice(&body).expect("it is JSON");
            let id = told["id"].as_str().expect("the topic keeps a history");
            Ok(Some(id.parse().expect("it is a position")))
        }
        "503" => Ok(None),
        _ => panic!("{head}"),
    }
}
