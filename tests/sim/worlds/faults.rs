//! What goes wrong in a simulated network, and how often.

use super::choice::Choice;

/// How many of 100 calls meet which fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub short_read: usize,
    pub short_write: usize,
    pub read_blocks: usize,
    pub write_blocks: usize,
    pub interrupts: usize,
    pub late: usize,
    pub single: usize,
    pub shuffled: usize,
    pub spurious: usize,
    pub stale: usize,
    pub signal: usize,
    pub accept_fails: usize,
    pub exhausted: usize,
    pub no_reserve: usize,
    pub unregistrable: usize,
    pub jump: usize,
    /// Another thread does something just then.
    pub meddles: usize,
}

impl Faults {
    /// Each world has its own mix, and of each fault none in a third of the worlds.
    pub fn drawn(choice: &Choice) -> Self {
        let knob = |most: usize| if choice.below(3) == 0 { 0 } else { choice.below(most + 1) };
        let drawn = Self {
            short_read: knob(90),
            short_write: knob(90),
            read_blocks: knob(50),
            write_blocks: knob(50),
            interrupts: knob(30),
            late: knob(60),
            single: knob(60),
            shuffled: knob(100),
            spurious: knob(40),
            stale: knob(60),
            signal: knob(20),
            accept_fails: knob(40),
            exhausted: knob(30),
            no_reserve: knob(80),
            unregistrable: knob(10),
            meddles: knob(60),
            // A jump ends many connections: it is the exception.
            jump: if choice.below(4) == 3 { choice.below(8) } else { 0 },
        };
        let short_write = if drawn.writes_are_taken() { 0 } else { drawn.short_write };
        Self { short_write, ..drawn }
    }

    /// Kernels take everything at once, of all peers.
    pub fn writes_are_taken(&self) -> bool {
        self.write_blocks == 0
    }
}
