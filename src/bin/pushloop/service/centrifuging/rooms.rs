//! Who is in which channel.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use pushloop::{ConnId, Position};

use crate::centrifuge::replies::Stats;

/// Channels of which it is kept how many are there.
const COUNTED_MAX: usize = 1024;

/// The channels that have clients of this protocol.
#[derive(Default)]
pub(super) struct Rooms(BTreeMap<Arc<str>, Room>);

/// Those that are in one. What it is asked for is a look-up, but for the list of all.
#[derive(Default)]
pub(super) struct Room {
    pub clients: BTreeSet<ConnId>,
    /// How many connections each user has.
    users: BTreeMap<Arc<str>, usize>,
}

impl Room {
    pub fn users(&self) -> usize {
        self.users.len()
    }
}

impl Rooms {
    pub fn get(&self, channel: &str) -> Option<&Room> {
        self.0.get(channel)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, room)| (&**name, room.clients.len()))
    }

    /// The channels that a connection is in. All are gone along.
    pub fn with(&self, id: ConnId) -> Vec<Arc<str>> {
        let with = self.0.iter().filter(|(_, room)| room.clients.contains(&id));
        with.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// The channel's name, which is kept once for all that have it.
    pub fn enter(&mut self, channel: &str, id: ConnId, user: &str) -> Arc<str> {
        let known = self.0.get_key_value(channel).map(|(name, _)| Arc::clone(name));
        let name = known.unwrap_or_else(|| channel.into());
        let room = self.0.entry(Arc::clone(&name)).or_default();
        if room.clients.insert(id) {
            *room.users.entry(user.into()).or_default() += 1;
        }
        name
    }

    pub fn leave(&mut self, channel: &str, id: ConnId, user: &str) {
        let Some(room) = self.0.get_mut(channel) else { return };
        if room.clients.remove(&id)
            && let Some(connections) = room.users.get_mut(user)
        {
            *connections -= 1;
            if *connections == 0 {
                room.users.remove(user);
            }
        }
        if room.clients.is_empty() {
            self.0.remove(channel);
        }
    }
}

/// How many were in channels that servers share, and up to which place of their lists: to count their users, all are gone
/// along, which is not done again for each that asks.
#[derive(Default)]
pub(super) struct Counted(HashMap<Box<str>, (Position, Stats)>);

impl Counted {
    pub fn get(&self, channel: &str, place: Position) -> Option<Stats> {
        self.0.get(channel).filter(|(at, _)| *at == place).map(|(_, stats)| *stats)
    }

    pub fn keep(&mut self, channel: &str, place: Position, stats: Stats) {
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(channel) {
            self.0.clear();
        }
        self.0.insert(channel.into(), (place, stats));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_holds_at_its_place_and_so_many_are_kept() {
        let mut counted = Counted::default();
        let place = |offset| Position { epoch: 1, offset };
        let stats = |clients| Stats { clients, users: 1 };
        for nth in 0..COUNTED_MAX {
            counted.keep(&nth.to_string(), place(1), stats(nth));
        }
        counted.keep("7", place(2), stats(70));
        let clients =
            |it: &Counted, channel: &str, at| it.get(channel, place(at)).map(|it| it.clients);
        assert_eq!((clients(&counted, "7", 2), clients(&counted, "7", 1)), (Some(70), None));
        assert_eq!(clients(&counted, "1023", 1), Some(1023));
        counted.keep("more", place(1), stats(1));
        assert_eq!((clients(&counted, "more", 1), clients(&counted, "7", 2)), (Some(1), None));
    }
}
