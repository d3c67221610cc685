//! When a connection that is closing has its time anew.

use super::*;
use crate::{config::Config, conn::OutboxSlot};
use std::sync::Arc;

const NOW: Ticks = Ticks(1000);

/// A connection with its Close queued or out, and with its time over.
fn closing() -> (Connection, Commons) {
    let mut commons = Commons::new(Config::default(), Arc::default());
    commons.now = NOW;
    let mut connection = Connection::new(None, false, &commons);
    connection.state =
        State::Closing { partial: None, cause: Cause::Aborted, written: 0, deadline: NOW };
    (connection, commons)
}

fn queue(outbox: &mut OutboxSlot, bytes: usize, commons: &mut Commons) {
    outbox.or_spare(commons).push(commons, |line| line.resize(bytes, 0));
}

/// Whether it has all its time before it.
fn has_time(connection: &Connection, commons: &Commons) -> bool {
    let anew = NOW.after(commons.config.close_timeout);
    let timeout = connection.next_timeout(commons);
    assert!(timeout == Some(NOW) || timeout == Some(anew));
    timeout == Some(anew)
}

#[test]
fn in_a_drain_whatever_is_to_leave_has_time() {
    let (mut connection, commons) = closing();
    connection.put_off_timeout(&commons);
    assert!(!has_time(&connection, &commons), "all is out, and the peer does not answer");

    let (mut connection, mut commons) = closing();
    queue(&mut connection.outbox, 1, &mut commons);
    connection.put_off_timeout(&commons);
    assert!(has_time(&connection, &commons), "something waits in its outbox");

    let (mut connection, commons) = closing();
    connection.flags.set(WorkFlags::BEHIND);
    connection.put_off_timeout(&commons);
    assert!(has_time(&connection, &commons), "something waits in a topic");

    let (mut connection, commons) = closing();
    connection.handle_blocked(NOW);
    connection.put_off_timeout(&commons);
    assert!(has_time(&connection, &commons), "something waits in the network");
}

#[test]
fn a_closing_connection_has_its_time_anew_from_each_16_kib() {
    let (mut connection, mut commons) = closing();
    queue(&mut connection.outbox, 1 << 20, &mut commons);
    for (bytes, is_over, has) in
        [(16_383, false, false), (1, false, true), (16_383, false, false), (1, true, true)]
    {
        if let State::Closing { deadline, .. } = &mut connection.state {
            *deadline = NOW;
        }
        connection.handle_written(bytes, is_over, &mut commons);
        assert_eq!(has_time(&connection, &commons), has, "{bytes} bytes");
    }
}
