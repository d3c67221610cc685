//! Connections become people in rooms, and what a person says goes to all in the room.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, Position, Reason, Request,
    RequestId,
};
use serde_json::{Value, json};

use super::{
    PAGE,
    ledger::{Ledger, Payer},
    name::is_name,
    page::Budget,
    room::{Room, history},
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
/// A page tries again after this one.
const NOT_NOW: u16 = 1013;

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
    /// When the loop's clock showed `began.0`, it was `began.1` after 1970.
    began: (Instant, Duration),
    /// How many lines were said, in all rooms.
    lines: u64,
}

impl Chat {
    pub fn new(hub: &Hub) -> Self {
        #[expect(clippy::disallowed_methods, reason = "once; then the loop's clock counts")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            rooms: HashMap::new(),
            people: ConnMap::new(),
            ledger: Ledger::default(),
            began: (hub.now(), now),
            lines: 0,
        }
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
        let after = value.get("after").map(|after| after.as_str()?.parse().ok());
        if after == Some(None) {
            return Err((BROKEN, "after has to be an id".to_owned()));
        }
        let after = after.flatten();
        self.charge(hub, id, self.price_of_join(hub, id, name, after))?;
        if !self.rooms.contains_key(name) {
            self.make_room(hub, name)?;
        }
        let (Some(person), Some(room)) = (self.people.get_mut(id), self.rooms.get_mut(name)) else {
            return Ok(());
        };
        if room.here.insert(person.name.clone()) {
            person.rooms.push(name.to_owned());
            // Before the subscription: the one that joins need not be told so.
            announce(hub, name, "came", &person.name);
            for topic in [name, &door(name)] {
                hub.subscribe(id, topic).map_err(|error| (TOO_MUCH, error.to_string()))?;
            }
        }
        // What is sent to a subscriber stands in line with what is published to it: no line falls
        // between the history and the first live one, and none is in both.
        let (lines, gap) = missed(hub, name, after);
        let line = |text: &&str| Some(serde_json::from_str::<Value>(text).ok()?["line"].take());
        let lines: Vec<_> = lines.iter().filter_map(line).collect();
        tell(hub, id, &json!({ "room": name, "here": room.here, "lines": lines, "gap": gap }));
        Ok(())
    }

    /// What a join costs: the answer to it, and for a person who was not in the room before, the
    /// messages to its members on coming and on leaving. A room that is not there is made, and
    /// another looked for to give way.
    fn price_of_join(&self, hub: &Hub, id: ConnId, name: &str, after: Option<Position>) -> u64 {
        let (Some(person), Some(room)) = (self.people.get(id), self.rooms.get(name)) else {
            return ROOM_COSTS + LOOK_COSTS * self.rooms.len() as u64;
        };
        let members = room.here.len() as u64;
        let (lines, _) = missed(hub, name, after);
        let lines = lines.iter().map(|line| LINE_COSTS + BYTE_COSTS * line.len() as u64);
        let told = if room.here.contains(&person.name) { 0 } else { 2 * members };
        members * NAME_COSTS + lines.sum::<u64>() + told * DELIVERY_COSTS
    }

    fn make_room(&mut self, hub: &mut Hub, name: &str) -> Result<(), Refusal> {
        if self.rooms.len() >= ROOMS_MAX {
            // Of those that everybody has left, the one that was silent for longest gives way.
            let left = self.rooms.iter().filter(|(_, room)| room.here.is_empty());
            let oldest = left.min_by_key(|(_, room)| room.last).map(|(name, _)| name.clone());
            let oldest = oldest.ok_or_else(|| (TOO_MUCH, "no further room".to_owned()))?;
            self.forget_room(hub, &oldest);
        }
        let mut options = hub.topic_options(name);
        options.history = Some(history());
        hub.configure_topic(name, options).map_err(|error| (TOO_MUCH, error.to_string()))?;
        self.rooms.insert(name.to_owned(), Room::default());
        Ok(())
    }

    /// Nobody is in the room: without a history, its topic is over.
    fn forget_room(&mut self, hub: &mut Hub, name: &str) {
        self.rooms.remove(name);
        hub.forget_topic_options(name);
    }

    fn leave(&mut self, hub: &mut Hub, id: ConnId, value: &Value) -> Result<(), Refusal> {
        let room = name_in(value, "leave")?;
        let Some(person) = self.people.get_mut(id) else { return Ok(()) };
        person.rooms.retain(|other| other != room);
        hub.unsubscribe(id, &door(room));
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
        let Some(place) = hub.position(name) else { return Ok(()) };
        let id = Position { offset: place.offset + 1, ..place }.to_string();
        let at = (self.began.1 + (hub.now() - self.began.0)).as_millis() as u64;
        let line = json!({ "id": id, "at": at, "from": from, "text": text, "key": key });
        let message = json!({ "room": name, "line": line }).to_string();
        hub.publish(name, message).map_err(|error| (NOT_NOW, error.to_string()))?;
        room.remember(token, &key);
        self.lines += 1;
        room.last = self.lines;
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
        if there.here.is_empty() && there.last == 0 {
            self.forget_room(hub, room);
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

/// The lines that a page does not have, as they were published, and whether others before them are
/// not kept.
fn missed<'a>(hub: &'a Hub, room: &str, after: Option<Position>) -> (Vec<&'a str>, bool) {
    let count = after.map_or(Ok(u64::MAX), |after| hub.published_since(room, after));
    let lines = hub.history_last(room, count.unwrap_or(u64::MAX));
    (lines.filter_map(|line| line.message.as_text()).collect(), count.is_err())
}

/// The topic of who comes and goes, which keeps nothing. No room has a name with a line end.
fn door(room: &str) -> String {
    format!("{room}\n")
}

fn too_much() -> Refusal {
    (TOO_MUCH, "too much was done for your address: wait a moment, and reload".to_owned())
}

fn tell(hub: &mut Hub, id: ConnId, value: &Value) {
    // A peer that does not get it is gone, or is being closed for not reading.
    let _ = hub.send(id, value.to_string());
}

/// Tells everybody in a room of a person who came, or left.
fn announce(hub: &mut Hub, room: &str, what: &str, person: &str) {
    let message = json!({ "room": room, what: person }).to_string();
    if let Err(error) = hub.publish(&door(room), &message) {
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
    // A room is two topics: what is said, and who comes and goes.
    config.topics_per_connection_max = 2 * ROOMS_PER_PERSON_MAX;
    // The application says when a room is forgotten.
    config.topic_memory = Duration::MAX;
    // Room for the histories of a few rooms, at their longest, with everybody in them.
    config.send_queue_bytes_max = 1 << 20;
    config
}
