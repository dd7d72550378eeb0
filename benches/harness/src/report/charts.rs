//! Charts as SVG text.
//!
//! Colours are roles: each is written into the SVG as is, and the page's stylesheet may replace it by its value
//! (`[fill="#…"]`), for the hatching of floors and for dark pages. Lengths are half pixels of a page, because the
//! drawing library rounds to whole ones.

use plotters::coord::Shift;
use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::summary::Standing;
use super::wording::{printable, shortened};
use crate::stats::Spread;

/// Width of a chart that fits a phone.
pub(super) const NARROW: u32 = 720;
/// Width of a chart that fills half of a desktop's window.
pub(super) const WIDE: u32 = 1200;

const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
const GRID: RGBColor = RGBColor(0xD0, 0xD7, 0xDE);
const OURS: [RGBColor; 2] = [RGBColor(0xC2, 0x41, 0x0C), RGBColor(0xF5, 0x9E, 0x6B)];
const FLOOR: [RGBColor; 2] = [RGBColor(0x6B, 0x72, 0x80), RGBColor(0xB4, 0xBA, 0xC4)];
const FRAMEWORK: [RGBColor; 2] = [RGBColor(0x1D, 0x5F, 0xA8), RGBColor(0x8D, 0xB8, 0xE8)];
/// Colours of lines that can be told apart with any kind of colour vision, after Okabe and Ito; without our own colours
/// and those of the floors.
const LINES: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0xB5, 0x9A, 0x00),
    RGBColor(0x7A, 0x4F, 0xB8),
];

const TEXT: f64 = 23.0;
const SMALL: f64 = 21.0;
/// Longest name of a server, in characters, and the width of a character in any font.
const LONGEST_NAME: usize = 18;
const CHARACTER: u32 = 14;
/// Length of the line that connects a curve with its name.
const LEAD: i32 = 44;
/// Width of the figures at the end of the longest bar.
const ENDS: u32 = 196;
const ROW: u32 = 42;
const BAR: i32 = 13;
/// A bar that is this many times as long as the median one would make all others too short to compare. The axis then
/// ends sooner, and the bar is cut off there.
const OUTLIER: f64 = 4.0;
const CUT: f64 = 2.5;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Horizontal bars, the shortest on top.
pub(super) struct Bars {
    /// The description for people who cannot see the chart.
    pub(super) label: String,
    /// One bar per server.
    pub(super) bars: Vec<Bar>,
    /// Position of a vertical line: the end of the floor's bar.
    pub(super) mark: Option<f64>,
}

/// One bar.
pub(super) struct Bar {
    /// The server's name.
    pub(super) name: String,
    /// The kind of server.
    pub(super) standing: Standing,
    /// The lengths of its two parts.
    pub(super) parts: [f64; 2],
    /// The ends of the whisker; its median is the bar's length.
    pub(super) spread: Spread,
    /// The text at the bar's end.
    pub(super) end: String,
}

impl Bars {
    /// The chart as an SVG element.
    pub(super) fn svg(mut self) -> String {
        self.bars
            .sort_by(|a, b| a.spread.median.total_cmp(&b.spread.median));
        let height = ROW * self.bars.len() as u32 + 8;
        element(&self.label, (NARROW, height), |svg| self.draw(svg, height))
    }

    /// The end of the axis.
    fn limit(&self) -> f64 {
        let longest = self
            .bars
            .iter()
            .map(|bar| bar.spread.max)
            .fold(0.0, f64::max);
        let Some(middle) = self.bars.get(self.bars.len() / 2) else {
            return 1.0;
        };
        let cut = middle.spread.median * CUT;
        if middle.spread.median > 0.0 && longest > middle.spread.median * OUTLIER {
            // Bars that are not outliers are shown in full.
            let others = self.bars.iter().map(|bar| bar.spread.max);
            others
                .filter(|&max| max <= middle.spread.median * OUTLIER)
                .fold(cut, f64::max)
        } else if longest > 0.0 {
            longest
        } else {
            1.0
        }
    }

    fn draw(&self, svg: &mut String, height: u32) -> Drawn {
        let root = SVGBackend::with_string(svg, (NARROW, height)).into_drawing_area();
        let limit = self.limit();
        let rows = self.bars.len() as f64;
        let chart = ChartBuilder::on(&root)
            .margin_left(room_for(self.bars.iter().map(|bar| &bar.name)) + 12)
            .margin_right(ENDS)
            .margin_bottom(4)
            .margin_top(4)
            .build_cartesian_2d(0.0..limit, rows..0.0)?;
        if let Some(mark) = self.mark.filter(|mark| *mark > 0.0 && *mark < limit) {
            let (x, top) = chart.backend_coord(&(mark, 0.0));
            let (_, bottom) = chart.backend_coord(&(mark, rows));
            root.draw(&PathElement::new(
                vec![(x, top), (x, bottom)],
                GRID.stroke_width(3),
            ))?;
        }
        for (row, bar) in self.bars.iter().enumerate() {
            let at = |value: f64| chart.backend_coord(&(value.clamp(0.0, limit), row as f64 + 0.5));
            bar.draw(&root, at, limit)?;
        }
        root.present()?;
        Ok(())
    }
}

impl Bar {
    fn draw(&self, root: &Canvas<'_>, at: impl Fn(f64) -> (i32, i32), limit: f64) -> Drawn {
        let (start, y) = at(0.0);
        let name = shortened(&self.name, LONGEST_NAME);
        let mut name_style = text(TEXT, HPos::Right);
        if self.standing == Standing::Ours {
            name_style.font = name_style.font.style(FontStyle::Bold);
        }
        root.draw(&Text::new(name, (start - 10, y), name_style.clone()))?;
        let [first, second] = bar_colours(self.standing);
        let [middle, (end, _)] = [at(self.parts[0]), at(self.parts[0] + self.parts[1])];
        for (from, to, colour) in [(start, middle.0, first), (middle.0, end, second)] {
            if to > from {
                root.draw(&Rectangle::new(
                    [(from, y - BAR), (to, y + BAR)],
                    colour.filled(),
                ))?;
            }
        }
        let (least, most) = (at(self.spread.min).0, at(self.spread.max).0);
        let cut = self.spread.median > limit;
        if cut {
            // Two slanting gaps mark the bar as cut off.
            for x in [end - 26, end - 14] {
                let slant = vec![(x - 5, y + BAR + 2), (x + 5, y - BAR - 2)];
                root.draw(&PathElement::new(slant, WHITE.stroke_width(5)))?;
            }
        } else if most > least {
            let whisker = INK.stroke_width(2);
            root.draw(&PathElement::new(vec![(least, y), (most, y)], whisker))?;
            for x in [least, most] {
                root.draw(&PathElement::new(vec![(x, y - 5), (x, y + 5)], whisker))?;
            }
        }
        let mut end_style = text(TEXT, HPos::Left);
        end_style.font = name_style.font;
        let behind = end.max(if cut { end } else { most }) + 10;
        root.draw(&Text::new(printable(&self.end), (behind, y), end_style))?;
        Ok(())
    }
}

/// The width of the longest of some names.
fn room_for<'a>(names: impl Iterator<Item = &'a String>) -> u32 {
    let lengths = names.map(|name| name.chars().count().clamp(8, LONGEST_NAME));
    lengths.max().unwrap_or(0) as u32 * CHARACTER
}

fn bar_colours(standing: Standing) -> [RGBColor; 2] {
    match standing {
        Standing::Ours => OURS,
        Standing::Floor => FLOOR,
        Standing::Framework => FRAMEWORK,
    }
}

/// The CSS colours of the first and the second part of a bar.
pub(super) fn css_colours(standing: Standing) -> [String; 2] {
    bar_colours(standing)
        .map(|RGBColor(red, green, blue)| format!("#{red:02X}{green:02X}{blue:02X}"))
}

/// Lines over a horizontal axis of marked positions; the vertical axis is logarithmic.
#[derive(Clone)]
pub(super) struct Lines {
    /// The description for people who cannot see the chart.
    pub(super) label: String,
    /// The unit of the vertical axis: `µs`.
    pub(super) unit: String,
    /// Positions on the horizontal axis, ascending, and their labels.
    pub(super) ticks: Vec<(f64, String)>,
    /// One line per server.
    pub(super) lines: Vec<Line>,
}

/// One line.
#[derive(Clone)]
pub(super) struct Line {
    /// The server's name.
    pub(super) name: String,
    /// The kind of server.
    pub(super) standing: Standing,
    /// Number of its colour, the same in every chart.
    pub(super) hue: usize,
    /// Positions, ascending, and values.
    pub(super) points: Vec<(f64, Spread)>,
}

/// Smallest distance between the names of lines that end close to each other.
const NAME_STEP: i32 = 26;

impl Lines {
    /// The chart as an SVG element of this width. Values without a logarithm are left out.
    pub(super) fn svg(mut self, width: u32) -> String {
        for line in &mut self.lines {
            line.points
                .retain(|(_, value)| value.min > 0.0 && value.max.is_finite());
        }
        self.lines.retain(|line| !line.points.is_empty());
        // Our line is drawn last, on top of all others.
        self.lines
            .sort_by_key(|line| line.standing == Standing::Ours);
        let names = NAME_STEP as u32 * self.lines.len() as u32;
        let height = (names + 110).max(width * 11 / 20);
        element(&self.label, (width, height), |svg| {
            self.draw(svg, (width, height))
        })
    }

    /// The ends of the horizontal axis: a little beyond the outermost points.
    fn x_limits(&self) -> (f64, f64) {
        let points = self
            .lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|(position, _)| *position);
        let all = || {
            points
                .clone()
                .chain(self.ticks.iter().map(|(position, _)| *position))
        };
        let (first, last) = (
            all().fold(f64::INFINITY, f64::min),
            all().fold(f64::NEG_INFINITY, f64::max),
        );
        let room = if last > first {
            (last - first) * 0.03
        } else {
            0.5
        };
        (first - room, last + room)
    }

    fn draw(&self, svg: &mut String, size: (u32, u32)) -> Drawn {
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        let values = || {
            self.lines
                .iter()
                .flat_map(|line| &line.points)
                .map(|(_, value)| value)
        };
        let least = values()
            .map(|value| value.min)
            .fold(f64::INFINITY, f64::min);
        let most = values().map(|value| value.max).fold(0.0, f64::max);
        if least > most {
            return Ok(());
        }
        let (low, high, y_ticks) = log_ticks(least, most);
        let (first, last) = self.x_limits();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(34)
            .margin_right(room_for(self.lines.iter().map(|line| &line.name)) + LEAD as u32)
            .margin_bottom(44)
            .margin_left(84)
            .build_cartesian_2d(first..last, (low..high).log_scale())?;
        let corners = [(first, low), (last, high)].map(|corner| chart.backend_coord(&corner));
        for value in y_ticks {
            let (_, y) = chart.backend_coord(&(first, value));
            let line = vec![(corners[0].0, y), (corners[1].0, y)];
            root.draw(&PathElement::new(line, GRID.stroke_width(1)))?;
            let style = text(SMALL, HPos::Right);
            root.draw(&Text::new(round(value), (corners[0].0 - 10, y), style))?;
        }
        for (position, tick) in &self.ticks {
            let (x, _) = chart.backend_coord(&(*position, low));
            let line = vec![(x, corners[0].1), (x, corners[1].1)];
            root.draw(&PathElement::new(line, GRID.stroke_width(1)))?;
            let style = text(SMALL, HPos::Center);
            root.draw(&Text::new(tick.clone(), (x, corners[0].1 + 24), style))?;
        }
        root.draw(&Text::new(
            self.unit.clone(),
            (8, 12),
            text(SMALL, HPos::Left),
        ))?;
        let mut names = Vec::new();
        for line in &self.lines {
            line.draw_band(&mut chart)?;
        }
        for line in &self.lines {
            line.draw(&mut chart)?;
            let (position, value) = line.points[line.points.len() - 1];
            names.push((chart.backend_coord(&(position, value.median)), line));
        }
        let edge = chart.backend_coord(&(last, low)).0;
        draw_names(&root, names, edge, corners[0].1)?;
        root.present()?;
        Ok(())
    }
}

/// Places names to the right of the ends of their lines, moved up or down so that none covers another.
fn draw_names(
    root: &Canvas<'_>,
    mut names: Vec<((i32, i32), &Line)>,
    edge: i32,
    bottom: i32,
) -> Drawn {
    names.sort_by_key(|((_, y), _)| *y);
    let heights: Vec<i32> = names.iter().map(|((_, y), _)| *y).collect();
    let places = spaced(&heights, NAME_STEP, NAME_STEP / 2, bottom);
    for (((x, y), line), place) in names.into_iter().zip(places) {
        let lead = vec![(x + 4, y), (edge + 6, place), (edge + 24, place)];
        root.draw(&PathElement::new(lead, line.colour().stroke_width(2)))?;
        line.draw_marker(root, (edge + 24, place))?;
        let mut style = text(SMALL, HPos::Left);
        if line.standing == Standing::Ours {
            style.font = style.font.style(FontStyle::Bold);
        }
        let name = shortened(&line.name, LONGEST_NAME);
        root.draw(&Text::new(name, (edge + LEAD - 6, place), style))?;
    }
    Ok(())
}

/// Moves ascending `places` apart so that neighbours are at least `step` apart and within the bounds, if there is room.
/// One pass down and one up keep the moves small.
fn spaced(places: &[i32], step: i32, top: i32, bottom: i32) -> Vec<i32> {
    let mut spaced: Vec<i32> = Vec::with_capacity(places.len());
    for &place in places {
        let free = spaced.last().map_or(top, |above| above + step);
        spaced.push(place.max(free));
    }
    let mut free = bottom;
    for place in spaced.iter_mut().rev() {
        *place = (*place).min(free);
        free = *place - step;
    }
    spaced
}

type LineChart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;

impl Line {
    fn colour(&self) -> RGBColor {
        match self.standing {
            Standing::Ours => OURS[0],
            Standing::Floor => FLOOR[0],
            Standing::Framework => LINES[self.hue % LINES.len()],
        }
    }

    /// From the smallest to the largest value.
    fn draw_band(&self, chart: &mut LineChart<'_, '_>) -> Drawn {
        if self.points.iter().all(|(_, value)| value.min >= value.max) {
            return Ok(());
        }
        let over = self
            .points
            .iter()
            .map(|&(position, value)| (position, value.max));
        let under = self
            .points
            .iter()
            .rev()
            .map(|&(position, value)| (position, value.min));
        let outline: Vec<_> = over.chain(under).collect();
        chart.draw_series([Polygon::new(outline, self.colour().mix(0.12))])?;
        Ok(())
    }

    fn draw(&self, chart: &mut LineChart<'_, '_>) -> Drawn {
        let width = if self.standing == Standing::Ours {
            6
        } else {
            3
        };
        let points: Vec<_> = self
            .points
            .iter()
            .map(|&(position, value)| (position, value.median))
            .collect();
        let pixels: Vec<_> = points
            .iter()
            .map(|point| chart.backend_coord(point))
            .collect();
        chart.draw_series(LineSeries::new(points, self.colour().stroke_width(width)))?;
        let root = chart.plotting_area().strip_coord_spec();
        let (left, top) = root.get_base_pixel();
        for (x, y) in pixels {
            self.draw_marker(&root, (x - left, y - top))?;
        }
        Ok(())
    }

    /// Different shapes distinguish lines with the same colour.
    fn draw_marker(&self, root: &Canvas<'_>, at: (i32, i32)) -> Drawn {
        let colour = self.colour();
        match (self.standing, self.hue / LINES.len() % 3) {
            (Standing::Ours, _) => root.draw(&Circle::new(at, 8, colour.filled()))?,
            (Standing::Floor, _) => {
                root.draw(&Cross::new(at, 5, colour.stroke_width(2)))?;
            }
            (Standing::Framework, 0) => root.draw(&Circle::new(at, 6, colour.filled()))?,
            (Standing::Framework, 1) => {
                root.draw(&TriangleMarker::new(at, 8, colour.filled()))?;
            }
            (Standing::Framework, _) => {
                let corners = [(at.0 - 5, at.1 - 5), (at.0 + 5, at.1 + 5)];
                root.draw(&Rectangle::new(corners, colour.filled()))?;
            }
        }
        Ok(())
    }
}

/// Bounds around two values on a logarithmic axis, and at most nine round values between the bounds.
fn log_ticks(least: f64, most: f64) -> (f64, f64, Vec<f64>) {
    let (low, high) = (least / 1.1, most * 1.1);
    let decades = (high / low).log10();
    let steps: &[f64] = match decades {
        few if few < 1.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
        few if few < 2.5 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let ticks = exponents
        .flat_map(|exponent| steps.iter().map(move |step| step * 10f64.powi(exponent)))
        .filter(|tick| (low..=high).contains(tick))
        .collect();
    (low, high, ticks)
}

/// Formats a round value without superfluous digits.
fn round(value: f64) -> String {
    for (unit, name) in [(1e9, " G"), (1e6, " M"), (1e3, " k")] {
        // Four digits are as short as one with a prefix, and easier to read.
        if value >= unit && value >= 9_999.0 {
            return format!("{:.0}{name}", value / unit);
        }
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn text(size: f64, horizontal: HPos) -> TextStyle<'static> {
    // The library makes SVG text smaller than requested by this factor.
    const SHRINKS: f64 = 1.24;
    ("sans-serif", size * SHRINKS)
        .into_font()
        .color(&INK)
        .pos(Pos::new(horizontal, VPos::Center))
}

/// An SVG element with a label for people who cannot see it, as wide as its parent.
fn element(label: &str, size: (u32, u32), draw: impl FnOnce(&mut String) -> Drawn) -> String {
    let mut svg = String::new();
    draw(&mut svg).expect("drawing into a string does not fail");
    let (width, height) = size;
    let head_end = svg.find('>').map_or(svg.len(), |end| end + 1);
    let label = maud::html! { (printable(label)) }.into_string();
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\"><title>{label}</title>\n{}",
        svg.get(head_end..)
            .filter(|rest| !rest.is_empty())
            .unwrap_or("</svg>\n"),
    )
}
