//! Connections of clients that have limits, each at the limit and beyond it.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{super::tests_hub, ClientFull, Clients, Hub, IDLE_MAX, Network};
use crate::{
    config::{ClientLimits, IpNetwork},
    event::ConnId,
};

fn hub(connections_max: Option<u32>, connections_per_second_max: Option<u32>) -> Hub {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    let mut hub = tests_hub(Instant::now());
    hub.commons.config.client_limits = ClientLimits { connections_max, connections_per_second_max };
    hub
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A connection from there, if it is let in.
fn connects(hub: &mut Hub, from: &str) -> Option<ConnId> {
    let peer = Some(SocketAddr::new(address(from), 50_000));
    hub.admits(peer, false).then(|| hub.handle_accepted(peer, false).unwrap())
}

fn ends(hub: &mut Hub, id: ConnId) {
    hub.closed.push(id);
    assert_eq!(hub.next_closed(), Some(id));
}

fn passes(hub: &mut Hub, time: Duration) {
    hub.now += time;
}

#[test]
fn a_client_has_so_many_connections_at_once() {
    let mut hub = hub(Some(2), None);
    let first = connects(&mut hub, "192.0.2.1").unwrap();
    assert!(connects(&mut hub, "::ffff:192.0.2.1").is_some(), "the same client");
    assert_eq!(connects(&mut hub, "192.0.2.1"), None);
    assert_eq!(hub.counters().connections_limited, 1);
    assert!(connects(&mut hub, "192.0.2.2").is_some(), "another client");
    ends(&mut hub, first);
    assert!(connects(&mut hub, "192.0.2.1").is_some());
    assert_eq!(connects(&mut hub, "192.0.2.1"), None);
}

#[test]
fn none_at_all_may_be_let_in() {
    assert_eq!(connects(&mut hub(Some(0), None), "192.0.2.1"), None);
}

/// With addresses to choose from, one is a client for each /64, and sixteen for all of a /48.
#[test]
fn a_network_of_ipv6_is_one_client() {
    let mut hub = hub(Some(2), None);
    assert!(connects(&mut hub, "2001:db8:0:1::1").is_some());
    assert!(connects(&mut hub, "2001:db8:0:1:ffff::2").is_some());
    assert_eq!(connects(&mut hub, "2001:db8:0:1::3"), None);
    for subnet in 2..17 {
        for host in ["1", "2"] {
            assert!(connects(&mut hub, &format!("2001:db8:0:{subnet:x}::{host}")).is_some());
        }
    }
    assert_eq!(connects(&mut hub, "2001:db8:0:ffff::1"), None, "32 of the /48");
    assert!(connects(&mut hub, "2001:db8:1::1").is_some());
}

#[test]
fn a_client_begins_so_many_connections_in_a_second() {
    let mut hub = hub(None, Some(4));
    for _ in 0..4 {
        assert!(connects(&mut hub, "192.0.2.1").is_some());
    }
    assert_eq!(connects(&mut hub, "192.0.2.1"), None);
    assert!(connects(&mut hub, "192.0.2.2").is_some());
    passes(&mut hub, Duration::from_millis(249));
    assert_eq!(connects(&mut hub, "192.0.2.1"), None);
    passes(&mut hub, Duration::from_millis(1));
    assert!(connects(&mut hub, "192.0.2.1").is_some());
    assert_eq!(connects(&mut hub, "192.0.2.1"), None);
    passes(&mut hub, Duration::from_secs(3600));
    let begun = (0..9).filter(|_| connects(&mut hub, "192.0.2.1").is_some()).count();
    assert_eq!(begun, 4, "what was not used is not kept");
}

#[test]
fn who_is_near_or_stands_for_others_has_no_limit() {
    let mut hub = hub(Some(1), Some(1));
    hub.commons.config.proxies.networks = vec![IpNetwork::new(address("10.0.0.0"), 8).unwrap()];
    for _ in 0..3 {
        for near in ["127.0.0.5", "::1", "::ffff:127.0.0.1", "10.1.2.3"] {
            assert!(connects(&mut hub, near).is_some(), "{near}");
        }
        assert!(hub.admits(None, false), "a Unix-domain socket");
        let behind = Some(SocketAddr::new(address("192.0.2.1"), 1));
        assert!(hub.admits(behind, true), "a proxy, which names the client later");
    }
}

#[test]
fn a_connection_that_a_proxy_names_the_client_of_is_that_clients() {
    let mut hub = hub(Some(1), None);
    let [first, second, third] = [(); 3].map(|()| connects(&mut hub, "127.0.0.1").unwrap());
    let [ada, ben] = [address("192.0.2.1"), address("192.0.2.2")];
    assert_eq!(hub.admit_client(first, ada), Ok(()));
    assert_eq!(hub.admit_client(first, ada), Ok(()), "it is counted once");
    assert_eq!(hub.admit_client(second, ada), Err(ClientFull::Connections));
    assert_eq!(hub.counters().connections_limited, 1);
    assert_eq!(hub.admit_client(third, ben), Ok(()));
    assert_eq!(hub.admit_client(second, ben), Err(ClientFull::Connections));
    ends(&mut hub, third);
    assert_eq!(hub.admit_client(third, ben), Ok(()), "it is over, and takes no place");
    assert_eq!(hub.admit_client(first, ben), Ok(()), "it is another's from here on");
    assert_eq!(hub.admit_client(second, ada), Ok(()));
    hub.commons.config.client_limits.connections_per_second_max = Some(1);
    hub.commons.config.client_limits.connections_max = None;
    let [fourth, fifth] = [(); 2].map(|()| connects(&mut hub, "127.0.0.1").unwrap());
    let eve = address("192.0.2.3");
    assert_eq!(hub.admit_client(fourth, eve), Ok(()));
    assert_eq!(hub.admit_client(fifth, eve), Err(ClientFull::Rate));
    let told = [ClientFull::Connections, ClientFull::Rate].map(|full| full.to_string());
    assert!(told[0].ends_with(": connections_max"), "{told:?}");
    assert!(told[1].ends_with(": connections_per_second_max"), "{told:?}");
}

#[test]
fn where_the_pace_is_not_limited_nothing_is_remembered_of_those_that_left() {
    let mut hub = hub(Some(1), None);
    for host in 1..9 {
        let id = connects(&mut hub, &format!("192.0.2.{host}")).unwrap();
        ends(&mut hub, id);
        assert!(hub.clients.networks.len() <= 1);
    }
}

/// A client with many addresses leaves one behind with each connection.
#[test]
fn what_is_remembered_is_bounded_and_forgotten() {
    let mut hub = hub(Some(1), Some(1));
    let (limits, start) = (hub.commons.config.client_limits, hub.now);
    let clients: &mut Clients = &mut hub.clients;
    for site in 0..IDLE_MAX as u64 {
        clients.begin(Network(site << 16, 64), limits, start).unwrap();
        assert!(clients.idle.len() <= IDLE_MAX + 2);
        assert!(clients.networks.len() <= clients.idle.len());
    }
    assert_eq!(clients.idle.len(), IDLE_MAX + 2);
    let later = start + Duration::from_secs(1);
    for site in 0..IDLE_MAX as u64 {
        clients.begin(Network(site << 16, 64), limits, later + Duration::from_secs(site)).unwrap();
    }
    assert!(clients.networks.len() <= 4, "{}", clients.networks.len());
}
