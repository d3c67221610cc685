//! What the broker is told, where much is to be told and answers are slow.

use std::sync::atomic::Ordering::Relaxed;

use super::*;

#[test]
fn all_are_told_again_however_many_come_meanwhile() {
    let (mut node, mut broker) = (Node::new(1), Broker::default());
    node.come("stays");
    node.join(600);
    for round in 0.. {
        assert!(round < 10, "{:?}", node.telling());
        node.run(&mut broker, |_| None);
        // There is always a change that waits.
        node.come(&format!("comes {round}"));
        node.deliver_all();
        if node.telling() == Telling::All {
            break;
        }
    }
    assert!(broker.members.len() > 600, "{}", broker.members.len());
}

/// A node that has 600 members under its name, and is asked for them under another one.
fn coming_back(broker: &mut Broker) -> Node {
    let mut node = Node::new(1);
    node.come("stays");
    node.join(600);
    while node.telling() != Telling::All {
        node.run(broker, |_| None);
        node.deliver_all();
    }
    node.cut();
    node.connect();
    assert_eq!(broker.members.len(), 601);
    node
}

/// Seconds pass, for the broker and the nodes.
fn pass(nodes: &mut [Node], broker: &mut Broker, seconds: u64) {
    for _ in 0..seconds {
        broker.now += 1;
        nodes.iter_mut().for_each(Node::pass_second);
    }
}

#[test]
fn a_name_of_before_is_renewed_until_all_are_told_again() {
    let mut broker = Broker::default();
    let mut nodes = [coming_back(&mut broker), Node::new(2)];
    // One is refused until then, and for some seconds more.
    let is_of_m0 = |ask: &Ask| matches!(ask, Ask::Change { id, .. } if **id == *"m0");
    while nodes[0].telling() != Telling::All {
        nodes[0].run(&mut broker, |ask| is_of_m0(ask).then_some(Answer::Late));
        nodes[0].deliver_all();
        // The next answers are slow, and another node has those leave that are over.
        for _ in 0..6 {
            pass(&mut nodes, &mut broker, 1);
            nodes[1].run(&mut broker, |_| None);
            nodes[1].deliver_all();
        }
    }
    assert!(broker.now > LEASE);
    for second in 0..900 {
        pass(&mut nodes, &mut broker, 1);
        for node in &mut nodes {
            let is_refused = |ask: &Ask| second < 5 && is_of_m0(ask);
            node.run(&mut broker, |ask| is_refused(ask).then_some(Answer::Late));
            node.deliver_all();
        }
    }
    assert_eq!((broker.left, broker.members.len()), (vec![], 601));
    assert_eq!((broker.nodes.len(), broker.held.len()), (2, 1), "only names of now have members");
}

#[test]
fn each_that_is_refused_is_asked_for_again_in_its_turn() {
    let mut broker = Broker::default();
    let mut nodes = [coming_back(&mut broker)];
    let mut asked = BTreeSet::new();
    for _ in 0..8 {
        nodes[0].run(&mut broker, |ask| {
            let Ask::Change { id, .. } = ask else { return None };
            asked.insert(Arc::clone(id));
            Some(Answer::Full)
        });
        nodes[0].deliver_all();
        if nodes[0].telling() != Telling::All {
            asked.clear();
        } else {
            pass(&mut nodes, &mut broker, 1);
        }
    }
    assert_eq!(asked.len(), 601);
    // What the broker knows is not asked for again but in its turn.
    for _ in 0..8 {
        pass(&mut nodes, &mut broker, 1);
        nodes[0].run(&mut broker, |_| None);
        nodes[0].deliver_all();
    }
    assert!(nodes[0].with(|here, _| here.leases.refused.take(1).is_empty()));
}

#[test]
fn who_comes_and_goes_is_told_at_the_one_node_that_made_it_so() {
    let mut broker = Broker::default();
    let mut nodes = [Node::new(1), Node::new(2)];
    nodes.iter_mut().for_each(|node| node.with(|here, _| here.leases.tell_moves()));
    let moved = |nodes: &mut [Node], broker: &mut Broker, seconds| {
        let mut moves = Vec::new();
        for _ in 0..seconds {
            pass(nodes, broker, 1);
            for (at, node) in nodes.iter_mut().enumerate() {
                // What is answered may make it ask for more.
                for _ in 0..4 {
                    node.run(broker, |_| None);
                    node.deliver_all();
                }
                let told = node.with(|here, _| here.leases.take_moves());
                moves.extend(told.into_iter().map(|it| (at, it.id.to_string(), it.is_join)));
            }
        }
        moves
    };
    let is_move = |at: usize, id: &str, is_join: bool| (at, id.to_owned(), is_join);
    nodes.iter_mut().for_each(|node| node.come("ada"));
    assert_eq!(moved(&mut nodes, &mut broker, 5), [is_move(0, "ada", true)]);
    // All is told again under another name. Of what had no answer, nobody is told.
    let unanswered = |node: &mut Node| {
        node.with(|here, _| here.leases.status.broker_members_unanswered.load(Ordering::Relaxed))
    };
    nodes[0].cut();
    nodes[0].connect();
    assert_eq!(moved(&mut nodes, &mut broker, 5), []);
    assert_eq!(unanswered(&mut nodes[0]), 0);
    nodes[0].come("cy");
    nodes[0].run(&mut broker, |_| None);
    nodes[0].cut();
    nodes[0].connect();
    assert_eq!(moved(&mut nodes, &mut broker, 5), []);
    assert_eq!(unanswered(&mut nodes[0]), 1);
    nodes[0].clients.pop().expect("it is there").cut();
    nodes[0].world.run_until_quiet();
    assert_eq!(moved(&mut nodes, &mut broker, 5), [is_move(0, "cy", false)]);
    nodes[0].clients.pop().expect("it is there").cut();
    nodes[0].world.run_until_quiet();
    assert_eq!(moved(&mut nodes, &mut broker, 5), []);
    nodes[1].clients.pop().expect("it is there").cut();
    nodes[1].world.run_until_quiet();
    assert_eq!(moved(&mut nodes, &mut broker, 5), [is_move(1, "ada", false)]);
    // Of a node that is over, another one tells.
    nodes[0].come("ben");
    assert_eq!(moved(&mut nodes, &mut broker, 2), [is_move(0, "ben", true)]);
    let others = &mut nodes[1..];
    let left = moved(others, &mut broker, LEASE as usize + 10);
    assert_eq!(left, [is_move(0, "ben", false)], "at the first of the others");
}

#[test]
fn a_node_that_comes_back_under_another_name_is_counted_if_its_lease_was_over() {
    for (away, lost) in [(1, 0), (LEASE + SILENCE_MAX + 4, 1)] {
        let (mut broker, mut node, mut other) = (Broker::default(), Node::new(1), Node::new(2));
        for here in [&mut node, &mut other] {
            here.come("stays");
            here.run(&mut broker, |_| None);
            here.deliver_all();
        }
        node.cut();
        for _ in 0..away {
            pass(std::slice::from_mut(&mut other), &mut broker, 1);
            other.run(&mut broker, |_| None);
            other.deliver_all();
        }
        node.connect();
        node.run(&mut broker, |_| None);
        node.deliver_all();
        let counted = node.with(|here, _| here.leases.status.broker_leases_lost.load(Relaxed));
        assert_eq!(counted, lost, "away for {away} s");
    }
}
