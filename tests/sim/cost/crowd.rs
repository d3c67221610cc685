//! What happens to all peers of a world at once.

use super::world::{KINDS, World};

impl World {
    /// Nobody reads, and so nothing is released, while the same happens again and again.
    pub fn nobody_reads(&mut self) {
        for at in 0..self.peers.len() {
            self.peers[at].pace = 0;
            self.drain.server.net().takes(self.peers[at].id, 0);
        }
        let (kind, len) = (self.dice.below(KINDS), [0, 8, 40][self.dice.below(3)]);
        let topic = self.dice.below(self.names.len());
        for _ in 0..20 {
            if let Some(last) = self.peers.len().checked_sub(1) {
                self.burst(kind, last, topic, len, 2000);
                self.turn();
            }
        }
    }

    /// Many get much, and read it at last: none of it is held in the pools.
    pub fn crowd_recovers(&mut self) {
        self.opens(64);
        self.nobody_reads();
        for at in 0..self.peers.len() {
            (0..70).for_each(|_| self.sends(at, 3000));
        }
        self.turn();
        self.peers.iter_mut().for_each(|peer| peer.pace = usize::MAX);
        for _ in 0..200 {
            self.turn();
        }
        assert_eq!(self.drain.hub().queued_bytes_total(), 0, "seed {}", self.seed);
        assert!(self.pushed > 8 << 20, "so little waited that pools could hold it");
    }
}
