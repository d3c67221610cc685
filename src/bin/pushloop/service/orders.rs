//! What a backend does to clients wherever they are: the server that it asks does it, and tells all others to do it,
//! through the broker, in a topic that no door leads to.

use std::borrow::Cow;

use pushloop::{ConnId, Hub};
use serde::{Deserialize, Serialize};

use super::Service;
use crate::{
    broker::ORDERS,
    centrifuge::api::{Call, Whom},
    errands::Errands,
    publish::{Except, Item, Plan},
    status::count,
};

/// An order, and which process gives it if that has several loops: they have it from each other.
#[derive(Deserialize, Serialize)]
struct Given<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u64>,
    #[serde(flatten)]
    order: Order<'a>,
}

/// What all servers are to do.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Order<'a> {
    /// Closes the connections of a user of Pusher's, for good.
    Terminate { app: Cow<'a, str>, user: Cow<'a, str> },
    Unsubscribe {
        #[serde(flatten)]
        whom: Whom<'a>,
        channel: Cow<'a, str>,
    },
    Disconnect {
        #[serde(flatten)]
        whom: Whom<'a>,
        but: Vec<String>,
        code: Option<u64>,
        reason: Cow<'a, str>,
    },
    Refresh {
        #[serde(flatten)]
        whom: Whom<'a>,
        is_expired: bool,
        expires: u64,
    },
}

impl<'a> Order<'a> {
    /// What a call asks of all servers, if it is about connections.
    fn of(call: &Call<'a>) -> Option<Self> {
        Some(match call {
            Call::Unsubscribe { whom, channel } => {
                Self::Unsubscribe { whom: whom.clone(), channel: channel.clone() }
            }
            Call::Disconnect { whom, but, code, reason } => {
                let (whom, but, reason) = (whom.clone(), but.clone(), reason.clone());
                Self::Disconnect { whom, but, code: *code, reason }
            }
            Call::Refresh { whom, is_expired, expires } => {
                Self::Refresh { whom: whom.clone(), is_expired: *is_expired, expires: *expires }
            }
            Call::Publish { .. }
            | Call::Subscribe { .. }
            | Call::Presence(_)
            | Call::PresenceStats(_)
            | Call::History(_)
            | Call::HistoryRemove(_)
            | Call::Channels(_)
            | Call::Info => return None,
        })
    }

    /// What has the other servers do it.
    fn item(self, process: Option<u64>) -> Option<Item<'static>> {
        let text = serde_json::to_string(&Given { process, order: self }).ok()?;
        // It is not for the server that gives it, whichever connection that may be.
        let here = Some(Except::Here(ConnId::from_bits(0)));
        Some(Item::event(ORDERS.to_owned(), text, here))
    }
}

impl Service {
    /// What has the other servers do what a call asks, if there are others.
    pub(super) fn order_of_call(&self, call: &Call<'_>) -> Option<Item<'static>> {
        self.broker.as_ref().and_then(|_| Order::of(call)?.item(self.process()))
    }

    /// The same for the connections of a user of Pusher's. It is answered once the broker has it.
    pub(super) fn order_to_terminate(&self, app: usize, user: &str) -> Option<Plan<'static>> {
        self.broker.as_ref()?;
        let app = &self.pushing.as_ref()?.apps.get(app)?.id;
        let order = Order::Terminate { app: Cow::Borrowed(app), user: Cow::Borrowed(user) };
        Some(Plan::one(order.item(self.process())?, "{}"))
    }

    /// Which process this is, if it has other loops.
    fn process(&self) -> Option<u64> {
        self.errands.as_ref().map(Errands::process)
    }

    /// Does what another server was asked to have done.
    pub(super) fn obey(&mut self, hub: &mut Hub, text: &[u8]) {
        let given = serde_json::from_slice(text);
        if given.as_ref().is_ok_and(|it: &Given<'_>| self.is_of_kin(it)) {
            return;
        }
        match given.map(|it| it.order) {
            Ok(Order::Terminate { app, user }) => {
                let app = self.pushing.as_ref().and_then(|it| it.nth_app(&app));
                if let Some(app) = app {
                    self.terminate(hub, app, &user);
                }
            }
            Ok(Order::Unsubscribe { whom, channel }) => {
                self.unsubscribe_users(hub, &whom, &channel);
            }
            Ok(Order::Disconnect { whom, but, code, reason }) => {
                // The node that gives an order has looked at its code.
                let _ = self.disconnect_users(hub, &whom, &but, (code, &*reason));
            }
            Ok(Order::Refresh { whom, is_expired, expires }) => {
                self.refresh_users(hub, &whom, is_expired, expires);
            }
            // A server of another version may know more.
            Err(_) => count(&self.status.broker_foreign_messages),
        }
    }

    fn is_of_kin(&self, given: &Given<'_>) -> bool {
        given.process.is_some() && given.process == self.process()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_given() {
        let whom = || Whom { user: "ada".into(), client: "".into() };
        for (call, text) in [
            (
                Call::Unsubscribe { whom: whom(), channel: "a".into() },
                r#"{"unsubscribe":{"user":"ada","client":"","channel":"a"}}"#,
            ),
            (
                Call::Disconnect {
                    whom: whom(),
                    but: vec!["c".to_owned()],
                    code: Some(4000),
                    reason: "\"".into(),
                },
                r#"{"disconnect":{"user":"ada","client":"","but":["c"],"code":4000,"reason":"\""}}"#,
            ),
            (
                Call::Refresh { whom: whom(), is_expired: true, expires: 7 },
                r#"{"refresh":{"user":"ada","client":"","is_expired":true,"expires":7}}"#,
            ),
        ] {
            let order = Order::of(&call).unwrap();
            assert_eq!(serde_json::to_string(&order).unwrap(), text);
            let again: Given<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(
                (serde_json::to_string(&again).unwrap().as_str(), again.process),
                (text, None)
            );
            let of_loops = text.replacen('{', r#"{"process":7,"#, 1);
            let again: Given<'_> = serde_json::from_str(&of_loops).unwrap();
            assert_eq!(serde_json::to_string(&again).unwrap(), of_loops);
        }
        assert!(Order::of(&Call::Info).is_none());
    }
}
