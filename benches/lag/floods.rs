//! Peers that keep a server busy, and what others see of it.

use std::collections::HashMap;
use std::time::Duration;

use pushloop::{ConnId, Event, Hub, Response};

use crate::Scale;
use crate::frame::{binary, pong};
use crate::net::Says;
use crate::report::{at_most, exactly, millis};
use crate::world::{Bystander, KEY, World, config, handshake, nothing, publish, subscribe};

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The application answers every request.
fn answers(hub: &mut Hub, event: Event<'_>) {
    if let Event::Request { id, .. } = event {
        // The peer may be gone by now.
        let _ = hub.respond(id, Response::text(200, "the loop turns"));
    }
}

/// 64-byte messages that cannot be compressed.
fn noise() -> Says {
    let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
    let mut byte = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice >> 32) as u8
    };
    let messages = (0..4000).flat_map(|_| binary([(); 64].map(|()| byte())).masked(KEY));
    Says::forever(messages.collect::<Vec<_>>())
}

/// Peers that subscribe to a topic of their own each, and flood it.
fn opens_flooders(world: &mut World, count: usize) -> HashMap<ConnId, String> {
    let peers =
        world.opens_with(count, &handshake("Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    let name = |(nth, id)| (id, format!("t{nth}"));
    let names: HashMap<_, _> = world.ids(&peers).into_iter().enumerate().map(name).collect();
    world.act(|hub| names.iter().for_each(|(id, name)| subscribe(hub, *id, name)));
    let noise = noise();
    peers.iter().for_each(|peer| world.net().says(*peer, noise.clone()));
    names
}

/// Every message is published to its sender's topic, and every request answered.
fn publishes(names: &HashMap<ConnId, String>, hub: &mut Hub, event: Event<'_>) {
    match event {
        Event::Message { id, message } => publish(hub, &names[&id], message),
        other => answers(hub, other),
    }
}

/// A3: new connections with a request each, while there is always more to read of many flooders.
pub fn requests_beside_flooders(scale: Scale) {
    let (count, turns) = (scale.of(2, 400), scale.of(1, 50));
    let mut world = World::new(config());
    let names = opens_flooders(&mut world, count);
    for _ in 0..turns {
        world.turn(|hub, event| publishes(&names, hub, event));
    }
    let asking: Vec<_> =
        (0..16).map(|_| world.net().connects(Says::once(GET.as_bytes()))).collect();
    asking.iter().for_each(|peer| world.net().peers[*peer].is_watched = true);
    let (began, patience) = (world.net().busy(), Duration::from_secs(7));
    let (mut answered, mut longest) = (0, Duration::ZERO);
    while answered < asking.len() && longest < patience {
        world.turn(|hub, event| publishes(&names, hub, event));
        longest = world.net().busy() - began;
        let is_answer = |(first, _): ([u8; 12], _)| first == *b"HTTP/1.1 200";
        let heard = |peer: &&usize| world.net().peers[**peer].heard.take().is_some_and(is_answer);
        answered += asking.iter().filter(heard).count();
    }
    let what = format!("{count} peers flood; 16 new connections ask: how many are answered");
    exactly("A3", what, answered, asking.len());
    at_most("A3", "... after how long, the last", millis(longest), 250.0, "ms");
}

fn reports(row: &str, what: &str, bystander: &Bystander) {
    let longest = millis(bystander.longest_turn);
    at_most(row, format!("{what}: the longest turn"), longest, 10.0, "ms");
    at_most(row, "... another's echo, 99 %", millis(bystander.p99()), 5.0, "ms");
}

/// A10: one that floods with what compresses badly.
pub fn compressed_flood(scale: Scale) {
    if cfg!(not(feature = "deflate")) {
        return println!("A10a, a flood that compresses badly, needs the feature deflate");
    }
    let mut world = World::new(config());
    let names = opens_flooders(&mut world, 1);
    let mut bystander = Bystander::opens(&mut world);
    for _ in 0..scale.of(2, 300) {
        bystander.turn(&mut world, |hub, event| publishes(&names, hub, event));
    }
    reports("A10a", "one floods with messages that compress badly", &bystander);
}

/// A10: a crowd comes, subscribes to topics of their own each, and leaves at once.
pub fn crowds_with_topics(scale: Scale) {
    let (count, topics) = (scale.of(10, 4000), 128);
    let names: Vec<_> = (0..count * topics).map(|nth| format!("topic {nth}")).collect();
    let mut world = World::new(config());
    let mut bystander = Bystander::opens(&mut world);
    for _ in 0..scale.of(1, 3) {
        let peers: Vec<_> = (0..count).map(|_| world.net().connects(handshake(""))).collect();
        let mut free = names.chunks(topics);
        while world.hub().topic_count() < names.len() {
            bystander.turn(&mut world, |hub, event| {
                if let (Event::Opened { id }, Some(names)) = (event, free.next()) {
                    names.iter().for_each(|name| subscribe(hub, id, name));
                }
            });
        }
        peers.iter().for_each(|peer| world.net().leaves(*peer));
        while world.hub().connection_count() > 1 {
            bystander.turn(&mut world, nothing);
        }
    }
    reports("A10b", &format!("{count} peers with {topics} topics each come and go"), &bystander);
}

/// A10: Pings to all are due in the same moment.
pub fn pings_at_once(scale: Scale) {
    /// The step of the server's timers.
    const TICK: Duration = Duration::from_nanos(1 << 26);
    let count = scale.of(50, 9000);
    let mut config = config();
    config.ping_interval = Some(Duration::from_secs(25));
    config.pong_timeout = Duration::from_secs(25);
    let mut world = World::new(config);
    let peers = world.opens(count);
    world.each_says(&peers, &Says::once(pong("").masked(KEY)), nothing);
    let mut bystander = Bystander::opens(&mut world);
    while world.hub().counters().pings_sent < count as u64 {
        world.net().ahead += TICK;
        bystander.turn(&mut world, nothing);
    }
    (0..3).for_each(|_| bystander.turn(&mut world, nothing));
    reports("A10c", &format!("{count} Pings due at once"), &bystander);
}

/// A10: many that have a further request behind each that is answered.
pub fn pipelines(scale: Scale) {
    let count = scale.of(10, 1000);
    let mut world = World::new(config());
    let mut bystander = Bystander::opens(&mut world);
    for _ in 0..count {
        world.net().connects(Says::forever(GET.as_bytes()));
    }
    for _ in 0..scale.of(20, 1000) {
        bystander.turn(&mut world, answers);
    }
    reports("A10e", &format!("{count} pipelines of requests without end"), &bystander);
}

/// A9: a server ends, and its peers have a further request behind each that is answered.
pub fn pipelines_in_a_drain(scale: Scale) {
    let (peers, seconds) = (10, scale.of(1, 20));
    let deadline = Duration::from_secs(seconds);
    let mut world = World::new(config());
    for _ in 0..peers {
        world.net().connects(Says::forever(GET.as_bytes()));
    }
    for _ in 0..scale.of(10, 100) {
        world.turn(answers);
    }
    world.act(|hub| hub.shutdown(deadline));
    let mut took = Duration::ZERO;
    while !world.hub().is_finished() {
        world.net().ahead += Duration::from_millis(1);
        took += Duration::from_millis(1) + world.turn(answers);
        assert!(took < 2 * deadline, "the server does not end");
    }
    let what =
        format!("a shutdown within {seconds} s beside {peers} endless pipelines of requests");
    at_most("A9", what, took.as_secs_f64(), 3.0, "s");
}
