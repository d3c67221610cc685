//! What waits to be written, and what is left out: so many lines of each kind in a second, and so many bytes in all.

use std::time::{Duration, Instant, SystemTime};

use super::{
    Level,
    lines::{Event, Format, Value, write},
};

/// Bytes that wait to be written, beside those that are being written.
pub const LOG_QUEUE_BYTES_MAX: usize = 1 << 20;
/// What `--log-lines-per-second` may be.
pub const LINES_PER_SECOND: std::ops::RangeInclusive<u32> = 1..=1_000_000;

const SECOND: Duration = Duration::from_secs(1);

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server itself.
    Server,
    /// A connection that has begun.
    Opened,
    /// A connection that is over.
    Closed,
    /// A request that was refused.
    Refused,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Server, Self::Opened, Self::Closed, Self::Refused];

    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Refused => "refused",
        }
    }
}

/// What one kind has had.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// In this second.
    lines: u32,
    /// Since it was told last.
    left_out: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Book {
    format: Format,
    lines_per_second: u32,
    /// When this second began.
    begun: Instant,
    tallies: [Tally; Kind::ALL.len()],
    /// Whole lines.
    pub pending: String,
}

impl Book {
    pub fn new(format: Format, lines_per_second: u32, now: Instant) -> Self {
        let tallies = Default::default();
        Self { format, lines_per_second, begun: now, tallies, pending: String::new() }
    }

    /// Adds a line, or leaves it out: false.
    pub fn add(&mut self, time: Option<SystemTime>, event: &Event<'_>) -> bool {
        let at = event.kind as usize;
        let is_taken = self.tallies[at].lines < self.lines_per_second
            && self.push(time, event.kind.name(), event);
        let tally = &mut self.tallies[at];
        if is_taken {
            tally.lines += 1;
        } else {
            tally.left_out += 1;
        }
        is_taken
    }

    /// When a second is over, the next one begins, and what was left out is told.
    pub fn turn_over(&mut self, now: Instant, time: Option<SystemTime>) {
        if now.duration_since(self.begun) < SECOND {
            return;
        }
        self.begun = now;
        self.tallies.iter_mut().for_each(|tally| tally.lines = 0);
        self.tell_left_out(time);
    }

    pub fn has_left_out(&self) -> bool {
        self.tallies.iter().any(|tally| tally.left_out > 0)
    }

    /// Tells how many lines of each kind were left out, if some were.
    pub fn tell_left_out(&mut self, time: Option<SystemTime>) {
        if !self.has_left_out() {
            return;
        }
        let fields: Vec<_> = Kind::ALL
            .into_iter()
            .zip(self.tallies)
            .filter(|(_, tally)| tally.left_out > 0)
            .map(|(kind, tally)| (kind.name(), Value::Number(tally.left_out)))
            .collect();
        let event = Event { level: Level::Warn, kind: Kind::Server, fields: &fields };
        // Without room, it is told later.
        if self.push(time, "left_out", &event) {
            self.tallies.iter_mut().for_each(|tally| tally.left_out = 0);
        }
    }

    fn push(&mut self, time: Option<SystemTime>, name: &str, event: &Event<'_>) -> bool {
        let before = self.pending.len();
        write(&mut self.pending, self.format, time, name, event);
        let has_room = self.pending.len() <= LOG_QUEUE_BYTES_MAX;
        if !has_room {
            self.pending.truncate(before);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    fn book(format: Format, lines_per_second: u32) -> (Book, Instant) {
        let now = Instant::now();
        (Book::new(format, lines_per_second, now), now)
    }

    fn event<'a>(kind: Kind, fields: &'a [(&'static str, Value<'a>)]) -> Event<'a> {
        Event { level: Level::Info, kind, fields }
    }

    #[test]
    fn each_kind_has_so_many_lines_in_a_second_and_what_is_left_out_is_told_once() {
        let (mut book, start) = book(Format::Lines, 3);
        let closed = event(Kind::Closed, &[]);
        let taken: Vec<_> = (0..5).map(|_| book.add(None, &closed)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(book.add(None, &event(Kind::Refused, &[])), "another kind has its own");
        book.turn_over(start + SECOND - Duration::from_nanos(1), None);
        assert!(!book.add(None, &closed));
        book.turn_over(start + SECOND, None);
        assert!(book.add(None, &closed) && !book.has_left_out());
        book.turn_over(start + 2 * SECOND, None);
        let expected = "closed \nclosed \nclosed \nrefused \nleft_out closed=3\nclosed \n";
        assert_eq!(book.pending.replace("pushloop: ", ""), expected.replace(" \n", "\n"));
    }

    #[test]
    fn so_many_bytes_wait_and_no_more() {
        let (mut book, start) = book(Format::Lines, 1_000_000);
        let text = "x".repeat(100);
        let fields = [("message", Value::Sentence(&text))];
        let line = event(Kind::Server, &fields);
        let bytes = "pushloop: \n".len() + text.len();
        let taken = (0..LOG_QUEUE_BYTES_MAX).take_while(|_| book.add(None, &line)).count();
        assert_eq!(taken, LOG_QUEUE_BYTES_MAX / bytes);
        // What fills the rest to the last byte is taken.
        let rest = LOG_QUEUE_BYTES_MAX - book.pending.len() - "pushloop: \n".len();
        for (len, is_taken) in [(rest + 1, false), (rest, true)] {
            let text = "y".repeat(len);
            assert_eq!(
                book.add(None, &event(Kind::Server, &[("message", Value::Sentence(&text))])),
                is_taken
            );
        }
        assert_eq!(book.pending.len(), LOG_QUEUE_BYTES_MAX);
        // That something was left out has no room either, and is told when there is some.
        book.turn_over(start + SECOND, None);
        assert!(book.has_left_out());
        book.pending.clear();
        book.turn_over(start + 2 * SECOND, None);
        assert_eq!(book.pending, "pushloop: left_out server=2\n");
    }
}
