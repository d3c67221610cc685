//! What the table of options says: for a terminal, and for the docs.

use std::fmt::Write;

use super::table::{Entry, GROUPS};

const HEAD: &str = "\
Live notifications over WebSocket and event streams: a URL is a topic.

Usage: pushloop [serve] [OPTIONS], or pushloop check [OPTIONS] to see what would be taken, or
       pushloop publish | subscribe, which have a --help of their own
";

const FOOT: &str = "
Each option is also a variable, as PUSHLOOP_HISTORY_AGE, and a key of the TOML file, as history-age.
Flags go before variables, and these before the file.

Ctrl-C is as good as SIGTERM; a second one ends it at once. /healthz and /readyz tell how it is;
/$stats has numbers.
";

/// Where what an option does begins, and where a line ends.
const COLUMN: usize = 29;
const WIDTH: usize = 100;

/// What `--help` prints.
pub fn usage() -> String {
    let mut text = HEAD.to_owned();
    for group in GROUPS {
        let _ = write!(text, "\n{}:\n", group.title);
        for entry in group.entries {
            let left = format!("  {}", entry.as_flag());
            let mut line = format!("{left:<COLUMN$}");
            if left.len() >= COLUMN {
                line += "  ";
            }
            let default = entry.default.map(|it| format!(" [{it}]")).unwrap_or_default();
            for word in (entry.description() + &default).split(' ') {
                if line.chars().count() + word.chars().count() > WIDTH {
                    text += line.trim_end();
                    text.push('\n');
                    line = " ".repeat(COLUMN);
                }
                line += word;
                line.push(' ');
            }
            text += line.trim_end();
            text.push('\n');
        }
    }
    text + "\n  --help, --version\n" + FOOT
}

/// The table in `docs/SERVER.md`.
#[cfg(test)]
pub fn docs() -> String {
    let mut table =
        "| option | default | on SIGHUP | what it does |\n|---|---|---|---|\n".to_owned();
    for group in GROUPS {
        let _ = writeln!(table, "| **{}** | | | |", group.title);
        for entry in group.entries {
            let description = entry.description().replace('*', "\\*").replace('|', "\\|");
            let default = entry.default.map(|it| format!("`{it}` ")).unwrap_or_default();
            let reloads = if entry.reloads { "taken " } else { "" };
            let _ =
                writeln!(table, "| `{}` | {default}| {reloads}| {description} |", entry.as_flag());
        }
    }
    table
}

impl Entry {
    fn as_flag(&self) -> String {
        format!("--{} {}", self.name, self.value).trim_end().to_owned()
    }

    fn description(&self) -> String {
        let repeats = if self.repeats { "; may be repeated" } else { "" };
        format!("{}{repeats}", self.help)
    }
}
