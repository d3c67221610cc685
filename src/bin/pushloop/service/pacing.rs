//! How much one client, or one that a token names, may publish and have.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use pushloop::{ConnId, ConnMap, Message, Request};

use crate::{
    auth::Principal,
    gate::{TurnedAway, slow_down},
    options::Options,
    pace::Pace,
    publish::Plan,
    requests::network,
    status::Status,
};

const TOO_FAST: &str =
    "too much is published: --publications-per-second, --publication-bytes-per-second";
const TOO_MANY: &str =
    "the token's subject has as many connections as it may: --subject-connections-max";

/// Or the answer to one that asks for too much.
type Taken = Result<(), TurnedAway>;

/// What is counted for itself: addresses as the library counts them, and what tokens name as their subjects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Account {
    Client(IpAddr),
    Subject(Box<str>),
}

impl Account {
    /// Those that a request comes from. A backend's key has no limits, nor has this machine.
    pub(super) fn of(request: &Request, principal: &Principal) -> Vec<Self> {
        Self::those(network(request), principal)
    }

    /// The same of a connection that comes from there.
    pub(super) fn those(client: Option<IpAddr>, principal: &Principal) -> Vec<Self> {
        let subject = match principal {
            Principal::PublishKey | Principal::Backend => return Vec::new(),
            Principal::Token(claims) => claims.subject.as_deref(),
            Principal::Anyone | Principal::Client { .. } => None,
        };
        let subject = subject.map(|it| Self::Subject(it.into()));
        // One that is refused for itself takes nothing of its address.
        subject.into_iter().chain(client.map(Self::Client)).collect()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pacing {
    publications: Option<Pace<Account>>,
    bytes: Option<Pace<Account>>,
    /// Connections that one subject may have.
    connections_max: Option<usize>,
    /// Of each that has some, how many.
    open: HashMap<Box<str>, usize>,
    seats: ConnMap<Box<str>>,
    status: Arc<Status>,
}

impl Pacing {
    pub(super) fn new(options: &Options, status: Arc<Status>) -> Self {
        Self {
            status,
            publications: options.publications_per_second.map(Pace::new),
            bytes: options.publication_bytes_per_second.map(Pace::new),
            connections_max: options.subject_connections_max,
            open: HashMap::new(),
            seats: ConnMap::new(),
        }
    }

    /// Notes that a connection publishes a message that comes from there.
    pub(super) fn take_from(
        &mut self,
        client: Option<IpAddr>,
        principal: &Principal,
        message: Message<'_>,
        now: Instant,
    ) -> Taken {
        if self.publications.is_none() && self.bytes.is_none() {
            return Ok(());
        }
        self.take(&Account::those(client, principal), message, now)
    }

    /// Notes that a message is published.
    pub(super) fn take(
        &mut self,
        accounts: &[Account],
        message: Message<'_>,
        now: Instant,
    ) -> Taken {
        self.take_all(accounts, 1, length(message), now)
    }

    /// Notes that what a request asks for is published.
    pub(super) fn take_plan(
        &mut self,
        request: &Request,
        who: &Principal,
        plan: &Plan<'_>,
        now: Instant,
    ) -> Taken {
        let bytes = plan.items.iter().map(|item| length(item.content.message())).sum();
        self.take_all(&Account::of(request, who), plan.items.len(), bytes, now)
    }

    fn take_all(
        &mut self,
        accounts: &[Account],
        publications: usize,
        bytes: usize,
        now: Instant,
    ) -> Taken {
        for account in accounts {
            for (pace, amount) in [(&mut self.publications, publications), (&mut self.bytes, bytes)]
            {
                let Some(pace) = pace else { continue };
                let amount = amount.try_into().unwrap_or(u32::MAX);
                pace.take(account, amount, now)
                    .map_err(|wait| self.status.slow_down(TOO_FAST, wait))?;
            }
        }
        Ok(())
    }

    /// Whether the subject of a token may have one more connection.
    pub(super) fn admit(&self, principal: &Principal) -> Taken {
        let open = subject(principal).map(|it| self.open.get(it).copied().unwrap_or_default());
        match (open, self.connections_max) {
            (Some(open), Some(max)) if open >= max => {
                Err(self.status.slow_down(TOO_MANY, Duration::from_secs(1)))
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// A connection is open, of this subject.
    pub(super) fn seat(&mut self, id: ConnId, principal: &Principal) {
        let Some(subject) = subject(principal) else { return };
        *self.open.entry(subject.into()).or_default() += 1;
        self.seats.insert(id, subject.into());
    }

    /// The connections of subjects of which this is so.
    pub(super) fn connections_of(&self, is_so: impl Fn(&str) -> bool) -> Vec<ConnId> {
        self.seats.iter().filter(|(_, subject)| is_so(subject)).map(|(id, _)| id).collect()
    }

    pub(super) fn leave(&mut self, id: ConnId) {
        let Some(subject) = self.seats.remove(id) else { return };
        if let Some(open) = self.open.get_mut(&subject) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&subject);
            }
        }
    }
}

fn subject(principal: &Principal) -> Option<&str> {
    match principal {
        Principal::Token(claims) => claims.subject.as_deref(),
        Principal::Anyone
        | Principal::PublishKey
        | Principal::Backend
        | Principal::Client { .. } => None,
    }
}

pub(super) fn length(message: Message<'_>) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
    }
}

impl Status {
    /// Counts somebody that asks for too much, and gives the answer.
    fn slow_down(&self, why: &'static str, wait: Duration) -> TurnedAway {
        self.publishers_limited.fetch_add(1, Ordering::Relaxed);
        slow_down(why, wait)
    }
}
