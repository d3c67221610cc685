//! The editor's server, by peers that speak its protocol: those that keep to it and have yrs as the
//! page has yjs, and those that do not.

mod budget;
#[path = "../../examples/editor/document.rs"]
mod document;
mod heal;
mod hostile;
#[path = "../../examples/editor/order.rs"]
#[allow(dead_code, reason = "`exhaustive` needs all of it")]
mod order;
mod replica;
#[path = "../../examples/editor/server.rs"]
#[allow(dead_code)] // The packages are for the program.
mod server;
#[path = "../../examples/editor/update.rs"]
mod update;
mod work;

use std::fs;

use crate::support::http::{ask, dial};
use crate::support::process::{Process, Stream, connect, read_text};
use crate::{ledger, name, page};
use replica::{apply, delete, document, insert, text_of};
use serde_json::Value;
use tungstenite::{Message, WebSocket};
use update::state_vector;
use yrs::{Doc, ReadTxn, StateVector, Transact, updates::encoder::Encode};

const PAGE: page::Page = page::Page { name: "editor", port: 0, html: "", takes: &[] };
const STATE_VECTOR: u8 = 0;
const UPDATE: u8 = 1;
const ANSWER: u8 = 2;

fn state(document: &Doc) -> Vec<u8> {
    document.transact().encode_diff_v1(&StateVector::default())
}

fn framed(kind: u8, bytes: &[u8]) -> Message {
    Message::binary([&[kind], bytes].concat())
}

/// What a page is to the server.
struct Page {
    document: Doc,
    socket: WebSocket<Stream>,
}

impl Page {
    fn open(address: &str, client: u64) -> Self {
        let mut page = Page { document: document(client), socket: connect(address, "/live") };
        assert!(read_text(&mut page.socket).starts_with("{\"you\":"));
        page.sync();
        page
    }

    /// Says what it has, takes what it lacks, sends what the server lacks.
    fn sync(&mut self) {
        let has = self.document.transact().state_vector().encode_v1();
        self.send(framed(STATE_VECTOR, &has));
        self.hear_update();
        self.answer();
    }

    fn answer(&mut self) {
        let has = self.hear_question();
        self.answer_to(&has);
    }

    /// What the server says that it has.
    fn hear_question(&mut self) -> StateVector {
        let (kind, has) = self.hear();
        assert_eq!(kind, STATE_VECTOR);
        state_vector(&has).expect("it is one")
    }

    fn answer_to(&mut self, has: &StateVector) {
        let lacks = self.document.transact().encode_diff_v1(has);
        self.send(framed(ANSWER, &lacks));
    }

    fn send(&mut self, message: Message) {
        self.socket.send(message).expect("it is sent");
    }

    /// The next binary message.
    fn hear(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Message::Binary(bytes) = self.socket.read().expect("a message comes") {
                return (bytes[0], bytes[1..].to_vec());
            }
        }
    }

    fn hear_update(&mut self) {
        let (kind, update) = self.hear();
        assert_eq!(kind, UPDATE);
        apply(&self.document, &update);
    }

    fn write(&mut self, at: u32, part: &str) {
        let update = insert(&self.document, at, part);
        self.send(framed(UPDATE, &update));
    }
}

fn get(address: &str, path: &str) -> (String, String) {
    let answer = ask(dial(address), &format!("GET {path}"), "", "");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends");
    (head.to_owned(), body.to_owned())
}

/// What the server has, once it has all that was sent on this connection: it answers in order.
fn served_text(page: &mut Page, address: &str) -> String {
    page.sync();
    get(address, "/text").1
}

/// The code and the reason that the connection is closed with.
fn closed(socket: &mut WebSocket<Stream>) -> (u16, String) {
    loop {
        if let Message::Close(frame) = socket.read().expect("a Close frame comes") {
            let frame = frame.expect("it has a code");
            return (frame.code.into(), frame.reason.as_str().to_owned());
        }
    }
}

fn start() -> (Process, String) {
    let mut editor = Process::application("editor");
    let address = editor.address("open http://");
    (editor, address)
}

#[test]
fn what_one_writes_the_others_have_and_who_joins_has_all() {
    let (_editor, address) = start();
    let mut ada = Page::open(&address, 1);
    let mut bob = Page::open(&address, 2);
    ada.write(0, "hello");
    bob.hear_update();
    bob.write(5, " wörld 😀");
    ada.hear_update();
    let joined = Page::open(&address, 3);
    for page in [&ada, &bob, &joined] {
        assert_eq!(text_of(&page.document), "hello wörld 😀");
    }
    assert_eq!(served_text(&mut ada, &address), "hello wörld 😀");
}

#[test]
fn pages_bring_the_text_back_to_a_server_that_forgot_it() {
    let (_editor, address) = start();
    let update = insert(&document(1), 0, "both have this");
    let (mut ada, mut bob) = (Page::open(&address, 2), Page::open(&address, 3));
    for page in [&mut ada, &mut bob] {
        apply(&page.document, &update);
    }
    insert(&ada.document, 0, "ada, ");
    insert(&bob.document, 14, ", bob");
    // Both hear that the server has nothing, and both send all.
    let questions = [&mut ada, &mut bob].map(|page| {
        let has = page.document.transact().state_vector().encode_v1();
        page.send(framed(STATE_VECTOR, &has));
        page.hear_update();
        page.hear_question()
    });
    ada.answer_to(&questions[0]);
    bob.hear_update();
    bob.answer_to(&questions[1]);
    // What bob sent overlaps by now, and so he hears what is there, and sends what is not.
    bob.answer();
    ada.hear_update();
    for page in [&ada, &bob] {
        assert_eq!(text_of(&page.document), "ada, both have this, bob");
    }
    assert_eq!(served_text(&mut bob, &address), "ada, both have this, bob");
}

#[test]
fn others_are_told_who_is_where_and_who_left() {
    let (_editor, address) = start();
    let mut ada = connect(&address, "/live");
    let you: Value = serde_json::from_str(&read_text(&mut ada)).expect("it is JSON");
    let said = r#"{"name":"Ada <b>","from":[1,2],"to":null,"more":"is not passed on"}"#;
    ada.send(Message::text(said)).expect("it is sent");
    // Once the answer to what came after it is there, it has been heard.
    ada.send(framed(STATE_VECTOR, &[0])).expect("it is sent");
    while !ada.read().expect("a message comes").is_binary() {}

    let mut bob = connect(&address, "/live");
    let here: Value = serde_json::from_str(&read_text(&mut bob)).expect("it is JSON");
    assert_eq!(
        here,
        serde_json::json!({ "id": you["you"], "name": "Ada <b>", "from": [1, 2], "to": null })
    );
    assert!(read_text(&mut bob).starts_with("{\"you\":"));
    ada.close(None).expect("it is sent");
    let left: Value = serde_json::from_str(&read_text(&mut bob)).expect("it is JSON");
    assert_eq!(left, serde_json::json!({ "id": you["you"], "left": true }));
}

#[test]
fn what_breaks_the_rules_is_refused_with_a_reason_and_harms_nobody_else() {
    let (editor, address) = start();
    let (mut ada, mut bob) = (Page::open(&address, 1), Page::open(&address, 2));
    let mut written = String::new();
    for (n, (message, reason)) in hostile::hostile().into_iter().enumerate() {
        let mut eve = connect(&address, "/live");
        eve.send(message.clone()).expect("it is sent");
        // Nothing behind it counts, be it right or not.
        let _ = eve.send(framed(UPDATE, &insert(&document(99), 0, "eve was here")));
        let (code, said) = closed(&mut eve);
        assert_eq!(code, 1008, "{message:?}: {said}");
        assert!(said.contains(reason), "{message:?}: {said}");

        let part = format!("{n} ");
        ada.write(written.len() as u32, &part);
        written.push_str(&part);
        bob.hear_update();
        assert_eq!(text_of(&bob.document), written, "after {message:?}");
    }
    assert_eq!(served_text(&mut ada, &address), written);
    // Four bytes of these announce what takes 130 MB to keep.
    let status = fs::read_to_string(format!("/proc/{}/status", editor.child.id())).expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is listed");
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().expect("it is a number");
    assert!(peak < 100_000, "{peak} KiB");
}

#[test]
fn messages_that_are_too_long_or_too_many_are_refused() {
    let (_editor, address) = start();
    let mut ada = Page::open(&address, 1);
    let mut long = connect(&address, "/live");
    long.send(Message::binary(vec![1; 129 * 1024 + 1])).expect("it is sent");
    assert_eq!(closed(&mut long).0, 1009);

    // What is asked for counts as well.
    ada.write(0, &"x".repeat(60_000));
    served_text(&mut ada, &address);
    let mut greedy = connect(&address, "/live");
    let asked = (0..100).take_while(|_| greedy.send(framed(STATE_VECTOR, &[0])).is_ok()).count();
    assert_eq!(closed(&mut greedy), (1008, "too much at once".into()), "after {asked}");
    let deletion = delete(&ada.document, 0, 60_000);
    ada.send(framed(UPDATE, &deletion));

    // More than anybody types, and paid for by the message.
    let mut many = connect(&address, "/live");
    let sent = (0..100_000).take_while(|_| many.send(framed(UPDATE, &[0, 0])).is_ok()).count();
    let (code, reason) = closed(&mut many);
    assert_eq!((code, &reason[..]), (1008, "too much at once"), "after {sent}");

    ada.write(0, "on");
    assert_eq!(served_text(&mut ada, &address), "on");
}

#[test]
fn a_document_that_is_full_takes_deletions_only() {
    let (_editor, address) = start();
    let mut ada = Page::open(&address, 1);
    ada.write(0, &"x".repeat(60 * 1024));
    let mut bob = Page::open(&address, 2);
    bob.write(0, &"y".repeat(8 * 1024));
    let (code, reason) = closed(&mut bob.socket);
    assert_eq!((code, &reason[..]), (1008, "the document is full: delete something, and reload"));

    let deletion = delete(&ada.document, 0, 50 * 1024);
    ada.send(framed(UPDATE, &deletion));
    assert_eq!(served_text(&mut ada, &address), "x".repeat(10 * 1024));
    // What was deleted is room again.
    let mut bob = Page::open(&address, 3);
    bob.write(0, &"y".repeat(8 * 1024));
    ada.hear_update();
    assert_eq!(served_text(&mut ada, &address).len(), 18 * 1024);
}

/// A number as yrs writes it.
fn var(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Every second character of a long text is taken out, and then put in again elsewhere: each of the
/// others is an insertion of its own by then, with all that has to be known of it.
#[test]
fn a_document_in_pieces_stays_one_that_a_page_can_bring_back() {
    let (_editor, address) = start();
    let client = (1 << 53) - 2;
    let mut ada = Page::open(&address, client);
    ada.write(0, &"x".repeat(60_000));
    // As many ranges as fit into a message, and then as many as are let in.
    let full = "the document is full: delete something, and reload";
    for (most, why) in [(30_000, "too much at once"), (1_000, full)] {
        let mut ended = None;
        for start in (0..60_000).step_by(2 * most) {
            let places = (start..60_000).step_by(2).take(most);
            let ranges: Vec<u8> =
                places.flat_map(|at| [var(at as u64), vec![1]].concat()).collect();
            let deletion = [&[0, 1][..], &var(client), &var(most as u64), &ranges].concat();
            let mut eve = connect(&address, "/live");
            eve.send(framed(UPDATE, &deletion)).expect("it is sent");
            // In order: it has been dealt with when this is answered.
            eve.send(framed(STATE_VECTOR, &[0])).expect("it is sent");
            loop {
                match eve.read().expect("it is answered, or closed") {
                    Message::Binary(bytes) if bytes[0] == UPDATE => {
                        assert!(bytes.len() <= 128 * 1024, "{} bytes", bytes.len());
                        break;
                    }
                    Message::Close(frame) => {
                        ended = frame.map(|frame| frame.reason.as_str().to_owned());
                        break;
                    }
                    _ => {}
                }
            }
            if ended.is_some() {
                break;
            }
        }
        assert_eq!(ended.as_deref(), Some(why), "{most} at a time");
    }
    // The server is started anew, and gets it all in one message.
    let joined = Page::open(&address, 5);
    let all = state(&joined.document);

    let (_editor, address) = start();
    let mut ada = Page::open(&address, 6);
    apply(&ada.document, &all);
    ada.sync();
    assert_eq!(served_text(&mut ada, &address), text_of(&joined.document));
}

#[test]
fn an_update_out_of_step_is_answered_with_what_is_there() {
    let (_editor, address) = start();
    let mut ada = Page::open(&address, 1);
    insert(&ada.document, 0, "never sent, ");
    // It follows on what the server has not got. It is asked once, whatever it did meanwhile.
    ada.write(12, "se");
    ada.write(14, "nt");
    ada.answer();
    assert_eq!(served_text(&mut ada, &address), "never sent, sent");
    // Beside what is not there, and a deletion of it.
    for absent in [&[1, 1, 9, 0, 0x84, 8, 0, 1, b'a', 0][..], &[0, 1, 8, 1, 0, 1]] {
        ada.send(framed(UPDATE, absent));
        ada.answer();
    }
    // All of it once more.
    let all = state(&ada.document);
    ada.send(framed(UPDATE, &all));
    ada.answer();
    assert_eq!(served_text(&mut ada, &address), "never sent, sent");
}

#[test]
fn no_file_but_the_packages_is_served() {
    let (_editor, address) = start();
    for path in [
        "/npm/",
        "/npm/Cargo.toml",
        "/npm/yjs/package.json",
        "/npm/lib0/../../../../Cargo.toml",
        "/npm/lib0/../ws/index.js",
        "/npm/lib0/%2e%2e/ws/index.js",
        "/npm//etc/passwd",
        "/npm/lib0//etc/a.js",
        "/npm/ws/index.js",
    ] {
        let (head, body) = get(&address, path);
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
        assert!(body.starts_with("npm install "), "{path}: {body}");
    }
}

#[test]
fn the_packages_are_those_that_the_browsers_are_driven_with() {
    let root = env!("CARGO_MANIFEST_DIR");
    let program =
        fs::read_to_string(format!("{root}/examples/editor/server.rs")).expect("it is there");
    let pins =
        fs::read_to_string(format!("{root}/tests/browser/package.json")).expect("it is there");
    let pins: Value = serde_json::from_str(&pins).expect("it is JSON");
    let [yjs, lib0] = ["yjs", "lib0"]
        .map(|name| format!("{name}@{}", pins["dependencies"][name].as_str().unwrap_or("?")));
    assert!(program.contains(&format!("--no-save {yjs} {lib0}\"")), "{yjs} {lib0}");
}
