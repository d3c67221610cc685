//! Files that cannot be used, or no longer: that is said, and no resume is ever false.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::peers::{Publisher, post, post_with, websocket};
use super::{BATCH, PUSHLOOP, Place, ends, id_of};
use crate::support::campaign::scale;
use crate::support::dice::Dice;
use crate::support::process::{Process, bounded, connect, read_json};

/// Publications in the files that are broken.
const COUNT: usize = 40;
const OPTIONAL: &str = "--history-file-optional";

/// What is published in them.
fn data(nth: usize) -> String {
    format!("{nth} {}", "y".repeat(500))
}

/// What a history file has after some publications, and the ids of these.
fn written(signal: &str) -> (Vec<u8>, Vec<String>) {
    let place = Place::new("written");
    let (server, address) = place.serve(&[]);
    let line = |nth| json!({ "topic": "t", "data": data(nth) }).to_string() + "\n";
    let lines: String = (1..=COUNT).map(line).collect();
    // In one transaction, which leaves few pages behind that nobody needs.
    let (status, answers) = post_with(&address, "/", BATCH, &lines);
    assert_eq!(status, 200);
    let ids = answers.lines().map(id_of).collect();
    ends(server, signal);
    (fs::read(place.file()).expect("it is there"), ids)
}

/// Whoever resumes gets all that was missed, or is told that it cannot be had.
fn resumes_are_right(address: &str, ids: &[String]) -> bool {
    let mut subs: Vec<_> = [0, COUNT / 2, COUNT - 1]
        .map(|nth| (nth, websocket(address, "/t", Some(&ids[nth]))))
        .into_iter()
        .filter(|(_, sub)| sub.recovered == json!(true))
        .collect();
    post(address, "/t", "end");
    for (nth, sub) in &mut subs {
        let got: Vec<_> = sub.reads_to("end").into_iter().map(|(_, data)| data).collect();
        let missed = (*nth + 2..=COUNT).map(data);
        assert_eq!(got, missed.chain(["end".to_owned()]).collect::<Vec<_>>());
    }
    subs.len() == 3
}

/// Whether the server starts.
fn starts(place: &Place) -> Option<(Process, String)> {
    let arguments = ["--listen", "127.0.0.1:0", "--history", "1000", "--history-file"];
    let mut server =
        Process::start(Path::new(PUSHLOOP), &[&arguments[..], &[&place.file()]].concat());
    let line = server.line();
    let address = line.strip_prefix("pushloop: open http://")?.trim_end().trim_end_matches('/');
    Some((server, address.to_owned()))
}

#[test]
fn a_file_that_was_cut_short_is_refused_or_set_aside() {
    for signal in ["TERM", "KILL"] {
        let (whole, ids) = written(signal);
        let len = whole.len();
        for short in [1, 4, 100, 512, 4096, len / 2, len - 4096, len - 1] {
            let place = Place::new("short");
            fs::write(place.file(), &whole[..short]).expect("there is room");
            let said = place.refusal(&[]);
            assert!(said.contains("damaged"), "{short} of {len}: {said}");
            let (server, address) = place.serve(&[OPTIONAL]);
            assert!(!resumes_are_right(&address, &ids));
            assert!(Path::new(&format!("{}.failed", place.file())).exists());
            ends(server, "KILL");
            let (_server, address) = place.serve(&[]);
            assert_eq!(websocket(&address, "/t", Some(&ids[0])).recovered, json!(false));
        }
    }
}

#[test]
fn a_byte_that_is_another_is_found_or_does_no_harm() {
    let mut dice = Dice::new(7);
    let (mut found, mut harmless) = (0, 0);
    for signal in ["TERM", "KILL"] {
        let (whole, ids) = written(signal);
        let used: Vec<_> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
        let payload: Vec<_> = used.iter().copied().filter(|at| whole[*at] == b'y').collect();
        for round in 0..scale(21, 600) {
            let at = match round % 3 {
                0 => dice.below(512),
                1 => used[dice.below(used.len())],
                _ => payload[dice.below(payload.len())],
            };
            let mut broken = whole.clone();
            broken[at] ^= 1 << dice.below(8);
            let place = Place::new("flipped");
            fs::write(place.file(), &broken).expect("there is room");
            match starts(&place) {
                Some((_server, address)) => {
                    resumes_are_right(&address, &ids);
                    harmless += 1;
                }
                None => found += 1,
            }
        }
    }
    println!("figure found {found} harmless {harmless}");
    assert!(2 * found > harmless, "{found} {harmless}");
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_alone() {
    let place = Place::new("foreign");
    let another = |version: Option<u64>| {
        let _ = fs::remove_file(place.file());
        let database = redb::Database::create(place.file()).expect("there is room");
        let transaction = database.begin_write().expect("it is ours");
        let name = if version.is_some() { "pushloop-history" } else { "another" };
        let table = redb::TableDefinition::<&str, u64>::new(name);
        let mut open = transaction.open_table(table).expect("it is new");
        open.insert("version", version.unwrap_or_default()).expect("it is new");
        drop(open);
        transaction.commit().expect("there is room");
    };
    fs::write(place.file(), "a letter").expect("there is room");
    assert!(place.refusal(&[]).contains("no history of pushloop"));
    let (server, address) = place.serve(&[OPTIONAL]);
    assert_eq!(post(&address, "/t", "x").0, 200);
    ends(server, "TERM");
    assert_eq!(fs::read_to_string(place.file()).expect("it is there"), "a letter");
    for (version, why) in [(None, "another program's"), (Some(2), "format is 2")] {
        another(version);
        assert!(place.refusal(&[]).contains(why));
        place.serve(&[OPTIONAL]);
        assert!(place.refusal(&[]).contains(why));
    }
}

#[test]
fn a_topic_that_cannot_be_restored_begins_anew_and_that_is_said() {
    let place = Place::new("unfit");
    place.serve(&[]);
    // A name that is longer than this server takes.
    let long = "x".repeat(300);
    let database = redb::Database::open(place.file()).expect("it is ours");
    let transaction = database.begin_write().expect("it is ours");
    let topics = redb::TableDefinition::<&str, (u64, u64, u64)>::new("topics");
    let mut open = transaction.open_table(topics).expect("it is there");
    for name in ["a", &long, "b"] {
        open.insert(name, (7, 3, 1)).expect("there is room");
    }
    drop(open);
    transaction.commit().expect("there is room");
    drop(database);
    let file = place.file();
    let shell = "exec \"$0\" --listen 127.0.0.1:0 --history 9 --history-file \"$1\" 2>&1";
    let mut server = Process::start(Path::new("bash"), &["-c", shell, PUSHLOOP, &file]);
    let said = server.line();
    assert!(said.contains(&long) && said.contains("begins anew"), "{said}");
    assert!(said.contains("topic_name_bytes_max"), "{said}");
    let address = server.address("http://");
    for name in ["/a", "/b"] {
        assert_eq!(id_of(&post(&address, name, "x").1), "0000000000000007-4");
    }
}

/// A copy of the server that runs without the rights of an administrator, and the command that it is.
fn unprivileged(place: &Place) -> Vec<String> {
    let program = place.0.join("pushloop");
    fs::copy(PUSHLOOP, &program).expect("there is room");
    let is_root = fs::metadata(&place.0).expect("it is there").uid() == 0;
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let prefix = if is_root { &nobody[..] } else { &["env"] };
    prefix.iter().copied().chain(program.to_str()).map(str::to_owned).collect()
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn a_file_that_may_not_be_written_is_refused_unless_it_can_be_set_aside() {
    let place = Place::new("rights");
    let (server, address) = place.serve(&[]);
    let id = id_of(&post(&address, "/t", "x").1);
    ends(server, "KILL");
    let command = unprivileged(&place);
    let run = |more: &[&str]| {
        let file = place.file();
        let fixed = ["--listen", "127.0.0.1:0", "--history", "9", "--history-file", &file];
        let mut run = bounded(&command[0]);
        let output = run.args(&command[1..]).args(fixed).args(more).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("text")
    };
    set_mode(place.file(), 0o444);
    set_mode(&place.0, 0o555);
    assert!(run(&[]).contains("Permission denied"));
    // It would be taken for the whole history another time.
    assert!(run(&[OPTIONAL]).contains("nor can it be renamed or removed"));
    set_mode(&place.0, 0o777);
    // A file that never was cannot be taken for anything.
    let absent = Place::new("absent");
    set_mode(&absent.0, 0o555);
    for (directory, file) in [
        (".", &*place.file()),
        (".", &absent.file()),
        (absent.0.to_str().expect("text"), "history"),
    ] {
        let to = ["--listen", "127.0.0.1:0", "--history", "9", "--history-file", file, OPTIONAL];
        let command = command.iter().map(String::as_str);
        let arguments: Vec<_> = ["-C", directory].into_iter().chain(command).chain(to).collect();
        let mut server = Process::start(Path::new("env"), &arguments);
        let address = server.address("http://");
        assert_eq!(websocket(&address, "/t", Some(&id)).recovered, json!(false));
        server.kills();
        assert!(!Path::new(directory).join(file).exists());
    }
    // A directory that is not there may be there another time, with the file.
    let missing = Place(PathBuf::from(format!("{}-missing", place.file())));
    let linked = Place::new("linked");
    symlink(missing.file(), linked.file()).expect("there is room");
    for place in [&missing, &linked] {
        assert!(place.refusal(&[]).contains("No such file"));
        assert!(place.refusal(&[OPTIONAL]).contains("nor can it be renamed or removed"));
    }
}

/// The server with files of so many KiB at the most; what it says on standard error is among its lines.
fn serve_limited(command: &[String], place: &Place, kib: usize) -> (Process, String) {
    let shell = format!(
        "trap '' XFSZ && ulimit -f {kib} && exec \"$@\" --listen 127.0.0.1:0 --history 100000 \
         --history-bytes 100000000 --history-file \"$0\" 2>&1"
    );
    let arguments: Vec<_> = ["-c", &shell, &place.file()].into_iter().map(str::to_owned).collect();
    let arguments: Vec<_> = arguments.iter().chain(command).map(String::as_str).collect();
    let mut server = Process::start(Path::new("bash"), &arguments);
    let address = server.address("http://");
    (server, address)
}

/// In a namespace of its own, where it may mount what is as small as this.
#[test]
fn a_file_that_a_full_disk_left_half_made_is_no_hindrance_once_there_is_room() {
    let place = Place::new("no-room");
    let shell = "mount -t tmpfs -o size=64k none \"$1\" && history=\"$1/history\" && shift && \
                 ! \"$0\" \"$@\" --history-file \"$history\" 2>&1 && \
                 mount -o remount,size=16m \"${history%/*}\" && \
                 exec \"$0\" \"$@\" --history-file \"$history\" 2>&1";
    let directory = place.0.to_str().expect("text");
    let server = ["--listen", "127.0.0.1:0", "--history", "9"];
    let command = ["-rm", "--kill-child", "bash", "-c", shell, PUSHLOOP, directory];
    let mut server = Process::start(Path::new("unshare"), &[&command[..], &server].concat());
    let said = server.line();
    assert!(said.contains("No space left on device"), "{said}");
    let address = server.address("http://");
    id_of(&post(&address, "/t", "x").1);
}

#[test]
fn when_the_disk_is_full_the_server_goes_on_and_nobody_resumes_from_the_file() {
    let place = Place::new("full");
    let (mut server, address) = serve_limited(&[PUSHLOOP.to_owned()], &place, 3000);
    let mut stats = connect(&address, "/$stats");
    assert_eq!(read_json(&mut stats)["history_file_failed"], 0);
    let mut live = websocket(&address, "/t", None);
    let filler = "x".repeat(10_000);
    let aside = format!("{}.failed", place.file());
    let mut ids = Vec::new();
    while !Path::new(&aside).exists() {
        ids.push(id_of(&post(&address, "/t", &format!("{} {filler}", ids.len())).1));
    }
    let failed_at = ids.len();
    for _ in 0..10 {
        ids.push(id_of(&post(&address, "/t", &format!("{} {filler}", ids.len())).1));
    }
    // It is said once, and all goes on from memory.
    while !server.line().contains("can no longer be written") {}
    while read_json(&mut stats)["history_file_failed"] != 1 {}
    for (nth, id) in ids.iter().enumerate() {
        let (got, data) = live.reads().expect("it comes");
        assert_eq!((&got, data.split_once(' ').unwrap().0), (id, &*nth.to_string()));
    }
    let mut back = websocket(&address, "/t", Some(&ids[failed_at - 5]));
    assert_eq!(
        (back.recovered.clone(), back.reads().unwrap().0),
        (json!(true), ids[failed_at - 4].clone())
    );
    server.kills();
    let said: Vec<_> =
        std::iter::from_fn(|| Some(server.line()).filter(|it| !it.is_empty())).collect();
    assert!(!said.iter().any(|line| line.contains("written")), "{said:?}");

    let (_server, address) = place.serve(&[]);
    post(&address, "/t", "new");
    for id in [&ids[0], &ids[failed_at - 2], &ids[failed_at], &ids[ids.len() - 1]] {
        assert_eq!(websocket(&address, "/t", Some(id)).recovered, json!(false), "{id}");
    }
}

#[test]
fn a_file_that_can_neither_be_written_nor_removed_ends_the_server() {
    let place = Place::new("stuck");
    let (server, address) = place.serve(&[]);
    let first = id_of(&post(&address, "/t", "first").1);
    ends(server, "KILL");
    let command = unprivileged(&place);
    set_mode(place.file(), 0o666);
    set_mode(&place.0, 0o555);
    let (mut server, address) = serve_limited(&command, &place, 3000);
    let mut live = websocket(&address, "/t", Some(&first));
    let filler = "x".repeat(10_000);
    let mut publisher = Publisher::new(&address).expect("it listens");
    let mut published = Vec::new();
    while published.len() < 1000
        && let Ok((200, body)) = publisher.posts("/t", "", &filler)
    {
        published.push(id_of(&body));
    }
    assert!(published.len() < 1000, "it goes on");
    while !server.line().contains("the server ends") {}
    assert_eq!(server.ended().code(), Some(1));
    let mut delivered = Vec::new();
    while let Ok((id, _)) = live.reads() {
        delivered.push(id);
    }
    // Nobody was told of more than is in the file.
    let (_server, address) = place.serve(&["--history-bytes", "100000000"]);
    let mut back = websocket(&address, "/t", Some(&first));
    assert_eq!(back.recovered, json!(true));
    post(&address, "/t", "end");
    let kept: Vec<_> = back.reads_to("end").into_iter().map(|(id, _)| id).collect();
    assert_eq!(kept[..published.len()], published);
    assert!(kept.starts_with(&delivered) && delivered.len() >= published.len());
    set_mode(&place.0, 0o755);
}
