//! The loop: the only module that does I/O, through a [`Net`].
//!
//! It knows when to read, write, accept and sleep, and how much in one turn. It **must not know**
//! frames, topics or policies: those are the hub's. `mio` is named, and the clock read, in one file
//! only.

mod handler;
mod loops;
mod mio;
mod net;
#[cfg(feature = "log")]
mod report;
#[cfg(feature = "tls")]
mod tls;

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

pub use handler::Handler;
pub use loops::Loops;
#[cfg(feature = "testing")]
pub(crate) use mio::clock_start;
pub use mio::{Mio, Stream};
pub use net::{Input, Net, Ready};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsCertificates, TlsError, TlsStream};

pub use crate::mailbox::Wake;

use crate::{
    config::Config,
    counters::LiveCounters,
    event::{ConnId, Events, Record},
    handle::{Command, Handle, Socket},
    hub::{Hub, Outlet, WriteResult},
};

/// How long accepting pauses when there is no room for a further connection and no reserve.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long what another loop has waits before it is looked again whether there is room for it.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// Less room than this in the batch ends a turn's reading.
const READ_BYTES_MIN: usize = 16 * 1024;

/// A WebSocket server: a [`Hub`] and the network that feeds it.
///
/// Own the loop with [`poll`](Self::poll), or let [`run`](Self::run) call a [`Handler`].
#[derive(Debug)]
pub struct Server<N: Net = Mio> {
    net: N,
    hub: Hub,
    /// By the connections' indices.
    streams: Vec<Option<N::Stream>>,
    /// Commands that were taken from the mailbox and wait for a turn with room for them.
    commands: VecDeque<Command>,
    batch: Vec<Command>,
    woken: bool,
    /// Listeners that may have further connections, and until when to leave them alone.
    acceptable: Vec<u32>,
    accept_paused: Option<Instant>,
    /// Listeners of which each connection begins with a header of the PROXY protocol.
    proxied: Vec<u32>,
    /// The batch of [`turn`](Self::turn), between two.
    events: Option<Box<Events>>,
    #[cfg(feature = "log")]
    report: report::Report,
}

impl<N: Net> Server<N> {
    /// A server over a network of the caller's own: a simulated one, say. Which names lead there is not
    /// known, so that [`Hosts::Automatic`](crate::Hosts::Automatic) lets every name in.
    pub fn with_net(net: N, mut config: Config) -> Self {
        config.clamp_budgets();
        let tally = std::sync::Arc::new(LiveCounters::default());
        let handle = Handle::new(
            net.waker(),
            config.mailbox_commands_max,
            config.mailbox_bytes_max,
            config.batch_bytes(),
            std::sync::Arc::clone(&tally),
        );
        let now = net.now();
        Self {
            net,
            hub: Hub::new(config, tally, handle, now),
            streams: Vec::new(),
            commands: VecDeque::new(),
            batch: Vec::new(),
            woken: false,
            acceptable: Vec::new(),
            accept_paused: None,
            proxied: Vec::new(),
            events: None,
            #[cfg(feature = "log")]
            report: report::Report::new(now),
        }
    }

    /// All connections and topics.
    pub fn hub(&mut self) -> &mut Hub {
        &mut self.hub
    }

    /// The network.
    pub fn net(&mut self) -> &mut N {
        &mut self.net
    }

    /// From here on, each connection of a listener, by its number in the order in which they were added,
    /// has to begin with a header of the PROXY protocol, in version 1 or 2, and to come from one of
    /// [`Config::proxies`](crate::Config::proxies). Others are answered with 400 or 403. Connections of
    /// other listeners may not begin so.
    pub fn require_proxy_header(&mut self, listener: u32) {
        self.proxied.push(listener);
    }

    /// For other threads: whatever can be asked of the [`Hub`], they can ask for.
    pub fn handle(&self) -> Handle {
        self.hub.handle()
    }

    /// One turn of the loop: writes what is queued, waits for the network, `timeout` at the most,
    /// and fills `events` with what happened. Runs none of the application's code.
    ///
    /// The batch may be empty: a signal, a command from another thread, or half a message ends the
    /// wait too. `None` waits for as long as it takes.
    ///
    /// # Errors
    ///
    /// An error of the poll itself, never one of a connection.
    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.begin(events);
        self.flush(events);
        self.wait(events, timeout)?;
        self.mailbox(events);
        self.accept(events);
        self.read(events);
        self.hub.handle_timeouts(events);
        #[cfg(feature = "log")]
        report::debug_refusals(events);
        Ok(())
    }

    /// Frees what ended before, and makes the batch ready.
    fn begin(&mut self, events: &mut Events) {
        self.hub.forget_ended();
        while let Some(id) = self.hub.next_closed() {
            self.release(id);
        }
        self.hub.begin_turn(events);
        if self.hub.is_shutting_down() {
            self.net.close_listeners();
            self.acceptable.clear();
            self.accept_paused = None;
        }
    }

    // This, `read` and `tell` have the processor's registers to themselves.
    #[inline(never)]
    fn flush(&mut self, events: &mut Events) {
        self.hub.begin_flush();
        while let Some(id) = self.hub.next_to_flush() {
            let Some(Some(stream)) = self.streams.get_mut(id.index as usize) else { continue };
            let mut outlet = StreamOutlet { net: &mut self.net, stream };
            if self.hub.flush_one(id, events, &mut outlet) {
                match retried(|| self.net.finish(stream)) {
                    Ok(()) => self.hub.handle_finished(id),
                    Err(error) if is_blocked(&error) => self.hub.handle_write_blocked(id),
                    Err(_) => self.hub.handle_lost(id, events),
                }
            }
        }
        self.hub.end_flush(events);
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let may_accept = !self.acceptable.is_empty() && self.accept_paused.is_none();
        let busy = self.hub.is_busy()
            || self.woken
            || !self.commands.is_empty()
            || !events.is_empty()
            || may_accept;
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            let left = |until: Instant| until.saturating_duration_since(self.hub.now());
            let accepts = self.accept_paused.map(left);
            let mut due = self.hub.time_left(|| self.net.now());
            if self.hub.holds_items() {
                due = sooner(due, Some(ROOM_PAUSE));
            }
            sooner(sooner(timeout, accepts), due)
        };
        self.hub.handle_wait();
        #[cfg(feature = "log")]
        if self.report.is_due(self.hub.now()) {
            self.report.warn(self.hub.now(), self.hub.counters());
        }
        let Self { net, hub, woken, acceptable, .. } = self;
        net.wait(timeout, |ready| match ready {
            Ready::Connection { id, readable, writable, read_closed } => {
                hub.handle_ready(id, readable, writable, read_closed);
            }
            Ready::Mailbox => *woken = true,
            Ready::Listener(listener) => {
                if !acceptable.contains(&listener) {
                    acceptable.push(listener);
                }
            }
            Ready::Source { key, readable, writable } => {
                events.records.push(Record::Source { key, readable, writable });
            }
        })?;
        hub.handle_turn(net.now(), timeout, || net.wall_clock());
        Ok(())
    }

    fn mailbox(&mut self, events: &mut Events) {
        if self.woken && self.commands.is_empty() {
            self.woken = false;
            self.hub.take_commands(&mut self.batch);
            self.commands.extend(self.batch.drain(..));
        }
        for _ in 0..self.hub.config().commands_per_turn {
            let Some(command) = self.commands.pop_front() else { break };
            match command {
                Command::Adopt { socket, read } => self.adopt(socket, read),
                command => self.hub.handle_command(command, events),
            }
        }
        if self.hub.is_one_of_several() && (self.hub.has_items() || self.hub.holds_items()) {
            self.hub.handle_lanes(events);
        }
    }

    fn accept(&mut self, events: &mut Events) {
        // What waits at a listener that another process has as well is that one's.
        if self.hub.is_shutting_down()
            || self.accept_paused.is_some_and(|until| self.hub.now() < until)
        {
            return;
        }
        self.accept_paused = None;
        let mut at = 0;
        while let Some(&listener) = self.acceptable.get(at) {
            if self.accept_from(listener, events) {
                self.acceptable.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Accepts from one listener, up to its turn's budget. True if it has no more.
    fn accept_from(&mut self, listener: u32, events: &mut Events) -> bool {
        let mut any = false;
        for accepted in 0..self.hub.config().accepts_per_turn {
            if accepted >= self.hub.accepts_per_turn() {
                break;
            }
            match self.net.accept(listener) {
                Ok((stream, peer)) => {
                    any = true;
                    let is_proxied = self.proxied.contains(&listener);
                    if !self.hub.admits(peer, is_proxied) {
                        self.net.release(stream);
                        continue;
                    }
                    if let Some(id) = self.hub.make_room(events) {
                        self.release(id);
                    }
                    match self.hub.handle_accepted(peer, is_proxied) {
                        Some(id) => self.admit(id, stream),
                        None => self.net.release(stream),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if self.net.is_out_of_resources(&error) => {
                    if let Some(id) = self.hub.spare_descriptor(events) {
                        // Its slot is freed with the others; its descriptor, now.
                        self.release(id);
                        any = true;
                        continue;
                    }
                    match self.net.refuse(listener) {
                        Ok(()) => {
                            any = true;
                            self.hub.handle_refused();
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                        Err(_) => {
                            self.hub.handle_accept_failed();
                            break;
                        }
                    }
                }
                // An error of the one connection that was to be accepted (accept(2)).
                Err(_) => self.hub.handle_accept_failed(),
            }
        }
        if !any {
            // No edge will tell of the connections that wait: ask again later.
            self.accept_paused = Some(self.hub.now() + ACCEPT_PAUSE);
        }
        false
    }

    fn adopt(&mut self, socket: Socket, read: Vec<u8>) {
        match self.net.adopt(socket) {
            Ok((stream, peer)) => {
                if self.hub.admits(peer, false)
                    && let Some(id) = self.hub.handle_accepted(peer, false)
                {
                    self.admit(id, stream);
                    self.hub.handle_adopted(id, read);
                } else {
                    self.net.release(stream);
                }
            }
            Err(_) => self.hub.handle_accept_failed(),
        }
    }

    fn admit(&mut self, id: ConnId, mut stream: N::Stream) {
        let registered = self.net.register(&mut stream, id);
        let at = id.index as usize;
        if at >= self.streams.len() {
            self.streams.resize_with(at + 1, || None);
        }
        self.streams[at] = Some(stream);
        match registered {
            Ok(()) => self.hub.handle_registered(),
            Err(_) => self.hub.handle_register_failed(id),
        }
    }

    fn release(&mut self, id: ConnId) {
        if let Some(stream) = self.streams[id.index as usize].take() {
            self.net.release(stream);
        }
    }

    #[inline(never)]
    fn read(&mut self, events: &mut Events) {
        self.hub.handle_departed(events);
        self.hub.handle_set_aside(events);
        self.hub.begin_reading(events);
        let room_min = READ_BYTES_MIN.min(events.buffer.len());
        while let Some(room) = Some(events.room()).filter(|room| *room >= room_min)
            && let Some((id, portion)) = self.hub.next_readable(room)
        {
            if self.hub.begin_read(id) {
                self.read_from(id, portion, events);
            }
        }
        self.hub.end_reading(events);
        if let Some(counts) = self.net.layer_counts() {
            self.hub.handle_layer_counts(&counts);
        }
    }

    /// Reads once from one connection, up to `room` bytes.
    fn read_from(&mut self, id: ConnId, room: usize, events: &mut Events) {
        let Some(Some(stream)) = self.streams.get_mut(id.index as usize) else { return };
        let start = events.filled;
        match retried(|| self.net.read(stream, &mut events.buffer[start..start + room])) {
            Ok(Input::Bytes { count, more }) => {
                events.filled = start + count;
                self.hub.handle_input(id, events, start..start + count, more);
            }
            Ok(Input::End) => self.hub.handle_eof(id, events),
            Err(error) if is_blocked(&error) => self.hub.handle_read_blocked(id),
            Err(_) => return self.hub.handle_lost(id, events),
        }
        // What came may have made the stream say something of its own.
        match (StreamOutlet { net: &mut self.net, stream }).flush() {
            WriteResult::Wrote(_) => {}
            WriteResult::Blocked => self.hub.handle_write_blocked(id),
            WriteResult::Lost => self.hub.handle_lost(id, events),
        }
    }
}

impl<N: Net> Drop for Server<N> {
    fn drop(&mut self) {
        #[cfg(feature = "log")]
        self.report.warn(self.hub.now(), self.hub.counters());
        drop(self.hub.handle().close_mailbox());
    }
}

/// A stream, as the hub writes to it.
struct StreamOutlet<'a, N: Net> {
    net: &'a mut N,
    stream: &'a mut N::Stream,
}

impl<N: Net> Outlet for StreamOutlet<'_, N> {
    #[inline(always)]
    fn write(&mut self, output: &[u8]) -> WriteResult {
        match retried(|| self.net.write(self.stream, output)) {
            Ok(n @ 1..) => WriteResult::Wrote(n),
            Err(error) if is_blocked(&error) => WriteResult::Blocked,
            Ok(0) | Err(_) => WriteResult::Lost,
        }
    }

    #[inline]
    fn flush(&mut self) -> WriteResult {
        match retried(|| self.net.flush(self.stream)) {
            Ok(()) => WriteResult::Wrote(0),
            Err(error) if is_blocked(&error) => WriteResult::Blocked,
            Err(_) => WriteResult::Lost,
        }
    }
}

/// Calls again for as long as a signal interrupts it.
#[inline(always)]
fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// The shorter of two times, of which `None` is for ever.
fn sooner(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
