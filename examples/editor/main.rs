//! A text that several write at once, each with a caret that the others see.
//!
//! The text is a Yjs document: `yjs` in the page and `yrs` here. A page that comes, or comes back,
//! and the server tell each other what they have, and send what the other lacks. The server keeps
//! the document in memory; after a restart the pages bring it back.
//!
//! The page needs two npm packages, which are not part of this repository: [`INSTALL`]. Then
//! `cargo run --release --example editor`, and `curl http://127.0.0.1:9014/text`

#[path = "../page/mod.rs"]
mod page;

mod update;

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use page::Page;
use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, Response,
};
use serde_json::{Value, json};
use update::{Refusal, TEXT, check, state_vector};
use yrs::{
    Doc, GetString, ReadTxn, StateVector, Transact, Update, WriteTxn,
    updates::{decoder::Decode, encoder::Encode},
};

const PAGE: Page = Page { name: "editor", port: 9014, html: include_str!("page.html") };

/// What the page needs, in the versions that were tested.
const INSTALL: &str = "npm install --prefix target/npm --no-save yjs@13.6.33 lib0@0.2.120";
/// Where that is looked for: where `INSTALL` has it, and where `tests/run.sh` says that it has it.
const FOLDERS: [&str; 2] = ["target/npm/node_modules", "node_modules"];

/// The one topic.
const ALL: &str = "all";
/// What the first byte of a binary message says that the others are.
const STATE_VECTOR: u8 = 0;
const UPDATE: u8 = 1;
/// An update that was asked for.
const ANSWER: u8 = 2;

/// Of the document, what was deleted included as far as it has to be remembered.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
const PRESENCE_BYTES_MAX: usize = 512;
const NAME_CHARS_MAX: usize = 24;
/// What a connection may send: so much at once, and so much each second. A message counts for
/// `MESSAGE_COSTS` bytes more than it has.
const BURST_BYTES: usize = 512 * 1024;
const BYTES_PER_SECOND: usize = 32 * 1024;
const MESSAGE_COSTS: usize = 64;

struct Editor {
    document: Doc,
    /// At least as many bytes as the document has.
    document_bytes: usize,
    peers: ConnMap<Peer>,
    joined: u64,
}

struct Peer {
    /// What the others know it by.
    number: u64,
    /// Its name and caret, as the others were told.
    presence: Option<String>,
    /// It was told what is there, and has not answered.
    asked: bool,
    budget: usize,
    budgeted: Instant,
}

impl Editor {
    fn new(_: &mut Hub) -> Self {
        let document = Doc::new();
        document.get_or_insert_text(TEXT);
        Self { document, document_bytes: 0, peers: ConnMap::new(), joined: 0 }
    }

    fn hear(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) -> Result<(), Refusal> {
        match message {
            Message::Text(text) => self.place(hub, id, text),
            Message::Binary([STATE_VECTOR, vector @ ..]) => self.bring_up(hub, id, vector),
            Message::Binary([UPDATE | ANSWER, update @ ..]) => self.apply(hub, id, update),
            Message::Binary(_) => Err(Refusal::Malformed("a message begins with 0, 1 or 2")),
        }
    }

    /// A page says what it has, and gets what it lacks and what to send.
    fn bring_up(&mut self, hub: &mut Hub, id: ConnId, vector: &[u8]) -> Result<(), Refusal> {
        let lacks = self.document.transact().encode_diff_v1(&state_vector(vector)?);
        // Whoever is gone again, or full, needs none of it; here and below.
        let _ = hub.send(id, &framed(UPDATE, &lacks));
        self.ask(hub, id);
        Ok(())
    }

    fn ask(&mut self, hub: &mut Hub, id: ConnId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.asked = true;
        }
        let has = self.document.transact().state_vector().encode_v1();
        let _ = hub.send(id, &framed(STATE_VECTOR, &has));
    }

    /// Merges what a page did, and sends the others what is new in it.
    fn apply(&mut self, hub: &mut Hub, id: ConnId, update: &[u8]) -> Result<(), Refusal> {
        let inserted = check(update, &self.document.transact())?;
        if inserted > 0 && !self.has_room(inserted) {
            return Err(Refusal::Malformed("the document is full: delete something, and reload"));
        }
        if let Some(peer) = self.peers.get_mut(id) {
            peer.asked = false;
        }
        let decoded =
            Update::decode_v1(update).map_err(|_| Refusal::Malformed("an update is malformed"))?;
        let mut changes = self.document.transact_mut();
        let applied = changes.apply_update(decoded);
        // A circle of insertions, each beside the next, would wait in the document for ever.
        let waits = changes.prune_pending().is_some();
        let new = changes.encode_update_v1();
        drop(changes);
        if new != Update::EMPTY_V1 {
            self.document_bytes += new.len();
            let _ = hub.publish_except(ALL, &framed(UPDATE, &new), id);
        }
        if applied.is_err() || waits {
            return Err(Refusal::Malformed("insertions are beside one another in a circle"));
        }
        Ok(())
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        if self.document_bytes + bytes > DOCUMENT_BYTES_MAX {
            let state = self.document.transact().encode_diff_v1(&StateVector::default());
            self.document_bytes = state.len();
        }
        self.document_bytes + bytes <= DOCUMENT_BYTES_MAX
    }

    /// Somebody says who and where they are.
    fn place(&mut self, hub: &mut Hub, id: ConnId, text: &str) -> Result<(), Refusal> {
        let Some(peer) = self.peers.get_mut(id) else { return Ok(()) };
        let presence = presence(text, peer.number).ok_or(Refusal::Malformed(
            "a text is {\"name\": 1 to 24 characters, \"from\": [client, clock], \"to\": …}",
        ))?;
        let _ = hub.publish_except(ALL, &presence, id);
        peer.presence = Some(presence);
        Ok(())
    }
}

impl Peer {
    /// Whether a message of so many bytes is within the rate.
    fn pays(&mut self, now: Instant, bytes: usize) -> bool {
        let earned = (now - self.budgeted).min(Duration::from_secs(60)).as_millis() as usize;
        self.budget = BURST_BYTES.min(self.budget + earned * BYTES_PER_SECOND / 1000);
        self.budgeted = now;
        let rest = self.budget.checked_sub(bytes + MESSAGE_COSTS);
        self.budget = rest.unwrap_or(0);
        rest.is_some()
    }
}

impl Handler for Editor {
    fn on_request(&mut self, hub: &mut Hub, id: ConnId, request: &Request) {
        let plain = request.method() == "GET" && !request.is_websocket();
        let answer = match request.path() {
            path if plain && path.starts_with("/npm/") => module(path),
            "/text" if plain => {
                let document = self.document.transact();
                let text = document.get_text(TEXT).map(|text| text.get_string(&document));
                Response::text(200, text.unwrap_or_default())
            }
            _ if PAGE.answer(hub, id, request) => return,
            _ => {
                let _ = hub.accept(id, Accept::default());
                return;
            }
        };
        let _ = hub.respond(id, &answer);
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        for presence in self.peers.iter().filter_map(|(_, peer)| peer.presence.as_ref()) {
            let _ = hub.send(id, presence);
        }
        let _ = hub.subscribe(id, ALL);
        self.joined += 1;
        let _ = hub.send(id, &json!({ "you": self.joined }).to_string());
        let budgeted = hub.now();
        let peer = Peer {
            number: self.joined,
            presence: None,
            asked: false,
            budget: BURST_BYTES,
            budgeted,
        };
        self.peers.insert(id, peer);
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let (now, bytes) = (hub.now(), message.as_bytes().len());
        if !self.peers.get_mut(id).is_some_and(|peer| peer.pays(now, bytes)) {
            return hub.close(id, CloseCode::POLICY, "too much at once");
        }
        match self.hear(hub, id, message) {
            Ok(()) => {}
            // What else it did before it heard the question will be in its answer.
            Err(Refusal::OutOfStep)
                if message.as_bytes()[0] == UPDATE
                    && self.peers.get(id).is_some_and(|peer| peer.asked) => {}
            Err(Refusal::OutOfStep) => self.ask(hub, id),
            Err(Refusal::Malformed(why)) => hub.close(id, CloseCode::POLICY, why),
        }
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        if let Some(Peer { number, presence: Some(_), .. }) = self.peers.remove(id) {
            let _ = hub.publish(ALL, &json!({ "id": number, "left": true }).to_string());
        }
    }
}

fn framed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], bytes].concat()
}

/// What the others are told of who and where somebody is; `None` if it is not as it should be.
fn presence(text: &str, number: u64) -> Option<String> {
    if text.len() > PRESENCE_BYTES_MAX {
        return None;
    }
    let said: Value = serde_json::from_str(text).ok()?;
    let name = said["name"].as_str()?;
    let fine = (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && !name.contains(char::is_control)
        && name.trim() == name;
    // A character is a client and its clock; beyond the last is `null`.
    let is_place = |place: &Value| match place {
        Value::Null => true,
        Value::Array(id) => id.len() == 2 && id.iter().all(Value::is_u64),
        _ => false,
    };
    let places = [&said["from"], &said["to"]];
    (fine && places.into_iter().all(is_place)).then(|| {
        json!({ "id": number, "name": name, "from": places[0], "to": places[1] }).to_string()
    })
}

/// A module of the npm packages. It is read anew each time: they may have been installed since.
fn module(path: &str) -> Response {
    let path = path.trim_start_matches("/npm/");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let named = ["lib0/", "yjs/dist/"].iter().any(|start| path.starts_with(start))
        && [".js", ".mjs"].iter().any(|end| path.ends_with(end))
        && path.bytes().all(plain)
        && !path.contains("..");
    let read =
        |folder| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(path)).ok();
    match FOLDERS.into_iter().filter(|_| named).find_map(read) {
        Some(script) => Response::new(200)
            .body(script)
            .header("Content-Type", "text/javascript; charset=utf-8")
            .expect("the header field is well-formed"),
        None => Response::text(404, INSTALL),
    }
}

fn main() -> ExitCode {
    if module("/npm/yjs/dist/yjs.mjs").status() != 200 {
        println!("editor: its page needs two npm packages; in {}:", env!("CARGO_MANIFEST_DIR"));
        println!("editor:   {INSTALL}");
    }
    let mut config = Config::default();
    // A page may bring a whole document back, in which much was deleted since.
    config.message_bytes_max = 2 * DOCUMENT_BYTES_MAX;
    config.send_queue_bytes_max = 1 << 20;
    PAGE.run(config, Editor::new)
}
