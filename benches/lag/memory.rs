//! Memory that is held for what is counted, and what of it stays when that has gone.

use pushloop::Hub;

use crate::Scale;
use crate::frame::binary;
use crate::net::Says;
use crate::report::{at_most, mib};
use crate::support::private_bytes;
use crate::world::{KEY, World, config, nothing, publish, subscribe};

/// What a server may keep for its next crowd, in MiB.
const SPARE_MIB: f64 = 16.0;

/// D3: all have a burst of publications and answers in turn in their queues, and read it.
pub fn spare_queues(scale: Scale) {
    let (peers, messages) = (scale.of(10, 256), scale.of(50, 4000));
    let mut world = World::new(config());
    let peers = world.opens_subscribers(peers, "t");
    let ids = world.ids(&peers);
    let before = world.heap;
    world.act(|hub| {
        for _ in 0..messages {
            publish(hub, "t", "x");
            ids.iter().for_each(|id| hub.send(*id, "y").expect("there is room"));
        }
    });
    world.settles();
    world.rests();
    assert_eq!(world.counted(), 0);
    let what = format!("{} peers read {messages} publications and answers in turn", peers.len());
    at_most("D3", format!("{what}: heap kept"), mib(world.heap - before) * 1.048_576, 4.0, "MB");
}

/// A4: a burst in one turn to each of many topics.
pub fn topics_after_a_burst(scale: Scale) {
    let (connections, topics) = (scale.of(2, 64), 128);
    let mut world = World::new(config());
    let peers = world.opens(connections);
    let names: Vec<_> = (0..connections * topics).map(|nth| format!("t{nth}")).collect();
    for (id, names) in world.ids(&peers).into_iter().zip(names.chunks(topics)) {
        world.act(|hub| names.iter().for_each(|name| subscribe(hub, id, name)));
    }
    let before = world.heap;
    for names in names.chunks(topics) {
        for name in names {
            world.act(|hub| (0..1100).for_each(|_| publish(hub, name, "x")));
        }
        world.turn(nothing);
    }
    world.rests();
    let kept = (world.heap - before) as f64 / 1024.0 / names.len() as f64;
    let what = format!("1,100 messages in one turn to each of {} topics", names.len());
    at_most("A4", format!("{what}: heap kept for each"), kept, 0.7, "KiB");
}

/// Heap and private memory at some moment.
#[derive(Clone, Copy)]
struct Memory {
    heap: i64,
    private: i64,
}

impl Memory {
    fn now(world: &World) -> Self {
        Self { heap: world.heap, private: private_bytes() }
    }

    fn since(self, before: Self) -> Self {
        Self { heap: self.heap - before.heap, private: self.private - before.private }
    }
}

fn reports_held(row: &str, what: &str, held: Memory, counted: i64) {
    let ratio = |bytes: i64| bytes as f64 / counted as f64;
    let what = format!("{what}, {:.0} MiB counted", mib(counted));
    at_most(row, format!("{what}: heap held / counted"), ratio(held.heap), 1.3, "times");
    at_most(row, "... private memory held / counted", ratio(held.private), 1.3, "times");
}

fn reports_kept(row: &str, when: &str, kept: Memory) {
    at_most(row, format!("... heap {when}"), mib(kept.heap), SPARE_MIB, "MiB");
    at_most(row, format!("... private memory {when}"), mib(kept.private), SPARE_MIB, "MiB");
}

/// A5: messages of which half came, in two pieces.
pub fn halves_of_messages(scale: Scale) {
    let count = scale.of(20, 8300);
    let mut world = World::new(config());
    world.opens(1);
    let empty = Memory::now(&world);
    let peers = world.opens(count);
    let open = Memory::now(&world);
    let message = binary(vec![b'x'; 64 * 1024]).masked(KEY);
    let (first, second) = (&message[..31 * 1024], &message[31 * 1024..][..250]);
    for piece in [first, second] {
        world.each_says(&peers, &Says::once(piece), nothing);
    }
    world.settles();
    let counted = (count * (first.len() + second.len() - 14)) as i64;
    let held = Memory::now(&world).since(open);
    reports_held("A5a", &format!("{count} halves of messages"), held, counted);
    peers.iter().for_each(|peer| world.net().leaves(*peer));
    world.rests();
    assert_eq!(world.hub().connection_count(), 1);
    reports_kept("A5a", "10 s after they left", Memory::now(&world).since(empty));
}

/// A5: laggards whose queues grow by a message a turn, one laggard after the other.
pub fn laggards(scale: Scale) {
    let (count, messages) = (scale.of(5, 195), scale.of(20, 916));
    let mut config = config();
    config.send_queue_bytes_max = 1 << 20;
    let mut world = World::new(config);
    let peers = world.opens(count);
    let open = Memory::now(&world);
    world.stop_reading(&peers);
    for id in world.ids(&peers) {
        for _ in 0..messages {
            let send = |hub: &mut Hub| hub.send(id, [b'x'; 1000]).expect("there is room");
            world.turn_after(send, nothing);
        }
    }
    world.settles();
    let held = Memory::now(&world).since(open);
    let counted = world.counted();
    let what = format!("{count} laggards with {messages} messages of 1,000 bytes each");
    reports_held("A5b", &what, held, counted);
    peers.iter().for_each(|peer| world.net().reads(*peer, true));
    // A megabyte of what they missed in each turn.
    (0..10 * count).for_each(|_| _ = world.turn(nothing));
    world.rests();
    assert_eq!(world.counted(), 0);
    reports_kept("A5b", "10 s after they read all", Memory::now(&world).since(open));
}
