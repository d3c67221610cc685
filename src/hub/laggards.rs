//! Connections that lag, for somebody who looks for them: so many steps at a time.

use super::Hub;
use crate::event::ConnId;

/// A connection that takes nothing more at the moment, and what waits for it: see [`Hub::laggards`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Laggard {
    /// The connection.
    pub id: ConnId,
    /// How many publications of its topics it has not taken. Some that are not for it may be among them.
    pub publications: u64,
    /// What [`Hub::queued_bytes`] says of it.
    pub queued_bytes: usize,
}

impl Hub {
    /// Looks at connections from a place on, and tells of each of which the peer or network takes nothing while something
    /// waits for it. Gives the place to go on from; 0 is the first, and comes when all were looked at. A look at
    /// a connection, and one at each topic of a connection that lags, is a step; there are at most so many in a
    /// call, and up to [`Config::topics_per_connection_max`](crate::Config::topics_per_connection_max) more.
    pub fn laggards(&self, from: usize, steps: usize, mut tell: impl FnMut(Laggard)) -> usize {
        let (mut at, mut taken) = (from, 0);
        while at < self.slots.capacity() {
            if taken >= steps {
                return at;
            }
            taken += 1;
            let is_blocked = self.slots.get(at).is_some_and(|slot| slot.connection.is_blocked());
            let id = self.id_at(at as u32);
            if is_blocked && self.is_live(id) {
                let list = self.topics.list(id.index).as_slice();
                taken += list.len();
                let publications = list.iter().map(|it| self.topics.behind(*it)).sum();
                let laggard = Laggard { id, publications, queued_bytes: self.queued_bytes(id) };
                if laggard.publications > 0 || laggard.queued_bytes > 0 {
                    tell(laggard);
                }
            }
            at += 1;
        }
        0
    }
}
