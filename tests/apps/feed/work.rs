//! What pages cost a beat of the server, which runs on a network and a clock in memory.

use super::server::{Feed, WELCOMES_PER_BEAT, config};
use crate::support::http::after_head;
use crate::support::net::{Wire, frames};
use crate::support::{Frame, handshake};
use crate::world::World;

const SYMBOLS: usize = 240;

fn world() -> World<Feed> {
    World::beating(config(), Feed::new)
}

impl World<Feed> {
    /// Turns up to the next beat, which is made in the last of them; what it publishes leaves in the next.
    fn beat(&mut self) {
        let next = self.app.clock.made + 1;
        while self.app.clock.made < next {
            self.turn();
        }
    }

    /// So many ask at once.
    fn connects(&mut self, pages: usize) -> Vec<Wire> {
        let wires: Vec<_> = (0..pages).map(|_| self.server.net().connects()).collect();
        wires.iter().for_each(|wire| wire.sends_bytes(handshake("/live", "")));
        wires
    }

    /// How many subscribe to each of all topics; it is the same number.
    fn subscribers(&mut self) -> usize {
        let hub = self.server.hub();
        let orders = hub.subscriber_count("$orders");
        for stock in &self.app.market.stocks {
            assert_eq!(hub.subscriber_count(&stock.symbol), orders);
        }
        assert_eq!(hub.topic_count(), if orders == 0 { 0 } else { SYMBOLS + 2 });
        orders
    }
}

fn is_board(frame: &Frame) -> bool {
    frame.payload.starts_with(b"{\"board\":")
}

#[test]
fn of_a_crowd_that_comes_at_once_a_beat_welcomes_so_many() {
    const PAGES: usize = 100;
    let mut world = world();
    world.beat();
    let wires = world.connects(PAGES);
    let mut welcomed = WELCOMES_PER_BEAT;
    while welcomed < PAGES {
        // In the turns up to here no time has passed: those that came first had what the last beat left.
        world.beat();
        welcomed = (welcomed + WELCOMES_PER_BEAT).min(PAGES);
        assert_eq!(world.subscribers(), welcomed);
    }
    assert_eq!(world.app.clock.skipped, 0);
    world.beat();
    for wire in &wires {
        let frames = frames(after_head(&wire.reads_bytes()));
        assert!(is_board(&frames[0]) && !frames[1..].iter().any(is_board), "it is the first");
    }
    // A page that comes later has it at once.
    let late = world.connects(1);
    let made = world.app.clock.made;
    while world.subscribers() == PAGES {
        world.turn();
    }
    assert_eq!(world.app.clock.made, made);
    world.turn();
    assert!(is_board(&frames(after_head(&late[0].reads_bytes()))[0]));
}

#[test]
fn a_page_that_is_gone_before_it_is_welcome_takes_no_place() {
    let mut world = world();
    world.beat();
    let gone = world.connects(50);
    while world.server.hub().counters().upgrades < 50 {
        world.turn();
    }
    gone[WELCOMES_PER_BEAT..].iter().for_each(Wire::resets);
    world.connects(WELCOMES_PER_BEAT);
    world.beat();
    assert_eq!(world.subscribers(), 2 * WELCOMES_PER_BEAT);
}

/// Pages that do not read, however many, cost a beat nothing once they are known to be full.
#[test]
fn pages_that_lag_cost_a_beat_no_write_and_no_step() {
    const QUICK: usize = 5;
    let mut took = Vec::new();
    for slow in [0, 3, 300] {
        let mut world = world();
        let wires = world.connects(QUICK + slow);
        while world.subscribers() < QUICK + slow {
            world.beat();
        }
        wires[..slow].iter().for_each(|wire| wire.holds(0));
        // By now each topic has come to each of them, but for the orders, of which there are none.
        (0..150).for_each(|_| world.beat());
        let (writes, steps) =
            (world.server.net().calls.writes, world.server.hub().counters().list_steps);
        (0..25).for_each(|_| world.beat());
        let counters = world.server.hub().counters();
        assert_eq!(world.server.net().calls.writes - writes, 25 * QUICK);
        took.push(counters.list_steps - steps);
    }
    // Which prices move is up to chance. A step for each that lags would be 7,500 more.
    assert!(took.iter().all(|steps| steps.abs_diff(took[0]) < 2_000), "{took:?}");
}
