//! Who is there: a random crowd against a naive model, and what those that watch it are told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use pushloop::testing::{Choice, Client, World, each_seed};
use pushloop::{
    Accept, Config, ConnId, ConnMap, Handler, History, Hub, MemberChange, Message, Position,
    Presence, PresenceConfig, Reason, Request, RequestId, Response,
};
use serde_json::Value;

const TIMER: u64 = 3;
const DELAY: u64 = 10;
const ROOMS: [&str; 2] = ["a", "b"];
const IDS: [&str; 4] = ["ada", "ben", "cy", "di"];

/// An application with these addresses: `/in/ROOM,ROOM/ID`, `/list/ROOM`, and `/watch/ROOM`, which begins
/// with the list, or `?after=POSITION` of one.
struct App {
    presence: Presence,
    asked: ConnMap<(Vec<String>, Option<Position>)>,
    /// What it heard of each room, as it is published.
    heard: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl App {
    fn new() -> Self {
        let mut config = PresenceConfig::default();
        config.leave_delay = Duration::from_secs(DELAY);
        let mut presence = Presence::new(TIMER, who, config);
        let heard = Arc::<Mutex<BTreeMap<String, Vec<String>>>>::default();
        let hears = Arc::clone(&heard);
        presence.watch(move |room, change| {
            let text = match change {
                MemberChange::Join(member) => format!("{{\"join\":{member}}}"),
                MemberChange::Leave { id } => format!("{{\"leave\":{{\"id\":\"{id}\"}}}}"),
            };
            hears.lock().expect("nobody panics").entry(room.to_owned()).or_default().push(text);
        });
        Self { presence, asked: ConnMap::new(), heard }
    }

    fn list(&self, hub: &Hub, room: &str) -> String {
        let members: Vec<_> =
            self.presence.members(room).map(|member| member.to_string()).collect();
        let after = hub.position(&who(room)).map_or(String::new(), |position| position.to_string());
        format!("{{\"members\":[{}],\"after\":\"{after}\"}}", members.join(","))
    }
}

fn who(room: &str) -> String {
    format!("{room}/who")
}

impl Handler for App {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let path = request.segments().map(|part| part.expect("UTF-8").into_owned()).collect();
        let asked: (Vec<_>, _) =
            (path, request.query_value("after").map(|after| after.parse().expect("a position")));
        if asked.0[0] == "list" {
            let list = self.list(hub, &asked.0[1]);
            hub.respond(id, Response::text(200, list)).expect("it waits");
        } else {
            hub.accept(id, Accept::default()).expect("it waits");
            self.asked.insert(id.conn(), asked);
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        let (path, after) = self.asked.get(id).expect("it asked").clone();
        match (&*path[0], after) {
            ("in", _) => {
                for room in path[1].split(',') {
                    hub.subscribe(id, room).expect("there is room");
                    let info = format!("\"of {room}\"");
                    self.presence.join(hub, id, room, &path[2], &info).expect("there is room");
                }
            }
            (_, Some(after)) => {
                let joined = hub.subscribe_after(id, &who(&path[1]), after);
                joined.expect("there is room").kept.expect("it is kept");
            }
            (_, None) => {
                hub.subscribe(id, &who(&path[1])).expect("there is room");
                hub.send(id, self.list(hub, &path[1])).expect("there is room");
            }
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        let room = message.as_text().expect("a room");
        assert!(hub.unsubscribe(id, room) && self.presence.leave(hub, id, room));
    }

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.presence.handle_close(hub, id);
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        assert!(self.presence.handle_timer(hub, key));
    }
}

/// A member, as the model has it.
#[derive(Clone, Copy)]
struct Known {
    room: &'static str,
    id: &'static str,
    /// How many connections it has, or when it leaves and in which order.
    stay: Result<usize, (u64, usize)>,
}

/// What should be: a list that is gone through again and again.
#[derive(Default)]
struct Model {
    seconds: u64,
    departures: usize,
    members: Vec<Known>,
    /// What was published of each room.
    told: BTreeMap<&'static str, Vec<String>>,
}

impl Model {
    fn find(&mut self, room: &str, id: &str) -> Option<&mut Known> {
        self.members.iter_mut().find(|known| (known.room, known.id) == (room, id))
    }

    fn enters(&mut self, room: &'static str, id: &'static str) {
        if let Some(known) = self.find(room, id) {
            known.stay = Ok(known.stay.map_or(1, |connections| connections + 1));
            return;
        }
        self.members.push(Known { room, id, stay: Ok(1) });
        let join = format!("{{\"join\":{{\"id\":\"{id}\",\"info\":\"of {room}\"}}}}");
        self.told.entry(room).or_default().push(join);
    }

    fn departs(&mut self, room: &str, id: &str) {
        self.departures += 1;
        let due = (self.seconds + DELAY, self.departures);
        let known = self.find(room, id).expect("it was there");
        let connections = known.stay.expect("it had a connection");
        known.stay = if connections > 1 { Ok(connections - 1) } else { Err(due) };
    }

    fn passes(&mut self, seconds: u64) {
        self.seconds += seconds;
        let now = self.seconds;
        let is_due = |known: &&Known| known.stay.is_err_and(|(due, _)| due <= now);
        let mut leave: Vec<_> = self.members.iter().filter(is_due).copied().collect();
        leave.sort_by_key(|known| known.stay.err());
        for Known { room, id, .. } in leave {
            self.told.entry(room).or_default().push(format!("{{\"leave\":{{\"id\":\"{id}\"}}}}"));
            self.members.retain(|known| (known.room, known.id) != (room, id));
        }
    }

    fn ids(&self, room: &str) -> Vec<&'static str> {
        let ids = self.members.iter().filter(|known| known.room == room).map(|known| known.id);
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        ids
    }
}

/// One that has a list, and what was told since.
struct Watcher {
    room: &'static str,
    client: Client,
    picture: BTreeMap<String, Value>,
    told: Vec<String>,
}

impl Watcher {
    fn reads(&mut self) {
        for message in self.client.messages() {
            let told: Value = serde_json::from_str(message.text()).expect("JSON");
            if told["members"].is_array() {
                self.picture = picture(&told);
                continue;
            }
            self.told.push(message.text().into());
            let id = |member: &Value| member["id"].as_str().expect("a text").to_owned();
            let is_change = match (&told["join"], &told["leave"]) {
                (joins, Value::Null) => {
                    self.picture.insert(id(joins), joins["info"].clone()).is_none()
                }
                (Value::Null, leaves) => self.picture.remove(&id(leaves)).is_some(),
                _ => false,
            };
            assert!(is_change, "{message:?} was told twice, or too late");
        }
    }
}

fn picture(list: &Value) -> BTreeMap<String, Value> {
    let members = list["members"].as_array().expect("a list").iter();
    members
        .map(|member| (member["id"].as_str().expect("a text").into(), member["info"].clone()))
        .collect()
}

struct Crowd {
    world: World<App>,
    choice: Choice,
    model: Model,
    inside: Vec<(Vec<&'static str>, &'static str, Client)>,
    watchers: Vec<Watcher>,
    /// How many came back in time.
    reloads: usize,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let mut config = Config::default();
        config.topic.history = Some(History::of(1000));
        let world = World::new(seed, config, |_| App::new());
        let (choice, model) = (world.choice(), Model::default());
        let (inside, watchers) = (Vec::new(), Vec::new());
        let mut crowd = Self { world, choice, model, inside, watchers, reloads: 0 };
        ROOMS.into_iter().for_each(|room| crowd.watches(room, None));
        crowd
    }

    fn watches(&mut self, room: &'static str, list: Option<&Value>) {
        let after = list.map_or("", |list| list["after"].as_str().expect("a text"));
        let query = if after.is_empty() { String::new() } else { format!("?after={after}") };
        let client = self.world.connect(format!("/watch/{room}{query}"));
        let picture = list.map(picture).unwrap_or_default();
        self.watchers.push(Watcher { room, client, picture, told: Vec::new() });
    }

    fn enters(&mut self, rooms: Vec<&'static str>, id: &'static str) {
        let client = self.world.connect(format!("/in/{}/{id}", rooms.join(",")));
        rooms.iter().for_each(|room| self.model.enters(room, id));
        self.inside.push((rooms, id, client));
    }

    /// Any of them goes.
    fn goes(&mut self) -> Option<(Vec<&'static str>, &'static str)> {
        if self.inside.is_empty() {
            return None;
        }
        let (rooms, id, client) = self.inside.swap_remove(self.choice.below(self.inside.len()));
        if self.choice.chance(50) {
            client.cut()
        } else {
            client.closes(1000)
        }
        self.world.run_until_quiet();
        rooms.iter().for_each(|room| self.model.departs(room, id));
        Some((rooms, id))
    }

    fn passes(&mut self, seconds: u64) {
        self.world.advance(Duration::from_secs(seconds));
        self.model.passes(seconds);
    }

    fn leaves_a_room(&mut self) {
        if let Some((rooms, id, client)) = self.inside.last_mut()
            && let Some(room) = rooms.pop()
        {
            client.send(room);
            self.model.departs(room, id);
        }
        self.world.run_until_quiet();
    }

    fn step(&mut self) {
        let seconds = self.choice.below(DELAY as usize) as u64;
        match self.choice.below(10) {
            0..3 => {
                let rooms = self.choice.of(&[&ROOMS[..1], &ROOMS[1..], &ROOMS[..]]).to_vec();
                let id = self.choice.of(&IDS);
                self.enters(rooms, id);
            }
            3 | 4 => _ = self.goes(),
            5 => {
                if let Some((rooms, id)) = self.goes() {
                    self.passes(seconds);
                    self.enters(rooms, id);
                    self.reloads += 1;
                }
            }
            6 => self.leaves_a_room(),
            7 | 8 => self.passes(2 * seconds),
            _ => {
                let room = self.choice.of(&ROOMS);
                let list = self.world.get(format!("/list/{room}"));
                let list: Value = serde_json::from_str(&list.text()).expect("JSON");
                self.passes(seconds);
                // One that asked when nothing was known begins anew.
                let list = Some(&list).filter(|list| list["after"] != "");
                self.watches(room, list.filter(|_| self.choice.chance(70)));
            }
        }
    }

    /// All that is told and all that is listed is what should be.
    fn is_right(&mut self) {
        for watcher in &mut self.watchers {
            watcher.reads();
            let ids = self.model.ids(watcher.room);
            assert!(watcher.picture.keys().eq(&ids), "{:?} {ids:?}", watcher.picture);
            let of = format!("of {}", watcher.room);
            assert!(watcher.picture.values().all(|info| *info == of));
        }
        for room in ROOMS {
            let (ids, presence) = (self.model.ids(room), &self.world.app.presence);
            assert!(presence.members(room).map(|member| member.id).eq(ids.iter().copied()));
            assert_eq!(presence.count(room), ids.len());
            let members = self.model.members.iter().filter(|known| known.room == room);
            let connections: usize = members.filter_map(|known| known.stay.ok()).sum();
            assert_eq!(presence.connection_count(room), connections);
            assert_eq!(self.world.hub().subscriber_count(room), connections);
        }
    }
}

#[test]
fn a_crowd_is_told_of_as_a_naive_model_says_and_each_join_has_its_leave() {
    let (mut told, mut reloads, mut resumed) = (0, 0, 0);
    each_seed(60, |seed| {
        let mut crowd = Crowd::new(seed);
        for _ in 0..60 {
            crowd.step();
            crowd.is_right();
        }
        while crowd.goes().is_some() {}
        crowd.passes(DELAY);
        crowd.is_right();
        assert!(crowd.model.members.is_empty());
        for (watcher, room) in crowd.watchers.iter().zip(ROOMS) {
            let all = crowd.model.told.remove(room).unwrap_or_default();
            assert_eq!(watcher.told, all);
            let mut heard = crowd.world.app.heard.lock().expect("nobody panics");
            assert_eq!(heard.remove(room).unwrap_or_default(), all);
            let joins = all.iter().filter(|told| told.contains("join")).count();
            assert_eq!(2 * joins, all.len());
            told += all.len();
        }
        reloads += crowd.reloads;
        resumed += crowd.watchers.len() - ROOMS.len();
    });
    println!("{told} joins and leaves, {reloads} reloads, {resumed} came to watch");
    assert!(told > 500 && reloads > 200 && resumed > 200);
}

#[test]
fn thousands_that_leave_at_once_make_no_long_turn() {
    const CROWD: usize = 3_000;
    let mut world = World::new(0, Config::default(), |_| App::new());
    let watcher = world.connect("/watch/a");
    let clients: Vec<_> =
        (0..CROWD).map(|nth| world.knock(format!("/in/a/member-{nth}"))).collect();
    world.run_until_quiet();
    assert_eq!(watcher.messages().len(), 1 + CROWD);
    clients.iter().for_each(Client::cut);
    world.run_until_quiet();
    assert_eq!(world.app.presence.count("a"), CROWD);
    // A moment before the first is due, then turn by turn.
    world.advance(Duration::from_secs(DELAY) - Duration::from_nanos(1));
    assert_eq!(world.app.presence.count("a"), CROWD);
    let (mut turns, mut left) = (0, CROWD);
    while left > 0 {
        world.turn(Duration::from_nanos(1));
        let now = world.app.presence.count("a");
        assert!(left - now <= 256, "{}", left - now);
        turns += usize::from(now < left);
        left = now;
    }
    assert_eq!(turns, CROWD.div_ceil(256));
    world.run_until_quiet();
    assert_eq!(watcher.messages().len(), CROWD);
}
