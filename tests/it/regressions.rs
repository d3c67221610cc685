//! Bugs that were, each by its symptom.

use std::time::Duration;

use crate::support::net::{Sim, Told, Wire, frames};
use crate::support::{Frame, get, handshake, ping, pong, quiet, text};
use pushloop::{CloseCode, Config, ConnId, Message, OnLag, Overflow, Response, TopicOptions};

fn sim(set: impl FnOnce(&mut Config)) -> Sim {
    Sim::new(quiet(set))
}

fn subscriber(sim: &mut Sim, topics: &[&str]) -> (ConnId, Wire) {
    let (id, wire) = sim.opens();
    for topic in topics {
        sim.hub().subscribe(id, topic).unwrap();
    }
    (id, wire)
}

/// A topic's subscribers that lag get this of it.
fn configure(sim: &mut Sim, topic: &str, on_lag: OnLag) {
    let mut options = TopicOptions::default();
    options.on_lag = on_lag;
    sim.hub().configure_topic(topic, options).unwrap();
}

/// The peer reads until nothing more comes.
fn reads_all(sim: &mut Sim, wire: &Wire) -> Vec<Frame> {
    wire.holds(usize::MAX);
    let mut bytes = Vec::new();
    for _ in 0..10 {
        sim.turn();
        bytes.extend(wire.reads_bytes());
    }
    frames(&bytes)
}

#[test]
fn the_latest_value_was_lost_when_the_kernel_filled_within_the_turn() {
    let mut sim = sim(|config| config.send_queue_bytes_max = 200);
    configure(&mut sim, "t", OnLag::Latest);
    let (_, wire) = subscriber(&mut sim, &["t"]);
    wire.holds(150);
    let messages: Vec<String> = (10..40).map(|at| format!("{at}{}", "x".repeat(60))).collect();
    for message in &messages {
        sim.hub().publish("t", message).unwrap();
    }
    sim.turn();
    let mut expected: Vec<Frame> = messages[..3].iter().map(text).collect();
    expected.push(text(&messages[29]));
    assert_eq!(reads_all(&mut sim, &wire), expected);
    assert_eq!(sim.hub().counters().messages_conflated, 26);
}

#[test]
fn one_topics_policy_dropped_the_messages_of_another() {
    let mut sim = sim(|config| config.topic_lag_bytes_max = 3000);
    configure(&mut sim, "lossy", OnLag::Skip);
    let (id, wire) = subscriber(&mut sim, &["strict", "lossy"]);
    wire.holds(0);
    let padding = "x".repeat(1100);
    sim.hub().publish("strict", &padding).unwrap();
    for at in 0..5 {
        sim.turn();
        sim.hub().publish("lossy", format!("{at}{padding}")).unwrap();
    }
    let mut got = reads_all(&mut sim, &wire);
    assert!(sim.hub().is_open(id), "what may be skipped is skipped");
    assert!(got.contains(&text(&padding)));
    assert_eq!(got.pop(), Some(text(format!("4{padding}"))));
    assert_eq!(sim.hub().counters().messages_skipped, 6 - got.len() as u64 - 1);
}

#[test]
fn a_small_log_held_a_large_recycled_buffer() {
    let mut sim = sim(|_| {});
    let (_, slow) = subscriber(&mut sim, &["small"]);
    let (_, fast) = subscriber(&mut sim, &["large"]);
    slow.holds(0);
    let (large, small) = ("x".repeat(60_000), "x".repeat(1100));
    let round = |sim: &mut Sim| {
        sim.hub().publish("small", &small).unwrap();
        sim.hub().publish("large", &large).unwrap();
        sim.turn();
        fast.reads_bytes();
    };
    (0..10).for_each(|_| round(&mut sim));
    let info = allocation_counter::measure(|| (0..100).for_each(|_| round(&mut sim)));
    assert!(info.bytes_current < 300_000, "{info:?}");
}

#[test]
fn a_lagging_subscriber_held_a_list_of_short_ranges_that_no_limit_saw() {
    let mut sim = sim(|_| {});
    let (_, slow) = subscriber(&mut sim, &["t"]);
    slow.holds(0);
    let round = |sim: &mut Sim| {
        sim.hub().publish("t", "").unwrap();
        sim.turn();
    };
    (0..10).for_each(|_| round(&mut sim));
    let info = allocation_counter::measure(|| (0..10_000).for_each(|_| round(&mut sim)));
    let counted = sim.hub().queued_bytes_total() as i64;
    assert!(counted > 20_000 && info.bytes_current < 4 * counted, "{counted} counted, {info:?}");
}

#[test]
fn a_short_end_of_a_long_log_held_all_of_it_and_others_were_closed_for_it() {
    const MAX: usize = 10 << 20;
    let mut sim = sim(|config| config.send_queues_bytes_max = MAX);
    let slow: Vec<_> = (0..100).map(|_| subscriber(&mut sim, &["t"])).collect();
    let (honest, honest_wire) = subscriber(&mut sim, &[]);
    let message = "x".repeat(10_000);
    configure(&mut sim, "t", OnLag::Latest);
    for (_, wire) in &slow {
        // Each stalls in the first frame of a log of its own.
        wire.reads_bytes();
        wire.holds(500);
        for _ in 0..10 {
            // The process may be full of what earlier ones hold.
            let _ = sim.hub().publish("t", &message);
        }
        (0..2).for_each(|_| sim.turn());
    }
    honest_wire.holds(0);
    sim.hub().send(honest, "hello").unwrap();
    (0..3).for_each(|_| sim.turn());
    assert!(sim.hub().is_open(honest));
    assert!(sim.hub().queued_bytes_total() <= MAX / 5 * 4);
}

#[test]
fn answers_that_nobody_read_filled_the_process() {
    let mut sim = sim(|config| config.send_queues_bytes_max = 1_000_000);
    let (id, _wire) = subscriber(&mut sim, &["t"]);
    sim.accepts = false;
    let askers: Vec<Wire> = (0..20).map(|_| sim.server.net().connects()).collect();
    let page = Response::new(200).body("x".repeat(100_000));
    for wire in &askers {
        wire.holds(0);
        wire.sends_bytes(get("/"));
    }
    for _ in 0..5 {
        sim.turn_with(Some(Duration::ZERO), |hub, told| {
            if let Told::Request(asker) = told {
                hub.respond(*asker, page.clone()).unwrap();
            }
        });
    }
    assert!(sim.hub().queued_bytes_total() <= 800_000);
    assert!(sim.hub().is_open(id));
    assert_eq!(sim.hub().publish("t", "still possible").map(|it| it.subscribers), Ok(1));
}

#[test]
fn an_accept_that_always_failed_kept_the_loop_busy() {
    let mut sim = sim(|_| {});
    let net = sim.server.net();
    net.accept_errors = vec![std::io::ErrorKind::InvalidInput; 1000].into();
    let _wires: Vec<Wire> = (0..1000).map(|_| net.connects()).collect();
    sim.turn_within(Some(Duration::ZERO));
    let before = sim.server.net().slept();
    for _ in 0..10 {
        sim.turn_within(Some(Duration::from_secs(1)));
    }
    let slept = sim.server.net().slept() - before;
    assert!(slept >= Duration::from_millis(800), "{slept:?}");
}

#[test]
fn an_accept_that_was_to_be_tried_again_kept_a_shutdown_busy() {
    let mut sim = sim(|_| {});
    let (_, wire) = sim.opens();
    let net = sim.server.net();
    net.accept_errors = vec![std::io::ErrorKind::InvalidInput; 100].into();
    let _late: Vec<Wire> = (0..100).map(|_| net.connects()).collect();
    sim.turn_within(Some(Duration::ZERO));
    // It is waited for as long as the peer does not answer the Close.
    sim.hub().shutdown(Duration::from_secs(60));
    sim.server.net().passes(Duration::from_secs(1));
    let before = sim.server.net().slept();
    sim.rests();
    sim.turn_within(Some(Duration::from_secs(1)));
    assert!(sim.server.net().slept() > before && !wire.is_ended());
}

#[test]
fn a_connection_that_is_closed_before_its_answer_is_not_asked_again() {
    let mut sim = sim(|_| {});
    let (id, wire) = sim.asks(&get("/").repeat(2));
    sim.hub().close(id.conn(), CloseCode::NORMAL, "");
    sim.rests();
    let answer = wire.reads_bytes();
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", answer.escape_ascii());
    assert_eq!(sim.takes(), [Told::RequestGone(id)]);
    assert!(wire.is_ended());
    assert_eq!(sim.hub().counters().handshakes_refused, 1);
}

#[test]
fn connections_of_a_servers_first_moment_were_all_pinged_at_once() {
    let mut sim = sim(|config| config.ping_interval = Some(Duration::from_secs(25)));
    let wires: Vec<Wire> = (0..200).map(|_| sim.opens().1).collect();
    let (mut pinged, mut most) = (0, 0);
    while pinged < wires.len() {
        sim.turn_within(None);
        let pings = wires.iter().flat_map(Wire::reads).filter(|frame| *frame == ping("")).count();
        (pinged, most) = (pinged + pings, most.max(pings));
    }
    // Spread over half of the 25 s, a tick of 67 ms has one of them.
    assert!(most <= 10, "{most} at once");
}

#[test]
fn what_gave_way_was_counted_as_a_delivery_too() {
    let mut sim = sim(|config| config.topic.on_lag = OnLag::Latest);
    let (_, wire) = subscriber(&mut sim, &["latest"]);
    wire.holds(0);
    for number in 0..9 {
        sim.hub().publish("latest", format!("{number}")).unwrap();
        if number % 3 == 2 {
            sim.turn();
        }
    }
    let arrived = reads_all(&mut sim, &wire);
    let counters = sim.hub().counters();
    assert_eq!(arrived, [text("8")]);
    assert_eq!((counters.deliveries, counters.messages_conflated), (1, 8));
}

/// A wait tells of so many connections and no more.
#[test]
fn a_process_that_stood_still_dropped_those_whose_answers_it_had_not_read() {
    let limits = |config: &mut Config| {
        config.ping_interval = Some(Duration::from_secs(25));
        config.pong_timeout = Duration::from_secs(100);
    };
    let mut sim = sim(limits);
    let peers: Vec<_> = (0..20).map(|_| sim.opens()).collect();
    (0..60).for_each(|_| sim.turn_within(Some(Duration::from_secs(1))));
    for (_, wire) in &peers {
        assert_eq!(wire.reads(), [ping("")]);
        wire.sends(pong(""));
    }
    sim.server.net().told_max = 1;
    sim.server.net().passes(Duration::from_secs(3600));
    (0..peers.len()).for_each(|_| sim.turn());
    assert_eq!((sim.takes(), sim.hub().connection_count()), (vec![], peers.len()));
    // Whoever says nothing more is found out all the same.
    (0..200).for_each(|_| sim.turn_within(Some(Duration::from_secs(1))));
    assert_eq!((sim.takes().len(), sim.hub().connection_count()), (peers.len(), 0));
}

#[test]
fn one_that_got_a_topics_messages_before_one_that_left_it_out_was_idle_all_the_same() {
    let idle = Duration::from_secs(10);
    let mut sim = sim(|config| config.idle_timeout = Some(idle));
    let (id, wire) = subscriber(&mut sim, &["t"]);
    for round in 0..10 {
        sim.hub().publish("t", "for all").unwrap();
        sim.hub().publish_except("t", "for others", id).unwrap();
        sim.rests();
        assert_eq!(wire.reads(), [text("for all")], "round {round}");
        sim.server.net().passes(idle / 20);
        sim.turn_within(Some(idle / 4));
        assert!(sim.hub().is_open(id), "round {round}");
    }
}

#[test]
fn a_peer_whose_pong_waited_behind_a_crowd_was_silent() {
    const CROWD: usize = 300;
    let mut sim = sim(|config| {
        config.ping_interval = Some(Duration::from_secs(25));
        (config.read_bytes_per_turn, config.receive_buffer_bytes) = (1000, 1000);
    });
    let (id, wire) = sim.opens();
    while wire.reads().is_empty() {
        sim.turn_within(Some(Duration::from_secs(1)));
    }
    // Each has more to say than one turn reads.
    let crowd: Vec<_> = (0..CROWD).map(|_| sim.opens().1).collect();
    crowd.iter().for_each(|wire| {
        wire.sends_bytes(crate::support::binary("").masked([0; 4]).repeat(10_000))
    });
    sim.turn();
    wire.sends(pong(""));
    for _ in 0..CROWD {
        sim.server.net().passes(Duration::from_millis(100));
        sim.turn();
    }
    assert!(sim.hub().is_open(id));
    // Whoever says nothing more is found out all the same.
    (0..2 * CROWD).for_each(|_| {
        sim.server.net().passes(Duration::from_millis(100));
        sim.turn();
    });
    assert!(!sim.hub().is_open(id));
}

/// Peers that get a long message each, whose buffers are left to others.
struct Fast([(ConnId, Wire); 3]);

impl Fast {
    fn get_much(&self, sim: &mut Sim) {
        self.0.iter().for_each(|(id, _)| sim.hub().send(*id, [0; 100_000]).unwrap());
        sim.turn();
        self.0.iter().for_each(|(_, wire)| assert_eq!(wire.reads().len(), 1));
    }
}

#[test]
fn a_few_bytes_for_a_peer_that_lags_were_kept_in_a_large_recycled_buffer() {
    let long = [0; 5000];
    // It lags already, or begins to with that: behind a range of a topic's log, or between two.
    for (lags, publishes_again) in [(true, false), (false, false), (false, true)] {
        let mut sim = sim(|_| {});
        let fast = Fast([(); 3].map(|()| sim.opens()));
        let slow: Vec<_> = (0..100).map(|_| sim.opens()).collect();
        let info = allocation_counter::measure(|| {
            for (id, wire) in &slow {
                wire.holds(0);
                if lags {
                    sim.hub().send(*id, long).unwrap();
                }
                fast.get_much(&mut sim);
                sim.hub().subscribe(*id, "t").unwrap();
                if !lags {
                    sim.hub().publish("t", long).unwrap();
                }
                sim.hub().send(*id, "x").unwrap();
                if publishes_again {
                    sim.hub().publish("t", long).unwrap();
                }
                sim.hub().unsubscribe(*id, "t");
                sim.turn();
            }
        });
        assert!(info.bytes_current < 3_000_000, "{lags} {publishes_again}: {info:?}");
    }
}

#[test]
fn a_few_bytes_of_a_message_were_kept_in_a_large_recycled_buffer_that_no_limit_saw() {
    let mut sim = sim(|config| config.incomplete_bytes_max = 1_000_000);
    let fast = Fast([(); 3].map(|()| sim.opens()));
    let others: Vec<Wire> = (0..100).map(|_| sim.opens().1).collect();
    let info = allocation_counter::measure(|| {
        for other in &others {
            fast.get_much(&mut sim);
            other.sends(text("x").open());
            sim.turn();
        }
    });
    assert!(info.bytes_current < 2_000_000, "{info:?}");
    assert_eq!((sim.hub().connection_count(), sim.hub().counters().closed_incomplete), (103, 0));
}

#[test]
fn who_had_sent_many_requests_at_once_kept_room_for_them_that_no_limit_saw() {
    let mut sim = sim(|_| {});
    sim.accepts = false;
    let requests = get("/").repeat(2000);
    let wires: Vec<Wire> = (0..10).map(|_| sim.server.net().connects()).collect();
    sim.turn();
    let info = allocation_counter::measure(|| {
        for wire in &wires {
            wire.sends_bytes(&requests[..requests.len() - 10]);
            for _ in 0..2100 {
                sim.turn_with(Some(Duration::ZERO), |hub, told| {
                    if let Told::Request(id) = told {
                        hub.respond(*id, Response::new(204)).unwrap();
                    }
                });
                wire.reads_bytes();
            }
            assert_eq!(sim.takes().len(), 1999);
        }
    });
    // The peers' own, which they do not give back.
    let sent = (wires.len() * requests.len()) as i64;
    assert!(info.bytes_current < sent + 100_000, "{info:?}");
}

#[test]
fn a_message_was_refused_or_taken_by_whether_it_came_in_one_piece() {
    let mut sim = sim(|config| config.message_frames_max = 0);
    let (id, wire) = sim.opens();
    let message = text("x").masked([1, 2, 3, 4]);
    for pieces in [vec![&message[..]], vec![&message[..3], &message[3..]]] {
        for piece in pieces {
            wire.sends_bytes(piece);
            sim.turn();
        }
        assert_eq!(sim.takes(), [Told::Message(id, b"x".into())]);
    }
}

#[test]
fn a_turn_without_a_limit_on_what_it_reads_panicked() {
    for set in [(|config| config.read_bytes_per_turn = usize::MAX) as fn(&mut Config), |config| {
        config.receive_buffer_bytes = usize::MAX
    }] {
        let mut sim = sim(set);
        let (id, wire) = sim.opens();
        wire.sends(text("x"));
        sim.turn();
        assert_eq!(sim.takes(), [Told::Message(id, b"x".into())]);
    }
}

#[test]
fn a_clock_that_went_on_by_ten_years_kept_the_loop_for_good() {
    let mut sim = sim(|_| {});
    sim.server.net().passes(Duration::from_secs(10 * 365 * 24 * 3600));
    // The wait for a connection, for which nothing else is to be done.
    let wire = sim.server.net().connects();
    sim.turn_within(None);
    wire.sends_bytes(handshake("/", ""));
    (0..3).for_each(|_| sim.turn());
    assert!(wire.reads_bytes().starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn a_turn_without_a_limit_on_what_it_accepts_ended_only_with_the_kernels_errors() {
    let mut sim = sim(|config| config.accepts_per_turn = usize::MAX);
    let net = sim.server.net();
    net.accept_errors = vec![std::io::ErrorKind::InvalidInput; 100_000].into();
    let _wires: Vec<Wire> = (0..100_000).map(|_| net.connects()).collect();
    sim.turn();
    assert!(sim.hub().counters().accepts_failed < 100_000);
}

#[test]
fn a_peer_that_read_all_the_time_and_slowly_was_silent() {
    let mut sim = sim(|config| {
        config.ping_interval = Some(Duration::from_secs(25));
        config.topic.on_lag = OnLag::Skip;
    });
    let (id, wire) = subscriber(&mut sim, &["t"]);
    wire.holds(5000);
    for second in 0..100 {
        sim.hub().publish("t", [0; 20_000]).unwrap();
        sim.turn();
        wire.reads_bytes();
        sim.rests();
        sim.turn_within(Some(Duration::from_secs(1)));
        assert!(sim.hub().is_open(id), "{second}");
    }
    // Whoever reads nothing more is found out all the same.
    (0..40).for_each(|_| sim.turn_within(Some(Duration::from_secs(1))));
    assert!(!sim.hub().is_open(id));
}

#[test]
fn a_pong_took_its_room_from_what_is_written_beyond_the_limit() {
    let limits = |config: &mut Config| {
        (config.send_queue_bytes_max, config.write_bytes_per_turn) = (10_000, 1000);
    };
    let mut sim = sim(limits);
    let (id, wire) = subscriber(&mut sim, &["t"]);
    wire.holds(100);
    sim.hub().publish("t", [1; 5000]).unwrap();
    sim.turn();
    wire.sends(ping("x"));
    sim.turn();
    // From here on the kernel takes all.
    wire.holds(usize::MAX);
    let mut bytes = wire.reads_bytes();
    sim.turn();
    sim.hub().publish("t", [2; 20_000]).unwrap();
    sim.rests();
    assert!(sim.hub().is_open(id));
    bytes.extend(wire.reads_bytes());
    let expected =
        [crate::support::binary([1; 5000]), pong("x"), crate::support::binary([2; 20_000])];
    assert_eq!(frames(&bytes), expected);
}

#[test]
fn a_ping_drove_out_a_message_that_had_been_taken() {
    let mut sim = sim(|config| {
        config.ping_interval = Some(Duration::from_secs(25));
        (config.overflow, config.send_queue_bytes_max) = (Overflow::DropNewest, 1000);
    });
    let (id, wire) = sim.opens();
    let handle = sim.server.handle();
    let mut sent = 0;
    while sim.hub().counters().pings_sent == 0 {
        (0..10).for_each(|_| handle.send(id, Message::Binary(&[0; 98])).unwrap());
        sent += 10;
        sim.server.net().passes(Duration::from_secs(1));
        sim.turn();
    }
    assert_eq!((sim.hub().queued_bytes(id), sim.hub().counters().messages_dropped_full), (1002, 0));
    sim.turn();
    let mut got = wire.reads();
    assert_eq!((got.pop(), got), (Some(ping("")), vec![crate::support::binary([0; 98]); sent]));
}
