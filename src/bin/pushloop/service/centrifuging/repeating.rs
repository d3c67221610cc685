//! What other loops ask this one for with the server's API.

use pushloop::{Hub, Request};

use super::{Service, api::asked};
use crate::{
    broker::Lists,
    centrifuge::api::{Asked, Call, Calls, Slot},
    service::hearing::Heard,
    topics::Refusal,
};

/// The calls of a request that are for connections.
fn about_connections(request: &Request) -> Vec<Call<'_>> {
    let calls = asked(request).into_iter().flat_map(|asked| asked.calls);
    calls.flatten().filter(Call::is_about_connections).collect()
}

impl Service {
    /// What this loop tells another one, which has checked the request.
    pub(in crate::service) fn figures_of_calls(
        &mut self,
        hub: &mut Hub,
        request: &Request,
    ) -> Result<String, Refusal> {
        let Asked { is_batch, calls } = asked(request)?;
        let mut bytes = 0;
        let slot = |call| match call {
            Ok(call) => self.call_next(hub, call, false, &mut bytes),
            Err(failure) => Slot::failed(failure),
        };
        let slots = calls.into_iter().map(slot).collect();
        Ok(Calls { is_batch, slots }.answer(std::iter::empty()))
    }

    /// Does to connections of this loop what a request asks for that another one answers; or gives the number under which
    /// the broker tells that the channels are there.
    pub(in crate::service) fn repeat_calls(
        &mut self,
        hub: &mut Hub,
        request: &Request,
        is_confirmed: bool,
    ) -> Option<u64> {
        if !is_confirmed && let Some(number) = self.hear_calls(hub, request) {
            return Some(number);
        }
        for call in about_connections(request) {
            // The loop that answers has told of what is wrong with it.
            drop(self.call_one(hub, call, is_confirmed));
        }
        None
    }

    /// Asks for the channels of such a request, if they are not heard: gives the number under which the broker tells of
    /// them.
    pub(in crate::service) fn hear_calls(
        &mut self,
        hub: &mut Hub,
        request: &Request,
    ) -> Option<u64> {
        let calls = about_connections(request);
        let about = calls.iter().flat_map(|call| self.is_about(hub, call));
        let (names, after): (Vec<_>, Vec<_>) = about.unzip();
        match self.hear(hub, &names, &after, Lists::Count) {
            Heard::Once(number) => Some(number),
            Heard::Yes | Heard::No(_) => None,
        }
    }
}
