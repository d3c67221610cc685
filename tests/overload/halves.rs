//! Peers that send half of something: messages in a million pieces, lengths with nothing behind them,
//! messages and requests that never end.

use std::time::Duration;

use pushloop::{Config, Event, Hub, Reason};

use super::crowd::{Crowded, Dot, echo, frames, nothing};
use crate::support::campaign::{now, scale};
use crate::support::{
    Frame, Seen, TestServer, accept, binary, burst, close, config, continuation, handshake, text,
};

/// The heap that a server takes beyond what it had while it is fed these bytes by one peer.
fn fed(limits: Config, bytes: &[u8]) -> (Crowded, Dot, usize) {
    let mut crowd = Crowded::new(limits, 2);
    let [(_, mut warm), (_, mut dot)] = crowd.opens(2, None).try_into().expect("there are two");
    // What is made once.
    crowd.is_fed(&mut warm, &burst(&[text("warm").open(), continuation("")]), &mut nothing);
    crowd.settles(&mut nothing);
    let before = crowd.begins_counting();
    crowd.is_fed(&mut dot, bytes, &mut nothing);
    crowd.settles(&mut nothing);
    let heap = (crowd.heap_max - before) as usize;
    (crowd, dot, heap)
}

fn bomb(frames: usize, piece: &str) -> Vec<u8> {
    let mut bytes = burst(&[text("").open()]);
    bytes.extend(continuation(piece).open().masked([1, 2, 3, 4]).repeat(frames));
    bytes
}

#[test]
fn a_message_in_too_many_pieces_ends_at_the_limit_whatever_follows() {
    let pieces = scale(100_000, 1_000_000);
    for piece in ["", "x"] {
        let (mut crowd, mut dot, heap) = fed(config(|_| ()), &bomb(pieces, piece));
        crowd.until(&mut nothing, |hub| hub.counters().closed_protocol == 1);
        assert!(heap < 16 * 1024, "{heap} bytes");
        let mut got = Vec::new();
        while dot.hears(&mut got) {
            crowd.turn(&mut nothing);
        }
        let [end] = &frames(&got)[..] else { panic!("{}", got.escape_ascii()) };
        assert!(end.payload.starts_with(&close(1008, "").payload), "{end:?}");
        println!("figure {pieces} fragments of {} bytes: 1008, {heap} bytes of heap", piece.len());
    }
}

#[test]
fn a_million_empty_pieces_take_no_memory_where_they_are_allowed() {
    let pieces = scale(100_000, 1_000_000);
    let limits = config(|limits| limits.message_frames_max = u32::MAX);
    let (mut crowd, mut dot, heap) = fed(limits, &bomb(pieces, ""));
    let sent = (handshake("/", "").len() + bomb(pieces, "").len()) as u64;
    crowd.until(&mut nothing, |hub| hub.counters().bytes_received >= sent);
    assert!(heap < 16 * 1024, "{heap} bytes");
    dot.says(&burst(&[continuation("the end")]));
    let mut told = 0;
    crowd.until(
        &mut |_, event| told += usize::from(matches!(event, Event::Message { .. })),
        |hub| hub.counters().messages_received == 2,
    );
    assert_eq!(told, 1);
}

#[test]
fn a_message_in_single_bytes_takes_little_more_than_twice_its_length() {
    let limits = config(|limits| limits.message_frames_max = u32::MAX);
    let len = limits.message_bytes_max;
    let (mut crowd, mut dot, heap) = fed(limits, &bomb(len, "x"));
    let sent = (handshake("/", "").len() + bomb(len, "x").len()) as u64;
    crowd.until(&mut nothing, |hub| hub.counters().bytes_received >= sent);
    // The buffer grows by a quarter, and for a moment there are the old one and the new one.
    assert!(heap <= len * 9 / 4 + 1024, "{heap} bytes for a message of {len}");
    println!("figure a message of {len} fragments of 1 byte: {heap} bytes of heap");
    dot.says(&burst(&[continuation("x")]));
    crowd.until(&mut nothing, |hub| hub.counters().closed_protocol == 1);
}

/// Has so many peers send a frame's header and the beginning of its payload, and says what the heap
/// grows by.
fn half_frames(crowd: &mut Crowded, peers: usize, payload: usize, came: usize) -> Vec<Dot> {
    let mut frame = binary(vec![7; payload]).masked([1, 2, 3, 4]);
    let header = frame.len() - payload;
    frame.truncate(header + came);
    let mut dots: Vec<_> = crowd.opens(peers, None).into_iter().map(|(_, dot)| dot).collect();
    crowd.settles(&mut nothing);
    crowd.begins_counting();
    for dot in &mut dots {
        crowd.is_fed(dot, &frame, &mut nothing);
    }
    crowd.settles(&mut nothing);
    dots
}

#[test]
fn a_length_that_is_announced_takes_nothing_until_it_comes() {
    let peers = scale(1_000, 9_000);
    let limits = config(|_| ());
    let payload = limits.message_bytes_max;
    let mut crowd = Crowded::new(limits, peers);
    let _dots = half_frames(&mut crowd, peers, payload, 1);
    let before = crowd.heap;
    crowd.settles(&mut nothing);
    let each = (crowd.heap_max - before.min(crowd.heap_max)).max(0);
    assert!(each < 4096, "{each}");
    let opened = crowd.heap;
    drop(_dots);
    crowd.until(&mut nothing, |hub| hub.connection_count() == 0);
    let freed = (opened - crowd.heap) as usize / peers;
    assert!(freed <= 512, "{freed} bytes each");
    println!(
        "figure {peers} peers that announce {payload} bytes and send 1: {freed} bytes of heap each"
    );
}

/// Beside those who hoard, somebody whose messages come in two halves.
struct Honest {
    dot: Dot,
    message: Frame,
    answered: usize,
    got: Vec<u8>,
}

impl Honest {
    fn speaks(&mut self, crowd: &mut Crowded, app: &mut dyn FnMut(&mut Hub, Event<'_>)) {
        let bytes = self.message.masked([9; 4]);
        let (early, late) = bytes.split_at(bytes.len() / 2);
        crowd.is_fed(&mut self.dot, early, app);
        crowd.settles(app);
        crowd.is_fed(&mut self.dot, late, app);
        while frames(&self.got).is_empty() {
            crowd.turn(app);
            assert!(self.dot.hears(&mut self.got), "an honest peer is closed");
        }
        assert!(frames(&self.got) == [self.message.clone()]);
        self.got.clear();
        self.answered += 1;
    }
}

#[test]
fn messages_that_never_end_are_bounded_together_and_an_honest_one_gets_through() {
    let peers = scale(400, 9_000);
    let limits = config(|limits| {
        limits.incomplete_bytes_max = scale(4 << 20, limits.incomplete_bytes_max);
        // Those who are shed go on sending, and take no notice.
        limits.linger_timeout = Duration::from_millis(200);
    });
    let most = limits.incomplete_bytes_max;
    let came = 60 * 1024;
    assert!(most < peers * came);
    let mut crowd = Crowded::new(limits, peers + 1);
    let [(_, dot)] = crowd.opens(1, None).try_into().expect("there is one");
    let message = binary(vec![1; 32 * 1024]);
    let mut honest = Honest { dot, message, answered: 0, got: Vec::new() };
    honest.speaks(&mut crowd, &mut echo);
    let mut dots: Vec<_> = crowd.opens(peers, None).into_iter().map(|(_, dot)| dot).collect();
    let half = &binary(vec![7; 64 * 1024]).masked([1, 2, 3, 4])[..came];
    let before = crowd.begins_counting();
    let mut shed = 0;
    for (at, dot) in dots.iter_mut().enumerate() {
        let mut app = |hub: &mut Hub, event: Event<'_>| match event {
            Event::Closed { reason, .. } => {
                assert_eq!((reason, reason.code()), (Reason::ProcessFull, 1013));
                shed += 1;
            }
            event => echo(hub, event),
        };
        crowd.is_fed(dot, half, &mut app);
        if at % 50 == 0 {
            honest.speaks(&mut crowd, &mut app);
        }
    }
    let heap = (crowd.heap_max - before) as usize;
    // A buffer that grows doubles: for a moment there are the old one and the new one.
    assert!(heap <= most * 5 / 4 + (4 << 20), "{heap} bytes of heap, and {most} are the limit");
    let counters = crowd.server.hub().counters();
    assert_eq!((counters.closed_incomplete, counters.closed_protocol), (shed, 0));
    let least = peers - most / came - 1;
    assert!(shed as usize >= least, "{shed} are shed, and not {least}");
    honest.speaks(&mut crowd, &mut echo);
    println!(
        "figure {peers} peers with 60 KiB each of a message that never ends: {} MiB of heap at most, {} MiB \
         are the limit; {shed} closed with 1013, {} messages of an honest peer answered",
        heap >> 20,
        most >> 20,
        honest.answered,
    );
}

#[test]
fn requests_that_never_end_are_bounded_together() {
    let peers = scale(400, 9_000);
    let limits = config(|limits| {
        limits.incomplete_bytes_max = scale(4 << 20, 64 << 20);
        limits.handshake_timeout = Duration::from_secs(600);
    });
    let most = limits.incomplete_bytes_max;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n";
    let request = [head.as_bytes(), &[b'x'; 60 * 1024]].concat();
    assert!(most < peers * request.len());
    let mut crowd = Crowded::new(limits, peers);
    let mut dots: Vec<_> = (0..peers)
        .map(|_| {
            let dot = crowd.connects(None);
            crowd.turn(&mut nothing);
            dot
        })
        .collect();
    let before = crowd.begins_counting();
    for dot in &mut dots {
        crowd.is_fed(dot, &request, &mut nothing);
    }
    crowd.settles(&mut nothing);
    let heap = (crowd.heap_max - before) as usize;
    assert!(heap <= most * 5 / 4 + (4 << 20), "{heap} bytes of heap, and {most} are the limit");
    let shed = crowd.server.hub().counters().closed_incomplete as usize;
    assert!(shed >= peers - most / request.len() - 1, "{shed} are shed");
    let mut refused = 0;
    for dot in &mut dots {
        let mut answer = Vec::new();
        dot.hears(&mut answer);
        refused += usize::from(answer.starts_with(b"HTTP/1.1 503 "));
    }
    assert_eq!(refused, shed);
    println!(
        "figure {peers} requests of 60 KiB that never end: {} KiB of heap at most, {shed} answered with 503",
        heap / 1024
    );
}

/// A peer that says so much of a message of 1,000 bytes.
fn says_half(server: &TestServer, bytes: usize) -> crate::support::Peer {
    let mut peer = server.opens();
    let message = binary([7; 1000]).masked([1, 2, 3, 4]);
    server.takes_from(&mut peer, &message[..8 + bytes]);
    peer
}

/// At the limit, and one byte beyond.
#[test]
fn as_much_may_come_half_as_the_limit_says() {
    let server = TestServer::start(config(|limits| limits.incomplete_bytes_max = 1008), accept);
    // Headers of 8 bytes count where a read brought them.
    let mut most = says_half(&server, 592);
    let mut least = says_half(&server, 392);
    server.takes_from(&mut least, &[0; 8]);
    server.sees_no_more(&most);
    least.sends_bytes([0]);
    let reason = most.expects_close(1013);
    assert!(reason.contains("incomplete_bytes_max"), "{reason}");
    most.expects_eof();
    server.sees(&most, Seen::Closed(Reason::ProcessFull));
    server.sees_no_more(&most);
    assert_eq!(server.handle().counters().closed_incomplete, 1);
    // There is room for the other's.
    least.sends_bytes([0; 599]);
    assert!(matches!(server.next_of(&least), Seen::Binary(message) if message.len() == 1000));
}

/// What is half come counts by how long it has been, too.
#[test]
fn who_has_held_half_a_message_for_long_goes_before_who_has_begun_a_longer_one() {
    let server = TestServer::start(config(|limits| limits.incomplete_bytes_max = 1008), accept);
    let mut old = says_half(&server, 250);
    server.act(|hub| hub.set_timer(hub.now() + Duration::from_secs(1), 0));
    server.sees_timer(0);
    let mut young = says_half(&server, 300);
    let mut last = says_half(&server, 500);
    old.expects_close(1013);
    for peer in [&young, &last] {
        server.sees_no_more(peer);
    }
    young.sends_bytes([0; 700]);
    last.sends_bytes([0; 500]);
    for peer in [&young, &last] {
        assert!(matches!(server.next_of(peer), Seen::Binary(_)));
    }
}

#[test]
fn requests_that_drip_end_at_the_deadline_however_many_there_are() {
    let peers = scale(500, 5_000);
    let timeout = Duration::from_secs(scale(1, 5));
    let mut crowd = Crowded::new(config(|limits| limits.handshake_timeout = timeout), peers + 10);
    let mut live = crowd.opens(10, None);
    // A byte in each round, of 10 ms at least: the request would be whole long after the deadline.
    let request = handshake("/", &"X-Drip: drip\r\n".repeat(scale(5, 40)));
    let round = Duration::from_millis(10);
    assert!(round * request.len() as u32 > timeout * 4 / 3);
    let mut drips: Vec<_> = (0..peers)
        .map(|_| {
            let mut dot = crowd.connects(None);
            dot.says(&request.as_bytes()[..1]);
            crowd.turn(&mut nothing);
            (dot, Vec::new())
        })
        .collect();
    let began = now();
    let (mut rounds, mut echoes) = (0, 0);
    let mut last = Duration::ZERO;
    while !drips.is_empty() {
        rounds += 1;
        let byte = request.as_bytes().get(rounds).copied().unwrap_or(b'x');
        for (_, dot) in &mut live {
            dot.says(&text("x").masked([1; 4]));
        }
        let begins = now();
        while now() - begins < round {
            crowd.turn_within(Duration::from_millis(1), &mut echo);
        }
        for (dot, got) in &mut drips {
            // It may be over already.
            dot.offers(&[byte]);
            if !dot.hears(got) || !got.is_empty() {
                assert!(got.starts_with(b"HTTP/1.1 408 "), "{}", got.escape_ascii());
                last = now() - began;
            }
        }
        drips.retain_mut(|(_, got)| got.is_empty());
        crowd.settles(&mut echo);
        crowd.each_hears(&mut live, &text("x"), &mut echo);
        echoes += live.len();
    }
    println!(
        "figure {peers} requests that drip: all answered with 408, the last {last:?} after the last began, \
         with a deadline of {timeout:?}; {echoes} echoes of 10 live peers meanwhile, none lost"
    );
}
