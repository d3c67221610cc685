//! What a message refers to that went before it, where some are dropped or published.

use pushloop::{ConnId, Overflow, SendError};

use super::puff::Puff;
use super::{ANSWER, OFFER, noise, opens};
use crate::support::dice::Dice;
use crate::support::net::{Sim, Wire};
use crate::support::quiet;

const WORDS: &str = "The score is one to nil, and the score was one to nil at half time.";

fn takes_over() -> (Sim, ConnId, Wire) {
    let mut sim = Sim::new(quiet(|config| {
        config.send_queue_bytes_max = 2000;
        config.overflow = Overflow::DropNewest;
        config.deflate_context_takeover = true;
    }));
    let (id, wire) = opens(&mut sim, OFFER, ANSWER);
    sim.hub().subscribe(id, "t").unwrap();
    (sim, id, wire)
}

/// What is behind a dropped message must not refer to it, and no publication comes between that
/// would make it forget.
#[test]
fn a_dropped_message_is_not_referred_to() {
    let (mut sim, id, wire) = takes_over();
    let mut dice = Dice::new(7);
    wire.holds(0);
    sim.hub().send(id, noise(&mut dice, 1500)).unwrap();
    sim.turn();
    let long = WORDS.repeat(8);
    assert_eq!(sim.hub().send(id, &long), Err(SendError::Full));
    sim.hub().send(id, WORDS).unwrap();
    wire.holds(usize::MAX);
    wire.reads_bytes();
    sim.rests();
    let frames = wire.reads();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[1].first, 0xC1);
    assert_eq!(Puff::default().inflates(&frames[1].payload), WORDS.as_bytes());
}

/// A direct message refers to the one before it, and not across a publication: the peer's window holds
/// that, too, and where it stands among them is not known before it leaves.
#[test]
fn a_message_refers_to_the_one_before_it_and_not_across_a_publication() {
    const DIRECT: bool = false;
    const PUBLISHED: bool = true;
    let (mut sim, id, wire) = takes_over();
    let (mut puff, mut alone) = (Puff::default(), None);
    let cases: [(&[bool], &[bool]); 3] = [
        (&[DIRECT; 3], &[false, true, true]),
        // What it took in this turn makes it forget once more.
        (&[DIRECT, PUBLISHED, DIRECT], &[true, false, false]),
        (&[PUBLISHED, DIRECT, DIRECT], &[false, false, false]),
    ];
    for lags in [false, true] {
        for (sources, expected) in cases {
            wire.holds(if lags { 0 } else { usize::MAX });
            sim.hub().send(id, "x").unwrap();
            sim.turn();
            for source in sources {
                match *source {
                    PUBLISHED => {
                        assert_eq!(sim.hub().publish("t", WORDS).map(|it| it.subscribers), Ok(1))
                    }
                    DIRECT => sim.hub().send(id, WORDS).unwrap(),
                }
            }
            wire.holds(usize::MAX);
            wire.reads_bytes();
            sim.rests();
            let frames = wire.reads();
            let compressed: Vec<_> = frames.iter().filter(|it| it.first & 0x40 != 0).collect();
            for frame in &compressed {
                assert_eq!(puff.inflates(&frame.payload), WORDS.as_bytes());
            }
            let lens: Vec<_> = compressed.iter().map(|frame| frame.payload.len()).collect();
            let alone = *alone.get_or_insert(lens[0]);
            let refers: Vec<_> = lens.iter().map(|len| *len < alone / 2).collect();
            assert_eq!(refers, expected, "{sources:?} {lags} {lens:?}");
        }
    }
}
