//! How much one client, or one that a token names, may publish and have.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use pushloop::{Config, ConnId, ConnMap, Message, Request};

use crate::{
    auth::Principal,
    gate::{TurnedAway, slow_down},
    options::Options,
    pace::Pace,
    publish::Plan,
    requests::network,
    status::{Status, count},
};

const TOO_FAST: &str =
    "too much is published: --publications-per-second, --publication-bytes-per-second";
const TOO_MANY_TOPICS: &str =
    "too many topics are asked for that are not here: subscriptions_per_second = 50";
const TOO_MANY: &str =
    "the token's subject has as many connections as it may: --subject-connections-max";

/// Topics that a client may ask for in a second, after the first ones of its page, which are as many as it may have. Each may
/// be an event for a backend, or be looked for at the broker.
pub(super) const SUBSCRIPTIONS_PER_SECOND: u32 = 50;

/// The pace of what asks for topics.
pub(super) fn of_subscriptions<K: Clone + Eq + Hash>(topics_per_connection_max: usize) -> Pace<K> {
    let first = topics_per_connection_max.try_into().unwrap_or(u32::MAX);
    Pace::with_burst(SUBSCRIPTIONS_PER_SECOND, first.saturating_add(SUBSCRIPTIONS_PER_SECOND))
}

/// Or the answer to one that asks for too much.
type Taken = Result<(), TurnedAway>;

/// Whose publications are counted together: those of an address, as the library counts them, or of a token's subject.
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
        if matches!(principal, Principal::PublishKey | Principal::Backend) {
            return Vec::new();
        }
        let subject = principal.subject().map(|it| Self::Subject(it.into()));
        // One that is refused for itself takes nothing of its address.
        subject.into_iter().chain(client.map(Self::Client)).collect()
    }
}

/// What asks for topics that are not here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    Connection(ConnId),
    Request(Account),
}

/// How many connections each subject has that has some, at all loops.
#[derive(Debug, Default)]
pub struct Subjects(Mutex<HashMap<Box<str>, usize>>);

impl Subjects {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection. False if there are as many as there may be.
    fn take(&self, subject: &str, max: usize) -> bool {
        let mut open = self.lock();
        let count = open.get(subject).copied().unwrap_or_default();
        if count < max {
            open.insert(subject.into(), count + 1);
        }
        count < max
    }

    fn give_back(&self, subject: &str) {
        let mut open = self.lock();
        if let Some(count) = open.get_mut(subject) {
            *count -= 1;
            if *count == 0 {
                open.remove(subject);
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pacing {
    /// Topics that the broker is asked for.
    topics: Pace<Asker>,
    publications: Option<Pace<Account>>,
    bytes: Option<Pace<Account>>,
    /// Connections that one subject may have.
    connections_max: Option<usize>,
    /// Where they are counted, if there is such a limit.
    subjects: Arc<Subjects>,
    seats: ConnMap<Box<str>>,
    status: Arc<Status>,
}

impl Pacing {
    pub(super) fn new(options: &Options, status: Arc<Status>) -> Self {
        Self {
            status,
            topics: of_subscriptions(Config::default().topics_per_connection_max),
            publications: options.publications_per_second.map(Pace::new),
            bytes: options.publication_bytes_per_second.map(Pace::new),
            connections_max: options.subject_connections_max,
            subjects: Arc::default(),
            seats: ConnMap::new(),
        }
    }

    /// Notes that the broker is asked for so many topics.
    pub(super) fn ask(&mut self, asker: &Asker, topics: usize, now: Instant) -> Taken {
        let topics = topics.try_into().unwrap_or(u32::MAX);
        self.topics.take(asker, topics, now).map_err(|wait| {
            count(&self.status.askers_limited);
            slow_down(TOO_MANY_TOPICS, wait)
        })
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

    /// Counts connections of subjects together with other loops.
    pub(super) fn share(&mut self, subjects: &Arc<Subjects>) {
        self.subjects = Arc::clone(subjects);
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
        let bytes = plan.items.iter().map(|item| item.content.len()).sum();
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

    /// Whether the subject of a token may have one more connection, which then has its place: it is to be
    /// [`seat`](Self::seat)ed, or the place given back.
    pub(super) fn admit(&self, principal: &Principal) -> Taken {
        match principal.subject().zip(self.connections_max) {
            Some((subject, max)) if !self.subjects.take(subject, max) => {
                Err(self.status.slow_down(TOO_MANY, Duration::from_secs(1)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// One that was admitted has not come to be.
    pub(super) fn give_back(&self, principal: &Principal) {
        if let Some((subject, _)) = principal.subject().zip(self.connections_max) {
            self.subjects.give_back(subject);
        }
    }

    /// A connection is open, of this subject.
    pub(super) fn seat(&mut self, id: ConnId, principal: &Principal) {
        if let Some(subject) = principal.subject() {
            self.seats.insert(id, subject.into());
        }
    }

    /// The connections of subjects of which this is so.
    pub(super) fn connections_of(&self, is_so: impl Fn(&str) -> bool) -> Vec<ConnId> {
        self.seats.iter().filter(|(_, subject)| is_so(subject)).map(|(id, _)| id).collect()
    }

    pub(super) fn leave(&mut self, id: ConnId) {
        let seat = self.seats.remove(id);
        if let Some((subject, _)) = seat.zip(self.connections_max) {
            self.subjects.give_back(&subject);
        }
    }
}

pub(super) fn length(message: Message<'_>) -> usize {
    message.as_bytes().len()
}

impl Status {
    /// Counts somebody that asks for too much, and gives the answer.
    fn slow_down(&self, why: &'static str, wait: Duration) -> TurnedAway {
        self.publishers_limited.fetch_add(1, Ordering::Relaxed);
        slow_down(why, wait)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    // The clock starts somewhere; it is read once.
    #[test]
    #[allow(clippy::disallowed_methods)]
    fn topics_that_are_not_here_may_be_asked_for_as_often_as_subscriptions() {
        let now = Instant::now();
        let status = Arc::new(Status::new(SystemTime::UNIX_EPOCH));
        let mut pacing = Pacing::new(&Options::default(), Arc::clone(&status));
        let account = |last: u8| Asker::Request(Account::Client([192, 0, 2, last].into()));
        let conn = |index: u64| Asker::Connection(ConnId::from_bits(1 << 32 | index));
        let at_once = 128 + SUBSCRIPTIONS_PER_SECOND as usize;
        for asker in [account(1), account(2), conn(1), conn(2)] {
            assert!(pacing.ask(&asker, 128, now).is_ok(), "all that a connection may have");
            for _ in 128..at_once {
                assert!(pacing.ask(&asker, 1, now).is_ok());
            }
            let Err(away) = pacing.ask(&asker, 1, now) else { panic!("one too many") };
            assert!(away.status == 429 && away.why.contains("subscriptions_per_second = 50"));
            assert!(pacing.ask(&asker, 1, now + Duration::from_millis(20)).is_ok());
        }
        assert_eq!(status.askers_limited.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_subject_has_as_many_connections_as_it_may_and_no_more() {
        let subjects = Subjects::default();
        assert!(subjects.take("ada", 2));
        assert!(subjects.take("ada", 2), "at the limit");
        assert!(!subjects.take("ada", 2), "one more");
        assert!(subjects.take("ben", 2), "another one has its own");
        subjects.give_back("ada");
        assert!(subjects.take("ada", 2));
        ["ada", "ada", "ben"].iter().for_each(|it| subjects.give_back(it));
        assert!(subjects.lock().is_empty(), "of those that have none, nothing is kept");
    }
}
