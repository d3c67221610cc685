//! A figure of horizontal bars, in panels of two columns.
//!
//! It has a ground of its own, so that it can be read on light and on dark pages.

use std::io;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

const WIDTH: i32 = 880;
const COLUMNS: usize = 2;
const MARGIN: i32 = 20;
const HEADER: i32 = 66;
const PANEL_WIDTH: i32 = (WIDTH - 3 * MARGIN) / COLUMNS as i32;
const PANEL_TITLE: i32 = 30;
const BAR: i32 = 15;
const STEP: i32 = 21;
const LABELS: i32 = 116;
const TEXTS: i32 = 62;
const BARS: i32 = PANEL_WIDTH - LABELS - TEXTS;

const GROUND: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(89, 99, 110);
const LINE: RGBColor = RGBColor(200, 207, 214);

#[derive(Debug)]
pub struct Chart {
    pub title: &'static str,
    pub subtitle: &'static str,
    pub panels: Vec<Panel>,
}

#[derive(Debug)]
pub struct Panel {
    pub title: String,
    pub bars: Vec<Bar>,
    /// Lines across the bars, from 0 to 1, and what they mean.
    pub ticks: Vec<(f64, String)>,
}

#[derive(Debug)]
pub struct Bar {
    pub label: String,
    /// From 0 to 1.
    pub length: f64,
    pub text: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Limit,
    Pushloop,
    Other,
}

type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

impl Chart {
    pub fn svg(&self) -> io::Result<String> {
        let heights: Vec<i32> = self
            .panels
            .chunks(COLUMNS)
            .map(|row| row.iter().map(Panel::height).max().unwrap_or_default())
            .collect();
        let height = HEADER + heights.iter().map(|height| height + MARGIN).sum::<i32>();
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32));
        self.draw(&area.into_drawing_area(), &heights).map_err(io::Error::other)?;
        Ok(svg)
    }

    fn draw(&self, area: &Area<'_>, heights: &[i32]) -> Drawn {
        area.fill(&GROUND)?;
        text(area, self.title, (MARGIN, 26), 19, &INK, HPos::Left)?;
        text(area, self.subtitle, (MARGIN, 48), 13, &FAINT, HPos::Left)?;
        let mut y = HEADER;
        for (row, height) in self.panels.chunks(COLUMNS).zip(heights) {
            for (column, panel) in row.iter().enumerate() {
                let x = MARGIN + column as i32 * (PANEL_WIDTH + MARGIN);
                panel.draw(area, x, y)?;
            }
            y += height + MARGIN;
        }
        area.present()
    }
}

impl Panel {
    fn height(&self) -> i32 {
        let ticks = if self.ticks.is_empty() { 0 } else { STEP };
        PANEL_TITLE + self.bars.len() as i32 * STEP + ticks
    }

    fn draw(&self, area: &Area<'_>, x: i32, y: i32) -> Drawn {
        text(area, &self.title, (x, y + 10), 13, &INK, HPos::Left)?;
        let (top, left) = (y + PANEL_TITLE, x + LABELS);
        let bottom = top + self.bars.len() as i32 * STEP;
        for (at, meaning) in &self.ticks {
            let x = left + along(*at);
            area.draw(&PathElement::new([(x, top - 3), (x, bottom)], LINE))?;
            text(area, meaning, (x, bottom + 9), 11, &FAINT, HPos::Center)?;
        }
        for (at, bar) in self.bars.iter().enumerate() {
            let y = top + at as i32 * STEP;
            let middle = y + BAR / 2 + 1;
            let end = left + along(bar.length).max(1);
            let color = bar.kind.color();
            area.draw(&Rectangle::new([(left, y), (end, y + BAR)], color.filled()))?;
            let ink = if bar.kind == Kind::Pushloop { &INK } else { &FAINT };
            text(area, &bar.label, (left - 6, middle), 12, ink, HPos::Right)?;
            text(area, &bar.text, (end + 5, middle), 12, ink, HPos::Left)?;
        }
        Ok(())
    }
}

impl Kind {
    fn color(self) -> RGBColor {
        match self {
            Kind::Limit => RGBColor(175, 184, 193),
            Kind::Pushloop => RGBColor(207, 84, 20),
            Kind::Other => RGBColor(106, 146, 189),
        }
    }
}

fn along(part: f64) -> i32 {
    (part * f64::from(BARS)) as i32
}

fn text(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    color: &RGBColor,
    side: HPos,
) -> Drawn {
    let style = ("sans-serif", size).into_text_style(area).color(color);
    area.draw(&Text::new(text, at, style.pos(Pos::new(side, VPos::Center))))
}
