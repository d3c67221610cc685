//! The topics that a URL names, and what is refused of it.

use super::{ask_tcp, serve};
use crate::support::handshake;
use crate::support::http::{answer_to, dial, upgrade};
use crate::support::process::{connect, read_text};

/// The answer to an opening handshake that is refused.
fn refused(address: &str, path: &str) -> String {
    answer_to(dial(address), &handshake(path, ""))
}

#[test]
fn topics_in_a_query_are_as_those_of_a_path() {
    let (_server, address) = serve(&[]);
    let query = "/?topic=news&x=1&t%6fpic=sc%6Fres&topic=a%2Cb&topic=caf%C3%A9+%2B1&topic=news";
    let mut all = connect(&address, query);
    for (path, said) in
        [("/news", "1"), ("/scores", "2"), ("/a%2Cb", "3"), ("/caf%c3%a9%20+1", "4")]
    {
        let answer = ask_tcp(&address, &format!("POST {path}"), "", said);
        assert!(answer.ends_with("{\"delivered\":1}\n"), "{path}: {answer}");
        assert_eq!(read_text(&mut all), said);
    }
    let answer = ask_tcp(&address, "POST /?topic=a%2Cb", "", "5");
    assert!(answer.ends_with("{\"delivered\":1}\n"), "{answer}");
    assert_eq!(read_text(&mut all), "5");
    // What it sends goes to the first of them.
    let mut news = connect(&address, "/news");
    all.send("6".into()).expect("it is open");
    assert_eq!(read_text(&mut news), "6");
}

#[test]
fn a_list_is_taken_whole_or_not_at_all() {
    let (_server, address) = serve(&[]);
    let mut after = connect(&address, "/good");
    for path in [
        "/good,",
        "/good,%ff",
        "/good,..",
        "/good,%00",
        "/?topic=good&topic=",
        "/?topic=good&topic",
        "/?topic=good&topic=%ff",
        "/?topic=good&topic=a/./b",
    ] {
        let answer = refused(&address, path);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    assert!(ask_tcp(&address, "POST /good", "", "x").ends_with("{\"delivered\":1}\n"));
    assert_eq!(read_text(&mut after), "x");
}

/// What is in front of the server may resolve them, and let another topic through.
#[test]
fn dot_segments_are_no_part_of_a_topic() {
    let (_server, address) = serve(&[]);
    for path in [
        "/../x",
        "/..",
        "/.",
        "/a/./b",
        "/a/..",
        "/%2e%2e/x",
        "/a/%2E",
        "/.%2e",
        "/a%2F..%2Fb",
        "/a,..",
        "/../healthz",
        "/?topic=..",
        "/?topic=a%2f..%2fb",
    ] {
        for method in ["GET", "POST", "OPTIONS", "DELETE"] {
            // Of the query, only what publishes or subscribes knows.
            if path.starts_with("/?") && method != "POST" {
                continue;
            }
            let answer = ask_tcp(&address, &format!("{method} {path}"), "", "");
            assert!(answer.starts_with("HTTP/1.1 400 "), "{method} {path}: {answer}");
        }
        let answer = refused(&address, path);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    for path in ["/...", "/.a", "/a..", "/a/.b/c.", "/?topic=..."] {
        let answer = ask_tcp(&address, &format!("POST {path}"), "", "");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

/// A proxy that guards `/secret` lets `/x,secret` through.
#[test]
fn with_one_topic_a_url_leads_to_what_its_path_says() {
    for (path, lists, one_topic) in [
        ("/x", 200, 200),
        ("/x%2Csecret", 200, 200),
        ("/x?token=1", 200, 200),
        ("/x,secret", 200, 400),
        ("/x,x", 200, 400),
        ("/?topic=secret", 200, 400),
        ("/?topic=x&topic=secret", 200, 400),
        ("/x?topic=secret", 400, 400),
        ("/x?a=b&%74opic=secret", 400, 400),
        ("/healthz?topic=secret", 400, 400),
    ] {
        for (arguments, expected) in [(&[][..], lists), (&["--one-topic"], one_topic)] {
            let (_server, address) = serve(arguments);
            let answer = ask_tcp(&address, &format!("POST {path}"), "", "");
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{path}: {answer}");
            if expected == 400 {
                let answer = refused(&address, path);
                assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
            } else {
                upgrade(&mut dial(&address), path);
            }
        }
    }
}
