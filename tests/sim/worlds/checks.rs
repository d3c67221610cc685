//! What must hold of a simulated world: after each turn, at rest, and at its end.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::mem;
use std::time::Duration;

use pushloop::testing::Faults;
use pushloop::{CloseCode, Net, OnLag, Overflow};

use super::app::BEGUN_BYTES;
use super::marks::Mark;
use super::peer::{Peer, Said};
use super::world::{Member, TOPICS, World, topic_name};
use crate::oracle::stream::{End, Heard, hear};

/// Turns within which a world without faults comes to rest.
const TURNS_MAX: u64 = 20_000;
/// What may wait beyond the limit: a Ping and a Close, and the Pongs for the Pings of a peer.
const CONTROL_BYTES: usize = 2 + 127 + 16;
const PONG_BYTES: usize = 6;
const ANSWER_BYTES: usize = 300;
/// The longest publication, with its bookkeeping.
const NEWEST_BYTES: usize = 1300;
const OVERFLOW: u16 = 1013;
const LOST: u16 = 1006;
/// The longest sleep in a standing world: short of `pong_timeout`, so that everyone gets to answer.
const NAP: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);

impl World {
    pub fn checks_the_turn(&mut self) {
        let beyond_all = self.beyond_all();
        let hub = self.server.hub();
        let counters = hub.counters();
        let max = hub.config().send_queue_bytes_max;
        for (member, peer) in self.members.iter().zip(&self.peers) {
            let Some(id) = member.id.filter(|_| member.is_open && member.told.is_none()) else {
                continue;
            };
            let waits = hub.queued_bytes(id);
            let most = max + CONTROL_BYTES + peer.pings * PONG_BYTES + BEGUN_BYTES;
            assert!(waits <= most, "{waits} bytes wait for {id:?}");
        }
        let mut topics = 0;
        for topic in 0..TOPICS {
            let members = self.members.iter();
            let subscribers = members.filter(|member| member.topics.contains(&topic)).count();
            topics += usize::from(subscribers > 0);
            assert_eq!(hub.subscriber_count(topic_name(topic)), subscribers);
        }
        assert_eq!(hub.topic_count(), topics);
        let (now, total) = (hub.now(), hub.queued_bytes_total());
        assert!(total <= hub.config().send_queues_bytes_max + beyond_all, "{total} wait");
        assert!(self.timers.iter().flatten().all(|due| *due > now), "a timer did not come");
        let net = self.server.net();
        assert_eq!(counters.bytes_sent, net.bytes_written);
        assert_eq!(counters.bytes_received, net.bytes_read);
        self.checks_histories();
    }

    /// What the whole process may have beyond its limit: no limit refuses answers and control frames,
    /// and what has begun to leave is not dropped. What is no history any more waits for readers, the
    /// newest of each topic for a turn longer than there is room.
    fn beyond_all(&self) -> usize {
        let living = self.peers.iter().filter(|peer| !peer.wire.is_dropped());
        let newest = if self.histories.any { TOPICS * NEWEST_BYTES } else { 0 };
        let own = living.map(|peer| CONTROL_BYTES + ANSWER_BYTES + peer.pings * PONG_BYTES);
        own.sum::<usize>() + newest
    }

    /// The faults stop, everyone says and reads what there is, and the loop comes to rest within a
    /// bounded number of turns. Then everything has arrived.
    pub fn settles(&mut self) {
        self.notes(|| "the faults stop");
        self.server.net().faults = Faults::default();
        for peer in &mut self.peers {
            peer.wire.holds(usize::MAX);
        }
        let mut calm = 0;
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < TURNS_MAX, "no rest");
            self.answers();
            for peer in &mut self.peers {
                peer.reads(usize::MAX);
                peer.sends(true);
            }
            let written = self.server.net().calls.bytes_written;
            self.turn(Duration::from_nanos(1));
            // A connection may have been closed at its moment in this turn, and its Close waits.
            let all_is_out = self.server.hub().queued_bytes_total() == 0;
            let net = self.server.net();
            let rests = net.is_idle()
                && all_is_out
                && net.calls.bytes_written == written
                && self.events.is_empty();
            calm = if rests && self.requests.waiting.is_empty() { calm + 1 } else { 0 };
            // What was due by the end of one turn is done in the next.
            if calm > 1 {
                if self.server.net().backlog() == 0 {
                    break;
                }
                // Accepting pauses for a while when there was no room.
                self.server.net().passes(Duration::from_millis(100));
                calm = 0;
            }
        }
        self.flying.clear();
        self.histories.rests();
        self.turns_to_rest = self.turns_to_rest.max(turns);
        self.checks_the_rest();
    }

    /// Time passes while nothing happens, and at some moment the machine stands still for an hour:
    /// whoever answers the Pings stays, although not all answers are read in the first turn.
    pub fn lives_on(&mut self) {
        let is_answering = |(at, peer): (usize, &Peer)| self.members[at].is_open && peer.is_good;
        let peers = self.peers.iter().enumerate();
        let alive: Vec<_> = peers.filter(|it| is_answering(*it)).map(|(at, _)| at).collect();
        let pings = self.server.hub().counters().pings_sent;
        let pinged: Vec<_> = self.peers.iter().map(|peer| peer.pinged).collect();
        let stands_still = self.choice.below(20);
        let net = self.server.net();
        let began = net.now() + HOUR;
        let nap_max = mem::replace(&mut net.nap_max, NAP);
        net.faults = Faults { late: 50, single: 50, ..Faults::default() };
        for turn in 0..50 {
            if turn == stands_still {
                self.server.net().passes(HOUR);
            }
            self.turn(HOUR);
            for peer in &mut self.peers {
                peer.reads(usize::MAX);
                peer.sends(true);
            }
        }
        self.server.net().nap_max = nap_max;
        let slept = self.server.net().now() - began;
        let interval = self.server.hub().config().ping_interval.unwrap_or(HOUR);
        for at in alive {
            // A timer may come, and the application close it, or drop it.
            let is_lost = self.members[at].told == Some(LOST) && !self.members[at].aborted;
            assert!(!is_lost, "peer {at} answered, and is dropped");
            let pings = self.peers[at].pinged - pinged[at];
            // A sleep beside the standstill counts as a part of it, and an answer may take another.
            let counted = slept.saturating_sub(2 * NAP).as_secs();
            let is_open = u64::from(self.members[at].is_open);
            let least = is_open * (counted / (interval + 2 * NAP).as_secs());
            let most = slept.as_secs() / interval.as_secs() + 2;
            assert!((least..=most).contains(&pings), "{pings} Pings for peer {at} in {slept:?}");
        }
        self.checks_forgotten();
        self.marks.add(Mark::LivedOn, self.server.hub().counters().pings_sent - pings);
    }

    fn checks_the_rest(&mut self) {
        assert_eq!(self.server.hub().queued_bytes_total(), 0);
        let (mut missing, mut arrived) = (0, 0);
        let mut all_counted = true;
        self.checks_forgotten();
        for at in 0..self.members.len() {
            self.checks_readings(at, self.members[at].is_open && self.peers[at].listens());
            self.checks_heard(at);
            self.checks_end(at);
            let lost = self.checks_got(at);
            arrived += self.peers[at].got.len() as u64;
            missing += self.missing_of_little_room(at);
            match lost {
                Some(lost) => missing += lost,
                None => all_counted &= self.members[at].due.is_empty(),
            }
        }
        let counters = self.server.hub().counters();
        let given_up = counters.messages_dropped_full
            + counters.messages_conflated
            + counters.messages_skipped
            + counters.messages_lost;
        assert!(given_up >= self.refused, "{counters:?}");
        assert!(missing <= given_up - self.refused, "{missing} are missing: {counters:?}");
        if all_counted {
            let all = self.members.iter().flat_map(|member| &member.due);
            let must = all.clone().filter(|due| due.must).count() as u64;
            let sum = arrived + given_up - self.refused;
            let most = all.count() as u64 + self.histories.vanished();
            assert!((must..=most).contains(&sum), "{sum} of {must}: {counters:?}");
            self.checks_the_sum(sum);
        }
    }

    /// What was queued has arrived or was given up, and is counted as what it is.
    fn checks_the_sum(&mut self, sum: u64) {
        let hub = self.server.hub();
        let counters = hub.counters();
        let queued = counters.deliveries
            + counters.messages_conflated
            + counters.messages_skipped
            + counters.messages_lost
            + counters.messages_sent;
        let config = hub.config();
        let is_certain = !self.is_tight && config.topic_unserved_bytes_max > 1 << 20;
        if config.overflow == Overflow::Close && is_certain {
            assert_eq!(sum, queued, "{counters:?}");
        } else {
            // What handles send or publish may have been refused, and is counted as dropped.
            assert!(sum >= queued, "{sum} of {queued}: {counters:?}");
        }
    }

    /// The application has heard what the peer said, each message once and in order.
    fn checks_heard(&mut self, at: usize) {
        let (member, peer) = (&self.members[at], &self.peers[at]);
        let (mut heard, end) = hear(&peer.sent, peer.limits());
        heard.retain(|heard| !matches!(heard, Heard::Ping(_)));
        assert!(heard.starts_with(&member.heard), "peer {at}: {:?} of {heard:?}", member.heard);
        let too_slow = [member.told, peer.close_came].contains(&Some(OVERFLOW));
        let undisturbed =
            peer.listens() && !self.leaps && !member.closed_by_us && !member.timed_out && !too_slow;
        if member.opened && undisturbed {
            assert_eq!(heard.len(), member.heard.len(), "peer {at} was not heard");
            let told = match &end {
                End::Open if peer.finished => Some(1006),
                End::Open => None,
                End::Close(close) => Some(close.as_ref().map_or(1005, |(code, _)| *code)),
                End::Fail(code) => Some(*code),
            };
            assert_eq!(member.told, told, "peer {at}");
            // Where memory is short, who lags is dropped even while it leaves.
            if !matches!(end, End::Open) && !self.is_tight {
                assert_eq!(peer.close_came, told, "peer {at}");
            }
        }
    }

    /// Who is open is alive, and who has ended was told so.
    fn checks_end(&mut self, at: usize) {
        let (member, peer) = (&self.members[at], &self.peers[at]);
        let wire = &peer.wire;
        let is_over = wire.is_dropped() || wire.is_reset();
        assert!(is_over || wire.unread() == 0, "peer {at} was not read");
        let is_whole = !wire.is_reset() && !wire.is_cut();
        // A peer that does not answer a Close is dropped in time.
        let has_answered = (peer.is_good || peer.close_sent) && !peer.late;
        let was_closed = peer.close_came.is_some() && has_answered;
        if is_whole && was_closed && !member.aborted && !self.leaps && !self.is_tight {
            assert!(wire.is_finished(), "no FIN for peer {at}");
        }
        if let Some(layer) = peer.layer.as_ref().filter(|_| is_whole) {
            let is_settled = wire.is_dropped() || layer.is_over || layer.is_at_rest();
            assert!(is_settled, "what a stream says of its own does not come to peer {at}");
            assert!(layer.is_over || !wire.is_finished(), "no goodbye for peer {at}");
        }
        if member.is_open {
            assert!(member.opened && member.told.is_none(), "peer {at}");
            assert!(peer.is_at_a_boundary(), "peer {at} got half a frame");
            assert_eq!(peer.status, Some(101));
            assert!(!peer.close_sent && !peer.finished && !peer.reset, "peer {at}");
            if peer.is_good {
                assert!(
                    peer.pings == 0 || peer.ponged.contains(&peer.pings),
                    "the latest Ping of peer {at}"
                );
            }
        } else if member.opened && (peer.is_good || peer.finished || peer.reset) {
            assert!(member.told.is_some(), "the end of peer {at}");
        }
    }

    /// What the peer got is what was due to it, in order and once; gives how much of it is missing,
    /// or nothing if that cannot be said, because it was cut off.
    fn checks_got(&mut self, at: usize) -> Option<u64> {
        let (member, peer) = (&self.members[at], &self.peers[at]);
        let mut left = HashMap::<_, u64>::new();
        member.due.iter().for_each(|due| *left.entry(due.said).or_default() += 1);
        let mut got = HashSet::new();
        for said in &peer.got {
            let left = left.get_mut(said);
            let left = left.unwrap_or_else(|| panic!("peer {at}: {said:?} is not for it"));
            let rest = left.checked_sub(1);
            *left = rest.unwrap_or_else(|| panic!("peer {at}: {said:?} came once too often"));
            got.insert(said);
        }
        let secrets = peer.got_deflated.intersection(&self.secrets).count();
        assert_eq!(secrets, 0, "peer {at} got what must not be compressed");
        for lane in 0..TOPICS {
            for by_handle in [false, true] {
                checks_order(member, &peer.got, lane, by_handle);
            }
        }
        let is_dropped = member.aborted || (self.leaps && !member.is_open);
        if !peer.listens() || self.is_tight || member.timed_out || is_dropped {
            return None;
        }
        if [member.told, peer.close_came].contains(&Some(OVERFLOW)) {
            let is_for_topics = self.server.hub().config().overflow != Overflow::Close;
            let has_lagged = peer.wire.was_full();
            // What was kept is not kept for one that has begun to read it.
            let is_for_kept = member.due.iter().any(|due| due.kept);
            self.marks.add(Mark::ResumeCut, is_for_kept.into());
            let is_slow = has_lagged || is_for_kept;
            assert!(is_slow || !is_for_topics, "peer {at} never lagged, and is closed");
            self.checks_unbroken(member, &peer.got, at);
            return None;
        }
        let config = self.server.hub().config();
        let closes = config.overflow == Overflow::Close;
        // What waits in front of a Close is given up like what others have not read.
        let is_given_up = !member.is_open && config.topic_lag_bytes_max < 256 * 1024;
        let mut lacks = HashMap::<_, i64>::new();
        let must = || member.due.iter().filter(|due| due.must);
        must().for_each(|due| *lacks.entry(due.said).or_default() += 1);
        peer.got.iter().for_each(|said| *lacks.entry(*said).or_default() -= 1);
        let mut missing = 0;
        // Of what is due several times, what is due last comes for certain.
        for due in must() {
            let lacks = lacks.entry(due.said).or_default();
            if *lacks <= 0 {
                continue;
            }
            *lacks -= 1;
            let is_kept = match due.said.topic {
                None => closes,
                Some(_) if due.kept => member.is_open,
                Some(topic) => self.policies[topic] == OnLag::Close && !is_given_up,
            };
            assert!(!is_kept, "peer {at}: {:?} is lost", due.said);
            missing += 1;
        }
        self.checks_latest(member, &got, at);
        self.checks_healthy(at, &got);
        Some(missing)
    }

    /// Whose kernel took everything at once is given everything: the server's slowness is not its lag.
    fn checks_healthy(&self, at: usize, got: &HashSet<&Said>) {
        let (member, peer) = (&self.members[at], &self.peers[at]);
        if peer.wire.was_full() || !member.is_open {
            return;
        }
        for due in member.due.iter().filter(|due| due.must && due.said.topic.is_some()) {
            assert!(got.contains(&due.said), "peer {at} never lagged: {:?} is lost", due.said);
        }
    }

    /// Where the process has little room, how much is missing of what must have been counted as given
    /// up: not what was lost with a connection, nor what a handle published and all were refused.
    fn missing_of_little_room(&self, at: usize) -> u64 {
        let (member, peer) = (&self.members[at], &self.peers[at]);
        let was_told = member.is_open || peer.close_came == Some(OVERFLOW);
        if !self.is_tight || !was_told || !peer.listens() {
            return 0;
        }
        let got: HashSet<_> = peer.got.iter().collect();
        let must = member.due.iter().filter(|due| due.must).map(|due| due.said);
        let one_by_one = must.filter(|said| !said.by_handle || said.topic.is_none());
        one_by_one.filter(|said| !got.contains(said)).count() as u64
    }

    /// Where nothing was dropped, the latest that was published is not what gave way to another: it
    /// is the application's last or that of the handles.
    fn checks_latest(&self, member: &Member, got: &HashSet<&Said>, at: usize) {
        if self.handle.counters().messages_dropped_full > 0 {
            return;
        }
        for topic in (0..TOPICS).filter(|topic| self.policies[*topic] == OnLag::Latest) {
            let due = || member.due.iter().filter(|due| due.said.topic == Some(topic));
            // A later one that it was left out of takes the place of the latest as well.
            let left_out = self.left_out.get(&(at, topic)).copied().unwrap_or(0);
            let is_latest = due().next_back().is_none_or(|due| due.said.number > left_out);
            if !due().all(|due| due.must) || !is_latest {
                continue;
            }
            let last = |by_handle| due().rfind(|due| due.said.by_handle == by_handle);
            let lasts: Vec<_> = [false, true].into_iter().filter_map(last).collect();
            let came = lasts.is_empty() || lasts.iter().any(|due| got.contains(&due.said));
            assert!(came, "peer {at}: none of {lasts:?}");
        }
    }

    /// Who was too slow has got everything up to a point, of each topic that loses nothing.
    fn checks_unbroken(&self, member: &Member, got: &[Said], at: usize) {
        for topic in (0..TOPICS).filter(|topic| self.policies[*topic] == OnLag::Close) {
            for by_handle in [false, true] {
                let is_of = |said: Said| said.by_handle == by_handle && said.topic == Some(topic);
                let Some(last) = got.iter().rfind(|said| is_of(**said)) else { continue };
                let live = member.due.iter().filter(|due| due.must && !due.kept);
                for due in live.filter(|due| is_of(due.said)) {
                    let came = due.said.number > last.number || got.contains(&due.said);
                    assert!(came, "peer {at}: {:?} is a gap before {last:?}", due.said);
                }
            }
        }
    }

    /// Everyone goes, one way or the other, and nothing is left.
    pub fn ends(&mut self) {
        let shuts_down = self.choice.chance(30);
        self.notes(|| format!("the end; shutdown: {shuts_down}"));
        if shuts_down {
            self.marks.hit(Mark::ShutDown);
            self.handle.shutdown(Duration::from_secs(10)).expect("it has room of its own");
        }
        for at in 0..self.peers.len() {
            match (self.members[at].id, self.choice.below(4)) {
                (Some(id), 0) => {
                    self.members[at].closed_by_us = true;
                    self.server.hub().close(id, CloseCode::NORMAL, "");
                    self.notices(at);
                }
                (_, 1) => self.peers[at].closes(),
                (_, 2) => self.peers[at].resets(),
                _ => self.peers[at].finishes(),
            }
        }
        self.server.net().nap_max = Duration::from_secs(3600);
        self.leaps = true;
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "connections are left: {:?}", self.server.hub());
            if turn == 50 {
                self.server.net().faults = Faults::default();
            }
            for peer in &mut self.peers {
                peer.sends(true);
                peer.reads(usize::MAX);
            }
            self.server.poll(&mut self.events, Some(Duration::from_secs(3600))).expect("it works");
            self.is_told();
            if self.server.hub().connection_count() == 0 && self.server.net().backlog() == 0 {
                break;
            }
        }
        self.nothing_is_left(shuts_down);
    }

    fn nothing_is_left(&mut self, shuts_down: bool) {
        self.server.net().faults = Faults::default();
        for _ in 0..20 {
            self.server.poll(&mut self.events, Some(Duration::from_secs(3600))).expect("it works");
            self.is_told();
        }
        if !shuts_down {
            // With a timer left, this would end.
            let stuck = self.server.poll(&mut self.events, None).expect_err("a timer is left");
            assert_eq!(stuck.kind(), ErrorKind::Deadlock);
        }
        let hub = self.server.hub();
        assert_eq!(
            (hub.connection_count(), hub.topic_count(), hub.queued_bytes_total()),
            (0, 0, 0)
        );
        assert!(shuts_down || (0..TOPICS).all(|it| hub.position(topic_name(it)).is_none()));
        assert_eq!(hub.is_finished(), shuts_down);
        assert_eq!(hub.counters().connections_open, 0);
        let is_gone = |peer: &Peer| peer.wire.is_dropped() || peer.reset;
        assert!(self.peers.iter().all(is_gone), "a stream is left");
        let is_told = |member: &Member| !member.opened || member.told.is_some();
        assert!(self.members.iter().all(is_told), "an end was not told");
        self.checks_requests();
    }
}

/// What comes of a topic, and what is sent directly, comes in the order in which it was due: what the
/// application does, and what it has topics give that they have kept; or what handles do.
fn checks_order(member: &Member, got: &[Said], topic: usize, by_handle: bool) {
    let is_of = |said: Said| said.topic.is_none_or(|it| it == topic);
    let mut places = HashMap::<_, Vec<_>>::new();
    for (at, due) in member.due.iter().enumerate().filter(|(_, due)| is_of(due.said)) {
        places.entry(due.said).or_default().push((at, due.said.by_handle && !due.kept));
    }
    let mut last = None;
    for said in got.iter().filter(|said| is_of(**said)) {
        let its = &places[said];
        if its.iter().any(|it| it.1 != by_handle) {
            // It is of the other ones, or may be.
            continue;
        }
        // Handles' commands are in the order of their numbers, whenever a peer subscribed.
        let place = |at| if by_handle { said.number } else { at };
        let next = its.iter().map(|it| place(it.0)).find(|at| last.is_none_or(|last| *at > last));
        assert!(next.is_some(), "topic {topic}: {said:?} is out of order");
        last = next;
    }
}
