//! What an address may still have done for it: all its connections share one account, which outlives
//! them, so that a peer that comes anew does not begin anew.
//!
//! A unit of work is about a nanosecond of a core. What costs how much is counted, not measured: a
//! price is a number of names told, of pieces moved, of bytes read.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

/// Accounts that are kept. An account that has all its work left again is as good as a new one.
pub const ACCOUNTS_MAX: usize = 4096;
/// What an address may have done at once, and each second: a tenth of a core.
pub const WORK_MAX: u64 = 200_000_000;
pub const WORK_PER_SECOND: u64 = 100_000_000;

/// Whom an account belongs to: an IPv4 address, or 64 bits of an IPv6 address, of which a
/// subscriber has 2⁶⁴. Behind a proxy, all its users are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Payer(Option<IpAddr>);

impl Payer {
    pub fn new(address: Option<IpAddr>) -> Self {
        let network = |address: IpAddr| match address.to_canonical() {
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
            }
            address => address,
        };
        Self(address.map(network))
    }
}

/// An account: the work that was left at a time.
pub struct Account {
    left: u64,
    counted: Instant,
}

impl Account {
    fn left(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.counted).as_nanos();
        let earned = nanos * u128::from(WORK_PER_SECOND) / 1_000_000_000;
        WORK_MAX.min(self.left.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)))
    }
}

#[derive(Default)]
pub struct Ledger(pub HashMap<Payer, Account>);

impl Ledger {
    /// Takes the price of some work off an account. False if there is not as much left: then
    /// nothing is taken, and the work is not to be done.
    pub fn pays(&mut self, payer: Payer, now: Instant, price: u64) -> bool {
        let left = self.left(payer, now).checked_sub(price);
        let Some(left) = left else { return false };
        if !self.0.contains_key(&payer) {
            self.make_room(now);
        }
        self.0.insert(payer, Account { left, counted: now });
        true
    }

    pub fn left(&self, payer: Payer, now: Instant) -> u64 {
        self.0.get(&payer).map_or(WORK_MAX, |account| account.left(now))
    }

    /// Forgets the accounts that are full again, or the fullest: to forget it gives away the least.
    fn make_room(&mut self, now: Instant) {
        if self.0.len() < ACCOUNTS_MAX {
            return;
        }
        self.0.retain(|_, account| account.left(now) < WORK_MAX);
        if self.0.len() >= ACCOUNTS_MAX {
            let fullest = self.0.iter().max_by_key(|(_, account)| account.left(now));
            let fullest = fullest.map(|(payer, _)| *payer);
            fullest.and_then(|payer| self.0.remove(&payer));
        }
    }
}
