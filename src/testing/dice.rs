//! Where everything that is not fixed comes from, so that a world is the same whenever its source is.

use std::{cell::RefCell, env, fmt, rc::Rc};

/// The variable that names the one seed to run: see [`each_seed`].
pub(super) const SEED_VARIABLE: &str = "PUSHLOOP_SEED";

/// What makes choices: a generator ([`Dice`]), a fuzzer's bytes, an enumeration. Whatever is not fixed in
/// a [`Network`](super::Network) or a [`World`](super::World) asks here.
///
/// 0 and `false` are always the harmless choice: a source that has run dry and gives nothing else ends
/// in peace.
pub trait Source {
    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize;

    /// All further choices are harmless.
    fn is_dry(&self) -> bool {
        false
    }

    /// Whether something happens that does so in so many of 100 cases.
    fn chance(&mut self, percent: usize) -> bool {
        percent > 0 && self.below(100) >= 100 - percent
    }

    /// How many of `whole` bytes, of which there are at least 2, are taken: some, but not all.
    fn part(&mut self, whole: usize) -> usize {
        1 + self.below(whole - 1)
    }
}

/// Random numbers that are the same in every run (xorshift64*). They are no secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator; the same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number, of 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.number()) * bound as u128) >> 64) as usize
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

impl Source for Dice {
    fn below(&mut self, bound: usize) -> usize {
        Dice::below(self, bound)
    }
}

/// A source that all parts of a world share.
#[derive(Clone)]
pub struct Choice(Rc<RefCell<dyn Source>>);

impl Choice {
    /// The choices of this source.
    pub fn new(source: impl Source + 'static) -> Self {
        Self::sharing(Rc::new(RefCell::new(source)))
    }

    /// The choices of a source that the caller keeps as well.
    pub fn sharing(source: Rc<RefCell<impl Source + 'static>>) -> Self {
        Self(source)
    }

    /// The choices of [`Dice`] with this seed.
    pub fn seeded(seed: u64) -> Self {
        Self::new(Dice::new(seed))
    }

    /// See [`Source::below`].
    pub fn below(&self, bound: usize) -> usize {
        self.0.borrow_mut().below(bound)
    }

    /// See [`Source::is_dry`].
    pub fn is_dry(&self) -> bool {
        self.0.borrow().is_dry()
    }

    /// See [`Source::chance`].
    pub fn chance(&self, percent: usize) -> bool {
        percent > 0 && self.0.borrow_mut().chance(percent)
    }

    /// See [`Source::part`].
    pub fn part(&self, whole: usize) -> usize {
        self.0.borrow_mut().part(whole)
    }

    /// One of these, of which there is at least one.
    pub fn of<T: Copy>(&self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    /// Brings them into any order.
    pub fn shuffles<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, last - self.below(last + 1));
        }
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Choice")
    }
}

/// Calls a test with each of the seeds from 0 to `count`, or with that in the environment's
/// `PUSHLOOP_SEED` alone. A [`World`](super::World) in which a test fails prints which one to set.
///
/// # Panics
///
/// If `PUSHLOOP_SEED` is no number.
pub fn each_seed(count: u64, mut test: impl FnMut(u64)) {
    match env::var(SEED_VARIABLE) {
        Ok(seed) => test(seed.parse().expect("PUSHLOOP_SEED is a number")),
        Err(_) => (0..count).for_each(test),
    }
}
