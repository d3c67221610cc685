//! What a history costs, and subscribers that wait for what comes.

use std::time::Duration;

use allocation_counter::measure;
use pushloop::{
    Accept, Event, Events, History, Hub, RequestId, Response, Server, testing::Network,
};

use crate::support::{config, get, handshake};

fn keeping(history: Option<History>) -> Server<Network> {
    Server::with_net(
        Network::new(),
        config(|config| {
            config.topic.history = history;
            config.ping_interval = None;
        }),
    )
}

fn turns(server: &mut Server<Network>, events: &mut Events) {
    server.poll(events, Some(Duration::ZERO)).expect("the poll works");
}

fn unbounded() -> History {
    let mut history = History::of(u64::MAX);
    (history.bytes, history.age) = (1 << 30, Duration::from_secs(3600));
    history
}

/// One in each turn, so that each is a batch of its own at first.
#[test]
fn publications_that_are_kept_take_16_bytes_each_beside_their_payload() {
    const PUBLICATIONS: u64 = 200_000;
    let (mut server, mut events) = (keeping(Some(unbounded())), Events::default());
    let info = measure(|| {
        for _ in 0..PUBLICATIONS {
            server.hub().publish("t", "0123456789abcdefghij").expect("there is room");
            turns(&mut server, &mut events);
        }
    });
    assert_eq!(server.hub().history_len("t"), PUBLICATIONS);
    let beside = info.bytes_current as f64 / PUBLICATIONS as f64 - 20.0;
    println!("figure history: {beside:.2} bytes for each publication beside its payload");
    assert!((2.0..=16.0).contains(&beside), "{beside}");
    let counted = server.hub().counters().history_bytes as i64;
    assert!((info.bytes_current - counted).abs() < counted / 10, "{info:?} and {counted}");
}

/// What is merged is copied once, into room that doubles.
#[test]
fn a_publication_that_is_kept_allocates_nothing_but_its_room() {
    let (mut server, mut events) = (keeping(Some(History::of(1000))), Events::default());
    let mut publishes = |times: u64| {
        for _ in 0..times {
            server.hub().publish("t", "0123456789abcdefghij").expect("it is kept");
            turns(&mut server, &mut events);
        }
    };
    publishes(10_000);
    let info = measure(|| publishes(10_000));
    println!("figure history: {} allocations for 10,000 publications", info.count_total);
    assert!(info.count_total < 1000 && info.bytes_current < 2 << 20, "{info:?}");
}

/// Bytes for each of many that subscribe to one topic and are idle, those of the simulated network
/// included.
fn idle_bytes(request: &str, answers: impl Fn(&mut Hub, RequestId)) -> i64 {
    const COUNT: usize = 8192;
    let (mut server, mut events) = (keeping(None), Events::default());
    let mut wires = Vec::with_capacity(COUNT);
    let mut opens = |server: &mut Server<Network>, count: usize| {
        for _ in 0..count {
            let wire = server.net().connects();
            wire.sends_bytes(request);
            wires.push(wire);
        }
        let open = server.hub().subscriber_count("t") + count;
        while server.hub().subscriber_count("t") < open {
            turns(server, &mut events);
            for event in &events {
                if let Event::Request { id, .. } = event {
                    answers(server.hub(), id);
                    server.hub().subscribe(id.conn(), "t").expect("it is open");
                }
            }
        }
        (0..3).for_each(|_| turns(server, &mut events));
        wires.iter().for_each(|wire| drop(wire.reads_bytes()));
    };
    // What is made once.
    opens(&mut server, 64);
    measure(|| opens(&mut server, COUNT - 64)).bytes_current / COUNT as i64
}

#[test]
fn an_idle_event_stream_owns_no_more_than_a_websocket() {
    let websocket = idle_bytes(&handshake("/", ""), |hub, id| {
        hub.accept(id, Accept::default()).expect("it waits");
    });
    let events = idle_bytes(&get("/"), |hub, id| {
        hub.event_stream(id, Response::new(200)).expect("it waits");
    });
    println!(
        "figure history: {events} bytes for an idle event stream, {websocket} for a WebSocket"
    );
    assert!(events <= websocket && websocket > 100);
}
