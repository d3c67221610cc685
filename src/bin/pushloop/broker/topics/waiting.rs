//! What waits for topics: until they are heard, or the broker has said that a place is none.

use std::{iter, mem, sync::Arc};

use pushloop::{Hub, Position};

use super::{Applied, Lists, State, Topics, is_list};
use crate::broker::Done;

/// What waits for topics.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    /// How many are not there yet.
    left: usize,
    topics: Vec<Arc<str>>,
}

/// Topics with their places, of which the last may have none.
pub fn with_places<'a>(
    names: &'a [String],
    after: &'a [Option<Position>],
) -> impl Iterator<Item = (&'a String, Option<Position>)> {
    names.iter().zip(after.iter().copied().chain(iter::repeat(None)))
}

impl Topics {
    /// Has topics heard that are not, and the broker asked of those whose places are not here. Gives the number
    /// under which it is told that this is done.
    pub fn want(
        &mut self,
        hub: &mut Hub,
        names: &[String],
        after: &[Option<Position>],
        lists: Lists,
    ) -> u64 {
        let number = self.number();
        let is_missing =
            |(name, after): &(&String, Option<Position>)| !self.has(hub, name, *after, lists);
        let missing: Vec<_> = with_places(names, after).filter(is_missing).collect();
        let mut waiter = Waiter::default();
        for (name, after) in missing {
            if !self.topics.contains_key(&**name) {
                self.add(hub, name);
            }
            let Some((name, topic)) = self.topics.get_key_value(&**name) else { continue };
            let name = Arc::clone(name);
            match topic.state {
                // Its list is what is missing.
                State::Live if self.has(hub, &name, after, Lists::Count) => {}
                State::Live if topic.lives(hub, &name) => self.catch_up(hub, &name),
                // The hub has forgotten it.
                State::Live => self.open_anew(hub, &name),
                State::Opening | State::Catching | State::Ending => {}
            }
            // One that is named twice is waited for once.
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let waits = match is_list(&name, lists) {
                true => &mut topic.readers,
                false => &mut topic.waiters,
            };
            if waits.insert(number) {
                waiter.left += 1;
                waiter.topics.push(name);
            }
        }
        let topics = waiter.topics.clone();
        self.waiters.insert(number, waiter);
        topics.iter().for_each(|name| self.go_on_listing(name));
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
                topic.readers.remove(&number);
            }
        }
    }

    /// Those that wait for the topic need not any more.
    pub(super) fn be_ready(&mut self, name: &Arc<str>, done: &mut Vec<Done>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        for number in mem::take(&mut topic.waiters) {
            self.settle(number, done);
        }
        self.go_on_listing(name);
    }

    /// One topic less is waited for under this number.
    pub(super) fn settle(&mut self, number: u64, done: &mut Vec<Done>) {
        if let Some(waiter) = self.waiters.get_mut(&number) {
            waiter.left -= 1;
            if waiter.left == 0 {
                self.waiters.remove(&number);
                done.push(Done::Ready(number));
            }
        }
    }

    /// The topic cannot begin, and those that wait for it are told why.
    pub(super) fn give_up(&mut self, name: &Arc<str>, why: &str, done: &mut Vec<Done>) -> Applied {
        let Some(topic) = self.topics.get_mut(name) else { return Applied::Yes };
        let waiters = [&mut topic.waiters, &mut topic.readers].map(mem::take);
        self.remove(name);
        for number in waiters.into_iter().flatten() {
            self.forget(number);
            done.push(Done::Failed(number, why.to_owned()));
        }
        Applied::Yes
    }
}
