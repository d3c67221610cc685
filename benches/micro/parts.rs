//! What the parts cost, over a network in memory that costs next to nothing.
//!
//! `cargo micro` measures a server, and its private parts, which it asks for with `--cfg internals`.

#[path = "../../tests/support/sink.rs"]
#[allow(dead_code, reason = "the tests need all of it")]
mod sink;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pushloop::testing::frame::binary;
use pushloop::{Config, ConnId, Event};
use sink::Drain;

/// A server with so many connections, all of which subscribe to one topic.
fn drain(connections: usize) -> (Drain, Vec<ConnId>) {
    let mut config = Config::default();
    config.ping_interval = None;
    let mut drain = Drain::new(config);
    let mut ids = Vec::new();
    drain.opens(connections, |hub, id| {
        ids.push(id);
        hub.subscribe(id, "t").expect("it is open");
    });
    (drain, ids)
}

fn echo_turn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo turn");
    for (payload, messages) in [(20, 1), (20, 16), (1024, 1), (65_536, 1)] {
        let (mut drain, ids) = drain(1);
        drain.server.net().says(binary(vec![b'x'; payload]).masked([1, 2, 3, 4]).repeat(messages));
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(format!("{messages} of {payload} B"), |bencher| {
            let mut echoed = 0;
            let before = drain.hub().counters().messages_received;
            bencher.iter(|| {
                drain.server.net().speaks(ids[0]);
                drain.turn(|hub, event| {
                    let Event::Message { id, message } = event else { panic!("{event:?}") };
                    hub.send(id, message).expect("it is open");
                });
                echoed += messages as u64;
            });
            assert_eq!(drain.hub().counters().messages_received - before, echoed);
        });
    }
}

fn publish(criterion: &mut Criterion) {
    const SUBSCRIBERS: usize = 1000;
    let mut group = criterion.benchmark_group("publish to 1,000");
    for (payload, messages) in [(20, 1), (20, 64), (1024, 1)] {
        let (mut drain, _) = drain(SUBSCRIBERS);
        let payload = vec![b'x'; payload];
        group.throughput(Throughput::Elements((messages * SUBSCRIBERS) as u64));
        group.bench_function(format!("{messages} of {} B", payload.len()), |bencher| {
            let before = drain.server.net().writes;
            let mut rounds = 0;
            bencher.iter(|| {
                rounds += 1;
                for _ in 0..messages {
                    drain.hub().publish("t", &payload[..]).expect("there is room");
                }
                drain.empties();
            });
            assert_eq!(drain.server.net().writes - before, rounds * SUBSCRIBERS as u64);
        });
    }
}

mod parts {
    use std::hint::black_box;

    use criterion::{BatchSize, Criterion, Throughput};
    use pushloop::internals::{Expect, Header, Timers, Utf8, unmask};

    use super::binary;

    const SIZES: [usize; 4] = [20, 125, 1024, 65_536];

    pub fn unmasking(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("unmask");
        for size in SIZES {
            let mut payload = vec![b'x'; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{size} B"), |bencher| {
                bencher.iter(|| unmask(black_box(&mut payload), black_box([1, 2, 3, 4]), 0));
            });
        }
    }

    pub fn utf8(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("utf-8");
        for (kind, character) in [("ascii", "x"), ("of 3 bytes", "€")] {
            for size in SIZES {
                let text = character.repeat(size / character.len());
                group.throughput(Throughput::Bytes(text.len() as u64));
                group.bench_function(format!("{kind}, {size} B"), |bencher| {
                    bencher.iter(|| {
                        let mut utf8 = Utf8::default();
                        utf8.push(black_box(text.as_bytes())).expect("it is text");
                        utf8.finish()
                    });
                });
            }
        }
    }

    pub fn header(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("frame header");
        for size in [20, 1024, 65_536] {
            let frame = binary(vec![b'x'; size]).masked([1, 2, 3, 4]);
            group.bench_function(format!("of {size} B"), |bencher| {
                bencher.iter(|| Header::decode(black_box(&frame), black_box(Expect::default())));
            });
        }
    }

    const TIMERS: u32 = 1_000_000;
    /// Some 25 s: how often a connection is pinged.
    const PERIOD: u32 = 373;

    /// A million timers, spread over the period that follows `now`.
    fn spread(now: u32) -> Timers {
        let mut timers = Timers::default();
        (0..TIMERS).for_each(|index| timers.set(index, now + 1 + index % PERIOD));
        timers
    }

    pub fn wheel(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("timer wheel of 1,000,000");
        let mut timers = spread(0);
        let mut index = 0_u32;
        group.bench_function("set one anew", |bencher| {
            bencher.iter(|| {
                // The step and the number of timers have no divisor in common: all get a turn.
                index = (index + 618_033) % TIMERS;
                timers.set(index, 1 + index % PERIOD);
            });
        });
        group.sample_size(10).throughput(Throughput::Elements(TIMERS.into()));
        group.bench_function("pop all", |bencher| {
            bencher.iter_batched_ref(
                || spread(0),
                |timers| (0..TIMERS).for_each(|_| assert!(timers.pop(PERIOD).is_some())),
                BatchSize::PerIteration,
            );
        });
        let (mut timers, mut now) = (spread(0), 0);
        group.bench_function("a period: pop all and set them anew", |bencher| {
            bencher.iter(|| {
                for _ in 0..PERIOD {
                    now += 1;
                    while let Some(index) = timers.pop(now) {
                        timers.set(index, now + PERIOD);
                    }
                }
            });
        });
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
}

criterion_group! { name = server; config = settings(); targets = echo_turn, publish }
criterion_group! {
    name = private;
    config = settings();
    targets = parts::unmasking, parts::utf8, parts::header, parts::wheel
}
criterion_main!(private, server);
