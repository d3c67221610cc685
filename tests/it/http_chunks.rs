//! Bodies in chunks (RFC 9112 §7.1), and how fast a body has to come.

use std::time::Duration;

use super::http_heads::World;
use crate::support::get;
use crate::support::net::Wire;

const SECOND: Duration = Duration::from_secs(1);

fn post(body: &str) -> String {
    format!("POST /t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// What the application was told of requests, whole ones only.
fn requests(world: &World) -> Vec<String> {
    let told = world.told().into_iter();
    told.filter_map(|told| told.strip_prefix("request ").map(str::to_owned)).collect()
}

#[test]
fn a_body_in_chunks_may_be_cut_anywhere_and_the_next_request_follows_it() {
    let mut world = World::new(|_| {});
    for (body, whole) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("2;a=\"b\"\r\n\r\n\r\n00c\r\nGET / HTTP/1\r\n0\r\nA: b\r\n\r\n", "\r\nGET / HTTP/1"),
    ] {
        let both = post(body) + &get("/next");
        for at in 1..both.len() {
            let wire = world.connects();
            let (first, second) = both.split_at(at);
            let answer = world.gets(&wire, first) + &world.gets(&wire, second);
            assert_eq!(
                requests(&world),
                [format!("/t {whole}"), "/next ".into()],
                "{body:?}, {at}"
            );
            assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
        }
    }
}

/// Nothing of such a body is told, and nothing behind it is taken for a request.
#[test]
fn a_body_that_is_not_well_formed_is_refused_with_all_that_follows_it() {
    let mut world = World::new(|limits| limits.body_bytes_max = 100);
    for (status, body) in [
        (400, "5\r\nhello0\r\n\r\n"),
        (400, "5\r\nhell\r\n0\r\n\r\n"),
        (400, "5\nhello\r\n0\r\n\r\n"),
        (400, "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        (400, "-5\r\nhello\r\n0\r\n\r\n"),
        (400, "5 \r\nhello\r\n0\r\n\r\n"),
        (400, "0x5\r\nhello\r\n0\r\n\r\n"),
        (400, "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        (400, "5\r\nhello\r\n0\r\nA : b\r\n\r\n"),
        (400, "5\r\nhello\r\n0\r\n A: b\r\n\r\n"),
        (413, "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        (413, "5\r\nhello\r\n60\r\n"),
    ] {
        let request = post(body) + &get("/smuggled");
        for bytes_at_once in [1, request.len()] {
            let wire = world.connects();
            let mut answer = String::new();
            for piece in request.as_bytes().chunks(bytes_at_once) {
                answer += &world.gets(&wire, std::str::from_utf8(piece).expect("ASCII"));
            }
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{body:?}: {answer}");
            assert!(wire.is_ended() && answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
            assert_eq!(requests(&world), [""; 0], "{body:?}");
        }
    }
}

#[test]
fn a_body_in_chunks_may_be_as_long_as_the_limit() {
    let mut world = World::new(|limits| limits.body_bytes_max = 10);
    for (chunks, status) in [
        (&["0123456789", ""][..], 200),
        (&["01234", "56789", ""], 200),
        (&["0123456789", "x"], 413),
        (&["01234567890"], 413),
    ] {
        let wire = world.connects();
        let body: String = chunks.iter().map(|data| chunk(data)).collect();
        let answer = world.gets(&wire, &post(&body));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{chunks:?}: {answer}");
        assert_eq!(answer.contains("body_bytes_max"), status == 413, "{answer}");
    }
}

#[test]
fn framing_without_end_is_refused() {
    let mut world = World::new(|_| {});
    let wire = world.connects();
    let answer = world.gets(&wire, &post(&format!("1;{}\r\n", "e".repeat(16 * 1024 + 16))));
    assert!(answer.contains(" 400 ") && answer.contains("chunk_framing_bytes_max"), "{answer}");
}

#[test]
fn a_peer_that_waits_for_100_sends_its_chunks_then() {
    let mut world = World::new(|_| {});
    let wire = world.connects();
    let request = post("").replace("Transfer", "Expect: 100-continue\r\nTransfer");
    assert_eq!(world.gets(&wire, &request), "HTTP/1.1 100 Continue\r\n\r\n");
    let answer = world.gets(&wire, &(chunk("hello") + &chunk("")));
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert_eq!(world.told(), ["head /t []", "request /t hello"]);
}

/// Sends a piece each second. What comes back, and after how many seconds it began to.
fn drips(world: &mut World, wire: &Wire, pieces: &[String]) -> (String, u64) {
    let begun = world.sim.hub().now();
    for piece in pieces.iter().chain([&String::new(); 100]) {
        let answer = world.gets(wire, piece);
        if !answer.is_empty() {
            return (answer, (world.sim.hub().now() - begun).as_secs());
        }
        let next = world.sim.hub().now() + SECOND;
        while world.sim.hub().now() < next {
            let left = next - world.sim.hub().now();
            world.sim.server.turn(&mut world.site, Some(left)).expect("the poll works");
        }
    }
    panic!("no answer");
}

#[test]
fn a_body_that_comes_fast_enough_has_its_time_and_one_that_drips_has_not() {
    let data = |len: usize| "x".repeat(len);
    let length = |len: usize| {
        post("").replace("Transfer-Encoding: chunked", &format!("Content-Length: {len}"))
    };
    let steady = |len: usize| vec![data(len); 100];
    let whole = [vec![chunk(&data(1_024)); 30], vec![chunk("")]].concat();
    for (head, pieces, status, seconds) in [
        // 60 kB at 10 kB/s, and at the slowest pace that is allowed.
        (length(60_000), steady(10_000), 200, 5),
        (length(60_000), steady(1_024), 200, 58),
        (post(""), whole, 200, 30),
        // A burst earns time, which is not without end, and comes with the head if it likes.
        (length(60_000) + &data(10_240), vec![], 408, 15),
        (length(60_000), vec![data(10_240)], 408, 15),
        (length(60_000), steady(100), 408, 5),
        // Framing is not data.
        (post("1;"), steady(150), 408, 5),
    ] {
        let mut world = World::new(|limits| limits.handshake_timeout = 5 * SECOND);
        let wire = world.connects();
        world.gets(&wire, &head);
        let (answer, took) = drips(&mut world, &wire, &pieces);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!((seconds..=seconds + 1).contains(&took), "{head}: {status} after {took} s");
    }
}
