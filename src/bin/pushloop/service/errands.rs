//! Other loops of the process that are nodes of their own: what this one has them do, and what it does for them.

use std::{collections::VecDeque, sync::Arc};

use pushloop::{Hub, Pending, Request, RequestId, Response};
use serde_json::Value;

use super::{Service, asking::Next, brokering::OPEN_TIMEOUT, centrifuging::no_session, sessions};
use crate::{
    errands::{self, Asked, Errand},
    gate::TurnedAway,
};

/// What requests do to connections of this loop, in the order in which they came. What another loop has answered may wait
/// here for the broker, and what a backend asks for after that answer is to be done after it.
#[derive(Default)]
pub(super) struct Turns {
    line: VecDeque<Turn>,
    /// A request that has its turn, which those behind it wait for.
    at_hand: Option<RequestId>,
}

struct Turn {
    what: What,
    /// The number under which the broker tells what is waited for.
    wait: Option<u64>,
    is_confirmed: bool,
}

enum What {
    /// Another loop has answered it.
    Errand(Arc<Request>),
    /// This one does.
    Own(RequestId, Box<Request>),
}

impl Turns {
    /// The next one, unless it waits.
    fn next(&mut self) -> Option<Turn> {
        self.line.front().filter(|turn| turn.wait.is_none())?;
        self.line.pop_front()
    }

    fn settle(&mut self, number: u64) {
        let settled = self.line.iter_mut().filter(|it| it.wait == Some(number));
        settled.for_each(|it| (it.wait, it.is_confirmed) = (None, true));
    }
}

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

    /// Answers with what all loops tell together, of which this is what this one tells.
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
                Errand::Do(request) => {
                    // Those that wait do so together.
                    let waits = !self.turns.line.is_empty();
                    let number = waits.then(|| self.hear_ahead(hub, &request)).flatten();
                    self.line_up(hub, request, number, VecDeque::push_back);
                    self.do_all_due(hub);
                }
                Errand::Sum(asked, sum) => self.take_sum(hub, asked, sum),
                Errand::Post(asked) => self.look_for_post(hub, asked),
            }
        }
    }

    fn take_sum(&mut self, hub: &mut Hub, asked: Asked, mut sum: Value) {
        let more = self.figures(hub, asked.pending.request());
        let Some(errands) = &self.errands else { return };
        match more {
            Ok(more) => errands::add(&mut sum, more),
            Err(away) => return self.refuse_pending(errands.end(asked), &away),
        }
        match errands.advance(asked) {
            Ok(asked) => errands.send_on(Errand::Sum(asked, sum)),
            Err(pending) => errands::tell(pending, &sum),
        }
    }

    fn look_for_post(&mut self, hub: &mut Hub, asked: Asked) {
        self.sessions.look_at(asked.pending.request());
        let done = self.carry_out_post(hub, asked.pending.request());
        let Some(errands) = &self.errands else { return };
        match done {
            Ok(true) => {
                let done = Response::new(204).header("X-Content-Type-Options", "nosniff");
                // One that is over needs no answer.
                let _ = errands.end(asked).respond(done);
            }
            Err(away) => self.refuse_pending(errands.end(asked), &away),
            Ok(false) => match errands.advance(asked) {
                Ok(asked) => errands.send_on(Errand::Post(asked)),
                Err(pending) => self.refuse_pending(pending, &no_session()),
            },
        }
    }

    fn refuse_pending(&self, mut pending: Pending, away: &TurnedAway) {
        self.sessions.refuse(away.status, sessions::cause(&away.why));
        // One that is over needs no answer.
        let _ = pending.refuse(away.status, &away.why);
    }

    /// The broker has told what an errand waits for.
    pub(super) fn settle_errand(&mut self, hub: &mut Hub, number: u64) {
        self.turns.settle(number);
        self.do_all_due(hub);
    }

    /// Whether it is the turn of a backend's request to do something to connections. If not, it is kept until it is.
    pub(super) fn has_its_turn(
        &mut self,
        (id, request): (RequestId, &Request),
        is_confirmed: bool,
    ) -> bool {
        let may = self.turns.line.is_empty() || self.turns.at_hand == Some(id);
        if !may {
            let what = What::Own(id, Box::new(request.clone()));
            self.turns.line.push_back(Turn { what, wait: None, is_confirmed });
        }
        may
    }

    /// Puts an errand into the line. If there is a number, it waits for what the broker tells under it.
    fn line_up(
        &mut self,
        hub: &mut Hub,
        request: Arc<Request>,
        wait: Option<u64>,
        push: impl FnOnce(&mut VecDeque<Turn>, Turn),
    ) {
        if let (Some(number), Some(brokering)) = (wait, &mut self.broker) {
            brokering.wait(hub, number, Next::Errand(number), hub.now() + OPEN_TIMEOUT);
        }
        let what = What::Errand(request);
        push(&mut self.turns.line, Turn { what, wait, is_confirmed: false });
    }

    /// Does what has its turn, up to what waits.
    fn do_all_due(&mut self, hub: &mut Hub) {
        while let Some(turn) = self.turns.next() {
            self.do_due(hub, turn);
        }
    }

    fn do_due(&mut self, hub: &mut Hub, Turn { what, is_confirmed, .. }: Turn) {
        match what {
            What::Errand(request) => match self.repeat(hub, &request, is_confirmed) {
                None => self.end_errand(&request),
                number => self.line_up(hub, request, number, VecDeque::push_front),
            },
            What::Own(id, request) => {
                self.sessions.look_at(&request);
                self.turns.at_hand = Some(id);
                self.call_centrifuge_api(hub, id, &request, is_confirmed);
            }
        }
    }

    fn end_errand(&self, request: &Request) {
        if let Some(errands) = &self.errands {
            errands.release(request);
        }
    }

    /// Does to connections of this loop what a request asks for that another loop answers. If that has to wait for the
    /// broker, gives the number under which it tells.
    fn repeat(&mut self, hub: &mut Hub, request: &Request, is_confirmed: bool) -> Option<u64> {
        match self.is_for_apps(request) {
            true => {
                self.terminate_as_asked(hub, request);
                None
            }
            false => self.repeat_calls(hub, request, is_confirmed),
        }
    }

    /// Asks for what a request does to connections here, before its turn.
    fn hear_ahead(&mut self, hub: &mut Hub, request: &Request) -> Option<u64> {
        let is_for_apps = self.is_for_apps(request);
        (!is_for_apps).then(|| self.hear_calls(hub, request)).flatten()
    }

    /// What this loop knows of what a request asks for.
    fn figures(&mut self, hub: &mut Hub, request: &Request) -> Result<Value, TurnedAway> {
        let told = match self.is_for_apps(request) {
            true => self.figures_of_apps(hub, request)?,
            false => self.figures_of_calls(hub, request)?,
        };
        Ok(serde_json::from_str(&told).unwrap_or_default())
    }
}
