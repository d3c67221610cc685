//! A market board: 240 prices, 3,000 updates a second, to whoever looks on.
//!
//! `cargo run --release --example feed`

#[path = "../page/clock.rs"]
mod clock;
#[path = "../page/crowd.rs"]
mod crowd;
mod market;
#[path = "../page/mod.rs"]
mod page;
mod server;

use std::process::ExitCode;

use page::Page;

const PAGE: Page =
    Page { name: "feed", port: 9011, html: include_str!("page.html"), takes: crowd::OPTIONS };

fn main() -> ExitCode {
    PAGE.run(server::config(), |hub, address, numbers| {
        crowd::start(address, numbers, onlooker);
        server::Feed::new(hub)
    })
}

/// Looks on, and orders now and then.
fn onlooker(number: usize) -> crowd::Bot {
    let mut heard = number * 101;
    Box::new(move |_| {
        heard += 1;
        let order = if number.is_multiple_of(2) { "buy AURE" } else { "sell KESL" };
        heard.is_multiple_of(30_000).then(|| tungstenite::Message::text(order))
    })
}
