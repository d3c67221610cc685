//! Peers that never stop sending: Pings, and messages at line rate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pushloop::{ConnId, Event};

use super::crowd::{Crowded, Dot, frames, nothing, percentile};
use crate::support::campaign::{now, scale};
use crate::support::{TestServer, binary, config, ping, pong, text};

/// Pings of a few bytes, by the number.
fn pings(numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.flat_map(|at| ping(format!("{at}")).masked([1, 2, 3, 4])).collect()
}

#[test]
fn a_flood_of_pings_from_a_peer_that_reads_is_answered_and_takes_no_memory() {
    let count = scale(50_000, 1_000_000);
    let mut crowd = Crowded::new(config(|_| ()), 1);
    let [(id, mut dot)] = crowd.opens(1, None).try_into().expect("there is one");
    let budget = crowd.server.hub().config().read_bytes_per_turn;
    let before = crowd.begins_counting();
    let (mut got, mut next, mut queued_max) = (Vec::new(), 0, 0);
    for at in (0..count).step_by(1000) {
        let mut bytes = &pings(at..at + 1000)[..];
        while !bytes.is_empty() || next < at + 1000 {
            bytes = &bytes[dot.offers(bytes).expect("it lives")..];
            crowd.turn(&mut nothing);
            queued_max = queued_max.max(crowd.server.hub().queued_bytes(id));
            dot.hears(&mut got);
            let mut at = 0;
            for frame in frames(&got) {
                assert_eq!(frame, pong(format!("{next}")));
                (at, next) = (at + frame.unmasked().len(), next + 1);
            }
            got.drain(..at);
        }
    }
    let heap = (crowd.heap_max - before) as usize;
    assert!(queued_max <= budget && heap <= 2 * budget, "{queued_max} queued, {heap} on the heap");
    println!(
        "figure {count} Pings of a peer that reads: {next} Pongs, {queued_max} bytes queued at most, {heap} bytes of heap"
    );
}

#[test]
fn a_flood_of_pings_from_a_peer_that_does_not_read_waits_as_one_pong() {
    let count = scale(100_000, 1_000_000);
    let mut crowd = Crowded::new(config(|_| ()), 1);
    let [(id, mut dot)] = crowd.opens(1, Some(4096)).try_into().expect("there is one");
    let budget = crowd.server.hub().config().read_bytes_per_turn;
    let before = crowd.begins_counting();
    let (mut sent, mut queued_max) = (0, 0);
    // The kernel takes some of the Pongs, and now and then some more.
    while (crowd.server.hub().counters().pongs_coalesced as usize) < count {
        crowd.is_fed(&mut dot, &pings(sent..sent + 1000), &mut nothing);
        sent += 1000;
        queued_max = queued_max.max(crowd.server.hub().queued_bytes(id));
    }
    let heap = (crowd.heap_max - before) as usize;
    assert!(queued_max <= budget && heap <= 2 * budget, "{queued_max} queued, {heap} on the heap");
    // It reads after all. The last Ping is answered, before what stood in line; each that was not is
    // counted.
    let (mut got, last) = (Vec::new(), pong(format!("{}", sent - 1)));
    while !frames(&got).contains(&last) || crowd.server.hub().queued_bytes(id) > 0 {
        crowd.settles(&mut nothing);
        assert!(dot.hears(&mut got), "it is closed");
    }
    crowd.settles(&mut nothing);
    dot.hears(&mut got);
    let answered = frames(&got).len();
    let coalesced = crowd.server.hub().counters().pongs_coalesced as usize;
    assert_eq!(answered + coalesced, sent);
    println!(
        "figure {sent} Pings of a peer that does not read: {answered} answered, {coalesced} not; {queued_max} bytes \
         queued at most, {heap} bytes of heap"
    );
}

/// One that always has more to say, and others that say a message each as soon as the last one was
/// heard. What the flooder got heard between two messages of each of the others.
struct Fair {
    crowd: Crowded,
    flooder: (ConnId, Dot),
    quiet: Vec<(ConnId, Dot)>,
    places: HashMap<ConnId, usize>,
    message: Vec<u8>,
    flood: Vec<u8>,
    /// The flooder's bytes since the last message of each.
    since: Vec<usize>,
    most: usize,
    spoke: Vec<Instant>,
    gaps: Vec<Duration>,
}

impl Fair {
    fn new(quiet: usize, payload: usize) -> Self {
        let mut crowd = Crowded::new(config(|_| ()), quiet + 1);
        let quiet = crowd.opens(quiet, None);
        let [flooder] = crowd.opens(1, None).try_into().expect("there is one");
        let flood = binary([0; 1000]).masked([1, 2, 3, 4]).repeat(1000);
        let message = text("x".repeat(payload)).masked([1, 2, 3, 4]);
        let places = quiet.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        let (since, spoke) = (vec![0; quiet.len()], vec![now(); quiet.len()]);
        Self {
            crowd,
            flooder,
            quiet,
            places,
            message,
            flood,
            since,
            most: 0,
            spoke,
            gaps: Vec::new(),
        }
    }

    /// One turn. The flooder has filled its kernel before it, and whoever was heard has spoken again.
    fn turn(&mut self, sent: &mut usize) {
        loop {
            let rest = &self.flood[*sent % self.flood.len()..];
            match self.flooder.1.offers(rest).expect("the flooder lives") {
                0 => break,
                n => *sent += n,
            }
        }
        let mut heard = Vec::new();
        self.crowd.turn(&mut |_, event| {
            if let Event::Message { id, message } = event {
                heard.push((id, message.as_bytes().len()));
            }
        });
        for (id, len) in heard {
            if id == self.flooder.0 {
                self.since.iter_mut().for_each(|since| *since += len);
                continue;
            }
            let at = self.places[&id];
            self.most = self.most.max(self.since[at]);
            self.since[at] = 0;
            let time = now();
            self.gaps.push(time - self.spoke[at]);
            self.spoke[at] = time;
            self.quiet[at].1.says(&self.message);
        }
    }
}

#[test]
fn beside_a_flooder_everybody_is_heard_before_it_is_heard_again() {
    // All fit in one batch with a turn of the flooder's, and many times what fits.
    for payload in [8, 2000] {
        let (quiet, turns) = scale((99, 500), (999, 2_000));
        let mut fair = Fair::new(quiet, payload);
        let budget = fair.crowd.server.hub().config().read_bytes_per_turn;
        fair.quiet.iter_mut().for_each(|(_, dot)| dot.says(&fair.message));
        let mut sent = 0;
        for _ in 0..turns {
            fair.turn(&mut sent);
        }
        let rounds = fair.gaps.len() / quiet;
        assert!(sent > rounds * budget / 2, "{sent} bytes in {rounds} rounds are no flood");
        assert!(fair.gaps.len() > quiet * 10, "{} messages were heard", fair.gaps.len());
        // What is left of a batch may be less than a turn's budget, and the next batch begins with a
        // whole one: never more than a batch. A message may have been half there before.
        let allowed = fair.crowd.server.hub().config().receive_buffer_bytes + 1000;
        assert!(fair.most <= allowed, "{} bytes of the flooder's between two messages", fair.most);
        fair.gaps.sort_unstable();
        let [half, most, max] = [50, 99, 100].map(|percent| percentile(&fair.gaps, percent));
        println!(
            "figure {quiet} peers with messages of {payload} bytes beside a flooder: {} messages and {} MiB of \
             the flooder's in {turns} turns, at most {} KiB of it between two messages of a peer (a budget \
             is {} KiB); heard after {half:?} (50 %), {most:?} (99 %), {max:?} (all)",
            fair.gaps.len(),
            sent >> 20,
            fair.most / 1024,
            budget / 1024,
        );
    }
}

/// A turn writes to every subscriber, and so takes as long as these writes do. No peer waits for more
/// than one such turn.
#[test]
fn a_publication_to_everybody_comes_between_two_messages_of_a_peer_once() {
    let subscribers = scale(300, 9_000);
    let mut crowd = Crowded::new(config(|_| ()), subscribers + 10);
    let mut all = crowd.opens(subscribers, None);
    for (id, _) in &all {
        crowd.act(|hub| hub.subscribe(*id, "t").expect("it is open"));
    }
    let mut quiet = crowd.opens(10, None);
    let (mut gaps, mut giants) = (Vec::new(), 0);
    for at in 0..10 {
        crowd.act(|hub| hub.publish("t", vec![at; 64 * 1024]).expect("there is room"));
        giants += 1;
        let began = now();
        quiet.iter_mut().for_each(|(_, dot)| dot.says(&text("x").masked([1; 4])));
        let (mut heard, mut turns) = (0, 0);
        while heard < 10 {
            crowd
                .turn(&mut |_, event| heard += usize::from(matches!(event, Event::Message { .. })));
            turns += 1;
        }
        gaps.push(now() - began);
        // The first one writes to all. As many as have taken it are told of, 1,024 in a turn.
        assert!(turns <= 3 + subscribers / 512, "{turns} turns until all were heard");
        let mut got = vec![0; subscribers];
        while got.iter().any(|got| *got < 64 * 1024) {
            crowd.turn(&mut nothing);
            for ((_, dot), got) in all.iter_mut().zip(&mut got) {
                let mut bytes = Vec::new();
                assert!(dot.hears(&mut bytes), "a subscriber is closed");
                *got += bytes.len();
            }
        }
    }
    gaps.sort_unstable();
    let max = gaps.last().expect("there were some");
    println!(
        "figure {giants} publications of 64 KiB to {subscribers} subscribers: another peer was heard after {max:?} at most"
    );
}

/// What handles of eight threads have accepted while the loop stands still is bounded, and all of it
/// is done when it goes on.
#[test]
fn a_stalled_loop_takes_a_bounded_number_of_commands_and_loses_none() {
    let tries = scale(20_000, 1_000_000);
    let server = TestServer::start(config(|_| ()), crate::support::accept);
    let mut peer = server.opens();
    let id = server.id_of(&peer);
    server.act(move |hub| hub.subscribe(id, "t").expect("it is open"));
    let max = pushloop::Config::default().mailbox_commands_max;
    let mut accepted = 0;
    let mut refused = 0;
    server.act_and_wait_for(
        |_| (),
        || {
            let counts = std::thread::scope(|scope| {
                let send = || {
                    let results = (0..tries).map(|_| server.handle().publish("t", "x").is_ok());
                    results.fold(
                        (0, 0),
                        |(ok, full), taken| {
                            if taken { (ok + 1, full) } else { (ok, full + 1) }
                        },
                    )
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("it counts"))
                    .fold((0, 0), |sum, (ok, full)| (sum.0 + ok, sum.1 + full))
            });
            (accepted, refused) = counts;
        },
    );
    assert_eq!((accepted, accepted + refused), (max, 8 * tries));
    for _ in 0..accepted {
        peer.expects(text("x"));
    }
    assert_eq!(server.handle().counters().publications as usize, accepted);
    println!(
        "figure 8 threads, {tries} publications each, at a loop that stands still: {accepted} taken and delivered, {refused} refused"
    );
    server.sees_no_more(&peer);
}
