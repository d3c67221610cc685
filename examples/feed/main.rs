//! A market board: 240 prices, 3,000 updates a second, to whoever looks on.
//!
//! A symbol is a topic that keeps its latest message only for who lags ([`Overflow::KeepLatest`]):
//! a slow page misses prices that are old by now, holds nobody up, and takes bounded memory. Who
//! joins gets the whole board in one message, and from there on what changes.
//!
//! `cargo run --release --example feed`

#[path = "../page/clock.rs"]
mod clock;
#[path = "../page/crowd.rs"]
mod crowd;
mod market;
#[path = "../page/mod.rs"]
mod page;

use std::{collections::VecDeque, process::ExitCode, time::Instant};

use clock::Clock;
use market::Market;
use page::{Budget, Page};
use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, Overflow, Reason, Request,
    RequestId,
};
use serde_json::json;

const PAGE: Page =
    Page { name: "feed", port: 9011, html: include_str!("page.html"), takes: crowd::OPTIONS };

const BEATS_PER_SECOND: u32 = 25;
const UPDATES_PER_BEAT: usize = 125;
/// Orders that one connection may give in a second, and that all together may have waiting.
const ORDERS_PER_SECOND: u32 = 10;
const ORDERS_MAX: usize = 500;
/// By how much an order moves a price, in hundredths of a percent.
const ORDER_MOVES: i64 = 100;
const TAPE_LEN: usize = 12;

/// Topics beside the symbols.
const ORDERS: &str = "$orders";
const SECONDS: &str = "$seconds";

struct Feed {
    market: Market,
    started: Instant,
    clock: Clock,
    updates: u64,
    /// The latest orders, as they were published.
    tape: VecDeque<String>,
    budgets: ConnMap<Budget>,
    /// Orders that the next beat carries out: the name of the side, by how much it moves which price.
    waiting: Vec<(&'static str, i64, usize)>,
    orders: u64,
}

impl Feed {
    fn new(hub: &mut Hub) -> Self {
        Self {
            market: Market::new(),
            started: hub.now(),
            clock: Clock::start(hub, BEATS_PER_SECOND),
            updates: 0,
            tape: VecDeque::new(),
            budgets: ConnMap::new(),
            waiting: Vec::new(),
            orders: 0,
        }
    }

    /// With microseconds since the market opened, by the time of this turn. What is refused here is
    /// counted, and the next price makes up for it.
    fn publish_price(&mut self, hub: &mut Hub, at: usize) {
        self.updates += 1;
        let stock = &self.market.stocks[at];
        let stamp = (hub.now() - self.started).as_micros();
        let price = format!("[{at},{},{},{stamp}]", stock.price, stock.updates);
        let _ = hub.publish(&stock.symbol, &price);
    }

    fn carry_out(&mut self, hub: &mut Hub, (side, moves, at): (&str, i64, usize)) {
        self.market.push(at, moves);
        self.publish_price(hub, at);
        self.orders += 1;
        let price = self.market.stocks[at].price;
        let order = json!({ "order": self.orders, "side": side, "at": at, "price": price });
        let order = order.to_string();
        let _ = hub.publish(ORDERS, &order);
        self.tape.truncate(TAPE_LEN - 1);
        self.tape.push_front(order);
    }

    /// Once a second, in a turn in which no price moves: the topics have no order between them, and
    /// so the sum is of what every page that keeps up has by then.
    fn publish_second(&mut self, hub: &mut Hub) {
        self.market.remember();
        let second = json!({
            "second": self.clock.made / BEATS_PER_SECOND,
            "sum": self.market.sum(),
            "pages": self.budgets.len(),
            "updates": self.updates,
            "conflated": hub.counters().messages_conflated,
        });
        let _ = hub.publish(SECONDS, &second.to_string());
    }

    /// Takes an order down, or says why it is none.
    fn take(&mut self, now: Instant, id: ConnId, message: Message<'_>) -> Result<(), &'static str> {
        let wrong = "an order is `buy SYMBOL` or `sell SYMBOL`";
        let words = message.as_text().and_then(|text| text.split_once(' '));
        let (side, symbol) = words.ok_or(wrong)?;
        let (side, moves) = match side {
            "buy" => ("buy", ORDER_MOVES),
            "sell" => ("sell", -ORDER_MOVES),
            _ => return Err(wrong),
        };
        let at = self.market.find(symbol).ok_or(wrong)?;
        if !self.budgets.get_mut(id).is_some_and(|budget| budget.pays(now, 1)) {
            return Err("more than 10 orders in a second");
        }
        // Beyond what the market bears, an order is one of too many, and lost.
        if self.waiting.len() < ORDERS_MAX {
            self.waiting.push((side, moves, at));
        }
        Ok(())
    }
}

impl Handler for Feed {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let plain = self.clock.answer(hub, id, request) || PAGE.answer(hub, id, request);
        if !plain && hub.accept(id, Accept::default()).is_ok() {
            let budget = Budget::new(ORDERS_PER_SECOND, ORDERS_PER_SECOND.into(), hub.now());
            self.budgets.insert(id.conn(), budget);
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        // First, so that whatever is published from now on comes behind it.
        let (board, tape) = (self.market.board(), Vec::from_iter(self.tape.iter().cloned()));
        let all = format!("{{\"board\":{board},\"tape\":[{}]}}", tape.join(","));
        // Whoever is gone again, or full, needs none of it.
        let _ = hub.send(id, &all);
        for stock in &self.market.stocks {
            let _ = hub.subscribe(id, &stock.symbol);
        }
        for topic in [ORDERS, SECONDS] {
            let _ = hub.subscribe(id, topic);
        }
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        if let Err(why) = self.take(hub.now(), id, message) {
            hub.close(id, CloseCode::POLICY, why);
        }
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.budgets.remove(id);
    }

    fn on_timer(&mut self, hub: &mut Hub, timer: u64) {
        if !self.clock.ticks(hub, timer) {
            return;
        }
        if self.clock.made.is_multiple_of(BEATS_PER_SECOND) {
            return self.publish_second(hub);
        }
        for order in std::mem::take(&mut self.waiting) {
            self.carry_out(hub, order);
        }
        for _ in 0..UPDATES_PER_BEAT {
            let at = self.market.step();
            self.publish_price(hub, at);
        }
    }
}

fn main() -> ExitCode {
    let mut config = Config::default();
    config.overflow = Overflow::KeepLatest;
    config.connections_max = 2_000;
    config.topics_per_connection_max = 256;
    config.message_bytes_max = 32;
    PAGE.run(config, |hub, address, numbers| {
        crowd::start(address, numbers, onlooker);
        Feed::new(hub)
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
