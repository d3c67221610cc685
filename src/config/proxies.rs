//! Which proxies are believed.

use std::{
    error, fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// The proxies in front of a server, which are believed when they say where a connection comes from:
/// [`Request::client`](crate::Request::client). Default: none.
///
/// A peer that reaches the server from such an address can pass for any client, so list no network that has
/// others in it. A server that believes a proxy is reached from beyond its machine:
/// [`Hosts::Automatic`](crate::Hosts::Automatic) then lets every name in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxies {
    /// The addresses of the proxies.
    pub networks: Vec<IpNetwork>,
    /// Whether what comes over a Unix-domain socket comes from a proxy.
    pub unix: bool,
    /// The header in which they name the client. The others are not looked at: a client may send them.
    pub header: ClientHeader,
}

/// Where a proxy says which client a request comes from. Each proxy adds an address at the end. The last one that
/// is not a proxy's own is the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientHeader {
    /// In no header: as the PROXY protocol says, or nobody.
    #[default]
    None,
    /// In `Forwarded` (RFC 7239), as `for=192.0.2.1`.
    Forwarded,
    /// In `X-Forwarded-For`, as most proxies do.
    XForwardedFor,
}

impl Proxies {
    /// Whether no proxy is believed.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether a proxy has this address, which is `None` over a Unix-domain socket.
    pub(crate) fn contains(&self, address: Option<IpAddr>) -> bool {
        match address {
            Some(address) => self.networks.iter().any(|network| network.contains(address)),
            None => self.unix,
        }
    }
}

/// An address, or the addresses that begin with the same bits: `192.0.2.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    address: IpAddr,
    prefix_bits: u8,
}

impl IpNetwork {
    /// The addresses that begin with the first bits of this one; `None` if it has not so many.
    pub fn new(address: IpAddr, prefix_bits: u8) -> Option<Self> {
        let network = Self { address, prefix_bits };
        (prefix_bits <= network.address_bits()).then_some(network)
    }

    /// Whether the address is one of them. An IPv4 address counts as the same in the form that a socket
    /// for both versions gives it (`::ffff:192.0.2.1`).
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other) = (self.address.to_canonical(), address.to_canonical());
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
        let shorter_by = self.address_bits() - Self { address: own, ..*self }.address_bits();
        let prefix_bits = u32::from(self.prefix_bits.saturating_sub(shorter_by));
        let differ = match (own, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= prefix_bits
    }

    fn address_bits(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { Ipv6Addr::BITS as u8 }
    }
}

/// A text that is no [`IpNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidNetwork;

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network is an IP address, or one and how many bits of it count: 10.0.0.0/8")
    }
}

impl error::Error for InvalidNetwork {}

impl FromStr for IpNetwork {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            // `parse` would take a sign.
            Some(bits) if !bits.starts_with('+') => bits.parse().map_err(|_| InvalidNetwork)?,
            Some(_) => return Err(InvalidNetwork),
            None => whole,
        };
        Self::new(address, bits).ok_or(InvalidNetwork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_are_in_a_network() {
        for (network, inside, outside) in [
            ("192.0.2.1", &["192.0.2.1", "::ffff:192.0.2.1"][..], &["192.0.2.0", "::1"][..]),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0"]),
            ("10.9.8.7/8", &["10.0.0.0"], &["11.0.0.0"]),
            ("10.0.0.0/31", &["10.0.0.1"], &["10.0.0.2"]),
            ("0.0.0.0/0", &["255.255.255.255"], &["::1"]),
            ("::/0", &["::1", "ffff::"], &["10.0.0.1", "::ffff:10.0.0.1"]),
            ("fd00::/8", &["fdff::1"], &["fe00::"]),
            ("2001:db8::/127", &["2001:db8::1"], &["2001:db8::2"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0"]),
        ] {
            let network: IpNetwork = network.parse().unwrap();
            for (addresses, is_inside) in [(inside, true), (outside, false)] {
                for address in addresses {
                    let contains = network.contains(address.parse().unwrap());
                    assert_eq!(contains, is_inside, "{address} in {network:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0",
            "::/129",
            "[::1]",
            "::1%lo",
            "localhost",
            "10.0.0.0 /8",
            "256.0.0.1",
            "10.0.0.0/999",
        ] {
            assert_eq!(text.parse::<IpNetwork>(), Err(InvalidNetwork), "{text:?}");
        }
        assert_eq!(IpNetwork::new([10, 0, 0, 0].into(), 33), None);
    }
}
