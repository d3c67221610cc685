//! What the server tells of itself, to those who may know.

use pushloop::{Hub, Request, RequestId, Response};

use super::{Service, asking::Door, pacing};
use crate::{
    auth::{Action, Denied, Principal},
    hooks::Kind,
    metrics, operator,
    publish::Plan,
};

impl Service {
    /// Goes through a door that is for those who may read a topic of the server's own.
    pub(super) fn tell_own(
        &mut self,
        hub: &mut Hub,
        (id, request): (RequestId, &Request),
        name: &str,
        door: Door,
    ) {
        let names = [name.to_owned()];
        match self.gate.admit(hub, request, Action::Subscribe, &names) {
            Ok(who) if self.asks(Kind::Subscribe, &who) => {
                self.ask(hub, (id, request), &who, &names, door);
            }
            Ok(_) => self.enter(hub, id, request, door),
            Err(away) => self.turn_away(hub, id, &away),
        }
    }

    pub(super) fn tell_metrics_to(&self, hub: &mut Hub, id: RequestId) {
        let handle = self.loops.clone().unwrap_or_else(|| hub.handle());
        self.answer(hub, id, metrics::answer(&handle, &self.status), &[]);
    }

    /// Answers with what an operator sees. Where everybody may do everything, nobody is one.
    pub(super) fn tell_operator(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if self.gate.is_guarded() || self.asks(Kind::Subscribe, &Principal::Anyone) {
            return self.tell_own(hub, (id, request), operator::NAME, Door::Operator);
        }
        let away = self.gate.turn_away(Denied::NobodyKnown);
        self.turn_away(hub, id, &away);
    }

    pub(super) fn tell_operator_to(&mut self, hub: &mut Hub, id: RequestId) {
        let sessions = &self.sessions;
        let told = self.operator.answer(hub, &self.status, |id| sessions.client(id));
        let response = Response::new(200).body(told);
        let json = ("Content-Type", "application/json");
        self.answer(hub, id, response, &[json, ("Cache-Control", "no-store")]);
    }

    /// A request publishes this.
    pub(super) fn note_plan(operator: &mut operator::Operator, hub: &Hub, plan: &Plan<'_>) {
        for item in &plan.items {
            operator.note(hub, &item.name, pacing::length(item.content.message()));
        }
    }
}
