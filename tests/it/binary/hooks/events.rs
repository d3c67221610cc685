//! What the backend is told.

use serde_json::{Value, json};
use tungstenite::Message;

use super::{
    asking,
    backend::{Backend, Got, yes},
};
use crate::{
    binary::tokens::{File, open_stream},
    support::process::connect,
};

const TOLD: [&str; 4] = ["connect", "disconnect", "occupied", "vacated"];

/// So many events, by their numbers from this one on, and nothing lost; each without its time.
#[track_caller]
fn events(backend: &Backend, first: u64, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let mut batch = backend.next().json();
        assert_eq!((&batch["type"], &batch["lost"]), (&json!("events"), &json!(0)), "{batch}");
        events.append(batch["events"].as_array_mut().expect("a list"));
    }
    assert_eq!(events.len(), count);
    for (number, event) in (first..).zip(&mut events) {
        assert_eq!(event["number"], number, "{event}");
        assert!(event["time"].as_u64() > Some(1_600_000_000_000), "{event}");
    }
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("text")).collect()
}

#[test]
fn connections_and_topics_are_told_in_their_order() {
    // With several loops, the connections are not of one.
    ["1", "2"].into_iter().for_each(connections_and_topics_are_told);
}

fn connections_and_topics_are_told(loops: &str) {
    let backend = Backend::start(|_: &Got| yes());
    let (server, address) = asking(&backend, &TOLD, &["--loops", loops]);
    let one = connect(&address, "/a,b");
    let first = events(&backend, 1, 3);
    assert_eq!(kinds(&first), ["connect", "occupied", "occupied"]);
    assert_eq!(first[0]["topics"], json!(["a", "b"]));
    assert_eq!((&first[0]["client"], &first[1]["topic"]), (&json!("127.0.0.1"), &json!("a")));
    let two = connect(&address, "/b");
    assert_eq!(kinds(&events(&backend, 4, 1)), ["connect"]);
    // A stream is a subscriber as well.
    let stream = open_stream(&address, "/c", "").0;
    assert_eq!(kinds(&events(&backend, 5, 2)), ["connect", "occupied"]);
    drop(one);
    let left = events(&backend, 7, 2);
    assert_eq!(kinds(&left), ["disconnect", "vacated"]);
    assert_eq!((&left[0]["id"], &left[1]["topic"]), (&first[0]["id"], &json!("a")));
    drop(stream);
    assert_eq!(kinds(&events(&backend, 9, 2)), ["disconnect", "vacated"]);
    // What the end causes is told before the process is gone.
    server.signal("TERM");
    drop(two);
    assert_eq!(kinds(&events(&backend, 11, 2)), ["disconnect", "vacated"]);
}

/// Clients come and go there without a new connection.
#[test]
fn channels_of_pusher_are_told_of_as_topics() {
    let secret = File::new("app", b"a secret of sixteen");
    let app = format!("1:key:{}", secret.path());
    let backend = Backend::start(|_: &Got| yes());
    let (_server, address) = asking(&backend, &TOLD, &["--pusher-app", &app]);
    let mut client = connect(&address, "/app/key?protocol=7");
    assert_eq!(kinds(&events(&backend, 1, 1)), ["connect"]);
    let mut says = |event: &str| {
        let said = json!({ "event": format!("pusher:{event}"), "data": { "channel": "a" } });
        client.send(Message::text(said.to_string())).expect("it is sent");
    };
    let mut told = 2;
    for (event, kind) in
        [("subscribe", "occupied"), ("unsubscribe", "vacated"), ("subscribe", "occupied")]
    {
        says(event);
        let event = events(&backend, told, 1).remove(0);
        assert_eq!((&event["type"], &event["topic"]), (&json!(kind), &json!("a")));
        told += 1;
    }
    drop(client);
    assert_eq!(kinds(&events(&backend, told, 2)), ["disconnect", "vacated"]);
}

/// In many turns or in one: each topic is vacated once.
#[test]
fn many_subscribers_are_one_occupation() {
    let backend = Backend::start(|_: &Got| yes());
    let (_server, address) = asking(&backend, &["occupied", "vacated"], &[]);
    for round in 0..3 {
        let clients: Vec<_> = (0..50).map(|_| connect(&address, "/t")).collect();
        drop(clients);
        let told = events(&backend, 2 * round + 1, 2);
        assert_eq!(kinds(&told), ["occupied", "vacated"]);
    }
}

/// The same is told again until the backend has it, and then what came meanwhile.
#[test]
fn an_outage_delays_what_is_told() {
    let backend = Backend::failing(2);
    let (_server, address) = asking(&backend, &["occupied"], &[]);
    let _one = connect(&address, "/a");
    let bodies = [(); 3].map(|()| backend.next().body);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    let _two = connect(&address, "/b");
    assert_eq!(events(&backend, 2, 1)[0]["topic"], "b");
    assert_eq!(super::metric(&address, "hook_batches_failed_total"), 2);
    assert_eq!(super::metric(&address, "hook_events_lost_total"), 0);
}
