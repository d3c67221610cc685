//! What is kept, and those that come back to it.

use std::time::Duration;

use pushloop::{Event, History, Hub, Position, RequestId, Response};

use crate::Scale;
use crate::net::Says;
use crate::report::{at_most, figure, millis, percentile};
use crate::world::{Bystander, World, config, nothing, publish, subscribe};

const MESSAGE: [u8; 100] = [b'x'; 100];
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";

fn keeping(history: Option<History>) -> World {
    let mut config = config();
    config.topic.history = history;
    World::new(config)
}

/// H1: one publication a turn to a topic with a history, and to one without.
pub fn publications(scale: Scale) {
    let (turns, rounds) = (scale.of(20, 2000), scale.of(3, 31));
    for (subscribers, aim) in [(1, 1.1), (100, 1.1)] {
        let mut worlds = [keeping(None), keeping(Some(History::of(1000)))];
        let mut times = [Vec::new(), Vec::new()];
        for world in &mut worlds {
            world.opens_subscribers(subscribers, "t");
        }
        for _ in 0..rounds {
            for (world, times) in worlds.iter_mut().zip(&mut times) {
                let round = |world: &mut World| -> Duration {
                    let one = |hub: &mut Hub| publish(hub, "t", MESSAGE);
                    (0..turns).map(|_| world.turn_after(one, nothing)).sum()
                };
                times.push(round(world));
            }
        }
        let [without, with] = times.map(|times| percentile(&times, 50).as_secs_f64());
        let what = format!("a publication to {subscribers} with a history, and without");
        at_most("H1", what, with / without, aim, "times");
    }
}

/// Opens so many event streams, or WebSockets, of topic `t`.
fn opens(world: &mut World, count: usize, are_streams: bool) -> Vec<usize> {
    if !are_streams {
        return world.opens_subscribers(count, "t");
    }
    let says = Says::once(GET.to_vec());
    let peers: Vec<_> = (0..count).map(|_| world.net().connects(says.clone())).collect();
    let answers = |hub: &mut Hub, id: RequestId| {
        hub.event_stream(id, Response::new(200)).expect("it waits");
        subscribe(hub, id.conn(), "t");
    };
    while world.hub().subscriber_count("t") < count {
        world.turn(|hub, event| {
            if let Event::Request { id, .. } = event {
                answers(hub, id);
            }
        });
    }
    world.settles();
    peers
}

/// H2: publications to many event streams, and to as many WebSockets.
pub fn event_streams(scale: Scale) {
    let (count, turns, rounds) = (scale.of(10, 1000), scale.of(3, 50), scale.of(3, 31));
    let mut worlds = [keeping(None), keeping(None)];
    let mut times = [Vec::new(), Vec::new()];
    for (world, are_streams) in worlds.iter_mut().zip([false, true]) {
        opens(world, count, are_streams);
    }
    for _ in 0..rounds {
        for (world, times) in worlds.iter_mut().zip(&mut times) {
            let mut took = Duration::ZERO;
            for _ in 0..turns {
                took += world.turn_after(|hub| publish(hub, "t", MESSAGE), nothing);
                took += world.turn(nothing);
            }
            times.push(took);
        }
    }
    let [websockets, streams] = times.map(|times| percentile(&times, 50).as_secs_f64());
    let what = format!("a publication to {count} event streams, and to as many WebSockets");
    at_most("H2", what, streams / websockets, 1.1, "times");
}

/// H3: many come back at once, each having missed 50 messages.
pub fn resume_storm(scale: Scale) {
    const MISSED: u64 = 50;
    let count = scale.of(20, 10_000);
    let mut world = keeping(Some(History::of(1000)));
    world.act(|hub| (0..MISSED).for_each(|_| publish(hub, "t", MESSAGE)));
    let here = world.hub().position("t").expect("it is kept");
    world.settles();
    let after = Position { offset: here.offset - MISSED, ..here };
    let mut bystander = Bystander::opens(&mut world);
    let says = crate::world::handshake("");
    for _ in 0..count {
        world.net().connects(says.clone());
    }
    let began = world.net().busy();
    let due = world.hub().counters().deliveries + MISSED * count as u64;
    while world.hub().counters().deliveries < due {
        bystander.turn(&mut world, |hub, event| {
            if let Event::Opened { id } = event {
                let joined = hub.subscribe_after(id, "t", after).expect("it is open");
                assert_eq!(joined.kept, Ok(MISSED));
            }
        });
    }
    let took = world.net().busy() - began;
    let what =
        format!("{count} come back at once and have missed {MISSED} messages of 100 bytes each");
    figure("H3", format!("{what}: until all are live"), millis(took), "ms");
    at_most("H3", "... the longest turn", millis(bystander.longest_turn), 10.0, "ms");
    at_most("H3", "... a bystander's echo, 99 %", millis(bystander.p99()), 5.0, "ms");
    let counters = world.hub().counters();
    let encoded = counters.queued_bytes + counters.history_bytes;
    at_most("H3", "... held of the history, for all", encoded as f64 / 1024.0, 16.0, "KiB");
}
