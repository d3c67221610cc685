//! How much of the broker clients may ask for. Here there is none behind its address, which is as good as one: what is
//! asked for is not here.

use std::ops::Range;

use serde_json::json;

use super::{answers, connected, error, server};
use crate::binary::{ask_tcp, tokens::status};

/// What may be asked for at once: as many topics as a connection may have, and those of a second.
const AT_ONCE: usize = 128 + 50;
const ELSEWHERE: [&str; 2] = ["--redis", "redis://127.0.0.1:1"];

/// The figure of the refused.
fn refused(address: &str) -> usize {
    let metrics = ask_tcp(address, "GET /metrics", "", "");
    let (_, rest) = metrics.split_once("\npushloop_askers_limited_total ").expect("it is there");
    rest.lines().next().and_then(|it| it.parse().ok()).expect("a number")
}

#[test]
fn a_client_asks_for_so_many_channels_that_are_not_here_and_then_for_some_in_a_second() {
    let (_server, address) = server(&[&ELSEWHERE[..], &["--history", "10"]].concat());
    for kind in ["subscribe", "history"] {
        let before = refused(&address);
        let mut client = connected(&address, "");
        let frame = |some: Range<usize>| {
            let command = |nth| json!({ "id": nth + 2, (kind): { "channel": format!("c{nth}") } });
            some.map(|nth| command(nth).to_string()).collect::<Vec<_>>().join("\n")
        };
        let mut told = answers(&mut client, frame(0..AT_ONCE), AT_ONCE);
        let early = told.iter().position(|it| error(it).1 != 100);
        assert_eq!(early, None, "{kind}");
        assert_eq!(refused(&address), before, "{kind}");
        // As time goes on, some more may be.
        let mut asked = AT_ONCE;
        while refused(&address) == before {
            assert!(asked < 40 * AT_ONCE, "{kind}: no pace");
            told = answers(&mut client, frame(asked..asked + AT_ONCE), AT_ONCE);
            asked += AT_ONCE;
        }
        let limited = told.iter().filter(|it| error(it).1 == 111).count();
        assert_eq!(refused(&address), before + limited, "{kind}");
        // Another client has a pace of its own.
        let mut other = connected(&address, "");
        assert_eq!(error(&answers(&mut other, frame(0..1), 1)[0]).1, 100, "{kind}");
    }
}

#[test]
fn an_address_asks_who_is_in_so_many_topics_that_are_not_here_and_then_for_some_in_a_second() {
    let proxy = ["--presence", "--trust-proxy", "127.0.0.1", "--client-header", "x-forwarded-for"];
    let (_server, address) = server(&[&ELSEWHERE[..], &proxy, &["--anyone-may-publish"]].concat());
    let ask = |client: &str, nth: usize| {
        let fields = format!("X-Forwarded-For: {client}\r\n");
        ask_tcp(&address, &format!("GET /t{nth}?presence"), &fields, "")
    };
    for nth in 0..AT_ONCE {
        assert_eq!(status(&ask("192.0.2.1", nth)), 503, "{nth}");
    }
    let one_too_many = (AT_ONCE..40 * AT_ONCE)
        .map(|nth| ask("192.0.2.1", nth))
        .find(|answer| status(answer) != 503)
        .expect("a pace");
    assert_eq!(status(&one_too_many), 429, "{one_too_many}");
    assert!(one_too_many.contains("subscriptions_per_second = 50"), "{one_too_many}");
    assert!(one_too_many.contains("\r\nRetry-After: 1\r\n"), "{one_too_many}");
    assert_eq!(refused(&address), 1);
    for nth in 0..2 * AT_ONCE {
        assert_eq!(status(&ask("127.0.0.1", nth)), 503, "this machine");
    }
    assert_eq!(status(&ask("192.0.2.2", 0)), 503, "another client");
}
