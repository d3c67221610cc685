//! More connections than the limit.

use pushloop::Event;

use super::crowd::{Crowded, echo, nothing, percentile};
use crate::support::campaign::{now, scale};
use crate::support::{config, text};

#[test]
fn connections_beyond_the_limit_are_refused_each_and_those_who_are_here_lose_nothing() {
    const LIVE: usize = 10;
    const AT_ONCE: usize = 50;
    let attempts = scale(5_000, 100_000);
    let limits = config(|limits| limits.connections_max = LIVE);
    let mut crowd = Crowded::new(limits, LIVE + AT_ONCE);
    let mut live = crowd.opens(LIVE, None);
    let before = crowd.begins_counting();
    let (mut refused, mut echoes, mut took) = (0, 0, Vec::new());
    while refused < attempts {
        let began = now();
        let mut asking: Vec<_> = (0..AT_ONCE).map(|_| crowd.connects(None)).collect();
        live.iter_mut().for_each(|(_, dot)| dot.says(&text("x").masked([1; 4])));
        // One turn accepts them all, and ends them at once.
        let all = crowd.server.hub().counters().connections_refused + AT_ONCE as u64;
        crowd.until(&mut echo, |hub| hub.counters().connections_refused == all);
        assert!(asking.iter_mut().all(|dot| dot.is_over()), "one of them hangs");
        refused += AT_ONCE;
        crowd.each_hears(&mut live, &text("x"), &mut echo);
        echoes += live.len();
        took.push(now() - began);
    }
    assert_eq!(crowd.server.hub().connection_count(), LIVE);
    assert!(crowd.heap_max - before < 4096, "{} bytes", crowd.heap_max - before);
    took.sort_unstable();
    println!(
        "figure {attempts} connections beyond connections_max, {AT_ONCE} at a time: all refused and counted, \
         {echoes} echoes of {LIVE} live peers, none lost; {:?} (99 %) for {AT_ONCE} refusals and {LIVE} echoes",
        percentile(&took, 99)
    );
}

/// At the limit and one beyond: whoever leaves makes room.
#[test]
fn the_limit_is_met_exactly_and_a_place_that_is_left_is_taken() {
    let most = scale(200, 5_000);
    let mut crowd = Crowded::new(config(|limits| limits.connections_max = most), most + 2);
    let mut all = crowd.opens(most, None);
    for _ in 0..3 {
        let mut beyond = crowd.connects(None);
        let refused = crowd.server.hub().counters().connections_refused;
        crowd.until(&mut nothing, |hub| hub.counters().connections_refused > refused);
        assert!(beyond.is_over());
        drop(all.pop());
        let mut closed = false;
        while !closed {
            crowd.turn(&mut |_, event| closed |= matches!(event, Event::Closed { .. }));
        }
        crowd.settles(&mut nothing);
        all.extend(crowd.opens(1, None));
    }
    assert_eq!(crowd.server.hub().counters().connections_open as usize, most);
}
