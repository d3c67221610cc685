//! What a turn was given, and what it may cost.

use std::time::Duration;

use pushloop::{Config, History, Overflow};

use crate::support::dice::Dice;

/// What was asked of the hub since the last turn, and what the turn came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// Messages published or sent.
    pub messages: usize,
    /// Topics of connections that were looked for in their lists, each with the length of the list.
    pub looked_for: usize,
    /// What a connection reads, of those that left something or ended.
    pub left: usize,
    /// Subscribers of topics for which a pass is due, but for those that a pass has met blocked.
    pub unparked: usize,
    /// Calls of the network's `write`, and twice as many looks for more than end without one; and for
    /// each of them what its connection reads.
    pub writes: usize,
    pub readers: usize,
    /// The most bytes that one write may have.
    pub write_bytes: usize,
    /// Connections, if the process has little room, and batches that may give way.
    pub shed: usize,
}

/// A turn that is given nothing ends what others began, and gives up what is too old of some topics.
const TURN: usize = 64 + 2 * 64;
/// A message costs one batch to be sealed, at the most, one step where it is left out, and a piece of
/// history that is given up for it, which is looked for at most twice.
const MESSAGE: usize = 4;
/// A pass that is under way ends and another follows, both along those that are not parked.
const PASSES: usize = 2;
/// A connection's readers are gone over to see where each is, to see what each has, to apply their
/// policies and to say that they are caught up; and batch by batch where it was left out of something.
const READER: usize = 5;
/// Where what is left out is counted, batch by batch.
const BATCHES: usize = 16;
/// A step is worth so many bytes of a write.
const STEP_BYTES: usize = 8;

impl Given {
    /// The steps that the turn may take. None is for what waits, nor for those that are blocked.
    pub fn steps_max(&self) -> u64 {
        let write = self.write_bytes / STEP_BYTES + BATCHES;
        let steps = TURN
            + MESSAGE * self.messages
            + self.looked_for
            + self.left
            + PASSES * self.unparked
            + self.writes * write
            + READER * self.readers
            + self.shed;
        steps as u64
    }
}

/// What the server owns whatever it does, in bytes: the batch of events, and room for one write.
const SERVER_BYTES: usize = 192 * 1024;
/// What it owns for each connection, topic and subscription, growing tables included.
const CONNECTION_BYTES: usize = 1536;
const TOPIC_BYTES: usize = 1024;
const SUBSCRIPTION_BYTES: usize = 128;
/// What the pools keep: 2 MiB of buffers, 256 batches with 256 entries in each of their lists, and
/// outboxes of 4 KiB; and what buffers in use have more than what they were taken for.
const POOLS_BYTES: usize = 6 * 1024 * 1024;

/// What exists.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// What waits, and what is kept as history.
    pub queued: usize,
    /// What was queued and is no more.
    pub released: usize,
    pub connections: usize,
    pub topics: usize,
    pub subscriptions: usize,
}

/// How much heap the server may hold: twice what is queued now, and what the pools may keep. They are
/// empty before anything is released, and a buffer has a few times what was in it.
pub fn heap_bytes_max(held: &Held) -> usize {
    SERVER_BYTES
        + 2 * held.queued
        + POOLS_BYTES.min(8 * held.released)
        + CONNECTION_BYTES * held.connections
        + TOPIC_BYTES * held.topics
        + SUBSCRIPTION_BYTES * held.subscriptions
}

/// What healthy subscribers have not been given, at the most, in times of what others may lag by.
const UNSERVED: usize = 64;
/// A batch is no longer than a fourth of what subscribers may lag by.
pub const BATCHES_MAX: usize = 4 * (UNSERVED + 2);

fn of<T: Copy>(dice: &mut Dice, options: &[T]) -> T {
    options[dice.below(options.len())]
}

/// What a topic keeps.
pub fn drawn_history(dice: &mut Dice) -> Option<History> {
    if dice.one_in(2) {
        return None;
    }
    let mut history = History::of(of(dice, &[0, 1, 30, 100_000]));
    history.bytes = of(dice, &[2000, 64 << 10, 1 << 20]);
    history.age = Duration::from_secs(of(dice, &[2, 3600]));
    Some(history)
}

/// The limits of a world.
pub fn drawn_config(dice: &mut Dice) -> Config {
    let mut config = Config::default();
    config.ping_interval = None;
    config.receive_buffer_bytes = 4096;
    config.read_bytes_per_turn = 1024;
    config.overflow = of(dice, &[Overflow::Close, Overflow::DropNewest]);
    config.send_queue_bytes_max = of(dice, &[2000, 64 << 10, 256 << 10, 1 << 20]);
    config.topic_lag_bytes_max = of(dice, &[2000, 20_000, 256 << 10, 1 << 20]);
    config.topic_unserved_bytes_max =
        of(dice, &[UNSERVED, UNSERVED, 4]) * config.topic_lag_bytes_max;
    config.send_queues_bytes_max = of(dice, &[1 << 30, 1 << 30, 256 << 10]);
    config.write_bytes_per_turn = of(dice, &[128 << 10, 4 << 10, 500]);
    config.fan_out_bytes_per_turn = of(dice, &[1 << 20, 4 << 10, 500]);
    config.fan_out_writes_per_turn = of(dice, &[256, 3]);
    config.blocked_timeout = Duration::from_secs(of(dice, &[3600, 10]));
    config.history_bytes_max = of(dice, &[1 << 30, 100_000]);
    config.topics_remembered_max = of(dice, &[1000, 3]);
    config
}
