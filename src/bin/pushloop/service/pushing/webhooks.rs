//! What the backends of applications are told, in the form of Pusher's webhooks.
//!
//! That a channel has no subscriber any more is told after the delay with which members leave, and not at all if one
//! comes back meanwhile: a page that is reloaded does neither. Its members are removed before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use pushloop::{ConnId, Hub, MemberChange, Presence};
use serde_json::{Map, Value, json};

use super::Service;
use crate::{
    broker::Move,
    hooks::Teller,
    presence,
    pusher::{App, Kind},
    service::brokering::Brokering,
    status::count,
    timers::Timer,
};

const TIMER: u64 = Timer::Vacated as u64;
/// Channels of an application that wait to be told of as vacated: those that come then are told of at once.
const VACANT_CHANNELS_MAX: usize = 16_384;
/// How many are told of in one turn.
const VACATED_PER_TURN: usize = 256;
/// How long it takes until it is looked again whether the members of a channel are removed. That may take more than one
/// turn, or wait for room.
const RETRY: Duration = Duration::from_millis(250);
/// A longer delay counts as this one: a moment has to be in the range of the clock.
const DELAY_MAX: Duration = Duration::from_secs(1 << 32);

/// What a webhook tells of a channel.
pub(super) enum WebhookEvent<'a> {
    Occupied,
    Vacated,
    MemberAdded(&'a str),
    MemberRemoved(&'a str),
    ClientEvent { event: &'a str, data: &'a str, socket: &'a str, member: Option<&'a str> },
    CacheMiss,
}

impl WebhookEvent<'_> {
    fn object(&self, channel: &str) -> Map<String, Value> {
        let (name, fields) = match self {
            Self::Occupied => ("channel_occupied", json!({})),
            Self::Vacated => ("channel_vacated", json!({})),
            Self::MemberAdded(user) => ("member_added", json!({ "user_id": user })),
            Self::MemberRemoved(user) => ("member_removed", json!({ "user_id": user })),
            Self::ClientEvent { event, data, socket, member } => {
                // SDKs read text: data that is a string is what it says, and other data the text of it.
                let data = serde_json::from_str(data).unwrap_or_else(|_| (*data).to_owned());
                let mut fields = json!({ "event": event, "data": data, "socket_id": socket });
                if let Some(member) = member {
                    fields["user_id"] = (*member).into();
                }
                ("client_event", fields)
            }
            Self::CacheMiss => ("cache_miss", json!({})),
        };
        let mut object = Map::new();
        object.insert("name".to_owned(), name.into());
        object.insert("channel".to_owned(), channel.into());
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        object
    }
}

/// The applications, each with what tells its backend.
struct Tellers(Vec<(Arc<App>, Option<Teller>)>);

impl Tellers {
    /// Whether somebody is told of this application's channels.
    fn has(&self, app: usize) -> bool {
        self.0.get(app).is_some_and(|(_, teller)| teller.is_some())
    }

    fn tell(&self, app: usize, channel: &str, event: &WebhookEvent<'_>) {
        if let Some((_, Some(teller))) = self.0.get(app) {
            teller.tell(event.object(channel));
        }
    }

    /// A member of a topic comes or goes, by whatever door.
    fn tell_member(&self, topic: &str, event: &WebhookEvent<'_>) {
        for (nth, (app, _)) in self.0.iter().enumerate() {
            if let Some(channel) = app.presence_channel(topic) {
                self.tell(nth, channel, event);
            }
        }
    }

    /// A topic that is this channel of an application's has subscribers, or none any more.
    fn tell_occupancy(&self, topic: &str, channel: &str, event: &WebhookEvent<'_>) {
        let is_its = |(app, _): &(Arc<App>, Option<Teller>)| app.topic(channel) == topic;
        if let Some(nth) = self.0.iter().position(is_its) {
            self.tell(nth, channel, event);
        }
    }
}

/// A channel: the application, and the name.
type ChannelKey = (usize, Box<str>);
/// When a channel is told of as vacated, and which of all vacancies that is.
type Due = (Instant, u64);

/// The webhooks, and the channels that have no subscriber since a moment ago.
///
/// Invariant: `due` and `vacant` have the same channels, of applications that have a webhook.
pub(in crate::service) struct Webhooks {
    tellers: Arc<Tellers>,
    delay: Duration,
    due: BTreeMap<Due, ChannelKey>,
    /// Those of each application.
    vacant: Box<[BTreeMap<Box<str>, Due>]>,
    vacated: u64,
    is_timer_set: bool,
}

impl Webhooks {
    /// Those of these applications, if one has one.
    pub fn new(apps: &[Arc<App>], tellers: Vec<Option<Teller>>, delay: Duration) -> Option<Self> {
        if tellers.iter().all(Option::is_none) {
            return None;
        }
        let tellers = apps.iter().cloned().zip(tellers).collect();
        Some(Self::by(Arc::new(Tellers(tellers)), delay.min(DELAY_MAX)))
    }

    fn by(tellers: Arc<Tellers>, delay: Duration) -> Self {
        let vacant = tellers.0.iter().map(|_| BTreeMap::new()).collect();
        let (due, vacated, is_timer_set) = Default::default();
        Self { tellers, delay, due, vacant, vacated, is_timer_set }
    }

    /// Those of another loop, which tells by the same threads.
    pub fn twin(&self) -> Self {
        Self::by(Arc::clone(&self.tellers), self.delay)
    }

    /// A channel has its first subscriber.
    pub(super) fn occupy(&mut self, app: usize, channel: &str) {
        match self.vacant.get_mut(app).and_then(|it| it.remove(channel)) {
            Some(due) => _ = self.due.remove(&due),
            None => self.tellers.tell(app, channel, &WebhookEvent::Occupied),
        }
    }

    /// A channel has none any more.
    pub(super) fn vacate(&mut self, hub: &mut Hub, app: usize, channel: &str) {
        let Some(vacant) = self.vacant.get(app).filter(|_| self.tellers.has(app)) else { return };
        // Members are removed in a later turn, however short the delay.
        let is_at_once = self.delay.is_zero() && Kind::of(channel) != Some(Kind::Presence);
        if is_at_once || vacant.len() >= VACANT_CHANNELS_MAX {
            return self.tellers.tell(app, channel, &WebhookEvent::Vacated);
        }
        self.wait_until(hub.now() + self.delay, (app, channel.into()));
        self.set_timer(hub);
    }

    fn wait_until(&mut self, at: Instant, channel: ChannelKey) {
        let Some(vacant) = self.vacant.get_mut(channel.0) else { return };
        self.vacated += 1;
        let due = (at, self.vacated);
        vacant.insert(channel.1.clone(), due);
        self.due.insert(due, channel);
    }

    /// Whether all who were in a channel are gone, and some of them are members still.
    fn has_members_to_remove(&self, presence: &Presence, (app, channel): &ChannelKey) -> bool {
        let app = self.tellers.0.get(*app).filter(|_| Kind::of(channel) == Some(Kind::Presence));
        let topic = app.map(|(app, _)| app.topic(channel));
        topic.is_some_and(|it| presence.connection_count(&it) == 0 && presence.count(&it) > 0)
    }

    /// Tells of those that are vacant for long enough, as of the first of them.
    fn tell_vacated(&mut self, hub: &mut Hub, presence: Option<&Presence>) {
        self.is_timer_set = false;
        for _ in 0..VACATED_PER_TURN {
            let Some(next) = self.due.first_entry() else { break };
            if next.key().0 > hub.now() {
                break;
            }
            let channel = next.remove();
            self.vacant.get_mut(channel.0).and_then(|it| it.remove(&channel.1));
            if presence.is_some_and(|it| self.has_members_to_remove(it, &channel)) {
                self.wait_until(hub.now() + RETRY, channel);
                continue;
            }
            self.tellers.tell(channel.0, &channel.1, &WebhookEvent::Vacated);
        }
        self.set_timer(hub);
    }

    /// One timer at a time, which may come for a channel that is occupied again.
    fn set_timer(&mut self, hub: &mut Hub) {
        if let Some(((at, _), _)) = self.due.first_key_value()
            && !self.is_timer_set
        {
            self.is_timer_set = true;
            hub.set_timer(*at, TIMER);
        }
    }

    /// What is to be told still, at the end of the server: that all is vacant is so then.
    pub fn into_tellers(self) -> Vec<Teller> {
        for (app, channel) in self.due.values() {
            self.tellers.tell(*app, channel, &WebhookEvent::Vacated);
        }
        // Presence has no more than a weak one.
        let tellers = Arc::into_inner(self.tellers).into_iter().flat_map(|it| it.0);
        tellers.filter_map(|(_, teller)| teller).collect()
    }

    fn watcher(&self) -> impl FnMut(&str, MemberChange<'_>) + Send + use<> {
        let tellers: Weak<Tellers> = Arc::downgrade(&self.tellers);
        move |topic, change| {
            let event = match change {
                MemberChange::Join(member) => WebhookEvent::MemberAdded(member.id),
                MemberChange::Leave { id } => WebhookEvent::MemberRemoved(id),
            };
            if let Some(tellers) = tellers.upgrade() {
                tellers.tell_member(topic, &event);
            }
        }
    }
}

impl Service {
    /// Has backends told of members when others are.
    pub(in crate::service) fn watch_members(&mut self) {
        let Some(webhooks) = &self.hooks.webhooks else { return };
        match (&mut self.broker, &mut self.presence) {
            (Some(Brokering { broker, .. }), _) => broker.tell_moves(),
            (None, Some(presence)) => presence.watch(webhooks.watcher()),
            (None, None) => {}
        }
    }

    /// A member has come or gone over all servers, or a channel is occupied or vacated, and this server is the one that
    /// tells of it.
    pub(in crate::service) fn tell_move(&self, it: &Move) {
        let Some(webhooks) = &self.hooks.webhooks else { return };
        let occupancy = presence::occupied_of(&it.topic);
        let event = match (occupancy, it.is_join) {
            (Some(_), true) => WebhookEvent::Occupied,
            (Some(_), false) => WebhookEvent::Vacated,
            (None, true) => WebhookEvent::MemberAdded(&it.id),
            (None, false) => WebhookEvent::MemberRemoved(&it.id),
        };
        match occupancy {
            Some(topic) => webhooks.tellers.tell_occupancy(topic, &it.id, &event),
            None => webhooks.tellers.tell_member(&it.topic, &event),
        }
    }

    /// Has other servers know that a channel has a subscriber here, and all of them that one tells of it.
    pub(super) fn share_occupied(&mut self, hub: &mut Hub, id: ConnId, app: usize, channel: &str) {
        let Some(topic) = self.shared_occupancy(app, channel) else { return };
        let Some(presence) = &mut self.presence else { return };
        if presence.join(hub, id, &topic, channel, "").is_err() {
            count(&self.status.webhook_events_lost);
        }
    }

    /// That has one no more.
    pub(super) fn share_vacant(&mut self, hub: &mut Hub, id: ConnId, app: usize, channel: &str) {
        let topic = self.shared_occupancy(app, channel);
        if let (Some(topic), Some(presence)) = (topic, &mut self.presence) {
            presence.leave(hub, id, &topic);
        }
    }

    /// Where it is shared whether a channel has subscribers, if somebody is to be told.
    fn shared_occupancy(&self, app: usize, channel: &str) -> Option<String> {
        let is_told = self.hooks.webhooks.as_ref().is_some_and(|it| it.tellers.has(app));
        let app = self.pushing.as_ref()?.apps.get(app)?;
        (self.broker.is_some() && is_told).then(|| presence::occupancy(&app.topic(channel)))
    }

    /// Whether the timer is that of channels without a subscriber.
    pub(in crate::service) fn handle_vacated_timer(&mut self, hub: &mut Hub, key: u64) -> bool {
        if key == TIMER
            && let Some(webhooks) = &mut self.hooks.webhooks
        {
            webhooks.tell_vacated(hub, self.presence.as_ref());
        }
        key == TIMER
    }

    /// Tells a backend of one of its channels.
    pub(super) fn tell_backend(&self, app: usize, channel: &str, event: &WebhookEvent<'_>) {
        if let Some(webhooks) = &self.hooks.webhooks {
            webhooks.tellers.tell(app, channel, event);
        }
    }

    /// A client subscribes to a channel.
    pub(super) fn occupy(&mut self, hub: &mut Hub, id: ConnId, app: usize, channel: &str) {
        let Some(pushing) = &mut self.pushing else { return };
        let is_first = pushing.occupy(app, channel);
        if self.broker.is_some() {
            return self.share_occupied(hub, id, app, channel);
        }
        if is_first && let Some(webhooks) = &mut self.hooks.webhooks {
            webhooks.occupy(app, channel);
        }
    }

    /// A client subscribes to it no longer.
    pub(super) fn vacate(&mut self, hub: &mut Hub, id: ConnId, app: usize, channel: &str) {
        let Some(pushing) = &mut self.pushing else { return };
        let was_last = pushing.vacate(app, channel);
        if self.broker.is_some() {
            return self.share_vacant(hub, id, app, channel);
        }
        if was_last && let Some(webhooks) = &mut self.hooks.webhooks {
            webhooks.vacate(hub, app, channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering, thread};

    use pushloop::{Config, Server};

    use super::*;
    use crate::{
        hooks::{HookOptions, Webhook},
        pusher::AppFile,
        status::Status,
    };

    /// So many channels of each application wait to be told of; one more is told of at once, and one that is back makes
    /// room. Those of an application without a webhook are nowhere.
    #[test]
    fn so_many_channels_wait_to_be_vacated_and_no_more() {
        let files = ["1:key-1:f", "2:key-2:f", "3:key-3:f"].map(|it| AppFile::parse(it).unwrap());
        let apps = [0, 1, 2].map(|nth| App::new(nth, &files[nth], &[7; 16]).unwrap().into());
        let mut options = HookOptions { timeout: Duration::from_secs(1), ..Default::default() };
        // Nobody listens there: what is told fails, and is counted.
        for webhook in ["1:http://127.0.0.1:9/", "3:http://127.0.0.1:9/"] {
            options.webhooks.push(Webhook::parse(webhook).unwrap());
        }
        let status = Arc::new(Status::new(std::time::SystemTime::UNIX_EPOCH));
        let tellers = options.webhook_tellers(&apps, &status).unwrap();
        let mut webhooks = Webhooks::new(&apps, tellers, Duration::from_secs(60)).unwrap();
        let mut server = Server::new(Config::default()).unwrap();
        let hub = server.hub();
        let vacant = |it: &Webhooks| [0, 1, 2].map(|app| it.vacant[app].len());
        (0..=16_384).for_each(|nth| webhooks.vacate(hub, 1, &format!("c{nth}")));
        assert_eq!((webhooks.due.len(), vacant(&webhooks)), (0, [0; 3]));
        (0..16_384).for_each(|nth| webhooks.vacate(hub, 0, &format!("c{nth}")));
        webhooks.occupy(0, "c7");
        webhooks.vacate(hub, 0, "c7");
        webhooks.vacate(hub, 2, "c7");
        assert_eq!((webhooks.due.len(), vacant(&webhooks)), (16_385, [16_384, 0, 1]));
        let told = || {
            status.webhook_events_waiting.load(Ordering::Relaxed)
                + status.webhook_batches_failed.load(Ordering::Relaxed)
        };
        assert_eq!(told(), 0);
        webhooks.vacate(hub, 0, "one-more");
        assert_eq!((webhooks.due.len(), vacant(&webhooks)), (16_385, [16_384, 0, 1]));
        assert!((0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            told() > 0
        }));
        // The rest is for nobody.
        webhooks.due.clear();
        assert_eq!(webhooks.into_tellers().len(), 2);
    }
}
