//! Which connection has its turn, and what gives way when the process is full.

use std::{collections::HashMap, time::Instant};

use super::{
    super::{tests_hub, tests_open},
    *,
};

/// A network that takes all, and how long each write was.
#[derive(Default)]
struct Taker(Vec<usize>);

impl Outlet for Taker {
    fn write(&mut self, output: &[u8]) -> WriteResult {
        assert!(!output.is_empty(), "a write costs a system call");
        self.0.push(output.len());
        WriteResult::Wrote(output.len())
    }

    fn flush(&mut self) -> WriteResult {
        WriteResult::Wrote(0)
    }
}

// The clock starts somewhere; it is read once.
#[allow(clippy::disallowed_methods)]
fn hub() -> Hub {
    tests_hub(Instant::now())
}

/// The connections that a flush writes to, one after the other, and how long each write was.
fn flush(hub: &mut Hub) -> (Vec<ConnId>, Vec<usize>) {
    let (mut events, mut order, mut taker) = (Events::default(), Vec::new(), Taker::default());
    hub.begin_flush();
    while let Some(id) = hub.next_to_flush() {
        assert!(!hub.flush_one(id, &mut events, &mut taker));
        order.push(id);
    }
    hub.end_flush(&mut events);
    (order, taker.0)
}

/// A topic with many subscribers does not keep others waiting.
#[test]
fn topics_take_turns_of_64_subscribers() {
    let mut hub = hub();
    let topics = ["ada", "bob"];
    let mut of = HashMap::new();
    for (topic, subscribers) in topics.iter().zip([200, 100]) {
        for _ in 0..subscribers {
            let id = tests_open(&mut hub);
            hub.subscribe(id, topic).unwrap();
            of.insert(id, *topic);
        }
    }
    assert_eq!(flush(&mut hub).0, []);
    for topic in topics {
        hub.publish(topic, "text").unwrap();
    }
    let order: Vec<&str> = flush(&mut hub).0.iter().map(|id| of[id]).collect();
    let turns = order.chunk_by(|a, b| a == b).map(|turn| (turn[0], turn.len()));
    let due = [("ada", 64), ("bob", 64), ("ada", 64), ("bob", 36), ("ada", 72)];
    assert_eq!(turns.collect::<Vec<_>>(), due);
}

/// Topics whose subscribers are all blocked cost steps, though they cost no write.
#[test]
fn a_turn_goes_over_so_many_topics_and_no_more() {
    let mut hub = hub();
    hub.commons.config.fan_out_writes_per_turn = 1;
    let topics: Vec<String> = (0..100).map(|topic| topic.to_string()).collect();
    for topic in &topics {
        let id = tests_open(&mut hub);
        hub.subscribe(id, topic).unwrap();
        hub.handle_write_blocked(id);
    }
    // The first passes park the subscribers. The others find none.
    for at_once in [5, 16] {
        for topic in &topics {
            hub.publish(topic, "text").unwrap();
        }
        for turn in 1..=100_usize.div_ceil(at_once) {
            assert_eq!(flush(&mut hub).0, []);
            assert_eq!(hub.topics.passes.len(), 100_usize.saturating_sub(at_once * turn));
        }
    }
}

/// A copy is made of short pieces, to spare a write.
#[test]
fn what_is_short_is_gathered_and_what_is_long_is_written_from_where_it_is() {
    // The lengths of two publications with their headers, and of the writes.
    let cases = [
        ([200, 300], vec![500]),
        ([16_383, 20_000], vec![36_383]),
        ([16_384, 200], vec![16_384, 200]),
    ];
    for (frames, writes) in cases {
        let mut hub = hub();
        let id = tests_open(&mut hub);
        for (topic, frame) in ["ada", "bob"].iter().zip(frames) {
            hub.subscribe(id, topic).unwrap();
            hub.publish(topic, &vec![0; frame - 4][..]).unwrap();
        }
        assert_eq!(flush(&mut hub), (vec![id], writes));
    }
}

#[test]
fn what_is_sent_and_published_leaves_in_one_write_and_takes_steps_only_for_news() {
    // What is done, the length of the write, and the steps: batches that are sealed, the connection's one
    // reader, how often that is asked for what goes before a mark or at the end, pieces, and subscribers
    // that the passes come to.
    let cases: [(&[&str], usize, u64); 5] = [
        (&["own"], 5, 0),
        (&["own", "ada"], 10, 1 + 1 + 1 + 2 + 1),
        (&["ada", "own"], 10, 1 + 1 + 1 + 2 + 1),
        (&["ada", "own", "bob", "own"], 15, 2 + 1 + 1 + 3 + 2),
        // It has nothing for the second mark, and is not asked again.
        (&["ada", "own", "bob", "own", "ada", "own"], 25, 2 + 1 + 2 + 5 + 2),
    ];
    for (done, len, steps) in cases {
        let mut hub = hub();
        let [id, other] = [(); 2].map(|()| tests_open(&mut hub));
        hub.subscribe(id, "ada").unwrap();
        hub.subscribe(other, "bob").unwrap();
        hub.handle_write_blocked(other);
        hub.topics.steps = 0;
        for what in done {
            match *what {
                "own" => hub.send(id, what).unwrap(),
                topic => assert_eq!(hub.publish(topic, topic).map(|it| it.subscribers), Ok(1)),
            }
        }
        let before = hub.counters().list_steps;
        assert_eq!(flush(&mut hub), (vec![id], vec![len]), "{done:?}");
        assert_eq!(hub.counters().list_steps - before, steps, "{done:?}");
    }
}

#[test]
fn a_write_has_128_kib_at_the_most() {
    let mut hub = hub();
    hub.commons.config.write_bytes_per_turn = 1 << 20;
    let id = tests_open(&mut hub);
    for _ in 0..3 {
        hub.send(id, &vec![0; 65_532][..]).unwrap();
    }
    assert_eq!(flush(&mut hub), (vec![id], vec![131_072, 65_536]));
}

/// Blocked connections, for which so many bytes wait.
fn blocked(hub: &mut Hub, waiting: &[usize]) -> Vec<ConnId> {
    let add = |bytes: &usize| {
        let id = tests_open(hub);
        let connection = &mut hub.slots[id.index as usize].connection;
        let outbox = connection.outbox.or_spare(&mut hub.commons);
        outbox.push_http(&mut hub.commons, |out| out.resize(*bytes, 0));
        connection.handle_blocked(hub.commons.now);
        id
    };
    waiting.iter().map(add).collect()
}

/// Ends a flush, in which so many connections are gone through.
fn looks(hub: &mut Hub) -> u64 {
    hub.end_flush(&mut Events::default());
    std::mem::take(&mut hub.topics.steps)
}

#[test]
fn a_full_process_gives_up_the_connections_for_which_most_waits() {
    let mut hub = hub();
    hub.commons.config.send_queues_bytes_max = 1600;
    let ids = blocked(&mut hub, &[300, 500, 480]);
    assert_eq!(looks(&mut hub), 0, "four fifths are there for all");
    hub.commons.queued_bytes += 1;
    assert_eq!(looks(&mut hub), 3);
    let is_open = |hub: &Hub, nth: usize| hub.slots[ids[nth].index as usize].connection.is_open();
    assert_eq!([0, 1, 2].map(|nth| is_open(&hub, nth)), [true, false, true]);
}

/// The connections are gone through, and so not for each byte that comes.
#[test]
fn a_process_that_stays_full_is_not_gone_through_in_each_turn() {
    let mut hub = hub();
    hub.commons.config.send_queues_bytes_max = 1600;
    blocked(&mut hub, &[10, 10]);
    // It is held by connections that are not blocked.
    hub.commons.queued_bytes = 1500;
    assert_eq!(looks(&mut hub), 2);
    let left = hub.commons.queued_bytes;
    for (more, steps) in [(0, 0), (99, 0), (100, 2)] {
        hub.commons.queued_bytes = left + more;
        assert_eq!(looks(&mut hub), steps, "{more} bytes more");
    }
    hub.commons.queued_bytes = 1280;
    assert_eq!(looks(&mut hub), 0);
    hub.commons.queued_bytes = 1281;
    assert_eq!(looks(&mut hub), 2, "it was not full meanwhile");
}
