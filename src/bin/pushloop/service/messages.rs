//! What WebSockets send, and a backend is asked about: one question at a time for each, so that the order stays.
//!
//! Reading cannot wait for the answer, since a WebSocket's Pings and its Close come between its messages. So
//! what comes meanwhile is kept, and a client that does not wait is closed.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::atomic::Ordering,
};

use pushloop::{CloseCode, ConnId, ConnMap, Hub, Message, Request};

use super::{
    Service, Target,
    asking::{Next, full, unavailable},
    publishing::publish_message,
};
use crate::{
    auth::Principal,
    gate::TurnedAway,
    hooks::{Kind, Mark},
    publish::Content,
};

/// Messages of one WebSocket that wait.
const HOOK_MESSAGES_MAX: usize = 16;

/// What one WebSocket has sent.
pub struct Messages {
    /// Each message has the same.
    question: Box<[u8]>,
    waiting: VecDeque<Content<'static>>,
    /// The number of the question about the first.
    asked: Option<u64>,
}

impl Service {
    /// What is to be kept of a WebSocket that publishes to this topic, if it is asked about its messages.
    pub(super) fn messages(
        &self,
        request: &Request,
        who: &Principal,
        first: &str,
    ) -> Option<Box<Messages>> {
        let asking = self.hooks.asking.as_ref().filter(|it| it.asks(Kind::Publish))?;
        let question = asking.question(Kind::Publish, &[first.to_owned()], request, who);
        Some(Box::new(Messages {
            question: question.into(),
            waiting: VecDeque::new(),
            asked: None,
        }))
    }

    /// Takes a message about which it is to be asked.
    pub(super) fn take_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let kept = Content::Body(message).into_owned();
        let messages = messages_of(&mut self.topics, &mut self.leaving, id);
        let Some((messages, asking)) = messages.zip(self.hooks.asking.as_ref()) else { return };
        let are_too_many = messages.waiting.len() >= HOOK_MESSAGES_MAX;
        if are_too_many || !asking.reserve(kept.len()) {
            self.status.hook_messages_overflowed.fetch_add(1, Ordering::Relaxed);
            let why = if are_too_many {
                "too many messages wait for the backend: hook_messages_max = 16"
            } else {
                "too much of all clients waits for the backend: hook_messages_bytes_max = 16777216"
            };
            return self.refuse_messages(hub, id, &unavailable(why.to_owned()));
        }
        messages.waiting.push_back(kept);
        self.ask_about_messages(hub, id);
    }

    /// Asks about the messages that wait, one after another, up to one that has to wait for its answer.
    fn ask_about_messages(&mut self, hub: &mut Hub, id: ConnId) {
        // At most as many as may wait: each turn takes one of them.
        while let Some(messages) = messages_of(&mut self.topics, &mut self.leaving, id)
            && messages.asked.is_none()
            && !messages.waiting.is_empty()
            && let Some(asking) = &mut self.hooks.asking
        {
            let mark = Mark::of(&messages.question);
            if asking.knows(hub, mark) {
                self.publish_first(hub, id);
                continue;
            }
            messages.asked = asking.ask(hub, mark, &messages.question, Next::Message(id));
            if messages.asked.is_none() {
                return self.refuse_messages(hub, id, &full());
            }
            return;
        }
        self.leaving.remove(&id);
    }

    /// The answer about the first message came.
    pub(super) fn settle_message(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        verdict: Result<(), TurnedAway>,
    ) {
        let messages = messages_of(&mut self.topics, &mut self.leaving, id);
        let Some(messages) = messages else { return };
        messages.asked = None;
        match verdict {
            Ok(()) => {
                self.publish_first(hub, id);
                self.ask_about_messages(hub, id);
            }
            Err(away) => self.refuse_messages(hub, id, &away),
        }
    }

    fn publish_first(&mut self, hub: &mut Hub, id: ConnId) {
        let target = target_of(&mut self.topics, &mut self.leaving, id);
        let Some(Target { topic, messages: Some(messages), .. }) = target else { return };
        let Some(first) = messages.waiting.pop_front() else { return };
        if let Some(asking) = &self.hooks.asking {
            asking.release(first.len());
        }
        publish_message(&mut self.ahead, &mut self.broker, hub, topic, first.message());
        self.note_file();
    }

    /// Closes a WebSocket for what it sent, of which nothing more is published.
    fn refuse_messages(&mut self, hub: &mut Hub, id: ConnId, away: &TurnedAway) {
        let messages = messages_of(&mut self.topics, &mut self.leaving, id);
        let waiting = messages.map(|it| (mem::take(&mut it.waiting), it.asked.take()));
        let Some((waiting, asked)) = waiting else { return };
        if let Some(asking) = &mut self.hooks.asking {
            asking.release(waiting.iter().map(Content::len).sum());
            if let Some(number) = asked {
                asking.forget(hub, number);
            }
        }
        self.leaving.remove(&id);
        let is_refused = away.status == 403;
        let code = if is_refused { CloseCode::POLICY } else { CloseCode::TRY_AGAIN_LATER };
        hub.close(id, code, &away.why);
    }

    /// A connection is over. What it sent before is published all the same, if it may be.
    pub(super) fn leave(&mut self, id: ConnId) {
        let target = self.topics.remove(id);
        let waits = |target: &Target| target.messages.as_ref().is_some_and(|it| it.asked.is_some());
        if let Some(target) = target.filter(waits) {
            self.leaving.insert(id, target);
        }
    }
}

fn target_of<'a>(
    open: &'a mut ConnMap<Target>,
    leaving: &'a mut HashMap<ConnId, Target>,
    id: ConnId,
) -> Option<&'a mut Target> {
    open.get_mut(id).or_else(|| leaving.get_mut(&id))
}

fn messages_of<'a>(
    open: &'a mut ConnMap<Target>,
    leaving: &'a mut HashMap<ConnId, Target>,
    id: ConnId,
) -> Option<&'a mut Messages> {
    target_of(open, leaving, id)?.messages.as_deref_mut()
}
