//! What backends ask for with the server's API, by hand.

use serde_json::{Value, json};

use super::{KEY, answers, connected, guarded, server};
use crate::binary::{
    ask_tcp,
    tokens::{File, bearer, granting},
};

/// What is held of an answer is bounded, however many ask for it at once.
#[test]
fn a_batch_of_histories_is_answered_up_to_its_limit() {
    let key = File::new("key", KEY.as_bytes());
    let (_server, address) = server(&["--centrifuge-key-file", key.path(), "--history", "100"]);
    let line = format!("\"{}\"", "x".repeat(1000));
    for _ in 0..70 {
        ask_tcp(&address, "POST /a", "", &line);
    }
    let history = r#"{"history":{"channel":"a","limit":-1}}"#;
    let batch = format!(r#"{{"commands":[{}]}}"#, vec![history; 40].join(","));
    let fields = format!("X-API-Key: {KEY}\r\n");
    let answer = ask_tcp(&address, "POST /api/batch", &fields, &batch);
    let (_, body) = answer.split_once("\r\n\r\n").expect("there is a body");
    let replies: Value = serde_json::from_str(body).expect("it is JSON");
    let replies = replies["replies"].as_array().expect("there are replies");
    let given = replies.iter().take_while(|it| it["history"].is_object()).count();
    // Each is some 63 KB, and the limit 1 MiB.
    assert_eq!((replies.len(), given), (40, 17));
    assert!(replies[given..].iter().all(|it| it["error"]["code"] == 106));
}

/// What these begin with is how clients are told who comes and goes, and no channel.
#[test]
fn the_api_has_no_channel_whose_name_is_for_who_comes_and_goes() {
    let (_server, address, _files) = guarded(&["--history", "10", "--presence"]);
    let with_key = format!("X-API-Key: {KEY}\r\n");
    for method in [
        "publish",
        "broadcast",
        "subscribe",
        "unsubscribe",
        "presence",
        "presence_stats",
        "history",
        "history_remove",
    ] {
        for (name, is_bad) in [("$joins/x", true), ("x", false)] {
            let body = json!({ "channel": name, "channels": [name], "user": "u", "data": 1 });
            let path = format!("POST /api/{method}");
            let answer = ask_tcp(&address, &path, &with_key, &body.to_string());
            assert_eq!(answer.contains(r#""code":107"#), is_bad, "{method} {name}: {answer}");
        }
    }
}

#[test]
fn the_api_takes_its_key_and_no_other() {
    let (_server, address, _files) = guarded(&["--history", "10"]);
    let with_key = format!("X-API-Key: {KEY}\r\n");
    let broadcast =
        |channels| format!(r#"{{"channels":[{}],"data":1}}"#, vec![r#""b""#; channels].join(","));
    let bearer = bearer(&granting(&["*"], &["*"]));
    for (path, fields, body, status, told) in [
        ("/api/info", "", "{}", 401, "--centrifuge-key-file"),
        ("/api/info", "X-API-Key: another-key-of-the-api\r\n", "{}", 401, ""),
        ("/api/info", &*bearer, "{}", 401, ""),
        ("/api/info", &*with_key, "{}", 200, "\"nodes\":[{"),
        ("/api/info", &*format!("Authorization: apikey {KEY}\r\n"), "", 200, "\"nodes\":[{"),
        (&*format!("/api/info?api_key={KEY}"), "", "{}", 200, "\"nodes\":[{"),
        ("/api", &*with_key, r#"{"method":"info","params":{}}"#, 200, "\"nodes\":[{"),
        ("/api/dance", &*with_key, "{}", 404, "no such method"),
        ("/api/publish", &*with_key, "{", 400, "no call"),
        (
            "/api/publish",
            &*with_key,
            "{}",
            200,
            r#"{"error":{"code":107,"message":"bad request"}}"#,
        ),
        (
            "/api/publish",
            &*with_key,
            r#"{"channel":"a","data":1}"#,
            200,
            r#"{"result":{"offset":1,"epoch":""#,
        ),
        ("/api/publish", &*with_key, r#"{"channel":"$x","data":1}"#, 200, r#""code":103"#),
        ("/api/presence", &*with_key, r#"{"channel":"a"}"#, 200, r#""code":108"#),
        (
            "/api/disconnect",
            &*with_key,
            r#"{"user":"u","disconnect":{"code":1000}}"#,
            200,
            r#""code":107"#,
        ),
        ("/api/disconnect", &*with_key, r#"{"user":"u"}"#, 200, r#"{"result":{}}"#),
        ("/api/broadcast", &*with_key, &*broadcast(1000), 200, r#""offset":1000"#),
        ("/api/broadcast", &*with_key, &*broadcast(1001), 200, r#""code":106"#),
        // Later than any clock shows.
        (
            "/api/refresh",
            &*with_key,
            r#"{"user":"u","expire_at":18446744073709551615}"#,
            200,
            r#"{"result":{}}"#,
        ),
    ] {
        let answer = ask_tcp(&address, &format!("POST {path}"), fields, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {body}: {answer}");
        assert!(answer.contains(told), "{path} {body}: {answer}");
    }
    let answer = ask_tcp(&address, "GET /api/info", &with_key, "");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[test]
fn a_file_of_histories_has_what_both_sides_publish() {
    let (path, key) =
        (crate::support::process::scratch("history"), File::new("key", KEY.as_bytes()));
    let file = path.to_str().expect("the path is text");
    let arguments =
        ["--history", "10", "--history-file", file, "--centrifuge-key-file", key.path()];
    let (mut first, address) = server(&arguments);
    let mut client = connected(&address, "");
    let told = answers(&mut client, r#"{"id":2,"subscribe":{"channel":"a"}}"#, 1);
    let epoch = told[0]["subscribe"]["epoch"].as_str().expect("it has a history").to_owned();
    let fields = format!("X-API-Key: {KEY}\r\n");
    let batch = r#"{"commands":[{"publish":{"channel":"a","data":1}},{"info":{}},{"broadcast":{"channels":["a","b"],"data":2}}]}"#;
    let answer = ask_tcp(&address, "POST /api/batch", &fields, batch);
    let (_, body) = answer.split_once("\r\n\r\n").expect("there is a body");
    let replies: Value = serde_json::from_str(body).expect("it is JSON");
    assert_eq!(replies["replies"][0]["publish"], json!({ "offset": 1, "epoch": epoch }));
    assert_eq!(replies["replies"][2]["broadcast"]["responses"][0]["result"]["offset"], 2);
    answers(&mut client, "", 2);
    first.kills();
    let (_server, address) = server(&arguments);
    let mut client = connected(&address, "");
    let subscribe = json!({ "id": 2, "subscribe": { "channel": "a", "recover": true, "offset": 1, "epoch": epoch } });
    let told = answers(&mut client, subscribe.to_string(), 1);
    assert_eq!(told[0]["subscribe"]["publications"], json!([{ "data": 2, "offset": 2 }]));
    let _ = std::fs::remove_file(path);
}
