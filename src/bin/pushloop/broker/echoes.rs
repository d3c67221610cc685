//! The echoes of a cluster's masters, which come by one after the other: a node that passes on what the others publish
//! may have lost one of them.

use super::{links::MASTERS_MAX, record::number};

/// Turns that a master may miss, and for how long beyond its turn it may be silent.
const TURNS: u64 = 3;
const SILENCE_MILLIS: u64 = 3000;
/// How often one of them echoes.
const INTERVAL_MILLIS: u64 = 1000;

/// What an echo says: which it is of those of a connection, when it was sent, by which master, and of how many.
pub fn text(nth: u64, sent: u64, master: usize, masters: usize) -> String {
    format!("{nth} {sent} {master} {masters}")
}

/// What was heard: of each master the last echo, and when it was sent.
#[derive(Debug, Default)]
pub struct Echoes {
    heard: Vec<(u64, u64)>,
}

impl Echoes {
    /// An echo was heard. False if another master is not heard any more.
    pub fn hear(&mut self, text: &[u8]) -> bool {
        let words: Option<Vec<u64>> = text.split(|byte| *byte == b' ').map(number).collect();
        let Some([nth, sent, master, masters]) = words.as_deref() else { return true };
        if master >= masters || *masters > MASTERS_MAX as u64 {
            return true;
        }
        // Another connection asks, or this one has a link more.
        let is_new = self.heard.get(*master as usize).is_none_or(|(last, _)| nth < last);
        if is_new || self.heard.len() as u64 != *masters {
            self.heard = vec![(*nth, *sent); *masters as usize];
        }
        self.heard[*master as usize] = (*nth, *sent);
        let (turns, silence) = (TURNS * masters, INTERVAL_MILLIS * masters + SILENCE_MILLIS);
        // Many echoes may come at once, and none for long.
        self.heard.iter().all(|(last, at)| {
            nth.saturating_sub(*last) < turns || sent.saturating_sub(*at) <= silence
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_that_is_not_heard_is_missed_after_three_turns_and_some_time() {
        let hear = |echoes: &mut Echoes, nth: u64, sent| {
            echoes.hear(text(nth, sent, nth as usize % 3, 3).as_bytes())
        };
        // All are heard, and overtake each other.
        let mut echoes = Echoes::default();
        for nth in (0..30).flat_map(|it| [it * 3 + 1, it * 3, it * 3 + 2]) {
            assert!(hear(&mut echoes, nth, nth * 1000), "{nth}");
        }
        // One is silent.
        let missed_at = |millis: u64| {
            let mut echoes = Echoes::default();
            let mut others = (0..60).filter(|nth| nth % 3 != 1);
            others.find(|nth| !hear(&mut echoes, *nth, nth * millis))
        };
        assert_eq!((missed_at(1000), missed_at(600), missed_at(1)), (Some(9), Some(11), None));
        // Nothing came for a while.
        let mut echoes = Echoes::default();
        for (nth, sent) in [(0, 0), (1, 1), (2, 2), (3, 90_000), (4, 90_001), (5, 90_002), (0, 0)] {
            assert!(hear(&mut echoes, nth, sent), "{nth}");
        }
        for other in ["echo", "", "1 2 3 3", "1 2 0", "1 2 0 1001", "1 2 0 18446744073709551615"] {
            assert!(echoes.hear(other.as_bytes()), "{other}");
        }
        assert_eq!(echoes.heard.len(), 3);
    }
}
