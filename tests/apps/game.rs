//! The game, `examples/game/`: its rules, its bytes, its clock, and its server on a network and a
//! clock in memory, to which hostile clients come too.

#[path = "../../examples/game/arena.rs"]
mod arena;
mod rules;
#[path = "../../examples/game/server.rs"]
mod server;
#[path = "../../examples/game/wire.rs"]
mod wire;
mod world;

use std::{process::Command, time::Duration};

use crate::page::{self, Page};
use crate::support::net;
use crate::support::process::example;
use crate::support::{Frame, binary, burst, continuation, frame, text};
use crate::{clock, name};
use world::{join, number};

const TICK: Duration = Duration::from_nanos(1_000_000_000 / 30);
const PAGE: Page = Page { name: "game", port: 0, html: "", takes: &[] };

#[test]
fn ticks_are_as_many_as_the_time_has_and_every_client_sees_each() {
    let mut world = world::world();
    let clients: Vec<_> = (0..3).map(|_| world.opens()).collect();
    let mut last = [None; 3];
    while world.slept().as_secs() < 60 {
        world.turn();
        for (client, last) in clients.iter().zip(&mut last) {
            for tick in client.reads().iter().filter_map(world::tick_of) {
                assert!(last.is_none_or(|last| tick == last + 1), "{last:?}, then {tick}");
                *last = Some(tick);
            }
        }
    }
    // One at the beginning, and one for each time that has passed since.
    let due = 1 + (world.slept().as_nanos() / TICK.as_nanos()) as u32;
    assert_eq!((world.app.clock.made, world.app.clock.skipped), (due, 0));
    assert_eq!(last, [Some(world.app.arena.tick - 1); 3], "the last is written in the next turn");
    println!("figure game, ticks in 60 simulated seconds: {due} made, 0 skipped");
}

#[test]
fn who_does_not_read_gets_the_newest_snapshot_and_holds_nobody_back() {
    let mut world = world::world();
    let (slow, quick) = (world.opens(), world.opens());
    world.ticks(2);
    let before = slow.reads().iter().filter_map(world::tick_of).next_back().expect("it got some");
    quick.reads();
    slow.holds(2000);
    let mut seen = Vec::new();
    for _ in 0..300 {
        world.ticks(1);
        seen.extend(quick.reads());
    }
    let ticks_of = |frames: &[Frame]| frames.iter().filter_map(world::tick_of).collect::<Vec<_>>();
    let ticks = ticks_of(&seen);
    assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(ticks.len() >= 299);
    // What had begun to leave, and then what is new.
    let mut got = slow.reads_bytes();
    slow.holds(usize::MAX);
    world.ticks(2);
    got.extend(slow.reads_bytes());
    seen.extend(quick.reads());
    let got = net::frames(&got);
    let ticks = ticks_of(&got);
    let missed = ticks.last().expect("it got some") - before - ticks.len() as u32;
    assert!(missed > 280, "{ticks:?}");
    let all_missed = (seen.len() - got.len()) as u64;
    assert!(all_missed >= missed.into(), "names gave way as well");
    assert_eq!(all_missed, world.counters().messages_conflated);
}

#[test]
fn a_player_who_comes_back_gets_the_ship_and_nobody_else_does() {
    let mut world = world::world();
    let ada = world.opens();
    let (ship, token) = world.joins(&ada, 0, "Ada");
    world.ship(ship).expect("it is there").sparks = 7;
    ada.resets();
    world.ticks(60);
    assert!(world.ship(ship).expect("it waits").away > 50);

    let stranger = world.opens();
    assert_ne!(world.joins(&stranger, token ^ 1, "Eve").0, ship);
    let again = world.opens();
    assert_eq!(world.joins(&again, token, "Ada"), (ship, token));
    assert_eq!(world.joins(&again, token, "Ada L."), (ship, token), "she may change her name");
    let own = world.ship(ship).expect("it is there").clone();
    assert_eq!((own.away, own.sparks >= 7, &own.name[..6]), (0, true, &b"Ada L."[..]));

    // From elsewhere meanwhile: the newer connection has it, and the older is told.
    let other = world.opens();
    assert_eq!(world.joins(&other, token, "Ada").0, ship);
    assert_eq!(world.close_of(&again), (1008, "your ship is steered from elsewhere".into()));
    assert_eq!(world.ship(ship).expect("it is there").away, 0);

    // Nobody comes for it: it is gone.
    other.resets();
    world.ticks(usize::from(arena::AWAY_TICKS_MAX) + 2);
    assert!(world.ship(ship).is_none());
    let late = world.opens();
    assert_ne!(world.joins(&late, token, "Ada").1, token);
}

/// What a hostile client sends after it joined, and the Close that it gets.
fn offences() -> Vec<(Vec<u8>, u16, &'static str)> {
    let say = |bytes: &[u8]| burst(&[binary(bytes)]);
    let kind = "no message has this kind and length";
    let steer = |order| binary([wire::STEER, order, 0, 255]);
    let mut name = join(0, "Eve");
    name[9] = 0xFF;
    vec![
        (burst(&[text("x")]), 1008, "messages are binary here"),
        (say(b""), 1008, kind),
        (say(&[0]), 1008, kind),
        (say(&[wire::SNAPSHOT, 0, 0, 0, 0, 0, 0, 0]), 1008, kind),
        (say(&[wire::STEER, 0, 0]), 1008, kind),
        (say(&[wire::STEER, 0, 0, 255, 9, 9]), 1008, kind),
        (say(&[wire::PING, 0, 0, 0]), 1008, kind),
        (say(&join(0, "Eve")[..24]), 1008, kind),
        (say(&[&join(0, "Eve")[..], &[0]].concat()), 1008, kind),
        (say(&name), 1008, "this is no name"),
        (say(&join(0, "a\nb")), 1008, "this is no name"),
        (say(&join(0, "")), 1008, "this is no name"),
        (say(&join(0, "Eve")), 1008, "a connection has one ship"),
        (burst(&vec![steer(1); 121]), 1008, "more than 60 messages a second"),
        (say(&[wire::STEER; 65]), 1009, ""),
        (burst(&[binary([1; 40]).open(), continuation([1; 40])]), 1009, ""),
        (burst(&[frame(0x83, [1])]), 1002, ""),
        (steer(1).unmasked(), 1002, ""),
    ]
}

#[test]
fn a_hostile_client_is_told_why_it_is_refused_and_harms_nobody() {
    let mut world = world::world();
    let honest = world.opens();
    let (ship, _) = world.joins(&honest, 0, "Ada");
    let early = world.opens();
    early.sends(binary([wire::STEER, 0, 0, 255]));
    assert_eq!(world.close_of(&early), (1008, "steered before it joined".into()));
    for (bytes, code, reason) in offences() {
        let hostile = world.opens();
        world.joins(&hostile, 0, "Eve");
        hostile.sends_bytes(&bytes);
        let (got, why) = world.close_of(&hostile);
        assert_eq!(got, code, "{}: {why}", bytes.escape_ascii());
        assert!(why.starts_with(reason) && !why.is_empty(), "{}: {why}", bytes.escape_ascii());
    }
    honest.reads();
    let before = world.ship(ship).expect("it is there").clone();
    assert_eq!(before.helm, [0.0; 2], "nobody else has steered it");
    let way = if before.at[0] < arena::SIZE / 2.0 { 0 } else { 128 };
    honest.sends(binary([wire::STEER, 9, way, 255]));
    let mut ticks = Vec::new();
    for _ in 0..60 {
        world.ticks(1);
        ticks.extend(honest.reads().iter().filter_map(world::tick_of));
    }
    assert!(ticks.len() > 58 && ticks.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let after = world.ship(ship).expect("it is there");
    assert_eq!(after.order, 9);
    // At the speed of a ship, wherever its client would have liked to be.
    let flown = (after.at[0] - before.at[0]).abs();
    assert!(flown > 400.0 && flown <= 61.0 * arena::SPEED, "{flown}");
}

#[test]
fn a_player_who_keeps_to_the_rate_is_never_refused_and_hears_its_pings() {
    let mut world = world::world();
    let ada = world.opens();
    world.joins(&ada, 0, "Ada");
    let mut pongs = 0;
    for n in 0..600_u32 {
        ada.sends(binary([wire::STEER, n as u8, n as u8, 255]));
        ada.sends(binary([&[wire::PING], &n.to_le_bytes()[..]].concat()));
        world.ticks(1);
        for frame in ada.reads() {
            assert_eq!(frame.first, 0x82, "closed after {n} ticks");
            if frame.payload[0] == wire::PING {
                assert_eq!(frame.payload[1..], u32::to_le_bytes(pongs));
                pongs += 1;
            }
        }
    }
    assert_eq!(pongs, 600);
}

/// With bots over sockets and a clock that nobody stops: by counts, however busy the machine is.
#[test]
fn bots_play_and_no_tick_is_unaccounted_for() {
    let output = Command::new(example("game"))
        .args(["--listen", "127.0.0.1:0", "--bots", "20", "--seconds", "2"])
        .output()
        .expect("it runs");
    let said = String::from_utf8(output.stdout).expect("it is text");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    let line = |part: &str| said.lines().find(|line| line.contains(part)).unwrap_or_default();
    let [_, due, made, skipped, late] = number(line("ticks due:"))[..] else { panic!("{said}") };
    assert_eq!(due, made + skipped + late);
    assert!(due >= 60 && made > 0 && late <= u64::from(clock::LATE_TICKS_MAX), "{said}");
    let [_, delivered, gave_way] = number(line("messages:"))[..] else { panic!("{said}") };
    // Each tick is published once the bots are there, which are more than one.
    assert!(delivered > made && gave_way < delivered, "{said}");
}
