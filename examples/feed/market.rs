//! An invented market: what it trades, and how prices move. It knows nothing of who looks on.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
};

const HOUSES: &str = "Aurora Basalt Birch Cedar Cobalt Delta Dune Ember Fjord Granite Harbour Iris \
    Juniper Kestrel Lumen Meridian Nimbus Oakmoss Orchid Pioneer Quartz Raven Saffron Tundra Umbra \
    Vesper Willow Xenon Yarrow Zephyr";
const TRADES: &str = "Energy Foods Health Labs Metals Robotics Shipping Textiles";
/// Seconds of the past that are kept of each price.
const HISTORY: usize = 60;
const CENTS: std::ops::RangeInclusive<u32> = 100..=999_999;

/// One thing that is traded. Prices are in cents.
pub struct Stock {
    pub symbol: String,
    pub name: String,
    pub price: u32,
    /// How often the price was set.
    pub updates: u64,
    fair: u32,
    history: VecDeque<u32>,
}

pub struct Market {
    pub stocks: Vec<Stock>,
    random: u64,
}

impl Market {
    pub fn new() -> Self {
        // A hasher's keys are the standard library's source of chance.
        let seed = RandomState::new().build_hasher().finish() | 1;
        let mut market = Self { stocks: Vec::new(), random: seed };
        for trade in TRADES.split(' ') {
            for house in HOUSES.split(' ') {
                let fair = 2_000 + market.chance(48_000);
                market.stocks.push(Stock {
                    symbol: format!("{}{}", &house[..3], &trade[..1]).to_uppercase(),
                    name: format!("{house} {trade}"),
                    price: fair,
                    updates: 0,
                    fair,
                    history: VecDeque::new(),
                });
            }
        }
        // Nobody wants to watch an empty board fill up.
        for _ in 0..HISTORY {
            for at in 0..market.stocks.len() * 12 {
                market.drift(at % market.stocks.len());
            }
            market.remember();
        }
        market
    }

    pub fn find(&self, symbol: &str) -> Option<usize> {
        self.stocks.iter().position(|stock| stock.symbol == symbol)
    }

    /// A price somewhere moves a little; gives whose.
    pub fn step(&mut self) -> usize {
        let at = self.chance(self.stocks.len() as u32) as usize;
        self.drift(at);
        at
    }

    /// Moves a price by so many hundredths of a percent.
    pub fn push(&mut self, at: usize, basis_points: i64) {
        let stock = &mut self.stocks[at];
        let price = i64::from(stock.price) + i64::from(stock.price) * basis_points / 10_000;
        stock.price = u32::try_from(price).unwrap_or(0).clamp(*CENTS.start(), *CENTS.end());
        stock.updates += 1;
    }

    fn drift(&mut self, at: usize) {
        let Stock { price, fair, .. } = self.stocks[at];
        // What is far from its fair price is a little more likely to turn.
        let pull = (i64::from(fair) - i64::from(price)) * 60 / i64::from(fair);
        let noise = i64::from(self.chance(41)) - 20;
        self.push(at, noise + pull.clamp(-8, 8));
    }

    /// Adds the present prices to the past: once a second.
    pub fn remember(&mut self) {
        for stock in &mut self.stocks {
            if stock.history.len() == HISTORY {
                stock.history.pop_front();
            }
            stock.history.push_back(stock.price);
        }
    }

    /// A number that is as good as equal only if all prices are.
    pub fn sum(&self) -> u64 {
        self.stocks.iter().zip(1..).map(|(stock, weight)| u64::from(stock.price) * weight).sum()
    }

    /// Everything, for who has nothing yet: a JSON array.
    pub fn board(&self) -> String {
        let stock = |stock: &Stock| {
            let Stock { symbol, name, price, updates, history, .. } = stock;
            let history: Vec<_> = history.iter().map(u32::to_string).collect();
            format!("[\"{symbol}\",\"{name}\",{price},{updates},[{}]]", history.join(","))
        };
        let stocks: Vec<_> = self.stocks.iter().map(stock).collect();
        format!("[{}]", stocks.join(","))
    }

    /// Below `end`, by a xorshift generator.
    fn chance(&mut self, end: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (((self.random >> 32) * u64::from(end)) >> 32) as u32
    }
}
