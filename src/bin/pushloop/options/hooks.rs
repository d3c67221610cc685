//! What belongs to hooks, and what excludes them.

use super::Taken;
use crate::{
    hooks::{HookOptions, Kind},
    web,
};

impl Taken {
    /// Whether what is said of hooks goes together.
    pub(super) fn check_hooks(&self) -> Result<(), String> {
        let HookOptions { url, kinds, .. } = &self.options.hooks;
        let sources = self.options.tokens.fetched.sources.iter().map(|it| &it.url);
        if !sources.chain(self.options.hooks.urls()).any(|url| web::is_https(url)) {
            let why = "it is about https: of --hook-url, --pusher-webhook or --jwks-url";
            self.refuse(&["backend-ca"], why)?;
        }
        if let Some(stray) = self.options.hooks.stray_webhook(&self.options.tokens.apps) {
            let why = format!("there is no application {}: see --pusher-app", stray.app);
            self.refuse(&["pusher-webhook"], &why)?;
        }
        if self.options.hooks.urls().next().is_none() {
            let why = "it is about --hook-url or --pusher-webhook";
            self.refuse(&["hook-timeout"], why)?;
        }
        if url.is_none() {
            let names =
                ["hook-event", "hook-secret-file", "hook-allow-on-failure", "hook-forward-header"];
            return self.refuse(&names, "it is about --hook-url");
        }
        if kinds.is_empty() {
            return self.refuse(&["hook-url"], "nothing is asked or told there: add --hook-event");
        }
        if ![Kind::Subscribe, Kind::Publish].iter().any(|kind| kinds.contains(kind)) {
            let why = "nothing is asked: add --hook-event subscribe or publish";
            self.refuse(&["hook-allow-on-failure", "hook-forward-header"], why)?;
        } else {
            let why =
                "a signature says who may, and no hook: not with --hook-event subscribe or publish";
            self.refuse(&["pusher-app"], why)?;
        }
        Ok(())
    }
}
