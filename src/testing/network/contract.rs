//! What the loop asks of the network: the contract of [`Net`], and a fault wherever there may be one.

use std::{
    io::{self, ErrorKind},
    mem,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    super::{
        Fault,
        wire::{Stream, Take},
    },
    Network,
};
use crate::{
    event::ConnId,
    server::{Input, Net, Ready, Wake},
};

/// The error of a network without descriptors.
const EXHAUSTED: ErrorKind = ErrorKind::QuotaExceeded;

/// What wakes the network.
struct Flag(Arc<AtomicBool>);

impl Wake for Flag {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

fn blocked<T>() -> io::Result<T> {
    Err(ErrorKind::WouldBlock.into())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
const START: Duration = Duration::from_secs(784_111_777);

impl Net for Network {
    type Stream = Stream;

    fn now(&self) -> Instant {
        self.now
    }

    /// The example of RFC 9110 when the network is made; what passes by itself and by a leap counts.
    fn wall_clock(&self) -> Option<SystemTime> {
        Some(UNIX_EPOCH + START + (self.now - self.started))
    }

    fn wait(&mut self, timeout: Option<Duration>, tell: impl FnMut(Ready)) -> io::Result<()> {
        self.calls.waits += 1;
        self.is_called();
        self.is_idle = false;
        self.forget_the_dropped();
        if self.happens(self.faults.jump, Fault::ClockJump) {
            let leap = self.choice.of(&[100, 1000, 6000, 30_000, 3_600_000]);
            self.passes(Duration::from_millis(leap));
        }
        if self.happens(self.faults.signal, Fault::Signal) {
            return Ok(());
        }
        let mut tellers = mem::take(&mut self.tellers);
        self.ready.append(&mut self.strays);
        self.tell_all(&mut tellers);
        self.tell_strays();
        let slept = if self.ready.is_empty() { self.sleep(timeout, &mut tellers) } else { Ok(()) };
        self.tellers = tellers;
        self.ready.drain(..).for_each(tell);
        slept
    }

    fn accept(&mut self, _: u32) -> io::Result<(Stream, Option<SocketAddr>)> {
        self.calls.accepts += 1;
        self.is_called();
        if self.backlog.is_empty() {
            return blocked();
        }
        if self.happens(self.faults.interrupts, Fault::AcceptInterrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.happens(self.faults.accept_fails, Fault::AcceptBlocked) {
            self.listener_edge = true;
            return blocked();
        }
        if self.happens(self.faults.exhausted, Fault::OutOfDescriptors) {
            return Err(EXHAUSTED.into());
        }
        let Some(wire) = self.backlog.pop_front() else { return blocked() };
        if let Some(error) = self.accept_errors.pop_front() {
            wire.resets();
            return Err(error.into());
        }
        if self.happens(self.faults.accept_fails, Fault::AcceptAborted) {
            wire.resets();
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let peer = wire.link().peer;
        self.wires.push(wire.clone());
        Ok((Stream(wire), peer))
    }

    fn is_out_of_resources(&self, error: &io::Error) -> bool {
        error.kind() == EXHAUSTED
    }

    fn refuse(&mut self, _: u32) -> io::Result<()> {
        if self.happens(self.faults.no_reserve, Fault::NoReserve) {
            return Err(EXHAUSTED.into());
        }
        let Some(wire) = self.backlog.pop_front() else { return blocked() };
        self.met[Fault::DroppedUnread as usize] += u64::from(wire.unread() > 0);
        drop(Stream(wire));
        Ok(())
    }

    fn register(&mut self, stream: &mut Stream, id: ConnId) -> io::Result<()> {
        if self.happens(self.faults.unregistrable, Fault::Unregistrable) {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut link = stream.0.link();
        link.id = Some(id);
        link.read_edge |= !link.input.is_empty() || link.input_ended;
        link.write_edge = true;
        Ok(())
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<Input> {
        self.calls.reads += 1;
        self.is_called();
        if self.happens(self.faults.interrupts, Fault::ReadInterrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut link = stream.0.link();
        if link.reset {
            self.meets(Fault::ResetRead);
            return Err(ErrorKind::ConnectionReset.into());
        }
        if link.input.is_empty() {
            return if link.input_ended { Ok(Input::End) } else { blocked() };
        }
        if self.happens(self.faults.read_blocks, Fault::ReadBlocked) {
            link.read_edge = true;
            return blocked();
        }
        let mut n = into.len().min(link.readable());
        if n > 1 && self.happens(self.faults.short_read, Fault::ShortRead) {
            n = self.choice.part(n);
        }
        link.gives(&mut into[..n]);
        // What is left arrives as soon as this is read.
        link.read_edge |= n < into.len() && !link.input.is_empty();
        self.calls.bytes_read += n as u64;
        Ok(Input::Bytes { count: n, more: n == into.len() })
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        self.calls.writes += 1;
        self.is_called();
        assert!(!from.is_empty(), "an empty write");
        if self.happens(self.faults.interrupts, Fault::WriteInterrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut link = stream.0.link();
        assert!(!link.output_ended, "a write behind FIN");
        if link.reset {
            self.meets(Fault::ResetWrite);
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut n = from.len().min(link.room.saturating_sub(link.output.len()));
        match link.plan.pop_front() {
            Some(Take::Bytes(most)) => n = n.min(most),
            Some(Take::Nothing) => n = 0,
            None if n < from.len() => self.meets(Fault::FullPipe),
            None if self.happens(self.faults.write_blocks, Fault::WriteBlocked) => n = 0,
            None => {}
        }
        if n > 1 && self.happens(self.faults.short_write, Fault::ShortWrite) {
            n = self.choice.part(n);
        }
        link.blocked |= n < from.len();
        link.refused |= n < from.len();
        link.output.extend(&from[..n]);
        self.calls.bytes_written += n as u64;
        if n == 0 { blocked() } else { Ok(n) }
    }

    fn finish(&mut self, stream: &mut Stream) -> io::Result<()> {
        if self.happens(self.faults.interrupts, Fault::FinishInterrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut link = stream.0.link();
        if link.reset {
            return Err(ErrorKind::NotConnected.into());
        }
        assert!(!link.output_ended, "a second FIN");
        if self.happens(self.faults.write_blocks, Fault::FinishBlocked) {
            link.blocked = true;
            return blocked();
        }
        (link.output_ended, link.finished) = (true, true);
        Ok(())
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        Box::new(Flag(Arc::clone(&self.woken)))
    }

    fn close_listeners(&mut self) {
        self.listens = false;
        // What waits there is reset.
        self.backlog.drain(..).for_each(|wire| wire.resets());
    }
}
