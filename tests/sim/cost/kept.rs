//! What topics keep in a world, and all that the server holds.

use std::mem;

use super::given::{Held, heap_bytes_max};
use super::world::World;

impl World {
    /// It leaves, and comes back to what is kept.
    pub fn resumes(&mut self, at: usize, topic: usize) {
        self.unsubscribes(at, topic);
        let id = self.peers[at].id;
        let name = mem::take(&mut self.names[topic]);
        let count = [1, 20, u64::MAX][self.dice.below(3)];
        let done = self.asks(|hub| hub.subscribe_last(id, &name, count));
        self.names[topic] = name;
        let peer = &mut self.peers[at];
        self.given.looked_for += peer.topics.len();
        if done.is_ok() {
            peer.topics.insert(topic);
            peer.left += 1;
            self.given.left += 1;
            self.given.readers += peer.topics.len() + peer.left;
        }
    }

    /// What waits, and what is kept as history.
    pub fn held_bytes(&mut self) -> usize {
        let hub = self.drain.hub();
        hub.queued_bytes_total() + hub.counters().history_bytes as usize
    }

    pub fn checks_heap(&mut self) {
        let queued = self.held_bytes();
        let hub = self.drain.hub();
        let held = Held {
            queued,
            released: self.pushed - queued,
            connections: hub.connection_count(),
            topics: self.names.len(),
            subscriptions: self.peers.iter().map(|peer| peer.topics.len() + peer.left).sum(),
        };
        let most = heap_bytes_max(&held) as i64;
        assert!(self.heap <= most, "seed {}: {} bytes of {most}: {held:?}", self.seed, self.heap);
    }
}
