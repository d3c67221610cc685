//! The chat of the examples, by clients that are no page: what it holds to, and whom it shows out.

#[path = "../../examples/chat/room.rs"]
mod room;
#[path = "../../examples/chat/server.rs"]
mod server;
mod work;

use crate::page::{self, Page};
use crate::support::process::{Process, Stream, connect, read_text};
use crate::{ledger, name};
use pushloop::Position;
use room::{KEYS_MAX, Room};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

const PAGE: Page = Page { name: "chat", port: 0, html: "", takes: &[] };

struct Client(WebSocket<Stream>);

impl Client {
    fn new(address: &str) -> Self {
        let client = connect(address, "/chat");
        client.get_ref().0.set_nodelay(true).expect("a socket can be");
        Self(client)
    }

    fn named(address: &str, name: &str) -> Self {
        let mut client = Self::new(address);
        client.sends(&json!({ "name": name, "token": format!("token of {name}") }));
        assert_eq!(client.reads(), json!({ "entered": name }));
        client
    }

    fn sends(&mut self, value: &Value) {
        self.0.send(Message::text(value.to_string())).expect("it is sent");
    }

    fn reads(&mut self) -> Value {
        serde_json::from_str(&read_text(&mut self.0)).expect("it is JSON")
    }

    fn joins(&mut self, room: &str) -> Value {
        self.asks_for(&json!({ "join": room }))
    }

    fn joins_after(&mut self, room: &str, id: &str) -> Value {
        self.asks_for(&json!({ "join": room, "after": id }))
    }

    fn asks_for(&mut self, room: &Value) -> Value {
        self.sends(room);
        loop {
            let answer = self.reads();
            if answer.get("here").is_some() {
                return answer;
            }
        }
    }

    fn says(&mut self, room: &str, text: &str, key: &str) {
        self.sends(&json!({ "say": text, "room": room, "key": key }));
    }

    /// The next line that is said, whoever comes and leaves meanwhile.
    fn hears(&mut self) -> Value {
        loop {
            let message = self.reads();
            if let Some(line) = message.get("line") {
                return line.clone();
            }
        }
    }

    /// Why it is shown out.
    fn is_refused(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.0.read().expect("a Close frame comes") {
                let frame = frame.expect("with a code");
                return (frame.code.into(), frame.reason.as_str().to_owned());
            }
        }
    }
}

/// Where a line is, as its id says: in which life of its room, and after how many.
fn place(line: &Value) -> Position {
    line["id"].as_str().and_then(|id| id.parse().ok()).expect("an id is a position")
}

fn texts(joined: &Value) -> Vec<&str> {
    let lines = joined["lines"].as_array().expect("a list");
    lines.iter().map(|line| line["text"].as_str().expect("text")).collect()
}

#[test]
fn a_room_hears_its_own_and_who_comes_and_leaves() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let mut ada = Client::named(&address, "Ada");
    assert_eq!(ada.joins("lobby")["here"], json!(["Ada"]));
    let mut bob = Client::named(&address, "Bob");
    assert_eq!(bob.joins("lobby")["here"], json!(["Ada", "Bob"]));
    assert_eq!(ada.reads(), json!({ "room": "lobby", "came": "Bob" }));
    bob.joins("garden");
    bob.says("garden", "nobody else is here", "1");
    bob.says("lobby", "hi", "2");
    assert_eq!(ada.hears()["text"], "hi");
    bob.sends(&json!({ "leave": "lobby" }));
    assert_eq!(ada.reads(), json!({ "room": "lobby", "left": "Bob" }));
    let mut eve = Client::named(&address, "Eve");
    eve.joins("lobby");
    assert_eq!(ada.reads(), json!({ "room": "lobby", "came": "Eve" }));
    drop(eve);
    assert_eq!(ada.reads(), json!({ "room": "lobby", "left": "Eve" }));
}

#[test]
fn whoever_comes_back_gets_what_was_said_meanwhile_and_is_not_heard_twice() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let mut ada = Client::named(&address, "Ada");
    ada.joins("lobby");
    ada.says("lobby", "one", "a");
    let last = place(&ada.hears());
    let mut bob = Client::named(&address, "Bob");
    assert_eq!(texts(&bob.joins("lobby")), ["one"]);
    bob.says("lobby", "two", "b");
    assert_eq!(bob.hears()["text"], "two");

    // The same page, while the server still takes the old connection for alive.
    let mut again = Client::named(&address, "Ada");
    assert_eq!(ada.is_refused(), (4002, "you are here from another window".into()));
    let joined = again.joins_after("lobby", &last.to_string());
    assert_eq!((texts(&joined), &joined["gap"]), (vec!["two"], &json!(false)));
    again.says("lobby", "one", "a");
    again.says("lobby", "three", "c");
    assert_eq!(again.hears()["text"], "three");
    assert_eq!(texts(&bob.joins("lobby")), ["one", "two", "three"]);
    // An id from before the server began: of what was said before, nothing is known.
    assert_eq!(again.joins_after("lobby", "3f2a00c4d1e9b007-1")["gap"], json!(true));
}

#[test]
fn a_line_that_is_said_again_is_known_when_it_is_no_longer_kept() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let (mut ada, mut bob) = (Client::named(&address, "Ada"), Client::named(&address, "Bob"));
    ada.joins("lobby");
    bob.joins("lobby");
    ada.says("lobby", "one", "a");
    let before = Position { offset: 0, ..place(&bob.hears()) };
    // 8,000 bytes each, of the 48 KiB that a room keeps.
    for n in 0..7 {
        bob.says("lobby", &"😀".repeat(2_000), &n.to_string());
        bob.hears();
    }
    // Ada was cut off before she heard her own line.
    let mut again = Client::named(&address, "Ada");
    let joined = again.joins_after("lobby", &before.to_string());
    assert_eq!((texts(&joined).contains(&"one"), &joined["gap"]), (false, &json!(true)));
    again.says("lobby", "one", "a");
    again.says("lobby", "two", "b");
    assert_eq!(bob.hears()["text"], "two");
    // A key is a page's own: the same of another is another.
    bob.says("lobby", "three", "a");
    assert_eq!(again.hears()["text"], "two");
    assert_eq!(again.hears()["text"], "three");
}

#[test]
fn the_keys_that_a_room_knows_are_more_than_its_lines_and_not_without_end() {
    let mut room = Room::default();
    for n in 0..=KEYS_MAX {
        room.remember("token", &n.to_string());
        // What is known is not known twice.
        room.remember("token", &n.to_string());
    }
    assert!(!room.knows("token", "0"), "it gave way");
    assert!((1..=KEYS_MAX).all(|n| room.knows("token", &n.to_string())));
    assert!(!room.knows("another token", "1"));
}

#[test]
fn a_history_is_bounded_and_what_is_forgotten_is_a_gap() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let mut ada = Client::named(&address, "Ada");
    ada.joins("lobby");
    let mut ids = Vec::new();
    for n in 0..14 {
        ada.says("lobby", &"é".repeat(2_000), &n.to_string());
        ids.push(place(&ada.hears()));
    }
    assert!(ids.iter().map(|id| id.offset).eq(1..=14), "{ids:?}");
    assert!(ids.iter().all(|id| id.epoch == ids[0].epoch), "{ids:?}");
    let joined = ada.joins("lobby");
    assert_eq!(joined["gap"], json!(false));
    // 4,000 bytes each, of the 48 KiB that a room keeps, and of which it gives up a quarter at once.
    let kept = texts(&joined).len();
    assert!((8..=12).contains(&kept), "{kept}");
    // A page that has the last of those that are forgotten misses nothing.
    let mut gap_after = |id: Position| ada.joins_after("lobby", &id.to_string())["gap"].clone();
    assert_eq!(gap_after(ids[13 - kept]), json!(false));
    assert_eq!(gap_after(ids[12 - kept]), json!(true));
}

#[test]
fn whoever_breaks_the_rules_is_told_why_and_nobody_else_is_hurt() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let mut ada = Client::named(&address, "Ada");
    ada.joins("lobby");
    let enter = |name: &str| json!({ "name": name, "token": "t" }).to_string();
    let long = "x".repeat(25);
    for (message, code, reason) in [
        ("nonsense".to_owned(), 4000, "a message has to be JSON"),
        ("[".repeat(10_000), 4000, "a message has to be JSON"),
        ("5".to_owned(), 4000, "enter with a name first"),
        (json!({ "join": "lobby" }).to_string(), 4000, "enter with a name first"),
        (enter(""), 4000, "name has to be a name of 1 to 24 characters"),
        (enter(&long), 4000, "name has to be a name of 1 to 24 characters"),
        (enter("a\u{7}"), 4000, "name has to be a name of 1 to 24 characters"),
        (json!({ "name": 5, "token": "t" }).to_string(), 4000, "name has to be a name"),
        (json!({ "name": "Bob" }).to_string(), 4000, "token has to be text of 1 to 40"),
        (enter("Ada"), 4001, "the name Ada is taken"),
        (" ".repeat(16 * 1024 + 1), 1009, ""),
    ] {
        let mut eve = Client::new(&address);
        eve.0.send(Message::text(message)).expect("it is sent");
        let refused = eve.is_refused();
        assert!(refused.0 == code && refused.1.starts_with(reason), "{refused:?} is not {reason}");
    }
    for (name, wish, reason) in [
        ("E1", json!({ "name": "Eve", "token": "t" }), "a name is chosen once"),
        ("E2", json!({ "join": long }), "join has to be a name"),
        ("E3", json!({ "join": "lobby", "after": -1 }), "after has to be an id"),
        ("E4", json!({ "say": "hi", "room": "lobby", "key": "k" }), "join a room before"),
        ("E5", json!({ "say": "x".repeat(2_001), "room": "a", "key": "k" }), "say has to be"),
        ("E6", json!({ "leave": [] }), "leave has to be a name"),
        ("E7", json!({}), "say has to be text"),
    ] {
        let mut eve = Client::named(&address, name);
        eve.sends(&wish);
        let (code, said) = eve.is_refused();
        assert!(code == 4000 && said.starts_with(reason), "{said} is not {reason}");
    }
    let mut eve = Client::new(&address);
    eve.0.send(Message::binary(vec![0xFF; 10])).expect("it is sent");
    assert_eq!(eve.is_refused().0, 4000);
    ada.says("lobby", "still here", "k");
    assert_eq!(ada.hears()["text"], "still here");
}

#[test]
fn limits_hold_at_the_limit_and_one_beyond() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let mut ada = Client::named(&address, &"a".repeat(24));
    for n in 0..16 {
        ada.joins(&format!("room {n}"));
    }
    ada.says("room 0", &"x".repeat(2_000), &"k".repeat(40));
    assert_eq!(ada.hears()["text"].as_str().map(str::len), Some(2_000));
    ada.sends(&json!({ "join": "one more" }));
    let (code, reason) = ada.is_refused();
    assert!(code == 4003 && reason.contains("topics_per_connection_max"), "{code} {reason}");

    // Far more than are earned anew meanwhile.
    let mut bob = Client::named(&address, "Bob");
    for _ in 0..59 {
        bob.joins("lobby");
    }
    let join = Message::text(json!({ "join": "lobby" }).to_string());
    let _ = (0..1000).take_while(|_| bob.0.send(join.clone()).is_ok()).count();
    assert_eq!(bob.is_refused(), (4003, "slow down: 60 messages at once, 6 a second".into()));
}

#[test]
fn a_name_shows_and_is_no_other_that_looks_the_same() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let mut ada = Client::named(&address, "Ada");
    for name in [
        "Ada\u{200B}",
        "\u{FEFF}Ada",
        "A\u{200D}da",
        "Ada\u{FE0F}",
        "A\u{AD}da",
        "Ada\u{E0041}",
        "adA\u{202E}",
        "\u{2067}Ada",
        "Ada ",
        "A  da",
        "A\u{A0}da",
        "A\u{2028}da",
        "A\tda",
        "A\u{85}da",
        "\u{3164}",
        "\u{2800}",
        "e\u{301}",
        // What does not show: an empty note, a filler, letters that only fill a place.
        "\u{1D159}",
        "Ada\u{1D159}",
        "\u{16FE4}",
        "Ada\u{16FE4}",
        "\u{18B00}\u{16FE4}",
        "\u{115F}\u{1160}",
        "\u{FFA0}",
        "\u{13441}",
        "ក\u{17B5}",
        "Ada\u{303F}",
        "Ada\u{E000}",
        "Ada\u{378}",
        // What stacks, or is on nothing of its own script.
        &format!("ก{}", "\u{E49}".repeat(23)),
        "ก\u{E49}\u{E49}",
        "ก\u{E31}\u{E48}\u{E49}\u{E4A}\u{E4B}",
        "\u{E49}",
        "a\u{E49}",
        "1\u{301}",
        "a\u{20DD}",
        "\u{430}\u{489}",
        // What looks like one character, and is two.
        "\u{1112}\u{1161}\u{11AB}",
        &format!("z{}", "\u{300}".repeat(23)),
        &"\u{489}".repeat(10_000),
    ] {
        assert!(!name::is_name(name, 24), "{}", name.escape_unicode());
        let mut eve = Client::new(&address);
        eve.sends(&json!({ "name": name, "token": "t" }));
        let (code, reason) = eve.is_refused();
        let told = (4000, "name has to be a name of 1 to 24 characters that show");
        let (too_long, escaped) = (name.len() > 16 * 1024, name.escape_unicode());
        assert!(too_long && code == 1009 || (code, &reason[..]) == told, "{code} {escaped}");
        if !too_long {
            ada.joins(&"x".repeat(3));
            let mut eve = Client::named(&address, "Eve");
            eve.sends(&json!({ "join": name }));
            assert_eq!(eve.is_refused().0, 4000, "{escaped}");
        }
    }
    for name in [
        "é",
        "Ada Lovelace",
        "<b>",
        "سلام",
        "नमस्ते",
        "สวัสดี",
        "😀",
        "Zoë-Ann O'Hara, Jr.",
        "李",
        "น้ำผึ้ง",
        "မြို့",
        "བརྒྱུད",
        "שִׁמְעוֹן",
        "مُحَمَّد",
        "ẹ́",
        "한글",
        "ᏣᎳᎩ",
        "ガ",
        "👍🏽",
        "𞤀𞤣𞤤𞤢𞤥",
        "a^2 + €5",
        "№ 1",
    ] {
        assert!(name::is_name(name, 24), "{}", name.escape_unicode());
        Client::named(&address, name).joins(name);
    }
}

#[test]
fn of_rooms_that_everybody_left_the_longest_silent_gives_way_and_what_was_never_used_is_not_kept() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let mut number = 0;
    let mut visit = |rooms: &[String], speaks: bool| {
        for rooms in rooms.chunks(15) {
            number += 1;
            let mut client = Client::named(&address, &format!("visitor {number}"));
            for room in rooms {
                client.joins(room);
                if speaks {
                    client.says(room, "was here", "k");
                    client.hears();
                }
                client.sends(&json!({ "leave": room }));
            }
            // In order: once this is answered, all of it has been done.
            client.joins("lobby");
        }
    };
    let named = |start: &str, count: usize| -> Vec<_> {
        (0..count).map(|n| format!("{start} {n}")).collect()
    };
    // The lobby is spoken in first, and once more when all the others were.
    visit(&["lobby".to_owned()], true);
    visit(&named("spoken in", 997), true);
    visit(&["lobby".to_owned()], true);
    visit(&named("silent", 1_100), false);
    visit(&named("further", 3), true);
    let mut ada = Client::named(&address, "Ada");
    let kept = |client: &mut Client, room: &str| texts(&client.joins(room)).len();
    assert_eq!(kept(&mut ada, "lobby"), 2);
    assert_eq!(kept(&mut ada, "further 2"), 1);
    assert_eq!(kept(&mut ada, "spoken in 996"), 1);
    assert_eq!(kept(&mut ada, "spoken in 1"), 1);
    assert_eq!(kept(&mut ada, "spoken in 0"), 0, "it had to give way");
    // A room that nobody spoke in is another when it is there again: it knows nothing of before.
    ada.sends(&json!({ "leave": "spoken in 0" }));
    ada.says("lobby", "now", "a");
    let now = place(&ada.hears());
    assert_eq!(ada.joins_after("spoken in 0", &now.to_string())["gap"], json!(true));
}

#[test]
fn a_thousand_rooms_and_a_further_one_when_all_have_left_one() {
    let mut chat = Process::application("chat");
    let address = chat.address("http://");
    let mut ada = Client::named(&address, "Ada");
    ada.joins("lobby");
    ada.says("lobby", "kept", "k");
    ada.hears();
    let mut crowd: Vec<_> = (0..999_usize.div_ceil(15))
        .map(|n| Client::named(&address, &format!("squatter {n}")))
        .collect();
    for room in 0..999 {
        crowd[room / 15].joins(&format!("room {room}"));
    }
    crowd[0].joins("lobby");
    let mut bob = Client::named(&address, "Bob");
    bob.sends(&json!({ "join": "a further room" }));
    assert_eq!(bob.is_refused(), (4003, "no further room".into()));

    drop(crowd.swap_remove(0));
    while ada.reads() != json!({ "room": "lobby", "left": "squatter 0" }) {}
    let mut bob = Client::named(&address, "Bobby");
    bob.joins("a further room");
    assert_eq!(texts(&bob.joins("lobby")), ["kept"]);
}
