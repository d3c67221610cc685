//! Topics by the million, with names that nobody had before.

use allocation_counter::measure;
use pushloop::{Config, ConnId, SubscribeError};

use crate::support::campaign::scale;
use crate::support::config;
use crate::support::sink::Drain;

/// Connections of a network in memory.
fn connections(limits: Config, count: usize) -> (Drain, Vec<ConnId>) {
    let mut drain = Drain::new(limits);
    let mut ids = Vec::new();
    drain.opens(count, |_, id| ids.push(id));
    (drain, ids)
}

#[test]
fn topics_that_come_and_go_leave_no_memory_behind() {
    let (count, names, rounds) = scale((100, 100, 10), (10_000, 100, 10));
    let (mut drain, ids) = connections(config(|_| ()), count);
    let mut next = 0_u64;
    let mut bomb = |drain: &mut Drain| {
        for id in &ids {
            for _ in 0..names {
                next += 1;
                let name = format!("{:x}", next.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                drain.hub().subscribe(*id, &name).expect("it is within the limits");
            }
        }
        assert_eq!(drain.hub().topic_count(), count * names);
        for id in &ids {
            let names: Vec<_> = drain.hub().topics_of(*id).map(str::to_owned).collect();
            names.iter().for_each(|name| assert!(drain.hub().unsubscribe(*id, name)));
        }
        assert_eq!(drain.hub().topic_count(), 0);
    };
    let first = measure(|| bomb(&mut drain));
    // Room for a thousand topics stays.
    assert!(first.bytes_current < 192 * 1024, "{} bytes are kept", first.bytes_current);
    let rest = measure(|| (1..rounds).for_each(|_| bomb(&mut drain)));
    // A table's size is up to chance, within a few kilobytes.
    assert!(rest.bytes_current < 16 * 1024, "{} bytes more are kept", rest.bytes_current);
    println!(
        "figure {} subscriptions to topics of their own and as many ends, {} topics at once at most: {} bytes \
         kept, {} bytes for a topic",
        rounds * count * names,
        count * names,
        first.bytes_current + rest.bytes_current,
        first.bytes_max as usize / (count * names),
    );
}

#[test]
fn a_connection_that_is_lost_takes_its_topics_with_it() {
    let (count, names) = scale((100, 100), (10_000, 100));
    let (mut drain, ids) = connections(config(|_| ()), count);
    for (at, id) in ids.iter().enumerate() {
        (0..names).for_each(|name| drain.hub().subscribe(*id, &format!("{at} {name}")).unwrap());
    }
    assert_eq!(drain.hub().topic_count(), count * names);
    for id in ids {
        drain.hub().close(id, pushloop::CloseCode::NORMAL, "");
    }
    assert_eq!(drain.hub().topic_count(), 0);
}

/// At the limit, and one beyond.
#[test]
fn there_may_be_as_many_topics_as_the_limit_says() {
    for max in [0, 1, scale(1_000, 1_000_000)] {
        let limits = config(|limits| {
            limits.topics_max = max;
            limits.topics_per_connection_max = usize::MAX;
        });
        let (mut drain, ids) = connections(limits, 2);
        let hub = drain.hub();
        for at in 0..max {
            assert_eq!(hub.subscribe(ids[at % 2], &format!("{at}")), Ok(()));
        }
        let full = Err(SubscribeError::ProcessFull);
        assert_eq!((hub.subscribe(ids[0], "beyond"), hub.topic_count()), (full, max));
        assert!(SubscribeError::ProcessFull.to_string().contains("topics_max"));
        if max > 0 {
            // Another subscriber is no further topic, and one that is left is one less.
            assert_eq!(hub.subscribe(ids[1], "0"), Ok(()));
            assert!(hub.unsubscribe(ids[1], "0"));
            assert_eq!(hub.subscribe(ids[0], "beyond"), full);
            assert!(hub.unsubscribe(ids[0], "0"));
            assert_eq!(hub.subscribe(ids[0], "beyond"), Ok(()));
        }
    }
}
