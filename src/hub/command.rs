//! What other threads ask for, carried out.

use super::Hub;
use crate::{
    conn::State,
    event::{Accept, AcceptError, Cause, ConnId, Events, Record},
    handle::Command,
    hub::{SendError, SubscribeError},
    wire::CloseCode,
};

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Yes,
    /// Its connection or its request is gone.
    Stale,
    /// A limit refuses it.
    Refused,
}

/// What became of a command that was to subscribe.
fn subscribed(result: Result<(), SubscribeError>) -> Done {
    match result {
        Ok(()) => Done::Yes,
        Err(SubscribeError::Gone) => Done::Stale,
        Err(_) => Done::Refused,
    }
}

impl Hub {
    /// A command came from another thread.
    pub(crate) fn handle_command(&mut self, command: Command, events: &mut Events) {
        match self.carry_out(command, events) {
            Done::Yes => {}
            Done::Stale => self.commons.tally.stale_commands.add(1),
            Done::Refused => self.commons.tally.commands_refused.add(1),
        }
    }

    fn carry_out(&mut self, command: Command, events: &mut Events) -> Done {
        let done = |is_done: bool| if is_done { Done::Yes } else { Done::Stale };
        match command {
            Command::Publish { topic, message, except } => {
                // A refusal is counted where it is made.
                let _ = self.publish_to(&topic, message.message(), except);
                Done::Yes
            }
            Command::Send { id, message } => {
                done(self.send(id, message.message()) != Err(SendError::Gone))
            }
            Command::PublishOnce { topic, key, message } => {
                let _ = self.publish_once(&topic, &key, message.message());
                Done::Yes
            }
            Command::Subscribe { id, topic } => subscribed(self.subscribe(id, &topic)),
            Command::SubscribeAfter { id, topic, position } => {
                subscribed(self.subscribe_after(id, &topic, position).map(|_| ()))
            }
            Command::SubscribeLast { id, topic, count } => {
                subscribed(self.subscribe_last(id, &topic, count).map(|_| ()))
            }
            Command::Unsubscribe { id, topic } => {
                self.unsubscribe(id, &topic);
                done(self.is_open(id))
            }
            Command::Accept { id, subprotocol, headers } => {
                let headers: Vec<_> =
                    headers.iter().map(|(name, value)| (&**name, &**value)).collect();
                let accept = Accept { subprotocol: subprotocol.as_deref(), headers: &headers };
                done(self.accept(id, accept) != Err(AcceptError::Gone))
            }
            Command::Respond { id, response } => done(self.respond(id, *response).is_ok()),
            Command::Stream { id, response } => done(self.stream(id, *response).is_ok()),
            Command::EventStream { id, response } => done(self.event_stream(id, *response).is_ok()),
            Command::Write { id, piece } => self.write_or_end(id, &piece),
            Command::Finish { id } => done(self.finish(id)),
            Command::Close { id, code, reason } => {
                let is_live = self.is_live(id);
                self.close(id, code, &reason);
                done(is_live)
            }
            Command::CloseAt { id, at, code, reason } => {
                self.close_at(id, at, code, &reason);
                done(self.is_live(id))
            }
            Command::Abort { id } => {
                let is_live = self.is_live(id);
                self.abort(id);
                done(is_live)
            }
            Command::Notify { key } => {
                events.records.push(Record::Notified { key });
                Done::Yes
            }
            Command::Lanes => {
                self.handle_lanes(events);
                Done::Yes
            }
            Command::Shutdown { deadline } => {
                self.end_at(deadline);
                Done::Yes
            }
            // The server's: it has the network.
            Command::Adopt { .. } => Done::Yes,
        }
    }

    fn write_or_end(&mut self, id: ConnId, piece: &[u8]) -> Done {
        match self.write(id, piece) {
            Ok(()) => Done::Yes,
            Err(SendError::Gone) => Done::Stale,
            Err(_) => {
                // Behind a gap, the rest would be taken for what it is not.
                let closed = (CloseCode::TRY_AGAIN_LATER, "too slow: send_queue_bytes_max");
                self.end_stream(id, Cause::Overflow, Some(closed));
                Done::Refused
            }
        }
    }

    /// Takes the commands that wait into `batch`, which is empty.
    pub(crate) fn take_commands(&self, batch: &mut Vec<Command>) {
        self.handle.take(batch);
    }

    /// Whether the connection is there, in whatever state.
    pub(super) fn is_live(&self, id: ConnId) -> bool {
        self.slot(id).is_some_and(|slot| !matches!(slot.connection.state, State::Closed { .. }))
    }

    /// An adopted connection is registered, and so much of it was read before.
    pub(crate) fn handle_adopted(&mut self, id: ConnId, read: Vec<u8>) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if slot.connection.take_over(read, &mut self.commons) {
            self.resumed.push_back(id);
        }
    }
}
