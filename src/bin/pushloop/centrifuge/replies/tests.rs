use super::*;

const POSITION: Position = Position { epoch: 0xfeed, offset: 300 };

type Row = (u32, Result<Answer<'static>, Failure>, &'static str, &'static [u8]);

/// Answers, their JSON, and the bytes of Protobuf without their length.
fn answers() -> Vec<Row> {
    let first = Publication { offset: 7, data: Message::Text("{\n\"a\":\r1}") };
    let subscribed = Subscribed {
        left: Some(60),
        position: Some(POSITION),
        was_recovering: true,
        recovered: true,
        publications: vec![first.clone()],
    };
    let client = Client { client: "c".into(), user: "u", info: Some("{\"n\":1}") };
    vec![
        (
            1,
            Ok(Answer::Connect(Connected {
                client: "c",
                left: Some(300),
                subs: vec![("a", Subscribed::default())],
                ping: 25,
                session: "",
                node: "",
            })),
            concat!(
                r#"{"id":1,"connect":{"client":"c","version":""#,
                env!("CARGO_PKG_VERSION"),
                r#"","expires":true,"ttl":300,"subs":{"a":{}},"ping":25,"pong":true}}"#
            ),
            b"\x08\x01\x2a\x1a\x0a\x01c\x12\x050.1.0\x18\x01\x20\xac\x02\x32\x05\x0a\x01a\x12\x00\x38\x19\x40\x01",
        ),
        (
            2,
            Ok(Answer::Subscribe(subscribed)),
            r#"{"id":2,"subscribe":{"expires":true,"ttl":60,"recoverable":true,"epoch":"000000000000feed","publications":[{"data":{ "a": 1},"offset":7}],"recovered":true,"offset":300,"positioned":true,"was_recovering":true}}"#,
            b"\x08\x02\x32\x30\x08\x01\x10\x3c\x18\x01\x32\x10000000000000feed\x3a\x0d\x22\x09{\n\"a\":\r1}\x30\x07\x40\x01\x48\xac\x02\x50\x01\x60\x01",
        ),
        (3, Ok(Answer::Unsubscribe), r#"{"id":3,"unsubscribe":{}}"#, b"\x08\x03\x3a\x00"),
        (4, Ok(Answer::Publish), r#"{"id":4,"publish":{}}"#, b"\x08\x04\x42\x00"),
        (
            5,
            Ok(Answer::Presence(vec![client])),
            r#"{"id":5,"presence":{"presence":{"c":{"user":"u","client":"c","conn_info":{"n":1}}}}}"#,
            b"\x08\x05\x4a\x16\x0a\x14\x0a\x01c\x12\x0f\x0a\x01u\x12\x01c\x1a\x07{\"n\":1}",
        ),
        (
            6,
            Ok(Answer::PresenceStats(Stats { clients: 2, users: 1 })),
            r#"{"id":6,"presence_stats":{"num_clients":2,"num_users":1}}"#,
            b"\x08\x06\x52\x04\x08\x02\x10\x01",
        ),
        (
            7,
            Ok(Answer::History(Kept { publications: vec![first], position: Some(POSITION) })),
            r#"{"id":7,"history":{"publications":[{"data":{ "a": 1},"offset":7}],"epoch":"000000000000feed","offset":300}}"#,
            b"\x08\x07\x5a\x24\x0a\x0d\x22\x09{\n\"a\":\r1}\x30\x07\x12\x10000000000000feed\x18\xac\x02",
        ),
        (8, Ok(Answer::Ping), r#"{"id":8,"ping":{}}"#, b"\x08\x08\x62\x00"),
        (
            9,
            Ok(Answer::Refresh { client: "c", left: Some(5) }),
            r#"{"id":9,"refresh":{"client":"c","expires":true,"ttl":5}}"#,
            b"\x08\x09\x72\x07\x0a\x01c\x18\x01\x20\x05",
        ),
        (10, Ok(Answer::SubRefresh { left: None }), r#"{"id":10,"sub_refresh":{}}"#, b"\x08\x0a\x7a\x00"),
        (
            11,
            Err(Failure::TOO_MANY_REQUESTS),
            r#"{"id":11,"error":{"code":111,"message":"too many requests","temporary":true}}"#,
            b"\x08\x0b\x12\x17\x08\x6f\x12\x11too many requests\x18\x01",
        ),
    ]
}

fn pushes() -> Vec<(Push<'static>, &'static str, &'static [u8])> {
    let publication = |data| Push::Publication(Publication { offset: 1, data });
    let client = Client { client: "c".into(), user: "", info: None };
    vec![
        (
            publication(Message::Text("Goal!")),
            r#"{"push":{"channel":"a","pub":{"data":"Goal!","offset":1}}}"#,
            b"\x22\x0e\x12\x01a\x22\x09\x22\x05Goal!\x30\x01",
        ),
        (
            publication(Message::Binary(b"\x00\xff")),
            r#"{"push":{"channel":"a","pub":{"data":"AP8=","offset":1}}}"#,
            b"\x22\x0b\x12\x01a\x22\x06\x22\x02\x00\xff\x30\x01",
        ),
        (
            Push::Join(client.clone()),
            r#"{"push":{"channel":"a","join":{"info":{"client":"c"}}}}"#,
            b"\x22\x0a\x12\x01a\x2a\x05\x0a\x03\x12\x01c",
        ),
        (
            Push::Leave(client),
            r#"{"push":{"channel":"a","leave":{"info":{"client":"c"}}}}"#,
            b"\x22\x0a\x12\x01a\x32\x05\x0a\x03\x12\x01c",
        ),
        (
            Push::Unsubscribe { code: 2501, reason: "x" },
            r#"{"push":{"channel":"a","unsubscribe":{"code":2501,"reason":"x"}}}"#,
            b"\x22\x0b\x12\x01a\x3a\x06\x10\xc5\x13\x1a\x01x",
        ),
        (
            Push::Subscribe { position: Some(POSITION) },
            r#"{"push":{"channel":"a","subscribe":{"recoverable":true,"epoch":"000000000000feed","offset":300,"positioned":true}}}"#,
            b"\x22\x1e\x12\x01a\x4a\x19\x08\x01\x22\x10000000000000feed\x28\xac\x02\x30\x01",
        ),
        (
            Push::Subscribe { position: None },
            r#"{"push":{"channel":"a","subscribe":{}}}"#,
            b"\x22\x05\x12\x01a\x4a\x00",
        ),
    ]
}

#[test]
fn what_is_told_is_the_same_in_both_encodings() {
    let (mut lines, mut messages) = (Vec::new(), Vec::new());
    let (mut expected_lines, mut expected) = (Vec::new(), Vec::new());
    for (id, answer, json, protobuf) in answers() {
        add_answer(Format::Json, &mut lines, id, &answer);
        add_answer(Format::Protobuf, &mut messages, id, &answer);
        expected_lines.push(json);
        expected.extend([&[protobuf.len() as u8], protobuf].concat());
        assert_eq!(messages.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
    for (push, json, protobuf) in pushes() {
        add_push(Format::Json, &mut lines, "a", &push);
        add_push(Format::Protobuf, &mut messages, "a", &push);
        expected_lines.push(json);
        expected.extend([&[protobuf.len() as u8], protobuf].concat());
        assert_eq!(messages.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
    add_ping(Format::Json, &mut lines);
    add_ping(Format::Protobuf, &mut messages);
    expected_lines.push("{}");
    expected.push(0);
    assert_eq!(String::from_utf8(lines).expect("it is text"), expected_lines.join("\n"));
    assert_eq!(messages, expected);
}

#[test]
fn data_in_json_is_json_in_one_line_whatever_was_published() {
    for (data, told) in [
        (Message::Text("1"), "1"),
        (Message::Text(" \n[1,\r\n 2]\n"), "[1,   2]"),
        (Message::Text("\"a\\nb\""), "\"a\\nb\""),
        (Message::Text("null"), "null"),
        (Message::Text(""), "\"\""),
        (Message::Text("a\nb\r\"\\\0"), "\"a\\nb\\r\\\"\\\\\\u0000\""),
        (Message::Text("{\"a\":}"), "\"{\\\"a\\\":}\""),
        (Message::Text("1 2"), "\"1 2\""),
        (Message::Text("\u{feff}1"), "\"\u{feff}1\""),
        (Message::Binary(b""), "\"\""),
        (Message::Binary(b"[1]"), "\"WzFd\""),
    ] {
        let mut out = Vec::new();
        add_push(Format::Json, &mut out, "é", &Push::Publication(Publication { offset: 0, data }));
        let line = format!("{{\"push\":{{\"channel\":\"é\",\"pub\":{{\"data\":{told}}}}}}}");
        assert_eq!(String::from_utf8(out).expect("it is text"), line);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut out = Vec::new();
    let data = Message::Text(&deep);
    add_push(Format::Json, &mut out, "a", &Push::Publication(Publication { offset: 0, data }));
    assert!(String::from_utf8(out).expect("it is text").contains(&deep));
}

#[test]
fn a_place_is_what_was_told_of_one() {
    assert_eq!(position(&epoch(POSITION), 300), Some(POSITION));
    for wrong in ["", "feed", "000000000000FEED", "+00000000000feed", "000000000000feed-1", "é"] {
        assert_eq!(position(wrong, 300), None, "{wrong}");
    }
}
