//! Where a simulated world's choices come from. Everything that is not fixed asks here, so that a
//! world is the same whenever its source is, and any source can drive it. 0 and `false` are always
//! the harmless choice: a source that has run dry ends a world in peace.

use pushloop::testing::Source;

/// A fuzzer's bytes, two to a choice.
pub struct Bytes(pub Vec<u8>);

impl Source for Bytes {
    fn below(&mut self, bound: usize) -> usize {
        let low = self.0.pop().unwrap_or_default();
        let high = if bound > 256 { self.0.pop().unwrap_or_default() } else { 0 };
        (usize::from(high) * 256 + usize::from(low)) % bound
    }

    fn is_dry(&self) -> bool {
        self.0.is_empty()
    }
}

/// Every way to make the first so many choices, one after the other; all further ones are harmless.
/// A part is one byte, or all but one.
pub struct Every {
    /// What was chosen, and of how many.
    path: Vec<(usize, usize)>,
    at: usize,
    choices_max: usize,
}

impl Every {
    pub fn new(choices_max: usize) -> Self {
        Self { path: Vec::new(), at: 0, choices_max }
    }

    /// Goes on to the next way. False if that was the last.
    pub fn advances(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, bound)) = self.path.pop() {
            if chosen + 1 < bound {
                self.path.push((chosen + 1, bound));
                return true;
            }
        }
        false
    }
}

impl Source for Every {
    fn below(&mut self, bound: usize) -> usize {
        if self.at == self.path.len() {
            if self.at == self.choices_max || bound == 1 {
                return 0;
            }
            self.path.push((0, bound));
        }
        self.at += 1;
        self.path[self.at - 1].0
    }

    fn chance(&mut self, percent: usize) -> bool {
        percent > 0 && self.below(2) == 1
    }

    fn part(&mut self, whole: usize) -> usize {
        if whole > 2 && self.below(2) == 1 { whole - 1 } else { 1 }
    }
}
