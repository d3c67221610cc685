//! Connections become players, a timer becomes ticks, and a tick is one publication.

use std::hash::{BuildHasher, RandomState};

use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, Overflow, Reason, Request,
    Response,
};

use crate::{
    PAGE,
    arena::Arena,
    clock::Clock,
    wire::{self, Input},
};

/// Messages that a player may send in a tick, and how many of them may be saved up.
pub const MESSAGES_PER_TICK: u32 = 2;
pub const MESSAGES_SAVED_MAX: u32 = 120;
const ARENA: &str = "arena";
const NAMES: &str = "names";
const NAMES_EVERY_TICKS: u32 = 15;
const TICK_TIMER: u64 = 0;
const WRITTEN_TIMER: u64 = 1;

/// No message that a player can send is longer than one that joins, of 25 bytes.
pub fn config() -> Config {
    let mut config = Config::default();
    config.message_bytes_max = 64;
    config.connections_max = 1000;
    config
}

struct Player {
    ship: Option<u16>,
    messages_left: u32,
}

pub struct Game {
    pub arena: Arena,
    pub clock: Clock,
    players: ConnMap<Player>,
    names_changed: bool,
    snapshot: Vec<u8>,
    secrets: RandomState,
}

impl Game {
    pub fn new(hub: &mut Hub, seed: u64) -> Self {
        // Who reads too slowly gets the newest snapshot when there is room for one, and no older.
        hub.set_topic_overflow(ARENA, Overflow::KeepLatest);
        hub.set_topic_overflow(NAMES, Overflow::KeepLatest);
        let clock = Clock::new(hub.now());
        hub.set_timer(clock.due, TICK_TIMER);
        Self {
            arena: Arena::new(seed),
            clock,
            players: ConnMap::new(),
            names_changed: false,
            snapshot: Vec::new(),
            secrets: RandomState::new(),
        }
    }

    fn tick(&mut self, hub: &mut Hub) {
        self.arena.step();
        wire::snapshot(&self.arena, &mut self.snapshot);
        // What the process has no room for is counted, and the next tick brings a newer one.
        let _ = hub.publish(ARENA, &self.snapshot);
        if self.names_changed && self.arena.tick.is_multiple_of(NAMES_EVERY_TICKS) {
            self.names_changed = hub.publish(NAMES, &wire::names(&self.arena.ships)).is_err();
        }
        for (_, player) in self.players.iter_mut() {
            player.messages_left = MESSAGES_SAVED_MAX.min(player.messages_left + MESSAGES_PER_TICK);
        }
        self.clock.advance(hub.now());
        hub.set_timer(self.clock.due, TICK_TIMER);
        // What is due already comes as soon as all that is queued has been written.
        hub.set_timer(hub.now(), WRITTEN_TIMER);
    }

    /// Does what a message asks for, or says what is wrong with it.
    fn obey(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        message: Message<'_>,
    ) -> Result<(), &'static str> {
        let Some(player) = self.players.get_mut(id) else { return Ok(()) };
        let left = player.messages_left.checked_sub(1);
        player.messages_left = left.ok_or("more than 60 messages a second")?;
        let own = player.ship.and_then(|ship| self.arena.ship(ship));
        match (Input::parse(message)?, own) {
            // Who is gone, or does not read, needs no answer.
            (Input::Ping, _) => _ = hub.send(id, message),
            (Input::Steer { order, helm }, Some(own)) => (own.order, own.helm) = (order, helm),
            (Input::Steer { .. }, None) => return Err("steered before it joined"),
            (Input::Join { token, .. }, Some(own)) if own.token != token => {
                return Err("a connection has one ship");
            }
            (Input::Join { token, name }, _) => {
                let fresh = self.secrets.hash_one(id.to_bits());
                let ship = self.arena.board(token, fresh, name).ok_or("the arena is full")?;
                let _ = hub.send(id, &wire::welcome(ship));
                self.names_changed = true;
                let ship = Some(ship.id);
                for (other, player) in self.players.iter_mut() {
                    if other == id {
                        player.ship = ship;
                    } else if player.ship == ship {
                        player.ship = None;
                        hub.close(other, CloseCode::POLICY, "your ship is steered from elsewhere");
                    }
                }
            }
        }
        Ok(())
    }
}

impl Handler for Game {
    fn on_request(&mut self, hub: &mut Hub, id: ConnId, request: &Request) {
        if request.path() == "/ticks" && !request.is_websocket() {
            let report = Response::text(200, self.clock.report(hub.now()));
            return hub.respond(id, &report).unwrap_or_default();
        }
        if !PAGE.answer(hub, id, request) && hub.accept(id, Accept::default()).is_ok() {
            self.players.insert(id, Player { ship: None, messages_left: MESSAGES_SAVED_MAX });
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        // Two short topics are within the limits, and who is gone already needs none.
        let _ = hub.subscribe(id, ARENA).and(hub.subscribe(id, NAMES));
        let _ = hub.send(id, &wire::names(&self.arena.ships));
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        if let Err(why) = self.obey(hub, id, message) {
            hub.close(id, CloseCode::POLICY, why);
        }
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, _: Reason<'_>) {
        let left = self.players.remove(id).and_then(|player| player.ship);
        if let Some(ship) = left.and_then(|ship| self.arena.ship(ship)) {
            (ship.away, ship.helm) = (1, [0.0; 2]);
        }
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        match key {
            TICK_TIMER => self.tick(hub),
            _ => self.clock.written(hub.now()),
        }
    }
}
