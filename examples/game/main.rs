//! A game: ships in one arena, for as many players as come. The server takes orders only, makes 30
//! ticks a second, and publishes one snapshot of everything in each.
//!
//! `cargo run --example game -- --bots 12`, then open what it prints. What the ticks are like with
//! 200 of them: `cargo run --release --example game -- --bots 200 --seconds 60`

mod arena;
mod bots;
#[path = "../page/clock.rs"]
mod clock;
#[path = "../page/crowd.rs"]
mod crowd;
#[path = "../page/name.rs"]
mod name;
#[path = "../page/mod.rs"]
mod page;
mod server;
mod wire;

use page::Page;

const PAGE: Page =
    Page { name: "game", port: 9013, html: include_str!("page.html"), takes: crowd::OPTIONS };

fn main() -> std::process::ExitCode {
    PAGE.run(server::config(), |hub, address, numbers| {
        crowd::start(address, numbers, bots::bot);
        server::Game::new(hub)
    })
}
