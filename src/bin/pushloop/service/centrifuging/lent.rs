//! The session that is at hand, which is out of the table of all while something is done with it. It is put back, unless
//! that panics: then it is lost, its connection is closed, and what it was in is found without it.

use std::sync::Arc;

use pushloop::{CloseCode, ConnId, Hub};

use super::{Centrifuge, Identity, Service, Session, subscribing::tell_joins};
use crate::presence::has_members;

/// See the module.
#[derive(Default)]
pub(super) struct Lent {
    out: Option<(ConnId, Identity)>,
    /// Those that were not put back, until their connections are over.
    lost: Vec<(ConnId, Identity)>,
}

impl Centrifuge {
    /// Takes a session out. Whichever was out before is lost: there is one at a time.
    pub(super) fn take_out(&mut self, hub: &mut Hub, id: ConnId) -> Option<Box<Session>> {
        if let Some((lost, identity)) = self.lent.out.take() {
            self.lent.lost.push((lost, identity));
            // It is already, if the panic was over what it had sent.
            hub.close(lost, CloseCode::INTERNAL_ERROR, "the server has failed");
        }
        let session = self.sessions.remove(id)?;
        self.lent.out = Some((id, session.identity.clone()));
        Some(session)
    }

    pub(super) fn put_in(&mut self, id: ConnId, session: Box<Session>) {
        self.lent.out = None;
        self.sessions.insert(id, session);
    }

    /// Which client a connection was of which the session is lost.
    pub(super) fn take_lost(&mut self, id: ConnId) -> Option<Identity> {
        if let Some((_, identity)) = self.lent.out.take_if(|(out, _)| *out == id) {
            return Some(identity);
        }
        let at = self.lent.lost.iter().position(|(lost, _)| *lost == id)?;
        Some(self.lent.lost.swap_remove(at).1)
    }

    /// Forgets a connection wherever it is, and gives the channels that it was in. All are gone along.
    pub(super) fn forget_everywhere(&mut self, id: ConnId) -> Vec<Arc<str>> {
        let user = self.users.iter().find(|(_, connections)| connections.contains(&id));
        let user = user.map(|(user, _)| user.clone()).unwrap_or_default();
        let rooms = self.rooms.with(id);
        for name in &rooms {
            self.rooms.leave(name, id, &user);
        }
        self.forget_user(&user, id);
        rooms
    }
}

impl Service {
    /// A connection is over of which the session was lost.
    pub(super) fn end_lost(&mut self, hub: &mut Hub, id: ConnId, identity: &Identity) {
        for name in self.centrifuge.forget_everywhere(id) {
            if self.broker.is_none() && has_members(&self.patterns, &name) {
                tell_joins(hub, None, &name, false, identity);
            }
        }
    }
}
