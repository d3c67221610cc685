//! One simulated world: a server on a [`Network`], peers, and an application, all of whose choices
//! come from one source. It goes through a time of trouble, comes to rest, and ends.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use pushloop::testing::{Calls, Choice, Faults, Network, Source};
use pushloop::{
    Config, ConnId, Counters, Events, Handle, HandleError, Net, OnLag, Overflow, Server,
};

use super::codec::Client;
use super::deflate::Policy;
use super::history::{Histories, drawn_history};
use super::layered::Layered;
use super::marks::{Mark, Marks, OF_NETWORK};
use super::peer::{Peer, Said};
use super::requests::Requests;
use super::resumes::Reading;
use crate::oracle::stream::Heard;

pub const TOPICS: usize = 4;
pub const MESSAGE_BYTES_MAX: usize = 2000;
pub const MESSAGE_FRAMES_MAX: u32 = 12;
const PEERS_MAX: usize = 7;
const HOUR: Duration = Duration::from_secs(3600);
const STEPS_SHOWN: usize = 60;
/// The loop may be woken for no reason at any time.
const NAP_MAX: Duration = Duration::from_millis(5);

pub fn topic_name(topic: usize) -> &'static str {
    const NAMES: [&str; TOPICS] = ["topic 0", "topic 1", "topic 2", "topic 3"];
    NAMES[topic]
}

/// What a peer must or may get.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub said: Said,
    /// A handle's command is carried out at a time of the loop's choosing: whoever comes or goes
    /// meanwhile may get it or not.
    pub must: bool,
    /// It was published before: a topic has kept it.
    pub kept: bool,
}

/// The server's side of a peer, as the application knows it.
#[derive(Default)]
pub struct Member {
    pub id: Option<ConnId>,
    /// Messages to it are taken.
    pub is_open: bool,
    pub opened: bool,
    /// The code of the reason that was told.
    pub told: Option<u16>,
    pub timed_out: bool,
    pub topics: BTreeSet<usize>,
    pub due: Vec<Due>,
    /// What it reads of topics, in the order of its subscriptions.
    pub readings: Vec<Reading>,
    pub heard: Vec<Heard>,
    /// The application or a handle has closed it, or tried to.
    pub closed_by_us: bool,
    /// It was dropped, whatever waited for it.
    pub aborted: bool,
}

/// A command that was given: what it is counted as, what it says, and whether it was taken.
pub type Done = (Mark, Option<Said>, Result<(), HandleError>);

pub struct World {
    pub server: Server<Layered>,
    pub events: Events,
    pub handle: Handle,
    pub choice: Choice,
    pub marks: Marks,
    pub peers: Vec<Peer>,
    pub members: Vec<Member>,
    pub by_id: HashMap<ConnId, usize>,
    pub requests: Requests,
    pub said: usize,
    /// The longest that it took until everything had arrived.
    pub turns_to_rest: u64,
    /// Publications of handles that may not have been carried out yet.
    pub flying: Vec<Said>,
    pub histories: Histories,
    /// When each of the timers is due, until it has come.
    pub timers: Vec<Option<Instant>>,
    /// What became of commands.
    pub done: Rc<RefCell<Vec<Done>>>,
    pub in_callback: bool,
    /// Messages that were refused to the application.
    pub refused: u64,
    /// Whether compression is agreed on, and how.
    pub deflate: Option<Policy>,
    pub policies: [OnLag; TOPICS],
    /// The last publication of each topic that a member was left out of.
    pub left_out: HashMap<(usize, usize), usize>,
    /// The network has a layer.
    is_layered: bool,
    /// Topics whose messages must not be compressed, and messages that must not.
    pub plain: BTreeSet<usize>,
    pub secrets: HashSet<Said>,
    /// The whole process has little room.
    pub is_tight: bool,
    /// Time passes in leaps, or little of it is enough.
    pub leaps: bool,
    pub is_hasty: bool,
    /// How often which step is taken, beside the turns of the loop: drawn for each world.
    weights: [usize; 12],
    pub steps: VecDeque<String>,
    pub traces: bool,
}

impl World {
    pub fn new(source: Rc<RefCell<impl Source + 'static>>, traces: bool) -> Self {
        let choice = Choice::sharing(source);
        let marks = Marks::new();
        let mut config = drawn_config(&choice);
        let deflate = Policy::drawn(&choice, &mut config);
        let is_hasty = choice.below(5) == 4;
        if is_hasty {
            hastens(&mut config);
        }
        let is_tight = choice.below(3) == 2;
        if is_tight {
            config.send_queues_bytes_max = choice.of(&[1500, 1000]);
            let max = config.send_queue_bytes_max;
            config.send_queue_bytes_max = choice.of(&[max, 256 * 1024]);
        }
        let policy = config.topic.on_lag;
        let held_max = choice.of(&[None, None, Some(64 * 1024), Some(300), Some(1)]);
        let net = Network::with_choice(choice.clone());
        let mut histories = Histories::drawn(&choice, &mut config, net.now());
        let net = Layered::new(net, held_max, choice.clone(), marks.clone());
        let mut server = Server::with_net(net, config);
        server.net().nap_max = NAP_MAX;
        let mut policies = [policy; TOPICS];
        // Where the process has little room, it is mostly for that alone that somebody is closed.
        let percent = if is_tight { 10 } else { 40 };
        for (topic, policy) in policies.iter_mut().enumerate().filter(|_| choice.chance(percent)) {
            *policy = choice.of(&[OnLag::Close, OnLag::Skip, OnLag::Latest]);
            let mut options = server.hub().topic_options(topic_name(topic));
            options.on_lag = *policy;
            if histories.any {
                options.history = drawn_history(&choice);
                histories.tracks[topic].history = options.history;
            }
            server.hub().configure_topic(topic_name(topic), options).expect("there is room");
        }
        let faults = Faults::drawn(&choice);
        server.net().faults = faults;
        let knob = |most: usize| if choice.below(4) == 0 { 0 } else { 1 + choice.below(most) };
        let resumes = if histories.any { 60 } else { 0 };
        let weights =
            [6, 20, 14, 14, knob(6), knob(2), knob(1), knob(1), knob(14), 14, knob(10), resumes];
        Self {
            handle: server.handle(),
            server,
            events: Events::default(),
            choice,
            marks,
            peers: Vec::new(),
            members: Vec::new(),
            by_id: HashMap::new(),
            requests: Requests::default(),
            said: 0,
            turns_to_rest: 0,
            flying: Vec::new(),
            histories,
            timers: Vec::new(),
            done: Rc::default(),
            in_callback: false,
            refused: 0,
            deflate,
            is_layered: held_max.is_some(),
            policies,
            left_out: HashMap::new(),
            plain: BTreeSet::new(),
            secrets: HashSet::new(),
            is_tight,
            leaps: faults.jump > 0 || is_hasty,
            is_hasty,
            weights,
            steps: VecDeque::new(),
            traces,
        }
    }

    /// What to print of a failure. `what` is asked for in a replay only.
    pub fn notes<T: Display>(&mut self, what: impl FnOnce() -> T) {
        if self.traces {
            if self.steps.len() == STEPS_SHOWN {
                self.steps.pop_front();
            }
            self.steps.push_back(what().to_string().chars().take(120).collect());
        }
    }

    /// The whole life of the world. Gives what it cost.
    pub fn lives(&mut self) -> (Calls, Counters) {
        for _ in 0..2 {
            for _ in 0..50 + self.choice.below(400) {
                if self.choice.is_dry() {
                    break;
                }
                self.step();
            }
            self.settles();
            if !self.is_hasty {
                self.lives_on();
            }
            self.server.net().faults = Faults::drawn(&self.choice);
            self.leaps |= self.server.net().faults.jump > 0;
        }
        self.ends();
        let counters = self.server.hub().counters();
        assert!(counters.pings_sent >= counters.closed_timeout || self.is_hasty);
        for (mark, n) in [
            (Mark::DroppedFull, counters.messages_dropped_full),
            (Mark::Conflated, counters.messages_conflated),
            (Mark::Skipped, counters.messages_skipped),
            (Mark::Lost, counters.messages_lost),
            (Mark::Overflowed, counters.closed_overflow),
            (Mark::PongCoalesced, counters.pongs_coalesced),
            (Mark::ProtocolClosed, counters.closed_protocol),
            (Mark::TimedOut, counters.closed_timeout),
            (Mark::StaleCommand, counters.stale_commands),
            (Mark::RefusedConnection, counters.connections_refused),
            (Mark::Inflated, counters.messages_inflated),
            (Mark::HistoryGivenUp, counters.history_given_up),
            (Mark::TopicForgotten, counters.topics_forgotten),
        ] {
            self.marks.add(mark, n);
        }
        for (mark, fault) in OF_NETWORK {
            self.marks.add(mark, self.server.net().met(fault));
        }
        (self.server.net().calls, counters)
    }

    /// A peer: a living one most of the time, and else a recent one.
    pub fn any(&self) -> Option<usize> {
        let count = self.peers.len();
        let recent = count.saturating_sub(3 * PEERS_MAX)..count;
        let lives = |at: &usize| !self.peers[*at].wire.is_dropped();
        let living: Vec<_> = recent.filter(lives).collect();
        if !living.is_empty() && !self.choice.chance(10) {
            return Some(self.choice.of(&living));
        }
        (count > 0).then(|| count - 1 - self.choice.below(count.min(PEERS_MAX)))
    }

    fn step(&mut self) {
        let mut drawn = self.choice.below(self.weights.iter().sum::<usize>() + 40);
        let kind = self.weights.iter().position(|weight| {
            let is_it = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it
        });
        let (Some(kind), Some(at)) = (kind, self.any()) else {
            if self.peers.is_empty() {
                self.connects();
            }
            return self.turns();
        };
        let choice = self.choice.clone();
        self.notes(|| format!("step {kind} of peer {at}"));
        let takes_all = self.server.net().faults.writes_are_taken();
        let peer = &mut self.peers[at];
        match kind {
            0 => self.connects(),
            1 => peer.sends(choice.chance(50)),
            2 => _ = peer.reads(choice.of(&[1, 10, 200, usize::MAX])),
            3 if choice.chance(30) => peer.pings(),
            3 if !peer.is_good && choice.chance(25) => peer.misbehaves(),
            3 => peer.composes(),
            4 if peer.is_good => peer.composes(),
            4 => peer.misbehaves(),
            5 => peer.closes(),
            6 => {
                self.marks.hit(Mark::HalfClose);
                peer.sends(choice.chance(70));
                peer.finishes();
            }
            7 => peer.resets(),
            8 if takes_all => {}
            8 => peer.wire.holds(choice.of(&[0, 1, 20, 200, 3000, usize::MAX])),
            9 => self.again(Self::acts),
            10 => self.again(Self::commands),
            _ => self.again(Self::resumes),
        }
    }

    /// Does it once, or several times in a row.
    fn again(&mut self, what: impl Fn(&mut Self)) {
        what(self);
        while self.choice.chance(60) {
            what(self);
        }
    }

    fn connects(&mut self) {
        let living = self.peers.iter().filter(|peer| !peer.wire.is_dropped() && !peer.reset);
        if living.count() >= PEERS_MAX {
            return;
        }
        let number = self.peers.len();
        let wire = self.server.net().connects();
        let layer = self.is_layered.then(|| Client::new(&self.choice, &self.marks));
        let mut peer = Peer::new(wire, number, layer, self.deflate, &self.choice, &self.marks);
        peer.sends(self.choice.chance(60));
        self.peers.push(peer);
        self.members.push(Member::default());
        self.notes(|| format!("peer {number} connects"));
    }

    fn turns(&mut self) {
        let times = [0, 0, 0, 1, 1000];
        self.turn(Duration::from_millis(self.choice.of(&times)));
    }

    pub fn turn(&mut self, timeout: Duration) {
        self.server.poll(&mut self.events, Some(timeout)).expect("the poll works");
        self.server.net().ends_meanwhile();
        self.hears_handles();
        self.happens();
        self.checks_the_turn();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.traces && thread::panicking() {
            eprintln!("the last steps:");
            self.steps.iter().for_each(|step| eprintln!("    {step}"));
        }
    }
}

fn hastens(config: &mut Config) {
    let soon = Duration::from_millis(10);
    config.ping_interval = Some(soon);
    config.idle_timeout = Some(5 * soon);
    (config.pong_timeout, config.close_timeout) = (soon, soon);
    (config.linger_timeout, config.handshake_timeout) = (soon, 2 * soon);
    (config.keep_alive_timeout, config.answer_timeout) = (soon, soon);
}

fn drawn_config(choice: &Choice) -> Config {
    let mut config = Config::default();
    config.overflow = choice.of(&[Overflow::Close, Overflow::DropNewest]);
    config.topic.on_lag = choice.of(&[OnLag::Close, OnLag::Skip, OnLag::Latest]);
    config.topic_lag_bytes_max = choice.of(&[256 * 1024, 1500, 4000]);
    config.topic_unserved_bytes_max = choice.of(&[16 << 20, 3000, 800]);
    config.fan_out_writes_per_turn = choice.of(&[256, 1, 3]);
    config.fan_out_bytes_per_turn = choice.of(&[1 << 20, 30, 300]);
    config.blocked_timeout = choice.of(&[HOUR, HOUR, Duration::from_secs(2)]);
    config.send_queue_bytes_max = choice.of(&[256 * 1024, 300, 600, 1500]);
    config.message_bytes_max = MESSAGE_BYTES_MAX;
    config.message_frames_max = MESSAGE_FRAMES_MAX;
    config.write_bytes_per_turn = choice.of(&[128 * 1024, 20, 200]);
    config.read_bytes_per_turn = choice.of(&[128 * 1024, 10, 100]);
    config.receive_buffer_bytes = choice.of(&[256 * 1024, 0, 300]);
    config.commands_per_turn = choice.of(&[1024, 1, 3]);
    config.accepts_per_turn = choice.of(&[64, 1]);
    config.expiries_per_turn = choice.of(&[10_000, 1]);
    config.connections_max = choice.of(&[1_000_000, 1_000_000, 4]);
    config.connections_reserved = choice.of(&[0, 2]);
    config.mailbox_commands_max = choice.of(&[65_536, 2]);
    config
}
