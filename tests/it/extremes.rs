//! Each limit of `Config` at its ends: whatever a server with it refuses, it panics over nothing, and
//! comes to an end.

use std::{panic::catch_unwind, time::Duration};

use crate::support::net::{Sim, Told};
use crate::support::{close, continuation, frame, get, handshake, ping, text};
use pushloop::{Accept, Config, History, Hub, OnLag, Overflow, Response, TopicOptions};

/// Peers of every kind, and an application that does everything, for some seconds.
fn lives(config: Config) {
    let mut sim = Sim::new(config);
    sim.accepts = false;
    let wires: Vec<_> = (0..4).map(|_| sim.server.net().connects()).collect();
    wires[3].holds(100);
    for (at, wire) in wires.iter().enumerate() {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        wire.sends_bytes(get("/").repeat(2) + &handshake("/", if at > 1 { offer } else { "" }));
        wire.sends(text("behind the handshake"));
    }
    for round in 0..60 {
        for (at, wire) in wires.iter().enumerate() {
            wire.sends(text(""));
            wire.sends(text("x".repeat(100 * at)));
            if cfg!(feature = "deflate") && at > 1 {
                // RFC 7692 §7.2.3.1: Hello.
                wire.sends(frame(0xC1, [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]));
            }
            wire.sends(text("a").open());
            wire.sends(ping("p"));
            let last = continuation("b").masked([1, 2, 3, 4]);
            wire.sends_bytes(&last[..4]);
            if round == 40 {
                wire.sends(close(1000, "bye"));
            }
            wire.sends_bytes(&last[4..]);
            if at < 3 || round % 7 == 0 {
                wire.reads_bytes();
            }
        }
        let app = |hub: &mut Hub, told: &Told| match told {
            Told::Request(id) if round % 3 == 0 => {
                let _ = hub.accept(*id, Accept::default());
                let _ = hub.subscribe(id.conn(), "t");
                let _ = hub.subscribe(id.conn(), "");
            }
            Told::Request(id) if round % 3 == 1 && id.conn().to_bits() % 2 == 0 => {
                let _ = hub.event_stream(*id, Response::new(200));
                let _ = hub.subscribe_last(id.conn(), "t", 3);
                let _ = hub.write(id.conn(), ": hello\n\n");
            }
            Told::Request(id) => {
                let _ = hub.respond(*id, Response::text(200, "x".repeat(1000)));
            }
            Told::Message(id, message) => {
                let _ = hub.send(*id, message);
                let _ = hub.publish("t", message);
                let _ = hub.publish_except("t", message, *id);
                if let Some(position) = hub.position("t") {
                    let _ = hub.published_since("t", position);
                    let _ = hub.publish_once("kept", &position.to_string(), message);
                }
                if round % 10 == 0 {
                    hub.unsubscribe(*id, "t");
                    let _ = match (round % 20, hub.position("t")) {
                        (0, Some(position)) => hub.subscribe_after(*id, "t", position).map(|_| ()),
                        _ => hub.subscribe_last(*id, "t", u64::MAX).map(|_| ()),
                    };
                }
            }
            Told::Opened(id) => {
                let _ = hub.send(*id, "hello");
                let _ = hub.configure_topic("", TopicOptions::default());
            }
            Told::RequestGone(_)
            | Told::Writable(_)
            | Told::Closed(..)
            | Told::Timer(_)
            | Told::Notified(_) => {}
        };
        sim.turn_with(Some(Duration::from_millis(200)), app);
        let handle = sim.server.handle();
        let _ = handle.publish("t", "from afar");
    }
    sim.hub().shutdown(Duration::from_secs(3));
    let mut turns = 0;
    while !sim.hub().is_finished() {
        sim.turn_within(Some(Duration::from_millis(100)));
        // A turn takes time, also one that does not sleep.
        sim.server.net().passes(Duration::from_millis(1));
        turns += 1;
        assert!(turns < 10_000, "it does not end");
    }
    assert_eq!(sim.hub().queued_bytes_total(), 0);
}

type Set = fn(&mut Config, u64);

const LIMITS: &[(&str, Set)] = &[
    ("head_bytes_max", |c, n| c.head_bytes_max = n as usize),
    ("headers_max", |c, n| c.headers_max = n as usize),
    ("body_bytes_max", |c, n| c.body_bytes_max = n as usize),
    ("body_bytes_per_second_min", |c, n| c.body_bytes_per_second_min = n as usize),
    ("message_bytes_max", |c, n| c.message_bytes_max = n as usize),
    ("message_frames_max", |c, n| c.message_frames_max = n as u32),
    ("send_queue_bytes_max", |c, n| c.send_queue_bytes_max = n as usize),
    ("topic_lag_bytes_max", |c, n| c.topic_lag_bytes_max = n as usize),
    ("topic_unserved_bytes_max", |c, n| c.topic_unserved_bytes_max = n as usize),
    ("send_queues_bytes_max", |c, n| c.send_queues_bytes_max = n as usize),
    ("incomplete_bytes_max", |c, n| c.incomplete_bytes_max = n as usize),
    ("connections_max", |c, n| c.connections_max = n as usize),
    ("connections_reserved", |c, n| (c.connections_max, c.connections_reserved) = (2, n as usize)),
    ("client_limits.connections_max", |c, n| c.client_limits.connections_max = Some(n as u32)),
    ("client_limits.connections_per_second_max", |c, n| {
        c.client_limits.connections_per_second_max = Some(n as u32);
    }),
    ("topics_max", |c, n| c.topics_max = n as usize),
    ("topics_per_connection_max", |c, n| c.topics_per_connection_max = n as usize),
    ("topic_name_bytes_max", |c, n| c.topic_name_bytes_max = n as usize),
    ("topics_configured_max", |c, n| c.topics_configured_max = n as usize),
    ("history", |c, n| c.topic.history = Some(history(n, u64::MAX, u64::MAX))),
    ("history.bytes", |c, n| c.topic.history = Some(history(u64::MAX, n, u64::MAX))),
    ("history.age", |c, n| c.topic.history = Some(history(u64::MAX, u64::MAX, n))),
    ("history_bytes_max", |c, n| {
        c.topic.history = Some(History::default());
        c.history_bytes_max = n as usize;
    }),
    ("topic_memory", |c, n| {
        c.topic.history = Some(History::default());
        c.topic_memory = time(n);
    }),
    ("topics_remembered_max", |c, n| {
        c.topic.history = Some(History::default());
        c.topics_remembered_max = n as usize;
    }),
    ("idempotency_memory", |c, n| c.idempotency_memory = time(n)),
    ("idempotency_keys_max", |c, n| c.idempotency_keys_max = n as usize),
    ("idempotency_key_bytes_max", |c, n| c.idempotency_key_bytes_max = n as usize),
    ("linger_bytes_max", |c, n| c.linger_bytes_max = n as usize),
    ("accepts_per_turn", |c, n| c.accepts_per_turn = n as usize),
    ("read_bytes_per_turn", |c, n| c.read_bytes_per_turn = n as usize),
    ("write_bytes_per_turn", |c, n| c.write_bytes_per_turn = n as usize),
    ("fan_out_writes_per_turn", |c, n| c.fan_out_writes_per_turn = n as usize),
    ("fan_out_bytes_per_turn", |c, n| c.fan_out_bytes_per_turn = n as usize),
    ("commands_per_turn", |c, n| c.commands_per_turn = n as usize),
    ("expiries_per_turn", |c, n| c.expiries_per_turn = n as usize),
    ("receive_buffer_bytes", |c, n| c.receive_buffer_bytes = n as usize),
    ("mailbox_commands_max", |c, n| c.mailbox_commands_max = n as usize),
    ("mailbox_bytes_max", |c, n| c.mailbox_bytes_max = n as usize),
    ("handshake_timeout", |c, n| c.handshake_timeout = time(n)),
    ("answer_timeout", |c, n| c.answer_timeout = time(n)),
    ("keep_alive_timeout", |c, n| c.keep_alive_timeout = time(n)),
    ("ping_interval", |c, n| c.ping_interval = Some(time(n))),
    ("pong_timeout", |c, n| c.pong_timeout = time(n)),
    ("blocked_timeout", |c, n| c.blocked_timeout = time(n)),
    ("idle_timeout", |c, n| c.idle_timeout = Some(time(n))),
    ("close_timeout", |c, n| c.close_timeout = time(n)),
    ("linger_timeout", |c, n| c.linger_timeout = time(n)),
    ("shutdown_spread", |c, n| c.shutdown_spread = time(n)),
    #[cfg(feature = "deflate")]
    ("deflate_bytes_min", |c, n| c.deflate_bytes_min = n as usize),
    #[cfg(feature = "deflate")]
    ("deflate_client_window_bits", |c, n| c.deflate_client_window_bits = n as u8),
    #[cfg(feature = "deflate")]
    ("deflate_windows_bytes_max", |c, n| c.deflate_windows_bytes_max = n as usize),
    #[cfg(feature = "deflate")]
    ("takeover", |c, n| (c.deflate_context_takeover, c.deflate_bytes_min) = (true, n as usize)),
];

fn history(publications: u64, bytes: u64, age: u64) -> History {
    let mut history = History::of(publications);
    (history.bytes, history.age) = (bytes as usize, time(age));
    history
}

fn time(n: u64) -> Duration {
    if n == u64::MAX { Duration::MAX } else { Duration::from_nanos(n) }
}

/// What becomes of messages and publications that peers are too slow for.
const POLICIES: [(Overflow, OnLag); 3] = [
    (Overflow::Close, OnLag::Close),
    (Overflow::DropNewest, OnLag::Latest),
    (Overflow::DropNewest, OnLag::Skip),
];

/// Under each policy, with all of these limits at each of their ends.
fn at_the_ends(limits: &[(&str, Set)]) {
    for value in [0, 1, u64::MAX] {
        for (overflow, on_lag) in POLICIES {
            let mut config = Config::default();
            (config.overflow, config.topic.on_lag) = (overflow, on_lag);
            limits.iter().for_each(|(_, set)| set(&mut config, value));
            let lived = catch_unwind(|| lives(config));
            let names: Vec<_> = limits.iter().map(|(name, _)| name).collect();
            assert!(lived.is_ok(), "{names:?} at {value}, {overflow:?}, {on_lag:?}");
        }
    }
}

#[test]
fn every_limit_at_its_ends() {
    LIMITS.iter().for_each(|limit| at_the_ends(std::slice::from_ref(limit)));
}

#[test]
fn all_limits_at_their_ends_together() {
    at_the_ends(LIMITS);
}
