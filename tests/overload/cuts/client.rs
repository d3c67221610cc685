//! What subscribes: over a WebSocket with envelopes, or as an event stream, and is cut off again and again.

use std::collections::VecDeque;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::iter::Sum;
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use pushloop::Position;
use serde_json::Value;
use socket2::SockRef;

use super::{END, Kills, TOPICS, World, text_of};
use crate::support::dice::Dice;
use crate::support::events::Event;
use crate::support::http::read_head;
use crate::support::{Frame, PATIENCE, handshake};

/// What became of subscribers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Publications that came.
    pub heard: u64,
    /// Subscriptions that were told that they are recovered, and what was published at the least while they
    /// were away.
    pub recovered: u64,
    pub missed: u64,
    /// Those that were told that they are not.
    pub lost: u64,
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            heard: sum.heard + one.heard,
            recovered: sum.recovered + one.recovered,
            missed: sum.missed + one.missed,
            lost: sum.lost + one.lost,
        })
    }
}

/// One topic of a client.
#[derive(Debug)]
struct Subscription {
    topic: usize,
    /// The last place that it was told of.
    place: Option<Position>,
    /// How much had been published when this connection was made.
    head: u64,
    /// It was told on this connection what it begins with.
    has_begun: bool,
    has_ended: bool,
}

/// When a connection is cut.
#[derive(Clone, Copy)]
enum Until {
    /// After so many bytes.
    Bytes(u64),
    /// After so many bytes of what comes once it has caught up.
    Live(u64),
    /// Not before each topic has ended.
    End,
}

pub struct Client<'a> {
    world: &'a World,
    is_socket: bool,
    subscriptions: Vec<Subscription>,
    has_settled: bool,
    dice: Dice,
    /// Connections that it does not read any more.
    left: VecDeque<TcpStream>,
    tally: Tally,
}

impl<'a> Client<'a> {
    /// Half of them are event streams of a topic, and half are WebSockets of four.
    pub fn new(world: &'a World, nth: usize, mut dice: Dice) -> Self {
        let is_socket = nth.is_multiple_of(2);
        let first = dice.below(TOPICS);
        let topics = (0..if is_socket { 4 } else { 1 }).map(|nth| (first + 3 * nth) % TOPICS);
        let subscription = |topic| Subscription {
            topic,
            place: None,
            head: 0,
            has_begun: false,
            has_ended: false,
        };
        Self {
            world,
            is_socket,
            subscriptions: topics.map(subscription).collect(),
            has_settled: false,
            dice,
            left: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Subscribes, is cut off, and comes back, until each topic has ended.
    pub fn runs(mut self) -> Tally {
        while !self.has_ended() {
            let is_calm = self.world.is_calm.load(SeqCst);
            if !is_calm {
                self.world.lets_pass(self.dice.below(200) as u64);
            }
            let Ok(stream) = TcpStream::connect(&self.world.address) else {
                assert_ne!(self.world.kills, Kills::Never, "nobody listens");
                assert!(!self.world.failed.load(SeqCst), "another thread failed");
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            let until = if is_calm { Until::End } else { self.until() };
            if let Err(end) = self.subscribes(&stream, until) {
                let hangs = matches!(end.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!hangs, "nothing comes: {:?}", self.subscriptions);
            }
            if !is_calm {
                self.cuts(stream);
                self.world.cuts.fetch_add(1, SeqCst);
            }
        }
        self.tally
    }

    fn has_ended(&self) -> bool {
        self.subscriptions.iter().all(|it| it.has_ended)
    }

    /// One in four is cut while it is told what was missed, or before.
    fn until(&mut self) -> Until {
        let most = if self.is_socket { 40_000 } else { 10_000 };
        match self.dice.one_in(4) {
            true => Until::Bytes(self.dice.below(1000) as u64),
            false => Until::Live(self.dice.below(most) as u64),
        }
    }

    fn cuts(&mut self, stream: TcpStream) {
        match self.dice.below(4) {
            // RST.
            0 => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is TCP"),
            // FIN, or what the kernel makes of a socket that has not been read to its end.
            1 => drop(stream),
            kind => {
                // FIN alone, or not a word more.
                if kind == 2 {
                    // The server may be gone.
                    let _ = stream.shutdown(Shutdown::Write);
                }
                self.left.push_back(stream);
                if self.left.len() > 3 {
                    self.left.pop_front();
                }
            }
        }
    }

    /// Subscribes from where it was, and reads.
    fn subscribes(&mut self, mut stream: &TcpStream, until: Until) -> io::Result<()> {
        for it in &mut self.subscriptions {
            it.head = self.world.heads[it.topic].load(SeqCst);
            it.has_begun = false;
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = self.request();
        stream.write_all(request.as_bytes())?;
        let bytes = match until {
            Until::Bytes(bytes) => bytes,
            Until::Live(_) | Until::End => u64::MAX,
        };
        let mut stream = BufReader::new(stream.take(bytes));
        let head = String::from_utf8(read_head(&mut stream)?).expect("the head is ASCII");
        let status = if self.is_socket { "101" } else { "200" };
        assert_eq!(&head[9..12], status, "{request}{head}");
        while !self.has_ended() {
            let (told, data) = match self.is_socket {
                true => match Frame::read(&mut stream)? {
                    Some(Frame { first: 0x81, payload }) => envelope(&payload),
                    // A Ping: it does not stay for so long that an answer is asked for.
                    Some(Frame { first: 0x89, .. }) => continue,
                    Some(Frame { first: 0x88, .. }) | None => return Ok(()),
                    Some(frame) => panic!("{frame:?}"),
                },
                false => event(Event::read(&mut stream)?, self.subscriptions[0].topic),
            };
            self.hears(&told, data);
            let is_live = |it: &Subscription| {
                it.has_begun && it.place.is_some_and(|place| place.offset >= it.head)
            };
            if !self.subscriptions.iter().all(is_live) {
                continue;
            }
            match until {
                Until::Live(bytes) if stream.get_ref().limit() > bytes => {
                    stream.get_mut().set_limit(bytes);
                }
                Until::End if !mem::replace(&mut self.has_settled, true) => {
                    self.world.settled.fetch_add(1, SeqCst);
                }
                Until::Bytes(_) | Until::Live(_) | Until::End => {}
            }
        }
        Ok(())
    }

    fn request(&mut self) -> String {
        let places = self.subscriptions.iter().map(|it| it.place);
        let places: Vec<_> =
            places.map(|it| it.map_or(String::new(), |it| it.to_string())).collect();
        let topics: Vec<_> = self.subscriptions.iter().map(|it| format!("t{}", it.topic)).collect();
        let (topics, places) = (topics.join(","), places.join(","));
        if self.is_socket {
            return handshake(&format!("/{topics}?envelope=json&after={places}"), "");
        }
        let (query, field) = match self.dice.one_in(2) {
            true => (format!("?after={places}"), String::new()),
            false => (String::new(), format!("Last-Event-ID: {places}\r\n")),
        };
        format!(
            "GET /{topics}{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{field}\r\n"
        )
    }

    /// What a topic's subscription begins with, or without `recovered`, one of its publications.
    fn hears(&mut self, told: &Value, data: Option<String>) {
        let topic = told["topic"].as_str().and_then(|it| it.strip_prefix('t')?.parse().ok());
        let nth = self.subscriptions.iter().position(|it| Some(it.topic) == topic);
        let nth = nth.unwrap_or_else(|| panic!("it does not subscribe to that: {told}"));
        let id = told["id"].as_str().and_then(|id| id.parse().ok()).expect("it has an id");
        match data {
            None => self.begins(nth, id, told["recovered"].as_bool()),
            Some(data) => self.takes(nth, id, &data),
        }
    }

    fn begins(&mut self, nth: usize, id: Position, recovered: Option<bool>) {
        let (it, tally) = (&mut self.subscriptions[nth], &mut self.tally);
        assert!(!it.has_begun, "it is told twice: {it:?}");
        match (it.place, recovered) {
            (None, None) => it.head = 0,
            (Some(place), Some(true)) => {
                assert_eq!(id, place, "it does not go on from where it was");
                tally.recovered += 1;
                tally.missed += it.head.saturating_sub(place.offset);
            }
            (Some(place), Some(false)) => {
                let missed = id.offset.saturating_sub(place.offset);
                let is_lost = match id.epoch == place.epoch {
                    true => missed > self.world.keeps,
                    false => self.world.kills == Kills::Forgets,
                };
                assert!(is_lost, "what is kept is called lost: {place} to {id}");
                tally.lost += 1;
                // There is nothing to catch up with.
                it.head = 0;
            }
            other => panic!("it asked for this, and was told that: {other:?}"),
        }
        (it.place, it.has_begun) = (Some(id), true);
    }

    fn takes(&mut self, nth: usize, id: Position, data: &str) {
        let it = &mut self.subscriptions[nth];
        assert!(it.has_begun, "it is not told what it begins with: {it:?}");
        let due = it.place.map(|place| Position { offset: place.offset + 1, ..place });
        assert_eq!(Some(id), due, "a gap, or something double or out of order: {it:?}");
        it.has_ended = data == END;
        assert!(it.has_ended || data == text_of(id.offset), "{id} is another text: {data:?}");
        it.place = Some(id);
        self.tally.heard += 1;
    }
}

/// An envelope, and the text that it has.
fn envelope(payload: &[u8]) -> (Value, Option<String>) {
    let told: Value = serde_json::from_slice(payload).expect("it is JSON");
    let data = told["data"].as_str().map(ToOwned::to_owned);
    (told, data)
}

/// The same for an event of a topic.
fn event(event: Event, topic: usize) -> (Value, Option<String>) {
    if event.name == "subscribed" {
        return (serde_json::from_str(&event.data).expect("it is JSON"), None);
    }
    assert_eq!(event.name, "message");
    (serde_json::json!({ "topic": format!("t{topic}"), "id": event.id }), Some(event.data))
}
