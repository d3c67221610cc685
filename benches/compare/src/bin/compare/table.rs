//! The results as Markdown: medians side by side, and below them each cell's spread.

use crate::{
    numbers,
    results::{Cell, Results},
    rows::{Group, Row, Run, Unit},
    servers::Server,
};

/// A machine is called idle while others use less than so many cores.
const OTHERS_MOST: f64 = 0.1;

/// What of a row is shown: its own number, or the server's CPU time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Own,
    Cpu,
}

impl View {
    fn field(self, row: &Row) -> &'static str {
        match self {
            View::Own => row.field(),
            View::Cpu => "server_cpu_us_per_message",
        }
    }

    fn unit(self, row: &Row) -> Unit {
        match self {
            View::Own => row.unit(),
            View::Cpu => Unit::Micros,
        }
    }
}

pub fn markdown(results: &Results) -> String {
    let (rows, servers) = (results.rows(), results.servers());
    let mut text = about(results);
    for group in Group::ALL {
        let rows: Vec<_> = rows.iter().copied().filter(|row| row.group == group).collect();
        if !rows.is_empty() {
            let table = overview(results, &rows, &servers, View::Own);
            text += &format!("\n### {}\n\n{table}", group.title());
        }
    }
    let timed: Vec<_> = rows.iter().copied().filter(|r| matches!(r.run, Run::Rate(_))).collect();
    if !timed.is_empty() {
        text += "\n### CPU time of the server for a message or a delivery\n\n";
        text += &overview(results, &timed, &servers, View::Cpu);
    }
    let failures = results.failures();
    if !failures.is_empty() {
        text += "\n### Runs with errors\n\n";
        text.extend(failures.iter().map(|failure| format!("- {failure}\n")));
    }
    text += "\n### Every cell\n\n<details>\n<summary>median, least and most of the rounds</summary>\n\n";
    text += &details(results, &rows, &servers);
    text + "\n</details>"
}

fn about(results: &Results) -> String {
    let machine = &results.machine;
    let rounds = if results.rounds == 1 { "round" } else { "rounds" };
    let mut text = format!(
        "{}, pushloop at {}: {}, {} cores, {}. {} {rounds}, each run measured for {} s after {} s; \
         {} idle connections. Other processes used {} cores meanwhile.\n",
        machine.date,
        machine.commit,
        machine.processor,
        machine.cores,
        machine.kernel,
        results.rounds,
        results.seconds,
        results.warmup,
        numbers::grouped(results.idle_connections as f64),
        numbers::significant(results.others),
    );
    if results.others > OTHERS_MOST {
        text += "\n**Others were at work on this machine: rates and latencies say little here; counts, \
                 memory and CPU times say more.**\n";
    }
    let installed = [machine.tools.as_slice(), results.versions.as_slice()].concat().join("; ");
    text + &format!("\n{installed}.\n")
}

/// Medians: a row for each row, a column for each server, and how pushloop compares.
fn overview(results: &Results, rows: &[&Row], servers: &[&Server], view: View) -> String {
    let named = |name| servers.iter().copied().find(|server| server.name == name);
    let subject = named("subject");
    let compared: Vec<_> = ["uwebsockets", "raw"].into_iter().filter_map(named).collect();
    let mut header = vec![String::new()];
    header.extend(servers.iter().map(|server| server.title.to_owned()));
    if subject.is_some() {
        header.extend(compared.iter().map(|other| format!("pushloop : {}", other.title)));
    }
    let mut text = line(&header) + &line(&vec!["---".to_owned(); header.len()]);
    for row in rows {
        let mut cells = vec![row.title.to_owned()];
        cells.extend(servers.iter().map(|server| cell(results, row, server, view)));
        if let Some(subject) = subject {
            let verdict = |other: &&Server| verdict(results, row, [subject, other], view);
            cells.extend(compared.iter().map(verdict));
        }
        text += &line(&cells);
    }
    text
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn cell(results: &Results, row: &Row, server: &Server, view: View) -> String {
    match results.cell_of(row, server, view.field(row)) {
        Cell::Nothing => "–".into(),
        Cell::Failed(runs) => format!("**failed** ({runs})"),
        Cell::Found(found) => {
            let shown = view.unit(row).show(found.median);
            let paced = view == View::Own && matches!(row.run, Run::Paced(_));
            match results.found(row, server, "rate").filter(|_| paced) {
                Some(rate) => format!("{shown} at {}/s", numbers::thousands(rate.median)),
                None => shown,
            }
        }
    }
}

/// `1.35, better`, `0.97, tie`: one median divided by another. The limit does less than any server
/// has to: only a tie is a verdict there.
fn verdict(results: &Results, row: &Row, servers: [&Server; 2], view: View) -> String {
    let medians = servers.map(|server| results.cell_of(row, server, view.field(row)).median());
    let [Some(value), Some(other)] = medians else {
        return "–".into();
    };
    let Some(ratio) = ratio(value, other) else {
        return "–".into();
    };
    let shown = numbers::significant(ratio);
    if (ratio - 1.0).abs() < row.tie() {
        format!("{shown}, tie")
    } else if servers[1].is_raw() {
        shown
    } else if (ratio > 1.0) == view.unit(row).more_is_better() {
        format!("{shown}, better")
    } else {
        format!("{shown}, worse")
    }
}

fn ratio(value: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| value.max(0.0) / other)
}

fn details(results: &Results, rows: &[&Row], servers: &[&Server]) -> String {
    let header = [
        "",
        "server",
        "median",
        "least",
        "most",
        "to the limit",
        "to uWebSockets",
        "server CPU for a message",
        "of its core",
    ];
    let mut text = line(&header.map(str::to_owned)) + &line(&header.map(|_| "---".to_owned()));
    for row in rows {
        for server in servers {
            if results.cell(row, server) != Cell::Nothing {
                text += &line(&detail(results, row, server));
            }
        }
    }
    text
}

fn detail(results: &Results, row: &Row, server: &Server) -> Vec<String> {
    let mut cells = vec![row.name.to_owned(), server.title.to_owned()];
    match results.cell(row, server) {
        Cell::Found(found) => {
            let shown = [found.median, found.least, found.most].map(|value| row.unit().show(value));
            cells.extend(shown);
        }
        _ => cells.extend([cell(results, row, server, View::Own), "–".into(), "–".into()]),
    }
    let own = results.cell(row, server).median();
    for name in ["raw", "uwebsockets"] {
        let other = results.servers().into_iter().find(|other| other.name == name);
        let other = other.and_then(|other| results.cell(row, other).median());
        let ratio = own.zip(other).and_then(|(own, other)| ratio(own, other));
        cells.push(ratio.map_or("–".into(), numbers::significant));
    }
    let found = |field| results.found(row, server, field).map(|found| found.median);
    let cpu = found("server_cpu_us_per_message").map(|us| Unit::Micros.show(us));
    let share = found("server_cpu_share").map(|share| format!("{:.0} %", share * 100.0));
    cells.extend([cpu, share].map(|cell| cell.unwrap_or("–".into())));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::some;

    #[test]
    fn a_tie_is_called_one() {
        let results = some(&[
            ("fan-1", "raw", 200.0),
            ("fan-1", "subject", 100.0),
            ("fan-1", "uwebsockets", 108.0),
            ("idle", "subject", 100.0),
            ("idle", "uwebsockets", 200.0),
        ]);
        let text = markdown(&results);
        assert!(text.contains("| 0.926, tie | 0.500 |"), "{text}");
        assert!(text.contains("| 0.500, better | – |"), "{text}");
    }

    #[test]
    fn an_error_is_seen() {
        let mut results = some(&[("fan-1", "subject", 100.0), ("fan-1", "subject", 101.0)]);
        results.samples[1].error = Some("7 errors: connection 3: lost".into());
        let text = markdown(&results);
        assert!(text.contains("| **failed** (1) |"), "{text}");
        assert!(
            text.contains("- fan-1, subject, round 1: 7 errors: connection 3: lost\n"),
            "{text}"
        );
    }

    #[test]
    fn every_line_of_a_table_has_as_many_cells() {
        let results = some(&[
            ("fan-1", "raw", 200.0),
            ("fan-1", "subject", 100.0),
            ("open-loop", "bun", 300.0),
            ("syscalls-1", "uwebsockets", 2.0),
        ]);
        let text = markdown(&results);
        let tables = text.split("\n\n").filter(|part| part.starts_with('|'));
        for table in tables {
            let cells: Vec<_> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(cells.len() > 2 && cells.iter().all(|count| *count == cells[0]), "{table}");
        }
    }
}
