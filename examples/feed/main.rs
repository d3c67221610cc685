//! A market board: 240 prices, 3,000 updates a second, to whoever looks on.
//!
//! A symbol is a topic that keeps its latest message only for who lags ([`Overflow::KeepLatest`]):
//! a slow page misses prices that are old by now, holds nobody up, and takes bounded memory. Who
//! joins gets the whole board in one message, and from there on what changes.
//!
//! `cargo run --release --example feed`

#[path = "../page/mod.rs"]
mod page;

mod market;

use std::{
    collections::VecDeque,
    process::ExitCode,
    time::{Duration, Instant},
};

use market::Market;
use page::Page;
use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, Hub, Message, Overflow, Reason, Request,
};

const PAGE: Page = Page { name: "feed", port: 9011, html: include_str!("page.html") };

const BEAT: Duration = Duration::from_millis(40);
const UPDATES_PER_BEAT: usize = 125;
const BEATS_PER_SECOND: u64 = 25;
/// Orders that one connection may give in a second.
const ORDERS_PER_SECOND: u32 = 10;
/// By how much an order moves a price, in hundredths of a percent.
const ORDER_MOVES: i64 = 100;
const TAPE_LEN: usize = 12;

/// Topics beside the symbols.
const ORDERS: &str = "$orders";
const SECONDS: &str = "$seconds";

struct Feed {
    market: Market,
    started: Instant,
    next_beat: Instant,
    beats: u64,
    updates: u64,
    /// The latest orders, as they were published.
    tape: VecDeque<String>,
    /// What each connection ordered in this second.
    ordered: ConnMap<u32>,
    /// Orders that the next beat carries out.
    waiting: Vec<(usize, Side)>,
    orders: u64,
}

#[derive(Clone, Copy)]
enum Side {
    Buy,
    Sell,
}

impl Feed {
    fn new(hub: &mut Hub) -> Self {
        hub.set_timer(hub.now(), 0);
        Self {
            market: Market::new(),
            started: hub.now(),
            next_beat: hub.now(),
            beats: 0,
            updates: 0,
            tape: VecDeque::new(),
            ordered: ConnMap::new(),
            waiting: Vec::new(),
            orders: 0,
        }
    }

    /// Microseconds since the market opened, by the time of this turn.
    fn stamp(&self, hub: &Hub) -> u128 {
        (hub.now() - self.started).as_micros()
    }

    /// What is refused here is counted, and the next price makes up for it.
    fn publish_price(&mut self, hub: &mut Hub, at: usize) {
        self.updates += 1;
        let stock = &self.market.stocks[at];
        let price = format!("[{at},{},{},{}]", stock.price, stock.updates, self.stamp(hub));
        let _ = hub.publish(&stock.symbol, &price);
    }

    fn carry_out(&mut self, hub: &mut Hub, at: usize, side: Side) {
        let (name, moves) = match side {
            Side::Buy => ("buy", ORDER_MOVES),
            Side::Sell => ("sell", -ORDER_MOVES),
        };
        self.market.push(at, moves);
        self.publish_price(hub, at);
        self.orders += 1;
        let price = self.market.stocks[at].price;
        let order = format!(
            "{{\"order\":{},\"side\":\"{name}\",\"at\":{at},\"price\":{price}}}",
            self.orders
        );
        let _ = hub.publish(ORDERS, &order);
        self.tape.truncate(TAPE_LEN - 1);
        self.tape.push_front(order);
    }

    /// Once a second, in a turn in which no price moves: the topics have no order between them, and
    /// so the sum is of what every page that keeps up has by then.
    fn publish_second(&mut self, hub: &mut Hub) {
        self.market.remember();
        self.ordered.iter_mut().for_each(|(_, orders)| *orders = 0);
        let second = format!(
            "{{\"second\":{},\"sum\":{},\"pages\":{},\"updates\":{},\"conflated\":{}}}",
            self.beats / BEATS_PER_SECOND,
            self.market.sum(),
            self.ordered.len(),
            self.updates,
            hub.counters().messages_conflated,
        );
        let _ = hub.publish(SECONDS, &second);
    }
}

impl Handler for Feed {
    fn on_request(&mut self, hub: &mut Hub, id: ConnId, request: &Request) {
        if PAGE.answer(hub, id, request) {
            return;
        }
        if hub.accept(id, Accept::default()).is_ok() {
            self.ordered.insert(id, 0);
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
        let order =
            message.as_text().and_then(|text| text.split_once(' ')).and_then(|(side, symbol)| {
                let side = match side {
                    "buy" => Side::Buy,
                    "sell" => Side::Sell,
                    _ => return None,
                };
                Some((self.market.find(symbol)?, side))
            });
        let Some(order) = order else {
            return hub.close(id, CloseCode::POLICY, "an order is `buy SYMBOL` or `sell SYMBOL`");
        };
        let Some(orders) = self.ordered.get_mut(id) else { return };
        *orders += 1;
        if *orders > ORDERS_PER_SECOND {
            return hub.close(id, CloseCode::POLICY, "more than 10 orders in a second");
        }
        self.waiting.push(order);
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, _: Reason<'_>) {
        self.ordered.remove(id);
    }

    fn on_timer(&mut self, hub: &mut Hub, _: u64) {
        self.beats += 1;
        if self.beats.is_multiple_of(BEATS_PER_SECOND) {
            self.publish_second(hub);
        } else {
            for (at, side) in std::mem::take(&mut self.waiting) {
                self.carry_out(hub, at, side);
            }
            for _ in 0..UPDATES_PER_BEAT {
                let at = self.market.step();
                self.publish_price(hub, at);
            }
        }
        // A process that was stopped for a while has nothing to make up for.
        self.next_beat = (self.next_beat + BEAT).max(hub.now());
        hub.set_timer(self.next_beat, 0);
    }
}

fn main() -> ExitCode {
    let mut config = Config::default();
    config.overflow = Overflow::KeepLatest;
    config.topics_per_connection_max = 256;
    config.message_bytes_max = 32;
    PAGE.run(config, Feed::new)
}
