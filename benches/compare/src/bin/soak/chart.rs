//! The samples as lines.

use std::io;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::samples::Sample;

const WIDTH: u32 = 880;
const PANEL: u32 = 170;
const HEADER: u32 = 62;
/// Points of a line: more than can be told apart make a large file.
const POINTS_MAX: usize = 300;

const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(89, 99, 110);
const LINE: RGBColor = RGBColor(224, 228, 232);
const COLOR: RGBColor = RGBColor(207, 84, 20);

type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

struct Panel {
    title: &'static str,
    value: fn(&Sample) -> f64,
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "Resident memory of the server, MiB",
        value: |sample| sample.rss_kib as f64 / 1024.0,
    },
    Panel { title: "Its descriptors", value: |sample| sample.fds as f64 },
    Panel { title: "Messages, million", value: |sample| sample.messages as f64 / 1e6 },
    Panel {
        title: "Connections made and ended, thousand",
        value: |sample| sample.made as f64 / 1e3,
    },
];

pub fn svg(samples: &[Sample], slope: f64) -> io::Result<String> {
    let mut svg = String::new();
    let height = HEADER + PANEL * PANELS.len() as u32;
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    draw(&area, samples, slope).map_err(io::Error::other)?;
    drop(area);
    Ok(svg)
}

fn draw(area: &Area<'_>, samples: &[Sample], slope: f64) -> Drawn {
    area.fill(&WHITE)?;
    // Of the last, nobody is left.
    let under_load = &samples[..samples.len() - 1];
    let last = under_load[under_load.len() - 1];
    let title = format!(
        "{:.0} million messages and {:.0} thousand connections through one server",
        last.messages as f64 / 1e6,
        last.made as f64 / 1e3
    );
    let subtitle = format!(
        "One sample a second; the memory's slope over the run, after its first tenth, is {:.2} %.",
        slope * 100.0
    );
    text(area, &title, (20, 24), 18, &INK)?;
    text(area, &subtitle, (20, 46), 13, &FAINT)?;
    let (_, panels) = area.split_vertically(HEADER);
    for (panel, area) in PANELS.iter().zip(panels.split_evenly((PANELS.len(), 1))) {
        panel.draw(&area, under_load)?;
    }
    area.present()
}

impl Panel {
    fn draw(&self, area: &Area<'_>, samples: &[Sample]) -> Drawn {
        text(area, self.title, (20, 10), 13, &INK)?;
        let seconds = samples[samples.len() - 1].second.max(1) as f64;
        let most = samples.iter().map(self.value).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .margin_top(22)
            .margin_right(20)
            .x_label_area_size(24)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..seconds, 0.0..most * 1.1)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE)
            .axis_style(FAINT)
            .label_style(("sans-serif", 11).into_font().color(&FAINT))
            .x_label_formatter(&|second| format!("{second} s"))
            .y_labels(4)
            .draw()?;
        let step = samples.len().div_ceil(POINTS_MAX);
        let points = samples.iter().step_by(step);
        let points = points.map(|sample| (sample.second as f64, (self.value)(sample)));
        chart.draw_series(LineSeries::new(points, COLOR.stroke_width(2)))?;
        Ok(())
    }
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, color: &RGBColor) -> Drawn {
    let style = ("sans-serif", size).into_text_style(area).color(color);
    area.draw(&Text::new(text, at, style.pos(Pos::new(HPos::Left, VPos::Center))))
}
