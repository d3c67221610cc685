//! Other loops of the process that are nodes of their own: what this one has them do, and what it does for them.

use pushloop::{Hub, Pending, Request, RequestId, Response};
use serde_json::Value;

use super::{Service, asking::Next, brokering::OPEN_TIMEOUT, centrifuging::no_session, sessions};
use crate::{
    errands::{self, Asked, Errand},
    gate::TurnedAway,
};

impl Service {
    /// Whether connections may be of other loops, which know what this one does not.
    pub(super) fn has_others(&self) -> bool {
        self.errands.is_some()
    }

    /// Has other loops do what a backend's request does to connections. If they have no room, the request is refused.
    pub(super) fn do_elsewhere(&self, request: &Request) -> Result<(), TurnedAway> {
        let is_taken = self.errands.as_ref().is_none_or(|it| it.do_elsewhere(request));
        if is_taken { Ok(()) } else { Err((503, errands::FULL.into()).into()) }
    }

    /// Answers with what this loop tells and others do.
    pub(super) fn sum_up(&self, hub: &Hub, id: RequestId, told: &str) {
        // Its peer may be gone.
        let Some((errands, pending)) = self.errands.as_ref().zip(hub.defer(id)) else { return };
        let told = serde_json::from_str(told).unwrap_or_default();
        errands.begin(pending, |asked| Errand::Sum(asked, told));
    }

    /// Has other loops look for the connection that commands were posted for.
    pub(super) fn post_elsewhere(&self, hub: &Hub, id: RequestId) {
        if let Some((errands, pending)) = self.errands.as_ref().zip(hub.defer(id)) {
            errands.begin(pending, Errand::Post);
        }
    }

    /// Does what other loops have for this one.
    pub(super) fn take_errands(&mut self, hub: &mut Hub) {
        let taken = self.errands.as_ref().map(errands::Errands::next);
        for errand in taken.into_iter().flatten() {
            match errand {
                Errand::Do(request) => match self.repeat(hub, &request, false) {
                    None => self.end_errand(&request),
                    Some(number) => {
                        let until = hub.now() + OPEN_TIMEOUT;
                        if let Some(brokering) = &mut self.broker {
                            brokering.wait(hub, number, Next::Errand(request), until);
                        }
                    }
                },
                Errand::Sum(asked, told) => self.take_sum(hub, asked, told),
                Errand::Post(asked) => self.look_for_post(hub, asked),
            }
        }
    }

    fn take_sum(&mut self, hub: &mut Hub, asked: Asked, mut told: Value) {
        let more = self.figures(hub, asked.pending.request());
        errands::add(&mut told, more.unwrap_or_default());
        let Some(errands) = &self.errands else { return };
        match errands.advance(asked) {
            Ok(asked) => errands.send_on(Errand::Sum(asked, told)),
            Err(pending) => errands::tell(pending, &told),
        }
    }

    fn look_for_post(&mut self, hub: &mut Hub, asked: Asked) {
        self.sessions.look_at(asked.pending.request());
        let done = self.carry_out_post(hub, asked.pending.request());
        let Some(errands) = &self.errands else { return };
        let (pending, away) = match done {
            Ok(true) => (errands.end(asked), None),
            Err(away) => (errands.end(asked), Some(away)),
            Ok(false) => match errands.advance(asked) {
                Ok(asked) => return errands.send_on(Errand::Post(asked)),
                Err(pending) => (pending, Some(no_session())),
            },
        };
        self.settle_post(pending, away);
    }

    fn settle_post(&self, mut pending: Pending, away: Option<TurnedAway>) {
        // One that is over needs no answer.
        let _ = match away {
            None => {
                let done = Response::new(204).header("X-Content-Type-Options", "nosniff");
                pending.respond(done).map_err(|(error, _)| error)
            }
            Some(TurnedAway { status, why, .. }) => {
                self.sessions.refuse(status, sessions::cause(&why));
                pending.refuse(status, &why)
            }
        };
    }

    /// What waited for the broker is done.
    pub(super) fn settle_errand(&mut self, hub: &mut Hub, request: &Request) {
        self.repeat(hub, request, true);
        self.end_errand(request);
    }

    fn end_errand(&self, request: &Request) {
        if let Some(errands) = &self.errands {
            errands.release(request);
        }
    }

    /// Does to connections of this loop what a request does, which another one answers; or gives the number under which the
    /// broker tells when that is to be done.
    fn repeat(&mut self, hub: &mut Hub, request: &Request, is_confirmed: bool) -> Option<u64> {
        match self.is_for_apps(request) {
            true => {
                self.terminate_as_asked(hub, request);
                None
            }
            false => self.repeat_calls(hub, request, is_confirmed),
        }
    }

    /// What this loop tells of what a request asks to know.
    fn figures(&mut self, hub: &mut Hub, request: &Request) -> Option<Value> {
        let told = match self.is_for_apps(request) {
            true => self.figures_of_apps(hub, request),
            false => self.figures_of_calls(hub, request),
        };
        serde_json::from_str(&told?).ok()
    }
}
