//! Who subscribes to a topic of the server to run: lists, joins, leaves, and what is refused.

use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};
use tungstenite::Message;

use super::{ask_tcp, serve};
use crate::support::handshake;
use crate::support::http::{answer_to, dial};
use crate::support::process::{connect, read_close, read_json};

/// What is asked of `/NAME?presence`.
#[track_caller]
fn list(address: &str, path: &str) -> Value {
    let answer = ask_tcp(address, &format!("GET {path}"), "", "");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("no-store"), "{answer}");
    serde_json::from_str(body).expect("JSON")
}

#[track_caller]
fn refused(address: &str, path: &str, status: u16, why: &str) {
    let events = "Accept: text/event-stream\r\n";
    for answer in [
        answer_to(dial(address), &handshake(path, "")),
        ask_tcp(address, &format!("GET {path}"), events, ""),
    ] {
        let is_refused = answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(why);
        assert!(is_refused, "{path}: {answer}");
    }
}

/// The data of an event stream's events, one at a time.
fn events(address: &str, path: &str) -> impl Iterator<Item = Value> {
    let mut stream = dial(address);
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the server reads");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
    lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
}

#[test]
fn who_comes_and_goes_is_listed_and_told_over_websockets_and_event_streams() {
    let (_server, address) = serve(&["--presence", "--presence-delay", "0", "--history", "100"]);
    let mut watcher = connect(&address, "/$presence/room");
    let mut stream = events(&address, "/$presence/room");
    assert_eq!(stream.next().expect("it begins")["topic"], "$presence/room");
    let mut ada = connect(&address, "/room,$stats?member=ada&info=%7B%22colour%22%3A%22red%22%7D");
    let again = connect(&address, "/room?member=ada&info=2");
    let mut ben = events(&address, "/room,other?member=b%22n");
    ben.next();
    let _stranger = connect(&address, "/room");
    let [joins_ada, joins_ben] = [
        json!({"join": {"id": "ada", "info": {"colour": "red"}}}),
        json!({"join": {"id": "b\"n", "info": null}}),
    ];
    for told in [&joins_ada, &joins_ben] {
        assert_eq!(read_json(&mut watcher), *told);
        assert_eq!(stream.next().as_ref(), Some(told));
    }
    let all = list(&address, "/room?presence");
    assert_eq!(
        (&all["count"], &all["members"]),
        (&json!(3), &json!([joins_ada["join"], joins_ben["join"]]))
    );
    let count = list(&address, "/room?presence=count");
    assert_eq!(count, json!({"count": 3, "id": all["id"]}));
    assert_eq!(list(&address, "/?topic=other&presence")["members"], json!([joins_ben["join"]]));
    assert_eq!(list(&address, "/nobody?presence"), json!({"count": 0, "members": [], "id": null}));
    let head = ask_tcp(&address, "HEAD /room?presence", "", "");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");

    // From the list's id on, each change comes once.
    let mut after =
        connect(&address, &format!("/$presence/room?after={}", all["id"].as_str().unwrap()));
    drop((again, ben));
    let leaves_ben = json!({"leave": {"id": "b\"n"}});
    assert_eq!(stream.next().as_ref(), Some(&leaves_ben));
    for watcher in [&mut watcher, &mut after] {
        assert_eq!(read_json(watcher), leaves_ben);
    }
    ada.close(None).expect("it is open");
    let leaves_ada = json!({"leave": {"id": "ada"}});
    assert_eq!(read_json(&mut watcher), leaves_ada);
    assert_eq!(read_json(&mut after), leaves_ada);
    assert_eq!(list(&address, "/room?presence")["count"], 1);

    // Nobody else says who comes.
    assert!(ask_tcp(&address, "POST /$presence/room", "", "x").starts_with("HTTP/1.1 403 "));
    watcher.send(Message::text("x")).expect("it is sent");
    assert_eq!(read_close(&mut watcher), 1008);
}

#[test]
fn a_page_that_is_reloaded_neither_leaves_nor_joins() {
    let (_server, address) = serve(&["--presence", "--presence-delay", "3600"]);
    let mut watcher = connect(&address, "/$presence/room");
    for _ in 0..3 {
        drop(connect(&address, "/room?member=ada"));
    }
    let _ben = connect(&address, "/room?member=ben");
    assert_eq!(read_json(&mut watcher)["join"]["id"], "ada");
    assert_eq!(read_json(&mut watcher)["join"]["id"], "ben");
    let all = list(&address, "/room?presence");
    assert_eq!((&all["count"], all["members"].as_array().map(Vec::len)), (&json!(2), Some(2)));
}

#[test]
fn what_no_member_may_be_is_refused_with_the_limits_name() {
    let (_server, address) = serve(&["--presence", "--presence-delay", "3600"]);
    let of = |len: usize| "x".repeat(len);
    let info = |len: usize| format!("%22{}%22", of(len - 2));
    for good in [format!("member={}", of(255)), format!("member=a&info={}", info(1024))] {
        connect(&address, &format!("/room?{good}"));
    }
    for (query, why) in [
        (format!("member={}", of(256)), "id_bytes_max` = 255"),
        (format!("member=a&info={}", info(1025)), "info_bytes_max` = 1024"),
        ("member=".to_owned(), "not empty"),
        ("member=a&info=red".to_owned(), "info is JSON"),
        (format!("member=a&info={}{}", "%5b".repeat(200), "%5d".repeat(200)), "info is JSON"),
    ] {
        refused(&address, &format!("/room?{query}"), 400, why);
    }
    connect(&address, &format!("/{}?member=a", of(245)));
    refused(&address, &format!("/{}?member=a", of(246)), 414, "topic_name_bytes_max");
    list(&address, &format!("/{}?presence", of(245)));
    let answer = ask_tcp(&address, &format!("GET /{}?presence", of(246)), "", "");
    assert!(answer.starts_with("HTTP/1.1 414 ") && answer.contains("topic_name_bytes_max"));
    for (path, status) in [
        ("/a,b?presence", 400),
        ("/$stats?presence", 400),
        ("/$presence/room?presence", 400),
        ("/room?presence=all", 400),
        ("/?presence", 404),
    ] {
        let answer = ask_tcp(&address, &format!("GET {path}"), "", "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    // The server's own topics have no members.
    connect(&address, "/$presence/room?member=eve");
    assert_eq!(list(&address, "/room?presence=count")["count"], 2);
}

#[test]
fn without_the_option_nobody_is_known() {
    let (_server, address) = serve(&[]);
    let _ada = connect(&address, "/room?member=ada&info=not-json");
    let answer = ask_tcp(&address, "GET /room?presence", "", "");
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("--presence"), "{answer}");
}
