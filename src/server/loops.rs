//! Several loops in one process, each a whole server with a thread to itself.

use std::{
    collections::VecDeque,
    io, mem,
    net::ToSocketAddrs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use super::{Handler, Mio, Server};
use crate::{
    config::Config,
    handle::{Handle, Homes},
    hub::{LANE_BYTES_MAX, Peers},
};

/// Several loops on the same addresses, each a whole [`Server`] with a thread to itself, and one to all outside.
///
/// The first one accepts, and hands each connection to the loop that has most room. A topic belongs to one of them by
/// its name; whichever loop a publication is made on, or with a [`Handle`], the subscribers of all loops get it, once
/// and in the topic's one order. Ids are the process's: a handle of any loop reaches every connection.
///
/// Limits in [`Config`] that are the process's are divided among the loops. What is different from one loop is said at
/// the calls: a [`publish`](crate::Hub::publish) to a topic of another loop does not tell its place, and what such a
/// topic has kept is asked for with [`open_topic`](crate::Hub::open_topic). Options of topics
/// ([`configure_topics`](crate::Hub::configure_topics)) are to be the same in each.
///
/// ```no_run
/// use pushloop::{Config, ConnId, Handler, Hub, Loops, Message};
///
/// struct Chat;
///
/// impl Handler for Chat {
///     fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
///         let _ = hub.subscribe(id, "chat");
///     }
///
///     fn on_message(&mut self, hub: &mut Hub, _: ConnId, message: Message<'_>) {
///         let _ = hub.publish("chat", message);
///     }
/// }
///
/// fn main() -> std::io::Result<()> {
///     let loops = Loops::bind("127.0.0.1:9001", Config::default(), 2)?;
///     loops.run(|_, _| Chat)
/// }
/// ```
#[derive(Debug)]
pub struct Loops {
    servers: Vec<Server>,
    handle: Handle,
    drain: Duration,
}

impl Loops {
    /// So many loops, 1 at least and 255 at most, that listen nowhere yet.
    ///
    /// # Errors
    ///
    /// Those of the system: no descriptor for a poll, most likely.
    pub fn new(config: Config, count: usize) -> io::Result<Self> {
        Self::begin(config, count, true)
    }

    /// So many loops, each with topics of its own: what is published on one reaches the subscribers of that loop, and
    /// nothing goes from one to another. It is for an application that brings each publication to all loops by
    /// itself, as by a broker that each of them hears, and that decides the order. All else is as with
    /// [`new`](Self::new): ids, limits, the loop that accepts, and how they end.
    ///
    /// # Errors
    ///
    /// See [`new`](Self::new).
    pub fn apart(config: Config, count: usize) -> io::Result<Self> {
        Self::begin(config, count, false)
    }

    fn begin(config: Config, count: usize, shares_topics: bool) -> io::Result<Self> {
        let count = count.clamp(1, u8::MAX.into());
        let connections_max = config.connections_max;
        let servers = (0..count).map(|nth| Server::new(config.clone().share_of(nth, count)));
        let mut servers: Vec<_> = servers.collect::<io::Result<_>>()?;
        let mut handle = servers[0].handle();
        if count > 1 {
            let handles = servers.iter().map(Server::handle).collect();
            let homes = match shares_topics {
                true => Homes::Shared(servers[0].hub.secret()),
                false => Homes::Apart,
            };
            for (server, peers) in servers.iter_mut().zip(Peers::of(handles, homes, LANE_BYTES_MAX))
            {
                handle = handle.routed(peers.routes(), true);
                server.hub.join_loops(peers);
            }
            let shares: Vec<_> = (0..count).map(|nth| share(connections_max, nth, count)).collect();
            let mut networks: Vec<_> = servers.iter_mut().map(|it| &mut it.net).collect();
            Mio::place(&mut networks, &shares);
        }
        Ok(Self { servers, handle, drain: Duration::from_secs(10) })
    }

    /// So many loops on an address.
    ///
    /// # Errors
    ///
    /// See [`Server::listen`].
    pub fn bind(address: impl ToSocketAddrs, config: Config, count: usize) -> io::Result<Self> {
        let mut loops = Self::new(config, count)?;
        loops.first().listen(address)?;
        Ok(loops)
    }

    /// The loop that listens for all: what listens is to be called here, before [`run`](Self::run).
    pub fn first(&mut self) -> &mut Server {
        &mut self.servers[0]
    }

    /// Each loop, to configure.
    pub fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// Sets how long the others have to end where one loop has failed; 10 s if not called.
    pub fn set_drain(&mut self, drain: Duration) {
        self.drain = drain;
    }

    /// For other threads: whatever can be asked of one of the loops. [`notify`](Handle::notify) and
    /// [`shutdown`](Handle::shutdown) are for all of them, and [`counters`](Handle::counters) their sum.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs the first loop on this thread and each other one on a thread of its own, with a handler that `make` makes for
    /// it and its number, until all have [shut down](crate::Hub::shutdown).
    ///
    /// # Errors
    ///
    /// If one loop fails, by an error of its poll or a panic outside of the callbacks, its topics are gone: the others
    /// end, too, and then the failure is given. A panic of the first loop is the caller's once the others have ended.
    pub fn run<H: Handler + Send>(
        mut self,
        mut make: impl FnMut(&mut Server, usize) -> H,
    ) -> io::Result<()> {
        let (first, others) = self.servers.split_at_mut(1);
        for other in others {
            other.net.listen_as(&first[0].net);
            other.proxied.clone_from(&first[0].proxied);
            #[cfg(feature = "tls")]
            other.begin_tls_as(&first[0].net);
            other.hub.handle_listening(other.net.is_on_loopback());
        }
        let (handle, drain) = (self.handle, self.drain);
        let unfinished = Arc::new(AtomicUsize::new(self.servers.len()));
        let numbered = self.servers.into_iter().enumerate();
        let mut made: VecDeque<_> = numbered
            .map(|(nth, mut server)| {
                let handler = make(&mut server, nth);
                let (handle, unfinished) = (handle.clone(), Arc::clone(&unfinished));
                let end = End { handle, drain, unfinished, is_counted: false, has_failed: true };
                move || {
                    // The last to be dropped: it has seen all.
                    let mut end = end;
                    let (mut server, mut handler) = (server, handler);
                    end.run(&mut server, &mut handler)
                }
            })
            .collect();
        let first = made.pop_front();
        thread::scope(|scope| {
            let (mut threads, mut ended) = (Vec::new(), Ok(()));
            for (other, nth) in made.into_iter().zip(1..) {
                let thread = thread::Builder::new().name(format!("loop-{nth}"));
                match thread.spawn_scoped(scope, other) {
                    Ok(thread) => threads.push(thread),
                    // What was to run there is dropped, and ends the others.
                    Err(error) => ended = Err(error),
                }
            }
            ended = ended.and(first.map_or(Ok(()), |first| first()));
            threads.into_iter().map(join).fold(ended, Result::and)
        })
    }
}

fn join(thread: ScopedJoinHandle<'_, io::Result<()>>) -> io::Result<()> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread of a loop has panicked")))
}

/// How a loop ends: with the others, and all of them when it is dropped because its thread has failed, or panicked.
struct End {
    handle: Handle,
    drain: Duration,
    /// How many loops have connections, or are not told to end yet.
    unfinished: Arc<AtomicUsize>,
    /// This one is not among them any more.
    is_counted: bool,
    has_failed: bool,
}

impl End {
    /// Runs a loop. One without connections has topics still, that those of others publish to: it goes on until all are
    /// finished.
    fn run(&mut self, server: &mut Server, handler: &mut impl Handler) -> io::Result<()> {
        let ended = server.run(handler).and_then(|()| self.stay(server, handler));
        self.has_failed = ended.is_err();
        ended
    }

    fn stay(&mut self, server: &mut Server, handler: &mut impl Handler) -> io::Result<()> {
        self.count();
        while self.unfinished.load(Ordering::Acquire) > 0 {
            server.turn(handler, None)?;
        }
        Ok(())
    }

    fn count(&mut self) {
        if !mem::replace(&mut self.is_counted, true) {
            self.unfinished.fetch_sub(1, Ordering::AcqRel);
            self.handle.wake_all();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.count();
        if self.has_failed {
            // If none is left, there is nothing to end.
            let _ = self.handle.shutdown(self.drain);
        }
    }
}

/// What each of `count` has of the whole.
pub(super) fn share(whole: usize, nth: usize, count: usize) -> usize {
    whole / count + usize::from(nth < whole % count)
}

impl Config {
    /// The limits of one of several loops: what is the process's is divided among them.
    fn share_of(mut self, nth: usize, count: usize) -> Self {
        let of_process = [
            &mut self.connections_max,
            &mut self.connections_reserved,
            &mut self.send_queues_bytes_max,
            &mut self.incomplete_bytes_max,
            &mut self.history_bytes_max,
            #[cfg(feature = "deflate")]
            &mut self.deflate_windows_bytes_max,
        ];
        of_process.into_iter().for_each(|it| *it = share(*it, nth, count));
        self
    }
}
