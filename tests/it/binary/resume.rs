//! Coming back to the server to run: what was missed, exactly, or why it cannot be had.

use std::io::Write;

use serde_json::{Value, json};
use tungstenite::{WebSocket, protocol::Role};

use super::{ask_tcp, serve};
use crate::support::events::EventStream;
use crate::support::handshake;
use crate::support::http::{after_head, answer_to, dial, read_head};
use crate::support::process::{Stream, connect, read_json, read_text};

const KEEPS: [&str; 2] = ["--history", "100"];

/// Publishes, and gives the id that the publisher is told.
#[track_caller]
fn publish(address: &str, path: &str, text: &str) -> String {
    let answer = ask_tcp(address, &format!("POST {path}"), "", text);
    let told: Value = serde_json::from_slice(after_head(answer.as_bytes())).expect("it is JSON");
    told["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
}

/// An event stream that comes back with this id.
#[track_caller]
fn comes_back(address: &str, target: &str, id: &[u8]) -> EventStream {
    let field = [b"Last-Event-ID: ", id, b"\r\n"].concat();
    EventStream::open(address, target, &field)
}

/// What came before an id, by so many publications.
fn before(id: &str, count: u64) -> String {
    let (epoch, offset) = id.split_once('-').expect("an id has two parts");
    format!("{epoch}-{}", offset.parse::<u64>().expect("a number") - count)
}

/// Texts that are no id of one topic, in place of `id`.
fn no_ids(id: &str) -> Vec<String> {
    let (epoch, offset) = id.split_once('-').expect("an id has two parts");
    let mut texts = vec![
        "x".to_owned(),
        "-".to_owned(),
        epoch.to_owned(),
        offset.to_owned(),
        format!("{epoch}-"),
        format!("-{offset}"),
        format!("{epoch}-0{offset}"),
        format!("{epoch}--1"),
        format!("{epoch}-+1"),
        format!("{epoch}-1.0"),
        format!("{epoch}-1-1"),
        format!("{epoch}-18446744073709551616"),
        format!("0{id}"),
        format!("+{}-1", &epoch[1..]),
        format!("{}-1", &epoch[1..]),
        format!("ABCDEF0123456789-{offset}"),
        format!("{epoch}{offset}"),
        format!("{id},{id}"),
        ",".to_owned(),
        "9".repeat(10_000),
        format!("{epoch}-{}", "9".repeat(10_000)),
    ];
    texts.push(vec![id; 100].join(","));
    texts
}

#[test]
fn a_query_that_asks_for_no_place_is_refused() {
    let (_server, address) = serve(&KEEPS);
    let id = publish(&address, "/t", "x");
    let mut bad: Vec<_> = no_ids(&id).iter().map(|text| format!("after={text}")).collect();
    for last in ["", "-1", "x", "+1", "%2B1", "1.5", "0x1", "1,1", "18446744073709551616"] {
        bad.push(format!("last={last}"));
    }
    bad.push(format!("last=1&after={id}"));
    bad.push(format!("after={id}&last=x"));
    for query in &bad {
        let socket = answer_to(dial(&address), &handshake(&format!("/t?{query}"), ""));
        let events =
            ask_tcp(&address, &format!("GET /t?{query}"), "Accept: text/event-stream\r\n", "");
        let why = if query.contains("last=") { "last" } else { "EPOCH-OFFSET" };
        for answer in [socket, events] {
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.contains(why),
                "{query}: {answer}"
            );
        }
    }
    for query in [format!("after={id}"), format!("after={id},{id},{id}"), "after=x,".to_owned()] {
        let answer = answer_to(dial(&address), &handshake(&format!("/t,u?{query}"), ""));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{query}: {answer}");
    }
    for envelope in ["", "xml", "JSON", "json,json"] {
        let target = format!("/t?envelope={envelope}");
        let answer = answer_to(dial(&address), &handshake(&target, ""));
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("json"), "{answer}");
    }
    // None is not malformed, and as many as there are is what is asked for.
    for query in ["after=", "last=0", "last=18446744073709551615", &format!("after={id}")] {
        drop(connect(&address, &format!("/t?{query}")));
        EventStream::open(&address, &format!("/t?{query}"), b"").begins();
    }
    drop(connect(&address, "/t,u?after=,"));
}

/// A browser will send it again and again: it is answered with a stream, and with a place to come back to.
#[test]
fn an_unknown_last_event_id_gets_the_live_stream_and_a_place_to_resume_from() {
    let (_server, address) = serve(&KEEPS);
    let here = publish(&address, "/t", "before");
    let mut bad: Vec<Vec<u8>> = no_ids(&here).into_iter().map(String::into_bytes).collect();
    bad.push(vec![0xFF; 20]);
    bad.push([here.as_bytes(), b"\xC3\xA9"].concat());
    bad.push(vec![b','; 10_000]);
    for id in &bad {
        let here = publish(&address, "/t", "kept");
        let mut lost = comes_back(&address, "/t", id);
        let why = "the id is none that was given here";
        let told = json!({ "topic": "t", "id": here, "recovered": false, "why": why });
        assert_eq!(lost.begins(), told, "{}", id.escape_ascii());
        let next = publish(&address, "/t", "live");
        assert_eq!(lost.publication(), (next.clone(), "live".into()));
        // It had got no further than the first event, and comes back with the id of that.
        let mut resumed = comes_back(&address, "/t", here.as_bytes());
        assert_eq!(resumed.begins(), json!({ "topic": "t", "id": here, "recovered": true }));
        assert_eq!(resumed.publication(), (next, "live".into()));
    }
}

#[test]
fn a_place_that_cannot_be_had_is_told_why_and_whoever_resumes_from_the_answer_misses_nothing() {
    let (_server, address) = serve(&["--history", "3"]);
    let ids: Vec<_> = (0..9).map(|at| publish(&address, "/t", &at.to_string())).collect();
    let here = ids[8].as_str();
    let (epoch, _) = here.split_once('-').expect("an id has two parts");
    let other = u64::from_str_radix(epoch, 16).expect("it is hexadecimal") ^ 1;
    let not_kept = "what was published after the position is no longer kept";
    for (id, why) in [
        (format!("{other:016x}-9"), "the position is of another life of the topic"),
        (format!("{other:016x}-0"), "the position is of another life of the topic"),
        (format!("{epoch}-10"), "the position is ahead of what was published"),
        (format!("{epoch}-18446744073709551615"), "the position is ahead of what was published"),
        (format!("{epoch}-0"), not_kept),
        (ids[4].clone(), not_kept),
    ] {
        let told = json!({ "topic": "t", "id": here, "recovered": false, "why": why });
        let target = format!("/t?envelope=json&after={id}");
        assert_eq!(read_json(&mut connect(&address, &target)), told, "{id}");
        for mut events in [
            EventStream::open(&address, &format!("/t?after={id}"), b""),
            comes_back(&address, "/t", id.as_bytes()),
        ] {
            assert_eq!(events.begins(), told, "{id}");
        }
    }
    for missed in 0..=3 {
        let id = before(here, missed);
        let mut events = comes_back(&address, "/t", id.as_bytes());
        assert_eq!(events.begins(), json!({ "topic": "t", "id": id, "recovered": true }));
        for at in 9 - missed..9 {
            let due = (ids[at as usize].clone(), at.to_string());
            assert_eq!(events.publication(), due);
        }
    }
    // Of a topic that there is not, no place is known.
    let mut events = comes_back(&address, "/nowhere", here.as_bytes());
    let told = events.begins();
    assert_eq!(told["why"], "the topic has neither subscribers nor a history");
    let id = told["id"].as_str().expect("it has an id").to_owned();
    drop(events);
    publish(&address, "/nowhere", "x");
    let mut events = comes_back(&address, "/nowhere", id.as_bytes());
    assert_eq!((&events.begins()["recovered"], events.publication().1), (&json!(true), "x".into()));
}

#[test]
fn the_last_event_id_is_newer_than_the_url() {
    let (_server, address) = serve(&KEEPS);
    let ids = ["one", "two", "three"].map(|text| publish(&address, "/t", text));
    for query in [
        format!("after={}", ids[0]),
        "after=x".to_owned(),
        "last=3".to_owned(),
        "last=x".to_owned(),
        format!("last=3&after={}", ids[0]),
    ] {
        let mut events = comes_back(&address, &format!("/t?{query}"), ids[1].as_bytes());
        let told = json!({ "topic": "t", "id": ids[1], "recovered": true });
        assert_eq!(events.begins(), told, "{query}");
        assert_eq!(events.publication(), (ids[2].clone(), "three".into()));
    }
    let mut stream = dial(&address);
    let target = format!("/t?last=3&envelope=json&after={}", ids[0]);
    let asked = handshake(&target, &format!("Last-Event-ID: {}\r\n", ids[1]));
    stream.write_all(asked.as_bytes()).expect("the server reads");
    read_head(&mut stream).expect("it is answered");
    let mut socket = WebSocket::from_raw_socket(Stream(stream), Role::Client, None);
    assert_eq!(read_json(&mut socket)["id"], ids[1]);
    assert_eq!(read_json(&mut socket)["data"], "three");
    // Without an id, it is as if there were no such field.
    assert_eq!(comes_back(&address, "/t", b"").begins()["recovered"], Value::Null);
}

#[test]
fn an_event_stream_is_a_get_that_accepts_one() {
    let (_server, address) = serve(&KEEPS);
    publish(&address, "/t", "x");
    for accept in [
        "text/event-stream",
        "TEXT/Event-Stream",
        "text/event-stream;q=0.5",
        "text/html, text/event-stream ; q=1.000",
        "text/html\r\nAccept: text/event-stream;charset=utf-8",
        "text/event-stream;q=x",
    ] {
        let mut stream = dial(&address);
        let head = format!("GET /t?last=1 HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the server reads");
        let mut events = EventStream::read(stream);
        assert_eq!(events.begins()["recovered"], Value::Null, "{accept}");
        assert_eq!(events.publication().1, "x");
    }
    for accept in [
        "",
        "*/*",
        "text/*",
        "text/event-streams",
        "text/event",
        "\"text/event-stream\"",
        "text/event-stream;q=0",
        "text/html, text/event-stream; Q=0.000",
    ] {
        let answer = ask_tcp(&address, "GET /t", &format!("Accept: {accept}\r\n"), "");
        assert!(answer.starts_with("HTTP/1.1 426 "), "{accept}: {answer}");
    }
    let mut subscriber = connect(&address, "/t");
    let accept = "Accept: text/event-stream\r\n";
    let answer = ask_tcp(&address, "POST /t", accept, "posted");
    assert!(answer.contains("\r\nContent-Type: application/json\r\n"), "{answer}");
    assert_eq!(read_text(&mut subscriber), "posted");
    // Its end is the connection's, in each version of HTTP.
    let mut stream = dial(&address);
    let head = format!("GET /t?last=1 HTTP/1.0\r\n{accept}\r\n");
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut old = EventStream::read(stream);
    assert!(old.head.contains("\r\nConnection: close\r\n"), "{}", old.head);
    old.begins();
    assert_eq!(old.publication().1, "posted");
    let answer = ask_tcp(&address, "HEAD /t", accept, "");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    for (request_line, status) in [
        ("GET /", 404),
        ("GET /?x=1", 404),
        ("GET /%ff", 400),
        ("DELETE /t", 405),
        ("GET /healthz", 200),
    ] {
        let answer = ask_tcp(&address, request_line, accept, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request_line}: {answer}");
        assert!(!answer.contains("event-stream"), "{request_line}: {answer}");
    }
    // The form of a URL that no proxy rewrites.
    let mut queried = EventStream::open(&address, "/?topic=t&last=1", b"");
    assert_eq!(queried.begins()["topic"], "t");
    assert_eq!(queried.publication().1, "posted");
}

#[test]
fn a_websocket_takes_up_several_topics_where_each_of_them_was() {
    let (_server, address) = serve(&KEEPS);
    let mut first = connect(&address, "/a,b,c?envelope=json");
    let begun = ["a", "b", "c"].map(|topic| {
        let told = read_json(&mut first);
        assert_eq!((&told["topic"], &told["recovered"]), (&json!(topic), &Value::Null));
        told["id"].as_str().expect("it has an id").to_owned()
    });
    let one = publish(&address, "/a", "1");
    assert_eq!(read_json(&mut first), json!({ "topic": "a", "id": one, "data": "1" }));
    drop(first);
    let missed = [("/a", "2"), ("/b", "3"), ("/a", "4"), ("/b", "5"), ("/c", "6")];
    let ids = missed.map(|(path, text)| publish(&address, path, text));
    let target = format!("/a,b,c?envelope=json&after={one},{},", begun[1]);
    let mut back = connect(&address, &target);
    let told =
        |topic, id: &str, recovered| json!({ "topic": topic, "id": id, "recovered": recovered });
    let published = |at: usize, topic, text| json!({ "topic": topic, "id": ids[at], "data": text });
    // What is told of a topic comes before what it publishes; two topics have no order between them.
    let due = [
        [told("a", &one, json!(true)), published(0, "a", "2"), published(2, "a", "4")].to_vec(),
        [told("b", &begun[1], json!(true)), published(1, "b", "3"), published(3, "b", "5")]
            .to_vec(),
        [told("c", &ids[4], Value::Null)].to_vec(),
    ];
    let got: Vec<Value> = (0..due.concat().len()).map(|_| read_json(&mut back)).collect();
    for (topic, due) in ["a", "b", "c"].iter().zip(&due) {
        let of_topic: Vec<_> = got.iter().filter(|it| it["topic"] == *topic).cloned().collect();
        assert_eq!(of_topic, *due);
    }
    let live = publish(&address, "/c", "live");
    assert_eq!(read_json(&mut back), json!({ "topic": "c", "id": live, "data": "live" }));
}

#[test]
fn what_is_published_comes_back_as_it_was() {
    let (_server, address) = serve(&KEEPS);
    let mut sender = connect(&address, "/t");
    let begun = publish(&address, "/t", "begun");
    for text in ["", "two\nlines\n", "a\r\nb", " κόσμε \"🦀\"\0"] {
        publish(&address, "/t", text);
    }
    sender.send(vec![0, 255].into()).expect("it is open");
    let last = publish(&address, "/t", "last");
    // Each text that comes back raw is a message of its own, without a word of ids.
    let mut raw = connect(&address, "/t?last=2");
    assert_eq!(raw.read().expect("a message").into_data().as_ref(), [0, 255]);
    assert_eq!(read_text(&mut raw), "last");
    let mut raw = connect(&address, &format!("/t?after={}", before(&last, 1)));
    assert_eq!(read_text(&mut raw), "last");
    let mut socket = connect(&address, &format!("/t?envelope=json&after={begun}"));
    let mut events = comes_back(&address, "/t", begun.as_bytes());
    read_json(&mut socket);
    events.begins();
    for (name, data, key, said) in [
        ("message", "", "data", ""),
        ("message", "two\nlines\n", "data", "two\nlines\n"),
        ("base64-text", "YQ0KYg==", "data", "a\r\nb"),
        ("base64-text", "IM66z4zPg868zrUgIvCfpoAiAA==", "data", " κόσμε \"🦀\"\0"),
        ("base64", "AP8=", "base64", "AP8="),
        ("message", "last", "data", "last"),
    ] {
        let (envelope, event) = (read_json(&mut socket), events.next());
        assert_eq!(envelope[key], said);
        assert_eq!((&*event.name, &*event.data), (name, data));
        assert_eq!(envelope["id"].as_str(), event.id.as_deref());
    }
}

#[test]
fn without_a_history_it_is_recovered_only_if_nothing_was_missed() {
    let (_server, address) = serve(&[]);
    let answer = ask_tcp(&address, "POST /t", "", "x");
    assert!(answer.ends_with("\r\n\r\n{\"delivered\":0}\n"), "{answer}");
    let mut stays = EventStream::open(&address, "/t", b"");
    let begun = stays.begins()["id"].as_str().expect("it has an id").to_owned();
    let mut back = comes_back(&address, "/t", begun.as_bytes());
    assert_eq!(back.begins(), json!({ "topic": "t", "id": begun, "recovered": true }));
    let answer = ask_tcp(&address, "POST /t", "", "missed");
    assert!(answer.ends_with("\r\n\r\n{\"delivered\":2}\n"), "{answer}");
    let (id, text) = stays.publication();
    assert_eq!((&*text, back.publication()), ("missed", (id.clone(), text.clone())));
    drop(back);
    for (missed_from, recovered) in [(&begun, false), (&id, true)] {
        let told = comes_back(&address, "/t", missed_from.as_bytes()).begins();
        assert_eq!((&told["recovered"], &told["id"]), (&json!(recovered), &json!(id)));
        let target = format!("/t?envelope=json&after={missed_from}");
        assert_eq!(read_json(&mut connect(&address, &target))["recovered"], recovered);
    }
    // There is nothing to begin with, which is no fault.
    assert_eq!(EventStream::open(&address, "/t?last=5", b"").begins()["id"], json!(id));
    drop(stays);
    // When the last has left, the topic is forgotten, and with it the place.
    let left = (0..1000).any(|_| ask_tcp(&address, "POST /t", "", "x").contains("\"delivered\":0"));
    assert!(left, "somebody is still there");
    let told = comes_back(&address, "/t", id.as_bytes()).begins();
    assert_eq!(told["recovered"], false);
    assert_ne!(told["id"], json!(id));
}
