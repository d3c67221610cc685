//! A thread that says when the loop is stuck: every connection waits for the one turn that takes so
//! long, and so would any request that asked how the server is.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use pushloop::{Counters, Handle};

const INTERVAL: Duration = Duration::from_millis(250);
/// Looks that find the loop in the same turn before that is said.
const LOOKS: u32 = 4;

/// Watches the loop for as long as the process lives, without waking it. Gives how many turns were
/// found to take a second or more.
pub fn watch(handle: Handle) -> Arc<AtomicU64> {
    let slow_turns = Arc::new(AtomicU64::new(0));
    let found = Arc::clone(&slow_turns);
    thread::spawn(move || {
        let mut turn = Turn::default();
        loop {
            thread::sleep(INTERVAL);
            if let Some(news) = turn.look(handle.counters()) {
                // It is counted as well, also where there is nobody to tell.
                let _ = writeln!(io::stderr(), "pushloop: {news}");
                found.fetch_add(u64::from(turn.is_slow()), Ordering::Relaxed);
            }
        }
    });
    slow_turns
}

/// The turn that the loop is in.
#[derive(Debug, Default)]
struct Turn {
    number: u64,
    looks: u32,
}

impl Turn {
    fn is_slow(&self) -> bool {
        self.looks >= LOOKS
    }

    /// What there is to say: once that the turn takes long, and once how long it took.
    fn look(&mut self, counters: Counters) -> Option<String> {
        let waits = counters.waits > counters.turns;
        if !waits && counters.turns == self.number {
            self.looks += 1;
            return (self.looks == LOOKS).then(|| {
                format!("stuck: a turn of the loop takes {:?} already", INTERVAL * LOOKS)
            });
        }
        let looks = std::mem::take(&mut self.looks);
        self.number = counters.turns;
        (looks >= LOOKS).then(|| format!("a turn of the loop took some {:?}", INTERVAL * looks))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use pushloop::{ConnId, Handler, Hub, Message, Server};

    use super::*;

    /// Is in a callback until it is let go.
    struct Stuck(mpsc::Receiver<()>);

    impl Handler for Stuck {
        fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}

        fn on_timer(&mut self, hub: &mut Hub, _: u64) {
            self.0.recv().expect("the test lets it go");
            hub.shutdown(Duration::ZERO);
        }
    }

    #[test]
    fn a_turn_that_does_not_end_is_told_and_then_how_long_it_took() {
        let mut server = Server::bind("127.0.0.1:0").expect("a port is free");
        let handle = server.handle();
        let now = server.hub().now();
        server.hub().set_timer(now, 0);
        let (release, released) = mpsc::channel();
        let the_loop = thread::spawn(move || server.run(&mut Stuck(released)));
        let slow_turns = watch(handle);
        let mut looks = (0..10_000).map(|_| {
            thread::sleep(Duration::from_millis(1));
            slow_turns.load(Ordering::Relaxed)
        });
        assert!(looks.any(|found| found == 1), "it is not seen");
        release.send(()).expect("the loop is stuck");
        the_loop.join().expect("it ends").expect("the poll works");
    }

    fn counters(waits: u64, turns: u64) -> Counters {
        let mut counters = Counters::default();
        (counters.waits, counters.turns) = (waits, turns);
        counters
    }

    #[test]
    fn a_loop_that_sleeps_or_goes_on_is_not_stuck() {
        let mut turn = Turn::default();
        for _ in 0..10 {
            assert_eq!(turn.look(counters(8, 7)), None);
        }
        for at in 8..18 {
            assert_eq!(turn.look(counters(at, at)), None);
        }
    }

    #[test]
    fn one_turn_is_told_twice() {
        let mut turn = Turn::default();
        let told: Vec<_> = (0..8).map(|_| turn.look(counters(7, 7))).collect();
        assert_eq!(told.iter().position(Option::is_some), Some(LOOKS as usize));
        assert_eq!(told.iter().flatten().count(), 1);
        assert!(turn.is_slow());
        let ended = turn.look(counters(8, 7));
        assert_eq!(ended.as_deref(), Some("a turn of the loop took some 1.75s"));
        assert!(!turn.is_slow() && turn.look(counters(8, 7)).is_none());
    }
}
