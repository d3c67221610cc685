//! A text that several write at once, each with a caret that the others see.
//!
//! The text is a Yjs document: `yjs` in the page and `yrs` here. A page that comes, or comes back,
//! and the server tell each other what they have, and send what the other lacks. The server keeps
//! the document in memory; after a restart the pages bring it back.
//!
//! The page needs two npm packages, which are not part of this repository: [`INSTALL`]. Then
//! `cargo run --release --example editor`, and `curl http://127.0.0.1:9014/text`

#[path = "../page/name.rs"]
mod name;
#[path = "../page/mod.rs"]
mod page;
mod update;

use std::{fs, path::Path, process::ExitCode};

use name::is_name;
use page::{Budget, Page};
use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, Response,
};
use serde_json::{Value, json};
use update::{Malformed, OutOfStep, Refusal, TEXT, check, state_vector};
use yrs::{
    Doc, GetString, ReadTxn, StateVector, Text, TextRef, Transact, Update, WriteTxn,
    updates::{decoder::Decode, encoder::Encode},
};

const PAGE: Page = Page { name: "editor", port: 9014, html: include_str!("page.html"), takes: &[] };

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
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

const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Of all that there is to know of the document: that what was deleted was there, and what stands
/// beside what. A page brings it back in one message. It grows by so many times an update at most.
const STATE_BYTES_MAX: usize = 128 * 1024;
const GROWTH_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 24;
const PEOPLE_MAX: usize = 500;
/// What a connection may send and ask for: so many bytes at once, and so many each second. A message
/// counts for `MESSAGE_COSTS` bytes more than it has.
const BYTES: (u32, f64) = (512 * 1024, 32_768.0);
const MESSAGE_COSTS: usize = 64;

struct Editor {
    document: Doc,
    text: TextRef,
    /// There is not more to know of the document.
    state_bytes: usize,
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
    budget: Budget,
}

impl Editor {
    fn new() -> Self {
        let document = Doc::new();
        let text = document.get_or_insert_text(TEXT);
        Self { document, text, state_bytes: 0, peers: ConnMap::new(), joined: 0 }
    }

    fn hear(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) -> Result<(), Refusal> {
        self.charge(hub, id, message.as_bytes().len() + MESSAGE_COSTS)?;
        match message {
            Message::Text(text) => self.place(hub, id, text),
            Message::Binary([STATE_VECTOR, vector @ ..]) => self.bring_up(hub, id, vector),
            Message::Binary([UPDATE | ANSWER, update @ ..]) => self.apply(hub, id, update),
            Message::Binary(_) => Err(Malformed("a message begins with 0, 1 or 2")),
        }
    }

    fn charge(&mut self, hub: &Hub, id: ConnId, bytes: usize) -> Result<&mut Peer, Refusal> {
        let peer = self.peers.get_mut(id).ok_or(Malformed("nobody is there"))?;
        let pays = peer.budget.pays(hub.now(), bytes);
        pays.then_some(peer).ok_or(Malformed("too much at once"))
    }

    /// A page says what it has, and gets what it lacks and what to send.
    fn bring_up(&mut self, hub: &mut Hub, id: ConnId, vector: &[u8]) -> Result<(), Refusal> {
        let lacks = self.document.transact().encode_diff_v1(&state_vector(vector)?);
        self.charge(hub, id, lacks.len())?;
        // Whoever is gone again, or full, needs none of it; here and below.
        let _ = hub.send(id, &framed(UPDATE, &lacks));
        self.ask(hub, id)
    }

    fn ask(&mut self, hub: &mut Hub, id: ConnId) -> Result<(), Refusal> {
        let has = self.document.transact().state_vector().encode_v1();
        self.charge(hub, id, has.len())?.asked = true;
        let _ = hub.send(id, &framed(STATE_VECTOR, &has));
        Ok(())
    }

    /// Merges what a page did, and sends the others what is new in it.
    fn apply(&mut self, hub: &mut Hub, id: ConnId, update: &[u8]) -> Result<(), Refusal> {
        let inserted = check(update, &self.document.transact())?;
        let text_bytes = self.text.len(&self.document.transact()) as usize + inserted;
        self.state_bytes += GROWTH_MAX * update.len();
        if self.state_bytes > STATE_BYTES_MAX {
            self.state_bytes = self.state_with(update)?.len();
            self.charge(hub, id, self.state_bytes / 8)?;
        }
        if inserted > 0 && text_bytes > TEXT_BYTES_MAX || self.state_bytes > STATE_BYTES_MAX {
            return Err(Malformed("the document is full: delete something, and reload"));
        }
        if let Some(peer) = self.peers.get_mut(id) {
            peer.asked = false;
        }
        let mut changes = self.document.transact_mut();
        let applied = changes.apply_update(Update::decode_v1(update)?);
        // A circle of insertions, each beside the next, would wait in the document for ever.
        let whole = changes.prune_pending().is_none() && applied.is_ok();
        let new = changes.encode_update_v1();
        drop(changes);
        if new != Update::EMPTY_V1 {
            let _ = hub.publish_except(ALL, &framed(UPDATE, &new), id);
        }
        if whole { Ok(()) } else { Err(Malformed("insertions are beside one another in a circle")) }
    }

    /// All that there would be to know of the document, after an update.
    fn state_with(&self, update: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (copy, everything) = (Doc::new(), StateVector::default());
        for update in [&self.document.transact().encode_diff_v1(&everything)[..], update] {
            let _ = copy.transact_mut().apply_update(Update::decode_v1(update)?);
        }
        Ok(copy.transact().encode_diff_v1(&everything))
    }

    /// Somebody says who and where they are.
    fn place(&mut self, hub: &mut Hub, id: ConnId, text: &str) -> Result<(), Refusal> {
        let Some(peer) = self.peers.get_mut(id) else { return Ok(()) };
        let wrong = "a text is {name: 1 to 24 characters that show, from: [client, clock], to: …}";
        let presence = presence(text, peer.number).ok_or(Malformed(wrong))?;
        let _ = hub.publish_except(ALL, &presence, id);
        peer.presence = Some(presence);
        Ok(())
    }
}

impl Handler for Editor {
    fn on_request(&mut self, hub: &mut Hub, id: ConnId, request: &Request) {
        let plain = request.method() == "GET" && !request.is_websocket();
        let answer = match request.path() {
            path if plain && path.starts_with("/npm/") => module(path),
            "/text" if plain => {
                Response::text(200, self.text.get_string(&self.document.transact()))
            }
            _ if PAGE.answer(hub, id, request) => return,
            _ => return hub.accept(id, Accept::default()).unwrap_or_default(),
        };
        let _ = hub.respond(id, &answer);
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        for presence in self.peers.iter().filter_map(|(_, peer)| peer.presence.as_ref()) {
            let _ = hub.send(id, presence);
        }
        let _ = hub.subscribe(id, ALL);
        self.joined += 1;
        let (number, budget) = (self.joined, Budget::new(BYTES.0, BYTES.1, hub.now()));
        let _ = hub.send(id, &json!({ "you": number }).to_string());
        self.peers.insert(id, Peer { number, presence: None, asked: false, budget });
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let asked = self.peers.get(id).is_some_and(|peer| peer.asked);
        let heard = match self.hear(hub, id, message) {
            // What else it did before it heard the question will be in its answer.
            Err(OutOfStep) if asked && message.as_bytes()[0] == UPDATE => Ok(()),
            Err(OutOfStep) => self.ask(hub, id),
            heard => heard,
        };
        if let Err(Malformed(why)) = heard {
            hub.close(id, CloseCode::POLICY, why);
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
    // A character is a client and its clock; beyond the last is `null`.
    let is_place = |place: &Value| match place {
        Value::Array(id) => id.len() == 2 && id.iter().all(Value::is_u64),
        other => other.is_null(),
    };
    let said: Value = serde_json::from_str(text).ok()?;
    let name = said["name"].as_str().filter(|name| is_name(name, NAME_CHARS_MAX))?;
    let [from, to] = [&said["from"], &said["to"]];
    let presence = json!({ "id": number, "name": name, "from": from, "to": to });
    (is_place(from) && is_place(to)).then(|| presence.to_string())
}

/// A module of the npm packages. It is read anew each time: they may have been installed since.
fn module(path: &str) -> Response {
    let named = ["/npm/lib0/", "/npm/yjs/dist/"].iter().any(|start| path.starts_with(start))
        && !path.contains("..");
    let read = |folder| fs::read(Path::new(ROOT).join(folder).join(&path["/npm/".len()..])).ok();
    match FOLDERS.into_iter().filter(|_| named).find_map(read) {
        Some(script) => page::file(page::SCRIPT, script),
        None => Response::text(404, INSTALL),
    }
}

fn main() -> ExitCode {
    if module("/npm/yjs/dist/yjs.mjs").status() != 200 {
        println!("editor: its page needs two npm packages: cd {ROOT} && {INSTALL}");
    }
    let mut config = Config::default();
    config.connections_max = PEOPLE_MAX;
    config.message_bytes_max = STATE_BYTES_MAX + 1024;
    config.send_queue_bytes_max = 1 << 20;
    PAGE.run(config, |_, _, _| Editor::new())
}
