//! When tokens end, and with them the connections that came with one.
//!
//! A token ends by the time of day, which may be set meanwhile, and stands still for a loop that counts from
//! its start while the machine sleeps. So it is looked at when something is due, and once a minute before.

use std::{collections::BTreeSet, time::Duration};

use pushloop::{CloseCode, ConnId, ConnMap, Hub, TimerId};

use crate::gate::since_1970;

/// How long what is due may be away until the clock is looked at again.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How old the hub's time of day may be: before, looking again would find the same.
const CLOCK_INTERVAL: Duration = Duration::from_millis(70);
/// Connections that are closed in one turn.
const CLOSES_PER_TURN: usize = 512;

/// Of those that applications may use, the one that resembles HTTP's 401.
const EXPIRED: u16 = 4401;

/// What a connection is closed with of which the token is not good any more.
pub fn code() -> CloseCode {
    CloseCode::new(EXPIRED).unwrap_or(CloseCode::POLICY)
}

/// The connections that came with a token. Each costs a step in a tree when it comes and when it goes, and
/// nothing between.
#[derive(Debug)]
pub struct Expiries {
    /// The key of the timer that leads here.
    key: u64,
    ends: Ends<Duration>,
    timer: Option<TimerId>,
}

impl Expiries {
    pub fn new(key: u64) -> Self {
        Self { key, ends: Ends::default(), timer: None }
    }

    /// A connection ends then.
    pub fn insert(&mut self, hub: &mut Hub, id: ConnId, end: Duration) {
        if self.ends.insert(id, end) {
            self.set_timer(hub);
        }
    }

    /// A connection is over.
    pub fn remove(&mut self, id: ConnId) {
        self.ends.remove(id);
    }

    /// Whether the timer is the one that leads here. Closes the connections that are due, so many of them in a
    /// turn.
    pub fn handle_timer(&mut self, hub: &mut Hub, key: u64) -> bool {
        if key != self.key {
            return false;
        }
        let now = since_1970(hub).unwrap_or_default();
        for _ in 0..CLOSES_PER_TURN {
            let Some(id) = self.ends.pop_due(now) else { break };
            hub.close(id, code(), "the token expired");
        }
        self.set_timer(hub);
        true
    }

    fn set_timer(&mut self, hub: &mut Hub) {
        if let Some(timer) = self.timer.take() {
            hub.cancel_timer(timer);
        }
        let wait = self.ends.wait(since_1970(hub).unwrap_or_default());
        self.timer = wait.map(|wait| hub.set_timer(hub.now() + wait, self.key));
    }
}

/// Connections, each with a moment: since 1970, as the clock on the wall has it, or of another clock.
#[derive(Debug)]
pub struct Ends<T> {
    by_time: BTreeSet<(T, ConnId)>,
    by_id: ConnMap<T>,
}

impl<T> Default for Ends<T> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_id: ConnMap::new() }
    }
}

impl<T: Copy + Ord> Ends<T> {
    /// Gives a connection another moment. Whether this is the first now.
    pub fn insert(&mut self, id: ConnId, end: T) -> bool {
        self.remove(id);
        self.by_id.insert(id, end);
        self.by_time.insert((end, id));
        self.by_time.first() == Some(&(end, id))
    }

    pub fn remove(&mut self, id: ConnId) {
        if let Some(end) = self.by_id.remove(id) {
            self.by_time.remove(&(end, id));
        }
    }

    /// The first moment.
    pub fn first(&self) -> Option<T> {
        self.by_time.first().map(|(end, _)| *end)
    }

    /// Takes out the first connection of which the moment has come.
    pub fn pop_due(&mut self, now: T) -> Option<ConnId> {
        let (_, id) = *self.by_time.first().filter(|(end, _)| *end <= now)?;
        self.remove(id);
        Some(id)
    }
}

impl Ends<Duration> {
    /// When it is to be looked at again.
    fn wait(&self, now: Duration) -> Option<Duration> {
        let (end, _) = self.by_time.first()?;
        let left = end.saturating_sub(now);
        Some(if left.is_zero() { left } else { left.clamp(CLOCK_INTERVAL, LOOK_INTERVAL) })
    }
}

#[cfg(test)]
mod tests {
    use pushloop::{Config, Server};

    use super::*;

    const fn id(index: u64) -> ConnId {
        ConnId::from_bits(1 << 32 | index)
    }

    #[test]
    fn what_is_due_is_what_the_clock_on_the_wall_says_now() {
        let seconds = Duration::from_secs;
        let mut ends = Ends::default();
        assert_eq!((ends.wait(seconds(0)), ends.pop_due(seconds(9))), (None, None));
        for (index, end, is_first) in [(1, 300, true), (2, 200, true), (3, 400, false)] {
            assert_eq!(ends.insert(id(index), seconds(end)), is_first);
        }
        // It may be set meanwhile.
        assert_eq!(ends.wait(seconds(0)), Some(LOOK_INTERVAL));
        assert_eq!(ends.wait(seconds(190)), Some(seconds(10)));
        assert_eq!(ends.wait(seconds(200) - Duration::from_nanos(1)), Some(CLOCK_INTERVAL));
        assert_eq!(ends.pop_due(seconds(200) - Duration::from_nanos(1)), None);
        assert_eq!(ends.wait(seconds(350)), Some(Duration::ZERO));
        assert_eq!(ends.pop_due(seconds(350)), Some(id(2)));
        // It goes back.
        assert_eq!((ends.pop_due(seconds(1)), ends.wait(seconds(1))), (None, Some(LOOK_INTERVAL)));
        ends.remove(id(1));
        assert_eq!(ends.wait(seconds(390)), Some(seconds(10)));
        // A place that is taken again is another connection's.
        assert_eq!(ends.pop_due(seconds(400)), Some(id(3)));
        assert_eq!((ends.by_time.len(), ends.by_id.len()), (0, 0));
    }

    #[test]
    fn a_crowd_that_ends_at_once_is_closed_in_several_turns() {
        let mut server = Server::new(Config::default()).expect("there are descriptors");
        let hub = server.hub();
        let mut expiries = Expiries::new(7);
        for index in 0..=CLOSES_PER_TURN as u64 {
            expiries.insert(hub, id(index), Duration::ZERO);
        }
        assert!(!expiries.handle_timer(hub, 6));
        for (left, is_timed) in [(1, true), (0, false)] {
            assert!(expiries.handle_timer(hub, 7));
            assert_eq!((expiries.ends.by_time.len(), expiries.timer.is_some()), (left, is_timed));
        }
    }
}
