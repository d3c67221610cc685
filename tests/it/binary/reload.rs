//! SIGHUP: what a server that runs takes, and what it says of it.

use std::{fs, path::Path};

use super::config::Scratch;
use super::{PUSHLOOP, ask_tcp};
use crate::support::http::{answer_to, dial};
use crate::support::process::{Process, bounded, connect, read_text};

/// A server, of which the lines on standard error are read with the others.
fn serve(config: &Scratch) -> (Process, String) {
    serve_with(config, &["--listen", "127.0.0.1:0"])
}

fn serve_with(config: &Scratch, flags: &[&str]) -> (Process, String) {
    let shell = "exec \"$0\" --config \"$@\" 2>&1";
    let arguments = [&["-c", shell, PUSHLOOP, &config.0], flags].concat();
    let mut server = Process::start(Path::new("bash"), &arguments);
    let address = server.address("open http://");
    while !server.line().contains("publish:") {}
    (server, address)
}

/// What it says when it has read this.
fn reloads(server: &mut Process, config: &Scratch, text: &str) -> String {
    fs::write(&config.0, text).expect("it can be written");
    server.signal("HUP");
    let line = server.line();
    line.strip_prefix("pushloop: ").expect("it says who it is").trim_end().to_owned()
}

fn status(address: &str, host: &str) -> String {
    let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    answer_to(dial(address), &head)[9..12].to_owned()
}

fn has_id(address: &str, topic: &str) -> bool {
    ask_tcp(address, &format!("POST /{topic}"), "", "x").contains("\"id\":")
}

#[test]
fn what_can_be_taken_is_taken_and_the_rest_needs_a_restart() {
    let first = "allow-host = 'a.org'\nkeep-alive = 75\n";
    let config = Scratch::with("reload.toml", first.as_bytes());
    let (mut server, address) = serve(&config);
    let mut page = connect(&address, "/chat/lives");
    assert_eq!([status(&address, "a.org"), status(&address, "b.org")], ["200", "421"]);

    let second = "allow-host = 'b.org'\nkeep-alive = 76\ndrain-delay = 0\ndrain-deadline = 7\n\
                  allow-origin = 'http://friend'\n[[topics]]\nprefix = 'chat/'\nhistory = 9\n";
    assert_eq!(
        reloads(&mut server, &config, second),
        "reloaded: allow-origin, allow-host, drain-deadline, topics; a restart is needed for keep-alive"
    );
    assert_eq!([status(&address, "a.org"), status(&address, "b.org")], ["421", "200"]);
    let answer = ask_tcp(&address, "POST /t", "Origin: http://friend\r\n", "x");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // A topic that lives has the options with which it began.
    let [lives, begins, other] = ["chat/lives", "chat/begins", "t"].map(|topic| {
        ask_tcp(&address, &format!("POST /{topic}"), "", "x");
        has_history(&address, topic)
    });
    assert_eq!([lives, begins, other], [false, true, false]);
    assert_eq!(read_text(&mut page), "x");

    // What needs a restart is said again, and what was taken is not.
    assert_eq!(
        reloads(&mut server, &config, second),
        "reloaded: nothing has changed that a running server takes; a restart is needed for keep-alive"
    );
    assert_eq!(
        reloads(&mut server, &config, first),
        "reloaded: allow-origin, allow-host, drain-deadline, topics"
    );
    assert!(!has_id(&address, "chat/later"));
    drop(page);
    reloads(&mut server, &config, second);
    server.signal("TERM");
    assert_eq!(server.line(), "pushloop: closing, 7 s at most; once more to stop at once\n");
    assert!(server.ended().success());
}

#[test]
fn once_it_is_about_to_end_nothing_is_reloaded_and_it_is_no_second_signal() {
    let text = "drain-delay = 3600\nallow-host = 'a.org'\n";
    let config = Scratch::with("late-reload.toml", text.as_bytes());
    let (mut server, address) = serve(&config);
    server.signal("TERM");
    assert!(server.line().contains(" closing, 3630 s at most"));
    for _ in 0..2 {
        let line = reloads(&mut server, &config, "allow-host = 'b.org'\n");
        assert_eq!(line, "not reloaded: the server is about to end");
    }
    // It goes on with its delay.
    assert_eq!([status(&address, "a.org"), status(&address, "b.org")], ["200", "421"]);
    super::file::ends(server, "TERM");
}

/// Whether something is kept there.
fn has_history(address: &str, topic: &str) -> bool {
    let mut page = connect(address, &format!("/{topic}?last=1"));
    ask_tcp(address, &format!("POST /{topic}"), "", "live");
    read_text(&mut page) != "live"
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let good = "allow-host = 'a.org'\n";
    let config = Scratch::with("wrong-reload.toml", good.as_bytes());
    let (mut server, address) = serve(&config);
    for (text, why) in [
        ("allow-host = 'b.org'\nkeep-alive = '75s'\n", "2: keep-alive: it is text"),
        ("allow-host = 'b.org'\n[[topics]]\nhistory = 1\n", "2: [[topics]] has a prefix"),
        ("allow-host = 'b.org'\npresence-delay = 1\n", "2: presence-delay: it is when"),
    ] {
        let line = reloads(&mut server, &config, text);
        let said = format!("not reloaded, all is as it was: {}:{why}", config.0);
        assert!(line.starts_with(&said), "{line}");
        assert_eq!([status(&address, "a.org"), status(&address, "b.org")], ["200", "421"]);
    }
    let numbers = ask_tcp(&address, "GET /metrics", "", "");
    for line in ["pushloop_reloads_failed_total 3", "pushloop_reloads_total 0"] {
        assert!(numbers.lines().any(|it| it == line), "{line}: {numbers}");
    }
    fs::remove_file(&config.0).expect("it is there");
    server.signal("HUP");
    assert!(server.line().contains("not reloaded, all is as it was: --config: cannot read "));
    assert_eq!(reloads(&mut server, &config, "allow-host = 'b.org'\n"), "reloaded: allow-host");
    assert_eq!([status(&address, "a.org"), status(&address, "b.org")], ["421", "200"]);
}

/// What was written is as the topics were then.
#[test]
fn with_a_file_of_histories_what_topics_keep_needs_a_restart() {
    let place = super::file::Place::new("reload");
    let first = format!("history = 5\nhistory-file = '{}'\n", place.file());
    let config = Scratch::with("kept-reload.toml", first.as_bytes());
    let (mut server, address) = serve(&config);
    let second =
        first.replace("history = 5", "history = 6") + "[[topics]]\nprefix = 'x'\nhistory = 1\n";
    assert_eq!(
        reloads(&mut server, &config, &second),
        "reloaded: nothing has changed that a running server takes; a restart is needed for history, topics"
    );
    assert!(has_id(&address, "x"));
    // It says nothing of what is kept.
    let said = reloads(&mut server, &config, &format!("anyone-may-publish = true\n{first}"));
    assert_eq!(said, "reloaded: anyone-may-publish");
    super::file::ends(server, "TERM");
}

/// Where it listens and its cookie stay until a restart, whatever the file says by now; and a file that is
/// read while it is written may be empty.
#[test]
fn nothing_is_taken_that_opens_what_stays() {
    let secret = Scratch::with("stays-secret", &[b'k'; 32]);
    let keys = format!("jwt-secret-file = '{}'\n", secret.0);
    let near = "listen = '127.0.0.1:0'\n";
    let cookie =
        "there is a --token-cookie until a restart: a cookie is for origins that are listed";
    for (first, then, why) in [
        (format!("listen = '0.0.0.0:0'\n{keys}"), near.to_owned(), "there are no keys any more"),
        (format!("{near}{keys}"), String::new(), "there are no keys any more"),
        (
            format!("{near}{keys}token-cookie = 'it'\n"),
            format!("{near}{keys}allow-origin = '*'\n"),
            cookie,
        ),
    ] {
        let config = Scratch::with("stays.toml", first.as_bytes());
        let (mut server, address) = serve_with(&config, &[]);
        let line = reloads(&mut server, &config, &then);
        assert!(line.starts_with(&format!("not reloaded, all is as it was: {why}")), "{line}");
        let publishes = |fields: &str| ask_tcp(&address, "POST /t", fields, "x")[9..12].to_owned();
        assert_eq!([publishes(""), publishes("Origin: http://a\r\n")], ["401", "403"]);
        // Where that is meant, it is taken.
        let line = reloads(&mut server, &config, &format!("anyone-may-publish = true\n{then}"));
        let is_meant = why != cookie;
        assert_eq!(
            line.starts_with("reloaded: anyone-may-publish, jwt-secret"),
            is_meant,
            "{line}"
        );
        assert_eq!(publishes(""), if is_meant { "200" } else { "401" });
    }
}

#[test]
fn topics_are_opened_to_anyone_and_closed_again() {
    let secret = Scratch::with("open-secret", &[b'k'; 32]);
    let closed = format!("jwt-secret-file = '{}'\n", secret.0);
    let open = format!("{closed}[[topics]]\nprefix = 'wall/'\nanyone-may-publish = true\n");
    let config = Scratch::with("open-topics.toml", closed.as_bytes());
    let (mut server, address) = serve(&config);
    let publishes = || {
        ["wall/a", "a"]
            .map(|it| ask_tcp(&address, &format!("POST /{it}"), "", "x")[9..12].to_owned())
    };
    assert_eq!(publishes(), ["401", "401"]);
    for (text, expected) in [(&open, ["200", "401"]), (&closed, ["401", "401"])] {
        let said = reloads(&mut server, &config, text);
        assert_eq!(said, "reloaded: topics; the keys were read again");
        assert_eq!(publishes(), expected);
    }
}

#[test]
fn keys_are_read_again_and_bad_ones_leave_those_of_before() {
    let secrets = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];
    let secret = Scratch::with("secret", secrets[0].as_bytes());
    let text = format!("jwt-secret-file = '{}'\npresence = true\n", secret.0);
    let config = Scratch::with("keys.toml", text.as_bytes());
    let (mut server, address) = serve(&config);
    let make = || {
        let make =
            ["token", "make", "--secret-file", &secret.0, "--publish", "t", "--expires-in", "3600"];
        let made = bounded(PUSHLOOP).args(make).output().expect("it runs");
        String::from_utf8(made.stdout).expect("text")
    };
    let publishes = |token: &str| {
        let fields = format!("Authorization: Bearer {}\r\n", token.trim_end());
        ask_tcp(&address, "POST /t", &fields, "x")[9..12].to_owned()
    };
    let first = make();
    assert_eq!(publishes(&first), "200");
    fs::write(&secret.0, "too short").expect("it can be written");
    let said = reloads(&mut server, &config, &text);
    assert!(
        said.starts_with("not reloaded, all is as it was: ") && said.contains("secret_bytes_min"),
        "{said}"
    );
    assert_eq!(publishes(&first), "200");
    fs::write(&secret.0, secrets[1]).expect("it can be written");
    let said = reloads(&mut server, &config, &text);
    assert!(said.ends_with("a running server takes; the keys were read again"), "{said}");
    // It was verified a moment ago, and would be no more.
    assert_eq!([publishes(&first), publishes(&make())], ["401", "200"]);
    let said = reloads(&mut server, &config, &(text + "anyone-may-subscribe = true\n"));
    assert_eq!(said, "reloaded: anyone-may-subscribe; the keys were read again");
    connect(&address, "/t");
}
