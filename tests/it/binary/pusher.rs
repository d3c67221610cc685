//! Clients of Pusher and backends that are wrong, at the server to run: each is told what the real server tells, and
//! nobody else notices. What is right is for Pusher's own clients (`tests/clients/pusher.mjs`).

mod limits;
mod webhooks;

use std::{io::Write, process::Command};

use ring::hmac;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::{
    PUSHLOOP, ask_tcp, serve,
    tokens::{self, File, PUBLISH_KEY, SECRET, bearer, handshake_status, in_seconds, status},
};
use crate::support::process::{Process, Stream, connect, read_close, read_json};

const KEYS: [&str; 2] = ["the secret of the first", "the secret of the second"];
const APP: &str = "/app/key-1?protocol=7";

/// A server with two applications.
fn serves(more: &[&str]) -> (Process, String, [File; 2]) {
    let files = [0, 1].map(|nth| File::new(&format!("app-{nth}"), KEYS[nth].as_bytes()));
    let apps = [1, 2].map(|nth| format!("{nth}:key-{nth}:{}", files[nth - 1].path()));
    let arguments = ["--pusher-app", &apps[0], "--pusher-app", &apps[1]];
    let (server, address) = serve(&[&arguments, more].concat());
    (server, address, files)
}

fn sign(nth: usize, text: &str) -> String {
    let code =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEYS[nth - 1].as_bytes()), text.as_bytes());
    code.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A client of the first application, and the name of its socket.
fn opens(address: &str) -> (WebSocket<Stream>, String) {
    let mut client = connect(address, APP);
    let told = read_json(&mut client);
    assert_eq!(told["event"], "pusher:connection_established");
    let data: Value = serde_json::from_str(told["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["activity_timeout"], 120);
    (client, data["socket_id"].as_str().unwrap().to_owned())
}

fn says(client: &mut WebSocket<Stream>, text: impl ToString) -> Value {
    client.send(Message::text(text.to_string())).expect("it is sent");
    read_json(client)
}

fn subscribe(client: &mut WebSocket<Stream>, data: &Value) -> Value {
    says(client, json!({ "event": "pusher:subscribe", "data": data }))
}

/// The data of a refused subscription.
fn refused(client: &mut WebSocket<Stream>, data: &Value) -> Value {
    let told = subscribe(client, data);
    assert_eq!(
        (&told["event"], &told["channel"]),
        (&json!("pusher:subscription_error"), &data["channel"])
    );
    serde_json::from_str(told["data"].as_str().unwrap()).unwrap()
}

fn succeeds(client: &mut WebSocket<Stream>, data: &Value) {
    let told = subscribe(client, data);
    assert_eq!(told["event"], "pusher_internal:subscription_succeeded", "{told}");
}

/// The answer to a signed request: the number of the application that has the secret, and what differs.
fn api(address: &str, nth: usize, line: &str, query: &[(&str, &str)], body: &str) -> String {
    let (method, path) = line.split_once(' ').unwrap();
    let time = in_seconds(0).to_string();
    let key = format!("key-{nth}");
    let sum = md5(body);
    let mut pairs = vec![("auth_key", &*key), ("auth_timestamp", &*time), ("auth_version", "1.0")];
    if !body.is_empty() {
        pairs.push(("body_md5", &*sum));
    }
    for (name, value) in query {
        pairs.retain(|(other, _)| other != name);
        pairs.push((name, value));
    }
    pairs.sort_unstable();
    let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let query = query.join("&");
    let signature = sign(nth, &format!("{method}\n{path}\n{query}"));
    let fields = "Content-Type: application/json\r\n";
    ask_tcp(address, &format!("{line}?{query}&auth_signature={signature}"), fields, body)
}

fn md5(text: &str) -> String {
    let mut sum = Command::new("md5sum");
    sum.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = sum.spawn().expect("coreutils have it");
    child.stdin.take().unwrap().write_all(text.as_bytes()).expect("it reads");
    String::from_utf8(child.wait_with_output().expect("it ends").stdout).unwrap()[..32].to_owned()
}

#[test]
fn a_client_without_a_key_or_a_version_is_told_the_code_with_which_it_stays_away() {
    let (_server, address, _files) = serves(&[]);
    for (path, code) in [
        ("/app/nobody?protocol=7", 4001),
        ("/app/key-1/?protocol=7", 4001),
        ("/app/key-1", 4008),
        ("/app/key-1?protocol=", 4008),
        ("/app/key-1?protocol=x", 4006),
        ("/app/key-1?protocol=4", 4007),
        ("/app/key-1?protocol=8", 4007),
    ] {
        let mut client = connect(&address, path);
        let told = read_json(&mut client);
        assert_eq!((&told["event"], &told["data"]["code"]), (&json!("pusher:error"), &json!(code)));
        assert_eq!(read_close(&mut client), code, "{path}");
    }
    assert_eq!(status(&ask_tcp(&address, "GET /app/key-1", "", "")), 426);
    for protocol in 5..=7 {
        let mut client = connect(&address, &format!("/app/key-1?protocol={protocol}"));
        assert_eq!(read_json(&mut client)["event"], "pusher:connection_established");
    }
}

#[test]
fn what_is_not_of_the_protocol_is_told_so_and_nobody_else_notices() {
    let (_server, address, _files) = serves(&[]);
    let (mut other, _) = opens(&address);
    succeeds(&mut other, &json!({ "channel": "a" }));
    let (mut client, _) = opens(&address);
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    let many = format!("[{}]", vec![r#"{"event":"pusher:ping"}"#; 2000].join(","));
    let long = "x".repeat(300);
    for (text, code) in [
        ("", 4200),
        ("x", 4200),
        ("{\"event\":", 4200),
        (r#"{"event":"pusher:ping","event":"pusher:ping"}"#, 4200),
        (r#"{"event":"pusher:subscribe"}"#, 4200),
        (r#"{"event":"pusher:subscribe","data":{"channel":["a"]}}"#, 4200),
        (&format!("{{\"event\":\"client-x\",\"channel\":\"a\",\"data\":{deep}}}"), 4200),
        (&deep, 4200),
        (&many, 4200),
        (r#"{"event":"nothing"}"#, 4200),
        (&format!("{{\"event\":\"{long}\"}}"), 4200),
    ] {
        let told = says(&mut client, text);
        assert_eq!(
            (&told["event"], &told["data"]["code"]),
            (&json!("pusher:error"), &json!(code)),
            "{text}"
        );
    }
    client.send(Message::binary(vec![1])).expect("it is sent");
    assert_eq!(read_json(&mut client)["data"]["code"], 4200);
    // Out of order, and twice.
    for (event, why) in [
        (json!({ "event": "pusher:unsubscribe", "data": { "channel": "a" } }), "No current"),
        (json!({ "event": "client-x", "channel": "a", "data": {} }), "private and presence"),
    ] {
        let told = says(&mut client, &event);
        assert_eq!((&told["event"], &told["data"]["code"]), (&json!("pusher:error"), &Value::Null));
        assert!(told["data"]["message"].as_str().unwrap().contains(why), "{told}");
    }
    succeeds(&mut client, &json!({ "channel": "a" }));
    let told = subscribe(&mut client, &json!({ "channel": "a" }));
    assert!(told["data"]["message"].as_str().unwrap().starts_with("Existing subscription"));
    assert_eq!(says(&mut client, r#"{"event":"pusher:ping"}"#)["event"], "pusher:pong");
    // The other has got nothing but this.
    assert_eq!(
        status(&api(
            &address,
            1,
            "POST /apps/1/events",
            &[],
            r#"{"name":"e","channel":"a","data":"1"}"#
        )),
        200
    );
    assert_eq!(read_json(&mut other)["event"], "e");
}

#[test]
fn a_signature_is_for_one_socket_one_channel_and_one_application() {
    let (_server, address, _files) = serves(&[]);
    let (mut client, socket) = opens(&address);
    let member = r#"{"user_id":"ada"}"#;
    let good = sign(1, &format!("{socket}:private-a"));
    let present = sign(1, &format!("{socket}:presence-a:{member}"));
    for (channel, auth, data) in [
        ("private-a", String::new(), None),
        ("private-a", "key-1:".to_owned(), None),
        ("private-a", format!("key-1:{}", "0".repeat(64)), None),
        ("private-a", format!("key-1:{}", &good[..62]), None),
        ("private-a", format!("key-2:{good}"), None),
        ("private-a", format!("key-1:{}", sign(2, &format!("{socket}:private-a"))), None),
        ("private-a", format!("key-1:{}", sign(1, "1.1:private-a")), None),
        ("private-b", format!("key-1:{good}"), None),
        ("private-encrypted-a", format!("key-1:{good}"), None),
        ("presence-a", format!("key-1:{present}"), None),
        ("presence-a", format!("key-1:{present}"), Some(r#"{"user_id":"ben"}"#)),
        ("#server-to-user-ada", format!("key-1:{good}"), None),
    ] {
        let mut asked = json!({ "channel": channel, "auth": auth });
        if let Some(data) = data {
            asked["channel_data"] = data.into();
        }
        let data = refused(&mut client, &asked);
        assert_eq!((&data["type"], &data["status"]), (&json!("AuthError"), &json!(401)), "{asked}");
    }
    succeeds(&mut client, &json!({ "channel": "private-a", "auth": format!("key-1:{good}") }));
    let auth = format!("key-1:{present}");
    succeeds(
        &mut client,
        &json!({ "channel": "presence-a", "auth": auth, "channel_data": member }),
    );
    // A sign-in that is wrong ends the connection.
    let forged = json!({ "auth": format!("key-1:{good}"), "user_data": "{\"id\":\"ada\"}" });
    let told = says(&mut client, json!({ "event": "pusher:signin", "data": forged }));
    assert_eq!(told["data"]["code"], 4009);
    assert_eq!(read_close(&mut client), 4009);
}

#[test]
fn a_request_is_signed_by_its_application_now_and_for_its_body() {
    let (_server, address, _files) = serves(&[]);
    const EVENTS: &str = "POST /apps/1/events";
    let body = r#"{"name":"e","channel":"a","data":"1"}"#;
    let [old, late, soon] = [-601, -598, 598].map(|it| in_seconds(it).to_string());
    let answer = api(&address, 1, EVENTS, &[], body);
    assert!(status(&answer) == 200 && answer.ends_with("\r\n\r\n{}"), "{answer}");
    let far = in_seconds(660).to_string();
    for (nth, line, query, expected) in [
        (1, EVENTS, ("auth_timestamp", &*late), 200),
        (1, EVENTS, ("auth_timestamp", &*soon), 200),
        (1, EVENTS, ("auth_timestamp", &*old), 401),
        (1, EVENTS, ("auth_timestamp", &*far), 401),
        (1, EVENTS, ("auth_timestamp", "now"), 401),
        (1, EVENTS, ("auth_version", "2.0"), 401),
        (1, EVENTS, ("auth_key", "key-2"), 401),
        (1, EVENTS, ("body_md5", "ec365a775a4cd0599faeb73354201b6f"), 401),
        (2, EVENTS, ("info", ""), 401),
        (2, "POST /apps/2/events", ("info", ""), 200),
        (1, "POST /apps/3/events", ("info", ""), 404),
        (1, "POST /apps/1/nothing", ("info", ""), 404),
        (1, "PUT /apps/1/events", ("info", ""), 404),
        (1, "GET /apps/1/channels", ("AUTH_KEY", "key-1"), 400),
    ] {
        assert_eq!(status(&api(&address, nth, line, &[query], body)), expected, "{line} {query:?}");
    }
    assert_eq!(status(&ask_tcp(&address, EVENTS, &bearer(PUBLISH_KEY), body)), 401);
}

/// With applications, there are keys: plain doors open to those who have one, and what is signed for in Pusher is never
/// open to all.
#[test]
fn what_is_signed_for_is_behind_every_other_door_too() {
    let names = [
        "open",
        "private-a",
        "presence-a",
        "cache-a",
        "private-a:2",
        "$presence/presence-a",
        "private-%23server-to-user-ada",
    ];
    let secret = File::new("jwt", SECRET);
    for (more, anyone, expected) in [
        (&[][..], "", [401; 7]),
        (&["--anyone-may-subscribe"], "", [200, 401, 401, 200, 401, 401, 401]),
        (&["--jwt-secret-file", secret.path()], "*", [200, 403, 403, 200, 403, 403, 403]),
        (&["--jwt-secret-file", secret.path()], "private-*", [403, 200, 403, 403, 200, 403, 200]),
    ] {
        let (_server, address, _files) = serves(more);
        let token = match anyone {
            "" => String::new(),
            pattern => tokens::granting(&[pattern], &[]),
        };
        for (name, expected) in names.iter().zip(expected) {
            let path = format!("/{name}");
            assert_eq!(
                handshake_status(&address, &path, &bearer(&token)),
                expected,
                "{more:?} {name}"
            );
            assert_eq!(tokens::stream_status(&address, &path, &bearer(&token)), expected, "{name}");
        }
        assert!([401, 403].contains(&status(&ask_tcp(
            &address,
            "POST /private-a",
            &bearer(&token),
            "x"
        ))));
    }
}

#[test]
fn applications_are_refused_where_they_cannot_be_served() {
    let file = File::new("app", KEYS[0].as_bytes());
    let short = File::new("short", b"fifteen bytes!!");
    let app = format!("1:key:{}", file.path());
    for (arguments, said) in [
        (vec!["--pusher-app", "1:key"], "ID:KEY:FILE"),
        (vec!["--pusher-app", &*app, "--pusher-app", &*app], "two applications"),
        (
            vec![
                "--pusher-app",
                &*app,
                "--hook-url",
                "http://127.0.0.1:1/",
                "--hook-event",
                "publish",
            ],
            "not with --hook-event",
        ),
        (vec!["--pusher-app", &*app, "--anyone-may-publish"], "--anyone-may-publish"),
    ] {
        let output =
            Command::new(PUSHLOOP).arg("check").args(&arguments).output().expect("it runs");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{arguments:?}: {error}");
    }
    let app = format!("1:key:{}", short.path());
    let output = Command::new(PUSHLOOP).args(["check", "--pusher-app", &app]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("pusher_secret_bytes_min = 16"));
}

/// What a client of a file's server publishes leaves it out as well, and is there for those who come later.
#[test]
fn events_go_through_a_file_of_histories() {
    let history = crate::support::process::scratch("pusher-history");
    let path = history.to_str().unwrap();
    let (_server, address, _files) = serves(&["--history", "5", "--history-file", path]);
    let (mut ada, socket) = opens(&address);
    let (mut ben, _) = opens(&address);
    for client in [&mut ada, &mut ben] {
        succeeds(client, &json!({ "channel": "cache-a" }));
        assert_eq!(read_json(client)["event"], "pusher:cache_miss");
    }
    for except in [&*socket, "1.2"] {
        let body =
            json!({ "name": "e", "channel": "cache-a", "data": except, "socket_id": except });
        let answer = api(&address, 1, "POST /apps/1/events", &[], &body.to_string());
        assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    }
    assert_eq!(read_json(&mut ada)["data"], "1.2");
    assert_eq!(
        [read_json(&mut ben)["data"].clone(), read_json(&mut ben)["data"].clone()],
        [socket, "1.2".to_owned()]
    );
    let (mut late, _) = opens(&address);
    succeeds(&mut late, &json!({ "channel": "cache-a" }));
    assert_eq!(read_json(&mut late)["data"], "1.2");
    std::fs::remove_file(history).expect("it is there");
}
