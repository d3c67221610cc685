//! Onlookers of the market board, any number of them in one thread. Each keeps its board from what
//! it is sent and compares it with the server's sums. They read frames by themselves.

use std::{
    io::{ErrorKind, Read, Write},
    time::{Duration, Instant},
};

use pushloop::mio::{Events, Interest, Poll, Token, net::TcpStream};
use serde_json::Value;

/// A generous end for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const HANDSHAKE: &[u8] = b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub struct Onlooker {
    stream: TcpStream,
    /// What came and is not yet a whole frame.
    rest: Vec<u8>,
    greeted: bool,
    /// Price and number of updates of each symbol.
    pub prices: Vec<(u64, u64)>,
    pub updates: u64,
    /// Updates that gave way to later ones.
    pub skipped: u64,
    last_second: Option<u64>,
    pub seconds_missed: u64,
    /// How often the server's sum was this board's, and how often not.
    pub in_step: u64,
    pub out_of_step: u64,
    /// `buy 17` and the like.
    pub orders: Vec<String>,
    pub closed: Option<(u16, String)>,
}

pub struct Crowd {
    address: String,
    poll: Poll,
    clock: Instant,
    pub onlookers: Vec<Onlooker>,
    /// Who is not read from.
    pub stalled: Option<usize>,
    /// What the server said last of how much was conflated.
    pub conflated: u64,
    /// By how much longer than the first update each of the others was on its way, in microseconds.
    ages: Vec<i64>,
}

impl Crowd {
    // Ages are measured, and waits have an end.
    #[allow(clippy::disallowed_methods)]
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            poll: Poll::new().expect("a descriptor is free"),
            clock: Instant::now(),
            onlookers: Vec::new(),
            stalled: None,
            conflated: 0,
            ages: Vec::new(),
        }
    }

    /// So many more look on: each has the board.
    pub fn join(&mut self, clients: usize) {
        for _ in 0..clients {
            let at = self.onlookers.len();
            let stream = std::net::TcpStream::connect(&self.address).expect("the server accepts");
            stream.set_nonblocking(true).expect("a socket can be");
            let size = socket2::SockRef::from(&stream).set_recv_buffer_size(32 * 1024);
            size.expect("it is a socket's option");
            let mut stream = TcpStream::from_std(stream);
            let registry = self.poll.registry();
            registry.register(&mut stream, Token(at), Interest::READABLE).expect("it is pollable");
            stream.write_all(HANDSHAKE).expect("a new socket has room");
            self.onlookers.push(Onlooker::new(stream));
            self.run(|crowd| !crowd.onlookers[at].prices.is_empty());
        }
    }

    /// Reads until `done`.
    #[allow(clippy::disallowed_methods)]
    pub fn run(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let (began, mut events) = (Instant::now(), Events::with_capacity(1024));
        while !done(self) {
            assert!(began.elapsed() < PATIENCE, "it did not come");
            let waited = self.poll.poll(&mut events, Some(Duration::from_millis(100)));
            if waited.is_err_and(|error| error.kind() != ErrorKind::Interrupted) {
                panic!("the poll failed");
            }
            for event in &events {
                let at = event.token().0;
                if self.stalled != Some(at) && at < self.onlookers.len() {
                    self.read(at);
                }
            }
        }
    }

    /// The 99th percentile of how old updates are when they come, over a time, in microseconds. The
    /// server's clock is another: the quickest update is taken to be of no age.
    pub fn age_of_updates(&mut self, time: Duration) -> u32 {
        self.ages.clear();
        let until = self.clock.elapsed() + time;
        self.run(|crowd| crowd.clock.elapsed() > until);
        let quickest = *self.ages.iter().min().expect("there were updates");
        let at = self.ages.len() * 99 / 100;
        (*self.ages.select_nth_unstable(at).1 - quickest) as u32
    }

    /// Reads all that there is for one.
    pub fn read(&mut self, at: usize) {
        let onlooker = &mut self.onlookers[at];
        let mut chunk = [0; 64 * 1024];
        loop {
            match onlooker.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => onlooker.rest.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let (now, mut used) = (self.clock.elapsed().as_micros() as i64, 0);
        let rest = std::mem::take(&mut onlooker.rest);
        while let Some(len) =
            onlooker.understand(&rest[used..], now, &mut self.ages, &mut self.conflated)
        {
            used += len;
        }
        onlooker.rest = rest[used..].to_vec();
    }
}

impl Onlooker {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            rest: Vec::new(),
            greeted: false,
            prices: Vec::new(),
            updates: 0,
            skipped: 0,
            last_second: None,
            seconds_missed: 0,
            in_step: 0,
            out_of_step: 0,
            orders: Vec::new(),
            closed: None,
        }
    }

    /// Sends what fits into a socket at once.
    pub fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Takes the head or one frame; gives how long it is, if it is whole.
    fn understand(
        &mut self,
        rest: &[u8],
        now: i64,
        ages: &mut Vec<i64>,
        conflated: &mut u64,
    ) -> Option<usize> {
        if !self.greeted {
            let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
            assert!(rest.starts_with(b"HTTP/1.1 101 "), "{}", rest[..end].escape_ascii());
            self.greeted = true;
            return Some(end + 4);
        }
        let bytes = |from: usize, to: usize| {
            Some(rest.get(from..to)?.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
        };
        let (start, len) = match *rest.get(1)? {
            126 => (4, bytes(2, 4)?),
            127 => (10, bytes(2, 10)?),
            len => (2, usize::from(len)),
        };
        let payload = rest.get(start..start + len)?;
        match (rest[0], payload.first()) {
            (0x81, Some(b'[')) => self.price(payload, now, ages),
            (0x81, _) => self.tell(payload, conflated),
            (0x88, _) => {
                let reason = payload.get(2..).unwrap_or_default().to_vec();
                self.closed = Some((
                    bytes(start, start + 2)? as u16,
                    String::from_utf8(reason).expect("it is text"),
                ));
            }
            (0x89, _) => self.say(&crate::support::frame(0x8A, payload).masked([1, 2, 3, 4])),
            (first, _) => panic!("a frame of kind {first:#X}"),
        }
        Some(start + len)
    }

    /// `[at,price,updates,stamp]`
    fn price(&mut self, payload: &[u8], now: i64, ages: &mut Vec<i64>) {
        let text = str::from_utf8(&payload[1..payload.len() - 1]).expect("it is text");
        let mut numbers = text.split(',').map(|number| number.parse::<u64>().expect("a number"));
        let mut next = || numbers.next().expect("four numbers");
        let (at, price, updates, stamp) = (next() as usize, next(), next(), next());
        let known = &mut self.prices[at];
        assert!(updates > known.1, "an update came twice, or out of order");
        self.skipped += updates - known.1 - 1;
        self.updates += 1;
        *known = (price, updates);
        ages.push(now - stamp as i64);
    }

    fn tell(&mut self, payload: &[u8], conflated: &mut u64) {
        let told: Value = serde_json::from_slice(payload).expect("it is JSON");
        let number = |key: &str| told[key].as_u64();
        if let Some(board) = told["board"].as_array() {
            let price = |stock: &Value| {
                (stock[2].as_u64().expect("cents"), stock[3].as_u64().expect("a number"))
            };
            self.prices = board.iter().map(price).collect();
        } else if let Some(sum) = number("sum") {
            let own: u64 =
                self.prices.iter().zip(1..).map(|((price, _), weight)| price * weight).sum();
            if own == sum {
                self.in_step += 1
            } else {
                self.out_of_step += 1
            }
            let second = number("second").expect("seconds are counted");
            self.seconds_missed += self.last_second.map_or(0, |last| second - last - 1);
            self.last_second = Some(second);
            *conflated = number("conflated").expect("it is counted").max(*conflated);
        } else {
            let side = told["side"].as_str().expect("an order has a side");
            self.orders.push(format!("{side} {}", told["at"]));
        }
    }
}
