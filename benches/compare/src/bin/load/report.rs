//! Results, and how a run is going.

use serde_json::{Map, Value};

/// Named numbers, in the order in which they were found.
#[derive(Debug)]
pub struct Report {
    fields: Vec<(&'static str, f64)>,
    pub errors: u64,
}

impl Report {
    pub fn new(errors: u64) -> Self {
        Self { fields: Vec::new(), errors }
    }

    pub fn set(&mut self, name: &'static str, value: f64) {
        self.fields.push((name, value));
    }

    pub fn set_if(&mut self, name: &'static str, value: Option<f64>) {
        self.fields.extend(value.map(|value| (name, value)));
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1)
    }

    /// One line.
    pub fn json(&self, mode: &str) -> String {
        let number = |value: f64| {
            // Counts are whole: they look so.
            if value.fract() == 0.0 && value.abs() < 9e15 {
                Value::from(value as i64)
            } else {
                Value::from((value * 1e6).round() / 1e6)
            }
        };
        let mut map = Map::new();
        map.insert("mode".into(), mode.into());
        for (name, value) in &self.fields {
            map.insert((*name).into(), number(*value));
        }
        map.insert("errors".into(), self.errors.into());
        Value::Object(map).to_string()
    }

    /// A line for each number.
    pub fn text(&self) -> String {
        let line = |name: &str, value: f64| format!("{name:<32} {:>18}\n", grouped(value));
        let lines: String = self.fields.iter().map(|(name, value)| line(name, *value)).collect();
        lines + &line("errors", self.errors as f64)
    }
}

/// `1,234,567`, `1,234.5` or `0.123`.
pub fn grouped(value: f64) -> String {
    let digits = match value.abs() {
        size if size.fract() == 0.0 || size >= 10_000.0 => 0,
        size if size >= 100.0 => 1,
        _ => 3,
    };
    let text = format!("{:.digits$}", value.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

/// Lines on stderr, one a second.
#[derive(Debug)]
pub struct Progress {
    quiet: bool,
    last: (u64, u64),
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        Self { quiet, last: (0, 0) }
    }

    #[inline]
    pub fn tick(&mut self, now_ns: u64, messages: u64, phase: &str) {
        let (then, before) = self.last;
        if now_ns - then < 1_000_000_000 {
            return;
        }
        self.last = (now_ns, messages);
        if !self.quiet {
            let rate = (messages - before) as f64 * 1e9 / (now_ns - then) as f64;
            eprintln!("{:5.1} s  {:>13}/s  {phase}", now_ns as f64 / 1e9, grouped(rate.round()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (12.0, "12"),
            (123.456, "123.5"),
            (1_234.5, "1,234.5"),
            (1_234_567.8, "1,234,568"),
            (-1_000.0, "-1,000"),
        ] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn json_is_one_line_of_numbers() {
        let mut report = Report::new(2);
        report.set("messages", 3.0);
        report.set_if("p50_us", Some(0.25));
        report.set_if("p99_us", None);
        let read: Value = serde_json::from_str(&report.json("echo")).unwrap();
        let expected = r#"{"mode":"echo","messages":3,"p50_us":0.25,"errors":2}"#;
        assert_eq!(read, serde_json::from_str::<Value>(expected).unwrap());
    }
}
