//! What one client may take.

/// How many connections one client may have and begin. A client is an IPv4 address, or the /64 of an IPv6
/// address, which is what one household or host has; all of a /48 may have and begin sixteen times as many.
/// Default: no limits.
///
/// Loopback addresses, Unix-domain sockets and the addresses of [`Proxies`](crate::Proxies) have none: the
/// clients behind a proxy are told to [`Hub::admit_client`](crate::Hub::admit_client).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// Connections at once. A further one is dropped as soon as it is accepted, before a byte of it is
    /// read, and counted.
    pub connections_max: Option<u32>,
    /// Connections that begin within a second; as many may begin at the same moment. A further one is
    /// dropped likewise. 0 counts as 1.
    pub connections_per_second_max: Option<u32>,
}
