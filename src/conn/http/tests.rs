//! What room the input keeps from which a request was taken.

use super::*;

/// Of many requests that came at once, each gives back its part of the room.
#[test]
fn a_request_gives_back_the_room_that_what_follows_does_not_need() {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const LEN: usize = REQUEST.len();
    // Bytes that follow, the room that there was, and the room that is kept.
    let cases = [
        (0, 4096, 4096),
        (0, 4097, 4096),
        (3000, 6000, 6000),
        (3000, 6001, 4096),
        (5000, 10_000, 10_000),
        (5000, 10_001, 5000),
    ];
    for (rest, room, kept) in cases {
        let mut http = Http::new(None, false);
        http.buffer.reserve_exact(room);
        http.buffer.extend_from_slice(REQUEST);
        http.buffer.resize(LEN + rest, b'x');
        let request = http.next_request(&Config::default(), Ticks::FIRST);
        assert!(request.is_ok_and(|request| request.is_some()));
        assert_eq!((http.buffer.len(), http.buffer.capacity()), (rest, kept), "of {room}");
    }
}
