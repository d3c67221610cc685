use std::{cell::RefCell, rc::Rc};

use pushloop::{
    Config, Handler, Message, Reason,
    testing::{Client, World},
};

use super::*;
use crate::{hooks::Webhook, pusher::AppFile};

/// Each connection has so many channels of Pusher's.
const CHANNELS: usize = 100;

struct App {
    presence: Presence,
    conns: Vec<ConnId>,
}

struct Channels(Rc<RefCell<App>>);

impl Handler for Channels {
    fn on_open(&mut self, _: &mut Hub, id: ConnId) {
        self.0.borrow_mut().conns.push(id);
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}

    fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.0.borrow_mut().presence.handle_close(hub, id);
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        assert!(self.0.borrow_mut().presence.handle_timer(hub, key));
    }
}

fn of_apps(has_webhook: bool) -> Presence {
    let mut options = Options::default();
    options.broker.url = Some("redis://127.0.0.1".to_owned());
    options.tokens.apps.push(AppFile::parse("1:key:f").unwrap());
    if has_webhook {
        options.hooks.webhooks.push(Webhook::parse("1:http://127.0.0.1:9/").unwrap());
    }
    of(&options).unwrap()
}

#[test]
fn so_many_channels_are_occupied_at_a_server_and_no_more() {
    let app = Rc::new(RefCell::new(App { presence: of_apps(true), conns: Vec::new() }));
    let mut world = World::new(1, Config::default(), |_| Channels(Rc::clone(&app)));
    let _clients: Vec<Client> = (0..=200_000 / CHANNELS).map(|_| world.connect("/")).collect();
    let App { presence, conns } = &mut *app.borrow_mut();
    let mut occupy = |nth: usize| {
        let (topic, channel) = (occupancy(&format!("c{nth}")), format!("c{nth}"));
        presence.join(world.hub(), conns[nth / CHANNELS], &topic, &channel, "")
    };
    assert!((0..200_000).all(|nth| occupy(nth).is_ok()), "at the limit");
    let why = occupy(200_000).unwrap_err();
    assert_eq!(why, PresenceError::TooManyMembers, "one more");
    assert!(why.to_string().contains("members_total_max"), "{why}");
    let limits = of_apps(false).config().clone();
    assert_eq!((limits.topics_max, limits.members_total_max), (10_000, 100_000), "nobody is told");
}

#[test]
fn each_list_that_servers_share_has_one_name() {
    for (topic, list) in
        [("a", "$presence/a"), ("$joins/a", "$joins/a"), ("$occupied/a", "$occupied/a")]
    {
        assert_eq!((&*companion(topic), topic_of(list)), (list, Some(topic)));
    }
    // Otherwise one that subscribes there would have another list put in the place of theirs.
    for other in
        ["a", "$stats", "$presence/$joins/a", "$presence/$occupied/a", "$presence/$presence/a"]
    {
        assert_eq!(topic_of(other), None, "{other}");
    }
    assert!(leaves_with_info("$joins/a") && !leaves_with_info("a"));
    assert_eq!((&*occupancy("a"), occupied_of("$occupied/a")), ("$occupied/a", Some("a")));
}

#[test]
fn an_info_is_json_that_others_can_read_where_it_is_put() {
    for good in ["null", "1", "\"a\"", "{\"a\":[1,2]}", " [] ", &nested(124)] {
        assert!(is_json(good), "{good}");
    }
    for bad in
        ["", "x", "1,2", "],[", "1],[2", "{\"a\"", "\"\\ud800\"", "NaN", "1e999", &nested(125)]
    {
        assert!(!is_json(bad), "{bad}");
    }
}

#[test]
fn a_list_may_be_as_long_as_its_limit() {
    let listed = |len: usize| {
        let mut list = String::new();
        let before = ",\"members\":[a,".len();
        let members = ["a".to_owned(), "b".repeat(len - before)];
        add_members(&mut list, members.iter()).map(|()| list.len())
    };
    assert_eq!(listed(LIST_BYTES_MAX), Ok(LIST_BYTES_MAX + 1));
    let (status, why) = listed(LIST_BYTES_MAX + 1).unwrap_err();
    assert!(status == 400 && why.contains("presence_list_bytes_max = 1048576"), "{why}");
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}
