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
    /// What the options ask for, with these applications, for each of these loops. The error names a file.
    pub fn all(
        options: &Options,
        apps: &[Arc<App>],
        loops: &[Handle],
        status: &Arc<Status>,
    ) -> Result<Vec<Self>, String> {
        let Some((first, others)) = loops.split_first() else { return Ok(Vec::new()) };
        let first = Self::new(options, apps, first.clone(), status)?;
        let others: Vec<_> = others.iter().map(|it| first.twin(it.clone())).collect();
        Ok(std::iter::once(first).chain(others).collect())
    }

    /// Those of another loop, which asks and tells by the same threads.
    fn twin(&self, handle: Handle) -> Self {
        Self {
            asking: self.asking.as_ref().map(|it| it.twin(handle)),
            telling: self.telling.as_ref().map(Telling::twin),
            webhooks: self.webhooks.as_ref().map(Webhooks::twin),
        }
    }

    fn new(
        options: &Options,
        apps: &[Arc<App>],
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
    /// All are told what waits, at the same time, by the last loop.
    fn drop(&mut self) {
        let own = self.telling.take().and_then(Telling::into_teller);
        let of_apps = self.webhooks.take().map(Webhooks::into_tellers);
        end_all(own.into_iter().chain(of_apps.into_iter().flatten()));
    }
}
