//! What waits for other loops of the process: requests that publish to their topics, and those that begin with what
//! these have kept.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use pushloop::{Counters, Handle, Hub, Request, RequestId};

use super::{
    STATS, STATS_INTERVAL, STATS_TIMER, Service,
    asking::{Door, Next, unavailable},
    pacing::Subjects,
    subscribing::Asked,
};
use crate::{
    errands::Errands,
    publish::not_taken,
    relay::{OPENED, Relay},
    timers::Timer,
};

/// How loops of one process work together.
pub enum Ways {
    /// A topic belongs to one of them.
    Relay(Relay),
    /// Topics are a broker's, and each loop is a node of its own.
    Errands(Errands),
}

/// How long a subscription waits until what its topics have kept is here.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
const OPEN_TIMER: u64 = Timer::Open as u64;

/// The other loops that topics belong to, and what waits for them.
pub(super) struct Relaying {
    pub(super) relay: Relay,
    /// In their order, each with the moment at which it is refused.
    waiting: VecDeque<(Instant, Next)>,
}

impl Service {
    /// There are other loops, which are all reached by this handle.
    pub fn set_loops(&mut self, all: Handle, ways: Ways, subjects: &Arc<Subjects>) {
        self.loops = Some(all);
        self.pacing.share(subjects);
        match ways {
            Ways::Relay(relay) => {
                self.relaying = Some(Relaying { relay, waiting: VecDeque::new() });
            }
            Ways::Errands(errands) => self.errands = Some(errands),
        }
    }

    /// What the process has counted.
    pub(super) fn counters(&self, hub: &Hub) -> Counters {
        self.loops.as_ref().map_or_else(|| hub.counters(), Handle::counters)
    }

    /// The server's own figures are published by one loop, whichever has subscribers.
    pub(super) fn begin_stats(&mut self, hub: &mut Hub) {
        if self.relaying.is_some() && hub.is_home(STATS) {
            hub.set_timer(hub.now(), STATS_TIMER);
        }
    }

    /// Somebody subscribes to the server's own figures.
    pub(super) fn want_stats(&mut self, hub: &mut Hub) {
        if self.relaying.is_none() && !self.stats_timer_set {
            self.stats_timer_set = true;
            hub.set_timer(hub.now(), STATS_TIMER);
        }
    }

    pub(super) fn handle_stats_timer(&mut self, hub: &mut Hub) {
        let has_subscribers = hub.subscriber_count(STATS) > 0;
        if has_subscribers {
            self.publish_stats(hub);
        }
        self.stats_timer_set = has_subscribers || self.relaying.is_some();
        if self.stats_timer_set {
            hub.set_timer(hub.now() + STATS_INTERVAL, STATS_TIMER);
        }
    }

    /// What is asked for, if what its topics have kept is here. If not, the request waits until it is.
    pub(super) fn once_open(
        &mut self,
        hub: &mut Hub,
        (id, request): (RequestId, &Request),
        mut asked: Asked,
    ) -> Option<Asked> {
        let Some(Relaying { waiting, .. }) = &mut self.relaying else { return Some(asked) };
        let mut is_open = true;
        for name in &asked.names {
            match hub.open_topic(name, OPENED) {
                Ok(it) => is_open &= it,
                Err(refused) => {
                    let (status, why) = not_taken(refused);
                    self.turn_away(hub, id, &(status, why).into());
                    return None;
                }
            }
        }
        if is_open {
            return Some(asked);
        }
        let due = *asked.waits_until.get_or_insert(hub.now() + OPEN_TIMEOUT);
        if waiting.is_empty() {
            hub.set_timer(due, OPEN_TIMER);
        }
        let (request, door) = (Box::new(request.clone()), Door::Subscribe(asked));
        waiting.push_back((due, Next::Request { id, request, door }));
        None
    }

    /// Something that was asked of another loop is here: those that have all that they want go on.
    pub(super) fn take_opened(&mut self, hub: &mut Hub) {
        let waiting = self.relaying.as_mut().map(|it| std::mem::take(&mut it.waiting));
        for (_, next) in waiting.into_iter().flatten() {
            self.go_on(hub, next, Ok(()));
        }
    }

    /// Whether the timer is that of requests that wait for another loop: those that have waited for long enough are
    /// refused.
    pub(super) fn handle_open_timer(&mut self, hub: &mut Hub, key: u64) -> bool {
        if key != OPEN_TIMER {
            return false;
        }
        while let Some(Relaying { waiting, .. }) = &mut self.relaying
            && let Some((due, _)) = waiting.front()
        {
            if *due > hub.now() {
                hub.set_timer(*due, OPEN_TIMER);
                break;
            }
            let Some((_, next)) = waiting.pop_front() else { break };
            let why = "another loop has not told in time what the topic has kept".to_owned();
            self.go_on(hub, next, Err(unavailable(why)));
        }
        true
    }

    /// Acts on what other loops have for this one.
    pub(super) fn take_relayed(&mut self, hub: &mut Hub) {
        let done = self.relaying.as_ref().map(|it| it.relay.next(hub));
        self.settle_all(hub, done.unwrap_or_default());
    }
}
