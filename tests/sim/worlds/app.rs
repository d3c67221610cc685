//! The application of a simulated world: what it does, whenever it can, and what must come of it.

use std::mem;
use std::rc::Rc;
use std::time::Duration;

use pushloop::{
    CloseCode, ConnId, Event, HandleError, Message, OnLag, Overflow, ProtocolError, PublishError,
    Published, Reason, SendError,
};

use super::deflate::{send_uncompressed, set_topic_deflate};
use super::marks::Mark;
use super::peer::Said;
use super::world::{Due, TOPICS, World, topic_name};
use crate::oracle::stream::Heard;

/// More than a publication takes beside its frame, with a batch of its own.
const BOOKKEEPING_BYTES: usize = 500;
const MARK_BYTES: usize = 8;
/// The rest of a publication that has begun to leave is not counted with what is sent directly.
pub const BEGUN_BYTES: usize = 1000;

fn frame_bytes(payload: &str) -> usize {
    payload.len() + if payload.len() < 126 { 2 } else { 4 }
}

impl World {
    /// A message that says who said it, where, and which one it is.
    fn message(&mut self, by_handle: bool, topic: Option<usize>) -> (Said, String) {
        self.said += 1;
        let said = Said { by_handle, number: self.said, topic };
        (said, said.payload(self.choice.of(&[0, 1, 3, 10, 100, 150, 400, 800])))
    }

    /// The application does something.
    pub fn acts(&mut self) {
        let Some(at) = self.any() else { return };
        let Some(id) = self.members[at].id else { return };
        let topic = self.choice.below(TOPICS);
        let kind = self.choice.below(40);
        self.notes(|| format!("act {kind} on peer {at}, topic {topic}"));
        if self.in_callback {
            self.marks.hit(match kind {
                0..10 => Mark::SubscribedInCallback,
                10..13 => Mark::UnsubscribedInCallback,
                13..29 => Mark::PublishedInCallback,
                29..38 => Mark::SentInCallback,
                _ => Mark::ClosedInCallback,
            });
        }
        match kind {
            0..10 => self.subscribes(at, id, topic),
            10..13 => self.unsubscribes(at, id, topic),
            13..24 => self.publishes(topic),
            24..29 => self.publishes_except(at, id, topic),
            29..37 => {
                if self.choice.chance(30) {
                    // What is sent then is behind what its topic still writes, and dropped first.
                    let its = self.members[at].topics.first().copied();
                    (0..self.choice.below(4)).for_each(|_| self.publishes(its.unwrap_or(topic)));
                }
                // Messages in a row to one peer, which may refer back to each other.
                self.sends(at, id);
                while self.choice.chance(40) {
                    self.sends(at, id);
                }
            }
            37 if self.choice.chance(50) => {
                let may_deflate = self.choice.chance(60);
                self.switches(topic, may_deflate);
            }
            37 => {
                let soon = self.server.hub().now() + Duration::from_millis(3);
                self.server.hub().set_timer(soon, self.timers.len() as u64);
                self.timers.push(Some(soon));
            }
            _ => self.closes(at, id),
        }
    }

    /// What is published there from now on may be compressed, or not.
    fn switches(&mut self, topic: usize, may_deflate: bool) {
        self.marks.hit(Mark::TopicSwitched);
        if may_deflate {
            self.plain.remove(&topic);
        } else {
            self.plain.insert(topic);
        }
        set_topic_deflate(self.server.hub(), topic_name(topic), may_deflate);
    }

    fn closes(&mut self, at: usize, id: ConnId) {
        self.members[at].closed_by_us = true;
        let way = self.choice.below(6);
        let hub = self.server.hub();
        match way {
            0 => {
                hub.abort(id);
                self.members[at].aborted = true;
                self.marks.hit(Mark::Aborted);
            }
            1 => {
                let soon = hub.now() + Duration::from_millis(3);
                hub.close_at(id, soon, CloseCode::NORMAL, "go");
                self.marks.hit(Mark::ClosedAt);
            }
            _ => hub.close(id, CloseCode::NORMAL, "go"),
        }
        self.notices(at);
    }

    pub fn unsubscribes(&mut self, at: usize, id: ConnId, topic: usize) {
        self.looks_at(topic);
        let had = self.members[at].topics.contains(&topic);
        assert_eq!(self.server.hub().unsubscribe(id, topic_name(topic)), had);
        if had {
            self.marks.hit(Mark::Unsubscribed);
            self.leaves(at, topic);
        }
    }

    /// From here on it need not get what a handle has published and the loop may not have seen.
    fn leaves(&mut self, at: usize, topic: usize) {
        self.unsubscribed(at, topic);
        let member = &mut self.members[at];
        member.topics.remove(&topic);
        // What is published later may take the place of the latest that was due.
        self.left_out.insert((at, topic), self.said);
        let live = member.due.iter_mut().filter(|due| !due.kept);
        for due in live.filter(|due| due.said.topic == Some(topic)) {
            due.must &= !self.flying.contains(&due.said);
        }
    }

    pub fn publishes(&mut self, topic: usize) {
        self.looks_at(topic);
        let (said, payload) = self.message(false, Some(topic));
        let total = self.total_with(&payload);
        let done = self.server.hub().publish(topic_name(topic), &payload);
        self.has_published(said, done, None, total, frame_bytes(&payload));
        if self.plain.contains(&topic) && self.choice.chance(10) {
            // What was published before stays a secret.
            self.switches(topic, true);
        }
    }

    fn publishes_except(&mut self, at: usize, id: ConnId, topic: usize) {
        self.looks_at(topic);
        let (said, payload) = self.message(false, Some(topic));
        let total = self.total_with(&payload);
        let done = self.server.hub().publish_except(topic_name(topic), &payload, id);
        if done.is_ok() {
            self.left_out.insert((at, topic), said.number);
        }
        self.has_published(said, done, Some(at), total, frame_bytes(&payload));
    }

    fn has_published(
        &mut self,
        said: Said,
        done: Result<Published, PublishError>,
        except: Option<usize>,
        total: usize,
        bytes: usize,
    ) {
        let config = self.server.hub().config();
        let max = config.send_queues_bytes_max;
        match done {
            Ok(done) => {
                let reached = done.subscribers;
                self.has_place(said, done, except, bytes);
                if reached == 0 && done.position.is_some() {
                    self.marks.hit(Mark::PublishedToNobody);
                }
                assert!(reached == 0 || self.server.hub().queued_bytes_total() <= max);
                assert_eq!(reached, self.is_due(said, except), "{said:?}");
            }
            Err(PublishError::ProcessFull) => self.is_refused(total + BOOKKEEPING_BYTES > max),
            Err(PublishError::TopicFull) => {
                assert!(config.topic_unserved_bytes_max < 1 << 20, "there is room");
                self.marks.hit(Mark::TopicFull);
                self.refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// What waits in the process, and this.
    fn total_with(&mut self, payload: &str) -> usize {
        self.server.hub().queued_bytes_total() + frame_bytes(payload)
    }

    fn is_refused(&mut self, full: bool) {
        assert!(self.is_tight && full, "there is room");
        self.refused += 1;
    }

    /// Every subscriber must get it, but for one. Gives their number.
    fn is_due(&mut self, said: Said, except: Option<usize>) -> usize {
        if !said.by_handle && said.topic.is_some_and(|topic| self.plain.contains(&topic)) {
            self.secrets.insert(said);
        }
        let mut reached = 0;
        let mut deflated = 0;
        for (at, member) in self.members.iter_mut().enumerate() {
            if Some(at) != except && said.topic.is_some_and(|it| member.topics.contains(&it)) {
                member.due.push(Due { said, must: true, kept: false });
                reached += 1;
                deflated += usize::from(self.peers[at].codec.is_some());
            }
        }
        if deflated > 0 && deflated < reached {
            self.marks.hit(Mark::MixedTopic);
        }
        reached
    }

    fn sends(&mut self, at: usize, id: ConnId) {
        let (said, payload) = self.message(false, None);
        let total = self.total_with(&payload);
        let hub = self.server.hub();
        // What orders it behind publications counts as well.
        let waits = hub.queued_bytes(id) + payload.len() + 4 + MARK_BYTES;
        let max = hub.config().send_queue_bytes_max;
        let max_total = hub.config().send_queues_bytes_max;
        let done = if self.choice.chance(10) {
            self.marks.hit(Mark::SentUncompressed);
            self.secrets.insert(said);
            send_uncompressed(hub, id, &payload)
        } else {
            hub.send(id, &payload)
        };
        match done {
            Ok(()) => {
                let waits = hub.queued_bytes(id);
                assert!(self.members[at].is_open && waits <= max + BEGUN_BYTES, "{waits} bytes");
                assert!(hub.queued_bytes_total() <= max_total);
                self.members[at].due.push(Due { said, must: true, kept: false });
            }
            Err(SendError::Gone) => {
                assert!(!self.members[at].is_open);
                self.marks.hit(Mark::SentToGone);
            }
            Err(error @ (SendError::Closing | SendError::Full)) => {
                assert!(waits > max, "{waits} bytes are full");
                // A connection that is closed for it is told of by its end, and nothing is dropped.
                assert_eq!(error == SendError::Closing, !hub.is_open(id));
                self.refused += u64::from(error == SendError::Full);
                self.notices(at);
            }
            Err(SendError::ProcessFull) => self.is_refused(total + MARK_BYTES > max_total),
            Err(other) => panic!("{other}"),
        }
    }

    /// A handle asks for something: now, or from another thread in the middle of the next turn.
    pub fn commands(&mut self) {
        let Some(at) = self.any() else { return };
        let topic = self.choice.below(TOPICS);
        let kind = self.choice.below(20);
        self.notes(|| format!("command {kind} on peer {at}, topic {topic}"));
        let handle = self.handle.clone();
        let id = self.members[at].id;
        match (kind, id) {
            (0..11, _) => {
                let (said, payload) = self.message(true, Some(topic));
                self.is_due(said, None);
                // Where a topic can be full, a handle is not told that it was.
                let is_certain = self.server.hub().config().topic_unserved_bytes_max > 1 << 20;
                let dues = self.members.iter_mut().flat_map(|member| &mut member.due);
                dues.filter(|due| due.said == said).for_each(|due| due.must = is_certain);
                self.flying.push(said);
                self.histories.is_asked(said, frame_bytes(&payload));
                self.asks(Mark::HandlePublish, Some(said), move || {
                    handle.publish(topic_name(topic), &payload)
                });
            }
            (11..19, Some(id)) => {
                let (said, payload) = self.message(true, None);
                self.flying.push(said);
                let must = self.members[at].is_open;
                self.members[at].due.push(Due { said, must, kept: false });
                self.asks(Mark::HandleSend, Some(said), move || handle.send(id, &payload));
            }
            (19.., Some(id)) => {
                self.members[at].closed_by_us = true;
                let close = move || handle.close(id, CloseCode::GOING_AWAY, "go");
                self.asks(Mark::HandleClose, None, close);
            }
            (_, None) => {}
        }
    }

    /// Other threads are one behind the other here: the order of their commands is known.
    fn asks(
        &mut self,
        mark: Mark,
        said: Option<Said>,
        command: impl FnOnce() -> Result<(), HandleError> + 'static,
    ) {
        let done = Rc::clone(&self.done);
        let asks = move || done.borrow_mut().push((mark, said, command()));
        let is_later = self.choice.chance(50);
        let net = self.server.net();
        if is_later || net.has_meanwhile() {
            net.meanwhile(asks);
        } else {
            asks();
        }
        self.hears_handles();
    }

    /// What became of the commands so far.
    pub fn hears_handles(&mut self) {
        for (mark, said, done) in self.done.take() {
            match done {
                Ok(()) => self.marks.hit(mark),
                Err(HandleError::Full) => {
                    self.marks.hit(Mark::HandleFull);
                    self.flying.retain(|it| Some(*it) != said);
                    said.into_iter().for_each(|said| self.histories.is_refused(said));
                    for member in &mut self.members {
                        member.due.retain(|due| Some(due.said) != said);
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Notices whether a member has been closed.
    pub fn notices(&mut self, at: usize) {
        let member = &mut self.members[at];
        let Some(id) = member.id.filter(|_| member.is_open) else { return };
        if self.server.hub().is_open(id) {
            return;
        }
        member.is_open = false;
        let topics = mem::take(&mut member.topics);
        topics.iter().for_each(|topic| self.looks_at(*topic));
        topics.into_iter().for_each(|topic| self.leaves(at, topic));
        for due in self.members[at].due.iter_mut().filter(|due| due.said.topic.is_none()) {
            due.must &= !self.flying.contains(&due.said);
        }
    }

    /// What the batch says, and what the application does on hearing it.
    pub fn happens(&mut self) {
        let quiet: Vec<_> = self.members.iter().map(|member| !member.is_open).collect();
        (0..self.members.len()).for_each(|at| self.notices(at));
        self.begins_batch();
        let events = mem::take(&mut self.events);
        for event in &events {
            self.notes(|| format!("event {event:?}"));
            match event {
                Event::Request { id, request } => {
                    self.hears_request(id, request);
                    if self.choice.chance(40) {
                        self.marks.hit(Mark::LateAnswer);
                    } else {
                        self.answers();
                    }
                }
                Event::RequestGone { id } => self.hears_gone(id),
                Event::Opened { id } => self.hears_open(id),
                Event::Message { id, message } => {
                    let at = self.by_id[&id];
                    assert!(!quiet[at], "a message of a connection that was closed before");
                    self.hears_message(at, message);
                    if self.choice.chance(3) {
                        self.marks.hit(Mark::ClosedInCallback);
                        self.closes(at, id);
                    }
                }
                Event::Closed { id, reason } => self.hears_closed(id, &reason),
                Event::Writable { id } => {
                    self.marks.hit(Mark::Writable);
                    let member = &self.members[self.by_id[&id]];
                    assert!(member.opened && member.told.is_none());
                }
                Event::Timer { key } => self.hears_timer(key),
                Event::RequestHead { id, request } => self.hears_head(id, request),
                // What the peers get tells of these.
                Event::Refused { .. } => {}
                other => panic!("{other:?} is new here"),
            }
            self.in_callback = true;
            while self.choice.chance(35) {
                self.marks.hit(Mark::ActInCallback);
                if self.choice.chance(20) { self.commands() } else { self.acts() }
            }
            self.in_callback = false;
        }
        self.events = events;
        if self.choice.chance(40) {
            self.answers();
        }
    }

    /// What the batch says, to an application that does nothing more.
    pub fn is_told(&mut self) {
        self.begins_batch();
        let events = mem::take(&mut self.events);
        for event in &events {
            self.notes(|| format!("event {event:?}"));
            match event {
                Event::Request { id, request } => self.hears_request(id, request),
                Event::RequestGone { id } => self.hears_gone(id),
                Event::Opened { id } => self.hears_open(id),
                Event::Message { id, message } => self.hears_message(self.by_id[&id], message),
                Event::Closed { id, reason } => self.hears_closed(id, &reason),
                Event::Timer { key } => self.hears_timer(key),
                _ => {}
            }
        }
        self.events = events;
    }

    /// It comes once and on time, if time does not leap.
    fn hears_timer(&mut self, key: u64) {
        let due = self.timers[key as usize].take().expect("a timer that has not come yet");
        let (now, leapt) = (self.server.hub().now(), self.server.net().leapt());
        assert!(now == due || (now > due && leapt > due), "timer {key} is out of time");
    }

    fn hears_open(&mut self, id: ConnId) {
        let member = &mut self.members[self.by_id[&id]];
        assert!(!member.opened && member.heard.is_empty() && member.told.is_none());
        member.opened = true;
    }

    fn hears_message(&mut self, at: usize, message: Message<'_>) {
        let member = &mut self.members[at];
        assert!(member.opened && member.told.is_none());
        if !member.is_open {
            self.marks.hit(Mark::MessageAfterClose);
        }
        member.heard.push(match message {
            Message::Text(text) => Heard::Text(text.into()),
            Message::Binary(bytes) => Heard::Binary(bytes.into()),
        });
    }

    fn hears_closed(&mut self, id: ConnId, reason: &Reason<'_>) {
        let at = self.by_id[&id];
        let (member, peer) = (&self.members[at], &self.peers[at]);
        assert!(member.opened && member.told.is_none(), "{reason:?}");
        let has_cause = match reason {
            Reason::Peer { code, .. } => {
                peer.close_sent && [4000, 1005, 1000, 1001, 1013].contains(code)
            }
            Reason::Protocol(error) => {
                match error {
                    ProtocolError::InvalidDeflate => self.marks.hit(Mark::DeflateFailed),
                    ProtocolError::MessageTooBig if peer.codec.is_some() => {
                        self.marks.hit(Mark::BombRefused);
                    }
                    _ => {}
                }
                let mut others = self.members.iter().zip(&self.peers);
                if others.any(|(member, peer)| member.is_open && peer.is_good) {
                    self.marks.hit(Mark::BesideBroken);
                }
                !peer.is_good
            }
            Reason::Local { .. } | Reason::Aborted => member.closed_by_us,
            Reason::Lost => peer.reset || peer.finished,
            // Others do not answer Pings, nor a Close.
            Reason::TimedOut => self.leaps || !peer.is_good,
            Reason::Idle => self.leaps,
            Reason::Overflow => {
                let config = self.server.hub().config();
                let is_policy = config.overflow == Overflow::Close
                    || member.due.iter().any(|due| due.kept)
                    || self.policies.contains(&OnLag::Close)
                    || self.leaps
                    || config.blocked_timeout < Duration::from_secs(60);
                self.is_tight || is_policy
            }
            Reason::Shutdown => self.server.hub().is_shutting_down(),
            _ => false,
        };
        assert!(has_cause, "peer {at}: {reason:?}");
        self.members[at].told = Some(reason.code());
        self.members[at].timed_out = *reason == Reason::TimedOut;
    }
}
