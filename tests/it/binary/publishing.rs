//! Publishing over HTTP: several topics, batches, keys, and conditions.

use serde_json::{Value, json};

use super::file::Place;
use super::tokens::{bearer, guarded, in_seconds, token};
use super::{ask_tcp, serve};
use crate::support::process::{connect, read_text};

/// The status and the body of the answer to a POST.
fn post(address: &str, path: &str, fields: &str, body: &str) -> (u16, String) {
    let answer = ask_tcp(address, &format!("POST {path}"), fields, body);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

fn objects(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The answers are the same, whether it is written first or not.
fn with_and_without_a_file(test: impl Fn(&str)) {
    let (_server, address) = serve(&["--history", "10"]);
    test(&address);
    let place = Place::new("publishing");
    let (_server, address) = place.serve(&[]);
    test(&address);
}

#[test]
fn a_publication_goes_to_each_topic_of_its_url() {
    with_and_without_a_file(|address| {
        let mut both = connect(address, "/a,b");
        let (status, body) = post(address, "/a,b%2Cc,b", "", "x");
        let published = &objects(&body)[0]["published"];
        assert_eq!((status, published.as_array().unwrap().len()), (200, 3));
        assert_eq!((&published[0]["topic"], &published[0]["delivered"]), (&json!("a"), &json!(1)));
        assert_eq!(
            (&published[1]["topic"], &published[1]["delivered"]),
            (&json!("b,c"), &json!(0))
        );
        assert!(published[0]["id"].as_str().unwrap().ends_with("-1"), "{published}");
        assert_eq!([read_text(&mut both), read_text(&mut both)], ["x", "x"]);
        assert_eq!(post(address, "/?topic=a&topic=b", "", "y").0, 200);
        assert_eq!([read_text(&mut both), read_text(&mut both)], ["y", "y"]);
        // All of them, or none.
        assert_eq!(post(address, "/a,$stats", "", "z").0, 403);
        assert_eq!(post(address, "/a,", "", "z").0, 400);
        post(address, "/a", "", "end");
        assert_eq!(read_text(&mut both), "end");
    });
}

#[test]
fn a_key_makes_a_request_that_can_be_made_again() {
    with_and_without_a_file(|address| {
        let mut scores = connect(address, "/scores");
        let key = "Idempotency-Key: 7f3a\r\n";
        let first = post(address, "/scores", key, "Goal!");
        assert_eq!(first.0, 200);
        assert_eq!(post(address, "/scores", key, "Goal!"), first);
        assert_ne!(post(address, "/scores", "Idempotency-Key: 7f3b\r\n", "Goal?"), first);
        assert_eq!([read_text(&mut scores), read_text(&mut scores)], ["Goal!", "Goal?"]);
        let long = format!("Idempotency-Key: {}\r\n", "k".repeat(256));
        let (status, why) = post(address, "/scores", &long, "x");
        assert!(status == 400 && why.contains("idempotency_key_bytes_max = 255"), "{status} {why}");
        let huge = format!("Idempotency-Key: {}\r\n", "k".repeat(1 << 20));
        assert_eq!(post(address, "/scores", &huge, "x").0, 431);
    });
}

/// Else whoever guesses a key, or uses the same by chance, has another's publication taken for one that was made.
#[test]
fn a_key_is_of_the_subject_that_publishes_under_it() {
    let (_server, address, _files) = guarded(&["--anyone-may-subscribe", "--history", "10"]);
    let mut scores = connect(&address, "/scores");
    let bearer_of = |subject: &str| {
        let claims = json!({ "exp": in_seconds(60), "sub": subject, "publish": ["*"] });
        bearer(&token(&claims))
    };
    let lines = "Content-Type: application/x-ndjson\r\n";
    for (subject, id) in [("ada", "-1"), ("ben", "-2"), ("ada", "-1"), ("ben", "-2")] {
        let fields = format!("{}Idempotency-Key: 7f3a\r\n", bearer_of(subject));
        let (_, body) = post(&address, "/scores", &fields, subject);
        assert!(objects(&body)[0]["id"].as_str().unwrap().ends_with(id), "{subject}: {body}");
        let fields = format!("{}{lines}", bearer_of(subject));
        let line = json!({ "topic": "scores", "data": subject, "key": "7f3a" }).to_string();
        let (_, body) = post(&address, "/", &fields, &line);
        assert!(body.contains(&format!("{id}\"")), "{subject}: {body}");
    }
    assert_eq!([read_text(&mut scores), read_text(&mut scores)], ["ada", "ben"]);
    // Its limit is on what was sent.
    let long = "k".repeat(255);
    for (key, status) in [(&*long, 200), (&*format!("{long}k"), 400)] {
        let fields = format!("{}Idempotency-Key: {key}\r\n", bearer_of("ada"));
        assert_eq!(post(&address, "/scores", &fields, "x").0, status);
    }
}

#[test]
fn a_publication_may_depend_on_what_came_before() {
    with_and_without_a_file(|address| {
        let (_, body) = post(address, "/doc", "", "one");
        let first = objects(&body)[0]["id"].as_str().unwrap().to_owned();
        let matches = |id: &str| post(address, "/doc", &format!("If-Match: {id}\r\n"), "x").0;
        assert_eq!(
            [matches(&first), matches(&first), matches(&format!("\"{first}\""))],
            [200, 412, 412]
        );
        assert_eq!([matches("*"), matches("W/\"x\"")], [400, 400]);
        let many = post(address, "/doc,other", &format!("If-Match: {first}\r\n"), "x");
        assert_eq!(many.0, 400);
    });
}

#[test]
fn a_batch_is_published_line_by_line_up_to_one_that_is_broken() {
    with_and_without_a_file(|address| {
        let mut a = connect(address, "/a");
        let mut b = connect(address, "/b");
        let batch = |lines: &str| {
            let (status, body) =
                post(address, "/", "Content-Type: application/x-ndjson\r\n", lines);
            (status, objects(&body))
        };
        let lines = "{\"topic\":\"a\",\"data\":\"one\"}\r\n\n{\"topic\":\"b\",\"base64\":\"AAE=\"}\n\
                 {\"topic\":\"a\",\"data\":\"\",\"key\":\"k\"}\n{\"topic\":\"a\",\"data\":\"\",\"key\":\"k\"}";
        let (status, answers) = batch(lines);
        assert_eq!((status, answers.len()), (200, 4));
        assert!(answers.iter().all(|answer| answer["delivered"] == 1), "{answers:?}");
        assert_eq!(answers[2], answers[3]);
        assert_eq!([read_text(&mut a), read_text(&mut a)], ["one", ""]);
        assert_eq!(b.read().unwrap().into_data()[..], [0, 1]);
        for (broken, status) in [
            ("{\"topic\":\"a\"", 400),
            ("{\"topic\":\"a\"}", 400),
            ("{\"topic\":\"a\",\"data\":\"x\",\"base64\":\"AA==\"}", 400),
            ("{\"topic\":\"a\",\"data\":\"x\",\"extra\":1}", 400),
            ("{\"topic\":\"a\",\"base64\":\"?\"}", 400),
            ("{\"topic\":\"\",\"data\":\"x\"}", 400),
            ("{\"topic\":\"a\",\"data\":5}", 400),
            ("\u{fffd}", 400),
            ("{\"topic\":\"$stats\",\"data\":\"x\"}", 403),
        ] {
            let good = "{\"topic\":\"a\",\"data\":\"good\"}";
            let (answered, answers) = batch(&format!("{good}\n\n{broken}\n{good}\n"));
            assert_eq!((answered, answers.len()), (status, 2), "{broken}: {answers:?}");
            assert_eq!((&answers[0]["delivered"], &answers[1]["line"]), (&json!(1), &json!(3)));
            assert!(answers[1]["error"].is_string());
            assert_eq!(read_text(&mut a), "good");
        }
        assert_eq!(batch(""), (200, vec![]));
        // Lines that are sent to a topic are its message.
        post(address, "/a", "Content-Type: application/x-ndjson\r\n", lines);
        assert_eq!(a.read().unwrap().into_data(), lines.as_bytes());
        // Where a path is one topic, a proxy may guard it.
        let (_server, guarded) = serve(&["--one-topic"]);
        let refused = post(&guarded, "/", "Content-Type: application/x-ndjson\r\n", lines);
        assert_eq!(refused.0, 404);
        let cross = "Content-Type: application/x-ndjson\r\nOrigin: http://elsewhere\r\n";
        assert_eq!(post(address, "/", cross, lines).0, 403);
    });
}
