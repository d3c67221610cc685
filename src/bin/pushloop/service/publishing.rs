//! What requests publish, at once or after it is written.

use std::sync::atomic::Ordering;

use pushloop::{Hub, Message, Position, Request, RequestId, Response};

use super::{
    RETRY_INTERVAL, RETRY_TIMER, SWEEP_INTERVAL, SWEEP_TIMER, Service, asking::Door,
    brokering::Brokering,
};
use crate::{
    ahead::{Ahead, Asker, AskerId, Next},
    auth::{Action, Principal},
    gate::TurnedAway,
    hooks::Kind,
    publish::{self, Asked, Outcome, Plan},
    topics::Refusal,
};

impl Service {
    pub(super) fn publish(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        match self.asked(hub, request) {
            Ok((asked, who)) if self.asks(Kind::Publish, &who) => {
                let names = match &asked {
                    Asked::Topics { names, .. } => names.clone(),
                    Asked::Batch => publish::topics_of_lines(hub, request),
                };
                let door = Door::Publish(asked, who.clone());
                self.ask(hub, (id, request), &who, &names, door);
            }
            Ok((asked, who)) => self.publish_allowed(hub, id, request, asked, &who),
            Err(away) => self.turn_away(hub, id, &away),
        }
    }

    /// Publishes what was asked for and may be.
    pub(super) fn publish_allowed(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
        asked: Asked,
        who: &Principal,
    ) {
        match self.publish_asked(hub, id, request, asked, who) {
            Ok(answer) => self.tell_published(hub, id, Ok(answer)),
            Err(away) => self.turn_away(hub, id, &away),
        }
    }

    /// What a request wants published, and who wants it, if that may be: as far as its head tells.
    pub(super) fn asked(
        &mut self,
        hub: &Hub,
        request: &Request,
    ) -> Result<(Asked, Principal), TurnedAway> {
        let asked = publish::asked(hub, request, self.one_topic)?;
        let who = match &asked {
            Asked::Topics { names, .. } => self.gate.admit(hub, request, Action::Publish, names)?,
            Asked::Batch => self.gate.admit_publisher(hub, request)?,
        };
        Ok((asked, who))
    }

    /// Publishes it, or has it written and then published: `None` if the publisher waits for that.
    fn publish_asked(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
        asked: Asked,
        who: &Principal,
    ) -> Result<Option<publish::Answer>, TurnedAway> {
        let (gate, ahead, only_at) = (&mut self.gate, &self.ahead, asked.only_at());
        let may = |name: &str| {
            gate.allow(who, Action::Publish, name).map_err(|away| away.about(name).into())
        };
        let is_elsewhere = self.broker.is_some() || self.relaying.is_some();
        let place = |name: &str| match ahead {
            // Where the topic is, others know.
            _ if is_elsewhere => only_at,
            Some(ahead) => ahead.place(hub, name),
            None => hub.position(name),
        };
        let plan = publish::plan(hub, request, asked, place, may)?;
        let plan = plan.under_keys_of(hub, who.subject());
        self.pacing.take_plan(request, who, &plan, hub.now())?;
        Self::note_plan(&mut self.operator, hub, &plan);
        let asker = (!publish::is_async(request)).then_some(id);
        let count = plan.items.len();
        let answer = self.take_plan(hub, plan, only_at, asker)?;
        Ok(answer.or_else(|| asker.is_none().then(|| publish::taken(count))))
    }

    /// Publishes what was planned, or hands it to the file, the broker or other loops: with `None`, its asker is answered
    /// once they have done it. `only_at` is for the broker and other loops: here, it was looked at.
    pub(super) fn take_plan(
        &mut self,
        hub: &mut Hub,
        plan: Plan<'_>,
        only_at: Option<Position>,
        asker: Option<RequestId>,
    ) -> Result<Option<publish::Answer>, Refusal> {
        let done = match (&mut self.broker, &self.relaying, &mut self.ahead) {
            (Some(broker), _, _) => broker.take(hub, plan, only_at, asker.map(AskerId::Request))?,
            (None, Some(relaying), _) => relaying.relay.take(hub, plan, only_at, asker)?,
            (None, None, Some(ahead)) => {
                let is_taken = ahead.take(hub, plan, asker);
                self.note_file();
                return if is_taken { Ok(None) } else { Err(file_is_full()) };
            }
            (None, None, None) => {
                let outcomes = publish::publish(hub, &plan, None);
                return plan.form.answer(hub, &publish::labels(&plan.items), outcomes).map(Some);
            }
        };
        self.settle_all(hub, done);
        Ok(None)
    }

    /// Tells a publisher what became of what it waits for.
    pub(super) fn tell_asker(&mut self, hub: &mut Hub, asker: Asker, outcomes: Vec<Outcome>) {
        let answer = asker.form.answer(hub, &asker.labels, outcomes);
        match asker.id {
            AskerId::Request(id) => self.tell_published(hub, id, answer.map(Some)),
            AskerId::Command(conn, id) => {
                self.answer_publication(hub, conn, id, answer.map(|_| ()))
            }
        }
    }

    /// Tells a publisher what became of its request, if that is known.
    pub(super) fn tell_published(
        &self,
        hub: &mut Hub,
        id: RequestId,
        answer: Result<Option<publish::Answer>, Refusal>,
    ) {
        match answer {
            Ok(None) => {}
            Ok(Some((202, content_type, body))) => {
                let response = Response::new(202).body(body);
                let applied = ("Preference-Applied", "respond-async");
                self.answer(hub, id, response, &[("Content-Type", content_type), applied]);
            }
            Ok(Some((status, content_type, body))) => {
                if status >= 400 {
                    self.sessions.refuse(status, "one of several is not published");
                }
                let response = Response::new(status).body(body);
                self.answer(hub, id, response, &[("Content-Type", content_type)]);
            }
            Err((status, why)) => self.tell(hub, id, status, &why),
        }
    }

    /// Has the file forget what is too old, now and from time to time.
    pub fn sweep(&self, hub: &mut Hub) {
        if let Some(ahead) = &self.ahead {
            ahead.sweep(hub);
            hub.set_timer(hub.now() + SWEEP_INTERVAL, SWEEP_TIMER);
        }
    }

    /// Publishes what is in the file by now.
    pub(super) fn publish_written(&mut self, hub: &mut Hub) {
        self.sessions.look_away();
        while let Some(ahead) = &mut self.ahead {
            match ahead.next(hub) {
                Next::Published(Some(asker), outcomes) => {
                    self.tell_asker(hub, asker, outcomes);
                }
                Next::Published(None, _) => {}
                Next::Full => {
                    hub.set_timer(hub.now() + RETRY_INTERVAL, RETRY_TIMER);
                    return;
                }
                Next::Waits => break,
            }
        }
        self.note_file();
        if self.ahead.as_ref().is_some_and(Ahead::is_over) {
            self.ahead = None;
            self.status.history_file_failed.store(1, Ordering::Relaxed);
        }
    }

    /// Has the other threads know how it is with the file.
    pub(super) fn note_file(&self) {
        if let Some(ahead) = &self.ahead {
            self.status.history_file_waiting.store(ahead.waiting() as u64, Ordering::Relaxed);
            self.status.history_file_refused.store(ahead.refused, Ordering::Relaxed);
        }
    }
}

fn file_is_full() -> Refusal {
    (503, "too many publications wait to be written to the file".into())
}

/// Publishes what a WebSocket sent. A refusal is counted; the sender sees that its own message does not come back.
pub(super) fn publish_message(
    ahead: &mut Option<Ahead>,
    broker: &mut Option<Brokering>,
    hub: &mut Hub,
    topic: &str,
    message: Message<'_>,
) {
    match (ahead, broker) {
        (Some(ahead), _) => drop(ahead.take_message(hub, topic, message)),
        (None, Some(broker)) => broker.take_message(hub, topic, message),
        (None, None) => drop(hub.publish(topic, message)),
    }
}
