//! Options of topics by the prefix of their names, over the server to run.

use std::fs;

use super::config::Scratch;
use super::{ask_tcp, file, serve};
use crate::support::process::{connect, read_json, read_text};

const CHAT: &str = "[[topics]]\nprefix = 'chat/'\nhistory = 10\n\
                    [[topics]]\nprefix = 'chat/state/'\nhistory = 1\npresence = true\n";

fn publish(address: &str, topic: &str, texts: &[&str]) -> String {
    let ask = |text: &str| ask_tcp(address, &format!("POST /{topic}"), "", text);
    texts.iter().fold(String::new(), |_, text| ask(text))
}

#[test]
fn a_prefix_gives_its_topics_a_history_that_others_have_not() {
    let config = Scratch::with("topics.toml", CHAT.as_bytes());
    let (_server, address) = serve(&["--config", &config.0]);
    for (topic, kept) in
        [("chat/a", &["1", "2", "3"][..]), ("chat/state/a", &["3"]), ("other", &[])]
    {
        let answer = publish(&address, topic, &["1", "2", "3"]);
        assert_eq!(answer.contains("\"id\":"), !kept.is_empty(), "{topic}: {answer}");
        let mut page = connect(&address, &format!("/{topic}?last=9"));
        publish(&address, topic, &["live"]);
        for text in kept.iter().chain(&["live"]) {
            assert_eq!(read_text(&mut page), *text, "{topic}");
        }
    }
}

#[test]
fn a_prefix_has_it_known_who_subscribes_to_its_topics() {
    let config = Scratch::with("members.toml", CHAT.as_bytes());
    let (_server, address) = serve(&["--config", &config.0]);
    let _ada = connect(&address, "/chat/state/a,chat/a?member=ada");
    for (topic, status) in [("chat/state/a", 200), ("chat/a", 404), ("other", 404)] {
        let answer = ask_tcp(&address, &format!("GET /{topic}?presence"), "", "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{topic}: {answer}");
        assert_eq!(answer.contains("\"id\":\"ada\""), status == 200, "{topic}: {answer}");
        assert!(status == 200 || answer.contains("--presence"), "{topic}: {answer}");
    }
}

/// The id of the second of two publications.
fn id(address: &str, topic: &str) -> String {
    let answer = publish(address, topic, &["1", "2"]);
    file::id_of(answer.rsplit_once("\r\n\r\n").expect("it has a body").1)
}

/// Of a topic without a history nothing is written, and nothing may be taken for what it published.
#[test]
fn the_file_has_the_topics_that_have_a_history() {
    let place = file::Place::new("prefixes");
    let with = |name: &str, text: &str| {
        let file = format!("history-file = '{}'\n", place.file());
        Scratch::with(name, (file + text).as_bytes())
    };
    let (chat, other) =
        (with("chat.toml", CHAT), with("x.toml", "[[topics]]\nprefix='x/'\nhistory=1"));
    let ids: Vec<String> = {
        let (server, address) = serve(&["--config", &chat.0]);
        let mut subscriber = connect(&address, "/other");
        let ids = ["chat/a", "chat/state/a"].map(|topic| id(&address, topic));
        let written = || fs::read(place.file()).expect("it is there");
        let before = written();
        publish(&address, "other", &["3"]);
        assert_eq!(read_text(&mut subscriber), "3");
        assert!(written() == before, "nothing of it is written");
        file::ends(server, "TERM");
        ids.into()
    };
    let recovers = |address: &str, topic: &str, id: &str| {
        let mut page = connect(address, &format!("/{topic}?envelope=json&after={id}"));
        read_json(&mut page)["recovered"].as_bool()
    };
    for (config, recovered) in
        [(&chat, Some(true)), (&chat, Some(true)), (&other, Some(false)), (&chat, Some(false))]
    {
        let (server, address) = serve(&["--config", &config.0]);
        for (topic, id) in ["chat/a", "chat/state/a"].iter().zip(&ids) {
            assert_eq!(recovers(&address, topic, id), recovered, "{topic}");
        }
        file::ends(server, "TERM");
    }
}

/// The numbers of metrics that have this prefix as their label.
fn labelled(address: &str, label: &str) -> Vec<String> {
    let metrics = ask_tcp(address, "GET /metrics", "", "");
    let label = format!("{{prefix=\"{label}\"}} ");
    let lines = metrics.lines().filter_map(|line| line.split_once(&*label));
    lines
        .map(|(name, value)| format!("{} {value}", name.trim_start_matches("pushloop_prefix_")))
        .collect()
}

#[test]
fn a_prefix_has_numbers_of_its_own() {
    let odd = "[[topics]]\nprefix = \"a\\\"\\\\\\n\"\n";
    let config = Scratch::with("numbers.toml", format!("{CHAT}{odd}").as_bytes());
    let (server, address) = serve(&["--config", &config.0]);
    let mut page = connect(&address, "/chat/a,chat/b,chat/state/a,other");
    publish(&address, "chat/a", &["12345", "6"]);
    publish(&address, "chat/state/a", &["1"]);
    publish(&address, "other", &["1"]);
    for (label, publications, bytes, subscribers, topics) in
        [("chat/", 2, 6, 2, 2), ("chat/state/", 1, 1, 1, 1), ("a\\\"\\\\\\n", 0, 0, 0, 0)]
    {
        let expected = [
            format!("publications_total {publications}"),
            format!("published_bytes_total {bytes}"),
            format!("subscribers {subscribers}"),
            format!("topics {topics}"),
        ];
        assert_eq!(labelled(&address, label), expected, "{label}");
    }
    page.close(None).expect("it is sent");
    while page.read().is_ok() {}
    let after = labelled(&address, "chat/");
    assert_eq!(after[2..], ["subscribers 0", "topics 0"]);
    drop(server);
    let (_server, address) = serve(&[]);
    assert!(!ask_tcp(&address, "GET /metrics", "", "").contains("pushloop_prefix_"));
}
