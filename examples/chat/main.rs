//! Chat: rooms with a history and with who is there, and a page that comes back after a cut without
//! losing a message and without saying one twice.
//!
//! `cargo run --example chat`, then open the page in two windows.
//!
//! Messages are JSON. A page enters with `{"name", "token"}` and is told `{"entered"}`. It sends
//! `{"join": ROOM, "after": ID}`, `{"leave": ROOM}` and `{"say": TEXT, "room", "key"}`. It gets
//! `{"room", "here", "lines", "gap"}` on joining, and then each `{"room", "line"}`, `{"room", "came"}`
//! and `{"room", "left"}`. An id is the place of a line in its room ([`pushloop::Position`]), so that
//! "all after the last one that I have" is answered with exactly those, or with all that is kept and
//! `"gap": true`: where some are not kept, and where the server was started anew meanwhile.

#[path = "../page/ledger.rs"]
mod ledger;
#[path = "../page/name.rs"]
mod name;
#[path = "../page/mod.rs"]
mod page;
mod room;
mod server;

use page::Page;

const PAGE: Page = Page { name: "chat", port: 9012, html: include_str!("page.html"), takes: &[] };

fn main() -> std::process::ExitCode {
    PAGE.run(server::config(), |hub, _, _| server::Chat::new(hub))
}
