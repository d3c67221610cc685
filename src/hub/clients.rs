//! How many connections each client has, and begins: [`ClientLimits`].

use std::{
    collections::{HashMap, VecDeque},
    error, fmt,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{ConnMap, Hub};
use crate::{config::ClientLimits, event::ConnId};

/// What a /48 may have, in what each /64 of it may.
const SITE: u32 = 16;
/// Networks without connections that are remembered because they began some a moment ago. Beyond, the one
/// that has none for longest is forgotten.
const IDLE_MAX: usize = 65_536;
/// In what time as many connections may begin as in a second.
const BURST: Duration = Duration::from_secs(1);

/// The client has as many connections as it may, or begins too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientFull {
    /// [`ClientLimits::connections_max`].
    Connections,
    /// [`ClientLimits::connections_per_second_max`].
    Rate,
}

impl fmt::Display for ClientFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "the client has as many connections as it may: connections_max",
            Self::Rate => "the client begins too many connections: connections_per_second_max",
        })
    }
}

impl error::Error for ClientFull {}

/// The first bits of an address, and how many count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(u64, u8);

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_bits().into(), 32),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64, 64),
        }
    }

    /// The client, and the network around it if it is counted as well; with how many clients' share each
    /// has.
    fn counted(self) -> impl Iterator<Item = (Self, u32)> {
        let site = (self.1 == 64).then_some((Self(self.0 >> 16, 48), SITE));
        [(self, 1)].into_iter().chain(site)
    }
}

#[derive(Debug)]
struct Use {
    open: u32,
    /// When all that began would have, at the highest rate that is allowed.
    paced: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// Those that have connections, or began some within [`BURST`].
    networks: HashMap<Network, Use>,
    seats: ConnMap<Network>,
    /// Networks that had no connection at some time since, the first first; some have one again.
    idle: VecDeque<Network>,
}

impl Clients {
    /// Whether the client may begin a connection; if so, it has begun.
    fn begin(
        &mut self,
        client: Network,
        limits: ClientLimits,
        now: Instant,
    ) -> Result<(), ClientFull> {
        self.forget_idle(now);
        if limits.connections_max == Some(0) {
            return Err(ClientFull::Connections);
        }
        let interval = |share: u32| {
            let rate = limits.connections_per_second_max?.max(1).saturating_mul(share);
            Some(BURST / rate)
        };
        for (network, share) in client.counted() {
            let Some(known) = self.networks.get(&network) else { continue };
            if limits.connections_max.is_some_and(|max| known.open >= max.saturating_mul(share)) {
                return Err(ClientFull::Connections);
            }
            if interval(share).is_some_and(|interval| known.paced + interval > now + BURST) {
                return Err(ClientFull::Rate);
            }
        }
        for (network, share) in client.counted() {
            let known = self.networks.entry(network).or_insert(Use { open: 0, paced: now });
            if let Some(interval) = interval(share) {
                known.paced = known.paced.max(now) + interval;
            }
            if known.open == 0 {
                self.idle.push_back(network);
            }
        }
        Ok(())
    }

    /// A connection that has begun is the client's.
    fn seat(&mut self, id: ConnId, client: Network, now: Instant) {
        self.leave(id, now);
        self.seats.insert(id, client);
        for (network, _) in client.counted() {
            if let Some(known) = self.networks.get_mut(&network) {
                known.open += 1;
            }
        }
    }

    /// A connection is over, or is another's.
    pub(super) fn leave(&mut self, id: ConnId, now: Instant) {
        let Some(client) = self.seats.remove(id) else { return };
        self.forget_idle(now);
        for (network, _) in client.counted() {
            if let Some(known) = self.networks.get_mut(&network) {
                known.open -= 1;
                if known.open == 0 {
                    self.idle.push_back(network);
                }
            }
        }
    }

    /// Forgets networks that have nothing to be remembered for. One that begins or leaves lists two at the
    /// most.
    fn forget_idle(&mut self, now: Instant) {
        for _ in 0..4 {
            let Some(network) = self.idle.front().copied() else { return };
            if let Some(known) = self.networks.get(&network).filter(|known| known.open == 0) {
                if known.paced > now && self.idle.len() <= IDLE_MAX {
                    return;
                }
                self.networks.remove(&network);
            }
            self.idle.pop_front();
        }
    }
}

impl Hub {
    /// Whether a connection that was accepted may be the client's. If not, that is counted.
    pub(crate) fn admits(&mut self, peer: Option<SocketAddr>, is_proxied: bool) -> bool {
        let Some(client) = self.limited(peer, is_proxied) else { return true };
        let begun = self.clients.begin(client, self.commons.config.client_limits, self.now);
        self.commons.tally.connections_limited.add(begun.is_err().into());
        begun.is_ok()
    }

    /// The connection lives: it counts.
    pub(super) fn seat_client(&mut self, id: ConnId, peer: Option<SocketAddr>, is_proxied: bool) {
        if let Some(client) = self.limited(peer, is_proxied) {
            self.clients.seat(id, client, self.now);
        }
    }

    /// The client that a connection is from, if there are limits for it.
    fn limited(&self, peer: Option<SocketAddr>, is_proxied: bool) -> Option<Network> {
        let config = &self.commons.config;
        let address = peer?.ip();
        let is_exempt = is_proxied
            || config.client_limits == ClientLimits::default()
            || config.proxies.contains(Some(address))
            || address.to_canonical().is_loopback();
        (!is_exempt).then(|| Network::of(address))
    }

    /// Counts a connection that came through a proxy as one of this client, as
    /// [`Request::client`](crate::Request::client) names it, until it ends or is counted as another's. To be
    /// called before a request of it is accepted as a WebSocket or an event stream: connections that stay
    /// are the client's, while others are the proxy's. A connection that is over is not counted.
    ///
    /// # Errors
    ///
    /// One of [`ClientLimits`] is reached: it is to be answered with 429. That is counted in
    /// [`connections_limited`](crate::Counters::connections_limited).
    pub fn admit_client(&mut self, id: ConnId, client: IpAddr) -> Result<(), ClientFull> {
        let limits = self.commons.config.client_limits;
        let is_exempt = limits == ClientLimits::default() || client.to_canonical().is_loopback();
        let network = Network::of(client);
        let is_counted = self.clients.seats.get(id) == Some(&network);
        if is_exempt || is_counted || Self::slot_mut(&mut self.slots, id).is_none() {
            return Ok(());
        }
        let begun = self.clients.begin(network, limits, self.now);
        self.commons.tally.connections_limited.add(begun.is_err().into());
        begun.map(|()| self.clients.seat(id, network, self.now))
    }
}

#[cfg(test)]
mod tests;
