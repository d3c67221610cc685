//! How much one turn of the loop does at most. These tests own the loop: what a peer has sent
//! before a turn is there when it begins.

use std::time::Duration;

use crate::support::{PATIENCE, Peer, binary, config, handshake, ping, pong, text};
use pushloop::{Accept, CloseCode, Config, ConnId, Event, Events, HandleError, Message, Server};

/// A server whose turns the test takes.
struct Turns {
    server: Server,
    events: Events,
}

impl Turns {
    fn with(config: Config) -> Self {
        let server = Server::bind_with("127.0.0.1:0", config).expect("a port is free");
        Self { server, events: Events::default() }
    }

    fn turn(&mut self) -> &Events {
        let moment = Duration::from_millis(10);
        self.server.poll(&mut self.events, Some(moment)).expect("the poll works");
        &self.events
    }

    fn connects(&self) -> Peer {
        Peer::connect(self.server.local_addr().expect("it listens on TCP"))
    }

    fn opens(&mut self) -> (Peer, ConnId) {
        let mut peer = self.connects();
        peer.sends_bytes(handshake("/", ""));
        let id = loop {
            let request = |event| match event {
                Event::Request { id, .. } => Some(id),
                _ => None,
            };
            if let Some(id) = self.turn().iter().find_map(request) {
                break id;
            }
        };
        self.server.hub().accept(id, Accept::default()).expect("it asks for a WebSocket");
        while !self.turn().iter().any(|event| matches!(event, Event::Opened { .. })) {}
        // With tiny budgets the 101 takes turns of its own.
        while self.server.hub().queued_bytes_total() > 0 {
            self.turn();
        }
        peer.expects_upgrade();
        (peer, id.conn())
    }

    /// Takes turns until a number has grown to `goal`. Gives by how much it grew in each turn in
    /// which it did.
    fn steps(&mut self, number: impl Fn(&mut Server) -> u64, goal: u64) -> Vec<u64> {
        let mut steps = Vec::new();
        let mut before = number(&mut self.server);
        for _ in 0..PATIENCE.as_millis() / 10 {
            if before >= goal {
                return steps;
            }
            self.turn();
            let after = number(&mut self.server);
            if after > before {
                steps.push(after - before);
            }
            before = after;
        }
        panic!("it grows to {before} and not to {goal}");
    }

    /// The messages of the last turn.
    fn messages(&self) -> Vec<(ConnId, usize)> {
        let message = |event| match event {
            Event::Message { id, message: Message::Binary(bytes) } => Some((id, bytes.len())),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }
}

fn received(server: &mut Server) -> u64 {
    server.hub().counters().bytes_received
}

fn sent(server: &mut Server) -> u64 {
    server.hub().counters().bytes_sent
}

#[test]
fn a_turn_accepts_so_many_connections_and_the_next_goes_on() {
    let mut turns = Turns::with(config(|limits| limits.accepts_per_turn = 2));
    let _peers = [(); 5].map(|()| turns.connects());
    let steps = turns.steps(|server| server.hub().connection_count() as u64, 5);
    assert_eq!(steps.iter().max(), Some(&2), "{steps:?}");
}

#[test]
fn a_turn_reads_so_many_bytes_of_a_connection_and_others_get_their_turn() {
    let mut turns = Turns::with(config(|limits| limits.read_bytes_per_turn = 1000));
    let ((mut loud, a), (mut quiet, b)) = (turns.opens(), turns.opens());
    // Of 60,000 bytes and of 16, header and mask included.
    loud.sends(binary(vec![1; 59_992]));
    quiet.sends(binary([2; 10]));
    let mut messages = Vec::new();
    while messages.len() < 2 {
        let before = received(&mut turns.server);
        turns.turn();
        messages.extend(turns.messages());
        let step = received(&mut turns.server) - before;
        assert!(step <= 1000 + 16, "{step} bytes in one turn");
    }
    assert_eq!(messages, [(b, 10), (a, 59_992)]);
}

#[test]
fn a_turn_writes_so_many_bytes_to_a_connection_and_others_get_their_turn() {
    let mut turns = Turns::with(config(|limits| limits.write_bytes_per_turn = 1000));
    let ((mut loud, a), (mut quiet, b)) = (turns.opens(), turns.opens());
    let before = sent(&mut turns.server);
    // Of 2,500 bytes and of 12, header included.
    turns.server.hub().send(a, vec![1; 2496]).expect("it is open");
    turns.server.hub().send(b, vec![2; 10]).expect("it is open");
    assert_eq!(turns.steps(sent, before + 2512), [1012, 1000, 500]);
    loud.expects(binary([1; 2496]));
    quiet.expects(binary([2; 10]));
}

/// So many subscribers of a topic, and where each is.
fn subscribed(turns: &mut Turns, count: usize) -> Vec<(Peer, ConnId)> {
    let peers: Vec<_> = (0..count).map(|_| turns.opens()).collect();
    for (_, id) in &peers {
        turns.server.hub().subscribe(*id, "t").expect("it is open");
    }
    peers
}

#[test]
fn a_turn_writes_a_publication_to_so_many_subscribers_and_others_get_their_turn() {
    let mut turns = Turns::with(config(|limits| limits.fan_out_writes_per_turn = 2));
    let mut peers = subscribed(&mut turns, 5);
    let (mut quick, id) = turns.opens();
    let before = sent(&mut turns.server);
    // Of 102 bytes and of 10, header included.
    turns.server.hub().publish("t", vec![1; 100]).expect("there is room");
    turns.server.hub().send(id, [2; 8]).expect("it is open");
    assert_eq!(turns.steps(sent, before + 520), [214, 204, 102]);
    quick.expects(binary([2; 8]));
    for (peer, _) in &mut peers {
        peer.expects(binary([1; 100]));
    }
    assert_eq!(turns.server.hub().queued_bytes_total(), 0);
}

#[test]
fn a_turn_writes_so_many_bytes_of_publications() {
    // Whose write the budget cuts has the rest in the next turn, beside that turn's own.
    for (bytes, steps) in [(204, &[204, 204, 102][..]), (250, &[250, 260]), (510, &[510])] {
        let mut turns = Turns::with(config(|limits| limits.fan_out_bytes_per_turn = bytes));
        let mut peers = subscribed(&mut turns, 5);
        let before = sent(&mut turns.server);
        turns.server.hub().publish("t", vec![1; 100]).expect("there is room");
        assert_eq!(turns.steps(sent, before + 510), steps, "{bytes}");
        peers.iter_mut().for_each(|(peer, _)| peer.expects(binary([1; 100])));
    }
}

/// A subscriber that is served late takes what came meanwhile in the same write: passes merge.
#[test]
fn what_is_published_during_a_pass_reaches_those_behind_it_in_one_write() {
    let mut turns = Turns::with(config(|limits| limits.fan_out_writes_per_turn = 2));
    let mut peers = subscribed(&mut turns, 5);
    let before = sent(&mut turns.server);
    let mut steps = Vec::new();
    for message in ["1", "2", "3"] {
        turns.server.hub().publish("t", message).expect("there is room");
        let already = sent(&mut turns.server);
        turns.turn();
        steps.push(sent(&mut turns.server) - already);
    }
    // Two get 1. Two get 1 and 2. One gets all three, and the next pass begins with one that got 1.
    assert_eq!(steps, [2 * 3, 2 * 6, 9 + 6]);
    assert_eq!(turns.steps(sent, before + 5 * 9), [6 + 3, 3]);
    for (peer, _) in &mut peers {
        ["1", "2", "3"].into_iter().for_each(|message| peer.expects(text(message)));
    }
}

#[test]
fn publications_of_one_topic_do_not_keep_those_of_another_waiting() {
    let mut turns = Turns::with(config(|limits| limits.fan_out_writes_per_turn = 80));
    let mut crowd = subscribed(&mut turns, 100);
    let (mut peer, id) = turns.opens();
    turns.server.hub().subscribe(id, "other").expect("it is open");
    for topic in ["t", "other"] {
        turns.server.hub().publish(topic, "x").expect("there is room");
    }
    let before = sent(&mut turns.server);
    turns.turn();
    // After 64 writes of a topic, another has its turn.
    assert_eq!(sent(&mut turns.server), before + 80 * 3);
    assert_eq!(turns.server.hub().lag(id, "other"), Some(0));
    peer.expects(text("x"));
    assert_eq!(turns.steps(sent, before + 101 * 3), [21 * 3]);
    crowd.iter_mut().for_each(|(peer, _)| peer.expects(text("x")));
}

#[test]
fn a_turn_receives_no_more_than_the_batch_has_room_for() {
    let mut turns = Turns::with(config(|limits| {
        limits.read_bytes_per_turn = 1000;
        limits.receive_buffer_bytes = 1000;
    }));
    let mut peers = [(); 3].map(|()| turns.opens().0);
    for peer in &mut peers {
        // Of 600 bytes, so that there is room for one and not for two.
        peer.sends(binary([1; 592]));
    }
    let before = received(&mut turns.server);
    assert_eq!(turns.steps(received, before + 1800), [600, 600, 600]);
}

#[test]
fn a_batch_has_room_for_one_read_whatever_its_size() {
    let mut turns = Turns::with(config(|limits| limits.receive_buffer_bytes = 1));
    let (mut peer, id) = turns.opens();
    // Of 1,000 bytes, in one segment.
    peer.sends(binary([1; 992]));
    let before = received(&mut turns.server);
    assert_eq!(turns.steps(received, before + 1000), [1000]);
    assert_eq!(turns.messages(), [(id, 992)]);
}

#[test]
fn a_turn_takes_so_many_commands_and_the_next_goes_on() {
    let mut turns = Turns::with(config(|limits| limits.commands_per_turn = 2));
    let handle = turns.server.handle();
    for _ in 0..5 {
        handle.close(ConnId::from_bits(1 << 32), CloseCode::NORMAL, "").expect("there is room");
    }
    for taken in [2, 4, 5] {
        turns.turn();
        assert_eq!(handle.counters().stale_commands, taken);
    }
}

/// The wake for them came while others waited, and there is no second one.
#[test]
fn commands_that_come_while_others_wait_are_taken_without_another_wake() {
    let mut turns = Turns::with(config(|limits| limits.commands_per_turn = 1));
    let handle = turns.server.handle();
    let sends = || handle.close(ConnId::from_bits(1 << 32), CloseCode::NORMAL, "");
    assert_eq!([sends(), sends()], [Ok(()); 2]);
    turns.turn();
    assert_eq!(sends(), Ok(()));
    let hub = turns.server.hub();
    hub.set_timer(hub.now() + PATIENCE / 5, 0);
    while handle.counters().stale_commands < 3 {
        turns.server.poll(&mut turns.events, None).expect("the poll works");
        assert!(turns.events.is_empty(), "the loop waits for something else: {:?}", turns.events);
    }
}

#[test]
fn a_turn_handles_so_many_timeouts_and_the_next_goes_on() {
    let mut turns = Turns::with(config(|limits| {
        limits.expiries_per_turn = 2;
        limits.handshake_timeout = Duration::from_millis(200);
    }));
    let _peers = [(); 5].map(|()| turns.connects());
    turns.steps(|server| server.hub().connection_count() as u64, 5);
    let steps = turns.steps(|server| 5 - server.hub().connection_count() as u64, 5);
    assert_eq!(steps.iter().max(), Some(&2), "{steps:?}");
}

#[test]
fn so_many_commands_wait_and_a_shutdown_beside_them() {
    let mut turns = Turns::with(config(|limits| limits.mailbox_commands_max = 3));
    let handle = turns.server.handle();
    let sends = || handle.publish("topic", "message");
    assert_eq!([sends(), sends(), sends(), sends()], [Ok(()), Ok(()), Ok(()), FULL]);
    turns.turn();
    assert_eq!([sends(), sends(), sends(), sends()], [Ok(()), Ok(()), Ok(()), FULL]);
    assert_eq!(handle.shutdown(PATIENCE), Ok(()));
    turns.turn();
    assert!(turns.server.hub().is_finished());
    drop(turns);
    assert_eq!((sends(), handle.shutdown(PATIENCE)), (GONE, GONE));
}

const FULL: Result<(), HandleError> = Err(HandleError::Full);
const GONE: Result<(), HandleError> = Err(HandleError::Closed);

#[test]
fn so_many_bytes_of_commands_wait() {
    let mut turns = Turns::with(config(|limits| limits.mailbox_bytes_max = 100));
    let handle = turns.server.handle();
    let id = ConnId::from_bits(1 << 32);
    for _ in 0..2 {
        assert_eq!(handle.publish("topic", "x".repeat(96).as_str()), FULL);
        assert_eq!(handle.publish("topic", "x".repeat(45).as_str()), Ok(()));
        assert_eq!(handle.send(id, vec![0; 51]), FULL);
        assert_eq!(handle.send(id, vec![0; 40]), Ok(()));
        assert_eq!(handle.close(id, CloseCode::NORMAL, "eleven byte"), FULL);
        assert_eq!(handle.close(id, CloseCode::NORMAL, "ten bytes."), Ok(()));
        assert_eq!(handle.publish("", ""), Ok(()));
        turns.turn();
    }
}

#[test]
fn all_that_is_queued_for_a_connection_in_one_turn_is_one_write() {
    let mut turns = Turns::with(config(|_| ()));
    let (mut peer, id) = turns.opens();
    peer.sends(ping("p"));
    let before = received(&mut turns.server);
    turns.steps(received, before + 7);
    let before = sent(&mut turns.server);
    for message in ["one", "two"] {
        turns.server.hub().send(id, message).expect("it is open");
    }
    assert_eq!(sent(&mut turns.server), before);
    assert_eq!(turns.steps(sent, before + 13), [13]);
    peer.expects(pong("p"));
    peer.expects(text("one"));
    peer.expects(text("two"));
}
