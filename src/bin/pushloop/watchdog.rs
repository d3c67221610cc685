//! A thread that says when the loop is stuck: every connection waits for the one turn that takes so
//! long, and so would any request that asked how the server is. It also says when the server is
//! full.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use pushloop::{Counters, Handle};

use crate::{
    logs::{Level, say},
    status::Status,
    supervisor::Pulse,
};

const INTERVAL: Duration = Duration::from_millis(250);
/// Looks that find the loop in the same turn before that is said.
const LOOKS: u32 = 4;

/// Looks after it was said that connections were not let in, until it is said again: those of a minute.
const FULL_LOOKS: u32 = 240;

/// Watches the loops for as long as the process lives, without waking them. `handles` has one for each.
pub fn watch(handles: Vec<Handle>, status: Arc<Status>) {
    thread::spawn(move || {
        let mut turns: Vec<_> = handles.iter().map(|_| Turn::default()).collect();
        let mut refusals = Refusals::default();
        let mut pulse = Pulse::new(INTERVAL);
        loop {
            thread::sleep(INTERVAL);
            let (mut refused, mut open, mut told) = (0, 0, Vec::new());
            for (handle, turn) in handles.iter().zip(&mut turns) {
                let counters = handle.counters();
                refused += counters.connections_refused + counters.accepts_failed;
                open += counters.connections_open;
                let stuck = turn.look(counters);
                // It is counted as well, also where there is nobody to tell.
                status
                    .slow_turns
                    .fetch_add(u64::from(stuck.is_some() && turn.is_slow()), Ordering::Relaxed);
                told.extend(stuck);
            }
            pulse.look(turns.iter().any(Turn::is_slow));
            refused += status.requests_turned_away.load(Ordering::Relaxed);
            told.extend(refusals.look(refused, open));
            for news in told {
                say(Level::Warn, &news);
            }
        }
    });
}

/// Connections that were not let in.
#[derive(Debug, Default)]
struct Refusals {
    reported: u64,
    silent_looks: u32,
}

impl Refusals {
    /// What there is to say of them, once in a while.
    fn look(&mut self, refused: u64, open: u64) -> Option<String> {
        self.silent_looks = self.silent_looks.saturating_sub(1);
        if refused == self.reported || self.silent_looks > 0 {
            return None;
        }
        let news = refused - std::mem::replace(&mut self.reported, refused);
        self.silent_looks = FULL_LOOKS;
        Some(format!(
            "{news} connections were not let in, and {open} are open: if these are all that the limit of \
             descriptors allows, raise it (ulimit -Hn, LimitNOFILE)"
        ))
    }
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
        let status = Arc::new(Status::new(std::time::SystemTime::UNIX_EPOCH));
        watch(vec![handle], Arc::clone(&status));
        let mut looks = (0..10_000).map(|_| {
            thread::sleep(Duration::from_millis(1));
            status.slow_turns.load(Ordering::Relaxed)
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
    fn that_it_is_full_is_told_once_in_a_minute() {
        let mut refusals = Refusals::default();
        // One more with each look, for three minutes less a look.
        let looks = (0..3 * u64::from(FULL_LOOKS)).map(|refused| refusals.look(refused, 9));
        let told: Vec<_> = looks.flatten().collect();
        let counts = ["1 conn", "240 conn", "240 conn"];
        assert_eq!(told.len(), counts.len(), "{told:?}");
        assert!(told.iter().zip(counts).all(|(line, start)| line.starts_with(start)), "{told:?}");
        assert_eq!(refusals.look(481, 9), None);
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
