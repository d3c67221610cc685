//! The table: a line for each figure, with its aim.

use std::fmt::Display;
use std::time::Duration;

use crate::Scale;

pub fn head(scale: Scale) {
    if !scale.full {
        println!("A test with a few peers: the figures say nothing.");
    }
    line("row", "what is measured", "figure", "aim", "holds");
    line("---", "---", "---", "---", "---");
}

fn line(row: &str, what: &str, figure: &str, aim: &str, holds: &str) {
    println!("| {row:<4} | {what:<98} | {figure:>11} | {aim:>9} | {holds:<5} |");
}

/// A figure that is to be no more than its aim.
pub fn at_most(row: &str, what: impl Display, figure: f64, aim: f64, unit: &str) {
    let holds = if figure <= aim { "yes" } else { "NO" };
    line(row, &what.to_string(), &with_unit(figure, unit), &format!("<= {aim} {unit}"), holds);
}

/// A figure that is to be exactly so.
pub fn exactly(row: &str, what: impl Display, got: impl Display, wanted: impl Display) {
    let (got, wanted) = (got.to_string(), wanted.to_string());
    let holds = if got == wanted { "yes" } else { "NO" };
    line(row, &what.to_string(), &got, &wanted, holds);
}

/// A figure without an aim.
pub fn figure(row: &str, what: impl Display, figure: f64, unit: &str) {
    line(row, &what.to_string(), &with_unit(figure, unit), "", "");
}

fn with_unit(figure: f64, unit: &str) -> String {
    let digits = match figure.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{figure:.digits$} {unit}")
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub fn mib(bytes: i64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The value that so many per cent are not above.
pub fn percentile<T: Copy + PartialOrd>(values: &[T], percent: usize) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("they have an order"));
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
