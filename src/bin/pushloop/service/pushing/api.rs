//! Pusher's HTTP API, for the backends of applications.

use std::{borrow::Cow, fmt::Write};

use pushloop::{Hub, Request, RequestId, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{Pushing, UNAUTHORIZED, close, today};
use crate::{
    auth::{Action, Principal},
    broker::Lists,
    gate::TurnedAway,
    presence::companion,
    publish::{Answer, Except, Form, Item, Plan},
    pusher::{self, DATA_BYTES_MAX, EVENT_BYTES_MAX, Kind},
    service::{Service, asking::Door, hearing::Heard},
    topics::Refusal,
};

/// Channels of one event, and events of a batch.
const CHANNELS_MAX: usize = 100;
const BATCH_MAX: usize = 10;
/// Bytes of a list of channels.
const LIST_BYTES_MAX: usize = 1 << 20;

/// An event as a backend has it.
#[derive(Deserialize)]
struct Event<'a> {
    name: String,
    #[serde(borrow)]
    data: &'a RawValue,
    channel: Option<String>,
    channels: Option<Vec<String>>,
    socket_id: Option<String>,
    info: Option<String>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Vec<Event<'a>>,
}

/// What is asked about channels.
#[derive(Clone, Copy, Default)]
struct Info {
    users: bool,
    subscriptions: bool,
    cache: bool,
}

impl Info {
    fn read(text: &str) -> Self {
        let has = |name: &str| text.split(',').any(|it| it.trim() == name);
        let [users, subscriptions, cache] = ["user_count", "subscription_count", "cache"].map(has);
        Self { users, subscriptions, cache }
    }
}

/// Events to be, and what is told of their channels.
struct Events {
    items: Vec<Item<'static>>,
    infos: Vec<Map<String, Value>>,
    /// Where it has to be heard who is there, for what is told.
    lists: Vec<String>,
}

const NO_SUCH_ADDRESS: &str = "the API has no such address";

/// The answer, if it is known already.
type Answered = Result<Option<Answer>, Refusal>;

/// What of a path is behind the application.
fn inner_path(request: &Request) -> Option<Vec<Cow<'_, str>>> {
    request.segments().skip(2).collect()
}

/// What is told of channels, as a request asks for it.
fn info_of(request: &Request) -> Info {
    Info::read(request.query_value("info").as_deref().unwrap_or_default())
}

fn bad(why: impl Into<Cow<'static, str>>) -> Refusal {
    (400, why.into())
}

impl Pushing {
    /// Which application a request names.
    fn named(&self, request: &Request) -> Option<usize> {
        let id = request.path().split('/').nth(2).unwrap_or_default();
        self.nth_app(id)
    }

    /// Which application a request is of, if it is signed by it.
    fn app_of(&self, hub: &Hub, request: &Request, body: Option<&[u8]>) -> Result<usize, Refusal> {
        let app =
            self.named(request).ok_or((404, "there is no application with this id".into()))?;
        let line = (request.method(), request.path());
        let checked = self.apps[app].check(line, request.query_pairs(), body, today(hub));
        checked.map_err(|(status, why)| (status, why.into()))?;
        Ok(app)
    }
}

impl Service {
    /// Why a request to the API is refused, as far as its head tells.
    pub(in crate::service) fn app_refusal(
        &self,
        hub: &Hub,
        request: &Request,
    ) -> Option<TurnedAway> {
        let pushing = self.pushing.as_ref()?;
        let is_api = request.path().starts_with("/apps/");
        let checked = is_api.then(|| pushing.app_of(hub, request, None))?;
        checked.err().map(unsigned)
    }

    pub(in crate::service) fn serve_api(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
    ) {
        let Some(pushing) = &self.pushing else { return };
        let app = match pushing.app_of(hub, request, Some(request.body())) {
            Ok(app) => app,
            Err(refusal) => return self.turn_away(hub, id, &unsigned(refusal)),
        };
        match self.ask_api(hub, (id, request), app) {
            Ok(Some((status, kind, body))) => {
                let response = Response::new(status).body(body);
                self.answer(hub, id, response, &[("Content-Type", kind)]);
            }
            Ok(None) => {}
            Err((status, why)) => self.tell(hub, id, status, &why),
        }
    }

    fn ask_api(
        &mut self,
        hub: &mut Hub,
        (id, request): (RequestId, &Request),
        app: usize,
    ) -> Answered {
        let path = inner_path(request).ok_or_else(|| bad("the path is UTF-8, percent-encoded"))?;
        let path: Vec<&str> = path.iter().map(|it| &**it).collect();
        match (request.method(), &path[..]) {
            ("POST", ["events"]) => {
                let event = serde_json::from_slice(request.body()).map_err(broken)?;
                let mut events = self.events(hub, app, &[event])?;
                let info = events.infos.pop().filter(|it| !it.is_empty());
                let body = info.map_or(json!({}), |info| json!({ "channels": info }));
                self.publish_all(hub, (id, request), events, &body)
            }
            ("POST", ["batch_events"]) => {
                let Batch { batch } = serde_json::from_slice(request.body()).map_err(broken)?;
                if batch.len() > BATCH_MAX {
                    return Err(bad(format!("a batch has at most batch_events_max = {BATCH_MAX}")));
                }
                if batch.iter().any(|event| event.channels.is_some()) {
                    return Err(bad("an event of a batch is for one channel"));
                }
                let mut events = self.events(hub, app, &batch)?;
                let infos = events.infos.drain(..);
                let infos = infos.map(|it| it.into_iter().next().map_or(json!({}), |(_, it)| it));
                let infos: Vec<_> = infos.collect();
                let is_asked = batch.iter().any(|event| event.info.is_some());
                let body = if is_asked { json!({ "batch": infos }) } else { json!({}) };
                self.publish_all(hub, (id, request), events, &body)
            }
            ("GET", ["channels", channel]) => {
                let topic = self.topic_of(app, channel)?;
                let list = Self::list_of(channel, &topic);
                let latest = (info_of(request).cache && pusher::is_cache(channel)).then_some(topic);
                let names: Vec<_> = latest.into_iter().chain(list).collect();
                self.tell_figures_of(hub, (id, request), (app, &path), (&names, Lists::Count))
            }
            ("GET", ["channels", channel, "users"]) => {
                let list = Self::list_of(channel, &self.topic_of(app, channel)?);
                let wanted = (list.as_slice(), Lists::Members);
                self.tell_figures_of(hub, (id, request), (app, &path), wanted)
            }
            ("GET", _) => self.tell_figures(hub, (id, request), app, &path),
            ("POST", ["users", user, "terminate_connections"]) => {
                self.do_elsewhere(request)?;
                self.terminate(hub, app, user);
                match self.order_to_terminate(app, user) {
                    Some(plan) => self.take_plan(hub, plan, None, Some(id)),
                    None => json_answer(&json!({})),
                }
            }
            _ => Err((404, NO_SUCH_ADDRESS.into())),
        }
    }

    /// Tells what is asked about channels; with other loops, once these have told it as well.
    fn tell_figures(
        &self,
        hub: &Hub,
        (id, request): (RequestId, &Request),
        app: usize,
        path: &[&str],
    ) -> Answered {
        let told = self.figures_here(hub, request, app, path)?;
        match told {
            Some((_, _, told)) if self.has_others() => {
                self.sum_up(hub, id, &told);
                Ok(None)
            }
            told => Ok(told),
        }
    }

    fn figures_here(&self, hub: &Hub, request: &Request, app: usize, path: &[&str]) -> Answered {
        let info = info_of(request);
        match path {
            ["channels"] => {
                let prefix = request.query_value("filter_by_prefix").unwrap_or_default();
                self.list_channels(hub, app, &prefix, info)
            }
            ["channels", channel] => self.tell_channel(hub, app, channel, info),
            ["channels", channel, "users"] => self.tell_users(app, channel),
            _ => Err((404, NO_SUCH_ADDRESS.into())),
        }
    }

    /// What this loop tells another one, which has checked the request.
    pub(in crate::service) fn figures_of_apps(
        &self,
        hub: &Hub,
        request: &Request,
    ) -> Result<String, Refusal> {
        let app = self.pushing.as_ref().and_then(|it| it.named(request));
        let (path, app) = inner_path(request).zip(app).ok_or((404, NO_SUCH_ADDRESS.into()))?;
        let path: Vec<&str> = path.iter().map(|it| &**it).collect();
        let told = self.figures_here(hub, request, app, &path)?;
        Ok(told.map(|(_, _, told)| told).unwrap_or_default())
    }

    /// Closes all connections of a user here, as a request asks for that another loop has checked.
    pub(in crate::service) fn terminate_as_asked(&mut self, hub: &mut Hub, request: &Request) {
        let app = self.pushing.as_ref().and_then(|it| it.named(request));
        if let (Some(app), Some([_, user, _])) = (app, inner_path(request).as_deref()) {
            self.terminate(hub, app, user);
        }
    }

    /// Tells it once what it is about is heard.
    fn tell_figures_of(
        &mut self,
        hub: &mut Hub,
        asker: (RequestId, &Request),
        (app, path): (usize, &[&str]),
        (names, lists): (&[String], Lists),
    ) -> Answered {
        match self.hears_for_api(hub, asker, names, lists)? {
            true => self.tell_figures(hub, asker, app, path),
            false => Ok(None),
        }
    }

    /// Where it is told who is in a channel, if that is known of it.
    fn list_of(channel: &str, topic: &str) -> Option<String> {
        (Kind::of(channel) == Some(Kind::Presence)).then(|| companion(topic))
    }

    /// Whether these are heard. If not, the request waits until they are.
    fn hears_for_api(
        &mut self,
        hub: &mut Hub,
        (id, request): (RequestId, &Request),
        names: &[String],
        lists: Lists,
    ) -> Result<bool, Refusal> {
        match self.hear(hub, names, &[], lists) {
            Heard::Yes => Ok(true),
            Heard::Once(number) => {
                self.wait_for_broker(hub, number, (id, request), Door::Api);
                Ok(false)
            }
            Heard::No(why) => Err((503, why.into())),
        }
    }

    /// Reads events, each for its channels.
    fn events(&mut self, hub: &Hub, app: usize, events: &[Event<'_>]) -> Result<Events, Refusal> {
        let (mut items, mut infos, mut lists) = (Vec::new(), Vec::new(), Vec::new());
        for event in events {
            let data = event.data.get();
            let data = serde_json::from_str::<String>(data).unwrap_or_else(|_| data.to_owned());
            if event.name.is_empty() || event.name.len() > EVENT_BYTES_MAX {
                return Err(bad(format!(
                    "a name has 1 to event_name_bytes_max = {EVENT_BYTES_MAX} bytes"
                )));
            }
            if pusher::is_own_name(&event.name) {
                return Err(bad("names that begin with pusher: are the protocol's own"));
            }
            if data.len() > DATA_BYTES_MAX {
                let why = format!("data has at most event_data_bytes_max = {DATA_BYTES_MAX} bytes");
                return Err((413, why.into()));
            }
            let channels = match (&event.channel, &event.channels) {
                (Some(channel), None) => std::slice::from_ref(channel),
                (None, Some(channels)) => channels,
                (Some(_), Some(_)) | (None, None) => {
                    return Err(bad("an event has either a channel or channels"));
                }
            };
            if channels.is_empty() || channels.len() > CHANNELS_MAX {
                return Err(bad(format!(
                    "an event is for 1 to event_channels_max = {CHANNELS_MAX} channels"
                )));
            }
            let except = event.socket_id.as_deref().map(|it| self.excluded(it)).transpose()?;
            let text = pusher::keep(&event.name, &data, None);
            let info = Info::read(event.info.as_deref().unwrap_or_default());
            let mut counts = Map::new();
            for channel in channels {
                let topic = self.topic_of(app, channel)?;
                let denied = self.gate.allow(&Principal::Backend, Action::Publish, &topic);
                denied.map_err(Refusal::from)?;
                if info.users || info.subscriptions {
                    counts.insert(channel.clone(), self.counts(hub, channel, &topic, info));
                    lists.extend(Self::list_of(channel, &topic).filter(|_| info.users));
                }
                items.push(Item::event(topic, text.clone(), except));
            }
            infos.push(counts);
        }
        Ok(Events { items, infos, lists })
    }

    fn excluded(&self, socket: &str) -> Result<Except, Refusal> {
        let known = self.pushing.as_ref().and_then(|it| it.connection(socket));
        known.ok_or_else(|| bad("a socket_id is two numbers with a dot between them"))
    }

    fn topic_of(&self, app: usize, channel: &str) -> Result<String, Refusal> {
        let Some(pushing) = self.pushing.as_ref().filter(|_| Kind::of(channel).is_some()) else {
            let why = format!(
                "a channel's name has A-Z, a-z, 0-9 and _-=@,.; and at most channel_name_bytes_max = {} bytes: ",
                pusher::NAME_BYTES_MAX
            );
            return Err(bad(why + channel));
        };
        Ok(pushing.apps[app].topic(channel))
    }

    /// Publishes events, once what is told of their channels is heard.
    fn publish_all(
        &mut self,
        hub: &mut Hub,
        asker: (RequestId, &Request),
        Events { items, lists, .. }: Events,
        body: &Value,
    ) -> Answered {
        if !self.hears_for_api(hub, asker, &lists, Lists::Count)? {
            return Ok(None);
        }
        if items.is_empty() {
            return json_answer(body);
        }
        let plan = Plan { items, form: Form::Fixed(body.to_string()) };
        self.publish_events(hub, plan, Some(asker.0))
    }

    /// How many are in a channel.
    fn counts(&self, hub: &Hub, channel: &str, topic: &str, info: Info) -> Value {
        let mut counts = Map::new();
        if info.users && Kind::of(channel) == Some(Kind::Presence) {
            counts.insert("user_count".to_owned(), self.member_count(topic).into());
        }
        if info.subscriptions {
            let count = hub.subscriber_count(topic);
            counts.insert("subscription_count".to_owned(), count.into());
        }
        counts.into()
    }

    /// The channels to which clients of the application subscribe.
    fn list_channels(&self, hub: &Hub, app: usize, prefix: &str, info: Info) -> Answered {
        if info.users && !prefix.starts_with("presence-") {
            return Err(bad("user_count is for channels of which filter_by_prefix is presence-"));
        }
        let Some(pushing) = &self.pushing else { return json_answer(&json!({})) };
        let from = (app, Box::from(prefix));
        let listed = pushing.occupied.range(from..);
        let listed = listed.take_while(|((of, name), _)| *of == app && name.starts_with(prefix));
        let mut list = String::from("{\"channels\":{");
        for (nth, ((_, name), _)) in listed.enumerate() {
            let counts = self.counts(hub, name, &pushing.apps[app].topic(name), info);
            let comma = if nth == 0 { "" } else { "," };
            let _ = write!(list, "{comma}{}:{counts}", json!(name));
            if list.len() > LIST_BYTES_MAX {
                return Err(bad(format!(
                    "the list exceeds channels_list_bytes_max = {LIST_BYTES_MAX}: ask with filter_by_prefix"
                )));
            }
        }
        Ok(Some((200, "application/json", list + "}}")))
    }

    fn tell_channel(&self, hub: &Hub, app: usize, channel: &str, info: Info) -> Answered {
        let topic = self.topic_of(app, channel)?;
        let is_presence = Kind::of(channel) == Some(Kind::Presence);
        if info.users && !is_presence {
            return Err(bad("user_count is for presence channels"));
        }
        let mut told = self.counts(hub, channel, &topic, info);
        // Members are those of all servers, and subscribers those of this one.
        let is_shared = is_presence && self.broker.is_some();
        let has_members = is_shared && self.member_count(&topic) > 0;
        told["occupied"] = (has_members || hub.subscriber_count(&topic) > 0).into();
        if info.cache && pusher::is_cache(channel) {
            self.gate
                .may(&Principal::Backend, Action::Subscribe, &topic)
                .map_err(|denied| (denied.status(), denied.why().into()))?;
            let latest = hub.history_last(&topic, 1).next();
            let latest = latest.map(|it| pusher::encode_last(channel, it.message));
            let latest: Option<Value> = latest.and_then(|it| serde_json::from_str(&it).ok());
            told["cache"] = latest.map_or(Value::Null, |it| json!({ "data": it["data"] }));
        }
        json_answer(&told)
    }

    fn tell_users(&self, app: usize, channel: &str) -> Answered {
        let topic = self.topic_of(app, channel)?;
        if Kind::of(channel) != Some(Kind::Presence) {
            return Err(bad("users are of presence channels"));
        }
        let members = self.presence.as_ref().into_iter().flat_map(|it| it.members(&topic));
        let users: Vec<_> = members.map(|it| json!({ "id": it.id })).collect();
        json_answer(&json!({ "users": users }))
    }

    /// Closes all connections of a user, for good.
    pub(in crate::service) fn terminate(&mut self, hub: &mut Hub, app: usize, user: &str) {
        let Some(pushing) = &self.pushing else { return };
        let connections = pushing.users.get(&(app, user.into()));
        for id in connections.into_iter().flatten() {
            close(hub, *id, UNAUTHORIZED, "the application has ended this connection");
        }
    }
}

fn json_answer(value: &Value) -> Answered {
    Ok(Some((200, "application/json", value.to_string())))
}

fn broken(error: serde_json::Error) -> Refusal {
    bad(error.to_string())
}

/// A request that nobody here has signed. RFC 9110 §15.5.2: a 401 MUST name a scheme.
fn unsigned((status, why): Refusal) -> TurnedAway {
    let field = (status == 401).then_some(("WWW-Authenticate", "Pusher".into()));
    TurnedAway { status, why, field, is_last: false }
}
