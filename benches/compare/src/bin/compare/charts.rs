//! The results as bars.

use std::{fs, io, path::Path};

use crate::{
    numbers,
    panels::{Bar, Chart, Kind, Panel},
    results::Results,
    rows::{Group, Row, Unit},
    servers::Server,
};

/// What a chart of memory begins with: less than any connection takes.
const BYTES_LEAST: f64 = 32.0;

/// Writes one file for each chart of which something was measured, and says how a page in the folder
/// above shows them.
pub fn write(results: &Results, folder: &Path) -> io::Result<String> {
    fs::create_dir_all(folder)?;
    let mut images = String::new();
    for (name, chart) in charts(results) {
        if !chart.panels.is_empty() {
            let file = format!("bench-{name}.svg");
            fs::write(folder.join(&file), chart.svg()?)?;
            images += &format!("![{}](images/{file})\n\n", chart.title);
        }
    }
    Ok(images)
}

fn charts(results: &Results) -> [(&'static str, Chart); 4] {
    let panels = |choose: fn(&Row) -> bool, scale: fn(&Results, &Row) -> Option<Panel>| {
        let rows = results.rows().into_iter().filter(|row| choose(row));
        rows.filter_map(|row| scale(results, row)).collect::<Vec<_>>()
    };
    let echo = Chart {
        title: "Echo: rate, as a part of the limit",
        subtitle: "The limit: one recv and one send for each ready connection, no WebSocket. More is better.",
        panels: panels(|row| row.group == Group::Echo, parts_of_the_limit),
    };
    let fan = Chart {
        title: "Fan-out: deliveries per second",
        subtitle: "The limit: each connection's share of a turn in one send, no WebSocket. More is better.",
        panels: panels(|row| row.group == Group::Fan, values),
    };
    let memory = Chart {
        title: "Server memory for an idle connection",
        subtitle: "Logarithmic: each line is ten times the one before. Less is better.",
        panels: panels(|row| row.unit() == Unit::Bytes, logarithms),
    };
    let costs = Chart {
        title: "What one echoed message of 20 B costs",
        subtitle: "Counted by callgrind and strace. Less is better.",
        panels: panels(|row| row.group == Group::Costs, values),
    };
    [("echo", echo), ("fan-out", fan), ("memory", memory), ("costs", costs)]
}

fn medians(results: &Results, row: &Row) -> Vec<(&'static Server, f64)> {
    let median = |server: &'static Server| Some((server, results.cell(row, server).median()?));
    results.servers().into_iter().filter_map(median).collect()
}

fn panel(row: &Row, bars: Vec<Bar>, ticks: Vec<(f64, String)>) -> Option<Panel> {
    (!bars.is_empty()).then(|| Panel { title: row.title.into(), bars, ticks })
}

fn bar(server: &Server, length: f64, text: String) -> Bar {
    let kind = match server.name {
        "raw" => Kind::Limit,
        "subject" => Kind::Pushloop,
        _ => Kind::Other,
    };
    Bar { label: server.title.into(), length, text, kind }
}

fn values(results: &Results, row: &Row) -> Option<Panel> {
    let medians = medians(results, row);
    let most = medians.iter().map(|(_, median)| *median).fold(0.0, f64::max);
    let bars =
        medians.iter().map(|(server, median)| bar(server, median / most, row.unit().show(*median)));
    panel(row, bars.collect(), Vec::new())
}

fn parts_of_the_limit(results: &Results, row: &Row) -> Option<Panel> {
    let medians = medians(results, row);
    let limit = medians.iter().find(|(server, _)| server.is_raw())?.1;
    let most = medians.iter().map(|(_, median)| *median / limit).fold(1.0, f64::max);
    let bars = medians.iter().filter(|(server, _)| !server.is_raw()).map(|(server, median)| {
        let part = median / limit;
        let percent = numbers::significant(part * 100.0);
        bar(server, part / most, format!("{percent} %"))
    });
    let title = format!("{} (limit: {}/s)", row.title, numbers::thousands(limit));
    let panel = panel(row, bars.collect(), vec![(1.0 / most, "limit".into())])?;
    Some(Panel { title, ..panel })
}

/// On the same scale for all rows of memory.
fn logarithms(results: &Results, row: &Row) -> Option<Panel> {
    let medians = medians(results, row);
    let rows = results.rows().into_iter().filter(|row| row.unit() == Unit::Bytes);
    let all = rows.flat_map(|row| self::medians(results, row));
    let most = all.map(|(_, median)| median).fold(1e3, f64::max);
    let decades = (most / BYTES_LEAST).log10();
    let length = |bytes: f64| (bytes.max(BYTES_LEAST) / BYTES_LEAST).log10() / decades;
    let bars = medians
        .iter()
        .map(|(server, median)| bar(server, length(*median), row.unit().show(*median)));
    let ticks = [1e2, 1e3, 1e4, 1e5, 1e6].into_iter().filter(|bytes| *bytes <= most);
    let ticks = ticks.map(|bytes| {
        let text = if bytes < 1e3 { format!("{bytes} B") } else { format!("{} kB", bytes / 1e3) };
        (length(bytes), text)
    });
    panel(row, bars.collect(), ticks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::tests::some, rows::ROWS, servers::SERVERS};

    #[test]
    fn the_charts_of_a_whole_run_are_small_and_have_all_labels() {
        let mut samples = Vec::new();
        for row in &ROWS {
            for (at, server) in SERVERS.iter().enumerate() {
                samples.push((row.name, server.name, 123.0 * 4_f64.powi(at as i32)));
            }
        }
        let results = some(&samples);
        for (name, chart) in charts(&results) {
            let svg = chart.svg().unwrap();
            assert!(svg.len() < 60_000, "{name}: {} bytes", svg.len());
            assert!(svg.contains(chart.title), "{name}");
            for server in &SERVERS[1..] {
                assert!(svg.contains(server.title), "{name}: {}", server.title);
            }
        }
    }

    #[test]
    fn the_limit_is_the_measure_of_an_echo() {
        let results = some(&[("echo-20-32-1", "raw", 200.0), ("echo-20-32-1", "subject", 150.0)]);
        let panel = parts_of_the_limit(&results, &ROWS[0]).unwrap();
        assert_eq!((panel.bars.len(), panel.bars[0].length), (1, 0.75));
        assert_eq!(panel.bars[0].text, "75.0 %");
        assert!(parts_of_the_limit(&some(&[("echo-20-32-1", "bun", 1.0)]), &ROWS[0]).is_none());
    }
}
