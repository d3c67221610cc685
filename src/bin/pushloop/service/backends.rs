//! The backends that are asked and told.

use std::sync::Arc;

use pushloop::Handle;

use super::{asking::Asking, pushing::Webhooks, telling::Telling};
use crate::{hooks::end_all, options::Options, pusher::App, status::Status};

/// See the module.
#[derive(Default)]
pub struct Hooks {
    pub(super) asking: Option<Asking>,
    pub(super) telling: Option<Telling>,
    /// Those of Pusher's applications.
    pub(super) webhooks: Option<Webhooks>,
}

impl Hooks {
    /// What the options ask for, with these applications. The error names a file.
    pub fn new(
        options: &Options,
        apps: &[App],
        handle: Handle,
        status: &Arc<Status>,
    ) -> Result<Self, String> {
        let hooks = &options.hooks;
        let pool = hooks.pool(handle, status)?;
        let asking = pool.map(|pool| Asking::new(hooks, pool, Arc::clone(status)));
        let telling = hooks.teller(status)?.map(|it| Telling::new(hooks, it));
        let tellers = hooks.webhook_tellers(apps, status)?;
        let webhooks = Webhooks::new(apps, tellers, options.presence_delay);
        Ok(Self { asking, telling, webhooks })
    }
}

impl Drop for Hooks {
    /// All are told what waits, at the same time.
    fn drop(&mut self) {
        let own = self.telling.take().map(Telling::into_teller);
        let of_apps = self.webhooks.take().map(Webhooks::into_tellers);
        end_all(own.into_iter().chain(of_apps.into_iter().flatten()));
    }
}
