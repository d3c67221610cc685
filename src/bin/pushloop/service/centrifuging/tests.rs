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
