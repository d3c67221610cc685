//! Requests in a simulated world: each is answered once, whenever the application comes to it, or is
//! told to be gone once; what is answered again is not taken for the next one's answer.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use pushloop::{Accept, AcceptError, Request, RequestId, RespondError, Response};

use super::marks::Mark;
use super::peer::{BODY, PAGE};
use super::world::World;

/// What the application knows of the requests that it was told of.
#[derive(Default)]
pub struct Requests {
    told: BTreeSet<RequestId>,
    /// Those of which the head was told before.
    headed: BTreeSet<RequestId>,
    /// Those that it has not come to, and whether each asks for a WebSocket.
    pub waiting: Vec<(RequestId, bool)>,
    /// Those that were answered, and in which batch.
    answered: BTreeMap<RequestId, u64>,
    gone: BTreeSet<RequestId>,
    batch: u64,
}

impl World {
    /// A batch is there. What is answered from here on may be in it as gone.
    pub fn begins_batch(&mut self) {
        self.requests.batch += 1;
    }

    pub fn hears_request(&mut self, id: RequestId, request: &Request) {
        let at: usize = request.path()[1..].parse().expect("a peer's number");
        self.members[at].id = Some(id.conn());
        self.by_id.insert(id.conn(), at);
        assert!(self.requests.told.insert(id), "{id:?} is told twice");
        let body = if request.method() == "POST" { BODY } else { "" };
        assert_eq!(request.body(), body.as_bytes(), "{request:?}");
        self.requests.waiting.push((id, request.is_websocket()));
    }

    /// Its body comes later, if it comes.
    pub fn hears_head(&mut self, id: RequestId, request: &Request) {
        let requests = &mut self.requests;
        assert!(request.body().is_empty() && !requests.told.contains(&id), "{id:?}");
        assert!(requests.headed.insert(id), "the head of {id:?} is told twice");
        self.marks.hit(Mark::HeadFirst);
    }

    pub fn hears_gone(&mut self, id: RequestId) {
        let requests = &mut self.requests;
        let is_known = requests.told.contains(&id) || requests.headed.contains(&id);
        assert!(is_known && requests.gone.insert(id), "{id:?}");
        let answered = requests.answered.get(&id);
        assert!(answered.is_none_or(|batch| *batch == requests.batch), "{id:?} was answered");
        self.marks.hit(Mark::RequestGone);
    }

    /// Accepts the requests that wait, or refuses them.
    pub fn answers(&mut self) {
        for (id, is_websocket) in mem::take(&mut self.requests.waiting) {
            self.answers_an_old_one(id);
            let hub = self.server.hub();
            let is_taken = if is_websocket && self.choice.chance(5) {
                self.marks.hit(Mark::Refused);
                hub.refuse(id, 403, "not you").is_ok()
            } else if !is_websocket {
                self.marks.hit(Mark::Responded);
                hub.respond(id, Response::text(200, PAGE)).is_ok()
            } else {
                let is_open = hub.accept(id, Accept::default()).is_ok();
                self.members[self.by_id[&id.conn()]].is_open |= is_open;
                is_open
            };
            // If not, it is gone, and that is told in this batch or in the next.
            if is_taken {
                self.requests.answered.insert(id, self.requests.batch);
                if self.requests.gone.contains(&id) {
                    self.marks.hit(Mark::AnsweredThoughGone);
                }
            }
            if self.choice.chance(20) {
                self.marks.hit(Mark::AnsweredTwice);
                self.is_over(id);
            }
        }
    }

    /// While a request waits, the one before it on the same connection takes no answer.
    fn answers_an_old_one(&mut self, id: RequestId) {
        let before = self.requests.answered.range(..id).next_back().map(|(old, _)| *old);
        if let Some(old) = before.filter(|old| old.conn() == id.conn()) {
            self.marks.hit(Mark::AnsweredLate);
            self.is_over(old);
        }
    }

    fn is_over(&mut self, id: RequestId) {
        let hub = self.server.hub();
        assert_eq!(hub.accept(id, Accept::default()), Err(AcceptError::Gone));
        assert_eq!(hub.respond(id, Response::text(200, "again")), Err(RespondError::Gone));
        assert_eq!(hub.refuse(id, 404, "again"), Err(RespondError::Gone));
    }

    /// When every connection is gone, every request was answered or told to be gone.
    pub fn checks_requests(&self) {
        let requests = &self.requests;
        let is_over =
            |id: &&RequestId| requests.answered.contains_key(id) || requests.gone.contains(id);
        let told = requests.told.union(&requests.headed);
        let forgotten: Vec<_> = told.filter(|id| !is_over(id)).collect();
        assert!(forgotten.is_empty(), "{forgotten:?} were not told to be gone");
    }
}
