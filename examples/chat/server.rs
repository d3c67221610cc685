//! Connections become people in rooms, and what a person says goes to all in the room.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, RequestId,
};
use serde_json::{Value, json};

use super::{
    PAGE,
    ledger::{Ledger, Payer},
    name::is_name,
    page::Budget,
    room::{Line, Room},
};

/// Of a person's name, and of a room's.
const NAME_CHARS_MAX: usize = 24;
const TEXT_CHARS_MAX: usize = 2_000;
/// Of a token and of a key: random numbers of the page's choice.
const SECRET_CHARS_MAX: usize = 40;
const PEOPLE_MAX: usize = 1_000;
const ROOMS_MAX: usize = 1_000;
const ROOMS_PER_PERSON_MAX: usize = 16;
/// Requests of a connection: so many at once, and so many a second.
const REQUESTS: (u32, f64) = (60, 6.0);

/// What is charged to an address, in the ledger's units. A connection and its handshake.
const CONNECTION_COSTS: u64 = 50_000;
/// A request, and each byte of it: it is read as JSON.
const REQUEST_COSTS: u64 = 5_000;
const BYTE_COSTS: u64 = 10;
/// A message to one member of a room, and each two bytes of it.
const DELIVERY_COSTS: u64 = 1_000;
/// A name, or a line, in the answer to a join; of a line, each byte as well.
const NAME_COSTS: u64 = 200;
const LINE_COSTS: u64 = 1_000;
/// A room that is made.
const ROOM_COSTS: u64 = 20_000;
/// Something that is looked at in search of another.
const LOOK_COSTS: u64 = 20;

/// Close codes of this application (RFC 6455 §7.4.2). A page does not try again after them.
const BROKEN: u16 = 4000;
const NAME_TAKEN: u16 = 4001;
const ELSEWHERE: u16 = 4002;
const TOO_MUCH: u16 = 4003;

/// Why somebody is shown out.
type Refusal = (u16, String);

struct Person {
    /// Empty until they enter.
    name: String,
    /// What shows that it is the same page that comes back.
    token: String,
    rooms: Vec<String>,
    budget: Budget,
    payer: Payer,
}

pub struct Chat {
    pub rooms: HashMap<String, Room>,
    people: ConnMap<Person>,
    pub ledger: Ledger,
    /// When the loop's clock showed `began.0`, it was `began.1` microseconds after 1970.
    began: (Instant, u64),
    last_id: u64,
}

impl Chat {
    pub fn new(hub: &Hub) -> Self {
        #[expect(clippy::disallowed_methods, reason = "once; then the loop's clock counts")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            rooms: HashMap::new(),
            people: ConnMap::new(),
            ledger: Ledger::default(),
            began: (hub.now(), now.as_micros() as u64),
            last_id: 0,
        }
    }

    fn next_id(&mut self, now: Instant) -> u64 {
        let time = self.began.1 + (now - self.began.0).as_micros() as u64;
        self.last_id = time.max(self.last_id + 1);
        self.last_id
    }

    /// A request from this address asks to be let in.
    pub fn arrive(&mut self, hub: &mut Hub, id: RequestId, address: Option<IpAddr>) {
        let (now, payer) = (hub.now(), Payer::new(address));
        if !self.ledger.pays(payer, now, CONNECTION_COSTS) {
            // A page tries again, and there is more left by then. The peer may be gone: then it
            // needs no answer.
            let _ = hub.refuse(id, 429, "too much was done for this address: try again");
        } else if hub.accept(id, Accept::default()).is_ok() {
            let (name, token) = (String::new(), String::new());
            let budget = Budget::new(REQUESTS.0, REQUESTS.1, now);
            self.people.insert(id.conn(), Person { name, token, rooms: Vec::new(), budget, payer });
        }
    }

    /// Has the address of a connection pay for what is about to be done for it.
    fn charge(&mut self, hub: &Hub, id: ConnId, price: u64) -> Result<(), Refusal> {
        let Some(person) = self.people.get(id) else { return Ok(()) };
        let pays = self.ledger.pays(person.payer, hub.now(), price);
        if pays { Ok(()) } else { Err(too_much()) }
    }

    fn handle(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) -> Result<(), Refusal> {
        let Some(person) = self.people.get_mut(id) else { return Ok(()) };
        if !person.budget.pays(hub.now(), 1) {
            let (requests, a_second) = REQUESTS;
            let why = format!("slow down: {requests} messages at once, {a_second} a second");
            return Err((TOO_MUCH, why));
        }
        let bytes = message.as_bytes().len() as u64;
        self.charge(hub, id, REQUEST_COSTS + BYTE_COSTS * bytes)?;
        let Some(person) = self.people.get(id) else { return Ok(()) };
        let json = message.as_text().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let value = json.ok_or_else(|| (BROKEN, "a message has to be JSON".to_owned()))?;
        match (person.name.is_empty(), value.get("name").is_some()) {
            (true, true) => self.enter(hub, id, &value),
            (true, false) => Err((BROKEN, "enter with a name first".to_owned())),
            (false, true) => Err((BROKEN, "a name is chosen once".to_owned())),
            (false, false) if value.get("join").is_some() => self.join(hub, id, &value),
            (false, false) if value.get("leave").is_some() => self.leave(hub, id, &value),
            (false, false) => self.say(hub, id, &value),
        }
    }

    fn enter(&mut self, hub: &mut Hub, id: ConnId, value: &Value) -> Result<(), Refusal> {
        let name = name_in(value, "name")?.to_owned();
        let token = text_in(value, "token", SECRET_CHARS_MAX)?.to_owned();
        self.charge(hub, id, LOOK_COSTS * self.people.len() as u64)?;
        let namesake = self.people.iter().find(|(_, person)| person.name == name);
        if let Some((other, person)) = namesake {
            if person.token != token {
                return Err((NAME_TAKEN, format!("the name {name} is taken")));
            }
            // The page is back before the server has noticed that it was gone.
            close(hub, other, &(ELSEWHERE, "you are here from another window".to_owned()));
            self.depart(hub, other);
        }
        tell(hub, id, &json!({ "entered": name }));
        if let Some(person) = self.people.get_mut(id) {
            (person.name, person.token) = (name, token);
        }
        Ok(())
    }

    fn join(&mut self, hub: &mut Hub, id: ConnId, value: &Value) -> Result<(), Refusal> {
        let name = name_in(value, "join")?;
        let after = value.get("after").map_or(Some(0), Value::as_u64);
        let after = after.ok_or_else(|| (BROKEN, "after has to be an id".to_owned()))?;
        self.charge(hub, id, self.price_of_join(id, name, after))?;
        if !self.rooms.contains_key(name) {
            self.make_room(hub, name)?;
        }
        let (Some(person), Some(room)) = (self.people.get_mut(id), self.rooms.get_mut(name)) else {
            return Ok(());
        };
        if room.here.insert(person.name.clone()) {
            person.rooms.push(name.to_owned());
            // Before the subscription: the one that joins need not be told so.
            announce(hub, name, "came", person.name.as_str());
            hub.subscribe(id, name).map_err(|error| (TOO_MUCH, error.to_string()))?;
        }
        // What is sent to a subscriber stands in line with what is published to it: no line falls
        // between the history and the first live one, and none is in both.
        let lines: Vec<_> = room.after(after).map(Line::to_json).collect();
        let gap = room.has_gap(after);
        tell(hub, id, &json!({ "room": name, "here": room.here, "lines": lines, "gap": gap }));
        Ok(())
    }

    /// What a join costs: the answer to it, and for a person who was not in the room before, the
    /// messages to its members on coming and on leaving. A room that is not there is made, and
    /// another looked for to give way.
    fn price_of_join(&self, id: ConnId, name: &str, after: u64) -> u64 {
        let (Some(person), Some(room)) = (self.people.get(id), self.rooms.get(name)) else {
            return ROOM_COSTS + LOOK_COSTS * self.rooms.len() as u64;
        };
        let members = room.here.len() as u64;
        let lines = room.after(after).map(|line| LINE_COSTS + BYTE_COSTS * line.text.len() as u64);
        let told = if room.here.contains(&person.name) { 0 } else { 2 * members };
        members * NAME_COSTS + lines.sum::<u64>() + told * DELIVERY_COSTS
    }

    fn make_room(&mut self, hub: &Hub, name: &str) -> Result<(), Refusal> {
        if self.rooms.len() >= ROOMS_MAX {
            // Of those that everybody has left, the one that was silent for longest gives way.
            let left = self.rooms.iter().filter(|(_, room)| room.here.is_empty());
            let oldest = left.min_by_key(|(_, room)| room.last_id()).map(|(name, _)| name.clone());
            self.rooms.remove(&oldest.ok_or_else(|| (TOO_MUCH, "no further room".to_owned()))?);
        }
        let now = self.next_id(hub.now());
        self.rooms.insert(name.to_owned(), Room::new(now));
        Ok(())
    }

    fn leave(&mut self, hub: &mut Hub, id: ConnId, value: &Value) -> Result<(), Refusal> {
        let room = name_in(value, "leave")?;
        let Some(person) = self.people.get_mut(id) else { return Ok(()) };
        person.rooms.retain(|other| other != room);
        if hub.unsubscribe(id, room) {
            let name = person.name.clone();
            self.vacate(hub, room, &name);
        }
        Ok(())
    }

    fn say(&mut self, hub: &mut Hub, id: ConnId, value: &Value) -> Result<(), Refusal> {
        let text = text_in(value, "say", TEXT_CHARS_MAX)?.to_owned();
        let name = name_in(value, "room")?;
        let key = text_in(value, "key", SECRET_CHARS_MAX)?.to_owned();
        let id_of_line = self.next_id(hub.now());
        let Some(Person { name: from, token, payer, .. }) = self.people.get(id) else {
            return Ok(());
        };
        let Some(room) = self.rooms.get_mut(name).filter(|room| room.here.contains(from)) else {
            return Err((BROKEN, "join a room before you speak in it".to_owned()));
        };
        // A page that was cut off says again what it does not know to have arrived.
        if room.knows(token, &key) {
            return Ok(());
        }
        let each = DELIVERY_COSTS + text.len() as u64 / 2;
        if !self.ledger.pays(*payer, hub.now(), room.here.len() as u64 * each) {
            return Err(too_much());
        }
        room.remember(token, &key);
        let line = Line { id: id_of_line, from: from.clone(), text, key };
        announce(hub, name, "line", line.to_json());
        room.push(line);
        Ok(())
    }

    fn depart(&mut self, hub: &mut Hub, id: ConnId) {
        let Some(person) = self.people.remove(id) else { return };
        for room in &person.rooms {
            self.vacate(hub, room, &person.name);
        }
    }

    /// Somebody is no longer in a room. Where nothing was said, nothing is kept.
    fn vacate(&mut self, hub: &mut Hub, room: &str, person: &str) {
        announce(hub, room, "left", person);
        let Some(there) = self.rooms.get_mut(room) else { return };
        there.here.remove(person);
        if there.here.is_empty() && there.last_id() == 0 {
            self.rooms.remove(room);
        }
    }
}

impl Handler for Chat {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if !PAGE.answer(hub, id, request) {
            self.arrive(hub, id, request.client());
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        if let Err(refusal) = self.handle(hub, id, message) {
            close(hub, id, &refusal);
        }
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.depart(hub, id);
    }
}

/// A field that has to be text of one character at least, and of `max` at most.
fn text_in<'a>(value: &'a Value, field: &str, max: usize) -> Result<&'a str, Refusal> {
    let is_good = |text: &&str| {
        let has_control = text.chars().any(|char| char.is_control() && !"\n\t".contains(char));
        !text.trim().is_empty() && text.chars().count() <= max && !has_control
    };
    let text = value.get(field).and_then(Value::as_str).filter(is_good);
    text.ok_or_else(|| (BROKEN, format!("{field} has to be text of 1 to {max} characters")))
}

fn name_in<'a>(value: &'a Value, field: &str) -> Result<&'a str, Refusal> {
    let name = value.get(field).and_then(Value::as_str);
    name.filter(|name| is_name(name, NAME_CHARS_MAX)).ok_or_else(|| {
        (BROKEN, format!("{field} has to be a name of 1 to {NAME_CHARS_MAX} characters that show"))
    })
}

fn too_much() -> Refusal {
    (TOO_MUCH, "too much was done for your address: wait a moment, and reload".to_owned())
}

fn tell(hub: &mut Hub, id: ConnId, value: &Value) {
    // A peer that does not get it is gone, or is being closed for not reading.
    let _ = hub.send(id, value.to_string());
}

/// Tells everybody in a room.
fn announce(hub: &mut Hub, room: &str, what: &str, value: impl Into<Value>) {
    let message = json!({ "room": room, what: value.into() }).to_string();
    if let Err(error) = hub.publish(room, &message) {
        eprintln!("chat: {error}");
    }
}

fn close(hub: &mut Hub, id: ConnId, (code, reason): &Refusal) {
    hub.close(id, CloseCode::new(*code).unwrap_or(CloseCode::POLICY), reason);
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.message_bytes_max = 16 * 1024;
    config.connections_max = PEOPLE_MAX;
    config.topics_per_connection_max = ROOMS_PER_PERSON_MAX;
    // Room for the histories of a few rooms, at their longest, with everybody in them.
    config.send_queue_bytes_max = 1 << 20;
    config
}
