//! What waits for topics: until they are heard, or the broker has said that a place is none.

use std::{iter, mem, sync::Arc};

use pushloop::{Hub, Position};

use super::{Applied, State, Topics};
use crate::broker::Done;

/// What waits for topics.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    /// How many are not there yet.
    left: usize,
    topics: Vec<Arc<str>>,
}

impl Topics {
    /// Has topics heard that are not, and the broker asked of those whose places are not here. Gives the number
    /// under which it is told that this is done.
    pub fn want(&mut self, hub: &mut Hub, names: &[String], after: &[Option<Position>]) -> u64 {
        let number = self.number();
        let after = after.iter().copied().chain(iter::repeat(None));
        let missing: Vec<_> =
            names.iter().zip(after).filter(|(name, after)| !self.has(hub, name, *after)).collect();
        let mut waiter = Waiter::default();
        for (name, _) in missing {
            if !self.topics.contains_key(&**name) {
                self.add(hub, name);
            }
            let Some((name, topic)) = self.topics.get_key_value(&**name) else { continue };
            let name = Arc::clone(name);
            match topic.state {
                State::Live if topic.lives(hub, &name) => self.catch_up(hub, &name),
                // The hub has forgotten it.
                State::Live => self.open_anew(hub, &name),
                State::Opening | State::Catching | State::Ending => {}
            }
            // One that is named twice is waited for once.
            if self.topics.get_mut(&name).is_some_and(|topic| topic.waiters.insert(number)) {
                waiter.left += 1;
                waiter.topics.push(name);
            }
        }
        self.waiters.insert(number, waiter);
        number
    }

    /// A number under which something waits.
    pub fn number(&mut self) -> u64 {
        self.latest += 1;
        self.latest
    }

    /// Nobody waits under this number any more: nor does a topic that has no other waiter begin for it.
    pub fn forget(&mut self, number: u64) {
        for name in self.waiters.remove(&number).into_iter().flat_map(|waiter| waiter.topics) {
            if let Some(topic) = self.topics.get_mut(&name) {
                topic.waiters.remove(&number);
            }
        }
    }

    /// Those that wait for the topic need not any more.
    pub(super) fn be_ready(&mut self, name: &Arc<str>, done: &mut Vec<Done>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        for number in mem::take(&mut topic.waiters) {
            if let Some(waiter) = self.waiters.get_mut(&number) {
                waiter.left -= 1;
                if waiter.left == 0 {
                    self.waiters.remove(&number);
                    done.push(Done::Ready(number));
                }
            }
        }
    }

    /// The topic cannot begin, and those that wait for it are told why.
    pub(super) fn give_up(&mut self, name: &Arc<str>, why: &str, done: &mut Vec<Done>) -> Applied {
        let waiters = self.topics.get_mut(name).map(|topic| mem::take(&mut topic.waiters));
        self.remove(name);
        let waiters = waiters.into_iter().flatten();
        for number in waiters {
            self.forget(number);
            done.push(Done::Failed(number, why.to_owned()));
        }
        Applied::Yes
    }
}
