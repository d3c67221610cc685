//! Who is in which channel.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pushloop::ConnId;

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
