//! The application, which knows of no network.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use pushloop::{
    Accept, CloseCode, ConnId, ConnMap, Handler, Hub, Message, Position, Reason, Request, RequestId,
};

/// So much of what was published is kept for those that come back.
pub const LINES_MAX: usize = 100;
/// A client may say so much at once, and one more thing for each pause.
pub const SAYS_MAX: u32 = 5;
pub const PAUSE: Duration = Duration::from_secs(1);
/// A client that is told so often to slow down is closed.
pub const WARNINGS_MAX: u32 = 10;

#[derive(Default)]
pub struct Rooms {
    people: ConnMap<Person>,
    rooms: HashMap<String, Room>,
}

struct Person {
    name: String,
    room: String,
    after: Option<Position>,
    /// What is left to say, as of when.
    left: (u32, Instant),
    warnings: u32,
}

#[derive(Default)]
struct Room {
    /// How many connections each of them has: a person with two windows is there once.
    here: BTreeMap<String, u32>,
    /// The latest publications.
    lines: VecDeque<String>,
}

impl Rooms {
    /// Publishes a line, and keeps it. What is refused, because the room is too busy, has no position, and
    /// so is not kept either.
    fn publish(&mut self, hub: &mut Hub, room: &str, line: String) -> bool {
        let is_taken = hub.publish(room, &line).is_ok();
        if let Some(room) = self.rooms.get_mut(room).filter(|_| is_taken) {
            room.lines.push_back(line);
            if room.lines.len() > LINES_MAX {
                room.lines.pop_front();
            }
        }
        is_taken
    }

    fn enter(&mut self, hub: &mut Hub, id: ConnId) -> Option<()> {
        let Person { name, room, after, .. } = self.people.get(id)?;
        let (name, room, after) = (name.clone(), room.clone(), *after);
        hub.subscribe(id, &room).ok()?;
        let its = self.rooms.entry(room.clone()).or_default();
        let now = hub.position(&room)?;
        let missed = after.map(|after| missed(after, now, its));
        if missed == Some(None) {
            hub.send(id, "!gap").ok()?;
        }
        let missed = missed.flatten().unwrap_or(0);
        hub.send(id, format!("!at {}.{}", now.epoch, now.offset - missed as u64)).ok()?;
        for line in its.lines.range(its.lines.len() - missed..) {
            hub.send(id, line).ok()?;
        }
        let windows = its.here.entry(name.clone()).or_default();
        *windows += 1;
        let is_new = *windows == 1;
        let here = its.here.keys().fold("!here".to_owned(), |here, name| here + " " + name);
        hub.send(id, here).ok()?;
        if is_new {
            self.publish(hub, &room, format!("+{name}"));
        }
        Some(())
    }
}

/// How many of the lines that are kept came after a position; `None` if some are lost.
fn missed(after: Position, now: Position, room: &Room) -> Option<usize> {
    let missed = now.offset.checked_sub(after.offset).filter(|_| now.epoch == after.epoch)?;
    usize::try_from(missed).ok().filter(|missed| *missed <= room.lines.len())
}

impl Handler for Rooms {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let (mut name, mut after) = ("", None);
        for (key, value) in
            request.query().unwrap_or("").split('&').filter_map(|it| it.split_once('='))
        {
            match key {
                "as" => name = value,
                "after" => after = read_position(value),
                _ => {}
            }
        }
        let room = request.path().trim_start_matches('/');
        let is_word = |it: &str| {
            (1..=24).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        // In either case, the peer may be gone: then it needs no answer.
        if !is_word(room) || !is_word(name) {
            let _ = hub.refuse(id, 404, "ask for /room?as=name, of letters and digits");
        } else if hub.accept(id, Accept::default()).is_ok() {
            let (name, room, left) = (name.into(), room.into(), (SAYS_MAX, hub.now()));
            self.people.insert(id.conn(), Person { name, room, after, left, warnings: 0 });
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        if self.enter(hub, id).is_none() {
            hub.close(id, CloseCode::TRY_AGAIN_LATER, "there is no room for you");
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let Some(person) = self.people.get_mut(id) else { return };
        if !person.may_speak(hub.now()) {
            person.warnings += 1;
            if person.warnings > WARNINGS_MAX {
                hub.close(id, CloseCode::POLICY, "slow down");
            }
            // It fails only for a connection that is about to end.
            let _ = hub.send(id, "!slow down");
        } else if let Some(text) = message.as_text() {
            let (room, line) = (person.room.clone(), format!("{}: {text}", person.name));
            if !self.publish(hub, &room, line) {
                let _ = hub.send(id, "!busy");
            }
        }
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        let Some(Person { name, room, .. }) = self.people.remove(id) else { return };
        let Some(its) = self.rooms.get_mut(&room) else { return };
        let Some(windows) = its.here.get_mut(&name) else { return };
        *windows -= 1;
        if *windows == 0 {
            its.here.remove(&name);
            if its.here.is_empty() {
                self.rooms.remove(&room);
            } else {
                self.publish(hub, &room, format!("-{name}"));
            }
        }
    }
}

impl Person {
    fn may_speak(&mut self, now: Instant) -> bool {
        let pauses = (now - self.left.1).as_millis() / PAUSE.as_millis();
        let pauses = u32::try_from(pauses).unwrap_or(SAYS_MAX);
        self.left =
            (SAYS_MAX.min(self.left.0.saturating_add(pauses)), self.left.1 + PAUSE * pauses);
        let may = self.left.0 > 0;
        self.left.0 -= u32::from(may);
        may
    }
}

fn read_position(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once('.')?;
    Some(Position { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
}
