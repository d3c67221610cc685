//! What waits for the file, without a file: the writer is one that writes when it is told to.

use pushloop::{Config, History, Server};

use super::*;
use crate::publish::plan_lines;

fn server(set: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    config.topic.history = Some(History::of(100_000));
    set(&mut config);
    Server::new(config).expect("there are descriptors")
}

fn ahead(hub: &Hub) -> Ahead {
    Ahead::new(Writer::idle(), (hub.now(), 0))
}

fn place(ahead: &Ahead, hub: &Hub) -> u64 {
    ahead.place(hub, "t").expect("it lives").offset
}

/// A batch of one line, under a key.
fn keyed(hub: &Hub, text: &str, key: &str) -> Plan<'static> {
    let line = serde_json::json!({ "topic": "t", "data": text, "key": key }).to_string();
    plan_lines(hub, line.as_bytes(), |_| Ok(()))
}

fn published(next: Next) -> Vec<Option<u64>> {
    let Next::Published(_, outcomes) = next else { panic!("{next:?}") };
    let offset = |outcome: Outcome| Some(outcome.ok()?.position?.offset);
    outcomes.into_iter().map(offset).collect()
}

#[test]
fn nothing_is_published_before_it_is_written_and_all_is_in_its_order() {
    let mut server = server(|_| {});
    let hub = server.hub();
    let mut ahead = ahead(hub);
    for nth in 1..=3 {
        assert!(ahead.take_message(hub, "t", Message::Text("x")));
        assert_eq!(place(&ahead, hub), nth);
    }
    assert!(matches!(ahead.next(hub), Next::Waits));
    assert_eq!(hub.position("t").expect("it has begun").offset, 0);
    ahead.writer.writes(2);
    assert_eq!([published(ahead.next(hub)), published(ahead.next(hub))], [[Some(1)], [Some(2)]]);
    assert!(matches!(ahead.next(hub), Next::Waits));
    assert_eq!((ahead.waiting(), place(&ahead, hub)), (1, 3));
    ahead.writer.writes(3);
    assert_eq!(published(ahead.next(hub)), [Some(3)]);
    assert_eq!((ahead.waiting(), ahead.bytes, ahead.topics.len()), (0, 0, 0));
}

#[test]
fn a_queue_that_is_full_takes_no_more_until_there_is_room() {
    let mut server = server(|_| {});
    let hub = server.hub();
    let long = "x".repeat(1 << 20);
    for (text, count) in [("", WAITING_MAX), (&long, 15)] {
        let mut ahead = ahead(hub);
        for _ in 0..count {
            assert!(ahead.take_message(hub, "t", Message::Text(text)));
        }
        let before = place(&ahead, hub);
        assert!(!ahead.take_message(hub, "t", Message::Text(text)));
        let plan = keyed(hub, text, "k");
        assert!(!ahead.take(hub, plan, None));
        assert_eq!((ahead.refused, ahead.waiting(), place(&ahead, hub)), (2, count, before));
        ahead.writer.writes(1);
        assert!(matches!(ahead.next(hub), Next::Published(..)));
        assert!(ahead.take_message(hub, "t", Message::Text(text)));
        assert_eq!(place(&ahead, hub), before + 1);
    }
}

#[test]
fn a_key_that_is_repeated_while_it_waits_has_one_publication_and_one_answer() {
    let mut server = server(|_| {});
    let hub = server.hub();
    let mut ahead = ahead(hub);
    for (text, key) in [("a", "k"), ("b", "k"), ("c", "l"), ("d", "k")] {
        let plan = keyed(hub, text, key);
        assert!(ahead.take(hub, plan, None));
    }
    assert_eq!(place(&ahead, hub), 2);
    ahead.writer.writes(4);
    let answers: Vec<_> = (0..4).flat_map(|_| published(ahead.next(hub))).collect();
    assert_eq!(answers, [Some(1), Some(1), Some(2), Some(1)]);
    assert_eq!((ahead.keys.len(), hub.history_len("t")), (0, 2));
    // From here on the hub remembers it.
    let plan = keyed(hub, "e", "k");
    assert!(ahead.take(hub, plan, None));
    ahead.writer.writes(5);
    assert_eq!((published(ahead.next(hub)), place(&ahead, hub)), (vec![Some(1)], 2));
    let plan = keyed(hub, "e", &"k".repeat(300));
    assert!(ahead.take(hub, plan, None));
    assert_eq!((place(&ahead, hub), ahead.topics.len()), (2, 0));
}

#[test]
fn what_finds_no_room_in_the_hub_is_published_later_at_its_place() {
    let mut server = server(|config| {
        config.topic_unserved_bytes_max = 2000;
        config.send_queue_bytes_max = 2000;
    });
    let mut ahead = ahead(server.hub());
    let long = "x".repeat(1000);
    let hub = server.hub();
    for _ in 0..3 {
        assert!(ahead.take_message(hub, "t", Message::Text(&long)));
    }
    ahead.writer.writes(3);
    assert_eq!(published(ahead.next(hub)), [Some(1)]);
    assert!(matches!(ahead.next(hub), Next::Full));
    assert_eq!(hub.publish("t", &long), Err(PublishError::TopicFull));
    let mut events = pushloop::Events::default();
    for expected in [2, 3] {
        server.poll(&mut events, Some(std::time::Duration::ZERO)).expect("it polls");
        assert_eq!(published(ahead.next(server.hub())), [Some(expected)]);
    }
    assert_eq!((ahead.waiting(), ahead.bytes), (0, 0));
}

#[test]
fn when_writing_fails_what_waits_is_published_and_no_more_waits() {
    let mut server = server(|_| {});
    let hub = server.hub();
    let mut ahead = ahead(hub);
    assert!(ahead.take_message(hub, "t", Message::Text("x")));
    ahead.writer.fails();
    assert!(!ahead.is_over());
    assert_eq!(published(ahead.next(hub)), [Some(1)]);
    assert!(ahead.is_over());
}
