//! What one sees who runs the server, and nobody else.

use std::{io::Write, thread, time::Duration};

use serde_json::Value;

use super::tokens::{PUBLISH_KEY, bearer, granting, guarded, status};
use super::{ask_tcp, serve};
use crate::support::http::{dial, read_head};
use crate::support::{PATIENCE, handshake};

/// What `/$operator` says.
fn sees(address: &str, fields: &str) -> Value {
    let answer = ask_tcp(address, "GET /$operator", fields, "");
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("\r\nCache-Control: no-store\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("it has a body");
    assert!(body.len() < 100_000, "{} bytes", body.len());
    serde_json::from_str(body).expect("it is JSON")
}

/// What it says once that is so: it looks once in a second.
fn sees_at_last(address: &str, fields: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..PATIENCE.as_millis() / 50 {
        let seen = sees(address, fields);
        if is_so(&seen) {
            return seen;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("it is not seen: {}", sees(address, fields));
}

fn publish(address: &str, topic: &str, body: &str) {
    let answer = ask_tcp(address, &format!("POST /{topic}"), &bearer(PUBLISH_KEY), body);
    assert_eq!(status(&answer), 200, "{answer}");
}

#[test]
fn it_is_for_those_whose_token_says_so() {
    let asks = |address: &str, credential: &str| {
        let fields = bearer(credential);
        let statuses = ["GET", "HEAD"]
            .map(|method| status(&ask_tcp(address, &format!("{method} /$operator"), &fields, "")));
        assert_eq!(statuses[0], statuses[1]);
        statuses[0]
    };
    for more in [&[][..], &["--anyone-may-subscribe"]] {
        let (_server, address, _files) = guarded(more);
        for (credential, expected) in [
            ("", 401),
            ("not.a.token", 401),
            (PUBLISH_KEY, 403),
            (&granting(&["*", "$stats", "operator"], &["*", "$operator"]), 403),
            (&granting(&["$operator"], &[]), 200),
            (&granting(&["$*"], &[]), 200),
        ] {
            assert_eq!(asks(&address, credential), expected, "{credential}");
        }
        // The page is there for all, and has nothing in it.
        assert_eq!(status(&ask_tcp(&address, "GET /?operator", "", "")), 200);
        assert_eq!(status(&ask_tcp(&address, "POST /$operator", &bearer(PUBLISH_KEY), "x")), 403);
    }
    // Where nobody is told from anybody, nobody is an operator.
    let (_server, address) = serve(&[]);
    let answer = ask_tcp(&address, "GET /$operator", "", "");
    assert!(status(&answer) == 403 && answer.contains("there are no keys"), "{answer}");
    let metrics = ask_tcp(&address, "GET /metrics", "", "");
    assert!(metrics.contains("\npushloop_tokens_insufficient_total 1\n"), "{metrics}");
}

#[test]
fn an_operator_sees_what_carries_most_who_lags_and_what_is_refused() {
    let (_server, address, _files) = guarded(&["--on-lag", "skip"]);
    let fields = bearer(&granting(&["$operator"], &[]));
    // Nothing was looked at before, and now it is.
    publish(&address, "before", "x");
    let first = sees(&address, &fields);
    let none = Value::Array(Vec::new());
    assert_eq!((&first["topics"], &first["laggards"]), (&none, &none), "{first}");

    let reads_nothing = bearer(&granting(&["busy"], &[]));
    let mut lags = dial(&address);
    lags.write_all(handshake("/busy", &reads_nothing).as_bytes()).expect("the server reads");
    read_head(&mut lags).expect("the server answers");
    let large = "x".repeat(60_000);
    publish(&address, "quiet", "x");
    // More than the kernel's buffers have room for.
    for _ in 0..400 {
        publish(&address, "busy", &large);
    }
    ask_tcp(&address, "POST /busy", "", "x");

    let seen = sees_at_last(&address, &fields, |seen| seen["laggards"] != none);
    let laggard = &seen["laggards"][0];
    assert_eq!((&laggard["client"], &laggard["topic"]), (&"127.0.0.1".into(), &"busy".into()));
    assert!(laggard["publications"].as_u64() > Some(0), "{laggard}");
    assert!(laggard["id"].as_str().is_some_and(|id| id.parse::<u64>().is_ok()), "{laggard}");
    assert!(seen["refusals"]["tokens_missing"].as_u64() > Some(0), "{seen}");

    // Another look is at what is published since.
    for _ in 0..3 {
        publish(&address, "busy", &large);
        publish(&address, "quiet", "x");
    }
    let has_both = |seen: &Value| seen["topics"].as_array().is_some_and(|it| it.len() == 2);
    let seen = sees_at_last(&address, &fields, has_both);
    let [busy, quiet] = [&seen["topics"][0], &seen["topics"][1]];
    assert_eq!((&busy["topic"], &quiet["topic"]), (&"busy".into(), &"quiet".into()), "{seen}");
    assert_eq!((&busy["subscribers"], &quiet["subscribers"]), (&1.into(), &0.into()), "{seen}");
    assert!(busy["bytes"].as_u64() >= Some(60_000) && seen["ms"].as_u64() >= Some(1000), "{seen}");
    drop(lags);
    sees_at_last(&address, &fields, |seen| seen["laggards"] == none);
}
