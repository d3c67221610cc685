//! What waits until a backend has said whether it may be: requests, and messages of WebSockets.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pushloop::{Handle, Hub, Request, RequestId, Response, TimerId};
use serde_json::Map;

use super::{RETRY_AFTER, Service, subscribing};
use crate::{
    auth::Principal,
    gate::TurnedAway,
    hooks::{HookOptions, Kind, Mark, Pool, Verdict, question},
    publish,
    status::{Status, count},
    web::Failure,
};

/// Bytes of all messages that wait.
const HOOK_MESSAGES_BYTES_MAX: usize = 16 << 20;

/// Timers of questions have their numbers behind this bit.
const TIMERS: u64 = 1 << 63;

/// What a request does if it may. Nothing is read of a topic, and nothing published, by another way.
pub(super) enum Door {
    Subscribe(subscribing::Asked),
    Publish(publish::Asked, Principal),
    Presence(Vec<String>),
    Metrics,
    Operator,
    /// What a backend asks with an API, of topics that had to be heard first.
    Api,
}

impl Door {
    fn kind(&self) -> Kind {
        match self {
            Self::Subscribe(_) | Self::Presence(_) | Self::Metrics | Self::Operator | Self::Api => {
                Kind::Subscribe
            }
            Self::Publish(..) => Kind::Publish,
        }
    }
}

/// What goes on with an answer.
pub(super) enum Next {
    Request {
        id: RequestId,
        request: Box<Request>,
        door: Door,
    },
    /// The first message that waits of a WebSocket.
    Message(pushloop::ConnId),
    /// A command of a connection, for which the broker was asked under this number.
    Command(pushloop::ConnId, u64),
    /// What another loop's request does to connections of this one, for which the broker was asked under this number.
    Errand(u64),
}

struct Waiting {
    next: Next,
    mark: Mark,
    is_over: Arc<AtomicBool>,
    timer: TimerId,
}

/// The questions that are open. The pool bounds how many there are.
pub(super) struct Asking {
    options: HookOptions,
    pool: Pool,
    answers: crate::hooks::Answers,
    waiting: HashMap<u64, Waiting>,
    /// The questions of handshakes, which are over when the client leaves.
    handshakes: HashMap<RequestId, u64>,
    latest: u64,
    /// Bytes of messages that wait, at all loops.
    message_bytes: Arc<AtomicUsize>,
    status: Arc<Status>,
}

impl Asking {
    pub fn new(options: &HookOptions, pool: Pool, status: Arc<Status>) -> Self {
        Self {
            options: options.clone(),
            pool,
            answers: Default::default(),
            waiting: HashMap::new(),
            handshakes: HashMap::new(),
            latest: 0,
            message_bytes: Arc::default(),
            status,
        }
    }

    /// That of another loop: the answers go to this handle. It asks by the same threads.
    pub fn twin(&self, handle: Handle) -> Self {
        let twin = Self::new(&self.options, self.pool.twin(handle), Arc::clone(&self.status));
        Self { message_bytes: Arc::clone(&self.message_bytes), ..twin }
    }

    /// Takes room for a message that waits. False if there is none.
    pub fn reserve(&self, bytes: usize) -> bool {
        let held = self.message_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = held <= HOOK_MESSAGES_BYTES_MAX;
        if !has_room {
            self.release(bytes);
        }
        has_room
    }

    /// Messages wait no longer.
    pub fn release(&self, bytes: usize) {
        self.message_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn asks(&self, kind: Kind) -> bool {
        self.options.has(kind)
    }

    /// A question about what a request does.
    pub fn question(
        &self,
        kind: Kind,
        names: &[String],
        request: &Request,
        who: &Principal,
    ) -> Vec<u8> {
        let mut headers = Map::new();
        for name in &self.options.forward_headers {
            let values: Vec<_> = request.header_all(name).map(String::from_utf8_lossy).collect();
            if !values.is_empty() {
                // RFC 9110 §5.3; RFC 6265 §5.4 has another separator.
                let separator = if name == "cookie" { "; " } else { ", " };
                headers.insert(name.clone(), values.join(separator).into());
            }
        }
        question(kind, names, request.client(), who.subject(), headers)
    }

    /// Whether an answer of before holds for the question, and is yes.
    pub fn knows(&self, hub: &Hub, mark: Mark) -> bool {
        let is_known = self.answers.allow(mark, hub.now());
        self.status.hook_questions_cached.fetch_add(u64::from(is_known), Ordering::Relaxed);
        is_known
    }

    /// Asks, and gives the number of the question; `None` if too many wait.
    pub fn ask(&mut self, hub: &mut Hub, mark: Mark, question: &[u8], next: Next) -> Option<u64> {
        let (number, is_over) = (self.latest + 1, Arc::new(AtomicBool::new(false)));
        if !self.pool.ask(number, question.to_vec(), Arc::clone(&is_over)) {
            count(&self.status.hook_questions_turned_away);
            return None;
        }
        count(&self.status.hook_questions_asked);
        self.latest = number;
        if let Next::Request { id, request, .. } = &next
            && request.is_websocket()
        {
            self.handshakes.insert(*id, number);
        }
        let timer = hub.set_timer(hub.now() + self.options.timeout, TIMERS | number);
        self.waiting.insert(number, Waiting { next, mark, is_over, timer });
        Some(number)
    }

    /// What waited for an answer, which is no longer waited for.
    fn take(&mut self, hub: &mut Hub, number: u64) -> Option<(Next, Mark)> {
        let Waiting { next, mark, is_over, timer } = self.waiting.remove(&number)?;
        is_over.store(true, Ordering::Relaxed);
        hub.cancel_timer(timer);
        if let Next::Request { id, .. } = &next {
            self.handshakes.remove(id);
        }
        Some((next, mark))
    }

    /// A question that nobody waits for any more.
    pub fn forget(&mut self, hub: &mut Hub, number: u64) {
        self.take(hub, number);
    }

    /// What is told of an answer that is no yes; counts it.
    fn judge(&self, verdict: Verdict) -> Result<(), TurnedAway> {
        let status = &self.status;
        let (counter, why) = match verdict {
            Verdict::Allowed => {
                count(&status.hook_questions_allowed);
                return Ok(());
            }
            Verdict::Refused(why) => {
                count(&status.hook_questions_refused);
                return Err(TurnedAway {
                    status: 403,
                    why: why.into(),
                    field: None,
                    is_last: false,
                });
            }
            Verdict::Failed(Failure::TimedOut) => {
                (&status.hook_questions_timed_out, "has not answered in time")
            }
            Verdict::Failed(Failure::Unreachable) => {
                (&status.hook_questions_unreachable, "cannot be reached")
            }
            // Why is on standard error: it is the operator's to know.
            Verdict::Failed(Failure::Tls) => {
                (&status.hook_questions_tls_failed, "cannot be reached by TLS")
            }
            Verdict::Failed(Failure::Status) => {
                (&status.hook_questions_bad_status, "has answered neither yes nor no")
            }
            Verdict::Failed(Failure::TooLong | Failure::Answer) => {
                (&status.hook_questions_bad_answer, "has answered what cannot be read")
            }
        };
        count(counter);
        if self.options.allow_on_failure {
            return Ok(());
        }
        Err(unavailable(format!("the backend that decides it {why}")))
    }
}

/// What a client may try again.
pub(super) fn unavailable(why: String) -> TurnedAway {
    let field = Some(("Retry-After", RETRY_AFTER.into()));
    TurnedAway { status: 503, why: why.into(), field, is_last: false }
}

pub(super) fn full() -> TurnedAway {
    unavailable("too many requests wait for the backend that decides them".to_owned())
}

impl Service {
    /// Whether the backend is asked. What has the key for publishing is the backend.
    pub(super) fn asks(&self, kind: Kind, who: &Principal) -> bool {
        let is_backend = kind == Kind::Publish && matches!(who, Principal::PublishKey);
        !is_backend && self.hooks.asking.as_ref().is_some_and(|asking| asking.asks(kind))
    }

    /// Goes through the door once the backend has said that this may be done to these topics.
    pub(super) fn ask(
        &mut self,
        hub: &mut Hub,
        (id, request): (RequestId, &Request),
        who: &Principal,
        names: &[String],
        door: Door,
    ) {
        let Some(asking) = self.hooks.asking.as_mut().filter(|_| !names.is_empty()) else {
            return self.enter(hub, id, request, door);
        };
        let question = asking.question(door.kind(), names, request, who);
        let mark = Mark::of(&question);
        if asking.knows(hub, mark) {
            return self.enter(hub, id, request, door);
        }
        let next = Next::Request { id, request: Box::new(request.clone()), door };
        if asking.ask(hub, mark, &question, next).is_none() {
            self.turn_away(hub, id, &full());
        }
    }

    pub(super) fn enter(&mut self, hub: &mut Hub, id: RequestId, request: &Request, door: Door) {
        match door {
            Door::Subscribe(asked) => self.open(hub, id, request, asked),
            Door::Publish(asked, who) => self.publish_allowed(hub, id, request, asked, &who),
            Door::Presence(names) => self.tell_presence_of(hub, id, request, &names),
            Door::Metrics => self.tell_metrics_to(hub, id),
            Door::Operator => self.tell_operator_to(hub, id),
            Door::Api => self.answer_api(hub, id, request),
        }
    }

    pub(super) fn go_on(&mut self, hub: &mut Hub, next: Next, verdict: Result<(), TurnedAway>) {
        if let Next::Request { request, .. } = &next {
            self.sessions.look_at(request);
        }
        match (next, verdict) {
            (Next::Request { id, request, door }, Ok(())) => self.enter(hub, id, &request, door),
            (Next::Request { id, .. }, Err(away)) => self.turn_away(hub, id, &away),
            (Next::Message(id), verdict) => self.settle_message(hub, id, verdict),
            (Next::Command(id, number), verdict) => self.settle_command(hub, id, number, verdict),
            // What is not there is refused where it is done.
            (Next::Errand(number), _) => self.settle_errand(hub, number),
        }
    }

    /// What was answered meanwhile goes on.
    pub(super) fn take_answers(&mut self, hub: &mut Hub) {
        let answered = self.hooks.asking.as_ref().map(|asking| asking.pool.answered());
        for it in answered.into_iter().flatten() {
            self.take_answer(hub, it.number, it.verdict, it.holds);
        }
    }

    fn take_answer(&mut self, hub: &mut Hub, number: u64, verdict: Verdict, holds: Duration) {
        let Some(asking) = &mut self.hooks.asking else { return };
        let Some((next, mark)) = asking.take(hub, number) else { return };
        asking.answers.insert(mark, hub.now(), holds);
        let verdict = asking.judge(verdict);
        self.go_on(hub, next, verdict);
    }

    /// Whether the timer is that of a question, which has taken too long.
    pub(super) fn handle_question_timer(&mut self, hub: &mut Hub, key: u64) -> bool {
        let is_mine = key & TIMERS != 0;
        if is_mine {
            let verdict = Verdict::Failed(Failure::TimedOut);
            self.take_answer(hub, key & !TIMERS, verdict, Duration::ZERO);
        }
        is_mine
    }

    /// A client has left before its handshake was answered: its question would be asked for nobody. Other requests
    /// are gone through with: a peer that has sent its last byte may still read.
    pub(super) fn forget_handshake(&mut self, hub: &mut Hub, id: RequestId) {
        let Some(asking) = &mut self.hooks.asking else { return };
        let Some(number) = asking.handshakes.get(&id).copied() else { return };
        asking.forget(hub, number);
        // The server may have answered itself.
        let _ = hub.respond(id, Response::text(503, "the client has left"));
    }
}
