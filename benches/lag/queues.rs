//! Peers that read late or never: what a turn takes, and what is held.

use std::time::Duration;

use pushloop::{Event, Hub, OnLag};

use crate::Scale;
use crate::frame::{binary, ping};
use crate::net::Says;
use crate::report::{at_most, exactly, figure, mib, millis, percentile};
use crate::world::{KEY, World, config, nothing, publish, set_policy, subscribe};

/// D1 and D2: a handler publishes each message to a topic that keeps the latest, and answers it. Its
/// one peer subscribes and does not read.
pub fn answers_and_publications(scale: Scale) {
    let messages = scale.of(200, 16_000);
    let mut config = config();
    // All three rounds are to be held.
    config.send_queue_bytes_max = 1 << 20;
    let mut world = World::new(config);
    world.act(|hub| set_policy(hub, "t", OnLag::Latest));
    let peers = world.opens_subscribers(1, "t");
    let burst = Says::once(binary("ab").masked(KEY).repeat(messages));
    // The batch has its room before anything is counted.
    world.each_says(&peers, &burst, nothing);
    let before = world.heap;
    world.stop_reading(&peers);
    let app = |hub: &mut Hub, event: Event<'_>| {
        if let Event::Message { id, message } = event {
            publish(hub, "t", message);
            hub.send(id, message).expect("there is room");
        }
    };
    let (mut longest, mut ratios) = (Duration::ZERO, [0.0; 2]);
    for _ in 0..3 {
        world.net().says(peers[0], burst.clone());
        for ratio in &mut ratios {
            longest = longest.max(world.turn(app));
            let held = (world.heap - before) as f64;
            *ratio = f64::max(*ratio, held / world.counted() as f64);
        }
    }
    let what = format!("{messages} messages, each published (latest) and answered; unread");
    at_most("D1", format!("{what}: the longest turn"), millis(longest), 5.0, "ms");
    at_most("D2", "... heap held / counted, before it is written", ratios[0], 2.0, "times");
    at_most("D2", "... heap held / counted, once the kernel is full", ratios[1], 2.0, "times");
}

/// D4: one publication a turn to subscribers whose queues are full of short messages.
pub fn full_queues(scale: Scale) {
    const MESSAGE: [u8; 10] = [b'x'; 10];
    let subscribers = scale.of(10, 200);
    let queue_bytes = scale.of(16, 256) * 1024;
    let turns_of = |lags: bool| {
        let mut config = config();
        config.send_queue_bytes_max = queue_bytes;
        let mut world = World::new(config);
        world.act(|hub| set_policy(hub, "t", OnLag::Skip));
        let peers = world.opens_subscribers(subscribers, "t");
        if lags {
            world.stop_reading(&peers);
            for _ in 0..queue_bytes / 960 + 2 {
                let some = |hub: &mut Hub| (0..80).for_each(|_| publish(hub, "t", MESSAGE));
                world.turn_after(some, nothing);
            }
        }
        let turns = (0..31).map(|_| world.turn_after(|hub| publish(hub, "t", MESSAGE), nothing));
        percentile(&turns.collect::<Vec<_>>(), 50)
    };
    let (late, well) = (millis(turns_of(true)), millis(turns_of(false)));
    let what = format!("1 publication to {subscribers} with full queues of short messages");
    let what = format!("{what}: {late:.3} ms; healthy: {well:.3}");
    at_most("D4", what, late / well, 1.0, "times");
}

/// D6: a direct send to a subscriber of many topics, of which none has anything.
pub fn direct_sends(scale: Scale) {
    let (sends, rounds) = (10_000, scale.of(3, 51));
    let mut world = World::new(config());
    let peers = world.opens(2);
    let [none, many] = world.ids(&peers)[..] else { panic!("there are two") };
    world.act(|hub| (0..128).for_each(|nth| subscribe(hub, many, &format!("t{nth}"))));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (id, times) in [none, many].into_iter().zip(&mut times) {
            let send = |hub: &mut Hub| hub.send(id, [b'x'; 20]).expect("there is room");
            times.push(world.act(|hub| (0..sends).for_each(|_| send(hub))));
            world.settles();
        }
    }
    let [none, many] =
        times.map(|times| percentile(&times, 50).as_secs_f64() * 1e9 / f64::from(sends));
    let what = "a direct send to a subscriber of 128 topics and of none";
    at_most("D6", format!("{what}: {many:.1} ns and {none:.1} ns"), many / none, 1.5, "times");
}

/// A2: peers that hold many Pongs and a queue of the shortest frames.
pub fn short_frames(scale: Scale) {
    let queue_bytes = scale.of(8, 1024) * 1024;
    let mut config = config();
    config.send_queue_bytes_max = queue_bytes;
    let mut world = World::new(config);
    let peers = world.opens(scale.of(4, 40));
    let ids = world.ids(&peers);
    let names: Vec<_> = (0..peers.len()).map(|nth| format!("t{nth}")).collect();
    for (id, name) in ids.iter().zip(&names) {
        world.act(|hub| subscribe(hub, *id, name));
    }
    world.stop_reading(&peers);
    let pings = Says::once(ping([b'x'; 125]).masked(KEY).repeat(scale.of(10, 480)));
    world.each_says(&peers, &pings, nothing);
    world.settles();
    world.act(|hub| {
        for id in &ids {
            while hub.queued_bytes(*id) + 2 <= queue_bytes {
                hub.send(*id, []).expect("there is room");
            }
        }
    });
    world.settles();
    let message = Says::once(binary("").masked(KEY));
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        let took = world.each_says(&peers, &message, |hub, event| {
            if let Event::Message { id, message } = event {
                let nth = ids.iter().position(|other| *other == id).expect("it is one of them");
                publish(hub, &names[nth], message);
            }
        });
        longest = longest.max(took).max(world.turn(nothing));
    }
    assert_eq!(world.hub().counters().closed_overflow, 0);
    let (peers, kib) = (peers.len(), queue_bytes >> 10);
    let what = format!("{peers} peers that hold Pongs and {kib} KiB of 2-byte frames");
    at_most("A2", format!("{what}: a turn with 6 bytes of each"), millis(longest), 5.0, "ms");
}

/// What became of a crowd of which some never read.
#[derive(Default)]
struct Crowd {
    turns: Vec<Duration>,
    heap: i64,
    counted: i64,
    closed: u64,
    /// How many of the others got all.
    served: usize,
    /// The longest turn while the others came to lag.
    first: Duration,
}

/// L: very many that never read, beside some that do.
pub fn crowd_that_never_reads(scale: Scale) {
    let (laggards, readers) = (scale.of(50, 10_000), scale.of(10, 100));
    let turns = scale.of(20, 1000);
    for on_lag in [OnLag::Close, OnLag::Skip, OnLag::Latest] {
        let alone = crowd(on_lag, 0, readers, turns);
        let crowd = crowd(on_lag, laggards, readers, turns);
        let what = format!("{on_lag:?}: {laggards} never read, {readers} do");
        exactly("L", format!("{what}: how many of these got all"), crowd.served, readers);
        let counted = format!("{:.0} MiB counted, {} closed", mib(crowd.counted), crowd.closed);
        figure("L", format!("... heap held at most ({counted})"), mib(crowd.heap), "MiB");
        for (percent, name) in [(50, "median"), (99, "99 %")] {
            let of = |crowd: &Crowd| millis(percentile(&crowd.turns, percent));
            let (with, without) = (of(&crowd), of(&alone));
            let what = format!("... turns, {name}: {with:.3} ms; alone: {without:.3}");
            at_most("L", what, with / without, 1.2, "times");
        }
        figure("L", "... the longest turn", millis(percentile(&crowd.turns, 100)), "ms");
        figure("L", "... the longest while they came to lag", millis(crowd.first), "ms");
    }
}

fn crowd(on_lag: OnLag, laggards: usize, readers: usize, turns: usize) -> Crowd {
    let mut world = World::new(config());
    world.act(|hub| set_policy(hub, "t", on_lag));
    let late = world.opens_subscribers(laggards, "t");
    let readers = world.opens_subscribers(readers, "t");
    world.stop_reading(&late);
    world.settles();
    let before = world.heap;
    let got: Vec<_> = readers.iter().map(|peer| world.net().peers[*peer].got).collect();
    // From here on, the kernels of those that do not read are full.
    let first = world.turn_after(|hub| publish(hub, "t", [b'x'; 100]), nothing);
    let first = (0..100).fold(first, |first, _| first.max(world.turn(nothing)));
    let mut crowd = Crowd { first, ..Crowd::default() };
    for _ in 0..turns {
        crowd.turns.push(world.turn_after(|hub| publish(hub, "t", [b'x'; 100]), nothing));
        crowd.heap = crowd.heap.max(world.heap - before);
        crowd.counted = crowd.counted.max(world.counted());
    }
    world.rests();
    crowd.closed = world.hub().counters().closed_overflow;
    let all = (turns as u64 + 1) * 102;
    let got_all = |(peer, got): &(&usize, &u64)| world.net().peers[**peer].got - **got == all;
    crowd.served = readers.iter().zip(&got).filter(got_all).count();
    crowd
}
