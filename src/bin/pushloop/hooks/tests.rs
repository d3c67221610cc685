use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use pushloop::{Config, Server};
use serde_json::{Map, Value};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn listens() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

fn client(address: SocketAddr) -> Client {
    client_of(address, Dialect::Own(None))
}

fn client_of(address: SocketAddr, dialect: Dialect) -> Client {
    let url = format!("http://{address}/");
    let trust = web::trust(&url, None).expect("it trusts nobody");
    Client::new(&url, dialect, PATIENCE, trust)
}

fn status() -> Arc<Status> {
    Arc::new(Status::new(SystemTime::UNIX_EPOCH))
}

#[test]
fn of_a_url_no_more_is_told_than_where_it_is() {
    for (url, origin) in [
        ("https://app.example.org:8443/hook/secret?key=secret", "https://app.example.org:8443"),
        ("http://[::1]:80?secret", "http://[::1]:80"),
        ("https://app.example.org", "https://app.example.org"),
    ] {
        assert_eq!(web::origin(url), origin);
    }
}

/// The signature is what anybody makes of the same: `printf '5.{}' | openssl dgst -sha256 -hmac secret`.
#[test]
fn a_signature_is_of_the_time_and_the_body() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let signature = dialect::sign(&key, 5, b"{}");
    assert_eq!(
        signature,
        "t=5,v1=f18d2fcd9a24151471e3e2d71bc7ce901fb7b89b341918a08f95e9ffc497ea26"
    );
}

/// By `printf '{"hello":"world"}' | openssl dgst -sha256 -hmac 7ad3773142a6692b25b8`.
#[test]
fn a_webhook_is_signed_as_pushers_are() {
    let fields = Dialect::Pusher(app().into()).fields(br#"{"hello":"world"}"#);
    let signature = "9729d15f05a3f47dbd708581569f205e3ca8f60f78c4d0438fabb31e749807a0";
    let expected = [("X-Pusher-Key", "key"), ("X-Pusher-Signature", signature)];
    assert_eq!(fields, expected.map(|(name, value)| (name, value.to_owned())));
}

fn app() -> App {
    let file = AppFile::parse("1:key:f").expect("it is an application");
    App::new(0, &file, b"7ad3773142a6692b25b8\n").expect("it is long enough")
}

#[test]
fn an_answer_holds_for_an_hour_at_most() {
    for (fields, seconds) in [
        (&["private, max-age=3600"][..], 3600),
        (&["max-age=3601"], 3600),
        (&["Max-Age=\"5\""], 5),
        (&["max-age=-1"], 0),
        (&["public"], 0),
        (&["max-age=5, no-cache"], 0),
        (&["no-store", "max-age=5"], 0),
    ] {
        let holds = client::max_age(fields.iter().copied());
        assert_eq!(holds, Duration::from_secs(seconds), "{fields:?}");
    }
}

#[test]
fn an_answer_holds_until_its_end_for_its_question() {
    let now = Server::new(Config::default()).expect("it can begin").hub().now();
    let (one, other) = (Mark::of(b"one"), Mark::of(b"other"));
    let mut answers = Answers::default();
    answers.insert(one, now, Duration::from_secs(5));
    let (last, end) = (now + Duration::from_millis(4999), now + Duration::from_secs(5));
    assert!(answers.allow(one, last) && !answers.allow(one, end) && !answers.allow(other, now));
    answers.insert(other, now, Duration::ZERO);
    assert!(!answers.allow(other, now));
}

/// Sixty-four are asked, and 1,024 wait: one more is refused at once.
#[test]
fn so_many_questions_are_open_and_no_more() {
    // The kernel accepts, and nobody answers.
    let (_listener, address) = listens();
    let server = Server::new(Config::default()).expect("it can begin");
    let status = status();
    let pool = Pool::new(client(address), server.handle(), Arc::clone(&status));
    let is_over = Arc::new(AtomicBool::new(false));
    for number in 1..=64 + 1024 {
        assert!(pool.ask(number, b"{}".to_vec(), Arc::clone(&is_over)), "{number}");
    }
    assert!(!pool.ask(1089, b"{}".to_vec(), is_over));
}

/// The next batch that comes, which is answered once that is asked for.
fn batch(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a batch comes");
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(bytes).expect("a head is text").to_ascii_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; len.expect("it has a length").parse().expect("a number")];
    stream.read_exact(&mut body).expect("it comes");
    serde_json::from_slice(&body).expect("it is JSON")
}

fn answer(stream: &mut TcpStream, status: u16) {
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).expect("it is read");
}

fn numbers(batch: &Value) -> Vec<u64> {
    let events = batch["events"].as_array().expect("a list");
    events.iter().map(|event| event["number"].as_u64().expect("a number")).collect()
}

/// So many wait while the backend does not answer; the one after them is lost, and the batch that follows says so.
#[test]
fn what_finds_no_room_is_a_gap_in_the_numbers() {
    let (listener, address) = listens();
    let status = status();
    let teller = Teller::new(client(address), Arc::clone(&status));
    teller.tell(Map::new());
    let (mut stream, _) = listener.accept().expect("it connects");
    assert_eq!(numbers(&batch(&mut stream)), [1]);
    for _ in 0..16_384 {
        teller.tell(Map::new());
    }
    let lost = || status.hook_events_lost.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(lost(), 0);
    teller.tell(Map::new());
    assert_eq!(lost(), 1);
    let mut next = 2;
    while next <= 16_385 {
        answer(&mut stream, 200);
        let batch = batch(&mut stream);
        assert_eq!(batch["lost"], 0);
        let last = (next + 99).min(16_385);
        assert_eq!(numbers(&batch), (next..=last).collect::<Vec<_>>());
        next = last + 1;
    }
    teller.tell(Map::new());
    answer(&mut stream, 200);
    let after = batch(&mut stream);
    assert_eq!((numbers(&after), &after["lost"]), (vec![16_387], &1.into()));
    answer(&mut stream, 200);
}

#[test]
fn an_outage_of_so_many_seconds_costs_nothing() {
    let waits = (1..events::ATTEMPTS).map(events::wait_after);
    assert_eq!(waits.clone().min(), Some(Duration::from_millis(100)));
    assert_eq!(waits.clone().max(), Some(Duration::from_secs(5)));
    assert_eq!(waits.sum::<Duration>(), Duration::from_millis(21_300));
}

/// What the backend does not take at last is given up, and the next batch says so. At the end, what waits is told.
#[test]
fn what_is_given_up_is_a_gap_too() {
    let (listener, address) = listens();
    let status = status();
    let teller = Teller::with_attempts(client(address), Arc::clone(&status), 2);
    teller.tell(Map::new());
    let (mut stream, _) = listener.accept().expect("it connects");
    for _ in 0..2 {
        assert_eq!(numbers(&batch(&mut stream)), [1]);
        answer(&mut stream, 503);
    }
    teller.tell(Map::new());
    let ends = std::thread::spawn(move || drop(teller));
    let last = batch(&mut stream);
    assert_eq!((numbers(&last), &last["lost"]), (vec![2], &1.into()));
    answer(&mut stream, 204);
    ends.join().expect("it ends");
}

/// What a backend says with a status of success is not read: it has taken the events.
#[test]
fn a_status_is_all_that_is_read_of_a_tellers_answer() {
    let long = format!("HTTP/1.1 200 x\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
    for answer in [
        &*long,
        "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
        "HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 201 x\r\nContent-Length: 5\r\n\r\nx",
    ] {
        let (listener, address) = listens();
        let status = status();
        let teller = Teller::with_attempts(client(address), Arc::clone(&status), 2);
        teller.tell(Map::new());
        let (mut stream, _) = listener.accept().expect("it connects");
        batch(&mut stream);
        stream.write_all(answer.as_bytes()).expect("it is read");
        drop((stream, listener));
        drop(teller);
        let of =
            |name: &str| status.metrics().find(|(it, ..)| *it == name).map(|(.., value)| value);
        let counted = ["hook_events_sent", "hook_batches_failed", "hook_events_lost"].map(of);
        assert_eq!(counted, [Some(1), Some(0), Some(0)], "{}", &answer[..40]);
    }
}

/// The end of the server tells what waits, and counts what it can not: what is on its way as well.
#[test]
fn what_is_not_told_at_the_end_is_counted() {
    // The kernel accepts, and nobody answers.
    let (listener, address) = listens();
    let status = status();
    let teller = Teller::new(client(address), Arc::clone(&status));
    teller.tell(Map::new());
    let (mut stream, _) = listener.accept().expect("it connects");
    batch(&mut stream);
    teller.tell(Map::new());
    drop(teller);
    assert_eq!(status.hook_events_lost.load(std::sync::atomic::Ordering::Relaxed), 2);
}

/// A webhook that gives up goes on with what came later, and counts for itself.
#[test]
fn what_a_webhook_gives_up_is_counted() {
    let (listener, address) = listens();
    let status = status();
    let client = client_of(address, Dialect::Pusher(app().into()));
    let teller = Teller::with_attempts(client, Arc::clone(&status), 2);
    let tell = |name: &str| {
        let event = serde_json::json!({ "name": name });
        teller.tell(event.as_object().cloned().expect("an object"));
    };
    tell("lost");
    let (mut stream, _) = listener.accept().expect("it connects");
    for _ in 0..2 {
        assert_eq!(batch(&mut stream)["events"], serde_json::json!([{ "name": "lost" }]));
        answer(&mut stream, 503);
    }
    tell("taken");
    assert_eq!(batch(&mut stream)["events"], serde_json::json!([{ "name": "taken" }]));
    answer(&mut stream, 200);
    end_all([teller]);
    let of = |name: &str| status.metrics().find(|(it, ..)| *it == name).map(|(.., value)| value);
    for (name, value) in [
        ("webhook_events_sent", 1),
        ("webhook_events_lost", 1),
        ("webhook_events_waiting", 0),
        ("webhook_batches_failed", 2),
        ("hook_events_lost", 0),
        ("hook_batches_failed", 0),
    ] {
        assert_eq!(of(name), Some(value), "{name}");
    }
}

/// A backend that refuses long bodies refuses no more than 64 KiB of a webhook's events at once; a longer one is alone.
#[test]
fn a_webhooks_body_has_its_limit() {
    const AROUND: usize = 128;
    let of_len = |len: usize| {
        let fields = "{'name':''}".len();
        serde_json::json!({ "name": "x".repeat(len - fields) })
    };
    for (lens, expected) in [
        ([30_000, 65_536 - AROUND - 30_002, 20].map(of_len), &[2, 1][..]),
        ([30_000, 65_536 - AROUND - 30_001, 20].map(of_len), &[1, 2]),
        ([70_000, 20, 30_000].map(of_len), &[1, 2]),
    ] {
        let (listener, address) = listens();
        let teller = Teller::new(client_of(address, Dialect::Pusher(app().into())), status());
        let tell = |event: Value| teller.tell(event.as_object().cloned().expect("an object"));
        tell(of_len(20));
        let (mut stream, _) = listener.accept().expect("it connects");
        batch(&mut stream);
        lens.into_iter().for_each(tell);
        for count in expected {
            answer(&mut stream, 200);
            let batch = batch(&mut stream);
            assert_eq!(batch["events"].as_array().map(Vec::len), Some(*count));
            assert!(*count == 1 || batch.to_string().len() <= 65_536);
        }
        answer(&mut stream, 200);
    }
}

/// The end of the server waits for the slowest of them.
#[test]
fn several_end_at_once() {
    // The kernel accepts, and nobody answers.
    let backends = [(); 8].map(|()| listens());
    let tellers = backends.each_ref().map(|(_, address)| {
        let teller = Teller::new(client(*address), status());
        teller.tell(Map::new());
        teller
    });
    let begun = web::since_1970();
    end_all(tellers);
    let took = web::since_1970() - begun;
    assert!((5..20).contains(&took.as_secs()), "{took:?}");
}
