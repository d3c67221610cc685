use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicU64, AtomicUsize},
    time::SystemTime,
};

use pushloop::{Config, Server};
use serde_json::json;

use super::*;

/// A key of RFC 8037 §A.2.
const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

const TIMEOUT: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_secs(3600);

fn keys(count: usize) -> String {
    let key = |nth| json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "kid": format!("k{nth}") });
    json!({ "keys": (0..count).map(key).collect::<Vec<_>>() }).to_string()
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What has keys: it answers each request in this way, which is told how many came before.
struct Issuer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(answer: impl Fn(&mut TcpStream, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (requests, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let counted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                let mut stream = stream.expect("it accepts");
                thread::spawn(move || {
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read(&mut byte) {
                            Ok(1) => head.push(byte[0]),
                            Ok(_) | Err(_) => return,
                        }
                    }
                    answer(&mut stream, counted.fetch_add(1, Ordering::SeqCst));
                });
            }
        });
        Self { address, requests }
    }

    fn says(answer: Vec<u8>) -> Self {
        // The other side may have had enough.
        Self::start(move |stream, _| drop(stream.write_all(&answer)))
    }

    fn source(&self) -> Source {
        Source::parse(&format!("http://{}/keys", self.address)).expect("it is one")
    }

    fn client(&self) -> Client {
        Client::new(&self.source(), TIMEOUT, trust())
    }

    fn fetch(&self) -> Result<Fetched, Failed> {
        self.client().fetch()
    }

    fn set(&self, pace: Pace, status: &Arc<Status>) -> KeySet {
        let server = Server::new(Config::default()).expect("it can begin");
        KeySet::begin(self.client(), pace, server.handle(), Arc::clone(status)).expect("it begins")
    }
}

fn trust() -> TlsConfig {
    web::trust("http://localhost/", None).expect("it trusts nobody")
}

fn status() -> Arc<Status> {
    Arc::new(Status::new(SystemTime::UNIX_EPOCH))
}

/// Waits until it is so, and not for ever.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let comes = (0..20_000).any(|_| {
        let is = is_so();
        if !is {
            thread::sleep(SOON);
        }
        is
    });
    assert!(comes, "it has not come to be so");
}

type Counter = fn(&Status) -> &AtomicU64;

type Act = Box<dyn Fn(&mut TcpStream) + Send + Sync>;

/// An answer behind `HTTP/1.1 `.
fn says(answer: &'static str) -> Act {
    Box::new(move |stream| drop(stream.write_all(format!("HTTP/1.1 {answer}").as_bytes())))
}

/// One that begins so, and goes on with this for as long as somebody reads, slowly or at once.
fn goes_on(head: &'static str, piece: &[u8], pause: Duration) -> Act {
    let piece = piece.to_vec();
    Box::new(move |stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 x\r\n{head}").as_bytes());
        while stream.write_all(&piece).is_ok() {
            thread::sleep(pause);
        }
    })
}

/// What an issuer may do, and its own counter and sentence.
fn faults() -> Vec<(Act, Counter, &'static str)> {
    let unreachable: Counter = |it| &it.jwks_fetches_unreachable;
    let timed_out: Counter = |it| &it.jwks_fetches_timed_out;
    let bad_status: Counter = |it| &it.jwks_fetches_bad_status;
    let too_long: Counter = |it| &it.jwks_fetches_too_long;
    let bad_answer: Counter = |it| &it.jwks_fetches_bad_answer;
    let drips = |head| goes_on(head, b"x", Duration::from_millis(5));
    let floods = |head, piece: &[u8]| goes_on(head, piece, Duration::ZERO);
    let chunk = [b"10000\r\n", &[b' '; 1 << 16][..], b"\r\n"].concat();
    let body = |text: String| -> Act { Box::new(move |it| drop(it.write_all(&ok(&text)))) };
    vec![
        (Box::new(|_: &mut TcpStream| {}), unreachable, "disconnected"),
        (Box::new(|it: &mut TcpStream| drop(it.read(&mut [0]))), timed_out, "in time"),
        (drips("X: "), timed_out, "in time"),
        (drips("Content-Length: 1000000\r\n\r\n"), timed_out, "in time"),
        // A gigabyte, and what never ends.
        (
            floods("Content-Length: 1073741824\r\n\r\n", &chunk),
            too_long,
            "key_set_bytes_max = 1048576",
        ),
        (floods("Transfer-Encoding: chunked\r\n\r\n", &chunk), too_long, "key_set_bytes_max"),
        (floods("\r\n", &chunk), too_long, "key_set_bytes_max"),
        (floods("X: ", &[b'x'; 1 << 16]), too_long, "header is too big"),
        (floods("", &b"X: x\r\n".repeat(1000)), bad_answer, "too many headers"),
        (says("500 x\r\nContent-Length: 0\r\n\r\n"), bad_status, "the status 500"),
        (says("204 x\r\n\r\n"), bad_status, "the status 204"),
        (
            says("302 x\r\nLocation: /keys\r\nContent-Length: 0\r\n\r\n"),
            bad_status,
            "302, a redirect, which is not followed",
        ),
        (says("200 x\r\nContent-Length: 60\r\n\r\n{\"keys\":["), unreachable, "disconnected"),
        (says("x"), bad_answer, "protocol"),
        (body("<html>".to_owned()), bad_answer, "it is no JSON"),
        (body("{}".to_owned()), bad_answer, "no array of keys"),
        (body("{\"keys\":[]}".to_owned()), bad_answer, "no key of it can be used"),
        (body("[".repeat(100_000)), bad_answer, "it is no JSON"),
        (body(keys(65)), bad_answer, "keys_max = 64"),
    ]
}

/// Whatever the issuer does, its keys of before are good, and its own counter says what it was.
#[test]
fn a_fetch_that_fails_leaves_the_keys_of_before() {
    let pace = Pace { timeout: TIMEOUT, max_age: SOON, refetch: SOON };
    for (nth, (act, counter, why)) in faults().into_iter().enumerate() {
        let issuer = Issuer::start(move |stream, before| match before {
            0 => drop(stream.write_all(&ok(&keys(1)))),
            _ => act(stream),
        });
        let status = status();
        let set = issuer.set(pace, &status);
        set.wait().unwrap_or_else(|why| panic!("{nth}: {why}"));
        until(|| set.0.0.lock().failure.is_some());
        let latest = set.latest();
        assert_eq!((latest.keys.len(), latest.at.is_some()), (1, true), "{nth}");
        let told = set.0.0.lock().failure.clone().expect("it has failed");
        assert!(told.contains(why) && !told.contains('\n'), "{nth}: {told}");
        assert!(counter(&status).load(Ordering::Relaxed) > 0, "{nth}: {told}");
        assert_eq!(status.jwks_fetches.load(Ordering::Relaxed), 1, "{nth}");
    }
}

/// Not even to one that has good keys: where they are is the operator's to say.
#[test]
fn a_redirect_is_not_followed() {
    let other = Issuer::says(ok(&keys(1)));
    let elsewhere = other.source().url;
    let moved = format!("HTTP/1.1 301 x\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
    let failed = Issuer::says(moved.into_bytes()).fetch().expect_err("it has no keys");
    assert_eq!(failed.failure, Failure::Status);
    assert_eq!(other.requests.load(Ordering::SeqCst), 0);
}

/// At first, nothing listens there. It is tried again by itself, and has keys when it answers.
#[test]
fn an_issuer_that_is_away_is_tried_again() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it is bound")
    };
    let source = Source::parse(&format!("http://{address}/")).expect("it is one");
    let pace = Pace { timeout: TIMEOUT, max_age: Duration::from_millis(20), refetch: SOON };
    let (status, server) = (status(), Server::new(Config::default()).expect("it can begin"));
    let client = Client::new(&source, TIMEOUT, trust());
    let set = KeySet::begin(client, pace, server.handle(), Arc::clone(&status)).expect("it begins");
    let why = set.wait().unwrap_err();
    assert!(why.starts_with(&format!("http://{address}/: ")), "{why}");
    until(|| status.jwks_fetches_unreachable.load(Ordering::Relaxed) > 2);
    assert!(set.latest().at.is_none());
}

/// Of bytes and of keys: so many, and no more.
#[test]
fn a_set_has_so_many_bytes_and_keys() {
    let padded = |len: usize| {
        let set = keys(1);
        ok(&format!("{set}{}", " ".repeat(len - set.len())))
    };
    assert_eq!(Issuer::says(padded(1 << 20)).fetch().expect("it is good").keys.len(), 1);
    let failed = Issuer::says(padded((1 << 20) + 1)).fetch().expect_err("it is too long");
    assert_eq!(failed.failure, Failure::TooLong);
    assert_eq!(Issuer::says(ok(&keys(64))).fetch().expect("it is good").keys.len(), 64);
    let failed = Issuer::says(ok(&keys(65))).fetch().expect_err("it has too many");
    assert_eq!(failed.failure, Failure::Answer);
}

#[test]
fn an_answer_holds_no_longer_than_it_says_and_a_minute_at_least() {
    let seconds = Duration::from_secs;
    for (said, longest, expected) in [
        (None, 600, 600),
        (Some(0), 600, 60),
        (Some(59), 600, 60),
        (Some(61), 600, 61),
        (Some(601), 600, 600),
        (Some(0), 5, 5),
        (None, 5, 5),
    ] {
        let holds = holds(said.map(seconds), seconds(longest));
        assert_eq!(holds, seconds(expected), "{said:?} {longest}");
    }
}

/// Whoever wants it, and however often: one fetch at a time, and none in the pause after it.
#[test]
fn one_fetch_answers_all_that_want_it() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opens, seen) = (Arc::clone(&open), Arc::clone(&most));
    let issuer = Issuer::start(move |stream, _| {
        seen.fetch_max(opens.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(SOON);
        opens.fetch_sub(1, Ordering::SeqCst);
        let _ = stream.write_all(&ok(&keys(1)));
    });
    let pace = Pace { timeout: TIMEOUT, max_age: LATE, refetch: SOON };
    let set = issuer.set(pace, &status());
    until(|| {
        set.want();
        issuer.requests.load(Ordering::SeqCst) > 20
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
    drop(set);
    // The pause: what is asked meanwhile is answered by others, again and again.
    let issuer = Issuer::says(ok(&keys(1)));
    let set = issuer.set(Pace { refetch: LATE, ..pace }, &status());
    set.wait().expect("it is fetched");
    for _ in 0..100 {
        set.want();
        issuer.fetch().expect("it answers");
    }
    assert_eq!(issuer.requests.load(Ordering::SeqCst), 1 + 100);
}

/// The thread ends with the last that has the set, also in its pause.
#[test]
fn a_set_that_nobody_has_is_fetched_no_more() {
    let issuer = Issuer::says(ok(&keys(1)));
    let set = issuer.set(Pace { timeout: TIMEOUT, max_age: LATE, refetch: LATE }, &status());
    set.wait().expect("it is fetched");
    let (shared, another) = (Arc::downgrade(&set.0.0), set.clone());
    drop(set);
    assert!(shared.upgrade().is_some());
    drop(another);
    until(|| shared.upgrade().is_none());
}

/// The same bytes are the same keys: what they have verified stays in the cache.
#[test]
fn keys_change_with_the_answer_alone() {
    let count = Arc::new(AtomicUsize::new(1));
    let given = Arc::clone(&count);
    let issuer = Issuer::start(move |stream, _| {
        let _ = stream.write_all(&ok(&keys(given.load(Ordering::SeqCst))));
    });
    let (status, pace) = (status(), Pace { timeout: TIMEOUT, max_age: LATE, refetch: SOON });
    let set = issuer.set(pace, &status);
    set.wait().expect("it is fetched");
    let first = set.latest().keys;
    until(|| {
        set.want();
        status.jwks_fetches.load(Ordering::Relaxed) > 3
    });
    assert!(Arc::ptr_eq(&first, &set.latest().keys));
    count.store(2, Ordering::SeqCst);
    until(|| {
        set.want();
        set.latest().keys.len() == 2
    });
    assert_eq!(first.len(), 1);
}

#[test]
fn keys_that_cannot_be_fetched_are_good_for_a_day() {
    let at = 1_700_000_000;
    let (fetched, _) = crate::auth::key_set(keys(1).as_bytes()).expect("they are keys");
    let latest = Latest { keys: Arc::new(fetched), at: Some(at) };
    let mut state = State { latest, hash: vec![1], ..State::default() };
    state.forget(at + 24 * 3600);
    assert_eq!((state.latest.keys.len(), state.latest.at), (1, Some(at)));
    state.forget(at + 24 * 3600 + 1);
    assert_eq!((state.latest.keys.len(), state.latest.at, state.hash.len()), (0, None, 0));
}
