//! Which are read from when many have sent more than a turn reads: nobody is behind what a crowd sends
//! without end, and nobody is dropped for what was not read.

use std::time::Duration;

use pushloop::{Config, ConnId};

use crate::support::net::{Sim, Told, Wire};
use crate::support::{binary, get, handshake, quiet, text};

/// What a batch has room for, and a connection's turn, by default.
const BATCH: usize = 256 * 1024;
const TURN: usize = 128 * 1024;
/// The portion of one of many.
const PORTION: usize = 4 * 1024;

fn sim(set: impl FnOnce(&mut Config)) -> Sim {
    Sim::new(quiet(set))
}

/// So many peers that have always sent more than a turn reads.
struct Flood(Vec<(ConnId, Wire, usize)>);

impl Flood {
    fn new(sim: &mut Sim, peers: usize) -> Self {
        Self((0..peers).map(|_| sim.opens()).map(|(id, wire)| (id, wire, 0)).collect())
    }

    /// They send until so many bytes of each are unread, in messages of 1,024 bytes.
    fn sends(&mut self, bytes: usize) {
        let message = binary([1; 1024 - 8]).masked([1, 2, 3, 4]);
        assert_eq!(message.len(), 1024);
        for (_, wire, sent) in &mut self.0 {
            let more = (*sent..bytes).step_by(message.len()).count();
            wire.sends_bytes(message.repeat(more));
            *sent += more * message.len();
        }
    }

    /// What a turn brought of each, in messages. So much of it is unread no longer.
    fn hears(&mut self, told: &[Told]) -> Vec<usize> {
        let of = |flooder: ConnId| {
            let is_its = |told: &&Told| matches!(told, Told::Message(id, _) if *id == flooder);
            told.iter().filter(is_its).count()
        };
        let heard: Vec<_> = self.0.iter().map(|(id, ..)| of(*id)).collect();
        self.0.iter_mut().zip(&heard).for_each(|((.., unread), n)| {
            *unread = unread.saturating_sub(n * 1024);
        });
        heard
    }
}

#[test]
fn newcomers_are_heard_before_a_crowd_is_heard_again() {
    let mut sim = sim(|_| {});
    let mut flood = Flood::new(&mut sim, 400);
    // From the first moment, when nothing tells the flooders from others; and later, when they are known.
    for turns_before in [0, 10] {
        flood.sends(5 * PORTION);
        for _ in 0..turns_before {
            sim.turn();
            flood.hears(&sim.takes());
            flood.sends(5 * PORTION);
        }
        sim.accepts = false;
        let newcomers: Vec<_> = (0..16).map(|_| sim.server.net().connects()).collect();
        for (at, wire) in newcomers.iter().enumerate() {
            let padding = "x".repeat(if at == 0 && turns_before > 0 { 6000 } else { 0 });
            let request = if at % 2 == 0 { get("/healthz") } else { handshake("/", "") };
            wire.sends_bytes(request.replace(" HTTP/", &format!("?{padding} HTTP/")));
        }
        let (mut turns, mut requests) = (0, 0);
        while requests < newcomers.len() {
            sim.turn();
            turns += 1;
            let told = sim.takes();
            requests += told.iter().filter(|told| matches!(told, Told::Request(_))).count();
            flood.hears(&told);
            flood.sends(5 * PORTION);
        }
        // They are accepted in the first turn, and heard in the next, whatever is known of the crowd. One
        // has two reads, for a long head.
        assert_eq!(turns, if turns_before == 0 { 2 } else { 3 });
        sim.accepts = true;
    }
}

#[test]
fn a_short_message_is_heard_in_the_turn_in_which_it_comes() {
    let mut sim = sim(|_| {});
    let mut flood = Flood::new(&mut sim, 100);
    let (quiet, wire) = sim.opens();
    for turn in 0..50 {
        flood.sends(TURN);
        if turn >= 10 {
            wire.sends(text("x"));
        }
        sim.turn();
        let told = sim.takes();
        flood.hears(&told);
        let came = told.contains(&Told::Message(quiet, b"x".to_vec()));
        assert_eq!(came, turn >= 10, "turn {turn}");
    }
}

/// Each flooder is read as often as any other, and as much as a turn allows.
#[test]
fn those_that_send_much_are_read_in_line_and_whole_turns_of_them() {
    let mut sim = sim(|_| {});
    let mut flood = Flood::new(&mut sim, 10);
    let mut heard = vec![Vec::new(); 10];
    for _ in 0..50 {
        flood.sends(TURN);
        sim.turn();
        for (heard, n) in heard.iter_mut().zip(flood.hears(&sim.takes())) {
            heard.extend((n > 0).then_some(n));
        }
    }
    for heard in &heard {
        // A tenth of a batch at first, when others wait that may be brief; then half a batch each.
        assert_eq!(heard[0], BATCH / 10 / 1024);
        assert!(heard[1..].iter().all(|n| *n == TURN / 1024), "{heard:?}");
        assert!((9..=11).contains(&heard.len()), "{heard:?}");
    }
}

/// More of them than a batch has room for, and nothing ever waits for them but the flooders.
#[test]
fn those_that_send_little_do_not_keep_out_those_that_send_much() {
    // With the small batches, a turn has one read.
    let cases = [(BATCH, TURN, 100, 3), (8192, 8192, 2000, 205), (1000, 1000, 2000, 205)];
    for (batch, most, turns, gap_max) in cases {
        let mut sim = sim(|limits| {
            (limits.receive_buffer_bytes, limits.read_bytes_per_turn) = (batch, most);
        });
        let mut flood = Flood::new(&mut sim, 3);
        let brief: Vec<_> = (0..200).map(|_| sim.opens()).collect();
        let message = binary([2; 900]);
        let mut waits = vec![0; brief.len()];
        let (mut reads, mut last, mut gap) = (vec![0; 3], vec![0; 3], 0);
        for turn in 0..turns {
            flood.sends(2 * most);
            for ((_, wire), waits) in brief.iter().zip(&mut waits).filter(|(_, waits)| **waits < 2)
            {
                wire.sends(message.clone());
                *waits += 1;
            }
            sim.turn();
            let told = sim.takes();
            for told in &told {
                let Told::Message(id, _) = told else { continue };
                if let Some(at) = brief.iter().position(|(brief, _)| brief == id) {
                    waits[at] -= 1;
                }
            }
            for (at, n) in flood.hears(&told).into_iter().enumerate() {
                reads[at] += n;
                gap = gap.max(turn - last[at]);
                if n > 0 {
                    last[at] = turn;
                }
            }
        }
        let [least, all] = [reads.iter().min(), reads.iter().max()];
        assert!(least > Some(&0) && all < least.map(|n| n * 2 + 10).as_ref(), "{reads:?}");
        // A round: all that send little, each once, and the three.
        assert!(gap <= gap_max, "{batch}: a gap of {gap} turns");
    }
}

/// One read in a turn, and so many that have more to say that a newcomer's comes after its deadline.
fn crowded(set: impl FnOnce(&mut Config)) -> (Sim, Vec<(ConnId, Wire)>) {
    let mut sim = sim(|limits| {
        (limits.receive_buffer_bytes, limits.read_bytes_per_turn) = (1000, 1000);
        set(limits);
    });
    let crowd = (0..50).map(|_| sim.opens()).collect();
    (sim, crowd)
}

#[test]
fn a_request_that_came_in_time_is_heard_after_its_deadline() {
    // Two requests in a turn, and so many that the last ones' come after their deadlines.
    let mut sim = sim(|limits| {
        (limits.handshake_timeout, limits.requests_per_turn) = (Duration::from_secs(1), 2);
    });
    sim.accepts = false;
    let late: Vec<_> = (0..60).map(|_| sim.server.net().connects()).collect();
    sim.turn();
    late.iter().for_each(|wire| wire.sends_bytes(get("/")));
    let (mut turns, mut requests) = (0, 0);
    while requests < late.len() {
        sim.server.net().passes(Duration::from_millis(100));
        sim.turn();
        let told = sim.takes();
        requests += told.iter().filter(|told| matches!(told, Told::Request(_))).count();
        assert!(late.iter().all(|wire| !wire.is_dropped()), "one is dropped in turn {turns}");
        turns += 1;
    }
    assert_eq!(turns, 30);
    // A peer that says nothing is dropped as before.
    let silent = sim.server.net().connects();
    for _ in 0..30 {
        sim.turn_within(Some(Duration::from_millis(100)));
    }
    assert!(silent.is_dropped());
}

#[test]
fn a_message_that_came_in_time_keeps_its_connection_from_being_idle() {
    let (mut sim, crowd) = crowded(|limits| limits.idle_timeout = Some(Duration::from_secs(2)));
    for (_, wire) in &crowd {
        wire.sends(binary([2; 900]));
    }
    let mut messages = 0;
    for _ in 0..50 {
        sim.server.net().passes(Duration::from_millis(100));
        sim.turn();
        messages += sim.takes().iter().filter(|told| matches!(told, Told::Message(..))).count();
    }
    assert_eq!(messages, crowd.len());
    // Those that were heard first are idle by now.
    assert!(sim.hub().counters().closed_timeout < 35);
}
