//! What the backends of applications are told, in the form of Pusher's webhooks. Pusher's own SDKs read the same in
//! `tests/clients/pusher.mjs` and `pusher_backend.py`.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::{KEYS, opens, read_json, says, serves, sign, subscribe, succeeds};
use crate::{
    binary::{
        PUSHLOOP,
        hooks::{
            backend::{Backend, Got, reply, yes},
            metric,
        },
        key_sets::{https::presents, until},
        tokens::{File, SECRET, in_seconds, token},
    },
    support::process::{Process, Stream, connect},
    tls::Authority,
};

/// Events of the application, so many, as a request that it has signed tells them.
#[track_caller]
fn events(backend: &Backend, nth: usize, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let got = backend.next();
        assert_eq!(got.field("x-pusher-key"), Some(&*format!("key-{nth}")));
        let body = str::from_utf8(&got.body).expect("JSON is text");
        assert_eq!(got.field("x-pusher-signature"), Some(&*sign(nth, body)));
        assert_eq!(got.field("content-type"), Some("application/json"));
        assert_eq!(got.field("pushloop-signature"), None);
        let mut told = got.json();
        let seconds = told["time_ms"].as_i64().expect("a time") / 1000;
        assert!(seconds.abs_diff(in_seconds(0)) < 60, "{told}");
        events.append(told["events"].as_array_mut().expect("a list"));
        assert_eq!(told.as_object().expect("an object").len(), 2, "{told}");
    }
    assert_eq!(events.len(), count, "{events:?}");
    events
}

fn of_channel(name: &str, channel: &str) -> Value {
    json!({ "name": name, "channel": channel })
}

fn of_member(name: &str, channel: &str, user: &str) -> Value {
    json!({ "name": name, "channel": channel, "user_id": user })
}

fn joins(client: &mut WebSocket<Stream>, socket: &str, channel: &str, user: &str) {
    let data = json!({ "user_id": user }).to_string();
    let auth = format!("key-1:{}", sign(1, &format!("{socket}:{channel}:{data}")));
    succeeds(client, &json!({ "channel": channel, "auth": auth, "channel_data": data }));
}

fn leaves(client: &mut WebSocket<Stream>, channel: &str) {
    let data = json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } });
    client.send(Message::text(data.to_string())).expect("it is sent");
}

#[test]
fn each_kind_of_event_is_told_in_its_order_and_signed() {
    let backend = Backend::start(|_: &Got| yes());
    let webhook = format!("1:{}", backend.url());
    let more = ["--pusher-webhook", &webhook, "--presence-delay", "0"];
    let (_server, address, _files) = serves(&more);
    let (mut ada, socket) = opens(&address);
    let room = "presence-cache-a";
    joins(&mut ada, &socket, room, "ada");
    assert_eq!(read_json(&mut ada)["event"], "pusher:cache_miss");
    assert_eq!(
        events(&backend, 1, 3),
        [
            of_channel("channel_occupied", room),
            of_member("member_added", room, "ada"),
            of_channel("cache_miss", room)
        ]
    );
    // A second connection of the same member is no news; what it sends is.
    let (mut again, other) = opens(&address);
    joins(&mut again, &other, room, "ada");
    assert_eq!(read_json(&mut again)["event"], "pusher:cache_miss");
    assert_eq!(events(&backend, 1, 1), [of_channel("cache_miss", room)]);
    for (data, text) in [
        (json!({ "x": [1, "κόσμε"] }), "{\"x\":[1,\"κόσμε\"]}"),
        (json!("as it \"is\""), "as it \"is\""),
        (Value::Null, "null"),
    ] {
        let event = json!({ "event": "client-x", "channel": room, "data": data });
        again.send(Message::text(event.to_string())).expect("it is sent");
        let expected = json!({
            "name": "client_event", "channel": room, "event": "client-x", "data": text,
            "socket_id": other, "user_id": "ada",
        });
        assert_eq!(events(&backend, 1, 1), [expected]);
    }
    drop(again);
    leaves(&mut ada, room);
    let left = [of_member("member_removed", room, "ada"), of_channel("channel_vacated", room)];
    assert_eq!(events(&backend, 1, 2), left);
    // In a private channel nobody has a name, and what is refused is not told.
    let (mut ada, socket) = opens(&address);
    let auth = format!("key-1:{}", sign(1, &format!("{socket}:private-a")));
    succeeds(&mut ada, &json!({ "channel": "private-a", "auth": auth }));
    assert_eq!(events(&backend, 1, 1), [of_channel("channel_occupied", "private-a")]);
    for (channel, name) in [("private-b", "client-x"), ("private-a", "client-y")] {
        let event = json!({ "event": name, "channel": channel, "data": {} });
        ada.send(Message::text(event.to_string())).expect("it is sent");
    }
    let told = events(&backend, 1, 1).remove(0);
    assert_eq!((&told["event"], told.get("user_id")), (&json!("client-y"), None));
    assert_eq!(told["socket_id"], socket);
    assert!(backend.has_no_more());
}

#[test]
fn a_channel_is_told_of_by_its_name_to_its_application_alone() {
    let backends = [(); 2].map(|()| Backend::start(|_: &Got| yes()));
    let [one, two] = [0, 1].map(|nth| format!("{}:{}", nth + 1, backends[nth].url()));
    let more = ["--pusher-webhook", &one, "--pusher-webhook", &two];
    let jwt = File::new("jwt-of-webhooks", SECRET);
    let others = ["--anyone-may-subscribe", "--jwt-secret-file", jwt.path()];
    let more = [&more[..], &["--presence-delay", "0"], &others].concat();
    let (_server, address, _files) = serves(&more);
    // A subscriber by another door is none of Pusher's.
    let _plain = connect(&address, "/shared");
    let (mut first, _) = opens(&address);
    succeeds(&mut first, &json!({ "channel": "shared" }));
    assert_eq!(events(&backends[0], 1, 1), [of_channel("channel_occupied", "shared")]);
    leaves(&mut first, "shared");
    assert_eq!(events(&backends[0], 1, 1), [of_channel("channel_vacated", "shared")]);
    // A member is one, by whatever door.
    let claims = json!({ "exp": in_seconds(60), "sub": "ben", "subscribe": ["presence-shared"] });
    let ben = connect(&address, &format!("/presence-shared?token={}", token(&claims)));
    assert_eq!(events(&backends[0], 1, 1), [of_member("member_added", "presence-shared", "ben")]);
    drop(ben);
    assert_eq!(events(&backends[0], 1, 1), [of_member("member_removed", "presence-shared", "ben")]);
    let mut second = connect(&address, "/app/key-2?protocol=7");
    let socket = read_json(&mut second);
    let data: Value = serde_json::from_str(socket["data"].as_str().unwrap()).unwrap();
    let socket = data["socket_id"].as_str().unwrap();
    succeeds(&mut second, &json!({ "channel": "shared" }));
    let member = r#"{"user_id":2}"#;
    let auth = format!("key-2:{}", sign(2, &format!("{socket}:presence-shared:{member}")));
    let asked = json!({ "channel": "presence-shared", "auth": auth, "channel_data": member });
    succeeds(&mut second, &asked);
    assert_eq!(
        events(&backends[1], 2, 3),
        [
            of_channel("channel_occupied", "shared"),
            of_channel("channel_occupied", "presence-shared"),
            of_member("member_added", "presence-shared", "2")
        ]
    );
    assert!(backends[0].has_no_more());
}

/// Whether members leave by their own word or by their end, many at once, or by another door a moment later: a channel is
/// vacated after they are removed.
#[test]
fn a_channel_is_vacated_after_its_last_member() {
    let backend = Backend::start(|_: &Got| yes());
    let webhook = format!("1:{}", backend.url());
    let jwt = File::new("jwt-of-last-members", SECRET);
    let more = ["--pusher-webhook", &webhook, "--presence-delay", "1"];
    let (_server, address, _files) =
        serves(&[&more[..], &["--jwt-secret-file", jwt.path()]].concat());
    let (mut ada, socket) = opens(&address);
    joins(&mut ada, &socket, "presence-a", "ada");
    let claims = json!({ "exp": in_seconds(60), "sub": "ben", "subscribe": ["presence-a"] });
    let ben = connect(&address, &format!("/presence-a?token={}", token(&claims)));
    events(&backend, 1, 3);
    leaves(&mut ada, "presence-a");
    // Some milliseconds.
    let (mut other, _) = opens(&address);
    for _ in 0..100 {
        assert_eq!(says(&mut other, r#"{"event":"pusher:ping"}"#)["event"], "pusher:pong");
    }
    drop(ben);
    let left = events(&backend, 1, 3);
    assert_eq!(left[..2], ["ada", "ben"].map(|it| of_member("member_removed", "presence-a", it)));
    assert_eq!(left[2], of_channel("channel_vacated", "presence-a"));
    let (mut ada, socket) = opens(&address);
    let names: Vec<_> = (0..60).map(|nth| format!("presence-{nth}")).collect();
    names.iter().for_each(|name| joins(&mut ada, &socket, name, "ada"));
    events(&backend, 1, 120);
    drop(ada);
    let left = events(&backend, 1, 120);
    for name in &names {
        let of_this: Vec<_> = left.iter().filter(|it| it["channel"] == **name).collect();
        let expected =
            [of_member("member_removed", name, "ada"), of_channel("channel_vacated", name)];
        assert!(of_this.into_iter().eq(&expected), "{name}");
    }
}

/// What comes back in time was not away. At the end, what is still waited for is told.
#[test]
fn a_page_that_is_reloaded_makes_no_events() {
    let backend = Backend::start(|_: &Got| yes());
    let webhook = format!("1:{}", backend.url());
    let more = ["--pusher-webhook", &webhook, "--presence-delay", "3600", "--drain-spread", "0"];
    let (server, address, _files) = serves(&more);
    for round in 0..3 {
        let (mut page, socket) = opens(&address);
        joins(&mut page, &socket, "presence-a", "ada");
        succeeds(&mut page, &json!({ "channel": "a" }));
        succeeds(&mut page, &json!({ "channel": format!("round-{round}") }));
        let expected = [
            of_channel("channel_occupied", "presence-a"),
            of_member("member_added", "presence-a", "ada"),
            of_channel("channel_occupied", "a"),
            of_channel("channel_occupied", &format!("round-{round}")),
        ];
        let news = if round == 0 { &expected[..] } else { &expected[3..] };
        assert_eq!(events(&backend, 1, news.len()), news);
        // Whether by its own word or by its end.
        leaves(&mut page, "a");
        assert_eq!(says(&mut page, r#"{"event":"pusher:ping"}"#)["event"], "pusher:pong");
    }
    assert!(backend.has_no_more());
    server.signal("TERM");
    let mut left = events(&backend, 1, 5);
    left.sort_by_key(|event| event["channel"].to_string());
    let names = ["a", "presence-a", "round-0", "round-1", "round-2"];
    assert_eq!(left, names.map(|name| of_channel("channel_vacated", name)));
}

/// The same is told again until the backend has it, and then what came meanwhile, in its order.
#[test]
fn an_outage_delays_what_is_told() {
    let backend = Backend::failing(2);
    let webhook = format!("1:{}", backend.url());
    let more = ["--pusher-webhook", &webhook, "--metrics-listen", "127.0.0.1:0"];
    let (mut server, address, _files) = serves(&more);
    let metrics = server.address("metrics at http://");
    let counted = |name: &str| metric(&metrics, &format!("webhook_{name}"));
    let (mut client, _) = opens(&address);
    succeeds(&mut client, &json!({ "channel": "first" }));
    let body = backend.next().body;
    let names: Vec<_> = (0..50).map(|nth| format!("c{nth}")).collect();
    names.iter().for_each(|name| succeeds(&mut client, &json!({ "channel": name })));
    assert_eq!([(); 2].map(|()| backend.next().body), [body.clone(), body]);
    let told = events(&backend, 1, 50);
    assert_eq!(told, names.iter().map(|it| of_channel("channel_occupied", it)).collect::<Vec<_>>());
    assert_eq!((counted("batches_failed_total"), counted("events_lost_total")), (2, 0));
    assert_eq!((counted("events_waiting"), metric(&metrics, "hook_events_sent_total")), (0, 0));
}

/// An operator is told how many events of which application are lost, by the end too, and nothing of the webhook's path,
/// which may be a secret.
#[test]
fn what_is_lost_is_said() {
    let backend = Backend::start(|_: &Got| reply(500, "", ""));
    let (url, key) = (backend.url(), File::new("app-of-losses", KEYS[0].as_bytes()));
    let (app, webhook) = (format!("1:key-1:{}", key.path()), format!("1:{url}"));
    let mut command = Command::new(PUSHLOOP);
    command.args(["--listen", "127.0.0.1:0", "--pusher-app", &app, "--pusher-webhook", &webhook]);
    command.args(["--drain-spread", "0"]).stderr(Stdio::piped());
    let mut server = Process::of(&mut command);
    let address = server.address("open http://");
    let mut error = server.child.stderr.take().expect("it is a pipe");
    let (mut client, _) = opens(&address);
    succeeds(&mut client, &json!({ "channel": "a" }));
    assert_eq!(backend.next().json()["events"], json!([of_channel("channel_occupied", "a")]));
    server.signal("TERM");
    let mut said = String::new();
    error.read_to_string(&mut said).expect("it is text");
    assert!(server.ended().success());
    let (origin, _) = url.split_once("/hook").expect("it has a path");
    let of_whom = format!("the webhook of the application 1 at {origin} has lost events: ");
    let counts = said.lines().filter_map(|line| line.split_once(&of_whom)?.1.parse::<u32>().ok());
    // The channel is vacated at the end.
    assert_eq!(counts.sum::<u32>(), 2, "{said}");
    assert!(!said.contains("from=pushloop") && !said.contains("/hook"), "{said}");
}

/// By https, if its authority is the one of `--backend-ca`.
#[test]
fn a_webhook_is_told_over_tls() {
    let [authority, other] = [(); 2].map(|()| Authority::new());
    let ca = File::new("ca-of-webhooks", authority.pem().as_bytes());
    for (signs, is_trusted) in [(&authority, true), (&other, false)] {
        let tls = presents(signs.signs(&["localhost"]));
        let backend = Backend::start_with(Some(tls), |_: &Got| yes());
        let webhook = format!("1:{}", backend.url_by("localhost"));
        let more = ["--pusher-webhook", &webhook, "--backend-ca", ca.path()];
        let more = [&more[..], &["--metrics-listen", "127.0.0.1:0"]].concat();
        let (mut server, address, _files) = serves(&more);
        let metrics = server.address("metrics at http://");
        let (mut client, _) = opens(&address);
        succeeds(&mut client, &json!({ "channel": "a" }));
        if is_trusted {
            assert_eq!(events(&backend, 1, 1), [of_channel("channel_occupied", "a")]);
        } else {
            until(|| metric(&metrics, "webhook_batches_failed_total") > 0);
            assert!(backend.has_no_more());
        }
    }
}

/// With hooks of both kinds, each has its own.
#[test]
fn the_servers_own_hooks_go_on_beside() {
    let [own, of_app] = [(); 2].map(|()| Backend::start(|_: &Got| yes()));
    let (url, webhook) = (own.url(), format!("1:{}", of_app.url()));
    let hooks = ["--hook-url", &url, "--hook-event", "occupied", "--pusher-webhook", &webhook];
    let (_server, address, _files) = serves(&hooks);
    let (mut client, _) = opens(&address);
    subscribe(&mut client, &json!({ "channel": "a" }));
    assert_eq!(events(&of_app, 1, 1), [of_channel("channel_occupied", "a")]);
    let told = own.next().json();
    assert_eq!((&told["type"], &told["events"][0]["topic"]), (&json!("events"), &json!("a")));
}

#[test]
fn webhooks_that_cannot_be_are_refused() {
    let file = File::new("app-of-webhook", KEYS[0].as_bytes());
    let app = format!("1:key:{}", file.path());
    let (app, url) = (["--pusher-app", &*app], "1:http://127.0.0.1:9/");
    for (arguments, said) in [
        (&["--pusher-webhook", url][..], "there is no application 1: see --pusher-app"),
        (&["--pusher-webhook", "2:http://127.0.0.1:9/"], "there is no application 2"),
        (
            &["--pusher-webhook", url, "--pusher-webhook", "1:http://127.0.0.1:8/"],
            "two webhooks are of the application 1",
        ),
        (&["--pusher-webhook", "http://127.0.0.1:9/"], "is not ID:URL"),
        (&["--pusher-webhook", ":http://127.0.0.1:9/"], "is not ID:URL"),
        (&["--pusher-webhook", "1:ftp://127.0.0.1/"], "is not ID:URL"),
        (&["--pusher-webhook", "1:http://user@127.0.0.1/"], "is not ID:URL"),
        (&["--pusher-webhook", url, "--backend-ca", file.path()], "--pusher-webhook"),
        (&["--pusher-webhook", url, "--hook-event", "connect"], "it is about --hook-url"),
        (&["--hook-timeout", "5"], "it is about --hook-url or --pusher-webhook"),
        (
            &["--pusher-webhook", "1:https://127.0.0.1:9/", "--backend-ca", file.path()],
            "it has no certificate",
        ),
    ] {
        // The first is wrong without an application.
        let with = if said.contains("application 1: see") { &[][..] } else { &app[..] };
        let output = Command::new(PUSHLOOP).arg("check").args(with).args(arguments).output();
        let output = output.expect("it runs");
        let error = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && error.contains(said), "{arguments:?}: {error}");
    }
    for more in [&["--hook-timeout", "20000"][..], &["--redis", "redis://127.0.0.1:1/0"]] {
        let right = [&app[..], &["--pusher-webhook", url], more].concat();
        let output = Command::new(PUSHLOOP).arg("check").args(right).output().expect("it runs");
        assert!(output.status.success(), "{more:?}");
    }
}
