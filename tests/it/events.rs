//! What topics publish as server-sent events, and in envelopes.

use std::time::Duration;

use pushloop::{
    CloseCode, Config, ConnId, History, OnLag, Position, Response, SendError, SubscribeError,
};
use serde_json::{Value, json};

use crate::support::net::{Sim, Told, Wire, frames};
use crate::support::{get, quiet};

const SECOND: Duration = Duration::from_secs(1);

fn sim(set: impl FnOnce(&mut Config)) -> Sim {
    Sim::new(quiet(|config| {
        config.topic.history = Some(History::of(100));
        set(config);
    }))
}

fn text(wire: &Wire) -> String {
    String::from_utf8(wire.reads_bytes()).expect("text")
}

/// An event stream, and the head of its answer.
fn opens(sim: &mut Sim, request: &str, response: Response) -> (ConnId, Wire, String) {
    let (id, wire) = sim.asks(request);
    sim.hub().event_stream(id, response).expect("it waits");
    sim.rests();
    sim.accepts = true;
    let back = text(&wire);
    (id.conn(), wire, back)
}

fn stream(sim: &mut Sim) -> (ConnId, Wire) {
    let (id, wire, _) = opens(sim, &get("/"), Response::new(200));
    (id, wire)
}

/// A stream that subscribes to `t`.
fn subscribed(sim: &mut Sim) -> (ConnId, Wire) {
    let (id, wire) = stream(sim);
    sim.hub().subscribe(id, "t").unwrap();
    (id, wire)
}

fn publish(sim: &mut Sim, message: &str) -> Position {
    sim.hub().publish("t", message).unwrap().position.unwrap()
}

fn event(position: Position, data: &str) -> String {
    format!("id: {position}\ndata: {data}\n\n")
}

#[test]
fn an_event_stream_has_a_head_that_proxies_understand_and_ends_with_the_connection() {
    let mut sim = sim(|_| {});
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let request = get("/").replace("HTTP/1.1", version);
        let response = Response::new(200).header("Set-Cookie", "a=b").body("retry: 2000\n\n");
        let (id, wire, back) = opens(&mut sim, &request, response);
        let (head, body) = back.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{head}");
        for line in [
            "Content-Type: text/event-stream",
            "Cache-Control: no-store",
            "X-Accel-Buffering: no",
            "Connection: close",
            "Set-Cookie: a=b",
        ] {
            assert!(head.lines().any(|it| it == line), "{line} in {head}");
        }
        assert!(!head.contains("Length") && !head.contains("Encoding"), "{head}");
        assert_eq!(body, "retry: 2000\n\n");
        sim.hub().subscribe(id, "t").unwrap();
        let position = publish(&mut sim, "Goal!");
        assert!(sim.hub().finish(id) && !sim.hub().finish(id));
        assert_eq!(sim.hub().subscribe(id, "u"), Err(SubscribeError::Gone));
        publish(&mut sim, "too late");
        sim.rests();
        assert_eq!((text(&wire), wire.is_ended()), (event(position, "Goal!"), true));
        assert_eq!(sim.takes(), [Told::Closed(id, 1000)]);
        wire.finishes();
        sim.rests();
        assert_eq!((sim.hub().connection_count(), sim.hub().subscriber_count("t")), (0, 0));
    }
    // What the application says itself stays as it is.
    let response = Response::new(200).header("Cache-Control", "no-cache");
    let (_, _, back) = opens(&mut sim, &get("/"), response);
    assert!(back.contains("Cache-Control: no-cache\r\n") && !back.contains("no-store"));
    let (id, wire, back) = opens(&mut sim, &get("/").replace("GET", "HEAD"), Response::new(200));
    assert!(back.contains("text/event-stream") && !back.contains("Length"), "{back}");
    assert_eq!((back.ends_with("\r\n\r\n"), wire.is_ended()), (true, true));
    assert_eq!(sim.takes(), [Told::Closed(id, 1000)]);
}

#[test]
fn each_publication_is_an_event_with_its_place() {
    let mut sim = sim(|_| {});
    let (_, wire) = subscribed(&mut sim);
    let (_, other) = subscribed(&mut sim);
    let (peer, _) = sim.opens();
    sim.hub().subscribe(peer, "t").unwrap();
    let (one, two) = (publish(&mut sim, "one\ntwo"), publish(&mut sim, "\r"));
    let three = sim.hub().publish("t", [0, 255]).unwrap().position.unwrap();
    let four = sim.hub().publish_except("t", "", peer).unwrap().position.unwrap();
    sim.rests();
    let expected = format!(
        "id: {one}\ndata: one\ndata: two\n\nid: {two}\nevent: base64-text\ndata: DQ==\n\n\
         id: {three}\nevent: base64\ndata: AP8=\n\nid: {four}\ndata: \n\n"
    );
    assert_eq!((text(&wire), text(&other)), (expected.clone(), expected));
    assert_eq!(one.offset, 1);
    let counters = sim.hub().counters();
    assert_eq!((counters.deliveries, sim.hub().queued_bytes_total()), (11, 0));
}

#[test]
fn one_that_comes_back_goes_on_where_it_was() {
    for missed in 0..=20 {
        let mut sim = sim(|_| {});
        let here = publish(&mut sim, "here");
        let kept: String = (0..missed).map(|_| event(publish(&mut sim, "kept"), "kept")).collect();
        sim.rests();
        let (id, wire) = stream(&mut sim);
        sim.hub().write(id, "event: subscribed\ndata: \n\n").unwrap();
        let joined = sim.hub().subscribe_after(id, "t", here).unwrap();
        assert_eq!(joined.kept, Ok(missed));
        sim.hub().write(id, ": after\n\n").unwrap();
        let live = event(publish(&mut sim, "live"), "live");
        sim.rests();
        let due = format!("event: subscribed\ndata: \n\n{kept}: after\n\n{live}");
        assert_eq!(text(&wire), due);
    }
}

#[test]
fn a_comment_is_sent_when_nothing_else_was() {
    let mut sim = sim(|config| config.ping_interval = Some(25 * SECOND));
    let (id, wire) = subscribed(&mut sim);
    let begun = sim.server.net().slept();
    sim.turn_within(None);
    let slept = sim.server.net().slept() - begun;
    assert!((25..26).contains(&slept.as_secs()), "{slept:?}");
    sim.turn();
    assert_eq!(text(&wire), ":\n\n");
    // Each of these puts it off.
    for which in [true, false, true] {
        sim.turn_within(Some(12 * SECOND));
        match which {
            true => sim.hub().write(id, ": own\n\n").unwrap(),
            false => drop(publish(&mut sim, "x")),
        }
        sim.turn();
        sim.turn_within(Some(12 * SECOND));
        assert!(!text(&wire).starts_with(":\n"));
    }
    // To one that is gone it is the end.
    wire.resets();
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(id, 1006)]);
    assert_eq!(sim.hub().subscriber_count("t"), 0);
}

#[test]
fn one_that_reads_nothing_is_dropped_and_one_that_leaves_is_gone() {
    let mut sim = sim(|_| {});
    let (id, wire) = subscribed(&mut sim);
    wire.holds(10);
    publish(&mut sim, "longer than that");
    while sim.takes().is_empty() {
        sim.turn_within(Some(SECOND));
    }
    assert!((30..33).contains(&sim.server.net().slept().as_secs()));
    sim.turn();
    assert!(wire.is_dropped() && sim.hub().write(id, "x") == Err(SendError::Gone));
    let counters = sim.hub().counters();
    assert_eq!((counters.closed_overflow, sim.hub().queued_bytes_total()), (1, 0));
    let (id, wire) = subscribed(&mut sim);
    wire.sends_bytes("it says what nobody hears");
    sim.rests();
    assert_eq!(sim.takes(), []);
    wire.finishes();
    sim.rests();
    assert_eq!((sim.takes(), sim.hub().subscriber_count("t")), (vec![Told::Closed(id, 1006)], 0));
}

#[test]
fn one_that_lags_is_ended_or_goes_on_as_its_topic_says() {
    for (on_lag, ends) in [(OnLag::Close, true), (OnLag::Latest, false), (OnLag::Skip, false)] {
        let mut sim = sim(|config| {
            (config.topic.on_lag, config.topic_lag_bytes_max) = (on_lag, 1000);
            config.topic.history = None;
        });
        let (id, wire) = subscribed(&mut sim);
        wire.holds(100);
        let places: Vec<_> = (0..200)
            .map(|at| {
                let place = publish(&mut sim, &format!("{at}"));
                sim.turn();
                place
            })
            .collect();
        wire.holds(usize::MAX);
        let mut got = text(&wire);
        sim.rests();
        got += &text(&wire);
        // What has begun comes to its end, and each event is whole.
        assert!(got.ends_with("\n\n"), "{got}");
        let last = event(places[199], "199");
        assert_eq!((got.ends_with(&last), wire.is_ended()), (!ends, ends), "{on_lag:?}: {got}");
        let ids = got.lines().filter_map(|line| line.strip_prefix("id: "));
        let offsets: Vec<u64> = ids.map(|id| id.parse::<Position>().unwrap().offset).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b) && offsets[0] == 1, "{offsets:?}");
        assert_eq!(sim.takes().contains(&Told::Closed(id, 1013)), ends, "{on_lag:?}");
    }
}

#[test]
fn a_shutdown_ends_streams_in_their_turn() {
    let mut sim = sim(|config| config.shutdown_spread = SECOND);
    let streams: Vec<_> = (0..50).map(|_| subscribed(&mut sim)).collect();
    let place = publish(&mut sim, "last");
    sim.hub().shutdown(30 * SECOND);
    sim.turn();
    let ended = |streams: &[(ConnId, Wire)]| streams.iter().filter(|it| it.1.is_ended()).count();
    assert!(ended(&streams) < 10);
    while !sim.hub().is_finished() {
        sim.turn_within(Some(SECOND / 10));
        streams.iter().filter(|it| it.1.is_ended()).for_each(|(_, wire)| wire.finishes());
    }
    let slept = sim.server.net().slept();
    assert!(slept < 3 * SECOND, "{slept:?}");
    streams.iter().for_each(|(_, wire)| assert_eq!(text(wire), event(place, "last")));
}

#[test]
fn publications_come_in_envelopes_to_those_who_asked_for_them() {
    let mut sim = sim(|_| {});
    let (id, wire) = sim.opens();
    let (plain, others) = sim.opens();
    assert!(sim.hub().use_envelopes(id));
    for id in [id, plain] {
        sim.hub().subscribe(id, "t").unwrap();
        sim.hub().subscribe(id, "a \"topic\"\n\u{1f}").unwrap();
    }
    let said = "κόσμε 🦀 \"quoted\" \\ / \u{7f}\u{2028}\r\n\t\0\u{1f}";
    let one = publish(&mut sim, said);
    let two = sim.hub().publish("a \"topic\"\n\u{1f}", [7; 70_000]).unwrap().position.unwrap();
    sim.hub().send(id, "as it is").unwrap();
    sim.rests();
    let got = wire.reads();
    let objects: Vec<Value> =
        got[..2].iter().map(|frame| serde_json::from_slice(&frame.payload).unwrap()).collect();
    let expected = json!({ "topic": "t", "id": one.to_string(), "data": said });
    assert!(objects.contains(&expected), "{objects:?}");
    let binary = objects.iter().find(|it| **it != expected).unwrap();
    assert_eq!(
        (&binary["topic"], &binary["id"]),
        (&json!("a \"topic\"\n\u{1f}"), &json!(two.to_string()))
    );
    assert_eq!(binary["base64"].as_str().unwrap().len(), 70_000_usize.div_ceil(3) * 4);
    assert!(got.iter().all(|frame| frame.first == 0x81));
    assert_eq!(got[2].payload, b"as it is");
    assert_eq!(frames(&others.reads_bytes()).len(), 2);
    // A stream has events, and one that is gone has nothing.
    let (stream, _) = stream(&mut sim);
    assert!(!sim.hub().use_envelopes(stream));
    sim.hub().close(id, CloseCode::NORMAL, "");
    assert!(!sim.hub().use_envelopes(id));
}

/// However many take it: a topic that has event streams among its subscribers holds its events once more.
#[test]
fn events_are_encoded_once_and_counted_while_they_are_held() {
    let mut sim = sim(|config| config.topic_lag_bytes_max = 1 << 20);
    let streams: Vec<_> = (0..20).map(|_| subscribed(&mut sim)).collect();
    for (_, wire) in &streams {
        wire.holds(0);
    }
    publish(&mut sim, &"x".repeat(10_000));
    sim.turn();
    sim.turn();
    let counters = sim.hub().counters();
    assert!(counters.queued_bytes < 11_000, "{}", counters.queued_bytes);
    assert!((10_000..22_000).contains(&counters.history_bytes), "{}", counters.history_bytes);
    streams.iter().for_each(|(_, wire)| wire.holds(usize::MAX));
    streams.iter().for_each(|(_, wire)| drop(wire.reads_bytes()));
    sim.rests();
    assert!(streams.iter().all(|(_, wire)| wire.reads_bytes().len() > 10_000));
    sim.hub().clear_history("t");
    sim.turn();
    sim.turn();
    let counters = sim.hub().counters();
    assert_eq!((counters.history_bytes, sim.hub().queued_bytes_total()), (0, 0));
}

/// The id, the topic and the number of each event that has data.
fn joint_events(stream: &str) -> Vec<(String, String)> {
    let of = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    let blocks = stream.split("\n\n").filter(|block| !block.is_empty());
    blocks.map(|block| (of(block, "id: ").unwrap(), of(block, "data: ").unwrap())).collect()
}

/// Wherever it was cut, it comes back to where it was in each topic.
#[test]
fn a_stream_of_several_topics_resumes_at_each_of_its_ids() {
    const TOPICS: [&str; 3] = ["a", "b", "c"];
    let mut sim = sim(|config| config.write_bytes_per_turn = 300);
    let joins = |sim: &mut Sim, places: Option<&[Position]>| {
        let (id, wire) = stream(sim);
        assert!(sim.hub().use_joint_ids(id));
        for (nth, topic) in TOPICS.iter().enumerate().rev() {
            match places {
                None => sim.hub().subscribe(id, topic).unwrap(),
                Some(places) => {
                    let joined = sim.hub().subscribe_after(id, topic, places[nth]).unwrap();
                    assert!(joined.kept.is_ok(), "{joined:?}");
                }
            }
        }
        (id, wire)
    };
    let (_, wire) = joins(&mut sim, None);
    let start: Vec<_> = TOPICS.iter().map(|topic| sim.hub().position(topic).unwrap()).collect();
    for at in 0..40 {
        let topic = TOPICS[at * at % 3];
        sim.hub().publish(topic, format!("{topic}{at}")).unwrap();
        if at % 3 == 0 {
            sim.turn();
        }
    }
    sim.rests();
    let all = joint_events(&text(&wire));
    assert_eq!(all.len(), 40);
    let of_topic = |events: &[(String, String)], topic: &str| -> Vec<String> {
        let theirs = events.iter().filter(|(_, data)| data.starts_with(topic));
        theirs.map(|(_, data)| data.clone()).collect()
    };
    let begin = start.iter().map(Position::to_string).collect::<Vec<_>>().join(",");
    let ids = std::iter::once(&begin).chain(all.iter().map(|(id, _)| id));
    for (seen, id) in ids.enumerate() {
        let places: Vec<Position> = id.split(',').map(|id| id.parse().unwrap()).collect();
        let mut resumes = |places: &[Position], before: &[(String, String)]| {
            let (first, wire) = joins(&mut sim, Some(places));
            sim.rests();
            let rest = joint_events(&text(&wire));
            for topic in TOPICS {
                let due = of_topic(&all, topic);
                let got = [of_topic(before, topic), of_topic(&rest, topic)].concat();
                assert_eq!(got, due, "behind {} events", before.len());
            }
            assert!(rest.is_empty() || rest.last().unwrap().0 == all.last().unwrap().0);
            sim.hub().abort(first);
            sim.turn();
            sim.takes();
            rest
        };
        let rest = resumes(&places, &all[..seen]);
        // It is cut once more, behind the first that it got then.
        if let Some(first) = rest.first() {
            let places: Vec<Position> = first.0.split(',').map(|id| id.parse().unwrap()).collect();
            resumes(&places, &[&all[..seen], &rest[..1]].concat());
        }
    }
}

#[test]
fn a_stream_of_several_topics_that_ends_or_is_full_loses_no_place() {
    let mut sim = sim(|_| {});
    let (id, wire) = stream(&mut sim);
    assert!(sim.hub().use_joint_ids(id) && !sim.hub().use_envelopes(id));
    for topic in ["a", "b"] {
        sim.hub().subscribe(id, topic).unwrap();
    }
    wire.holds(100);
    (0..50).for_each(|at| {
        sim.hub().publish(["a", "b"][at % 2], "x".repeat(100)).unwrap();
        sim.turn();
    });
    // Its kernel is full: nothing more is encoded than one write.
    assert!(sim.hub().queued_bytes(id) < 400, "{}", sim.hub().queued_bytes(id));
    assert!(sim.hub().lag(id, "a").unwrap() > 20);
    wire.holds(usize::MAX);
    let mut got = text(&wire);
    sim.rests();
    got += &text(&wire);
    assert_eq!(joint_events(&got).len(), 50);
    sim.hub().publish("a", "last").unwrap();
    sim.hub().finish(id);
    sim.rests();
    let last = joint_events(&text(&wire));
    let places = ["a", "b"].map(|topic| sim.hub().position(topic).unwrap().to_string());
    assert_eq!(last, [(places.join(","), "last".to_owned())]);
    assert!(wire.is_ended() && !sim.hub().use_joint_ids(id));
    assert_eq!(sim.hub().counters().messages_lost, 0);
}

#[test]
fn another_thread_answers_with_a_stream_and_has_it_resume() {
    let mut sim = sim(|_| {});
    let one = publish(&mut sim, "one");
    let two = publish(&mut sim, "two");
    sim.rests();
    let (id, wire) = sim.asks(&get("/"));
    let mut pending = sim.hub().defer(id).expect("it waits");
    let handle = sim.server.handle();
    let conn = id.conn();
    std::thread::spawn(move || {
        let bad = pending.event_stream(Response::new(200).header("a b", "c"));
        assert!(bad.is_err());
        pending.event_stream(Response::new(200)).expect("there is room");
        handle.subscribe_after(conn, "t", one).expect("there is room");
        handle.subscribe_after(conn, "t", one).expect("it is refused later");
        handle.subscribe_last(conn, "u", 1).expect("there is room");
        handle.publish_once("u", "key", "three").expect("there is room");
        handle.publish_once("u", "key", "three").expect("there is room");
    })
    .join()
    .unwrap();
    sim.rests();
    let back = text(&wire);
    let (_, body) = back.split_once("\r\n\r\n").unwrap();
    let three = sim.hub().position("u").unwrap();
    assert_eq!(body, event(two, "two") + &event(three, "three"));
    assert_eq!((three.offset, sim.hub().counters().commands_refused), (1, 1));
    let handle = sim.server.handle();
    wire.finishes();
    sim.rests();
    handle.subscribe_last(conn, "t", 1).unwrap();
    sim.rests();
    assert_eq!(sim.hub().counters().stale_commands, 1);
}

#[test]
fn a_stream_of_several_topics_has_nothing_of_its_own_publisher() {
    let mut sim = sim(|_| {});
    let (id, wire) = stream(&mut sim);
    assert!(sim.hub().use_joint_ids(id));
    ["a", "b"].iter().for_each(|topic| sim.hub().subscribe(id, topic).unwrap());
    // What is left out is in front, in a row, between, and at the end.
    for (text, except) in
        [("1", true), ("2", true), ("3", false), ("4", true), ("5", false), ("6", true)]
    {
        match except {
            true => sim.hub().publish_except("a", text, id).unwrap(),
            false => sim.hub().publish("a", text).unwrap(),
        };
    }
    sim.rests();
    let got: Vec<_> = joint_events(&text(&wire)).into_iter().map(|(_, data)| data).collect();
    assert_eq!(got, ["3", "5"]);
    assert_eq!(sim.hub().lag(id, "a"), Some(0));
}
