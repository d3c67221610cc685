//! The board's server: a symbol is a topic that keeps its latest message only for a page that lags
//! ([`OnLag::Latest`]): a slow page misses prices that are old by now, holds nobody up, and takes bounded
//! memory. A page that joins gets the whole board in one message, and from there on what changes.

use std::{collections::VecDeque, time::Instant};

use pushloop::{
    Accept, CloseCode, Config, ConnId, ConnMap, Handler, History, Hub, Message, OnLag, Overflow,
    Reason, Request, RequestId,
};
use serde_json::json;

use super::{PAGE, clock::Clock, market::Market, page::Budget};

const BEATS_PER_SECOND: u32 = 25;
const UPDATES_PER_BEAT: usize = 125;
/// Orders that one connection may give in a second, and that all together may have waiting.
const ORDERS_PER_SECOND: u32 = 10;
const ORDERS_MAX: usize = 500;
/// By how much an order moves a price, in hundredths of a percent.
const ORDER_MOVES: i64 = 100;
/// The latest orders, which a page that joins gets first.
const TAPE_LEN: u64 = 12;
/// So many pages get the board in one beat. Each takes 242 subscriptions and some 100 KB: a crowd that
/// comes at once is not to cost all others a beat.
pub const WELCOMES_PER_BEAT: usize = 8;

/// Topics beside the symbols.
const ORDERS: &str = "$orders";
const SECONDS: &str = "$seconds";

pub struct Feed {
    pub market: Market,
    started: Instant,
    pub clock: Clock,
    updates: u64,
    budgets: ConnMap<Budget>,
    /// Orders that the next beat carries out: the name of the side, by how much it moves which price.
    waiting: Vec<(&'static str, i64, usize)>,
    orders: u64,
    /// Pages that have no board yet, and how many get it before the next beat.
    joining: VecDeque<ConnId>,
    welcomes: usize,
    /// The board, as all pages get it that join before something changes.
    all: Option<String>,
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.topic.on_lag = OnLag::Latest;
    config.overflow = Overflow::DropNewest;
    config.connections_max = 2_000;
    config.topics_per_connection_max = 256;
    config.message_bytes_max = 32;
    config
}

impl Feed {
    pub fn new(hub: &mut Hub) -> Self {
        let mut orders = hub.topic_options(ORDERS);
        orders.history = Some(History::of(TAPE_LEN));
        // The first topic that has options is within every limit.
        let _ = hub.configure_topic(ORDERS, orders);
        Self {
            market: Market::new(),
            started: hub.now(),
            clock: Clock::start(hub, BEATS_PER_SECOND),
            updates: 0,
            budgets: ConnMap::new(),
            waiting: Vec::new(),
            orders: 0,
            joining: VecDeque::new(),
            welcomes: WELCOMES_PER_BEAT,
            all: None,
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
        let _ = hub.publish(ORDERS, order.to_string());
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
        let _ = hub.publish(SECONDS, second.to_string());
    }

    /// Gives the board to the pages that came, as many as this beat bears.
    fn welcome(&mut self, hub: &mut Hub) {
        while self.welcomes > 0
            && let Some(id) = self.joining.pop_front()
        {
            if !hub.is_open(id) {
                continue;
            }
            self.welcomes -= 1;
            let market = &self.market;
            let all = self.all.get_or_insert_with(|| format!("{{\"board\":{}}}", market.board()));
            // First, so that whatever is published from now on comes behind it. A page that is full needs
            // none of it.
            let _ = hub.send(id, all.as_str());
            let symbols = market.stocks.iter().map(|stock| stock.symbol.as_str());
            for topic in symbols.chain([SECONDS]) {
                let _ = hub.subscribe(id, topic);
            }
            let _ = hub.subscribe_last(id, ORDERS, TAPE_LEN);
        }
    }

    /// What a beat publishes.
    fn beat(&mut self, hub: &mut Hub) {
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
        self.joining.push_back(id);
        self.welcome(hub);
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
        if self.clock.ticks(hub, timer) {
            self.beat(hub);
            (self.all, self.welcomes) = (None, WELCOMES_PER_BEAT);
            self.welcome(hub);
        }
    }
}
