//! The rows of hooks.

use super::{super::values::*, Entry};
use crate::hooks::Webhook;

pub const HOOKS: &[Entry] = &[
    Entry::text(
        "hook-url",
        "URL",
        "ask or tell the backend there, by POST to https://HOST[:PORT]/PATH or http://…: see --hook-event",
        |options, text| hook_url(text).map(|it| options.hooks.url = Some(it)),
    ),
    Entry::text(
        "hook-event",
        "NAME",
        "what it is asked, subscribe and publish, or told, connect, disconnect, occupied and vacated",
        |options, text| hook_event(text).map(|it| options.hooks.kinds.push(it)),
    )
    .repeated(),
    Entry::file(
        "hook-secret-file",
        "sign what it gets with the secret in this file, in Pushloop-Signature",
        |options, path| options.hooks.secret = Some(path),
    ),
    Entry::number(
        "hook-timeout",
        "MILLISECONDS",
        "how long a question may take in all, 20000 at most; a request that tells, too",
        |options, text| hook_timeout(text).map(|it| options.hooks.timeout = it),
    )
    .or("2000"),
    Entry::switch(
        "hook-allow-on-failure",
        "allow what it was asked if it gives no answer, instead of refusing it",
        |options, on| options.hooks.allow_on_failure = on,
    ),
    Entry::text(
        "hook-forward-header",
        "NAME",
        "tell it this field of the request that it is asked about, as cookie or authorization",
        |options, text| header_name(text).map(|it| options.hooks.forward_headers.push(it)),
    )
    .repeated(),
    Entry::text(
        "pusher-webhook",
        "ID:URL",
        "tell the backend of this application of Pusher's there of its channels, members and clients' events, in \
         Pusher's form",
        |options, text| Webhook::parse(text)?.add_to(&mut options.hooks.webhooks),
    )
    .repeated(),
];
