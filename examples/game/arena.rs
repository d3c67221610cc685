//! The rules: no socket, no clock, no bytes.
//!
//! Ships fly where they are steered and pick up sparks. When two touch, the poorer takes a third of
//! the richer's sparks, and both are in peace for two seconds: so whoever leads is hunted by all. A
//! ship whose player is gone waits for half a minute, and may be robbed meanwhile.

use pushloop::ConnId;

/// The arena's side; a spark lies at a multiple of `SIZE / 256`.
pub const SIZE: f32 = 2560.0;
/// What a ship flies in a tick at most, and how much of the way to that velocity it gains in one.
pub const SPEED: f32 = 9.0;
pub const EASE: f32 = 0.2;
/// How near a ship touches another, or a spark.
pub const REACH: f32 = 36.0;
pub const SPARKS: usize = 200;
pub const SHIPS_MAX: usize = 500;
pub const PEACE_TICKS: u16 = 60;
pub const AWAY_TICKS_MAX: u16 = 900;

/// UTF-8, filled up with zeros.
pub type Name = [u8; 16];

#[derive(Clone, Debug, Default)]
pub struct Ship {
    pub id: u16,
    /// Whoever knows it may steer the ship.
    pub token: u64,
    pub pilot: Option<ConnId>,
    pub name: Name,
    pub at: [f32; 2],
    pub velocity: [f32; 2],
    /// Where to: a vector of length 1 at most.
    pub helm: [f32; 2],
    /// The number of the order that set the helm.
    pub order: u8,
    pub sparks: u16,
    /// Ticks for which it neither robs nor is robbed.
    pub peace: u16,
    /// Ticks since its player left; 0 with a player.
    pub away: u16,
}

pub struct Arena {
    pub tick: u32,
    pub ships: Vec<Ship>,
    pub sparks: Vec<[u8; 2]>,
    last_id: u16,
    dice: u64,
}

impl Arena {
    pub fn new(seed: u64) -> Self {
        let mut arena = Self { tick: 0, ships: vec![], sparks: vec![], last_id: 0, dice: seed | 1 };
        arena.sparks = (0..SPARKS).map(|_| arena.anywhere()).collect();
        arena
    }

    /// Gives the ship that the token is of, or else a new one whose token is `fresh`. `None` if all
    /// places are taken; of the ships that wait for their players the poorest makes room, or
    /// of several the one that waits for the shortest time.
    pub fn board(&mut self, token: u64, fresh: u64) -> Option<&mut Ship> {
        if let Some(at) = self.ships.iter().position(|ship| ship.token == token) {
            return Some(&mut self.ships[at]);
        }
        if self.ships.len() >= SHIPS_MAX {
            let waiting = (0..SHIPS_MAX).filter(|at| self.ships[*at].away > 0);
            let worth = |at: &usize| (self.ships[*at].sparks, self.ships[*at].away);
            self.ships.swap_remove(waiting.min_by_key(worth)?);
        }
        // An id is not used again before all the others were.
        let mut ids = (1..=u16::MAX).map(|n| self.last_id.wrapping_add(n));
        let id = ids.find(|id| self.ships.iter().all(|ship| ship.id != *id))?;
        self.last_id = id;
        let at = place(self.anywhere());
        self.ships.push(Ship { id, at, token: fresh, ..Ship::default() });
        self.ships.last_mut()
    }

    pub fn step(&mut self) {
        self.tick += 1;
        self.ships.iter_mut().for_each(Ship::fly);
        self.ships.retain(|ship| ship.away <= AWAY_TICKS_MAX);
        for at in 0..self.sparks.len() {
            let spark = place(self.sparks[at]);
            if let Some(ship) = self.ships.iter_mut().find(|ship| apart(ship.at, spark) <= REACH) {
                ship.sparks = ship.sparks.saturating_add(1);
                self.sparks[at] = self.anywhere();
            }
        }
        for first in 0..self.ships.len() {
            let (ships, others) = self.ships.split_at_mut(first + 1);
            others.iter_mut().for_each(|other| meet(&mut ships[first], other));
        }
    }

    /// A place for a spark or a ship, by xorshift64.
    fn anywhere(&mut self) -> [u8; 2] {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        [(self.dice >> 48) as u8, (self.dice >> 56) as u8]
    }
}

impl Ship {
    fn fly(&mut self) {
        for axis in 0..2 {
            self.velocity[axis] += (self.helm[axis] * SPEED - self.velocity[axis]) * EASE;
            self.at[axis] = (self.at[axis] + self.velocity[axis]).clamp(0.0, SIZE);
        }
        self.peace = self.peace.saturating_sub(1);
        self.away += u16::from(self.away > 0);
    }
}

fn meet(a: &mut Ship, b: &mut Ship) {
    let touching = apart(a.at, b.at) <= REACH;
    let (poor, rich) = if a.sparks < b.sparks { (a, b) } else { (b, a) };
    if touching && poor.sparks < rich.sparks && poor.peace + rich.peace == 0 {
        let loot = rich.sparks.div_ceil(3);
        (poor.sparks, rich.sparks) = (poor.sparks.saturating_add(loot), rich.sparks - loot);
        (poor.peace, rich.peace) = (PEACE_TICKS, PEACE_TICKS);
    }
}

pub fn place(spark: [u8; 2]) -> [f32; 2] {
    spark.map(|cell| f32::from(cell) * SIZE / 256.0)
}

pub fn apart(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}
