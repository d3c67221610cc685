use pushloop::{Config, History, Server, TopicOptions};

use super::*;

mod lists;

const EPOCH: u64 = 7;
const KEEPS: Keeps = Keeps { publications: 2000, bytes: 1 << 20 };

/// A node of which the threads are the test.
struct World {
    server: Server,
    shared: Arc<Shared>,
    topics: Topics,
    name: Arc<str>,
    done: Vec<Done>,
}

fn at(offset: u64) -> Position {
    Position { epoch: EPOCH, offset }
}

fn record(offset: u64) -> Record {
    Record {
        is_text: true,
        made_at: 0,
        payload: offset.to_string().into_bytes().into(),
        except: None,
    }
}

fn place(kept: impl IntoIterator<Item = u64>, position: Position) -> Place {
    let kept = kept.into_iter().map(|offset| (offset, record(offset))).collect();
    Place { position, kept, members: 0 }
}

impl World {
    /// Its one topic is wanted, and heard.
    fn opening() -> Self {
        let mut config = Config::default();
        let mut options = TopicOptions::default();
        options.history = Some(History::of(2000));
        (config.topic, config.topics_max) = (options, 300);
        let mut server = Server::new(config).expect("there are descriptors");
        let shared = Arc::new(Shared::new(server.handle()));
        shared.set_connected(true);
        let status = Arc::new(Status::new(std::time::SystemTime::UNIX_EPOCH));
        let mut topics =
            Topics::new("p".to_owned(), 1, Arc::clone(&shared), status, server.hub().now());
        let name: Arc<str> = "t".into();
        assert!(!topics.has(server.hub(), &name, None, Lists::Count));
        assert_eq!(topics.want(server.hub(), &["t".to_owned()], &[], Lists::Count), 1);
        let mut world = Self { server, shared, topics, name, done: Vec::new() };
        assert_eq!(world.asked(), None, "it is not heard yet");
        world.topics.handle_subscribed(world.server.hub(), &world.name);
        assert_eq!(world.asked(), Some(Wanted::Latest(KEEPS)));
        world
    }

    /// It was published to five times, of which two are kept.
    fn live() -> Self {
        let mut world = Self::opening();
        world.opened(Wanted::Latest(KEEPS), place([4, 5], at(5)));
        assert!(matches!(world.done[..], [Done::Ready(1)]));
        world.is_at(5, &[4, 5]);
        world
    }

    /// What is asked of the broker.
    fn asked(&self) -> Option<Wanted> {
        self.shared.echo();
        let batch = self.shared.next_batch().expect("it does not end");
        batch.asked.first().map(|(_, wanted)| *wanted)
    }

    fn opened(&mut self, wanted: Wanted, place: Place) {
        let (hub, name) = (self.server.hub(), Arc::clone(&self.name));
        let applied = self.topics.handle_opened(hub, name, wanted, Ok(place), &mut self.done);
        assert!(matches!(applied, Applied::Yes));
    }

    fn news(&mut self, position: Position) {
        let (hub, name) = (self.server.hub(), Arc::clone(&self.name));
        let applied = self.topics.handle_news(hub, name, position, record(position.offset));
        assert!(matches!(applied, Applied::Yes));
    }

    /// The topic is there, and has the latest of what is published.
    fn is_at(&mut self, offset: u64, latest: &[u64]) {
        let hub = self.server.hub();
        assert_eq!(hub.position("t"), Some(at(offset)));
        let kept = hub.history_last("t", latest.len() as u64);
        let kept: Vec<_> = kept.map(|it| (it.position, it.message.as_bytes().to_vec())).collect();
        let expected = latest.iter().map(|offset| (at(*offset), offset.to_string().into_bytes()));
        assert_eq!(kept, expected.collect::<Vec<_>>());
        assert!(self.topics.has(hub, "t", None, Lists::Count));
    }

    /// Nothing is published for now, and nobody subscribes.
    fn holds(&mut self, offset: u64) {
        let hub = self.server.hub();
        assert_eq!(
            (hub.position("t"), self.topics.has(hub, "t", None, Lists::Count)),
            (Some(at(offset)), false)
        );
    }

    fn is_over(&mut self) {
        let hub = self.server.hub();
        assert_eq!(
            (hub.position("t"), self.topics.has(hub, "t", None, Lists::Count)),
            (None, false)
        );
        assert!(self.topics.topics.is_empty());
    }
}

#[test]
fn what_comes_while_a_topic_opens_waits_for_its_place() {
    let mut world = World::opening();
    (4..=7).for_each(|offset| world.news(at(offset)));
    world.opened(Wanted::Latest(KEEPS), place([4, 5], at(5)));
    world.is_at(7, &[4, 5, 6, 7]);
    world.news(at(7));
    world.news(at(2));
    world.is_at(7, &[6, 7]);
    assert_eq!(world.asked(), None);
}

/// Of what is kept, what lies before a hole or is not the end is no history.
#[test]
fn a_history_with_holes_begins_behind_them() {
    let kept: [(&[u64], &[u64]); 5] =
        [(&[], &[]), (&[2, 4, 5], &[4, 5]), (&[3, 4], &[]), (&[5], &[5]), (&[4, 5, 6], &[])];
    for (kept, expected) in kept {
        let mut world = World::opening();
        world.opened(Wanted::Latest(KEEPS), place(kept.iter().copied(), at(5)));
        assert_eq!(world.server.hub().history_len("t"), expected.len() as u64, "{kept:?}");
        world.is_at(5, expected);
    }
}

#[test]
fn nothing_behind_a_hole_is_delivered_before_it_is_closed() {
    let mut world = World::live();
    world.news(at(8));
    assert_eq!(world.asked(), Some(Wanted::After(5, KEEPS)));
    world.news(at(9));
    world.holds(5);
    // An answer to what was asked before.
    world.opened(Wanted::After(4, KEEPS), place([5], at(5)));
    world.opened(Wanted::Place(5), place([], at(9)));
    world.holds(5);
    world.opened(Wanted::After(5, KEEPS), place([6, 7, 8], at(8)));
    world.is_at(9, &[6, 7, 8, 9]);
    assert_eq!(world.topics.status.broker_recovered.load(Ordering::Relaxed), 3);
}

#[test]
fn a_topic_ends_where_its_subscribers_cannot_follow() {
    let other = Position { epoch: EPOCH + 1, offset: 8 };
    // What was missed is not all there, or is another life's, or was taken back under the same epoch.
    for lost in [
        place([7, 8], at(8)),
        place([6, 8], at(8)),
        place([6, 7], at(8)),
        place([6, 7, 8], other),
        place([], at(4)),
    ] {
        let mut world = World::live();
        world.news(at(8));
        world.opened(Wanted::After(5, KEEPS), lost);
        world.is_over();
    }
    let mut world = World::live();
    world.news(other);
    world.is_over();
    // The broker was looked at.
    for elsewhere in [other, at(4)] {
        let mut world = World::live();
        world.opened(Wanted::Place(5), place([], elsewhere));
        world.is_over();
    }
}

#[test]
fn a_subscription_that_is_dead_is_found_at_the_second_look() {
    let mut world = World::live();
    world.opened(Wanted::Place(5), place([], at(6)));
    world.news(at(6));
    world.opened(Wanted::Place(6), place([], at(7)));
    assert_eq!(world.asked(), None, "its news may be on the way");
    world.opened(Wanted::Place(6), place([], at(7)));
    assert_eq!(world.asked(), Some(Wanted::After(6, KEEPS)));
    world.opened(Wanted::After(6, KEEPS), place([7], at(7)));
    world.is_at(7, &[6, 7]);
}

#[test]
fn what_is_too_much_to_hold_is_asked_for_again() {
    let held = EARLY_MAX as u64;
    for (published, asked) in [(held, None), (held + 1, Some(Wanted::After(5 + held, KEEPS)))] {
        let mut world = World::opening();
        (6..=5 + published).for_each(|offset| world.news(at(offset)));
        world.opened(Wanted::Latest(KEEPS), place([], at(5)));
        world.is_at(5 + held, &[5 + held]);
        world.news(at(6 + published));
        assert_eq!(world.asked(), asked, "{published} came early");
    }
    let mut world = World::opening();
    let big = Record { payload: vec![b'x'; EARLY_BYTES_MAX].into(), ..record(0) };
    let name = Arc::clone(&world.name);
    world.topics.handle_news(world.server.hub(), name, at(6), big);
    world.news(at(7));
    world.opened(Wanted::Latest(KEEPS), place([], at(5)));
    assert_eq!(world.server.hub().position("t"), Some(at(6)));
}

#[test]
fn after_a_lost_connection_each_topic_is_asked_for() {
    let mut world = World::live();
    world.topics.handle_connected();
    assert_eq!(world.asked(), Some(Wanted::After(5, KEEPS)));
    world.news(at(6));
    world.holds(5);
    world.opened(Wanted::After(5, KEEPS), place([6], at(6)));
    world.is_at(6, &[5, 6]);
    world.topics.handle_subscribed(world.server.hub(), &world.name);
    assert_eq!(world.asked(), Some(Wanted::After(6, KEEPS)));
}

/// One that came while nobody subscribed is not waited for twice, and one that gave up is not told.
#[test]
fn a_broker_that_does_not_tell_fails_those_that_wait() {
    let mut world = World::opening();
    assert_eq!(
        world.topics.want(
            world.server.hub(),
            &["t".to_owned(), "$x".to_owned()],
            &[],
            Lists::Count
        ),
        2
    );
    world.topics.forget(1);
    let (hub, name, why) = (world.server.hub(), Arc::clone(&world.name), "WRONGTYPE".to_owned());
    let wanted = Wanted::Latest(KEEPS);
    world.topics.handle_opened(hub, name, wanted, Err(why), &mut world.done);
    assert!(matches!(&world.done[..], [Done::Failed(2, why)] if why.contains("WRONGTYPE")));
    world.is_over();
}

/// Those that give up while the broker says nothing leave nothing behind, and the topic is not heard for them.
#[test]
fn those_that_give_up_are_waited_for_no_more() {
    let mut world = World::opening();
    for _ in 0..100 {
        // One that is named twice is waited for once.
        let names = ["t".to_owned(), "t".to_owned()];
        let number = world.topics.want(world.server.hub(), &names, &[], Lists::Count);
        world.topics.forget(number);
    }
    assert_eq!(world.topics.topics["t"].waiters.len(), 1);
    world.opened(Wanted::Latest(KEEPS), place([], at(5)));
    assert!(matches!(world.done[..], [Done::Ready(1)]));
    assert!(world.topics.topics["t"].waiters.is_empty() && world.topics.waiters.is_empty());
    let names = ["t".to_owned(), "t".to_owned()];
    let number =
        world.topics.want(world.server.hub(), &names, &[Some(at(6)), Some(at(7))], Lists::Count);
    world.opened(Wanted::After(5, KEEPS), place([6], at(6)));
    assert!(matches!(world.done[..], [_, Done::Ready(ready)] if ready == number));
}

/// A client comes with a place that another node gave it: this one is behind, or the place is none.
#[test]
fn only_the_broker_says_that_a_place_is_none() {
    let mut world = World::live();
    let names = ["t".to_owned()];
    let hub = world.server.hub();
    for (place, is_here) in [(at(5), true), (at(1), true), (at(6), false)] {
        assert_eq!(world.topics.has(hub, "t", Some(place), Lists::Count), is_here, "{place}");
    }
    assert!(!world.topics.has(
        hub,
        "t",
        Some(Position { epoch: EPOCH + 1, offset: 1 }),
        Lists::Count
    ));
    let number = world.topics.want(hub, &names, &[Some(at(6))], Lists::Count);
    assert_eq!(world.asked(), Some(Wanted::After(5, KEEPS)));
    world.opened(Wanted::After(5, KEEPS), place([6], at(6)));
    assert!(matches!(world.done[..], [_, Done::Ready(ready)] if ready == number));
    world.is_at(6, &[5, 6]);
}

/// Two threads tell: what was published since the broker was asked may come before its answer.
#[test]
fn an_answer_that_is_late_ends_no_topic() {
    let mut world = World::live();
    world.news(at(6));
    world.opened(Wanted::Place(5), place([], at(5)));
    world.is_at(6, &[5, 6]);
}

/// What clients ask for again and again is looked after once, and is never more than the hub may have.
#[test]
fn topics_that_come_and_go_leave_nothing_behind() {
    let mut world = World::opening();
    for _ in 0..100 {
        let (hub, name) = (world.server.hub(), Arc::clone(&world.name));
        let no = Err("no".to_owned());
        world.topics.handle_opened(hub, name, Wanted::Latest(KEEPS), no, &mut world.done);
        world.topics.want(world.server.hub(), &["t".to_owned()], &[], Lists::Count);
    }
    assert_eq!(world.topics.round.len(), 101);
    world.topics.look(world.server.hub());
    assert_eq!((world.topics.round.len(), world.topics.topics.len()), (1, 1));
    let most = world.server.hub().config().topics_max;
    for nth in 1..most {
        assert!(!world.topics.is_full(world.server.hub()), "{nth} of {most}");
        world.topics.add(world.server.hub(), &nth.to_string());
    }
    assert!(world.topics.is_full(world.server.hub()));
}

/// A client that reads nothing subscribes to the topic of a world.
fn subscribe_a_client(world: &mut World) -> std::net::TcpStream {
    use std::io::Write;
    let address = world.server.listen("127.0.0.1:0").expect("it listens");
    let mut client = std::net::TcpStream::connect(address).expect("it connects");
    let handshake = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    client.write_all(handshake.as_bytes()).expect("it writes");
    let mut events = pushloop::Events::default();
    for _ in 0..100 {
        let timeout = Some(std::time::Duration::from_millis(100));
        world.server.poll(&mut events, timeout).expect("it polls");
        let asked = events.iter().find_map(|event| match event {
            pushloop::Event::Request { id, .. } => Some(id),
            _ => None,
        });
        if let Some(id) = asked {
            let hub = world.server.hub();
            hub.accept(id, pushloop::Accept::default()).expect("it is accepted");
            hub.subscribe(id.conn(), &world.name).expect("there is room");
            return client;
        }
    }
    unreachable!("no request has come")
}

#[test]
fn one_that_does_not_leave_its_topic_keeps_no_other_from_being_looked_after() {
    let mut world = World::live();
    let _client = subscribe_a_client(&mut world);
    world.topics.want(world.server.hub(), &["other".to_owned()], &[], Lists::Count);
    let wanted = Wanted::Latest(KEEPS);
    let hub = world.server.hub();
    let place = Ok(place([], at(0)));
    drop(world.topics.handle_opened(hub, "other".into(), wanted, place, &mut world.done));
    world.opened(Wanted::Place(5), self::place([], at(4)));
    assert_eq!(world.topics.take_away().len(), 1);
    assert_eq!(world.asked(), None);
    let next = world.topics.look(world.server.hub());
    assert_eq!((next, world.topics.take_away().len()), (END_INTERVAL, 1), "it is sent away again");
    assert_eq!(world.asked(), Some(Wanted::Place(0)), "the other is looked after");
    // Not as often as the one that ends.
    world.topics.look(world.server.hub());
    assert_eq!(world.asked(), None);
}

/// Nobody that comes after a topic has ended is sent away for what was before.
#[test]
fn a_topic_that_has_begun_anew_is_not_ended_again() {
    let mut world = World::live();
    world.topics.want(world.server.hub(), &["t".to_owned()], &[Some(at(9))], Lists::Count);
    world.opened(Wanted::After(5, KEEPS), place([], at(4)));
    world.opened(Wanted::Latest(KEEPS), place([], at(4)));
    world.is_at(4, &[]);
    let _client = subscribe_a_client(&mut world);
    world.topics.look(world.server.hub());
    assert!(world.topics.take_away().is_empty());
    world.is_at(4, &[]);
}

/// What a publisher was told before the broker lost all is waited for by nobody.
#[test]
fn what_publishers_were_told_of_is_over_with_its_epoch() {
    let mut world = World::live();
    world.topics.note_acknowledged("t", at(6));
    assert_eq!(world.topics.acknowledged("t"), Some(at(6)));
    world.topics.want(world.server.hub(), &["t".to_owned()], &[Some(at(6))], Lists::Count);
    let anew = Position { epoch: EPOCH + 1, offset: 1 };
    world.opened(Wanted::After(5, KEEPS), place([], anew));
    world.opened(Wanted::Latest(KEEPS), place([1], anew));
    assert_eq!(world.topics.acknowledged("t"), None);
    assert!(world.topics.has(world.server.hub(), "t", None, Lists::Count));
}
