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

/// Neither what chunks were in nor a header of the PROXY protocol leaves room behind that no limit counts.
#[test]
fn what_is_decoded_gives_back_its_room() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let tiny = "1\r\na\r\n".repeat(10_000);
    let extension = "x".repeat(16_000);
    for (input, is_whole) in [
        (format!("{head}{tiny}0\r\n\r\n"), true),
        (format!("{head}{tiny}"), false),
        (format!("{head}1;{extension}"), false),
        (format!("PROXY UNKNOWN\r\n{head}{tiny}0\r\n\r\n"), true),
    ] {
        let mut http = Http::new(None, input.starts_with("PROXY"));
        let mut config = Config::default();
        config.proxies.unix = true;
        http.buffer.extend_from_slice(input.as_bytes());
        let request = http.next_request(&config, Ticks::FIRST).unwrap();
        assert_eq!(request.is_some(), is_whole);
        assert!(http.buffer.capacity() <= REST_BYTES, "{}", http.buffer.capacity());
        let room = http.body.capacity();
        assert!(room <= 2 * http.body.len(), "{room} for {}", http.body.len());
    }
}

#[test]
fn a_request_of_which_the_body_is_to_come_is_as_old_as_its_head() {
    let mut http = Http::new(None, false);
    let config = Config::default();
    for (input, age) in
        [("POST / HTTP/1.1\r\nHost: a\r\nContent-", None), ("Length: 3\r\n\r\nxx", Some(7))]
    {
        http.buffer.extend_from_slice(input.as_bytes());
        assert!(http.next_request(&config, Ticks(10)).unwrap().is_none());
        assert_eq!(http.ticks_since_head(Ticks(17)), age);
        let head = http.headed.as_ref().map_or(0, Request::head_len);
        assert_eq!((http.held(), head > 0), (http.buffer.len() + head, age.is_some()));
    }
}
