//! How much one client, or one that tokens name, may publish and have.

use serde_json::json;
use tungstenite::Message;

use super::{
    PUBLISH_KEY, bearer, connect_as, guarded, handshake_status, in_seconds, status, token,
};
use crate::binary::{ask_tcp, serve};
use crate::support::process::read_close;

/// A token of this subject, which may do all.
fn of(subject: &str) -> String {
    let claims =
        json!({ "exp": in_seconds(3600), "sub": subject, "subscribe": ["*"], "publish": ["*"] });
    token(&claims)
}

/// What is in how many seconds, of an answer that says to come back.
fn retry_after(answer: &str) -> u64 {
    let (_, rest) = answer.split_once("Retry-After: ").unwrap_or_else(|| panic!("{answer}"));
    rest.split("\r\n").next().and_then(|it| it.parse().ok()).expect("a number")
}

/// Of sixty in one request, each is a second's.
#[test]
fn a_client_publishes_so_much_in_a_second() {
    let proxy = ["--anyone-may-publish", "--trust-proxy", "127.0.0.1"];
    let header = ["--client-header", "x-forwarded-for", "--publications-per-second", "1"];
    let (_server, address) = serve(&[&proxy[..], &header].concat());
    let from = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let lines = "{\"topic\":\"t\",\"data\":\"x\"}\n".repeat(60);
    let batch = |client: &str| {
        let fields = from(client) + "Content-Type: application/x-ndjson\r\n";
        ask_tcp(&address, "POST /", &fields, &lines)
    };
    let post = |client: &str| ask_tcp(&address, "POST /t", &from(client), "x");
    for (client, same) in [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8::1", "2001:db8::2")] {
        assert_eq!(status(&batch(client)), 200);
        let answer = post(same);
        assert_eq!(status(&answer), 429, "{answer}");
        assert!((50..=60).contains(&retry_after(&answer)), "{answer}");
        assert!(answer.contains("--publications-per-second"), "{answer}");
    }
    assert_eq!(status(&post("192.0.2.2")), 200, "another client");
    for _ in 0..2 {
        assert_eq!(status(&batch("127.0.0.1")), 200, "this machine");
    }
    let metrics = ask_tcp(&address, "GET /metrics", "", "");
    assert!(metrics.contains("pushloop_publishers_limited_total 2\n"), "{metrics}");
}

#[test]
fn a_subject_publishes_so_many_bytes_in_a_second() {
    let (_server, address, _files) = guarded(&["--publication-bytes-per-second", "100"]);
    let post = |credential: &str| {
        let answer = ask_tcp(&address, "POST /a,b", &bearer(credential), &"x".repeat(10_000));
        status(&answer)
    };
    let [ada, ben] = ["ada", "ben"].map(of);
    assert_eq!([post(&ada), post(&ada), post(&ben)], [200, 429, 200]);
    let mut socket = connect_as(&address, "/t", &of("eve"));
    for _ in 0..2 {
        socket.send(Message::Text("x".repeat(10_000).into())).expect("it is open");
    }
    assert_eq!(read_close(&mut socket), 1013);
    // Their connections do not matter, and a backend has no limit.
    let mut socket = connect_as(&address, "/t", &ada);
    socket.send(Message::Text("x".into())).expect("it is open");
    assert_eq!(read_close(&mut socket), 1013);
    assert_eq!([(); 3].map(|()| post(PUBLISH_KEY)), [200; 3]);
}

#[test]
fn a_subject_has_so_many_connections() {
    ["1", "2"].into_iter().for_each(a_subject_has_so_many);
}

/// Wherever they are: with several loops, one after the other is of each in turns.
fn a_subject_has_so_many(loops: &str) {
    let (_server, address, _files) = guarded(&["--loops", loops, "--subject-connections-max", "2"]);
    let ada = of("ada");
    let opens = |credential: &str| handshake_status(&address, "/t", &bearer(credential));
    let first = connect_as(&address, "/t", &ada);
    let _second = connect_as(&address, "/u", &ada);
    assert_eq!(opens(&ada), 429);
    assert_eq!(opens(&of("ben")), 200);
    let nameless = token(&json!({ "exp": in_seconds(3600), "subscribe": ["*"] }));
    assert_eq!([(); 3].map(|()| opens(&nameless)), [200; 3], "it names nobody");
    // What is refused otherwise takes no place.
    let wrong = format!("{}Sec-WebSocket-Version: 12\r\n", bearer(&of("eve")));
    for _ in 0..3 {
        assert_eq!(handshake_status(&address, "/t?envelope=x", &bearer(&of("eve"))), 400);
        assert_ne!(handshake_status(&address, "/t", &wrong), 101);
    }
    assert_eq!(opens(&of("eve")), 200);
    drop(first);
    assert!((0..10_000).any(|_| opens(&ada) != 429), "there is a place again");
}
