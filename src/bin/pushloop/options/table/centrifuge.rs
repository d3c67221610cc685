//! Clients of other servers.

use super::Entry;

pub const CENTRIFUGE: &[Entry] = &[
    Entry::switch(
        "centrifuge",
        "let clients of Centrifugo connect, at /connection/websocket, /connection/sse and /connection/http_stream",
        |options, on| options.centrifuge = on,
    ),
    Entry::file(
        "centrifuge-key-file",
        "answer Centrifugo's server API at /api to those that send the key in this file as X-API-Key",
        |options, path| options.tokens.api_key = Some(path),
    )
    .reloads(),
];
