//! Histories that are kept in a file: what comes back after a restart.

mod broken;
mod cuts;
pub mod peers;

use std::{fs, ops::Range, path::PathBuf, thread};

use serde_json::{Value, json};

use super::{PUSHLOOP, serve};
use crate::support::process::{Process, bounded, connect, read_json, read_text, scratch};
use peers::{post, post_with, stream, websocket};

/// A directory of one test's own, with the file in it.
pub struct Place(PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let directory = scratch(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("there is room");
        Self(directory)
    }

    pub fn file(&self) -> String {
        self.0.join("history").to_str().expect("the path is text").to_owned()
    }

    pub fn serve(&self, more: &[&str]) -> (Process, String) {
        let file = self.file();
        serve(&[&["--history", "1000", "--history-file", &file], more].concat())
    }

    /// What the server says that does not start, in one line.
    fn refusal(&self, more: &[&str]) -> String {
        let file = self.file();
        let fixed = ["--listen", "127.0.0.1:0", "--history", "9", "--history-file", &file];
        let output = bounded(PUSHLOOP).args(fixed).args(more).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(&file) && output.stdout.is_empty(), "{said}");
        said
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a server ends.
pub fn ends(mut server: Process, signal: &str) {
    server.signal(signal);
    let status = server.ended();
    assert_eq!(status.success(), signal == "TERM", "{status}");
}

pub fn id_of(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// What a request with a batch says of it.
const BATCH: &str = "Content-Type: application/x-ndjson\r\n";

/// A batch of numbers.
fn lines(range: Range<usize>) -> String {
    range.map(|nth| format!("{{\"topic\":\"t\",\"data\":\"{nth}\"}}\n")).collect()
}

#[test]
fn ids_go_on_and_resumes_are_exact_across_a_restart() {
    for signal in ["TERM", "KILL"] {
        let place = Place::new("restart");
        let (server, address) = place.serve(&[]);
        let ids: Vec<_> =
            (1..=9).map(|nth| id_of(&post(&address, "/t", &nth.to_string()).1)).collect();
        let other = id_of(&post(&address, "/other", "o").1);
        post_with(&address, "/t", "Content-Type: application/octet-stream\r\n", "bytes");
        ends(server, signal);

        let (server, address) = place.serve(&[]);
        let data = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "Ynl0ZXM=", "end"];
        let (after, all) = (&ids[4], &data[5..]);
        let mut by_socket = websocket(&address, "/t", Some(after));
        let mut by_stream = stream(&address, "/t", Some(after));
        let mut both = stream(&address, "/other,t", Some(&format!("{other},{after}")));
        assert_eq!(id_of(&post(&address, "/t", "end").1), ids[0].replace("-1", "-11"));
        for sub in [&mut by_socket, &mut by_stream, &mut both] {
            let got = sub.reads_to("end");
            assert_eq!(got.iter().map(|(_, data)| &**data).collect::<Vec<_>>(), all);
            assert_eq!(sub.recovered, json!(true));
        }
        // An id that was given before the first restart is as good after the second.
        ends(server, if signal == "TERM" { "KILL" } else { "TERM" });
        let (_server, address) = place.serve(&[]);
        let mut again = websocket(&address, "/t", Some(&ids[0]));
        let got = again.reads_to("end");
        assert_eq!(got.iter().map(|(_, data)| &**data).collect::<Vec<_>>(), &data[1..]);
    }
}

#[test]
fn without_the_file_nobody_resumes_across_a_restart() {
    let place = Place::new("without");
    for file in [true, false] {
        let serves = || if file { place.serve(&[]) } else { serve(&["--history", "1000"]) };
        let (server, address) = serves();
        let id = id_of(&post(&address, "/t", "x").1);
        ends(server, "KILL");
        let (_server, address) = serves();
        post(&address, "/t", "y");
        assert_eq!(websocket(&address, "/t", Some(&id)).recovered, json!(file));
        assert_eq!(stream(&address, "/t", Some(&id)).recovered, json!(file));
    }
}

#[test]
fn what_the_limits_drop_is_gone_from_the_file() {
    let place = Place::new("limits");
    let (server, address) = place.serve(&["--history-bytes", "100000"]);
    for from in (0..3000).step_by(500) {
        assert_eq!(post_with(&address, "/", BATCH, &lines(from..from + 500)).0, 200);
    }
    let mut id = id_of(&post(&address, "/t", "x").1);
    ends(server, "KILL");
    for (options, kept) in [
        (&["--history", "2000"][..], 1000),
        (&["--history", "2000", "--history-bytes", "35000"], 1000),
        (&["--history", "2000", "--history-bytes", "3500"], 100),
        (&["--history", "50"], 50),
        (&["--history", "1000"], 51),
        (&["--history-age", "0"], 0),
        (&[], 1),
    ] {
        let (server, address) = place.serve(options);
        let mut all = websocket(&address, "/t?last=100000", None);
        assert_eq!(websocket(&address, "/t", Some(&id)).recovered, json!(true));
        // It is one more of those that are kept.
        id = id_of(&post(&address, "/t", "end").1);
        let count = all.reads_to("end").len() - 1;
        // The oldest go in pieces in memory, and one by one in the file.
        assert!((kept * 3 / 4..=kept).contains(&count), "{count} {options:?}");
        ends(server, "KILL");
    }
}

#[test]
fn more_than_may_wait_for_the_file_is_refused_and_nothing_that_was_answered_is_lost() {
    let place = Place::new("queue");
    let keeps = ["--history", "10000000", "--history-bytes", "100000000"];
    let (server, address) = place.serve(&keeps);
    let (mut ids, mut refused) = (Vec::new(), 0);
    // Of what comes at once, 16,384 may wait, and the disk is slower than the loop.
    let mut rounds = 0..5;
    while refused == 0 && rounds.next().is_some() {
        let posts = || post_with(&address, "/", BATCH, &lines(0..2200));
        let answers: Vec<_> = thread::scope(|scope| {
            let publishers: Vec<_> = (0..16).map(|_| scope.spawn(posts)).collect();
            publishers.into_iter().map(|it| it.join().expect("it is answered")).collect()
        });
        for (status, body) in answers {
            if status == 200 {
                ids.extend(body.lines().map(id_of));
            } else {
                let why = "too many publications wait to be written to the file";
                assert!(status == 503 && body.starts_with(why), "{status} {body}");
                refused += 2200;
            }
        }
    }
    assert!(refused > 0, "{} were taken", ids.len());
    let mut stats = connect(&address, "/$stats");
    while read_json(&mut stats)["history_refused"] != refused {}
    // What was refused has no numbers.
    let (_, end) = post(&address, "/t", "end");
    assert!(id_of(&end).ends_with(&format!("-{}", ids.len() + 1)), "{end} after {}", ids.len());
    ends(server, "KILL");
    let (_server, address) = place.serve(&keeps);
    let got = websocket(&address, "/t?last=10000000", None).reads_to("end");
    ids.push(id_of(&end));
    ids.sort_by_key(|id| id.split_once('-').and_then(|(_, offset)| offset.parse::<u64>().ok()));
    assert!(got.into_iter().map(|(id, _)| id).eq(ids));
}

#[test]
fn a_topic_for_whose_history_there_is_no_room_goes_on_without_it() {
    let place = Place::new("no-room");
    let (server, address) = place.serve(&[]);
    let line = |nth| json!({ "topic": format!("t{nth}"), "data": "x" }).to_string() + "\n";
    let (_, answers) = post_with(&address, "/", BATCH, &(0..60).map(line).collect::<String>());
    let mut ids: Vec<_> = answers.lines().map(id_of).collect();
    ids.push(id_of(&post(&address, "/t60", &"x".repeat(1000)).1));
    ends(server, "KILL");
    // A topic takes more of it in memory than in the file. The last one finds no room, where there is none.
    let (_server, address) = place.serve(&["--history-bytes-max", "5000"]);
    let resumes =
        |nth: usize, id: &str| websocket(&address, &format!("/t{nth}"), Some(id)).recovered;
    let befores = ids.iter().map(|id| id.replace("-1", "-0"));
    let whole: Vec<_> =
        befores.enumerate().map(|(nth, id)| resumes(nth, &id) == json!(true)).collect();
    assert!(whole.contains(&true) && !whole[60], "{whole:?}");
    for (nth, id) in ids.iter().enumerate() {
        assert_eq!(resumes(nth, id), json!(true), "nothing is missing after it");
        let next = id_of(&post(&address, &format!("/t{nth}"), "y").1);
        assert_eq!(next, id.replace("-1", "-2"));
    }
}

#[test]
fn a_publisher_that_does_not_wait_is_answered_202_and_its_publication_is_kept() {
    let place = Place::new("async");
    let (server, address) = place.serve(&[]);
    let (status, body) = post_with(&address, "/a,b", "Prefer: wait=5, Respond-Async\r\n", "x");
    assert_eq!((status, &*body), (202, "{\"taken\":2}\n"));
    assert!(id_of(&post(&address, "/a", "y").1).ends_with("-2"));
    ends(server, "KILL");
    let (_server, address) = place.serve(&[]);
    assert!(id_of(&post(&address, "/b", "y").1).ends_with("-2"));
    // Without a file there is nothing to wait for.
    let (_server, address) = serve(&[]);
    assert_eq!(post_with(&address, "/a", "Prefer: respond-async\r\n", "x").0, 200);
}

#[test]
fn messages_of_clients_are_written_before_they_are_delivered() {
    let place = Place::new("messages");
    let (server, address) = place.serve(&[]);
    let mut client = connect(&address, "/t");
    client.send(tungstenite::Message::text("x")).expect("it is open");
    assert_eq!(read_text(&mut client), "x");
    ends(server, "KILL");
    let (_server, address) = place.serve(&[]);
    assert!(id_of(&post(&address, "/t", "y").1).ends_with("-2"));
}

#[test]
fn only_one_process_has_the_file() {
    let place = Place::new("in-use");
    let (server, address) = place.serve(&[]);
    for more in [&[][..], &["--history-file-optional"]] {
        assert!(place.refusal(more).contains("another process"));
    }
    assert_eq!(post(&address, "/t", "x").0, 200);
    ends(server, "KILL");
    place.serve(&[]);
    let output = bounded(PUSHLOOP).args(["--history-file", &place.file()]).output();
    assert_eq!(output.expect("it runs").status.code(), Some(2));
}
