//! A text that several write at once, each with a caret that the others see.
//!
//! The text is a Yjs document: `yjs` in the page and `yrs` here. A page that comes, or comes back,
//! and the server tell each other what they have, and send what the other lacks. The server keeps
//! the document in memory; after a restart the pages bring it back.
//!
//! The page needs two npm packages, which are not part of this repository: `INSTALL` in `server.rs`. Then
//! `cargo run --release --example editor`, and `curl http://127.0.0.1:9014/text`

mod document;
#[path = "../page/ledger.rs"]
mod ledger;
#[path = "../page/name.rs"]
mod name;
mod order;
#[path = "../page/mod.rs"]
mod page;
mod server;
mod update;

use page::Page;

const PAGE: Page = Page { name: "editor", port: 9014, html: include_str!("page.html"), takes: &[] };

fn main() -> std::process::ExitCode {
    if !server::has_packages() {
        let (root, install) = (server::ROOT, server::INSTALL);
        println!("editor: its page needs two npm packages: cd {root} && {install}");
    }
    PAGE.run(server::config(), |_, _, _| server::Editor::new())
}
