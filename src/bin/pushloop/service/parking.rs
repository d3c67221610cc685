//! Commands of connections that wait until the broker has said where their topics are: a line for each connection, so
//! that its commands are carried out in their order.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use pushloop::{ConnId, Hub, Request, RequestId};

use super::{
    Service,
    asking::Next,
    brokering::{Brokering, OPEN_TIMEOUT},
};
use crate::gate::TurnedAway;

/// Commands of one connection that wait, and their bytes.
const PARKED_COMMANDS_MAX: usize = 256;
const PARKED_COMMAND_BYTES_MAX: usize = 128 * 1024;
/// Bytes of all that wait.
const PARKED_BYTES_MAX: usize = 16 << 20;
/// What a command counts as beside its bytes.
const COMMAND_BYTES: usize = 128;

/// What the broker has said of a command: that the topics are there, or why not.
pub(super) type Verdict = Result<(), String>;

/// What a command waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Those before it.
    Turn,
    /// And what the broker says under this number.
    Broker(u64),
    /// It has said something.
    Said(Verdict),
}

#[derive(Debug)]
struct Parked {
    command: Box<[u8]>,
    is_publication: bool,
    wait: Wait,
    /// Until when it waits for the broker, if its turn has come once.
    until: Option<Instant>,
}

/// A command that has its turn.
struct Turn {
    command: Box<[u8]>,
    /// What the broker has said of it, if it was asked.
    said: Option<Verdict>,
    until: Option<Instant>,
}

impl Parked {
    fn cost(&self) -> usize {
        self.command.len() + COMMAND_BYTES
    }

    /// The number under which the broker tells what it waits for.
    fn number(&self) -> Option<u64> {
        match self.wait {
            Wait::Broker(number) => Some(number),
            Wait::Turn | Wait::Said(_) => None,
        }
    }
}

/// What waits of one connection.
#[derive(Debug, Default)]
struct Line {
    commands: VecDeque<Parked>,
    bytes: usize,
    /// How many of its publications the broker has not said anything of.
    publications: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Parking {
    lines: HashMap<ConnId, Line>,
    bytes: usize,
}

impl Parking {
    /// Whether a command has to wait for those before it. A publication does not for another one: the broker has them in
    /// their order.
    pub fn has_to_wait(&self, id: ConnId, is_publication: bool) -> bool {
        let line = self.lines.get(&id);
        line.is_some_and(|it| !it.commands.is_empty() || it.publications > 0 && !is_publication)
    }

    /// Puts a command behind the others of its connection. The error names the limit that is reached.
    pub fn push(
        &mut self,
        id: ConnId,
        command: &[u8],
        is_publication: bool,
        wait: Wait,
        until: Option<Instant>,
    ) -> Result<(), String> {
        self.check(id, command.len())?;
        let parked = Parked { command: command.into(), is_publication, wait, until };
        self.add(id, parked, VecDeque::push_back);
        Ok(())
    }

    /// Whether there is room for one more command of so many bytes.
    pub fn check(&self, id: ConnId, bytes: usize) -> Result<(), String> {
        let cost = bytes + COMMAND_BYTES;
        let (count, bytes) = self.lines.get(&id).map_or((0, 0), |it| (it.commands.len(), it.bytes));
        let limits = [
            ("parked_commands_max", count + 1, PARKED_COMMANDS_MAX),
            ("parked_command_bytes_max", bytes + cost, PARKED_COMMAND_BYTES_MAX),
            ("parked_bytes_max", self.bytes + cost, PARKED_BYTES_MAX),
        ];
        match limits.into_iter().find(|(_, would_be, max)| would_be > max) {
            Some((name, _, max)) => Err(format!("too much waits for the broker: {name} = {max}")),
            None => Ok(()),
        }
    }

    /// How many commands of the connection have asked the broker for topics.
    pub fn asked(&self, id: ConnId) -> usize {
        let commands = self.lines.get(&id).into_iter().flat_map(|line| &line.commands);
        commands.filter(|it| it.wait != Wait::Turn).count()
    }

    /// Puts back a command that had its turn.
    fn push_front(&mut self, id: ConnId, command: Box<[u8]>, number: u64, until: Instant) {
        // It is none of the publications: these do not wait for a topic.
        let (wait, until) = (Wait::Broker(number), Some(until));
        let parked = Parked { command, is_publication: false, wait, until };
        self.add(id, parked, VecDeque::push_front);
    }

    fn add(
        &mut self,
        id: ConnId,
        parked: Parked,
        push: impl FnOnce(&mut VecDeque<Parked>, Parked),
    ) {
        let line = self.lines.entry(id).or_default();
        line.bytes += parked.cost();
        self.bytes += parked.cost();
        push(&mut line.commands, parked);
    }

    /// The broker has said something of a command.
    fn settle(&mut self, id: ConnId, number: u64, verdict: Verdict) {
        let commands = self.lines.get_mut(&id).into_iter().flat_map(|line| &mut line.commands);
        if let Some(parked) = commands.into_iter().find(|it| it.wait == Wait::Broker(number)) {
            parked.wait = Wait::Said(verdict);
        }
    }

    /// Takes the next command out of its line, if it need not wait.
    fn next(&mut self, id: ConnId) -> Option<Turn> {
        let line = self.lines.get_mut(&id)?;
        let is_next =
            |it: &&Parked| it.number().is_none() && (it.is_publication || line.publications == 0);
        line.commands.front().filter(is_next)?;
        let parked = line.commands.pop_front()?;
        line.bytes -= parked.cost();
        self.bytes -= parked.cost();
        self.forget_empty(id);
        let said = match parked.wait {
            Wait::Said(verdict) => Some(verdict),
            Wait::Turn | Wait::Broker(_) => None,
        };
        Some(Turn { command: parked.command, said, until: parked.until })
    }

    /// The same, if the broker was asked for it and has said something.
    fn next_settled(&mut self, id: ConnId) -> Option<Turn> {
        let first = self.lines.get(&id)?.commands.front()?;
        matches!(first.wait, Wait::Said(_)).then(|| self.next(id))?
    }

    fn forget_empty(&mut self, id: ConnId) {
        let is_empty = |line: &Line| line.commands.is_empty() && line.publications == 0;
        if self.lines.get(&id).is_some_and(is_empty) {
            self.lines.remove(&id);
        }
    }

    /// The broker has been handed a publication of the connection.
    pub fn publish(&mut self, id: ConnId) {
        self.lines.entry(id).or_default().publications += 1;
    }

    /// It has said what became of one.
    pub fn published(&mut self, id: ConnId) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.publications = line.publications.saturating_sub(1);
        }
        self.forget_empty(id);
    }

    /// Takes commands of a connection out of its line. Gives the numbers that they wait for.
    fn remove(&mut self, id: ConnId, mut is_meant: impl FnMut(&[u8]) -> bool) -> Vec<u64> {
        let Some(line) = self.lines.get_mut(&id) else { return Vec::new() };
        let mut numbers = Vec::new();
        line.commands.retain(|parked| {
            let stays = !is_meant(&parked.command);
            if !stays {
                line.bytes -= parked.cost();
                self.bytes -= parked.cost();
                numbers.extend(parked.number());
            }
            stays
        });
        self.forget_empty(id);
        numbers
    }

    /// The connection is over: the numbers that its commands wait for.
    fn leave(&mut self, id: ConnId) -> Vec<u64> {
        let numbers = self.remove(id, |_| true);
        self.lines.remove(&id);
        numbers
    }
}

impl Service {
    /// Answers a backend's request with an API, once the topics are there that it is about.
    pub(super) fn answer_api(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        match self.is_for_apps(request) {
            true => self.serve_api(hub, id, request),
            false => self.call_centrifuge_api(hub, id, request, true),
        }
    }

    /// Whether a command of a connection has to wait for those before it.
    pub(super) fn has_to_wait(&self, id: ConnId, is_publication: bool) -> bool {
        self.broker.as_ref().is_some_and(|it| it.parking.has_to_wait(id, is_publication))
    }

    /// Has a command wait for its turn, and for what the broker says under the number if there is one. The error names
    /// the limit that is reached.
    pub(super) fn park(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        command: &[u8],
        is_publication: bool,
        number: Option<u64>,
    ) -> Result<(), String> {
        let is_its_turn = !self.has_to_wait(id, is_publication);
        let Some(brokering) = &mut self.broker else { return Ok(()) };
        let wait = number.map_or(Wait::Turn, Wait::Broker);
        let until = hub.now() + OPEN_TIMEOUT;
        let first = Some(until).filter(|_| is_its_turn);
        let parked = brokering.parking.push(id, command, is_publication, wait, first);
        match (&parked, number) {
            (Ok(()), Some(number)) => brokering.wait(hub, number, Next::Command(id, number), until),
            (Err(_), Some(number)) => drop(brokering.forget(hub, number)),
            (Ok(()) | Err(_), None) => {}
        }
        parked
    }

    /// The broker has said something of a command, which is carried out if it is the next. Those behind it are not yet: what
    /// else the broker has said goes first, since they may ask it for more of the same topics.
    pub(super) fn settle_command(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        number: u64,
        verdict: Result<(), TurnedAway>,
    ) {
        let Some(Brokering { parking, .. }) = &mut self.broker else { return };
        parking.settle(id, number, verdict.map_err(|away| away.why.into_owned()));
        if let Some(turn) = parking.next_settled(id) {
            self.take_turn(hub, id, turn);
        }
    }

    /// Carries out commands of a connection that wait, up to one that still has to.
    pub(super) fn take_turns(&mut self, hub: &mut Hub, id: ConnId) {
        while let Some(turn) = self.broker.as_mut().and_then(|it| it.parking.next(id))
            && self.take_turn(hub, id, turn)
        {}
    }

    /// Carries out a command that has its turn. False if it has to wait again, or the connection is over.
    fn take_turn(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        Turn { command, said, until }: Turn,
    ) -> bool {
        // One that is closed is told nothing more, and has nothing more done.
        if !hub.is_open(id) && hub.write(id, "").is_err() {
            self.forget_commands(hub, id);
            return false;
        }
        let number = match self.is_client_of_app(id) {
            true => self.take_parked_said(hub, id, &command, said),
            false => self.take_parked_command(hub, id, &command, said),
        };
        let (Some(number), Some(brokering)) = (number, &mut self.broker) else { return true };
        // However often it asks, it does not wait for longer.
        let until = until.unwrap_or_else(|| hub.now() + OPEN_TIMEOUT);
        brokering.parking.push_front(id, command, number, until);
        brokering.wait(hub, number, Next::Command(id, number), until);
        false
    }

    /// The connection is over, or about to be: its commands are carried out no more.
    pub(super) fn forget_commands(&mut self, hub: &mut Hub, id: ConnId) {
        let Some(brokering) = &mut self.broker else { return };
        for number in brokering.parking.leave(id) {
            brokering.forget(hub, number);
        }
    }

    /// Takes commands that wait out of the line of their connection. Those behind them may go on then.
    pub(super) fn remove_commands(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        is_meant: impl FnMut(&[u8]) -> bool,
    ) {
        let Some(brokering) = &mut self.broker else { return };
        for number in brokering.parking.remove(id, is_meant) {
            brokering.forget(hub, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: ConnId = ConnId::from_bits(1);
    const BOB: ConnId = ConnId::from_bits(2);

    fn bytes(parking: &mut Parking, id: ConnId, len: usize) -> Result<(), String> {
        parking.push(id, &vec![0; len], false, Wait::Turn, None)
    }

    #[test]
    fn a_connection_has_so_many_commands_wait_and_no_more() {
        let mut parking = Parking::default();
        for _ in 0..256 {
            assert_eq!(bytes(&mut parking, ADA, 1), Ok(()));
        }
        assert!(bytes(&mut parking, ADA, 1).unwrap_err().contains("parked_commands_max = 256"));
        assert_eq!(bytes(&mut parking, BOB, 1), Ok(()));
        assert!(parking.next(ADA).is_some());
        assert_eq!(bytes(&mut parking, ADA, 1), Ok(()));
    }

    #[test]
    fn the_bytes_of_one_and_of_all_are_bounded() {
        let mut parking = Parking::default();
        let half = 64 * 1024 - COMMAND_BYTES;
        assert_eq!(bytes(&mut parking, ADA, half), Ok(()));
        let refused = bytes(&mut parking, ADA, half + 1).unwrap_err();
        assert!(refused.contains("parked_command_bytes_max = 131072"), "{refused}");
        assert_eq!(bytes(&mut parking, ADA, half), Ok(()));
        for nth in 2..256 {
            assert_eq!(bytes(&mut parking, ConnId::from_bits(nth), half), Ok(()));
        }
        let refused = bytes(&mut parking, ConnId::from_bits(300), 0).unwrap_err();
        assert!(refused.contains("parked_bytes_max = 16777216"), "{refused}");
        assert!(parking.leave(ADA).is_empty());
        assert_eq!(bytes(&mut parking, ConnId::from_bits(300), half), Ok(()));
        for nth in 2..=300 {
            parking.leave(ConnId::from_bits(nth));
        }
        assert_eq!((parking.bytes, parking.lines.len()), (0, 0));
    }

    #[test]
    fn commands_are_had_in_their_order_once_each_may_be() {
        let mut parking = Parking::default();
        let mut push = |command: &[u8], is_publication, wait| {
            parking.push(ADA, command, is_publication, wait, None).unwrap();
        };
        push(b"a", false, Wait::Broker(1));
        push(b"b", false, Wait::Broker(2));
        push(b"c", true, Wait::Turn);
        parking.settle(ADA, 2, Ok(()));
        parking.settle(BOB, 1, Ok(()));
        assert!(parking.next(ADA).is_none());
        parking.settle(ADA, 1, Err("no".to_owned()));
        let next = |parking: &mut Parking| {
            let Turn { command, said, .. } = parking.next(ADA)?;
            Some((command[0], said))
        };
        assert_eq!(next(&mut parking), Some((b'a', Some(Err("no".to_owned())))));
        assert_eq!(next(&mut parking), Some((b'b', Some(Ok(())))));
        parking.publish(ADA);
        // It was not asked for, so that it comes after all of which the broker has said something.
        assert!(parking.next_settled(ADA).is_none());
        assert_eq!(next(&mut parking), Some((b'c', None)));
        // What follows a publication waits for its answer, but for another one.
        assert!(parking.has_to_wait(ADA, false) && !parking.has_to_wait(ADA, true));
        parking.push(ADA, b"d", false, Wait::Turn, None).unwrap();
        assert!(parking.has_to_wait(ADA, true) && parking.next(ADA).is_none());
        parking.published(ADA);
        assert_eq!(next(&mut parking), Some((b'd', None)));
        assert!(!parking.has_to_wait(ADA, false));
        let until = pushloop::Server::new(pushloop::Config::default()).unwrap().hub().now();
        parking.push_front(ADA, b"e"[..].into(), 7, until);
        parking.settle(ADA, 7, Ok(()));
        let Turn { command, until: kept, .. } = parking.next_settled(ADA).unwrap();
        assert_eq!(kept, Some(until));
        parking.push_front(ADA, command, 7, until);
        assert_eq!(parking.leave(ADA), [7]);
        assert_eq!((parking.bytes, parking.lines.len()), (0, 0));
    }

    #[test]
    fn commands_are_taken_out_of_the_midst_and_what_is_behind_them_goes_on() {
        let mut parking = Parking::default();
        for (command, wait) in [(b"a", Wait::Broker(1)), (b"b", Wait::Turn), (b"a", Wait::Turn)] {
            parking.push(ADA, command, false, wait, None).unwrap();
        }
        parking.publish(ADA);
        assert!(parking.next(ADA).is_none());
        assert_eq!(parking.remove(ADA, |command| command == b"a"), [1]);
        assert!(parking.remove(BOB, |_| true).is_empty());
        assert!(parking.next(ADA).is_none(), "a publication has no answer yet");
        parking.published(ADA);
        assert_eq!(parking.next(ADA).map(|it| it.command[0]), Some(b'b'));
        assert_eq!((parking.bytes, parking.lines.len()), (0, 0));
    }
}
