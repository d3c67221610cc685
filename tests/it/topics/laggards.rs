//! Looking for connections that lag.

use pushloop::{ConnId, Hub};

use super::sim;

/// Those that are found from a place on in so many steps, and the place to go on from.
fn looks(hub: &Hub, from: usize, steps: usize) -> (Vec<(ConnId, u64, bool)>, usize) {
    let mut found = Vec::new();
    let next = hub.laggards(from, steps, |it| {
        found.push((it.id, it.publications, it.queued_bytes > 0));
    });
    (found, next)
}

#[test]
fn one_that_takes_nothing_is_found_with_what_waits_for_it() {
    let mut sim = sim();
    let peers: Vec<_> = (0..10).map(|_| sim.opens()).collect();
    for (id, _) in &peers {
        sim.hub().subscribe(*id, "t").unwrap();
        sim.hub().subscribe(*id, "u").unwrap();
    }
    let [slow, sent] = [3, 7].map(|nth: usize| {
        peers[nth].1.holds(0);
        peers[nth].0
    });
    sim.hub().send(sent, "direct").unwrap();
    for topic in ["t", "t", "u"] {
        sim.hub().publish(topic, "x").unwrap();
        sim.turn();
    }
    // What has begun to leave is its connection's; none of it left.
    let (found, next) = looks(sim.hub(), 0, 1000);
    assert_eq!(next, 0);
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.0, second), (slow, &(sent, 3, true)));
    assert!(first.1 + u64::from(first.2) >= 3, "{first:?}");

    // In steps, each connection once: one that lags costs a step for each topic besides.
    let (mut at, mut again, mut calls) = (0, Vec::new(), 0);
    loop {
        let (found, next) = looks(sim.hub(), at, 1);
        assert!(found.len() <= 1 && (next == at + 1 || next == 0), "{at} {next}");
        again.extend(found);
        (at, calls) = (next, calls + 1);
        if at == 0 {
            break;
        }
    }
    assert!(again == found && calls >= peers.len(), "{again:?}");
    assert_eq!(looks(sim.hub(), 3, 3).1, 4);
    assert_eq!(looks(sim.hub(), 3, 4).1, 5);

    peers.iter().for_each(|(_, wire)| wire.holds(usize::MAX));
    sim.rests();
    assert_eq!(looks(sim.hub(), 0, 1000), (Vec::new(), 0));
}
