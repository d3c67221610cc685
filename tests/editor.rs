//! The editor's server, by peers that speak its protocol: those that keep to it and have yrs as the
//! page has yjs, and those that do not.

#[path = "support/process.rs"]
mod process;
#[path = "../examples/editor/update.rs"]
mod update;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    panic::{AssertUnwindSafe, catch_unwind},
};

use process::{Process, Stream, connect, read_text};
use serde_json::Value;
use tungstenite::{Message, WebSocket};
use update::{Refusal, TEXT, check, state_vector};
use yrs::{
    Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, Transact, Update, WriteTxn,
    block::ClientID,
    updates::{decoder::Decode, encoder::Encode},
};

const STATE_VECTOR: u8 = 0;
const UPDATE: u8 = 1;

fn document(client: u64) -> Doc {
    let client_id = ClientID::new(client);
    let options = Options { client_id, offset_kind: OffsetKind::Utf16, ..Options::default() };
    let document = Doc::with_options(options);
    document.get_or_insert_text(TEXT);
    document
}

fn text_of(document: &Doc) -> String {
    let changes = document.transact();
    changes.get_text(TEXT).expect("it is there").get_string(&changes)
}

/// Writes, and gives the update.
fn insert(document: &Doc, at: u32, part: &str) -> Vec<u8> {
    let text = document.get_or_insert_text(TEXT);
    let mut changes = document.transact_mut();
    text.insert(&mut changes, at, part);
    changes.encode_update_v1()
}

fn delete(document: &Doc, at: u32, len: u32) -> Vec<u8> {
    let text = document.get_or_insert_text(TEXT);
    let mut changes = document.transact_mut();
    text.remove_range(&mut changes, at, len);
    changes.encode_update_v1()
}

fn apply(document: &Doc, update: &[u8]) {
    let update = Update::decode_v1(update).expect("it is an update");
    document.transact_mut().apply_update(update).expect("it fits");
}

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
        self.send(framed(UPDATE, &lacks));
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
    let mut stream = TcpStream::connect(address).expect("it accepts");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and ends");
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

/// Messages that nobody with a page would send, and what the server says to each.
fn hostile() -> Vec<(Message, &'static str)> {
    let update = |bytes: &[u8]| framed(UPDATE, bytes);
    let named = |kind: u8, content: &[u8]| {
        let start = [1, 1, 9, 0, kind, 1, 4];
        update(&[&start[..], TEXT.as_bytes(), content, &[0]].concat())
    };
    let malformed = "an update is cut off or malformed";
    let absent = "an update refers to what is not there";
    let places = "a text is {\"name\"";
    vec![
        (Message::binary(Vec::new()), "a message begins with 0 or 1"),
        (Message::binary(vec![2, 0, 0]), "a message begins with 0 or 1"),
        // Announced: millions of clients, of items, of bytes.
        (update(&[0xff, 0xff, 0xff, 0x1f]), malformed),
        (update(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 9, 0]), malformed),
        (framed(STATE_VECTOR, &[0xff, 0xff, 0xff, 0x1f]), malformed),
        (named(4, &[0xff, 0xff, 0xff, 0xff, 0x0f]), malformed),
        (update(&[]), malformed),
        (update(&[0, 0, 0]), "an update is too long"),
        (framed(STATE_VECTOR, &[0, 0]), "a state vector is too long"),
        (
            framed(STATE_VECTOR, &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]),
            "a client's",
        ),
        // Not text: JSON, bytes, an embedded object, a format, a map, anything, a document.
        (named(2, &[1, 1, b'0']), "an update inserts what is no text"),
        (named(3, &[1, 0]), "an update inserts what is no text"),
        (named(5, b"\x02{}"), "an update inserts what is no text"),
        (named(6, b"\x01a\x011"), "an update inserts what is no text"),
        (named(7, &[1]), "an update inserts what is no text"),
        (named(8, &[1, 126]), "an update inserts what is no text"),
        (named(9, b"\x01a\x7f"), "an update inserts what is no text"),
        (named(10, &[1]), "an update inserts what is no text"),
        (named(4 | 0x20, b"\x01a\x01a"), "an update inserts what is no text"),
        (
            update(&[1, 1, 9, 0, 4, 1, 5, b'o', b't', b'h', b'e', b'r', 1, b'a', 0]),
            "is not of the text",
        ),
        (named(4, &[1, 0xff]), "a text is not UTF-8"),
        (named(4, b"\x02a\r"), "a text has control characters"),
        // Lengths.
        (named(4, &[0]), "a length is 0 or too large"),
        (named(1, &[0xff, 0xff, 0xff, 0xff, 0x0f]), "a length is 0 or too large"),
        (update(&[0, 1, 9, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 2]), "a length is 0 or too large"),
        // What is not there, what is beside itself, and two in a circle.
        (update(&[1, 1, 9, 0, 0x84, 8, 0, 1, b'a', 0]), absent),
        (update(&[0, 1, 9, 1, 0, 1]), absent),
        (update(&[1, 1, 9, 0, 0x84, 9, 0, 1, b'a', 0]), "an insertion is beside itself"),
        (update(&[2, 1, 9, 0, 0x84, 8, 0, 1, b'a', 1, 8, 0, 0x84, 9, 0, 1, b'b', 0]), absent),
        (update(&[2, 1, 9, 0, 0, 1, 1, 9, 0, 0, 1, 0]), "clients are not in order"),
        // Texts.
        (Message::text(""), places),
        (Message::text("[".repeat(500)), places),
        (Message::text(r#"{"name":"","from":null,"to":null}"#), places),
        (Message::text(r#"{"name":" a","from":null,"to":null}"#), places),
        (Message::text(r#"{"name":"a\u0007","from":null,"to":null}"#), places),
        (Message::text(format!(r#"{{"name":"{}"}}"#, "n".repeat(25))), places),
        (Message::text(r#"{"name":"a","from":[1,2,3],"to":null}"#), places),
        (Message::text(r#"{"name":"a","from":{"a":1},"to":null}"#), places),
        (Message::text(format!(r#"{{"name":"a","more":"{}"}}"#, "m".repeat(500))), places),
        // An update as text.
        (Message::text("\u{1}\u{0}\u{0}"), places),
    ]
}

#[test]
fn what_breaks_the_rules_is_refused_with_a_reason_and_harms_nobody_else() {
    let (editor, address) = start();
    let (mut ada, mut bob) = (Page::open(&address, 1), Page::open(&address, 2));
    let mut written = String::new();
    for (n, (message, reason)) in hostile().into_iter().enumerate() {
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
    long.send(Message::binary(vec![1; 128 * 1024 + 1])).expect("it is sent");
    assert_eq!(closed(&mut long).0, 1009);

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

#[test]
fn an_update_out_of_step_is_answered_with_what_is_there() {
    let (_editor, address) = start();
    let mut ada = Page::open(&address, 1);
    insert(&ada.document, 0, "never sent, ");
    // It follows on what the server has not got.
    ada.write(12, "sent");
    ada.answer();
    assert_eq!(served_text(&mut ada, &address), "never sent, sent");
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
        "/npm/puppeteer-core/lib/index.js",
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
        fs::read_to_string(format!("{root}/examples/editor/main.rs")).expect("it is there");
    let pins =
        fs::read_to_string(format!("{root}/tests/browser/package.json")).expect("it is there");
    let pins: Value = serde_json::from_str(&pins).expect("it is JSON");
    let [yjs, lib0] = ["yjs", "lib0"]
        .map(|name| format!("{name}@{}", pins["dependencies"][name].as_str().unwrap_or("?")));
    assert!(program.contains(&format!("--no-save {yjs} {lib0}\"")), "{yjs} {lib0}");
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

fn edit(document: &Doc, dice: &mut Dice) -> Vec<u8> {
    let len = text_of(document).encode_utf16().count();
    if len > 0 && dice.below(3) == 0 {
        let at = dice.below(len);
        return delete(document, at as u32, 1 + dice.below((len - at).min(4)) as u32);
    }
    let part = ["a", "bc", "défg", "😀x", "\n", "<b>"][dice.below(6)];
    insert(document, dice.below(len + 1) as u32, part)
}

fn mutate(update: &mut Vec<u8>, dice: &mut Dice) {
    const TELLING: [u8; 12] = [0, 1, 2, 4, 10, 0x44, 0x7f, 0x80, 0x81, 0x84, 0xc4, 0xff];
    for _ in 0..=dice.below(3) {
        let at = dice.below(update.len().max(1));
        match dice.below(6) {
            0 => update.insert(at.min(update.len()), dice.below(256) as u8),
            _ if update.is_empty() => {}
            1 => update[at] ^= 1 << dice.below(8),
            2 => update[at] = dice.below(256) as u8,
            3 => _ = update.remove(at),
            4 => update[at] = TELLING[dice.below(TELLING.len())],
            _ => {
                let part = update[at..update.len().min(at + 1 + dice.below(12))].to_vec();
                update.splice(at..at, part);
            }
        }
    }
}

/// Three write, and what they send is sent on as it is, mutated, and as noise. What is let in has to
/// be applied whole, and the document has to stay one that can be sent.
fn fuzz(documents: u64) -> [usize; 3] {
    let [mut applied, mut refused, mut out_of_step] = [0; 3];
    for seed in 1..=documents {
        let dice = &mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (server, clients) = (document(1000), [5, 300, 70_000].map(document));
        let mut sent = vec![Vec::new()];
        for step in 0..60 {
            let client = &clients[dice.below(3)];
            let mut update = match step % 5 {
                0 => edit(client, dice),
                1 => (0..dice.below(40)).map(|_| dice.below(256) as u8).collect(),
                2 => state(&server),
                _ => sent[dice.below(sent.len())].clone(),
            };
            if step % 5 == 0 {
                sent.push(update.clone());
            } else {
                mutate(&mut update, dice);
            }
            let verdict = check(&update, &server.transact());
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                // It must not matter what a state vector says, either.
                if let Ok(vector) = state_vector(&update) {
                    server.transact().encode_diff_v1(&vector);
                }
                if verdict.is_ok() {
                    let decoded = Update::decode_v1(&update).expect("it was checked");
                    let mut changes = server.transact_mut();
                    changes.apply_update(decoded).expect("it was checked");
                    changes.prune_pending();
                    changes.encode_update_v1();
                }
                apply(&document(7), &state(&server));
            }));
            assert!(outcome.is_ok(), "document {seed}, step {step}: {update:?}");
            match verdict {
                Ok(_) => applied += 1,
                Err(Refusal::OutOfStep) => out_of_step += 1,
                Err(Refusal::Malformed(_)) => refused += 1,
            }
            if dice.below(4) == 0 {
                apply(client, &state(&server));
            }
        }
    }
    [applied, refused, out_of_step]
}

#[test]
fn no_update_that_is_let_in_breaks_the_document() {
    let [applied, refused, out_of_step] = fuzz(200);
    assert!(applied > 1000 && refused > 1000 && out_of_step > 1000);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn no_update_of_a_million_breaks_the_document() {
    let [applied, refused, out_of_step] = fuzz(20_000);
    let all = applied + refused + out_of_step;
    println!("figure hostile updates to the editor: {all}, {applied} let in, 0 panics");
}
