//! What a handle hands over, and what comes back.

use std::{io, thread};

use super::*;

struct NoWaker;

impl Wake for NoWaker {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

const ID: ConnId = ConnId::from_bits(1 << 32 | 7);

fn handle(commands_max: usize, bytes_max: usize) -> Handle {
    Handle::new(Box::new(NoWaker), commands_max, bytes_max, 0, Arc::default())
}

fn taken(handle: &Handle) -> Vec<Command> {
    let mut batch = Vec::new();
    handle.take(&mut batch);
    batch
}

#[test]
fn commands_arrive_in_the_order_of_the_calls_and_as_they_were_given() {
    let handle = handle(8, 64);
    handle.publish("scores", Message::Text("Goal!")).unwrap();
    handle.send(ID, Message::Binary(&[0xff, 0])).unwrap();
    handle.shutdown(Duration::from_secs(30)).unwrap();
    handle.close(ID, CloseCode::NORMAL, "bye").unwrap();
    let message = Owned::Text("Goal!".into());
    assert_eq!(message.message(), Message::Text("Goal!"));
    let bytes = Owned::Binary([0xff, 0].into());
    assert_eq!(bytes.message(), Message::Binary(&[0xff, 0]));
    let expected = [
        Command::Publish { topic: "scores".into(), message, except: None },
        Command::Send { id: ID, message: bytes },
        Command::Shutdown { deadline: Duration::from_secs(30) },
        Command::Close { id: ID, code: CloseCode::NORMAL, reason: "bye".into() },
    ];
    assert_eq!(taken(&handle), expected);
}

#[test]
fn commands_are_accepted_up_to_mailbox_commands_max() {
    let handle = handle(3, usize::MAX);
    handle.publish("t", Message::Text("1")).unwrap();
    handle.send(ID, Message::Text("2")).unwrap();
    handle.close(ID, CloseCode::NORMAL, "3").unwrap();
    let full = Err(HandleError::Full);
    assert_eq!(handle.publish("", Message::Text("")), full);
    assert_eq!(handle.send(ID, Message::Text("")), full);
    assert_eq!(handle.close(ID, CloseCode::NORMAL, ""), full);
    assert_eq!(taken(&handle).len(), 3);
    assert_eq!(handle.publish("t", Message::Text("4")), Ok(()));
}

#[test]
fn topics_messages_and_reasons_are_accepted_up_to_mailbox_bytes_max() {
    let full = Err(HandleError::Full);
    let handle = handle(usize::MAX, 10);
    assert_eq!(handle.publish("topic", Message::Text("123456")), full);
    assert_eq!(handle.publish("topic", Message::Text("12345")), Ok(()));
    assert_eq!(handle.send(ID, Message::Text("1")), full);
    assert_eq!(handle.send(ID, Message::Text("")), Ok(()));
    assert_eq!(taken(&handle).len(), 2);
    assert_eq!(handle.send(ID, Message::Binary(&[0; 11])), full);
    assert_eq!(handle.send(ID, Message::Binary(&[0; 10])), Ok(()));
    assert_eq!(taken(&handle).len(), 1);
    assert_eq!(handle.close(ID, CloseCode::NORMAL, "0123456789."), full);
    assert_eq!(handle.close(ID, CloseCode::NORMAL, "0123456789"), Ok(()));
    assert_eq!(taken(&handle).len(), 1);
}

#[test]
fn shutdown_goes_through_when_the_mailbox_is_full() {
    let handle = handle(1, 1);
    handle.send(ID, Message::Text("1")).unwrap();
    assert_eq!(handle.send(ID, Message::Text("")), Err(HandleError::Full));
    assert_eq!(handle.shutdown(Duration::from_secs(30)), Ok(()));
    assert_eq!(handle.shutdown(Duration::from_secs(1)), Ok(()));
    let commands = taken(&handle);
    assert_eq!(commands[1..], [Command::Shutdown { deadline: Duration::from_secs(1) }]);
}

#[test]
fn a_handle_that_outlives_its_server_says_so() {
    let handle = handle(8, 64);
    handle.shutdown(Duration::ZERO).unwrap();
    let other = handle.clone();
    assert_eq!(handle.close_mailbox(), [Command::Shutdown { deadline: Duration::ZERO }]);
    let closed = Err(HandleError::Closed);
    assert_eq!(other.publish("t", Message::Text("")), closed);
    assert_eq!(other.send(ID, Message::Text("")), closed);
    assert_eq!(other.close(ID, CloseCode::NORMAL, ""), closed);
    assert_eq!(other.shutdown(Duration::ZERO), closed);
    assert_eq!(other.counters(), Counters::default());
}

#[test]
fn clones_work_on_every_thread_and_read_the_counters() {
    let tally = Arc::<LiveCounters>::default();
    let handle = Handle::new(Box::new(NoWaker), 100, 100, 0, Arc::clone(&tally));
    tally.deliveries.add(42);
    thread::scope(|scope| {
        for topic in ["a", "b"] {
            let handle = handle.clone();
            scope.spawn(move || {
                assert_eq!(handle.counters().deliveries, 42);
                for n in 0_u8..10 {
                    handle.publish(topic, Message::Binary(&[n])).unwrap();
                }
            });
        }
    });
    let mut commands = taken(&handle);
    // Stable: what came from one thread stays in its order.
    commands.sort_by_key(|command| match command {
        Command::Publish { topic, .. } => topic.clone(),
        other => panic!("{other:?} was never asked for"),
    });
    let expected = ["a", "b"].into_iter().flat_map(|topic| {
        (0_u8..10).map(move |n| Command::Publish {
            topic: topic.into(),
            message: Owned::Binary([n].into()),
            except: None,
        })
    });
    assert!(commands.into_iter().eq(expected));
}

#[test]
fn a_full_mailbox_names_its_limits() {
    let full = HandleError::Full.to_string();
    assert!(full.contains("mailbox_commands_max") && full.contains("mailbox_bytes_max"));
    assert!(HandleError::Closed.to_string().contains("gone"));
}
