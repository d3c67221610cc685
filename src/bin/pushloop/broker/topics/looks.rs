//! What is looked after from time to time: topics that end, that nobody needs any more, or of which nothing was
//! heard.

use std::{mem, sync::Arc, time::Duration};

use pushloop::{ConnId, Hub};

use super::{State, Topics};
use crate::{
    broker::{keys, link::Wanted, shared::Change},
    status::count,
};

/// How long a topic is heard after its last subscriber is gone: one that reloads a page is back by then.
const LINGER: Duration = Duration::from_secs(5);
/// How often topics are looked after, and how often while some end.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
pub const END_INTERVAL: Duration = Duration::from_millis(50);
/// Topics that are looked after in one go.
const LOOKS: usize = 1000;
/// Subscribers that are sent away in one go.
const SENT_AWAY: usize = 1000;
/// An answer that has not come after this time is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(3);

impl Topics {
    /// The topic goes on elsewhere than where its subscribers are.
    pub(super) fn end(&mut self, hub: &mut Hub, name: &Arc<str>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        count(&self.status.broker_topics_ended);
        topic.state = State::Ending;
        topic.take_early();
        if !self.send_away(hub, name) {
            self.ending.push(Arc::clone(name));
        }
    }

    /// Subscribers that are to be sent away from a topic.
    pub fn take_away(&mut self) -> Vec<(Arc<str>, ConnId)> {
        mem::take(&mut self.away)
    }

    /// Has subscribers of an ending topic sent away. True if it is over, or begins anew for those that wait.
    fn send_away(&mut self, hub: &mut Hub, name: &Arc<str>) -> bool {
        let some = hub.subscribers(name).take(SENT_AWAY);
        self.away.extend(some.map(|id| (Arc::clone(name), id)));
        let Some(topic) = self.topics.get(name) else { return true };
        if hub.subscriber_count(name) > 0
            || (topic.keeps.is_some() && hub.position(name).is_some() && !hub.forget_topic(name))
        {
            return false;
        }
        if !topic.is_awaited() {
            self.remove(name);
        } else {
            self.open_anew(hub, name);
        }
        true
    }

    /// The topic is not heard any more.
    pub(super) fn remove(&mut self, name: &Arc<str>) {
        self.unlist(name);
        self.topics.remove(name);
        let channel = keys::channel(&self.prefix, name);
        self.shared.change(channel, Change::Unsubscribe(Arc::clone(name)));
    }

    /// See `Broker::look`.
    pub fn look(&mut self, hub: &mut Hub) -> Duration {
        for name in mem::take(&mut self.ending) {
            if !self.send_away(hub, &name) {
                self.ending.push(name);
            }
        }
        // One that is slow to leave a topic keeps no other from being looked after.
        let now = hub.now();
        if now >= self.round_due {
            self.round_due = now + LOOK_INTERVAL;
            self.look_round(hub);
        }
        if self.ending.is_empty() { self.round_due - now } else { END_INTERVAL }
    }

    fn look_round(&mut self, hub: &mut Hub) {
        for _ in 0..self.round.len().min(LOOKS) {
            let Some((name, life)) = self.round.pop_front() else { break };
            let is_over = self.topics.get(&name).is_none_or(|topic| topic.life != life);
            if !is_over && self.look_at(hub, &name) {
                self.round.push_back((name, life));
            }
        }
    }

    /// Looks after one topic. False if it is not heard any more.
    fn look_at(&mut self, hub: &mut Hub, name: &Arc<str>) -> bool {
        let Some(topic) = self.topics.get_mut(name) else { return false };
        let is_old = hub.now() >= topic.asked_at + ASK_AGAIN;
        match topic.state {
            State::Opening if !topic.is_awaited() || !is_old => {}
            State::Opening => self.open_anew(hub, name),
            State::Catching if is_old => self.catch_up(hub, name),
            State::Catching | State::Ending => return true,
            State::Live => self.shared.ask(name, Wanted::Place(topic.position.offset)),
        }
        let Some(topic) = self.topics.get_mut(name) else { return false };
        if hub.subscriber_count(name) > 0 || topic.is_awaited() {
            topic.idle_since = None;
            return true;
        }
        let since = *topic.idle_since.get_or_insert(hub.now());
        let is_over = hub.now() >= since + LINGER
            && (topic.keeps.is_none() || hub.position(name).is_none() || hub.forget_topic(name));
        if is_over {
            self.remove(name);
        }
        !is_over
    }
}
