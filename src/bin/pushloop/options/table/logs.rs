//! The rows of the log.

use super::{super::values::*, Entry};

pub const LOGS: &[Entry] = &[
    Entry::text(
        "log-format",
        "FORMAT",
        "how standard error says what happens: lines, or json, an object in each line",
        |options, text| log_format(text).map(|it| options.logs.format = it),
    )
    .or("lines"),
    Entry::text(
        "log-level",
        "LEVEL",
        "what is said: error, warn, info (refusals, and a line for each connection when it is over) or debug (and \
         when it begins)",
        |options, text| log_level(text).map(|it| options.logs.level = it),
    )
    .or("warn"),
    Entry::number(
        "log-lines-per-second",
        "N",
        "how many lines of each kind in a second; what is left out is counted, and told once a second",
        |options, text| log_lines(text).map(|it| options.logs.lines_per_second = it),
    )
    .or("100"),
];
