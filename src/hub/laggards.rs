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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::hub::{Outlet, WriteResult, tests_hub, tests_open};

    /// It takes all, and keeps it to itself.
    struct Full;

    impl Outlet for Full {
        fn write(&mut self, output: &[u8]) -> WriteResult {
            WriteResult::Wrote(output.len())
        }

        fn flush(&mut self) -> WriteResult {
            WriteResult::Blocked
        }
    }

    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    #[test]
    fn a_connection_with_nothing_queued_is_no_laggard() {
        let mut hub = tests_hub(Instant::now());
        let id = tests_open(&mut hub);
        hub.subscribe(id, "t").unwrap();
        hub.publish("t", "x").unwrap();
        hub.send(id, "a").unwrap();
        assert_eq!(hub.laggards(0, 100, |laggard| panic!("it was not tried: {laggard:?}")), 0);
        hub.begin_flush();
        let next = hub.next_to_flush().unwrap();
        hub.flush_one(next, &mut crate::event::Events::default(), &mut Full);
        assert!(hub.slots[id.index as usize].connection.is_blocked() && hub.queued_bytes(id) == 0);
        assert_eq!(hub.laggards(0, 100, |laggard| panic!("{laggard:?}")), 0);
        // What is published or sent now waits.
        for (publications, queued) in [(0, true), (2, true)] {
            hub.send(id, "b").unwrap();
            (0..publications).for_each(|_| _ = hub.publish("t", "x").unwrap());
            let mut told = Vec::new();
            let all = hub.slots.capacity() + 1;
            assert_eq!(
                hub.laggards(0, all, |it| told.push((it.publications, it.queued_bytes > 0))),
                0
            );
            assert_eq!(told, [(publications, queued)]);
        }
    }

    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    #[test]
    fn all_places_are_as_many_steps() {
        let mut hub = tests_hub(Instant::now());
        tests_open(&mut hub);
        let all = hub.slots.capacity();
        let looks = |steps| hub.laggards(0, steps, |laggard| panic!("{laggard:?}"));
        assert_eq!([looks(all - 1), looks(all)], [all - 1, 0]);
    }
}
