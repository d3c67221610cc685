//! Requests behind one another on one connection (RFC 9112 §9.3.2), and the upgrade that may be the
//! last of them: random ones against a model of what comes back.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;

use crate::support::dice::Dice;
use crate::support::{Frame, Peer, TestServer, close, config, get, handshake, text};
use pushloop::{Accept, Event, Hub, RequestId, Response};

/// What has to come back for one part of what was sent.
#[derive(Debug)]
enum Back {
    Answer(u16, Option<String>),
    /// The answer to a HEAD, and the length that it names.
    Head(u16, usize),
    Upgrade,
    Frame(Frame),
    /// A Close with this code, and some reason.
    Close(u16),
}

/// Requests that are refused unseen.
const BROKEN: [(u16, &str); 8] = [
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5, 5\r\n\r\nhello"),
    (501, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
    (417, "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 200-ok\r\n\r\n"),
    (405, "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (421, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    (505, "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n"),
];

/// Everything that one peer sends, and what has to come back before the end of the connection.
#[derive(Debug, Default)]
struct Pipeline {
    sent: Vec<u8>,
    back: Vec<Back>,
    /// How many of them are requests, to be answered by the application or not.
    requests: usize,
}

impl Pipeline {
    fn random(dice: &mut Dice) -> Self {
        let mut pipeline = Self::default();
        for nth in 0..dice.below(9) {
            // RFC 9112 §2.2: empty lines before a request are nothing.
            pipeline.sent.extend(b"\r\n".repeat(dice.below(4) / 2));
            pipeline.adds_a_request(nth, dice);
        }
        match dice.below(6) {
            0 => pipeline.asks("GET /last HTTP/1.0\r\n\r\n", "GET /last []"),
            1 => {
                let (status, request) = BROKEN[dice.below(BROKEN.len())];
                pipeline.sent.extend(request.as_bytes());
                pipeline.back.push(Back::Answer(status, None));
                // The other ones are none that could be counted.
                pipeline.requests += usize::from(status == 421);
            }
            2 => {
                let broken = handshake("/", "").replace("Version: 13", "Version: 8");
                pipeline.sent.extend(broken.as_bytes());
                pipeline.back.push(Back::Answer(426, None));
                pipeline.requests += 1;
            }
            3 => {
                pipeline.asks(&handshake(["/no", "/late/no"][dice.below(2)], ""), "no");
                pipeline.back.pop();
                pipeline.back.push(Back::Answer(404, Some("no".into())));
            }
            4 => pipeline.upgrades(dice),
            _ => {
                let close = get("/last").replace("\r\n\r\n", "\r\nConnection: x, close\r\n\r\n");
                pipeline.asks(&close, "GET /last []");
            }
        }
        // Behind the last one, nothing is a request.
        pipeline.sent.extend(get("/smuggled").as_bytes().repeat(dice.below(3)));
        pipeline
    }

    fn asks(&mut self, request: &str, page: &str) {
        self.sent.extend(request.as_bytes());
        self.back.push(Back::Answer(200, Some(page.to_owned())));
        self.requests += 1;
    }

    /// After it, the connection takes another one.
    fn adds_a_request(&mut self, nth: usize, dice: &mut Dice) {
        let path = format!("{}/{nth}", ["/now", "/late"][dice.below(2)]);
        // A body may look like anything.
        let body = ["", "x", "0\r\n\r\n", &get("/smuggled"), &handshake("/", "")][dice.below(5)]
            .repeat(1 + dice.below(3));
        let len = body.len();
        let fields = format!("Host: localhost\r\nContent-Length: {len}\r\n\r\n{body}");
        match dice.below(5) {
            0 => self.asks(&get(&path), &format!("GET {path} []")),
            1 => {
                let page = format!("POST {path} [{body}]");
                self.asks(&format!("POST {path} HTTP/1.1\r\n{fields}"), &page);
            }
            2 => {
                let page = format!("OPTIONS * [{body}]");
                self.asks(&format!("OPTIONS * HTTP/1.1\r\n{fields}"), &page);
            }
            3 => {
                let page = format!("HEAD {path} [{body}]");
                self.asks(&format!("HEAD {path} HTTP/1.1\r\n{fields}"), &page);
                self.back.pop();
                self.back.push(Back::Head(200, page.len()));
            }
            // It asks for another protocol, and gets an answer in this one.
            _ => {
                let h2c = "\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
                self.asks(&get(&path).replace("\r\n\r\n", h2c), &format!("GET {path} []"));
            }
        }
    }

    /// After it there are frames, whatever they look like.
    fn upgrades(&mut self, dice: &mut Dice) {
        self.asks(&handshake(["/ws", "/late/ws"][dice.below(2)], ""), "");
        self.back.pop();
        self.back.push(Back::Upgrade);
        for _ in 0..dice.below(4) {
            let frame = text([&*get("/smuggled"), "x", ""][dice.below(3)]);
            self.sent.extend(frame.masked([dice.below(256) as u8; 4]));
            self.back.push(Back::Frame(frame));
        }
        if dice.below(2) == 0 {
            self.sent.extend(close(1000, "").masked([9; 4]));
            self.back.push(Back::Frame(close(1000, "")));
        } else {
            // RFC 6455 §5.2: as a frame, "GE" has a reserved bit set, and no mask.
            self.sent.extend(get("/smuggled").as_bytes());
            self.back.push(Back::Close(1002));
        }
    }

    /// Sends it in random pieces.
    fn is_sent(&self, peer: &mut Peer, dice: &mut Dice) {
        let mut rest = &self.sent[..];
        while !rest.is_empty() {
            let most = [1, 8, 64, 4096][dice.below(4)];
            let (piece, later) = rest.split_at((1 + dice.below(most)).min(rest.len()));
            peer.pushes_bytes(piece);
            rest = later;
        }
    }

    /// All of it comes back, in order, and then the end.
    fn comes_back(&self, peer: &mut Peer) {
        for back in &self.back {
            match back {
                Back::Answer(status, None) => drop(peer.expects_answer(*status)),
                Back::Answer(status, Some(body)) => {
                    assert_eq!(peer.expects_answer(*status).body, *body);
                }
                Back::Head(status, len) => {
                    let answer = peer.expects_head(*status);
                    assert_eq!(answer.header("Content-Length"), Some(&*len.to_string()));
                }
                Back::Upgrade => drop(peer.expects_upgrade()),
                Back::Frame(frame) => peer.expects(frame.clone()),
                Back::Close(code) => drop(peer.expects_close(*code)),
            }
        }
        peer.expects_eof();
    }
}

/// Answers at once, or in a later turn; never has two requests of one connection at a time.
#[derive(Default)]
struct Site {
    late: Vec<(RequestId, Answer)>,
}

#[derive(Clone)]
enum Answer {
    Accept,
    Respond(Response),
}

impl Site {
    fn handle(&mut self, hub: &mut Hub, event: Event<'_>) {
        match event {
            Event::Request { id, request } => {
                assert!(
                    self.late.iter().all(|(other, _)| other.conn() != id.conn()),
                    "two at a time"
                );
                let body = String::from_utf8_lossy(request.body());
                let page = format!("{} {} [{body}]", request.method(), request.path());
                let answer = match request.path() {
                    path if path.ends_with("/ws") => Answer::Accept,
                    path if path.ends_with("/no") => Answer::Respond(Response::text(404, "no")),
                    _ => Answer::Respond(Response::text(200, page)),
                };
                if request.path().starts_with("/late") {
                    self.late.push((id, answer));
                    hub.set_timer(hub.now(), 1);
                } else {
                    give(hub, id, &answer);
                }
            }
            Event::Timer { .. } => {
                self.late.drain(..).for_each(|(id, answer)| give(hub, id, &answer));
            }
            Event::Message { id, message } => hub.send(id, message).expect("little waits"),
            _ => {}
        }
    }
}

fn give(hub: &mut Hub, id: RequestId, answer: &Answer) {
    match answer {
        Answer::Accept => hub.accept(id, Accept::default()).expect("the request waits"),
        Answer::Respond(response) => hub.respond(id, response.clone()).expect("the request waits"),
    }
}

/// So many that each kind of request, with each body, comes some seventy times behind each kind.
#[test]
fn pipelines_are_answered_in_order_and_to_their_end() {
    const PIPELINES: usize = 3_000;
    let mut site = Site::default();
    let server = TestServer::start(config(|_| ()), move |hub, event| site.handle(hub, event));
    let mut dice = Dice::new(1);
    let (mut requests, mut upgrades) = (0, 0);
    for nth in 0..PIPELINES {
        let pipeline = Pipeline::random(&mut dice);
        let mut peer = server.connects();
        pipeline.is_sent(&mut peer, &mut dice);
        let compared = std::panic::AssertUnwindSafe(|| pipeline.comes_back(&mut peer));
        if let Err(panic) = std::panic::catch_unwind(compared) {
            eprintln!("pipeline {nth}: {}", pipeline.sent.escape_ascii());
            eprintln!("expected {:?}", pipeline.back);
            std::panic::resume_unwind(panic);
        }
        requests += pipeline.requests;
        upgrades += pipeline.back.iter().filter(|back| matches!(back, Back::Upgrade)).count();
    }
    let counters = server.act(|hub| hub.counters());
    assert_eq!((counters.requests, counters.upgrades), (requests as u64, upgrades as u64));
    assert!(requests > 4 * PIPELINES && upgrades > PIPELINES / 10, "{requests} {upgrades}");
}

/// While one request waits for its answer, the ones behind it wait in the kernel: what one read
/// brought is all that is held of them.
#[test]
fn no_more_than_one_read_is_held_of_a_pipeline() {
    const READ: u64 = 10_000;
    let limits = config(|limits| limits.read_bytes_per_turn = READ as usize);
    let server = TestServer::start(limits, |_, _| ());
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_nonblocking(true).expect("a socket can be nonblocking");
    let requests = get("/").repeat(1_000);
    let mut sent = 0;
    // The kernel takes more as the server reads; it has taken all that it takes when two turns make
    // no difference.
    loop {
        let before = sent;
        loop {
            match stream.write(&requests.as_bytes()[sent % get("/").len()..]) {
                Ok(n) => sent += n,
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(sent < 1 << 30, "the server reads on");
        }
        server.act(|_| ());
        server.act(|_| ());
        if sent == before {
            break;
        }
    }
    let counters = server.act(|hub| hub.counters());
    assert!(sent as u64 > 10 * READ, "the kernel has no room: {sent}");
    assert_eq!((counters.requests, counters.bytes_received), (1, READ));
}
