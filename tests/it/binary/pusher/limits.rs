//! Limits of names, members, events, bodies and paces: at each, and one beyond it.

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::{api, opens, refused, says, serves, sign, subscribe, succeeds};
use crate::{
    binary::tokens::status,
    support::process::{Stream, read_close, read_json},
};

#[test]
fn names_of_channels_have_their_limits() {
    let (_server, address, _files) = serves(&[]);
    let (mut client, _) = opens(&address);
    succeeds(&mut client, &json!({ "channel": "a".repeat(164) }));
    for channel in
        ["", "a b", "a/b", "a:1", "é", "$stats", "$presence/a", "..", "#x", &"a".repeat(165)]
    {
        let data = refused(&mut client, &json!({ "channel": channel }));
        assert_eq!(data["status"], 400, "{channel}");
        assert!(data["error"].as_str().unwrap().contains("channel_name_bytes_max = 164"));
        let body = json!({ "name": "e", "channel": channel, "data": "1" }).to_string();
        assert_eq!(status(&api(&address, 1, "POST /apps/1/events", &[], &body)), 400, "{channel}");
    }
    // A connection has so many topics, and one more is told so.
    let (mut client, _) = opens(&address);
    for nth in 0..128 {
        succeeds(&mut client, &json!({ "channel": format!("c{nth}") }));
    }
    let told = subscribe(&mut client, &json!({ "channel": "one-more" }));
    assert_eq!(told["event"], "pusher:subscription_error");
    let data: Value = serde_json::from_str(told["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["type"], "LimitReached");
}

/// A page has as many channels as it may at its start. One that goes on in the same moment is sent away for a while: its client would
/// not ask for a channel again.
#[test]
fn subscriptions_of_a_client_have_their_pace() {
    let (_server, address, _files) = serves(&[]);
    let (mut client, _) = opens(&address);
    let write = |client: &mut WebSocket<Stream>, event: &str, channel: &str| {
        let asked = json!({ "event": event, "data": { "channel": channel } }).to_string();
        client.write(Message::text(asked)).expect("there is room");
    };
    for nth in 0..128 {
        write(&mut client, "pusher:subscribe", &format!("c{nth}"));
    }
    for nth in 0..100 {
        write(&mut client, "pusher:unsubscribe", &format!("c{nth}"));
    }
    for nth in 0..100 {
        write(&mut client, "pusher:subscribe", &format!("d{nth}"));
    }
    client.flush().expect("it is sent");
    for nth in 0..128 {
        let told = read_json(&mut client);
        assert_eq!(told["event"], "pusher_internal:subscription_succeeded", "{nth} {told}");
    }
    let told = std::iter::repeat_with(|| read_json(&mut client));
    let refused = told.take(100).find(|it| it["event"] == "pusher:error").expect("one is refused");
    assert_eq!(refused["data"]["code"], 4100);
    assert_eq!(refused["data"]["message"], "subscriptions_per_second = 50");
    assert_eq!(read_close(&mut client), 4100);
}

#[test]
fn what_is_said_of_members_has_its_limits() {
    let (_server, address, _files) = serves(&[]);
    let (mut client, socket) = opens(&address);
    let mut joins = |channel: &str, data: &str| {
        let auth = format!("key-1:{}", sign(1, &format!("{socket}:{channel}:{data}")));
        subscribe(&mut client, &json!({ "channel": channel, "auth": auth, "channel_data": data }))
    };
    for (channel, data, succeeded) in [
        ("presence-a", format!("{{\"user_id\":\"{}\"}}", "u".repeat(128)), true),
        ("presence-b", format!("{{\"user_id\":\"{}\"}}", "u".repeat(129)), false),
        ("presence-c", format!("{{\"user_id\":1,\"user_info\":\"{}\"}}", "i".repeat(1022)), true),
        ("presence-d", format!("{{\"user_id\":1,\"user_info\":\"{}\"}}", "i".repeat(1023)), false),
        ("presence-e", "{}".to_owned(), false),
        ("presence-f", "x".to_owned(), false),
        (
            "presence-g",
            format!("{{\"user_id\":1,\"user_info\":{}}}", "[".repeat(400) + &"]".repeat(400)),
            false,
        ),
    ] {
        let told = joins(channel, &data);
        let event = if succeeded {
            "pusher_internal:subscription_succeeded"
        } else {
            "pusher:subscription_error"
        };
        assert_eq!(told["event"], event, "{channel} {told}");
    }
    // A hundred members, and their further connections.
    let join = |nth: usize| {
        let (mut client, socket) = opens(&address);
        let data = format!("{{\"user_id\":{nth}}}");
        let auth = format!("key-1:{}", sign(1, &format!("{socket}:presence-full:{data}")));
        let asked = json!({ "channel": "presence-full", "auth": auth, "channel_data": data });
        (
            subscribe(&mut client, &asked)["event"] == "pusher_internal:subscription_succeeded",
            client,
        )
    };
    let clients: Vec<_> = (0..100).map(join).collect();
    assert!(clients.iter().all(|(joined, _)| *joined));
    assert!(!join(100).0 && join(99).0);
}

#[test]
fn events_of_clients_have_their_limits() {
    let (_server, address, _files) = serves(&[]);
    let (mut client, socket) = opens(&address);
    let auth = format!("key-1:{}", sign(1, &format!("{socket}:private-a")));
    succeeds(&mut client, &json!({ "channel": "private-a", "auth": auth }));
    let event =
        |name: &str, data: &str| json!({ "event": name, "channel": "private-a", "data": data });
    for (name, len, limit) in [
        ("client-".to_owned() + &"x".repeat(194), 1, "event_name_bytes_max = 200"),
        ("client-x".to_owned(), 10_239, "event_data_bytes_max = 10240"),
    ] {
        let told = says(&mut client, event(&name, &"d".repeat(len)));
        assert!(told["data"]["message"].as_str().unwrap().contains(limit), "{told}");
    }
    // These are within them: had there been an error, it would have come before the answer.
    let longest = event(&("client-".to_owned() + &"x".repeat(193)), &"d".repeat(10_238));
    client.send(Message::text(longest.to_string())).expect("it is sent");
    assert_eq!(says(&mut client, r#"{"event":"pusher:ping"}"#)["event"], "pusher:pong");
    // In one write, they are of one moment: ten go through, and no more.
    let (mut client, socket) = opens(&address);
    let auth = format!("key-1:{}", sign(1, &format!("{socket}:private-a")));
    succeeds(&mut client, &json!({ "channel": "private-a", "auth": auth }));
    for _ in 0..12 {
        let sent = event("client-x", "d").to_string();
        client.write(Message::text(sent)).expect("there is room");
    }
    client.write(Message::text(r#"{"event":"pusher:ping"}"#)).expect("there is room");
    client.flush().expect("it is sent");
    for _ in 10..12 {
        let told = read_json(&mut client);
        let (code, channel) = (&told["data"]["code"], &told["channel"]);
        assert_eq!((code, channel), (&json!(4301), &json!("private-a")));
    }
    assert_eq!(read_json(&mut client)["event"], "pusher:pong");
}

#[test]
fn bodies_of_requests_have_their_limits() {
    let (_server, address, _files) = serves(&[]);
    let event = |name: usize, data: usize, channels: usize| {
        let channels: Vec<_> = (0..channels).map(|nth| format!("c{nth}")).collect();
        json!({ "name": "n".repeat(name), "data": "d".repeat(data), "channels": channels })
            .to_string()
    };
    let batch = |events: usize, data: usize| {
        let event = json!({ "name": "n", "data": "d".repeat(data), "channel": "a" });
        json!({ "batch": vec![event; events] }).to_string()
    };
    for (path, body, expected) in [
        ("events", event(200, 10_240, 100), 200),
        ("events", event(201, 1, 1), 400),
        ("events", event(0, 1, 1), 400),
        ("events", event(1, 10_241, 1), 413),
        ("events", event(1, 1, 101), 400),
        ("events", event(1, 1, 0), 400),
        ("batch_events", batch(10, 10_240), 200),
        ("batch_events", batch(11, 1), 400),
        ("batch_events", batch(0, 1), 200),
        ("events", String::new(), 400),
        ("events", "[]".to_owned(), 400),
        ("events", "[".repeat(1000), 400),
        ("events", r#"{"name":"n","name":"m","data":"","channel":"a"}"#.to_owned(), 400),
        ("events", r#"{"name":"n","data":"","channel":"a","channels":["b"]}"#.to_owned(), 400),
        ("events", r#"{"name":"n","data":"","channel":"a","socket_id":"x"}"#.to_owned(), 400),
        ("events", r#"{"name":"n","data":"","channel":"a","socket_id":"1.2"}"#.to_owned(), 200),
        ("events", r#"{"name":"pusher:error","data":"","channel":"a"}"#.to_owned(), 400),
        ("events", r#"{"name":"n","channel":"a"}"#.to_owned(), 400),
    ] {
        let answer = api(&address, 1, &format!("POST /apps/1/{path}"), &[], &body);
        assert_eq!(status(&answer), expected, "{path} {} {answer}", &body[..body.len().min(80)]);
    }
}
