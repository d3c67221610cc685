//! What a message costs in system calls, to the call: counted by a network in memory, and by
//! strace over the `echo` example.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::net::{Calls, Sim, Told, Wire};
use crate::support::sink::Drain;
use crate::support::{Frame, burst, continuation, frame, ping, pong, quiet, text};
use pushloop::{Config, ConnId, Hub};

/// An application that sends every message back, as text.
fn echo(hub: &mut Hub, told: &Told) {
    if let Told::Message(id, payload) = told {
        hub.send(*id, str::from_utf8(payload).expect("the tests send text")).unwrap();
    }
}

fn sim() -> Sim {
    Sim::new(quiet(|_| {}))
}

/// A WebSocket on a server that has nothing left to do.
fn opened(sim: &mut Sim) -> (ConnId, Wire) {
    let opened = sim.opens();
    sim.rests();
    opened
}

/// What was called, in system calls.
#[derive(Debug, PartialEq)]
struct Cost {
    waits: usize,
    reads: usize,
    writes: usize,
}

/// What was called since `before`.
fn since(sim: &mut Sim, before: Calls) -> Cost {
    let now = sim.server.net().calls;
    Cost {
        waits: now.waits - before.waits,
        reads: now.reads - before.reads,
        writes: now.writes - before.writes,
    }
}

#[test]
fn an_echo_costs_one_wait_one_read_and_one_write() {
    let mut sim = sim();
    let (_, wire) = opened(&mut sim);
    let (before, waits) = (sim.server.net().calls, sim.hub().counters().waits);
    for at in 0..1000 {
        let message = text(format!("message {at}"));
        wire.sends(message.clone());
        // The echo of the one before leaves first.
        sim.turn_with(None, echo);
        assert_eq!(wire.reads().len(), usize::from(at > 0));
    }
    let echoes = Cost { waits: 1000, reads: 1000, writes: 999 };
    assert_eq!(since(&mut sim, before), echoes);
    assert_eq!(sim.hub().counters().waits - waits, 1000);
    sim.rests();
    assert_eq!(wire.reads(), [text("message 999")]);
}

#[test]
fn sixteen_in_one_segment_cost_what_one_costs() {
    let mut sim = sim();
    let (_, wire) = opened(&mut sim);
    let messages: Vec<Frame> = (0..16).map(|at| text(format!("message {at}"))).collect();
    for _ in 0..100 {
        let before = sim.server.net().calls;
        wire.sends_bytes(burst(&messages));
        sim.turn_with(None, echo);
        sim.turn();
        assert_eq!(since(&mut sim, before), Cost { waits: 2, reads: 1, writes: 1 });
        assert_eq!(wire.reads(), messages);
    }
}

#[test]
fn fragments_and_pings_of_one_segment_cost_no_more() {
    let mut sim = sim();
    let (_, wire) = opened(&mut sim);
    let frames = [text("a").open(), ping("p"), frame(0, "b"), continuation("c"), text("d")];
    let before = sim.server.net().calls;
    wire.sends_bytes(burst(&frames));
    sim.turn_with(None, echo);
    sim.turn();
    assert_eq!(since(&mut sim, before), Cost { waits: 2, reads: 1, writes: 1 });
    assert_eq!(wire.reads(), [pong("p"), text("abc"), text("d")]);
    // In two segments it is one read more.
    let before = sim.server.net().calls;
    let bytes = text("in two").masked([1; 4]);
    for half in bytes.chunks(8) {
        wire.sends_bytes(half);
        sim.turn_with(None, echo);
    }
    sim.turn();
    assert_eq!(since(&mut sim, before), Cost { waits: 3, reads: 2, writes: 1 });
    assert_eq!(wire.reads(), [text("in two")]);
}

#[test]
fn sixty_four_publications_to_ten_subscribers_are_ten_writes() {
    // All to one topic; to many; and with direct messages between them.
    for (topics, direct) in [(1, false), (8, false), (8, true)] {
        let mut sim = sim();
        let peers: Vec<_> = (0..10).map(|_| opened(&mut sim)).collect();
        for (id, _) in &peers {
            (0..topics).for_each(|topic| sim.hub().subscribe(*id, &topic.to_string()).unwrap());
        }
        let before = sim.server.net().calls;
        for at in 0..64 {
            sim.hub().publish(&(at % topics).to_string(), "0123456789").unwrap();
            if direct {
                peers.iter().for_each(|(id, _)| sim.hub().send(*id, "direct").unwrap());
            }
        }
        sim.turn();
        sim.turn();
        assert_eq!(since(&mut sim, before), Cost { waits: 2, reads: 0, writes: 10 });
        let frames = if direct { 128 } else { 64 };
        assert!(peers.iter().all(|(_, wire)| wire.reads().len() == frames));
    }
}

#[test]
fn a_full_kernel_is_asked_once_and_not_before_it_has_room_again() {
    let mut sim = sim();
    let (id, wire) = opened(&mut sim);
    wire.holds(0);
    let before = sim.server.net().calls;
    for _ in 0..100 {
        sim.hub().send(id, "x").unwrap();
        sim.turn();
    }
    assert_eq!(since(&mut sim, before).writes, 1);
    wire.holds(usize::MAX);
    wire.reads_bytes();
    sim.rests();
    assert_eq!(since(&mut sim, before).writes, 2);
    assert_eq!(wire.reads().len(), 100);
}

#[test]
fn a_thousand_idle_connections_are_slept_over_until_the_first_ping() {
    let mut config = Config::default();
    // Nobody answers, and nobody is to be told so meanwhile.
    config.pong_timeout = config.ping_interval.expect("by default");
    let mut sim = Sim::new(config);
    let wires: Vec<_> = (0..1000).map(|_| opened(&mut sim).1).collect();
    let interval = sim.hub().config().ping_interval.unwrap();
    let before = sim.server.net().calls;
    // Deadlines of the handshakes are none any more.
    sim.turn_within(Some(interval / 2));
    assert_eq!(since(&mut sim, before), Cost { waits: 1, reads: 0, writes: 0 });
    assert_eq!(sim.hub().counters().pings_sent, 0);
    // From here to the whole interval each gets one Ping, at no more than one wake for each step
    // of the wheel.
    let mut elapsed = interval / 2;
    while elapsed < interval + Duration::from_millis(200) {
        let slept = sim.server.net().slept();
        sim.turn_within(Some(Duration::from_millis(200)));
        elapsed += sim.server.net().slept() - slept;
    }
    assert!(wires.iter().all(|wire| wire.reads() == [ping("")]));
    let calls = since(&mut sim, before);
    assert_eq!((calls.reads, calls.writes), (0, 1000));
    assert!(calls.waits <= 2 * 200, "{} waits", calls.waits);
}

#[test]
fn a_publication_is_written_to_all_from_the_one_place_where_it_lies() {
    const SUBSCRIBERS: usize = 1000;
    const FRAME: usize = 2 + 100;
    let mut drain = Drain::new(Config::default());
    let mut ids = Vec::new();
    drain.opens(SUBSCRIBERS, |_, id| ids.push(id));
    // Whoever subscribes later in the turn gets less. That would not show where each range was
    // copied to one buffer, and then written from there: all would begin at its start.
    for group in ids.chunks(SUBSCRIBERS / 4) {
        group.iter().for_each(|id| drain.hub().subscribe(*id, "t").unwrap());
        drain.hub().publish("t", "x".repeat(FRAME - 2).as_str()).unwrap();
    }
    // Counted once, however many are to get it, with what is noted of each and of all.
    let queued = drain.hub().queued_bytes_total();
    assert!((4 * FRAME..4 * FRAME + 512).contains(&queued), "{queued}");
    drain.server.net().spans = Some(Vec::with_capacity(SUBSCRIBERS));
    // A turn writes to 512 of them.
    for written in [512, SUBSCRIBERS] {
        drain.turn(|_, event| panic!("{event:?}"));
        assert_eq!(drain.server.net().spans.as_ref().map(Vec::len), Some(written));
    }
    let mut spans = drain.server.net().spans.take().unwrap();
    // Each subscriber gets what came after it subscribed, up to the end: the order in which a pass
    // comes to them is not that of their coming.
    spans.sort_unstable_by_key(|span| span.start);
    let start = spans[0].start;
    for (group, spans) in spans.chunks(SUBSCRIBERS / 4).enumerate() {
        let expected = start + group * FRAME..start + 4 * FRAME;
        assert!(spans.iter().all(|span| *span == expected), "group {group}: {spans:x?}");
    }
    // All deliveries were made from as many bytes of memory as were published.
    let places: HashSet<usize> = spans.into_iter().flatten().collect();
    assert_eq!(places.len(), 4 * FRAME);
    assert_eq!(drain.hub().queued_bytes_total(), 0);
}

#[test]
fn sixty_four_publications_outstanding_are_one_write_for_each_subscriber() {
    const SUBSCRIBERS: usize = 1000;
    let mut sim = sim();
    let wires: Vec<Wire> = (0..SUBSCRIBERS)
        .map(|_| {
            let (id, wire) = opened(&mut sim);
            sim.hub().subscribe(id, "t").unwrap();
            wire
        })
        .collect();
    let (_, publisher) = opened(&mut sim);
    let publish = |hub: &mut Hub, told: &Told| {
        let Told::Message(_, payload) = told else { return };
        hub.publish("t", str::from_utf8(payload).expect("the tests send text")).unwrap();
    };
    let messages: Vec<Frame> = (0..64).map(|at| text(format!("message {at}"))).collect();
    for _ in 0..10 {
        publisher.sends_bytes(burst(&messages));
        sim.turn_with(None, publish);
        // A turn writes to 512 of them, and others are read before the next one.
        for writes in [512, SUBSCRIBERS - 512, 0] {
            let before = sim.server.net().calls;
            sim.turn();
            assert_eq!(since(&mut sim, before), Cost { waits: 1, reads: 0, writes });
        }
        assert!(wires.iter().all(|wire| wire.reads() == messages));
    }
}

/// What a publisher says while a pass is under way costs those that it has not reached no write more.
#[test]
fn publications_in_every_turn_of_a_pass_are_few_writes_more() {
    const SUBSCRIBERS: usize = 1000;
    const TURNS: usize = 40;
    let mut drain = Drain::new(Config::default());
    drain.opens(SUBSCRIBERS, |hub, id| hub.subscribe(id, "t").unwrap());
    let before = drain.server.net().writes;
    for _ in 0..TURNS {
        drain.hub().publish("t", "x").unwrap();
        drain.turn(|_, event| panic!("{event:?}"));
    }
    // All of the 512 of each turn have something to write, and each write takes what there is.
    assert_eq!(drain.server.net().writes - before, 512 * TURNS as u64);
    for _ in 0..3 {
        drain.turn(|_, event| panic!("{event:?}"));
    }
    assert_eq!(drain.hub().counters().deliveries, (SUBSCRIBERS * TURNS) as u64);
    assert_eq!(drain.hub().queued_bytes_total(), 0);
}

/// Those whose kernel is full are not looked at in a turn, however many they are and whatever is
/// published.
#[test]
fn subscribers_that_lag_cost_a_turn_nothing() {
    let mut steps = Vec::new();
    for slow in [0, 10, 1000] {
        let mut sim = sim();
        for at in 0..slow + 10 {
            let (id, wire) = opened(&mut sim);
            sim.hub().subscribe(id, "t").unwrap();
            wire.holds(if at < slow { 0 } else { usize::MAX });
        }
        sim.hub().publish("t", "their kernels are full").unwrap();
        sim.rests();
        let (calls, before) = (sim.server.net().calls, sim.hub().counters());
        for _ in 0..100 {
            sim.hub().publish("t", "x").unwrap();
            sim.turn();
        }
        sim.turn();
        assert_eq!(since(&mut sim, calls), Cost { waits: 101, reads: 0, writes: 1000 });
        let counters = sim.hub().counters();
        assert_eq!(counters.deliveries - before.deliveries, 1000);
        steps.push(counters.list_steps - before.list_steps);
    }
    assert!(steps[0] == steps[1] && steps[1] == steps[2], "{steps:?}");
}
