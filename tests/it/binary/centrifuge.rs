//! Clients of Centrifugo: what the libraries of tests/clients/ do not send, by hand.

mod api;
mod paces;
mod streams;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::tokens::{File, SECRET, in_seconds, token};
use super::{PUSHLOOP, ask_tcp, serve};
use crate::support::process::{Process, Stream, connect, read_close, read_json, read_text};

const PATH: &str = "/connection/websocket";
const KEY: &str = "a-key-of-the-server-api";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn server(arguments: &[&str]) -> (Process, String) {
    serve(&[&["--centrifuge"], arguments].concat())
}

/// A server with a secret for tokens and a key of the API.
fn guarded(arguments: &[&str]) -> (Process, String, [File; 2]) {
    let files = [File::new("secret", SECRET), File::new("key", KEY.as_bytes())];
    let keys = ["--jwt-secret-file", files[0].path(), "--centrifuge-key-file", files[1].path()];
    let (server, address) = server(&[&keys, arguments].concat());
    (server, address, files)
}

type Client = WebSocket<Stream>;

fn says(client: &mut Client, frame: impl Into<String>) {
    client.send(Message::text(frame.into())).expect("it goes out");
}

/// A connection that has said of which user it is.
fn connected(address: &str, token: &str) -> Client {
    let mut client = connect(address, PATH);
    says(&mut client, json!({ "id": 1, "connect": { "token": token } }).to_string());
    let told = read_json(&mut client);
    assert_eq!((&told["id"], &told["connect"]["pong"]), (&json!(1), &json!(true)), "{told}");
    client
}

/// What is answered to a frame: so many lines, over as many messages as it takes.
fn answers(client: &mut Client, frame: impl Into<String>, count: usize) -> Vec<Value> {
    says(client, frame);
    let mut lines = Vec::new();
    while lines.len() < count {
        let message = read_text(client);
        lines.extend(message.lines().map(|it| serde_json::from_str(it).expect("it is JSON")));
    }
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

fn error(answer: &Value) -> (u64, u64) {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    (number(&answer["id"]), number(&answer["error"]["code"]))
}

#[test]
fn without_the_option_its_address_is_a_topic_and_with_it_the_others_are_too() {
    let (_server, address) = serve(&[]);
    let mut topic = connect(&address, PATH);
    assert!(ask_tcp(&address, &format!("POST {PATH}"), "", "x").ends_with("{\"delivered\":1}\n"));
    assert_eq!(read_text(&mut topic), "x");
    let (_server, address) = server(&[]);
    for (request, status) in [
        (format!("GET {PATH}"), 404),
        ("GET /connection/sse".to_owned(), 400),
        ("POST /emulation".to_owned(), 415),
        ("GET /connection/uni_websocket".to_owned(), 404),
        // Without a key, there is no API.
        ("POST /api/info".to_owned(), 200),
        ("POST /connections".to_owned(), 200),
    ] {
        let answer = ask_tcp(&address, &request, "", "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
}

#[test]
fn commands_out_of_order_end_their_connection_and_no_other() {
    let (_server, address) = server(&[]);
    let mut bystander = connected(&address, "");
    for (frame, is_connected) in [
        (r#"{"id":1,"subscribe":{"channel":"a"}}"#, false),
        ("{}", false),
        (r#"{"id":1}"#, false),
        ("[]", false),
        ("", false),
        (r#"{"id":2,"connect":{}}"#, true),
        // A ping is answered, and nothing else.
        ("{}", true),
        (r#"{"subscribe":{"channel":"a"}}"#, true),
        (r#"{"id":2,"subscribe":{"channel":""}}"#, true),
        (r#"{"id":2,"publish":{"data":1}}"#, true),
        (r#"{"id":2,"presence":{}}"#, true),
        (r#"{"id":2,"history":{}}"#, true),
        (r#"{"id":2,"unsubscribe":{}}"#, true),
        (r#"{"id":2,"refresh":{}}"#, true),
        (r#"{"id":2,"sub_refresh":{}}"#, true),
        (r#"{"id":2,"subscribe":{"channel":1}}"#, true),
        (r#"{"id":2,"subscribe":{"channel":"a"}"#, true),
        (r#"{"id":-2,"ping":{}}"#, true),
    ] {
        let mut client =
            if is_connected { connected(&address, "") } else { connect(&address, PATH) };
        if frame.is_empty() {
            // It has no command, and is waited for.
            says(&mut client, "");
            says(&mut client, r#"{"id":7,"connect":{}}"#);
            assert_eq!(read_json(&mut client)["id"], 7);
            continue;
        }
        says(&mut client, frame);
        assert_eq!(read_close(&mut client), 3501, "{frame}");
    }
    assert_eq!(
        answers(&mut bystander, r#"{"id":9,"ping":{}}"#, 1)[0],
        json!({"id": 9, "ping": {}})
    );
}

#[test]
fn what_is_not_there_is_an_error_and_the_connection_lives() {
    let (_server, address) = server(&[]);
    let mut client = connected(&address, "");
    let long = "é".repeat(127) + "ab";
    for (command, code) in [
        (json!({ "rpc": { "method": "x" } }), 108),
        (json!({ "dance": {} }), 104),
        (json!({ "history": { "channel": "a", "limit": 1 } }), 108),
        (json!({ "presence": { "channel": "a" } }), 108),
        (json!({ "presence_stats": { "channel": "a" } }), 108),
        (json!({ "publish": { "channel": "a" } }), 107),
        (json!({ "publish": { "channel": "a", "data": 1, "type": 1 } }), 108),
        (json!({ "publish": { "channel": "$stats", "data": 1 } }), 103),
        (json!({ "sub_refresh": { "channel": "a", "token": "x" } }), 103),
        (json!({ "subscribe": { "channel": "a", "type": 1 } }), 108),
        (json!({ "subscribe": { "channel": "a", "tf": { "op": "and" } } }), 108),
        (json!({ "subscribe": { "channel": long } }), 107),
        (json!({ "subscribe": { "channel": "a\u{0}" } }), 107),
        (json!({ "subscribe": { "channel": "../a" } }), 107),
        (json!({ "subscribe": { "channel": "$joins/a" } }), 107),
        (json!({ "subscribe": { "channel": "a", "recover": true, "epoch": "x", "flag": 2 } }), 112),
    ] {
        let mut command = command;
        command["id"] = 5.into();
        assert_eq!(error(&answers(&mut client, command.to_string(), 1)[0]), (5, code), "{command}");
    }
    // As long as it may be.
    let longest = json!({ "id": 6, "subscribe": { "channel": "é".repeat(127) + "a" } });
    assert_eq!(error(&answers(&mut client, longest.to_string(), 1)[0]), (6, 0));
    let unsubscribe = r#"{"id":7,"unsubscribe":{"channel":"never subscribed"}}"#;
    assert_eq!(answers(&mut client, unsubscribe, 1)[0], json!({ "id": 7, "unsubscribe": {} }));
    says(&mut client, r#"{"send":{"data":1}}"#);
    assert_eq!(read_close(&mut client), 3508);
}

#[test]
fn a_connection_has_so_many_channels_and_no_more() {
    let (_server, address) = server(&[]);
    let mut client = connected(&address, "");
    let subscribe = |nth| json!({ "id": 2 + nth, "subscribe": { "channel": format!("c{nth}") } });
    let frame: Vec<_> = (0..128).map(|nth| subscribe(nth).to_string()).collect();
    let told = answers(&mut client, frame.join("\n"), 128);
    assert!(told.iter().all(|it| it["subscribe"].is_object()), "{told:?}");
    assert_eq!(error(&answers(&mut client, subscribe(128).to_string(), 1)[0]), (130, 106));
    // Subscribing again takes no place, and is told where it is.
    assert_eq!(answers(&mut client, subscribe(5).to_string(), 1)[0]["subscribe"], json!({}));
    answers(&mut client, r#"{"id":200,"unsubscribe":{"channel":"c5"}}"#, 1);
    assert_eq!(error(&answers(&mut client, subscribe(128).to_string(), 1)[0]), (130, 0));
}

/// Who comes and goes is one more of a connection's topics: where there is no room for both, neither begins.
#[test]
fn one_that_would_hear_who_comes_has_room_for_that_or_is_refused() {
    let (_server, address) = server(&["--presence"]);
    let mut client = connected(&address, "");
    let subscribe = |nth| json!({ "id": nth, "subscribe": { "channel": format!("c{nth}") } });
    let frame: Vec<_> = (2..129).map(|nth| subscribe(nth).to_string()).collect();
    let told = answers(&mut client, frame.join("\n"), 127);
    assert!(told.iter().all(|it| it["subscribe"].is_object()), "{told:?}");
    let hears = r#"{"id":200,"subscribe":{"channel":"a","join_leave":true}}"#;
    assert_eq!(error(&answers(&mut client, hears, 1)[0]), (200, 106));
    // It has the one topic still.
    assert_eq!(error(&answers(&mut client, subscribe(129).to_string(), 1)[0]), (129, 0));
    let unsubscribe = |nth| json!({ "id": nth, "unsubscribe": { "channel": format!("c{nth}") } });
    let frame = [unsubscribe(128), unsubscribe(129)].map(|it| it.to_string());
    answers(&mut client, frame.join("\n"), 2);
    let told = answers(&mut client, hears, 2);
    assert!(told[0]["subscribe"].is_object(), "{told:?}");
    assert!(told[1]["push"]["join"].is_object(), "{told:?}");
    let mut other = connected(&address, "");
    answers(&mut other, r#"{"id":2,"subscribe":{"channel":"a"}}"#, 1);
    assert!(read_json(&mut client)["push"]["join"].is_object());
}

#[test]
fn a_frame_may_be_full_of_commands_and_not_longer_than_its_limit() {
    let (_server, address) = server(&[]);
    let mut client = connected(&address, "");
    let ping = r#"{"id":2,"ping":{}}"#;
    let count = 64 * 1024 / (ping.len() + 1);
    let told = answers(&mut client, vec![ping; count].join("\n"), count);
    assert!(told.iter().all(|it| it == &json!({ "id": 2, "ping": {} })));
    says(&mut client, " ".repeat(64 * 1024 + 1));
    assert_eq!(read_close(&mut client), 1009);
}

/// Answers that are long are as many as the connection's limit has room for: one that asks for ten thousand is
/// neither closed for them nor given them.
#[test]
fn one_that_asks_for_too_much_at_once_is_told_so() {
    let (_server, address) = server(&["--history", "300"]);
    let line = format!("{{\"data\":\"{}\"}}", "x".repeat(1000));
    for _ in 0..70 {
        ask_tcp(&address, "POST /a", "", &line);
    }
    let mut client = connected(&address, "");
    let history = r#"{"id":2,"history":{"channel":"a","limit":-1}}"#;
    let told = answers(&mut client, vec![history; 1000].join("\n"), 1000);
    let given: Vec<_> = told.iter().filter(|it| it["history"].is_object()).collect();
    // The limit is 1 MiB, and each answer some 65 KiB: what comes beyond the half is refused.
    assert_eq!(given.len(), 9);
    // As many as there is room for in one answer.
    let publications = given[0]["history"]["publications"].as_array().expect("there are some");
    assert_eq!((publications.len(), &given[0]["history"]["offset"]), (61, &json!(70)));
    assert!(told.iter().all(|it| it["history"].is_object() || error(it) == (2, 111)));
    assert_eq!(answers(&mut client, r#"{"id":3,"ping":{}}"#, 1)[0]["id"], 3);
}

/// Questions about what nobody published to begin no history, which would push out another.
#[test]
fn a_history_that_has_not_begun_is_not_begun_by_a_question() {
    let (_server, address) = server(&["--history", "10"]);
    let mut client = connected(&address, "");
    let history = r#"{"id":2,"history":{"channel":"a","limit":-1}}"#;
    for _ in 0..2 {
        assert_eq!(answers(&mut client, history, 1)[0], json!({ "id": 2, "history": {} }));
    }
    let since =
        r#"{"id":3,"history":{"channel":"a","since":{"offset":0,"epoch":"000000000000feed"}}}"#;
    assert_eq!(error(&answers(&mut client, since, 1)[0]), (3, 112));
    ask_tcp(&address, "POST /a", "", "1");
    let told = answers(&mut client, history, 1).remove(0)["history"].take();
    assert_eq!((&told["offset"], told["epoch"].is_string()), (&json!(1), true), "{told}");
}

/// Others are told of each that comes, also of one that comes again and again.
#[test]
fn to_come_to_a_channel_with_members_is_paced_as_publications_are() {
    let secret = File::new("secret", SECRET);
    let pace = ["--presence", "--publications-per-second", "2"];
    let (_server, address) = server(&[&pace[..], &["--jwt-secret-file", secret.path()]].concat());
    let claims = json!({ "exp": in_seconds(60), "sub": "ada", "subscribe": ["a"] });
    let mut client = connected(&address, &token(&claims));
    let subscribe = |nth: u64| json!({ "id": nth, "subscribe": { "channel": "a" } }).to_string();
    let told = answers(&mut client, [2, 3, 4].map(subscribe).join("\n"), 3);
    assert_eq!(told.iter().map(|it| error(it).1).collect::<Vec<_>>(), [0, 0, 111], "{told:?}");
}

#[test]
fn json_that_nests_deep_repeats_keys_or_has_lines_goes_through_as_one_line() {
    let (_server, address) = server(&[]);
    let mut client = connected(&address, "");
    answers(&mut client, r#"{"id":2,"subscribe":{"channel":"a"}}"#, 1);
    let mut plain = connect(&address, "/a");
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    for data in [&*deep, r#"{"a":1,"a":2}"#, "1e999", r#""\ud800""#] {
        let publish = format!(r#"{{"id":3,"publish":{{"channel":"a","data":{data}}}}}"#);
        says(&mut client, publish);
        assert_eq!(read_text(&mut plain), data);
        let (mut told, mut answered) = (String::new(), false);
        while told.is_empty() || !answered {
            for line in read_text(&mut client).lines() {
                match line == r#"{"id":3,"publish":{}}"# {
                    true => answered = true,
                    false => told = line.to_owned(),
                }
            }
        }
        assert!(
            told.starts_with(&format!(r#"{{"push":{{"channel":"a","pub":{{"data":{data},"#)),
            "{told}"
        );
    }
    ask_tcp(&address, "POST /a", "", "{\n\"a\":\r\n[1,\n2]}\n");
    let told = read_text(&mut client);
    assert!(told.contains(r#""data":{ "a":  [1, 2]},"offset":5"#), "{told}");
}

#[test]
fn the_answer_to_a_subscription_comes_before_what_is_published_to_it() {
    let (_server, address) = server(&["--history", "10"]);
    let mut client = connected(&address, "");
    let frame = [
        r#"{"id":2,"publish":{"channel":"a","data":1}}"#,
        r#"{"id":3,"subscribe":{"channel":"a"}}"#,
        r#"{"id":4,"publish":{"channel":"a","data":2}}"#,
        r#"{"id":5,"unsubscribe":{"channel":"a"}}"#,
        r#"{"id":6,"publish":{"channel":"a","data":3}}"#,
    ];
    let told = answers(&mut client, frame.join("\n"), 6);
    let ids: Vec<_> = told.iter().map(|it| it["id"].as_u64().unwrap_or_default()).collect();
    assert_eq!(ids.iter().position(|id| *id == 3), Some(1), "{told:?}");
    let push = ids.iter().position(|id| *id == 0).expect("there is a push");
    assert!(push > 1 && push < ids.len() && told[push]["push"]["pub"]["offset"] == 2, "{told:?}");
    let epoch = told[1]["subscribe"]["epoch"].as_str().expect("it has a history");
    // It goes on from where it was: the first in the answer, the others behind.
    let again = format!(
        r#"{{"id":7,"subscribe":{{"channel":"a","recover":true,"offset":1,"epoch":"{epoch}"}}}}"#
    );
    let told = answers(&mut client, again, 2);
    let first = &told[0]["subscribe"];
    assert_eq!(
        (&first["recovered"], &first["offset"], &first["publications"]),
        (&json!(true), &json!(1), &json!([{ "data": 2, "offset": 2 }]))
    );
    assert_eq!(told[1]["push"]["pub"], json!({ "data": 3, "offset": 3 }));
}

#[test]
fn protobuf_that_lies_ends_its_connection_and_no_other() {
    let (_server, address) = server(&[]);
    let bytes = |frame: &[u8]| Message::binary(frame.to_vec());
    let path = format!("{PATH}?format=protobuf");
    let opens = || {
        let mut client = connect(&address, &path);
        client.send(bytes(b"\x04\x08\x01\x22\x00")).expect("it goes out");
        let told = client.read().expect("it is answered").into_data();
        assert!(told[1..].starts_with(b"\x08\x01\x2a"), "{told:?}");
        client
    };
    let mut bystander = opens();
    for wrong in [
        &b"\x05\x08\x02\x5a\x00"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x02\x28\x01",
        b"\x05\x2a\x03\x0a\x05a",
        b"\x00",
        b"\x01\x0b",
    ] {
        let mut client = opens();
        client.send(bytes(wrong)).expect("it goes out");
        assert_eq!(read_close(&mut client), 3501, "{wrong:?}");
    }
    // A field that nobody knows, and a method.
    bystander.send(bytes(b"\x08\x08\x02\x5a\x00\xf8\x07\x01\x00")).expect("it goes out");
    assert_eq!(read_close(&mut bystander), 3501, "the second message is a pong to no ping");
    let mut client = opens();
    client
        .send(bytes(b"\x07\x08\x02\x5a\x00\xf8\x07\x01\x05\x08\x03\xa2\x06\x00"))
        .expect("it goes out");
    let told = client.read().expect("it is answered").into_data();
    assert_eq!(
        told.escape_ascii().to_string(),
        "\\x04\\x08\\x02b\\x00\\x18\\x08\\x03\\x12\\x14\\x08h\\x12\\x10method not found"
    );
}

#[test]
fn the_subprotocol_chooses_the_encoding() {
    let (_server, address) = server(&[]);
    for (offers, told) in [
        ("centrifuge-json", "centrifuge-json"),
        ("centrifuge-protobuf", "centrifuge-protobuf"),
        ("x, centrifuge-json, centrifuge-protobuf", "centrifuge-protobuf"),
    ] {
        let fields = format!("{UPGRADE}Sec-WebSocket-Protocol: {offers}\r\n");
        let head = crate::support::http::read_head(&mut asks(&address, &fields));
        let head = String::from_utf8(head.expect("it is answered")).expect("it is text");
        assert!(head.to_lowercase().contains(&format!("sec-websocket-protocol: {told}")), "{head}");
    }
}

fn asks(address: &str, fields: &str) -> std::net::TcpStream {
    use std::io::Write;
    let mut stream = crate::support::http::dial(address);
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("it goes out");
    stream
}

#[test]
fn a_door_has_the_verdict_of_all_doors() {
    let (_server, address, _files) = guarded(&["--anyone-may-subscribe", "--history", "10"]);
    let claims = json!({
        "exp": in_seconds(60), "sub": "ada", "subscribe": ["private-a"], "publish": ["b"],
        "channels": ["private-c", "$x"],
    });
    for (token, channel, may) in [
        ("", "a", [true, false]),
        ("", "private-a", [false, false]),
        ("", "$stats", [false, false]),
        ("", "$presence/a", [false, false]),
        (&*token(&claims), "a", [true, false]),
        (&*token(&claims), "private-a", [true, false]),
        (&*token(&claims), "private-b", [false, false]),
        (&*token(&claims), "private-c", [true, false]),
        (&*token(&claims), "b", [true, true]),
    ] {
        let mut client = connected(&address, token);
        let subscribe = json!({ "id": 2, "subscribe": { "channel": channel } }).to_string();
        let publish = json!({ "id": 3, "publish": { "channel": channel, "data": 1 } }).to_string();
        let history = json!({ "id": 4, "history": { "channel": channel } }).to_string();
        let code = |may: bool| if may { 0 } else { 103 };
        let told = answers(&mut client, history, 1);
        assert_eq!(error(&told[0]), (4, code(may[0])), "{token} {channel}");
        let told = answers(&mut client, publish, 1);
        assert_eq!(error(&told[0]), (3, code(may[1])), "{token} {channel}");
        let told = answers(&mut client, subscribe, 1);
        let is_servers = channel == "private-c";
        let expected = if is_servers { 105 } else { code(may[0]) };
        assert_eq!(error(&told[0]), (2, expected), "{token} {channel}");
    }
}

#[test]
fn a_token_for_less_ends_the_subscriptions_that_it_does_not_cover() {
    let (_server, address, _files) = guarded(&[]);
    let with = |subscribe: &[&str], channels: &[&str]| {
        token(&json!({
            "exp": in_seconds(60), "sub": "ada", "subscribe": subscribe, "channels": channels,
        }))
    };
    let mut client = connected(&address, &with(&["a", "b"], &["c", "d"]));
    let own = token(&json!({ "exp": in_seconds(60), "sub": "ada", "channel": "e" }));
    for (channel, token) in [("a", ""), ("b", ""), ("e", &*own)] {
        let subscribe = json!({ "id": 2, "subscribe": { "channel": channel, "token": token } });
        assert_eq!(error(&answers(&mut client, subscribe.to_string(), 1)[0]), (2, 0), "{channel}");
    }
    let fields = format!("X-API-Key: {KEY}\r\n");
    ask_tcp(&address, "POST /api/subscribe", &fields, r#"{"user":"ada","channel":"f"}"#);
    assert_eq!(read_json(&mut client)["push"]["channel"], "f");
    let refresh = json!({ "id": 3, "refresh": { "token": with(&["b"], &["d"]) } });
    let told = answers(&mut client, refresh.to_string(), 3);
    let ended =
        |nth: usize| (&told[nth]["push"]["channel"], &told[nth]["push"]["unsubscribe"]["code"]);
    assert_eq!(ended(0), (&json!("a"), &json!(2501)), "{told:?}");
    assert_eq!(ended(1), (&json!("c"), &json!(2501)), "{told:?}");
    assert!(told[2]["refresh"].is_object(), "{told:?}");
    // Those that are covered go on, and what has a token of its own, and what a backend has given.
    for channel in ["a", "b", "c", "d", "e", "f"] {
        let body = format!(r#"{{"channel":"{channel}","data":1}}"#);
        ask_tcp(&address, "POST /api/publish", &fields, &body);
    }
    let got: Vec<_> = (0..4).map(|_| read_json(&mut client)["push"]["channel"].take()).collect();
    assert_eq!(got, ["b", "d", "e", "f"]);
    // Nor is one for a subscription a token for a connection.
    let answer = ask_tcp(&address, &format!("GET {PATH}?token={own}"), UPGRADE, "");
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("channel"), "{answer}");
}

#[test]
fn what_it_is_not_for_is_refused_as_the_server_starts() {
    let key = File::new("key", KEY.as_bytes());
    for (arguments, why) in [
        (
            &["--centrifuge", "--hook-url", "http://127.0.0.1:1/", "--hook-event", "connect"][..],
            "nobody is asked",
        ),
        (&["--centrifuge-key-file", key.path()], "an API of --centrifuge"),
    ] {
        let output =
            std::process::Command::new(PUSHLOOP).args(arguments).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("it is text");
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
    }
}
