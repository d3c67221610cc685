//! A publication to many does not stop the loop: a fan-out is done in slices, and others have their
//! turn between them.

use pushloop::{CloseCode, Config, ConnId};

use super::{subscribers, texts};
use crate::support::net::{Sim, Told, Wire, frames};
use crate::support::{Frame, close, quiet, text};

const CROWD: usize = 100;
const SLICE: usize = 10;

/// A crowd that subscribes to "t", of which each turn serves a slice.
fn crowd(set: impl FnOnce(&mut Config)) -> (Sim, Vec<(ConnId, Wire)>) {
    let mut sim = Sim::new(quiet(|config| {
        config.fan_out_writes_per_turn = SLICE;
        set(config);
    }));
    let peers = subscribers(&mut sim, CROWD, "t");
    (sim, peers)
}

/// How far each is behind, and `None` for one that does not subscribe.
fn lags(sim: &mut Sim, peers: &[(ConnId, Wire)]) -> Vec<Option<u64>> {
    peers.iter().map(|(id, _)| sim.hub().lag(*id, "t")).collect()
}

/// How many are behind.
fn behind(sim: &mut Sim, peers: &[(ConnId, Wire)]) -> usize {
    lags(sim, peers).iter().filter(|lag| **lag > Some(0)).count()
}

#[test]
fn a_fan_out_is_done_in_slices() {
    let (mut sim, peers) = crowd(|_| {});
    assert_eq!(sim.hub().publish("t", "x").map(|it| it.subscribers), Ok(CROWD));
    for served in (SLICE..=CROWD).step_by(SLICE) {
        sim.turn();
        assert_eq!(behind(&mut sim, &peers), CROWD - served);
        assert_eq!(sim.hub().counters().deliveries as usize, served);
    }
    assert!(peers.iter().all(|(_, wire)| wire.reads() == texts(&["x"])));
    sim.turn();
    assert_eq!(sim.hub().queued_bytes_total(), 0);
}

#[test]
fn a_slice_ends_at_its_bytes_as_well() {
    let (mut sim, peers) = crowd(|config| {
        (config.fan_out_writes_per_turn, config.fan_out_bytes_per_turn) = (1000, 10_000);
    });
    let message = "x".repeat(996);
    sim.hub().publish("t", &message).unwrap();
    for served in (10..=CROWD).step_by(10) {
        sim.turn();
        assert_eq!(behind(&mut sim, &peers), CROWD - served);
    }
    assert!(peers.iter().all(|(_, wire)| wire.reads() == texts(&[&message])));
}

#[test]
fn a_subscriber_that_speaks_while_a_fan_out_is_under_way_is_answered_between_its_slices() {
    let (mut sim, peers) = crowd(|_| {});
    let (bystander, wire) = sim.opens();
    sim.hub().publish("t", "x").unwrap();
    sim.turn();
    wire.sends(text("question"));
    sim.turn_with(None, |hub, told| {
        assert_eq!(*told, Told::Message(bystander, b"question".into()));
        hub.send(bystander, "answer").unwrap();
    });
    sim.turn();
    assert_eq!(wire.reads(), texts(&["answer"]));
    assert_eq!(behind(&mut sim, &peers), CROWD - 3 * SLICE);
    // A subscriber that is not served yet is answered as well, and gets all in order.
    let late = lags(&mut sim, &peers).iter().rposition(|lag| *lag > Some(0)).unwrap();
    sim.hub().send(peers[late].0, "direct").unwrap();
    sim.turn();
    assert_eq!(peers[late].1.reads(), texts(&["x", "direct"]));
    sim.rests();
    assert_eq!((behind(&mut sim, &peers), sim.hub().counters().deliveries), (0, CROWD as u64));
}

#[test]
fn subscribers_come_go_and_end_between_slices() {
    let (mut sim, peers) = crowd(|_| {});
    let newcomers: Vec<_> = (0..9).map(|_| sim.opens()).collect();
    let mut expected = vec![vec!["x", "y"]; CROWD];
    sim.hub().publish("t", "x").unwrap();
    for (slice, (newcomer, _)) in newcomers.iter().enumerate() {
        sim.turn();
        // One that was served, and one that was not.
        let lags = lags(&mut sim, &peers);
        let served = lags.iter().position(|lag| *lag == Some(0)).unwrap();
        let unserved = lags.iter().rposition(|lag| *lag > Some(0)).unwrap();
        for peer in [served, unserved] {
            let (id, wire) = &peers[peer];
            expected[peer] = match slice % 3 {
                0 => {
                    assert!(sim.hub().unsubscribe(*id, "t"));
                    vec!["x"]
                }
                1 => {
                    sim.hub().close(*id, CloseCode::NORMAL, "");
                    vec!["x", "Close"]
                }
                _ => {
                    let got = if peer == served { texts(&["x"]) } else { vec![] };
                    assert_eq!(wire.reads(), got);
                    wire.resets();
                    vec![]
                }
            };
        }
        sim.hub().subscribe(*newcomer, "t").unwrap();
    }
    sim.hub().publish("t", "y").unwrap();
    sim.rests();
    let frame = |word: &&str| if *word == "Close" { close(1000, "") } else { text(word) };
    for (at, ((_, wire), expected)) in peers.iter().zip(expected).enumerate() {
        assert_eq!(wire.reads(), expected.iter().map(frame).collect::<Vec<Frame>>(), "{at}");
    }
    assert!(newcomers.iter().all(|(_, wire)| wire.reads() == texts(&["y"])));
    // Of the first to three that ended before they were served; of the second to the last two that
    // ended, which was not known yet.
    assert_eq!((sim.hub().counters().messages_lost, sim.hub().queued_bytes_total()), (3 + 2, 0));
}

/// Under load, passes merge by themselves.
#[test]
fn a_subscriber_that_is_served_later_takes_what_came_meanwhile_in_the_same_write() {
    let (mut sim, peers) = crowd(|_| {});
    let before = sim.server.net().calls.writes;
    sim.hub().publish("t", "x").unwrap();
    sim.turn();
    sim.hub().publish("t", "y").unwrap();
    sim.turn();
    sim.hub().publish("t", "z").unwrap();
    sim.rests();
    assert!(peers.iter().all(|(_, wire)| wire.reads() == texts(&["x", "y", "z"])));
    // All but the first two slices got all in one write, and these in two.
    assert_eq!(sim.server.net().calls.writes - before, CROWD + 2 * SLICE);
}

#[test]
fn a_fan_out_that_reaches_a_subscriber_brings_the_news_of_its_other_topics_in_the_same_write() {
    let (mut sim, peers) = crowd(|_| {});
    for topic in ["a", "b", "c"] {
        for (id, _) in &peers {
            sim.hub().subscribe(*id, topic).unwrap();
        }
    }
    let before = sim.server.net().calls.writes;
    for topic in ["t", "a", "b", "c"] {
        sim.hub().publish(topic, topic).unwrap();
    }
    sim.rests();
    assert_eq!(sim.server.net().calls.writes - before, CROWD);
    for (_, wire) in &peers {
        let mut got = wire.reads();
        got.sort_by_key(|frame| frame.payload.clone());
        assert_eq!(got, texts(&["a", "b", "c", "t"]));
    }
}

/// Their topics have their turn by turns, however many subscribe to the one.
#[test]
fn a_fan_out_to_many_does_not_hold_up_the_topics_of_few() {
    let (mut sim, _peers) = crowd(|config| config.fan_out_writes_per_turn = 100);
    let _more = subscribers(&mut sim, 900, "t");
    let few: Vec<_> =
        (0..5).map(|at| subscribers(&mut sim, 1, &format!("{at}")).remove(0)).collect();
    sim.hub().publish("t", "x").unwrap();
    (0..5).for_each(|at| {
        assert_eq!(sim.hub().publish(&format!("{at}"), "few's").map(|it| it.subscribers), Ok(1))
    });
    sim.turn();
    assert!(few.iter().all(|(_, wire)| wire.reads() == texts(&["few's"])));
    assert_eq!(sim.hub().counters().deliveries, 100);
}

/// The loop's slowness is nobody's lag: a subscriber that takes what it is given loses nothing,
/// however little that topic may keep for laggards.
#[test]
fn a_subscriber_that_waits_for_its_slice_is_never_closed_and_loses_nothing() {
    const ROUNDS: usize = 50;
    let (mut sim, peers) = crowd(|config| config.topic_lag_bytes_max = 0);
    let numbered: Vec<String> = (0..ROUNDS).map(|at| format!("{at}")).collect();
    for message in &numbered {
        assert_eq!(sim.hub().publish("t", message).map(|it| it.subscribers), Ok(CROWD));
        sim.turn();
    }
    sim.rests();
    for (id, wire) in &peers {
        assert!(sim.hub().is_open(*id));
        assert_eq!(wire.reads(), numbered.iter().map(text).collect::<Vec<_>>());
    }
    assert_eq!(sim.hub().counters().deliveries as usize, CROWD * ROUNDS);
}

/// Those that lagged and read again have slices of their own, and all their topics come in turn.
#[test]
fn laggards_that_all_read_again_are_served_in_slices_too() {
    let (mut sim, peers) = crowd(|_| {});
    peers.iter().for_each(|(_, wire)| wire.holds(0));
    sim.hub().publish("t", "x").unwrap();
    (0..CROWD / SLICE + 1).for_each(|_| sim.turn());
    let (bystander, wire) = subscribers(&mut sim, 1, "u").remove(0);
    for (_, wire) in &peers {
        wire.holds(usize::MAX);
        wire.reads_bytes();
    }
    sim.turn();
    sim.hub().publish("u", "news").unwrap();
    sim.turn();
    assert_eq!(wire.reads(), texts(&["news"]));
    assert!(sim.hub().is_open(bystander));
    assert_eq!(behind(&mut sim, &peers), CROWD - SLICE);
    sim.rests();
    assert!(peers.iter().all(|(_, wire)| wire.reads() == texts(&["x"])));
}

/// Nothing is scanned for those that lag: not for what is published, and not for what is sent.
#[test]
fn a_turns_steps_do_not_depend_on_how_many_lag() {
    let steps_with = |laggards: usize| {
        let mut sim = Sim::new(quiet(|_| {}));
        let lagging = subscribers(&mut sim, laggards, "t");
        lagging.iter().for_each(|(_, wire)| wire.holds(0));
        let keeping_up = subscribers(&mut sim, 3, "t");
        sim.hub().publish("t", "first").unwrap();
        sim.rests();
        assert_eq!(behind(&mut sim, &lagging), laggards);
        let before = sim.hub().counters().list_steps;
        for _ in 0..100 {
            sim.hub().publish("t", "x").unwrap();
            sim.hub().send(keeping_up[0].0, "y").unwrap();
            sim.rests();
        }
        assert!(keeping_up[1..].iter().all(|(_, wire)| wire.reads().len() == 101));
        sim.hub().counters().list_steps - before
    };
    assert_eq!(steps_with(1), steps_with(2000));
}

/// However little each write takes, all topics come in turn.
#[test]
fn a_subscriber_that_reads_slowly_gets_of_all_its_topics() {
    const TOPICS: usize = 20;
    let mut sim = Sim::new(quiet(|config| config.fan_out_bytes_per_turn = 30));
    let (id, wire) = sim.opens();
    sim.rests();
    wire.reads_bytes();
    wire.holds(0);
    let topics: Vec<String> = (10..10 + TOPICS).map(|at| format!("topic {at}")).collect();
    topics.iter().for_each(|topic| sim.hub().subscribe(id, topic).unwrap());
    for _ in 0..100 {
        topics.iter().for_each(|topic| {
            assert_eq!(sim.hub().publish(topic, topic).map(|it| it.subscribers), Ok(1))
        });
        sim.turn();
    }
    // Three messages, or a little more, in each of these turns.
    wire.holds(usize::MAX);
    let mut bytes = wire.reads_bytes();
    (0..2 * TOPICS).for_each(|_| sim.turn());
    bytes.extend(wire.reads_bytes());
    let whole = bytes.len() / 10 * 10;
    let got = frames(&bytes[..whole]);
    assert!(got.len() < 10 * TOPICS, "{}", got.len());
    assert!(topics.iter().all(|topic| got.contains(&text(topic))));
}
