//! Connections become players, a timer becomes ticks, and a tick is one publication.

use std::hash::{BuildHasher, RandomState};

use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, OnLag, Overflow, Reason,
    Request, RequestId,
};

use super::{
    PAGE,
    arena::Arena,
    clock::Clock,
    page::Budget,
    wire::{self, JOIN, PING, STEER},
};

pub const TICKS_PER_SECOND: u32 = 30;
/// Messages that a player may send at once, and each second.
pub const MESSAGES: (u32, f64) = (120, 60.0);
const ARENA: &str = "arena";
const NAMES: &str = "names";

/// What is wrong with a message.
type Verdict = Result<(), &'static str>;

pub struct Game {
    pub arena: Arena,
    pub clock: Clock,
    budgets: ConnMap<Budget>,
    secrets: RandomState,
}

pub fn config() -> Config {
    let mut config = Config::default();
    // Who reads too slowly gets the newest snapshot when there is room for one, and no older.
    config.topic.on_lag = OnLag::Latest;
    config.overflow = Overflow::DropNewest;
    // None that a player can send is longer than one that joins, of 25 bytes.
    config.message_bytes_max = 64;
    config.connections_max = 1000;
    config
}

impl Game {
    pub fn new(hub: &mut Hub) -> Self {
        let (clock, secrets) = (Clock::start(hub, TICKS_PER_SECOND), RandomState::new());
        let arena = Arena::new(secrets.hash_one("the sparks"));
        Self { arena, clock, budgets: ConnMap::new(), secrets }
    }

    /// Does what a message asks for, or says what is wrong with it.
    fn obey(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) -> Verdict {
        let Message::Binary(bytes) = message else { return Err("messages are binary here") };
        if !self.budgets.get_mut(id).is_some_and(|budget| budget.pays(hub.now(), 1)) {
            return Err("more than 60 messages a second");
        }
        let own = self.arena.ships.iter_mut().find(|ship| ship.pilot == Some(id));
        match (bytes, own) {
            // Who is gone, or does not read, needs no answer.
            ([PING, _, _, _, _], _) => _ = hub.send(id, message),
            ([STEER, order, direction, power], Some(own)) => {
                (own.order, own.helm) = (*order, wire::helm(*direction, *power));
            }
            ([STEER, _, _, _], None) => return Err("steered before it joined"),
            ([JOIN, token_and_name @ ..], own) => {
                let (token, name) = wire::token_and_name(token_and_name)?;
                if own.is_some_and(|own| own.token != token) {
                    return Err("a connection has one ship");
                }
                let fresh = self.secrets.hash_one(id.to_bits());
                let ship = self.arena.board(token, fresh).ok_or("the arena is full")?;
                (ship.name, ship.away) = (name, 0);
                if let Some(other) = ship.pilot.replace(id).filter(|other| *other != id) {
                    hub.close(other, CloseCode::POLICY, "your ship is steered from elsewhere");
                }
                let _ = hub.send(id, wire::welcome(ship));
            }
            _ => return Err("no message has this kind and length"),
        }
        Ok(())
    }
}

impl Handler for Game {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let plain = self.clock.answer(hub, id, request) || PAGE.answer(hub, id, request);
        if !plain && hub.accept(id, Accept::default()).is_ok() {
            self.budgets.insert(id.conn(), Budget::new(MESSAGES.0, MESSAGES.1, hub.now()));
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        // Two short topics are within the limits, and who is gone already needs none.
        let _ = hub.subscribe(id, ARENA).and(hub.subscribe(id, NAMES));
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        if let Err(why) = self.obey(hub, id, message) {
            hub.close(id, CloseCode::POLICY, why);
        }
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.budgets.remove(id);
        if let Some(ship) = self.arena.ships.iter_mut().find(|ship| ship.pilot == Some(id)) {
            (ship.pilot, ship.away, ship.helm) = (None, 1, [0.0; 2]);
        }
    }

    fn on_timer(&mut self, hub: &mut Hub, timer: u64) {
        if !self.clock.ticks(hub, timer) {
            return;
        }
        self.arena.step();
        // What the process has no room for is counted, and the next tick brings a newer one.
        let _ = hub.publish(ARENA, wire::snapshot(&self.arena));
        // They change seldom, and half a second is soon enough.
        if self.arena.tick.is_multiple_of(TICKS_PER_SECOND / 2) {
            let _ = hub.publish(NAMES, wire::names(&self.arena.ships));
        }
    }
}
