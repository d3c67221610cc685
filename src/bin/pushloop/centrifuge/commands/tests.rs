use super::*;

/// A command, its JSON, and the bytes of Protobuf without their length.
type Row = (Command<'static>, &'static str, &'static [u8]);

fn row(id: u32, method: Method<'static>, json: &'static str, protobuf: &'static [u8]) -> Row {
    (Command { id, method }, json, protobuf)
}

fn since() -> Since<'static> {
    Since { recover: true, epoch: "e".into(), offset: 300 }
}

/// Commands of which there is more to say than one or two texts.
fn long_rows() -> Vec<Row> {
    let connect = Connect { token: "t".into(), subs: vec![("a".into(), since())] };
    let subscribe = Subscribe {
        channel: "a".into(),
        token: "t".into(),
        since: since(),
        joins_and_leaves: true,
        rejects_unrecovered: true,
        has_filter: false,
        kind: 0,
    };
    let data = Some(Message::Text(r#"{"b": 1}"#));
    let publish = Method::Publish { channel: "a".into(), data, is_map: false };
    let since = Some((5, "e".into()));
    let history = History { channel: "a".into(), limit: -1, since, is_reverse: true };
    vec![
        row(
            1,
            Method::Connect(connect),
            r#"{"id":1,"connect":{"token":"t","subs":{"a":{"recover":true,"epoch":"e","offset":300}}}}"#,
            b"\x08\x01\x22\x12\x0a\x01t\x1a\x0d\x0a\x01a\x12\x08\x18\x01\x32\x01e\x38\xac\x02",
        ),
        row(
            2,
            Method::Subscribe(subscribe),
            r#"{"id":2,"subscribe":{"channel":"a","token":"t","recover":true,"epoch":"e","offset":300,"join_leave":true,"flag":3}}"#,
            b"\x08\x02\x2a\x12\x0a\x01a\x12\x01t\x18\x01\x32\x01e\x38\xac\x02\x58\x01\x70\x03",
        ),
        row(
            4,
            publish,
            r#"{"id":4,"publish":{"channel":"a","data": {"b": 1} }}"#,
            b"\x08\x04\x3a\x0d\x0a\x01a\x12\x08{\"b\": 1}",
        ),
        row(
            7,
            Method::History(history),
            r#"{"id":7,"history":{"channel":"a","limit":-1,"since":{"offset":5,"epoch":"e"},"reverse":true}}"#,
            b"\x08\x07\x52\x17\x0a\x01a\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x42\x05\x08\x05\x12\x01e\x48\x01",
        ),
    ]
}

fn short_rows() -> Vec<Row> {
    let refresh = Method::SubRefresh { channel: "a".into(), token: "t".into() };
    vec![
        row(0, Method::Unknown, "{}", b""),
        row(
            3,
            Method::Unsubscribe("a".into()),
            r#"{"id":3,"unsubscribe":{"channel":"a"}}"#,
            b"\x08\x03\x32\x03\x0a\x01a",
        ),
        row(
            5,
            Method::Presence("a".into()),
            r#"{"id":5,"presence":{"channel":"a"}}"#,
            b"\x08\x05\x42\x03\x0a\x01a",
        ),
        row(
            6,
            Method::PresenceStats("a".into()),
            r#"{"id":6,"presence_stats":{"channel":"a"}}"#,
            b"\x08\x06\x4a\x03\x0a\x01a",
        ),
        row(8, Method::Ping, r#"{"id":8,"ping":{}}"#, b"\x08\x08\x5a\x00"),
        row(0, Method::Send, r#"{"send":{"data":1}}"#, b"\x62\x03\x0a\x011"),
        row(9, Method::Rpc, r#"{"id":9,"rpc":{"method":"x"}}"#, b"\x08\x09\x6a\x03\x12\x01x"),
        row(
            10,
            Method::Refresh("t".into()),
            r#"{"id":10,"refresh":{"token":"t"}}"#,
            b"\x08\x0a\x72\x03\x0a\x01t",
        ),
        row(
            11,
            refresh,
            r#"{"id":11,"sub_refresh":{"channel":"a","token":"t"}}"#,
            b"\x08\x0b\x7a\x06\x0a\x01a\x12\x01t",
        ),
        row(12, Method::Unknown, r#"{"id":12,"dance":{}}"#, b"\x08\x0c\xa2\x06\x00"),
    ]
}

/// All commands of a frame, up to the first that is none.
fn all(format: Format, mut frame: &[u8]) -> Vec<Result<Command<'_>, Malformed>> {
    let mut commands = Vec::new();
    while let Some(command) = next(format, &mut frame) {
        let is_over = command.is_err();
        commands.push(command);
        if is_over {
            break;
        }
    }
    commands
}

#[test]
fn a_command_is_the_same_in_both_encodings() {
    let (mut lines, mut messages) = (String::new(), Vec::new());
    let rows = || long_rows().into_iter().chain(short_rows());
    for (command, json, protobuf) in rows() {
        assert_eq!(all(Format::Json, json.as_bytes()), [Ok(command.clone())], "{json}");
        let framed = [&[protobuf.len() as u8][..], protobuf].concat();
        assert_eq!(all(Format::Protobuf, &framed), [Ok(command)], "{json}");
        lines += json;
        lines += "\n";
        messages.extend(framed);
    }
    let commands: Vec<_> = rows().map(|(command, ..)| Ok(command)).collect();
    assert_eq!(all(Format::Json, lines.as_bytes()), commands, "in one frame");
    assert_eq!(all(Format::Json, format!("\n\r\n{lines}\n").as_bytes()), commands, "empty lines");
    assert_eq!(all(Format::Protobuf, &messages), commands);
}

#[test]
fn what_is_no_json_of_a_command_is_none() {
    let deep = format!(r#"{{"id":1,"connect":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    for wrong in [
        "[]",
        "1",
        "null",
        "{",
        "}",
        "{}{}",
        r#"{"id":-1}"#,
        r#"{"id":1.5}"#,
        r#"{"id":"1"}"#,
        r#"{"id":4294967296}"#,
        r#"{"id":1,"connect":[]}"#,
        r#"{"id":1,"connect":1}"#,
        &deep,
        r#"{"id":1,"subscribe":{"channel":1}}"#,
        r#"{"id":1,"subscribe":{"channel":"\ud800"}}"#,
        r#"{"id":1,"subscribe":{"offset":-1}}"#,
        r#"{"id":1,"subscribe":{"recover":"yes"}}"#,
        r#"{"id":1,"history":{"limit":9999999999}}"#,
        r#"{"id":1,"history":{"since":[]}}"#,
        r#"{"id":1,"connect":{"subs":[]}}"#,
        r#"{"id":1,"connect":{"subs":{"a":1}}}"#,
        r#"{"id":1,"publish":{"channel":"a","data":{"#,
        "{\"id\":1,\"ping\":{}\n}",
    ] {
        assert_eq!(all(Format::Json, wrong.as_bytes()).last(), Some(&Err(Malformed)), "{wrong}");
    }
    // Those before it are carried out.
    let cut = all(Format::Json, b"{\"id\":8,\"ping\":{}}\n{");
    assert_eq!(cut, [Ok(Command { id: 8, method: Method::Ping }), Err(Malformed)]);
    assert_eq!(all(Format::Json, b"\xff"), [Err(Malformed)]);
}

#[test]
fn of_what_is_there_twice_the_last_counts_and_null_is_as_good_as_nothing() {
    let unsubscribe =
        |channel: &'static str| Ok(Command { id: 3, method: Method::Unsubscribe(channel.into()) });
    for json in [
        r#"{"id":1,"unsubscribe":{"channel":"a"},"unsubscribe":{"channel":"x","channel":"b"},"id":3}"#,
        r#"{"id":3,"connect":null,"unsubscribe":{"channel":"b","x":null}}"#,
        r#"{"id":3,"unsubscribe":{"ch\u0061nnel":"\u0062"}}"#,
    ] {
        assert_eq!(all(Format::Json, json.as_bytes()), [unsubscribe("b")], "{json}");
    }
    let twice = b"\x0e\x08\x01\x32\x03\x0a\x01a\x32\x03\x0a\x01b\x08\x03";
    assert_eq!(all(Format::Protobuf, twice), [unsubscribe("b")]);
    assert_eq!(all(Format::Json, br#"{"id":3,"unsubscribe":{"channel":null}}"#), [unsubscribe("")]);
}

#[test]
fn what_an_application_sends_is_not_looked_into() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for data in [&*deep, r#"{"a":1,"a":2}"#, r#""\ud800""#, "1e999", "\"\u{2028}\""] {
        let json = format!(r#"{{"id":4,"publish":{{"channel":"a","data":{data}}}}}"#);
        let commands = all(Format::Json, json.as_bytes());
        let [Ok(Command { method: Method::Publish { data: Some(read), .. }, .. })] = commands[..]
        else {
            panic!("{commands:?}");
        };
        assert_eq!(read, Message::Text(data));
    }
    let bytes = b"\x0b\x08\x04\x3a\x07\x0a\x01a\x12\x02\xff\xfe";
    let commands = all(Format::Protobuf, bytes);
    let data = Some(Message::Binary(b"\xff\xfe"));
    let method = Method::Publish { channel: "a".into(), data, is_map: false };
    assert_eq!(commands, [Ok(Command { id: 4, method })]);
}

#[test]
fn unknown_fields_are_passed_over_and_what_lies_is_an_error() {
    let ping = Ok(Command { id: 8, method: Method::Ping });
    // One of each type that there is, with numbers up to the highest.
    let unknown: [&[u8]; 4] = [
        b"\xfa\x07\x02ab",
        b"\xf8\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xf9\xff\xff\xff\x0f12345678",
        b"\xfd\x071234",
    ];
    for field in unknown {
        let message = [b"\x08\x08\x5a\x00", field].concat();
        let framed = [&[message.len() as u8][..], &message].concat();
        assert_eq!(all(Format::Protobuf, &framed), [ping.clone()], "{field:?}");
        for cut in 1..message.len() {
            // What is cut inside of a field is none; between two of them it is another message.
            let cut = &message[..cut];
            let framed = [&[cut.len() as u8][..], cut].concat();
            all(Format::Protobuf, &framed);
            let short = [&[cut.len() as u8 + 1][..], cut].concat();
            assert_eq!(all(Format::Protobuf, &short), [Err(Malformed)], "{cut:?}");
        }
    }
    for (wrong, why) in [
        (&b"\x02\x08"[..], "a length beyond the end"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a length of 64 bits"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "a number of more bits"),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", "a number of more bytes"),
        (b"\x02\x00\x00", "a field of number 0"),
        (b"\x01\x0b", "a group"),
        (b"\x01\x0c", "its end"),
        (b"\x01\x0e", "a type that is none"),
        (b"\x06\x80\x80\x80\x80\x80\x01", "a number of a field of 32 bits"),
        (b"\x03\x0a\x01a", "the id as bytes"),
        (b"\x02\x28\x01", "a message as a number"),
        (b"\x05\x2d1234", "a message as a fixed one"),
        (b"\x05\x2a\x03\x0a\x05a", "a length inside that lies"),
        (b"\x05\x2a\x03\x0a\x01\xff", "a name that is no UTF-8"),
        (b"\x04\x2a\x02\x08\x01", "a name as a number"),
        (b"\x04\x22\x02\x18\x01", "an entry that is a number"),
        (b"\x06\x08\x80\x80\x80\x80\x10", "an id of 33 bits"),
    ] {
        assert_eq!(all(Format::Protobuf, wrong).last(), Some(&Err(Malformed)), "{why}");
    }
}
