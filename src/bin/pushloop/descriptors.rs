//! How many descriptors there are, and what they are for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Those that are no connection's: standard streams, the poll and its waker, the library's reserve, signals,
/// listeners, and some that were inherited.
const OWN: usize = 16;
/// Those for health checks, when all others are taken.
const RESERVED_MAX: usize = 32;

/// The limit of descriptors.
pub struct Descriptors {
    pub limit: usize,
    /// What it was before, if it was raised.
    raised_from: Option<u64>,
}

/// Raises the limit as far as the system lets this process. Programs that use `select` keep the soft limit
/// low by default; this one does not.
pub fn raise_limit() -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let is_raised = current != maximum && setrlimit(Resource::Nofile, raised).is_ok();
    let limit = if is_raised { maximum } else { current };
    let limit = limit.and_then(|limit| limit.try_into().ok()).unwrap_or(usize::MAX);
    Descriptors { limit, raised_from: current.filter(|_| is_raised) }
}

impl Descriptors {
    /// A line that says what was raised.
    pub fn notice(&self) -> String {
        let limit = self.limit;
        let notice = |from| format!("pushloop: up to {limit} descriptors ({from} before)\n");
        self.raised_from.map(notice).unwrap_or_default()
    }
}

/// Those of loops beside the first: each has a poll, a waker and a reserve, and two connections to a broker if there is
/// one, with what looks up its name.
pub fn of_loops(loops: usize, has_broker: bool) -> usize {
    let each = if has_broker { 7 } else { 3 };
    each * loops.saturating_sub(1)
}

/// Connections that are let in for health checks alone.
pub fn reserved(limit: usize) -> usize {
    RESERVED_MAX.min(limit / 4)
}

/// Connections that may ask for anything.
pub fn connections(limit: usize) -> usize {
    limit.saturating_sub(OWN + reserved(limit)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loop_beside_the_first_has_its_own() {
        let of = |loops| [of_loops(loops, false), of_loops(loops, true)];
        assert_eq!([of(1), of(2), of(4)], [[0, 0], [3, 7], [9, 21]]);
    }

    #[test]
    fn all_connections_are_within_the_limit() {
        for (limit, expected) in
            [(20, (1, 5)), (64, (32, 16)), (128, (80, 32)), (1 << 20, ((1 << 20) - 48, 32))]
        {
            assert_eq!((connections(limit), reserved(limit)), expected, "{limit}");
        }
    }
}
