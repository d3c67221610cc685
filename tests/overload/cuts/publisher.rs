//! What publishes: over HTTP, one request after the other.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use pushloop::Position;
use serde_json::Value;

use super::{CLIENTS, END, Kills, PUBLISHERS, TOPICS, Tally, World, text_of};
use crate::support::PATIENCE;
use crate::support::campaign::now;
use crate::support::dice::Dice;
use crate::support::http::read_head;

/// A thousand a second for each publisher.
const PACE: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_millis(200);

/// Publishes to its share of the topics, until all clients have settled; then the last of each.
pub fn publishes(world: &World, nth: usize, seed: u64) -> Tally {
    let mut dice = Dice::new(seed + 1000 + nth as u64);
    let topics: Vec<_> = (0..TOPICS).filter(|topic| topic % PUBLISHERS == nth).collect();
    let mut publisher = Publisher { world, places: [None; TOPICS], connection: None };
    let mut due = now();
    while world.settled.load(SeqCst) < CLIENTS && !world.failed.load(SeqCst) {
        let topic = topics[dice.below(topics.len())];
        let text = text_of(publisher.places[topic].map_or(0, |place| place.offset) + 1);
        publisher.publish(topic, &text);
        // One that was late makes up for it, but for a server that was away.
        due = (due + PACE).max(now() - LATE);
        thread::sleep(due.saturating_duration_since(now()));
    }
    for topic in topics {
        while !publisher.publish(topic, END) {
            assert!(!world.failed.load(SeqCst), "another thread failed");
            thread::sleep(PACE);
        }
    }
    Tally::default()
}

struct Publisher<'a> {
    world: &'a World,
    /// Where its topics are: nobody else publishes to them.
    places: [Option<Position>; TOPICS],
    connection: Option<BufReader<TcpStream>>,
}

impl Publisher<'_> {
    /// False if the server did not take it, or is not there.
    fn publish(&mut self, topic: usize, text: &str) -> bool {
        let was = self.places[topic];
        let Ok((status, told)) = self.posts(topic, text) else {
            assert_ne!(self.world.kills, Kills::Never, "it does not answer");
            self.connection = None;
            if self.world.kills == Kills::Forgets {
                // The next server knows of no place.
                self.places = [None; TOPICS];
                let heads = self.world.heads.iter().enumerate();
                heads
                    .filter(|(other, _)| other % PUBLISHERS == topic % PUBLISHERS)
                    .for_each(|(_, head)| head.store(0, SeqCst));
            }
            return false;
        };
        let next = Position { epoch: 0, offset: was.map_or(0, |was| was.offset) + 1 };
        let place = match status.as_str() {
            "200" => {
                let told: Value = serde_json::from_slice(&told).expect("it is JSON");
                let id = told["id"].as_str().expect("the topic keeps a history");
                let place: Position = id.parse().expect("it is a position");
                assert_eq!(place.offset, next.offset, "topic {topic}");
                place
            }
            // It was taken by the server that was killed.
            "412" if self.world.kills == Kills::Remembers => {
                Position { epoch: was.expect("it asked so").epoch, ..next }
            }
            "503" => return false,
            status => panic!("{status}: {}", told.escape_ascii()),
        };
        self.places[topic] = Some(place);
        self.world.heads[topic].store(place.offset, SeqCst);
        self.world.published.fetch_add(1, SeqCst);
        true
    }

    /// The answer's status and body.
    fn posts(&mut self, topic: usize, text: &str) -> io::Result<(String, Vec<u8>)> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(&self.world.address)?),
        };
        let stream = self.connection.insert(connection);
        let only = self.places[topic].map(|place| format!("If-Match: \"{place}\"\r\n"));
        let (only, len) = (only.unwrap_or_default(), text.len());
        let request = format!(
            "POST /t{topic} HTTP/1.1\r\nHost: localhost\r\n{only}Content-Length: {len}\r\n\r\n{text}"
        );
        stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        stream.get_mut().write_all(request.as_bytes())?;
        let head = String::from_utf8(read_head(stream)?).expect("the head is ASCII");
        let (_, length) = head.split_once("Content-Length: ").expect("it says how long it is");
        let length = length.split("\r\n").next().and_then(|it| it.parse().ok());
        let mut body = vec![0; length.expect("a number")];
        stream.read_exact(&mut body)?;
        Ok((head[9..12].to_owned(), body))
    }
}
