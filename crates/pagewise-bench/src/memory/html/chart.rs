//! Charts as inline SVG: no scripts, colours from the page's style, and every point says what it is.

use std::fmt::Write;

use super::escape::text;
use crate::memory::arm::Arm;

/// A share with its interval.
#[derive(Debug, Clone)]
pub(super) struct Dot {
    pub(super) arm: Arm,
    pub(super) value: f64,
    pub(super) ci95: [f64; 2],
    pub(super) n: usize,
    /// What it is of.
    pub(super) of: String,
}

impl Dot {
    /// What is said when one points at it, and to those who cannot see it.
    fn title(&self) -> String {
        let Self { value, ci95: [low, high], n, of, .. } = self;
        text(&format!("{of}: {value:.3}, 95% {low:.3} to {high:.3}, n {n}"))
    }
}

/// A line of a chart of ranges.
pub(super) enum Row {
    /// What the next rows are of.
    Heading(String),
    /// A label, and a dot for each column.
    Dots(String, Vec<Option<Dot>>),
}

/// A chart with places along its width.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) axis: String,
    pub(super) ticks: Vec<String>,
    /// Dots, one for each tick, that belong together.
    pub(super) series: Vec<Vec<Option<Dot>>>,
}

/// A chart with a scale along its width.
pub(super) struct Scatter {
    pub(super) axis: String,
    /// A dot with its place on the scale, and the letter beside it.
    pub(super) dots: Vec<(f64, Dot, String)>,
}

/// A bar, and what it is made of: the number of a colour, a name and a count.
pub(super) struct Bar {
    /// What the next bars are of; nothing if it is what the last ones were of.
    pub(super) heading: Option<String>,
    pub(super) label: String,
    pub(super) pieces: Vec<(usize, &'static str, usize)>,
}

const WIDTH: f64 = 760.0;
const GRID: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// Shares with their intervals, in columns.
pub(super) fn ranges(label: &str, columns: &[String], rows: &[Row]) -> String {
    const LABEL: f64 = 150.0;
    const GAP: f64 = 92.0;
    let width = (WIDTH - LABEL) / columns.len().max(1) as f64 - GAP;
    let left = |column: usize| LABEL + column as f64 * (width + GAP);
    let x = |column: usize, value: f64| left(column) + value * width;
    let mut body = String::new();
    let mut y = 36.0;
    let mut marks = String::new();
    for row in rows {
        match row {
            Row::Heading(heading) => {
                y += 10.0;
                label_at(&mut marks, 0.0, y + 4.0, "start", "heading", heading);
                y += 20.0;
            }
            Row::Dots(name, dots) => {
                label_at(&mut marks, 12.0, y + 4.0, "start", "label", name);
                for (column, dot) in dots.iter().enumerate() {
                    let Some(dot) = dot else { continue };
                    let at = |value: f64| x(column, value);
                    let [low, high] = dot.ci95.map(at);
                    let class = dot.arm.name();
                    let _ = write!(
                        marks,
                        "<g class=\"{class}\"><title>{}</title><line class=\"range\" x1=\"{low:.1}\" y1=\"{y:.1}\" \
                         x2=\"{high:.1}\" y2=\"{y:.1}\"/>{}</g>",
                        dot.title(),
                        mark(dot.arm, at(dot.value), y)
                    );
                    let said = format!("{:.2}  n {}", dot.value, dot.n);
                    label_at(&mut marks, x(column, 1.0) + 12.0, y + 4.0, "start", "value", &said);
                }
                y += 20.0;
            }
        }
    }
    for (column, name) in columns.iter().enumerate() {
        label_at(&mut body, left(column), 12.0, "start", "heading", name);
        for value in GRID {
            let at = x(column, value);
            let _ = write!(
                body,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"32\" x2=\"{at:.1}\" y2=\"{:.1}\"/>",
                y - 4.0
            );
            label_at(&mut body, at, 26.0, "middle", "tick", &short(value));
            label_at(&mut body, at, y + 12.0, "middle", "tick", &short(value));
        }
    }
    svg(label, y + 20.0, &(body + &marks))
}

/// Charts beside each other, accuracy against what the ticks say.
pub(super) fn panels(label: &str, panels: &[Panel]) -> String {
    const HEIGHT: f64 = 180.0;
    const TOP: f64 = 34.0;
    let frame = Frame::new(panels.len());
    let mut body = String::new();
    for (number, panel) in panels.iter().enumerate() {
        let left = frame.left(number);
        label_at(&mut body, left, 14.0, "start", "heading", &panel.title);
        frame.grid(&mut body, number, TOP, HEIGHT);
        let n_ticks = panel.ticks.len().max(1) as f64;
        let x = |tick: usize| left + (tick as f64 + 0.5) / n_ticks * frame.width;
        for (tick, name) in panel.ticks.iter().enumerate() {
            label_at(&mut body, x(tick), TOP + HEIGHT + 16.0, "middle", "tick", name);
        }
        let middle = left + frame.width / 2.0;
        label_at(&mut body, middle, TOP + HEIGHT + 34.0, "middle", "label", &panel.axis);
        let there: Vec<_> =
            panel.series.iter().filter(|series| series.iter().any(Option::is_some)).collect();
        let n_series = there.len() as f64;
        for (place, series) in there.into_iter().enumerate() {
            // Beside each other, so that no interval hides another.
            let aside = (place as f64 - (n_series - 1.0) / 2.0) * 7.0;
            let points: Vec<(f64, f64, &Dot)> = series
                .iter()
                .enumerate()
                .filter_map(|(tick, dot)| {
                    let dot = dot.as_ref()?;
                    Some((x(tick) + aside, TOP + (1.0 - dot.value) * HEIGHT, dot))
                })
                .collect();
            let Some((_, _, first)) = points.first() else { continue };
            let line: Vec<String> =
                points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
            let _ = write!(
                body,
                "<g class=\"{}\"><polyline class=\"path\" points=\"{}\"/></g>",
                first.arm.name(),
                line.join(" ")
            );
            for (x, y, dot) in points {
                let [low, high] = dot.ci95.map(|end| TOP + (1.0 - end) * HEIGHT);
                let _ = write!(
                    body,
                    "<g class=\"{}\"><title>{}</title><line class=\"range\" x1=\"{x:.1}\" y1=\"{low:.1}\" \
                     x2=\"{x:.1}\" y2=\"{high:.1}\"/>{}</g>",
                    dot.arm.name(),
                    dot.title(),
                    mark(dot.arm, x, y)
                );
            }
        }
    }
    svg(label, TOP + HEIGHT + 42.0, &body)
}

/// Charts beside each other, accuracy against what something cost.
pub(super) fn scatters(label: &str, scatters: &[Scatter]) -> String {
    const HEIGHT: f64 = 160.0;
    const TOP: f64 = 14.0;
    let frame = Frame::new(scatters.len());
    let mut body = String::new();
    for (number, scatter) in scatters.iter().enumerate() {
        let left = frame.left(number);
        frame.grid(&mut body, number, TOP, HEIGHT);
        let largest = scatter.dots.iter().map(|(cost, _, _)| *cost).fold(0.0, f64::max);
        let end = round_up(largest);
        for share in [0.0, 0.5, 1.0] {
            let at = left + share * frame.width;
            label_at(&mut body, at, TOP + HEIGHT + 16.0, "middle", "tick", &short(share * end));
        }
        let middle = left + frame.width / 2.0;
        label_at(&mut body, middle, TOP + HEIGHT + 34.0, "middle", "label", &scatter.axis);
        for (cost, dot, letter) in &scatter.dots {
            let (x, y) = (left + cost / end * frame.width, TOP + (1.0 - dot.value) * HEIGHT);
            let said = format!("{}; {} {}", dot.title(), short(*cost), text(&scatter.axis));
            let _ = write!(
                body,
                "<g class=\"{}\"><title>{said}</title>{}</g>",
                dot.arm.name(),
                mark(dot.arm, x, y)
            );
            label_at(&mut body, x + 7.0, y - 5.0, "start", "tick", letter);
        }
    }
    svg(label, TOP + HEIGHT + 42.0, &body)
}

/// Bars of the same length, divided by shares.
pub(super) fn bars(label: &str, bars: &[Bar]) -> String {
    const LABEL: f64 = 130.0;
    const END: f64 = 44.0;
    let width = WIDTH - LABEL - END;
    let mut body = String::new();
    let mut y = 4.0;
    for bar in bars {
        if let Some(heading) = &bar.heading {
            label_at(&mut body, 0.0, y + 16.0, "start", "heading", heading);
            y += 26.0;
        }
        label_at(&mut body, 12.0, y + 14.0, "start", "label", &bar.label);
        let n: usize = bar.pieces.iter().map(|(_, _, count)| count).sum();
        let mut x = LABEL;
        for (colour, name, count) in &bar.pieces {
            let piece = *count as f64 / n.max(1) as f64 * width;
            let _ = write!(
                body,
                "<g><title>{}</title><rect class=\"f{colour}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{piece:.1}\" \
                 height=\"20\"/></g>",
                text(&format!("{}: {name} {count} of {n}", bar.label))
            );
            if piece > 22.0 {
                let middle = x + piece / 2.0;
                label_at(&mut body, middle, y + 14.0, "middle", "count", &count.to_string());
            }
            x += piece;
        }
        label_at(&mut body, WIDTH - END + 8.0, y + 14.0, "start", "value", &format!("n {n}"));
        y += 26.0;
    }
    svg(label, y + 2.0, &body)
}

/// Where charts that stand beside each other are.
struct Frame {
    width: f64,
}

impl Frame {
    const LEFT: f64 = 36.0;
    const GAP: f64 = 44.0;

    fn new(n: usize) -> Self {
        // One chart alone need not be as wide as the page.
        let n = n.max(2) as f64;
        Self { width: (WIDTH - Self::LEFT - (n - 1.0) * Self::GAP - 14.0) / n }
    }

    fn left(&self, number: usize) -> f64 {
        Self::LEFT + number as f64 * (self.width + Self::GAP)
    }

    fn grid(&self, body: &mut String, number: usize, top: f64, height: f64) {
        let left = self.left(number);
        for value in GRID {
            let y = top + (1.0 - value) * height;
            let _ = write!(
                body,
                "<line class=\"grid\" x1=\"{left:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>",
                left + self.width
            );
            label_at(body, left - 6.0, y + 4.0, "end", "tick", &short(value));
        }
    }
}

/// A mark whose form tells arms apart without colours.
pub(super) fn mark(arm: Arm, x: f64, y: f64) -> String {
    match arm {
        Arm::Memgpt => format!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"),
        Arm::FullContext => format!(
            "<rect class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>",
            x - 4.0,
            y - 4.0
        ),
        Arm::Retrieval => format!(
            "<path class=\"mark\" d=\"M{:.1} {y:.1}L{x:.1} {:.1}L{:.1} {y:.1}L{x:.1} {:.1}Z\"/>",
            x - 5.5,
            y - 5.5,
            x + 5.5,
            y + 5.5
        ),
        Arm::Oracle => format!(
            "<path class=\"mark\" d=\"M{:.1} {:.1}L{:.1} {:.1}L{x:.1} {:.1}Z\"/>",
            x - 5.0,
            y + 4.0,
            x + 5.0,
            y + 4.0,
            y - 5.0
        ),
        Arm::NoMemory => {
            format!("<circle class=\"mark hollow\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>")
        }
    }
}

fn label_at(body: &mut String, x: f64, y: f64, anchor: &str, class: &str, said: &str) {
    let _ = write!(
        body,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        text(said)
    );
}

fn svg(label: &str, height: f64, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">{body}</svg>\n",
        text(label)
    )
}

/// A number without digits that say nothing.
fn short(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0}k", v / 1000.0),
        v if v >= 1000.0 => format!("{}k", trimmed(v / 1000.0)),
        v => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    let text = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// The next number from 1, 2, 5, 10, 20, … that is not smaller.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().map(|n| n * unit).find(|n| *n >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.25, 1.0, 2.3456, 250.0, 1500.0, 12_345.0].map(short);
        assert_eq!(shown, ["0", "0.25", "1", "2.35", "250", "1.5k", "12k"]);
    }

    #[test]
    fn a_scale_ends_at_a_round_number() {
        assert_eq!([0.0, 0.7, 1.0, 3.2, 5100.0].map(round_up), [1.0, 1.0, 1.0, 5.0, 10_000.0]);
    }
}
