//! Random worlds: two nodes whose members come and go, and a broker as the scripts have it. Ways to it are cut, with
//! what is on them lost or run later; it forgets, stands still, and nodes are killed. In the end the broker's members
//! are those that are here, and no leave was told of one that stayed.

mod telling;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use pushloop::{
    Config, ConnId, Handler, Message, PresenceConfig, Reason,
    testing::{Choice, Client, World},
};

use super::*;

const TIMER: u64 = 1;
const DELAY: Duration = Duration::from_secs(2);
const LEASE: u64 = 15;
const SILENCE_MAX: u64 = 7;

/// What a node has beside its hub, and the member that comes next.
struct Here {
    presence: Presence,
    leases: Leases,
    next: String,
    /// The connection that came last.
    last: Option<ConnId>,
}

struct App(Rc<RefCell<Here>>, Arc<Shared>);

impl Handler for App {
    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        let here = &mut *self.0.borrow_mut();
        here.presence.join(hub, id, "t", &here.next, "1").expect("there is room");
        here.last = Some(id);
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.0.borrow_mut().presence.handle_close(hub, id);
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        let here = &mut *self.0.borrow_mut();
        assert!(here.presence.handle_timer(hub, key));
        here.leases.tell(hub, &mut here.presence);
    }
}

struct Node {
    world: World<App>,
    clients: Vec<Client>,
    is_connected: bool,
    /// What is on the way to the broker, and from it.
    asked: VecDeque<Ask>,
    answers: VecDeque<(Ask, Result<Answer, String>)>,
    /// One is here that stays, and the broker has no reason to take it for gone.
    has_stayer: bool,
    /// For how many seconds the broker has not renewed its lease, with all of its members.
    unrenewed: u64,
}

impl Node {
    fn new(seed: u64) -> Self {
        let mut config = PresenceConfig::default();
        config.leave_delay = DELAY;
        let world = World::new(seed, Config::default(), |hub| {
            let shared = Arc::new(Shared::new(hub.handle()));
            let status = Arc::new(Status::new(std::time::SystemTime::UNIX_EPOCH));
            let leases = Leases::new(Arc::clone(&shared), status, hub.now());
            let presence = Presence::shared(TIMER, companion, config);
            let (next, last) = Default::default();
            App(Rc::new(RefCell::new(Here { presence, leases, next, last })), shared)
        });
        let (asked, answers, clients) = Default::default();
        let (has_stayer, unrenewed) = (false, 0);
        let mut node =
            Self { world, clients, is_connected: false, asked, answers, has_stayer, unrenewed };
        node.connect();
        node
    }

    /// Does something with what the node has.
    fn with<T>(&mut self, act: impl FnOnce(&mut Here, &mut Hub) -> T) -> T {
        let here = Rc::clone(&self.world.app.0);
        act(&mut here.borrow_mut(), self.world.hub())
    }

    fn connect(&mut self) {
        if !self.is_connected {
            self.is_connected = true;
            self.world.app.1.set_connected(true);
            self.with(|here, hub| {
                here.leases.handle_connected();
                here.leases.tell(hub, &mut here.presence);
            });
        }
    }

    /// What is on the way to the broker is lost, or given back: it is run later.
    fn cut(&mut self) -> VecDeque<Ask> {
        self.fetch();
        self.is_connected = false;
        self.world.app.1.set_connected(false);
        self.with(|here, _| here.leases.handle_disconnected());
        self.answers.clear();
        std::mem::take(&mut self.asked)
    }

    /// Has what was asked go on its way.
    fn fetch(&mut self) {
        let shared = &self.world.app.1;
        shared.echo();
        self.asked.extend(shared.next_batch().expect("it does not end").leases);
        shared.take(usize::MAX);
    }

    fn deliver(&mut self) {
        let Some((ask, answer)) = self.answers.pop_front() else { return };
        self.with(|here, hub| here.leases.handle_answer(hub, &mut here.presence, ask, answer));
    }

    fn pass_second(&mut self) {
        self.world.advance(Duration::from_secs(1));
        self.unrenewed += 1;
        if self.unrenewed >= LEASE {
            self.has_stayer = false;
        }
        self.with(|here, hub| here.leases.look(hub, &mut here.presence));
    }

    fn come(&mut self, id: &str) {
        self.with(|here, _| here.next = id.to_owned());
        self.clients.push(self.world.connect("/"));
    }

    /// What came last is a member of so many topics more.
    fn join(&mut self, count: usize) {
        self.with(|here, hub| {
            let conn = here.last.expect("one came");
            for nth in 0..count {
                let name = format!("m{nth}");
                here.presence.join(hub, conn, &name, &name, "1").expect("there is room");
            }
        });
    }

    /// The broker runs what was asked, with these answers where it gives none of its own.
    fn run(&mut self, broker: &mut Broker, mut instead: impl FnMut(&Ask) -> Option<Answer>) {
        self.fetch();
        while let Some(ask) = self.asked.pop_front() {
            let answer = instead(&ask).unwrap_or_else(|| broker.run(&ask));
            self.answers.push_back((ask, Ok(answer)));
        }
    }

    fn deliver_all(&mut self) {
        while !self.answers.is_empty() {
            self.deliver();
        }
    }

    fn telling(&mut self) -> Telling {
        self.with(|here, _| here.leases.telling)
    }

    fn go(&mut self, choice: &Choice) {
        // The first is the one that stays.
        if self.clients.len() > 1 {
            self.clients.swap_remove(1 + choice.below(self.clients.len() - 1)).cut();
            self.world.run_until_quiet();
        }
    }

    /// Whose connections are here, or were until just now.
    fn has(&mut self) -> BTreeSet<Box<str>> {
        self.with(|here, _| here.presence.members("t").map(|it| it.id.into()).collect())
    }
}

/// The broker, as the scripts have it.
#[derive(Default)]
struct Broker {
    now: u64,
    nodes: BTreeMap<u64, u64>,
    over: BTreeSet<u64>,
    held: BTreeMap<u64, BTreeSet<Arc<str>>>,
    members: BTreeSet<Arc<str>>,
    seen: u64,
    patience: u64,
    left: Vec<Arc<str>>,
}

impl Broker {
    fn run(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Renew { node, is_new, before, over } => self.renew(*node, *is_new, *before, *over),
            Ask::Change { roll, id, info: Some(_) } => {
                if !self.nodes.contains_key(&roll.node) {
                    return Answer::Lost;
                }
                self.held.entry(roll.node).or_default().insert(Arc::clone(id));
                let is_new = self.members.insert(Arc::clone(id));
                Answer::Done(if is_new { vec![(**id).into()] } else { Vec::new() })
            }
            Ask::Change { roll, id, info: None } => {
                Answer::Done(self.leave(roll.node, id).into_iter().collect())
            }
            Ask::Sweep { roll } => {
                let some = self.held.get(&roll.node).into_iter().flatten().take(2).cloned();
                let some: Vec<_> = some.collect();
                Answer::Done(some.iter().filter_map(|id| self.leave(roll.node, id)).collect())
            }
        }
    }

    /// The member, if it has left with that.
    fn leave(&mut self, node: u64, id: &Arc<str>) -> Option<Box<str>> {
        let was_held = self.held.get_mut(&node).is_some_and(|held| held.remove(id));
        let is_gone = was_held && !self.held.values().any(|held| held.contains(id));
        is_gone.then(|| {
            self.members.remove(id);
            self.left.push(Arc::clone(id));
            (**id).into()
        })
    }

    fn renew(&mut self, node: u64, is_new: bool, before: Option<u64>, over: Option<u64>) -> Answer {
        if self.now.abs_diff(self.seen) > SILENCE_MAX {
            self.patience = self.now + LEASE;
        }
        self.seen = self.now;
        let is_held = is_new || self.nodes.contains_key(&node);
        if is_held {
            self.nodes.insert(node, self.now + LEASE);
        }
        let known = before.and_then(|before| self.nodes.get_mut(&before));
        let is_anew = is_new && before.is_some() && known.is_none();
        if let Some(end) = known {
            *end = self.now + LEASE;
        }
        let ended = self.nodes.iter().filter(|(_, end)| **end <= self.now);
        let ended: Vec<_> = ended.map(|(node, _)| *node).collect();
        let ended = if self.now >= self.patience { ended } else { Vec::new() };
        for node in ended.into_iter().chain(over) {
            self.nodes.remove(&node);
            self.over.insert(node);
        }
        let Some(node) = self.over.first().copied().filter(|_| is_held) else {
            return match (is_held, is_anew) {
                (false, _) => Answer::Lost,
                (true, false) => Answer::Held(None),
                (true, true) => Answer::Anew(None),
            };
        };
        let has_members = self.held.get(&node).is_some_and(|held| !held.is_empty());
        if !has_members {
            self.over.remove(&node);
            self.held.remove(&node);
        }
        let topics = if has_members { vec!["t".into()] } else { Vec::new() };
        let over = Some(Over { node, topics });
        if is_anew { Answer::Anew(over) } else { Answer::Held(over) }
    }
}

struct Worlds {
    choice: Choice,
    nodes: Vec<Node>,
    broker: Broker,
    /// What is run although nobody waits for it any more.
    late: VecDeque<Ask>,
    seeds: u64,
    left: u64,
}

impl Worlds {
    fn new(seed: u64) -> Self {
        let nodes = [0, 1].map(|at| Self::node(seed + 1000 * at, at)).into();
        let (broker, late) = Default::default();
        Self { choice: Choice::seeded(seed), nodes, broker, late, seeds: seed, left: 0 }
    }

    /// A node, with the member that stays.
    fn node(seed: u64, at: u64) -> Node {
        let mut node = Node::new(seed);
        node.come(&format!("stays {at}"));
        node
    }

    fn step(&mut self) {
        let at = self.choice.below(2);
        let node = &mut self.nodes[at];
        match self.choice.below(100) {
            0..12 => node.come(&self.choice.below(5).to_string()),
            12..24 => node.go(&self.choice),
            24..32 => self.pass_second(),
            32..60 => self.run(at),
            60..92 => node.deliver_all(),
            92..94 => {
                let asked = node.cut();
                if self.choice.chance(50) {
                    self.late.extend(asked);
                }
            }
            94..97 => node.connect(),
            97 => self.run_late(),
            98 => {
                // It stands still: nobody renews anything meanwhile.
                self.broker.now += 20;
            }
            _ => match self.choice.below(6) {
                0 => {
                    let now = self.broker.now;
                    self.broker = Broker { now, ..Broker::default() };
                    self.nodes.iter_mut().for_each(|node| node.has_stayer = false);
                }
                1 => {
                    self.seeds += 10_000;
                    self.nodes[at] = Self::node(self.seeds, at as u64);
                }
                _ => node.connect(),
            },
        }
    }

    fn pass_second(&mut self) {
        self.broker.now += 1;
        self.nodes.iter_mut().for_each(Node::pass_second);
    }

    /// The broker runs what a node has asked.
    fn run(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.is_connected {
            node.fetch();
        }
        while let Some(ask) = self.nodes[at].asked.pop_front() {
            let is_late = matches!(ask, Ask::Change { .. }) && self.choice.chance(20);
            let answer = if is_late { Answer::Late } else { self.broker.run(&ask) };
            let node = &mut self.nodes[at];
            let name = node
                .with(|here, _| (here.leases.telling == Telling::All).then_some(here.leases.node));
            if let (Ask::Renew { node: renewed, .. }, Answer::Held(_) | Answer::Anew(_)) =
                (&ask, &answer)
                && name == Some(*renewed)
            {
                node.unrenewed = 0;
            }
            node.answers.push_back((ask, Ok(answer)));
            self.judge();
        }
    }

    fn run_late(&mut self) {
        while let Some(ask) = self.late.pop_front() {
            self.broker.run(&ask);
            self.judge();
        }
    }

    /// No leave is told of one that stays, but where its node could not renew its lease.
    fn judge(&mut self) {
        for id in std::mem::take(&mut self.broker.left) {
            self.left += 1;
            let stays = (0..2).any(|at| *id == *format!("stays {at}") && self.nodes[at].has_stayer);
            assert!(!stays, "{id} is told to leave, and is here");
        }
    }

    /// All ways are open, and all that is on them arrives: the broker has those that are here.
    fn heal(&mut self) {
        self.run_late();
        self.nodes.iter_mut().for_each(Node::connect);
        for _ in 0..LEASE * 3 {
            self.settle();
            self.pass_second();
        }
        self.settle();
        let here: BTreeSet<_> = self.nodes.iter_mut().flat_map(Node::has).collect();
        let there: BTreeSet<Box<str>> =
            self.broker.members.iter().map(|id| (**id).into()).collect();
        assert_eq!(there, here);
        assert!(here.len() >= 2 && self.broker.over.is_empty());
        self.nodes.iter_mut().for_each(|node| (node.has_stayer, node.unrenewed) = (true, 0));
    }

    fn settle(&mut self) {
        for at in [0, 1, 0, 1, 0, 1, 0, 1] {
            self.run(at);
            self.nodes[at].deliver_all();
        }
    }
}

#[test]
fn the_broker_has_those_that_are_here_in_every_world() {
    let worlds = std::env::var("BROKER_SEEDS").map_or(60, |it| it.parse().expect("a number"));
    let (mut left, mut stayed) = (0, 0);
    for seed in 0..worlds {
        let mut all = Worlds::new(seed);
        for _ in 0..3 {
            all.heal();
            (0..300).for_each(|_| all.step());
            stayed += all.nodes.iter().filter(|node| node.has_stayer).count();
        }
        all.heal();
        left += all.left;
    }
    assert!(left > worlds && stayed as u64 > worlds, "{left} left, {stayed} stayed");
    println!("figure leases' worlds: {worlds}; {left} left, {stayed} of {} stayed", 6 * worlds);
}
