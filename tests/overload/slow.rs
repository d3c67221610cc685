//! Peers that do not read, beside others that do.

use std::time::Duration;

use pushloop::{Config, ConnId, Event, Hub, OnLag, Overflow};

use super::crowd::{Crowded, Dot, SPARES, frames, nothing, percentile};
use crate::support::campaign::{now, scale};
use crate::support::{binary, config};

/// What is published as number `at`: 1 KiB.
fn message(at: usize) -> Vec<u8> {
    (at as u32).to_be_bytes().repeat(256)
}

/// In a campaign: with both ends of each, as many as 20,000 descriptors allow.
const SLOW_PEERS: usize = 9_700;

/// Their kernel takes this, and then nothing.
const SLOW: Option<usize> = Some(4096);

/// Somebody who reads, and what it has got of the messages.
struct Reader {
    dot: Dot,
    got: Vec<u8>,
    next: usize,
}

impl Reader {
    /// Reads what has come; each message is the next one, and whole.
    fn reads(&mut self) {
        assert!(self.dot.hears(&mut self.got), "it is closed");
        let mut at = 0;
        loop {
            let expected = binary(message(self.next)).unmasked();
            let Some(came) = self.got.get(at..at + expected.len()) else { break };
            assert!(came == expected, "message {} is not as it was published", self.next);
            (at, self.next) = (at + expected.len(), self.next + 1);
        }
        self.got.drain(..at);
    }
}

struct Room {
    crowd: Crowded,
    ids: Vec<ConnId>,
    readers: Vec<Reader>,
    published: usize,
    /// How long each message took to reach all who read.
    took: Vec<Duration>,
    /// The most that waited in the whole process.
    queued_max: usize,
}

impl Room {
    fn new(limits: Config, readers: usize, slow: usize) -> Self {
        let mut crowd = Crowded::new(limits, readers + slow);
        let (ids, dots): (Vec<_>, Vec<_>) = crowd.opens(readers, None).into_iter().unzip();
        for id in &ids {
            crowd.act(|hub| hub.subscribe(*id, "t").expect("it is open"));
        }
        let reader = |dot| Reader { dot, got: Vec::new(), next: 0 };
        let readers = dots.into_iter().map(reader).collect();
        Self { crowd, ids, readers, published: 0, took: Vec::new(), queued_max: 0 }
    }

    /// Publishes one message, and goes on when all who read have got it.
    fn publishes(&mut self, sent: &mut dyn FnMut(&mut Hub, &[u8])) {
        let began = now();
        let payload = message(self.published);
        self.crowd.act(|hub| {
            hub.publish("t", &payload).expect("there is room");
            sent(hub, &payload);
        });
        self.published += 1;
        loop {
            self.crowd.turn(&mut nothing);
            self.queued_max = self.queued_max.max(self.crowd.server.hub().queued_bytes_total());
            self.readers.iter_mut().for_each(Reader::reads);
            if self.readers.iter().all(|reader| reader.next == self.published) {
                break;
            }
        }
        self.took.push(now() - began);
    }

    fn p99(&mut self) -> Duration {
        let mut took = std::mem::take(&mut self.took);
        took.sort_unstable();
        percentile(&took, 99)
    }
}

/// What is kept for those that do not read, at the most: in one topic for all of them, and in a queue
/// for each.
const KEPT: usize = 16 * 1024;

fn limits(on_lag: OnLag) -> Config {
    config(|limits| {
        limits.topic.on_lag = on_lag;
        limits.overflow = Overflow::DropNewest;
        limits.topic_lag_bytes_max = KEPT;
        limits.send_queue_bytes_max = KEPT;
        limits.close_timeout = Duration::from_secs(1);
    })
}

/// Has `slow` peers that never read subscribe, and publishes. Gives the room, and who is slow.
fn flooded(limits: Config, messages: usize) -> (Room, Vec<(ConnId, Dot)>) {
    let (readers, slow) = scale((10, 300), (100, SLOW_PEERS));
    // However many they are, beside the log they hold what has begun to leave. It is of the few
    // messages at which their kernels are full.
    let most = KEPT + 64 * 1024;
    let on_lag = limits.topic.on_lag;
    let mut room = Room::new(limits, readers, slow);
    (0..messages / 4).for_each(|_| room.publishes(&mut |_, _| ()));
    let alone = room.p99();
    let crowd = room.crowd.opens(slow, SLOW);
    for (id, _) in &crowd {
        room.crowd.act(|hub| hub.subscribe(*id, "t").expect("it is open"));
    }
    let before = room.crowd.begins_counting();
    (0..messages).for_each(|_| room.publishes(&mut |_, _| ()));
    let beside = room.p99();
    let heap = room.crowd.heap_max - before;
    // A connection that something waits for has an outbox.
    let outboxes = slow * 512;
    println!(
        "figure {slow} peers that do not read beside {readers} that do, {on_lag:?}: {} messages of \
         1 KiB, all arrived; {} KiB more heap at most, {} KiB queued at most; a message reached all who read \
         in {beside:?} (99 %), {alone:?} without the others",
        room.published,
        heap / 1024,
        room.queued_max / 1024,
    );
    assert!(heap as usize <= most + outboxes, "{heap} bytes beyond {most}");
    assert!(room.queued_max <= most, "{} bytes wait, and not {most}", room.queued_max);
    for (id, reader) in room.ids.iter().zip(&room.readers) {
        assert!(room.crowd.server.hub().is_open(*id) && reader.next == room.published);
    }
    (room, crowd)
}

#[test]
fn peers_that_never_read_are_all_closed_and_the_others_lose_nothing() {
    let mut limits = limits(OnLag::Close);
    limits.blocked_timeout = Duration::from_secs(1);
    let (mut room, mut slow) = flooded(limits, scale(400, 20_000));
    // They do not answer the Close either.
    let stay = room.readers.len();
    room.crowd.until(&mut nothing, |hub| hub.connection_count() == stay);
    let counters = room.crowd.server.hub().counters();
    assert_eq!(counters.closed_overflow as usize, slow.len());
    assert_eq!(room.crowd.server.hub().queued_bytes_total(), 0);
    room.publishes(&mut |_, _| ());
    assert!(slow.iter_mut().all(|(_, dot)| dot.is_over()));
}

/// A peer that reads again and is too far behind gets no message with a gap before it.
#[test]
fn peers_that_read_again_too_late_are_closed_behind_an_unbroken_sequence() {
    let (mut room, slow) = flooded(limits(OnLag::Close), scale(400, 5_000));
    let (first, closed) = (room.published - scale(400, 5_000), slow.len() as u64);
    let mut arrived = room.published * room.readers.len();
    for (_, got) in hear_all(&mut room, slow, true) {
        let frames = frames(&got);
        let (end, messages) = frames.split_last().expect("it got something");
        assert_eq!((end.first, &end.payload[..2]), (0x88, &1013_u16.to_be_bytes()[..]));
        for (at, frame) in messages.iter().enumerate() {
            assert!(*frame == binary(message(first + at)), "{at}");
        }
        arrived += messages.len();
    }
    let counters = room.crowd.server.hub().counters();
    assert_eq!(counters.closed_overflow, closed);
    assert_eq!(counters.deliveries, arrived as u64, "{counters:?}");
    // And what more was due to each when it was closed.
    assert!(counters.messages_lost >= closed, "{counters:?}");
}

#[test]
fn peers_that_never_read_skip_what_is_no_longer_kept_and_that_is_counted() {
    let (room, slow) = flooded(limits(OnLag::Skip), scale(400, 5_000));
    all_is_accounted_for(room, slow);
}

#[test]
fn for_peers_that_never_read_only_the_latest_is_kept() {
    let (room, slow) = flooded(limits(OnLag::Latest), scale(400, 5_000));
    all_is_accounted_for(room, slow);
}

/// Reads what there is for all of them. `to_end` if each is to be closed.
fn hear_all(room: &mut Room, slow: Vec<(ConnId, Dot)>, to_end: bool) -> Vec<(Dot, Vec<u8>)> {
    let mut streams: Vec<_> = slow.into_iter().map(|(_, dot)| (dot, Vec::new())).collect();
    loop {
        room.crowd.settles(&mut nothing);
        let before: usize = streams.iter().map(|(_, got)| got.len()).sum();
        let open = streams.iter_mut().filter_map(|(dot, got)| dot.hears(got).then_some(())).count();
        assert!(to_end || open == streams.len(), "one is closed");
        let after: usize = streams.iter().map(|(_, got)| got.len()).sum();
        let is_over = if to_end { open == 0 } else { before == after };
        if is_over && room.crowd.server.hub().queued_bytes_total() == 0 {
            return streams;
        }
    }
}

/// The peers read after all. What they get are whole messages in order, up to the last, and whatever is
/// missing is counted.
fn all_is_accounted_for(mut room: Room, slow: Vec<(ConnId, Dot)>) {
    let mut arrived = room.published * room.readers.len();
    let due = arrived + scale(400, 5_000) * slow.len();
    for (_, got) in &hear_all(&mut room, slow, false) {
        let (next, came) = in_order(got);
        assert_eq!(next, room.published, "the last one comes");
        arrived += came;
    }
    let counters = room.crowd.server.hub().counters();
    assert_eq!(arrived as u64, counters.deliveries);
    let passed = counters.messages_skipped + counters.messages_conflated;
    assert_eq!(arrived as u64 + passed, due as u64, "{counters:?}");
    assert!(passed > 0);
}

/// Messages that came, whole and in order: the number behind the last, and how many. A kernel may take
/// some more later, so that what is refused is not always all that comes after.
fn in_order(got: &[u8]) -> (usize, usize) {
    let frames = frames(got);
    let mut next = 0;
    for frame in &frames {
        let [a, b, c, d, ..] = frame.payload[..] else { panic!("{frame:?}") };
        let number = u32::from_be_bytes([a, b, c, d]) as usize;
        assert!(number >= next && *frame == binary(message(number)), "{number} after {next}");
        next = number + 1;
    }
    (next, frames.len())
}

/// What is sent to them directly, beside what they do not subscribe to.
#[test]
fn for_peers_that_never_read_the_newest_direct_messages_are_dropped_and_counted() {
    let (readers, slow) = scale((10, 300), (100, 2_000));
    let mut room = Room::new(limits(OnLag::Close), readers, slow);
    let crowd = room.crowd.opens(slow, SLOW);
    let before = room.crowd.begins_counting();
    let mut refused = 0;
    let mut sends = |hub: &mut Hub, payload: &[u8]| {
        refused += crowd.iter().filter(|(id, _)| hub.send(*id, payload).is_err()).count();
    };
    (0..scale(200, 1_000)).for_each(|_| room.publishes(&mut sends));
    let most = slow * KEPT;
    let heap = (room.crowd.heap_max - before) as usize;
    assert!(room.queued_max <= most + KEPT, "{} bytes wait, and not {most}", room.queued_max);
    assert!(heap <= most + most / 10 + slow * 1024 + SPARES, "{heap} bytes beyond {most}");
    let sent = slow * room.published;
    let arrived: usize =
        hear_all(&mut room, crowd, false).iter().map(|(_, got)| in_order(got).1).sum();
    assert_eq!(room.crowd.server.hub().counters().messages_dropped_full as usize, refused);
    assert!(refused > 0);
    assert_eq!(arrived + refused, sent);
    println!(
        "figure {slow} peers that do not read what is sent to each, {} messages of 1 KiB: {refused} dropped \
         of {sent}, {} KiB queued at most of {} KiB, {} KiB of heap",
        room.published,
        room.queued_max / 1024,
        most / 1024,
        heap / 1024,
    );
}

/// Each gets bytes of its own, so that together they would take more than the process may: at the
/// default limits, in a campaign.
#[test]
fn all_that_waits_in_the_process_is_bounded_whoever_it_is_for() {
    let (readers, slow) = scale((10, 300), (100, SLOW_PEERS));
    let limits = config(|limits| {
        // Whoever is closed stays until the test is over.
        limits.close_timeout = Duration::from_secs(600);
        limits.send_queues_bytes_max = scale(64 << 20, limits.send_queues_bytes_max);
    });
    let most = limits.send_queues_bytes_max;
    assert!(most < slow * limits.send_queue_bytes_max);
    let mut room = Room::new(limits, readers, slow);
    let crowd = room.crowd.opens(slow, SLOW);
    let before = room.crowd.begins_counting();
    // Who was closed takes nothing any more. Three of these are the least that fills a segment, and the
    // buffer that grew for them has room for a fourth.
    let mut sends = |hub: &mut Hub, payload: &[u8]| {
        crowd.iter().for_each(|(id, _)| _ = hub.send(*id, &payload.repeat(2)[..1500]));
    };
    let mut messages = 0;
    while crowd.iter().any(|(id, _)| room.crowd.server.hub().is_open(*id)) {
        room.publishes(&mut sends);
        messages += 1;
    }
    let heap = (room.crowd.heap_max - before) as usize;
    let waited = room.queued_max;
    assert!(heap <= waited + waited / 4 + SPARES, "{heap} bytes of heap for {waited}");
    assert!(waited <= most, "{waited} bytes wait, and not {most}");
    println!(
        "figure {slow} peers that do not read, {messages} messages of 1,500 bytes for each: {} MiB queued at \
         most of {} MiB, {} MiB of heap",
        waited >> 20,
        most >> 20,
        heap >> 20
    );
}

/// Each has read nearly all of what was sent to it, and never all: what was read is not kept.
#[test]
fn what_has_been_sent_of_a_queue_that_never_runs_empty_is_given_back() {
    let peers = scale(100, 2_000);
    let mut room = Room::new(config(|_| ()), 1, peers);
    let mut crowd = room.crowd.opens(peers, SLOW);
    let before = room.crowd.begins_counting();
    for (id, _) in &crowd {
        room.crowd.act(|hub| {
            (0..120).for_each(|at| hub.send(*id, message(at)).expect("there is room"));
        });
        room.crowd.turn(&mut nothing);
    }
    let mut queued = usize::MAX;
    while queued > peers * 10_000 {
        room.crowd.settles(&mut nothing);
        queued = 0;
        for (id, dot) in &mut crowd {
            let waits = room.crowd.server.hub().queued_bytes(*id);
            queued += waits;
            if waits > 10_000 {
                dot.hears(&mut Vec::new());
            }
        }
    }
    let waiting = room.crowd.server.hub().queued_bytes_total();
    let heap = (room.crowd.heap - before) as usize;
    assert!(waiting >= peers * 100, "only {waiting} bytes are left");
    assert!(heap <= waiting / 2 * 5 + SPARES + peers * 1024, "{heap} bytes for {waiting}");
    println!(
        "figure {peers} peers that have read nearly all of 120 KiB: {} KiB of heap for {} KiB that wait",
        heap / 1024,
        waiting / 1024
    );
}

/// Each stalls at another message of a topic, and so holds a log that nobody else holds.
#[test]
fn logs_that_one_peer_each_holds_are_bounded_together() {
    const LOG: usize = 64 * 1024;
    let peers = scale(300, 2_000);
    let limits = config(|limits| limits.send_queues_bytes_max = scale(4 << 20, 32 << 20));
    let most = limits.send_queues_bytes_max;
    assert!(most < peers * LOG);
    let mut room = Room::new(limits, 10, peers);
    let crowd = room.crowd.opens(peers, SLOW);
    let before = room.crowd.begins_counting();
    let (mut queued_max, mut closed) = (0, 0);
    for (id, _) in &crowd {
        room.crowd.act(|hub| {
            hub.subscribe(*id, "u").expect("it is open");
            hub.publish("u", vec![7; LOG]).expect("there is room below four fifths");
            hub.unsubscribe(*id, "u");
        });
        room.publishes(&mut |_, _| ());
        room.crowd
            .turn(&mut |_, event| closed += usize::from(matches!(event, Event::Closed { .. })));
        queued_max = queued_max.max(room.crowd.server.hub().queued_bytes_total());
    }
    let heap = (room.crowd.heap_max - before) as usize;
    assert!(queued_max.max(room.queued_max) <= most, "{queued_max} bytes wait, and not {most}");
    assert!(heap <= most + most / 10 + SPARES + LOG + peers * 1024, "{heap} bytes beyond {most}");
    let shed = room.crowd.server.hub().counters().closed_overflow;
    assert!(shed as usize > peers - 2 * most / LOG, "{shed} of {peers} were shed");
    println!(
        "figure {peers} peers that each hold another log of 64 KiB: {} KiB queued at most of {} KiB, \
         {} KiB of heap, {shed} closed",
        queued_max / 1024,
        most / 1024,
        heap / 1024
    );
}
