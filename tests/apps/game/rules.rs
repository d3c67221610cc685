//! The rules, the bytes and the clock, without a server.

use std::time::{Duration, Instant};

use pushloop::{Hub, Server};

use super::{
    TICK,
    arena::{
        AWAY_TICKS_MAX, Arena, EASE, Name, PEACE_TICKS, REACH, SHIPS_MAX, SIZE, SPARKS, SPEED,
        Ship, place,
    },
    wire,
};
use crate::{
    clock::{Clock, LATE_TICKS_MAX},
    support::net::Network,
};

fn name(text: &str) -> Name {
    let mut name = Name::default();
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

/// Ships at these places with these sparks, and no spark that any could reach.
fn arena(ships: &[([f32; 2], u16)]) -> Arena {
    let mut arena = Arena::new(1);
    arena.sparks = vec![[255, 255]];
    for (n, (at, sparks)) in ships.iter().enumerate() {
        let ship = arena.board(0, n as u64 + 1).expect("there is room");
        (ship.at, ship.sparks) = (*at, *sparks);
    }
    arena
}

fn sparks(arena: &Arena) -> Vec<u16> {
    arena.ships.iter().map(|ship| ship.sparks).collect()
}

#[test]
fn a_ship_gains_speed_up_to_its_limit_and_the_wall_stops_it() {
    let mut arena = arena(&[([100.0, 100.0], 0)]);
    arena.ships[0].helm = [1.0, 0.0];
    arena.step();
    assert_eq!(arena.ships[0].at, [100.0 + SPEED * EASE, 100.0]);
    for _ in 0..1000 {
        arena.step();
        assert!(arena.ships[0].velocity[0] <= SPEED);
    }
    assert_eq!(arena.ships[0].at, [SIZE, 100.0]);
}

#[test]
fn a_spark_is_one_ships_and_another_appears() {
    let mut arena = arena(&[([470.0, 500.0], 0), ([530.0, 500.0], 0)]);
    arena.sparks = vec![[50, 50]];
    arena.step();
    assert_eq!(sparks(&arena), [1, 0], "both are in reach of it");
    assert_eq!(arena.sparks.len(), 1);
    assert_ne!(arena.sparks, [[50, 50]]);
    assert_eq!(Arena::new(7).sparks.len(), SPARKS);
    assert_eq!(Arena::new(7).sparks, Arena::new(7).sparks, "a seed says where");
}

#[test]
fn the_poorer_takes_a_third_and_then_both_are_in_peace() {
    let touching = REACH - 1.0;
    let mut arena = arena(&[([500.0, 500.0], 10), ([500.0 + touching, 500.0], 3)]);
    arena.step();
    assert_eq!(sparks(&arena), [6, 7], "a third of 10, rounded up");
    for _ in 0..PEACE_TICKS {
        assert_eq!(sparks(&arena), [6, 7]);
        arena.step();
    }
    assert_eq!(sparks(&arena), [9, 4], "in the same tick in which the peace is over");
}

#[test]
fn equals_and_the_distant_do_not_rob() {
    let mut arena =
        arena(&[([500.0, 500.0], 5), ([510.0, 500.0], 5), ([500.0, 500.0 + REACH * 1.1], 0)]);
    arena.step();
    assert_eq!(sparks(&arena), [5, 5, 0]);
}

#[test]
fn a_full_arena_takes_nobody_but_in_the_place_of_who_is_away() {
    let mut arena = Arena::new(1);
    for token in 1..=SHIPS_MAX as u64 {
        assert!(arena.board(0, token).is_some());
    }
    assert!(arena.board(0, 9999).is_none());
    assert!(arena.board(3, 9999).is_some(), "its own place");
    for (at, sparks) in [(7, 5), (8, 2), (9, 5), (10, 0)] {
        arena.ships[at].sparks = sparks;
        arena.ships[at].away = u16::from(sparks > 0);
    }
    assert!(arena.board(0, 9999).is_some());
    assert!(arena.ships.iter().all(|ship| ship.token != 9), "the poorest of those makes room");
    assert!([8, 10, 11].iter().all(|token| arena.ships.iter().any(|ship| ship.token == *token)));
    let mut ids: Vec<_> = arena.ships.iter().map(|ship| ship.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), SHIPS_MAX, "no id is given twice");
}

#[test]
fn a_ship_that_waits_is_not_pushed_out_by_those_who_come_and_go() {
    let mut arena = arena(&[([0.0; 2], 0)]);
    arena.ships[0].away = 1;
    for token in 2..3 * SHIPS_MAX as u64 {
        arena.board(0, token).expect("there is room").away = 1;
        if token.is_multiple_of(100) {
            arena.step();
        }
    }
    assert!(arena.ships.iter().any(|ship| ship.token == 1));
}

#[test]
fn an_id_that_is_in_use_is_passed_over_when_all_have_been_given() {
    let mut arena = arena(&[([0.0; 2], 0)]);
    let first = arena.ships[0].id;
    for token in 2..70_000 {
        let id = arena.board(0, token).expect("there is room").id;
        assert_ne!(id, first);
        arena.ships.pop();
    }
}

#[test]
fn a_ship_waits_for_half_a_minute() {
    let mut arena = arena(&[([0.0; 2], 0)]);
    arena.ships[0].away = 1;
    for _ in 1..AWAY_TICKS_MAX {
        arena.step();
    }
    assert_eq!(arena.ships.len(), 1);
    arena.step();
    assert!(arena.ships.is_empty());
}

#[test]
fn a_snapshot_is_as_documented_to_the_byte() {
    let mut arena = arena(&[([256.0, 1.5], 258)]);
    arena.tick = 0x0403_0201;
    arena.sparks = vec![[3, 4], [5, 6]];
    let ship = &mut arena.ships[0];
    (ship.id, ship.velocity, ship.order, ship.peace, ship.away) = (513, [-1.0, 9.0], 77, 1, 1);
    let bytes = wire::snapshot(&arena);
    let head = [4, 0, 1, 0, 1, 2, 3, 4];
    let ship = [1, 2, 0, 16, 24, 0, 0xF8, 72, 2, 1, 77, 3];
    assert_eq!(bytes, [&head[..], &ship, &[3, 4, 5, 6]].concat());
    assert_eq!(ship.len(), wire::SHIP_BYTES);
    assert_eq!(place([3, 4]), [30.0, 40.0]);
    let ship = Ship { id: 513, token: 0x0807_0605_0403_0201, name: name("Ada"), ..Ship::default() };
    assert_eq!(wire::welcome(&ship), [1, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(wire::names(&[ship]), [&[2, 1, 2][..], b"Ada\0\0\0\0\0\0\0\0\0\0\0\0\0"].concat());
}

#[test]
fn orders_are_read_as_documented() {
    let [x, y] = wire::helm(64, 255);
    assert!(x.abs() < 1e-6 && (y - 1.0).abs() < 1e-6, "64 is down");
    for direction in 0..=255 {
        let [x, y] = wire::helm(direction, 255);
        assert!(x.hypot(y) < 1.0001, "nobody is faster than the rest");
    }
    let join = [&[1, 2, 3, 4, 5, 6, 7, 8][..], &name("Ada")].concat();
    assert_eq!(wire::token_and_name(&join), Ok((0x0807_0605_0403_0201, name("Ada"))));
}

#[test]
fn the_richest_are_robbed_and_do_not_overflow() {
    let mut arena = arena(&[([500.0; 2], u16::MAX), ([500.0; 2], u16::MAX - 1)]);
    arena.step();
    assert_eq!(sparks(&arena), [43_690, u16::MAX]);
}

/// The page has the rules, too: it says where its own ship will be.
#[test]
fn the_page_knows_the_same_rules() {
    let page = include_str!("../../../examples/game/page.html");
    let rules =
        format!("const SIZE = {SIZE}, SPEED = {SPEED}, EASE = {EASE}, TICK_MS = 1000 / 30;");
    assert!(page.contains(&rules), "{rules}");
}

fn now() -> Instant {
    let mut server = Server::with_net(Network::new(), Default::default());
    let hub: &mut Hub = server.hub();
    hub.now()
}

#[test]
fn a_late_tick_does_not_move_those_after_it() {
    let start = now();
    let mut clock = Clock::new(start, 30);
    for n in 0..1000 {
        assert_eq!(clock.due, start + TICK * n);
        // Each is later than the one before, by up to almost a tick.
        clock.advance(clock.due + Duration::from_micros(u64::from(n) * 33));
    }
    assert_eq!((clock.made, clock.skipped), (1000, 0));
}

#[test]
fn what_was_missed_is_made_up_for_up_to_a_bound_and_the_rest_skipped() {
    for missed in 0..100 {
        let start = now();
        let mut clock = Clock::new(start, 30);
        // The loop was held up; when it goes on, the first tick is due and so are the missed.
        let back = start + TICK * missed + TICK / 2;
        clock.advance(back);
        let mut made_up = 0;
        while clock.ticks_due(back) > 0 {
            clock.advance(back);
            made_up += 1;
        }
        assert_eq!(made_up, missed.min(LATE_TICKS_MAX));
        assert_eq!(clock.made + clock.skipped, missed + 1, "all are accounted for");
        assert_eq!(clock.due, start + TICK * (missed + 1), "and the beat is the same");
    }
}
