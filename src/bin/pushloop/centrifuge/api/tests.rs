use pushloop::Position;

use super::*;

fn one(method: &str, body: &str) -> String {
    match read(Some(method), body) {
        Ok(Some(Asked { calls, .. })) => format!("{calls:?}"),
        Ok(None) => "no such method".to_owned(),
        Err(Malformed) => "malformed".to_owned(),
    }
}

#[test]
fn a_call_says_what_it_wants_or_is_refused() {
    for (method, body, told) in [
        ("publish", r#"{"channel":"a","data":{"b":1}}"#, r#"data: Text("{\"b\":1}"), key: None"#),
        ("publish", r#"{"channel":"a","b64data":"AP8="}"#, "Binary([0, 255])"),
        ("publish", r#"{"channel":"a","b64data":"YQ=="}"#, r#"Text("a")"#),
        ("publish", r#"{"channel":"a","data":1,"idempotency_key":"k"}"#, r#"key: Some("k")"#),
        ("publish", r#"{"channel":"a","data":1,"delta":true,"tags":{}}"#, "Ok(Publish"),
        ("broadcast", r#"{"channels":["a","b"],"data":1}"#, r#"channels: ["a", "b"]"#),
        ("publish", r#"{"channel":"a"}"#, "bad request"),
        ("publish", r#"{"data":1}"#, "bad request"),
        ("publish", r#"{"channel":"a","b64data":"?"}"#, "bad request"),
        ("publish", r#"{"channel":"a","data":1,"tags":{"b":"c"}}"#, "not available"),
        ("publish", r#"{"channel":"a","data":1,"skip_history":true}"#, "not available"),
        ("publish", r#"{"channel":"a","data":1,"version":2}"#, "not available"),
        ("broadcast", r#"{"channels":[],"data":1}"#, "bad request"),
        ("broadcast", r#"{"channels":["a",""],"data":1}"#, "bad request"),
        ("broadcast", r#"{"channels":"a","data":1}"#, "bad request"),
        ("subscribe", r#"{"user":"u","channel":"a"}"#, "since: None"),
        ("subscribe", r#"{"user":"u"}"#, "bad request"),
        ("disconnect", r#"{"user":"u","whitelist":["c"]}"#, r#"but: ["c"], code: None"#),
        ("disconnect", r#"{"user":"u","disconnect":{"code":4000,"reason":"r"}}"#, "Some(4000)"),
        ("refresh", r#"{"user":"u","expired":true}"#, "is_expired: true"),
        ("history", r#"{"channel":"a","limit":2}"#, "limit: 2"),
        ("history", "{}", "bad request"),
        ("presence", "", "bad request"),
        ("channels", "", r#"Channels("")"#),
        ("info", "{}", "Info"),
        ("rpc", "{}", "no such method"),
        ("publish", "[]", "malformed"),
        ("publish", "{", "malformed"),
        (
            "batch",
            r#"{"commands":[{"info":{}},{"dance":{}}]}"#,
            "Ok(Info), Err(Failure { code: 104",
        ),
        ("batch", r#"{"commands":[{"info":{},"channels":{}}]}"#, "malformed"),
        ("batch", r#"{"commands":[1]}"#, "malformed"),
    ] {
        assert!(one(method, body).contains(told), "{method} {body}: {}", one(method, body));
    }
    let in_body = read(None, r#"{"method":"info","params":{}}"#);
    assert!(in_body.is_ok_and(|it| it.is_some_and(|it| matches!(it.calls[..], [Ok(Call::Info)]))));
    assert!(read(None, "{}").is_err());
    let commands =
        |count| format!(r#"{{"commands":[{}]}}"#, vec![r#"{"info":{}}"#; count].join(","));
    assert!(one("batch", &commands(BATCH_MAX)).contains("Ok(Info)"));
    assert!(one("batch", &commands(BATCH_MAX + 1)).contains("limit exceeded"));
}

#[test]
fn an_answer_has_what_became_of_each_call_in_its_order() {
    let mut published = pushloop::Published::default();
    published.position = Some(Position { epoch: 0xfeed, offset: 3 });
    let full = || Err((503, "full".into()));
    let publish = |count, is_broadcast| Slot::Publish { count, is_broadcast };
    let calls = |is_batch, slots| Calls { is_batch, slots };
    let place = r#"{"offset":3,"epoch":"000000000000feed"}"#;
    let told = calls(false, vec![publish(1, false)]).answer([Ok(published)].into_iter());
    assert_eq!(told, format!(r#"{{"result":{place}}}"#));
    let told = calls(false, vec![publish(2, true)]).answer([full(), Ok(published)].into_iter());
    let error = r#"{"error":{"code":111,"message":"too many requests"}}"#;
    assert_eq!(told, format!(r#"{{"result":{{"responses":[{error},{{"result":{place}}}]}}}}"#));
    let done = || Slot::Done("info", Ok("{}".to_owned()));
    let slots = vec![publish(1, false), done(), Slot::Done("error", Err(Failure::BAD_REQUEST))];
    let told = calls(true, slots).answer([Ok(Default::default())].into_iter());
    let bad = r#"{"error":{"code":107,"message":"bad request"}}"#;
    assert_eq!(told, format!(r#"{{"replies":[{{"publish":{{}}}},{{"info":{{}}}},{bad}]}}"#));
}

#[test]
fn a_pattern_has_any_text_where_its_stars_are() {
    for (pattern, names, others) in [
        ("*", &["", "a"][..], &[][..]),
        ("a", &["a"], &["", "ab"]),
        ("chat:*", &["chat:", "chat:1"], &["chat", "xchat:1"]),
        ("*:1", &["chat:1", ":1"], &["chat:12"]),
        ("a*b*c", &["abc", "axbxc", "abbc"], &["ab", "ac", "acb"]),
        ("a*a", &["aa", "aba"], &["a"]),
    ] {
        names.iter().for_each(|it| assert!(is_like(it, pattern), "{pattern} {it}"));
        others.iter().for_each(|it| assert!(!is_like(it, pattern), "{pattern} {it}"));
    }
}
