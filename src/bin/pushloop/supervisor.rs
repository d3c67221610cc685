//! What a service manager hands to the server, and what it is told (sd_listen_fds(3), sd_notify(3)).

use std::{io, net::TcpListener, os::unix::net::UnixListener, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::logs::{Level, say};

/// A socket that is bound, and listens.
#[derive(Debug)]
pub enum Inherited {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets that were handed over, in their order.
pub fn inherited() -> io::Result<Vec<Inherited>> {
    let mut held = ListenFd::from_env();
    (0..held.len()).map(|number| take(&mut held, number)).collect()
}

fn take(held: &mut ListenFd, number: usize) -> io::Result<Inherited> {
    if let Ok(Some(socket)) = held.take_tcp_listener(number) {
        return Ok(Inherited::Tcp(socket));
    }
    match held.take_unix_listener(number) {
        Ok(Some(socket)) => Ok(Inherited::Unix(socket)),
        Ok(None) | Err(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("socket {number} of LISTEN_FDS is neither TCP's nor a Unix stream socket"),
        )),
    }
}

/// The server listens.
pub fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// It ends, and no longer takes connections.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells it, if there is one. What cannot be told is said instead: the manager would wait for it.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        say(Level::Warn, &format!("the service manager cannot be told: {error}"));
    }
}

/// Has a service manager know that the loop turns, as often as it asks for (`WatchdogSec`).
#[derive(Debug)]
pub struct Pulse {
    /// After how many looks at the loop, if it asks.
    every: Option<u32>,
    looks: u32,
}

impl Pulse {
    /// For looks at these intervals.
    pub fn new(interval: Duration) -> Self {
        // Half of its patience: one that comes late is no death.
        let looks = |patience: Duration| (patience / 2).div_duration_f64(interval) as u32;
        Self { every: sd_notify::watchdog_enabled().map(looks), looks: 0 }
    }

    /// To be called at each look at the loop. One that is stuck in a turn is not alive.
    pub fn look(&mut self, is_stuck: bool) {
        if self.is_due(is_stuck) {
            tell(&[NotifyState::Watchdog]);
        }
    }

    fn is_due(&mut self, is_stuck: bool) -> bool {
        self.looks += u32::from(!is_stuck);
        let is_due = self.every.is_some_and(|every| !is_stuck && self.looks >= every);
        if is_due {
            self.looks = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_is_stuck_gives_no_sign() {
        let mut pulse = Pulse { every: Some(2), looks: 0 };
        let looks = [false, false, true, true, true, false, false, false, true, false];
        let signs = looks.map(|is_stuck| pulse.is_due(is_stuck));
        assert_eq!(signs, [false, true, false, false, false, false, true, false, false, true]);
        let mut nobody = Pulse { every: None, looks: 0 };
        assert!(!(0..9).any(|_| nobody.is_due(false)));
    }
}
