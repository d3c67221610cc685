//! Who subscribes, for those that ask.

use pushloop::{Hub, Request, RequestId, Response};

use super::{
    Service,
    asking::Door,
    pacing::{Account, Asker},
};
use crate::{
    auth::{Action, Principal},
    broker::Lists,
    gate::TurnedAway,
    hooks::Kind,
    presence, topics,
};

impl Service {
    /// Who subscribes may be known to those who may read the joins and leaves.
    pub(super) fn tell_presence(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let asked = topics::of(request, hub.config(), self.one_topic).map_err(TurnedAway::from);
        let admitted = asked.and_then(|names| {
            let told: Vec<_> = names.iter().map(|name| presence::companion(name)).collect();
            let who = self.gate.admit(hub, request, Action::Subscribe, &told)?;
            let mut listed = names.iter().filter(|it| presence::has_members(&self.patterns, it));
            listed.try_for_each(|name| presence::check_name(hub, name))?;
            self.pace_listing(hub, request, &who, &told)?;
            Ok((names, told, who))
        });
        match admitted {
            Ok((names, told, who)) if self.asks(Kind::Subscribe, &who) => {
                self.ask(hub, (id, request), &who, &told, Door::Presence(names));
            }
            Ok((names, ..)) => self.tell_presence_of(hub, id, request, &names),
            Err(away) => self.turn_away(hub, id, &away),
        }
    }

    /// Notes that the broker is asked who is in a topic, if that is not known here.
    fn pace_listing(
        &mut self,
        hub: &Hub,
        request: &Request,
        who: &Principal,
        lists: &[String],
    ) -> Result<(), TurnedAway> {
        if self.has_heard(hub, lists, &[], wanted(request)) {
            return Ok(());
        }
        let mut askers = Account::of(request, who).into_iter().map(Asker::Request);
        askers.try_for_each(|asker| self.pacing.ask(&asker, lists.len(), hub.now()))
    }

    pub(super) fn tell_presence_of(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
        names: &[String],
    ) {
        let is_known = matches!(names, [name] if presence::has_members(&self.patterns, name));
        if is_known && !self.are_listed(hub, (id, request), names, wanted(request)) {
            return;
        }
        let list = match &self.presence {
            Some(presence) => {
                let count = |name: &str| self.member_count(name);
                presence::list(presence, &self.patterns, hub, request, names, count)
            }
            None => Err((404, presence::UNKNOWN.into())),
        };
        match list {
            Ok(list) => {
                let json = ("Content-Type", "application/json");
                let fields = [json, ("Cache-Control", "no-store")];
                self.answer(hub, id, Response::new(200).body(list), &fields);
            }
            Err(refusal) => self.turn_away(hub, id, &refusal.into()),
        }
    }
}

/// What has to be known of a list for what is asked.
fn wanted(request: &Request) -> Lists {
    match presence::asks_for_count(request) {
        true => Lists::Count,
        false => Lists::Members,
    }
}
