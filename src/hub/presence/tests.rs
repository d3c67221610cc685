//! Each limit at its value and one beyond, and how leaves are put off.

use std::error::Error;

use super::{super::tests_hub, super::tests_open, *};

const KEY: u64 = 5;
const DELAY: Duration = Duration::from_secs(10);

// The clock starts somewhere; it is read once.
#[allow(clippy::disallowed_methods)]
fn hub() -> Hub {
    tests_hub(Instant::now())
}

fn presence(set: impl FnOnce(&mut PresenceConfig)) -> Presence {
    let mut config = PresenceConfig::default();
    set(&mut config);
    Presence::new(KEY, |topic| format!("{topic}/who"), config)
}

/// Joins with a connection of its own.
fn join(
    presence: &mut Presence,
    hub: &mut Hub,
    topic: &str,
    id: &str,
) -> Result<ConnId, PresenceError> {
    let conn = tests_open(hub);
    presence.join(hub, conn, topic, id, "").map(|()| conn)
}

fn ids(presence: &Presence, topic: &str) -> Vec<String> {
    presence.members(topic).map(|member| member.id.to_owned()).collect()
}

/// Names the limit, and leaves everything as it was.
#[track_caller]
fn refuses(presence: &mut Presence, hub: &mut Hub, topic: &str, id: &str, info: &str, limit: &str) {
    let before = format!("{presence:?}");
    let conn = tests_open(hub);
    let refused = presence.join(hub, conn, topic, id, info).unwrap_err();
    assert_eq!(presence.check(hub, topic, id, info), Err(refused));
    assert!(refused.to_string().contains(&format!("`{limit}`")), "{refused}");
    assert!(refused.source().is_none());
    assert_eq!(format!("{presence:?}"), before);
}

#[test]
fn an_id_and_an_info_may_be_as_long_as_their_limits() {
    let mut hub = hub();
    let mut presence = presence(|limits| (limits.id_bytes_max, limits.info_bytes_max) = (3, 4));
    assert_eq!((presence.config().id_bytes_max, presence.config().info_bytes_max), (3, 4));
    let conn = tests_open(&mut hub);
    assert_eq!(presence.join(&mut hub, conn, "a", "ada", "true"), Ok(()));
    assert_eq!(presence.members("a").next().unwrap().to_string(), r#"{"id":"ada","info":true}"#);
    refuses(&mut presence, &mut hub, "a", "adam", "", "id_bytes_max");
    refuses(&mut presence, &mut hub, "a", "ben", "false", "info_bytes_max");
}

#[test]
fn a_companion_topic_has_a_name_that_a_topic_may_have() {
    let (mut hub, mut presence) = (hub(), presence(|_| {}));
    let longest = "t".repeat(hub.config().topic_name_bytes_max - "/who".len());
    assert!(join(&mut presence, &mut hub, &longest, "ada").is_ok());
    refuses(&mut presence, &mut hub, &(longest + "t"), "ada", "", "topic_name_bytes_max");
}

#[test]
fn there_are_as_many_members_and_topics_as_the_limits_say() {
    let mut hub = hub();
    let mut presence = presence(|limits| {
        (limits.members_max, limits.members_total_max, limits.topics_max) = (2, 4, 2);
    });
    for id in ["ada", "ben"] {
        assert!(join(&mut presence, &mut hub, "a", id).is_ok());
    }
    refuses(&mut presence, &mut hub, "a", "cy", "", "members_max");
    assert!(join(&mut presence, &mut hub, "b", "ada").is_ok());
    refuses(&mut presence, &mut hub, "c", "ada", "", "topics_max");
    assert!(join(&mut presence, &mut hub, "b", "ben").is_ok());
    presence.config.members_max = 3;
    refuses(&mut presence, &mut hub, "b", "cy", "", "members_total_max");
    // One that is there may have further connections.
    assert!(join(&mut presence, &mut hub, "b", "ben").is_ok());
    presence.config.members_max = 0;
    refuses(&mut presence, &mut hub, "c", "ada", "", "members_max");
}

#[test]
fn a_connection_is_one_member_of_a_topic_while_it_is_there() {
    let (mut hub, mut presence) = (hub(), presence(|_| {}));
    let conn = join(&mut presence, &mut hub, "a", "ada").unwrap();
    assert_eq!(presence.join(&mut hub, conn, "a", "ada", "1"), Ok(()));
    assert_eq!(presence.join(&mut hub, conn, "a", "ben", ""), Err(PresenceError::OtherMember));
    assert_eq!(presence.join(&mut hub, conn, "b", "ben", ""), Ok(()));
    assert_eq!((presence.count("a"), presence.connection_count("a")), (1, 1));
    assert_eq!(presence.members("a").next().unwrap().info, "null");
    hub.abort(conn);
    assert_eq!(presence.join(&mut hub, conn, "c", "ada", ""), Err(PresenceError::Gone));
    // What it was goes with it, once.
    for _ in 0..2 {
        presence.handle_close(&mut hub, conn);
        assert_eq!((presence.count("a"), presence.connection_count("a")), (1, 0));
        assert_eq!(presence.leaves.len(), 2);
    }
    assert!(presence.memberships.is_empty() && !presence.leave(&mut hub, conn, "a"));
}

#[test]
fn a_member_leaves_when_its_last_connection_has_been_gone_for_the_delay() {
    let (mut hub, mut presence) = (hub(), presence(|_| {}));
    let windows = [(); 2].map(|()| join(&mut presence, &mut hub, "a", "ada").unwrap());
    assert!(presence.leave(&mut hub, windows[0], "a"));
    assert!(presence.leaves.is_empty() && presence.timer.is_none());
    assert!(presence.leave(&mut hub, windows[1], "a"));
    let (due, timer) = presence.timer.unwrap();
    assert_eq!(due, hub.now() + DELAY);
    // It comes back in time, and goes again: the delay begins anew.
    hub.now += DELAY / 2;
    let conn = join(&mut presence, &mut hub, "a", "ada").unwrap();
    assert!(presence.leaves.is_empty() && presence.timer.is_none() && !hub.cancel_timer(timer));
    presence.handle_close(&mut hub, conn);
    hub.now = due;
    assert!(presence.handle_timer(&mut hub, KEY));
    assert_eq!(presence.count("a"), 1);
    let moment = Duration::from_nanos(1);
    hub.now += DELAY / 2 - moment;
    assert!(presence.handle_timer(&mut hub, KEY));
    hub.now += moment;
    assert!(!presence.handle_timer(&mut hub, KEY + 1));
    assert_eq!(presence.count("a"), 1);
    assert!(presence.handle_timer(&mut hub, KEY));
    assert!(presence.topics.is_empty() && presence.timer.is_none());
    assert_eq!((presence.count("a"), presence.members), (0, 0));
}

#[test]
fn one_that_leaves_at_once_waits_for_no_delay_and_what_was_joined_last_is_left_first() {
    let (mut hub, mut presence) = (hub(), presence(|_| {}));
    let left = Arc::new(std::sync::Mutex::new(Vec::new()));
    let changes = Arc::clone(&left);
    presence.watch(move |topic, change| {
        if let MemberChange::Leave { id } = change {
            changes.lock().unwrap().push(format!("{topic} {id}"));
        }
    });
    let conn = join(&mut presence, &mut hub, "a", "ada").unwrap();
    ["b", "c", "d"]
        .iter()
        .for_each(|topic| presence.join(&mut hub, conn, topic, "ada", "").unwrap());
    assert!(!presence.leave_at_once(&mut hub, conn, "e"));
    assert!(presence.leave_at_once(&mut hub, conn, "b"));
    assert!(presence.has_member("b", "ada") && !presence.has_member("b", "ben"));
    assert_eq!(presence.timer.unwrap().0, hub.now());
    presence.handle_timer(&mut hub, KEY);
    assert!(!presence.has_member("b", "ada") && presence.has_member("c", "ada"));
    presence.handle_close(&mut hub, conn);
    hub.now += DELAY;
    presence.handle_timer(&mut hub, KEY);
    assert_eq!(*left.lock().unwrap(), ["b ada", "d ada", "c ada", "a ada"]);
}

#[test]
fn as_many_leave_in_a_turn_as_the_limit_says_in_the_order_of_their_going() {
    let mut hub = hub();
    let mut presence = presence(|limits| limits.leaves_per_turn = 2);
    let conns = ["d", "b", "e", "a", "c"].map(|id| join(&mut presence, &mut hub, "a", id).unwrap());
    assert_eq!(ids(&presence, "a"), ["a", "b", "c", "d", "e"]);
    conns.into_iter().for_each(|conn| presence.handle_close(&mut hub, conn));
    hub.now += DELAY;
    for left in [&["a", "c", "e"][..], &["c"], &[]] {
        assert!(presence.handle_timer(&mut hub, KEY));
        assert_eq!(ids(&presence, "a"), left);
        // The next turn goes on.
        assert_eq!(presence.timer.is_some_and(|(at, _)| at <= hub.now()), !left.is_empty());
    }
    presence.config.leaves_per_turn = 0;
    let conn = join(&mut presence, &mut hub, "a", "f").unwrap();
    presence.handle_close(&mut hub, conn);
    hub.now += DELAY;
    presence.handle_timer(&mut hub, KEY);
    assert_eq!(presence.count("a"), 0);
}

#[test]
fn nothing_changes_without_its_publication() {
    let (mut hub, mut presence) = (hub(), presence(|_| {}));
    let conn = join(&mut presence, &mut hub, "a", "ada").unwrap();
    let other = join(&mut presence, &mut hub, "b", "ada").unwrap();
    let watcher = tests_open(&mut hub);
    hub.subscribe(watcher, "a/who").unwrap();
    hub.commons.config.topic_unserved_bytes_max = 0;
    let refused = join(&mut presence, &mut hub, "a", "ben").unwrap_err();
    assert_eq!(refused, PresenceError::Unpublished(PublishError::TopicFull));
    assert!(refused.to_string().contains("topic_unserved_bytes_max") && refused.source().is_some());
    assert_eq!((ids(&presence, "a"), presence.members), (vec!["ada".to_owned()], 2));
    // A leave that is refused holds up no other.
    [conn, other].into_iter().for_each(|conn| presence.handle_close(&mut hub, conn));
    hub.now += DELAY;
    presence.handle_timer(&mut hub, KEY);
    assert_eq!((presence.count("a"), presence.count("b")), (1, 0));
    assert_eq!(presence.timer.unwrap().0, hub.now() + RETRY);
    hub.commons.config.topic_unserved_bytes_max = 1000;
    hub.now += RETRY;
    presence.handle_timer(&mut hub, KEY);
    assert_eq!(presence.count("a"), 0);
    assert_eq!(hub.position("a/who").unwrap().offset, 1);
}

#[test]
fn a_delay_may_be_longer_than_the_clock_goes() {
    let mut hub = hub();
    let mut presence = presence(|limits| limits.leave_delay = Duration::MAX);
    let conn = join(&mut presence, &mut hub, "a", "ada").unwrap();
    presence.handle_close(&mut hub, conn);
    assert_eq!((presence.count("a"), presence.timer.unwrap().0), (1, hub.now() + DELAY_MAX));
}

#[test]
fn what_is_published_is_json_whatever_the_id_is() {
    let member = Member { id: "\"\\\n\u{1}κ", info: r#"{"a":[1]}"# };
    let id = r#""\"\\\n\u0001κ""#;
    assert_eq!(member.join(), format!(r#"{{"join":{{"id":{id},"info":{{"a":[1]}}}}}}"#));
    assert_eq!(member::leave(member.id), format!(r#"{{"leave":{{"id":{id}}}}}"#));
}

/// What is to be told: each member, and whether it is here.
fn changes(presence: &mut Presence) -> Vec<(String, bool)> {
    let polled = std::iter::from_fn(|| presence.poll_change());
    polled.map(|it| (format!("{}/{}", it.topic, it.id), it.info.is_some())).collect()
}

fn told(name: &str, is_here: bool) -> (String, bool) {
    (name.to_owned(), is_here)
}

/// One that is shared, with these limits.
fn shared(set: impl FnOnce(&mut PresenceConfig)) -> Presence {
    Presence { sharing: Some(Box::default()), ..presence(set) }
}

#[test]
fn what_decides_is_told_who_is_here_and_publishes_itself() {
    let (mut hub, mut presence) = (hub(), shared(|_| {}));
    let watcher = tests_open(&mut hub);
    hub.subscribe(watcher, "a/who").unwrap();
    let conn = join(&mut presence, &mut hub, "a", "ada").unwrap();
    join(&mut presence, &mut hub, "a", "ada").unwrap();
    // The timer comes once, and then nothing but for what is new.
    assert_eq!(presence.timer.unwrap().0, hub.now());
    assert!(presence.handle_timer(&mut hub, KEY) && presence.timer.is_none());
    assert_eq!(changes(&mut presence), [told("a/ada", true)]);
    let other = join(&mut presence, &mut hub, "a", "ben").unwrap();
    presence.handle_close(&mut hub, other);
    presence.handle_close(&mut hub, conn);
    assert_eq!(changes(&mut presence), [told("a/ben", true)]);
    hub.now += DELAY;
    presence.handle_timer(&mut hub, KEY);
    assert_eq!(changes(&mut presence), [told("a/ben", false)]);
    assert_eq!(hub.position("a/who").unwrap().offset, 0, "nothing is published here");
}

#[test]
fn a_member_that_has_left_counts_until_that_is_known() {
    let mut hub = hub();
    let mut presence = shared(|limits| (limits.members_total_max, limits.leaves_per_turn) = (2, 9));
    let conns = ["ada", "ben"].map(|id| join(&mut presence, &mut hub, "a", id).unwrap());
    conns.into_iter().for_each(|conn| presence.handle_close(&mut hub, conn));
    hub.now += DELAY;
    presence.handle_timer(&mut hub, KEY);
    assert_eq!(changes(&mut presence), [told("a/ada", false), told("a/ben", false)]);
    refuses(&mut presence, &mut hub, "b", "cy", "", "members_total_max");
    // One comes back before, and another after it was asked for again.
    join(&mut presence, &mut hub, "a", "ada").unwrap();
    presence.repeat_change("a", "ben");
    presence.settle_change("a", "ada");
    presence.settle_change("a", "ben");
    assert_eq!(ids(&presence, "a"), ["ada", "ben"]);
    assert_eq!(changes(&mut presence), [told("a/ada", true), told("a/ben", false)]);
    presence.settle_change("a", "ada");
    presence.settle_change("a", "ben");
    assert_eq!((ids(&presence, "a"), presence.members), (vec!["ada".to_owned()], 1));
    assert!(join(&mut presence, &mut hub, "b", "cy").is_ok());
}

#[test]
fn who_comes_back_after_its_leave_was_told_has_the_info_of_then() {
    let (mut hub, mut presence) = (hub(), shared(|_| {}));
    let mut info = None;
    for told in ["1", "2"] {
        let conn = tests_open(&mut hub);
        presence.join(&mut hub, conn, "a", "ada", told).unwrap();
        info = presence.poll_change().unwrap().info;
        presence.handle_close(&mut hub, conn);
        hub.now += DELAY;
        presence.handle_timer(&mut hub, KEY);
        assert_eq!(presence.poll_change().unwrap().info, None);
    }
    assert_eq!(info.as_deref(), Some("2"));
}

#[test]
fn members_are_told_again_in_turn() {
    let (mut hub, mut presence) = (hub(), shared(|_| {}));
    for (topic, id) in [("a", "x"), ("a", "y"), ("b", "x"), ("c", "x"), ("c", "y")] {
        join(&mut presence, &mut hub, topic, id).unwrap();
    }
    assert_eq!(changes(&mut presence).len(), 5);
    for (expected, is_over) in
        [(&["a/x", "a/y"][..], false), (&["b/x", "c/x"], false), (&["c/y"], true)]
    {
        assert_eq!(presence.repeat_changes(2), is_over);
        let expected: Vec<_> = expected.iter().map(|name| told(name, true)).collect();
        assert_eq!(changes(&mut presence), expected);
    }
    assert!(!presence.repeat_changes(1));
    assert_eq!(presence.change_counts(), (10, 11));
    presence.repeat_from_start();
    // What is to be told already is told once.
    assert!(presence.repeat_changes(9));
    assert_eq!(changes(&mut presence).len(), 5);
    assert_eq!(presence.change_counts(), (15, 15));
    assert!(shared(|_| {}).repeat_changes(1) && self::presence(|_| {}).repeat_changes(1));
}

#[test]
fn a_list_of_all_nodes_is_shown_while_it_is_known() {
    let (mut hub, mut presence) = (hub(), shared(|limits| limits.members_max = 2));
    join(&mut presence, &mut hub, "a", "ada").unwrap();
    let member = |id: &str| (Box::from(id), Box::from("1"));
    let watched = Arc::new(std::sync::Mutex::new(Vec::new()));
    let changes = Arc::clone(&watched);
    presence
        .watch(move |topic, change| changes.lock().unwrap().push(format!("{topic} {change:?}")));
    presence.handle_news("a", PresenceNews::Join("zoe".into(), "1".into()));
    assert_eq!(ids(&presence, "a"), ["ada"], "all of them were not told");
    presence.handle_news("a", PresenceNews::All(vec![member("ben"), member("ada")]));
    assert_eq!((ids(&presence, "a"), presence.count("a")), (vec!["ada".into(), "ben".into()], 2));
    assert_eq!(presence.connection_count("a"), 1);
    // The limit is one of all nodes, where they are known; one that is there already may come here too.
    refuses(&mut presence, &mut hub, "a", "cy", "", "members_max");
    assert!(join(&mut presence, &mut hub, "a", "ben").is_ok());
    presence.handle_news("a", PresenceNews::Leave("ada".into()));
    presence.handle_news("a", PresenceNews::Join("cy".into(), "2".into()));
    assert_eq!(ids(&presence, "a"), ["ben", "cy"]);
    assert!(presence.has_member("a", "cy") && !presence.has_member("a", "ada"));
    let watched = watched.lock().unwrap();
    assert!(watched[0].contains("ada") && watched[1].contains("cy") && watched.len() == 2);
    presence.handle_news("a", PresenceNews::Unknown);
    assert_eq!(ids(&presence, "a"), ["ada", "ben"]);
    // One that is not shared has no list.
    let mut alone = self::presence(|_| {});
    alone.handle_news("a", PresenceNews::All(vec![member("ben")]));
    assert_eq!((alone.count("a"), alone.poll_change()), (0, None));
}
