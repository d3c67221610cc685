//! Tokens of subjects that may nothing any more, and clients that send many that nobody has signed.

use std::{fs, io::Read, thread};

use serde_json::json;

use super::{File, bearer, connect_as, guarded, in_seconds, open_stream, status, token};
use crate::binary::ask_tcp;
use crate::support::process::{read_close, read_text};

fn of(subject: &str) -> String {
    token(
        &json!({ "exp": in_seconds(3600), "sub": subject, "subscribe": ["*", "$stats"], "publish": ["*"] }),
    )
}

#[test]
fn a_subject_that_is_revoked_is_out_at_once() {
    let list = File::new("revoked", b"eve\n");
    let (server, address, _files) = guarded(&["--revoked-subjects-file", list.path()]);
    let post = |subject: &str| ask_tcp(&address, "POST /t", &bearer(&of(subject)), "x");
    let refused = post("eve");
    assert_eq!(status(&refused), 401, "{refused}");
    assert!(refused.contains("the token's subject (sub) is revoked here"), "{refused}");
    assert_eq!(status(&post("ada")), 200, "verified, and remembered");
    let mut socket = connect_as(&address, "/t", &of("ada"));
    let mut other = connect_as(&address, "/t", &of("ben"));
    let (mut stream, opened) = open_stream(
        &address,
        "/t",
        &format!("Accept: text/event-stream\r\n{}", bearer(&of("ada"))),
    );
    assert_eq!(opened, 200);
    fs::write(list.path(), "eve\n\nada\n").expect("it is written");
    server.signal("HUP");
    assert_eq!(read_close(&mut socket), 4401);
    stream.read_to_end(&mut Vec::new()).expect("the stream ends");
    assert_eq!([post("ada"), post("ben")].map(|it| status(&it)), [401, 200]);
    assert_eq!(read_text(&mut other), "x");
    let metrics = ask_tcp(&address, "GET /metrics", &bearer(&of("ben")), "");
    assert!(metrics.contains("pushloop_tokens_revoked_total 2\n"), "{metrics}");
    fs::write(list.path(), [0xff]).expect("it is written");
    server.signal("HUP");
    assert_eq!(status(&post("ben")), 200, "what cannot be read changes nothing");
}

/// They come at once: what is looked at of them is ten, and a few more if that takes long.
#[test]
fn false_signatures_of_one_client_are_looked_at_ten_times_a_second() {
    let proxy = ["--trust-proxy", "127.0.0.1", "--client-header", "x-forwarded-for"];
    let (_server, address, _files) = guarded(&proxy);
    let fields = |client: &str, credential: &str| {
        format!("X-Forwarded-For: {client}\r\n{}", bearer(credential))
    };
    let ask = |client: &str, credential: &str| {
        ask_tcp(&address, "POST /t", &fields(client, credential), "x")
    };
    let good = of("ada");
    assert_eq!(status(&ask("192.0.2.1", &good)), 200);
    let mut other = good.clone();
    other.replace_range(other.len() - 4.., "AAAA");
    let answers: Vec<_> = thread::scope(|scope| {
        let asks: Vec<_> = (0..100).map(|_| scope.spawn(|| ask("192.0.2.1", &other))).collect();
        asks.into_iter().map(|it| it.join().expect("it is answered")).collect()
    });
    let count = |wanted| answers.iter().filter(|it| status(it) == wanted).count();
    let (looked, limited) = (count(401), count(429));
    assert!(looked >= 10 && limited > 0 && looked + limited == 100, "{looked} and {limited}");
    let answer = answers.iter().find(|it| status(it) == 429).expect("there is one");
    assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
    assert!(answer.contains("false_signatures_per_second = 10"), "{answer}");
    // What was good a moment ago still is, another client is not held up, nor is this machine.
    assert_eq!(status(&ask("192.0.2.1", &good)), 200);
    assert_eq!(status(&ask("192.0.2.2", &other)), 401);
    let here: Vec<_> = (0..12).map(|_| status(&ask("127.0.0.1", &other))).collect();
    assert_eq!(here, [401; 12]);
}
