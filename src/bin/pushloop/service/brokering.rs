//! What waits for the broker: requests that subscribe to topics that are not here yet, and those that publish.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use pushloop::{
    CloseCode, ConnId, EncodingsFull, Hub, Message, Position, Request, RequestId, TimerId,
};

use super::{
    RETRY_INTERVAL, Service,
    asking::{Door, Next, unavailable},
    hearing::Heard,
    parking::Parking,
    pushing::Pushing,
    subscribing::Asked,
};
use crate::{
    ahead::AskerId,
    broker::{Broker, Done, END_INTERVAL, Lists, draw_node},
    options::Options,
    presence::companion,
    publish::{Content, Item, Plan},
    status::count,
    subscribe::Start,
    timers::Timer,
    topics::Refusal,
};

/// The topic that tells whether the broker can be reached, and so whether what is seen may be stale: published to when that
/// changes, and when somebody subscribes.
pub(super) const STATE: &str = "$broker";
/// How long a subscription waits until its topics are heard.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Timers of subscriptions that wait have their numbers behind this bit.
const TIMERS: u64 = 1 << 62;
const LOOK_TIMER: u64 = Timer::Look as u64;
const ROOM_TIMER: u64 = Timer::Room as u64;

/// The broker, and what waits for it.
pub(super) struct Brokering {
    pub(super) broker: Broker,
    waiting: HashMap<u64, (Next, TimerId)>,
    pub(super) parking: Parking,
    /// When the broker's topics are looked after next.
    look: Option<(Instant, TimerId)>,
    /// What was told last.
    was_up: bool,
}

impl Brokering {
    pub fn new(broker: Broker) -> Self {
        let (waiting, parking) = Default::default();
        Self { broker, waiting, parking, look: None, was_up: false }
    }

    /// Tells how the broker is, if that is new.
    fn note(&mut self, hub: &mut Hub) {
        self.broker.note(hub);
        if self.broker.is_up(hub) != self.was_up {
            self.publish_state(hub);
        }
    }

    pub(super) fn publish_state(&mut self, hub: &mut Hub) {
        self.was_up = self.broker.is_up(hub);
        // Those that it does not reach are behind, and hear of the next change.
        let _ = hub.publish(STATE, format!("{{\"up\":{}}}", self.was_up));
    }

    /// Has something wait for what the broker says under this number, until then.
    pub(super) fn wait(&mut self, hub: &mut Hub, number: u64, next: Next, until: Instant) {
        let timer = hub.set_timer(until, TIMERS | number);
        self.waiting.insert(number, (next, timer));
    }

    /// Sets the timer of the look after topics to this time, unless it comes before.
    fn look_by(&mut self, hub: &mut Hub, at: Instant) {
        if self.look.is_some_and(|(due, _)| due <= at) {
            return;
        }
        if let Some((_, timer)) = self.look.replace((at, hub.set_timer(at, LOOK_TIMER))) {
            hub.cancel_timer(timer);
        }
    }

    /// Takes out what waits under this number.
    pub(super) fn forget(&mut self, hub: &mut Hub, number: u64) -> Option<Next> {
        self.broker.forget(number);
        let (next, timer) = self.waiting.remove(&number)?;
        hub.cancel_timer(timer);
        Some(next)
    }

    /// Takes a client's message.
    pub fn take_message(&mut self, hub: &mut Hub, topic: &str, message: Message<'_>) {
        if self.broker.publishing().take_message(hub, topic, message).is_err() {
            count(&self.broker.status().broker_messages_refused);
        }
    }

    /// Takes what a command of a connection wants published. It is answered once the broker has said what became of it.
    pub fn take_command(
        &mut self,
        hub: &mut Hub,
        (conn, id): (ConnId, u32),
        topic: &str,
        message: Message<'_>,
    ) -> Result<(), Refusal> {
        let item = Item::new(topic.to_owned(), None, Content::Body(message));
        let plan = Plan::one(item, "");
        let done = self.take(hub, plan, None, Some(AskerId::Command(conn, id)))?;
        // The server's own topics are not published to.
        debug_assert!(done.is_empty(), "it is a topic of the broker's");
        self.parking.publish(conn);
        Ok(())
    }

    /// Takes what a request wants published.
    pub fn take(
        &mut self,
        hub: &mut Hub,
        plan: Plan<'_>,
        only_at: Option<Position>,
        id: Option<AskerId>,
    ) -> Result<Vec<Done>, Refusal> {
        let mut done = Vec::new();
        self.broker.publishing().take(hub, plan, only_at, id, &mut done)?;
        Ok(done)
    }
}

impl Service {
    /// Begins what needs the hub, and what is done from time to time.
    pub fn begin(&mut self, hub: &mut Hub, options: &Options) -> Result<(), EncodingsFull> {
        if options.centrifuge {
            self.centrifuge.begin(hub)?;
        }
        self.sweep(hub);
        self.begin_stats(hub);
        let node = self.broker.as_ref().map_or_else(draw_node, |it| it.broker.node());
        self.pushing = Pushing::begin(hub, self.gate.take_apps(), node)?;
        self.watch_members();
        if let Some(brokering) = &mut self.broker {
            brokering.look_by(hub, hub.now());
        }
        Ok(())
    }

    /// Whether there is no broker, or it answers.
    pub(super) fn has_broker(&self, hub: &Hub) -> bool {
        self.broker.as_ref().is_none_or(|it| it.broker.is_up(hub))
    }

    /// What is asked for, if its topics are here. If not, the request waits until they are.
    pub(super) fn once_there(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
        mut asked: Asked,
    ) -> Option<Asked> {
        if self.broker.is_none() {
            return self.once_open(hub, (id, request), asked);
        }
        let after = match &asked.start {
            Start::After(places) if !asked.is_confirmed => places.clone(),
            Start::After(_) | Start::Live | Start::Last(_) | Start::Unknown => Vec::new(),
        };
        match self.hear(hub, &asked.names, &after, Lists::Count) {
            Heard::Yes => return Some(asked),
            Heard::Once(number) => {
                // Then the broker has been asked: a place that is not here is none.
                asked.is_confirmed = true;
                self.wait_for_broker(hub, number, (id, request), Door::Subscribe(asked));
            }
            Heard::No(why) => self.turn_away(hub, id, &unavailable(why)),
        }
        None
    }

    /// Whether it is known who is in these topics, or how many. If not, the request waits until it is.
    pub(super) fn are_listed(
        &mut self,
        hub: &mut Hub,
        (id, request): (RequestId, &Request),
        names: &[String],
        lists: Lists,
    ) -> bool {
        let companions: Vec<_> = names.iter().map(|name| companion(name)).collect();
        match self.hear(hub, &companions, &[], lists) {
            Heard::Yes => return true,
            Heard::Once(number) => {
                let door = Door::Presence(names.to_vec());
                self.wait_for_broker(hub, number, (id, request), door);
            }
            Heard::No(why) => self.turn_away(hub, id, &unavailable(why)),
        }
        false
    }

    /// Has a request go through its door once the broker has said that its topics are there.
    pub(super) fn wait_for_broker(
        &mut self,
        hub: &mut Hub,
        number: u64,
        (id, request): (RequestId, &Request),
        door: Door,
    ) {
        let request = Box::new(request.clone());
        if let Some(brokering) = &mut self.broker {
            let until = hub.now() + OPEN_TIMEOUT;
            brokering.wait(hub, number, Next::Request { id, request, door }, until);
        }
    }

    /// The number under which it is told once a member is in the list of a topic that is heard; `None` if it is there.
    pub(super) fn await_member(&mut self, topic: &str, id: &str) -> Option<u64> {
        let Brokering { broker, .. } = self.broker.as_mut()?;
        let is_there = self.presence.as_ref().is_none_or(|it| it.has_member(topic, id));
        (!is_there).then(|| broker.await_member(topic, id))
    }

    /// Acts on what the broker's threads have told.
    pub(super) fn take_broker_events(&mut self, hub: &mut Hub) {
        let Some(brokering) = &mut self.broker else { return };
        let mut done = Vec::new();
        if !brokering.broker.take(hub, self.presence.as_mut(), &mut done) {
            hub.set_timer(hub.now() + RETRY_INTERVAL, ROOM_TIMER);
        }
        brokering.note(hub);
        self.send_away(hub);
        self.settle_all(hub, done);
    }

    /// Sends away subscribers that cannot follow their topics. Where their protocol has no words for that, they are closed.
    fn send_away(&mut self, hub: &mut Hub) {
        let Some(brokering) = &mut self.broker else { return };
        let away = brokering.broker.take_away();
        if !away.is_empty() {
            // Whoever comes back waits until the last of them is gone.
            brokering.look_by(hub, hub.now() + END_INTERVAL);
        }
        for (name, id) in away {
            if !self.has_lost_state(hub, id, &name) {
                hub.close(id, CloseCode::TRY_AGAIN_LATER, "the topic begins anew");
            }
        }
    }

    pub(super) fn settle_all(&mut self, hub: &mut Hub, done: Vec<Done>) {
        let (mut published, mut conns) = (Vec::new(), Vec::new());
        for it in done {
            match it {
                Done::Ready(number) => conns.extend(self.settle_waiting(hub, number, Ok(()))),
                Done::Failed(number, why) => {
                    conns.extend(self.settle_waiting(hub, number, Err(why)));
                }
                Done::Published(asker, outcomes) => published.push((asker, outcomes)),
                Done::Moved(it) => self.tell_move(&it),
                Done::Ordered(text) => self.obey(hub, &text),
            }
        }
        for (asker, outcomes) in published {
            self.sessions.look_away();
            self.tell_asker(hub, asker, outcomes);
        }
        for id in conns {
            self.take_turns(hub, id);
        }
    }

    /// What waits under this number goes on. If that is a command, gives its connection: the commands behind it may follow.
    fn settle_waiting(
        &mut self,
        hub: &mut Hub,
        number: u64,
        verdict: Result<(), String>,
    ) -> Option<ConnId> {
        let next = self.broker.as_mut().and_then(|it| it.forget(hub, number))?;
        let conn = match next {
            Next::Command(id, _) => Some(id),
            Next::Request { .. } | Next::Message(_) | Next::Errand(_) => None,
        };
        self.go_on(hub, next, verdict.map_err(unavailable));
        conn
    }

    /// Whether the timer is that of presence: some leave, and if there is a broker, it is told who comes and goes.
    pub(super) fn handle_presence_timer(&mut self, hub: &mut Hub, key: u64) -> bool {
        let Some(presence) = &mut self.presence else { return false };
        let is_mine = presence.handle_timer(hub, key);
        if let Some(brokering) = self.broker.as_mut().filter(|_| is_mine) {
            brokering.broker.tell(hub, Some(presence));
        }
        is_mine
    }

    /// Whether the timer is one of the broker's.
    pub(super) fn handle_broker_timer(&mut self, hub: &mut Hub, key: u64) -> bool {
        if key & TIMERS != 0 {
            let why = "the broker has not told in time where the topic is".to_owned();
            if let Some(id) = self.settle_waiting(hub, key & !TIMERS, Err(why)) {
                self.take_turns(hub, id);
            }
        } else if key == ROOM_TIMER {
            self.take_broker_events(hub);
        } else if key == LOOK_TIMER {
            let Some(brokering) = &mut self.broker else { return true };
            brokering.look = None;
            let next = brokering.broker.look(hub, self.presence.as_mut());
            brokering.note(hub);
            brokering.look_by(hub, hub.now() + next);
            self.send_away(hub);
        } else {
            return false;
        }
        true
    }
}
