//! What other threads send, while the connections that it is for come and go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use pushloop::{CloseCode, ConnId, HandleError};

use crate::support::campaign::scale;
use crate::support::net::{Calls, Sim, Wire};
use crate::support::{close, quiet};

/// Bytes of the frames that [`sends_to_who_comes_and_goes`] gets.
const FRAME: usize = 2 + 3 * 8;

/// What one of these says: the connection that it is for, the thread that sent it, and its number.
fn parts(payload: &[u8]) -> [u64; 3] {
    [0, 8, 16].map(|at| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap()))
}

/// Eight threads send as fast as they can to four connections, which are closed and replaced
/// all the while, each in the slot of the one before. Whatever was accepted arrives once, in its
/// thread's order, where it was meant for, or is counted as too late.
fn sends_to_who_comes_and_goes(per_thread: u64) {
    const THREADS: u64 = 8;
    let mut sim = Sim::new(quiet(|_| {}));
    let mut seats: Vec<_> = (0..4).map(|_| sim.opens()).collect();
    let ids: Vec<_> = seats.iter().map(|(id, _)| AtomicU64::new(id.to_bits())).collect();
    let handle = sim.server.handle();
    let (mut arrived, mut replaced) = (0, 0);
    let mut last = [[0; THREADS as usize]; 4];
    let full = AtomicU64::new(0);
    let mut look = |seat: usize, id: ConnId, wire: &Wire| {
        let bytes = wire.reads_bytes();
        let (frames, rest) = bytes.as_chunks::<FRAME>();
        for frame in frames {
            let [meant_for, thread, number] = parts(&frame[2..]);
            assert_eq!(meant_for, id.to_bits(), "it reached another connection");
            let last: &mut u64 = &mut last[seat][thread as usize];
            assert!(number > *last, "{number} of thread {thread} came after {last}");
            *last = number;
        }
        arrived += frames.len() as u64;
        rest.to_vec()
    };
    thread::scope(|scope| {
        // It ends with what is found wrong, and with it the senders, which would wait for it.
        let mut sim = sim;
        for thread in 0..THREADS {
            let (handle, ids, full) = (handle.clone(), &ids, &full);
            scope.spawn(move || {
                for number in 1..=per_thread {
                    let id = ids[number as usize % ids.len()].load(Ordering::Relaxed);
                    let payload = [id, thread, number].map(u64::to_le_bytes).concat();
                    while handle.send(ConnId::from_bits(id), &payload) == Err(HandleError::Full) {
                        full.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                    }
                }
            });
        }
        for round in 0.. {
            // What the last turn of a round takes from the mailbox leaves in the next round.
            let counters = handle.counters();
            let taken = counters.messages_sent + counters.stale_commands;
            let last_round = taken == THREADS * per_thread;
            sim.server.net().calls = Calls::default();
            (0..32).for_each(|_| sim.turn());
            sim.takes();
            for (seat, (id, wire)) in seats.iter().enumerate() {
                assert!(look(seat, *id, wire).is_empty());
            }
            if last_round {
                break;
            }
            let seat = round % seats.len();
            let (id, wire) = seats[seat].clone();
            sim.hub().close(id, CloseCode::NORMAL, "");
            wire.sends(close(1000, ""));
            wire.finishes();
            while !wire.is_dropped() {
                sim.turn();
            }
            assert_eq!(look(seat, id, &wire), close(1000, "").unmasked());
            seats[seat] = sim.opens();
            let new = seats[seat].0;
            assert_eq!(new.to_bits() as u32, id.to_bits() as u32, "another slot");
            ids[seat].store(new.to_bits(), Ordering::Relaxed);
            replaced += 1;
        }
    });
    let counters = handle.counters();
    assert_eq!(arrived, counters.messages_sent);
    assert_eq!(arrived + counters.stale_commands, THREADS * per_thread);
    println!(
        "figure sends of 8 threads: {}, 0 lost or doubled; {replaced} connections replaced under \
         them, {} sends too late for theirs, 0 in the wrong place, {} refused for now",
        THREADS * per_thread,
        counters.stale_commands,
        full.into_inner(),
    );
}

#[test]
fn what_threads_send_reaches_whom_it_is_meant_for_however_they_come_and_go() {
    sends_to_who_comes_and_goes(20_000);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn eight_million_sends_reach_whom_they_are_meant_for() {
    sends_to_who_comes_and_goes(scale(1_000_000, 12_500_000));
}
