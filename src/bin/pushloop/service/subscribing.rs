//! What requests subscribe to, as a WebSocket or as an event stream.

use std::time::Instant;

use pushloop::{CloseCode, Hub, Request, RequestId};

use super::{Account, RETRY_AFTER, STATS, Service, Target, asking::Door, brokering::STATE};
use crate::{
    auth::{Action, Principal},
    gate::{BEARER, TurnedAway},
    hooks::Kind,
    presence,
    subscribe::{self, Start},
    topics,
};

/// A subscription that may be.
pub struct Asked {
    pub(super) names: Vec<String>,
    who: Principal,
    pub(super) start: Start,
    member: Option<presence::Claim>,
    /// The broker, if there is one, was asked for the places.
    pub(super) is_confirmed: bool,
    /// If it waits for another loop: until when.
    pub(super) waits_until: Option<Instant>,
}

impl Service {
    /// Subscribes, as a WebSocket or as an event stream.
    pub(super) fn subscribe(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        match self.asks_for(hub, id, request) {
            Ok(asked) if self.asks(Kind::Subscribe, &asked.who) => {
                let (names, who) = (asked.names.clone(), asked.who.clone());
                self.ask(hub, (id, request), &who, &names, Door::Subscribe(asked));
            }
            Ok(asked) => self.open(hub, id, request, asked),
            Err(away) => self.turn_away(hub, id, &away),
        }
    }

    /// Opens what was asked for and may be.
    pub(super) fn open(&mut self, hub: &mut Hub, id: RequestId, request: &Request, asked: Asked) {
        let Some(asked) = self.once_there(hub, id, request, asked) else { return };
        let Asked { names, who, start, member, .. } = asked;
        let envelopes = match request.query_value("envelope").as_deref() {
            Some("json") if request.is_websocket() => true,
            Some(_) if request.is_websocket() => {
                return self.tell(hub, id, 400, "the envelope that there is is json");
            }
            Some(_) | None => false,
        };
        // Not before: others may have come while a backend was asked.
        if let Err(away) = self.pacing.admit(&who) {
            return self.turn_away(hub, id, &away);
        }
        let is_open = if request.is_websocket() {
            subscribe::connect(hub, id, self.subprotocol(request), &names, &start, envelopes)
        } else {
            subscribe::stream(hub, id, request, &names, &start, self.retry)
        };
        if !is_open {
            return self.pacing.give_back(&who);
        }
        self.sessions.begin(hub, id.conn(), request);
        self.pacing.seat(id.conn(), &who);
        if let Some(telling) = &mut self.hooks.telling {
            telling.begin(hub, (id.conn(), request), &names, &who);
        }
        if let Principal::Token(claims) = &who {
            self.expiries.insert(hub, id.conn(), claims.expires);
        }
        if let (Some(presence), Some(member)) = (&mut self.presence, member)
            && let Err(full) =
                presence::join(presence, &self.patterns, hub, id.conn(), &names, &member)
        {
            hub.close(id.conn(), CloseCode::TRY_AGAIN_LATER, &full.to_string());
        }
        if names.iter().any(|name| name == STATS) {
            self.want_stats(hub);
        }
        if let Some(brokering) = &mut self.broker
            && names.iter().any(|name| name == STATE)
        {
            brokering.publish_state(hub);
        }
        if let Some(first) = names.into_iter().next().filter(|_| request.is_websocket()) {
            let verdict = self.gate.may(&who, Action::Publish, &first);
            let accounts = Account::of(request, &who);
            let messages = self.messages(request, &who, &first);
            self.topics
                .insert(id.conn(), Target { topic: first.into(), verdict, accounts, messages });
        }
    }

    /// Whether its client may have one more connection. One behind a proxy is known only now, and a token is looked
    /// at after its sender.
    pub(super) fn admit_client(
        &self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
    ) -> Result<(), TurnedAway> {
        let Some(client) = request.client() else { return Ok(()) };
        hub.admit_client(id.conn(), client).map_err(|full| TurnedAway {
            status: 429,
            why: full.to_string().into(),
            field: Some(("Retry-After", RETRY_AFTER.into())),
            is_last: false,
        })
    }

    /// What is asked for, and by whom, if that may be: all topics, or none.
    fn asks_for(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
    ) -> Result<Asked, TurnedAway> {
        let mut names = topics::of(request, hub.config(), self.one_topic)?;
        if !request.is_websocket() {
            // The ids of an event stream have their places in this order.
            names.sort_unstable();
        }
        self.admit_client(hub, id, request)?;
        let who = self.gate.admit(hub, request, Action::Subscribe, &names)?;
        let start = subscribe::start(request, names.len())?;
        let is_guarded = self.gate.is_guarded();
        let patterns = &self.patterns;
        let claim = |it| presence::claim(it, patterns, hub, request, &names, (&who, is_guarded));
        let member = self.presence.as_ref().map(claim).transpose()?.flatten();
        Ok(Asked { names, who, start, member, is_confirmed: false, waits_until: None })
    }

    /// The subprotocol that the client offers and the server has. A browser fails a connection without one
    /// of its offers, and a token is none.
    fn subprotocol<'a>(&self, request: &'a Request) -> Option<&'a str> {
        let known = |offer: &&str| self.subprotocols.iter().any(|known| known == offer);
        let is_bearer = |offer: &&str| self.gate.is_guarded() && *offer == BEARER;
        let mut offers = request.subprotocols();
        offers.find(known).or_else(|| request.subprotocols().find(is_bearer))
    }
}
