//! What pages send is merged into one document, and what is new in it goes to all the others.

use std::{fs, net::IpAddr, path::Path};

use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, RequestId,
    Response,
};
use serde_json::{Value, json};
use yrs::Update;

use super::{
    PAGE,
    document::{Document, STATE_BYTES_MAX},
    ledger::{Ledger, Payer},
    name::is_name,
    order::Work,
    page::{self, Budget},
    update::{Broken, Malformed, OutOfStep, Refusal, TooMuch, state_vector},
};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What the page needs, in the versions that were tested.
pub const INSTALL: &str = "npm install --prefix target/npm --no-save yjs@13.6.33 lib0@0.2.120";
/// Where that is looked for: where `INSTALL` has it, and where `tests/run.sh` says that it has it.
const FOLDERS: [&str; 2] = ["target/npm/node_modules", "node_modules"];

/// The one topic.
const ALL: &str = "all";
/// What the first byte of a binary message says that the others are.
const STATE_VECTOR: u8 = 0;
const UPDATE: u8 = 1;
/// An update that was asked for.
const ANSWER: u8 = 2;

const NAME_CHARS_MAX: usize = 24;
/// What others are told of somebody's name and caret is about as long.
const PRESENCE_BYTES: usize = 150;
const PEOPLE_MAX: usize = 500;
/// What a connection may send and ask for: so many bytes at once, and so many each second. A message
/// counts for `MESSAGE_COSTS` bytes more than it has.
const BYTES: (u32, f64) = (512 * 1024, 32_768.0);
const MESSAGE_COSTS: usize = 64;

/// What is charged to an address, in the ledger's units. A connection and its handshake.
const CONNECTION_COSTS: u64 = 50_000;
/// A message, and each byte of it.
const MESSAGE_WORK: u64 = 2_000;
const BYTE_WORK: u64 = 5;
/// A message to one of the others, and each two bytes of it.
const DELIVERY_WORK: u64 = 1_000;
/// A file that is read, or the whole text.
const FILE_WORK: u64 = 150_000;

pub struct Editor {
    pub document: Document,
    pub ledger: Ledger,
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
    payer: Payer,
}

impl Editor {
    pub fn new() -> Self {
        let (document, ledger) = (Document::new(), Ledger::default());
        Self { document, ledger, peers: ConnMap::new(), joined: 0 }
    }

    /// A request from this address asks to be let in.
    pub fn arrive(&mut self, hub: &mut Hub, id: RequestId, address: Option<IpAddr>) {
        let (now, payer) = (hub.now(), Payer::new(address));
        // It is told who is there, and all are told when it leaves.
        let price = CONNECTION_COSTS + 2 * DELIVERY_WORK * self.peers.iter().count() as u64;
        if !self.ledger.pays(payer, now, price) {
            let _ = hub.refuse(id, 429, LATER);
        } else if hub.accept(id, Accept::default()).is_ok() {
            let budget = Budget::new(BYTES.0, BYTES.1, now);
            self.joined += 1;
            let number = self.joined;
            self.peers
                .insert(id.conn(), Peer { number, presence: None, asked: false, budget, payer });
        }
    }

    fn hear(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) -> Result<(), Refusal> {
        let bytes = message.as_bytes().len();
        self.charge(hub, id, bytes + MESSAGE_COSTS)?;
        self.pay(hub, id, MESSAGE_WORK + BYTE_WORK * bytes as u64)?;
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
        pays.then_some(peer).ok_or(TooMuch)
    }

    /// Has the address of a connection pay for what is about to be done for it.
    fn pay(&mut self, hub: &Hub, id: ConnId, price: u64) -> Result<(), Refusal> {
        let peer = self.peers.get(id).ok_or(Malformed("nobody is there"))?;
        self.ledger.pays(peer.payer, hub.now(), price).then_some(()).ok_or(TooMuch)
    }

    /// What it costs to tell the others so many bytes.
    fn price_of_telling(&self, bytes: usize) -> u64 {
        (DELIVERY_WORK + bytes as u64 / 2) * self.peers.iter().count() as u64
    }

    /// A page says what it has, and gets what it lacks and what to send.
    fn bring_up(&mut self, hub: &mut Hub, id: ConnId, vector: &[u8]) -> Result<(), Refusal> {
        let vector = state_vector(vector)?;
        self.pay(hub, id, self.document.price_of_reading())?;
        let lacks = self.document.lacking(&vector);
        self.charge(hub, id, lacks.len())?;
        // A peer that is gone again, or full, needs none of it; here and below.
        let _ = hub.send(id, framed(UPDATE, &lacks));
        self.ask(hub, id)
    }

    fn ask(&mut self, hub: &mut Hub, id: ConnId) -> Result<(), Refusal> {
        self.pay(hub, id, self.document.price_of_reading())?;
        let has = self.document.vector();
        self.charge(hub, id, has.len())?.asked = true;
        let _ = hub.send(id, framed(STATE_VECTOR, &has));
        Ok(())
    }

    /// Merges what a page did, and sends the others what is new in it.
    fn apply(&mut self, hub: &mut Hub, id: ConnId, update: &[u8]) -> Result<(), Refusal> {
        self.pay(hub, id, self.price_of_telling(update.len()))?;
        let peer = self.peers.get_mut(id).ok_or(Malformed("nobody is there"))?;
        let left = self.ledger.left(peer.payer, hub.now());
        let mut work = Work { left };
        let merged = self.document.apply(update, &mut work);
        self.ledger.pays(peer.payer, hub.now(), left - work.left);
        let new = merged?;
        peer.asked = false;
        if new != Update::EMPTY_V1 {
            let _ = hub.publish_except(ALL, framed(UPDATE, &new), id);
        }
        Ok(())
    }

    /// A page says whose it is, and where the caret is.
    fn place(&mut self, hub: &mut Hub, id: ConnId, text: &str) -> Result<(), Refusal> {
        self.pay(hub, id, self.price_of_telling(PRESENCE_BYTES))?;
        let Some(peer) = self.peers.get_mut(id) else { return Ok(()) };
        let wrong = "a text is {name: 1 to 24 characters that show, from: [client, clock], to: …}";
        let presence = presence(text, peer.number).ok_or(Malformed(wrong))?;
        let _ = hub.publish_except(ALL, &presence, id);
        peer.presence = Some(presence);
        Ok(())
    }
}

impl Handler for Editor {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let plain = request.method() == "GET" && !request.is_websocket();
        let address = request.client();
        let is_file = plain && (request.path().starts_with("/npm/") || request.path() == "/text");
        let answer = match request.path() {
            _ if is_file && !self.ledger.pays(Payer::new(address), hub.now(), FILE_WORK) => {
                Response::text(429, LATER)
            }
            "/text" if is_file => Response::text(200, self.document.text()),
            path if is_file => module(path),
            _ if PAGE.answer(hub, id, request) => return,
            _ => return self.arrive(hub, id, address),
        };
        let _ = hub.respond(id, answer);
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        for presence in self.peers.iter().filter_map(|(_, peer)| peer.presence.as_ref()) {
            let _ = hub.send(id, presence);
        }
        let _ = hub.subscribe(id, ALL);
        if let Some(Peer { number, .. }) = self.peers.get(id) {
            let _ = hub.send(id, json!({ "you": number }).to_string());
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let asked = self.peers.get(id).is_some_and(|peer| peer.asked);
        let heard = match self.hear(hub, id, message) {
            // What else it did before it heard the question will be in its answer.
            Err(OutOfStep) if asked && message.as_bytes()[0] == UPDATE => Ok(()),
            Err(OutOfStep) => self.ask(hub, id),
            heard => heard,
        };
        match heard {
            Ok(()) | Err(OutOfStep) => {}
            Err(Malformed(why)) => hub.close(id, CloseCode::POLICY, why),
            Err(TooMuch) => hub.close(id, CloseCode::POLICY, "too much at once"),
            Err(Broken) => hub.close(id, CloseCode::POLICY, BROKEN),
        }
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        if let Some(Peer { number, presence: Some(_), .. }) = self.peers.remove(id) {
            let _ = hub.publish(ALL, json!({ "id": number, "left": true }).to_string());
        }
    }
}

fn framed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], bytes].concat()
}

/// What a page is told that is too much for now, or that had yrs panic.
const LATER: &str = "too much was done for this address: try again";
pub const BROKEN: &str = "the text cannot take this change: reload";

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

pub fn has_packages() -> bool {
    module("/npm/yjs/dist/yjs.mjs").status() == 200
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.connections_max = PEOPLE_MAX;
    config.message_bytes_max = STATE_BYTES_MAX + 1024;
    config.send_queue_bytes_max = 1 << 20;
    config
}
