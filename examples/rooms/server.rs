//! The application, which knows of no network.

use std::time::{Duration, Instant};

use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, History, Hub, Message, Position, Presence,
    PresenceConfig, Reason, Request, RequestId,
};

/// So much of what was said is kept for those that come back.
pub const LINES_MAX: u64 = 100;
/// A client may say so much at once, and one more thing for each pause.
pub const SAYS_MAX: u32 = 5;
pub const PAUSE: Duration = Duration::from_secs(1);
/// A client that is told so often to slow down is closed.
pub const WARNINGS_MAX: u32 = 10;
const PRESENCE_TIMER: u64 = 0;

pub fn config() -> Config {
    let mut config = Config::default();
    config.topic.history = Some(History::of(LINES_MAX));
    config
}

pub struct Rooms {
    people: ConnMap<Person>,
    presence: Presence,
}

struct Person {
    name: String,
    room: String,
    after: Option<Position>,
    /// What is left to say, as of when.
    left: (u32, Instant),
    warnings: u32,
}

impl Default for Rooms {
    fn default() -> Self {
        let presence = Presence::new(PRESENCE_TIMER, door, PresenceConfig::default());
        Self { people: ConnMap::new(), presence }
    }
}

/// The topic of who comes and goes: no room has such a name.
fn door(room: &str) -> String {
    format!("{room}/door")
}

impl Rooms {
    fn enter(&mut self, hub: &mut Hub, id: ConnId) -> Option<()> {
        let Person { name, room, after, .. } = self.people.get(id)?;
        let joined = match after {
            Some(after) => hub.subscribe_after(id, room, *after).ok()?,
            None => hub.subscribe_last(id, room, 0).ok()?,
        };
        if joined.kept.is_err() {
            hub.send(id, "!gap").ok()?;
        }
        if after.is_none() || joined.kept.is_err() {
            hub.send(id, format!("!at {}", joined.position)).ok()?;
        }
        // In one turn, so that the client hears of each change after this list, once.
        hub.subscribe(id, &door(room)).ok()?;
        let names = self.presence.members(room).map(|member| member.id);
        let here = names.fold("!here".to_owned(), |here, name| here + " " + name);
        hub.send(id, here).ok()?;
        self.presence.join(hub, id, room, name, "").ok()
    }
}

impl Handler for Rooms {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let (mut name, mut after) = ("", None);
        for (key, value) in
            request.query().unwrap_or("").split('&').filter_map(|it| it.split_once('='))
        {
            match key {
                "as" => name = value,
                "after" => after = value.parse().ok(),
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
        } else if let Some(text) = message.as_text()
            && hub.publish(&person.room, format!("{}: {text}", person.name)).is_err()
        {
            let _ = hub.send(id, "!busy");
        }
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.people.remove(id);
        self.presence.handle_close(hub, id);
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        self.presence.handle_timer(hub, key);
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
