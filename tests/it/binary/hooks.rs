//! A backend that is asked who may subscribe and publish, and told who comes and goes.

pub mod backend;
mod events;
mod messages;

use std::{
    io::Write,
    mem,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, RwLock},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use self::backend::{Backend, Got, held, reply, yes};
use super::{
    ask_tcp, serve,
    tokens::{File, handshake_status, status, stream_status},
};
use crate::support::{
    handshake,
    http::{dial, read_head},
    process::{Process, bounded},
};

const SECRET: &[u8] = b"a secret of hooks\n";

/// A server that asks this backend.
fn asking(backend: &Backend, kinds: &[&str], arguments: &[&str]) -> (Process, String) {
    let url = backend.url();
    let mut all = vec!["--hook-url", &*url];
    kinds.iter().for_each(|kind| all.extend(["--hook-event", kind]));
    serve(&[&all, arguments].concat())
}

/// The value of a metric, which are not asked about here.
#[track_caller]
pub fn metric(address: &str, name: &str) -> u64 {
    let metrics = ask_tcp(address, "GET /metrics", "", "");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("pushloop_{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {metrics}")).parse().expect("a number")
}

/// What a question says, and that it is signed as the docs say.
#[track_caller]
fn asked(backend: &Backend) -> Value {
    let got = backend.next();
    let signature = got.field("pushloop-signature").expect("it is signed");
    let (time, code) = signature.split_once(",v1=").expect("a time and a code");
    let time = time.strip_prefix("t=").expect("a time");
    assert!(time.parse::<i64>().expect("seconds").abs_diff(super::tokens::in_seconds(0)) < 60);
    let signed = [time.as_bytes(), b".", &got.body].concat();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.trim_ascii());
    let expected = ring::hmac::sign(&key, &signed);
    let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(code, expected);
    assert_eq!(got.field("content-type"), Some("application/json"));
    assert!(got.head.starts_with("POST /hook?from=pushloop HTTP/1.1\r\n"), "{}", got.head);
    got.json()
}

/// By every way in, and the answer holds for it.
#[test]
fn every_door_asks_the_backend() {
    let backend = Backend::start(|got: &Got| match got.json()["topics"][0].as_str() {
        Some("yes") => yes(),
        Some("yes2") => reply(200, "", " {\"allow\": true, \"user\": 1}\n"),
        Some("no") => reply(200, "", "{\"allow\":false,\"reason\":\"not\\nyou\"}"),
        _ => reply(403, "Content-Type: text/plain; charset=utf-8\r\n", "not here\nnor there"),
    });
    let secret = File::new("hook-secret", SECRET);
    let more = ["--presence", "--hook-secret-file", secret.path()];
    let more = [&more[..], &["--hook-forward-header", "Cookie"]].concat();
    let (_server, address) = asking(&backend, &["subscribe", "publish"], &more);
    let cookie = "Cookie: a=1\r\nCookie: b=2\r\nAuthorization: Basic x\r\n";
    let question = |kind: &str, names: &[&str]| json!({ "type": kind, "topics": names, "client": "127.0.0.1", "headers": { "cookie": "a=1; b=2" } });
    for (name, expected, why) in [
        ("yes", 200, ""),
        ("yes2", 200, ""),
        ("no", 403, "not you"),
        ("other", 403, "not here"),
        ("$stats", 403, "not here"),
    ] {
        let path = format!("/{name}");
        assert_eq!(handshake_status(&address, &path, cookie), expected, "{name}");
        assert_eq!(stream_status(&address, &path, cookie), expected, "{name}");
        assert_eq!(
            [asked(&backend), asked(&backend)],
            [(); 2].map(|()| question("subscribe", &[name]))
        );
        if name.starts_with('$') {
            continue;
        }
        let both = format!("{path},b");
        let line = json!({ "topic": name, "data": "x" }).to_string();
        let lines = format!("{cookie}Content-Type: application/x-ndjson\r\n");
        for (path, fields, body, names) in [
            (&*path, cookie, "x", &[name][..]),
            (&*both, cookie, "x", &[name, "b"]),
            ("/", &*lines, &*format!("{line}\n{line}"), &[name]),
        ] {
            let answer = ask_tcp(&address, &format!("POST {path}"), fields, body);
            assert_eq!(status(&answer), expected, "{answer}");
            assert!(answer.trim_end().ends_with(why), "{answer}");
            assert_eq!(asked(&backend), question("publish", names));
        }
    }
    for (path, names) in [("/yes?presence", "$presence/yes"), ("/metrics", "$stats")] {
        assert_eq!(status(&ask_tcp(&address, &format!("GET {path}"), cookie, "")), 403, "{path}");
        assert_eq!(asked(&backend), question("subscribe", &[names]));
    }
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(status(&ask_tcp(&address, &format!("GET {path}"), "", "")), 200, "{path}");
    }
    assert!(backend.has_no_more());
}

/// Whatever the backend does, and both policies for that.
#[test]
fn a_backend_that_fails_is_as_its_policy_says() {
    let long = |len: usize| reply(200, "", &format!("{{\"allow\":true}}{}", " ".repeat(len - 14)));
    let to = "Location: /elsewhere\r\n";
    for (answer, counter) in [
        (reply(500, "", "{\"allow\":true}"), "bad_status"),
        (reply(302, to, ""), "bad_status"),
        (reply(401, "", ""), "bad_status"),
        (reply(200, "", "<html>Log in"), "bad_answer"),
        (reply(200, "", "[true,null]"), "bad_answer"),
        (reply(200, "", "{}"), "bad_answer"),
        (reply(200, "", "{\"allow\":1}"), "bad_answer"),
        (reply(200, "", "{\"allow\":false,\"allow\":true}"), "bad_answer"),
        (b"\x16\x03\x01 garbage\r\n\r\n".to_vec(), "bad_answer"),
        (b"HTTP/1.1 200 x\r\nContent-Length: 20\r\n\r\n{\"allow\":true}".to_vec(), "timed_out"),
        (Vec::new(), "unreachable"),
        (long(64 * 1024 + 1), "bad_answer"),
        (long(64 * 1024), "allowed"),
    ] {
        for allows in [false, true] {
            let answer = answer.clone();
            let backend = Backend::start(move |_: &Got| answer.clone());
            let more: &[&str] = if allows { &["--hook-allow-on-failure"] } else { &[] };
            let more = [&["--hook-timeout", "500"], more].concat();
            let (_server, address) = asking(&backend, &["publish"], &more);
            let told = ask_tcp(&address, "POST /t", "", "x");
            let is_refused = !allows && counter != "allowed";
            assert_eq!(status(&told), if is_refused { 503 } else { 200 }, "{counter} {told}");
            assert_eq!(told.contains("\r\nRetry-After: 1\r\n"), is_refused, "{told}");
            assert_eq!(metric(&address, &format!("hook_questions_{counter}_total")), 1, "{told}");
            let elsewhere = |got: &Got| got.head.contains("/elsewhere");
            assert!(!elsewhere(&backend.next()), "{counter}");
            assert!(counter == "unreachable" || backend.has_no_more(), "{counter}");
        }
    }
}

#[test]
fn a_backend_that_is_silent_or_away_is_not_waited_for() {
    // The kernel accepts, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let away = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr();
    let silent_address = silent.local_addr().expect("it is bound");
    for (backend, counter) in
        [(silent_address, "timed_out"), (away.expect("it was bound"), "unreachable")]
    {
        let url = format!("http://{backend}/");
        let arguments = ["--hook-url", &url, "--hook-event", "publish", "--hook-timeout", "50"];
        let (_server, address) = serve(&arguments);
        let told = ask_tcp(&address, "POST /t", "", "x");
        assert_eq!(status(&told), 503, "{told}");
        assert_eq!(metric(&address, &format!("hook_questions_{counter}_total")), 1);
        assert_eq!(status(&ask_tcp(&address, "GET /healthz", "", "")), 200);
    }
}

/// A yes holds as long as the backend says, for the same question of the same client.
#[test]
fn an_answer_holds_as_its_cache_control_says() {
    for (cache, holds) in [
        ("Cache-Control: private, max-age=60\r\n", true),
        ("Cache-Control: max-age=99999999999\r\n", true),
        ("", false),
        ("Cache-Control: max-age=0\r\n", false),
        ("Cache-Control: max-age=x\r\n", false),
        ("Cache-Control: max-age=60\r\nCache-Control: no-store\r\n", false),
    ] {
        let backend = Backend::start(move |got: &Got| {
            let refuses = got.json()["topics"][0] == "no";
            reply(if refuses { 403 } else { 200 }, cache, "")
        });
        let (_server, address) = asking(&backend, &["publish"], &[]);
        let posts = |path: &str, expected: u16, is_asked: bool| {
            assert_eq!(status(&ask_tcp(&address, &format!("POST {path}"), "", "x")), expected);
            if is_asked {
                backend.next();
            }
            assert!(backend.has_no_more(), "{cache:?} {path}");
        };
        posts("/a", 200, true);
        posts("/a", 200, !holds);
        posts("/b", 200, true);
        posts("/no", 403, true);
        posts("/no", 403, true);
        let cached = metric(&address, "hook_questions_cached_total");
        assert_eq!(cached, u64::from(holds), "{cache:?}");
    }
}

/// What has the key is the backend itself; and the subject of a token is named.
#[test]
fn tokens_are_asked_for_first() {
    let backend = Backend::start(|_: &Got| yes());
    let url = backend.url();
    let hooks = ["--hook-url", &url, "--hook-event", "publish", "--hook-event", "subscribe"];
    let (_server, address, _files) = super::tokens::guarded(&hooks);
    let bearer = super::tokens::bearer;
    let post = |fields: &str| status(&ask_tcp(&address, "POST /t", fields, "x"));
    assert_eq!(post(""), 401);
    assert_eq!(post(&bearer(super::tokens::PUBLISH_KEY)), 200);
    assert!(backend.has_no_more());
    let claims = json!({ "exp": super::tokens::in_seconds(60), "sub": "ann", "publish": ["t"] });
    assert_eq!(post(&bearer(&super::tokens::token(&claims))), 200);
    assert_eq!(backend.next().json()["sub"], "ann");
}

/// A hook that decides who publishes is enough to listen beyond this machine; one that is told is not.
#[test]
fn what_does_not_go_together_is_refused() {
    let url = ["--hook-url", "http://127.0.0.1:9/"];
    let everywhere = ["--listen", "0.0.0.0:0"];
    let short = File::new("hook-short", b"fifteen letters\n");
    for (arguments, named) in [
        (&["--hook-event", "publish"][..], "--hook-url"),
        (&["--hook-timeout", "5"], "--hook-url"),
        (&url, "--hook-event"),
        (&[&url[..], &["--hook-event", "publishes"]].concat(), "vacated"),
        (
            &[&url[..], &["--hook-event", "connect", "--hook-allow-on-failure"]].concat(),
            "subscribe",
        ),
        (&[&url[..], &["--hook-event", "publish", "--hook-timeout", "0"]].concat(), "20000"),
        (&[&url[..], &["--hook-event", "publish", "--hook-timeout", "20001"]].concat(), "20000"),
        (&[&url[..], &["--hook-event", "publish", "--hook-forward-header", "a b"]].concat(), "a b"),
        (
            &[&url[..], &["--hook-event", "publish", "--hook-secret-file", short.path()]].concat(),
            "hook_secret_bytes_min = 16",
        ),
        (&[&url[..], &["--hook-event", "connect"], &everywhere].concat(), "--hook-event publish"),
        (&["--hook-url", "ftp://127.0.0.1/", "--hook-event", "publish"], "https://HOST"),
        (&[&url[..], &["--hook-event", "publish", "--backend-ca", short.path()]].concat(), "https"),
        (&["--hook-url", "http://user@127.0.0.1/", "--hook-event", "publish"], "HOST"),
        (&["--hook-url", "127.0.0.1:80", "--hook-event", "publish"], "HOST"),
        (&["--hook-url", "http:///x", "--hook-event", "publish"], "HOST"),
    ] {
        let output = bounded(super::PUSHLOOP).arg("check").args(arguments).output();
        let output = output.expect("it runs");
        let told = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && told.contains(named), "{arguments:?}: {told}");
    }
    let right =
        [&url[..], &["--hook-event", "publish", "--hook-timeout", "20000"], &everywhere].concat();
    let output = bounded(super::PUSHLOOP).arg("check").args(&right).output();
    assert!(output.expect("it runs").status.success());
}

/// More come at once than may wait: those are told so at once, come again, and all get in.
#[test]
fn a_storm_of_clients_that_come_back_converges() {
    const CLIENTS: usize = 2000;
    const OPEN_MAX: usize = 64 + 1024;
    let gate = Arc::new(RwLock::new(()));
    let (closed, opens) = (gate.write().expect("nobody panics"), Arc::clone(&gate));
    let backend = Backend::start(move |_: &Got| {
        drop(opens.read());
        thread::sleep(Duration::from_millis(50));
        yes()
    });
    let more = ["--hook-timeout", "20000", "--metrics-listen", "127.0.0.1:0"];
    let (mut server, address) = asking(&backend, &["subscribe"], &more);
    let metrics = server.address("metrics at http://");
    let comes = || {
        let mut stream = dial(&address);
        stream.write_all(handshake("/t", "").as_bytes()).expect("the server reads");
        stream
    };
    let mut asks: Vec<_> = (0..CLIENTS).map(|_| comes()).collect();
    while metric(&metrics, "hook_questions_turned_away_total") < (CLIENTS - OPEN_MAX) as u64 {}
    drop(closed);
    let mut open = Vec::new();
    for expected in [OPEN_MAX, CLIENTS - OPEN_MAX] {
        let (before, mut refused) = (open.len(), 0);
        for mut stream in mem::take(&mut asks) {
            let head = read_head(&mut stream).expect("the server answers");
            let head = String::from_utf8_lossy(&head);
            match status(&head) {
                101 => open.push(stream),
                503 if head.contains("\r\nRetry-After: 1\r\n") => refused += 1,
                _ => panic!("{head}"),
            }
        }
        assert_eq!(open.len() - before, expected);
        asks.extend((0..refused).map(|_| comes()));
    }
    assert!(asks.is_empty());
}

/// Where each thread waits for an answer, a handshake waits; when its client leaves, it is not asked about.
#[test]
fn what_nobody_waits_for_is_not_asked() {
    let (release, answer) = held(yes());
    let backend = Backend::start(answer);
    let (_server, address) =
        asking(&backend, &["publish", "subscribe"], &["--hook-timeout", "20000"]);
    let post = "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    let ask = |request: &str| {
        let mut stream = dial(&address);
        stream.write_all(request.as_bytes()).expect("the server reads");
        stream
    };
    let mut posts: Vec<_> = (0..64).map(|_| ask(post)).collect();
    let head = |stream: &mut TcpStream| {
        let head = read_head(stream).expect("the server answers");
        status(&String::from_utf8_lossy(&head))
    };
    let mut leaves = ask(&handshake("/t", ""));
    leaves.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(head(&mut leaves), 503);
    let mut stays = ask(&handshake("/t", ""));
    drop(release);
    assert!(posts.iter_mut().all(|stream| head(stream) == 200));
    assert_eq!(head(&mut stays), 101);
    let kinds: Vec<_> = (0..65).map(|_| backend.next().json()["type"].to_string()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "\"subscribe\"").count(), 1);
    assert!(backend.has_no_more());
}
