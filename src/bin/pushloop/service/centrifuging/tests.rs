//! What one of many idle clients holds.

use allocation_counter::measure;
use pushloop::{Config, Server};

use super::*;

/// As many as fill the tables that double.
const CLIENTS: u64 = 1 << 14;
/// Bytes of heap of a client that has one subscription, beside what the library has of its connection.
const CLIENT_BYTES_MAX: u64 = 240;

#[test]
fn an_idle_client_with_one_subscription_holds_at_most_240_bytes() {
    let mut server = Server::new(Config::default()).expect("there are descriptors");
    let hub = server.hub();
    let mut centrifuge = Centrifuge::default();
    // The timer of the first.
    centrifuge.dues.look_at(hub, ConnId::from_bits(1 << 32), hub.now());
    let info = measure(|| {
        for index in 0..CLIENTS {
            let id = ConnId::from_bits(1 << 32 | index);
            let way = Way { transport: Transport::WebSocket, format: Format::Json };
            let mut session = Box::new(Session::new(way, None, Principal::Anyone));
            session.identity = Identity::of(&Principal::Anyone).expect("there is randomness");
            let key = centrifuge.rooms.enter("a channel", id, session.identity.user());
            let sub =
                Sub { is_servers: false, is_member: false, hears_joins: false, expires: None };
            session.subs.insert(key, sub);
            centrifuge.sessions.insert(id, session);
            // They are looked at in another order than that in which they came.
            let spread = Duration::from_millis(index.wrapping_mul(7_919) % 12_500);
            centrifuge.dues.look_at(hub, id, hub.now() + spread);
        }
    });
    let bytes = info.bytes_current as u64;
    println!("an idle client holds {} bytes", bytes.div_ceil(CLIENTS));
    assert!(bytes <= CLIENT_BYTES_MAX * CLIENTS, "{} bytes", bytes.div_ceil(CLIENTS));
}

/// What a panic leaves of a client is gone with its connection, whichever way it was lost.
#[test]
fn a_client_that_a_panic_has_lost_is_nowhere_once_its_connection_is_over() {
    let mut server = Server::new(Config::default()).expect("there are descriptors");
    let hub = server.hub();
    let mut centrifuge = Centrifuge::default();
    let ids = [1, 2, 3].map(|index| ConnId::from_bits(1 << 32 | index));
    let mut enter = |id, user: &str| {
        let way = Way { transport: Transport::WebSocket, format: Format::Json };
        centrifuge.sessions.insert(id, Box::new(Session::new(way, None, Principal::Anyone)));
        centrifuge.rooms.enter("a", id, user);
        centrifuge.rooms.enter(user, id, user);
        if !user.is_empty() {
            centrifuge.users.entry(user.into()).or_default().insert(id);
        }
    };
    enter(ids[0], "ada");
    enter(ids[1], "");
    enter(ids[2], "ada");
    // Two are not put back: the first is found lost when another one is taken out.
    assert!(
        centrifuge.take_out(hub, ids[0]).is_some() && centrifuge.take_out(hub, ids[1]).is_some()
    );
    for (id, rooms) in [(ids[0], ["a", "ada"]), (ids[1], ["", "a"])] {
        assert!(centrifuge.sessions.get(id).is_none() && centrifuge.take_lost(id).is_some());
        assert!(centrifuge.take_lost(id).is_none());
        let left = centrifuge.forget_everywhere(id);
        assert_eq!(left.iter().map(|it| &**it).collect::<Vec<_>>(), rooms);
    }
    // The client that is left is where it was.
    let session = centrifuge.take_out(hub, ids[2]).expect("it is there");
    centrifuge.put_in(ids[2], session);
    assert!(centrifuge.take_lost(ids[2]).is_none());
    let room = centrifuge.rooms.get("a").expect("one is there");
    assert_eq!((room.clients.len(), room.users(), centrifuge.rooms.len()), (1, 1, 2));
    assert_eq!(centrifuge.users["ada"].len(), 1);
}
