//! What an address may have done for it: the same work in one connection or in many, and counted.

use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Chat, config};
use crate::{
    ledger::{ACCOUNTS_MAX, Ledger, Payer, WORK_MAX, WORK_PER_SECOND},
    support::net::Wire,
    support::{Frame, text},
    world::{World, close_in},
};

fn world() -> World<Chat> {
    World::still(config(), |hub| Chat::new(hub), Chat::arrive)
}

fn sends(wire: &Wire, value: Value) {
    wire.sends(text(value.to_string()));
}

fn enters(world: &mut World<Chat>, name: &str) -> Wire {
    let wire = world.opens();
    sends(&wire, json!({ "name": name, "token": name }));
    world.turn();
    wire
}

/// A room with so many people, each from an address of its own.
fn crowd(world: &mut World<Chat>, people: u16) -> Vec<Wire> {
    let crowd = (0..people).map(|n| {
        let [high, low] = n.to_be_bytes();
        world.from = [10, 1, high, low];
        let wire = enters(world, &format!("somebody {n}"));
        sends(&wire, json!({ "join": "lobby" }));
        world.rests();
        wire
    });
    let crowd: Vec<_> = crowd.collect();
    crowd.iter().for_each(|wire| _ = wire.reads_bytes());
    crowd
}

fn refusal(frames: &[Frame]) -> Option<u16> {
    close_in(frames).map(|(code, _)| code)
}

/// Comes and goes as often as it is let, and gives how many messages the others got.
fn comes_and_goes(world: &mut World<Chat>, name: &str) -> (u64, Option<u16>) {
    let before = world.counters().deliveries;
    for n in 0..10_000 {
        let Ok(wire) = world.asks() else {
            return (world.counters().deliveries - before, Some(429));
        };
        sends(&wire, json!({ "name": format!("{name} {n}"), "token": "t" }));
        for _ in 0..20 {
            sends(&wire, json!({ "join": "lobby" }));
            sends(&wire, json!({ "leave": "lobby" }));
        }
        world.rests();
        let told = refusal(&wire.reads());
        wire.resets();
        world.rests();
        if told.is_some() {
            return (world.counters().deliveries - before, told);
        }
    }
    panic!("it is never too much");
}

#[test]
fn coming_and_going_is_charged_for_all_that_are_told_of_it_whatever_the_connection() {
    let mut world = world();
    let _crowd = crowd(&mut world, 300);
    world.from = [10, 0, 0, 1];
    let (told, code) = comes_and_goes(&mut world, "eve");
    assert_eq!(code, Some(4003));
    // A message to one costs a thousand at least.
    assert!(told <= WORK_MAX / 1_000, "{told} messages");
    assert!(told > WORK_MAX / 4_000, "{told} messages: others would be refused early");
    println!("figure chat, messages that one address causes at once by coming and going: {told}");

    // It comes again at once, and has nothing anew.
    let (again, code) = comes_and_goes(&mut world, "eve again");
    assert!(again < 2_000 && code.is_some(), "{again} messages, {code:?}");
    // Somebody else is served meanwhile.
    world.from = [10, 0, 0, 2];
    let ada = enters(&mut world, "Ada");
    sends(&ada, json!({ "join": "lobby" }));
    world.rests();
    assert_eq!(refusal(&ada.reads()), None);
    // And the first is in time.
    world.from = [10, 0, 0, 1];
    world.passes(Duration::from_secs(WORK_MAX / WORK_PER_SECOND));
    let (later, _) = comes_and_goes(&mut world, "eve at last");
    assert!(later > WORK_MAX / 4_000, "{later} messages");
}

#[test]
fn a_history_and_a_list_of_members_are_charged_each_time_they_are_told() {
    let mut world = world();
    let crowd = crowd(&mut world, 300);
    for (n, wire) in crowd.iter().enumerate() {
        sends(wire, json!({ "say": "x".repeat(150), "room": "lobby", "key": n.to_string() }));
    }
    world.rests();
    world.from = [10, 0, 0, 1];
    let mut bytes = 0;
    for n in 0..1_000 {
        let Ok(wire) = world.asks() else { break };
        sends(&wire, json!({ "name": format!("eve {n}"), "token": "t" }));
        let mut frames = Vec::new();
        for _ in 0..50 {
            sends(&wire, json!({ "join": "lobby" }));
            world.rests();
            frames.extend(wire.reads());
        }
        bytes += frames.iter().map(|frame| frame.payload.len()).sum::<usize>();
        wire.resets();
        world.rests();
        if refusal(&frames).is_some() {
            break;
        }
        assert!(n < 900, "it is never too much: {bytes} bytes");
    }
    // Five units for a byte, or more.
    assert!(bytes < WORK_MAX as usize / 5, "{bytes} bytes");
}

#[test]
fn what_is_said_is_charged_for_all_that_hear_it() {
    let mut world = world();
    let _crowd = crowd(&mut world, 300);
    world.from = [10, 0, 0, 1];
    let before = world.counters().deliveries;
    for n in 0..1_000 {
        let Ok(wire) = world.asks() else { break };
        sends(&wire, json!({ "name": "eve", "token": "t" }));
        sends(&wire, json!({ "join": "lobby" }));
        for line in 0..50 {
            sends(&wire, json!({ "say": "x", "room": "lobby", "key": format!("{n} {line}") }));
        }
        world.rests();
        let told = refusal(&wire.reads());
        wire.resets();
        world.rests();
        if told.is_some() {
            break;
        }
        assert!(n < 900, "it is never too much");
    }
    let told = world.counters().deliveries - before;
    assert!(told <= WORK_MAX / 1_000, "{told} messages");
}

/// What is not published was not said: its page is told to come back, and says it again.
#[test]
fn a_line_for_which_there_is_no_room_can_be_said_again() {
    let mut config = config();
    config.topic_unserved_bytes_max = 5_000;
    let mut world = World::still(config, |hub| Chat::new(hub), Chat::arrive);
    let says = |wire: &Wire, key: u32| {
        sends(wire, json!({ "say": "x".repeat(2_000), "room": "lobby", "key": key.to_string() }));
    };
    let joins = |world: &mut World<Chat>| {
        let wire = enters(world, "Ada");
        sends(&wire, json!({ "join": "lobby" }));
        world.rests();
        wire
    };
    let ada = joins(&mut world);
    // In one turn.
    (0..3).for_each(|key| says(&ada, key));
    world.rests();
    assert_eq!(refusal(&ada.reads()), Some(1013));
    let again = joins(&mut world);
    (0..3).rev().for_each(|key| says(&again, key));
    world.rests();
    let heard: Vec<_> = again.reads().into_iter().map(|frame| frame.payload).collect();
    let heard = String::from_utf8_lossy(&heard.concat()).replace("xx", "");
    for key in 0..3 {
        assert_eq!(heard.matches(&format!("\"key\":\"{key}\"")).count(), 1, "{heard}");
    }
}

#[test]
fn an_address_with_nothing_left_is_told_to_come_later_and_a_room_not_paid_for_is_not_made() {
    let mut world = world();
    let wire = enters(&mut world, "eve");
    let payer = Payer::new(Some([10, 0, 0, 1].into()));
    let hub_now = world.now();
    let left = world.app.ledger.left(payer, hub_now);
    // Enough for a request, and not for a room.
    assert!(world.app.ledger.pays(payer, hub_now, left - 5_200));
    for _ in 0..3 {
        sends(&wire, json!({ "join": "lobby" }));
    }
    world.rests();
    assert_eq!(refusal(&wire.reads()), Some(4003));
    assert_eq!(world.asks().err(), Some("429".into()));
    assert_eq!(world.app.rooms.len(), 0, "nobody is in it");
}

#[test]
fn an_account_is_that_of_a_network_and_the_table_is_bounded() {
    let mut ledger = Ledger::default();
    let now = world().now();
    let payer = |address: &str| Payer::new(Some(address.parse().expect("an address")));
    assert_eq!(payer("2001:db8:1:2::3"), payer("2001:db8:1:2:ffff::4"));
    assert_ne!(payer("2001:db8:1:2::3"), payer("2001:db8:1:3::3"));
    assert_eq!(payer("::ffff:192.0.2.1"), payer("192.0.2.1"));
    assert_ne!(payer("192.0.2.2"), payer("192.0.2.1"));

    let (spent, idle) = (payer("192.0.2.1"), payer("192.0.2.2"));
    assert!(ledger.pays(spent, now, WORK_MAX));
    assert!(!ledger.pays(spent, now, 1), "there is nothing left");
    assert!(ledger.pays(idle, now, 1));
    let second = now + Duration::from_secs(1);
    assert_eq!(ledger.left(spent, second), WORK_PER_SECOND);
    assert!(!ledger.pays(spent, second, WORK_PER_SECOND + 1));
    assert!(ledger.pays(spent, second, WORK_PER_SECOND));
    assert_eq!(ledger.left(spent, now), 0, "time does not run backwards");
    assert_eq!(ledger.left(spent, now + Duration::from_secs(3_600)), WORK_MAX);

    // Of many, the one that has most left gives way: that one is forgotten, and not the spent one.
    for n in 0..2 * ACCOUNTS_MAX as u32 {
        let [_, a, b, c] = n.to_be_bytes();
        assert!(ledger.pays(Payer::new(Some([10, a, b, c].into())), second, 1_000));
    }
    assert_eq!(ledger.0.len(), ACCOUNTS_MAX);
    assert_eq!(ledger.left(spent, second), 0);
    // Those that are full again are no longer kept.
    assert!(ledger.pays(payer("192.0.2.3"), second + Duration::from_secs(10), 1));
    assert_eq!(ledger.0.len(), 1);
}
