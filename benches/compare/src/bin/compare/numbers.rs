//! Numbers, as people read them.

/// Three digits that say something: `0.128`, `2.04`, `25.7`, `632`.
pub fn significant(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 || size == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// `630`, `149k`, `2.61M`.
pub fn thousands(value: f64) -> String {
    match value.abs() {
        size if size >= 999_500.0 => format!("{}M", significant(value / 1e6)),
        size if size >= 999.5 => format!("{}k", significant(value / 1e3)),
        _ => significant(value),
    }
}

/// `1,234,567`, of a number that is not negative.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Of numbers that are at least one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[half - 1], values[half])
    } else {
        values[half]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        for (value, shown) in
            [(0.0, "0.00"), (0.1284, "0.128"), (2.041, "2.04"), (25.71, "25.7"), (632.4, "632")]
        {
            assert_eq!(significant(value), shown);
        }
        for (value, shown) in [
            (12.0, "12.0"),
            (999.0, "999"),
            (999.6, "1.00k"),
            (149_234.0, "149k"),
            (2.61e6, "2.61M"),
        ] {
            assert_eq!(thousands(value), shown);
        }
        assert_eq!(
            [0.0, 999.0, 1_000.0, 1_234_567.0].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
    }
}
