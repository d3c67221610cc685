//! Connections that commands are posted for.

use std::collections::HashMap;

use pushloop::ConnId;

/// By their keys: a post with one speaks for its client.
#[derive(Default)]
pub(super) struct Posted {
    connections: HashMap<Box<str>, ConnId>,
    keys: HashMap<ConnId, Box<str>>,
}

impl Posted {
    pub fn insert(&mut self, id: ConnId, key: &str) {
        self.connections.insert(key.into(), id);
        self.keys.insert(id, key.into());
    }

    pub fn connection(&self, key: &str) -> Option<ConnId> {
        self.connections.get(key).copied()
    }

    /// Empty where commands come over the connection.
    pub fn key(&self, id: ConnId) -> &str {
        self.keys.get(&id).map(|key| &**key).unwrap_or_default()
    }

    pub fn remove(&mut self, id: ConnId) {
        if let Some(key) = self.keys.remove(&id) {
            self.connections.remove(&key);
        }
    }
}
