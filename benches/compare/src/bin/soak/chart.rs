//! The samples as lines.

use crate::samples::Sample;

const WIDTH: f64 = 880.0;
const PANEL: f64 = 170.0;
const HEADER: f64 = 62.0;
/// Where the lines are in a panel: from the left, to the right, from the top, to the bottom.
const PLOT: [f64; 4] = [60.0, WIDTH - 20.0, 22.0, PANEL - 24.0];
/// Points of a line: more than can be told apart make a large file.
const POINTS_MAX: usize = 300;
const INK: &str = "#1F2328";
const FAINT: &str = "#59636E";

type Panel = (&'static str, fn(&Sample) -> f64);

const PANELS: [Panel; 4] = [
    ("Resident memory of the server, MiB", |sample| sample.rss_kib as f64 / 1024.0),
    ("Its descriptors", |sample| sample.fds as f64),
    ("Messages, million", |sample| sample.messages as f64 / 1e6),
    ("Connections made and ended, thousand", |sample| sample.made as f64 / 1e3),
];

pub fn svg(samples: &[Sample], slope: f64) -> String {
    // Of the last, nobody is left.
    let under_load = &samples[..samples.len() - 1];
    let last = under_load[under_load.len() - 1];
    let (messages, made) = (last.messages as f64 / 1e6, last.made as f64 / 1e3);
    let title = format!("{messages:.0} million messages and {made:.0} thousand connections");
    let slope = slope * 100.0;
    let subtitle =
        "One sample a second; the memory's slope over the run, after its first tenth, is";
    let height = HEADER + PANEL * PANELS.len() as f64;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' \
         viewBox='0 0 {WIDTH} {height}' font-family='sans-serif'>\n\
         <rect width='100%' height='100%' fill='#FFFFFF'/>\n"
    );
    svg += &text((20.0, 24.0), "start", 14.5, INK, &format!("{title} through one server"));
    svg += &text((20.0, 46.0), "start", 10.5, FAINT, &format!("{subtitle} {slope:.2} %."));
    for (nth, panel) in PANELS.iter().enumerate() {
        svg += &drawn(panel, HEADER + PANEL * nth as f64, under_load);
    }
    svg + "</svg>\n"
}

fn drawn((title, value): &Panel, top: f64, samples: &[Sample]) -> String {
    let seconds = samples[samples.len() - 1].second.max(1) as f64;
    let most = samples.iter().map(value).fold(1.0, f64::max) * 1.1;
    let [left, right, above, below] = PLOT;
    let x = |second: f64| left + second / seconds * (right - left);
    let y = |value: f64| top + below - value / most * (below - above);
    let mut svg = text((20.0, top + 10.0), "start", 10.5, INK, title);
    for value in ticks(most) {
        let y = y(value);
        svg += &format!("<path d='M{left} {y:.1}H{right}' stroke='#E0E4E8'/>\n");
        svg += &text((left - 8.0, y), "end", 8.9, FAINT, &value.to_string());
    }
    for second in ticks(seconds) {
        let at = (x(second), top + below + 12.0);
        svg += &text(at, "middle", 8.9, FAINT, &format!("{second} s"));
    }
    svg += "<polyline fill='none' stroke='#CF5414' stroke-width='2' points='";
    for sample in samples.iter().step_by(samples.len().div_ceil(POINTS_MAX)) {
        svg += &format!("{:.1},{:.1} ", x(sample.second as f64), y(value(sample)));
    }
    svg + "'/>\n"
}

/// Some round numbers from 0 on.
fn ticks(most: f64) -> impl Iterator<Item = f64> {
    let least = 10_f64.powf((most / 5.0).log10().floor());
    let mut steps = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * least);
    let step = steps.find(|step| most / step <= 5.0).unwrap_or(most);
    // Halves and tenths have no exact value: a tick is as long as a person would write it.
    let digits = (-least.log10()).max(0.0) as i32;
    let round = move |value: f64| (value * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
    (0..=(most / step) as u64).map(move |nth| round(nth as f64 * step))
}

fn text((x, y): (f64, f64), anchor: &str, size: f64, color: &str, text: &str) -> String {
    let place = format!("x='{x:.0}' y='{y:.0}' dy='0.5ex' text-anchor='{anchor}'");
    format!("<text {place} font-size='{size}' fill='{color}'>{text}</text>\n")
}
