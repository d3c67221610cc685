//! This node's members, as the broker is to know them: under a lease that is renewed, all of them at once.
//!
//! A node has another name at each connection to the broker, so that whatever was on the way under the old one
//! changes nothing that is said now. It says again who is here, renewing the old one's lease meanwhile, and then that
//! the old one is over: a member that is still here was never gone. A node that does not come back is over when its lease is, and each of the others
//! then has some of its members leave, until none is left.

mod refused;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use pushloop::{Hub, Presence, PresenceChange};

use super::{
    link::{Answer, Ask, Over, Roll, draw, millis_since_1970},
    shared::Shared,
};
use refused::Refused;

use crate::{
    presence::companion,
    status::{Status, count},
};

/// How often a lease is renewed, with so much more at random.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
const JITTER_MILLIS: u64 = 500;
/// Members that the broker is told of in one go.
const CHANGES: usize = 256;
/// How often members are told again, whatever was: so many in turn, and so many of those that were refused.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);
const REPEATED: usize = 5;
const REFUSED_REPEATED: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The broker cannot be asked.
    Away,
    /// It can, and knows nothing of this node.
    New,
    /// It is asked for a lease.
    Beginning,
    Held,
}

/// How far all members are told under a name, after which the one of before is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    Some,
    /// The last are among so many changes.
    Last(u64),
    All,
}

/// See the module.
#[derive(Debug)]
pub struct Leases {
    shared: Arc<Shared>,
    status: Arc<Status>,
    state: State,
    /// What the node is called there.
    node: u64,
    /// What it was called before, if it has members still under that name and none that it has not told again.
    before: Option<u64>,
    /// Some are had under that name alone: it is not over by this node's word, but when its lease is.
    is_owed: bool,
    renew_due: Instant,
    /// A renewal has no answer yet.
    renews: bool,
    repeat_due: Instant,
    telling: Telling,
    /// Changes, and topics of nodes that are over, that were asked for and have no answer.
    changing: usize,
    sweeping: usize,
    /// Of these, each was carried out.
    sweeps_on: bool,
    /// Members that the broker did not take: they are told again.
    refused: Refused,
    /// Who has come and gone over all nodes by what this one has asked, if somebody is to be told.
    moves: Option<Vec<Move>>,
}

/// A member has come, or gone, over all nodes: told at the one node that the broker has told so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub topic: Arc<str>,
    pub id: Box<str>,
    pub is_join: bool,
}

impl Leases {
    pub fn new(shared: Arc<Shared>, status: Arc<Status>, now: Instant) -> Self {
        Self {
            shared,
            status,
            state: State::Away,
            node: 0,
            before: None,
            is_owed: false,
            renew_due: now,
            renews: false,
            repeat_due: now,
            telling: Telling::All,
            changing: 0,
            sweeping: 0,
            sweeps_on: false,
            refused: Refused::default(),
            moves: None,
        }
    }

    /// Has it told here who comes and goes over all nodes by what this one asks.
    pub fn tell_moves(&mut self) {
        self.moves.get_or_insert_default();
    }

    pub fn take_moves(&mut self) -> Vec<Move> {
        self.moves.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The broker has done what was asked, under whatever name: who has come or gone with it.
    fn note_moves(&mut self, ask: &Ask, answer: &Result<Answer, String>) {
        let (roll, is_join) = match ask {
            Ask::Change { roll, info, .. } => (roll, info.is_some()),
            Ask::Sweep { roll } => (roll, false),
            Ask::Renew { .. } => return,
        };
        if let (Some(moves), Ok(Answer::Done(ids))) = (&mut self.moves, answer) {
            let it = |id| Move { topic: Arc::clone(&roll.topic), id, is_join };
            moves.extend(ids.iter().cloned().map(it));
        }
    }

    pub fn handle_connected(&mut self) {
        self.state = State::New;
    }

    pub fn handle_disconnected(&mut self) {
        if self.state == State::Held {
            let open = (self.changing + self.sweeping) as u64;
            self.status.broker_members_unanswered.fetch_add(open, Ordering::Relaxed);
        }
        self.before = (self.state == State::Held).then_some(self.node).or(self.before);
        self.state = State::Away;
    }

    /// Begins a lease under a new name.
    fn begin(&mut self, hub: &Hub) {
        (self.state, self.node) = (State::Beginning, draw());
        (self.changing, self.sweeping, self.telling) = (0, 0, Telling::Some);
        self.refused.clear();
        self.is_owed = false;
        self.renew(hub, true);
    }

    fn renew(&mut self, hub: &Hub, is_new: bool) {
        self.renew_due = hub.now() + RENEW_INTERVAL + Duration::from_millis(draw() % JITTER_MILLIS);
        self.renews = true;
        // All that it had is told of under the new name.
        let is_told = self.state == State::Held && self.telling == Telling::All;
        let over = if is_told { self.before.take() } else { None };
        self.shared.lease([Ask::Renew { node: self.node, is_new, before: self.before, over }]);
    }

    /// Does what is due, from time to time.
    pub fn look(&mut self, hub: &Hub, presence: &mut Presence) {
        if hub.now() >= self.repeat_due {
            self.repeat_due = hub.now() + REPEAT_INTERVAL;
            if self.telling == Telling::All {
                presence.repeat_changes(REPEATED);
            }
            for (topic, id) in self.refused.take(REFUSED_REPEATED) {
                presence.repeat_change(&topic, &id);
            }
        }
        match self.state {
            State::Beginning | State::Held if hub.now() >= self.renew_due && !self.renews => {
                self.renew(hub, self.state == State::Beginning);
            }
            State::Away | State::New | State::Beginning | State::Held => {}
        }
        self.tell(hub, presence);
    }

    /// Tells the broker who has come and gone, if it has answered what was told before.
    pub fn tell(&mut self, hub: &Hub, presence: &mut Presence) {
        match self.state {
            State::Away | State::Beginning => return,
            State::New => return self.begin(hub),
            State::Held if self.changing > 0 => return,
            State::Held => {}
        }
        self.tell_again(hub, presence);
        let changes = self.changes(hub, presence);
        self.changing = changes.len();
        self.shared.lease(changes);
    }

    /// Has all members told under a new name. They are half of each batch at the least, however many come and go.
    fn tell_again(&mut self, hub: &Hub, presence: &mut Presence) {
        let (polled, all) = presence.change_counts();
        match self.telling {
            Telling::Some => {
                let room = CHANGES - (all - polled).min(CHANGES as u64 / 2) as usize;
                if presence.repeat_changes(room) {
                    self.telling = Telling::Last(presence.change_counts().1);
                }
            }
            // What is polled has its answer.
            Telling::Last(end) if polled >= end => {
                self.telling = Telling::All;
                self.before = self.before.filter(|_| !self.is_owed);
                if self.before.is_some() {
                    self.renew_due = hub.now();
                }
            }
            Telling::Last(_) | Telling::All => {}
        }
    }

    fn changes(&self, hub: &Hub, presence: &mut Presence) -> Vec<Ask> {
        let members_max = presence.config().members_max;
        let changes = std::iter::from_fn(|| presence.poll_change()).take(CHANGES);
        let ask = |PresenceChange { topic, id, info, .. }| {
            let roll = self.roll(hub, self.node, topic, members_max);
            Ask::Change { roll, id, info }
        };
        changes.map(ask).collect()
    }

    fn roll(&self, hub: &Hub, node: u64, topic: Arc<str>, members_max: usize) -> Roll {
        let history = hub.topic_options(&companion(&topic)).history;
        let keeps = history.map_or_else(Default::default, |it| (it.publications, it.age));
        let asked_at = hub.wall_clock().map_or(0, millis_since_1970);
        Roll { node, topic, keeps, asked_at, members_max }
    }

    /// The broker has answered.
    pub fn handle_answer(
        &mut self,
        hub: &Hub,
        presence: &mut Presence,
        ask: Ask,
        answer: Result<Answer, String>,
    ) {
        self.note_moves(&ask, &answer);
        match ask {
            Ask::Renew { node, is_new, over, .. } if node == self.node => {
                self.renews = false;
                self.handle_renewed(hub, presence, (is_new, over), answer);
            }
            Ask::Change { roll, id, info } if roll.node == self.node => {
                self.changing -= 1;
                self.handle_changed(presence, (roll.topic, id, info.is_some()), answer);
            }
            Ask::Sweep { .. } if self.sweeping > 0 => {
                self.sweeping -= 1;
                self.sweeps_on &= matches!(answer, Ok(Answer::Done(_)));
                if self.sweeping == 0 && self.sweeps_on {
                    self.sweep_on(hub);
                }
            }
            // It was asked under another name.
            Ask::Renew { .. } | Ask::Change { .. } | Ask::Sweep { .. } => {}
        }
        self.tell(hub, presence);
    }

    fn handle_renewed(
        &mut self,
        hub: &Hub,
        presence: &mut Presence,
        (is_new, was_over): (bool, Option<u64>),
        answer: Result<Answer, String>,
    ) {
        if matches!(answer, Ok(Answer::Anew(_))) {
            count(&self.status.broker_leases_lost);
        }
        match answer {
            Ok(Answer::Held(over) | Answer::Anew(over)) => {
                // The way may be closed again by now.
                if is_new && self.state == State::Beginning {
                    self.state = State::Held;
                    presence.repeat_from_start();
                }
                if let Some(over) = over.filter(|_| self.sweeping == 0) {
                    self.sweep(hub, over);
                }
            }
            Ok(Answer::Lost) => self.lose(),
            // It is asked again.
            Ok(Answer::Done(_) | Answer::Full | Answer::Late) | Err(_) => {
                self.before = self.before.or(was_over.filter(|_| !self.is_owed));
            }
        }
    }

    fn handle_changed(
        &mut self,
        presence: &mut Presence,
        (topic, id, is_here): (Arc<str>, Arc<str>, bool),
        answer: Result<Answer, String>,
    ) {
        let member = (topic, id);
        match answer {
            Ok(Answer::Done(_)) => {
                self.refused.remove(&member);
                if !is_here {
                    presence.settle_change(&member.0, &member.1);
                }
            }
            Ok(Answer::Lost) => self.lose(),
            Ok(Answer::Full | Answer::Late | Answer::Held(_) | Answer::Anew(_)) | Err(_) => {
                count(&self.status.broker_members_refused);
                self.refused.insert(member, is_here);
                // What is full has it under no name.
                self.is_owed |= answer != Ok(Answer::Full);
                if self.telling == Telling::All {
                    self.before = self.before.filter(|_| !self.is_owed);
                }
            }
        }
    }

    /// The broker has no lease of this node: it needs another, and another name.
    fn lose(&mut self) {
        if self.state == State::Held {
            count(&self.status.broker_leases_lost);
            self.state = State::New;
        }
    }

    /// Has some members of a node that is over leave.
    fn sweep(&mut self, hub: &Hub, over: Over) {
        if over.topics.is_empty() {
            return self.sweep_on(hub);
        }
        (self.sweeping, self.sweeps_on) = (over.topics.len(), true);
        let rolls = over.topics.into_iter().map(|topic| self.roll(hub, over.node, topic, 0));
        let asked: Vec<_> = rolls.map(|roll| Ask::Sweep { roll }).collect();
        self.shared.lease(asked);
    }

    /// There may be more: it is asked at once, and so paced by the broker.
    fn sweep_on(&mut self, hub: &Hub) {
        if self.state == State::Held && !self.renews {
            self.renew(hub, false);
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
