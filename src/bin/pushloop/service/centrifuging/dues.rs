//! When each connection is looked at next.

use std::time::{Duration, Instant};

use pushloop::{ConnId, Hub, TimerId};

use crate::{expiries::Ends, timers::Timer};

/// Its timer.
pub(super) const TIMER: u64 = Timer::Centrifuge as u64;
/// How exact it is.
const TENTH: Duration = Duration::from_millis(100);

/// See the module. Each connection has a moment here, in two tables.
#[derive(Default)]
pub(super) struct Dues {
    ends: Ends<Tenth>,
    /// The first moment of all.
    begun: Option<Instant>,
    timer: Option<(Tenth, TimerId)>,
}

/// A moment, in tenths of a second since the first: a fourth of an `Instant`, and enough for 13 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tenth(u32);

impl Dues {
    /// A connection is to be looked at then, or less than a tenth of a second later.
    pub fn look_at(&mut self, hub: &mut Hub, id: ConnId, at: Instant) {
        let after = at.saturating_duration_since(self.begun(hub));
        let tenths = after.as_millis().div_ceil(TENTH.as_millis());
        self.ends.insert(id, Tenth(tenths.try_into().unwrap_or(u32::MAX)));
        self.set_timer(hub);
    }

    fn begun(&mut self, hub: &Hub) -> Instant {
        *self.begun.get_or_insert(hub.now())
    }

    /// A connection is over.
    pub fn remove(&mut self, id: ConnId) {
        self.ends.remove(id);
    }

    /// Takes out the first connection that is due.
    pub fn pop_due(&mut self, hub: &Hub) -> Option<ConnId> {
        let tenths = (hub.now() - self.begun?).as_millis() / TENTH.as_millis();
        self.ends.pop_due(Tenth(tenths.try_into().unwrap_or(u32::MAX)))
    }

    /// The timer has come to its end. What is due is to be taken out, and it is to be set again.
    pub fn end_timer(&mut self) {
        self.timer = None;
    }

    /// Sets the timer to the first that is due.
    pub fn set_timer(&mut self, hub: &mut Hub) {
        let Some(first) = self.ends.first() else { return };
        if self.timer.is_some_and(|(at, _)| at <= first) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            hub.cancel_timer(timer);
        }
        let at = self.begun(hub) + TENTH * first.0;
        self.timer = Some((first, hub.set_timer(at, TIMER)));
    }
}

#[cfg(test)]
mod tests {
    use pushloop::{Config, Server};

    use super::*;

    #[test]
    fn a_connection_is_due_within_the_tenth_of_a_second_that_follows() {
        let mut server = Server::new(Config::default()).expect("there are descriptors");
        let hub = server.hub();
        let mut dues = Dues::default();
        let id = ConnId::from_bits(1 << 32);
        for milliseconds in [0, 1, 100, 101, 25_000] {
            let after = Duration::from_millis(milliseconds);
            dues.look_at(hub, id, hub.now() + after);
            let due = dues.ends.first().expect("it is there").0;
            let due = TENTH * due;
            assert!(due >= after && due < after + TENTH, "{due:?} {after:?}");
            assert_eq!(dues.timer.map(|(at, _)| at), dues.ends.first());
            assert_eq!(dues.pop_due(hub), (milliseconds == 0).then_some(id), "{after:?}");
            dues.remove(id);
            dues.end_timer();
        }
    }
}
