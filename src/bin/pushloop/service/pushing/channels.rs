//! Channels of clients: which a client may have, how it comes to have one, and how it leaves.

use std::fmt::Display;

use pushloop::{ConnId, Hub, Presence, SubscribeError};

use super::{MEMBER_ID_BYTES_MAX, clients::Channel, tell, webhooks::WebhookEvent};
use crate::{
    auth::Action,
    broker::Lists,
    presence,
    pusher::{self, ChannelData, Kind},
    service::{Service, brokering::Brokering, hearing::Heard},
};

/// How many members a channel may have, and bytes of what is told of one.
const MEMBERS_MAX: usize = 100;
const MEMBER_INFO_BYTES_MAX: usize = 1024;

/// Why a client does not have a channel.
pub(super) enum NotJoined {
    /// It is told so: a type, a status, and why.
    Refused(&'static str, u16, String),
    /// It may have it at another time.
    NotNow(String),
    /// It is decided once the broker has said something, under this number.
    Yet(u64),
}

/// A channel that a client asks for.
pub(super) struct Wish<'a> {
    pub channel: &'a str,
    pub auth: &'a str,
    pub data: Option<&'a str>,
    /// Of the frame with which it asks.
    pub bytes: usize,
}

/// A channel that a client may have.
pub(super) struct Join {
    topic: String,
    kind: Kind,
}

/// A channel of one of the applications, and the topic that it is.
#[derive(Clone, Copy)]
struct Seat<'a> {
    app: usize,
    channel: &'a str,
    topic: &'a str,
}

impl Service {
    /// Whether a client may have a channel, and that is heard.
    pub(super) fn may_join(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        &Wish { channel, auth, data, bytes }: &Wish<'_>,
    ) -> Result<Join, NotJoined> {
        let gone =
            || NotJoined::Refused("InvalidChannel", 400, "the connection is over".to_owned());
        let pushing = self.pushing.as_ref().ok_or_else(gone)?;
        let (app, _) = pushing.client(id).ok_or_else(gone)?;
        let Some(kind) = Kind::of(channel) else {
            let why = format!(
                "a channel's name has A-Z, a-z, 0-9 and _-=@,.; and at most channel_name_bytes_max = {} bytes",
                pusher::NAME_BYTES_MAX
            );
            return Err(NotJoined::Refused("InvalidChannel", 400, why));
        };
        let topic = app.topic(channel);
        let signed_data = data.filter(|_| kind == Kind::Presence);
        let who = pushing.principal(id, (channel, kind), auth, signed_data).ok_or_else(gone)?;
        if let Err(denied) = self.gate.may(&who, Action::Subscribe, &topic) {
            let why = self.gate.turn_away(denied).why;
            return Err(NotJoined::Refused("AuthError", 401, why.into_owned()));
        }
        // Otherwise it need not be heard.
        if !Self::has_topics_left(hub, id, 1) {
            return Err(full(&SubscribeError::TooManyTopics));
        }
        let list = (kind == Kind::Presence).then(|| presence::companion(&topic));
        let names: Vec<_> = std::iter::once(topic.clone()).chain(list).collect();
        match self.hear_for(hub, (id, bytes), &names, &[], Lists::Members) {
            Ok(Heard::Yes) => Ok(Join { topic, kind }),
            Ok(Heard::Once(number)) => Err(NotJoined::Yet(number)),
            Ok(Heard::No(why)) | Err(why) => Err(NotJoined::NotNow(why)),
        }
    }

    /// Subscribes a client to a channel, and tells it so; or why not.
    pub(super) fn join_channel(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        wish: &Wish<'_>,
    ) -> Result<(), NotJoined> {
        let joined = self.join_once_there(hub, id, wish);
        if let Err(NotJoined::Refused(..) | NotJoined::NotNow(_)) = &joined {
            self.take_back_member(hub, id, wish.channel);
        }
        joined
    }

    fn join_once_there(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        wish: &Wish<'_>,
    ) -> Result<(), NotJoined> {
        let channel = wish.channel;
        let client = self.pushing.as_ref().and_then(|it| it.clients.get(id));
        let Some(client) = client else { return Ok(()) };
        if client.channels.contains(channel) {
            let why = format!("Existing subscription to channel {channel}");
            tell(hub, id, &pusher::error(None, None, &why));
            return Ok(());
        }
        let app = client.app;
        let Join { topic, kind } = self.may_join(hub, id, wish)?;
        let seat = Seat { app, channel, topic: &topic };
        let member = match kind {
            Kind::Presence => Some(self.member(&topic, wish.data.unwrap_or_default())?),
            Kind::Public | Kind::Private | Kind::Encrypted | Kind::User => None,
        };
        if let Some(member) = &member
            && let Some(number) = self.enter_list(hub, id, seat, member)?
        {
            return Err(NotJoined::Yet(number));
        }
        self.subscribe_client(hub, id, seat, member.as_ref())?;
        let list = match (&member, &self.presence) {
            (Some(_), Some(presence)) => {
                pusher::members(presence.members(&topic).map(|it| (it.id, it.info)))
            }
            (Some(_) | None, Some(_) | None) => "{}".to_owned(),
        };
        tell(hub, id, &pusher::subscribed(channel, list));
        if pusher::is_cache(channel) && !tell_latest(hub, id, channel, &topic) {
            self.tell_backend(app, channel, &WebhookEvent::CacheMiss);
        }
        let member = member.map(|it| it.id.into());
        if let Some(pushing) = &mut self.pushing
            && let Some(client) = pushing.clients.get_mut(id)
        {
            client.channels.insert(channel.into(), Channel { kind, member });
        }
        if let Some(telling) = &mut self.hooks.telling {
            telling.occupy(hub, &topic);
        }
        Ok(())
    }

    /// What is said of a member, if there is room for it.
    fn member(&self, topic: &str, data: &str) -> Result<ChannelData, NotJoined> {
        let member = ChannelData::read(data).ok_or_else(|| {
            NotJoined::Refused(
                "AuthError",
                400,
                "channel_data is an object with a user_id".to_owned(),
            )
        })?;
        let limits = [
            ("member_id_bytes_max", member.id.len(), MEMBER_ID_BYTES_MAX),
            ("member_info_bytes_max", member.info.len(), MEMBER_INFO_BYTES_MAX),
        ];
        if let Some((name, _, max)) = limits.into_iter().find(|(_, len, max)| len > max) {
            return Err(NotJoined::Refused("LimitReached", 413, format!("{name} = {max}")));
        }
        let presence = self.presence.as_ref();
        // Those that come are in the list once the broker has told of them.
        let broker = self.broker.as_ref().map(|it| &it.broker);
        let coming = broker.map_or(0, |it| it.awaited_beside(topic, &member.id, MEMBERS_MAX));
        let is_full = |it: &Presence| {
            it.count(topic) + coming >= MEMBERS_MAX && !it.has_member(topic, &member.id)
        };
        if presence.is_some_and(is_full) {
            let why = format!("a channel has at most channel_members_max = {MEMBERS_MAX} members");
            return Err(NotJoined::Refused("LimitReached", 403, why));
        }
        Ok(member)
    }

    /// Has a client be in the list of all servers, since it is told who is there once it is among them. If it is not yet, gives
    /// the number under which that is told.
    fn enter_list(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        Seat { app, channel, topic }: Seat<'_>,
        member: &ChannelData,
    ) -> Result<Option<u64>, NotJoined> {
        let Some(number) = self.await_member(topic, &member.id) else { return Ok(None) };
        // A backend hears of the channel before it hears of its members.
        self.share_occupied(hub, id, app, channel);
        let Some(presence) = &mut self.presence else { return Ok(None) };
        let joined = presence.join(hub, id, topic, &member.id, &member.info);
        if joined.is_err()
            && let Some(Brokering { broker, .. }) = &mut self.broker
        {
            broker.forget(number);
        }
        joined.map(|()| Some(number)).map_err(|why| full(&why))
    }

    /// Takes out of the list a client that does not get its channel after all.
    fn take_back_member(&mut self, hub: &mut Hub, id: ConnId, channel: &str) {
        let Some((app, client)) = self.pushing.as_ref().and_then(|it| it.client(id)) else {
            return;
        };
        let (topic, nth) = (app.topic(channel), client.app);
        if let Some(presence) = &mut self.presence
            && presence.leave(hub, id, &topic)
        {
            self.share_vacant(hub, id, nth, channel);
        }
    }

    /// Has the connection get what is published from now on. It is a member before it is told of others.
    fn subscribe_client(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        Seat { app, channel, topic }: Seat<'_>,
        member: Option<&ChannelData>,
    ) -> Result<(), NotJoined> {
        hub.subscribe(id, topic).map_err(|why| full(&why))?;
        self.occupy(hub, id, app, channel);
        let (Some(member), Some(presence)) = (member, &mut self.presence) else { return Ok(()) };
        let joined = presence.join(hub, id, topic, &member.id, &member.info);
        let joined = joined.map_err(|why| full(&why));
        let companion = presence::companion(topic);
        let told = joined.and_then(|()| hub.subscribe(id, &companion).map_err(|why| full(&why)));
        if told.is_err() {
            presence.leave(hub, id, topic);
            hub.unsubscribe(id, topic);
            self.vacate(hub, id, app, channel);
        }
        told
    }

    /// False if the client has not subscribed to it.
    pub(super) fn leave_channel(&mut self, hub: &mut Hub, id: ConnId, channel: &str) -> bool {
        let Some(pushing) = &mut self.pushing else { return false };
        let Some(client) = pushing.clients.get_mut(id) else { return false };
        let Some(left) = client.channels.remove(channel) else { return false };
        let app = client.app;
        let topic = pushing.apps[app].topic(channel);
        hub.unsubscribe(id, &topic);
        if let (Some(_), Some(presence)) = (left.member, &mut self.presence) {
            hub.unsubscribe(id, &presence::companion(&topic));
            presence.leave(hub, id, &topic);
        }
        self.vacate(hub, id, app, channel);
        if let Some(telling) = &mut self.hooks.telling {
            telling.vacate(hub, &topic);
        }
        true
    }
}

/// A limit is reached.
fn full(why: &dyn Display) -> NotJoined {
    NotJoined::Refused("LimitReached", 403, why.to_string())
}

/// Tells a new subscriber of a cache channel the latest event. False if there is none, which it is told.
fn tell_latest(hub: &mut Hub, id: ConnId, channel: &str, topic: &str) -> bool {
    let latest = hub.history_last(topic, 1).next();
    let latest = latest.map(|latest| pusher::encode_last(channel, latest.message));
    let is_there = latest.is_some();
    let frame = latest.unwrap_or_else(|| pusher::frame("pusher:cache_miss", Some(channel), ""));
    tell(hub, id, &frame);
    is_there
}
