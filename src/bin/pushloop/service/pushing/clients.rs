//! The applications, and what their clients have.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use pushloop::{ConnId, ConnMap, Encoder, EncodingId, EncodingsFull, Hub};

use super::{
    super::pacing::{self, Account},
    CLIENT_EVENTS_PER_SECOND,
};
use crate::{
    auth::Principal,
    broker::NodeConn,
    few::Few,
    pace::Pace,
    publish::Except,
    pusher::{self, App, Kind},
};

/// The applications, and their clients.
pub(in crate::service) struct Pushing {
    pub(in crate::service) apps: Vec<Arc<App>>,
    pub(super) encoding: EncodingId,
    /// What the ids of this process's sockets begin with: so that no signature holds for a later process, nor one's
    /// id for another's.
    node: u64,
    pub(super) clients: ConnMap<Client>,
    /// The connections of users who have signed in.
    pub(super) users: HashMap<(usize, Box<str>), HashSet<ConnId>>,
    /// Of each channel that has some, how many connections subscribe.
    pub(super) occupied: BTreeMap<(usize, Box<str>), usize>,
    pub(super) pace: Pace<ConnId>,
    /// The pace of subscriptions: a page may begin all that it may have at its start.
    pub(super) subscriptions: Pace<ConnId>,
}

pub(super) struct Client {
    /// Which of the applications.
    pub(super) app: usize,
    pub(super) channels: Few<Box<str>, Channel>,
    pub(super) user: Option<Box<str>>,
    pub(super) accounts: Vec<Account>,
}

/// A channel that a client subscribes to.
#[derive(Clone)]
pub(super) struct Channel {
    pub(super) kind: Kind,
    pub(super) member: Option<Box<str>>,
}

impl Pushing {
    /// Begins to serve these applications, if there are some.
    pub(in crate::service) fn begin(
        hub: &mut Hub,
        apps: Vec<Arc<App>>,
        node: u64,
    ) -> Result<Option<Self>, EncodingsFull> {
        if apps.is_empty() {
            return Ok(None);
        }
        let encoding = hub.add_encoding(Encoder::Text(pusher::encode))?;
        Ok(Some(Self {
            apps,
            encoding,
            node,
            clients: ConnMap::new(),
            users: HashMap::new(),
            occupied: BTreeMap::new(),
            pace: Pace::new(CLIENT_EVENTS_PER_SECOND),
            subscriptions: pacing::of_subscriptions(hub.config().topics_per_connection_max),
        }))
    }

    /// Which application has this id.
    pub(in crate::service) fn nth_app(&self, id: &str) -> Option<usize> {
        self.apps.iter().position(|app| *app.id == *id)
    }

    /// The name by which clients know a connection.
    pub(super) fn socket(&self, id: ConnId) -> String {
        format!("{}.{}", self.node, id.to_bits())
    }

    /// The connection of this name, whether it is there or not; `None` if it is no name.
    pub(super) fn connection(&self, socket: &str) -> Option<Except> {
        let (node, bits) = socket.split_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        if !is_number(node) || !is_number(bits) {
            return None;
        }
        // What is too large is the name of none.
        let number = |text: &str| text.parse().unwrap_or(u64::MAX);
        let (node, conn) = (number(node), number(bits));
        Some(match node == self.node {
            true => Except::Here(ConnId::from_bits(conn)),
            false => Except::Elsewhere(NodeConn { node, conn }),
        })
    }

    /// One more subscribes to a channel: whether it is the first.
    pub(super) fn occupy(&mut self, app: usize, channel: &str) -> bool {
        let count = self.occupied.entry((app, channel.into())).or_default();
        *count += 1;
        *count == 1
    }

    /// One subscribes to it no longer: whether it was the last.
    pub(super) fn vacate(&mut self, app: usize, channel: &str) -> bool {
        let key = (app, channel.into());
        let Some(count) = self.occupied.get_mut(&key) else { return false };
        *count -= 1;
        let is_vacant = *count == 0;
        if is_vacant {
            self.occupied.remove(&key);
        }
        is_vacant
    }

    /// A connection is over: what it had, if it was a client's. Its channels are to be vacated.
    pub(super) fn leave(&mut self, id: ConnId) -> Option<Client> {
        let client = self.clients.remove(id)?;
        let Some(user) = client.user.clone() else { return Some(client) };
        let key = (client.app, user);
        if let Some(connections) = self.users.get_mut(&key) {
            connections.remove(&id);
            if connections.is_empty() {
                self.users.remove(&key);
            }
        }
        Some(client)
    }

    /// The application, and what a client of it has.
    pub(super) fn client(&self, id: ConnId) -> Option<(&App, &Client)> {
        let client = self.clients.get(id)?;
        Some((self.apps.get(client.app)?, client))
    }

    /// As what principal a client asks for a channel, with this signature.
    pub(super) fn principal(
        &self,
        id: ConnId,
        (channel, kind): (&str, Kind),
        auth: &str,
        data: Option<&str>,
    ) -> Option<Principal> {
        let (app, client) = self.client(id)?;
        let is_allowed = match kind {
            Kind::Public => false,
            Kind::User => {
                client.user.as_ref().is_some_and(|it| pusher::user_channel(it) == channel)
            }
            Kind::Private | Kind::Encrypted | Kind::Presence => {
                app.allows(auth, &self.socket(id), channel, data)
            }
        };
        let signed = is_allowed.then(|| app.topic(channel).into());
        Some(Principal::Client { signed })
    }
}
